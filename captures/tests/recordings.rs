//! The tapes of captures/recordings: each is shown to its end, comes back from other formats as it was, and is the same session when redacted.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufReader, Cursor};
use std::path::PathBuf;

use tapdoor_captures::decode::AliroKeys;
use tapdoor_captures::export::convert;
use tapdoor_captures::redact::Redactor;
use tapdoor_captures::{Decoder, Event, Events, Filter, Format, Header, Import, Layer, Style, TapeReader, TapeWriter, diff, show};
use tapdoor_protocol::aliro::PublicKey;
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;

/// Name and bytes of every tape.
fn tapes() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recordings");
    let mut out: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "tape"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    out.sort();
    assert!(out.len() > 20);
    out
}

fn tape(name: &str) -> Vec<u8> {
    tapes().into_iter().find(|(n, _)| n == name).unwrap().1
}

fn import(bytes: &[u8], from: Format) -> Import<BufReader<Cursor<Vec<u8>>>> {
    Import::open(BufReader::new(Cursor::new(bytes.to_vec())), Some(from)).unwrap()
}

fn converted(bytes: &[u8], from: Format, to: Format) -> Vec<u8> {
    let mut out = Vec::new();
    convert(import(bytes, from), to, &mut out).unwrap_or_else(|_| panic!("{from:?} to {to:?}"));
    out
}

fn events(bytes: &[u8], from: Format) -> Vec<Event> {
    let mut import = import(bytes, from);
    std::iter::from_fn(|| import.next_event()).collect::<Result<_, _>>().unwrap()
}

fn shown(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let cut = show::text(TapeReader::new(bytes).unwrap(), &Filter::default(), Style::Plain, &mut out).unwrap();
    assert!(cut.is_none());
    String::from_utf8(out).unwrap()
}

fn differences(a: &[u8], b: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    diff::diff(TapeReader::new(a).unwrap(), TapeReader::new(b).unwrap(), |finding| {
        if let diff::Finding::Difference(difference) = finding {
            found.push(format!("{difference:?}"));
        }
    })
    .unwrap();
    found
}

fn redacted(bytes: &[u8]) -> Vec<u8> {
    let mut redactor = Redactor::new(TapeReader::new(bytes).unwrap(), [7; 16]);
    let header: Header = redactor.header().clone();
    let mut writer = TapeWriter::with_sink(Vec::new(), &header).unwrap();
    while let Some(event) = redactor.next_event() {
        writer.event(&event.unwrap());
    }
    writer.into_sink()
}

#[test]
fn every_tape_is_shown_and_is_the_same_session_when_redacted() {
    for (name, bytes) in tapes() {
        let text = shown(&bytes);
        assert!(text.contains("SELECT"), "{name}: {text}");
        assert_eq!(differences(&bytes, &bytes), [""; 0], "{name}");
        let clean = redacted(&bytes);
        assert_ne!(clean, bytes, "{name}");
        assert_eq!(differences(&bytes, &clean), [""; 0], "{name}");
    }
}

#[test]
fn every_tape_comes_back_as_it_was() {
    for (name, bytes) in tapes() {
        for format in [Format::Json, Format::Pcapng] {
            let other = converted(&bytes, Format::Tape, format);
            let back = converted(&other, format, Format::Tape);
            // pcapng has frames; they carry the APDUs, and what goes on inside the lock is not in the air.
            let kept = |bytes: &[u8]| -> Vec<Event> {
                let all = events(bytes, Format::Tape).into_iter();
                all.filter(|e| format == Format::Json || e.layer == Layer::Rf).collect()
            };
            let then = kept(&bytes);
            assert_eq!(then.is_empty(), format == Format::Pcapng && name != "raw-frames", "{name}");
            if !then.is_empty() {
                assert_eq!(then, kept(&back), "{name} by {format:?}");
            }
        }
    }
}

/// A tape of our own polling has frames and the APDUs that they carry: in a format of APDUs each stands once.
#[test]
fn frames_and_apdus_are_not_taken_twice() {
    let apdus = |bytes: &[u8]| {
        events(bytes, Format::Tape)
            .iter()
            .filter(|e| e.layer == Layer::Apdu && e.data.is_some())
            .count()
    };
    let raw = tape("raw-frames");
    assert_eq!(apdus(&raw), 6);
    for (format, word, count) in [
        (Format::Dump, "# Sent", 3),
        (Format::Door, "expect sw", 3),
        (Format::Scriptor, "00 A4", 1),
    ] {
        let text = String::from_utf8(converted(&raw, Format::Tape, format)).unwrap();
        assert_eq!(text.matches(word).count(), count, "{format:?}: {text}");
    }
    // Frames alone carry the same.
    let frames: String = String::from_utf8(raw.clone())
        .unwrap()
        .lines()
        .filter(|l| !l.contains("\"layer\":\"apdu\""))
        .map(|l| format!("{l}\n"))
        .collect();
    let sent = |bytes: &[u8]| {
        String::from_utf8(converted(bytes, Format::Tape, Format::Dump))
            .unwrap()
            .replace("# ", "")
            .lines()
            .filter(|l| l.len() % 2 == 0 && l.bytes().all(|b| b.is_ascii_hexdigit()) && !l.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(sent(frames.as_bytes()), sent(&raw));
    assert_eq!(sent(&raw).len(), 6);
}

/// What an engineer finds in them.
#[test]
fn what_is_on_them_is_named() {
    for (name, words) in [
        (
            "aliro",
            &["AUTH0, fast", "AUTH1", "EXCHANGE", "cryptogram", "reader signature", "open"][..],
        ),
        ("aliro-certificate", &["LOAD CERT", "certificate"]),
        ("aliro-wrong-reader-key", &["6982", "CONTROL FLOW, failure"]),
        (
            "download",
            &[
                "GET IDENTITY",
                "6a82",
                "plain: downloading",
                "AUTHENTICATE, challenge-response",
                "open",
            ],
        ),
        // Over UDP no time is spent on the air.
        ("raw-frames", &["WUPA", "ATQA", "SAK", "RATS", "ATS", "phone and network"]),
    ] {
        let text = shown(&tape(name)).to_lowercase();
        for word in words {
            assert!(text.contains(&word.to_lowercase()), "{name}, {word}: {text}");
        }
    }
}

/// The ephemeral keys that a tape with secrets holds do not stay on it.
#[test]
fn redact_takes_away_what_the_chip_drew() {
    let bytes = tape("aliro-standard");
    let drawn: Vec<String> = events(&bytes, Format::Tape).iter().filter_map(|e| e.extra.text("random")).collect();
    assert!(drawn.iter().any(|digits| digits.len() == 64), "{drawn:?}");
    let clean = String::from_utf8(redacted(&bytes)).unwrap();
    for digits in drawn {
        assert!(!clean.contains(&digits), "{digits}");
    }
}

/// A tape with secrets is deciphered from itself, standard and fast; all that is given is whose reader it is.
#[test]
fn a_tape_with_secrets_is_deciphered_from_itself() {
    let text = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recordings/lock.toml")).unwrap();
    let key = |section: &str| {
        let rest = text.split_once(section).unwrap().1;
        let digits = rest.split_once("\nkey = \"").unwrap().1.split('"').next().unwrap();
        hex::decode(digits).unwrap()
    };
    let private = SecretScalar(key("[aliro]").try_into().unwrap());
    let keys = AliroKeys {
        group_keys: vec![PublicKey(public_uncompressed(&private).unwrap())],
        credentials: vec![PublicKey::new(&key("[[aliro.credentials]]")).unwrap()],
        ..AliroKeys::default()
    };
    for (name, statuses) in [("aliro", 3), ("aliro-masked", 0)] {
        let mut decoder = Decoder::with_keys(&keys);
        let fields = events(&tape(name), Format::Tape)
            .iter()
            .flat_map(|event| decoder.decode(event).fields)
            .collect::<Vec<_>>();
        let found = fields
            .iter()
            .filter(|f| f.name == "reader status" && f.value.contains("unsecured"))
            .count();
        assert_eq!(found, statuses, "{name}");
    }
}

/// Fast and standard transactions differ by what they send, and two of a kind do not.
#[test]
fn diff_tells_what_truly_differs() {
    let found = differences(&tape("aliro-standard"), &tape("aliro-wrong-reader-key"));
    assert!(found.iter().any(|d| d.contains("AUTH1") && d.contains("6982")), "{found:?}");
    // A refusal has no ciphertext, which goes without saying.
    assert!(found.iter().all(|d| !d.contains("ciphertext")), "{found:?}");
    // Frames and the APDUs beside them are the same exchanges.
    let found = differences(&tape("raw-frames"), &tape("challenge-response"));
    assert!(found.iter().all(|d| d.contains("only-b") && d.contains("tap: 2")), "{found:?}");
    let found = differences(&tape("aliro-masked"), &tape("aliro"));
    assert!(found.iter().all(|d| d.contains("only-b") || d.contains("tap: 3")), "{found:?}");
}
