//! The store: what is unique, what outlives a restart, how jobs move.

use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_server::registry::{ChipRef, Identifier, IdentifierKind, JobKind, JobState, Lock, NewJob, Phone};
use tapdoor_server::store::{Db, JobEnd, SqliteStore, Store, StoreError};

fn lock(id: u8, identifiers: &[(IdentifierKind, &str)]) -> Lock {
    Lock {
        id: LockId([id; 8]),
        public_key: None,
        identifiers: identifiers
            .iter()
            .map(|(kind, text)| Identifier::parse(*kind, text).unwrap())
            .collect(),
        system: "door".into(),
        groups: vec!["b".into(), "a".into()],
        window: Some("23:00-01:00".parse().unwrap()),
        chip: None,
        revoked: false,
    }
}

fn phone(id: u8) -> Phone {
    Phone {
        id: PhoneId([id; 8]),
        identifiers: vec![],
        user_authenticated: true,
        chip: None,
        revoked: false,
    }
}

fn install(version: &str, urgent: bool) -> NewJob {
    NewJob {
        chip: ChipRef::Phone(PhoneId([1; 8])),
        kind: JobKind::Install {
            application: "cr".into(),
            version: version.into(),
        },
        urgent,
        window: false,
        requester: None,
    }
}

#[test]
fn identifiers_are_unique() {
    let mut store = SqliteStore::in_memory().unwrap();
    let first = lock(
        1,
        &[
            (IdentifierKind::Mac, "02:00:5e:10:00:01"),
            (IdentifierKind::Imsi, "001010000000001"),
        ],
    );
    store.put_lock(&first).unwrap();
    let mut read = store.lock(first.id).unwrap().unwrap();
    read.groups.reverse();
    read.identifiers.reverse();
    assert_eq!(read, first);
    // Changing it is no conflict with itself.
    store.put_lock(&first).unwrap();
    let second = lock(2, &[(IdentifierKind::Mac, "0200.5e10.0001")]);
    assert!(matches!(store.put_lock(&second), Err(StoreError::Conflict(_))));
    let twice = lock(
        3,
        &[(IdentifierKind::Imsi, "001010000000002"), (IdentifierKind::Imsi, "001010000000003")],
    );
    assert!(matches!(store.put_lock(&twice), Err(StoreError::Conflict(_))));
    // A phone with a lock's id would have its K_agent.
    assert!(matches!(store.put_phone(&phone(1)), Err(StoreError::Conflict(_))));
    store.put_phone(&phone(7)).unwrap();
    assert!(matches!(store.put_lock(&lock(7, &[])), Err(StoreError::Conflict(_))));
}

#[test]
fn the_same_job_waits_once() {
    let mut store = SqliteStore::in_memory().unwrap();
    let a = store.add_job(&install("1.0", false), 10).unwrap();
    assert_eq!(store.add_job(&install("1.0", true), 11).unwrap(), a);
    assert!(store.job(a).unwrap().unwrap().order.urgent, "it became urgent");
    let b = store.add_job(&install("1.1", false), 12).unwrap();
    assert_ne!(a, b);
    // Still the same while it runs; another one once it is done.
    let attempt = store.begin_job(a, 13).unwrap().unwrap();
    assert_eq!(store.begin_job(a, 13).unwrap(), None);
    assert_eq!(store.add_job(&install("1.0", false), 14).unwrap(), a);
    assert!(store.end_job(a, attempt, JobState::Done, &JobEnd::default(), 15).unwrap());
    assert_ne!(store.add_job(&install("1.0", false), 16).unwrap(), a);
    // A list entry that runs was made from the grants of before, so a new one waits behind it.
    let entry = NewJob {
        chip: ChipRef::Lock(LockId([2; 8])),
        kind: JobKind::Entry { phone: "01".repeat(8) },
        ..install("", false)
    };
    let c = store.add_job(&entry, 17).unwrap();
    store.begin_job(c, 18).unwrap().unwrap();
    assert_ne!(store.add_job(&entry, 19).unwrap(), c);
}

#[test]
fn an_attempt_that_was_replaced_ends_nothing() {
    let mut store = SqliteStore::in_memory().unwrap();
    let job = store.add_job(&install("1.0", false), 10).unwrap();
    let first = store.begin_job(job, 11).unwrap().unwrap();
    let chip = ChipRef::Phone(PhoneId([1; 8]));
    assert_eq!(store.requeue(Some(ChipRef::Phone(PhoneId([2; 8]))), "", 12).unwrap(), 0);
    assert_eq!(store.requeue(Some(chip), "the agent connected anew", 12).unwrap(), 1);
    let second = store.begin_job(job, 13).unwrap().unwrap();
    assert_eq!((first, second), (1, 2));
    assert!(!store.end_job(job, first, JobState::Failed, &JobEnd::default(), 14).unwrap());
    assert!(store.end_job(job, second, JobState::Done, &JobEnd::default(), 15).unwrap());
    assert!(!store.end_job(job, second, JobState::Failed, &JobEnd::default(), 16).unwrap());
    let states: Vec<JobState> = store.history(job).unwrap().into_iter().map(|event| event.state).collect();
    use JobState::{Done, Queued, Running};
    assert_eq!(states, [Queued, Running, Queued, Running, Done]);
    assert_eq!(store.counts().unwrap().jobs, [0, 0, 1, 0]);
}

#[test]
fn urgent_jobs_come_first() {
    let mut store = SqliteStore::in_memory().unwrap();
    let a = store.add_job(&install("1.0", false), 10).unwrap();
    let b = store.add_job(&install("1.1", false), 10).unwrap();
    let c = store.add_job(&install("1.2", true), 10).unwrap();
    let order: Vec<i64> = store
        .waiting(ChipRef::Phone(PhoneId([1; 8])))
        .unwrap()
        .into_iter()
        .map(|job| job.id)
        .collect();
    assert_eq!(order, [c, a, b]);
}

#[test]
fn a_file_is_found_again_and_a_foreign_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.db");
    SqliteStore::open(&path).unwrap().put_lock(&lock(1, &[])).unwrap();
    assert_eq!(SqliteStore::open(&path).unwrap().locks().unwrap().len(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let text = folder.path().join("text.db");
    std::fs::write(
        &text,
        "this is not a database, and it is long enough to be looked at as one".repeat(20),
    )
    .unwrap();
    assert!(matches!(SqliteStore::open(&text), Err(StoreError::Foreign { .. })));
    let newer = folder.path().join("newer.db");
    drop(SqliteStore::open(&newer).unwrap());
    rusqlite::Connection::open(&newer)
        .unwrap()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    assert!(matches!(SqliteStore::open(&newer), Err(StoreError::Foreign { .. })));
    let other = folder.path().join("other.db");
    rusqlite::Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE x (y)")
        .unwrap();
    assert!(matches!(SqliteStore::open(&other), Err(StoreError::Foreign { .. })));
}

/// Each closure is all or nothing, also when it shares its commit with others.
#[tokio::test(flavor = "multi_thread")]
async fn closures_are_all_or_nothing() {
    let db = Db::start(Box::new(SqliteStore::in_memory().unwrap())).unwrap();
    let calls: Vec<_> = (0..100u8)
        .map(|n| {
            let db = db.clone();
            tokio::spawn(async move {
                db.call(move |store| {
                    store.put_phone(&phone(n + 1))?;
                    if n % 3 == 0 {
                        return Err(StoreError::Conflict("no".into()));
                    }
                    Ok(n)
                })
                .await
            })
        })
        .collect();
    let mut kept = 0;
    for (n, call) in calls.into_iter().enumerate() {
        let result = call.await.unwrap();
        assert_eq!(result.is_ok(), n % 3 != 0);
        kept += usize::from(result.is_ok());
    }
    assert_eq!(db.call(|store| store.phones()).await.unwrap().len(), kept);
}
