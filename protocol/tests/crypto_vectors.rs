//! The primitives against published vectors: NIST CAVS, RFC 4493, RFC 6979, NIST SP 800-38B, TS 33.501 Annex C.4.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::Value;
use tapdoor_protocol::crypto::ecies::{self, SecretScalar};
use tapdoor_protocol::crypto::{
    CounterLocation, ccm_open_with, ccm_seal, ccm_seal_with, cmac, cmac128, equal, sign, sp800_108_counter, sp800_108_counter_at,
    x963_sha256,
};

/// The vectors of a file; their number is asserted, so that a file cut short fails.
fn vectors(text: &str, count: usize) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).unwrap();
    let vectors = file["vectors"].as_array().unwrap().clone();
    assert!(vectors.len() >= count);
    vectors
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

#[test]
fn kdf_sp800_108_cmac() {
    for v in vectors(include_str!("vectors/kdf_sp800_108_cmac.json"), 24) {
        assert_eq!(v["prf"], "CMAC_AES128");
        assert_eq!(v["ctr_location"], "BEFORE_FIXED");
        let fixed = bytes(&v["fixed"]);
        let r_bits = u8::try_from(number(&v["r_bits"])).unwrap();
        let mut out = vec![0; number(&v["L"]) / 8];
        sp800_108_counter(&bytes(&v["key"]), r_bits, &[&fixed], &mut out).unwrap();
        assert_eq!(out, bytes(&v["out"]), "{v}");
        // Also in pieces, as a label and a context come.
        let (a, b) = fixed.split_at(fixed.len() / 3);
        out.fill(0);
        sp800_108_counter(&bytes(&v["key"]), r_bits, &[a, &[], b], &mut out).unwrap();
        assert_eq!(out, bytes(&v["out"]), "{v}");
    }
}

/// Every place of the counter, every counter length and every AES key length.
#[test]
fn kdf_sp800_108_cmac_locations() {
    for v in vectors(include_str!("vectors/kdf_sp800_108_cmac_locations.json"), 72) {
        let (before, after) = (bytes(&v["before"]), bytes(&v["after"]));
        let location = match v["ctr_location"].as_str().unwrap() {
            "BEFORE_FIXED" => CounterLocation::BeforeFixed,
            "AFTER_FIXED" => CounterLocation::AfterFixed,
            "MIDDLE_FIXED" => CounterLocation::MiddleFixed(before.len()),
            other => panic!("{other}"),
        };
        let r_bits = u8::try_from(number(&v["r_bits"])).unwrap();
        let key = bytes(&v["key"]);
        let fixed = [before, after].concat();
        let mut out = vec![0; number(&v["L"]) / 8];
        sp800_108_counter_at(&key, location, r_bits, &[&fixed], &mut out).unwrap();
        assert_eq!(out, bytes(&v["out"]), "{v}");
    }
}

#[test]
fn x963_kdf_sha256() {
    for v in vectors(include_str!("vectors/x963_kdf_sha256.json"), 6) {
        let expected = bytes(&v["key_data"]);
        let mut out = vec![0; expected.len()];
        x963_sha256(&bytes(&v["Z"]), &bytes(&v["SharedInfo"]), &mut out);
        assert_eq!(out, expected, "{v}");
    }
}

#[test]
fn ccm_nist() {
    for v in vectors(include_str!("vectors/ccm_nist.json"), 60) {
        let key: [u8; 16] = bytes(&v["key"]).try_into().unwrap();
        let nonce: [u8; 13] = bytes(&v["nonce"]).try_into().unwrap();
        let (aad, plain, mut sealed) = (bytes(&v["aad"]), bytes(&v["plain"]), bytes(&v["sealed"]));
        assert_eq!(ccm_seal_with(&key, &nonce, &aad, &plain).as_ref(), Some(&sealed), "{v}");
        assert_eq!(ccm_open_with(&key, &nonce, &aad, &sealed), Some(plain), "{v}");
        for i in 0..sealed.len() {
            sealed[i] ^= 0x80;
            assert_eq!(ccm_open_with(&key, &nonce, &aad, &sealed), None, "{v}");
            sealed[i] ^= 0x80;
        }
    }
}

/// CCM-16 itself, with its nonce of zeroes. No standard has a vector for that; these were computed with `AESCCM` of Python's `cryptography` 48.0.0.
#[test]
fn ccm_16() {
    let key = core::array::from_fn(|i| i as u8);
    assert_eq!(
        hex::encode(ccm_seal(&key, b"L", &[0x68, 0x00, 0x00, 0x00])),
        "17e6e7faacf708358f82221c77393473c6752620"
    );
    assert_eq!(hex::encode(ccm_seal(&key, b"", b"")), "5f3aea73fe1db98ab44f7c63fe1aae0b");
}

const SP800_38B_MESSAGE: &str =
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

#[test]
fn cmac_rfc_4493() {
    let key: [u8; 16] = array("2b7e151628aed2a6abf7158809cf4f3c");
    let message: [u8; 64] = array(SP800_38B_MESSAGE);
    for (length, expected) in [
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
        (64, "51f0bebf7e3b9d92fc49741779363cfe"),
    ] {
        let message = &message[..length];
        assert_eq!(cmac128(&key, &[message]), array(expected));
        assert_eq!(cmac(&key, &[message]), Some(array(expected)));
        for cut in 0..=length {
            let (a, b) = message.split_at(cut);
            assert_eq!(cmac128(&key, &[a, b]), array(expected));
        }
    }
    assert_eq!(cmac128(&key, &[]), cmac128(&key, &[&[]]));
}

#[test]
fn cmac_sp800_38b_aes256() {
    let key: [u8; 32] = array("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let message: [u8; 64] = array(SP800_38B_MESSAGE);
    for (length, expected) in [
        (0, "028962f61b7bf89efc6b551f4667d983"),
        (16, "28a7023f452e8f82bd4bf28d8c37c35c"),
        (40, "aaf3d8f1de5640c232f5b169b9c911e6"),
        (64, "e1992190549f6ed5696a2c056c315410"),
    ] {
        assert_eq!(cmac(&key, &[&message[..length]]), Some(array(expected)));
    }
    for length in (0..=32).filter(|l| ![16, 32].contains(l)) {
        assert_eq!(cmac(&key[..length], &[]), None);
    }
}

/// TS 33.501 Annex C.4.4.1 (IMSI-based SUPI, profile B), as P1sec/CryptoMobile test/test_ECIES.py and free5gc/udm pkg/suci carry it.
#[test]
fn ecies_ts_33_501_annex_c_4_4() {
    let home = SecretScalar(array("f1ab1074477ebcc7f554ea1c5fc368b1616730155e0041ac447d6301975fecda"));
    let home_public: [u8; 65] = array(
        "0472da71976234ce833a6907425867b82e074d44ef907dfb4b3e21c1c2256ebcd15a7ded52fcbb097a4ed250e036c7b9c8c7004c4eedc4f068cd7bf8d3f900e3b4",
    );
    let ephemeral = SecretScalar(array("99798858a1dc6a2c68637149a4b1dbfd1fdff5addd62a2142f06699ed7602529"));
    let ephemeral_public: [u8; 33] = array("039aab8376597021e855679a9778ea0b67396e68c66df32c0f41e9acca2da9b9d1");
    let home_compressed = array("0272da71976234ce833a6907425867b82e074d44ef907dfb4b3e21c1c2256ebcd1");
    assert_eq!(ecies::public_compressed(&ephemeral), Some(ephemeral_public));
    assert_eq!(ecies::public_compressed(&home), Some(home_compressed));

    let plain = hex::decode("00012080f6").unwrap();
    let sealed = hex::decode("46a33fc2716ac7dae96aa30a4d").unwrap();
    assert_eq!(ecies::seal(&ephemeral, &home_public, &plain).as_ref(), Some(&sealed));
    assert_eq!(ecies::seal(&ephemeral, &home_compressed, &plain).as_ref(), Some(&sealed));
    assert_eq!(ecies::open(&home, &ephemeral_public, &sealed), Some(plain));
    assert_eq!(ecies::open(&ephemeral, &ephemeral_public, &sealed), None, "another's key");
}

#[test]
fn ecies_refuses_what_is_no_key() {
    let key = SecretScalar([1; 32]);
    let public = ecies::public_compressed(&key).unwrap();
    // 0, and the order of the group.
    let order = array("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    for none in [[0; 32], order, [0xFF; 32]].map(SecretScalar) {
        assert_eq!(ecies::public_compressed(&none), None);
        assert_eq!(ecies::seal(&none, &public, b""), None);
        assert_eq!(ecies::open(&none, &public, &[0; 8]), None);
    }
    let mut compact = public;
    compact[0] = 5;
    let mut hybrid = [0; 65];
    hybrid[0] = 6;
    for none in [
        &[][..],
        &[0],
        &[2],
        &[2; 32],
        &[0; 33],
        &[4; 65],
        &[4; 33],
        &compact,
        &hybrid,
        &[0xFF; 33],
    ] {
        assert_eq!(ecies::seal(&key, none, b""), None, "{none:02x?}");
        assert!(!sign::verify(none, b"", &[1; 64]));
    }
    assert_eq!(ecies::open(&key, &public, &[0; 7]), None);
    assert_eq!(format!("{key:?}"), "SecretScalar(..)");
}

/// RFC 6979 A.2.5, SHA-256.
#[test]
fn ecdsa_rfc_6979() {
    let key = array("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
    let public: [u8; 65] = array(
        "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
    );
    for (message, r, s) in [
        (
            &b"sample"[..],
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
            "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        ),
        (
            b"test",
            "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
            "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
        ),
    ] {
        let signature = array(&format!("{r}{s}"));
        assert_eq!(sign::sign(&key, message), Some(signature));
        assert!(sign::verify(&public, message, &signature));
        assert!(sign::verify(
            &ecies::public_compressed(&SecretScalar(key)).unwrap(),
            message,
            &signature
        ));
        assert!(!sign::verify(&public, b"else", &signature));
        for i in 0..64 {
            let mut wrong = signature;
            wrong[i] ^= 1;
            assert!(!sign::verify(&public, message, &wrong));
        }
    }
    assert!(!sign::verify(&public, b"sample", &[0; 64]));
    assert_eq!(sign::sign(&[0; 32], b"sample"), None);
    assert_eq!(sign::sign(&[0xFF; 32], b"sample"), None);
}

#[test]
fn equality() {
    assert!(equal(b"", b""));
    assert!(equal(b"abc", b"abc"));
    assert!(!equal(b"abc", b"abd"));
    assert!(!equal(b"abc", b"ab"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn ecies_there_and_back(home in 1u8.., ephemeral: [u8; 31], plain: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
        let home = SecretScalar([home; 32].map(|b| b & 0x7F | 1));
        let mut scalar = [1; 32];
        scalar[1..].copy_from_slice(&ephemeral);
        let ephemeral = SecretScalar(scalar);
        let public = ecies::public_compressed(&ephemeral).unwrap();
        let mut sealed = ecies::seal(&ephemeral, &ecies::public_compressed(&home).unwrap(), &plain).unwrap();
        prop_assert_eq!(ecies::open(&home, &public, &sealed), Some(plain));
        let mut other = public;
        other[0] ^= 1;
        prop_assert_eq!(ecies::open(&home, &other, &sealed), None);
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert_eq!(ecies::open(&home, &public, &sealed), None);
    }
}
