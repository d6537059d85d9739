//! The field: collisions among cards, time, and cards that are carried.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::Echo;
use proptest::prelude::*;
use tapdoor_link::field::{FieldErrorKind, FieldLink, converse};
use tapdoor_protocol::rf::frame::{Expect, Frame, RfError, RxFrame, Technology};
use tapdoor_protocol::rf::iso14443::type_a::pcd::{Request, Select};
use tapdoor_protocol::rf::iso14443::type_a::{HLTA, Uid};
use tapdoor_protocol::rf::time::{self, Ticks};
use tapdoor_simulator::{Carried, Field};

fn reqa(field: &mut Field, rx: &mut RxFrame) -> Result<(), FieldErrorKind> {
    let frame = Frame::short(&[0x26]);
    field
        .exchange(&frame, &Expect::like(&frame, time::FDT_A_TIMEOUT), rx)
        .map_err(|e| e.kind)
}

#[test]
fn without_a_field_there_is_nothing() {
    let mut field = Field::new();
    let id = field.place(Box::new(Echo::phone([8, 1, 2, 3])));
    let mut rx = RxFrame::new();
    assert_eq!(reqa(&mut field, &mut rx), Err(FieldErrorKind::NoField));
    field.set_field(true).unwrap();
    assert_eq!(reqa(&mut field, &mut rx), Ok(()));
    assert_eq!(rx.data, [0x04, 0x00]);
    assert!(field.remove(id).is_some() && field.remove(id).is_none());
    assert_eq!(reqa(&mut field, &mut rx), Err(FieldErrorKind::Rf(RfError::Timeout)));
}

#[test]
fn time_is_charged() {
    let mut field = Field::new();
    field.place(Box::new(Echo::phone([8, 1, 2, 3])));
    field.set_field(true).unwrap();
    field.pause(time::GUARD_TIME);
    assert_eq!(field.now(), Ticks(67_800));
    let mut rx = RxFrame::new();
    reqa(&mut field, &mut rx).unwrap();
    // REQA 9 bits, FDT after a 0, ATQA 1 + 2 * 9 + 1 bits.
    assert_eq!((rx.sent_at, rx.at), (Ticks(67_800), Ticks(67_800 + 9 * 128 + 1172)));
    assert_eq!(field.now(), Ticks(67_800 + 9 * 128 + 1172 + 20 * 128));
    // The next frame waits for the delay after an answer. A card that was READY falls back and is silent.
    let before = field.now();
    assert!(reqa(&mut field, &mut rx).is_err());
    assert_eq!(field.now(), before + time::FDT_PICC_TO_PCD + Ticks(9 * 128) + time::FDT_A_TIMEOUT);
}

#[test]
fn a_carried_card_loses_power() {
    let (card, hand) = Carried::new(Echo::phone([8, 1, 2, 3]));
    let mut field = Field::new();
    field.place(Box::new(card));
    field.set_field(true).unwrap();
    let mut rx = RxFrame::new();
    assert!(reqa(&mut field, &mut rx).is_err());
    hand.hold(true);
    assert!(hand.is_inside());
    assert_eq!(reqa(&mut field, &mut rx), Ok(()));
    hand.hold(false);
    assert!(reqa(&mut field, &mut rx).is_err());
    hand.hold(true);
    // Idle again, not READY.
    assert_eq!(reqa(&mut field, &mut rx), Ok(()));
}

fn found(field: &mut Field) -> Vec<Vec<u8>> {
    let mut rx = RxFrame::new();
    let mut found = Vec::new();
    while let Some(card) = converse(field, &mut Select::new(Request::Reqa), &mut rx).unwrap().unwrap() {
        found.push(card.uid.as_bytes().to_vec());
        field.send(&Frame::new(Technology::A, &HLTA)).unwrap();
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However alike their identifiers are, each of several cards is found once.
    #[test]
    fn every_card_is_found(uids in prop::collection::btree_set(prop_oneof![
        prop::collection::vec(any::<u8>(), 4),
        prop::collection::vec(0_u8..3, 4),
        prop::collection::vec(any::<u8>(), 7),
        prop::collection::vec(0_u8..2, 10),
    ], 0..6)) {
        // A first byte of 88 is the cascade tag's, and no identifier's of four bytes; ISO/IEC 14443-3 6.5.4 also keeps it from the others.
        let uids: Vec<Vec<u8>> = uids.into_iter().filter(|uid| uid[0] != 0x88 && (uid.len() == 4 || uid[3] != 0x88)).collect();
        let mut field = Field::new();
        for uid in &uids {
            prop_assert!(Uid::new(uid).is_some());
            field.place(Box::new(Echo::new(uid, 0x20)));
        }
        field.set_field(true).unwrap();
        let mut seen = found(&mut field);
        seen.sort();
        let mut expected = uids;
        expected.sort();
        prop_assert_eq!(seen, expected);
    }
}
