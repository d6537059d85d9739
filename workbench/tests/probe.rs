//! The probe against cards of every kind, in the same process.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;
use tapdoor_link::{CardLink, LinkError, LinkErrorKind};
use tapdoor_protocol::aid::Aid;
use tapdoor_reader::source::Activation;
use tapdoor_workbench::probe::applications::State;
use tapdoor_workbench::probe::atr::{Atr, Kind};
use tapdoor_workbench::probe::uid::{Kind as UidKind, Uid};
use tapdoor_workbench::probe::{Finding, ats, probe};

const PHONE_ATR: [u8; 5] = [0x3B, 0x80, 0x80, 0x01, 0x01];

/// A card that answers these commands, 6A82 to SELECT otherwise and 6E00 to anything else; gone after `left` answers.
struct Table {
    answers: HashMap<String, String>,
    sent: Vec<String>,
    left: usize,
}

impl Table {
    fn new(answers: &[(&str, &str)]) -> Self {
        Self {
            answers: answers.iter().map(|(c, r)| ((*c).to_owned(), (*r).to_owned())).collect(),
            sent: Vec::new(),
            left: usize::MAX,
        }
    }
}

impl CardLink for Table {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        if self.left == 0 {
            return Err(LinkError::new(LinkErrorKind::CardGone, "test", "gone").during(command));
        }
        self.left -= 1;
        let command = hex::encode(command);
        let otherwise = if command.starts_with("00a40400") { "6a82" } else { "6e00" };
        let answer = self.answers.get(&command).map_or(otherwise, String::as_str);
        response.extend_from_slice(&hex::decode(answer).unwrap());
        self.sent.push(command);
        Ok(())
    }
}

fn run(card: &mut Table, atr: Option<&[u8]>) -> (Vec<Finding>, Result<(), LinkError>) {
    let findings = RefCell::new(Vec::new());
    let outcome = probe(card, atr, true, &Activation::default(), &|finding| {
        findings.borrow_mut().push(finding)
    });
    (findings.into_inner(), outcome)
}

fn select(aid: Aid) -> String {
    format!("00a40400{:02x}{aid}00", aid.as_bytes().len())
}

fn present(findings: &[Finding]) -> Vec<String> {
    let there = findings.iter().filter_map(|finding| match finding {
        Finding::Application(application) if application.state == State::Present => Some(application.aid.clone()),
        _ => None,
    });
    there.collect()
}

#[test]
fn an_android_phone_with_the_bridge() {
    let (alive, ours) = (select(Aid::ANDROID_HCE), select(Aid::CHALLENGE_RESPONSE));
    let mut card = Table::new(&[
        ("ffca000000", "08a1b2c39000"),
        ("ffca010000", "057880700290 00".replace(' ', "").as_str()),
        (&alive, "148100009000"),
        (&ours, "6f009000"),
    ]);
    let (findings, outcome) = run(&mut card, Some(&PHONE_ATR));
    outcome.unwrap();
    let Some(Finding::Atr(atr)) = findings.first() else {
        panic!("{findings:?}")
    };
    assert_eq!((atr.kind, atr.protocols.as_slice()), (Kind::Contactless, &[0, 1][..]));
    assert!(
        findings
            .iter()
            .any(|f| matches!(f, Finding::Uid(uid) if uid.kind == UidKind::Random && uid.masked() == "08a1b2c3"))
    );
    let Some(Finding::Ats(ats)) = findings.iter().find(|f| matches!(f, Finding::Ats(_))) else {
        panic!()
    };
    assert_eq!((ats.frame, ats.guard_ms), (Some(256), Some(0.0)));
    assert!((ats.waiting_ms.unwrap() - 38.664).abs() < 0.01, "{ats:?}");
    assert!(
        findings
            .iter()
            .any(|f| matches!(f, Finding::Android(a) if a.answers && a.data == [0x14, 0x81, 0, 0]))
    );
    assert_eq!(present(&findings), ["f0544150444f4f5201"]);
    let Some(Finding::Times(times)) = findings.last() else { panic!() };
    assert!(times.answers > 60 && times.min_ms <= times.p50_ms && times.p50_ms <= times.p95_ms && times.p95_ms <= times.max_ms);
}

#[test]
fn nothing_is_sent_that_could_change_a_card() {
    let mut card = Table::new(&[]);
    run(&mut card, None).1.unwrap();
    assert_eq!(card.sent[..2], ["ffca000000", "ffca010000"]);
    assert_eq!(card.sent[2], select(Aid::ANDROID_HCE));
    let ours = [
        Aid::CHALLENGE_RESPONSE,
        Aid::AKA,
        Aid::IDENTITY,
        Aid::ALIRO_EXPEDITED,
        Aid::ALIRO_STEP_UP,
    ];
    assert_eq!(card.sent[3..8], ours.map(select));
    for command in &card.sent[2..] {
        assert!(command.starts_with("00a40400"), "{command}");
        assert!(command.len() >= (5 + 5 + 1) * 2, "{command}: phones route no AID as short as that");
    }
    let mut unique = card.sent.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), card.sent.len(), "something is asked twice");
    // Nobody is in between: nothing that is meant for a reader reaches the phone.
    let mut raw = Table::new(&[]);
    probe(&mut raw, Some(&PHONE_ATR), false, &Activation::default(), &|_| ()).unwrap();
    assert_eq!(raw.sent, card.sent[2..]);
    // The reader is not asked for the UID of a contact card, which would take it for a command of its own.
    let mut contact = Table::new(&[]);
    run(&mut contact, Some(&[0x3B, 0x00])).1.unwrap();
    assert!(contact.sent.iter().all(|command| !command.starts_with("ff")));
}

#[test]
fn status_words_are_told_apart() {
    for (sw, state) in [
        ("9000", State::Present),
        ("6110", State::Present),
        ("6283", State::Blocked),
        ("6985", State::Blocked),
        ("6a82", State::Absent),
        ("6f00", State::Unclear),
        ("6d00", State::Unclear),
    ] {
        let aka = select(Aid::AKA);
        let (findings, _) = run(&mut Table::new(&[(&aka, sw)]), None);
        let found = findings.iter().find_map(|finding| match finding {
            Finding::Application(application) if application.aid == "f0544150444f4f5202" => Some(application.state),
            _ => None,
        });
        assert_eq!(found, Some(state), "{sw}");
    }
}

#[test]
fn a_card_that_goes_ends_it_and_what_was_learned_stays() {
    for left in [0, 1, 2, 3, 10] {
        let mut card = Table::new(&[("ffca000000", "04112233445566 9000".replace(' ', "").as_str())]);
        card.left = left;
        let (findings, outcome) = run(&mut card, Some(&PHONE_ATR));
        assert_eq!(outcome.unwrap_err().kind, LinkErrorKind::CardGone);
        let uid = findings
            .iter()
            .any(|f| matches!(f, Finding::Uid(uid) if uid.kind == UidKind::Unique && uid.masked() == "04..(7 bytes)"));
        assert_eq!(uid, left >= 1);
        assert!(!findings.iter().any(|f| matches!(f, Finding::Times(_))));
    }
}

#[test]
fn atrs() {
    let read = |text: &str| Atr::read(&hex::decode(text).unwrap());
    // As PC/SC part 3 gives for a MIFARE Classic 1K.
    let storage = read("3b8f8001804f0ca000000306030001000000006a");
    assert_eq!(storage.kind, Kind::Storage);
    assert!(storage.meaning.contains("type A: MIFARE Classic 1K"), "{}", storage.meaning);
    let felica = read("3b8f8001804f0ca0000003061100 3b00000000 42".replace(' ', "").as_str());
    assert!(felica.meaning.contains("FeliCa"), "{felica:?}");
    // A SIM: T=0 only, so without a check byte.
    let sim = read("3b00");
    assert_eq!((sim.kind, sim.protocols), (Kind::Contact, vec![0]));
    // A USIM that says T=0, and T=15 for its clock stop, with a check byte.
    let usim = read("3b9f96801fc78031a073be21136743200718000001a5");
    assert_eq!((usim.kind, usim.protocols, usim.historical.len()), (Kind::Contact, vec![0, 15], 15));
    // Type B: application data, protocol information 81 81 71 is not for 14443-4; 00 81 81 is.
    let b = read("3b888001 00000000 338181 00 3a".replace(' ', "").as_str());
    assert_eq!(b.historical.len(), 8);
    for bad in [
        "",
        "3b",
        "3c00",
        "3b80",
        "3b8080",
        "3b808001",
        "3b80800102",
        "3b8080010100",
        "3bff",
        "3b01",
    ] {
        assert_eq!(read(bad).kind, Kind::Broken, "{bad}");
    }
}

#[test]
fn uids() {
    for (uid, kind, maker) in [
        ("08112233", UidKind::Random, None),
        ("11223344", UidKind::Fixed, None),
        ("04112233445566", UidKind::Unique, Some("NXP")),
        ("99112233445566", UidKind::Unique, None),
        ("0411223344556677aabb", UidKind::Unique, Some("NXP")),
        ("0101020304050607", UidKind::Other, None),
    ] {
        let uid = Uid::read(&hex::decode(uid).unwrap());
        assert_eq!((uid.kind, uid.maker), (kind, maker), "{uid:?}");
        if kind != UidKind::Random {
            assert!(!uid.masked().contains("1122"), "{}", uid.masked());
        }
    }
}

proptest! {
    #[test]
    fn nothing_that_a_card_says_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let atr = Atr::read(&bytes);
        prop_assert_eq!(&atr.atr, &bytes);
        prop_assert!(atr.historical.len() <= 15);
        let _ = Uid::read(&bytes).masked();
        let _ = ats::Ats::read(&bytes);
    }

    #[test]
    fn contactless_atrs_give_back_their_historical_bytes(historical in prop::collection::vec(any::<u8>(), 0..=15)) {
        let mut bytes = vec![0x3B, 0x80 | historical.len() as u8, 0x80, 0x01];
        bytes.extend_from_slice(&historical);
        bytes.push(bytes[1..].iter().fold(0, |sum, byte| sum ^ byte));
        let atr = Atr::read(&bytes);
        prop_assert_eq!(atr.historical, historical);
        prop_assert!(matches!(atr.kind, Kind::Contactless | Kind::Storage));
        // A flipped bit is seen.
        let last = bytes.len() - 1;
        bytes[last] ^= 0x40;
        prop_assert_eq!(Atr::read(&bytes).kind, Kind::Broken);
    }
}
