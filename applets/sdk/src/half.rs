//! The shells around a method's two halves (docs/protocol.md sections 3, 4, 5 and 9).

use alloc::vec::Vec;

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::{self, Algorithm};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{Event, LockStep, PhoneMethod, fci, ins};
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::{challenge_response, tlv};

use crate::{Applet, Chip};

/// P2 of a SELECT that wants an FCI or nothing (ISO/IEC 7816-4 table 63).
fn wants_fci(p2: u8) -> Result<bool, StatusWord> {
    match p2 & 0x0C {
        0x00 => Ok(true),
        0x0C => Ok(false),
        _ => Err(StatusWord::INCORRECT_P1_P2),
    }
}

/// A phone's half.
#[derive(Debug)]
pub struct PhoneHalf<M>(pub M);

impl<M: PhoneMethod> Applet for PhoneHalf<M> {
    fn select(&mut self, chip: &mut Chip, p2: u8, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        let wanted = wants_fci(p2)?;
        let aid = chip.aid();
        let proprietary = self.0.select(chip, aid.as_bytes())?;
        if wanted {
            out.extend(fci::template(aid.as_bytes(), &proprietary));
        }
        Ok(())
    }

    fn process(&mut self, chip: &mut Chip, command: &Command<'_>, out: &mut Vec<u8>) -> Result<Option<Event>, StatusWord> {
        let aid = chip.aid();
        self.0.process(chip, aid.as_bytes(), command, out)
    }

    fn deselect(&mut self, chip: &mut Chip) {
        self.0.deselect(chip);
    }
}

/// The lock's half of a method.
pub trait LockMethod {
    /// BEGIN with this P2; `aid` is the phone's application.
    ///
    /// # Errors
    /// The method's own, and 6A86 for a P2 that it does not know.
    fn begin(&mut self, chip: &mut Chip, aid: &[u8], p2: u8, data: &[u8]) -> Result<LockStep, StatusWord>;

    /// NEXT.
    ///
    /// # Errors
    /// The method's own.
    fn next(&mut self, chip: &mut Chip, aid: &[u8], answer: &[u8]) -> Result<LockStep, StatusWord>;

    /// Forgets an unfinished tap.
    fn reset(&mut self, chip: &mut Chip);
}

impl LockMethod for challenge_response::Lock {
    fn begin(&mut self, chip: &mut Chip, aid: &[u8], p2: u8, data: &[u8]) -> Result<LockStep, StatusWord> {
        match p2 {
            0 => self.begin(chip, aid, data),
            _ => Err(StatusWord::INCORRECT_P1_P2),
        }
    }

    fn next(&mut self, chip: &mut Chip, _aid: &[u8], answer: &[u8]) -> Result<LockStep, StatusWord> {
        self.next(chip, answer)
    }

    fn reset(&mut self, chip: &mut Chip) {
        self.reset(chip);
    }
}

impl LockMethod for aka::profile_p::Lock {
    fn begin(&mut self, chip: &mut Chip, aid: &[u8], p2: u8, data: &[u8]) -> Result<LockStep, StatusWord> {
        let algorithm = Algorithm::from_p2(p2).ok_or(StatusWord::INCORRECT_P1_P2)?;
        self.begin(chip, aid, algorithm, data)
    }

    fn next(&mut self, chip: &mut Chip, aid: &[u8], answer: &[u8]) -> Result<LockStep, StatusWord> {
        self.next(chip, aid, answer)
    }

    fn reset(&mut self, chip: &mut Chip) {
        self.reset(chip);
    }
}

/// A lock's half.
#[derive(Debug)]
pub struct LockHalf<M> {
    phone_aid: Option<Aid>,
    method: M,
}

impl<M: LockMethod> LockHalf<M> {
    /// The half with these parameters (tag 4F: AID of the phone's application).
    #[must_use]
    pub fn new(parameters: &[u8], method: M) -> Self {
        let phone_aid = tlv::find(parameters, 0x4F).and_then(Aid::new);
        Self { phone_aid, method }
    }
}

impl<M: LockMethod> Applet for LockHalf<M> {
    fn select(&mut self, chip: &mut Chip, p2: u8, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        if wants_fci(p2)? {
            out.extend(fci::template(chip.aid().as_bytes(), &[]));
        }
        Ok(())
    }

    fn process(&mut self, chip: &mut Chip, command: &Command<'_>, out: &mut Vec<u8>) -> Result<Option<Event>, StatusWord> {
        if command.cla != 0x80 {
            return Err(StatusWord::CLA_NOT_SUPPORTED);
        }
        if !matches!(command.ins, ins::BEGIN | ins::NEXT | ins::REQUEST) {
            return Err(StatusWord::INS_NOT_SUPPORTED);
        }
        if command.p1 != 0 || (command.ins != ins::BEGIN && command.p2 != 0) {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        let aid = self.phone_aid.ok_or(StatusWord::CONDITIONS_NOT_SATISFIED);
        let step = match command.ins {
            ins::BEGIN => self.method.begin(chip, aid?.as_bytes(), command.p2, command.data)?,
            ins::NEXT => self.method.next(chip, aid?.as_bytes(), command.data)?,
            _ => return Err(StatusWord::INS_NOT_SUPPORTED),
        };
        out.extend(step.encode());
        Ok(None)
    }

    fn deselect(&mut self, chip: &mut Chip) {
        self.method.reset(chip);
    }
}
