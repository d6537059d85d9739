//! The card's half of ISO-DEP (ISO/IEC 14443-4 7.5): block number rules C to E, chaining, S(WTX), S(DESELECT), and rules 9 to 13.
//!
//! A card never asks for a repetition: what it does not understand it does not answer.

use alloc::vec::Vec;

use super::Parameters;
use super::block::{Block, Kind, WTXM_MAX};

/// Longest C-APDU: extended header, 65535 bytes of data and Le. A longer chain is forgotten and not answered.
pub const MAX_COMMAND: usize = 65_544;

/// What comes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing is said.
    Silent,
    /// [`Picc::block`] is to be sent.
    Answer,
    /// [`Picc::command`] is complete: [respond](Picc::respond) to it, or ask for [more time](Picc::ask_for_time).
    Command,
    /// More time was granted: go on with the work, then respond or ask again.
    Granted,
    /// The session is over: [`Picc::block`] is to be sent, and then the card waits to be woken.
    Deselected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for a command, or for more of one.
    Waiting,
    /// The command is complete and not yet responded to.
    Working,
    /// S(WTX) was sent.
    Asking,
    /// Part of the response was sent.
    Chaining,
}

/// The card's half of a session.
#[derive(Debug)]
pub struct Picc {
    parameters: Parameters,
    number: u8,
    state: State,
    command: Vec<u8>,
    /// A chain of a command is under way.
    collecting: bool,
    response: Vec<u8>,
    sent: usize,
    /// The last block, which is sent again when it is asked for.
    block: Vec<u8>,
    /// Whether the blocks of the current answer have the CID.
    with_cid: bool,
    nad: Option<u8>,
}

impl Picc {
    /// A session that begins: the block number is 1 (rule C). `parameters.cid` is the number from RATS or ATTRIB; `None` if this card
    /// does not know CIDs. `parameters.nad` is not looked at: a node address comes back as it came.
    #[must_use]
    pub fn new(parameters: Parameters) -> Self {
        Self {
            parameters,
            number: 1,
            state: State::Waiting,
            command: Vec::new(),
            collecting: false,
            response: Vec::new(),
            sent: 0,
            block: Vec::with_capacity(parameters.fsd),
            with_cid: false,
            nad: None,
        }
    }

    /// What both sides have agreed on.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Begins afresh with other parameters; the buffers stay.
    pub fn restart(&mut self, parameters: Parameters) {
        self.parameters = parameters;
        self.number = 1;
        self.state = State::Waiting;
        self.collecting = false;
        self.command.clear();
        self.response.clear();
        self.block.clear();
        self.sent = 0;
    }

    /// The rates of PPS.
    pub const fn set_rates(&mut self, send: crate::rf::frame::BitRate, receive: crate::rf::frame::BitRate) {
        self.parameters.send = send;
        self.parameters.receive = receive;
    }

    /// The C-APDU, after [`Heard::Command`].
    #[must_use]
    pub fn command(&self) -> &[u8] {
        &self.command
    }

    /// The block that is to be sent.
    #[must_use]
    pub fn block(&self) -> &[u8] {
        &self.block
    }

    /// Takes a block whose checksum was right.
    pub fn receive(&mut self, bytes: &[u8]) -> Heard {
        let Ok(block) = Block::parse(bytes) else {
            return Heard::Silent;
        };
        match (block.cid, self.parameters.cid) {
            (None, None | Some(0)) => self.with_cid = false,
            (Some(theirs), Some(own)) if theirs == own => self.with_cid = true,
            _ => return Heard::Silent,
        }
        match block.kind {
            Kind::I { chaining, nad, .. } => self.information(&block, chaining, nad),
            // Rule 11.
            Kind::Ack { number } | Kind::Nak { number } if number == self.number => self.last_again(),
            // Rule 13, with rule E.
            Kind::Ack { .. } if self.state == State::Chaining => {
                self.number ^= 1;
                self.next_part();
                Heard::Answer
            }
            // Rule 12.
            Kind::Nak { .. } if matches!(self.state, State::Waiting | State::Chaining) => {
                self.write(Kind::Ack { number: self.number }, 0..0);
                Heard::Answer
            }
            Kind::Wtx(_) if self.state == State::Asking => {
                self.state = State::Working;
                Heard::Granted
            }
            Kind::Deselect => {
                self.state = State::Waiting;
                self.write(Kind::Deselect, 0..0);
                Heard::Deselected
            }
            _ => Heard::Silent,
        }
    }

    fn last_again(&self) -> Heard {
        // While it works the card has said nothing to this command yet.
        if self.block.is_empty() || self.state == State::Working {
            Heard::Silent
        } else {
            Heard::Answer
        }
    }

    fn information(&mut self, block: &Block<'_>, chaining: bool, nad: Option<u8>) -> Heard {
        if matches!(self.state, State::Working | State::Asking) {
            return Heard::Silent;
        }
        // Rule D: whatever number the block has.
        self.number ^= 1;
        if !self.collecting {
            self.command.clear();
            self.nad = nad;
        }
        self.state = State::Waiting;
        self.collecting = chaining;
        if self.command.len() + block.inf.len() > MAX_COMMAND {
            self.command.clear();
            self.collecting = false;
            return Heard::Silent;
        }
        self.command.extend_from_slice(block.inf);
        if chaining {
            // Rule 2.
            self.write(Kind::Ack { number: self.number }, 0..0);
            Heard::Answer
        } else {
            self.state = State::Working;
            Heard::Command
        }
    }

    /// Responds to the command; [`Self::block`] is then the first block of the response.
    pub fn respond(&mut self, response: &[u8]) {
        self.response.clear();
        self.response.extend_from_slice(response);
        self.sent = 0;
        self.next_part();
    }

    /// Asks for `wtxm` (1 to 59) times the waiting time; [`Self::block`] is then S(WTX). Only between a command and its response.
    pub fn ask_for_time(&mut self, wtxm: u8) {
        if self.state == State::Working {
            self.state = State::Asking;
            self.write(Kind::Wtx(wtxm.clamp(1, WTXM_MAX)), 0..0);
        }
    }

    fn next_part(&mut self) {
        let nad = self.nad.filter(|_| self.sent == 0);
        let parameters = Parameters {
            cid: self.parameters.cid.filter(|_| self.with_cid),
            ..self.parameters
        };
        let room = parameters.room(parameters.fsd, nad.is_some());
        let end = self.response.len().min(self.sent + room);
        let chaining = end < self.response.len();
        let number = self.number;
        self.write(Kind::I { number, chaining, nad }, self.sent..end);
        self.sent = end;
        self.state = if chaining { State::Chaining } else { State::Waiting };
    }

    fn write(&mut self, kind: Kind, part: core::ops::Range<usize>) {
        let cid = self.parameters.cid.filter(|_| self.with_cid);
        let inf = self.response.get(part).unwrap_or_default();
        Block { kind, cid, inf }.write(&mut self.block);
    }
}
