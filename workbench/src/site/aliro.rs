//! The site's Aliro reader group and its phones' credentials.

use std::fmt::Write;

use tapdoor_chip::Application;
use tapdoor_chip::personalise::Secret;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::auth::Timestamps;
use tapdoor_protocol::aliro::device::{Credential, Group};
use tapdoor_protocol::aliro::mailbox::Permissions;
use tapdoor_protocol::aliro::reader::Entry;
use tapdoor_protocol::aliro::{DeviceConfig, PublicKey, ReaderConfig, ReaderIdentifier};
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::vault::VaultError;

use super::{Site, random};

/// Bytes of a new credential's mailbox.
const MAILBOX: u16 = 512;

/// One reader of one group, and a credential for each phone.
pub(super) struct AliroSite {
    pub(super) identifier: ReaderIdentifier,
    pub(super) reader: [u8; 32],
    pub(super) credentials: Vec<[u8; 32]>,
}

/// A private key: below the order of the group and not zero, without the time that making its public half takes.
fn private() -> Result<[u8; 32], VaultError> {
    loop {
        let key: [u8; 32] = random()?;
        if !key.starts_with(&[0xFF; 4]) && key != [0; 32] {
            return Ok(key);
        }
    }
}

fn public(private: &[u8; 32]) -> PublicKey {
    PublicKey(public_uncompressed(&SecretScalar(*private)).unwrap_or([0; 65]))
}

impl AliroSite {
    pub(super) fn generate(phones: usize) -> Result<Self, VaultError> {
        Ok(Self {
            identifier: ReaderIdentifier(random()?),
            reader: private()?,
            credentials: (0..phones).map(|_| private()).collect::<Result<_, _>>()?,
        })
    }
}

impl Site {
    fn credential(&self, phone: PhoneId) -> Option<&[u8; 32]> {
        let index = self.phones.iter().position(|p| *p == phone)?;
        self.aliro.credentials.get(index)
    }

    /// The site's reader, for which every phone has a credential.
    #[must_use]
    pub fn aliro_reader(&self) -> ReaderConfig {
        let mut config = ReaderConfig::new(self.aliro.identifier, public(&self.aliro.reader));
        let entry = |(phone, key): (&PhoneId, &[u8; 32])| Entry {
            phone: *phone,
            key: public(key),
            not_before: 0,
            not_after: 0,
            revoked: false,
        };
        config.credentials = self.phones.iter().zip(&self.aliro.credentials).map(entry).collect();
        config
    }

    /// The reader's private key.
    #[must_use]
    pub fn aliro_key(&self) -> Secret {
        Secret::new(self.aliro.reader.to_vec())
    }

    /// The user device of a phone; `None` for a phone of another site. A wrong one signs with another key than its credential's.
    #[must_use]
    pub fn aliro_device(&self, phone: PhoneId, wrong: bool) -> Option<Application> {
        let private = self.credential(phone)?;
        let config = DeviceConfig {
            groups: vec![Group {
                identifier: self.aliro.identifier.group(),
                key: public(&self.aliro.reader),
                credential: 0,
            }],
            credentials: vec![Credential {
                key: public(private),
                mailbox: MAILBOX,
                permissions: Permissions { read: true, write: true },
                timestamps: Timestamps::default(),
            }],
            ..DeviceConfig::default()
        };
        let mut key = *private;
        key[31] ^= u8::from(wrong);
        Some(Application::aliro(Aid::ALIRO_EXPEDITED, &config, Secret::new(key.to_vec())))
    }

    /// `[aliro]` of lock.toml.
    pub(super) fn aliro_lock_toml(&self) -> String {
        let (group, sub) = self.aliro.identifier.0.split_at(16);
        let mut out = format!(
            "\n# The Aliro reader: reader group and sub identifier, and its private key (docs/aliro.md).\n\
             [aliro]\ngroup = \"{}\"\nsub = \"{}\"\nkey = \"{}\"\n",
            hex::encode(group),
            hex::encode(sub),
            hex::encode(self.aliro.reader)
        );
        for (phone, key) in self.phones.iter().zip(&self.aliro.credentials) {
            let _ = write!(
                out,
                "\n[[aliro.credentials]]\nid = \"{phone}\"\nkey = \"{}\"\n",
                hex::encode(public(key).0)
            );
        }
        out
    }

    /// `[aliro]` of a phone.toml.
    pub(super) fn aliro_phone_toml(&self, phone: PhoneId) -> Option<String> {
        let key = self.credential(phone)?;
        Some(format!(
            "\n# The Aliro user device: its credential, and the reader groups that it knows (docs/aliro.md).\n\
             [[aliro.credentials]]\nkey = \"{}\"\nmailbox = {MAILBOX}\n\n\
             [[aliro.groups]]\nid = \"{}\"\nkey = \"{}\"\n",
            hex::encode(key),
            hex::encode(self.aliro.identifier.group()),
            hex::encode(public(&self.aliro.reader).0)
        ))
    }
}
