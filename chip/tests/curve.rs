//! The chip's coprocessor for P-256 against the portable implementation: the same answers, on random keys and on input that is none.
#![allow(missing_docs, clippy::unwrap_used)]

use proptest::prelude::*;
use tapdoor_chip::vault::curve::{agree, public_uncompressed, sign, verify};
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::crypto::{agree as portable, sign as portable_sign};

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
