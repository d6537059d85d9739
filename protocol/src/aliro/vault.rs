//! What Aliro asks of a chip beyond [`Vault`]: key agreement, HKDF, GCM, several signing keys, and keys that are remembered by name.
//!
//! Downloaded applications do not have this; both halves of Aliro are built in.

use alloc::vec::Vec;

use super::PublicKey;
use super::recognition::Recognition;
use crate::crypto::ecies::SecretScalar;
use crate::crypto::{agree, x963_sha256};
use crate::vault::{KeyRef, Vault, VaultError};
use zeroize::Zeroizing;

/// A credential whose cryptogram opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its public key.
    pub credential: PublicKey,
    /// Its Kpersistent, to be forgotten.
    pub kpersistent: KeyRef,
    /// What was in the cryptogram.
    pub text: Vec<u8>,
}

/// Keys by reference, for Aliro.
pub trait AliroVault: Vault {
    /// A new P-256 key pair for one key agreement.
    ///
    /// # Errors
    /// [`VaultError::Random`], [`VaultError::Full`].
    fn agreement_key(&mut self) -> Result<(KeyRef, PublicKey), VaultError>;

    /// Kdh: the X9.63 KDF of the shared x coordinate and `shared_info`, 32 bytes, as a transient key.
    ///
    /// # Errors
    /// [`VaultError::NoKey`] for another kind of key, or a point that is not on the curve.
    fn agree(&mut self, private: KeyRef, public: &PublicKey, shared_info: &[u8]) -> Result<KeyRef, VaultError>;

    /// The first N keys of 32 bytes that HKDF-SHA-256 makes of a key, as transient keys.
    ///
    /// # Errors
    /// [`VaultError::NoKey`], [`VaultError::Full`].
    fn hkdf<const N: usize>(&mut self, key: KeyRef, salt: &[u8], info: &[u8]) -> Result<[KeyRef; N], VaultError>;

    /// AES-256-GCM: ciphertext || tag(16).
    ///
    /// # Errors
    /// [`VaultError::NoKey`].
    fn gcm_seal(&mut self, key: KeyRef, nonce: &[u8; 12], plain: &[u8]) -> Result<Vec<u8>, VaultError>;

    /// Opens what [`Self::gcm_seal`] made; `None` when the tag is wrong.
    ///
    /// # Errors
    /// [`VaultError::NoKey`].
    fn gcm_open(&mut self, key: KeyRef, nonce: &[u8; 12], sealed: &[u8]) -> Result<Option<Vec<u8>>, VaultError>;

    /// Whether `signature` (r || s) is one of `message` by ECDSA with SHA-256: work for the chip's coprocessor, like everything else on the curve.
    fn verify(&mut self, public: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool;

    /// The private key of the applet's credential with this number, for [`Vault::sign`].
    ///
    /// # Errors
    /// [`VaultError::NoKey`].
    fn credential_key(&self, number: u8) -> Result<KeyRef, VaultError>;

    /// Remembers a key by a name of at most 72 bytes, durable before the current command is answered. When there are `most` already, the one that was
    /// remembered first is forgotten.
    ///
    /// # Errors
    /// [`VaultError::NoKey`], [`VaultError::Store`], [`VaultError::Full`].
    fn remember(&mut self, name: &[u8], key: KeyRef, most: usize) -> Result<(), VaultError>;

    /// The key that is remembered by this name, as a transient key.
    ///
    /// # Errors
    /// [`VaultError::Store`], [`VaultError::Full`].
    fn remembered(&mut self, name: &[u8]) -> Result<Option<KeyRef>, VaultError>;

    /// Forgets the key of this name, if there is one, as durably as it was remembered.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    fn forget_remembered(&mut self, name: &[u8]) -> Result<(), VaultError>;

    /// Tries the keys that are remembered by public keys (names of 65 bytes): the first one whose cryptogram this is.
    ///
    /// # Errors
    /// [`VaultError::Store`], [`VaultError::Full`].
    fn find_cryptogram(&mut self, recognition: &Recognition<'_>) -> Result<Option<Hit>, VaultError>;
}

/// Kdh of a private key; `None` for no key or no point. For vaults.
#[must_use]
pub fn kdh(private: &SecretScalar, public: &PublicKey, shared_info: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let z = agree::agree(private, &public.0)?;
    let mut kdh = Zeroizing::new([0; 32]);
    x963_sha256(&*z, shared_info, &mut *kdh);
    Some(kdh)
}
