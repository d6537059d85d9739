//! What lock.toml and phone.toml share: `[chip]`, by which the server administers the chip, and `[server]`, where it is.

use std::path::PathBuf;

use serde::Deserialize;
use tapdoor_chip::personalise::{CardManager, ScpKeys, Secret};
use tapdoor_config::{ConfigError, Field, File};
use tapdoor_protocol::globalplatform::scp03::I;

use crate::error::AgentError;
use crate::server::Server;

/// `[chip]`: the card manager's SCP03 key set, and whose applications it takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawChip {
    kvn: u8,
    /// What its SCP03 offers: 0x70 if left out, 0x71 for challenges and MACs of 16 bytes.
    i: Option<u8>,
    enc: Field,
    mac: Field,
    dek: Field,
    /// P-256 public keys of providers; with one, only load files signed by one of them are taken.
    #[serde(default)]
    providers: Vec<Field>,
}

impl RawChip {
    /// Checks it.
    ///
    /// # Errors
    /// [`ConfigError`] naming the field.
    pub fn check(&self, file: &File) -> Result<CardManager, ConfigError> {
        if !(0x30..=0x3F).contains(&self.kvn) {
            return Err(file.error(
                &self.enc.span(),
                format!("belongs to key version {}: SCP03 has 48 to 63 (30 to 3F)", self.kvn),
            ));
        }
        let key = |field: &Field| {
            let bytes = file.bytes(field)?;
            match bytes.len() {
                16 | 24 | 32 => Ok(Secret::new(bytes.to_vec())),
                n => Err(file.error(&field.span(), format!("has {n} bytes: an AES key has 16, 24 or 32"))),
            }
        };
        let keys = ScpKeys {
            kvn: self.kvn,
            enc: key(&self.enc)?,
            mac: key(&self.mac)?,
            dek: key(&self.dek)?,
        };
        for (field, other) in [(&self.mac, &keys.mac), (&self.dek, &keys.dek)] {
            if other.expose().len() != keys.enc.expose().len() {
                return Err(file.error(&field.span(), "must be as long as `enc`"));
            }
        }
        let mut manager = CardManager::new(keys);
        if let Some(i) = self.i {
            manager.i = I(i);
            if !manager.i.is_known() {
                return Err(file.error(
                    &self.enc.span(),
                    format!("belongs to a chip with i = {i:#04X}, which is none of SCP03's: 0x70 is the usual one"),
                ));
            }
        }
        for provider in &self.providers {
            let key = file.bytes(provider)?;
            if !matches!((key.len(), key.first()), (33, Some(2 | 3)) | (65, Some(4))) {
                return Err(file.error(
                    &provider.span(),
                    "is no P-256 public key: 33 bytes that begin with 02 or 03, or 65 with 04",
                ));
            }
            manager.dap_keys.push(key.to_vec());
        }
        Ok(manager)
    }
}

/// Where the server is, and whom to trust to be it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// `https://HOST:PORT`.
    pub url: String,
    /// PEM of its authority; none for plain HTTP on this machine.
    pub ca: Option<PathBuf>,
}

impl Place {
    /// The server there. Nothing is connected yet.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn server(&self) -> Result<Server, AgentError> {
        Server::new(&self.url, self.ca.as_deref())
    }
}

/// `url` and `ca` of `[server]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawPlace {
    url: Option<String>,
    ca: Option<String>,
}

impl RawPlace {
    /// The place, with the path from the file's folder. Without `url` it is empty, and the command line gives it.
    #[must_use]
    pub fn check(&self, file: &File) -> Place {
        place(file, self.url.as_deref(), self.ca.as_deref())
    }
}

/// The same for a file whose `[server]` holds more.
#[must_use]
pub fn place(file: &File, url: Option<&str>, ca: Option<&str>) -> Place {
    Place {
        url: url.unwrap_or_default().to_owned(),
        ca: ca.map(|ca| file.resolve(ca)),
    }
}
