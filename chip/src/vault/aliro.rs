//! The vault as Aliro sees it.

use tapdoor_protocol::aliro::PublicKey;
use tapdoor_protocol::aliro::recognition::Recognition;
use tapdoor_protocol::aliro::vault::{AliroVault, Hit};
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::crypto::{self, x963_sha256};
use tapdoor_protocol::vault::{KeyRef, Slot, Vault, VaultError};
use zeroize::Zeroizing;

use super::keys::Usage;
use super::remembered::{Remembered, Write};
use super::{AppletVault, curve};

impl AppletVault<'_> {
    fn key32(&self, key: KeyRef) -> Result<&[u8; 32], VaultError> {
        self.bytes(key)?.try_into().map_err(|_| VaultError::NoKey)
    }

    /// What this applet remembers, read from the store the first time.
    fn remembering(&mut self) -> Result<&mut Remembered, VaultError> {
        if !self.keys.remembered.contains_key(&self.owner) {
            let (store, aid) = (&mut self.store, self.aid);
            let all = Remembered::load(|name| store.record(&aid, name).map_err(|_| VaultError::Store))?;
            self.keys.remembered.insert(self.owner, all);
        }
        self.keys.remembered.get_mut(&self.owner).ok_or(VaultError::Store)
    }

    fn write(&mut self, (name, value): Write) -> Result<(), VaultError> {
        self.store(&name, &value)
    }
}

impl AliroVault for AppletVault<'_> {
    fn agreement_key(&mut self) -> Result<(KeyRef, PublicKey), VaultError> {
        // A random 32-byte string is no valid scalar with probability 2^-32; a few tries are plenty.
        for _ in 0..4 {
            let mut scalar = Zeroizing::new([0; 32]);
            self.keys.fill_random(scalar.as_mut_slice())?;
            if let Some(public) = curve::public_uncompressed(&SecretScalar(*scalar)) {
                let key = self.keys.keep(self.owner, Usage::Ephemeral, scalar.as_slice())?;
                return Ok((key, PublicKey(public)));
            }
        }
        Err(VaultError::Random)
    }

    fn agree(&mut self, private: KeyRef, public: &PublicKey, shared_info: &[u8]) -> Result<KeyRef, VaultError> {
        let transient = self.keys.transient(self.owner, private).filter(|t| t.usage == Usage::Ephemeral);
        let scalar = transient
            .ok_or(VaultError::NoKey)?
            .key
            .expose()
            .try_into()
            .map_err(|_| VaultError::NoKey)?;
        let z = curve::agree(&SecretScalar(scalar), &public.0).ok_or(VaultError::NoKey)?;
        let mut kdh = Zeroizing::new([0; 32]);
        x963_sha256(&*z, shared_info, kdh.as_mut_slice());
        self.keys.keep(self.owner, Usage::Symmetric, kdh.as_slice())
    }

    fn hkdf<const N: usize>(&mut self, key: KeyRef, salt: &[u8], info: &[u8]) -> Result<[KeyRef; N], VaultError> {
        let mut material = Zeroizing::new([[0; 32]; N]);
        crypto::hkdf_sha256(self.bytes(key)?, &[salt], &[info], material.as_flattened_mut());
        let mut out = [KeyRef(0); N];
        for (index, key) in material.iter().enumerate() {
            match self.keys.keep(self.owner, Usage::Symmetric, key) {
                Ok(key) => out[index] = key,
                Err(error) => {
                    out.iter().take(index).for_each(|key| self.forget(*key));
                    return Err(error);
                }
            }
        }
        Ok(out)
    }

    fn gcm_seal(&mut self, key: KeyRef, nonce: &[u8; 12], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(crypto::gcm_seal(self.key32(key)?, nonce, plain))
    }

    fn gcm_open(&mut self, key: KeyRef, nonce: &[u8; 12], sealed: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        Ok(crypto::gcm_open(self.key32(key)?, nonce, sealed))
    }

    fn verify(&mut self, public: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        curve::verify(&public.0, message, signature)
    }

    fn credential_key(&self, number: u8) -> Result<KeyRef, VaultError> {
        let slot = Slot::AliroKeys;
        self.keys.numbered(self.owner, slot, number).ok_or(VaultError::NoKey)?;
        Ok(KeyRef(u32::from_be_bytes([0, 0, number, slot as u8])))
    }

    fn remember(&mut self, name: &[u8], key: KeyRef, most: usize) -> Result<(), VaultError> {
        let key = Zeroizing::new(*self.key32(key)?);
        let write = self.remembering()?.put(name, &key, most)?;
        self.write(write)
    }

    fn remembered(&mut self, name: &[u8]) -> Result<Option<KeyRef>, VaultError> {
        let Some(key) = self.remembering()?.find(name).map(|entry| Zeroizing::new(entry.key)) else {
            return Ok(None);
        };
        self.keys.keep(self.owner, Usage::Symmetric, key.as_slice()).map(Some)
    }

    fn forget_remembered(&mut self, name: &[u8]) -> Result<(), VaultError> {
        match self.remembering()?.forget(name) {
            Some(write) => self.write(write),
            None => Ok(()),
        }
    }

    fn find_cryptogram(&mut self, recognition: &Recognition<'_>) -> Result<Option<Hit>, VaultError> {
        let found = self.remembering()?.iter().find_map(|entry| {
            let credential = PublicKey(entry.name.as_slice().try_into().ok()?);
            let text = recognition.open(&entry.key, &credential)?;
            Some((credential, Zeroizing::new(entry.key), text))
        });
        let Some((credential, key, text)) = found else { return Ok(None) };
        Ok(Some(Hit {
            credential,
            kpersistent: self.keys.keep(self.owner, Usage::Symmetric, key.as_slice())?,
            text,
        }))
    }
}
