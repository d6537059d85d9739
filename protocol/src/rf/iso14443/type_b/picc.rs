//! The card's part: the states IDLE, READY-REQUESTED, READY-DECLARED, ACTIVE and HALT of ISO/IEC 14443-3 7.4.

use super::{APF, ATQB, ATTRIB, Atqb, Pupi, Request};
use crate::rf::frame::{BitRate, Frame, Received, RxFrame, Technology};
use crate::rf::iso14443::dep::ats::CID_MAX;
use crate::rf::iso14443::dep::{Parameters, frame_size};

/// Where the card stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No field.
    #[default]
    PowerOff,
    /// Waits for REQB or WUPB.
    Idle,
    /// Waits for its slot.
    Requested {
        /// Its number, from 1.
        slot: u8,
    },
    /// Has sent its ATQB.
    Declared,
    /// Selected: frames are for the layer above.
    Active,
    /// Waits for WUPB.
    Halt,
}

/// What comes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing is said.
    Silent,
    /// The answer is ready.
    Answer,
    /// The card is selected, and its answer is ready: ISO-DEP begins with these parameters.
    Selected(Parameters),
    /// The frame is for the layer above.
    Above,
}

/// A type B card up to its selection.
#[derive(Clone, Copy, Debug)]
pub struct Picc {
    atqb: Atqb,
    state: State,
    /// Chooses slots.
    random: u32,
}

impl Picc {
    /// A card without a field. `random` is what its choice of slots begins with.
    #[must_use]
    pub const fn new(atqb: Atqb, random: u32) -> Self {
        Self {
            atqb,
            state: State::PowerOff,
            random: random | 1,
        }
    }

    /// The field comes or goes.
    pub const fn field(&mut self, on: bool) {
        match (on, self.state) {
            (false, _) => self.state = State::PowerOff,
            (true, State::PowerOff) => self.state = State::Idle,
            (true, _) => {}
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Takes another identifier.
    pub const fn set_pupi(&mut self, pupi: Pupi) {
        self.atqb.pupi = pupi;
    }

    /// The layer above has ended: waits for WUPB.
    pub const fn halt(&mut self) {
        if !matches!(self.state, State::PowerOff) {
            self.state = State::Halt;
        }
    }

    /// Xorshift: slots need to differ, not to be secret.
    const fn draw(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    /// Takes a frame. Damaged ones change nothing.
    pub fn receive(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> Heard {
        let Ok(frame) = frame else {
            return Heard::Silent;
        };
        if self.state == State::Active {
            return Heard::Above;
        }
        let is_ours = frame.technology == Technology::B && frame.rate == BitRate::Kbps106 && frame.crc && frame.is_whole();
        if !is_ours || self.state == State::PowerOff {
            return Heard::Silent;
        }
        if let Some(request) = Request::parse(frame.data) {
            return self.requested(request, answer);
        }
        match (frame.data, self.state) {
            ([marker], State::Requested { slot }) if marker & 0x0F == APF && marker >> 4 == slot - 1 => self.declare(answer),
            ([ATTRIB, p0, p1, p2, p3, param1, param2, param3, cid, ..], State::Declared) if self.atqb.pupi.0 == [*p0, *p1, *p2, *p3] => {
                // Neither ISO-DEP nor a number that there is: not understood. Shorter guard times (param 1) are not needed.
                let _ = param1;
                if param3 & 1 == 0 || cid & 0x0F > CID_MAX || !self.atqb.has_iso_dep() {
                    return Heard::Silent;
                }
                self.select(*param2, *cid & 0x0F, answer)
            }
            ([ATQB, pupi @ ..], State::Declared) if pupi == self.atqb.pupi.0 => {
                self.state = State::Halt;
                answer.set(&Frame::new(Technology::B, &[0x00]));
                Heard::Answer
            }
            _ => Heard::Silent,
        }
    }

    fn requested(&mut self, request: Request, answer: &mut RxFrame) -> Heard {
        if self.state == State::Halt && !request.wake {
            return Heard::Silent;
        }
        if !request.means(self.atqb.application[0]) {
            self.state = State::Idle;
            return Heard::Silent;
        }
        let slots = 1u32 << request.slots;
        // At most 16.
        let slot = (self.draw() % slots) as u8 + 1;
        if slot == 1 {
            return self.declare(answer);
        }
        self.state = State::Requested { slot };
        Heard::Silent
    }

    fn declare(&mut self, answer: &mut RxFrame) -> Heard {
        self.state = State::Declared;
        answer.set(&Frame::new(Technology::B, &[]));
        self.atqb.encode_into(&mut answer.data);
        Heard::Answer
    }

    fn select(&mut self, param2: u8, cid: u8, answer: &mut RxFrame) -> Heard {
        let rate = |code| BitRate::from_divisor_code(code).unwrap_or_default();
        let (send, receive) = (rate(param2 >> 4 & 3), rate(param2 >> 6));
        if !self.atqb.rates.send(send) || !self.atqb.rates.receive(receive) {
            return Heard::Silent;
        }
        self.state = State::Active;
        answer.set(&Frame::new(Technology::B, &[cid]));
        Heard::Selected(Parameters {
            technology: Technology::B,
            fsc: self.atqb.fsc(),
            fsd: frame_size(param2 & 0x0F),
            fwt: self.atqb.fwt(),
            cid: self.atqb.cid.then_some(cid),
            nad: None,
            send,
            receive,
        })
    }
}
