//! Our chips, byte for byte, against vectors that another implementation computed from docs/protocol.md (`tests/peers/make_vectors.py`).
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::VecDeque;

use common::*;
use serde_json::Value;
use tapdoor_chip::personalise::Secret;
use tapdoor_chip::store::Change;
use tapdoor_chip::{Application, Chip, Personalisation, RandomSource, SqliteStore, Store};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::freshness::{Generator, PerLock};
use tapdoor_protocol::aka::quantities::Subscriber;
use tapdoor_protocol::aka::{Algorithm, Autn, Rand};
use tapdoor_protocol::crypto::{self, ecies, sign};
use tapdoor_protocol::door::{LockStep, Outcome, Verdict, keys};
use tapdoor_protocol::identity::{Identity, IdentityKind, Request};
use tapdoor_protocol::vault::VaultError;

/// Hands out what it was given, in pieces that must have the length that is asked for; then fails.
struct Given(VecDeque<Vec<u8>>);

impl RandomSource for Given {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), VaultError> {
        let piece = self.0.pop_front().ok_or(VaultError::Random)?;
        assert_eq!(piece.len(), out.len());
        out.copy_from_slice(&piece);
        Ok(())
    }
}

fn given(pieces: &[&[u8]]) -> Box<dyn RandomSource> {
    Box::new(Given(pieces.iter().map(|p| p.to_vec()).collect()))
}

struct Vectors(Value);

impl Vectors {
    fn new() -> Self {
        Self(serde_json::from_str(include_str!("../../tests/peers/vectors.json")).unwrap())
    }

    fn get(&self, group: &str, name: &str) -> Vec<u8> {
        hex::decode(self.0[group][name].as_str().unwrap_or_else(|| panic!("{group}: {name} is missing"))).unwrap()
    }

    fn array<const N: usize>(&self, group: &str, name: &str) -> [u8; N] {
        self.get(group, name).try_into().unwrap()
    }
}

fn opened(personalisation: &Personalisation, changes: &[Change], random: Box<dyn RandomSource>) -> Chip {
    let mut store = SqliteStore::in_memory().unwrap();
    store.personalise(personalisation).unwrap();
    store.commit(changes).unwrap();
    Chip::open_with(Box::new(store), random).unwrap()
}

/// What the lock's chip sends to the phone.
fn transmitted(step: LockStep) -> Vec<u8> {
    match step {
        LockStep::Transmit { command, phone } => {
            assert_eq!(phone, Some(PHONE));
            command
        }
        LockStep::Done(outcome) => panic!("{outcome:?}"),
    }
}

fn done(step: LockStep) -> Outcome {
    match step {
        LockStep::Done(outcome) => outcome,
        LockStep::Transmit { command, .. } => panic!("{command:02x?}"),
    }
}

#[test]
fn keys_are_those_of_the_vectors() {
    let v = Vectors::new();
    let k = |name| v.get("keys", name);
    assert_eq!(
        (k("phone id"), k("lock id"), k("K_site")),
        (PHONE.0.to_vec(), LOCK.0.to_vec(), SITE.to_vec())
    );
    let k_ph = keys::phone(&SITE, PHONE);
    assert_eq!(k_ph.to_vec(), k("K_ph"));
    assert_eq!(keys::recognition(&k_ph).to_vec(), k("K_id"));
    assert_eq!(keys::lock(&k_ph, LOCK).to_vec(), k("K_l"));
    assert_eq!(keys::milenage(&k_ph, LOCK).to_vec(), k("K || OPc"));
    assert_eq!(keys::tuak(&k_ph, LOCK).to_vec(), k("K || TOPc"));
}

#[test]
fn challenge_response_byte_for_byte() {
    let v = Vectors::new();
    let cr = |name| v.get("challenge-response", name);
    let (rp, rl) = (v.get("keys", "RP"), v.get("keys", "RL"));
    let clock = u32::from_be_bytes(v.array("keys", "clock"));

    let mut phone = opened(&phone_personalisation(PHONE), &[], given(&[&rp]));
    assert_eq!(select(&Aid::CHALLENGE_RESPONSE), cr("SELECT"));
    let fci = send(&mut phone, &cr("SELECT"));
    assert_eq!(fci, cr("SELECT response"));
    assert_eq!(send(&mut phone, &cr("AUTHENTICATE")), cr("AUTHENTICATE response"));
    assert_eq!(send(&mut phone, &cr("CONTROL FLOW opened")), [0x90, 0x00]);
    let events: Vec<_> = phone.drain_events().map(|e| e.event).collect();
    use tapdoor_protocol::door::Event;
    assert_eq!(events, [Event::Authenticated { lock: LOCK, clock }, Event::Verdict(Verdict::Open)]);

    let mut lock = opened(&lock_personalisation(LOCK, vec![entry(PHONE, LOCK)]), &[], given(&[&rl]));
    send(&mut lock, &select(&Aid::CHALLENGE_RESPONSE_LOCK));
    let command = transmitted(begin(&mut lock, 0, clock, &fci[..fci.len() - 2]));
    assert_eq!(command, cr("AUTHENTICATE"));
    let outcome = done(next(&mut lock, &cr("AUTHENTICATE response")));
    assert_eq!(
        (outcome.verdict, outcome.flags),
        (Verdict::Open, Some(u32::from_be_bytes(v.array("keys", "flags"))))
    );
    assert_eq!(outcome.control_flow, Some(cr("CONTROL FLOW opened")));
}

fn aka_byte_for_byte(group: &str, algorithm: Algorithm) {
    let v = Vectors::new();
    let aka = |name| v.get(group, name);
    let number = |bytes: [u8; 6]| bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let (rp, rand) = (v.get("keys", "RP"), v.array::<16>("keys", "RAND"));
    let (seq, seq_ms) = (number(v.array("keys", "SEQ")), number(v.array("keys", "SEQ_MS")));
    let clock = u32::try_from(Generator::EPOCH + seq).unwrap();

    // A phone that is new.
    let mut phone = opened(&phone_personalisation(PHONE), &[], given(&[&rp]));
    assert_eq!(select(&Aid::AKA), aka("SELECT"));
    let fci = send(&mut phone, &aka("SELECT"));
    assert_eq!(fci, aka("SELECT response"));
    assert_eq!(send(&mut phone, &aka("AUTHENTICATE")), aka("AUTHENTICATE response"));
    assert_eq!(send(&mut phone, &aka("CONTROL FLOW opened")), [0x90, 0x00]);

    // A phone that is ahead.
    let mut sequences = PerLock::new();
    sequences.accept(LOCK, seq_ms);
    let record = Change::Record {
        aid: Aid::AKA,
        name: b"seq".to_vec(),
        value: sequences.to_bytes(),
    };
    let mut phone = opened(&phone_personalisation(PHONE), &[record], given(&[&rp]));
    assert_eq!(send(&mut phone, &aka("SELECT")), aka("SELECT response"));
    assert_eq!(send(&mut phone, &aka("AUTHENTICATE")), aka("sequence failure response"));

    // The lock, with the phone that is new.
    let other = [0x77; 16];
    let personalisation = lock_personalisation(LOCK, vec![entry(PHONE, LOCK)]);
    let begun = |lock: &mut Chip| {
        send(lock, &select(&Aid::AKA_LOCK));
        transmitted(begin(lock, algorithm.p2(), clock, &fci[..fci.len() - 2]))
    };
    let mut lock = opened(&personalisation, &[], given(&[&rand]));
    assert_eq!(begun(&mut lock), aka("AUTHENTICATE"));
    let outcome = done(next(&mut lock, &aka("AUTHENTICATE response")));
    assert_eq!((outcome.verdict, outcome.flags), (Verdict::Open, None));
    assert_eq!(outcome.control_flow, Some(aka("CONTROL FLOW opened")));

    // The lock, with the phone that is ahead: the next SEQ is the one above the phone's.
    let mut lock = opened(&personalisation, &[], given(&[&rand, &other]));
    assert_eq!(begun(&mut lock), aka("AUTHENTICATE"));
    let again = transmitted(next(&mut lock, &aka("sequence failure response")));
    assert_eq!(
        (&again[..5], &again[5..21], &again[37..45]),
        (&[0x80, 0x88, 0, algorithm.p2(), 40][..], &other[..], &LOCK.0[..])
    );
    let key = if algorithm == Algorithm::Milenage {
        [aka("K"), aka("OPc")]
    } else {
        [aka("K"), aka("TOPc")]
    }
    .concat();
    let autn = Autn(again[21..37].try_into().unwrap());
    let (sqn, amf, ..) = Subscriber::from_bytes(algorithm, &key)
        .unwrap()
        .open_autn(&Rand(other), &autn)
        .unwrap();
    assert_eq!((sqn.seq(), sqn.ind(), amf.0), (seq_ms + 1, 0, [0, 0]));

    // Every bit of X is checked.
    for byte in 2..32 {
        let mut lock = opened(&personalisation, &[], given(&[&rand, &other]));
        begun(&mut lock);
        let mut answer = aka("sequence failure response");
        answer[byte] ^= 0x10;
        let outcome = done(next(&mut lock, &answer));
        assert_eq!(
            outcome.verdict,
            Verdict::Refused(tapdoor_protocol::door::Reason::WrongKey),
            "byte {byte}"
        );
    }
}

#[test]
fn aka_by_milenage_byte_for_byte() {
    aka_byte_for_byte("aka-milenage", Algorithm::Milenage);
}

#[test]
fn aka_by_tuak_byte_for_byte() {
    aka_byte_for_byte("aka-tuak", Algorithm::Tuak);
}

#[test]
fn identity_byte_for_byte() {
    let v = Vectors::new();
    let id = |name| v.get("identity", name);
    let agent = Secret::new(id("K_agent"));
    let identity = |plain| Identity {
        kind: IdentityKind::Imei,
        digits: String::from_utf8(id("digits")).unwrap(),
        server: id("server key"),
        plain,
    };
    let phone = |plain| Personalisation {
        applications: vec![Application::identity(Aid::IDENTITY, Some((&identity(plain), agent.clone())))],
        ..Default::default()
    };
    let mut chip = opened(&phone(false), &[], given(&[&id("phone's new private key")]));
    assert_eq!(send(&mut chip, &id("SELECT")), id("SELECT response"));
    assert_eq!(send(&mut chip, &id("GET IDENTITY")), id("GET IDENTITY response"));
    // Without randomness there is no identity, and nothing of it leaves.
    assert_eq!(send(&mut chip, &id("GET IDENTITY")), [0x6F, 0x00]);

    // The server's side of it.
    let answer = id("GET IDENTITY response");
    let private = ecies::SecretScalar(v.array("identity", "server's private key"));
    let e: [u8; 33] = answer[1..34].try_into().unwrap();
    let plain = ecies::open(&private, &e, &answer[34..answer.len() - 2]).unwrap();
    let mac = |e: &[u8]| crypto::cmac(agent.expose(), &[&LOCK.0, &id("nonce"), e]).unwrap();
    let expected = |e: &[u8]| [&[1, 15][..], &id("digits"), &mac(e)].concat();
    assert_eq!(plain, expected(&e));

    // The laboratory's switch: the same in plain.
    let mut chip = opened(&phone(true), &[], given(&[]));
    send(&mut chip, &id("SELECT"));
    assert_eq!(
        send(&mut chip, &id("GET IDENTITY")),
        [&[0x01][..], &expected(&[]), &[0x90, 0x00]].concat()
    );
}

#[test]
fn the_request_is_what_the_page_says_and_signed() {
    let v = Vectors::new();
    let id = |name| v.get("identity", name);
    let signing = [0x31; 32];
    let personalisation = Personalisation {
        applications: vec![Application::request_lock(Aid::REQUEST_LOCK, LOCK, Secret::new(signing))],
        ..Default::default()
    };
    let mut lock = opened(&personalisation, &[], given(&[&id("nonce")]));
    send(&mut lock, &select(&Aid::REQUEST_LOCK));
    let answer = id("GET IDENTITY response");
    let request = |data: &[u8]| {
        tapdoor_protocol::apdu::Command::new(0x80, 0x14, 0, 0)
            .data(data)
            .ne(256)
            .encode()
            .unwrap()
    };
    assert_eq!(send(&mut lock, &request(&answer)), [0x69, 0x85], "REQUEST without BEGIN");
    let LockStep::Transmit { command, .. } = begin(&mut lock, 0, CLOCK, &[]) else {
        panic!()
    };
    assert_eq!(command, id("GET IDENTITY"));

    let response = send_whole(&mut lock, &request(&answer));
    let (data, sw) = response.split_at(response.len() - 2);
    assert_eq!(sw, [0x90, 0x00]);
    let made = Request::parse(data).unwrap();
    let identity = &answer[..answer.len() - 2];
    let length = [0, u8::try_from(identity.len()).unwrap()];
    assert_eq!(
        made.signed,
        [&[1][..], &LOCK.0, &id("nonce"), &CLOCK.to_be_bytes(), &length, identity].concat()
    );
    let public = ecies::public_compressed(&ecies::SecretScalar(signing)).unwrap();
    assert!(sign::verify(&public, &made.signed, &made.signature));
    assert_eq!(send(&mut lock, &request(&answer)), [0x69, 0x85], "a nonce serves once");
}
