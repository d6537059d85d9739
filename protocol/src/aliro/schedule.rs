//! What keys and signatures are bound to: salts, infos, and the data that is signed.
//!
//! ```text
//! salt(word, extra) = X(reader group identifier key) || word || reader identifier || 5E || 5C 02 version || X(reader ephemeral)
//!                     || transaction identifier || command parameters || policy || A5 as it came || extra
//! info              = X(device ephemeral) || [B1 of the AUTH0 command] || [B2 of the AUTH0 answer]
//! signed(usage)     = 4D 20 reader identifier || 86 20 X(device ephemeral) || 87 20 X(reader ephemeral)
//!                     || 4C 10 transaction identifier || 93 04 usage
//! ```
//! The reader group identifier key is the one that the device knows for the group: the reader's own without a certificate, the issuer's with one.

use alloc::vec::Vec;

use super::vault::AliroVault;
use super::{Auth0Command, PublicKey};
use crate::tlv;
use crate::vault::{KeyRef, VaultError};

/// Keys of the standard phase.
const STANDARD: &[u8; 12] = b"Volatile****";
/// Kpersistent.
const PERSISTENT: &[u8; 12] = b"Persistent**";
/// Keys of the fast phase.
const FAST: &[u8; 12] = b"VolatileFast";
/// NFC, not Bluetooth.
const INTERFACE: u8 = 0x5E;

/// Usage of the reader's signature.
pub const READER_USAGE: [u8; 4] = [0x41, 0x5D, 0x95, 0x69];
/// Usage of the user device's signature.
pub const DEVICE_USAGE: [u8; 4] = [0x4E, 0x88, 0x7B, 0x4C];

/// What both sides have said, as far as keys depend on it.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// The reader group identifier key.
    pub group_key: PublicKey,
    /// AUTH0 as it was sent.
    pub auth0: Auth0Command,
    /// The A5 of the FCI as it came.
    pub a5: Vec<u8>,
    /// The device's ephemeral key.
    pub device: PublicKey,
    /// `B2` of the AUTH0 answer with tag and length, or nothing.
    pub vendor: Vec<u8>,
}

/// Session keys, by reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionKeys {
    /// ExpeditedSKReader.
    pub reader: KeyRef,
    /// ExpeditedSKDevice.
    pub device: KeyRef,
    /// StepUpSK, in the standard phase only: the step-up phase derives its keys from it.
    pub step_up: Option<KeyRef>,
}

impl SessionKeys {
    /// Wipes them.
    pub fn forget<V: AliroVault>(self, vault: &mut V) {
        vault.forget(self.reader);
        vault.forget(self.device);
        if let Some(key) = self.step_up {
            vault.forget(key);
        }
    }
}

impl Transcript {
    fn salt(&self, word: &[u8; 12], extra: &[u8]) -> Vec<u8> {
        let auth0 = &self.auth0;
        let mut out = Vec::with_capacity(132 + self.a5.len() + extra.len());
        out.extend_from_slice(self.group_key.x());
        out.extend_from_slice(word);
        out.extend_from_slice(&auth0.reader.0);
        out.push(INTERFACE);
        out.extend_from_slice(&[0x5C, 0x02]);
        out.extend_from_slice(&auth0.version.to_be_bytes());
        out.extend_from_slice(auth0.ephemeral.x());
        out.extend_from_slice(&auth0.transaction);
        out.extend_from_slice(&[auth0.parameters, auth0.policy]);
        out.extend_from_slice(&self.a5);
        out.extend_from_slice(extra);
        out
    }

    fn info(&self) -> Vec<u8> {
        [self.device.x(), self.auth0.vendor.as_slice(), self.vendor.as_slice()].concat()
    }

    /// What a side signs.
    #[must_use]
    pub fn signed(&self, usage: [u8; 4]) -> Vec<u8> {
        let mut out = Vec::with_capacity(126);
        tlv::write(&mut out, 0x4D, &self.auth0.reader.0);
        tlv::write(&mut out, 0x86, self.device.x());
        tlv::write(&mut out, 0x87, self.auth0.ephemeral.x());
        tlv::write(&mut out, 0x4C, &self.auth0.transaction);
        tlv::write(&mut out, 0x93, &usage);
        out
    }

    /// The standard phase: Kdh from the ephemeral keys, and the session keys from it. Kdh must be forgotten after [`Self::persistent`].
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn standard<V: AliroVault>(&self, vault: &mut V, own: KeyRef, other: &PublicKey) -> Result<(KeyRef, SessionKeys), VaultError> {
        let kdh = vault.agree(own, other, &self.auth0.transaction)?;
        match vault.hkdf::<3>(kdh, &self.salt(STANDARD, &[]), &self.info()) {
            Ok([reader, device, step_up]) => Ok((
                kdh,
                SessionKeys {
                    reader,
                    device,
                    step_up: Some(step_up),
                },
            )),
            Err(error) => {
                vault.forget(kdh);
                Err(error)
            }
        }
    }

    /// Kpersistent of a credential. Kdh is forgotten.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn persistent<V: AliroVault>(&self, vault: &mut V, kdh: KeyRef, credential: &PublicKey) -> Result<KeyRef, VaultError> {
        let made = vault.hkdf::<1>(kdh, &self.salt(PERSISTENT, credential.x()), &self.info());
        vault.forget(kdh);
        made.map(|[key]| key)
    }

    /// The fast phase: the cryptogram's key and the session keys.
    ///
    /// # Errors
    /// What the vault refuses.
    pub fn fast<V: AliroVault>(
        &self,
        vault: &mut V,
        kpersistent: KeyRef,
        credential: &PublicKey,
    ) -> Result<(KeyRef, SessionKeys), VaultError> {
        let [cryptogram, reader, device] = vault.hkdf::<3>(kpersistent, &self.salt(FAST, credential.x()), &self.info())?;
        Ok((
            cryptogram,
            SessionKeys {
                reader,
                device,
                step_up: None,
            },
        ))
    }

    /// Salt and info of the standard phase's keys, for those who have Kdh: the first two keys are ExpeditedSKReader and ExpeditedSKDevice.
    #[must_use]
    pub fn agreement(&self) -> (Vec<u8>, Vec<u8>) {
        (self.salt(STANDARD, &[]), self.info())
    }

    /// Salt and info of a credential's Kpersistent, for those who have Kdh.
    #[must_use]
    pub fn remembering(&self, credential: &PublicKey) -> (Vec<u8>, Vec<u8>) {
        (self.salt(PERSISTENT, credential.x()), self.info())
    }

    /// What a [`Recognition`](super::recognition::Recognition) is made of: the salt without the credential at its end, and the info.
    #[must_use]
    pub fn recognition(&self) -> (Vec<u8>, Vec<u8>) {
        (self.salt(FAST, &[]), self.info())
    }
}
