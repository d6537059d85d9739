//! Properties of the codecs: what is written is read again, and no bytes make a reader panic.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in tests a panic is the verdict")]

use proptest::collection::vec;
use proptest::prelude::*;
use tapdoor_protocol::aid::{self, Aid};
use tapdoor_protocol::apdu::chain::{Assembler, Step};
use tapdoor_protocol::apdu::get_response::{self, Completion, MAX_ROUNDS, MAX_TOTAL};
use tapdoor_protocol::apdu::{Command, Response};
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv::{self, TlvError};

/// Bytes that are mostly short, sometimes around the limits of the short form, seldom long.
fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..40),
        2 => vec(any::<u8>(), 250..260),
        1 => vec(any::<u8>(), 0..70_000),
    ]
}

fn ne() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 1..=256u32, 250..=260u32, 65_530..=65_540u32, any::<u32>()]
}

/// Bytes that look like an APDU or a TLV object often enough to get past the first checks.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop_oneof![Just(0u8), Just(1), Just(2), Just(0x80), Just(0x81), Just(0xFF)];
    let byte = prop_oneof![2 => lengths, 1 => any::<u8>()];
    prop_oneof![vec(byte, 0..16), vec(any::<u8>(), 0..600)]
}

/// A tag as `read` can give it: 1 to 3 bytes, the first not 00.
fn tag() -> impl Strategy<Value = u32> {
    let class = (0..8u32).prop_map(|class| class << 5);
    prop_oneof![
        (class.clone(), 0..0x1Fu32).prop_map(|(class, number)| class | number),
        (class.clone(), 0..0x80u32).prop_map(|(class, second)| (class | 0x1F) << 8 | second),
        (class, 0x80..0x100u32, 0..0x80u32).prop_map(|(class, second, third)| (class | 0x1F) << 16 | second << 8 | third),
    ]
    .prop_filter("00 is padding", |tag| *tag != 0)
}

proptest! {
    #[test]
    fn command_round_trip(header: [u8; 4], data in data(), ne in ne(), extended: bool) {
        let [cla, ins, p1, p2] = header;
        let command = Command { cla, ins, p1, p2, data: &data, ne, extended };
        let valid = cla != 0xFF && data.len() <= 65_535 && ne <= 65_536;
        match command.encode() {
            Ok(bytes) => {
                prop_assert!(valid);
                let read = Command::parse(&bytes).unwrap();
                let needed = data.len() > 255 || ne > 256;
                let bare = data.is_empty() && ne == 0;
                let form = !bare && (extended || needed);
                prop_assert_eq!(read, Command { extended: form, ..command });
                prop_assert_eq!(read.encode().unwrap(), bytes);
            }
            Err(_) => prop_assert!(!valid),
        }
    }

    /// Every encoding that is accepted is the one that would be written: there is no second one.
    #[test]
    fn command_parse_is_total_and_canonical(bytes in hostile()) {
        if let Ok(command) = Command::parse(&bytes) {
            prop_assert_eq!(&command.encode().unwrap(), &bytes);
            prop_assert!(command.channel() < 20);
        }
    }

    #[test]
    fn command_parse_with_a_good_header(header: [u8; 4], body in hostile()) {
        let bytes = [header.as_slice(), &body].concat();
        if let Ok(command) = Command::parse(&bytes) {
            prop_assert_eq!(&command.encode().unwrap(), &bytes);
        }
    }

    #[test]
    fn response_round_trip(bytes in hostile()) {
        match Response::parse(&bytes) {
            Ok(response) => prop_assert_eq!(response.encode(), bytes),
            Err(_) => prop_assert!(bytes.len() < 2),
        }
    }

    #[test]
    fn split_then_assemble(cla in 0..=0xEFu8, data in vec(any::<u8>(), 0..3_000), ne in 0..=65_536u32, max in 0..700usize) {
        // Without the chaining bit, in a class that has one, and not EF, whose chained form would be FF.
        prop_assume!(!(0x20..0x40).contains(&cla) && cla != 0xEF);
        let command = Command::new(cla & 0xEF, 0xDB, 1, 2).data(&data).ne(ne);
        prop_assume!(command.cla != 0xEF);
        let mut assembler = Assembler::new(data.len());
        let mut whole = None;
        for part in command.split(max) {
            prop_assert!(whole.is_none());
            prop_assert!(part.data.len() <= max.max(1));
            let bytes = part.encode().unwrap();
            if max <= 255 {
                prop_assert!(bytes.len() <= 4 + 1 + max.max(1) + 1);
            }
            match assembler.feed(&Command::parse(&bytes).unwrap()) {
                Step::More => {}
                Step::Whole(command) => whole = Some(command),
                Step::Refused(sw) => prop_assert!(false, "{}", sw),
            }
        }
        let whole = whole.unwrap();
        let expected = if max <= 255 { ne.min(256) } else { ne };
        prop_assert_eq!(Command { extended: false, ..whole.as_command() }, command.ne(expected));
        prop_assert!(assembler.is_idle());
    }

    /// Whatever is fed, the assembler holds no more than its limit and never executes what was refused.
    #[test]
    fn assembler_is_bounded(commands in vec((any::<bool>(), 0..2u8, vec(any::<u8>(), 0..9)), 0..40), limit in 0..20usize) {
        let mut assembler = Assembler::new(limit);
        let mut collected = Vec::new();
        for (chained, ins, data) in &commands {
            let idle = assembler.is_idle();
            let command = Command::new(if *chained { 0x10 } else { 0 }, *ins, 0, 0).data(data);
            match assembler.feed(&command) {
                Step::More => {
                    collected.extend_from_slice(data);
                    prop_assert!(*chained && collected.len() <= limit);
                }
                Step::Whole(whole) => {
                    collected.extend_from_slice(data);
                    prop_assert!(!chained && (idle || collected.len() <= limit));
                    prop_assert_eq!(&whole.data, &collected);
                    collected.clear();
                }
                Step::Refused(_) => collected.clear(),
            }
        }
    }

    /// Whatever a card answers, an exchange ends, and within its bounds.
    #[test]
    fn completion_ends(responses in vec((vec(any::<u8>(), 0..300), prop_oneof![Just(0x61u8), Just(0x6C), Just(0x90), any::<u8>()], any::<u8>()), 1..20)) {
        let mut completion = Completion::new(Command::new(0, 0xCA, 0, 0).ne(256));
        let mut answer = Vec::new();
        let mut rounds = 0;
        for (data, sw1, sw2) in responses.iter().cycle() {
            rounds += 1;
            let response = [data.as_slice(), &[*sw1, *sw2]].concat();
            match completion.take(&response, &mut answer) {
                Ok(get_response::Step::Send(bytes)) => {
                    prop_assert!(Command::parse(&bytes).is_ok());
                }
                Ok(get_response::Step::Done(sw)) => {
                    prop_assert_eq!(sw, StatusWord::from_bytes(*sw1, *sw2));
                    break;
                }
                Err(_) => break,
            }
        }
        prop_assert!(rounds <= MAX_ROUNDS && answer.len() <= MAX_TOTAL);
    }

    #[test]
    fn tlv_round_trip(objects in vec((tag(), data(), 0..3usize), 0..5)) {
        let mut bytes = Vec::new();
        for (tag, value, padding) in &objects {
            bytes.resize(bytes.len() + padding, 0);
            tlv::write(&mut bytes, *tag, value);
        }
        let read: Result<Vec<_>, TlvError> = tlv::iter(&bytes).collect();
        let read: Vec<_> = read.unwrap().iter().map(|object| (object.tag.0, object.value.to_vec())).collect();
        let written: Vec<_> = objects.iter().map(|(tag, value, _)| (*tag, value.clone())).collect();
        prop_assert_eq!(&read, &written);
        for (tag, _) in &written {
            let first = written.iter().find(|(other, _)| other == tag).map(|(_, value)| value.as_slice());
            prop_assert_eq!(tlv::find(&bytes, *tag), first);
        }
        // Cut off anywhere, it is either whole objects still or an error, never something else.
        for end in 0..bytes.len().min(64) {
            let cut = tlv::iter(&bytes[..end]).count();
            prop_assert!(cut <= objects.len());
        }
    }

    #[test]
    fn tlv_never_panics_and_ends(bytes in hostile(), tag: u32) {
        let mut failed = false;
        for object in tlv::iter(&bytes) {
            prop_assert!(!failed);
            match object {
                Ok(object) => {
                    let mut again = Vec::new();
                    tlv::write(&mut again, object.tag.0, object.value);
                    prop_assert_eq!(tlv::read(&again), Ok((object, &[][..])));
                    prop_assert_eq!(object.tag.to_string().len() % 2, 0);
                }
                Err(_) => failed = true,
            }
        }
        let _ = tlv::find(&bytes, tag);
        let mut out = Vec::new();
        tlv::write(&mut out, tag, &bytes);
        prop_assert!(out.ends_with(&bytes));
    }

    #[test]
    fn aid_round_trip(bytes in vec(any::<u8>(), 0..20)) {
        match Aid::new(&bytes) {
            Some(aid) => {
                prop_assert_eq!(aid.as_bytes(), &bytes);
                prop_assert_eq!(aid.to_string(), hex::encode(&bytes));
                prop_assert_eq!(aid.to_string().parse(), Ok(aid));
            }
            None => prop_assert!(bytes.is_empty() || bytes.len() > 16),
        }
        let _ = aid::name_of(&bytes);
    }

    #[test]
    fn aid_text_never_panics(text in "\\PC{0,40}") {
        if let Ok(aid) = text.parse::<Aid>() {
            prop_assert_eq!(aid.to_string(), text.to_lowercase());
        }
    }

    /// Whatever follows a registered AID, its name does not get lost.
    #[test]
    fn the_longest_prefix_names(rest in vec(any::<u8>(), 0..4)) {
        for entry in aid::registry() {
            let name = aid::name_of(entry.aid.as_bytes());
            prop_assert_eq!(name.as_deref(), Some(entry.name));
            let longer = [entry.aid.as_bytes(), &rest].concat();
            prop_assert!(aid::name_of(&longer).is_some());
        }
    }
}

/// There are few enough of them to try them all.
#[test]
fn every_status_word() {
    for value in 0..=u16::MAX {
        let sw = StatusWord(value);
        assert_eq!(StatusWord::from(sw.to_bytes()), sw);
        assert_eq!(u16::from_str_radix(&sw.to_string(), 16), Ok(value));
        let meaning = sw.meaning();
        assert!(!meaning.is_empty() && !meaning.contains(['{', '}']), "{sw} {meaning}");
        assert!(!sw.scope().is_empty());
    }
}
