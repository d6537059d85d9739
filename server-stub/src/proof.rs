//! An agent proves whose it is, before anything is told to it: AES-CMAC under K_agent over a challenge that is good once, for 60 seconds by the
//! monotonic clock, for the one it was given to.
//!
//! `Authorization: Tapdoor-CMAC challenge="<32 hex>", mac="<32 hex>"` with mac = AES-CMAC(K_agent, "AGENT1" || challenge(16) || id(8)). K_agent of a lock is
//! derived as a phone's is, with the lock's identifier; no phone and lock have the same.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tapdoor_protocol::crypto;
use tapdoor_protocol::door::keys;
use tapdoor_protocol::ids::PhoneId;

use crate::config::Secrets;
use crate::registry::ChipRef;

/// How long a challenge is good.
pub const GOOD_FOR: Duration = Duration::from_secs(60);
/// The name of the scheme in `WWW-Authenticate` and `Authorization`.
pub const SCHEME: &str = "Tapdoor-CMAC";
/// Most challenges that are out. Beyond that the oldest is forgotten, so that nobody can shut others out by asking.
const MOST: usize = 8192;

type Challenge = [u8; 16];

/// The challenges that are out.
#[derive(Debug, Default)]
pub struct Challenges {
    out: Mutex<HashMap<Challenge, (ChipRef, Instant)>>,
}

/// Why a proof is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// The header is not what it should be.
    Malformed,
    /// A challenge that was not given to this agent, was used, or is too old: take a new one.
    Stale,
    /// A MAC under another key.
    Wrong,
}

/// The MAC of a proof. `k_agent`: see [`keys::agent`].
#[must_use]
pub fn mac(k_agent: &[u8; 16], challenge: &Challenge, id: &[u8; 8]) -> [u8; 16] {
    crypto::cmac128(k_agent, &[b"AGENT1", challenge, id])
}

/// K_agent of a chip.
#[must_use]
pub fn k_agent(secrets: &Secrets, chip: ChipRef) -> keys::Key<16> {
    keys::agent(&secrets.site, PhoneId(chip.id()))
}

impl Challenges {
    /// A new challenge. `None` if the machine gives no random numbers.
    #[must_use]
    pub fn give(&self, chip: ChipRef, now: Instant) -> Option<Challenge> {
        let mut challenge = [0; 16];
        getrandom::fill(&mut challenge).ok()?;
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.len() >= MOST {
            out.retain(|_, (_, at)| now.saturating_duration_since(*at) < GOOD_FOR);
        }
        if out.len() >= MOST
            && let Some(oldest) = out.iter().min_by_key(|(_, (_, at))| *at).map(|(challenge, _)| *challenge)
        {
            out.remove(&oldest);
        }
        out.insert(challenge, (chip, now));
        Some(challenge)
    }

    /// Judges an `Authorization` header. Its challenge is spent by that, right or wrong.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn check(&self, secrets: &Secrets, chip: ChipRef, header: &str, now: Instant) -> Result<(), ProofError> {
        let (challenge, given) = parse(header).ok_or(ProofError::Malformed)?;
        let out = self.out.lock().unwrap_or_else(PoisonError::into_inner).remove(&challenge);
        match out {
            Some((to, at)) if to == chip && now.saturating_duration_since(at) < GOOD_FOR => {}
            _ => return Err(ProofError::Stale),
        }
        let right = mac(&k_agent(secrets, chip), &challenge, &chip.id());
        if crypto::equal(&right, &given) {
            Ok(())
        } else {
            Err(ProofError::Wrong)
        }
    }
}

/// Challenge and MAC of a header.
fn parse(header: &str) -> Option<(Challenge, [u8; 16])> {
    let parameters = header.strip_prefix(SCHEME)?.strip_prefix(' ')?;
    let (mut challenge, mut mac) = (None, None);
    for parameter in parameters.split(',') {
        let (name, value) = parameter.trim().split_once('=')?;
        let value = value.strip_prefix('"')?.strip_suffix('"')?;
        let place = match name {
            "challenge" => &mut challenge,
            "mac" => &mut mac,
            _ => return None,
        };
        let mut bytes = [0; 16];
        hex::decode_to_slice(value, &mut bytes).ok()?;
        if place.replace(bytes).is_some() {
            return None;
        }
    }
    Some((challenge?, mac?))
}

/// The header with which an agent answers a challenge.
#[must_use]
pub fn authorization(k_agent: &[u8; 16], challenge: &Challenge, id: &[u8; 8]) -> String {
    format!(
        "{SCHEME} challenge=\"{}\", mac=\"{}\"",
        hex::encode(challenge),
        hex::encode(mac(k_agent, challenge, id))
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tapdoor_protocol::crypto::ecies::SecretScalar;
    use tapdoor_protocol::ids::LockId;

    fn secrets() -> Secrets {
        Secrets {
            site: [7; 16].into(),
            private: SecretScalar([1; 32]),
        }
    }

    #[test]
    fn a_challenge_is_good_once_for_one_agent_for_a_minute() {
        let (secrets, challenges, now) = (secrets(), Challenges::default(), Instant::now());
        let chip = ChipRef::Phone(PhoneId([1; 8]));
        let key = k_agent(&secrets, chip);
        let give = || challenges.give(chip, now).unwrap();
        let challenge = give();
        let header = authorization(&key, &challenge, &chip.id());
        assert_eq!(challenges.check(&secrets, chip, &header, now), Ok(()));
        assert_eq!(challenges.check(&secrets, chip, &header, now), Err(ProofError::Stale), "replayed");
        let header = authorization(&key, &give(), &chip.id());
        let late = now + GOOD_FOR;
        assert_eq!(challenges.check(&secrets, chip, &header, late), Err(ProofError::Stale));
        // Another agent, with its own key, on this one's challenge.
        let other = ChipRef::Lock(LockId([2; 8]));
        let header = authorization(&k_agent(&secrets, other), &give(), &other.id());
        assert_eq!(challenges.check(&secrets, other, &header, now), Err(ProofError::Stale));
        // A wrong key spends the challenge.
        let challenge = give();
        let wrong = authorization(&[0; 16], &challenge, &chip.id());
        assert_eq!(challenges.check(&secrets, chip, &wrong, now), Err(ProofError::Wrong));
        let right = authorization(&key, &challenge, &chip.id());
        assert_eq!(challenges.check(&secrets, chip, &right, now), Err(ProofError::Stale));
    }

    #[test]
    fn challenges_are_bounded() {
        let (challenges, now) = (Challenges::default(), Instant::now());
        for _ in 0..MOST + 10 {
            challenges.give(ChipRef::Phone(PhoneId([1; 8])), now).unwrap();
        }
        assert_eq!(challenges.out.lock().unwrap().len(), MOST);
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(text in ".{0,80}", rest in "(Tapdoor-CMAC )?[a-z=\", 0-9]{0,90}") {
            let _ = (parse(&text), parse(&rest));
        }
    }
}
