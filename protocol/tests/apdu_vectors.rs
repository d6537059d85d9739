//! Published vectors of APDUs, chaining, status words and AIDs, both directions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in tests a panic is the verdict")]

use std::collections::HashMap;

use serde_json::Value;
use tapdoor_protocol::aid::{self, Aid};
use tapdoor_protocol::apdu::chain::{Assembler, Step};
use tapdoor_protocol::apdu::{ApduError, Command};
use tapdoor_protocol::status::{Class, StatusWord};

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn apdu() -> Value {
    vectors(include_str!("vectors/apdu.json"))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap().try_into().unwrap()
}

/// The data field of a vector: given in hexadecimal, or by a rule when it is long.
fn data_of(vector: &Value) -> Vec<u8> {
    let length = number(&vector["data_len"]);
    let data = match &vector["data"] {
        Value::String(digits) => hex::decode(digits).unwrap(),
        _ => {
            assert_eq!(text(&vector["data_fill"]), "byte i = i mod 256");
            (0..length).map(|i| i as u8).collect()
        }
    };
    assert_eq!(data.len(), length);
    data
}

#[test]
fn every_command_both_ways() {
    let apdu = apdu();
    let list = array(&apdu["apdu_vectors"]);
    assert!(list.len() >= 14);
    for vector in list {
        let name = text(&vector["name"]);
        let header = hex::decode(text(&vector["header"])).unwrap();
        let data = data_of(vector);
        let mut command = Command::new(header[0], header[1], header[2], header[3])
            .data(&data)
            .ne(number(&vector["ne"]).try_into().unwrap());
        if text(&vector["case"]).ends_with('E') {
            command = command.force_extended();
        }

        let bytes = command.encode().unwrap();
        let digits = hex::encode(&bytes);
        assert_eq!(bytes.len(), number(&vector["encoded_len"]), "{name}");
        if let Some(encoded) = vector["encoded"].as_str() {
            assert_eq!(digits, encoded, "{name}");
        } else {
            assert!(digits.starts_with(text(&vector["encoded_prefix"])), "{name}");
            assert!(digits.ends_with(text(&vector["encoded_suffix"])), "{name}");
        }
        assert_eq!(Command::parse(&bytes), Ok(command), "{name}");

        // Only the vectors that force the form need the flag.
        let unforced = Command {
            extended: false,
            ..command
        };
        let needed = data.len() > 255 || command.ne > 256;
        if needed || !command.extended {
            assert_eq!(unforced.encode().unwrap(), bytes, "{name}");
        } else {
            assert!(unforced.encode().unwrap().len() < bytes.len(), "{name}");
        }
    }
}

#[test]
fn every_invalid_command_is_refused() {
    let apdu = apdu();
    let list = array(&apdu["invalid"]);
    assert!(list.len() >= 4);
    for entry in list {
        assert_eq!(entry["rejected"], true);
        let bytes = hex::decode(text(&entry["apdu"])).unwrap();
        let error = Command::parse(&bytes).unwrap_err();
        let why = text(&entry["why"]);
        let expected = match why {
            "header < 4 bytes" => ApduError::TooShort { length: 3 },
            "two bytes after data in short form" => ApduError::ShortLength { lc: 1, present: 3 },
            "00 then one byte: neither short nor extended" => ApduError::Leftover { second: 0 },
            "extended Lc too big" => ApduError::ExtendedLength { lc: 5, present: 4 },
            other => panic!("a new reason, not yet here: {other}"),
        };
        assert_eq!(error, expected, "{why}");
        assert!(error.to_string().len() > 40, "{why}");
    }
}

#[test]
fn the_chaining_example() {
    let apdu = apdu();
    let example = array(&apdu["chaining"]["example_600_bytes"]);
    let data: Vec<u8> = (0..600).map(|i| i as u8).collect();
    let command = Command::new(0x00, 0xDB, 0x3F, 0xFF).data(&data);
    let parts: Vec<Command> = command.split(255).collect();
    assert_eq!(parts.len(), example.len());
    let mut assembler = Assembler::new(600);
    for (part, expected) in parts.iter().zip(example) {
        assert_eq!(hex::encode([part.cla]), text(&expected["cla"]));
        assert_eq!(part.data.len(), number(&expected["lc"]));
        match assembler.feed(part) {
            Step::More => assert!(part.is_chained()),
            Step::Whole(whole) => assert_eq!(whole.as_command(), command),
            Step::Refused(sw) => panic!("{sw}"),
        }
    }
    assert!(assembler.is_idle());
}

#[test]
fn the_select_examples() {
    let apdu = apdu();
    let examples = array(&apdu["select"]["examples"]);
    assert!(examples.len() >= 3);
    for example in examples {
        let bytes = hex::decode(text(&example["apdu"])).unwrap();
        let command = Command::parse(&bytes).unwrap();
        assert_eq!((command.ins, command.p1), (0xA4, 0x04));
        assert_eq!(command.encode().unwrap(), bytes);
    }
}

/// For each pattern a status word that no other pattern describes more narrowly; worked out without the library.
fn examples<'a>(patterns: &[&'a str]) -> HashMap<&'a str, u16> {
    let known: HashMap<String, &str> = patterns.iter().map(|p| (p.to_string(), *p)).collect();
    let mut examples = HashMap::new();
    for sw in 0..=u16::MAX {
        let digits = format!("{sw:04X}");
        let narrowest = (0..=4).find_map(|wildcards| {
            let pattern = format!("{}{}", &digits[..4 - wildcards], "X".repeat(wildcards));
            known.get(&pattern)
        });
        examples.insert(*narrowest.unwrap(), sw);
    }
    examples
}

#[test]
fn every_status_word_has_class_and_meaning() {
    let list = vectors(include_str!("vectors/status_words.json"));
    let entries = array(&list["entries"]);
    assert!(entries.len() >= 244);
    let table = include_str!("../data/status_words.tsv");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
        .collect();
    let patterns: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let examples = examples(&patterns);
    let listed: Vec<&str> = entries.iter().map(|entry| text(&entry["sw"])).collect();
    assert_eq!(patterns, listed);

    for (entry, row) in entries.iter().zip(&rows) {
        let pattern = text(&entry["sw"]);
        let sw = StatusWord(examples[pattern]);
        // What stands before the first filled-in number is enough to tell the row.
        let start = row[3].split('{').next().unwrap();
        assert!(sw.meaning().starts_with(start), "{pattern}: {}", sw.meaning());
        assert!(!sw.meaning().contains(['{', '}']), "{pattern}");
        assert_eq!(sw.scope(), row[2], "{pattern}");

        let expected = match text(&entry["class_"]) {
            "normal" if sw.is_ok() || sw.sw1() == 0x61 => Class::Normal,
            "normal" => Class::Application,
            "warning (NV unchanged)" => Class::Warning,
            "warning (NV may have changed)" => Class::WarningChanged,
            "execution error (NV unchanged)" => Class::Error,
            "execution error (NV may have changed)" => Class::ErrorChanged,
            "execution error (security)" => Class::Security,
            class if class.starts_with("checking error") => Class::Checking,
            _ if pattern == "XXXX" => Class::Invalid,
            _ if pattern == "6XXX" => sw.class(),
            _ => Class::Application,
        };
        assert_eq!(sw.class(), expected, "{pattern}");
    }
}

#[test]
fn every_aid_is_registered() {
    let list = vectors(include_str!("vectors/aids.json"));
    let known: HashMap<Aid, &str> = aid::registry().map(|entry| (entry.aid, entry.category)).collect();
    let entries = array(&list["aids"]);
    assert!(entries.len() >= 78);
    for entry in entries {
        let digits = text(&entry["aid"]);
        assert_eq!(known.get(&digits.parse().unwrap()), Some(&text(&entry["category"])), "{digits}");
    }
    let own = known.values().filter(|category| **category == "tapdoor").count();
    assert_eq!(known.len(), entries.len() + own);

    // An AID that nobody knows is named by the owner of its RID.
    let rids = array(&list["rids"]);
    assert!(rids.len() >= 14);
    for rid in rids {
        let unknown: Aid = format!("{}eeeeee", text(rid)).parse().unwrap();
        let name = aid::name_of(unknown.as_bytes()).unwrap();
        assert!(name.starts_with("unknown application of "), "{name}");
    }
}
