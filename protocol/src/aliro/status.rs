//! Reader status, CONTROL FLOW, and the signalling bitmap.

use alloc::vec::Vec;
use core::fmt;

use super::fields::{self, WireError};
use super::ins;
use crate::apdu::Command;
use crate::door::Reason;
use crate::tlv;

/// How the reader says that a transaction ended: tag 97 of EXCHANGE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderStatus(pub u16);

impl ReaderStatus {
    /// Failure without more to say.
    pub const NO_INFORMATION: Self = Self(0x0000);
    /// No such credential at this reader.
    pub const CREDENTIAL_NOT_FOUND: Self = Self(0x0001);
    /// The credential's time is over.
    pub const EXPIRED: Self = Self(0x0002);
    /// The credential is not trusted (any more).
    pub const NOT_TRUSTED: Self = Self(0x0003);
    /// The device's signature is wrong.
    pub const INVALID_SIGNATURE: Self = Self(0x0004);
    /// Data objects that are none.
    pub const INVALID_FORMAT: Self = Self(0x0006);
    /// Data objects with values that are none.
    pub const INVALID_CONTENT: Self = Self(0x0007);
    /// A status word other than 9000.
    pub const STATUS_WORD: Self = Self(0x0020);
    /// A key slot was asked for and is not there.
    pub const NO_KEY_SLOT: Self = Self(0x0021);
    /// A public key was asked for and is not there.
    pub const NO_PUBLIC_KEY: Self = Self(0x0022);
    /// No signature.
    pub const NO_SIGNATURE: Self = Self(0x0023);
    /// Not for this door.
    pub const INVALID_RIGHTS: Self = Self(0x0025);
    /// The reader itself failed.
    pub const HARDWARE: Self = Self(0x0026);
    /// The door is secured.
    pub const SECURED: Self = Self(0x0100);
    /// The door is open.
    pub const UNSECURED: Self = Self(0x0101);
    /// The door is jammed.
    pub const JAMMED: Self = Self(0x0102);
    /// The door is being secured.
    pub const SECURING: Self = Self(0x0180);
    /// The door is being opened.
    pub const UNSECURING: Self = Self(0x0181);
    /// Success, and the door's state is not known.
    pub const UNKNOWN: Self = Self(0x0182);

    /// Whether the transaction succeeded (01xx).
    #[must_use]
    pub fn is_success(self) -> bool {
        self.0 >> 8 == 1
    }

    /// What it means, in a few words.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self.0 {
            0x0000 => "failed, no information",
            0x0001 => "credential key not found",
            0x0002 => "credential expired",
            0x0003 => "credential not trusted",
            0x0004 => "invalid device signature",
            0x0006 => "invalid data format",
            0x0007 => "invalid data content",
            0x0020 => "status word error",
            0x0021 => "no key slot in the response",
            0x0022 => "no public key in the response",
            0x0023 => "no signature present",
            0x0025 => "invalid access rights",
            0x0026 => "hardware issue",
            0x0027 => "protocol version not supported",
            0x0100 => "secured",
            0x0101 => "unsecured",
            0x0102 => "jammed or obstructed",
            0x0180 => "securing started",
            0x0181 => "unsecuring started",
            0x0182 => "state unknown",
            _ => "unknown status",
        }
    }

    /// The same as a verdict of ours.
    #[must_use]
    pub fn reason(self) -> Option<Reason> {
        match self {
            _ if self.is_success() => None,
            Self::CREDENTIAL_NOT_FOUND => Some(Reason::UnknownPhone),
            Self::EXPIRED | Self::NOT_TRUSTED | Self::INVALID_RIGHTS => Some(Reason::NotEntitled),
            Self::INVALID_SIGNATURE => Some(Reason::WrongKey),
            _ => Some(Reason::CardError),
        }
    }
}

impl fmt::Display for ReaderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x} ({})", self.0, self.meaning())
    }
}

/// What a user device offers: tag 5E.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bitmap(pub u16);

impl Bitmap {
    /// An access document can be had.
    pub const ACCESS_DOCUMENT: u16 = 1 << 0;
    /// A revocation document can be had.
    pub const REVOCATION_DOCUMENT: u16 = 1 << 1;
    /// The step-up application must be selected first.
    pub const STEP_UP_SELECT: u16 = 1 << 2;
    /// The mailbox holds something that is not zero.
    pub const MAILBOX_DATA: u16 = 1 << 3;
    /// The mailbox may be read.
    pub const MAILBOX_READ: u16 = 1 << 4;
    /// The mailbox may be written and set.
    pub const MAILBOX_WRITE: u16 = 1 << 5;

    /// Whether all of these bits are there.
    #[must_use]
    pub fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }

    /// The bits that are set, in words.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        const WORDS: [(u8, &str); 12] = [
            (0, "access document"),
            (1, "revocation document"),
            (2, "step-up SELECT required"),
            (3, "mailbox holds data"),
            (4, "mailbox readable"),
            (5, "mailbox writable"),
            (6, "notifies issuer back end"),
            (7, "notifies bound app"),
            (9, "document updatable"),
            (10, "mailbox in step-up"),
            (11, "notifies in step-up"),
            (12, "updates document in step-up"),
        ];
        WORDS
            .into_iter()
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, word)| word)
    }
}

/// CONTROL FLOW: a failure without a channel to say it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFlow {
    /// S1: 00, finished with failure.
    pub s1: u8,
    /// S2: 00 no information, 27 protocol version not supported.
    pub s2: u8,
    /// Domain data, tag 43.
    pub domain: Option<Vec<u8>>,
}

impl ControlFlow {
    /// Failure, no information.
    pub const FAILURE: Self = Self {
        s1: 0,
        s2: 0,
        domain: None,
    };
    /// No common version.
    pub const VERSION: Self = Self {
        s1: 0,
        s2: 0x27,
        domain: None,
    };

    /// The command APDU, without Le.
    #[must_use]
    pub fn command(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(6);
        tlv::write(&mut data, 0x41, &[self.s1]);
        tlv::write(&mut data, 0x42, &[self.s2]);
        if let Some(domain) = &self.domain {
            tlv::write(&mut data, 0x43, domain);
        }
        Command::new(0x80, ins::CONTROL_FLOW, 0, 0).data(&data).encode().unwrap_or_default()
    }

    /// Reads the command's data.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let [s1, s2, domain] = fields::scan(bytes, [0x41, 0x42, 0x43])?;
        let ([s1], [s2]) = (fields::exactly(0x41, s1)?, fields::exactly(0x42, s2)?);
        Ok(Self {
            s1,
            s2,
            domain: fields::at_most(domain, 250)?.map(|object| object.value.to_vec()),
        })
    }
}
