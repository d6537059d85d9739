//! One conversation: chaining, and answers in parts (ISO/IEC 7816-4 5.3; ISO/IEC 7816-3 12.1.4). A chip has one with the field and one by the wire.
//!
//! Answers are cut at 255 bytes for short commands (never 256, which some readers cannot carry) and continued by 61xx and GET RESPONSE.

use tapdoor_protocol::apdu::chain::{Assembler, Step};
use tapdoor_protocol::apdu::{ApduError, Command};
use tapdoor_protocol::door::ins::CONTROL_FLOW;
use tapdoor_protocol::status::StatusWord;

use crate::applet::ApduRules;

/// Longest data of a command chain.
const CHAIN_LIMIT: usize = 32 * 1024;

/// How commands are to be taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// Whether secure messaging is understood.
    pub(crate) secure: bool,
    /// What the application wants.
    pub(crate) apdus: ApduRules,
}

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
    /// whole, and an empty answer to fill. False when the command was refused here.
    pub(crate) fn run(
        &mut self,
        bytes: &[u8],
        response: &mut Vec<u8>,
        rules: Rules,
        execute: impl FnOnce(&Command<'_>, &mut Vec<u8>) -> StatusWord,
    ) -> bool {
        response.clear();
        let taken = match Command::parse(bytes) {
            Ok(command) if command.extended && rules.apdus.extended.is_none_or(|(most, _)| bytes.len() > most) => {
                Err(StatusWord::WRONG_LENGTH)
            }
            Ok(command) => self.command(&command, response, rules, execute),
            Err(ApduError::Class { .. }) => Err(StatusWord::CLA_NOT_SUPPORTED),
            Err(_) => Err(StatusWord::WRONG_LENGTH),
        };
        let (Ok(sw) | Err(sw)) = taken;
        response.extend_from_slice(&sw.to_bytes());
        taken.is_ok()
    }

    fn command(
        &mut self,
        command: &Command<'_>,
        response: &mut Vec<u8>,
        rules: Rules,
        execute: impl FnOnce(&Command<'_>, &mut Vec<u8>) -> StatusWord,
    ) -> Result<StatusWord, StatusWord> {
        if command.channel() != 0 {
            return Err(StatusWord::CHANNEL_NOT_SUPPORTED);
        }
        if command.secure_messaging() && !rules.secure {
            return Err(StatusWord::SECURE_MESSAGING_NOT_SUPPORTED);
        }
        // Some terminals keep the class of the command whose answer they fetch.
        let pending = self.given < self.answer.len();
        if command.ins == 0xC0 && (command.cla == 0x00 || (command.cla == 0x80 && pending)) && self.assembler.is_idle() {
            return self.get_response(command, response, rules);
        }
        let breaks = matches!((command.cla, command.ins, command.p1), (0x00, 0xA4, 0x04) | (0x80, CONTROL_FLOW, _));
        if rules.apdus.breaks_chain && breaks {
            self.assembler.reset();
        }
        self.answer.clear();
        self.given = 0;
        if self.assembler.passes(command) {
            self.sw = execute(command, &mut self.answer);
        } else {
            match self.assembler.feed(command) {
                Step::More => return Ok(StatusWord::OK),
                Step::Refused(sw) => return Err(sw),
                Step::Whole(owned) => self.sw = execute(&owned.as_command(), &mut self.answer),
            }
        }
        Ok(self.part(command.ne, command.extended, rules, response))
    }

    fn get_response(&mut self, command: &Command<'_>, response: &mut Vec<u8>, rules: Rules) -> Result<StatusWord, StatusWord> {
        if (command.p1, command.p2) != (0, 0) {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        if !command.data.is_empty() {
            return Err(StatusWord::WRONG_LENGTH);
        }
        if self.given >= self.answer.len() {
            return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
        }
        Ok(self.part(command.ne, command.extended, rules, response))
    }

    /// The next part of the answer, and the status word behind it.
    fn part(&mut self, ne: u32, extended: bool, rules: Rules, response: &mut Vec<u8>) -> StatusWord {
        let rest = self.answer.get(self.given..).unwrap_or(&[]);
        let most = match rules.apdus.extended {
            Some((_, most)) if extended => most.saturating_sub(2).max(1),
            _ => rules.apdus.part,
        };
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
            left @ 1..=0xFF => StatusWord(0x6100 | left as u16),
            // As many as one response can carry, or more.
            _ => StatusWord(if rules.apdus.part < 0xFF { 0x6100 } else { 0x61FF }),
        }
    }
}
