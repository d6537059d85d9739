//! The field: several cards in front of one reader, and a clock that charges the time on air.
//!
//! Every frame takes the time that [`tapdoor_protocol::rf::time`] gives it, every answer its delay, every silence the reader's time-out
//! and every guard time its length; nothing here waits for real. So a tap has a simulated duration, and the same tap always has the same.
//!
//! Cards that answer at the same moment are heard together. In type A the first bit in which they differ is a collision, and what came
//! before it is good (ISO/IEC 14443-3 6.5.3). Answers of which one begins while another is on the air tear each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tapdoor_link::field::{Abilities, FieldCard, FieldError, FieldErrorKind, FieldLink};
use tapdoor_protocol::rf::crc;
use tapdoor_protocol::rf::frame::{Expect, Frame, RfError, RxFrame, Technology};
use tapdoor_protocol::rf::time::{self, Ticks};

const LAYER: &str = "field";
/// Answers that begin within this time of each other count as simultaneous: a card that is off by more than a bit is not heard as one
/// with the others (ISO/IEC 14443-3 6.2.1.1 makes cards answer on a grid of one bit, exactly).
const TOGETHER: Ticks = Ticks(64);

/// Which card of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CardId(usize);

struct Place {
    card: Box<dyn FieldCard + Send>,
    answer: RxFrame,
    // When its answer to the last frame begins.
    begins: Option<Ticks>,
}

/// A field. As a [`FieldLink`] it is a reader without a chip in between: frames go straight to the cards.
#[derive(Default)]
pub struct Field {
    places: Vec<Option<Place>>,
    on: bool,
    now: Ticks,
    // When the last answer ended, for the delay before the next frame.
    silent_since: Ticks,
}

impl Field {
    /// An empty field that is off.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a card into the field.
    pub fn place(&mut self, mut card: Box<dyn FieldCard + Send>) -> CardId {
        if self.on {
            card.field(true, self.now);
        }
        let place = Place {
            card,
            answer: RxFrame::new(),
            begins: None,
        };
        let free = self.places.iter().position(Option::is_none);
        match free.and_then(|at| self.places.get_mut(at)) {
            Some(slot) => *slot = Some(place),
            None => self.places.push(Some(place)),
        }
        CardId(free.unwrap_or(self.places.len() - 1))
    }

    /// Takes a card out of the field: it loses power.
    pub fn remove(&mut self, id: CardId) -> Option<Box<dyn FieldCard + Send>> {
        let mut place = self.places.get_mut(id.0)?.take()?;
        place.card.field(false, self.now);
        Some(place.card)
    }

    /// Whether the field is on.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Hands the frame to every card. Says whether anybody answers.
    fn deliver(&mut self, tx: &Frame<'_>) -> bool {
        let tx = arriving(tx);
        let now = self.now;
        let mut any = false;
        for place in self.places.iter_mut().flatten() {
            place.answer.clear();
            place.begins = place.card.receive(Ok(tx), now, &mut place.answer).map(|delay| now + delay);
            any |= place.begins.is_some();
        }
        any
    }

    /// What the reader hears: the earliest answer, and those that are on the air with it.
    fn hear(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame) -> Result<(), RfError> {
        let deadline = self.now + expect.timeout;
        let heard = |place: &&Place| place.answer.technology == tx.technology && place.begins.is_some_and(|at| at <= deadline);
        let Some(first) = self.places.iter().flatten().filter(heard).min_by_key(|place| place.begins) else {
            self.now = deadline;
            self.silent_since = deadline;
            return Err(RfError::Timeout);
        };
        let begins = first.begins.unwrap_or(deadline);
        let mut ends = begins + first.answer.frame().air_time();
        rx.set(&first.answer.frame());
        rx.at = begins;
        let mut outcome = Ok(());
        for other in self.places.iter().flatten().filter(heard) {
            let at = other.begins.unwrap_or(deadline);
            if std::ptr::eq(other, first) || at > ends {
                continue;
            }
            ends = ends.max(at + other.answer.frame().air_time());
            if at > begins + TOGETHER {
                outcome = Err(RfError::Framing);
            } else if let Some(bit) = first_difference(rx, &other.answer) {
                outcome = match tx.technology {
                    Technology::A => {
                        keep_bits(rx, bit);
                        Err(RfError::Collision { bit })
                    }
                    Technology::B | Technology::F => Err(RfError::Framing),
                };
            }
        }
        self.now = ends;
        self.silent_since = ends;
        outcome?;
        if rx.rate != expect.rate || rx.first_bit != expect.first_bit {
            return Err(RfError::Framing);
        }
        match (expect.crc, rx.crc) {
            (true, false) => Err(RfError::Crc),
            (false, true) => {
                // Nobody takes the checksum away.
                let checksum = crc::bytes(rx.technology, &rx.data);
                rx.data.extend_from_slice(&checksum);
                rx.crc = false;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The frame as cards see it. A reader may have put the checksum into the data itself: on the air that is the same.
fn arriving<'a>(tx: &Frame<'a>) -> Frame<'a> {
    if tx.crc || !tx.is_whole() || tx.data.len() <= crc::LEN || is_anticollision(tx) {
        return *tx;
    }
    let (data, checksum) = tx.data.split_at(tx.data.len() - crc::LEN);
    if crc::bytes(tx.technology, data) == *checksum {
        Frame { data, crc: true, ..*tx }
    } else {
        *tx
    }
}

/// SEL with an NVB of less than 70: never with a checksum.
fn is_anticollision(frame: &Frame<'_>) -> bool {
    frame.technology == Technology::A && matches!(frame.data, [0x93 | 0x95 | 0x97, 0x20..=0x67, ..])
}

/// The first bit in which two answers differ, while both are on the air; counted as in [`RfError::Collision`].
fn first_difference(a: &RxFrame, b: &RxFrame) -> Option<usize> {
    let from = usize::from(a.first_bit);
    let byte = a.data.iter().zip(&b.data).position(|(x, y)| x != y);
    let common = end_bit(a).min(end_bit(b));
    match byte {
        Some(at) => {
            let bit = at * 8 + (a.data[at] ^ b.data[at]).trailing_zeros() as usize;
            // Beyond the end of the shorter one only the longer is heard.
            (bit >= from && bit < common).then_some(bit)
        }
        None => (a.first_bit != b.first_bit).then_some(from),
    }
}

fn end_bit(frame: &RxFrame) -> usize {
    frame.bits() + usize::from(frame.first_bit)
}

/// Cuts an answer before this bit.
fn keep_bits(rx: &mut RxFrame, bit: usize) {
    rx.data.truncate(bit.div_ceil(8));
    rx.crc = false;
    rx.last_bits = 8;
    if !bit.is_multiple_of(8)
        && let Some(last) = rx.data.last_mut()
    {
        rx.last_bits = (bit % 8) as u8;
        *last &= (1 << rx.last_bits) - 1;
    }
}

impl FieldLink for Field {
    fn exchange(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame) -> Result<(), FieldError> {
        rx.clear();
        if !self.on {
            return Err(FieldError::new(FieldErrorKind::NoField, LAYER, "the field is off").during(tx));
        }
        self.begin(tx, rx);
        self.deliver(tx);
        let outcome = self.hear(tx, expect, rx);
        outcome.map_err(|error| FieldError::rf(error, LAYER).during(tx).with_answer(&rx.data))
    }

    fn send(&mut self, tx: &Frame<'_>) -> Result<(), FieldError> {
        if !self.on {
            return Err(FieldError::new(FieldErrorKind::NoField, LAYER, "the field is off").during(tx));
        }
        let mut rx = RxFrame::new();
        self.begin(tx, &mut rx);
        self.deliver(tx);
        self.silent_since = self.now;
        Ok(())
    }

    fn set_field(&mut self, on: bool) -> Result<(), FieldError> {
        if self.on != on {
            self.on = on;
            for place in self.places.iter_mut().flatten() {
                place.card.field(on, self.now);
            }
            self.silent_since = Ticks::ZERO;
        }
        Ok(())
    }

    fn pause(&mut self, time: Ticks) {
        self.now += time;
    }

    fn now(&self) -> Ticks {
        self.now
    }

    fn abilities(&self) -> Abilities {
        Abilities::SIMULATED
    }
}

impl Field {
    fn begin(&mut self, tx: &Frame<'_>, rx: &mut RxFrame) {
        if self.silent_since > Ticks::ZERO {
            self.now = self.now.max(self.silent_since + time::FDT_PICC_TO_PCD);
        }
        rx.technology = tx.technology;
        rx.rate = tx.rate;
        rx.sent_at = self.now;
        self.now += tx.air_time();
    }
}

/// A card that is carried into the field and out of it while somebody else has it.
pub struct Carried<C> {
    card: C,
    hand: Hand,
    powered: bool,
    field: bool,
}

/// Carries a [`Carried`] card. A new one is outside.
#[derive(Clone, Debug, Default)]
pub struct Hand(Arc<AtomicBool>);

impl Hand {
    /// Into the field, or out of it.
    pub fn hold(&self, inside: bool) {
        self.0.store(inside, Ordering::SeqCst);
    }

    /// Whether the card is in the field.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl<C: FieldCard> Carried<C> {
    /// The card, and who carries it.
    pub fn new(card: C) -> (Self, Hand) {
        let hand = Hand::default();
        let card = Self {
            card,
            hand: hand.clone(),
            powered: false,
            field: false,
        };
        (card, hand)
    }

    fn settle(&mut self, now: Ticks) {
        let powered = self.field && self.hand.is_inside();
        if powered != self.powered {
            self.powered = powered;
            self.card.field(powered, now);
        }
    }
}

impl<C: FieldCard> FieldCard for Carried<C> {
    fn field(&mut self, on: bool, now: Ticks) {
        self.field = on;
        self.settle(now);
    }

    fn receive(&mut self, frame: Result<Frame<'_>, RfError>, now: Ticks, answer: &mut RxFrame) -> Option<Ticks> {
        self.settle(now);
        if self.powered {
            self.card.receive(frame, now, answer)
        } else {
            None
        }
    }
}
