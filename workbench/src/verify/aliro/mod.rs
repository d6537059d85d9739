//! Aliro taps: what can be recomputed of them, and today's reader over the recorded answers.
//!
//! | module | what |
//! |---|---|
//! | `messages` | a tap's APDUs as whole messages |
//! | `keys` | what there is to verify with |
//! | `transcript` | salts, infos, signed data and channels, a second time |
//! | `checks` | every value, one by one |
//! | `vault` | the vault of today's reader, with the randomness of then |
//!
//! What proves what: lock.toml alone proves the reader's signature and certificate over AUTH0 and its answer. A Kpersistent proves a whole fast
//! phase. An ephemeral private key of either side proves a whole standard phase, and gives the Kpersistent of the fast ones behind it.

mod checks;
mod keys;
pub(crate) mod messages;
mod transcript;
mod vault;

use tapdoor_chip::ChipLink;
use tapdoor_link::{CardLink, Limits, LinkError};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::ins;
use tapdoor_protocol::status::StatusWord;
use tapdoor_reader::LockConfig;

use self::keys::Keys;
use self::vault::TapeVault;
use super::checks::Check;
use crate::aliro::Evidence;
use crate::recorded::RecordedTap;

/// Today's Aliro reader, and the keys to verify with.
pub struct AliroLock {
    keys: Keys,
    reader: aliro::Reader,
    vault: TapeVault,
}

/// What the values of a tap say.
pub(super) struct Recomputed {
    pub(super) checks: Vec<Check>,
    pub(super) unproven: Vec<String>,
}

impl AliroLock {
    /// Of a configuration with a section `[aliro]`.
    #[must_use]
    pub fn new(config: &LockConfig, evidence: &Evidence) -> Option<Self> {
        let keys = Keys::new(config, evidence)?;
        Some(Self {
            reader: aliro::Reader::new(keys.config.clone()),
            vault: TapeVault::new(keys.reader.clone()),
            keys,
        })
    }

    /// Whether a credential ends, so that the clock matters.
    #[must_use]
    pub fn needs_clock(&self) -> bool {
        self.keys.config.credentials.iter().any(|entry| entry.not_after != 0)
    }

    /// Recomputes a tap, and hands today's reader the randomness of then.
    pub(super) fn recompute(&mut self, tap: &RecordedTap) -> Recomputed {
        let taped = checks::Taped::new(&tap.drawn);
        let mut checked = checks::Checked::default();
        for transaction in messages::transactions(&tap.exchanges) {
            checks::check(&mut self.keys, &taped, &transaction, &mut checked);
        }
        self.vault.load(checked.drawn, self.keys.persistent().cloned().collect());
        Recomputed {
            checks: checked.checks,
            unproven: checked.unproven,
        }
    }

    /// What today's reader would have needed and did not get.
    pub(super) fn lacks(&self) -> Option<&'static str> {
        self.vault.lacks()
    }

    fn process(&mut self, command: &Command<'_>, response: &mut Vec<u8>) {
        let step = match (command.cla, command.ins, command.p1, command.p2) {
            (0x80, ins::BEGIN, 0, 0) => self.reader.begin(&mut self.vault, command.data),
            (0x80, ins::NEXT, 0, 0) => self.reader.next(&mut self.vault, command.data),
            _ => Err(StatusWord::INS_NOT_SUPPORTED),
        };
        let sw = match step {
            Ok(step) => {
                response.extend(step.encode());
                StatusWord::OK
            }
            Err(sw) => sw,
        };
        response.extend_from_slice(&sw.0.to_be_bytes());
    }
}

/// Today's chip whose Aliro reader is the one with the randomness of then.
pub(super) struct ChipOfThen<'a> {
    chip: ChipLink<'a>,
    aliro: Option<&'a mut AliroLock>,
    selected: bool,
}

impl<'a> ChipOfThen<'a> {
    pub(super) fn new(chip: ChipLink<'a>, aliro: Option<&'a mut AliroLock>) -> Self {
        Self {
            chip,
            aliro,
            selected: false,
        }
    }
}

impl CardLink for ChipOfThen<'_> {
    fn transmit(&mut self, bytes: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        if let (Some(aliro), Ok(command)) = (&mut self.aliro, Command::parse(bytes)) {
            if (command.cla, command.ins, command.p1) == (0x00, 0xA4, 0x04) {
                self.selected = command.data == Aid::ALIRO_LOCK.as_bytes();
                aliro.reader.reset(&mut aliro.vault);
            }
            if self.selected {
                response.clear();
                match command.ins {
                    0xA4 => response.extend_from_slice(&StatusWord::OK.0.to_be_bytes()),
                    _ => aliro.process(&command, response),
                }
                return Ok(());
            }
        }
        self.chip.transmit(bytes, response)
    }

    fn limits(&self) -> Limits {
        Limits::EXTENDED
    }
}
