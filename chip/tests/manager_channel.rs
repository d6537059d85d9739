//! The card manager's secure channel: levels, modes, and everything that ends it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/manage.rs"]
mod manage;

use common::*;
use manage::*;
use tapdoor_chip::Chip;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::globalplatform::command::{GetStatus, PutKey, Subset};
use tapdoor_protocol::globalplatform::scp03::{self, I, InitializeUpdateResponse, Keys, Level, Mode};

const OK: u16 = 0x9000;
const WAYS: [Way; 2] = [Way::Wired, Way::Field];

fn chip() -> Chip {
    Chip::personalise(memory(), &managed(phone_personalisation(PHONE))).unwrap()
}

fn get_status() -> Vec<u8> {
    GetStatus::all(Subset::IssuerSecurityDomain).encode().unwrap()
}

fn initialize_update(chip: &mut Chip, way: Way, kvn: u8) -> Vec<u8> {
    let (_, command) = scp03::Host::initialize_update(kvn, [1; 8]);
    exchange(chip, way, &command)
}

#[test]
fn every_level_works_and_content_needs_a_mac() {
    for way in WAYS {
        for level in [0x00, 0x01, 0x03, 0x11, 0x13, 0x33] {
            let mut chip = chip();
            let mut host = Host::open_by(&mut chip, way, Level::new(level).unwrap());
            assert_eq!(
                host.status(&mut chip, Subset::IssuerSecurityDomain)[0].life_cycle,
                0x0F,
                "{level:02x}"
            );
            let expected = if level == 0 { 0x6982 } else { OK };
            assert_eq!(host.load(&mut chip, &Load::simple(1, [1, 0])), expected, "{level:02x}");
            assert_eq!(host.version(&mut chip, &elf(1)).is_some(), level != 0);
        }
    }
}

#[test]
fn every_kind_of_scp03_works() {
    for i in [0x00, 0x10, 0x20, 0x30, 0x60, 0x70, 0x01, 0x11, 0x21, 0x31, 0x61, 0x71].map(I) {
        for length in [16, 24, 32] {
            let keys = Keys::new(&vec![1; length], &vec![2; length], &vec![3; length]).unwrap();
            let mut fill = managed(phone_personalisation(PHONE));
            let manager = fill.card_manager.as_mut().unwrap();
            (manager.i, manager.keys) = (i, scp_keys(0x3F, &keys));
            let mut chip = Chip::personalise(memory(), &fill).unwrap();
            let (host, command) = match i.mode() {
                Mode::S8 => scp03::Host::initialize_update(0, [9; 8]),
                Mode::S16 => scp03::Host::initialize_update(0, [9; 16]),
            };
            let answer = exchange(&mut chip, Way::Wired, &command);
            let best = [Level::FULL, Level::C_ENC_R_MAC, Level::C_ENC]
                .into_iter()
                .find(|level| i.allows(*level))
                .unwrap();
            let (command, channel) = host.authenticate(&keys, &answer, best).unwrap();
            assert_eq!(sw(&exchange(&mut chip, Way::Wired, &command)), OK, "{i:?}");
            let mut host = Host {
                channel,
                way: Way::Wired,
                dek: keys,
            };
            assert_eq!(host.load(&mut chip, &Load::simple(1, [1, 0])), OK, "{i:?}");
            // The other kind of challenge is refused.
            let (_, command) = match i.mode() {
                Mode::S16 => scp03::Host::initialize_update(0, [9; 8]),
                Mode::S8 => scp03::Host::initialize_update(0, [9; 16]),
            };
            assert_eq!(exchange(&mut chip, Way::Wired, &command), [0x67, 0x00]);
        }
    }
    // A chip's challenges are those of its counter, or fresh.
    for (i, same) in [(0x70, false), (0x60, false)] {
        let mut fill = managed(phone_personalisation(PHONE));
        fill.card_manager.as_mut().unwrap().i = I(i);
        let mut chip = Chip::personalise(memory(), &fill).unwrap();
        let [a, b] = [(); 2].map(|()| initialize_update(&mut chip, Way::Wired, 0));
        assert_eq!(a[13..21] == b[13..21], same, "{i:02x}");
    }
}

#[test]
fn a_session_ends_at_the_first_command_that_is_not_its_hosts() {
    type Bend = fn(&mut Host, &mut Vec<u8>);
    let rows: [(&str, Bend); 8] = [
        ("a MAC with a wrong bit", |_, c| *c.iter_mut().rev().nth(1).unwrap() ^= 1),
        ("a changed P2", |_, c| c[3] ^= 1),
        ("a changed instruction", |_, c| c[1] = 0xCA),
        ("changed data", |_, c| c[6] ^= 1),
        ("no MAC", |_, c| *c = get_status()),
        ("no data at all", |_, c| *c = vec![0x84, 0xF2, 0x80, 0x02]),
        ("a plain GET DATA", |_, c| *c = vec![0x80, 0xCA, 0, 0x66, 0]),
        ("a command left out", |host, c| {
            let command = get_status();
            *c = host.channel.wrap(&Command::parse(&command).unwrap()).unwrap().command;
        }),
    ];
    for way in WAYS {
        for level in [Level::C_MAC, Level::FULL] {
            for (name, bend) in rows {
                let mut chip = chip();
                let mut host = Host::open_by(&mut chip, way, level);
                assert_eq!(host.sw(&mut chip, &get_status()), OK);
                let request = get_status();
                let mut bent = host.channel.wrap(&Command::parse(&request).unwrap()).unwrap().command;
                let good = bent.clone();
                bend(&mut host, &mut bent);
                assert_eq!(exchange(&mut chip, way, &bent), [0x69, 0x82], "{name}");
                // It is over for the right one too.
                assert_eq!(exchange(&mut chip, way, &good), [0x69, 0x82], "{name}");
                assert_eq!(exchange(&mut chip, way, &get_status()), [0x69, 0x82], "{name}");
                let mut host = Host::open_by(&mut chip, way, level);
                assert_eq!(host.sw(&mut chip, &get_status()), OK);
            }
        }
    }
}

#[test]
fn a_recorded_session_cannot_be_played_again() {
    let mut chip = chip();
    let load = Load::simple(1, [1, 0]);
    let (host, update) = scp03::Host::initialize_update(0, [7; 8]);
    let answer = exchange(&mut chip, Way::Wired, &update);
    let (authenticate, channel) = host.authenticate(&keys(), &answer, Level::FULL).unwrap();
    assert_eq!(sw(&exchange(&mut chip, Way::Wired, &authenticate)), OK);
    let mut host = Host {
        channel,
        way: Way::Wired,
        dek: keys(),
    };
    let mut recorded = Vec::new();
    for command in load.commands(200) {
        let wrapped = host.channel.wrap(&Command::parse(&command).unwrap()).unwrap();
        assert_eq!(sw(&exchange(&mut chip, Way::Wired, &wrapped.command)), OK);
        recorded.push(wrapped.command);
    }
    // Each once more in the same session, and in a new one, in this and the other conversation.
    for command in &recorded {
        assert_eq!(exchange(&mut chip, Way::Wired, command), [0x69, 0x82]);
    }
    for way in WAYS {
        assert_eq!(sw(&exchange(&mut chip, way, &select_manager())), OK);
        assert_eq!(sw(&exchange(&mut chip, way, &update)), OK);
        assert_eq!(exchange(&mut chip, way, &authenticate), [0x63, 0x00]);
        for command in &recorded {
            assert_eq!(exchange(&mut chip, way, command), [0x69, 0x82]);
        }
    }
    // A second EXTERNAL AUTHENTICATE, and one without INITIALIZE UPDATE.
    assert_eq!(exchange(&mut chip, Way::Wired, &authenticate), [0x69, 0x85]);
    // The session of one conversation is nothing to the other.
    let mut wired = Host::open(&mut chip);
    let mut field = Host::open_by(&mut chip, Way::Field, Level::FULL);
    assert_eq!(wired.sw(&mut chip, &get_status()), OK);
    assert_eq!(field.sw(&mut chip, &get_status()), OK);
    let request = get_status();
    let crossed = wired.channel.wrap(&Command::parse(&request).unwrap()).unwrap().command;
    assert_eq!(exchange(&mut chip, Way::Field, &crossed), [0x69, 0x82]);
    assert_eq!(sw(&exchange(&mut chip, Way::Wired, &crossed)), OK);
}

#[test]
fn without_the_channel_there_is_next_to_nothing() {
    let mut chip = chip();
    for way in WAYS {
        exchange(&mut chip, way, &select_manager());
        for ins in [0xE2u8, 0xE4, 0xE6, 0xE8, 0xD8, 0xF0, 0xF2] {
            assert_eq!(
                exchange(&mut chip, way, &[0x80, ins, 0x80, 0, 2, 0x4F, 0, 0]),
                [0x69, 0x82],
                "{ins:02x}"
            );
            assert_eq!(
                exchange(&mut chip, way, &[0x84, ins, 0x80, 0, 2, 0x4F, 0, 0]),
                [0x69, 0x82],
                "{ins:02x}"
            );
        }
        for tag in [0x0042u16, 0x0045, 0x0066, 0x2F00, 0x00E0, 0xFF21, 0x00C1] {
            let [p1, p2] = tag.to_be_bytes();
            assert_eq!(sw(&exchange(&mut chip, way, &[0x80, 0xCA, p1, p2, 0])), OK, "{tag:04x}");
        }
        assert_eq!(initialize_update(&mut chip, way, 0x31), [0x6A, 0x88], "no such key set");
    }
    // A chip without keys has no content management, and no secure messaging.
    let mut chip = Chip::personalise(memory(), &phone_personalisation(PHONE)).unwrap();
    for way in WAYS {
        assert_eq!(initialize_update(&mut chip, way, 0), [0x6D, 0x00]);
        assert_eq!(exchange(&mut chip, way, &[0x84, 0x82, 0, 0, 1, 0]), [0x68, 0x82]);
        for ins in [0xE2u8, 0xE4, 0xE6, 0xE8, 0xD8, 0xF0] {
            assert_eq!(
                exchange(&mut chip, way, &[0x80, ins, 0x80, 0, 2, 0x4F, 0, 0]),
                [0x6D, 0x00],
                "{ins:02x}"
            );
        }
        assert_eq!(sw(&exchange(&mut chip, way, &get_status())), OK);
    }
}

#[test]
fn secure_messaging_is_for_the_card_manager_only() {
    let mut chip = chip();
    send(&mut chip, &select(&Aid::AKA));
    assert_eq!(send(&mut chip, &[0x84, 0xF2, 0x80, 2, 2, 0x4F, 0, 0]), [0x68, 0x82]);
    assert_eq!(send(&mut chip, &[0x80, 0x50, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0]), [0x6D, 0x00]);
}

#[test]
fn failed_authentications_stop_the_field_and_never_the_wire() {
    let wrong = Keys::new(&[0x11; 16], &[0x99; 16], &[0x33; 16]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    let fill = managed(phone_personalisation(PHONE));
    let start = || {
        let store = tapdoor_chip::SqliteStore::open(&path).unwrap();
        store.set_durability(tapdoor_chip::store::Durability::None).unwrap();
        Chip::personalise(Box::new(store), &fill).unwrap()
    };
    let mut chip = start();
    // Each way of failing counts: none at all, wrong keys, a wrong MAC.
    assert_eq!(sw(&initialize_update(&mut chip, Way::Wired, 0)), OK);
    let refused = Host::try_open(&mut chip, Way::Wired, &wrong, KVN, Level::FULL);
    assert_eq!(refused.map(drop), Err(0), "its card cryptogram is wrong to such a host");
    let (host, update) = scp03::Host::initialize_update(0, [7; 8]);
    let answer = exchange(&mut chip, Way::Field, &update);
    let (mut authenticate, _) = host.authenticate(&keys(), &answer, Level::FULL).unwrap();
    let end = authenticate.len() - 2;
    authenticate[end] ^= 1;
    assert_eq!(exchange(&mut chip, Way::Field, &authenticate), [0x69, 0x82]);
    assert_eq!(chip.failed_authentications(), 3);
    drop(chip);
    let mut chip = start();
    assert_eq!(chip.failed_authentications(), 3, "they are remembered");
    Host::open(&mut chip);
    assert_eq!(chip.failed_authentications(), 0);
    // A stranger's reader tries and tries, with power cycles and without.
    for n in 0..1000 {
        if n % 100 == 0 {
            chip.power_on();
        }
        assert_eq!(sw(&initialize_update(&mut chip, Way::Field, 0)), OK, "{n}");
    }
    assert_eq!(initialize_update(&mut chip, Way::Field, 0), [0x69, 0x83]);
    chip.power_on();
    drop(chip);
    let mut chip = start();
    assert_eq!(initialize_update(&mut chip, Way::Field, 0), [0x69, 0x83]);
    // It is not the chip's owner whom that stops, nor the door.
    assert_eq!(
        challenge_response(&mut lock(), &mut chip).0.verdict,
        tapdoor_protocol::door::Verdict::Open
    );
    Host::open(&mut chip);
    Host::open_by(&mut chip, Way::Field, Level::FULL);
}

#[test]
fn the_sequence_counter_is_never_used_twice_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    let fill = managed(phone_personalisation(PHONE));
    let start = || Chip::personalise(Box::new(tapdoor_chip::SqliteStore::open(&path).unwrap()), &fill).unwrap();
    let counter = |answer: &[u8]| {
        InitializeUpdateResponse::parse(&answer[..answer.len() - 2], Mode::S8)
            .unwrap()
            .sequence
            .unwrap()
    };
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let mut chip = start();
        for way in WAYS {
            assert!(seen.insert(counter(&initialize_update(&mut chip, way, 0))));
        }
    }
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute("UPDATE card SET sequence = 16777215", [])
        .unwrap();
    let mut chip = start();
    assert_eq!(counter(&initialize_update(&mut chip, Way::Wired, 0)), 0xFF_FFFF);
    for _ in 0..3 {
        assert_eq!(initialize_update(&mut chip, Way::Wired, 0), [0x69, 0x85]);
    }
    drop(chip);
    assert_eq!(initialize_update(&mut start(), Way::Wired, 0), [0x69, 0x85]);
}

#[test]
fn new_keys_take_over_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    let fill = managed(phone_personalisation(PHONE));
    let start = || Chip::personalise(Box::new(tapdoor_chip::SqliteStore::open(&path).unwrap()), &fill).unwrap();
    let set = |n: u8| Keys::new(&[n; 32], &[n + 1; 32], &[n + 2; 32]).unwrap();
    let opens = |chip: &mut Chip, keys: &Keys, kvn: u8| Host::try_open(chip, Way::Field, keys, kvn, Level::FULL).map(drop);
    let mut chip = start();
    // One more, beside the configured one.
    let mut host = Host::open(&mut chip);
    let mut field = Host::open_by(&mut chip, Way::Field, Level::FULL);
    let put = PutKey::key_set(&keys(), &set(0x40), 0x31, 0).unwrap();
    let (answer, status) = host.ask(&mut chip, &put);
    assert_eq!((answer.len(), answer[0], status), (10, 0x31, OK));
    assert_eq!(host.sw(&mut chip, &get_status()), OK, "the session goes on");
    let request = get_status();
    let wrapped = field.channel.wrap(&Command::parse(&request).unwrap()).unwrap().command;
    assert_eq!(
        exchange(&mut chip, Way::Field, &wrapped),
        [0x69, 0x82],
        "the other conversation's does not"
    );
    assert_eq!(host.sw(&mut chip, &put), 0x6985, "it is there");
    drop(chip);
    let mut chip = start();
    assert_eq!(opens(&mut chip, &set(0x40), 0x31), Ok(()));
    assert_eq!(opens(&mut chip, &keys(), KVN), Ok(()));
    assert_eq!(opens(&mut chip, &keys(), 0), Ok(()), "the first one is the default");
    // The configured one is replaced.
    let mut host = Host::open(&mut chip);
    assert_eq!(
        host.sw(&mut chip, &PutKey::key_set(&keys(), &set(0x50), 0x31, KVN).unwrap()),
        0x6985,
        "its new number is taken"
    );
    assert_eq!(
        host.sw(&mut chip, &PutKey::key_set(&keys(), &set(0x50), 0x32, 0x3A).unwrap()),
        0x6A88
    );
    assert_eq!(host.sw(&mut chip, &PutKey::key_set(&keys(), &set(0x50), KVN, KVN).unwrap()), OK);
    for _ in 0..2 {
        assert_eq!(opens(&mut chip, &keys(), KVN), Err(0));
        assert_eq!(opens(&mut chip, &set(0x50), KVN), Ok(()));
        assert_eq!(opens(&mut chip, &set(0x40), 0x31), Ok(()));
        assert_eq!(opens(&mut chip, &set(0x40), 0), Ok(()), "now the other one is the first");
        drop(chip);
        chip = start();
    }
    // Keys that are not what they should be; nothing changes.
    let mut host = Host::try_open(&mut chip, Way::Wired, &set(0x50), KVN, Level::FULL).unwrap();
    let good = PutKey::key_set(&set(0x50), &set(0x60), 0x35, 0).unwrap();
    for (at, name) in [
        (7usize, "a key"),
        (good.len() - 2, "a check value"),
        (5, "a key version number of others"),
    ] {
        let mut bent = good.clone();
        bent[at] ^= 0x40;
        assert_eq!(host.sw(&mut chip, &bent), 0x6A80, "{name}");
    }
    assert_eq!(
        host.sw(&mut chip, &PutKey::key_set(&keys(), &set(0x60), 0x35, 0).unwrap()),
        0x6A80,
        "another DEK"
    );
    // Deletion: not the one in use, not the last one.
    let delete = |kvn: u8| vec![0x80, 0xE4, 0, 0, 3, 0xD2, 1, kvn, 0];
    assert_eq!(host.sw(&mut chip, &delete(KVN)), 0x6985);
    assert_eq!(host.sw(&mut chip, &delete(0x39)), 0x6A88);
    assert_eq!(host.sw(&mut chip, &delete(0x31)), OK);
    assert_eq!(opens(&mut chip, &set(0x40), 0x31), Err(0x6A88));
    for kvn in 0x31..0x38 {
        assert_eq!(host.sw(&mut chip, &PutKey::key_set(&set(0x50), &set(0x60), kvn, 0).unwrap()), OK);
    }
    assert_eq!(
        host.sw(&mut chip, &PutKey::key_set(&set(0x50), &set(0x60), 0x3F, 0).unwrap()),
        0x6A84
    );
}

#[test]
fn a_provider_can_be_put_and_taken() {
    let code = code(&elf(1), &[&module_of(1)], [1, 0], b"x");
    let (signed, unsigned) = (Load::signed(elf(1), [1, 0], &code), Load::new(elf(1), [1, 0], &code));
    let point = provider_uncompressed();
    let mut chip = chip();
    let mut host = Host::open(&mut chip);
    assert_eq!(
        host.sw(&mut chip, &PutKey::p256(&point, 1, 0x73, 0x73).unwrap()),
        0x6A88,
        "there is none to be replaced"
    );
    assert_eq!(host.sw(&mut chip, &PutKey::p256(&point, 1, 0x73, 0).unwrap()), OK);
    assert_eq!(host.sw(&mut chip, &PutKey::p256(&point, 1, 0x73, 0).unwrap()), 0x6985);
    assert_eq!(host.sw(&mut chip, &PutKey::p256(&point, 1, 0x73, 0x73).unwrap()), OK);
    assert_eq!(host.load(&mut chip, &unsigned), 0x6982);
    let isd = host.status(&mut chip, Subset::IssuerSecurityDomain);
    assert_eq!(isd[0].privileges.unwrap().0, [0xC1, 0, 0], "mandated DAP verification");
    assert_eq!(host.load(&mut chip, &signed), OK);
    assert_eq!(host.delete(&mut chip, &elf(1), false), OK);
    assert_eq!(host.sw(&mut chip, &[0x80, 0xE4, 0, 0, 6, 0xD0, 1, 2, 0xD2, 1, 0x73, 0]), 0x6A88);
    assert_eq!(host.sw(&mut chip, &[0x80, 0xE4, 0, 0, 6, 0xD0, 1, 1, 0xD2, 1, 0x73, 0]), OK);
    assert_eq!(host.load(&mut chip, &unsigned), OK);
    // Not a point, and not P-256.
    let mut bent = PutKey::p256(&point, 1, 0x73, 0).unwrap();
    bent[8] = 0x05;
    assert_eq!(host.sw(&mut chip, &bent), 0x6A80);
}

/// The provider's public key as PUT KEY has it.
fn provider_uncompressed() -> [u8; 65] {
    [&[4], &provider()[1..], &hex::decode(PROVIDER_Y).unwrap()]
        .concat()
        .try_into()
        .unwrap()
}

/// y of the provider's public key: 07..07 (32 bytes) times the generator of P-256.
const PROVIDER_Y: &str = "a46c311c4e2ff40dd96a3653e6e45445d32dfe486eced75c7a90c6a18881c0a3";
