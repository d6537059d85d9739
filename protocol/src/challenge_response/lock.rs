//! The lock's side of challenge-response (docs/protocol.md sections 3, 4 and 9).

use alloc::format;

use super::{LOCK_ROLE, TOKEN, phone_associated, session_keys};
use crate::apdu::{Command, Response};
use crate::door::{
    BeginData, Binding, ControlFlow, LockStep, Outcome, REQUIRE_USER, Reason, RecentChallenges, Recognised, USER_AUTHENTICATED, Verdict,
    ins, recognise,
};
use crate::ids::LockId;
use crate::status::StatusWord;
use crate::vault::{KeyRef, Method, Peer, PeerKey, Vault};

/// What the lock waits for.
#[derive(Debug)]
struct Pending {
    peer: Peer,
    tl: [u8; TOKEN],
    k2: KeyRef,
    k3: KeyRef,
}

/// The challenge-response application in the lock's chip.
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
    /// 6A80 for data that are not BEGIN's, and what the vault refuses.
    pub fn begin<V: Vault>(&mut self, vault: &mut V, aid: &[u8], data: &[u8]) -> Result<LockStep, StatusWord> {
        self.reset(vault);
        let begin = BeginData::parse(data).ok_or(StatusWord::WRONG_DATA)?;
        let Recognised { peer, rp } = match recognise(vault, &mut self.recent, aid, Method::ChallengeResponse, begin.fci, begin.clock)? {
            Ok(recognised) => recognised,
            Err(outcome) => return Ok(outcome.into()),
        };
        let mut rl = [0; 16];
        vault.random(&mut rl)?;
        let k_l = vault.peer_key(&peer, PeerKey::Lock)?;
        let binding = Binding {
            rp: &rp,
            challenge: &rl,
            lock: self.lock,
            phone: peer.phone,
            aid,
        };
        let [k1, k2, k3] = session_keys(vault, k_l, &binding)?;
        let sealed = vault.ccm_seal(k1, LOCK_ROLE, &begin.clock.to_be_bytes());
        vault.forget(k1);
        let tl: [u8; TOKEN] = sealed?.as_slice().try_into().map_err(|_| StatusWord::NO_DIAGNOSIS)?;

        let mut body = [0; 44];
        body[..16].copy_from_slice(&rl);
        body[16..24].copy_from_slice(&self.lock.0);
        body[24..].copy_from_slice(&tl);
        let command = Command::new(0x80, ins::AUTHENTICATE, 0, 0)
            .data(&body)
            .ne(256)
            .encode()
            .map_err(|_| StatusWord::NO_DIAGNOSIS)?;
        self.pending = Some(Pending { peer, tl, k2, k3 });
        Ok(LockStep::Transmit {
            command,
            phone: Some(peer.phone),
        })
    }

    /// NEXT: the phone's answer in, the verdict out.
    ///
    /// # Errors
    /// 6985 without BEGIN, and what the vault refuses.
    pub fn next<V: Vault>(&mut self, vault: &mut V, answer: &[u8]) -> Result<LockStep, StatusWord> {
        let pending = self.pending.take().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        let outcome = Self::judge(vault, &pending, answer);
        vault.forget(pending.k2);
        vault.forget(pending.k3);
        outcome.map(LockStep::Done)
    }

    fn judge<V: Vault>(vault: &mut V, pending: &Pending, answer: &[u8]) -> Result<Outcome, StatusWord> {
        let phone = Some(pending.peer.phone);
        let Ok(response) = Response::parse(answer) else {
            return Ok(Outcome::refused(
                Reason::CardError,
                phone,
                "AUTHENTICATE was answered without a status word",
            ));
        };
        if response.sw == StatusWord::SECURITY_STATUS {
            return Ok(Outcome::refused(
                Reason::WrongKey,
                phone,
                "the phone refused the lock's proof (6982)",
            ));
        }
        if !response.sw.is_ok() || response.data.len() != TOKEN {
            let evidence = format!("AUTHENTICATE was answered with {} bytes and {}", response.data.len(), response.sw);
            return Ok(Outcome::refused(Reason::CardError, phone, evidence));
        }
        let Some(flags) = vault.ccm_open(pending.k2, &phone_associated(&pending.tl), response.data)? else {
            return Ok(Outcome::refused(Reason::WrongKey, phone, "the phone's proof is wrong"));
        };
        let flags = u32::from_be_bytes(flags.as_slice().try_into().map_err(|_| StatusWord::NO_DIAGNOSIS)?);
        let wants_user = pending.peer.flags & REQUIRE_USER != 0;
        let (verdict, evidence) = if wants_user && flags & USER_AUTHENTICATED == 0 {
            (
                Verdict::Refused(Reason::Policy),
                "this phone's user must be authenticated on the phone first",
            )
        } else {
            (Verdict::Open, "both proofs are right")
        };
        let control_flow = ControlFlow::sealed(vault, pending.k3, verdict)?;
        Ok(Outcome {
            verdict,
            phone,
            flags: Some(flags),
            control_flow: Some(control_flow),
            evidence: evidence.into(),
        })
    }

    /// Forgets a tap that was not finished.
    pub fn reset<V: Vault>(&mut self, vault: &mut V) {
        if let Some(pending) = self.pending.take() {
            vault.forget(pending.k2);
            vault.forget(pending.k3);
        }
    }
}
