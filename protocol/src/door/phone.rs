//! What the phone's halves share: SELECT's challenge, the session key, CONTROL FLOW (docs/protocol.md sections 3 and 7).

use alloc::vec::Vec;

use super::{ControlFlow, Fci, VERSION, Verdict, ins};
use crate::apdu::Command;
use crate::ids::LockId;
use crate::status::StatusWord;
use crate::vault::{KeyRef, Slot, Vault};

/// What an application tells the phone around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A lock proved itself, at its own time (seconds since 1970-01-01 UTC).
    Authenticated {
        /// Which lock.
        lock: LockId,
        /// Its clock; 0 where the method has none.
        clock: u32,
    },
    /// The lock's verdict, sealed or plain.
    Verdict(Verdict),
    /// The lock asks the server for an application that this phone lacks.
    Downloading,
    /// An Aliro reader proved itself.
    AliroReader {
        /// Reader group identifier(16) || reader group sub identifier(16).
        reader: [u8; 32],
        /// By the fast phase.
        fast: bool,
    },
    /// An Aliro reader says how the transaction ended: [`crate::aliro::ReaderStatus`].
    ReaderStatus(u16),
}

/// The phone's half of a method.
pub trait PhoneMethod {
    /// A new challenge is out: the session starts afresh with it.
    fn selected(&mut self, rp: [u8; 16]);

    /// AUTHENTICATE. The answer's data go to `out`.
    ///
    /// # Errors
    /// The status word to answer with.
    fn authenticate<V: Vault>(
        &mut self,
        vault: &mut V,
        aid: &[u8],
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, StatusWord>;

    /// Spends the challenge.
    fn forget_challenge(&mut self);

    /// K3, while there is one.
    fn session_key(&mut self) -> &mut Option<KeyRef>;

    /// SELECT: a new RP, and the content of template A5.
    ///
    /// # Errors
    /// 6985 when the application has no keys, 6F00 without randomness.
    fn select<V: Vault>(&mut self, vault: &mut V, aid: &[u8]) -> Result<Vec<u8>, StatusWord> {
        self.deselect(vault);
        let k_id = vault.key(Slot::Recognition)?;
        let mut rp = [0; 16];
        vault.random(&mut rp)?;
        let t = vault.cmac(k_id, &[&[0x01, VERSION], aid, &rp])?;
        self.selected(rp);
        Ok(Fci { version: VERSION, rp, t }.proprietary())
    }

    /// AUTHENTICATE and CONTROL FLOW. The answer's data go to `out`.
    ///
    /// # Errors
    /// The status word to answer with.
    fn process<V: Vault>(
        &mut self,
        vault: &mut V,
        aid: &[u8],
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, StatusWord> {
        if command.cla != 0x80 {
            return Err(StatusWord::CLA_NOT_SUPPORTED);
        }
        match command.ins {
            ins::AUTHENTICATE => self.authenticate(vault, aid, command, out),
            ins::CONTROL_FLOW => ControlFlow::receive(vault, self.session_key(), command).map(|verdict| Some(Event::Verdict(verdict))),
            _ => Err(StatusWord::INS_NOT_SUPPORTED),
        }
    }

    /// Forgets everything of the session.
    fn deselect<V: Vault>(&mut self, vault: &mut V) {
        self.forget_challenge();
        if let Some(k3) = self.session_key().take() {
            vault.forget(k3);
        }
    }
}

/// The first N bytes as an array, and the rest. `bytes` is at least N long at every call.
pub(crate) fn split<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    match bytes.split_first_chunk::<N>() {
        Some((head, tail)) => (*head, tail),
        None => ([0; N], &[]),
    }
}
