//! The reader's part: find a card, in slots where several answer at once, and select it with ATTRIB (ISO/IEC 14443-3 7.3 to 7.10).

use alloc::vec::Vec;

use super::{ATTRIB, Atqb, Request, SLOTS_MAX};
use crate::rf::frame::{BitRate, Expect, Frame, RfError, RxFrame, Technology};
use crate::rf::iso14443::dep::activate::Wishes;
use crate::rf::iso14443::dep::ats::CID_MAX;
use crate::rf::iso14443::dep::{Parameters, frame_size};
use crate::rf::time;
use crate::rf::{Dialogue, Step};

/// Finds one card.
///
/// When answers collide, the request is sent again with twice as many slots, up to 16, and each slot is asked for in turn; the first
/// good ATQB is taken.
#[derive(Debug)]
pub struct Select {
    request: Request,
    frame: [u8; 3],
    /// The slot that is asked for; 0 is the request's own.
    slot: u8,
    /// Whether anything was heard in this round.
    collided: bool,
    /// Requests that are left once something was heard.
    attempts: u8,
    pause: bool,
    outcome: Option<Result<Option<Atqb>, RfError>>,
    error: RfError,
}

impl Select {
    /// Rounds of requests after answers that could not be read.
    pub const RETRIES: u8 = 8;

    /// Finds a card of this family (0: any). With `wake` halted ones, too.
    #[must_use]
    pub const fn new(afi: u8, wake: bool) -> Self {
        let request = Request {
            afi,
            wake,
            slots: 0,
            extended: false,
        };
        Self {
            request,
            frame: request.encode(),
            slot: 0,
            collided: false,
            attempts: Self::RETRIES,
            pause: false,
            outcome: None,
            error: RfError::Timeout,
        }
    }

    /// What it has come to, once it has ended.
    #[must_use]
    pub const fn finished(&self) -> Option<Result<Option<Atqb>, RfError>> {
        self.outcome
    }

    fn next_slot(&mut self) {
        self.slot += 1;
        if self.slot < 1 << self.request.slots {
            return;
        }
        self.slot = 0;
        if !self.collided {
            // Nobody now. Once something was heard, that is a failure.
            let heard = self.attempts < Self::RETRIES;
            if !heard {
                self.outcome = Some(Ok(None));
                return;
            }
        }
        match self.attempts.checked_sub(1) {
            None => self.outcome = Some(Err(self.error)),
            Some(left) => {
                self.attempts = left;
                self.request.slots = (self.request.slots + u8::from(self.collided)).min(SLOTS_MAX);
                self.frame = self.request.encode();
                self.collided = false;
                self.pause = true;
            }
        }
    }
}

impl Dialogue for Select {
    /// `None` when nothing answered; an error when what answered could not be read.
    type Output = Result<Option<Atqb>, RfError>;

    fn poll(&mut self) -> Step<'_, Self::Output> {
        if let Some(outcome) = self.outcome {
            return Step::Done(outcome);
        }
        if core::mem::take(&mut self.pause) {
            return Step::Pause(time::REQUEST_GUARD_TIME);
        }
        let data = match self.slot {
            0 => &self.frame[..],
            slot => {
                self.frame[0] = slot << 4 | super::APF;
                &self.frame[..1]
            }
        };
        let frame = Frame::new(Technology::B, data);
        Step::Exchange(frame, Expect::like(&frame, time::FDT_B_ATQB_TIMEOUT))
    }

    fn answered(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        match (outcome, Atqb::parse(&answer.data)) {
            (Ok(()), Some(atqb)) => self.outcome = Some(Ok(Some(atqb))),
            (Err(RfError::Timeout), _) => self.next_slot(),
            (outcome, _) => {
                self.error = outcome.err().unwrap_or(RfError::Framing);
                self.collided = true;
                self.next_slot();
            }
        }
    }
}

/// ATTRIB: selects a card and agrees on frame sizes, rates and its number.
#[derive(Debug)]
pub struct Attrib {
    frame: Vec<u8>,
    parameters: Parameters,
    cid: u8,
    timeout: time::Ticks,
    retries: u8,
    outcome: Option<Result<Parameters, RfError>>,
}

impl Attrib {
    /// Selects the card of this ATQB.
    #[must_use]
    pub fn new(atqb: &Atqb, wishes: Wishes) -> Self {
        let cid = wishes.cid.filter(|cid| atqb.cid && *cid <= CID_MAX);
        let (send, receive) = atqb.rates.best(wishes.rate);
        let parameters = Parameters {
            technology: Technology::B,
            fsc: atqb.fsc().min(wishes.max_send).max(frame_size(0)),
            fsd: frame_size(wishes.fsdi),
            fwt: atqb.fwt(),
            cid,
            nad: wishes.nad.filter(|_| atqb.nad),
            send,
            receive,
        };
        let mut frame = Vec::with_capacity(9);
        frame.push(ATTRIB);
        frame.extend_from_slice(&atqb.pupi.0);
        let rates = receive.divisor_code() << 6 | send.divisor_code() << 4;
        frame.extend_from_slice(&[0, rates | wishes.fsdi & 0x0F, atqb.protocol & 0x07, cid.unwrap_or(0)]);
        Self {
            frame,
            parameters,
            cid: cid.unwrap_or(0),
            timeout: atqb.fwt().max(time::FWT_ACTIVATION) + time::DELTA_FWT,
            retries: 1,
            outcome: None,
        }
    }

    /// What it has come to, once it has ended.
    #[must_use]
    pub const fn finished(&self) -> Option<Result<Parameters, RfError>> {
        self.outcome
    }
}

impl Dialogue for Attrib {
    type Output = Result<Parameters, RfError>;

    fn poll(&mut self) -> Step<'_, Self::Output> {
        if let Some(outcome) = self.outcome {
            return Step::Done(outcome);
        }
        let frame = Frame::new(Technology::B, &self.frame);
        // The new rates count from the answer to ATTRIB on... which itself is still at 106 kbit/s.
        Step::Exchange(frame, Expect::like(&frame, self.timeout).at(BitRate::Kbps106))
    }

    fn answered(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        let outcome = outcome.and_then(|()| match answer.data[..] {
            [first, ..] if first & 0x0F == self.cid => Ok(self.parameters),
            _ => Err(RfError::Framing),
        });
        match (outcome, self.retries.checked_sub(1)) {
            (Err(_), Some(left)) => self.retries = left,
            (outcome, _) => self.outcome = Some(outcome),
        }
    }
}
