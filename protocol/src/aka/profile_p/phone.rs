//! The phone's side of AKA profile P (docs/protocol.md section 5).

use alloc::vec::Vec;

use super::{AUTS_ROLE, FAILURE, SEALED_AUTS, SUCCESS, Turn, sealing_key, session_key, subscriber_derivation};
use crate::aka::freshness::PerLock;
use crate::aka::{Algorithm, Autn, Rand, Sqn};
use crate::apdu::Command;
use crate::door::phone::split;
use crate::door::{Binding, Event, PhoneMethod};
use crate::ids::{LockId, PhoneId};
use crate::status::StatusWord;
use crate::vault::{KeyRef, Slot, Vault};

/// The record that holds the sequence numbers.
pub const SEQUENCE_RECORD: &[u8] = b"seq";

/// The AKA application on the phone.
#[derive(Debug)]
pub struct Phone {
    phone: PhoneId,
    algorithms: &'static [Algorithm],
    /// RP, while it is out and unspent; true when one failure was answered already.
    rp: Option<([u8; 16], bool)>,
    k3: Option<KeyRef>,
}

/// What became of an AUTN.
enum Answer {
    Success { res: Vec<u8>, k3: KeyRef },
    Failure { x: Vec<u8> },
}

impl Phone {
    /// A phone with this identity that accepts these algorithms.
    #[must_use]
    pub fn new(phone: PhoneId, algorithms: &'static [Algorithm]) -> Self {
        Self {
            phone,
            algorithms,
            rp: None,
            k3: None,
        }
    }

    fn answer<V: Vault>(
        &self,
        vault: &mut V,
        algorithm: Algorithm,
        binding: &Binding<'_>,
        turn: Turn,
        autn: &Autn,
    ) -> Result<Answer, StatusWord> {
        let k_ph = vault.key(Slot::Phone)?;
        let (label, length) = subscriber_derivation(algorithm);
        let [subscriber] = vault.derive(k_ph, label, &[&binding.lock.0], [length])?;
        let answer = Self::verify(vault, k_ph, subscriber, algorithm, binding, turn, autn);
        vault.forget(subscriber);
        answer
    }

    fn verify<V: Vault>(
        vault: &mut V,
        k_ph: KeyRef,
        subscriber: KeyRef,
        algorithm: Algorithm,
        binding: &Binding<'_>,
        turn: Turn,
        autn: &Autn,
    ) -> Result<Answer, StatusWord> {
        let rand = &Rand(*binding.challenge);
        // MAC first, sequence second (TS 33.102 6.3.3).
        let Some(opened) = vault.aka_open(subscriber, algorithm, rand, autn)? else {
            let mut x = alloc::vec![0; SEALED_AUTS];
            vault.random(&mut x)?;
            return Ok(Answer::Failure { x });
        };
        let record = vault.load(SEQUENCE_RECORD)?;
        let mut sequences = match &record {
            // A damaged record must not let old numbers pass.
            Some(bytes) => PerLock::from_bytes(bytes).ok_or(StatusWord::NO_DIAGNOSIS)?,
            None => PerLock::default(),
        };
        if let Err(seq_ms) = sequences.check(binding.lock, opened.sqn.seq()) {
            vault.forget(opened.session);
            let sqn_ms = Sqn::new(seq_ms, 0).ok_or(StatusWord::NO_DIAGNOSIS)?;
            let auts = vault.aka_auts(subscriber, algorithm, rand, sqn_ms)?;
            let [k_l] = vault.derive(k_ph, b"LOCK", &[&binding.lock.0], [16])?;
            let key = sealing_key(vault, k_l, binding, turn);
            vault.forget(k_l);
            let key = key?;
            let x = vault.ccm_seal(key, AUTS_ROLE, &auts.0);
            vault.forget(key);
            return Ok(Answer::Failure { x: x? });
        }
        sequences.accept(binding.lock, opened.sqn.seq());
        vault.store(SEQUENCE_RECORD, &sequences.to_bytes())?;
        let k3 = session_key(vault, opened.session, binding, turn)?;
        Ok(Answer::Success { res: opened.res, k3 })
    }
}

impl PhoneMethod for Phone {
    fn selected(&mut self, rp: [u8; 16]) {
        self.rp = Some((rp, false));
    }

    fn authenticate<V: Vault>(
        &mut self,
        vault: &mut V,
        aid: &[u8],
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, StatusWord> {
        if command.p1 != 0 {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        let algorithm = Algorithm::from_p2(command.p2).ok_or(StatusWord::INCORRECT_P1_P2)?;
        if !self.algorithms.contains(&algorithm) {
            return Err(StatusWord::REFERENCE_DATA_NOT_USABLE);
        }
        let Ok(data) = <&[u8; 40]>::try_from(command.data) else {
            return Err(StatusWord::WRONG_LENGTH);
        };
        // RP is spent from here on, whatever comes, but for one more try after a sequence failure.
        let (rp, last) = self.rp.take().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        let (rand, rest) = split::<16>(data);
        let (autn, rest) = split::<16>(rest);
        let (lock, _) = split::<8>(rest);
        let lock = LockId(lock);
        let binding = Binding {
            rp: &rp,
            challenge: &rand,
            lock,
            phone: self.phone,
            aid,
        };
        match self.answer(vault, algorithm, &binding, Turn::new(algorithm, last), &Autn(autn))? {
            Answer::Success { res, k3 } => {
                out.extend_from_slice(&[SUCCESS, u8::try_from(res.len()).unwrap_or(0)]);
                out.extend_from_slice(&res);
                self.k3 = Some(k3);
                Ok(Some(Event::Authenticated { lock, clock: 0 }))
            }
            Answer::Failure { x } => {
                out.extend_from_slice(&[FAILURE, u8::try_from(x.len()).unwrap_or(0)]);
                out.extend_from_slice(&x);
                if !last {
                    self.rp = Some((rp, true));
                }
                Ok(None)
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
