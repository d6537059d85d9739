use std::collections::BTreeSet;

use proptest::prelude::*;
use tapdoor_protocol::rf::frame::RfError;
use tapdoor_protocol::rf::iso14443::type_a::pcd::{Request, Select, SelectError};
use tapdoor_protocol::rf::iso14443::type_a::picc::{Picc, State};
use tapdoor_protocol::rf::iso14443::type_a::{Atqa, Sak, Uid};

use crate::air::{Air, Fault, Hears};
use crate::{unhex, vectors};

pub fn picc(uid: &[u8]) -> Picc {
    let uid = Uid::new(uid).unwrap();
    let mut picc = Picc::new(uid, Atqa::of(&uid), Sak(0x20));
    picc.field(true);
    picc
}

#[test]
fn published_sequences() {
    for vector in vectors()["anticollision"].as_array().unwrap() {
        let uid = unhex(&vector["uid"]);
        let mut card = picc(&uid);
        let steps = vector["steps"].as_array().unwrap();
        let request = if steps[0]["tx"] == "26" { Request::Reqa } else { Request::Wupa };
        if vector["name"] == "double size UID" {
            let uid = Uid::new(&uid).unwrap();
            card = Picc::new(uid, Atqa([0x44, 0x03]), Sak(0x20));
            card.field(true);
        }
        let mut air = Air::new(vec![&mut card]);
        let found = air.run(&mut Select::new(request)).unwrap().unwrap();
        assert_eq!((found.uid.as_bytes(), found.sak), (&uid[..], Sak(0x20)));
        for (step, seen) in steps.iter().zip(&air.seen) {
            let out = step.get("tx").is_some();
            let mut data = seen.data.clone();
            if seen.crc {
                tapdoor_protocol::rf::crc::append(tapdoor_protocol::rf::frame::Technology::A, &mut data);
            }
            assert_eq!((seen.out, &data), (out, &unhex(&step[if out { "tx" } else { "rx" }])));
            assert_eq!(u64::from(seen.last_bits), step.get("bits").map_or(8, |bits| bits.as_u64().unwrap()));
        }
    }
}

#[test]
fn silence_is_nobody() {
    let mut air = Air::new(vec![]);
    assert_eq!(air.run(&mut Select::new(Request::Wupa)), Ok(None));
    assert_eq!(air.exchanges, 1);
}

fn enumerate(cards: &mut [Picc], mute: bool) -> Vec<Vec<u8>> {
    let mut air = Air::new(cards.iter_mut().map(|card| card as &mut dyn Hears).collect());
    air.mute = mute;
    let mut found = Vec::new();
    while let Some(card) = air.run(&mut Select::new(Request::Reqa)).unwrap() {
        found.push(card.uid.as_bytes().to_vec());
        air.halt();
        assert!(found.len() <= 20);
    }
    found
}

#[test]
fn a_known_card_is_selected_among_others() {
    let uids: [&[u8]; 3] = [&[4, 2, 3, 4, 5, 6, 7], &[4, 2, 3, 4, 5, 6, 8], &[8, 1, 2, 3]];
    let mut cards: Vec<_> = uids.iter().map(|uid| picc(uid)).collect();
    for uid in uids {
        let mut air = Air::new(cards.iter_mut().map(|card| card as &mut dyn Hears).collect());
        let found = air.run(&mut Select::known(Request::Wupa, Uid::new(uid).unwrap())).unwrap().unwrap();
        assert_eq!(found.uid.as_bytes(), uid);
        air.halt();
    }
}

#[test]
fn a_halted_card_goes_back_to_halt() {
    let mut card = picc(&[1, 2, 3, 4]);
    let mut air = Air::new(vec![&mut card]);
    air.run(&mut Select::new(Request::Reqa)).unwrap().unwrap();
    air.halt();
    assert_eq!(air.run(&mut Select::new(Request::Reqa)), Ok(None));
    // Woken, and torn out of READY: back to HALT, so that REQA finds nobody.
    air.fault = Box::new(|n| (n == 4).then_some(Fault::Corrupt));
    air.seen.clear();
    air.run(&mut Select::new(Request::Wupa)).unwrap().unwrap();
    drop(air);
    assert_eq!(card.state(), State::Active);
}

#[test]
fn a_card_whose_uid_never_ends_is_refused() {
    struct Liar;
    impl Hears for Liar {
        fn hear(&mut self, frame: tapdoor_protocol::rf::frame::Received<'_>, answer: &mut tapdoor_protocol::rf::frame::RxFrame) -> bool {
            use tapdoor_protocol::rf::frame::{Frame, Technology};
            let frame = frame.unwrap();
            match frame.data {
                [0x26 | 0x52] => answer.set(&Frame::new(Technology::A, &[0x84, 0x03]).bare()),
                [_, 0x20] => answer.set(&Frame::new(Technology::A, &[0x88, 1, 2, 3, 0x88 ^ 1 ^ 2 ^ 3]).bare()),
                _ => answer.set(&Frame::new(Technology::A, &[0x04])),
            }
            true
        }
        fn reset(&mut self) {}
    }
    let mut liar = Liar;
    let mut air = Air::new(vec![&mut liar]);
    let error = air.run(&mut Select::new(Request::Wupa)).unwrap_err();
    assert!(matches!(error, SelectError::Malformed { level: 3, .. }), "{error}");
    assert!(air.exchanges < 50);
}

/// Regression: bits that the reader did not hand over were taken for zeros, so that two phones (08 and three random bytes) were never told apart.
#[test]
fn two_phones_before_a_reader_that_says_collision_and_no_more() {
    for (one, other) in [
        ([8, 1, 2, 3], [8, 1, 2, 0x83]),
        ([8, 0, 0, 0], [8, 0, 0, 1]),
        ([8, 0xFF, 0xFF, 0x7F], [8, 0xFF, 0xFF, 0xFF]),
    ] {
        let found = enumerate(&mut [picc(&one), picc(&other)], true);
        assert_eq!(found, [other, one]);
    }
}

#[test]
fn a_card_that_leaves_in_the_midst_of_anticollision_is_not_waited_for() {
    for gone_at in 1..30 {
        let (mut one, mut other) = (picc(&[8, 0, 0x20, 0]), picc(&[8, 0, 0, 1]));
        let mut air = Air::new(vec![&mut one, &mut other]);
        air.mute = true;
        // From then on nobody hears anything.
        air.fault = Box::new(move |n| (n >= gone_at).then_some(Fault::Drop));
        match air.run(&mut Select::new(Request::Wupa)) {
            Ok(None) => assert!(gone_at < 2),
            Ok(Some(card)) => assert_eq!(card.uid.as_bytes(), [8, 0, 0, 1]),
            Err(error) => assert!(
                matches!(
                    error,
                    SelectError::Rf {
                        error: RfError::Timeout,
                        ..
                    }
                ),
                "{error}"
            ),
        }
        assert!(air.exchanges < 50);
    }
}

fn uid() -> impl Strategy<Value = Vec<u8>> {
    // Few different bytes, so that collisions are deep; the first one is neither the cascade tag nor reserved.
    let byte = prop_oneof![Just(1u8), Just(3), Just(0x80), any::<u8>()];
    let first = prop_oneof![Just(4u8), Just(8), Just(2)];
    (first, prop_oneof![Just(3usize), Just(6), Just(9)])
        .prop_flat_map(move |(first, rest)| (Just(first), proptest::collection::vec(byte.clone(), rest)))
        .prop_map(|(first, rest)| {
            let mut uid = vec![first];
            uid.extend(rest);
            // The cascade tag must not stand where a level could begin with it.
            for at in [3, 6] {
                if uid.len() > at && uid[at] == 0x88 {
                    uid[at] = 0x87;
                }
            }
            uid
        })
}

proptest! {
    #[test]
    fn every_card_of_several_is_found_once(uids in proptest::collection::btree_set(uid(), 0..7), mute: bool) {
        let mut cards: Vec<_> = uids.iter().map(|uid| picc(uid)).collect();
        let found = enumerate(&mut cards, mute);
        prop_assert_eq!(found.len(), uids.len());
        prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), uids);
    }

    #[test]
    fn single_faults_are_survived(uid in uid(), at in 0usize..12, corrupt: bool) {
        let mut card = picc(&uid);
        let mut air = Air::new(vec![&mut card]);
        let fault = if corrupt { Fault::Corrupt } else { Fault::Drop };
        air.fault = Box::new(move |n| (n == at).then_some(fault));
        let outcome = air.run(&mut Select::new(Request::Wupa)).unwrap();
        // A request or its answer that is lost is nobody; whoever polls asks again.
        match outcome {
            Some(found) => prop_assert_eq!(found.uid.as_bytes(), &uid[..]),
            None => prop_assert!(at < 2),
        }
    }
}
