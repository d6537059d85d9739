//! What a reader is made of, and who may open.

use alloc::vec::Vec;

use super::super::exchange::MailboxRequest;
use super::super::{KeyForm, PublicKey, ReaderIdentifier, ReaderStatus, VERSION_1_0};
use crate::ids::PhoneId;

/// Where the reader's certificate goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Into a LOAD CERT of its own.
    LoadCert,
    /// Into AUTH1, tag 90.
    Auth1,
}

/// A credential that may open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name under which its taps are reported.
    pub phone: PhoneId,
    /// Its public key.
    pub key: PublicKey,
    /// Seconds since 1970-01-01 UTC from which it opens this door; 0 = always did.
    pub not_before: u32,
    /// Seconds since 1970-01-01 UTC from which it no longer holds; 0 = never ends.
    pub not_after: u32,
    /// Was withdrawn: it is known, and refused.
    pub revoked: bool,
}

/// What a reader is made of. Its private key is the vault's [`Slot::Signing`](crate::vault::Slot::Signing).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderConfig {
    /// Which reader of which group.
    pub identifier: ReaderIdentifier,
    /// Reader group identifier key: its own public key, or its issuer's.
    pub group_key: PublicKey,
    /// Compressed certificate, for readers that have one.
    pub certificate: Option<(Vec<u8>, Placement)>,
    /// Versions it speaks, best first.
    pub versions: Vec<u16>,
    /// Whether the fast phase is tried.
    pub fast: bool,
    /// Authentication policy, 1 to 3.
    pub policy: u8,
    /// How credentials name themselves.
    pub form: KeyForm,
    /// Vendor extension of AUTH0: the value of B1.
    pub vendor: Option<Vec<u8>>,
    /// What is done to the mailbox before the end, one EXCHANGE each.
    pub mailbox: Vec<MailboxRequest>,
    /// Reader status of success.
    pub status: ReaderStatus,
    /// How many Kpersistent are remembered at most.
    pub remembered: u16,
    /// Credentials that may open.
    pub credentials: Vec<Entry>,
}

impl ReaderConfig {
    /// A reader without certificate that tries the fast phase, asks for key slots and knows no credential yet.
    #[must_use]
    pub fn new(identifier: ReaderIdentifier, group_key: PublicKey) -> Self {
        Self {
            identifier,
            group_key,
            certificate: None,
            versions: Vec::from([VERSION_1_0]),
            fast: true,
            policy: 1,
            form: KeyForm::Slot,
            vendor: None,
            mailbox: Vec::new(),
            status: ReaderStatus::UNSECURED,
            remembered: 4096,
            credentials: Vec::new(),
        }
    }
}
