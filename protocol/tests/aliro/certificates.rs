//! profile0000: recorded certificates both ways, every field wrong in turn, round trips.

use proptest::prelude::*;
use serde_json::Value;
use tapdoor_protocol::aliro::PublicKey;
use tapdoor_protocol::aliro::certificate::{Certificate, CertificateError, CertificateFields};
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::crypto::sign;

use crate::recorded::load;

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn public(private: u8) -> PublicKey {
    PublicKey(public_uncompressed(&SecretScalar([private; 32])).unwrap())
}

#[test]
fn recorded_certificates_both_ways() {
    for name in ["cert_load_cert.json", "cert_in_auth1_chained.json"] {
        let vector = load(name);
        let compressed = bytes(&vector["inputs"]["reader"]["certificate_compressed"]);
        let whole = &vector["transactions"][0]["certificate_decompressed"][0];
        let (issuer, x509) = (PublicKey::new(&bytes(&whole["issuer_public_key"])).unwrap(), bytes(&whole["x509"]));
        let certificate = Certificate::parse(&compressed).unwrap();
        assert_eq!(certificate.encode(), compressed);
        assert_eq!(hex::encode(certificate.to_x509(&issuer)), hex::encode(&x509));
        assert_eq!(Certificate::from_x509(&x509), Ok(certificate.clone()));
        assert!(certificate.is_signed_by(&issuer));
        assert!(!certificate.is_signed_by(&public(7)));
    }
}

fn issued(fields: CertificateFields) -> Certificate {
    Certificate::issue(fields, public(2), &public(1), |tbs| sign::sign(&[1; 32], tbs)).unwrap()
}

#[test]
fn every_field_wrong_in_turn_is_refused_or_not_signed() {
    let certificate = issued(CertificateFields {
        serial: vec![5, 6],
        issuer: b"ours".to_vec(),
        not_before: b"20260101000000Z".to_vec(),
        not_after: b"360101000000Z".to_vec(),
        subject: b"door".to_vec(),
    });
    let encoded = certificate.encode();
    assert_eq!(Certificate::parse(&encoded).as_ref(), Ok(&certificate));
    for at in 0..encoded.len() {
        for bit in 0..8 {
            let mut bent = encoded.clone();
            bent[at] ^= 1 << bit;
            let good = Certificate::parse(&bent).is_ok_and(|c| c.is_signed_by(&public(1)));
            assert!(!good, "bit {bit} of byte {at}");
        }
        assert!(Certificate::parse(&encoded[..at]).is_err());
    }
    assert!(Certificate::parse(&[&encoded[..], &[0]].concat()).is_err());
    let bad = |change: fn(&mut CertificateFields)| {
        let mut fields = CertificateFields::default();
        change(&mut fields);
        Certificate::issue(fields, public(2), &public(1), |tbs| sign::sign(&[1; 32], tbs))
    };
    assert_eq!(bad(|f| f.serial.clear()), Err(CertificateError::Field("serial")));
    assert_eq!(bad(|f| f.serial = vec![1; 21]), Err(CertificateError::Field("serial")));
    assert_eq!(bad(|f| f.issuer = vec![b'a'; 33]), Err(CertificateError::Field("issuer")));
    assert_eq!(bad(|f| f.subject = vec![0xFF]), Err(CertificateError::Field("subject")));
    assert_eq!(
        bad(|f| f.not_before = b"261301000000Z".to_vec()),
        Err(CertificateError::Field("notBefore"))
    );
    assert_eq!(
        bad(|f| f.not_after = b"2601010000000".to_vec()),
        Err(CertificateError::Field("notAfter"))
    );
}

#[test]
fn two_bytes_of_ff_anywhere_are_never_a_certificate_that_verifies() {
    let vector = load("cert_in_auth1_chained.json");
    let compressed = bytes(&vector["inputs"]["reader"]["certificate_compressed"]);
    let whole = &vector["transactions"][0]["certificate_decompressed"][0];
    let issuer = PublicKey::new(&bytes(&whole["issuer_public_key"])).unwrap();
    for at in 0..compressed.len() - 1 {
        let mut bent = compressed.clone();
        bent[at..at + 2].fill(0xFF);
        assert!(!Certificate::parse(&bent).is_ok_and(|c| c.is_signed_by(&issuer)), "at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn round_trips(serial in prop::collection::vec(any::<u8>(), 1..=20), issuer in "[a-zA-Z ]{1,32}", subject in "[a-z]{1,32}") {
        let certificate = issued(CertificateFields {
            serial,
            issuer: issuer.into_bytes(),
            subject: subject.into_bytes(),
            ..CertificateFields::default()
        });
        prop_assert_eq!(Certificate::parse(&certificate.encode()), Ok(certificate.clone()));
        prop_assert_eq!(Certificate::from_x509(&certificate.to_x509(&public(1))), Ok(certificate.clone()));
        prop_assert!(certificate.is_signed_by(&public(1)));
    }
}

proptest! {
    #[test]
    fn never_panics(bytes: Vec<u8>) {
        let _ = Certificate::parse(&bytes);
        let _ = Certificate::from_x509(&bytes);
    }
}
