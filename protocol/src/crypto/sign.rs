//! FIPS 186-5, RFC 6979: ECDSA on P-256 with SHA-256, deterministic, signatures as r || s.

use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::{NistP256, SecretKey};
use sha2::{Digest, Sha256};

/// Signs a message with a private key; `None` if the 32 bytes are no key. The same message always gets the same signature.
#[must_use]
pub fn sign(key: &[u8; 32], message: &[u8]) -> Option<[u8; 64]> {
    // Not through p256's signing key, which works out its public key first: as much work again as the signature.
    let key = SecretKey::from_bytes(key.into()).ok()?.to_nonzero_scalar();
    let (signature, _) = ecdsa::hazmat::sign_prehashed_rfc6979::<NistP256, Sha256>(&key, &Sha256::digest(message), &[]);
    Some(signature.to_bytes().into())
}

/// Whether `signature` is one of `message` under a public key in SEC1 form (33 or 65 bytes).
#[must_use]
pub fn verify(public_sec1: &[u8], message: &[u8], signature: &[u8; 64]) -> bool {
    let Ok(key) = VerifyingKey::from_sec1_bytes(public_sec1) else {
        return false;
    };
    let Ok(signature) = Signature::from_bytes(signature.into()) else {
        return false;
    };
    key.verify(message, &signature).is_ok()
}
