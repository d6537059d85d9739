//! The phone's side of challenge-response (docs/protocol.md section 4).

use alloc::vec::Vec;

use super::{LOCK_ROLE, TOKEN, phone_associated, session_keys};
use crate::apdu::Command;
use crate::door::{Binding, ControlFlow, Fci, VERSION, Verdict, ins};
use crate::ids::{LockId, PhoneId};
use crate::status::StatusWord;
use crate::vault::{KeyRef, Slot, Vault};

/// Where the application stands.
#[derive(Debug)]
enum State {
    /// Not selected, or RP spent in vain.
    Idle,
    /// RP is out and unspent.
    Selected { rp: [u8; 16] },
    /// The lock proved itself; K3 waits for one CONTROL FLOW.
    Authenticated { k3: Option<KeyRef> },
}

/// What the application tells the phone around it.
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
}

/// The challenge-response application on the phone.
#[derive(Debug)]
pub struct Phone {
    phone: PhoneId,
    flags: u32,
    state: State,
}

impl Phone {
    /// A phone with this identity; `flags` as in docs/protocol.md section 4.
    #[must_use]
    pub fn new(phone: PhoneId, flags: u32) -> Self {
        Self {
            phone,
            flags,
            state: State::Idle,
        }
    }

    /// SELECT: a new RP, and the content of template A5.
    ///
    /// # Errors
    /// 6985 when the application has no keys, 6F00 without randomness.
    pub fn select<V: Vault>(&mut self, vault: &mut V, aid: &[u8]) -> Result<Vec<u8>, StatusWord> {
        self.deselect(vault);
        let (rp, proprietary) = challenge(vault, aid)?;
        self.state = State::Selected { rp };
        Ok(proprietary)
    }

    /// AUTHENTICATE and CONTROL FLOW. The answer's data go to `out`.
    ///
    /// # Errors
    /// The status word to answer with.
    pub fn process<V: Vault>(
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
            ins::AUTHENTICATE => self.authenticate(vault, aid, command, out).map(Some),
            ins::CONTROL_FLOW => {
                let mut none = None;
                let k3 = if let State::Authenticated { k3 } = &mut self.state {
                    k3
                } else {
                    &mut none
                };
                ControlFlow::receive(vault, k3, command).map(|verdict| Some(Event::Verdict(verdict)))
            }
            _ => Err(StatusWord::INS_NOT_SUPPORTED),
        }
    }

    fn authenticate<V: Vault>(&mut self, vault: &mut V, aid: &[u8], command: &Command<'_>, out: &mut Vec<u8>) -> Result<Event, StatusWord> {
        if (command.p1, command.p2) != (0, 0) {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        let Ok(data) = <&[u8; 44]>::try_from(command.data) else {
            return Err(StatusWord::WRONG_LENGTH);
        };
        // RP is spent from here on, whatever comes.
        let State::Selected { rp } = core::mem::replace(&mut self.state, State::Idle) else {
            return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
        };
        let (rl, rest) = split::<16>(data);
        let (lock, tl) = split::<8>(rest);
        let Ok(tl) = <&[u8; TOKEN]>::try_from(tl) else {
            return Err(StatusWord::WRONG_LENGTH);
        };
        let lock = LockId(lock);

        let k_ph = vault.key(Slot::Phone)?;
        let [k_l] = vault.derive(k_ph, b"LOCK", &[&lock.0], [16])?;
        let binding = Binding {
            rp: &rp,
            challenge: &rl,
            lock,
            phone: self.phone,
            aid,
        };
        let keys = session_keys(vault, k_l, &binding);
        vault.forget(k_l);
        let [k1, k2, k3] = keys?;
        let answer = self.prove(vault, k1, k2, tl);
        vault.forget(k1);
        vault.forget(k2);
        match answer {
            Ok((tp, clock)) => {
                out.extend_from_slice(&tp);
                self.state = State::Authenticated { k3: Some(k3) };
                Ok(Event::Authenticated { lock, clock })
            }
            Err(sw) => {
                vault.forget(k3);
                Err(sw)
            }
        }
    }

    fn prove<V: Vault>(&self, vault: &mut V, k1: KeyRef, k2: KeyRef, tl: &[u8; TOKEN]) -> Result<(Vec<u8>, u32), StatusWord> {
        let clock = vault.ccm_open(k1, LOCK_ROLE, tl)?.ok_or(StatusWord::SECURITY_STATUS)?;
        let clock = u32::from_be_bytes(clock.as_slice().try_into().map_err(|_| StatusWord::SECURITY_STATUS)?);
        let tp = vault.ccm_seal(k2, &phone_associated(tl), &self.flags.to_be_bytes())?;
        Ok((tp, clock))
    }

    /// Forgets everything of the session.
    pub fn deselect<V: Vault>(&mut self, vault: &mut V) {
        if let State::Authenticated { k3: Some(k3) } = core::mem::replace(&mut self.state, State::Idle) {
            vault.forget(k3);
        }
    }
}

/// A new RP and the A5 content that carries it (docs/protocol.md section 3). Shared with AKA.
pub(crate) fn challenge<V: Vault>(vault: &mut V, aid: &[u8]) -> Result<([u8; 16], Vec<u8>), StatusWord> {
    let k_id = vault.key(Slot::Recognition)?;
    let mut rp = [0; 16];
    vault.random(&mut rp)?;
    let t = vault.cmac(k_id, &[&[0x01, VERSION], aid, &rp])?;
    Ok((rp, Fci { version: VERSION, rp, t }.proprietary()))
}

/// The first N bytes as an array, and the rest. `bytes` is at least N long at every call.
pub(crate) fn split<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    match bytes.split_first_chunk::<N>() {
        Some((head, tail)) => (*head, tail),
        None => ([0; N], &[]),
    }
}
