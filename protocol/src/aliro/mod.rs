//! Aliro 1.0 (CSA), expedited phase over NFC: reader and user device. Layouts and decisions are in docs/aliro.md.
//!
//! | module | what |
//! |---|---|
//! | [`select`] | the FCI of SELECT, and the A5 that every key is bound to |
//! | [`auth`] | AUTH0 and AUTH1, commands and answers |
//! | [`exchange`] | EXCHANGE: mailbox, reader status |
//! | [`status`] | reader status, CONTROL FLOW, the signalling bitmap |
//! | [`certificate`] | profile0000 certificates, both ways |
//! | [`schedule`] | salts, infos and the data that is signed |
//! | [`channel`] | the secure channel and its counters |
//! | [`vault`] | what Aliro asks of a chip beyond [`crate::vault::Vault`] |
//! | [`mailbox`] | the user device's mailbox: permissions, atomic sessions |
//! | [`config`] | both sides as parameters of an application |
//! | [`device`] | the user device's state machine |
//! | [`reader`] | the reader's state machine |
//! | [`recognition`] | the fast phase's search among remembered credentials |
//!
//! Public keys are 65 bytes, SEC 1 uncompressed; signatures r || s, 64 bytes. Parsers accept data objects in the order of the standard, each at
//! most once, and skip unknown ones; none of them panics.

pub mod auth;
pub mod certificate;
pub mod channel;
pub mod config;
pub mod device;
pub mod exchange;
mod fields;
pub mod mailbox;
pub mod reader;
pub mod recognition;
pub mod schedule;
pub mod select;
pub mod status;
pub mod vault;

pub use auth::{Auth0Command, Auth0Response, Auth1Command, Auth1Response, KeyForm};
pub use certificate::Certificate;
pub use device::{Device, DeviceConfig};
pub use fields::WireError;
pub use reader::{Reader, ReaderConfig};
pub use select::Fci;
pub use status::{Bitmap, ControlFlow, ReaderStatus};
pub use vault::AliroVault;

use crate::crypto::{agree, sha1};

/// Instruction bytes, class 80.
pub mod ins {
    /// AUTH0.
    pub const AUTH0: u8 = 0x80;
    /// AUTH1.
    pub const AUTH1: u8 = 0x81;
    /// LOAD CERT.
    pub const LOAD_CERT: u8 = 0xD1;
    /// EXCHANGE.
    pub const EXCHANGE: u8 = 0xC9;
    /// CONTROL FLOW.
    pub const CONTROL_FLOW: u8 = 0x3C;
    /// ENVELOPE of the step-up phase, class 00.
    pub const ENVELOPE: u8 = 0xC3;
}

/// Version 1.0.
pub const VERSION_1_0: u16 = 0x0100;
/// The only application type.
pub const APPLICATION_TYPE: [u8; 2] = [0, 0];
/// Most bytes of answer in one response without extended lengths (Aliro 8.3; ISO 7816 would allow 256).
pub const SHORT_ANSWER: usize = 254;

/// An uncompressed P-256 point: 04 || x || y.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 65]);

impl PublicKey {
    /// Takes 65 bytes that are a point of the curve; `None` for everything else, infinity included.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 65] = bytes.try_into().ok()?;
        agree::is_point(&bytes).then_some(Self(bytes))
    }

    /// The x coordinate.
    #[must_use]
    pub fn x(&self) -> &[u8; 32] {
        match self.0.split_first_chunk::<33>() {
            Some(([_, x @ ..], _)) => x,
            None => &[0; 32],
        }
    }

    /// The key slot: the first 8 bytes of SHA-1 over the 65 bytes.
    #[must_use]
    pub fn slot(&self) -> KeySlot {
        let mut slot = [0; 8];
        slot.copy_from_slice(&sha1(&self.0)[..8]);
        KeySlot(slot)
    }
}

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// By which a reader finds a credential without its whole key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeySlot(pub [u8; 8]);

/// Reader group identifier(16) || reader group sub identifier(16).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderIdentifier(pub [u8; 32]);

impl ReaderIdentifier {
    /// Of a group and the reader's number in it.
    #[must_use]
    pub fn new(group: [u8; 16], sub: [u8; 16]) -> Self {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&group);
        bytes[16..].copy_from_slice(&sub);
        Self(bytes)
    }

    /// The reader group identifier. Its first 8 bytes are what the enhanced contactless polling frame carries.
    #[must_use]
    pub fn group(&self) -> [u8; 16] {
        crate::door::phone::split::<16>(&self.0).0
    }
}

impl core::fmt::Debug for ReaderIdentifier {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
