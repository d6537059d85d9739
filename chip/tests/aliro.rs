//! Aliro through two chips: what is remembered survives, what cannot be stored is not said, APDUs in parts.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use tapdoor_chip::personalise::Secret;
use tapdoor_chip::store::{Change, Content};
use tapdoor_chip::{Application, Chip, Personalisation, SqliteStore, Store, StoreError};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::auth::Timestamps;
use tapdoor_protocol::aliro::device::{Credential, Group};
use tapdoor_protocol::aliro::exchange::{MailboxRequest, Operation};
use tapdoor_protocol::aliro::mailbox::Permissions;
use tapdoor_protocol::aliro::reader::Entry;
use tapdoor_protocol::aliro::select::Lengths;
use tapdoor_protocol::aliro::{DeviceConfig, PublicKey, ReaderConfig, ReaderIdentifier};
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::door::{Event, LockStep, Outcome, Verdict};
use tapdoor_protocol::ids::PhoneId;

const READER: [u8; 32] = [0x11; 32];
const CREDENTIALS: [[u8; 32]; 2] = [[0x33; 32], [0x44; 32]];
const NAME: PhoneId = PhoneId(*b"aliro-ph");

fn public(private: &[u8; 32]) -> PublicKey {
    PublicKey(public_uncompressed(&SecretScalar(*private)).unwrap())
}

fn reader(change: impl FnOnce(&mut ReaderConfig)) -> Personalisation {
    let mut config = ReaderConfig::new(ReaderIdentifier::new([2; 16], [9; 16]), public(&READER));
    config.credentials = vec![Entry {
        phone: NAME,
        key: public(&CREDENTIALS[1]),
        not_after: 0,
        revoked: false,
    }];
    change(&mut config);
    Personalisation {
        applications: vec![Application::aliro_lock(Aid::ALIRO_LOCK, &config, Secret::new(READER.to_vec()))],
        ..Personalisation::default()
    }
}

fn device(lengths: Option<Lengths>) -> Personalisation {
    let config = DeviceConfig {
        lengths,
        groups: (1..=2)
            .map(|n| Group {
                identifier: [n; 16],
                key: public(&READER),
                credential: n - 1,
            })
            .collect(),
        credentials: CREDENTIALS
            .iter()
            .map(|private| Credential {
                key: public(private),
                mailbox: 1024,
                permissions: Permissions { read: true, write: true },
                timestamps: Timestamps::default(),
            })
            .collect(),
        ..DeviceConfig::default()
    };
    Personalisation {
        applications: vec![Application::aliro(Aid::ALIRO_EXPEDITED, &config, Secret::new(CREDENTIALS.concat()))],
        ..Personalisation::default()
    }
}

fn in_memory(filling: &Personalisation) -> Chip {
    Chip::personalise(Box::new(SqliteStore::in_memory().unwrap()), filling).unwrap()
}

/// One tap: the verdict and the phone's answers.
fn tap(lock: &mut Chip, phone: &mut Chip) -> (Outcome, Vec<Vec<u8>>) {
    phone.power_on();
    let fci = send(phone, &select(&Aid::ALIRO_EXPEDITED));
    let mut answers = vec![fci.clone()];
    assert_eq!(send(lock, &select(&Aid::ALIRO_LOCK)).last_chunk(), Some(&[0x90, 0x00]));
    let mut step = begin(lock, 0, CLOCK, &fci[..fci.len() - 2]);
    loop {
        match step {
            LockStep::Transmit { command, .. } => {
                let answer = send(phone, &command);
                answers.push(answer.clone());
                step = next(lock, &answer);
            }
            LockStep::Done(outcome) => {
                if let Some(command) = &outcome.control_flow {
                    answers.push(send(phone, command));
                }
                return (outcome, answers);
            }
        }
    }
}

fn opens(lock: &mut Chip, phone: &mut Chip, phase: &str) {
    let (outcome, _) = tap(lock, phone);
    assert_eq!(outcome.verdict, Verdict::Open, "{}", outcome.evidence);
    assert!(outcome.evidence.starts_with(phase), "{}", outcome.evidence);
    assert_eq!(outcome.phone, Some(NAME));
}

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

#[test]
fn what_cannot_be_stored_is_not_said_and_not_remembered() {
    let fails = Arc::new(AtomicBool::new(false));
    let store = Failing(SqliteStore::in_memory().unwrap(), Arc::clone(&fails));
    let mut phone = Chip::personalise(Box::new(store), &device(None)).unwrap();
    let mut lock = in_memory(&reader(|_| ()));
    fails.store(true, Ordering::SeqCst);
    let (outcome, answers) = tap(&mut lock, &mut phone);
    assert_ne!(outcome.verdict, Verdict::Open);
    assert!(answers.contains(&vec![0x6F, 0x00]), "{answers:02x?}");
    fails.store(false, Ordering::SeqCst);
    // The lock learnt nothing, and the phone did not keep in memory what it could not store.
    opens(&mut lock, &mut phone, "standard");
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
