//! Power cuts at every write while a chip is managed: a load, an installation, a personalisation, an upgrade, a deletion, new keys or a new list
//! is there whole, or it is as if it had never begun.
//!
//! Besides what the store holds (tests/common/cut.rs), it is judged what the chip does after the reboot: it must be the chip as it was after the
//! last command that was answered, or after the one that was not.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/cut.rs"]
mod cut;
#[path = "common/manage.rs"]
mod manage;
#[path = "common/vfs.rs"]
mod vfs;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use common::*;
use cut::*;
use manage::*;
use tapdoor_chip::{Application, Chip, ListEntry, Personalisation, SqliteStore};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{Verdict, keys as door};
use tapdoor_protocol::globalplatform::command::{Delete, Install, PutKey, SetStatus, Subset};
use tapdoor_protocol::globalplatform::scp03::{Keys, Level};
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::vault::Slot;
use vfs::Disk;

fn new_keys() -> Keys {
    Keys::new(&[0x44; 16], &[0x55; 16], &[0x66; 16]).unwrap()
}

fn fill() -> Personalisation {
    let mut fill = managed(lock_personalisation(LOCK, vec![entry(PHONE, LOCK), entry(PhoneId([2; 8]), LOCK)]));
    fill.applications.push(Application::identity(Aid::IDENTITY, None));
    fill
}

/// What the chip is like from outside.
#[derive(Clone, Debug, PartialEq)]
struct Look {
    load_files: Vec<(Aid, Option<Vec<u8>>)>,
    applications: Vec<(Aid, u8)>,
    answer: Vec<u8>,
    new_keys: bool,
    opens: [bool; 3],
}

fn look(chip: &mut Chip) -> Look {
    let old = Host::try_open(chip, Way::Wired, &keys(), KVN, Level::C_MAC);
    let is_new = old.is_err();
    let mut host = old
        .or_else(|_| Host::try_open(chip, Way::Wired, &new_keys(), KVN, Level::C_MAC))
        .expect("old or new keys");
    let mut answer = send(chip, &select(&module_of(1)));
    if sw(&answer) == 0x9000 {
        answer = send(chip, &[0x80, 0x01, 0, 0, 0]);
    }
    let opens = [PHONE, PhoneId([2; 8]), PhoneId([3; 8])].map(|phone| {
        // Challenge-response stores nothing, so looking changes nothing.
        let mut phone = Chip::personalise(memory(), &phone_personalisation(phone)).unwrap();
        challenge_response(chip, &mut phone).0.verdict == Verdict::Open
    });
    Look {
        load_files: host
            .status(chip, Subset::LoadFiles)
            .into_iter()
            .map(|e| (e.aid, e.version))
            .collect(),
        applications: host
            .status(chip, Subset::Applications)
            .into_iter()
            .map(|e| (e.aid, e.life_cycle))
            .collect(),
        answer,
        new_keys: is_new,
        opens,
    }
}

/// Commands of a content session: load, install, personalise, make selectable, upgrade, delete.
fn content(host: &Host) -> Vec<Vec<u8>> {
    let install = for_install(&module_of(1), &module_of(1));
    let k_ph = door::phone(&SITE, PHONE);
    let mut all = Load::simple(1, [1, 0]).commands(100);
    all.push(Install::ForInstall(install).encode().unwrap());
    all.push(Install::ForPersonalization(module_of(1)).encode().unwrap());
    all.push(store_data(0, false, &object(0x80, &PHONE.0)));
    all.push(store_data(1, true, &host.key(Slot::Phone, &*k_ph)));
    all.push(Install::ForMakeSelectable(install).encode().unwrap());
    all.extend(Load::simple(1, [1, 1]).commands(100));
    let delete = |aid, related| Delete::Content {
        aids: vec![aid],
        related,
        token: &[],
    };
    all.push(delete(module_of(1), false).encode().unwrap());
    all.push(Install::ForInstallAndMakeSelectable(install).encode().unwrap());
    all.push(delete(elf(1), true).encode().unwrap());
    all
}

/// Commands about keys, list and states.
fn keys_and_list(host: &Host) -> Vec<Vec<u8>> {
    let three = host.entry(&entry(PhoneId([3; 8]), LOCK));
    let ended = ListEntry {
        not_after: 1,
        ..entry(PHONE, LOCK)
    };
    let lock = |state| SetStatus::Application { aid: Aid::IDENTITY, state };
    vec![
        store_data(0, true, &three),
        store_data(0, true, &host.entry(&ended)),
        store_data(0, true, &object(0xE6, &object(0x80, &[3; 8]))),
        // A replacement, in three blocks.
        store_data(0, false, &object(0xE7, &[])),
        store_data(1, false, &three),
        store_data(2, true, &host.entry(&entry(PHONE, LOCK))),
        lock(0x80).encode().unwrap(),
        lock(0x00).encode().unwrap(),
        PutKey::p256(&[4; 65], 1, 0x73, 0).unwrap(),
        PutKey::key_set(&keys(), &new_keys(), KVN, KVN).unwrap(),
    ]
}

type Commands = fn(&Host) -> Vec<Vec<u8>>;

/// How the chip looks before the first command and after each, without any power cut.
fn looks(commands: Commands) -> Vec<Look> {
    let mut chip = Chip::personalise(memory(), &fill()).unwrap();
    let host = Host::open(&mut chip);
    let count = commands(&host).len();
    (0..=count)
        .map(|n| {
            let mut chip = Chip::personalise(memory(), &fill()).unwrap();
            let mut host = Host::open(&mut chip);
            for command in &commands(&host)[..n] {
                assert_eq!(host.sw(&mut chip, command), 0x9000, "{command:02x?}");
            }
            // What was not finished is nothing.
            chip.reset_wired();
            look(&mut chip)
        })
        .collect()
}

/// How many commands were answered; none before the chip had been filled.
#[derive(Default)]
struct Answered(Option<usize>);

fn script(disk: &Disk, mode: Mode, ledger: Arc<Mutex<Ledger>>, answered: &mut Answered, commands: Commands) -> Option<()> {
    let mut chip = boot(disk, mode, &ledger, &fill())?;
    answered.0 = Some(0);
    let mut host = match Host::try_open(&mut chip, Way::Wired, &keys(), KVN, Level::FULL) {
        Ok(host) => host,
        Err(0x6F00) => return None,
        Err(sw) => panic!("{sw:04x}"),
    };
    let commands = commands(&host);
    for (number, command) in commands.iter().enumerate() {
        let wrapped = host.channel.wrap(&Command::parse(command).unwrap()).unwrap();
        let response = exchange(&mut chip, Way::Wired, &wrapped.command);
        if response == [0x6F, 0x00] {
            assert!(chip.take_failure().is_some(), "6F00 has its reason");
            return None;
        }
        assert_eq!(sw(&response), 0x9000, "{number}");
        assert!(host.channel.unwrap(wrapped.ticket, &response).is_ok());
        answered.0 = Some(number + 1);
    }
    // Filled anew, as at every start: nothing of it goes.
    drop(chip);
    boot(disk, mode, &ledger, &fill()).map(drop)
}

fn judge(disk: &Disk, answered: &Answered, looks: &[Look]) -> Result<(), String> {
    let Some(answered) = answered.0 else { return Ok(()) };
    let connection = disk.connect(FILE).map_err(|e| e.to_string())?;
    let store = SqliteStore::from_connection(connection, Path::new(FILE)).map_err(|e| e.to_string())?;
    let mut chip = Chip::open(Box::new(store)).map_err(|e| e.to_string())?;
    let found = look(&mut chip);
    // The command that was not answered may have been executed.
    let possible = &looks[answered..looks.len().min(answered + 2)];
    if possible.contains(&found) {
        Ok(())
    } else {
        Err(format!("after {answered} commands were answered: {found:?}"))
    }
}

fn content_looks() -> &'static [Look] {
    static LOOKS: OnceLock<Vec<Look>> = OnceLock::new();
    LOOKS.get_or_init(|| looks(content))
}

fn list_looks() -> &'static [Look] {
    static LOOKS: OnceLock<Vec<Look>> = OnceLock::new();
    LOOKS.get_or_init(|| looks(keys_and_list))
}

#[test]
fn content_is_whole_or_not_at_all() {
    let different = content_looks().windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(different >= 6, "{different}: the experiment would see too little");
    must_hold(
        "content",
        |disk, mode, ledger, answered| script(disk, mode, ledger, answered, content),
        |disk, answered| judge(disk, answered, content_looks()),
    );
}

#[test]
fn keys_and_list_are_whole_or_not_at_all() {
    let different = list_looks().windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(different >= 7, "{different}: the experiment would see too little");
    must_hold(
        "keys and list",
        |disk, mode, ledger, answered| script(disk, mode, ledger, answered, keys_and_list),
        |disk, answered| judge(disk, answered, list_looks()),
    );
}
