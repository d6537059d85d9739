//! A site with one lock and one phone, for tests.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic)]

use tapdoor_chip::personalise::Secret;
use tapdoor_chip::{Application, Chip, ListEntry, Personalisation, SqliteStore, Store};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{BeginData, LockStep, Outcome, keys};
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_protocol::vault::Method;

pub const SITE: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
pub const PHONE: PhoneId = PhoneId([1, 2, 3, 4, 5, 6, 7, 8]);
pub const LOCK: LockId = LockId([0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
pub const CLOCK: u32 = 1_790_000_000;

pub fn phone_personalisation(phone: PhoneId) -> Personalisation {
    let k_ph = keys::phone(&SITE, phone);
    let k_id = Secret::new(keys::recognition(&k_ph).to_vec());
    let k_ph = Secret::new(k_ph.to_vec());
    Personalisation {
        applications: vec![
            Application::challenge_response(Aid::CHALLENGE_RESPONSE, phone, 0x8000_0000, k_ph.clone(), k_id.clone()),
            Application::aka(Aid::AKA, phone, k_ph, k_id),
            Application::identity(Aid::IDENTITY, None),
        ],
        ..Default::default()
    }
}

pub fn entry(phone: PhoneId, lock: LockId) -> ListEntry {
    let k_ph = keys::phone(&SITE, phone);
    ListEntry {
        phone,
        weakest: Method::ChallengeResponse,
        not_after: 0,
        flags: 0,
        k_id: Secret::new(keys::recognition(&k_ph).to_vec()),
        k_l: Secret::new(keys::lock(&k_ph, lock).to_vec()),
        milenage: Some(Secret::new(keys::milenage(&k_ph, lock).to_vec())),
        tuak: Some(Secret::new(keys::tuak(&k_ph, lock).to_vec())),
    }
}

pub fn lock_personalisation(lock: LockId, list: Vec<ListEntry>) -> Personalisation {
    Personalisation {
        applications: vec![
            Application::challenge_response_lock(Aid::CHALLENGE_RESPONSE_LOCK, lock, Aid::CHALLENGE_RESPONSE),
            Application::aka_lock(Aid::AKA_LOCK, lock, Aid::AKA),
            Application::usim_host(Aid::USIM_HOST, lock, None),
        ],
        list,
        ..Default::default()
    }
}

pub fn memory() -> Box<dyn Store> {
    Box::new(SqliteStore::in_memory().unwrap())
}

pub fn phone() -> Chip {
    Chip::personalise(memory(), &phone_personalisation(PHONE)).unwrap()
}

pub fn lock() -> Chip {
    Chip::personalise(memory(), &lock_personalisation(LOCK, vec![entry(PHONE, LOCK)])).unwrap()
}

/// Sends one APDU.
pub fn send(chip: &mut Chip, command: &[u8]) -> Vec<u8> {
    let mut response = Vec::new();
    chip.process(command, &mut response);
    response
}

pub fn select(aid: &Aid) -> Vec<u8> {
    Command::new(0, 0xA4, 4, 0).data(aid.as_bytes()).ne(256).encode().unwrap()
}

/// The same, 61xx followed.
pub fn send_whole(chip: &mut Chip, command: &[u8]) -> Vec<u8> {
    let mut response = send(chip, command);
    while response.len() >= 2 && response[response.len() - 2] == 0x61 {
        let le = response[response.len() - 1];
        response.truncate(response.len() - 2);
        response.extend(send(chip, &[0x00, 0xC0, 0, 0, le]));
    }
    response
}

/// BEGIN at the lock's chip.
pub fn begin(lock: &mut Chip, p2: u8, clock: u32, fci: &[u8]) -> LockStep {
    let data = BeginData { clock, fci }.encode();
    step(lock, 0x10, p2, &data)
}

pub fn next(lock: &mut Chip, answer: &[u8]) -> LockStep {
    step(lock, 0x12, 0, answer)
}

fn step(lock: &mut Chip, ins: u8, p2: u8, data: &[u8]) -> LockStep {
    let command = Command::new(0x80, ins, 0, p2).data(data).ne(256).encode().unwrap();
    let response = send_whole(lock, &command);
    let (data, sw) = response.split_at(response.len() - 2);
    assert_eq!(sw, [0x90, 0x00], "the lock's chip answers {sw:02x?}");
    LockStep::parse(data).unwrap()
}

/// A transcript of a tap: what went to the phone and what came back.
#[derive(Debug, Default)]
pub struct Transcript {
    pub exchanges: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A whole tap, by challenge-response or AKA; `p2` of BEGIN is the AKA algorithm.
pub fn tap(lock: &mut Chip, phone: &mut Chip, phone_aid: &Aid, lock_aid: &Aid, p2: u8, clock: u32) -> (Outcome, Transcript) {
    let mut transcript = Transcript::default();
    phone.power_on();
    let fci = send(phone, &select(phone_aid));
    transcript.exchanges.push((select(phone_aid), fci.clone()));
    assert_eq!(send(lock, &select(lock_aid)).last_chunk(), Some(&[0x90, 0x00]));
    let mut step = begin(lock, p2, clock, &fci[..fci.len() - 2]);
    loop {
        match step {
            LockStep::Transmit { command, .. } => {
                let answer = send(phone, &command);
                transcript.exchanges.push((command, answer.clone()));
                step = next(lock, &answer);
            }
            LockStep::Done(outcome) => return (outcome, transcript),
        }
    }
}

pub fn challenge_response(lock: &mut Chip, phone: &mut Chip) -> (Outcome, Transcript) {
    tap(lock, phone, &Aid::CHALLENGE_RESPONSE, &Aid::CHALLENGE_RESPONSE_LOCK, 0, CLOCK)
}

pub fn aka(lock: &mut Chip, phone: &mut Chip, p2: u8, clock: u32) -> (Outcome, Transcript) {
    tap(lock, phone, &Aid::AKA, &Aid::AKA_LOCK, p2, clock)
}
