//! CONTROL FLOW: how the lock tells the phone what became of the tap (docs/protocol.md section 7).

use alloc::vec::Vec;

use super::ins;
use crate::apdu::Command;
use crate::crypto::{cmac128, equal};
use crate::status::StatusWord;
use crate::vault::{KeyRef, Vault};

/// Why a lock does not open. The numbers are those of CONTROL FLOW, the names those of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// The phone has none of the configured applications.
    AppMissing = 1,
    /// The phone is known but may not open this lock (any more).
    NotEntitled = 2,
    /// No list entry recognises the phone.
    UnknownPhone = 3,
    /// The proof is wrong.
    WrongKey = 4,
    /// A recorded challenge came back.
    Replay = 5,
    /// An answer, or the tap, took too long.
    Timeout = 6,
    /// The phone left before the end.
    Torn = 7,
    /// The sequence number was refused twice.
    ResyncFailed = 8,
    /// The lock's policy forbids it.
    Policy = 9,
    /// The phone answered something the protocol does not know, or the lock's own chip failed.
    CardError = 10,
    /// The server refused or failed.
    ServerError = 11,
}

impl Reason {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::AppMissing,
        Self::NotEntitled,
        Self::UnknownPhone,
        Self::WrongKey,
        Self::Replay,
        Self::Timeout,
        Self::Torn,
        Self::ResyncFailed,
        Self::Policy,
        Self::CardError,
        Self::ServerError,
    ];

    /// The name used on the command line, in JSON and on tapes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AppMissing => "app-missing",
            Self::NotEntitled => "not-entitled",
            Self::UnknownPhone => "unknown-phone",
            Self::WrongKey => "wrong-key",
            Self::Replay => "replay",
            Self::Timeout => "timeout",
            Self::Torn => "torn",
            Self::ResyncFailed => "resync-failed",
            Self::Policy => "policy",
            Self::CardError => "card-error",
            Self::ServerError => "server-error",
        }
    }

    /// What to try, in one sentence.
    #[must_use]
    pub fn cure(self) -> &'static str {
        match self {
            Self::AppMissing => "install the authentication application on the phone",
            Self::NotEntitled => "renew the phone's grant for this lock",
            Self::UnknownPhone => "put the phone on this lock's list",
            Self::WrongKey => "give the phone and the lock's list entry keys from the same site key",
            Self::Replay => "tap with the phone itself; a recording does not open",
            Self::Timeout => "wake the phone and tap again, or raise the time caps (`lock --calibrate`)",
            Self::Torn => "hold the phone still until the lock answers",
            Self::ResyncFailed => "check the lock's clock and the phone's sequence store",
            Self::Policy => "see the lock's policy and the phone's list entry",
            Self::CardError => "record a tape and look at it with `tapdoor show`",
            Self::ServerError => "check the server and its log",
        }
    }
}

/// What the lock decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The door opens.
    Open,
    /// It does not.
    Refused(Reason),
}

impl Verdict {
    /// The code on the wire: 0 for open, else the reason.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Refused(reason) => reason as u8,
        }
    }

    /// All of them, in the order of their codes.
    pub fn all() -> impl Iterator<Item = Self> {
        core::iter::once(Self::Open).chain(Reason::ALL.into_iter().map(Self::Refused))
    }

    /// The verdict with this code, if there is one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::all().find(|verdict| verdict.code() == code)
    }
}

/// Code of the plain form that is said to the identity application only: the lock asks the server for the application that the phone lacks.
pub const DOWNLOADING: u8 = 0x0C;

/// Length of a seal, in bytes. K3 takes one attempt, so eight bytes leave a forger one chance in 2^64 a tap.
pub const SEAL_LENGTH: usize = 8;

const ROLE: &[u8] = b"C";

/// The two forms of CONTROL FLOW.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFlow;

impl ControlFlow {
    /// The plain form: an advice without proof, so "opened" cannot be said with it.
    #[must_use]
    pub fn plain(reason: Reason) -> Vec<u8> {
        Vec::from([0x80, ins::CONTROL_FLOW, 0x00, 0x00, 0x01, reason as u8])
    }

    /// To the identity application: the lock asks the server for what the phone lacks.
    #[must_use]
    pub fn downloading() -> Vec<u8> {
        Vec::from([0x80, ins::CONTROL_FLOW, 0x00, 0x00, 0x01, DOWNLOADING])
    }

    /// The sealed form, under K3, which must not be used again afterwards.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn sealed<V: Vault>(vault: &mut V, k3: KeyRef, verdict: Verdict) -> Result<Vec<u8>, StatusWord> {
        let mac = vault.cmac(k3, &[ROLE, &[verdict.code()]])?;
        Command::new(0x80, ins::CONTROL_FLOW, 0x01, 0x00)
            .data(cut(&mac))
            .encode()
            .map_err(|_| StatusWord::NO_DIAGNOSIS)
    }

    /// The phone's side: what the lock says. `k3` is the session key if there is one; it is forgotten by a sealed form, right or wrong.
    ///
    /// # Errors
    /// The status words of docs/protocol.md section 7.
    pub fn receive<V: Vault>(vault: &mut V, k3: &mut Option<KeyRef>, command: &Command<'_>) -> Result<Verdict, StatusWord> {
        match (command.p1, command.p2) {
            (0, 0) => {
                let &[code] = command.data else {
                    return Err(StatusWord::WRONG_LENGTH);
                };
                match Verdict::from_code(code) {
                    Some(verdict @ Verdict::Refused(_)) => Ok(verdict),
                    _ => Err(StatusWord::WRONG_DATA),
                }
            }
            (1, 0) => {
                if command.data.len() != SEAL_LENGTH {
                    return Err(StatusWord::WRONG_LENGTH);
                }
                let key = k3.take().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
                let found = unseal(command.data, |parts| vault.cmac(key, parts));
                vault.forget(key);
                found?.ok_or(StatusWord::SECURITY_STATUS)
            }
            _ => Err(StatusWord::INCORRECT_P1_P2),
        }
    }

    /// What a sealed form's data says, for who has K3 itself: the decoder of a recorded tap. `None` if the seal is of another key.
    #[must_use]
    pub fn unsealed(k3: &[u8; 16], data: &[u8]) -> Option<Verdict> {
        unseal(data, |parts| Ok::<_, core::convert::Infallible>(cmac128(k3, parts)))
            .ok()
            .flatten()
    }
}

/// The verdict that has this seal, where `mac` is AES-CMAC under K3. The seal has no code beside it, which keeps the reason from listeners and the
/// frame short. Every verdict's is made and compared, those after the found one too, so that the time says nothing.
fn unseal<E>(data: &[u8], mut mac: impl FnMut(&[&[u8]]) -> Result<[u8; 16], E>) -> Result<Option<Verdict>, E> {
    let mut found = None;
    for verdict in Verdict::all() {
        if equal(cut(&mac(&[ROLE, &[verdict.code()]])?), data) {
            found = Some(verdict);
        }
    }
    Ok(found)
}

fn cut(mac: &[u8; 16]) -> &[u8] {
    mac.split_at(SEAL_LENGTH).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_names_its_verdict_and_no_other() {
        let k3 = [7; 16];
        for verdict in Verdict::all() {
            let mac = cmac128(&k3, &[ROLE, &[verdict.code()]]);
            let mut seal = cut(&mac).to_vec();
            assert_eq!(ControlFlow::unsealed(&k3, &seal), Some(verdict));
            assert_eq!(ControlFlow::unsealed(&[8; 16], &seal), None);
            assert_eq!(ControlFlow::unsealed(&k3, &mac), None, "the whole MAC is not a seal");
            assert_eq!(ControlFlow::unsealed(&k3, seal.split_last().unwrap().1), None);
            *seal.last_mut().unwrap() ^= 1;
            assert_eq!(ControlFlow::unsealed(&k3, &seal), None);
        }
        assert_eq!(ControlFlow::unsealed(&k3, &[]), None);
    }

    #[test]
    fn codes_and_names_are_unique_and_round_trip() {
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(reason as u8), i + 1);
            assert_eq!(Verdict::from_code(reason as u8), Some(Verdict::Refused(reason)));
            assert!(Reason::ALL.iter().skip(i + 1).all(|r| r.name() != reason.name()));
        }
        assert_eq!(Verdict::from_code(0), Some(Verdict::Open));
        assert_eq!(Verdict::from_code(12), None);
    }
}
