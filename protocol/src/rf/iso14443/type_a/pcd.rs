//! The reader's part: find a card and select it, out of several if need be (ISO/IEC 14443-3 6.4, 6.5).

use super::{Atqa, CASCADE_TAG, Card, NVB_ALL, REQA, SEL, Sak, Uid, WUPA};
use crate::rf::frame::{Expect, Frame, RfError, RxFrame, Technology};
use crate::rf::time;
use crate::rf::{Dialogue, Step};

/// Whom the request wakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Request {
    /// REQA: idle cards. After HLTA to each card found, this finds the next one.
    Reqa,
    /// WUPA: halted cards, too.
    #[default]
    Wupa,
}

/// Why a card could not be selected although something answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// The air failed, again and again.
    #[error("selecting the card failed at cascade level {level}: {error}; hold it still and closer")]
    Rf {
        /// 1 to 3; 0 at the request.
        level: u8,
        /// The last failure.
        error: RfError,
    },
    /// An answer breaks the rules, again and again.
    #[error("the card's answer at cascade level {level} breaks ISO/IEC 14443-3: {what}; it is damaged, or no type A card")]
    Malformed {
        /// 1 to 3; 0 at the request.
        level: u8,
        /// Which rule.
        what: &'static str,
    },
}

/// Bits of a level without BCC.
const UID_BITS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Request,
    Anticollision,
    Select,
    Guard,
    Done,
}

/// Request, anticollision and selection of one card. Where several stand in the field, the bits in which they differ are taken as 1.
///
/// A reader's chip may say that answers collided and keep the bits before the collision to itself (a PN532 in InCommunicateThru). These bits are
/// then found one by one: is there a card with a 1 here? Silence says no, and as cards leave READY at a frame that names others, the sequence
/// begins again with what is known.
///
/// A failure begins the whole sequence again, a few times: an error on the way sends the cards back to where they waited.
#[derive(Debug)]
pub struct Select {
    request: Request,
    wanted: Option<Uid>,
    /// Requests that are left.
    attempts: u8,
    state: State,
    atqa: Atqa,
    level: usize,
    /// The level that is being found; those before it are known.
    frontier: usize,
    /// What is known of each level's 40 bits.
    levels: [[u8; 5]; 3],
    /// How many of them at the frontier.
    bits: usize,
    /// Whether the last of these is a guess that no card has answered to yet.
    guessed: bool,
    frame: [u8; 7],
    uid: [u8; 10],
    uid_length: usize,
    /// Whether anything has answered.
    heard: bool,
    outcome: Result<Option<Card>, SelectError>,
}

impl Select {
    /// After a failure the sequence is begun again so many times. A card that is torn from being active needs two requests, as the
    /// first one only sends it back to idle.
    pub const RETRIES: u8 = 4;

    /// Finds any card.
    #[must_use]
    pub const fn new(request: Request) -> Self {
        Self {
            request,
            wanted: None,
            attempts: Self::RETRIES,
            state: State::Request,
            atqa: Atqa([0; 2]),
            level: 0,
            frontier: 0,
            levels: [[0; 5]; 3],
            bits: 0,
            guessed: false,
            frame: [0; 7],
            uid: [0; 10],
            uid_length: 0,
            heard: false,
            outcome: Ok(None),
        }
    }

    /// Selects a card that is known already, without anticollision.
    #[must_use]
    pub const fn known(request: Request, uid: Uid) -> Self {
        let mut select = Self::new(request);
        select.wanted = Some(uid);
        select
    }

    /// What it has come to, once it has ended.
    #[must_use]
    pub fn finished(&self) -> Option<Result<Option<Card>, SelectError>> {
        (self.state == State::Done).then_some(self.outcome)
    }

    const fn level_number(&self) -> u8 {
        match self.state {
            State::Anticollision | State::Select => self.level as u8 + 1,
            _ => 0,
        }
    }

    fn malformed(&mut self, what: &'static str) {
        let level = self.level_number();
        self.again(SelectError::Malformed { level, what });
    }

    fn again(&mut self, error: SelectError) {
        self.outcome = Err(error);
        (self.frontier, self.bits, self.guessed) = (0, 0, false);
        if self.attempts == 0 {
            self.state = State::Done;
        } else {
            self.attempts -= 1;
            self.state = State::Guard;
        }
    }

    fn begin_level(&mut self, level: usize) {
        self.level = level;
        if let Some(uid) = self.wanted {
            self.set_known(uid.level(level));
            self.state = State::Select;
            return;
        }
        if level > self.frontier {
            (self.frontier, self.bits, self.guessed) = (level, 0, false);
        }
        self.state = if level < self.frontier || self.bits == UID_BITS {
            State::Select
        } else {
            State::Anticollision
        };
    }

    /// What is known of this level.
    fn known_bits(&self) -> [u8; 5] {
        self.levels.get(self.level).copied().unwrap_or_default()
    }

    fn set_known(&mut self, known: [u8; 5]) {
        if let Some(level) = self.levels.get_mut(self.level) {
            *level = known;
        }
    }

    /// Takes the bits `from..to` of the level from an answer whose first byte is the one that `from` is in.
    fn take(&mut self, answer: &[u8], from: usize, to: usize) {
        let mut known = self.known_bits();
        for bit in from..to.min(40) {
            let byte = answer.get(bit / 8 - from / 8).copied().unwrap_or(0);
            set(&mut known, bit, byte >> (bit % 8) & 1 == 1);
        }
        self.set_known(known);
    }

    /// Is there a card with a 1 in bit `at`, the first that is not known?
    fn guess(&mut self, at: usize) {
        self.bits = at + 1;
        self.guessed = true;
        self.settle(true);
    }

    /// There is none. The others have left READY: from the request on again, with a 0 there.
    fn guessed_wrong(&mut self) {
        self.guessed = false;
        self.settle(false);
        self.state = State::Guard;
    }

    fn settle(&mut self, last: bool) {
        let mut known = self.known_bits();
        set(&mut known, self.bits.saturating_sub(1), last);
        if self.bits == UID_BITS {
            // BCC follows from the rest.
            known[4] = known[..4].iter().fold(0, |sum, byte| sum ^ byte);
            self.state = State::Select;
        }
        self.set_known(known);
    }

    fn anticollision(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        let from = self.bits;
        match outcome {
            Ok(()) => {
                if answer.data.len() != 5 - from / 8 || answer.last_bits != 8 || usize::from(answer.first_bit) != from % 8 {
                    return self.malformed("the UID does not fill up the 40 bits of its level");
                }
                self.guessed = false;
                self.take(&answer.data, from, 40);
                if self.known_bits().iter().fold(0, |sum, byte| sum ^ byte) != 0 {
                    return self.malformed("BCC is not the sum of the UID's bytes");
                }
                self.state = State::Select;
            }
            Err(RfError::Collision { bit }) => {
                // Nor is the position to be relied on where the bits before it are not said.
                if answer.data.is_empty() || answer.data.len() * 8 < bit {
                    return self.guess(from);
                }
                let at = from / 8 * 8 + bit;
                if at < from || at >= UID_BITS {
                    return self.malformed("a collision where the bits are known, or in BCC alone");
                }
                self.take(&answer.data, from, at);
                self.guess(at);
            }
            Err(RfError::Timeout) if self.guessed => self.guessed_wrong(),
            Err(error) => self.again(SelectError::Rf {
                level: self.level_number(),
                error,
            }),
        }
    }

    fn selected(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        let level = self.level_number();
        if outcome == Err(RfError::Timeout) && self.guessed {
            return self.guessed_wrong();
        }
        if let Err(error) = outcome {
            return self.again(SelectError::Rf { level, error });
        }
        let [sak] = answer.data[..] else {
            return self.malformed("SAK is not one byte");
        };
        let sak = Sak(sak);
        let known = self.known_bits();
        let tagged = known[0] == CASCADE_TAG;
        let part = if sak.is_cascade() { &known[1..4] } else { &known[..4] };
        if sak.is_cascade() && self.level == 2 {
            return self.malformed("SAK says at the third level that the UID goes on");
        }
        if sak.is_cascade() != tagged {
            return self.malformed("the cascade tag and SAK contradict each other");
        }
        for byte in part {
            if let Some(slot) = self.uid.get_mut(self.uid_length) {
                *slot = *byte;
                self.uid_length += 1;
            }
        }
        if sak.is_cascade() {
            let next = self.level + 1;
            if self.wanted.is_some_and(|uid| next >= uid.levels()) {
                return self.malformed("the UID goes on, and the one that was asked for does not");
            }
            self.begin_level(next);
        } else if let Some(uid) = Uid::new(&self.uid[..self.uid_length]) {
            self.outcome = Ok(Some(Card { atqa: self.atqa, uid, sak }));
            self.state = State::Done;
        } else {
            self.malformed("the UID has neither 4 nor 7 nor 10 bytes");
        }
    }
}

fn set(known: &mut [u8; 5], bit: usize, value: bool) {
    if let Some(byte) = known.get_mut(bit / 8) {
        *byte = *byte & !(1 << (bit % 8)) | u8::from(value) << (bit % 8);
    }
}

impl Dialogue for Select {
    /// `None` when nothing answered.
    type Output = Result<Option<Card>, SelectError>;

    fn poll(&mut self) -> Step<'_, Self::Output> {
        match self.state {
            State::Request => {
                let frame = match self.request {
                    Request::Reqa => Frame::short(&REQA),
                    Request::Wupa => Frame::short(&WUPA),
                };
                Step::Exchange(frame, Expect::like(&frame, time::FDT_A_TIMEOUT))
            }
            State::Anticollision => {
                let (whole, rest) = (self.bits / 8, self.bits % 8);
                // At most 31 bits are known here, so NVB is at most 57.
                let nvb = ((2 + whole) << 4 | rest) as u8;
                let [a, b, c, d, _] = self.known_bits();
                self.frame = [SEL[self.level.min(2)], nvb, a, b, c, d, 0];
                let data = &self.frame[..2 + self.bits.div_ceil(8)];
                // Both remainders are below 8.
                let (last_bits, first_bit) = (if rest == 0 { 8 } else { rest as u8 }, rest as u8);
                let frame = Frame::new(Technology::A, data).ending_with(last_bits);
                Step::Exchange(frame, Expect::like(&frame, time::FDT_A_TIMEOUT).from_bit(first_bit))
            }
            State::Select => {
                let [a, b, c, d, bcc] = self.known_bits();
                self.frame = [SEL[self.level.min(2)], NVB_ALL, a, b, c, d, bcc];
                let frame = Frame::new(Technology::A, &self.frame);
                Step::Exchange(frame, Expect::like(&frame, time::FDT_A_TIMEOUT))
            }
            State::Guard => {
                self.state = State::Request;
                Step::Pause(time::REQUEST_GUARD_TIME)
            }
            State::Done => Step::Done(self.outcome),
        }
    }

    fn answered(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        match self.state {
            State::Request => match outcome {
                // Once something has answered, silence is a failure like others.
                Err(RfError::Timeout) if self.heard => self.again(SelectError::Rf {
                    level: 0,
                    error: RfError::Timeout,
                }),
                Err(RfError::Timeout) => (self.state, self.outcome) = (State::Done, Ok(None)),
                Err(error) if !matches!(error, RfError::Collision { .. }) => {
                    self.heard = true;
                    self.again(SelectError::Rf { level: 0, error });
                }
                Ok(()) | Err(_) => {
                    self.heard = true;
                    let atqa = match answer.data[..] {
                        [low, high] if outcome.is_ok() => [low, high],
                        _ if outcome.is_ok() => return self.malformed("ATQA is not two bytes"),
                        // Cards of different kinds: what they agree on.
                        _ => [answer.data.first().copied().unwrap_or(0), answer.data.get(1).copied().unwrap_or(0)],
                    };
                    self.atqa = Atqa(atqa);
                    self.uid_length = 0;
                    self.begin_level(0);
                }
            },
            State::Anticollision => self.anticollision(outcome, answer),
            State::Select => self.selected(outcome, answer),
            State::Guard | State::Done => {}
        }
    }
}
