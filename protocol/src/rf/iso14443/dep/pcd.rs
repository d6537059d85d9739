//! The reader's half of ISO-DEP (ISO/IEC 14443-4 7.5): block number rules A and B, chaining, waiting time extension, and rules 4 to 8 when
//! a block is lost or damaged.
//!
//! After the first blocks of a session nothing is allocated: the block buffer belongs to the [`Pcd`], the answer's to the caller.

use alloc::vec::Vec;

use super::Parameters;
use super::block::{Block, Kind, WTXM_MAX};
use crate::rf::frame::{Expect, Frame, RfError, RxFrame};
use crate::rf::time::{self, Ticks};
use crate::rf::{Dialogue, Step};

/// Why an exchange failed. The session is then over: [deselect](Pcd::deselect) the card, or switch the field off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DepError {
    /// A block was lost or damaged, and repeating it did not help.
    #[error("no good block after {tries} tries: {error}; hold the card still and closer")]
    Lost {
        /// How often a block was asked for.
        tries: u8,
        /// The last failure.
        error: RfError,
    },
    /// The card breaks the rules, and repeating did not help.
    #[error("the card breaks the rules of ISO-DEP: {what} (block begins with {pcb:02x}); it is damaged, or no such card")]
    Protocol {
        /// Which rule.
        what: &'static str,
        /// The block's first byte.
        pcb: u8,
    },
    /// The answer is longer than an R-APDU can be.
    #[error("the card's answer has no end: more than {limit} bytes")]
    TooLong {
        /// So long it may be.
        limit: usize,
    },
    /// S(WTX) again and again.
    #[error("the card asked for more time {times} times; it is stuck, or far away")]
    Waiting {
        /// How often.
        times: u32,
    },
}

/// Longest R-APDU: 65536 bytes and the status word.
pub const MAX_RESPONSE: usize = 65_538;

/// The reader's half of a session with one card.
#[derive(Debug)]
pub struct Pcd {
    parameters: Parameters,
    number: u8,
    block: Vec<u8>,
    max_wtx: u32,
}

impl Pcd {
    /// A lost or damaged block is asked for so many times before the session is given up.
    pub const RETRIES: u8 = 3;
    /// S(WTX) is granted so many times for an answer. The caller's patience should end long before that.
    pub const MAX_WTX: u32 = 1000;
    /// I-blocks of a chain that carry nothing are taken so many times for an answer.
    const MAX_EMPTY: u8 = 16;

    /// A session that begins: the block number is 0 (rule A).
    #[must_use]
    pub fn new(parameters: Parameters) -> Self {
        Self {
            parameters,
            number: 0,
            block: Vec::with_capacity(parameters.fsc),
            max_wtx: Self::MAX_WTX,
        }
    }

    /// Grants S(WTX) so many times for an answer.
    #[must_use]
    pub const fn with_max_wtx(mut self, times: u32) -> Self {
        self.max_wtx = times;
        self
    }

    /// What both sides have agreed on.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The current block number.
    #[must_use]
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// Sends a C-APDU; the R-APDU replaces the content of `response`.
    pub fn transceive<'a>(&'a mut self, command: &'a [u8], response: &'a mut Vec<u8>) -> Transceive<'a> {
        response.clear();
        Transceive {
            max_wtx: self.max_wtx,
            pcd: self,
            command,
            response,
            start: 0,
            end: 0,
            ask: Ask::Information,
            collecting: false,
            empty: 0,
            tries: 0,
            repeats: 0,
            wtx: 0,
            wtxm: 1,
            outcome: None,
        }
    }

    /// Asks whether the card is still there: R(NAK), which it answers with R(ACK). Best between APDUs.
    pub const fn presence_check(&mut self) -> Ping<'_> {
        Ping {
            pcd: self,
            deselect: false,
            tries: 0,
            outcome: None,
        }
    }

    /// Ends the session: S(DESELECT), sent a second time if it is not answered (rule 8). The card then waits for WUPA or WUPB.
    pub const fn deselect(&mut self) -> Ping<'_> {
        Ping {
            pcd: self,
            deselect: true,
            tries: 0,
            outcome: None,
        }
    }

    fn write(&mut self, kind: Kind, inf: &[u8]) {
        let cid = self.parameters.cid;
        Block { kind, cid, inf }.write(&mut self.block);
    }

    fn exchange(&self, timeout: Ticks) -> (Frame<'_>, Expect) {
        let frame = Frame::new(self.parameters.technology, &self.block).at(self.parameters.send);
        let expect = Expect::like(&frame, timeout + time::DELTA_FWT).at(self.parameters.receive);
        (frame, expect)
    }

    /// A block of this session, or what is wrong with the answer.
    fn read<'b>(&self, outcome: Result<(), RfError>, answer: &'b RxFrame) -> Result<Block<'b>, DepError> {
        if let Err(error) = outcome {
            return Err(DepError::Lost { tries: 0, error });
        }
        let pcb = answer.data.first().copied().unwrap_or(0);
        let broken = |what| DepError::Protocol { what, pcb };
        let block = Block::parse(&answer.data).map_err(|_| broken("this is no block"))?;
        if !answer.is_whole() {
            return Err(broken("a block of odd bits"));
        }
        if block.cid != self.parameters.cid {
            return Err(broken("the block is for or from another card (CID)"));
        }
        Ok(block)
    }
}

/// What is sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// The I-block from `start` on.
    Information,
    /// R(ACK): the next part of the answer, or the last one again (rule 5).
    Ack,
    /// R(NAK): say it again (rule 4).
    Nak,
    /// S(WTX) response.
    Wtx,
}

/// One APDU on its way: a [`Dialogue`].
#[derive(Debug)]
pub struct Transceive<'a> {
    pcd: &'a mut Pcd,
    command: &'a [u8],
    response: &'a mut Vec<u8>,
    /// The part of the command that is in the current I-block.
    start: usize,
    end: usize,
    ask: Ask,
    /// Whether part of the answer is here already.
    collecting: bool,
    empty: u8,
    /// Failures since the last progress.
    tries: u8,
    /// How often the same I-block was sent since the last progress.
    repeats: u8,
    wtx: u32,
    wtxm: u8,
    max_wtx: u32,
    outcome: Option<Result<(), DepError>>,
}

impl Transceive<'_> {
    fn fail(&mut self, error: DepError) {
        self.response.clear();
        self.outcome = Some(Err(error));
    }

    /// Rules 4 and 5: say that the block was not understood.
    fn ask_again(&mut self, error: DepError) {
        self.tries += 1;
        if self.tries > Pcd::RETRIES {
            let tries = self.tries;
            return self.fail(match error {
                DepError::Lost { error, .. } => DepError::Lost { tries, error },
                other => other,
            });
        }
        self.ask = if self.collecting { Ask::Ack } else { Ask::Nak };
    }

    fn has_more(&self) -> bool {
        self.end < self.command.len()
    }

    fn information(&mut self, block: &Block<'_>, chaining: bool) {
        self.pcd.number ^= 1;
        if self.response.len() + block.inf.len() > MAX_RESPONSE {
            return self.fail(DepError::TooLong { limit: MAX_RESPONSE });
        }
        self.response.extend_from_slice(block.inf);
        (self.tries, self.repeats) = (0, 0);
        if !chaining {
            self.outcome = Some(Ok(()));
            return;
        }
        self.empty += u8::from(block.inf.is_empty());
        if self.empty > Pcd::MAX_EMPTY {
            return self.fail(DepError::Protocol {
                what: "a chain of empty blocks",
                pcb: 0x12,
            });
        }
        self.collecting = true;
        self.ask = Ask::Ack;
    }

    fn heard(&mut self, block: &Block<'_>, pcb: u8) {
        let broken = |what| DepError::Protocol { what, pcb };
        let current = self.pcd.number;
        match block.kind {
            Kind::I { number, chaining, .. } if number == current && !self.has_more() => self.information(block, chaining),
            Kind::I { number, .. } if number != current => self.ask_again(broken("an I-block with the wrong number")),
            Kind::I { .. } => self.ask_again(broken("an I-block in the middle of the command's chain")),
            Kind::Ack { number } if number == current && self.has_more() => {
                // Rule 7.
                self.pcd.number ^= 1;
                self.start = self.end;
                (self.tries, self.repeats) = (0, 0);
                self.ask = Ask::Information;
            }
            // Rule 6: the card has not had the I-block.
            Kind::Ack { number } if number != current && !self.collecting => {
                self.repeats += 1;
                if self.repeats > Pcd::RETRIES {
                    return self.fail(broken("the card asks for the same block again and again"));
                }
                self.ask = Ask::Information;
            }
            Kind::Ack { .. } => self.ask_again(broken("R(ACK) where an answer belongs")),
            Kind::Wtx(wtxm @ 1..=WTXM_MAX) => {
                self.wtx += 1;
                if self.wtx > self.max_wtx {
                    return self.fail(DepError::Waiting { times: self.wtx });
                }
                self.wtxm = wtxm;
                self.ask = Ask::Wtx;
            }
            Kind::Wtx(_) => self.ask_again(broken("S(WTX) with a multiplier outside 1 to 59")),
            Kind::Nak { .. } => self.ask_again(broken("R(NAK), which only a reader may send")),
            Kind::Deselect | Kind::Parameters => self.ask_again(broken("an S-block that nobody asked for")),
        }
    }
}

impl Dialogue for Transceive<'_> {
    type Output = Result<(), DepError>;

    fn poll(&mut self) -> Step<'_, Self::Output> {
        if let Some(outcome) = self.outcome {
            return Step::Done(outcome);
        }
        let parameters = self.pcd.parameters;
        let number = self.pcd.number;
        let mut fwt = parameters.fwt;
        match self.ask {
            Ask::Information => {
                // The node address stands in the first block of a chain.
                let nad = parameters.nad.filter(|_| self.start == 0);
                let room = parameters.room(parameters.fsc, nad.is_some());
                self.end = self.command.len().min(self.start + room);
                let chaining = self.has_more();
                let inf = &self.command[self.start..self.end];
                self.pcd.write(Kind::I { number, chaining, nad }, inf);
            }
            Ask::Ack => self.pcd.write(Kind::Ack { number }, &[]),
            Ask::Nak => self.pcd.write(Kind::Nak { number }, &[]),
            Ask::Wtx => {
                self.pcd.write(Kind::Wtx(self.wtxm), &[]);
                fwt = (fwt * u64::from(self.wtxm)).min(time::waiting_time(14));
            }
        }
        let (frame, expect) = self.pcd.exchange(fwt);
        Step::Exchange(frame, expect)
    }

    fn answered(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        if self.outcome.is_some() {
            return;
        }
        match self.pcd.read(outcome, answer) {
            Ok(block) => self.heard(&block, answer.data.first().copied().unwrap_or(0)),
            Err(error) => self.ask_again(error),
        }
    }
}

/// A presence check or a deselection on its way: a [`Dialogue`].
#[derive(Debug)]
pub struct Ping<'a> {
    pcd: &'a mut Pcd,
    deselect: bool,
    tries: u8,
    outcome: Option<Result<(), DepError>>,
}

impl Dialogue for Ping<'_> {
    type Output = Result<(), DepError>;

    fn poll(&mut self) -> Step<'_, Self::Output> {
        if let Some(outcome) = self.outcome {
            return Step::Done(outcome);
        }
        let (kind, fwt) = if self.deselect {
            (Kind::Deselect, time::FWT_ACTIVATION)
        } else {
            (Kind::Nak { number: self.pcd.number }, self.pcd.parameters.fwt)
        };
        self.pcd.write(kind, &[]);
        let (frame, expect) = self.pcd.exchange(fwt);
        Step::Exchange(frame, expect)
    }

    fn answered(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        let pcb = answer.data.first().copied().unwrap_or(0);
        let error = match self.pcd.read(outcome, answer) {
            Ok(block) => match block.kind {
                Kind::Deselect if self.deselect => return self.outcome = Some(Ok(())),
                // A card that has missed the last R(ACK) answers with its I-block: it is there.
                Kind::Ack { .. } | Kind::I { .. } if !self.deselect => return self.outcome = Some(Ok(())),
                _ => DepError::Protocol {
                    what: "not the answer that belongs here",
                    pcb,
                },
            },
            Err(error) => error,
        };
        self.tries += 1;
        let most = if self.deselect { 1 } else { Pcd::RETRIES };
        if self.tries > most {
            let tries = self.tries;
            self.outcome = Some(Err(match error {
                DepError::Lost { error, .. } => DepError::Lost { tries, error },
                other => other,
            }));
        }
    }
}
