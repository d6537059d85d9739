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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use tapdoor_protocol::crypto::{agree as portable, sign as portable_sign};

    use super::*;

    /// The group's order, big-endian (FIPS 186-5, SP 800-186).
    const ORDER: [u8; 32] = [
        0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17,
        0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
    ];

    fn order(plus: i8) -> [u8; 32] {
        let mut out = ORDER;
        out[31] = out[31].wrapping_add_signed(plus);
        out
    }

    fn both_public(scalar: [u8; 32]) -> Option<[u8; 65]> {
        let ours = public_uncompressed(&SecretScalar(scalar));
        assert_eq!(ours, portable::public_uncompressed(&SecretScalar(scalar)), "{scalar:02x?}");
        ours
    }

    fn both_agree(scalar: [u8; 32], public: &[u8; 65]) -> Option<[u8; 32]> {
        let ours = agree(&SecretScalar(scalar), public).map(|z| *z);
        assert_eq!(
            ours,
            portable::agree(&SecretScalar(scalar), public).map(|z| *z),
            "{scalar:02x?} {public:02x?}"
        );
        ours
    }

    fn both_verify(public: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
        let ours = verify(public, message, signature);
        assert_eq!(
            ours,
            portable_sign::verify(public, message, signature),
            "{public:02x?} {signature:02x?}"
        );
        ours
    }

    #[test]
    fn scalars_that_are_no_keys() {
        for scalar in [[0; 32], ORDER, order(1), [0xFF; 32]] {
            assert_eq!(both_public(scalar), None);
            assert_eq!(both_agree(scalar, &both_public([1; 32]).unwrap()), None);
            assert_eq!(sign(&scalar, b"message"), None);
            assert_eq!(portable_sign::sign(&scalar, b"message"), None);
        }
        let mut one = [0; 32];
        one[31] = 1;
        for scalar in [one, order(-1)] {
            let public = both_public(scalar).unwrap();
            assert!(both_verify(&public, b"message", &sign(&scalar, b"message").unwrap()));
        }
    }

    #[test]
    fn bytes_that_are_no_points() {
        let good = both_public([5; 32]).unwrap();
        let signature = sign(&[5; 32], b"message").unwrap();
        let mut bad: Vec<[u8; 65]> = vec![[0; 65], [0xFF; 65]];
        for form in (0..=7).filter(|form| *form != 4) {
            let mut other = good;
            other[0] = form;
            bad.push(other);
        }
        let mut infinity = [0; 65];
        infinity[0] = 4;
        bad.push(infinity);
        for at in [1, 32, 33, 64] {
            let mut off = good;
            off[at] ^= 1;
            bad.push(off);
        }
        // x and y that are not below the field's prime: the same point, written otherwise.
        let mut beyond = [0xFF; 65];
        beyond[0] = 4;
        bad.push(beyond);
        for public in &bad {
            assert_eq!(both_agree([7; 32], public), None);
            assert!(!both_verify(public, b"message", &signature));
        }
    }

    #[test]
    fn signatures_that_are_none() {
        let public = both_public([5; 32]).unwrap();
        let good = sign(&[5; 32], b"message").unwrap();
        let (r, s) = good.split_at(32);
        for wrong in [[0; 32], ORDER, order(1), [0xFF; 32]] {
            for halves in [[&wrong[..], s], [r, &wrong[..]], [&wrong[..], &wrong[..]]] {
                assert!(!both_verify(&public, b"message", &halves.concat().try_into().unwrap()));
            }
        }
        assert!(!both_verify(&public, b"other", &good));
        // r || n - s is one, too: neither implementation asks for the smaller of the two.
        let mut other = good;
        let mut borrow = 0i16;
        for at in (0..32).rev() {
            let difference = i16::from(ORDER[at]) - i16::from(s[at]) - borrow;
            borrow = i16::from(difference < 0);
            other[32 + at] = difference.rem_euclid(256) as u8;
        }
        assert!(both_verify(&public, b"message", &other));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn both_give_the_same_answers(a: [u8; 32], b: [u8; 32], message: Vec<u8>, bit in 0usize..512) {
            let (Some(public_a), Some(public_b)) = (both_public(a), both_public(b)) else { return Ok(()) };
            prop_assert_eq!(both_agree(a, &public_b), both_agree(b, &public_a));
            for mut signature in [sign(&a, &message).unwrap(), portable_sign::sign(&a, &message).unwrap()] {
                prop_assert!(both_verify(&public_a, &message, &signature));
                prop_assert_eq!(both_verify(&public_b, &message, &signature), public_a == public_b);
                signature[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(!both_verify(&public_a, &message, &signature));
            }
        }

        #[test]
        fn nothing_panics(scalar: [u8; 32], public in prop::array::uniform32(any::<u8>()), y: [u8; 32], form: u8, r: [u8; 32], s: [u8; 32]) {
            let public: [u8; 65] = [&[form][..], &public, &y].concat().try_into().unwrap();
            both_agree(scalar, &public);
            both_verify(&public, &scalar, &[r, s].concat().try_into().unwrap());
        }
    }
}
