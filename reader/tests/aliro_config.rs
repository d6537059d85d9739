//! `[aliro]` of lock.toml: every field wrong in turn.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use tapdoor_chip::Kind;
use tapdoor_protocol::aliro::ReaderConfig;
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_reader::LockConfig;

/// A lock.toml whose `[aliro]` has these lines in place of, or besides, those that make a good one.
fn parse(changed: &[(&str, &str)], credential: &[(&str, &str)]) -> Result<ReaderConfig, String> {
    let own = hex::encode(public_uncompressed(&SecretScalar([7; 32])).unwrap());
    let line = |(name, value): &(&str, &str)| format!("{name} = {value}\n");
    let section = |good: &[(&str, String)], changed: &[(&str, &str)]| -> String {
        let kept = good.iter().filter(|(name, _)| changed.iter().all(|(other, _)| other != name));
        let kept = kept.map(|(name, value)| format!("{name} = \"{value}\"\n"));
        kept.chain(changed.iter().map(line)).collect()
    };
    let good = [("group", "00".repeat(16)), ("sub", "11".repeat(16)), ("key", "07".repeat(32))];
    let text = format!(
        "id = \"1112131415161718\"\nstore = \"lock.chip\"\nmethods = [\"aliro\"]\n[aliro]\n{}[[aliro.credentials]]\n{}",
        section(&good, changed),
        section(&[("id", "0102030405060708".into()), ("key", own)], credential),
    );
    let config = LockConfig::parse(Path::new("lock.toml"), &text).map_err(|e| e.to_string())?;
    let of_aliro = config.personalisation.applications.iter().find(|a| a.kind == Kind::AliroLock);
    Ok(ReaderConfig::decode(of_aliro.unwrap().parameters.as_slice()).unwrap())
}

#[test]
fn every_field_can_be_wrong_and_the_error_says_which() {
    let config = parse(
        &[],
        &[
            ("not-before", "\"2026-01-01T00:00:00Z\""),
            ("not-after", "\"2027-01-01T00:00:00Z\""),
        ],
    )
    .unwrap();
    let [entry] = config.credentials.as_slice() else {
        panic!("one credential")
    };
    assert_eq!((entry.not_before, entry.not_after), (1_767_225_600, 1_798_761_600));
    let zeros = format!("\"04{}\"", "00".repeat(64));
    for (name, value) in [
        ("group", "\"00\""),
        ("sub", "\"zz\""),
        ("key", "\"0000000000000000000000000000000000000000000000000000000000000000\""),
        ("certificate", "\"3000\""),
        ("issuer", zeros.as_str()),
        ("versions", "[]"),
        ("versions", "[\"1.0\"]"),
        ("policy", "0"),
        ("policy", "4"),
        ("credential-by", "\"name\""),
        ("status", "\"0026\""),
        ("vendor", "\"0\""),
        ("remembered", "15"),
        ("remembered", "4097"),
        ("mailbox", "[\"burn 0 1\"]"),
        ("certificates", "1"),
    ] {
        let error = parse(&[(name, value)], &[]).unwrap_err();
        assert!(error.contains(name) || error.contains(value), "{name} = {value}: {error}");
    }
    for (name, value) in [
        ("id", "\"01\""),
        ("key", zeros.as_str()),
        ("not-after", "\"tomorrow\""),
        ("not-before", "\"yesterday\""),
        ("revoked", "\"no\""),
    ] {
        let error = parse(&[], &[(name, value)]).unwrap_err();
        assert!(error.contains("lock.toml"), "{name} = {value}: {error}");
    }
    let turned = [
        ("not-before", "\"2027-01-01T00:00:00Z\""),
        ("not-after", "\"2027-01-01T00:00:00Z\""),
    ];
    assert!(parse(&[], &turned).unwrap_err().contains("before"));
}

#[test]
fn a_reader_in_raw_mode_names_its_group_between_polls() {
    let frame = |methods: &str, polling: &str| {
        let text = format!(
            "id = \"1112131415161718\"\nstore = \"lock.chip\"\nmethods = [{methods}]\n{polling}\n[aliro]\ngroup = \"{}\"\nsub = \"{}\"\nkey = \"{}\"\n",
            "0123456789abcdef".repeat(2),
            "11".repeat(16),
            "07".repeat(32)
        );
        let config = LockConfig::parse(Path::new("lock.toml"), &text).map_err(|e| e.to_string())?;
        Ok::<_, String>(config.polling.annotation.map(hex::encode))
    };
    let wakes = |subtype: &str| Ok(Some(format!("6a02cb02{subtype}2042200123456789abcdef")));
    let none = Ok(None);
    assert_eq!(frame("\"aliro\"", ""), wakes("06"));
    assert_eq!(frame("\"aliro\"", "[polling]\naliro-subtype = 4"), wakes("04"));
    assert_eq!(frame("\"challenge-response\"", ""), none);
    assert_eq!(frame("\"challenge-response\"", "[polling]\nannotation = \"aliro\""), wakes("06"));
    assert_eq!(frame("\"aliro\"", "[polling]\nannotation = \"none\""), none);
    assert_eq!(frame("\"aliro\"", "[polling]\nannotation = \"6a0102\""), Ok(Some("6a0102".into())));
    assert!(frame("\"aliro\"", "[polling]\nannotation = \"Aliro\"").is_err());
    // Without the section there is no group to name.
    let text = "id = \"1112131415161718\"\nstore = \"lock.chip\"\n[polling]\nannotation = \"aliro\"\n";
    let error = LockConfig::parse(Path::new("lock.toml"), text).unwrap_err().to_string();
    assert!(error.contains("annotation") && error.contains("[aliro]"), "{error}");
}
