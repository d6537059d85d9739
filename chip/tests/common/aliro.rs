//! An Aliro reader and a user device in chips, for tests. The reader is of group 2, where the device uses its second credential.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tapdoor_chip::personalise::Secret;
use tapdoor_chip::{Application, Chip, Personalisation, SqliteStore};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::auth::Timestamps;
use tapdoor_protocol::aliro::device::{Credential, Group};
use tapdoor_protocol::aliro::mailbox::Permissions;
use tapdoor_protocol::aliro::reader::Entry;
use tapdoor_protocol::aliro::select::Lengths;
use tapdoor_protocol::aliro::{DeviceConfig, PublicKey, ReaderConfig, ReaderIdentifier};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::door::{BeginData, LockStep, Outcome, Verdict};
use tapdoor_protocol::ids::PhoneId;

use crate::common::{CLOCK, select, send, send_whole};

pub const READER: [u8; 32] = [0x11; 32];
pub const CREDENTIALS: [[u8; 32]; 2] = [[0x33; 32], [0x44; 32]];
pub const NAME: PhoneId = PhoneId(*b"aliro-ph");

pub fn public(private: &[u8; 32]) -> PublicKey {
    PublicKey(public_uncompressed(&SecretScalar(*private)).unwrap())
}

pub fn reader(change: impl FnOnce(&mut ReaderConfig)) -> Personalisation {
    let mut config = ReaderConfig::new(ReaderIdentifier::new([2; 16], [9; 16]), public(&READER));
    config.credentials = vec![Entry {
        phone: NAME,
        key: public(&CREDENTIALS[1]),
        not_before: 0,
        not_after: 0,
        revoked: false,
    }];
    change(&mut config);
    Personalisation {
        applications: vec![Application::aliro_lock(Aid::ALIRO_LOCK, &config, Secret::new(READER.to_vec()))],
        ..Personalisation::default()
    }
}

pub fn device(lengths: Option<Lengths>) -> Personalisation {
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

pub fn in_memory(filling: &Personalisation) -> Chip {
    Chip::personalise(Box::new(SqliteStore::in_memory().unwrap()), filling).unwrap()
}

/// One tap: the verdict and the phone's answers. `None` when a chip could not store something.
pub fn try_tap(lock: &mut Chip, phone: &mut Chip) -> Option<(Outcome, Vec<Vec<u8>>)> {
    phone.power_on();
    let fci = send(phone, &select(&Aid::ALIRO_EXPEDITED));
    let mut answers = vec![fci.clone()];
    assert_eq!(send(lock, &select(&Aid::ALIRO_LOCK)).last_chunk(), Some(&[0x90, 0x00]));
    let begin = BeginData {
        clock: CLOCK,
        fci: fci.strip_suffix(&[0x90, 0x00])?,
    };
    let mut now = step(lock, 0x10, &begin.encode())?;
    loop {
        match now {
            LockStep::Transmit { command, .. } => {
                let answer = send(phone, &command);
                answers.push(answer.clone());
                now = step(lock, 0x12, &answer)?;
            }
            LockStep::Done(outcome) => {
                if let Some(command) = outcome.control_flow.as_ref().filter(|_| outcome.verdict != Verdict::Open) {
                    answers.push(send(phone, command));
                }
                let stored = lock.take_failure().is_none() && phone.take_failure().is_none();
                return stored.then_some((outcome, answers));
            }
        }
    }
}

fn step(lock: &mut Chip, ins: u8, data: &[u8]) -> Option<LockStep> {
    let command = Command::new(0x80, ins, 0, 0).data(data).ne(256).encode().unwrap();
    let answer = send_whole(lock, &command);
    Some(LockStep::parse(answer.strip_suffix(&[0x90, 0x00])?).unwrap())
}

pub fn tap(lock: &mut Chip, phone: &mut Chip) -> (Outcome, Vec<Vec<u8>>) {
    try_tap(lock, phone).expect("what must be stored is stored")
}

pub fn opens(lock: &mut Chip, phone: &mut Chip, phase: &str) {
    let (outcome, _) = tap(lock, phone);
    assert_eq!(outcome.verdict, Verdict::Open, "{}", outcome.evidence);
    assert!(outcome.evidence.starts_with(phase), "{}", outcome.evidence);
    assert_eq!(outcome.phone, Some(NAME));
}
