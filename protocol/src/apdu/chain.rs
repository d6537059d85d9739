//! Command chaining on the card's side (ISO/IEC 7816-4 5.1.1.1).

use alloc::vec::Vec;
use core::mem;

use super::Command;
use crate::status::StatusWord;

/// A command that owns its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedCommand {
    /// Class, without the chaining bit.
    pub cla: u8,
    /// Instruction.
    pub ins: u8,
    /// First parameter.
    pub p1: u8,
    /// Second parameter.
    pub p2: u8,
    /// The data of all commands of the chain.
    pub data: Vec<u8>,
    /// Ne of the last command.
    pub ne: u32,
    /// Whether the last command had extended lengths: the answer may then be longer than 256 bytes.
    pub extended: bool,
}

impl OwnedCommand {
    /// The command, borrowed.
    #[must_use]
    pub fn as_command(&self) -> Command<'_> {
        Command {
            cla: self.cla,
            ins: self.ins,
            p1: self.p1,
            p2: self.p2,
            data: &self.data,
            ne: self.ne,
            extended: self.extended,
        }
    }
}

/// What to do after a command was fed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Answer 9000 and wait: the chain goes on.
    More,
    /// Execute this command.
    Whole(OwnedCommand),
    /// Answer this status word and execute nothing; the chain, if there was one, is dropped.
    Refused(StatusWord),
}

/// Puts the commands of a chain together, for one logical channel.
///
/// A Le in a command that is not the last is ignored: some terminals send one. Commands of other channels must not be
/// fed here, so a card with several channels has one assembler for each.
///
/// ```
/// use tapdoor_protocol::apdu::{Command, chain::{Assembler, Step}};
///
/// # let mut answers = Vec::new();
/// # let mut execute = |command: Command<'_>| answers.push(command.data.len());
/// let mut assembler = Assembler::new(4096);
/// for command in Command::new(0x80, 0xE2, 0, 0).data(&[0; 300]).split(255) {
///     if assembler.passes(&command) {
///         execute(command); // nothing to assemble, nothing copied
///     } else {
///         match assembler.feed(&command) {
///             Step::More => { /* answer 9000 */ }
///             Step::Whole(command) => execute(command.as_command()),
///             Step::Refused(_sw) => { /* answer it */ }
///         }
///     }
/// }
/// # assert_eq!(answers, [300]);
/// ```
#[derive(Clone, Debug)]
pub struct Assembler {
    limit: usize,
    open: Option<Chain>,
}

#[derive(Clone, Debug)]
struct Chain {
    /// CLA without the chaining bit, INS, P1, P2.
    header: [u8; 4],
    data: Vec<u8>,
}

impl Assembler {
    /// An assembler of chains with at most `limit` data bytes in all.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit, open: None }
    }

    /// Whether no chain is open.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.open.is_none()
    }

    /// Whether `command` is whole as it stands: not chained and no chain open. It need not be fed then, which saves a copy.
    #[must_use]
    pub const fn passes(&self, command: &Command<'_>) -> bool {
        self.is_idle() && !command.is_chained()
    }

    /// Forgets the open chain: for a reset, a new SELECT by other means, or a closed channel.
    pub fn reset(&mut self) {
        self.open = None;
    }

    /// Takes the next command.
    ///
    /// Refused with 6883 when it does not continue the open chain (other CLA, INS, P1 or P2), and with 6700 when the chain
    /// grows beyond the limit. Either way the chain is dropped and the command is not executed; the next one starts afresh.
    pub fn feed(&mut self, command: &Command<'_>) -> Step {
        let header = [command.plain_cla(), command.ins, command.p1, command.p2];
        // Taken, so that every early return drops the chain.
        let mut data = match self.open.take() {
            Some(chain) if chain.header != header => {
                return Step::Refused(StatusWord::LAST_COMMAND_EXPECTED);
            }
            Some(chain) => chain.data,
            None if command.is_chained() => Vec::new(),
            None => return Step::Whole(whole(command, command.data.to_vec())),
        };
        if command.data.len() > self.limit.saturating_sub(data.len()) {
            return Step::Refused(StatusWord::WRONG_LENGTH);
        }
        data.extend_from_slice(command.data);
        if command.is_chained() {
            self.open = Some(Chain { header, data });
            Step::More
        } else {
            Step::Whole(whole(command, mem::take(&mut data)))
        }
    }
}

fn whole(last: &Command<'_>, data: Vec<u8>) -> OwnedCommand {
    OwnedCommand {
        cla: last.plain_cla(),
        ins: last.ins,
        p1: last.p1,
        p2: last.p2,
        data,
        ne: last.ne,
        extended: last.extended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: Command<'static> = Command::new(0x90, 0xE2, 1, 2).data(&[1, 2, 3]);
    const LAST: Command<'static> = Command::new(0x80, 0xE2, 1, 2).data(&[4]).ne(256);

    #[test]
    fn a_chain_becomes_one_command() {
        let mut assembler = Assembler::new(7);
        assert!(assembler.passes(&LAST) && !assembler.passes(&PART));
        assert_eq!(assembler.feed(&PART), Step::More);
        assert!(!assembler.is_idle() && !assembler.passes(&LAST));
        // A Le in the middle is ignored.
        assert_eq!(assembler.feed(&PART.ne(256)), Step::More);
        let Step::Whole(command) = assembler.feed(&LAST) else {
            panic!("not whole");
        };
        let expected = LAST.data(&[1, 2, 3, 1, 2, 3, 4]);
        assert_eq!(command.as_command(), expected);
        assert!(assembler.is_idle());
    }

    #[test]
    fn an_unchained_command_is_whole_whatever_the_limit() {
        let mut assembler = Assembler::new(0);
        let Step::Whole(command) = assembler.feed(&LAST) else {
            panic!("not whole");
        };
        assert_eq!(command.as_command(), LAST);
    }

    #[test]
    fn another_command_breaks_and_drops_the_chain() {
        let others = [
            Command { cla: 0x81, ..LAST },
            Command { cla: 0x91, ..PART },
            Command { cla: 0x00, ..LAST },
            Command { ins: 0xE4, ..LAST },
            Command { p1: 0, ..PART },
            Command { p2: 0, ..LAST },
        ];
        for other in others {
            let mut assembler = Assembler::new(100);
            assert_eq!(assembler.feed(&PART), Step::More);
            let refused = Step::Refused(StatusWord::LAST_COMMAND_EXPECTED);
            assert_eq!(assembler.feed(&other), refused, "{other:?}");
            assert!(assembler.is_idle());
            // Nothing of the dropped chain is left.
            assert_eq!(assembler.feed(&PART), Step::More);
            let Step::Whole(command) = assembler.feed(&LAST) else {
                panic!("not whole");
            };
            assert_eq!(command.data, [1, 2, 3, 4]);
        }
    }

    #[test]
    fn the_limit_counts_the_whole_chain() {
        for (limit, last) in [(2, PART), (5, PART), (6, LAST)] {
            let mut assembler = Assembler::new(limit);
            let fits = limit / 3;
            for _ in 0..fits {
                assert_eq!(assembler.feed(&PART), Step::More);
            }
            let refused = Step::Refused(StatusWord::WRONG_LENGTH);
            assert_eq!(assembler.feed(&last), refused, "{limit}");
            assert!(assembler.is_idle());
        }
    }

    #[test]
    fn reset_forgets() {
        let mut assembler = Assembler::new(100);
        assert_eq!(assembler.feed(&PART), Step::More);
        assembler.reset();
        assert!(assembler.passes(&LAST));
    }
}
