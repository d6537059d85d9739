//! What `show` makes of two small tapes, against files that a person has read.
//!
//! `TAPDOOR_BLESS=1 cargo test -p tapdoor-captures --test golden` writes the files anew; read the difference before you commit it.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not reach helper functions here

use std::fs;
use std::path::PathBuf;

use tapdoor_captures::{Event, Filter, Header, Layer, MaskPolicy, Masker, Style, TapeReader, TapeWriter, show};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn tape(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap()
}

fn compare(name: &str, found: &[u8]) {
    if std::env::var_os("TAPDOOR_BLESS").is_some() {
        fs::write(path(name), found).unwrap();
    }
    let expected = fs::read_to_string(path(name)).unwrap();
    let found = String::from_utf8_lossy(found);
    for (n, (expected, found)) in expected.lines().zip(found.lines()).enumerate() {
        assert_eq!(expected, found, "{name}, line {}", n + 1);
    }
    assert_eq!(expected.lines().count(), found.lines().count(), "{name}");
}

fn text(name: &str, filter: &Filter, style: Style) -> Vec<u8> {
    let mut out = Vec::new();
    show::text(TapeReader::new(tape(name).as_slice()).unwrap(), filter, style, &mut out).unwrap();
    out
}

#[test]
fn text_of_a_challenge_response_tape() {
    compare(
        "challenge-response.txt",
        &text("challenge-response.tape", &Filter::default(), Style::Plain),
    );
}

#[test]
fn text_of_an_aka_tape() {
    compare("aka.txt", &text("aka.tape", &Filter::default(), Style::Plain));
}

#[test]
fn one_tap_and_one_layer() {
    let filter = Filter {
        tap: Some(1),
        layer: Some(Layer::Chip),
        ..Filter::default()
    };
    compare(
        "challenge-response-chip.txt",
        &text("challenge-response.tape", &filter, Style::Plain),
    );
}

#[test]
fn json_of_both() {
    for name in ["challenge-response", "aka"] {
        let mut out = Vec::new();
        let reader = tape(&format!("{name}.tape"));
        show::json(TapeReader::new(reader.as_slice()).unwrap(), &Filter::default(), &mut out).unwrap();
        compare(&format!("{name}.jsonl"), &out);
    }
}

#[test]
fn colour_adds_escape_sequences_and_nothing_else() {
    let plain = text("aka.tape", &Filter::default(), Style::Plain);
    let coloured = String::from_utf8(text("aka.tape", &Filter::default(), Style::Ansi)).unwrap();
    let mut stripped = String::new();
    for (n, part) in coloured.split('\u{1b}').enumerate() {
        stripped.push_str(if n == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_eq!(stripped.as_bytes(), plain);
}

/// The golden tapes are what our own writer writes, and their masks what our own masker finds.
#[test]
fn the_tapes_come_out_of_the_writer_as_they_are() {
    for name in ["challenge-response.tape", "aka.tape"] {
        let bytes = tape(name);
        let reader = TapeReader::new(bytes.as_slice()).unwrap();
        let header: &Header = reader.header();
        let mut writer = TapeWriter::with_sink(Vec::new(), header).unwrap();
        let events: Vec<Event> = reader.collect::<Result<_, _>>().unwrap();
        for event in &events {
            let mut bare = event.clone();
            if name == "aka.tape" {
                bare.mask.clear();
            }
            writer.event(&bare);
        }
        let written = String::from_utf8(writer.into_sink()).unwrap();
        assert_eq!(written, String::from_utf8(bytes).unwrap(), "{name}");
    }
}

#[test]
fn masking_twice_is_masking_once() {
    let mut masker = Masker::new(MaskPolicy::Secrets);
    let bytes = tape("aka.tape");
    for event in TapeReader::new(bytes.as_slice()).unwrap() {
        let event = event.unwrap();
        let Some(data) = &event.data else { continue };
        let spans = match event.dir {
            Some(tapdoor_captures::Direction::Out) => masker.command(data),
            _ => masker.response(data),
        };
        assert!(
            spans
                .iter()
                .all(|span| data[span.offset..][..span.length].iter().all(|byte| *byte == 0))
        );
    }
}
