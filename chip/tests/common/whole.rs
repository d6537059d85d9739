//! A chip with everything on it, and taps that are stopped before AUTHENTICATE.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic)]

use tapdoor_chip::personalise::Secret;
use tapdoor_chip::{Application, Chip, Personalisation, TestSubscriber};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::aka::profile_u::Profile;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::LockStep;
use tapdoor_protocol::ids::PhoneId;

use super::common::*;

pub const OK: [u8; 2] = [0x90, 0x00];
/// What our AIDs have in common.
pub const OURS: &[u8] = &[0xF0, 0x54, 0x41, 0x50, 0x44, 0x4F, 0x4F, 0x52];

pub fn select_p2(aid: &[u8], p2: u8) -> Vec<u8> {
    Command::new(0, 0xA4, 4, p2).data(aid).ne(256).encode().unwrap()
}

pub fn sw(response: &[u8]) -> u16 {
    u16::from_be_bytes(*response.last_chunk().unwrap())
}

/// The AID in an FCI, `6F..{84{AID}..}9000`.
pub fn selected(response: &[u8]) -> Vec<u8> {
    assert_eq!(sw(response), 0x9000, "{response:02x?}");
    assert_eq!((response[0], response[2]), (0x6F, 0x84));
    response[4..4 + usize::from(response[3])].to_vec()
}

/// Plain CONTROL FLOW is known to the phone halves only: who is selected?
pub fn is_phone_half_selected(chip: &mut Chip) -> bool {
    sw(&send(chip, &[0x80, 0x3C, 0, 0, 1, 4])) == 0x9000
}

/// A challenge-response AUTHENTICATE that is right for this phone now.
pub fn honest(lock: &mut Chip, phone: &mut Chip, lock_aid: &Aid, phone_aid: &Aid, p2: u8) -> Vec<u8> {
    let fci = send(phone, &select(phone_aid));
    assert_eq!(sw(&send(lock, &select(lock_aid))), 0x9000);
    match begin(lock, p2, CLOCK, &fci[..fci.len() - 2]) {
        LockStep::Transmit { command, .. } => command,
        LockStep::Done(outcome) => panic!("{outcome:?}"),
    }
}

pub fn honest_cr(lock: &mut Chip, phone: &mut Chip) -> Vec<u8> {
    honest(lock, phone, &Aid::CHALLENGE_RESPONSE_LOCK, &Aid::CHALLENGE_RESPONSE, 0)
}

pub fn honest_aka(lock: &mut Chip, phone: &mut Chip, p2: u8) -> Vec<u8> {
    honest(lock, phone, &Aid::AKA_LOCK, &Aid::AKA, p2)
}

pub fn profile() -> Profile {
    Profile {
        algorithm: Algorithm::Milenage,
        iccid: "8949000000000000000".into(),
        imsi: "001010123456063".into(),
        pin: None,
        kc: false,
        start: 0,
        age_limit: None,
    }
}

/// Both sides in one chip: phone halves, lock halves, the list and a test subscriber.
pub fn everything() -> Personalisation {
    let mut all = phone_personalisation(PHONE);
    all.applications
        .push(Application::usim(Aid::USIM, &profile(), Secret::new([9; 32])));
    let lock = lock_personalisation(LOCK, vec![entry(PHONE, LOCK)]);
    all.applications.extend(lock.applications);
    all.applications
        .push(Application::request_lock(Aid::REQUEST_LOCK, LOCK, Secret::new([3; 32])));
    all.list = lock.list;
    let key = Secret::new([9; 32]);
    all.subscribers = vec![TestSubscriber {
        phone: PhoneId([9; 8]),
        imsi: profile().imsi,
        algorithm: Algorithm::Milenage,
        not_after: 0,
        key,
    }];
    all
}
