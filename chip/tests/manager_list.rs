//! The lock's list as the server delivers it: put, take off, replace; while taps go on; and what stays at the next start.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/manage.rs"]
mod manage;

use common::*;
use manage::*;
use tapdoor_chip::personalise::Secret;
use tapdoor_chip::{Chip, ListEntry, Personalisation, SqliteStore, TestSubscriber};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{LockStep, Reason, Verdict};
use tapdoor_protocol::ids::PhoneId;

const OK: u16 = 0x9000;

fn phone_id(n: u8) -> PhoneId {
    PhoneId([n; 8])
}

fn phone_of(phone: PhoneId) -> Chip {
    Chip::personalise(memory(), &phone_personalisation(phone)).unwrap()
}

fn lock_with(list: Vec<ListEntry>) -> (Chip, Host) {
    let mut lock = Chip::personalise(memory(), &managed(lock_personalisation(LOCK, list))).unwrap();
    let host = Host::open(&mut lock);
    (lock, host)
}

fn off(phone: PhoneId) -> Vec<u8> {
    object(0xE6, &object(0x80, &phone.0))
}

fn opens(lock: &mut Chip, phone: PhoneId) -> Verdict {
    let verdict = challenge_response(lock, &mut phone_of(phone)).0.verdict;
    let by_aka = aka(lock, &mut phone_of(phone), 1, CLOCK).0.verdict;
    assert_eq!(verdict, by_aka);
    verdict
}

const UNKNOWN: Verdict = Verdict::Refused(Reason::UnknownPhone);

#[test]
fn entries_come_and_go() {
    let (mut lock, mut host) = lock_with(vec![entry(phone_id(1), LOCK)]);
    assert_eq!(opens(&mut lock, phone_id(2)), UNKNOWN);
    let block = host.entry(&entry(phone_id(2), LOCK));
    assert_eq!(host.store(&mut lock, &[block]), OK);
    assert_eq!(opens(&mut lock, phone_id(2)), Verdict::Open);
    // In its place: an entry that has ended.
    let ended = ListEntry {
        not_after: CLOCK - 1,
        ..entry(phone_id(2), LOCK)
    };
    let block = host.entry(&ended);
    assert_eq!(host.store(&mut lock, &[block]), OK);
    assert_eq!(opens(&mut lock, phone_id(2)), Verdict::Refused(Reason::NotEntitled));
    // Off the list, whoever put it there; twice does no harm; and on again.
    for _ in 0..2 {
        assert_eq!(host.store(&mut lock, &[off(phone_id(1)), off(phone_id(2)), off(phone_id(99))]), OK);
        assert_eq!(opens(&mut lock, phone_id(1)), UNKNOWN);
        assert_eq!(opens(&mut lock, phone_id(2)), UNKNOWN);
    }
    let block = host.entry(&entry(phone_id(1), LOCK));
    assert_eq!(host.store(&mut lock, &[block]), OK);
    assert_eq!(opens(&mut lock, phone_id(1)), Verdict::Open);
    // What is said last of a phone counts.
    let block = host.entry(&entry(phone_id(1), LOCK));
    assert_eq!(host.store(&mut lock, &[block, off(phone_id(1))]), OK);
    assert_eq!(opens(&mut lock, phone_id(1)), UNKNOWN);
}

#[test]
fn a_replacement_is_all_or_nothing() {
    let configured = (1..=3).map(|n| entry(phone_id(n), LOCK)).collect();
    let (mut lock, mut host) = lock_with(configured);
    let mut blocks = vec![object(0xE7, &[])];
    blocks.extend([3, 4].map(|n| host.entry(&entry(phone_id(n), LOCK))));
    // Torn after each block: the old list.
    for torn in 1..blocks.len() {
        for (number, block) in blocks[..torn].iter().enumerate() {
            assert_eq!(host.sw(&mut lock, &store_data(number, false, block)), OK);
        }
        lock.reset_wired();
        host = Host::open(&mut lock);
        for n in 1..=3 {
            assert_eq!(opens(&mut lock, phone_id(n)), Verdict::Open);
        }
        assert_eq!(opens(&mut lock, phone_id(4)), UNKNOWN);
    }
    // A block that is wrong: the same.
    let mut bad = blocks.clone();
    bad.push(vec![0xE5, 0]);
    assert_eq!(host.store(&mut lock, &bad), 0x6A80);
    assert_eq!(opens(&mut lock, phone_id(1)), Verdict::Open);
    assert_eq!(host.store(&mut lock, &blocks), OK);
    for (n, expected) in [(1, UNKNOWN), (2, UNKNOWN), (3, Verdict::Open), (4, Verdict::Open)] {
        assert_eq!(opens(&mut lock, phone_id(n)), expected, "{n}");
    }
    // By nothing.
    assert_eq!(host.store(&mut lock, &[object(0xE7, &[])]), OK);
    for n in 1..=4 {
        assert_eq!(opens(&mut lock, phone_id(n)), UNKNOWN);
    }
}

#[test]
fn what_is_not_an_entry_is_refused() {
    let mut fill = managed(lock_personalisation(LOCK, vec![entry(phone_id(1), LOCK)]));
    fill.subscribers.push(TestSubscriber {
        phone: phone_id(9),
        imsi: "001010123456063".into(),
        algorithm: Algorithm::Milenage,
        not_after: 0,
        key: Secret::new([9; 32]),
    });
    let mut lock = Chip::personalise(memory(), &fill).unwrap();
    let mut host = Host::open(&mut lock);
    let part = |tag: u32, length: usize| object(tag, &vec![1; length]);
    let good = [part(0x80, 8), part(0x90, 1), part(0x93, 16), part(0x94, 16)];
    let but = |n: usize, with: Vec<u8>| {
        let mut parts = good.clone();
        parts[n] = with;
        object(0xE5, &parts.concat())
    };
    let and = |more: Vec<u8>| object(0xE5, &[good.concat(), more].concat());
    let taken = Vec::from([
        ("a phone number of 7 bytes", but(0, part(0x80, 7))),
        ("no phone", but(0, vec![])),
        ("no method", but(1, vec![])),
        ("an unknown method", but(1, object(0x90, &[77]))),
        ("no K_id", but(2, vec![])),
        ("a K_id of 32 bytes", but(2, part(0x93, 32))),
        ("no K_l", but(3, vec![])),
        ("a K_l of 15 bytes", but(3, part(0x94, 15))),
        ("a MILENAGE key of 16 bytes", and(part(0x95, 16))),
        ("a TUAK key of 48 bytes", and(part(0x96, 48))),
        ("a not-after of 3 bytes", and(part(0x91, 3))),
        ("flags of 2 bytes", and(part(0x92, 2))),
        ("a part there twice", and(part(0x80, 8))),
        ("an unknown part", and(part(0x97, 1))),
        ("not TLV", object(0xE5, &[0x80, 9, 1])),
        ("a test USIM's name", but(0, object(0x80, &[9; 8]))),
        ("nobody taken off", object(0xE6, &[])),
        ("an unknown object", object(0xE4, &[])),
        ("a replacement with content", object(0xE7, &[1])),
        ("a replacement in the middle", [and(vec![]), object(0xE7, &[])].concat()),
        ("a replacement of a replacement", [object(0xE7, &[]), object(0xE7, &[])].concat()),
    ]);
    for (name, block) in taken {
        assert_eq!(host.store(&mut lock, &[off(phone_id(1)), block.clone()]), 0x6A80, "{name}");
        assert_eq!(host.store(&mut lock, &[block]), 0x6A80, "{name}");
        assert_eq!(opens(&mut lock, phone_id(1)), Verdict::Open, "{name}");
    }
    assert_eq!(host.store(&mut lock, &[and(vec![])]), OK);
    assert_eq!(host.store(&mut lock, &[and(part(0x96, 64))]), OK);
}

#[test]
fn the_quota_is_kept() {
    let mut fill = managed(lock_personalisation(LOCK, vec![entry(phone_id(1), LOCK)]));
    fill.card_manager.as_mut().unwrap().quotas.list = 3;
    let mut lock = Chip::personalise(memory(), &fill).unwrap();
    let mut host = Host::open(&mut lock);
    let blocks: Vec<_> = (2..=4).map(|n| host.entry(&entry(phone_id(n), LOCK))).collect();
    assert_eq!(host.store(&mut lock, &blocks), 0x6A84);
    assert_eq!(opens(&mut lock, phone_id(2)), UNKNOWN);
    assert_eq!(host.store(&mut lock, &blocks[..2]), OK);
    assert_eq!(host.store(&mut lock, &blocks[2..]), 0x6A84);
    assert_eq!(host.store(&mut lock, &[off(phone_id(1)), blocks[2].clone()]), OK);
    // One that is there already needs no room; a replacement has all of it, and no more.
    assert_eq!(host.store(&mut lock, &blocks[..1]), OK);
    let replacement = [vec![object(0xE7, &[])], blocks.clone()].concat();
    assert_eq!(host.store(&mut lock, &replacement), OK);
    let five = host.entry(&entry(phone_id(5), LOCK));
    assert_eq!(host.store(&mut lock, &[replacement, vec![five]].concat()), 0x6A84);
}

#[test]
fn a_thousand_entries_in_one_replacement() {
    let (mut lock, mut host) = lock_with(Vec::new());
    let id = |n: u16| PhoneId([n.to_be_bytes(), [7; 2], [7; 2], [7; 2]].concat().try_into().unwrap());
    let mut blocks = vec![object(0xE7, &[])];
    blocks.extend((0..1000).map(|n| host.entry(&entry(id(n), LOCK))));
    assert_eq!(host.store(&mut lock, &blocks), OK, "blocks are counted modulo 256");
    for n in [0, 1, 255, 256, 999] {
        assert_eq!(opens(&mut lock, id(n)), Verdict::Open);
    }
}

/// BEGIN of a tap: the phone, and the step it gave.
fn begin_tap(lock: &mut Chip, phone: PhoneId, (lock_aid, phone_aid): (&Aid, &Aid), p2: u8) -> (Chip, LockStep) {
    let mut chip = phone_of(phone);
    let fci = send(&mut chip, &select(phone_aid));
    assert_eq!(sw(&send(lock, &select(lock_aid))), OK);
    let step = begin(lock, p2, CLOCK, &fci[..fci.len() - 2]);
    (chip, step)
}

#[test]
fn a_tap_that_goes_on_never_gets_another_phones_keys() {
    let methods = [
        ((&Aid::CHALLENGE_RESPONSE_LOCK, &Aid::CHALLENGE_RESPONSE), 0),
        ((&Aid::AKA_LOCK, &Aid::AKA), 0),
        ((&Aid::AKA_LOCK, &Aid::AKA), 1),
    ];
    // What happens to the list between BEGIN and NEXT, phone 2 being at the door.
    type Edit = fn(&Host) -> Vec<Vec<u8>>;
    let edits: [(&str, Edit); 5] = [
        ("another is taken off before it", |_| vec![off(phone_id(1))]),
        ("it is taken off", |_| vec![off(phone_id(2))]),
        ("it is said again", |host| vec![host.entry(&entry(phone_id(2), LOCK))]),
        ("it gets new keys", |host| {
            let other = entry(phone_id(8), LOCK);
            vec![host.entry(&ListEntry {
                phone: phone_id(2),
                ..other
            })]
        }),
        ("the list is replaced", |host| {
            vec![
                object(0xE7, &[]),
                host.entry(&entry(phone_id(7), LOCK)),
                host.entry(&entry(phone_id(3), LOCK)),
            ]
        }),
    ];
    for (aids, p2) in methods {
        for (name, edit) in edits {
            let (mut lock, mut host) = lock_with((1..=3).map(|n| entry(phone_id(n), LOCK)).collect());
            let (mut phone, step) = begin_tap(&mut lock, phone_id(2), aids, p2);
            let LockStep::Transmit { command, .. } = step else {
                panic!("{step:?}")
            };
            let blocks = edit(&host);
            assert_eq!(host.store(&mut lock, &blocks), OK);
            // The session keys were made at BEGIN, from the right entry: a proof by them opens, as it would have a moment before.
            let answer = send(&mut phone, &command);
            let LockStep::Done(outcome) = next(&mut lock, &answer) else {
                panic!()
            };
            assert_eq!((outcome.verdict, outcome.phone), (Verdict::Open, Some(phone_id(2))), "{name}");
        }
    }
    // AKA that must resynchronise goes to the entry once more: it must still be the same one.
    for (name, edit) in edits {
        let (mut lock, mut host) = lock_with((1..=3).map(|n| entry(phone_id(n), LOCK)).collect());
        let mut phone = phone_of(phone_id(2));
        let mut early = Chip::personalise(memory(), &lock_personalisation(LOCK, vec![entry(phone_id(2), LOCK)])).unwrap();
        assert_eq!(aka(&mut early, &mut phone, 0, CLOCK + 86_400).0.verdict, Verdict::Open);
        let fci = send(&mut phone, &select(&Aid::AKA));
        send(&mut lock, &select(&Aid::AKA_LOCK));
        let LockStep::Transmit { command, .. } = begin(&mut lock, 0, CLOCK, &fci[..fci.len() - 2]) else {
            panic!()
        };
        let answer = send(&mut phone, &command);
        assert_eq!(answer[0], 0xDC);
        let blocks = edit(&host);
        assert_eq!(host.store(&mut lock, &blocks), OK);
        let next = Command::new(0x80, 0x12, 0, 0).data(&answer).ne(256).encode().unwrap();
        let response = send(&mut lock, &next);
        let same = matches!(name, "another is taken off before it" | "it is said again");
        assert_eq!(sw(&response), if same { OK } else { 0x6985 }, "{name}");
        if same {
            let LockStep::Transmit { command, .. } = LockStep::parse(&response[..response.len() - 2]).unwrap() else {
                panic!("{name}")
            };
            let answer = send(&mut phone, &command);
            let LockStep::Done(outcome) = common::next(&mut lock, &answer) else {
                panic!()
            };
            assert_eq!(outcome.verdict, Verdict::Open, "{name}");
        }
    }
}

#[test]
fn the_servers_word_holds_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let fill = |phones: &[u8]| -> Personalisation {
        managed(lock_personalisation(
            LOCK,
            phones.iter().map(|n| entry(phone_id(*n), LOCK)).collect(),
        ))
    };
    let start = |phones: &[u8]| Chip::personalise(Box::new(SqliteStore::open(&path).unwrap()), &fill(phones)).unwrap();
    let mut lock = start(&[1, 2]);
    let mut host = Host::open(&mut lock);
    let block = host.entry(&entry(phone_id(3), LOCK));
    assert_eq!(host.store(&mut lock, &[block, off(phone_id(1))]), OK);
    drop(lock);
    for phones in [&[1, 2][..], &[1, 2], &[2], &[1, 2, 3, 4]] {
        let mut lock = start(phones);
        assert_eq!(opens(&mut lock, phone_id(1)), UNKNOWN, "it was taken off");
        assert_eq!(opens(&mut lock, phone_id(2)), Verdict::Open);
        assert_eq!(opens(&mut lock, phone_id(3)), Verdict::Open, "it was delivered");
        let expected = if phones.contains(&4) { Verdict::Open } else { UNKNOWN };
        assert_eq!(opens(&mut lock, phone_id(4)), expected, "of this one the server has said nothing");
    }
    // After a replacement, too.
    let mut lock = start(&[1, 2]);
    let mut host = Host::open(&mut lock);
    let blocks = [object(0xE7, &[]), host.entry(&entry(phone_id(5), LOCK))];
    assert_eq!(host.store(&mut lock, &blocks), OK);
    drop(lock);
    let mut lock = start(&[1, 2]);
    for n in 1..=3 {
        assert_eq!(opens(&mut lock, phone_id(n)), UNKNOWN);
    }
    assert_eq!(opens(&mut lock, phone_id(5)), Verdict::Open);
}
