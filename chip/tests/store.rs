//! The chip's store in a file: what is wrong with it is said, promptly, and nothing of it is changed.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::*;
use rusqlite::Connection;
use tapdoor_chip::personalise::{PersonaliseError, Secret};
use tapdoor_chip::store::{Change, Content};
use tapdoor_chip::{Application, Chip, ChipError, ListEntry, Personalisation, SqliteStore, Store, StoreError, TestSubscriber};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::door::{Verdict, keys};
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::vault::{Slot, VaultError};

/// A store that has been used: a list, records, several pages, closed.
fn used(path: &Path) -> [u8; 8] {
    let list = (0..60u8)
        .map(|n| entry(PhoneId([n, 0, 0, 0, 0, 0, 0, 1]), LOCK))
        .chain([entry(PHONE, LOCK)])
        .collect();
    let mut lock = Chip::personalise(Box::new(SqliteStore::open(path).unwrap()), &lock_personalisation(LOCK, list)).unwrap();
    assert_eq!(aka(&mut lock, &mut phone(), 0, CLOCK).0.verdict, Verdict::Open);
    drop(lock);
    SqliteStore::open(path).unwrap().number().unwrap()
}

/// The directory's files and their bytes.
fn files(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|f| f.unwrap())
        .map(|f| (f.file_name().into_string().unwrap(), std::fs::read(f.path()).unwrap_or_default()))
        .collect();
    all.sort();
    all
}

/// Opens what cannot be opened: at once, without changing anything, and with a text that names the file and a way out.
fn refused(path: &Path) -> StoreError {
    let before = files(path);
    let start = Instant::now();
    let error = SqliteStore::open(path).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(2), "{error}: took {:?}", start.elapsed());
    assert!(files(path) == before, "{error}: but something was changed");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    error
}

#[test]
fn an_absent_file_is_made_for_its_owner_only_and_reopens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    let mut store = SqliteStore::open(&path).unwrap();
    let number = store.number().unwrap();
    assert_eq!(store.personalisation().unwrap(), Personalisation::default());
    let personalisation = phone_personalisation(PHONE);
    store.personalise(&personalisation).unwrap();
    // The log beside it holds secrets too.
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{:?}",
            file.file_name()
        );
    }
    drop(store);
    assert_eq!(files(&path).len(), 1, "closed, it is one file");
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(
        (store.number().unwrap(), store.personalisation().unwrap()),
        (number, personalisation)
    );
    let other = directory.path().join("other");
    assert_ne!(
        SqliteStore::open(&other).unwrap().number().unwrap(),
        number,
        "each chip has its own number"
    );

    // Nowhere to make it.
    let nowhere = directory.path().join("no/such/directory");
    assert!(matches!(SqliteStore::open(&nowhere), Err(StoreError::Io { .. })));
    assert!(!nowhere.parent().unwrap().exists());
}

#[test]
fn an_empty_file_is_not_taken_for_a_new_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    std::fs::write(&path, []).unwrap();
    assert!(matches!(refused(&path), StoreError::Damaged { .. }));
}

#[test]
fn a_file_cut_short_is_refused_whatever_its_length() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    used(&path);
    let whole = std::fs::read(&path).unwrap();
    let page = usize::from(u16::from_be_bytes([whole[16], whole[17]]));
    assert!(whole.len() > 10 * page, "the store has {} bytes", whole.len());
    let lengths = (0..whole.len())
        .step_by(page)
        .chain((page - 7..whole.len()).step_by(page))
        .chain((1..page).step_by(97));
    let odd = [
        1,
        15,
        16,
        17,
        99,
        100,
        101,
        511,
        512,
        513,
        whole.len() - 1,
        whole.len() - 2,
        whole.len() - 512,
        whole.len() - page + 1,
    ];
    for length in lengths.chain(odd) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = refused(&path);
        assert!(
            matches!(error, StoreError::Damaged { .. }),
            "{length} of {} bytes: {error}",
            whole.len()
        );
    }
    // And with its bytes back it is what it was.
    std::fs::write(&path, &whole).unwrap();
    SqliteStore::open(&path).unwrap();
}

#[test]
fn rubbish_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    let mut state = 1u32;
    for length in [1, 16, 100, 512, 4096, 5000, 100_000] {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(refused(&path), StoreError::Damaged { .. }), "{length} bytes");
        std::fs::write(&path, vec![0; length]).unwrap();
        assert!(
            matches!(refused(&path), StoreError::Damaged { .. } | StoreError::Foreign { .. }),
            "{length} zeros"
        );
    }
}

#[test]
fn damaged_pages_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    used(&path);
    let whole = std::fs::read(&path).unwrap();
    // Pages overwritten: the header's fields, and whole pages behind it.
    for start in (4096..whole.len()).step_by(4096) {
        let mut bent = whole.clone();
        bent[start..start + 4096].fill(0xA5);
        std::fs::write(&path, &bent).unwrap();
        assert!(matches!(refused(&path), StoreError::Damaged { .. }), "page at {start}");
    }
}

#[test]
fn other_databases_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    for wal in [false, true] {
        let _ = std::fs::remove_file(&path);
        let other = Connection::open(&path).unwrap();
        if wal {
            other.pragma_update(None, "journal_mode", "WAL").unwrap();
        }
        other
            .execute_batch("CREATE TABLE photographs(image BLOB); INSERT INTO photographs VALUES (x'00')")
            .unwrap();
        drop(other);
        assert!(matches!(refused(&path), StoreError::Foreign { found: 0, .. }));
    }
    // One whose program was killed, so that its log is still there: it is not for us to clean up.
    crashed_copy(directory.path(), &path, "PRAGMA application_id = 7; CREATE TABLE x(y)");
    assert!(matches!(refused(&path), StoreError::Foreign { found: 7, .. }));
}

/// A database and its log as a killed program leaves them.
fn crashed_copy(directory: &Path, to: &Path, sql: &str) {
    let from = directory.join("from");
    let live = Connection::open(&from).unwrap();
    live.execute_batch(&format!("PRAGMA journal_mode = WAL; {sql}")).unwrap();
    for end in ["", "-wal"] {
        std::fs::copy(format!("{}{end}", from.display()), format!("{}{end}", to.display())).unwrap();
    }
    drop(live);
}

#[test]
fn a_newer_store_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    used(&path);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(refused(&path), StoreError::Newer { found: 99, known: 2, .. }));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    SqliteStore::open(&path).unwrap();
    // A newer program that was killed.
    let killed = directory.path().join("killed");
    crashed_copy(
        directory.path(),
        &killed,
        "PRAGMA application_id = 0x54504452; PRAGMA user_version = 3; CREATE TABLE newer(x)",
    );
    assert!(matches!(refused(&killed), StoreError::Newer { found: 3, .. }));
}

#[test]
fn tables_that_are_not_ours_are_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    for spoil in [
        "DROP TABLE record",
        "UPDATE application SET kind = 'toaster'",
        "UPDATE application SET aid = x'' WHERE position = 0",
        "UPDATE list SET weakest = 77",
        "UPDATE list SET phone = x'01' WHERE position = 0",
        "INSERT INTO application_key VALUES ((SELECT aid FROM application LIMIT 1), 200, x'00')",
        "UPDATE list SET k_l = x'0102'",
        "UPDATE application SET parameters = x''",
    ] {
        let _ = std::fs::remove_file(&path);
        used(&path);
        Connection::open(&path).unwrap().execute_batch(spoil).unwrap();
        let opened = SqliteStore::open(&path)
            .map_err(ChipError::from)
            .and_then(|store| Chip::open(Box::new(store)));
        match opened {
            Ok(mut chip) => {
                // A missing table is noticed when it is used, and then nothing happens.
                assert!(spoil.starts_with("DROP"), "{spoil} went unnoticed");
                let mut phone = phone();
                let fci = send(&mut phone, &select(&Aid::AKA));
                send(&mut chip, &select(&Aid::AKA_LOCK));
                let data = tapdoor_protocol::door::BeginData {
                    clock: CLOCK,
                    fci: &fci[..fci.len() - 2],
                }
                .encode();
                let begin = tapdoor_protocol::apdu::Command::new(0x80, 0x10, 0, 0)
                    .data(&data)
                    .ne(256)
                    .encode()
                    .unwrap();
                assert_eq!(send(&mut chip, &begin), [0x6F, 0x00]);
            }
            Err(ChipError::Store(StoreError::Damaged { .. }) | ChipError::Personalise(_) | ChipError::Parameters(_)) => {}
            Err(other) => panic!("{spoil}: {other}"),
        }
    }
}

#[test]
fn a_directory_is_not_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    std::fs::create_dir(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
}

#[test]
fn a_read_only_store_is_refused() {
    const ASIDE: &str = "TAPDOOR_TEST_READ_ONLY";
    if let Ok(path) = std::env::var(ASIDE) {
        let error = refused(Path::new(&path));
        assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
        println!("refused: {error}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    used(&path);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
    // Root may write to everything, so this is another user's turn.
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = std::process::Command::new(&program);
    command
        .args(["--exact", "a_read_only_store_is_refused", "--nocapture"])
        .env(ASIDE, &path)
        .current_dir("/");
    if std::fs::OpenOptions::new().write(true).open(&path).is_ok() {
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        std::os::unix::process::CommandExt::gid(&mut command, 65_534);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("refused: "),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn one_program_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    used(&path);
    let mut first = SqliteStore::open(&path).unwrap();
    let start = Instant::now();
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
    // The first one is none the worse for it.
    first.commit(&[record(Aid::AKA_LOCK, b"x", b"y")]).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::InUse { .. })));
    drop(first);
    assert_eq!(
        SqliteStore::open(&path).unwrap().record(&Aid::AKA_LOCK, b"x").unwrap().as_deref(),
        Some(&b"y"[..])
    );
}

#[test]
fn a_killed_programs_log_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    used(&path);
    let mut store = SqliteStore::open(&path).unwrap();
    store.commit(&[record(Aid::AKA_LOCK, b"x", b"last word")]).unwrap();
    let copy = directory.path().join("copy");
    for end in ["", "-wal"] {
        std::fs::copy(format!("{}{end}", path.display()), format!("{}{end}", copy.display())).unwrap();
    }
    let mut after = SqliteStore::open(&copy).unwrap();
    assert_eq!(after.record(&Aid::AKA_LOCK, b"x").unwrap().as_deref(), Some(&b"last word"[..]));
    assert_eq!(after.personalisation().unwrap(), store.personalisation().unwrap());
}

fn record(aid: Aid, name: &[u8], value: &[u8]) -> Change {
    Change::Record {
        aid,
        name: name.to_vec(),
        value: value.to_vec(),
    }
}

#[test]
fn wrong_keys_and_repeated_identifiers_are_refused_before_anything_is_written() {
    let secret = |length: usize| Secret::new(vec![7; length]);
    let subscriber = |algorithm, imsi: &str, phone, length| TestSubscriber {
        phone,
        imsi: imsi.into(),
        algorithm,
        not_after: 0,
        key: secret(length),
    };
    let with_entry = |change: &dyn Fn(&mut ListEntry)| {
        let mut wrong = entry(PHONE, LOCK);
        change(&mut wrong);
        lock_personalisation(LOCK, vec![wrong])
    };
    let with_key = |slot, length| {
        let mut personalisation = phone_personalisation(PHONE);
        personalisation.applications[2].keys = vec![(slot, secret(length))];
        personalisation
    };
    let with_subscribers = |subscribers: Vec<TestSubscriber>| Personalisation {
        subscribers,
        ..lock_personalisation(LOCK, vec![entry(PHONE, LOCK)])
    };
    let twice = |mut personalisation: Personalisation| {
        personalisation.applications.push(personalisation.applications[0].clone());
        personalisation
    };
    let other = PhoneId([8; 8]);
    let right = [
        with_entry(&|e| (e.milenage, e.tuak) = (None, None)),
        with_key(Slot::Agent, 16),
        with_subscribers(vec![
            subscriber(Algorithm::Milenage, "1", other, 32),
            subscriber(Algorithm::Tuak, "2", PhoneId([9; 8]), 48),
            subscriber(Algorithm::Tuak, "3", PhoneId([10; 8]), 64),
        ]),
    ];
    for personalisation in right {
        assert_eq!(personalisation.check(), Ok(()));
    }
    let lengths = [
        (with_entry(&|e| e.k_id = secret(15)), "k_id", 15),
        (with_entry(&|e| e.k_id = secret(17)), "k_id", 17),
        (with_entry(&|e| e.k_l = secret(0)), "k_l", 0),
        (with_entry(&|e| e.k_l = secret(32)), "k_l", 32),
        (with_entry(&|e| e.milenage = Some(secret(16))), "milenage", 16),
        (with_entry(&|e| e.tuak = Some(secret(48))), "tuak", 48),
        (with_entry(&|e| e.tuak = Some(secret(65))), "tuak", 65),
        (with_key(Slot::Phone, 32), "Phone", 32),
        (with_key(Slot::Recognition, 8), "Recognition", 8),
        (with_key(Slot::Agent, 64), "Agent", 64),
        (with_key(Slot::Signing, 31), "Signing", 31),
        (with_key(Slot::TestSubscriber, 33), "TestSubscriber", 33),
        (
            with_subscribers(vec![subscriber(Algorithm::Milenage, "1", other, 48)]),
            "IMSI 1",
            48,
        ),
        (with_subscribers(vec![subscriber(Algorithm::Tuak, "1", other, 32)]), "IMSI 1", 32),
    ];
    for (personalisation, name, length) in lengths {
        match untouched(&personalisation) {
            PersonaliseError::KeyLength { what, got, .. } => assert!(what.contains(name) && got == length, "{name}: {what}, {got}"),
            other => panic!("{name}: {other}"),
        }
    }
    let repeated = [
        (twice(phone_personalisation(PHONE)), "f0544150444f4f5201"),
        (
            lock_personalisation(LOCK, vec![entry(PHONE, LOCK), entry(PHONE, LOCK)]),
            "0102030405060708",
        ),
        (
            with_subscribers(vec![
                subscriber(Algorithm::Milenage, "12", other, 32),
                subscriber(Algorithm::Tuak, "12", PhoneId([9; 8]), 64),
            ]),
            "12",
        ),
        (
            with_subscribers(vec![subscriber(Algorithm::Milenage, "1", PHONE, 32)]),
            "0102030405060708",
        ),
    ];
    for (personalisation, name) in repeated {
        match untouched(&personalisation) {
            PersonaliseError::Repeated { what } => assert!(what.contains(name), "{what}"),
            other => panic!("{name}: {other}"),
        }
    }
}

/// Why it is refused; a store that it was meant for is as it was.
fn untouched(personalisation: &Personalisation) -> PersonaliseError {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    used(&path);
    let before = std::fs::read(&path).unwrap();
    let error = match Chip::personalise(Box::new(SqliteStore::open(&path).unwrap()), personalisation) {
        Err(ChipError::Personalise(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("{personalisation:?} is accepted"),
    };
    assert_eq!(personalisation.check(), Err(error.clone()));
    assert!(std::fs::read(&path).unwrap() == before);
    error
}

#[test]
fn secrets_are_not_shown() {
    let personalisation = lock_personalisation(LOCK, vec![entry(PHONE, LOCK)]);
    let k_l = keys::lock(&keys::phone(&SITE, PHONE), LOCK);
    let text = format!("{personalisation:?}");
    assert!(
        text.contains("Secret(16 bytes)") && !text.contains(&format!("{:?}", &k_l[..4]).replace(['[', ']'], "")),
        "{text}"
    );
}

#[test]
fn personalising_again_keeps_the_records_of_what_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    let phone = phone_personalisation(PHONE);
    let mut store = SqliteStore::open(&path).unwrap();
    store.personalise(&phone).unwrap();
    for aid in [Aid::CHALLENGE_RESPONSE, Aid::AKA, Aid::IDENTITY] {
        store
            .commit(&[record(aid, b"one", aid.as_bytes()), record(aid, b"two", b"2")])
            .unwrap();
    }
    // Challenge-response goes, AKA gets other keys, identity stays, and one comes that never had records.
    let mut changed = phone_personalisation(PhoneId([3; 8]));
    changed.applications.remove(0);
    changed.applications.push(Application::aka_lock(Aid::AKA_LOCK, LOCK, Aid::AKA));
    store.personalise(&changed).unwrap();
    let check = |store: &mut SqliteStore| {
        for aid in [Aid::AKA, Aid::IDENTITY] {
            assert_eq!(store.record(&aid, b"one").unwrap().as_deref(), Some(aid.as_bytes()), "{aid}");
            assert_eq!(store.record(&aid, b"two").unwrap().as_deref(), Some(&b"2"[..]), "{aid}");
        }
        assert_eq!(store.record(&Aid::CHALLENGE_RESPONSE, b"one").unwrap(), None);
        assert_eq!(store.record(&Aid::AKA_LOCK, b"one").unwrap(), None);
    };
    check(&mut store);
    assert_eq!(store.personalisation().unwrap(), changed);
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    check(&mut store);
    // What went is gone, also when it comes back.
    store.personalise(&phone).unwrap();
    assert_eq!(store.record(&Aid::CHALLENGE_RESPONSE, b"one").unwrap(), None);
}

#[test]
fn personalising_with_the_same_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    let personalisation = lock_personalisation(LOCK, vec![entry(PHONE, LOCK)]);
    let mut store = SqliteStore::open(&path).unwrap();
    store.personalise(&personalisation).unwrap();
    let before = files(&path);
    assert!(before.iter().any(|(name, bytes)| name.ends_with("-wal") && !bytes.is_empty()));
    for _ in 0..3 {
        store.personalise(&personalisation).unwrap();
    }
    assert!(files(&path) == before);
    let mut changed = personalisation.clone();
    changed.list[0].not_after = 1;
    store.personalise(&changed).unwrap();
    assert!(files(&path) != before, "this test sees a write");
}

/// A store whose commits fail while the switch is on.
struct Failing {
    store: SqliteStore,
    fails: Arc<AtomicBool>,
    /// Reading fails too.
    reads: Arc<AtomicBool>,
}

impl Failing {
    fn error() -> StoreError {
        StoreError::Io {
            path: "switch".into(),
            detail: "switched off".into(),
        }
    }
}

impl Store for Failing {
    fn personalisation(&mut self) -> Result<Personalisation, StoreError> {
        self.store.personalisation()
    }

    fn personalise(&mut self, personalisation: &Personalisation) -> Result<(), StoreError> {
        self.store.personalise(personalisation)
    }

    fn content(&mut self) -> Result<Content, StoreError> {
        self.store.content()
    }

    fn number(&mut self) -> Result<[u8; 8], StoreError> {
        self.store.number()
    }

    fn record(&mut self, aid: &Aid, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.reads.load(Ordering::SeqCst) {
            Err(Self::error())
        } else {
            self.store.record(aid, name)
        }
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        assert!(!changes.is_empty(), "a commit of nothing");
        if self.fails.load(Ordering::SeqCst) {
            Err(Self::error())
        } else {
            self.store.commit(changes)
        }
    }
}

fn failing(personalisation: &Personalisation) -> (Chip, Arc<AtomicBool>, Arc<AtomicBool>) {
    let (fails, reads) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let store = Failing {
        store: SqliteStore::in_memory().unwrap(),
        fails: Arc::clone(&fails),
        reads: Arc::clone(&reads),
    };
    (Chip::personalise(Box::new(store), personalisation).unwrap(), fails, reads)
}

#[test]
fn what_cannot_be_stored_did_not_happen_on_the_phone() {
    let (mut phone, commits, reads) = failing(&phone_personalisation(PHONE));
    let mut lock = lock();
    for (switch, reads_only) in [(&commits, false), (&reads, true)] {
        switch.store(true, Ordering::SeqCst);
        phone.power_on();
        phone.drain_events().for_each(drop);
        let fci = send(&mut phone, &select(&Aid::AKA));
        send(&mut lock, &select(&Aid::AKA_LOCK));
        let tapdoor_protocol::door::LockStep::Transmit { command, .. } = begin(&mut lock, 0, CLOCK, &fci[..fci.len() - 2]) else {
            panic!()
        };
        assert_eq!(send(&mut phone, &command), [0x6F, 0x00], "no RES leaves");
        assert_eq!(phone.take_failure().is_some(), !reads_only);
        assert_eq!(phone.drain_events().count(), 0, "the phone is told of no lock");
        // GET RESPONSE brings nothing back, and the session is dead: neither AUTHENTICATE nor a sealed CONTROL FLOW has a place.
        assert_eq!(send(&mut phone, &[0x00, 0xC0, 0, 0, 0]), [0x69, 0x85]);
        assert_eq!(send(&mut phone, &[&[0x80, 0x3C, 1, 0, 8][..], &[0; 8]].concat()), [0x69, 0x85]);
        switch.store(false, Ordering::SeqCst);
        assert_eq!(send(&mut phone, &command), [0x69, 0x85]);
        let (outcome, transcript) = aka(&mut lock, &mut phone, 0, CLOCK);
        assert_eq!((outcome.verdict, transcript.exchanges.len()), (Verdict::Open, 2), "{outcome:?}");
        assert_eq!(send(&mut phone, &outcome.control_flow.unwrap()), [0x90, 0x00]);
    }
    // Challenge-response stores nothing, so it does not care.
    commits.store(true, Ordering::SeqCst);
    assert_eq!(challenge_response(&mut lock, &mut phone).0.verdict, Verdict::Open);
}

#[test]
fn what_cannot_be_stored_did_not_happen_in_the_lock() {
    let (mut lock, commits, reads) = failing(&lock_personalisation(LOCK, vec![entry(PHONE, LOCK)]));
    let mut phone = phone();
    for switch in [&commits, &reads] {
        switch.store(true, Ordering::SeqCst);
        let fci = send(&mut phone, &select(&Aid::AKA));
        send(&mut lock, &select(&Aid::AKA_LOCK));
        let data = tapdoor_protocol::door::BeginData {
            clock: CLOCK,
            fci: &fci[..fci.len() - 2],
        }
        .encode();
        let begin = tapdoor_protocol::apdu::Command::new(0x80, 0x10, 0, 0)
            .data(&data)
            .ne(256)
            .encode()
            .unwrap();
        assert_eq!(send(&mut lock, &begin), [0x6F, 0x00], "no AUTN leaves");
        // NEXT has nothing to go on with, whatever it brings.
        assert_eq!(send(&mut lock, &[0x80, 0x12, 0, 0, 2, 0x90, 0x00, 0]), [0x69, 0x85]);
        switch.store(false, Ordering::SeqCst);
        assert_eq!(send(&mut lock, &[0x80, 0x12, 0, 0, 2, 0x90, 0x00, 0]), [0x69, 0x85]);
        assert_eq!(aka(&mut lock, &mut phone, 0, CLOCK).0.verdict, Verdict::Open);
    }
}

#[test]
fn without_randomness_nothing_is_said() {
    struct Dry;
    impl tapdoor_chip::RandomSource for Dry {
        fn fill(&mut self, _: &mut [u8]) -> Result<(), VaultError> {
            Err(VaultError::Random)
        }
    }
    let mut store = memory();
    store.personalise(&phone_personalisation(PHONE)).unwrap();
    let mut phone = Chip::open_with(store, Box::new(Dry)).unwrap();
    for aid in [Aid::CHALLENGE_RESPONSE, Aid::AKA] {
        assert_eq!(send(&mut phone, &select(&aid)), [0x6F, 0x00]);
    }
}
