//! One conversation: chaining, and answers in parts (ISO/IEC 7816-4 5.3; ISO/IEC 7816-3 12.1.4). A chip has one with the field and one by the wire.
//!
//! Answers are cut at 255 bytes for short commands (never 256, which some readers cannot carry) and continued by 61xx and GET RESPONSE.

use tapdoor_protocol::apdu::chain::{Assembler, Step};
use tapdoor_protocol::apdu::{ApduError, Command};
use tapdoor_protocol::status::StatusWord;

/// Longest data of a command chain.
const CHAIN_LIMIT: usize = 32 * 1024;
/// Longest part of an answer to a short command.
const SHORT_PART: usize = 255;

/// The state of a conversation.
pub(crate) struct Exchange {
    assembler: Assembler,
    /// The answer being given out, and how much of it is gone.
    answer: Vec<u8>,
    given: usize,
    /// The status word that follows the last part.
    sw: StatusWord,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        Self {
            assembler: Assembler::new(CHAIN_LIMIT),
            answer: Vec::with_capacity(512),
            given: 0,
            sw: StatusWord::OK,
        }
    }

    /// Forgets every unfinished answer and chain.
    pub(crate) fn reset(&mut self) {
        self.assembler.reset();
        self.answer.clear();
        self.given = 0;
    }

    /// Processes a C-APDU: `response` becomes the R-APDU. Whatever the bytes are, there is an answer. `execute` gets each command that is
    /// whole, and an empty answer to fill. `secure`: whether secure messaging is understood.
    pub(crate) fn run(
        &mut self,
        bytes: &[u8],
        response: &mut Vec<u8>,
        secure: bool,
        execute: impl FnOnce(&Command<'_>, &mut Vec<u8>) -> StatusWord,
    ) {
        response.clear();
        let sw = match Command::parse(bytes) {
            Ok(command) => self.command(&command, response, secure, execute),
            Err(ApduError::Class { .. }) => StatusWord::CLA_NOT_SUPPORTED,
            Err(_) => StatusWord::WRONG_LENGTH,
        };
        response.extend_from_slice(&sw.to_bytes());
    }

    fn command(
        &mut self,
        command: &Command<'_>,
        response: &mut Vec<u8>,
        secure: bool,
        execute: impl FnOnce(&Command<'_>, &mut Vec<u8>) -> StatusWord,
    ) -> StatusWord {
        if command.channel() != 0 {
            return StatusWord::CHANNEL_NOT_SUPPORTED;
        }
        if command.secure_messaging() && !secure {
            return StatusWord::SECURE_MESSAGING_NOT_SUPPORTED;
        }
        if command.cla == 0x00 && command.ins == 0xC0 && self.assembler.is_idle() {
            return self.get_response(command, response);
        }
        self.answer.clear();
        self.given = 0;
        if self.assembler.passes(command) {
            self.sw = execute(command, &mut self.answer);
        } else {
            match self.assembler.feed(command) {
                Step::More => return StatusWord::OK,
                Step::Refused(sw) => return sw,
                Step::Whole(owned) => self.sw = execute(&owned.as_command(), &mut self.answer),
            }
        }
        self.part(command.ne, command.extended, response)
    }

    fn get_response(&mut self, command: &Command<'_>, response: &mut Vec<u8>) -> StatusWord {
        if (command.p1, command.p2) != (0, 0) {
            return StatusWord::INCORRECT_P1_P2;
        }
        if !command.data.is_empty() {
            return StatusWord::WRONG_LENGTH;
        }
        if self.given >= self.answer.len() {
            return StatusWord::CONDITIONS_NOT_SATISFIED;
        }
        self.part(command.ne, command.extended, response)
    }

    /// The next part of the answer, and the status word behind it.
    fn part(&mut self, ne: u32, extended: bool, response: &mut Vec<u8>) -> StatusWord {
        let rest = self.answer.get(self.given..).unwrap_or(&[]);
        let most = if extended { usize::MAX } else { SHORT_PART };
        // Without Le the data come all the same, as phones do it under T=CL.
        let wanted = if ne == 0 {
            most
        } else {
            usize::try_from(ne).unwrap_or(usize::MAX).min(most)
        };
        let part = rest.get(..wanted).unwrap_or(rest);
        response.extend_from_slice(part);
        self.given += part.len();
        match self.answer.len() - self.given {
            0 => self.sw,
            left => StatusWord(0x6100 | u16::try_from(left.min(SHORT_PART)).unwrap_or(0xFF)),
        }
    }
}
