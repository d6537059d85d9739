//! The tapes of captures/recordings: regression tapes of card and lock.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tapdoor_hce_card::PhoneConfig;
use tapdoor_link::stop::Stop;
use tapdoor_reader::LockConfig;
use tapdoor_reader::config::Method;
use tapdoor_workbench::ReaderSpec;
use tapdoor_workbench::aliro::Evidence;
use tapdoor_workbench::desk::Desk;
use tapdoor_workbench::recorded::Taps;
use tapdoor_workbench::replay::device::Device;
use tapdoor_workbench::replay::keys::Tools;
use tapdoor_workbench::replay::{Player, TapeSource, lock, taps};
use tapdoor_workbench::script::OwnLock;
use tapdoor_workbench::verify::{Found, Verified, Verifier};

/// Every tape: its configuration, and what was decided in each tap.
const TAPES: [(&str, &str, &[&str]); 25] = [
    ("challenge-response", "lock", &["open", "open"]),
    ("challenge-response-wrong-key", "lock", &["wrong-key"]),
    ("challenge-response-torn", "lock", &["torn"]),
    ("challenge-response-slow", "lock-hasty", &["timeout"]),
    (
        "challenge-response-replayed",
        "lock",
        &["wrong-key", "wrong-key", "replay", "replay"],
    ),
    ("challenge-response-ended", "lock-ended", &["not-entitled"]),
    ("weaker-than-allowed", "lock-strong", &["policy"]),
    ("aka-milenage", "lock", &["open", "open", "open"]),
    ("aka-tuak", "lock-tuak", &["open", "open"]),
    ("aka-wrong-key", "lock", &["wrong-key"]),
    ("aka-resynchronised", "lock", &["open"]),
    ("usim", "lock", &["open", "open"]),
    ("app-missing", "lock", &["app-missing"]),
    ("second-method", "lock", &["open"]),
    ("unknown-phone", "lock", &["unknown-phone"]),
    ("aliro", "lock", &["open", "open", "open"]),
    ("aliro-standard", "lock-aliro-standard", &["open"]),
    ("aliro-masked", "lock", &["open", "open"]),
    ("aliro-certificate", "lock-aliro-certificate", &["open", "open"]),
    ("aliro-fast-miss", "lock", &["open"]),
    ("aliro-wrong-reader-key", "lock-aliro-stranger", &["wrong-key"]),
    ("aliro-wrong-key", "lock", &["wrong-key"]),
    ("aliro-revoked", "lock-aliro-revoked", &["not-entitled"]),
    ("download", "lock-download", &["open"]),
    ("raw-frames", "lock", &["open"]),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../captures/recordings")
}

fn tape(name: &str) -> PathBuf {
    folder().join(format!("{name}.tape"))
}

/// The configuration, with just the methods that the recording lock was told to try.
fn config(name: &str, tape: &str) -> LockConfig {
    let mut config = LockConfig::load(&folder().join(format!("{name}.toml"))).unwrap();
    match tape.split('-').next() {
        Some("aliro") => config.methods = vec![Method::Aliro],
        // As its lock.toml has it.
        Some("download") => {}
        Some("challenge" | "raw") => config.methods = vec![Method::ChallengeResponse],
        Some("aka") => config.methods = vec![Method::Aka],
        Some("usim") => config.methods = vec![Method::Usim],
        _ => config.methods = vec![Method::ChallengeResponse, Method::Aka],
    }
    config
}

fn verify(bytes: &[u8], config: LockConfig) -> Vec<Verified> {
    let mut out = Vec::new();
    let Ok(mut taps) = Taps::new(Cursor::new(bytes)) else { return out };
    let _ = Verifier::new(config, &Evidence::default())
        .unwrap()
        .tape(&mut taps, &mut |tap| out.push(tap));
    out
}

fn word(tap: &Verified) -> String {
    tap.reason
        .map_or_else(|| tap.now.name().to_owned(), |reason| reason.name().to_owned())
}

#[test]
fn every_tape_is_listed_and_described() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let mut found: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".tape").map(str::to_owned))
        .collect();
    found.sort_unstable();
    let mut listed: Vec<String> = TAPES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    listed.sort_unstable();
    assert_eq!(found, listed);
    for (name, ..) in TAPES {
        assert!(readme.contains(&format!("| {name}.tape |")), "{name}");
    }
}

#[test]
fn todays_lock_decides_as_then_and_every_value_is_right() {
    for (name, lock, decisions) in TAPES {
        // Its keys are on no tape: see below.
        if name == "aliro-masked" {
            continue;
        }
        let verified = verify(&std::fs::read(tape(name)).unwrap(), config(lock, name));
        let words: Vec<String> = verified.iter().map(word).collect();
        assert_eq!(words, decisions, "{name}: {verified:#?}");
        for tap in &verified {
            assert_eq!(tap.same_decision(), Some(true), "{name}: {tap:#?}");
            assert!(tap.is_good(), "{name}: {tap:#?}");
        }
        if decisions.contains(&"open") {
            let names: Vec<&str> = verified.iter().flat_map(|tap| tap.checks.iter().map(|check| check.name)).collect();
            let wanted: &[&str] = match name {
                "usim" => &["AUTN", "RES"],
                "aliro-standard" | "aliro-fast-miss" => &ALIRO,
                "aliro" => &[
                    "cryptogram",
                    "reader signature",
                    "AUTH1 answer",
                    "device signature",
                    "EXCHANGE",
                    "EXCHANGE answer",
                ],
                "aliro-certificate" => &["certificate", "reader signature", "cryptogram", "device signature"],
                "aka-resynchronised" => &["T", "AUTN", "AUTS", "RES", "K3"],
                "challenge-response" | "raw-frames" | "download" | "second-method" if names.contains(&"TL") => &["T", "TL", "TP", "K3"],
                _ => &["T", "AUTN", "RES", "K3"],
            };
            assert!(wanted.iter().all(|wanted| names.contains(wanted)), "{name}: {names:?}");
        }
    }
}

/// What a standard transaction of Aliro holds.
const ALIRO: [&str; 6] = [
    "reader id",
    "reader signature",
    "AUTH1 answer",
    "device signature",
    "EXCHANGE",
    "EXCHANGE answer",
];

fn right(tap: &Verified) -> Vec<&str> {
    let right = tap.checks.iter().filter(|check| matches!(check.found, Found::Right(_)));
    right.map(|check| check.name).collect()
}

/// A tape without secrets: what a third party can prove is proved, and what it cannot is said.
#[test]
fn what_an_aliro_tape_without_secrets_proves() {
    let verified = verify(&std::fs::read(tape("aliro-masked")).unwrap(), config("lock", "aliro"));
    let [standard, fast] = verified.as_slice() else {
        panic!("{verified:#?}")
    };
    assert_eq!(right(standard), ["reader id", "reader signature"]);
    assert_eq!(right(fast), ["reader id"]);
    for (tap, word) in [(standard, "ephemeral private key"), (fast, "Kpersistent")] {
        assert!(!tap.judged && tap.difference.is_none() && tap.is_good(), "{tap:#?}");
        assert!(tap.unproven.iter().any(|what| what.contains(word)), "{tap:#?}");
    }
    // A transaction of then is bound to its bytes: another A5, another key, another transaction identifier are found.
    let bytes = std::fs::read(tape("aliro")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let bent = text.replace("5c020100", "5c0201005c00");
    assert_ne!(text, bent);
    let other = |text: &str| verify(text.as_bytes(), config("lock", "aliro"));
    assert!(other(&text).iter().all(Verified::is_good));
    for (number, change) in [(1, "4c10"), (2, "4c10")] {
        // The first digit of the transaction identifier of AUTH0, in the tap of this number.
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let wanted = format!("\"tap\":{number}");
        let line = lines
            .iter()
            .position(|l| l.contains("\"layer\":\"apdu\"") && l.contains("\"data\":\"8080") && l.contains(&wanted))
            .unwrap();
        let at = lines[line].find(change).unwrap() + 4;
        let digit = if lines[line].as_bytes()[at] == b'0' { "1" } else { "0" };
        lines[line].replace_range(at..=at, digit);
        let verified = other(&lines.join("\n"));
        let tap = &verified[number - 1];
        assert!(!tap.is_good(), "{tap:#?}");
        assert_ne!(tap.same_decision(), Some(true), "{tap:#?}");
    }
}

/// A Kpersistent by hand proves a fast transaction to its end, without an ephemeral key of anybody.
#[test]
fn kpersistent_alone_proves_a_fast_transaction() {
    let bytes = std::fs::read(tape("aliro")).unwrap();
    let fast = |evidence: &Evidence| {
        let mut out = Vec::new();
        // Without the taps before, from which the key could be learnt.
        let text = String::from_utf8(bytes.clone()).unwrap();
        let kept: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("\"tap\":1") && !line.contains("\"tap\":2") && !line.contains("\"random\""))
            .collect();
        let kept = kept.join("\n");
        let mut taps = Taps::new(Cursor::new(kept.as_bytes())).unwrap();
        let mut verifier = Verifier::new(config("lock", "aliro"), evidence).unwrap();
        verifier.tape(&mut taps, &mut |tap| out.push(tap)).unwrap();
        out
    };
    assert!(!fast(&Evidence::default())[0].judged);
    let mut evidence = Evidence::default();
    evidence.given.push([5; 32].into());
    assert!(!fast(&evidence)[0].judged);
    evidence.given.push(kpersistent(&bytes).into());
    let verified = fast(&evidence);
    assert_eq!(verified.len(), 1);
    assert!(
        verified[0].judged && verified[0].is_good() && verified[0].same_decision() == Some(true),
        "{verified:#?}"
    );
    assert_eq!(right(&verified[0]), ["reader id", "cryptogram", "EXCHANGE", "EXCHANGE answer"]);
}

/// The Kpersistent that the first tap of this tape made, by protocol's own key schedule and the ephemeral key that the chip drew.
fn kpersistent(bytes: &[u8]) -> [u8; 32] {
    use tapdoor_protocol::aliro::{Auth0Command, Auth0Response, Fci, PublicKey, vault};
    use tapdoor_protocol::crypto::{ecies::SecretScalar, hkdf_sha256};
    let tap = Taps::new(Cursor::new(bytes)).unwrap().next().unwrap().unwrap();
    let drawn = tap.drawn.iter().find(|drawn| drawn.len() == 32).unwrap();
    let answer = |at: usize| {
        let answer = tap.exchanges[at].answer.as_ref().unwrap().as_ref().unwrap();
        answer[..answer.len() - 2].to_vec()
    };
    let auth0 = &tap.exchanges[1].command;
    let auth0 = Auth0Command::parse(&auth0[5..auth0.len() - 1]).unwrap();
    let device = Auth0Response::parse(&answer(1), true).unwrap();
    let a5 = Fci::parse(&answer(0)).unwrap().a5;
    let lock = config("lock", "aliro");
    let application = lock
        .personalisation
        .applications
        .iter()
        .find(|a| a.kind == tapdoor_chip::Kind::AliroLock)
        .unwrap();
    let reader = tapdoor_protocol::aliro::ReaderConfig::decode(&application.parameters).unwrap();
    let credential: PublicKey = reader.credentials[0].key;
    let kdh = vault::kdh(
        &SecretScalar(drawn.as_slice().try_into().unwrap()),
        &device.ephemeral,
        &auth0.transaction,
    )
    .unwrap();
    let salt = [
        reader.group_key.x().as_slice(),
        b"Persistent**",
        &auth0.reader.0,
        &[0x5E, 0x5C, 0x02],
        &auth0.version.to_be_bytes(),
        auth0.ephemeral.x(),
        &auth0.transaction,
        &[auth0.parameters, auth0.policy],
        &a5,
        credential.x(),
    ]
    .concat();
    let mut out = [0; 32];
    hkdf_sha256(&*kdh, &[&salt], &[device.ephemeral.x(), &auth0.vendor, &device.vendor], &mut out);
    out
}

#[test]
fn what_a_masked_tape_cannot_prove_is_said() {
    let verified = verify(&std::fs::read(tape("usim")).unwrap(), config("lock", "usim"));
    let unproven = verified
        .iter()
        .flat_map(|tap| &tap.unproven)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    for word in ["IMSI", "CK", "IK"] {
        assert!(unproven.contains(word), "{unproven}");
    }
}

#[test]
fn one_changed_digit_is_found() {
    let text = std::fs::read_to_string(tape("challenge-response")).unwrap();
    let line = text
        .lines()
        .position(|line| line.contains("\"layer\":\"apdu\"") && line.contains("\"dir\":\"in\""))
        .unwrap();
    // T, the last digits before the status word of the answer to SELECT.
    let change = |digits_from_end: usize| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = lines[line].find("9000\"").unwrap() - digits_from_end;
        let digit = lines[line].as_bytes()[at];
        lines[line].replace_range(at..=at, if digit == b'0' { "1" } else { "0" });
        lines.join("\n")
    };
    let verified = verify(change(1).as_bytes(), config("lock", "challenge-response"));
    assert_eq!(verified[0].same_decision(), Some(false));
    assert_eq!(word(&verified[0]), "unknown-phone");
    assert!(verified[0].difference.is_some() && !verified[0].is_good());
    assert!(verified[1].is_good());

    // The phone's proof.
    let proof = text
        .lines()
        .filter(|line| line.contains("\"layer\":\"apdu\"") && line.contains("\"dir\":\"in\""))
        .nth(1)
        .unwrap();
    let data = proof.split("\"data\":\"").nth(1).unwrap().split('"').next().unwrap();
    let bent = text.replace(data, &format!("{}{}", if data.starts_with('0') { '1' } else { '0' }, &data[1..]));
    let verified = verify(bent.as_bytes(), config("lock", "challenge-response"));
    assert_eq!(word(&verified[0]), "wrong-key");
    assert!(
        verified[0]
            .checks
            .iter()
            .any(|check| check.name == "TP" && matches!(check.found, Found::Wrong { .. }))
    );
}

#[test]
fn other_keys_do_not_open_a_recorded_tap() {
    let stranger = tapdoor_workbench::Site::generate(1, false).unwrap();
    let config = LockConfig::parse(Path::new("lock.toml"), &stranger.lock_toml()).unwrap();
    let verified = verify(&std::fs::read(tape("challenge-response")).unwrap(), config);
    assert!(
        verified
            .iter()
            .all(|tap| word(tap) == "unknown-phone" && tap.same_decision() == Some(false))
    );
}

/// The Aliro user device of the phone beside this lock.
fn device(lock: &str) -> Device {
    let own = folder().join(format!("{}.toml", lock.replace("lock", "phone")));
    let path = if own.exists() { own } else { folder().join("phone.toml") };
    Device::new(&PhoneConfig::load(&path).unwrap()).unwrap()
}

/// Each tape as the card, with keys: the lock of today decides the same although every challenge is new.
#[test]
fn a_recorded_card_with_keys_leads_to_the_same_decisions() {
    for (name, lock, decisions) in TAPES {
        // A recording that came back is known by its challenge, and a slow phone by its time: neither is in new answers.
        if name == "challenge-response-replayed" || name == "challenge-response-slow" {
            continue;
        }
        let (recorded, _) = taps(&tape(name)).unwrap();
        // Without a server nothing is installed; and the phone of this tape is known to its own site only.
        if name == "download" {
            continue;
        }
        let player = Player::new(recorded)
            .with_keys(Tools::new(&config(lock, name)))
            .with_device(device(lock))
            .unwrap();
        let mut desk = Desk::new(Box::new(TapeSource::of(name.into(), player)), Duration::from_secs(5), &Stop::new());
        let mut own = OwnLock::new(config(lock, name)).unwrap();
        for decision in decisions {
            desk.reset().unwrap();
            let now = own.tap("", &mut desk).unwrap();
            let word = now.reason.map_or_else(|| now.verdict.name(), |reason| reason.name());
            assert_eq!(word, *decision, "{name}: {}", now.detail);
        }
    }
}

/// Without keys the recorded card says what it said then, and that does not open.
#[test]
fn a_recorded_card_without_keys_opens_nothing() {
    for name in ["challenge-response", "aka-milenage", "usim", "aliro", "raw-frames"] {
        let (recorded, _) = taps(&tape(name)).unwrap();
        let count = recorded.len();
        let mut desk = Desk::new(
            Box::new(TapeSource::of(name.into(), Player::new(recorded))),
            Duration::from_secs(5),
            &Stop::new(),
        );
        let mut own = OwnLock::new(config("lock", name)).unwrap();
        for _ in 0..count {
            desk.reset().unwrap();
            assert_ne!(own.tap("", &mut desk).unwrap().verdict.name(), "open", "{name}");
        }
    }
}

#[test]
fn the_recorded_lock_with_keys_finds_the_same_phone_unchanged() {
    let toml = folder().join("lock.toml");
    for name in [
        "challenge-response",
        "aka-milenage",
        "usim",
        "second-method",
        "app-missing",
        "aliro",
        "aliro-masked",
        "raw-frames",
    ] {
        let reader: ReaderSpec = match name {
            "second-method" => "sim:missing=challenge-response",
            "app-missing" => "sim:missing-app",
            _ => "sim:",
        }
        .parse()
        .unwrap();
        let mut desk = Desk::new(
            reader.open(Some(&toml), Duration::ZERO).unwrap(),
            Duration::from_secs(5),
            &Stop::new(),
        );
        let mut own = OwnLock::new(config("lock", name)).unwrap();
        for tap in taps(&tape(name)).unwrap().0 {
            let replayed = lock::replay(&tap, &mut desk, Some(&mut own)).unwrap();
            assert!(replayed.is_same() && replayed.same_decision == Some(true), "{name}: {replayed:#?}");
        }
    }
}

#[test]
fn the_recorded_lock_finds_a_phone_that_has_changed() {
    let toml = folder().join("lock.toml");
    let recorded = taps(&tape("challenge-response")).unwrap().0;
    for (switch, with_keys) in [
        ("wrong-key", true),
        ("missing-app", true),
        ("missing-app", false),
        ("tear=2", true),
        ("tear=2", false),
    ] {
        let reader: ReaderSpec = format!("sim:{switch}").parse().unwrap();
        let mut desk = Desk::new(
            reader.open(Some(&toml), Duration::ZERO).unwrap(),
            Duration::from_secs(5),
            &Stop::new(),
        );
        let mut own = OwnLock::new(config("lock", "challenge-response")).unwrap();
        let replayed = lock::replay(&recorded[0], &mut desk, with_keys.then_some(&mut own)).unwrap();
        assert!(!replayed.is_same(), "{switch}: {replayed:#?}");
        assert!(!replayed.changed.is_empty(), "{switch}: {replayed:#?}");
    }
    // Without keys and unchanged: the proof is over another challenge, and that is said.
    let reader: ReaderSpec = "sim:".parse().unwrap();
    let mut desk = Desk::new(
        reader.open(Some(&toml), Duration::ZERO).unwrap(),
        Duration::from_secs(5),
        &Stop::new(),
    );
    let replayed = lock::replay(&recorded[0], &mut desk, None).unwrap();
    assert!(replayed.remarks.iter().any(|remark| remark.contains("--config")), "{replayed:#?}");
}

/// Cut off anywhere, a tape is verified and played up to there, or refused: never a panic, never a tap that opens by being cut.
#[test]
fn tapes_cut_anywhere() {
    for name in ["challenge-response", "aka-resynchronised", "usim", "aliro-standard"] {
        let bytes = std::fs::read(tape(name)).unwrap();
        let whole = verify(&bytes, config("lock", name)).len();
        for end in (0..bytes.len()).step_by(if cfg!(debug_assertions) { 41 } else { 1 }) {
            let cut = verify(&bytes[..end], config("lock", name));
            assert!(cut.len() <= whole);
            if let Ok(mut taps) = Taps::new(Cursor::new(&bytes[..end])) {
                let recorded: Vec<_> = taps.by_ref().map_while(Result::ok).collect();
                let player = Player::new(recorded).with_keys(Tools::new(&config("lock", name)));
                let mut desk = Desk::new(Box::new(TapeSource::of(name.into(), player)), Duration::from_secs(5), &Stop::new());
                let mut own = OwnLock::new(config("lock", name)).unwrap();
                if desk.reset().is_ok() {
                    let _ = own.tap("", &mut desk);
                }
            }
        }
    }
}
