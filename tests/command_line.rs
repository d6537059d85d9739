//! The command line without any hardware: what is printed, what is refused, and with which exit status.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/house.rs"]
mod house;
#[path = "support/proc.rs"]
mod proc;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::house::{House, LONG, assert_opens, assert_tap};
use crate::proc::{Proc, json, run, tapdoor, text};

const COMMANDS: &[&str] = &[
    "server",
    "doctor",
    "probe",
    "demo",
    "init",
    "lock",
    "phone",
    "apdu",
    "readers",
    "show",
    "convert",
    "diff",
    "redact",
    "verify",
    "replay",
    "run",
    "shell",
    "bench",
    "completions",
    "man",
];

/// A lock's tap of a simulated phone.
fn sim(house: &House, reader: &str, more: &[&str]) -> (i32, Vec<Value>, String) {
    let config = house.arg("lock.toml");
    let mut arguments = vec!["lock", "--config", config.as_str(), "--reader", reader];
    arguments.extend(more);
    json(&arguments)
}

#[test]
fn every_command_has_help_with_examples() {
    let (code, stdout, _) = text(&["--help"]);
    assert!(
        code == 0 && stdout.contains("Examples:\n") && stdout.contains("Exit status"),
        "{stdout}"
    );
    for command in COMMANDS {
        assert!(stdout.contains(&format!("\n  {command} ")), "{command} is not in {stdout}");
        let (code, help, _) = text(&[command, "--help"]);
        let example = format!("\n  tapdoor {command}");
        assert!(
            code == 0 && help.contains("Examples:\n") && help.contains(&example),
            "{command}: {help}"
        );
        let (code, short, _) = text(&[command, "-h"]);
        assert!(code == 0 && short.contains("--json"), "{command}: {short}");
    }
    let (code, stdout, _) = text(&["--version"]);
    assert_eq!((code, stdout), (0, format!("tapdoor {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn wrong_usage_is_exit_status_2() {
    let house = House::new();
    let lock = house.arg("lock.toml");
    let phone = house.arg("phone.toml");
    let cases: &[&[&str]] = &[
        &[],
        &["fly"],
        &["demo", "--bogus"],
        &["lock"],
        &["lock", "--config", &lock],
        &["lock", "--config", &lock, "--reader", "bogus:"],
        &["lock", "--config", &lock, "--reader", "udp:nowhere"],
        &["lock", "--config", &lock, "--reader", "sim:fly"],
        &["lock", "--config", &lock, "--reader", "sim:", "--count", "0"],
        &["lock", "--config", &lock, "--reader", "sim:", "--once", "--count", "2"],
        &["lock", "--config", &lock, "--reader", "sim:", "--expect", "perhaps"],
        &["lock", "--config", &lock, "--reader", "sim:", "--once", "--method", "fly"],
        &["phone", "--config", &phone],
        &["phone", "--config", &phone, "--serve", "vpcd"],
        &["phone", "--config", &phone, "--serve", "pn532:"],
        &["phone", "--config", &phone, "--serve", "vpcd:vpcd:127.0.0.1:35963"],
        &["phone", "--config", &phone, "--serve", "libnfc:acr122_usb:001:002"],
        &["lock", "--config", &lock, "--reader", "vpcd-listen:here"],
        &["simulate"],
        &["simulate", "/nowhere/pn532", "--near", "phone"],
        &["phone", "--config", &phone, "--serve", "tcp-listen:127.0.0.1:0", "--lab", "fly"],
        &["apdu", "--reader", "sim:"],
        &["apdu", "--reader", "sim:", "00A4040000", "--sw", "90"],
        &["probe"],
        &["probe", "--reader", "bogus:"],
        &["doctor", "--record", "a.json", "--recorded", "b.json"],
        &["completions", "cobol"],
        &["bench", "link"],
        &["init"],
        &["init", "x", "--phones", "0"],
        &["demo", "-v", "-q"],
    ];
    for case in cases {
        let (code, stdout, stderr) = text(case);
        assert_eq!((code, stdout.as_str()), (2, ""), "{case:?}: {stderr}");
        assert!(stderr.len() > 20, "{case:?}: {stderr}");
    }
}

#[test]
fn the_demo_tells_the_whole_story() {
    let (code, events, stderr) = json(&["demo"]);
    assert_eq!(code, 0, "{stderr}");
    let summary = events.last().unwrap();
    assert_eq!((&summary["event"], &summary["ok"]), (&"summary".into(), &true.into()));
    let scenarios = summary["scenarios"].as_array().unwrap();
    for (name, verdict) in [
        ("challenge-response", "open"),
        ("aka-milenage", "open"),
        ("aka-tuak", "open"),
        ("aka-resynchronisation", "open"),
        ("wrong-key", "refused"),
        ("unknown-phone", "refused"),
        ("revoked-phone", "refused"),
        ("replayed-tape", "refused"),
        ("torn-card", "error"),
    ] {
        let scenario = scenarios
            .iter()
            .find(|s| s["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {summary}"));
        assert_eq!(
            (&scenario["verdict"], &scenario["expected"]),
            (&verdict.into(), &verdict.into()),
            "{scenario}"
        );
        assert!(scenario["ok"] == true && scenario["ms"].is_f64(), "{scenario}");
    }
    assert_eq!(events.len(), scenarios.len() + 1, "one event each");
    // For people, and with a tape to keep.
    let house = House::new();
    let tape = house.arg("demo.tape");
    let (code, stdout, stderr) = text(&["demo", "--record", &tape]);
    assert!(
        code == 0 && stdout.contains("torn-card") && stdout.contains("SELECT"),
        "{stdout}{stderr}"
    );
    assert_eq!(text(&["show", &tape]).0, 0);
    let before = fs::read(&tape).unwrap();
    let (code, _, stderr) = text(&["demo", "--record", &tape]);
    assert!(code == 2 && stderr.contains("there already"), "{stderr}");
    assert_eq!(fs::read(&tape).unwrap(), before);
}

#[test]
fn init_makes_private_files_and_overwrites_nothing() {
    let house = House::with(&["--phones", "2", "--usim"]);
    let folder = house.arg("");
    let files = ["lock.toml", "phone.toml", "phone-2.toml", "server.toml"];
    for file in files {
        let mode = fs::metadata(house.path(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
    let before: Vec<String> = files.iter().map(|file| house.text(file)).collect();
    let (code, _, stderr) = text(&["init", &folder]);
    assert!(code == 2 && stderr.contains("overwrites nothing"), "{stderr}");
    // One of them is enough to refuse, and nothing else is written then.
    fs::remove_file(house.path("phone.toml")).unwrap();
    let (code, events, _) = json(&["init", &folder]);
    assert_eq!((code, &events[0]["event"]), (2, &"error".into()));
    assert!(!house.path("phone.toml").exists());
    for (file, text) in files.iter().zip(&before).filter(|(file, _)| **file != "phone.toml") {
        assert_eq!(&house.text(file), text, "{file}");
    }
    fs::write(house.path("phone.toml"), &before[1]).unwrap();
    // The stores hold keys too.
    let (code, ..) = sim(&house, "sim:", &["--once"]);
    assert_eq!(code, 0);
    let mode = fs::metadata(house.path("lock.chip")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // A chip that is left over refuses new keys.
    for file in files {
        fs::remove_file(house.path(file)).unwrap();
    }
    let (code, _, stderr) = text(&["init", &folder]);
    assert!(code == 2 && stderr.contains("lock.chip"), "{stderr}");
    let (code, _, stderr) = text(&["init", "/proc/nothing/here"]);
    assert!(code == 3 && stderr.contains("/proc/nothing"), "{stderr}");
}

/// Replaces the value of the first `field` of a file by `to`; the line where it stands.
fn set(house: &House, file: &str, field: &str, to: &str) -> usize {
    let text = house.text(file);
    let start = format!("{field} = ");
    let line = text
        .lines()
        .position(|line| line.starts_with(&start))
        .unwrap_or_else(|| panic!("no {field}"));
    let lines: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(number, old)| {
            if number == line {
                format!("{field} = {to}")
            } else {
                old.to_owned()
            }
        })
        .collect();
    fs::write(house.path(file), lines.join("\n") + "\n").unwrap();
    line + 1
}

#[test]
fn configuration_errors_name_file_line_and_field() {
    let house = House::with(&["--phones", "2", "--usim"]);
    let (lock, phone) = (house.text("lock.toml"), house.text("phone.toml"));
    let key = "00112233445566778899aabbccddee";
    let short = format!("\"{key}\"");
    // File, field, new value, and what is said about it.
    let cases = [
        ("lock.toml", "id", "\"1234\"", "16 hexadecimal digits"),
        ("lock.toml", "id", "7", "string"),
        (
            "lock.toml",
            "methods",
            "[\"challenge-response\", \"telepathy\"]",
            "none of: challenge-response, aka, usim",
        ),
        ("lock.toml", "methods", "[\"aka\", \"aka\"]", "twice"),
        ("lock.toml", "methods", "[]", "empty"),
        ("lock.toml", "methods", "\"aka\"", "sequence"),
        ("lock.toml", "signing-key", &short, "32 bytes"),
        ("lock.toml", "algorithm", "\"comp128\"", "none of: milenage, tuak"),
        ("lock.toml", "answer-cap-ms", "0", "at least 1 ms"),
        ("lock.toml", "answer-cap-ms", "-5", ""),
        ("lock.toml", "tap-cap-ms", "\"long\"", ""),
        ("lock.toml", "over-cap", "\"shout\"", "none of: warn, refuse"),
        ("lock.toml", "weakest", "\"password\"", "none of: challenge-response, aka, aliro"),
        ("lock.toml", "k-id", &short, "has 15 bytes"),
        ("lock.toml", "k-l", "\"not hexadecimal at all, is it\"", "not hexadecimal"),
        ("lock.toml", "milenage", &short, "32 bytes"),
        ("lock.toml", "tuak", &short, "64 bytes"),
        ("lock.toml", "imsi", "\"00101x\"", "decimal digits"),
        ("lock.toml", "opc", &short, "16 bytes"),
        ("lock.toml", "k", &short, "16 bytes"),
        ("phone.toml", "id", "\"zz\"", "16 hexadecimal digits"),
        ("phone.toml", "k-ph", &short, "has 15 bytes"),
        ("phone.toml", "user-authenticated", "\"yes\"", "boolean"),
        ("phone.toml", "applications", "[\"aka\", \"solitaire\"]", "none of"),
        ("phone.toml", "applications", "[\"aka\", \"aka\"]", "twice"),
        ("phone.toml", "kind", "\"name\"", "none of: imei"),
        ("phone.toml", "digits", "\"12-34\"", "decimal digits"),
        ("phone.toml", "k-agent", &short, "has 15 bytes"),
        ("phone.toml", "server-key", &short, "P-256"),
        ("phone.toml", "iccid", "\"1\"", "18 to 20"),
        ("phone.toml", "switches", "[\"fly\"]", "laboratory switch"),
    ];
    for (file, field, value, says) in cases {
        fs::write(house.path("lock.toml"), &lock).unwrap();
        fs::write(house.path("phone.toml"), &phone).unwrap();
        let line = set(&house, file, field, value);
        let (code, _, stderr) = load(&house, file);
        let place = format!("{}:{line}: field `{field}`", house.arg(file));
        assert_eq!(code, 2, "{field} = {value}: {stderr}");
        assert!(stderr.contains(&place) && stderr.contains(says), "{place} / {says}: {stderr}");
        assert!(!stderr.contains(key), "{field}: {stderr}");
        // The secrets of the file as it was.
        fs::write(house.path("lock.toml"), &lock).unwrap();
        fs::write(house.path("phone.toml"), &phone).unwrap();
        house.assert_no_secrets(field, &stderr);
    }

    // What cannot be put in the place of a value.
    let id = house.value("phone.toml", "id");
    let second = house.value("phone-2.toml", "id");
    let not_after = "# not-after = \"2030-01-01T00:00:00Z\"";
    let cases = [
        (second.as_str(), id.as_str(), "field `id`", "there twice"),
        (not_after, "not-after = \"tomorrow\"", "field `not-after`", "must be a time"),
        (
            not_after,
            "not-after = \"1969-12-31T00:00:00Z\"",
            "field `not-after`",
            "must be a time",
        ),
        ("store = ", "bogus = 1\nstore = ", "field `bogus`", "unknown field"),
        ("over-cap = ", "over-capp = ", "field `over-capp`", "unknown field"),
        ("[policy]", "[policy]\nmax-delay-ms = 60000", "field `max-delay-ms`", "at most 5000"),
        ("[policy]", "[policy", "lock.toml:", "expected"),
        ("[aka]", "[aka]\nalgorithm = \"tuak\"", "field `algorithm`", "duplicate key"),
        ("k-id = ", "k-id = \"00", "lock.toml:", "expected"),
        ("k-id = ", "# k-id = ", "lock.toml:", "missing field `k-id`"),
        ("milenage = ", "# milenage = ", "field `id`", "no `milenage` key"),
    ];
    for (from, to, place, says) in cases {
        fs::write(house.path("lock.toml"), &lock).unwrap();
        house.edit("lock.toml", from, to);
        let (code, _, stderr) = load(&house, "lock.toml");
        assert_eq!(code, 2, "{to}: {stderr}");
        let file = house.arg("lock.toml") + ":";
        assert!(
            stderr.contains(&file) && stderr.contains(place) && stderr.contains(says),
            "{to}: {stderr}"
        );
        fs::write(house.path("lock.toml"), &lock).unwrap();
        house.assert_no_secrets(to, &stderr);
    }

    for file in ["nowhere.toml", "."] {
        let (code, _, stderr) = load(&house, file);
        assert!(code == 2 && stderr.contains(file) && stderr.contains("tapdoor init"), "{stderr}");
    }
    fs::write(house.path("binary.toml"), [0xFF, 0xFE, 0, 1]).unwrap();
    assert_eq!(load(&house, "binary.toml").0, 2);
    // With --json the reason is an event too.
    let (code, events, _) = json(&["lock", "--config", &house.arg("nowhere.toml"), "--reader", "sim:"]);
    assert_eq!((code, &events[0]["event"], &events[0]["status"]), (2, &"error".into(), &2.into()));
    assert!(
        !house.path("lock.chip").exists(),
        "no chip is made for a configuration that is refused"
    );
}

/// Starts what would use this file.
fn load(house: &House, file: &str) -> (i32, String, String) {
    let config = house.arg(file);
    if file == "phone.toml" {
        text(&["phone", "--config", &config, "--serve", "tcp-listen:127.0.0.1:0"])
    } else {
        // A simulated phone would read phone.toml beside it.
        text(&["lock", "--config", &config, "--reader", "vpcd-listen:127.0.0.1:0", "--once"])
    }
}

/// A tape of one tap that opened.
fn recorded(house: &House) -> String {
    let tape = house.arg("tap.tape");
    let (code, _, stderr) = sim(house, "sim:", &["--once", "--record", &tape]);
    assert_eq!(code, 0, "{stderr}");
    tape
}

#[test]
fn show_understands_or_says_that_it_does_not() {
    let house = House::new();
    let tape = recorded(&house);
    let (code, stdout, stderr) = text(&["show", &tape]);
    assert!(
        code == 0 && stdout.contains("SELECT") && stdout.contains("open"),
        "{stdout}{stderr}"
    );
    assert!(!stdout.contains('\x1b'), "no colours where there is no terminal");
    assert!(text(&["--color", "always", "show", &tape]).1.contains('\x1b'));
    let (code, events, _) = json(&["show", &tape, "--layer", "apdu", "--tap", "1"]);
    assert!(code == 0 && events.len() >= 6, "{events:?}");
    assert_eq!(
        json(&["show", &tape, "--tap", "2"])
            .1
            .iter()
            .filter(|e| e["layer"] == "apdu")
            .count(),
        0
    );

    // Cut anywhere: readable up to there.
    let bytes = fs::read(&tape).unwrap();
    let cut = house.arg("cut.tape");
    let mut whole = 0;
    for length in (1..bytes.len()).step_by(37) {
        fs::write(&cut, &bytes[..length]).unwrap();
        let (code, stdout, stderr) = text(&["show", &cut]);
        assert_eq!(code, 0, "{length} bytes: {stderr}");
        // A last line that lacks nothing but its end is whole.
        let at_end = bytes[length - 1] == b'\n' || bytes[length] == b'\n';
        assert!(at_end || stderr.contains("cut off"), "{length} bytes: {stderr}");
        assert!(
            stdout.len() >= whole || stdout.len() + 200 > whole,
            "{length} bytes show less than fewer did"
        );
        whole = stdout.len();
    }

    // Everything else: said, and never a panic.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let mut step = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(|_| step()).collect()
    };
    let mut bad: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("random", noise(4096)),
        (
            "random with lines",
            noise(4096).into_iter().map(|b| if b < 16 { b'\n' } else { b }).collect(),
        ),
        ("another program's", b"\xD4\xC3\xB2\xA1\x02\x00\x04\x00".to_vec()),
        ("text", b"hello\nworld\n".to_vec()),
        ("JSON of another kind", b"{\"event\":\"ready\"}\n{}\n".to_vec()),
        ("a newer tape", b"{\"tape\":99}\n{\"t\":1,\"layer\":\"apdu\"}\n".to_vec()),
        ("zeros", vec![0; 1 << 16]),
        ("a line without end", vec![b'{'; 1 << 20]),
    ];
    bad.push(("the program itself", fs::read(tapdoor()).unwrap()[..1 << 20].to_vec()));
    let broken = String::from_utf8(bytes.clone())
        .unwrap()
        .replacen("\"layer\":\"apdu\"", "\"layer\":5", 1);
    bad.push(("a broken line in the middle", broken.into_bytes()));
    for (what, bytes) in bad {
        fs::write(&cut, &bytes).unwrap();
        for arguments in [&["show", &cut][..], &["--json", "show", &cut]] {
            let (code, _, stderr) = text(arguments);
            assert_eq!(code, 4, "{what}: {stderr}");
            assert!(stderr.contains("cut.tape"), "{what}: {stderr}");
            assert!(stderr.len() < 2000, "{what}: {} bytes of complaint", stderr.len());
        }
        // As the card of a lock.
        let (code, _, stderr) = sim(&house, &format!("tape:{cut}"), &["--once"]);
        assert_eq!(code, 4, "{what}: {stderr}");
    }
    for missing in [house.arg("."), house.arg("nowhere.tape")] {
        let (code, _, stderr) = text(&["show", &missing]);
        assert_eq!(code, 4, "{stderr}");
    }
}

#[test]
fn tapes_are_converted_compared_and_redacted() {
    let house = House::new();
    let tape = recorded(&house);
    // Another tap of the same phone has other challenges and is no other session.
    let other = house.arg("other.tape");
    assert_eq!(sim(&house, "sim:", &["--once", "--record", &other]).0, 0);
    let (code, events, stderr) = json(&["diff", &tape, &other]);
    assert_eq!(code, 0, "{events:?} {stderr}");
    assert_eq!(events.last().unwrap()["differences"], 0, "{events:?}");
    let refused = house.arg("refused.tape");
    assert_eq!(sim(&house, "sim:wrong-key", &["--once", "--record", &refused]).0, 1);
    let (code, events, _) = json(&["diff", &tape, &refused]);
    assert_eq!(code, 1);
    assert!(
        events.iter().any(|event| event["kind"] == "verdict" && event["a"] == "open"),
        "{events:?}"
    );

    // There and back.
    for (name, to) in [
        ("tap.json", "json"),
        ("tap.pcapng", "pcapng"),
        ("tap.dump", "dump"),
        ("tap.door", "door"),
        ("tap.csv", "csv"),
    ] {
        let made = house.arg(name);
        let (code, events, stderr) = json(&["convert", &tape, &made]);
        assert_eq!((code, events[0]["to"].as_str()), (0, Some(to)), "{stderr}");
        assert_eq!(stderr.contains("lost:"), to != "json", "{stderr}");
    }
    let back = house.arg("back.tape");
    assert_eq!(text(&["convert", &house.arg("tap.json"), &back]).0, 0);
    assert_eq!(fs::read(&back).unwrap(), fs::read(&tape).unwrap());
    for (name, status) in [("tap.pcapng", 1), ("tap.dump", 1)] {
        // The verdict and the lock's own chip are not in there; the exchanges are.
        let (code, events, stderr) = json(&["diff", &tape, &house.arg(name)]);
        assert_eq!(code, status, "{events:?} {stderr}");
        assert!(
            events
                .iter()
                .all(|event| event["event"] != "difference" || event["step"] == "verdict"),
            "{events:?}"
        );
    }

    // Nothing of the secrets is left, and the session is the same.
    let clean = house.arg("clean.tape");
    let (code, events, stderr) = json(&["redact", &tape, &clean]);
    assert!(code == 0 && events[0]["values"].as_u64().unwrap() >= 4, "{events:?} {stderr}");
    assert_eq!(json(&["diff", &tape, &clean]).0, 0);
    let (old, new) = (fs::read_to_string(&tape).unwrap(), fs::read_to_string(&clean).unwrap());
    assert_eq!(old.lines().count(), new.lines().count());
    assert_ne!(old, new);

    // What cannot be done.
    assert_eq!(text(&["convert", &tape, &tape]).0, 2);
    assert_eq!(text(&["convert", &tape, &house.arg("x.unknown")]).0, 2);
    assert_eq!(text(&["convert", &tape, &house.arg("x.tape"), "--to", "libnfc"]).0, 2);
    assert_eq!(text(&["show", &tape, "--from", "nonsense"]).0, 2);
    let rubbish = house.arg("rubbish");
    fs::write(&rubbish, "00000001 SW: 90 00\n").unwrap();
    for arguments in [
        &["show", &rubbish][..],
        &["convert", &rubbish, &back],
        &["diff", &tape, &rubbish],
        &["redact", &rubbish, &back],
    ] {
        let (code, _, stderr) = text(arguments);
        assert_eq!(code, 4, "{stderr}");
        assert!(stderr.contains("rubbish: line 1, ") && stderr.contains("expected"), "{stderr}");
    }
}

#[test]
fn the_apdu_command_without_hardware() {
    let (code, events, stderr) = json(&["apdu", "--reader", "sim:", "00 A4 04 00 09 F0544150444F4F5201 00", "80:88:00:00:00"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        (&events[0]["event"], &events[0]["c"], &events[0]["sw"]),
        (&"apdu".into(), &"00a4040009f0544150444f4f520100".into(), &"9000".into())
    );
    for field in ["r", "meaning"] {
        assert!(events[0][field].as_str().is_some_and(|text| !text.is_empty()), "{}", events[0]);
    }
    assert_eq!(json(&["apdu", "--reader", "sim:", "--sw", "9000", "00A4040000", "00FF0000"]).0, 1);
    assert_eq!(
        json(&["apdu", "--reader", "sim:", "--sw", "9000,6xxx", "00A4040000", "00FF0000"]).0,
        0
    );
    for bad in ["0", "00A404000", "xyz", "00 A4 0", "", "é0"] {
        let (code, _, stderr) = text(&["apdu", "--reader", "sim:", bad]);
        assert_eq!(code, 4, "{bad}: {stderr}");
    }
    // The reader can come from the environment.
    let output = Command::new(tapdoor())
        .args(["apdu", "00A4040000"])
        .env("TAPDOOR_READER", "sim:")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    // One argument may have 128 KiB.
    let long = format!("00A40400007530{}0000", "5A".repeat(30_000));
    let (code, events, stderr) = json(&["apdu", "--reader", "sim:", &long]);
    assert_eq!((code, events.len()), (0, 1), "{stderr}");
}

#[test]
fn simulated_phones_misbehave_as_told() {
    let house = House::new();
    let cases: &[(&str, &str, Option<&str>, i32)] = &[
        ("sim:", "open", None, 0),
        ("sim:slow=20", "open", None, 0),
        ("sim:missing-app", "refused", Some("app-missing"), 1),
        ("sim:missing=challenge-response", "open", None, 0),
        ("sim:wrong-key", "refused", Some("wrong-key"), 1),
        ("sim:tear=1", "error", Some("torn"), 3),
        ("sim:tear=2", "error", Some("torn"), 3),
        ("sim:answer=00", "error", Some("card-error"), 3),
        ("sim:answer=9000", "refused", Some("card-error"), 1),
    ];
    for (reader, verdict, reason, status) in cases {
        let (code, events, stderr) = sim(&house, reader, &["--once"]);
        assert_eq!(code, *status, "{reader}: {stderr}");
        assert_eq!(events[0]["event"], "ready", "{events:?}");
        assert_tap(&events[1], verdict, *reason);
        let (code, ..) = sim(&house, reader, &["--once", "--expect", "refused"]);
        assert_eq!(code == 0, *verdict != "open", "{reader}");
    }
    let (_, events, _) = sim(&house, "sim:missing=challenge-response", &["--once"]);
    assert_eq!(events[1]["method"], "aka");
    // 65,537 bytes and more do not end a lock.
    let long = format!("sim:answer={}", "6f".repeat(60_000));
    let (_, events, _) = sim(&house, &long, &["--once"]);
    assert_tap(&events[1], "refused", Some("card-error"));
    // Many taps, of which the last decides nothing about the others.
    let (code, events, _) = sim(&house, "sim:", &["--count", "20"]);
    assert_eq!((code, events.iter().filter(|e| e["verdict"] == "open").count()), (0, 20));
    let numbers: Vec<u64> = events[1..].iter().map(|e| e["tap"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_silent_simulated_phone_does_not_hold_the_lock_for_ever() {
    let house = House::new();
    for silent in ["sim:silent", "sim:silent=2"] {
        let (code, events, stderr) = sim(&house, silent, &["--once"]);
        assert_eq!(code, 3, "{stderr}");
        assert_tap(&events[1], "error", Some("timeout"));
    }
    // Nor does it keep one from being interrupted.
    let config = house.arg("lock.toml");
    let mut lock = Proc::tapdoor(&["lock", "--config", &config, "--reader", "sim:silent"], &[]);
    lock.wait_event("ready", LONG);
    lock.signal("INT");
    assert_eq!(lock.wait_exit(std::time::Duration::from_secs(5)).code(), Some(130));
}

#[test]
fn a_recorded_tap_does_not_open() {
    let house = House::new();
    let reader = format!("tape:{}", recorded(&house));
    let (code, events, _) = sim(&house, &reader, &["--once"]);
    assert_eq!(code, 1);
    assert_eq!(events[0]["driver"], "tape");
    assert_tap(&events[1], "refused", Some("wrong-key"));
    // The same lock sees the same challenge for the second time.
    let (code, events, _) = sim(&house, &reader, &["--count", "2"]);
    assert_eq!(code, 1);
    assert_tap(&events[1], "refused", Some("wrong-key"));
    assert_tap(&events[2], "refused", Some("replay"));
    let (code, ..) = sim(&house, &reader, &["--once", "--expect", "refused"]);
    assert_eq!(code, 0);
}

#[test]
fn with_json_stdout_has_objects_only() {
    let house = House::with(&["--usim"]);
    let tape = recorded(&house);
    let lock = house.arg("lock.toml");
    let commands: &[(&[&str], i32)] = &[
        (&["demo"], 0),
        (&["init", &house.arg("another")], 0),
        (&["lock", "--config", &lock, "--reader", "sim:", "--count", "2", "-v"], 0),
        (&["lock", "--config", &lock, "--reader", "sim:wrong-key", "--once", "-q"], 1),
        (&["lock", "--config", &lock, "--reader", "sim:", "--calibrate", "2"], 0),
        (&["lock", "--config", &lock, "--reader", "sim:", "--method", "usim", "--once"], 0),
        (&["apdu", "--reader", "sim:", "00A4040000"], 0),
        (&["show", &tape], 0),
        (&["bench", "find", "--count", "10"], 0),
        (&["bench", "tap", "--count", "10"], 0),
        (&["man", &house.arg("man")], 0),
        (&["show", "nowhere.tape"], 4),
        (&["probe", "--reader", "sim:"], 0),
        (&["probe", "--reader", "sim:tear=5"], 3),
        (&["doctor", "--recorded", "nowhere.json"], 4),
    ];
    for (arguments, status) in commands {
        // `json` fails for anything that is not an object.
        let (code, objects, stderr) = json(arguments);
        assert_eq!(code, *status, "{arguments:?}: {stderr}");
        assert!(!objects.is_empty(), "{arguments:?}");
    }
    let (code, objects, _) = run(&["readers"], &[("PCSCLITE_CSOCK_NAME", house.path("none"))], LONG);
    assert_eq!((code, &objects[0]["event"]), (3, &"error".into()));
}

#[test]
fn whoever_reads_the_output_may_stop() {
    let house = House::new();
    let tape = recorded(&house);
    let lock = house.arg("lock.toml");
    let commands: &[&[&str]] = &[
        &["demo"],
        &["--json", "demo"],
        &["lock", "--config", &lock, "--reader", "sim:", "--count", "2000"],
        &["--json", "lock", "--config", &lock, "--reader", "sim:", "--count", "2000"],
        &["show", &tape],
        &["--json", "show", &tape],
        &["--help"],
        &["lock", "--help"],
        &["completions", "bash"],
        &["apdu", "--reader", "sim:", "00A4040000", "00A4040000"],
    ];
    for arguments in commands {
        for read in [0, 1] {
            let mut command = Command::new(tapdoor());
            command
                .args(*arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut stdout = child.stdout.take().unwrap();
            if read > 0 {
                stdout.read_exact(&mut [0; 1]).unwrap();
            }
            drop(stdout);
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{arguments:?}: {stderr}");
            // Ended by itself, or by the signal that says so.
            let is_quiet = output.status.code().is_none_or(|code| code == 0);
            assert!(is_quiet, "{arguments:?}: {:?}", output.status);
        }
    }
}

/// Runs the lock against its store as it is, which must be refused and left alone.
#[track_caller]
fn assert_store_refused(house: &House, what: &str, says: &str, status: i32) {
    let store = house.path("lock.chip");
    let before = fs::read(&store).unwrap();
    let (code, events, stderr) = sim(house, "sim:", &["--once"]);
    assert_eq!(code, status, "{what}: {stderr}");
    assert!(stderr.contains("lock.chip") && stderr.contains(says), "{what}: {stderr}");
    assert_eq!(events.last().unwrap()["status"], status, "{what}");
    assert!(fs::read(&store).unwrap() == before, "{what}: the store was changed");
}

#[test]
fn a_store_that_cannot_be_used_is_left_as_it_is() {
    let house = House::new();
    let (code, ..) = sim(&house, "sim:", &["--once", "--method", "aka"]);
    assert_eq!(code, 0);
    let store = house.path("lock.chip");
    let good = fs::read(&store).unwrap();
    assert!(good.len() > 8192, "{}", good.len());
    for length in [0, 1, 15, 100, 512, 4095, 4096, good.len() / 2, good.len() - 4096, good.len() - 1] {
        fs::write(&store, &good[..length]).unwrap();
        assert_store_refused(&house, &format!("cut to {length} bytes"), "", 4);
    }
    fs::write(&store, "this is no database at all, it is a letter".repeat(300)).unwrap();
    assert_store_refused(&house, "another file", "", 4);
    // user_version is at offset 60 of SQLite's header, application_id at 68.
    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&store, &newer).unwrap();
    assert_store_refused(&house, "a newer version", "newer", 4);
    let mut foreign = good.clone();
    foreign[68..72].copy_from_slice(b"XXXX");
    fs::write(&store, &foreign).unwrap();
    assert_store_refused(&house, "another program's database", "", 4);
    // The good one is still good.
    fs::write(&store, &good).unwrap();
    assert_eq!(sim(&house, "sim:", &["--once", "--method", "aka"]).0, 0);

    // In use by another process.
    let (holder, _) = house.listening_lock(&[]);
    assert_store_refused(&house, "in use", "another process", 2);
    drop(holder);
    assert_eq!(sim(&house, "sim:", &["--once"]).0, 0);
    // The phone's.
    let (holder, _) = house.listening_phone(&[]);
    let config = house.arg("phone.toml");
    let (code, _, stderr) = json(&["phone", "--config", &config, "--serve", "tcp-listen:127.0.0.1:0"]);
    assert!(code == 2 && stderr.contains("phone.chip"), "{stderr}");
    drop(holder);
}

#[test]
fn a_tape_is_never_overwritten() {
    let house = House::new();
    let tape = recorded(&house);
    let before = fs::read(&tape).unwrap();
    let (code, _, stderr) = sim(&house, "sim:", &["--once", "--record", &tape]);
    assert!(code == 2 && stderr.contains("there already"), "{stderr}");
    let (code, _, stderr) = json(&["apdu", "--reader", "sim:", "--record", &tape, "00A4040000"]);
    assert!(code == 2 && stderr.contains("there already"), "{stderr}");
    assert_eq!(fs::read(&tape).unwrap(), before);
    let (code, _, stderr) = sim(&house, "sim:", &["--once", "--record", "/nonexistent/x.tape"]);
    assert!(code == 2 && stderr.contains("/nonexistent"), "{stderr}");
}

#[test]
fn completions_and_man_pages() {
    for (shell, mark) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef tapdoor"),
        ("fish", "complete -c tapdoor"),
    ] {
        let (code, stdout, stderr) = text(&["completions", shell]);
        assert!(code == 0 && stdout.contains(mark), "{shell}: {stderr}");
        for command in COMMANDS {
            assert!(stdout.contains(command), "{shell} does not know {command}");
        }
        check_syntax(shell, &stdout);
    }
    let house = House::new();
    let folder = house.path("deep/man");
    let (code, _, stderr) = text(&["man".as_ref(), folder.as_os_str()]);
    assert_eq!(code, 0, "{stderr}");
    let page = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(page("tapdoor.1").contains(".TH"));
    for command in COMMANDS {
        let page = page(&format!("tapdoor-{command}.1"));
        assert!(page.contains(".TH") && page.contains("Examples"), "{command}: {page}");
    }
}

/// Has the shell read the script, where it is installed.
fn check_syntax(shell: &str, script: &str) {
    let mut command = Command::new(shell);
    command.arg(if shell == "fish" { "--no-execute" } else { "-n" });
    let Ok(mut child) = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn() else {
        return;
    };
    let _ = child.stdin.take().unwrap().write_all(script.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn no_secret_is_printed_or_recorded_unasked() {
    let house = House::with(&["--usim", "--phones", "2"]);
    let lock = house.arg("lock.toml");
    let mut number = 0;
    for reader in ["sim:", "sim:wrong-key", "sim:missing-app", "sim:tear=2", "sim:answer=6f00"] {
        for method in ["challenge-response", "aka", "usim", "challenge-response,aka"] {
            number += 1;
            let tape = house.arg(&format!("{number}.tape"));
            for form in ["--json", "-vv"] {
                let mut arguments = vec![form, "lock", "--config", &lock, "--reader", reader, "--once", "--method", method];
                if form == "--json" {
                    arguments.extend(["--record", &tape]);
                }
                let (_, stdout, stderr) = text(&arguments);
                house.assert_no_secrets(&format!("{arguments:?}"), &(stdout + &stderr));
            }
            let (code, stdout, stderr) = text(&["show", &tape]);
            assert_eq!(code, 0, "{stderr}");
            house.assert_no_secrets("show", &(stdout + &stderr));
            let bytes = fs::read_to_string(&tape).unwrap();
            house.assert_no_secrets("the tape", &bytes);
            assert_no_identity(&house, &bytes);
        }
    }
    // The phone's own program, in use.
    let (mut lock, serve) = house.listening_lock(&["--once"]);
    let mut phone = house.phone(&serve, &["-vv"]);
    assert_opens(&mut lock, "challenge-response", 2);
    phone.wait_event("verdict", LONG);
    phone.signal("INT");
    phone.wait_exit(LONG);
    house.assert_no_secrets("the phone", &phone.said());
    // Where it is asked for, it is there.
    let tape = house.arg("open.tape");
    let (code, events, _) = sim(&house, "sim:", &["--once", "--show-secrets", "--record", &tape, "--method", "usim"]);
    assert_eq!(code, 0);
    let id = subscriber_id(&house);
    assert_eq!(events[1]["phone"], id);
    assert!(fs::read_to_string(&tape).unwrap().contains(&id));
}

/// The IMSI crosses the contact in a coding of its own: half-bytes exchanged.
fn assert_no_identity(house: &House, tape: &str) {
    let imsi = house.value("lock.toml", "imsi");
    // TS 31.102 4.2.2: parity in the first half-byte, then the digits.
    let digits = format!("9{imsi}");
    let swapped: String = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| [pair[1], pair[0]].map(char::from).iter().collect::<String>())
        .collect();
    assert!(!tape.contains(&swapped), "the tape shows the IMSI: {swapped} in {tape}");
}

fn subscriber_id(house: &House) -> String {
    let text = house.text("lock.toml");
    let table = text.split("[[usim.subscribers]]").nth(1).unwrap();
    table.split("id = \"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[test]
fn paths_in_a_configuration_are_taken_from_its_folder() {
    let house = House::new();
    let output = Command::new(tapdoor())
        .args(["lock", "--config", "lock.toml", "--reader", "sim:", "--once"])
        .current_dir(house.path(""))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(Path::new(&house.path("lock.chip")).exists());
    let here = fs::metadata(house.path("lock.chip")).unwrap().len();
    assert_eq!(sim(&house, "sim:", &["--once"]).0, 0);
    assert_eq!(fs::metadata(house.path("lock.chip")).unwrap().len(), here);
}
