//! Card content by SCP03: load, install, personalise, upgrade, delete, and every refusal on the way.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/manage.rs"]
mod manage;

use common::*;
use manage::*;
use tapdoor_chip::personalise::Secret;
use tapdoor_chip::{Application, Chip, Personalisation, SqliteStore};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::door::{Reason, Verdict, keys as door};
use tapdoor_protocol::globalplatform::command::{Install, LoadParameters, Subset};
use tapdoor_protocol::globalplatform::load_file::{self, LoadFile};
use tapdoor_protocol::globalplatform::registry::Privileges;
use tapdoor_protocol::globalplatform::scp03::Level;
use tapdoor_protocol::vault::Slot;

const OK: u16 = 0x9000;

/// A phone that has an identity and no application yet.
fn bare() -> Personalisation {
    managed(Personalisation {
        applications: vec![Application::identity(Aid::IDENTITY, None)],
        ..Personalisation::default()
    })
}

fn chip() -> Chip {
    Chip::personalise(memory(), &bare()).unwrap()
}

/// Load file 1 with an instance under its module's AID.
fn with_application(version: [u8; 2]) -> (Chip, Host) {
    let mut chip = chip();
    let mut host = Host::open(&mut chip);
    assert_eq!(host.load(&mut chip, &Load::simple(1, version)), OK);
    assert_eq!(host.make(&mut chip, &module_of(1), &module_of(1)), OK);
    (chip, host)
}

const ASK: [u8; 5] = [0x80, 0x01, 0, 0, 0];

/// What the test applet answers.
fn answer(chip: &mut Chip, aid: &Aid) -> Vec<u8> {
    let selected = send(chip, &select(aid));
    if sw(&selected) != OK {
        return selected;
    }
    send(chip, &ASK)
}

fn challenge_response(half: u8) -> Aid {
    Aid::new(&[b"\xF0TAPDOOR\xA1", &[half][..]].concat()).unwrap()
}

/// The committed challenge-response applet as a load.
fn real_applet() -> Load {
    let code = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../applets/challenge-response.wasm")).unwrap();
    let declared = tapdoor_chip::sandbox::Code::check(&code, &tapdoor_chip::sandbox::Limits::default()).unwrap();
    Load::signed(*declared.elf(), declared.version(), &code)
}

#[test]
fn a_method_is_downloaded_on_both_sides_and_opens_the_door() {
    let directory = tempfile::tempdir().unwrap();
    let store = |name: &str| Box::new(SqliteStore::open(&directory.path().join(name)).unwrap());
    let mut phone_fill = bare();
    phone_fill.card_manager.as_mut().unwrap().dap_keys.push(provider());
    let lock_fill = managed(lock_personalisation(LOCK, Vec::new()));
    let mut phone = Chip::personalise(store("phone"), &phone_fill).unwrap();
    let mut lock = Chip::personalise(store("lock"), &lock_fill).unwrap();
    assert_eq!(sw(&send(&mut phone, &select(&Aid::CHALLENGE_RESPONSE))), 0x6A82);

    // The phone: load, install, personalise, make selectable, each step of its own.
    let k_ph = door::phone(&SITE, PHONE);
    let load = real_applet();
    let mut host = Host::open(&mut phone);
    assert_eq!(host.load(&mut phone, &load), OK);
    let install = for_install(&challenge_response(1), &Aid::CHALLENGE_RESPONSE);
    assert_eq!(host.install(&mut phone, &Install::ForInstall(install)), OK);
    assert_eq!(host.state(&mut phone, &Aid::CHALLENGE_RESPONSE), Some(0x03));
    assert_eq!(sw(&send(&mut phone, &select(&Aid::CHALLENGE_RESPONSE))), 0x6A82, "not yet");
    let blocks = [
        [object(0x80, &PHONE.0), object(0x81, &0x8000_0000u32.to_be_bytes())].concat(),
        host.key(Slot::Phone, &*k_ph),
        host.key(Slot::Recognition, &*door::recognition(&k_ph)),
    ];
    assert_eq!(host.personalise(&mut phone, &Aid::CHALLENGE_RESPONSE, &blocks), OK);
    assert_eq!(host.install(&mut phone, &Install::ForMakeSelectable(install)), OK);
    assert_eq!(host.state(&mut phone, &Aid::CHALLENGE_RESPONSE), Some(0x0F));

    // The lock: its half takes the built-in one's place; its list comes too.
    let mut host = Host::open(&mut lock);
    assert_eq!(host.load(&mut lock, &load), OK);
    assert_eq!(host.make(&mut lock, &challenge_response(2), &Aid::CHALLENGE_RESPONSE_LOCK), OK);
    let blocks = [[object(0x82, &LOCK.0), object(0x4F, Aid::CHALLENGE_RESPONSE.as_bytes())].concat()];
    assert_eq!(host.personalise(&mut lock, &Aid::CHALLENGE_RESPONSE_LOCK, &blocks), OK);
    let (outcome, _) = common::challenge_response(&mut lock, &mut phone);
    assert_eq!(outcome.verdict, Verdict::Refused(Reason::UnknownPhone), "{outcome:?}");
    assert_eq!(host.install(&mut lock, &Install::ForPersonalization(Aid::CARD_MANAGER)), OK);
    let entry = [host.entry(&entry(PHONE, LOCK))];
    assert_eq!(host.store(&mut lock, &entry), OK);
    let (outcome, _) = common::challenge_response(&mut lock, &mut phone);
    assert_eq!(outcome.verdict, Verdict::Open, "{outcome:?}");

    // Both are filled anew by their configurations at the next start, and keep it all.
    drop((phone, lock));
    let mut phone = Chip::personalise(store("phone"), &phone_fill).unwrap();
    let mut lock = Chip::personalise(store("lock"), &lock_fill).unwrap();
    assert_eq!(common::challenge_response(&mut lock, &mut phone).0.verdict, Verdict::Open);
    // And without: the store alone is enough.
    drop((phone, lock));
    let mut phone = Chip::open(store("phone")).unwrap();
    let mut lock = Chip::open(store("lock")).unwrap();
    assert_eq!(common::challenge_response(&mut lock, &mut phone).0.verdict, Verdict::Open);
}

#[test]
fn a_chip_can_be_managed_from_the_field_too() {
    let mut chip = chip();
    let mut host = Host::open_by(&mut chip, Way::Field, Level::FULL);
    assert_eq!(host.load(&mut chip, &Load::simple(1, [1, 0])), OK);
    assert_eq!(host.make(&mut chip, &module_of(1), &module_of(1)), OK);
    assert_eq!(answer(&mut chip, &module_of(1)), [1, 1, 0, 0x90, 0]);
}

#[test]
fn a_load_is_refused_for_each_reason_with_its_own_status_word() {
    let good = Load::simple(2, [1, 0]);
    let signed = {
        let code = code(&elf(2), &[&module_of(2)], [1, 0], b"x");
        Load::signed(elf(2), [1, 0], &code)
    };
    let block = |code: &[u8]| {
        LoadFile {
            signatures: Vec::new(),
            block: code,
        }
        .encode()
    };
    type Bend = fn(&mut Load);
    let rows: [(&str, Bend, u16); 19] = [
        ("another security domain", |l| l.domain = Some(Aid::AKA), 0x6A88),
        ("its own security domain, named", |l| l.domain = Some(Aid::CARD_MANAGER), OK),
        ("a token", |l| l.token = vec![1], 0x6A80),
        ("half a hash", |l| l.hash.truncate(16), 0x6A80),
        ("no hash", |l| l.hash.clear(), OK),
        ("another hash", |l| l.hash[5] ^= 1, 0x6A80),
        ("the card manager's AID", |l| l.elf = Aid::CARD_MANAGER, 0x6985),
        ("an application's AID", |l| l.elf = Aid::IDENTITY, 0x6985),
        ("the AID of an application made of a load file", |l| l.elf = module_of(1), 0x6985),
        ("an AID that the code has not", |l| l.elf = elf(9), 0x6A80),
        ("a version that the code has not", |l| l.parameters.version = Some([2, 0]), 0x6A80),
        ("no version", |l| l.parameters.version = None, OK),
        ("no parameters", |l| l.parameters = LoadParameters::default(), OK),
        (
            "less code announced than there is",
            |l| l.parameters.code_size = l.parameters.code_size.map(|n| n - 1),
            0x6A80,
        ),
        (
            "more code announced than there is room",
            |l| l.parameters.code_size = Some(1 << 24),
            0x6A84,
        ),
        ("not WebAssembly", |l| *l = Load::new(elf(2), [1, 0], &[0x5A; 600]), 0x6A80),
        ("bytes behind the file", |l| l.file.push(0), 0x6A80),
        ("a file that is cut off", |l| l.file.truncate(150), 0x6A80),
        ("no load file", |l| l.file = vec![0x5A; 300], 0x6A80),
    ];
    for (name, bend, expected) in rows {
        let (mut chip, mut host) = with_application([1, 0]);
        let mut load = good.clone();
        bend(&mut load);
        assert_eq!(host.load(&mut chip, &load), expected, "{name}");
        let is_there = host.version(&mut chip, &elf(2)).is_some();
        assert_eq!(is_there, expected == OK, "{name}");
        // No load goes on after a refusal, and the next one is taken.
        assert_eq!(host.sw(&mut chip, &load.commands(200)[1]), 0x6985, "{name}");
        if expected != OK {
            assert_eq!(host.load(&mut chip, &good), OK, "{name}");
        }
        assert_eq!(answer(&mut chip, &module_of(1)), [1, 1, 0, 0x90, 0]);
    }

    // A chip that knows a provider takes nothing else.
    let mut fill = bare();
    fill.card_manager.as_mut().unwrap().dap_keys = vec![provider(), vec![2; 33]];
    let mut stranger = signed.clone();
    let at = stranger.file.windows(4).position(|w| w[0] == 0xC3).unwrap() + 2;
    stranger.file[at + 10] ^= 1;
    let mut other_domain = signed.clone();
    let code = LoadFile::parse(&signed.file).unwrap().block.to_vec();
    other_domain.file = LoadFile::signed(&code, Aid::AKA, |hash| tapdoor_protocol::crypto::sign::sign(&[7; 32], hash)).unwrap();
    let mut no_hash = signed.clone();
    no_hash.hash.clear();
    let mut unsigned = signed.clone();
    unsigned.file = block(&code);
    for (load, expected) in [
        (unsigned, 0x6982),
        (stranger, 0x6982),
        (other_domain, 0x6982),
        (no_hash, 0x6A80),
        (signed, OK),
    ] {
        let mut chip = Chip::personalise(memory(), &fill).unwrap();
        let mut host = Host::open(&mut chip);
        assert_eq!(host.load(&mut chip, &load), expected);
        assert_eq!(chip.take_refusal().is_some(), expected == 0x6982);
        // The secure channel goes on.
        assert_eq!(host.version(&mut chip, &elf(2)).is_some(), expected == OK);
    }
}

#[test]
fn a_load_that_is_torn_has_never_begun() {
    let new = Load::simple(1, [2, 0]);
    type Tear = fn(&mut Chip, &mut Host);
    let tears: [(&str, Tear); 7] = [
        ("reset of the wire", |chip, _| chip.reset_wired()),
        ("SELECT", |chip, host| {
            assert_eq!(sw(&exchange(chip, host.way, &select_manager())), OK)
        }),
        ("a command without MAC", |chip, host| {
            assert_eq!(sw(&exchange(chip, host.way, &[0x80, 0xE8, 0, 0, 1, 0xC4, 0])), 0x6982)
        }),
        ("a block out of order", |chip, host| {
            assert_eq!(host.sw(chip, &[0x80, 0xE8, 0, 0x7F, 1, 0, 0]), 0x6985)
        }),
        ("the last block twice too early", |chip, host| {
            let refused = host.sw(chip, &[0x80, 0xE8, 0x80, 0x7F, 1, 0, 0]);
            assert_eq!(refused, 0x6985);
        }),
        ("another load begun", |chip, host| {
            assert_eq!(host.sw(chip, &Load::simple(3, [1, 0]).for_load()), OK)
        }),
        ("INITIALIZE UPDATE", |chip, host| {
            let (_, command) = tapdoor_protocol::globalplatform::scp03::Host::initialize_update(0, [1; 8]);
            assert_eq!(sw(&exchange(chip, host.way, &command)), OK);
        }),
    ];
    let (mut chip, host) = with_application([1, 0]);
    let size = 24;
    let count = new.commands(size).len();
    assert!(count > 8, "{count}");
    drop(host);
    for (name, tear) in tears {
        // After each command but the last.
        for torn_after in 1..count {
            chip.reset_wired();
            let mut host = Host::open(&mut chip);
            for command in &new.commands(size)[..torn_after] {
                assert_eq!(host.sw(&mut chip, command), OK, "{name}, {torn_after}");
            }
            tear(&mut chip, &mut host);
            // The rest is for nobody any more.
            chip.reset_wired();
            let mut host = Host::open(&mut chip);
            assert_eq!(host.sw(&mut chip, &new.commands(size)[torn_after]), 0x6985, "{name}, {torn_after}");
            assert_eq!(host.version(&mut chip, &elf(1)), Some(vec![1, 0]), "{name}, {torn_after}");
            assert_eq!(answer(&mut chip, &module_of(1)), [1, 1, 0, 0x90, 0]);
        }
    }
    // What goes on in the field tears nothing.
    let mut host = Host::open(&mut chip);
    for command in new.commands(size) {
        chip.power_on();
        assert_eq!(answer(&mut chip, &module_of(1)), [1, 1, 0, 0x90, 0]);
        assert_eq!(host.sw(&mut chip, &command), OK);
    }
    assert_eq!(answer(&mut chip, &module_of(1)), [1, 2, 0, 0x90, 0]);
}

#[test]
fn power_off_in_the_field_tears_a_load_from_the_field() {
    let mut chip = chip();
    let load = Load::simple(1, [1, 0]);
    let mut host = Host::open_by(&mut chip, Way::Field, Level::FULL);
    assert_eq!(host.sw(&mut chip, &load.for_load()), OK);
    // The other side resets as it likes.
    chip.reset_wired();
    assert_eq!(host.sw(&mut chip, &load.commands(50)[1]), OK);
    chip.power_off();
    chip.power_on();
    let wrapped = host
        .channel
        .wrap(&tapdoor_protocol::apdu::Command::parse(&load.commands(50)[2]).unwrap())
        .unwrap();
    assert_eq!(exchange(&mut chip, Way::Field, &wrapped.command), [0x69, 0x82]);
    let mut host = Host::open_by(&mut chip, Way::Field, Level::FULL);
    assert_eq!(host.sw(&mut chip, &load.commands(50)[2]), 0x6985);
}

#[test]
fn an_upgrade_keeps_what_is_personal_and_there_is_no_way_back() {
    let (mut chip, mut host) = with_application([1, 5]);
    // Personal data, and a state of its own.
    let blocks = [object(0x80, &PHONE.0), host.key(Slot::Phone, &[9; 16])];
    assert_eq!(host.personalise(&mut chip, &module_of(1), &blocks), OK);
    assert_eq!(host.state(&mut chip, &module_of(1)), Some(0x0F));
    for version in [[1, 5], [1, 4], [0, 9]] {
        assert_eq!(host.load(&mut chip, &Load::simple(1, version)), 0x6985, "{version:?}");
        // Nor by not saying it.
        let mut silent = Load::simple(1, version);
        silent.parameters.version = None;
        assert_eq!(host.load(&mut chip, &silent), 0x6985, "{version:?}");
        // Nor by lying about it.
        let mut lying = Load::simple(1, version);
        lying.parameters.version = Some([9, 9]);
        assert_eq!(host.load(&mut chip, &lying), 0x6A80, "{version:?}");
    }
    // A new version without the module that is in use.
    let without = code(&elf(1), &[&module_of(2)], [2, 0], b"x");
    assert_eq!(host.load(&mut chip, &Load::new(elf(1), [2, 0], &without)), 0x6985);
    assert_eq!(answer(&mut chip, &module_of(1)), [1, 1, 5, 0x90, 0]);

    assert_eq!(host.load(&mut chip, &Load::simple(1, [1, 6])), OK);
    assert_eq!(host.version(&mut chip, &elf(1)), Some(vec![1, 6]));
    assert_eq!(host.state(&mut chip, &module_of(1)), Some(0x0F));
    // It was selected when it was upgraded: that session is over.
    assert_eq!(send(&mut chip, &ASK), [0x69, 0x85]);
    assert_eq!(send(&mut chip, &ASK), [0x69, 0x85]);
    assert_eq!(answer(&mut chip, &module_of(1)), [1, 1, 6, 0x90, 0]);
}

#[test]
fn what_is_selected_in_the_field_can_vanish_at_any_time() {
    for taken in [1u8, 2, 3] {
        let mut chip = chip();
        let mut host = Host::open(&mut chip);
        for n in 1..=3 {
            assert_eq!(host.load(&mut chip, &Load::simple(n, [1, 0])), OK);
            assert_eq!(host.make(&mut chip, &module_of(n), &module_of(n)), OK);
        }
        for selected in [1u8, 2, 3] {
            assert_eq!(answer(&mut chip, &module_of(selected)), [selected, 1, 0, 0x90, 0]);
            if selected == taken {
                assert_eq!(host.delete(&mut chip, &elf(taken), true), OK);
                assert_eq!(send(&mut chip, &ASK), [0x69, 0x85]);
                assert_eq!(sw(&send(&mut chip, &select(&module_of(taken)))), 0x6A82);
            } else {
                // Another one goes and comes: this one stays selected, and is still itself.
                let other = (1..=3).find(|n| *n != selected && *n != taken).unwrap();
                assert_eq!(host.delete(&mut chip, &module_of(other), false), OK);
                assert_eq!(send(&mut chip, &ASK), [selected, 1, 0, 0x90, 0]);
                assert_eq!(host.make(&mut chip, &module_of(other), &module_of(other)), OK);
                assert_eq!(send(&mut chip, &ASK), [selected, 1, 0, 0x90, 0]);
            }
        }
        // SELECT [next] goes through what is left.
        let mut next = select(&elf(1));
        next.splice(4.., [&[8][..], &elf(1).as_bytes()[..8], &[0]].concat());
        assert_eq!(sw(&send(&mut chip, &next)), OK);
        next[3] = 0x02;
        while sw(&send(&mut chip, &next)) == OK {}
    }
}

#[test]
fn install_is_refused_for_each_reason_with_its_own_status_word() {
    let (mut chip, mut host) = with_application([1, 0]);
    let instance = Aid::new(b"\xF0INSTANCE").unwrap();
    let good = for_install(&module_of(1), &instance);
    type Bend = fn(&mut tapdoor_protocol::globalplatform::command::InstallForInstall<'_>);
    let rows: [(&str, Bend, u16); 10] = [
        ("no such load file", |i| i.elf = Some(elf(8)), 0x6A88),
        ("no such module", |i| i.module = Some(module_of(8)), 0x6A88),
        ("an AID that is taken", |i| i.application = module_of(1), 0x6985),
        ("a load file's AID", |i| i.application = elf(1), 0x6985),
        ("the card manager's AID", |i| i.application = Aid::CARD_MANAGER, 0x6985),
        (
            "a security domain's privilege",
            |i| i.privileges = Privileges::SECURITY_DOMAIN,
            0x6A80,
        ),
        (
            "privileges of the second byte",
            |i| i.privileges = Privileges::GLOBAL_DELETE,
            0x6A80,
        ),
        ("a token", |i| i.token = &[1], 0x6A80),
        ("parameters that are not TLV", |i| i.parameters = &[0xC9, 2, 0x80, 9], 0x6A80),
        ("parameters in no template", |i| i.parameters = &[0xC9, 9], 0x6A80),
    ];
    for (name, bend, expected) in rows {
        let mut install = good;
        bend(&mut install);
        for kind in [Install::ForInstall(install), Install::ForInstallAndMakeSelectable(install)] {
            assert_eq!(host.install(&mut chip, &kind), expected, "{name}");
        }
    }
    assert_eq!(host.install(&mut chip, &Install::ForMakeSelectable(good)), 0x6A88);
    assert_eq!(host.install(&mut chip, &Install::ForPersonalization(instance)), 0x6A88);
    assert_eq!(host.install(&mut chip, &Install::ForPersonalization(Aid::IDENTITY)), 0x6985);
    // The only module need not be named; parameters may be left out.
    let mut install = good;
    (install.module, install.parameters) = (None, &[]);
    assert_eq!(host.install(&mut chip, &Install::ForInstall(install)), OK);
    assert_eq!(host.install(&mut chip, &Install::ForInstall(install)), 0x6985, "it is there");
    assert_eq!(host.install(&mut chip, &Install::ForMakeSelectable(good)), OK);
    assert_eq!(
        host.install(&mut chip, &Install::ForMakeSelectable(good)),
        0x6985,
        "it is selectable"
    );
    assert_eq!(host.state(&mut chip, &instance), Some(0x07));
    assert_eq!(answer(&mut chip, &instance), [1, 1, 0, 0x90, 0]);
    // Extradition and registry update: there is one security domain.
    assert_eq!(
        host.sw(
            &mut chip,
            &[0x80, 0xE6, 0x10, 0, 16, 5, 1, 2, 3, 4, 5, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0]
        ),
        0x6A81
    );
}

#[test]
fn personal_data_are_taken_whole_or_not_at_all() {
    let (mut chip, mut host) = with_application([1, 0]);
    let aid = module_of(1);
    let good = vec![object(0x80, &PHONE.0), host.key(Slot::Phone, &[9; 16])];
    let big = object(0x8F, &[0; 200]);
    let rows: [(&str, Vec<Vec<u8>>, u16); 9] = [
        ("not TLV", vec![good[0].clone(), vec![0x80, 9, 1]], 0x6A80),
        ("an unknown slot", vec![good[0].clone(), host.key_in(77, &[9; 16])], 0x6A80),
        (
            "a key of the wrong length",
            vec![good[0].clone(), host.key(Slot::Phone, &[9; 32])],
            0x6A80,
        ),
        ("a key that is no whole block", vec![object(0xC0, &[1; 16])], 0x6A80),
        ("an empty key", vec![object(0xC0, &[])], 0x6A80),
        ("a slot without a key", vec![object(0xC0, &[1])], 0x6A80),
        ("too much", (0..30u8).map(|n| object(0x9F10 + u32::from(n), &big)).collect(), 0x6A84),
        ("a signing key of 16 bytes", vec![host.key(Slot::Signing, &[9; 16])], 0x6A80),
        ("all well", good.clone(), OK),
    ];
    for (name, blocks, expected) in rows {
        assert_eq!(host.personalise(&mut chip, &aid, &blocks), expected, "{name}");
        let state = host.state(&mut chip, &aid);
        assert_eq!(state, Some(if expected == OK { 0x0F } else { 0x07 }), "{name}");
    }
    // Out of order, and after the last one: the target must be named again. Block 0 begins anew.
    assert_eq!(host.install(&mut chip, &Install::ForPersonalization(aid)), OK);
    assert_eq!(host.sw(&mut chip, &store_data(1, false, &good[0])), 0x6985);
    assert_eq!(host.install(&mut chip, &Install::ForPersonalization(aid)), OK);
    assert_eq!(host.sw(&mut chip, &store_data(0, false, &good[0])), OK);
    assert_eq!(host.sw(&mut chip, &store_data(0, false, &good[0])), OK);
    assert_eq!(host.sw(&mut chip, &store_data(2, false, &good[0])), 0x6985);
    assert_eq!(
        host.sw(&mut chip, &[0x80, 0xE2, 0x88, 0, 1, 0, 0]),
        0x6A81,
        "data grouping identifiers"
    );
    // It is selected while it is personalised: that session ends, and only with the last block.
    assert_eq!(answer(&mut chip, &aid), [1, 1, 0, 0x90, 0]);
    assert_eq!(host.install(&mut chip, &Install::ForPersonalization(aid)), OK);
    assert_eq!(host.sw(&mut chip, &store_data(0, false, &good[0])), OK);
    assert_eq!(send(&mut chip, &ASK), [1, 1, 0, 0x90, 0]);
    assert_eq!(host.sw(&mut chip, &store_data(1, true, &good[1])), OK);
    assert_eq!(send(&mut chip, &ASK), [0x69, 0x85]);
    // A locked one, and one that is gone meanwhile.
    assert_eq!(host.sw(&mut chip, &set_status(&aid, 0x80)), OK);
    assert_eq!(host.install(&mut chip, &Install::ForPersonalization(aid)), 0x6985);
    assert_eq!(host.sw(&mut chip, &set_status(&aid, 0x00)), OK);
    assert_eq!(host.install(&mut chip, &Install::ForPersonalization(aid)), OK);
    assert_eq!(host.delete(&mut chip, &aid, false), OK);
    assert_eq!(host.store(&mut chip, &good), 0x6985);
}

fn set_status(aid: &Aid, state: u8) -> Vec<u8> {
    tapdoor_protocol::apdu::Command::new(0x80, 0xF0, 0x40, state)
        .data(aid.as_bytes())
        .ne(256)
        .encode()
        .unwrap()
}

#[test]
fn delete_takes_what_it_may() {
    let (mut chip, mut host) = with_application([1, 0]);
    let second = Aid::new(b"\xF0SECOND").unwrap();
    assert_eq!(host.make(&mut chip, &module_of(1), &second), OK);
    assert_eq!(host.delete(&mut chip, &elf(1), false), 0x6985, "there are applications of it");
    assert_eq!(host.delete(&mut chip, &Aid::IDENTITY, false), 0x6985, "the configuration's");
    assert_eq!(host.delete(&mut chip, &Aid::CARD_MANAGER, true), 0x6985);
    assert_eq!(host.delete(&mut chip, &elf(4), true), 0x6A88);
    assert_eq!(host.sw(&mut chip, &[0x80, 0xE4, 0, 0, 3, 0x4F, 1, 1, 0]), 0x6A80);
    // Two in one command: both or none.
    let both = [object(0x4F, second.as_bytes()), object(0x4F, elf(4).as_bytes())].concat();
    let command = tapdoor_protocol::apdu::Command::new(0x80, 0xE4, 0, 0)
        .data(&both)
        .ne(256)
        .encode()
        .unwrap();
    assert_eq!(host.sw(&mut chip, &command), 0x6A88);
    assert_eq!(host.status(&mut chip, Subset::Applications).len(), 3);
    assert_eq!(host.delete(&mut chip, &second, false), OK);
    assert_eq!(sw(&send(&mut chip, &select(&second))), 0x6A82);
    assert_eq!(host.delete(&mut chip, &module_of(1), false), OK);
    assert_eq!(host.delete(&mut chip, &elf(1), false), OK, "without applications it goes");
    assert_eq!(host.status(&mut chip, Subset::LoadFiles), []);
    // With all that is made of it.
    let (mut chip, mut host) = with_application([1, 0]);
    assert_eq!(host.make(&mut chip, &module_of(1), &second), OK);
    assert_eq!(host.ask(&mut chip, &[0x80, 0xE4, 0, 0x80, 0, 0][..5]).1, 0x6A80);
    assert_eq!(host.delete(&mut chip, &elf(1), true), OK);
    assert_eq!(host.status(&mut chip, Subset::Applications).len(), 1);
    // And it may come again, older too: nothing remembers it.
    assert_eq!(host.load(&mut chip, &Load::simple(1, [0, 1])), OK);
}

#[test]
fn keys_and_records_go_with_their_application() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("phone");
    let mut phone = Chip::personalise(Box::new(SqliteStore::open(&path).unwrap()), &bare()).unwrap();
    let mut host = Host::open(&mut phone);
    assert_eq!(host.load(&mut phone, &Load::simple(1, [1, 0])), OK);
    assert_eq!(host.make(&mut phone, &module_of(1), &Aid::AKA), OK);
    let secret = [0xD7; 16];
    let blocks = [host.key(Slot::Phone, &secret)];
    assert_eq!(host.personalise(&mut phone, &Aid::AKA, &blocks), OK);
    drop(phone);
    let holds = |needle: &[u8]| std::fs::read(&path).unwrap().windows(needle.len()).any(|w| w == needle);
    assert!(holds(&secret));
    let database = rusqlite::Connection::open(&path).unwrap();
    database
        .execute("INSERT INTO record VALUES (?1, x'01', x'02')", [Aid::AKA.as_bytes()])
        .unwrap();
    drop(database);

    let mut phone = Chip::open(Box::new(SqliteStore::open(&path).unwrap())).unwrap();
    let mut host = Host::open(&mut phone);
    assert_eq!(host.delete(&mut phone, &Aid::AKA, false), OK);
    drop(phone);
    assert!(!holds(&secret), "not even its bytes are left");
    let database = rusqlite::Connection::open(&path).unwrap();
    for table in ["record", "instance_key", "instance"] {
        let count: u32 = database
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 0, "{table}");
    }
}

#[test]
fn a_downloaded_application_stands_in_the_place_of_the_configured_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("phone");
    let fill = managed(phone_personalisation(PHONE));
    let start = || Chip::personalise(Box::new(SqliteStore::open(&path).unwrap()), &fill).unwrap();
    let mut lock = lock();
    let mut phone = start();
    let aid = Aid::CHALLENGE_RESPONSE;
    let mut host = Host::open(&mut phone);
    assert_eq!(host.load(&mut phone, &Load::simple(1, [1, 0])), OK);
    let install = for_install(&module_of(1), &aid);
    assert_eq!(host.install(&mut phone, &Install::ForInstall(install)), OK);
    // Half done, the configured one is in use; after a start, too.
    assert_eq!(common::challenge_response(&mut lock, &mut phone).0.verdict, Verdict::Open);
    drop(phone);
    let mut phone = start();
    assert_eq!(common::challenge_response(&mut lock, &mut phone).0.verdict, Verdict::Open);
    let mut host = Host::open(&mut phone);
    // The very moment it is made selectable, in the middle of a tap.
    assert_eq!(sw(&send(&mut phone, &select(&aid))), OK);
    assert_eq!(host.install(&mut phone, &Install::ForMakeSelectable(install)), OK);
    assert_eq!(send(&mut phone, &ASK), [0x69, 0x85]);
    assert_eq!(answer(&mut phone, &aid), [1, 1, 0, 0x90, 0]);
    let all = host.status(&mut phone, Subset::Applications);
    assert_eq!(all.iter().filter(|e| e.aid == aid).count(), 1);
    drop(phone);
    let mut phone = start();
    assert_eq!(answer(&mut phone, &aid), [1, 1, 0, 0x90, 0], "the downloaded one stays");
    // Deleted, it is gone; after the next start the configured one is back.
    let mut host = Host::open(&mut phone);
    assert_eq!(host.delete(&mut phone, &elf(1), true), OK);
    assert_eq!(sw(&send(&mut phone, &select(&aid))), 0x6A82);
    drop(phone);
    let mut phone = start();
    assert_eq!(common::challenge_response(&mut lock, &mut phone).0.verdict, Verdict::Open);
}

#[test]
fn quotas_are_kept() {
    let mut fill = bare();
    let size = LoadFile::parse(&Load::simple(1, [1, 0]).file).unwrap().block.len() as u32;
    let quotas = &mut fill.card_manager.as_mut().unwrap().quotas;
    (quotas.load_files, quotas.code, quotas.instances) = (2, 2 * size + 10, 3);
    let mut chip = Chip::personalise(memory(), &fill).unwrap();
    let mut host = Host::open(&mut chip);
    assert_eq!(host.load(&mut chip, &Load::simple(1, [1, 0])), OK);
    // Too much code, announced and not announced.
    let long = vec![0x55; size as usize + 20];
    let fat = |announced: bool| {
        let mut load = Load::new(elf(2), [1, 0], &code(&elf(2), &[&module_of(2)], [1, 0], &long));
        if !announced {
            load.parameters.code_size = None;
        }
        load
    };
    assert_eq!(host.load(&mut chip, &fat(true)), 0x6A84);
    assert_eq!(host.load(&mut chip, &fat(false)), 0x6A84);
    assert_eq!(host.load(&mut chip, &Load::simple(2, [1, 0])), OK);
    // An upgrade needs no place of its own, and its room is the old one's.
    assert_eq!(host.load(&mut chip, &Load::simple(1, [1, 1])), OK);
    assert_eq!(host.load(&mut chip, &Load::simple(3, [1, 0])), 0x6A84);
    assert_eq!(host.delete(&mut chip, &elf(2), false), OK);
    assert_eq!(host.load(&mut chip, &Load::simple(3, [1, 0])), OK);
    let instance = |n: u8| Aid::new(&[b"\xF0INST", &[n][..]].concat()).unwrap();
    for n in 0..3 {
        assert_eq!(host.make(&mut chip, &module_of(1), &instance(n)), OK);
    }
    assert_eq!(host.make(&mut chip, &module_of(1), &instance(3)), 0x6A84);
    assert_eq!(host.delete(&mut chip, &instance(0), false), OK);
    assert_eq!(host.make(&mut chip, &module_of(1), &instance(3)), OK);
    // A load that was begun while there was room, and ends when the other conversation has taken it.
    assert_eq!(host.delete(&mut chip, &elf(3), false), OK);
    let late = Load::simple(3, [1, 0]);
    let commands = late.commands(host.channel.max_command_data());
    let (last, first) = commands.split_last().unwrap();
    for command in first {
        assert_eq!(host.sw(&mut chip, command), OK);
    }
    let mut other = Host::open_by(&mut chip, Way::Field, Level::C_MAC);
    assert_eq!(other.load(&mut chip, &Load::simple(2, [1, 0])), OK);
    assert_eq!(host.sw(&mut chip, last), 0x6A84);
}

#[test]
fn a_load_file_of_many_blocks_counts_on_beyond_255() {
    let mut chip = chip();
    let mut host = Host::open(&mut chip);
    let code = code(&elf(1), &[&module_of(1)], [1, 0], &[0x77; 3000]);
    let load = Load::new(elf(1), [1, 0], &code);
    let commands = load.commands(10);
    assert!(commands.len() > 300);
    for command in commands {
        assert_eq!(host.sw(&mut chip, &command), OK);
    }
    assert_eq!(host.make(&mut chip, &module_of(1), &module_of(1)), OK);
    assert_eq!(load_file::hash(&code).len(), 32);
    assert_eq!(send(&mut chip, &select(&module_of(1))), [0x90, 0]);
    assert_eq!(send_whole(&mut chip, &ASK).len(), 3002);
}

#[test]
fn one_application_at_most_is_selected_by_default() {
    let (mut chip, mut host) = with_application([1, 0]);
    let aids = [b"\xF0DEFAULT1", b"\xF0DEFAULT2"].map(|aid| Aid::new(aid).unwrap());
    let mut install = for_install(&module_of(1), &aids[0]);
    install.privileges = Privileges::CARD_RESET;
    assert_eq!(host.install(&mut chip, &Install::ForInstallAndMakeSelectable(install)), OK);
    install.application = aids[1];
    assert_eq!(host.install(&mut chip, &Install::ForInstallAndMakeSelectable(install)), 0x6985);
    chip.power_on();
    assert_eq!(send(&mut chip, &ASK), [1, 1, 0, 0x90, 0]);
    // It does not listen by the wire: the card manager does, selected or not.
    assert_eq!(sw(&exchange(&mut chip, Way::Wired, &select(&aids[0]))), 0x6A82);
    assert_eq!(host.delete(&mut chip, &aids[0], false), OK);
    chip.power_on();
    assert_eq!(sw(&send(&mut chip, &[0x80, 0xCA, 0, 0x66, 0])), OK, "the card manager");
}

#[test]
fn the_agents_proof_is_not_for_readers() {
    let challenge = [3; 16];
    let agent = Secret::new([0xA9; 16]);
    let expected = tapdoor_protocol::crypto::cmac128(&[0xA9; 16], &[b"AGENT1", &challenge, &PHONE.0]);
    let mut lock = lock_personalisation(LOCK, Vec::new());
    lock.applications
        .push(Application::request_lock(Aid::REQUEST_LOCK, LOCK, Secret::new([3; 32])).with_agent_key(agent));
    let mut chip = Chip::personalise(memory(), &lock).unwrap();
    assert_eq!(chip.agent_proof(&challenge, &PHONE.0), Some(expected));
    let mut without = Chip::personalise(memory(), &bare()).unwrap();
    assert_eq!(without.agent_proof(&challenge, &PHONE.0), None);
    // A downloaded application that is given such a key proves nothing for the chip.
    let (mut other, mut host) = with_application([1, 0]);
    let blocks = [host.key(Slot::Agent, &[0xA9; 16])];
    assert_eq!(host.personalise(&mut other, &module_of(1), &blocks), OK);
    assert_eq!(other.agent_proof(&challenge, &PHONE.0), None);
}
