//! Why a transaction fails, and how that is said to the device.

use alloc::format;
use alloc::string::String;

use super::super::{ControlFlow, ReaderStatus};
use super::{Awaited, Entry};
use crate::door::Reason;
use crate::status::StatusWord;
use crate::vault::VaultError;

/// A failure.
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) evidence: String,
    pub(super) end: End,
}

/// How it is said to the device.
pub(super) enum End {
    /// EXCHANGE with this status, on the channel.
    Status(ReaderStatus),
    /// CONTROL FLOW.
    Flow(ControlFlow),
    /// The lock's own chip failed with this status word: said as [`ReaderStatus::HARDWARE`] where there is a channel.
    Own(StatusWord),
}

impl Failure {
    pub(super) fn flow(evidence: impl Into<String>) -> Self {
        Self {
            reason: Reason::CardError,
            evidence: evidence.into(),
            end: End::Flow(ControlFlow::FAILURE),
        }
    }

    pub(super) fn status(status: ReaderStatus, evidence: impl Into<String>) -> Self {
        Self {
            reason: status.reason().unwrap_or(Reason::CardError),
            evidence: evidence.into(),
            end: End::Status(status),
        }
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        Self::from(StatusWord::from(error))
    }
}

impl From<StatusWord> for Failure {
    fn from(sw: StatusWord) -> Self {
        Self {
            reason: Reason::CardError,
            evidence: format!("the lock's own chip failed ({sw})"),
            end: End::Own(sw),
        }
    }
}

/// Whether a credential still holds.
pub(super) fn check(entry: &Entry, clock: u32, phase: &str) -> Result<(), Failure> {
    if entry.revoked {
        return Err(Failure::status(
            ReaderStatus::NOT_TRUSTED,
            format!("{phase}: the phone's credential is revoked"),
        ));
    }
    if entry.not_after != 0 && clock >= entry.not_after {
        return Err(Failure::status(
            ReaderStatus::EXPIRED,
            format!("{phase}: the phone's credential has expired"),
        ));
    }
    if clock < entry.not_before {
        return Err(Failure::status(
            ReaderStatus::INVALID_RIGHTS,
            format!("{phase}: the phone's credential does not open this door yet"),
        ));
    }
    Ok(())
}

pub(super) fn name(awaited: Awaited) -> &'static str {
    match awaited {
        Awaited::Auth0 => "AUTH0",
        Awaited::LoadCert => "LOAD CERT",
        Awaited::Auth1 => "AUTH1",
        Awaited::Mailbox(_) | Awaited::Status => "EXCHANGE",
    }
}

/// A status word other than 9000: the channel, if there was one, is gone.
pub(super) fn refused(awaited: Awaited, sw: StatusWord) -> Failure {
    let reason = match (awaited, sw.0) {
        (Awaited::LoadCert | Awaited::Auth1, 0x6400 | 0x6982) | (Awaited::Mailbox(_) | Awaited::Status, 0x6982) => Reason::WrongKey,
        _ => Reason::CardError,
    };
    let what = match (awaited, sw.0) {
        (Awaited::Auth1, 0x6982) => ": the phone refuses this reader's signature or certificate",
        (Awaited::Auth1, 0x6400) => ": the phone does not know this reader's group, or cannot read its certificate",
        (Awaited::Mailbox(_) | Awaited::Status, 0x6982) => ": the phone does not accept this reader's keys",
        _ => "",
    };
    Failure {
        reason,
        ..Failure::flow(format!("{} was answered with {sw}{what}", name(awaited)))
    }
}
