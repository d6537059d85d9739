//! A store of schema 1 becomes one of schema 2 when it is opened: nothing is lost, at whatever moment the power goes.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/manage.rs"]
mod manage;
#[path = "common/schema_1.rs"]
mod schema_1;
#[path = "common/vfs.rs"]
mod vfs;

use std::path::Path;

use common::*;
use manage::*;
use rusqlite::Connection;
use tapdoor_chip::personalise::Secret;
use tapdoor_chip::store::Content;
use tapdoor_chip::{Chip, Personalisation, SqliteStore, Store, StoreError, TestSubscriber};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::door::Verdict;
use tapdoor_protocol::ids::PhoneId;
use vfs::{Disk, Survivors};

const RECORD: (&[u8], &[u8], &[u8]) = (Aid::AKA_LOCK.as_bytes(), b"some record", &[1, 2, 3]);

/// A lock and a phone in one, with all that schema 1 can hold.
fn old() -> Personalisation {
    let mut all = phone_personalisation(PHONE);
    let lock = lock_personalisation(LOCK, vec![entry(PHONE, LOCK), entry(PhoneId([2; 8]), LOCK)]);
    all.applications.extend(lock.applications);
    all.list = lock.list;
    all.list[1].milenage = None;
    all.subscribers.push(TestSubscriber {
        phone: PhoneId([9; 8]),
        imsi: "001010123456063".into(),
        algorithm: Algorithm::Milenage,
        not_after: 7,
        key: Secret::new([9; 32]),
    });
    all
}

fn is_whole(store: &mut dyn Store) -> Result<(), String> {
    let read = |store: &mut dyn Store| -> Result<_, StoreError> {
        let record = store.record(&Aid::AKA_LOCK, RECORD.1)?;
        Ok((store.personalisation()?, store.content()?, store.number()?, record))
    };
    let found = read(store).map_err(|e| e.to_string())?;
    if found == (old(), Content::default(), schema_1::NUMBER, Some(RECORD.2.to_vec())) {
        Ok(())
    } else {
        Err("it holds something else".into())
    }
}

#[test]
fn an_old_store_becomes_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    schema_1::write(&Connection::open(&path).unwrap(), &old(), &[RECORD]).unwrap();
    for _ in 0..2 {
        is_whole(&mut SqliteStore::open(&path).unwrap()).unwrap();
    }
    let version: u32 = Connection::open(&path)
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 2);
    // It is used as ever, and can be managed once its configuration says so.
    let mut chip = Chip::open(Box::new(SqliteStore::open(&path).unwrap())).unwrap();
    assert_eq!(aka(&mut chip, &mut phone(), 0, CLOCK).0.verdict, Verdict::Open);
    drop(chip);
    let mut chip = Chip::personalise(Box::new(SqliteStore::open(&path).unwrap()), &managed(old())).unwrap();
    let mut host = Host::open(&mut chip);
    assert_eq!(host.load(&mut chip, &Load::simple(1, [1, 0])), 0x9000);
    assert_eq!(aka(&mut chip, &mut phone(), 0, CLOCK + 1).0.verdict, Verdict::Open);
}

#[test]
fn a_killed_programs_log_comes_along() {
    let directory = tempfile::tempdir().unwrap();
    let (from, path) = (directory.path().join("from"), directory.path().join("chip"));
    let live = Connection::open(&from).unwrap();
    schema_1::write(&live, &old(), &[RECORD]).unwrap();
    for end in ["", "-wal"] {
        std::fs::copy(format!("{}{end}", from.display()), format!("{}{end}", path.display())).unwrap();
    }
    is_whole(&mut SqliteStore::open(&path).unwrap()).unwrap();
}

#[test]
fn an_old_store_that_is_no_store_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    let connection = Connection::open(&path).unwrap();
    schema_1::write(&connection, &old(), &[]).unwrap();
    // Something else has been here: half of schema 2 is there already.
    connection.execute_batch("CREATE TABLE instance(x)").unwrap();
    drop(connection);
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Damaged { .. })));
    let connection = Connection::open(&path).unwrap();
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let tables: u32 = connection
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'load_file'", [], |row| row.get(0))
        .unwrap();
    assert_eq!((version, tables), (1, 0));
    connection.pragma_update(None, "user_version", 0).unwrap();
    drop(connection);
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::Damaged { .. })));
}

#[test]
fn power_can_go_at_any_moment_of_it() {
    const FILE: &str = "chip.db";
    let prepared = || {
        let disk = Disk::new();
        schema_1::write(&disk.connect(FILE).unwrap(), &old(), &[RECORD]).unwrap();
        disk
    };
    let migrate = |disk: &Disk| -> Result<SqliteStore, String> {
        let connection = disk.connect(FILE).map_err(|e| e.to_string())?;
        SqliteStore::from_connection(connection, Path::new(FILE)).map_err(|e| e.to_string())
    };
    let disk = prepared();
    let before = disk.operations();
    drop(migrate(&disk).unwrap());
    let count = disk.operations() - before;
    assert!(count > 5, "{count}");
    let mut disks = 0;
    for cut in 0..=count {
        for seed in 0..6u64 {
            let disk = prepared();
            disk.cut_at(before + cut);
            drop(migrate(&disk));
            let survivors = match seed {
                0 => Survivors::None,
                1 => Survivors::Prefix(seed * 1009 + cut as u64),
                _ => Survivors::Torn(seed * 1009 + cut as u64),
            };
            let after = disk.reboot(survivors);
            let mut store = migrate(&after).unwrap_or_else(|e| panic!("cut {cut} of {count}: {e}"));
            is_whole(&mut store).unwrap_or_else(|e| panic!("cut {cut} of {count}: {e}"));
            disks += 1;
        }
    }
    println!("migration: {} cut points, {disks} disks looked at", count + 1);
}
