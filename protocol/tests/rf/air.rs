//! Air without time: dialogues against cards in memory, with frames that are lost or damaged on the way.

use tapdoor_protocol::rf::frame::{Expect, Frame, Received, RfError, RxFrame, Technology};
use tapdoor_protocol::rf::iso14443::card::{Card, Event};
use tapdoor_protocol::rf::iso14443::{type_a, type_b};
use tapdoor_protocol::rf::time::Ticks;
use tapdoor_protocol::rf::{Dialogue, Step};

/// Something that hears frames and may answer.
pub trait Hears {
    fn hear(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> bool;
    fn reset(&mut self);
}

impl Hears for type_a::picc::Picc {
    fn hear(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> bool {
        self.receive(frame, answer) == type_a::picc::Heard::Answer
    }

    fn reset(&mut self) {
        self.field(false);
        self.field(true);
    }
}

impl Hears for type_b::picc::Picc {
    fn hear(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> bool {
        !matches!(
            self.receive(frame, answer),
            type_b::picc::Heard::Silent | type_b::picc::Heard::Above
        )
    }

    fn reset(&mut self) {
        self.field(false);
        self.field(true);
    }
}

/// A card with an application: every command is kept, and answered by the next response, or by itself when there is none.
pub struct Terminal {
    pub card: Card,
    pub commands: Vec<Vec<u8>>,
    pub responses: Vec<Vec<u8>>,
    /// How long each command takes.
    pub work: Ticks,
    pub deselected: u32,
    /// The delay of every answer.
    pub delays: Vec<Ticks>,
}

impl Terminal {
    pub fn new(mut card: Card) -> Self {
        card.field(true);
        Self {
            card,
            commands: Vec::new(),
            responses: Vec::new(),
            work: Ticks::ZERO,
            deselected: 0,
            delays: Vec::new(),
        }
    }
}

impl Hears for Terminal {
    fn hear(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> bool {
        let delay = match self.card.receive(frame, answer) {
            Event::Silent | Event::Granted => return false,
            Event::Other => {
                self.card.back();
                return false;
            }
            Event::Answer(delay) | Event::Activated(delay) => delay,
            Event::Deselected(delay) => {
                self.deselected += 1;
                delay
            }
            Event::Command => {
                let command = self.card.command().to_vec();
                let response = self.responses.get(self.commands.len()).unwrap_or(&command).clone();
                self.commands.push(command);
                self.card.respond(&response, self.work, answer)
            }
        };
        self.delays.push(delay);
        true
    }

    fn reset(&mut self) {
        self.card.field(false);
        self.card.field(true);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Drop,
    Corrupt,
}

/// A frame that was on the air, without its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub out: bool,
    pub data: Vec<u8>,
    pub last_bits: u8,
    pub crc: bool,
}

pub struct Air<'a> {
    pub cards: Vec<&'a mut dyn Hears>,
    /// What happens to the frame of that number, both directions counted together from 0.
    pub fault: Box<dyn FnMut(usize) -> Option<Fault> + 'a>,
    pub seen: Vec<Seen>,
    pub exchanges: usize,
    /// The reader's chip says of a collision that it was one, and nothing of the answers.
    pub mute: bool,
}

impl<'a> Air<'a> {
    pub fn new(cards: Vec<&'a mut dyn Hears>) -> Self {
        Self {
            cards,
            fault: Box::new(|_| None),
            seen: Vec::new(),
            exchanges: 0,
            mute: false,
        }
    }

    fn note(&mut self, out: bool, frame: &Frame<'_>) -> Option<Fault> {
        let fault = (self.fault)(self.seen.len());
        self.seen.push(Seen {
            out,
            data: frame.data.to_vec(),
            last_bits: frame.last_bits,
            crc: frame.crc,
        });
        fault
    }

    fn say(&mut self, frame: Frame<'_>) -> Vec<RxFrame> {
        let received = match self.note(true, &frame) {
            None => Ok(frame),
            Some(Fault::Drop) => return Vec::new(),
            Some(Fault::Corrupt) => Err(RfError::Crc),
        };
        let mut answers = Vec::new();
        for card in &mut self.cards {
            let mut answer = RxFrame::new();
            if card.hear(received, &mut answer) {
                answers.push(answer);
            }
        }
        answers
    }

    fn exchange(&mut self, frame: Frame<'_>, expect: &Expect, rx: &mut RxFrame) -> Result<(), RfError> {
        self.exchanges += 1;
        let answers = self.say(frame);
        let [first, others @ ..] = &answers[..] else {
            return Err(RfError::Timeout);
        };
        assert_eq!((first.rate, first.crc), (expect.rate, expect.crc), "{first:02x?} to {frame:02x?}");
        rx.clone_from(first);
        let fault = self.note(false, &first.frame());
        for other in others {
            let bit = (0..first.data.len().max(other.data.len()) * 8).find(|bit| {
                let of = |f: &RxFrame| f.data.get(bit / 8).map(|byte| byte >> (bit % 8) & 1);
                of(first) != of(other)
            });
            match (bit, first.technology) {
                (None, _) => {}
                (Some(bit), Technology::A) => {
                    if self.mute {
                        rx.clear();
                    }
                    return Err(RfError::Collision {
                        bit: self.first_difference(&answers).min(bit),
                    });
                }
                _ => return Err(RfError::Crc),
            }
        }
        assert_eq!(first.first_bit, expect.first_bit);
        match fault {
            None => Ok(()),
            Some(Fault::Drop) => Err(RfError::Timeout),
            Some(Fault::Corrupt) => Err(RfError::Crc),
        }
    }

    fn first_difference(&self, answers: &[RxFrame]) -> usize {
        (0..)
            .find(|bit| {
                let of = |f: &RxFrame| f.data.get(bit / 8).map(|byte| byte >> (bit % 8) & 1);
                answers.iter().any(|a| of(a) != of(&answers[0]))
            })
            .unwrap()
    }

    pub fn run<D: Dialogue>(&mut self, dialogue: &mut D) -> D::Output {
        let mut rx = RxFrame::new();
        loop {
            match dialogue.poll() {
                Step::Exchange(frame, expect) => {
                    rx.clear();
                    let outcome = self.exchange(frame, &expect, &mut rx);
                    dialogue.answered(outcome, &rx);
                }
                Step::Send(frame) => {
                    self.say(frame);
                }
                Step::Pause(_) => {}
                Step::Reset(_) => self.cards.iter_mut().for_each(|card| card.reset()),
                Step::Done(output) => return output,
            }
        }
    }

    /// HLTA.
    pub fn halt(&mut self) {
        assert!(self.say(Frame::new(Technology::A, &type_a::HLTA)).is_empty());
    }
}
