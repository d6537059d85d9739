//! Power cuts at every write and every sync while Aliro's keys are remembered, evicted and forgotten, and a mailbox is written: the store holds the
//! old or the new, never more keys than it may, and the next tap opens, by the fast phase or by the standard one.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "common/cut.rs"]
mod cut;
#[path = "common/aliro.rs"]
mod site;
#[path = "common/vfs.rs"]
mod vfs;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use cut::*;
use site::*;
use tapdoor_chip::personalise::Secret;
use tapdoor_chip::store::Change;
use tapdoor_chip::vault::remembered_keys;
use tapdoor_chip::{Application, Chip, Personalisation, Store};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::auth::Timestamps;
use tapdoor_protocol::aliro::device::{Credential, Group, REMEMBERED};
use tapdoor_protocol::aliro::exchange::{MailboxRequest, Operation};
use tapdoor_protocol::aliro::mailbox::Permissions;
use tapdoor_protocol::aliro::reader::Entry;
use tapdoor_protocol::aliro::{DeviceConfig, ReaderIdentifier};
use tapdoor_protocol::door::Verdict;
use tapdoor_protocol::ids::PhoneId;
use vfs::Disk;

/// How many keys the lock of this test may remember.
const MOST: u16 = 2;
/// One phone more than that, and one that is taken off the list.
const PHONES: u8 = 3;

fn private(number: u8) -> [u8; 32] {
    [0x61 + number; 32]
}

/// The lock, with the phones whose numbers are given on its list.
fn lock(numbers: &[u8]) -> Personalisation {
    reader(|config| {
        config.remembered = MOST;
        let entry = |number: &u8| Entry {
            phone: PhoneId([*number; 8]),
            key: public(&private(*number)),
            not_before: 0,
            not_after: 0,
            revoked: false,
        };
        config.credentials = numbers.iter().map(entry).collect();
    })
}

fn phone(number: u8) -> Chip {
    let config = DeviceConfig {
        groups: vec![Group {
            identifier: [2; 16],
            key: public(&READER),
            credential: 0,
        }],
        credentials: vec![Credential {
            key: public(&private(number)),
            mailbox: 0,
            permissions: Permissions { read: false, write: false },
            timestamps: Timestamps::default(),
        }],
        ..DeviceConfig::default()
    };
    let applications = vec![Application::aliro(
        Aid::ALIRO_EXPEDITED,
        &config,
        Secret::new(private(number).to_vec()),
    )];
    in_memory(&Personalisation {
        applications,
        ..Personalisation::default()
    })
}

/// Taps, and in which phase they must open. `None` when the power went.
fn tapped(lock: &mut Chip, phone: &mut Chip, phase: &str) -> Option<()> {
    let (outcome, _) = try_tap(lock, phone)?;
    assert!(outcome.evidence.starts_with(phase), "{phase}: {}", outcome.evidence);
    Some(())
}

/// The chips on the other side, which go on living.
#[derive(Default)]
struct Others(Mutex<Vec<Chip>>);

fn lock_script(disk: &Disk, mode: Mode, ledger: Arc<Mutex<Ledger>>, phones: &mut Others) -> Option<()> {
    let mut phones = phones.0.lock().unwrap();
    phones.extend((0..PHONES).map(phone));
    let everybody: Vec<u8> = (0..PHONES).collect();
    let mut chip = boot(disk, mode, &ledger, &lock(&everybody))?;
    tapped(&mut chip, &mut phones[0], "standard")?;
    tapped(&mut chip, &mut phones[0], "fast")?;
    tapped(&mut chip, &mut phones[1], "standard")?;
    // All places are taken: the first one goes, and is made anew when it comes again.
    tapped(&mut chip, &mut phones[2], "standard")?;
    tapped(&mut chip, &mut phones[0], "standard")?;
    drop(chip);
    // Taken off the list: forgotten when it comes by the fast phase.
    let mut chip = boot(disk, mode, &ledger, &lock(&[0, 1]))?;
    tapped(&mut chip, &mut phones[2], "fast")?;
    tapped(&mut chip, &mut phones[2], "standard")?;
    tapped(&mut chip, &mut phones[0], "fast")
}

fn lock_judge(disk: &Disk, phones: &Others) -> Result<(), String> {
    let everybody: Vec<u8> = (0..PHONES).collect();
    let known = remembered_keys(&mut open(disk, DURABLE[0]).ok_or("no power")?, &Aid::ALIRO_LOCK).map_err(|e| e.to_string())?;
    let names: BTreeSet<&[u8]> = known.iter().map(|(name, _)| name.as_slice()).collect();
    if names.len() != known.len() || names.len() > usize::from(MOST) {
        return Err(format!("{} keys under {} names, of {MOST} places", known.len(), names.len()));
    }
    let mut chip = boot(disk, DURABLE[0], &Arc::default(), &lock(&everybody)).ok_or("no power after the reboot")?;
    for phone in phones.0.lock().unwrap().iter_mut() {
        let (outcome, _) = try_tap(&mut chip, phone).ok_or("it cannot store")?;
        if outcome.verdict != Verdict::Open {
            return Err(outcome.evidence);
        }
    }
    Ok(())
}

#[test]
fn a_lock_whose_power_goes_remembers_the_old_or_the_new() {
    must_hold("aliro lock", lock_script, lock_judge);
}

/// A reader of group 2 with this sub identifier, which writes into the mailbox if asked to.
fn reader_chip(sub: u8, writes: bool) -> Chip {
    in_memory(&reader(|config| {
        config.identifier = ReaderIdentifier::new([2; 16], [sub; 16]);
        if writes {
            config.mailbox = vec![MailboxRequest {
                open: false,
                operations: vec![Operation::Write {
                    offset: 3,
                    data: vec![sub; 40],
                }],
            }];
        }
    }))
}

/// All places but one are taken from the beginning: `P` || place holds order(8) || key(32) || name (chip/src/vault/remembered.rs).
fn crowd() -> Vec<Change> {
    let record = |place: u16| Change::Record {
        aid: Aid::ALIRO_EXPEDITED,
        name: [&b"P"[..], &place.to_be_bytes()].concat(),
        value: [&u64::from(place).to_be_bytes()[..], &[7; 32], &[place as u8; 40]].concat(),
    };
    (0..u16::try_from(REMEMBERED).unwrap() - 1).map(record).collect()
}

fn phone_script(disk: &Disk, mode: Mode, ledger: Arc<Mutex<Ledger>>, locks: &mut Others) -> Option<()> {
    let mut locks = locks.0.lock().unwrap();
    locks.extend([reader_chip(1, false), reader_chip(2, false), reader_chip(3, true)]);
    let mut store = Watched {
        store: open(disk, mode)?,
        ledger: Arc::clone(&ledger),
    };
    store.number().ok()?;
    store.personalise(&device(None)).ok()?;
    store.commit(&crowd()).ok()?;
    drop(store);
    let mut chip = boot(disk, mode, &ledger, &device(None))?;
    tapped(&mut locks[0], &mut chip, "standard")?;
    tapped(&mut locks[0], &mut chip, "fast")?;
    // No place is left: the oldest of the crowd goes.
    tapped(&mut locks[1], &mut chip, "standard")?;
    tapped(&mut locks[0], &mut chip, "fast")?;
    tapped(&mut locks[2], &mut chip, "standard")?;
    drop(chip);
    let mut chip = boot(disk, mode, &ledger, &device(None))?;
    tapped(&mut locks[2], &mut chip, "fast")?;
    tapped(&mut locks[1], &mut chip, "fast")
}

fn phone_judge(disk: &Disk, locks: &Others) -> Result<(), String> {
    let known = remembered_keys(&mut open(disk, DURABLE[0]).ok_or("no power")?, &Aid::ALIRO_EXPEDITED).map_err(|e| e.to_string())?;
    let names: BTreeSet<&[u8]> = known.iter().map(|(name, _)| name.as_slice()).collect();
    if names.len() != known.len() || names.len() > REMEMBERED {
        return Err(format!("{} keys under {} names, of {REMEMBERED} places", known.len(), names.len()));
    }
    let mut chip = boot(disk, DURABLE[0], &Arc::default(), &device(None)).ok_or("no power after the reboot")?;
    for lock in locks.0.lock().unwrap().iter_mut() {
        let (outcome, _) = try_tap(lock, &mut chip).ok_or("it cannot store")?;
        if outcome.verdict != Verdict::Open {
            return Err(outcome.evidence);
        }
    }
    Ok(())
}

#[test]
fn a_phone_whose_power_goes_remembers_the_old_or_the_new() {
    must_hold("aliro phone", phone_script, phone_judge);
}
