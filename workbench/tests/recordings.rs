//! The tapes of captures/recordings: regression tapes of card and lock.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tapdoor_link::stop::Stop;
use tapdoor_reader::LockConfig;
use tapdoor_reader::config::Method;
use tapdoor_workbench::ReaderSpec;
use tapdoor_workbench::desk::Desk;
use tapdoor_workbench::recorded::Taps;
use tapdoor_workbench::replay::keys::Tools;
use tapdoor_workbench::replay::{Player, TapeSource, lock, taps};
use tapdoor_workbench::script::OwnLock;
use tapdoor_workbench::verify::{Found, Verified, Verifier};

/// Every tape: its configuration, and what was decided in each tap.
const TAPES: [(&str, &str, &[&str]); 15] = [
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
        Some("challenge") => config.methods = vec![Method::ChallengeResponse],
        Some("aka") => config.methods = vec![Method::Aka],
        Some("usim") => config.methods = vec![Method::Usim],
        _ => config.methods = vec![Method::ChallengeResponse, Method::Aka],
    }
    config
}

fn verify(bytes: &[u8], config: LockConfig) -> Vec<Verified> {
    let mut out = Vec::new();
    let Ok(mut taps) = Taps::new(Cursor::new(bytes)) else { return out };
    let _ = Verifier::new(config).unwrap().tape(&mut taps, &mut |tap| out.push(tap));
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
                "aka-resynchronised" => &["T", "AUTN", "AUTS", "RES", "K3"],
                "challenge-response" | "second-method" if names.contains(&"TL") => &["T", "TL", "TP", "K3"],
                _ => &["T", "AUTN", "RES", "K3"],
            };
            assert!(wanted.iter().all(|wanted| names.contains(wanted)), "{name}: {names:?}");
        }
    }
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

/// Each tape as the card, with keys: the lock of today decides the same although every challenge is new.
#[test]
fn a_recorded_card_with_keys_leads_to_the_same_decisions() {
    for (name, lock, decisions) in TAPES {
        // A recording that came back is known by its challenge, and a slow phone by its time: neither is in new answers.
        if name == "challenge-response-replayed" || name == "challenge-response-slow" {
            continue;
        }
        let (recorded, _) = taps(&tape(name)).unwrap();
        let player = Player::new(recorded).with_keys(Tools::new(&config(lock, name)));
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
    for name in ["challenge-response", "aka-milenage", "usim"] {
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
    for name in ["challenge-response", "aka-milenage", "usim", "second-method", "app-missing"] {
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
    for name in ["challenge-response", "aka-resynchronised", "usim"] {
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
