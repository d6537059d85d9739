//! The card's part: the states IDLE, READY, ACTIVE and HALT of ISO/IEC 14443-3 6.3.

use super::{Atqa, HLTA, NVB_ALL, REQA, SEL, Sak, Uid, WUPA};
use crate::rf::frame::{BitRate, Frame, Received, RxFrame, Technology};

/// Where the card stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No field.
    #[default]
    PowerOff,
    /// Waits for REQA or WUPA.
    Idle,
    /// In the anticollision, at this cascade level from 0.
    Ready(usize),
    /// Selected; the next frame is for the layer above, or HLTA.
    Active,
    /// In a protocol of the layer above.
    Protocol,
    /// Waits for WUPA.
    Halt,
}

/// What comes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing is said.
    Silent,
    /// The answer is ready.
    Answer,
    /// The frame is for the layer above: the card is selected.
    Above,
}

/// A type A card up to its selection.
#[derive(Clone, Copy, Debug)]
pub struct Picc {
    uid: Uid,
    atqa: Atqa,
    sak: Sak,
    state: State,
    /// Whether it was woken from HALT (the states with a star): then a failure sends it back there.
    halted: bool,
}

impl Picc {
    /// A card without a field. `sak` is what the last level shows.
    #[must_use]
    pub const fn new(uid: Uid, atqa: Atqa, sak: Sak) -> Self {
        Self {
            uid,
            atqa,
            sak,
            state: State::PowerOff,
            halted: false,
        }
    }

    /// The field comes or goes.
    pub const fn field(&mut self, on: bool) {
        match (on, self.state) {
            (false, _) => self.state = State::PowerOff,
            (true, State::PowerOff) => self.state = State::Idle,
            (true, _) => return,
        }
        self.halted = false;
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Its identifier.
    #[must_use]
    pub const fn uid(&self) -> &Uid {
        &self.uid
    }

    /// Takes another identifier, as phones do each time a field comes.
    pub const fn set_uid(&mut self, uid: Uid) {
        self.uid = uid;
    }

    /// The layer above has begun: frames are its own until [`Self::halt`].
    pub const fn enter_protocol(&mut self) {
        self.state = State::Protocol;
    }

    /// The layer above has ended (S(DESELECT), DSL): waits for WUPA.
    pub const fn halt(&mut self) {
        if !matches!(self.state, State::PowerOff) {
            self.state = State::Halt;
            self.halted = true;
        }
    }

    /// An error, or a frame that does not belong here: back to IDLE or HALT, silently.
    pub const fn back(&mut self) -> Heard {
        if !matches!(self.state, State::PowerOff | State::Idle | State::Halt | State::Protocol) {
            self.state = if self.halted { State::Halt } else { State::Idle };
        }
        Heard::Silent
    }

    /// Takes a frame. In READY and below only frames at 106 kbit/s are understood.
    pub fn receive(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> Heard {
        let Ok(frame) = frame else {
            return self.back();
        };
        if self.state == State::Protocol {
            return Heard::Above;
        }
        if frame.technology != Technology::A || frame.rate != BitRate::Kbps106 || frame.first_bit != 0 {
            return self.back();
        }
        match self.state {
            State::PowerOff | State::Protocol => Heard::Silent,
            State::Idle | State::Halt => self.requested(&frame, answer),
            State::Ready(level) => self.ready(&frame, level, answer),
            State::Active if frame.crc && frame.data == HLTA => {
                self.halt();
                Heard::Silent
            }
            State::Active if frame.crc && frame.is_whole() => Heard::Above,
            State::Active => self.back(),
        }
    }

    fn requested(&mut self, frame: &Frame<'_>, answer: &mut RxFrame) -> Heard {
        let is_short = frame.last_bits == 7 && !frame.crc;
        let wakes = frame.data == WUPA || (frame.data == REQA && self.state == State::Idle);
        if !(is_short && wakes) {
            return Heard::Silent;
        }
        self.state = State::Ready(0);
        answer.set(&Frame::new(Technology::A, &self.atqa.0).bare());
        Heard::Answer
    }

    fn ready(&mut self, frame: &Frame<'_>, level: usize, answer: &mut RxFrame) -> Heard {
        let own = self.uid.level(level);
        match frame.data {
            [sel, NVB_ALL, uid @ ..] if *sel == SEL[level.min(2)] && frame.crc && frame.is_whole() => {
                if uid != own {
                    return self.back();
                }
                let sak = if level + 1 < self.uid.levels() {
                    self.state = State::Ready(level + 1);
                    self.sak.0 | 0x04
                } else {
                    self.state = State::Active;
                    self.sak.0 & !0x04
                };
                answer.set(&Frame::new(Technology::A, &[sak]));
                Heard::Answer
            }
            [sel, nvb, known @ ..] if *sel == SEL[level.min(2)] && !frame.crc => {
                let bits = usize::from(nvb >> 4) * 8 + usize::from(nvb & 0x0F);
                let is_right = (16..56).contains(&bits) && nvb & 0x0F < 8 && bits == frame.bits();
                let same = |bit: usize| known.get(bit / 8).is_some_and(|byte| (byte ^ own[bit / 8]) >> (bit % 8) & 1 == 0);
                if !is_right || !(0..bits - 16).all(same) {
                    return self.back();
                }
                let bits = bits - 16;
                answer.set(&Frame::new(Technology::A, &own[bits / 8..]).bare());
                // A remainder of 8.
                let first_bit = (bits % 8) as u8;
                answer.first_bit = first_bit;
                if let Some(byte) = answer.data.first_mut() {
                    *byte &= 0xFF << first_bit;
                }
                Heard::Answer
            }
            _ => self.back(),
        }
    }
}
