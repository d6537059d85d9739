//! The phone's side of challenge-response (docs/protocol.md section 4).

use alloc::vec::Vec;

use super::{LOCK_ROLE, TOKEN, phone_associated, session_keys};
use crate::apdu::Command;
use crate::door::phone::split;
use crate::door::{Binding, Event, PhoneMethod};
use crate::ids::{LockId, PhoneId};
use crate::status::StatusWord;
use crate::vault::{KeyRef, Slot, Vault};

/// The challenge-response application on the phone.
#[derive(Debug)]
pub struct Phone {
    phone: PhoneId,
    flags: u32,
    /// RP, while it is out and unspent.
    rp: Option<[u8; 16]>,
    k3: Option<KeyRef>,
}

impl Phone {
    /// A phone with this identity; `flags` as in docs/protocol.md section 4.
    #[must_use]
    pub fn new(phone: PhoneId, flags: u32) -> Self {
        Self {
            phone,
            flags,
            rp: None,
            k3: None,
        }
    }

    fn prove<V: Vault>(&self, vault: &mut V, k1: KeyRef, k2: KeyRef, tl: &[u8; TOKEN]) -> Result<(Vec<u8>, u32), StatusWord> {
        let clock = vault.ccm_open(k1, LOCK_ROLE, tl)?.ok_or(StatusWord::SECURITY_STATUS)?;
        let clock = u32::from_be_bytes(clock.as_slice().try_into().map_err(|_| StatusWord::SECURITY_STATUS)?);
        let tp = vault.ccm_seal(k2, &phone_associated(tl), &self.flags.to_be_bytes())?;
        Ok((tp, clock))
    }
}

impl PhoneMethod for Phone {
    fn selected(&mut self, rp: [u8; 16]) {
        self.rp = Some(rp);
    }

    fn authenticate<V: Vault>(
        &mut self,
        vault: &mut V,
        aid: &[u8],
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, StatusWord> {
        if (command.p1, command.p2) != (0, 0) {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        let Ok(data) = <&[u8; 44]>::try_from(command.data) else {
            return Err(StatusWord::WRONG_LENGTH);
        };
        // RP is spent from here on, whatever comes.
        let rp = self.rp.take().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
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
                self.k3 = Some(k3);
                Ok(Some(Event::Authenticated { lock, clock }))
            }
            Err(sw) => {
                vault.forget(k3);
                Err(sw)
            }
        }
    }

    fn forget_challenge(&mut self) {
        self.rp = None;
    }

    fn session_key(&mut self) -> &mut Option<KeyRef> {
        &mut self.k3
    }
}
