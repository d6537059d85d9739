//! FIPS 186-5 and NIST SP 800-56A: the chip's coprocessor for P-256, which is AWS-LC.
//!
//! The functions are those of `tapdoor_protocol::crypto`'s `agree` and `sign`, take and refuse the same input, and give the same answers, but for
//! one thing: signatures here are drawn at random, so two of the same message differ. What is handed to the library is wiped by it when freed,
//! and the copies made here are wiped here.

use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use tapdoor_protocol::crypto::ecies::SecretScalar;
use zeroize::Zeroizing;

/// `ECPrivateKey` (RFC 5915) of a key of 32 bytes, without parameters and public key, up to the key's bytes.
const EC_PRIVATE_KEY: [u8; 7] = [0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20];

/// SEC 1, uncompressed: the only form that is taken.
const UNCOMPRESSED: u8 = 4;

/// The public half of a key, uncompressed; `None` if the scalar is no key.
#[must_use]
pub fn public_uncompressed(private: &SecretScalar) -> Option<[u8; 65]> {
    let public = PrivateKey::from_private_key(&ECDH_P256, &private.0)
        .ok()?
        .compute_public_key()
        .ok()?;
    public.as_ref().try_into().ok()
}

/// The x coordinate of the shared point; `None` if the scalar is no key or the bytes no point of the curve.
#[must_use]
pub fn agree(private: &SecretScalar, public: &[u8; 65]) -> Option<Zeroizing<[u8; 32]>> {
    let private = PrivateKey::from_private_key(&ECDH_P256, &private.0).ok()?;
    let public = public.first().filter(|form| **form == UNCOMPRESSED).map(|_| public)?;
    agreement::agree(&private, UnparsedPublicKey::new(&ECDH_P256, public), (), |z| {
        z.try_into().map(Zeroizing::new).map_err(|_| ())
    })
    .ok()
}

/// Signs a message; `None` if the 32 bytes are no key.
#[must_use]
pub fn sign(key: &[u8; 32], message: &[u8]) -> Option<[u8; 64]> {
    let mut der = Zeroizing::new([0; 39]);
    let (head, scalar) = der.split_at_mut(EC_PRIVATE_KEY.len());
    head.copy_from_slice(&EC_PRIVATE_KEY);
    scalar.copy_from_slice(key);
    let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_slice()).ok()?;
    pair.sign(&SystemRandom::new(), message).ok()?.as_ref().try_into().ok()
}

/// Whether `signature` is one of `message` under this public key.
#[must_use]
pub fn verify(public: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
    let key = signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public);
    public.first() == Some(&UNCOMPRESSED) && key.verify(message, signature).is_ok()
}
