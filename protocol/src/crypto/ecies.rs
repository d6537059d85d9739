//! TS 33.501 Annex C.3, profile B: ECIES with P-256, the X9.63 KDF with SHA-256, AES-128-CTR and HMAC-SHA-256 cut to 8 bytes.
//!
//! The ephemeral public key always travels compressed and is the KDF's shared information, so it is bound to the keys and needs no
//! place under the MAC. An ephemeral key must serve for one encryption only.

use alloc::vec::Vec;
use core::fmt;

use aes::Aes128Enc;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{equal, x963_sha256};

/// The length of the MAC, in bytes.
pub const TAG: usize = 8;

/// A P-256 private key, big-endian. Overwritten when dropped, never shown.
///
/// Any 32 bytes can stand here; those that are no key (0, or not below the group's order: about one in 2^32) are refused where they are used.
#[derive(Clone, ZeroizeOnDrop)]
pub struct SecretScalar(pub [u8; 32]);

impl SecretScalar {
    fn key(&self) -> Option<SecretKey> {
        SecretKey::from_bytes((&self.0).into()).ok()
    }
}

impl fmt::Debug for SecretScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretScalar(..)")
    }
}

/// The public half of a key, compressed (SEC1); `None` if the scalar is no key.
#[must_use]
pub fn public_compressed(private: &SecretScalar) -> Option<[u8; 33]> {
    compressed(&private.key()?.public_key())
}

/// Enciphers to the holder of `recipient_sec1` (33 or 65 bytes): ciphertext || tag(8).
///
/// `None` if the ephemeral scalar is no key or the recipient no point of the curve.
#[must_use]
pub fn seal(ephemeral: &SecretScalar, recipient_sec1: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let private = ephemeral.key()?;
    let keys = Keys::agree(&private, &point(recipient_sec1)?, &compressed(&private.public_key())?);
    let mut sealed = Vec::with_capacity(plain.len().saturating_add(TAG));
    sealed.extend_from_slice(plain);
    keys.apply_keystream(&mut sealed)?;
    let tag = keys.tag(&sealed)?;
    sealed.extend_from_slice(&tag);
    Some(sealed)
}

/// Opens what [`seal`] made; `None` when the tag is wrong (compared in constant time) or a key is none.
#[must_use]
pub fn open(private: &SecretScalar, ephemeral_public: &[u8; 33], sealed: &[u8]) -> Option<Vec<u8>> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG>()?;
    let keys = Keys::agree(&private.key()?, &point(ephemeral_public)?, ephemeral_public);
    if !equal(&keys.tag(ciphertext)?, tag) {
        return None;
    }
    let mut plain = ciphertext.to_vec();
    keys.apply_keystream(&mut plain)?;
    Some(plain)
}

/// A point in SEC1's compressed or uncompressed form, and in no other.
fn point(sec1: &[u8]) -> Option<PublicKey> {
    match (sec1.first()?, sec1.len()) {
        (2 | 3, 33) | (4, 65) => PublicKey::from_sec1_bytes(sec1).ok(),
        _ => None,
    }
}

fn compressed(public: &PublicKey) -> Option<[u8; 33]> {
    public.to_sec1_point(true).as_bytes().try_into().ok()
}

/// AES key(16) || initial counter block(16) || MAC key(32).
struct Keys(Zeroizing<[u8; 64]>);

impl Keys {
    fn agree(private: &SecretKey, public: &PublicKey, ephemeral_public: &[u8; 33]) -> Self {
        let z = private.diffie_hellman(public);
        let mut keys = Zeroizing::new([0; 64]);
        x963_sha256(z.raw_secret_bytes(), ephemeral_public, &mut *keys);
        Self(keys)
    }

    fn apply_keystream(&self, data: &mut [u8]) -> Option<()> {
        let mut cipher = Ctr128BE::<Aes128Enc>::new_from_slices(&self.0[..16], &self.0[16..32]).ok()?;
        cipher.try_apply_keystream(data).ok()
    }

    fn tag(&self, ciphertext: &[u8]) -> Option<[u8; TAG]> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0[32..]).ok()?;
        let mac: [u8; 32] = mac.chain_update(ciphertext).finalize().into_bytes().into();
        mac.first_chunk().copied()
    }
}
