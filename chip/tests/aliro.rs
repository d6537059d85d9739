//! Aliro through two chips: what is remembered survives, what cannot be stored is not said, APDUs in parts.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "common/aliro.rs"]
mod site;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use site::{device, in_memory, opens, reader, tap, try_tap};
use tapdoor_chip::store::{Change, Content};
use tapdoor_chip::{Chip, Personalisation, SqliteStore, Store, StoreError};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::exchange::{MailboxRequest, Operation};
use tapdoor_protocol::aliro::select::Lengths;
use tapdoor_protocol::door::{Event, LockStep, Verdict};

#[test]
fn what_is_remembered_survives_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str, filling: &Personalisation| {
        Chip::personalise(Box::new(SqliteStore::open(&folder.path().join(name)).unwrap()), filling).unwrap()
    };
    {
        let (mut lock, mut phone) = (open("lock", &reader(|_| ())), open("phone", &device(None)));
        opens(&mut lock, &mut phone, "standard");
    }
    {
        let (mut lock, mut phone) = (open("lock", &reader(|_| ())), open("phone", &device(None)));
        opens(&mut lock, &mut phone, "fast");
        let events: Vec<Event> = phone.drain_events().map(|e| e.event).collect();
        assert!(events.contains(&Event::ReaderStatus(0x0101)) && events.contains(&Event::Verdict(Verdict::Open)));
    }
    // A lock that forgot: standard in the same transaction.
    let (mut lock, mut phone) = (in_memory(&reader(|_| ())), open("phone", &device(None)));
    opens(&mut lock, &mut phone, "standard");
    opens(&mut lock, &mut phone, "fast");
}

#[test]
fn the_mailbox_survives_and_long_answers_come_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("phone");
    let requests = |operations: Vec<Operation>| {
        reader(|c| {
            c.mailbox = operations
                .into_iter()
                .map(|operation| MailboxRequest {
                    open: false,
                    operations: vec![operation],
                })
                .collect();
        })
    };
    for (lengths, most) in [
        (None, 256),
        (
            Some(Lengths {
                command: 600,
                response: 400,
            }),
            400,
        ),
    ] {
        let mut lock = in_memory(&requests(vec![Operation::Write {
            offset: 1,
            data: vec![0xAB; 700],
        }]));
        let open = || Chip::personalise(Box::new(SqliteStore::open(&path).unwrap()), &device(lengths)).unwrap();
        opens(&mut lock, &mut open(), "standard");
        let mut lock = in_memory(&requests(vec![Operation::Read { offset: 0, length: 1024 }]));
        let (outcome, answers) = tap(&mut lock, &mut open());
        assert_eq!(outcome.verdict, Verdict::Open, "{}", outcome.evidence);
        assert!(outcome.evidence.contains("mailbox 00abab"), "{}", outcome.evidence);
        assert!(answers.iter().all(|a| a.len() <= most), "no response is longer than allowed");
        assert!(
            answers.iter().any(|a| a.len() > most.min(256) - 2),
            "and they are as long as allowed"
        );
        std::fs::remove_file(&path).unwrap();
    }
}

/// A store whose commits fail while the switch is on.
struct Failing(SqliteStore, Arc<AtomicBool>);

impl Store for Failing {
    fn personalisation(&mut self) -> Result<Personalisation, StoreError> {
        self.0.personalisation()
    }

    fn personalise(&mut self, personalisation: &Personalisation) -> Result<(), StoreError> {
        self.0.personalise(personalisation)
    }

    fn content(&mut self) -> Result<Content, StoreError> {
        self.0.content()
    }

    fn number(&mut self) -> Result<[u8; 8], StoreError> {
        self.0.number()
    }

    fn record(&mut self, aid: &Aid, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.record(aid, name)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if self.1.load(Ordering::SeqCst) {
            return Err(StoreError::Io {
                path: "switch".into(),
                detail: "switched off".into(),
            });
        }
        self.0.commit(changes)
    }
}

fn failing(filling: &Personalisation) -> (Chip, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let store = Failing(SqliteStore::in_memory().unwrap(), Arc::clone(&fails));
    (Chip::personalise(Box::new(store), filling).unwrap(), fails)
}

#[test]
fn what_cannot_be_stored_is_not_said_and_not_remembered() {
    let (mut phone, fails) = failing(&device(None));
    let mut lock = in_memory(&reader(|_| ()));
    fails.store(true, Ordering::SeqCst);
    assert!(try_tap(&mut lock, &mut phone).is_none());
    fails.store(false, Ordering::SeqCst);
    // The lock learnt nothing, and the phone did not keep in memory what it could not store.
    opens(&mut lock, &mut phone, "standard");
    opens(&mut lock, &mut phone, "fast");
}

/// A lock that cannot store says so to the phone, on the channel: reader status 0026.
#[test]
fn a_lock_that_cannot_store_tells_the_phone_0026() {
    let (mut lock, fails) = failing(&reader(|_| ()));
    let mut phone = in_memory(&device(None));
    fails.store(true, Ordering::SeqCst);
    assert!(try_tap(&mut lock, &mut phone).is_none());
    let told: Vec<Event> = phone.drain_events().map(|e| e.event).collect();
    assert!(told.contains(&Event::ReaderStatus(0x0026)), "{told:?}");
    assert!(!told.contains(&Event::ReaderStatus(0x0101)), "{told:?}");
    fails.store(false, Ordering::SeqCst);
    opens(&mut lock, &mut phone, "standard");
    opens(&mut lock, &mut phone, "fast");
    // In the fast phase nothing is stored, so nothing can fail.
    fails.store(true, Ordering::SeqCst);
    opens(&mut lock, &mut phone, "fast");
}

#[test]
fn errors_below_the_application_end_the_session_too() {
    let auth0 = |lock: &mut Chip, phone: &mut Chip| {
        phone.power_on();
        let fci = send(phone, &select(&Aid::ALIRO_EXPEDITED));
        send(lock, &select(&Aid::ALIRO_LOCK));
        let LockStep::Transmit { command, .. } = begin(lock, 0, CLOCK, &fci[..fci.len() - 2]) else {
            panic!("no AUTH0")
        };
        let answer = send(phone, &command);
        let LockStep::Transmit { command, .. } = next(lock, &answer) else {
            panic!("no AUTH1")
        };
        command
    };
    let (mut lock, mut phone) = (in_memory(&reader(|_| ())), in_memory(&device(None)));
    let wrong: [&[u8]; 7] = [
        b"\x80\x81\x00\x00\x45\x41",
        b"\x80\x81\x00\x00\x00\x00\x01\x00\x00\x00",
        b"\x84\x81\x00\x00\x01\x00\x00",
        b"\x00\xA4\x00\x00\x02\x3F\x00\x00",
        b"\x00\xA4\x04\x00\x07\xD2\x76\x00\x00\x85\x01\x01\x00",
        b"\x00\xC0\x00\x00\x10",
        b"\x00\xC3\x00\x00\x01\x53\x00",
    ];
    for bytes in wrong {
        let auth1 = auth0(&mut lock, &mut phone);
        let answer = send(&mut phone, bytes);
        assert_ne!(answer, [0x90, 0x00], "{bytes:02x?}");
        assert_eq!(send(&mut phone, &auth1), [0x6D, 0x00], "{bytes:02x?}");
        assert_eq!(send(&mut phone, b"\x80\x3C\x00\x00\x06\x41\x01\x00\x42\x01\x00"), [0x90, 0x00]);
    }
    // A chain with another command in its middle, and one that a SELECT ends.
    let auth1 = auth0(&mut lock, &mut phone);
    assert_eq!(send(&mut phone, b"\x90\x81\x00\x00\x02\x41\x01\x00"), [0x90, 0x00]);
    assert_eq!(send(&mut phone, b"\x80\xC9\x00\x00\x02\x41\x01\x00"), [0x68, 0x83]);
    assert_eq!(send(&mut phone, &auth1), [0x6D, 0x00]);
    assert_eq!(send(&mut phone, b"\x90\x80\x00\x00\x02\x41\x01\x00"), [0x90, 0x00]);
    assert!(send(&mut phone, &select(&Aid::ALIRO_EXPEDITED)).ends_with(&[0x90, 0x00]));
    // SELECT with a P2 that asks for no FCI.
    let mut other = select(&Aid::ALIRO_EXPEDITED);
    other[3] = 0x0C;
    assert_eq!(send(&mut phone, &other), [0x6A, 0x86]);
    opens(&mut lock, &mut phone, "standard");
}
