//! The lock's side of AKA profile P: home and serving network in one (docs/protocol.md sections 3, 5 and 9).

use alloc::format;
use alloc::vec::Vec;

use super::{AUTS_ROLE, FAILURE, RES, SEALED_AUTS, SUCCESS, Turn, sealing_key, session_key};
use crate::aka::{Algorithm, Auts, Rand, sequence};
use crate::apdu::{Command, Response};
use crate::crypto;
use crate::door::{
    BeginData, Binding, ControlFlow, LockStep, Outcome, REQUIRE_USER, Reason, RecentChallenges, Recognised, Verdict, ins, recognise,
};
use crate::ids::LockId;
use crate::status::StatusWord;
use crate::vault::{KeyRef, Method, PeerKey, Vault};

/// What the lock waits for.
#[derive(Debug)]
struct Pending {
    recognised: Recognised,
    algorithm: Algorithm,
    clock: u32,
    rand: Rand,
    xres: Vec<u8>,
    session: KeyRef,
    resynchronised: bool,
}

/// The AKA application in the lock's chip.
#[derive(Debug)]
pub struct Lock {
    lock: LockId,
    recent: RecentChallenges,
    pending: Option<Pending>,
}

impl Lock {
    /// The lock with this identity.
    #[must_use]
    pub fn new(lock: LockId) -> Self {
        Self {
            lock,
            recent: RecentChallenges::default(),
            pending: None,
        }
    }

    /// BEGIN: the phone's FCI in, AUTHENTICATE or a verdict out. `aid` is the phone's application.
    ///
    /// # Errors
    /// 6A80 for data that are not BEGIN's, 6F00 when the sequence number cannot be stored, and what the vault refuses.
    pub fn begin<V: Vault>(&mut self, vault: &mut V, aid: &[u8], algorithm: Algorithm, data: &[u8]) -> Result<LockStep, StatusWord> {
        self.reset(vault);
        let begin = BeginData::parse(data).ok_or(StatusWord::WRONG_DATA)?;
        let recognised = match recognise(vault, &mut self.recent, aid, Method::Aka, begin.fci, begin.clock)? {
            Ok(recognised) => recognised,
            Err(outcome) => return Ok(outcome.into()),
        };
        if recognised.peer.flags & REQUIRE_USER != 0 {
            // AKA carries no flags from the phone, so it cannot prove that the user was authenticated.
            let evidence = "this phone's user must be authenticated on the phone, which AKA cannot prove";
            return Ok(Outcome::refused(Reason::Policy, Some(recognised.peer.phone), evidence).into());
        }
        self.challenge(vault, recognised, algorithm, begin.clock, false)
    }

    fn challenge<V: Vault>(
        &mut self,
        vault: &mut V,
        recognised: Recognised,
        algorithm: Algorithm,
        clock: u32,
        resynchronised: bool,
    ) -> Result<LockStep, StatusWord> {
        let phone = recognised.peer.phone;
        let sqn = sequence::next(vault, phone, clock, 0)?;
        let mut rand = [0; 16];
        vault.random(&mut rand)?;
        let rand = Rand(rand);
        let subscriber = vault.peer_key(&recognised.peer, peer_key(algorithm))?;
        let vector = vault.aka_vector(subscriber, algorithm, &rand, sqn)?;
        let mut body = [0; 40];
        body[..16].copy_from_slice(&rand.0);
        body[16..32].copy_from_slice(&vector.autn.0);
        body[32..].copy_from_slice(&self.lock.0);
        let command = Command::new(0x80, ins::AUTHENTICATE, 0, algorithm.p2())
            .data(&body)
            .ne(256)
            .encode()
            .map_err(|_| StatusWord::NO_DIAGNOSIS)?;
        self.pending = Some(Pending {
            recognised,
            algorithm,
            clock,
            rand,
            xres: vector.xres,
            session: vector.session,
            resynchronised,
        });
        Ok(LockStep::Transmit {
            command,
            phone: Some(phone),
        })
    }

    /// NEXT: the phone's answer in; the verdict, or AUTHENTICATE once more after a sequence failure.
    ///
    /// # Errors
    /// 6985 without BEGIN, and what the vault refuses.
    pub fn next<V: Vault>(&mut self, vault: &mut V, aid: &[u8], answer: &[u8]) -> Result<LockStep, StatusWord> {
        let pending = self.pending.take().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        let phone = Some(pending.recognised.peer.phone);
        let refused = |vault: &mut V, reason, evidence: &str| {
            vault.forget(pending.session);
            Ok(LockStep::Done(Outcome::refused(reason, phone, evidence)))
        };
        let Ok(response) = Response::parse(answer) else {
            return refused(vault, Reason::CardError, "AUTHENTICATE was answered without a status word");
        };
        let binding = Binding {
            rp: &pending.recognised.rp,
            challenge: &pending.rand.0,
            lock: self.lock,
            phone: pending.recognised.peer.phone,
            aid,
        };
        let turn = Turn::new(pending.algorithm, pending.resynchronised);
        match (response.sw.is_ok(), response.data) {
            (true, [SUCCESS, 8, res @ ..]) if res.len() == RES => {
                if !crypto::equal(res, &pending.xres) {
                    return refused(vault, Reason::WrongKey, "RES is not the expected one");
                }
                let k3 = session_key(vault, pending.session, &binding, turn)?;
                let control_flow = ControlFlow::sealed(vault, k3, Verdict::Open);
                vault.forget(k3);
                let outcome = Outcome {
                    verdict: Verdict::Open,
                    phone,
                    flags: None,
                    control_flow: Some(control_flow?),
                    evidence: format!("AUTN and RES are right ({})", pending.algorithm.name()),
                };
                Ok(outcome.into())
            }
            (true, [FAILURE, 30, x @ ..]) if x.len() == SEALED_AUTS => {
                vault.forget(pending.session);
                self.sequence_failure(vault, &pending, &binding, turn, x)
            }
            (false, _) if response.sw == StatusWord::REFERENCE_DATA_NOT_USABLE => {
                let evidence = format!("the phone has no {}", pending.algorithm.name());
                refused(vault, Reason::Policy, &evidence)
            }
            _ => {
                let evidence = format!("AUTHENTICATE was answered with {} bytes and {}", response.data.len(), response.sw);
                refused(vault, Reason::CardError, &evidence)
            }
        }
    }

    fn sequence_failure<V: Vault>(
        &mut self,
        vault: &mut V,
        pending: &Pending,
        binding: &Binding<'_>,
        turn: Turn,
        x: &[u8],
    ) -> Result<LockStep, StatusWord> {
        let peer = &pending.recognised.peer;
        let wrong = || {
            Outcome::refused(
                Reason::WrongKey,
                Some(peer.phone),
                "the phone refused AUTN, and gives no AUTS of this key",
            )
            .into()
        };
        let k_l = vault.peer_key(peer, PeerKey::Lock)?;
        let key = sealing_key(vault, k_l, binding, turn)?;
        let opened = vault.ccm_open(key, AUTS_ROLE, x);
        vault.forget(key);
        let Some(auts) = opened?.and_then(|auts| <[u8; 14]>::try_from(auts.as_slice()).ok()) else {
            return Ok(wrong());
        };
        let subscriber = vault.peer_key(peer, peer_key(pending.algorithm))?;
        let Some(sqn_ms) = vault.aka_resynchronise(subscriber, pending.algorithm, &pending.rand, &Auts(auts))? else {
            return Ok(wrong());
        };
        if pending.resynchronised {
            let evidence = format!("the phone refused the sequence number twice (SEQ_MS {})", sqn_ms.seq());
            return Ok(Outcome::refused(Reason::ResyncFailed, Some(peer.phone), evidence).into());
        }
        sequence::resynchronise(vault, peer.phone, pending.clock, sqn_ms)?;
        self.challenge(vault, pending.recognised, pending.algorithm, pending.clock, true)
    }

    /// Forgets a tap that was not finished.
    pub fn reset<V: Vault>(&mut self, vault: &mut V) {
        if let Some(pending) = self.pending.take() {
            vault.forget(pending.session);
        }
    }
}

fn peer_key(algorithm: Algorithm) -> PeerKey {
    match algorithm {
        Algorithm::Milenage => PeerKey::Milenage,
        Algorithm::Tuak => PeerKey::Tuak,
    }
}
