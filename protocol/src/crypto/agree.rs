//! SP 800-56A: key agreement on P-256, with public keys as 65 bytes (SEC 1, uncompressed), the only form of Aliro.

use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};
use zeroize::Zeroizing;

use super::ecies::SecretScalar;

/// The public half of a key, uncompressed; `None` if the scalar is no key.
#[must_use]
pub fn public_uncompressed(private: &SecretScalar) -> Option<[u8; 65]> {
    let key = SecretKey::from_bytes((&private.0).into()).ok()?;
    key.public_key().to_sec1_point(false).as_bytes().try_into().ok()
}

/// Whether these bytes are a point of the curve in the uncompressed form. The point at infinity has no such form.
#[must_use]
pub fn is_point(public: &[u8; 65]) -> bool {
    point(public).is_some()
}

fn point(public: &[u8; 65]) -> Option<PublicKey> {
    match public {
        [4, ..] => PublicKey::from_sec1_bytes(public).ok(),
        _ => None,
    }
}

/// The x coordinate of the shared point; `None` if the scalar is no key or the bytes no point of the curve.
#[must_use]
pub fn agree(private: &SecretScalar, public: &[u8; 65]) -> Option<Zeroizing<[u8; 32]>> {
    let private = SecretKey::from_bytes((&private.0).into()).ok()?;
    let shared = private.diffie_hellman(&point(public)?);
    let z: &[u8] = shared.raw_secret_bytes();
    Some(Zeroizing::new(z.try_into().ok()?))
}
