//! Our reader against our device, and each against a peer that misbehaves.

use tapdoor_protocol::aliro::AliroVault;
use tapdoor_protocol::aliro::auth::Timestamps;
use tapdoor_protocol::aliro::certificate::{Certificate, CertificateFields};
use tapdoor_protocol::aliro::channel::{Channel, ChannelError, Side};
use tapdoor_protocol::aliro::device::{Credential, Group};
use tapdoor_protocol::aliro::exchange::{MailboxRequest, Operation};
use tapdoor_protocol::aliro::mailbox::Permissions;
use tapdoor_protocol::aliro::reader::{Entry, Placement};
use tapdoor_protocol::aliro::schedule::SessionKeys;
use tapdoor_protocol::aliro::select::Lengths;
use tapdoor_protocol::aliro::{DeviceConfig, KeyForm, PublicKey, Reader, ReaderConfig, ReaderIdentifier, ReaderStatus};
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::crypto::sign;
use tapdoor_protocol::door::{BeginData, Event, LockStep, Outcome, Reason, Verdict};

use crate::card::Card;
use crate::vault::MemoryVault;
use crate::vectors::PHONE;

pub const SELECT: &[u8] = b"\x00\xA4\x04\x00\x09\xA0\x00\x00\x09\x09\xAC\xCE\x55\x01\x00";
const READER: [u8; 32] = [0x11; 32];
const ISSUER: [u8; 32] = [0x22; 32];
const CREDENTIAL: [u8; 32] = [0x33; 32];
const CLOCK: u32 = 1_800_000_000;

/// Bends the answer to a command.
type Bender<'a> = dyn FnMut(&[u8], Vec<u8>) -> Vec<u8> + 'a;

pub fn public(private: &[u8; 32]) -> PublicKey {
    PublicKey(public_uncompressed(&SecretScalar(*private)).unwrap())
}

pub fn device_config() -> DeviceConfig {
    DeviceConfig {
        groups: vec![
            Group {
                identifier: [1; 16],
                key: public(&READER),
                credential: 0,
            },
            Group {
                identifier: [2; 16],
                key: public(&ISSUER),
                credential: 1,
            },
        ],
        credentials: [CREDENTIAL, [0x44; 32]]
            .iter()
            .map(|private| Credential {
                key: public(private),
                mailbox: 512,
                permissions: Permissions { read: true, write: true },
                timestamps: Timestamps::default(),
            })
            .collect(),
        ..DeviceConfig::default()
    }
}

pub fn card() -> Card {
    Card::new(device_config(), MemoryVault::new(&[CREDENTIAL, [0x44; 32]]))
}

pub struct Lock {
    pub reader: Reader,
    pub vault: MemoryVault,
}

impl Lock {
    pub fn new(change: impl FnOnce(&mut ReaderConfig)) -> Self {
        let mut config = ReaderConfig::new(ReaderIdentifier::new([1; 16], [9; 16]), public(&READER));
        config.credentials = vec![Entry {
            phone: PHONE,
            key: public(&CREDENTIAL),
            not_before: 0,
            not_after: 0,
            revoked: false,
        }];
        change(&mut config);
        Self {
            reader: Reader::new(config),
            vault: MemoryVault::new(&[READER]),
        }
    }

    /// The same with its memory and another configuration.
    pub fn change(&mut self, change: impl FnOnce(&mut ReaderConfig)) {
        let mut config = self.reader.config().clone();
        change(&mut config);
        self.reader = Reader::new(config);
    }

    /// One tap, through `bend`, which sees and may change every answer. Gives the verdict and the commands.
    pub fn tap_bent(&mut self, card: &mut Card, bend: &mut Bender<'_>) -> (Outcome, Vec<Vec<u8>>) {
        let mut commands = vec![SELECT.to_vec()];
        let select = card.transmit(SELECT);
        let answer = bend(SELECT, select);
        let fci = &answer[..answer.len().saturating_sub(2)];
        let mut step = self
            .reader
            .begin(&mut self.vault, &BeginData { clock: CLOCK, fci }.encode())
            .unwrap();
        loop {
            match step {
                LockStep::Transmit { command, .. } => {
                    assert!(commands.len() < 200, "without end");
                    let answer = card.transmit(&command);
                    let answer = bend(&command, answer);
                    commands.push(command);
                    step = self.reader.next(&mut self.vault, &answer).unwrap();
                }
                LockStep::Done(outcome) => {
                    if let Some(command) = outcome.control_flow.as_ref().filter(|_| outcome.verdict != Verdict::Open) {
                        card.transmit(command);
                    }
                    assert_eq!(self.vault.alive(), 0, "keys of the lock's session are gone");
                    return (outcome, commands);
                }
            }
        }
    }

    pub fn tap(&mut self, card: &mut Card) -> (Outcome, usize) {
        let (outcome, commands) = self.tap_bent(card, &mut |_, answer| answer);
        (outcome, commands.len())
    }
}

fn opened(outcome: &Outcome, phase: &str) {
    assert_eq!(outcome.verdict, Verdict::Open, "{}", outcome.evidence);
    assert_eq!(outcome.phone, Some(PHONE));
    assert!(outcome.evidence.starts_with(phase), "{}", outcome.evidence);
    assert!(!outcome.evidence.contains("did not confirm"), "{}", outcome.evidence);
}

#[test]
fn standard_then_fast_with_four_and_three_apdus() {
    for form in [KeyForm::Slot, KeyForm::PublicKey] {
        let (mut lock, mut card) = (Lock::new(|c| c.form = form), card());
        let (outcome, apdus) = lock.tap(&mut card);
        opened(&outcome, "standard");
        assert_eq!(apdus, 4);
        for _ in 0..3 {
            let (outcome, apdus) = lock.tap(&mut card);
            opened(&outcome, "fast");
            assert_eq!(apdus, 3);
        }
        assert_eq!(
            card.events
                .iter()
                .filter(|e| matches!(e, Event::AliroReader { fast: true, .. }))
                .count(),
            3
        );
        assert_eq!(card.events.iter().filter(|e| **e == Event::ReaderStatus(0x0101)).count(), 4);
    }
}

fn certified(placement: Placement) -> Lock {
    let fields = CertificateFields {
        subject: b"door 7 of the long corridor, up".to_vec(),
        issuer: b"the issuer of this building ltd".to_vec(),
        ..CertificateFields::default()
    };
    let certificate = Certificate::issue(fields, public(&READER), &public(&ISSUER), |tbs| sign::sign(&ISSUER, tbs)).unwrap();
    Lock::new(|c| {
        c.identifier = ReaderIdentifier::new([2; 16], [9; 16]);
        c.group_key = public(&ISSUER);
        c.certificate = Some((certificate.encode(), placement));
        c.credentials[0].key = public(&[0x44; 32]);
    })
}

#[test]
fn with_a_certificate() {
    let (mut lock, mut card) = (certified(Placement::LoadCert), card());
    let (outcome, apdus) = lock.tap(&mut card);
    opened(&outcome, "standard");
    assert_eq!(apdus, 5);
    assert_eq!(lock.tap(&mut card).1, 3, "no certificate in the fast phase");
    let (mut lock, mut card) = (certified(Placement::Auth1), self::card());
    let (outcome, apdus) = lock.tap(&mut card);
    opened(&outcome, "standard");
    assert_eq!(apdus, 5, "AUTH1 takes two parts");
    // A device that takes extended lengths gets AUTH1 in one.
    let mut config = device_config();
    config.lengths = Some(Lengths {
        command: 600,
        response: 600,
    });
    let mut card = Card::new(config, MemoryVault::new(&[CREDENTIAL, [0x44; 32]]));
    let (outcome, apdus) = certified(Placement::Auth1).tap(&mut card);
    opened(&outcome, "standard");
    assert_eq!(apdus, 4);
}

#[test]
fn credentials_that_may_not_open() {
    let (mut lock, mut card) = (Lock::new(|_| ()), card());
    opened(&lock.tap(&mut card).0, "standard");
    let mut refused = |change: fn(&mut ReaderConfig), reason, status, phase: &str| {
        lock.change(change);
        card.events.clear();
        let (outcome, _) = lock.tap(&mut card);
        assert_eq!(outcome.verdict, Verdict::Refused(reason), "{}", outcome.evidence);
        assert!(outcome.evidence.starts_with(phase), "{}", outcome.evidence);
        assert!(card.events.contains(&Event::ReaderStatus(status)), "{:?}", card.events);
    };
    refused(|c| c.credentials[0].revoked = true, Reason::NotEntitled, 0x0003, "fast");
    refused(
        |c| (c.credentials[0].revoked, c.credentials[0].not_after) = (false, CLOCK),
        Reason::NotEntitled,
        0x0002,
        "fast",
    );
    refused(
        |c| (c.credentials[0].not_before, c.credentials[0].not_after) = (CLOCK + 1, 0),
        Reason::NotEntitled,
        0x0025,
        "fast",
    );
    refused(|c| c.fast = false, Reason::NotEntitled, 0x0025, "standard");
    refused(
        |c| (c.credentials[0].not_before, c.credentials[0].not_after) = (CLOCK, CLOCK),
        Reason::NotEntitled,
        0x0002,
        "standard",
    );
    refused(|c| c.credentials[0].revoked = true, Reason::NotEntitled, 0x0003, "standard");
    refused(|c| c.credentials.clear(), Reason::UnknownPhone, 0x0001, "standard");
    // Taken off the list while both sides remember it.
    let (mut lock, mut card) = (Lock::new(|_| ()), self::card());
    opened(&lock.tap(&mut card).0, "standard");
    lock.change(|c| c.credentials.clear());
    let (outcome, _) = lock.tap(&mut card);
    assert_eq!(outcome.verdict, Verdict::Refused(Reason::UnknownPhone), "{}", outcome.evidence);
    assert!(outcome.evidence.starts_with("fast"), "{}", outcome.evidence);
    assert!(lock.vault.remembered.is_empty(), "what was taken off the list is forgotten");
}

#[test]
fn unknown_readers_learn_nothing() {
    let (mut lock, mut card) = (Lock::new(|c| c.identifier = ReaderIdentifier::new([7; 16], [9; 16])), card());
    let (outcome, commands) = lock.tap_bent(&mut card, &mut |_, answer| answer);
    assert_eq!(outcome.verdict, Verdict::Refused(Reason::WrongKey));
    assert_eq!(commands.len(), 3, "SELECT, AUTH0, AUTH1");
    // A known group whose reader has another key.
    let mut lock = Lock::new(|_| ());
    lock.vault = MemoryVault::new(&[[0x55; 32]]);
    let (outcome, _) = lock.tap(&mut card);
    assert_eq!(outcome.verdict, Verdict::Refused(Reason::WrongKey));
    assert!(card.vault.remembered.is_empty() && card.vault.signed.is_empty());
    // Two FAST in a row: nothing is the same.
    let mut answers = Vec::new();
    let mut auth0 = Vec::new();
    for _ in 0..2 {
        card.transmit(SELECT);
        if auth0.is_empty() {
            let (_, commands) = Lock::new(|_| ()).tap_bent(&mut self::card(), &mut |_, answer| answer);
            auth0 = commands[1].clone();
        }
        let answer = card.transmit(&auth0);
        assert_eq!(answer.len(), 67 + 66 + 2);
        answers.push(answer);
    }
    assert_ne!(answers[0][2..67], answers[1][2..67]);
    assert_ne!(answers[0][69..133], answers[1][69..133]);
}

#[test]
fn a_lost_memory_falls_to_standard_in_the_same_transaction() {
    let (mut lock, mut card) = (Lock::new(|_| ()), card());
    opened(&lock.tap(&mut card).0, "standard");
    let kept = std::mem::take(&mut lock.vault.remembered);
    let (outcome, apdus) = lock.tap(&mut card);
    opened(&outcome, "standard");
    assert_eq!(apdus, 4);
    assert_ne!(lock.vault.remembered, kept, "a new one was made");
    card.vault.remembered.clear();
    opened(&lock.tap(&mut card).0, "standard");
    opened(&lock.tap(&mut card).0, "fast");
}

#[test]
fn sixteen_readers_of_one_group_hit() {
    let mut card = card();
    let mut locks: Vec<Lock> = (0..16)
        .map(|n| Lock::new(|c| c.identifier = ReaderIdentifier::new([1; 16], [n; 16])))
        .collect();
    for lock in &mut locks {
        opened(&lock.tap(&mut card).0, "standard");
    }
    for lock in &mut locks {
        opened(&lock.tap(&mut card).0, "fast");
    }
}

#[test]
fn the_mailbox_is_read_written_and_atomic() {
    let requests = vec![
        MailboxRequest {
            open: true,
            operations: vec![Operation::Write {
                offset: 0,
                data: vec![0xAA; 300],
            }],
        },
        MailboxRequest {
            open: false,
            operations: vec![
                Operation::Read { offset: 0, length: 2 },
                Operation::Write {
                    offset: 1,
                    data: vec![0xBB],
                },
                Operation::Set {
                    offset: 1,
                    length: 2,
                    value: 0xCC,
                },
            ],
        },
        MailboxRequest {
            open: false,
            operations: vec![Operation::Read { offset: 0, length: 512 }],
        },
    ];
    let (mut lock, mut card) = (Lock::new(|c| c.mailbox = requests), card());
    let (outcome, _) = lock.tap(&mut card);
    opened(&outcome, "standard");
    // The atomic session had stored nothing when the first read came; sets come before writes.
    assert!(outcome.evidence.contains("mailbox 0000; mailbox aabbcc"), "{}", outcome.evidence);
    let (outcome, _) = lock.tap(&mut card);
    opened(&outcome, "fast");
    lock.change(|c| {
        c.mailbox = vec![MailboxRequest {
            open: false,
            operations: vec![Operation::Read { offset: 500, length: 13 }],
        }];
    });
    let (outcome, _) = lock.tap(&mut card);
    assert_eq!(outcome.verdict, Verdict::Refused(Reason::CardError));
    assert!(outcome.evidence.contains("ffff"), "{}", outcome.evidence);
    assert_eq!(
        outcome.control_flow.as_deref(),
        Some(&b"\x80\x3C\x00\x00\x06\x41\x01\x00\x42\x01\x00"[..])
    );
}

#[test]
fn a_mailbox_that_is_not_offered_is_left_alone() {
    let mut config = device_config();
    config.credentials[0].permissions.write = false;
    let mut card = Card::new(config, MemoryVault::new(&[CREDENTIAL, [0x44; 32]]));
    let mut lock = Lock::new(|c| {
        c.mailbox = vec![MailboxRequest {
            open: false,
            operations: vec![Operation::Write { offset: 0, data: vec![1] }],
        }];
    });
    let (outcome, apdus) = lock.tap(&mut card);
    opened(&outcome, "standard");
    assert_eq!(apdus, 4);
    assert!(outcome.evidence.contains("does not offer"));
}

/// Each answer in turn is cut off, bent, answered by an error or not at all: never open (the status aside), and the next tap is clean.
#[test]
fn every_answer_wrong_in_turn() {
    type Bend = (&'static str, fn(Vec<u8>) -> Vec<u8>);
    let bends: [Bend; 8] = [
        ("nothing", |_| Vec::new()),
        ("one byte", |a| a[..1].to_vec()),
        ("an error", |_| vec![0x69, 0x82]),
        ("no data", |_| vec![0x90, 0x00]),
        ("a bent byte", |mut a| {
            let at = a.len() / 2;
            a[at] ^= 1;
            a
        }),
        ("cut short", |a| [&a[..a.len() / 2], &[0x90, 0x00]].concat()),
        ("61 for ever", |_| vec![0x61, 0x10]),
        ("too long", |_| [&[0x55; 254][..], &[0x61, 0x00]].concat()),
    ];
    for (what, bend) in bends {
        for wrong in 1..4 {
            let (mut lock, mut card) = (Lock::new(|_| ()), card());
            let mut number = 0;
            let (outcome, _) = lock.tap_bent(&mut card, &mut |_, answer| {
                number += 1;
                if number > wrong { bend(answer) } else { answer }
            });
            let open = outcome.verdict == Verdict::Open;
            assert_eq!(open, wrong == 3, "{what}, answer {wrong}: {}", outcome.evidence);
            assert!(open || outcome.control_flow.is_some());
            assert_eq!(lock.vault.remembered.len(), usize::from(open), "{what}, answer {wrong}");
            opened(&lock.tap(&mut card).0, if open { "fast" } else { "standard" });
        }
    }
}

/// The first EXCHANGE of the fast phase is the reader's proof: the door opens for nobody who has not answered it as one that could open it.
#[test]
fn the_fast_phase_opens_only_when_its_exchange_is_answered() {
    type Bend = (&'static str, fn(Vec<u8>) -> Vec<u8>, Option<Reason>);
    let bends: [Bend; 12] = [
        ("nothing", |_| Vec::new(), Some(Reason::Torn)),
        ("one byte", |a| a[..1].to_vec(), Some(Reason::Torn)),
        ("6982", |_| vec![0x69, 0x82], Some(Reason::WrongKey)),
        ("6D00", |_| vec![0x6D, 0x00], Some(Reason::CardError)),
        (
            "6282 and the right data",
            |a| [&a[..a.len() - 2], &[0x62, 0x82]].concat(),
            Some(Reason::CardError),
        ),
        (
            "a bent byte",
            |mut a| {
                a[2] ^= 1;
                a
            },
            Some(Reason::WrongKey),
        ),
        ("cut short", |a| [&a[..4], &[0x90, 0x00]].concat(), Some(Reason::WrongKey)),
        ("rubbish", |_| [&[0x55; 20][..], &[0x90, 0x00]].concat(), Some(Reason::WrongKey)),
        ("9000 alone", |_| vec![0x90, 0x00], None),
        ("6114", |_| vec![0x61, 0x14], None),
        ("6100", |_| vec![0x61, 0x00], None),
        ("as it is", |a| a, None),
    ];
    for (what, bend, reason) in bends {
        let (mut lock, mut card) = (Lock::new(|_| ()), card());
        opened(&lock.tap(&mut card).0, "standard");
        let (outcome, commands) = lock.tap_bent(&mut card, &mut |command, answer| match command[1] {
            0xC9 => bend(answer),
            _ => answer,
        });
        assert_eq!(
            outcome.verdict,
            reason.map_or(Verdict::Open, Verdict::Refused),
            "{what}: {}",
            outcome.evidence
        );
        assert!(outcome.evidence.starts_with("fast"), "{what}: {}", outcome.evidence);
        assert_eq!(commands.len(), 3, "{what}: SELECT, AUTH0, EXCHANGE");
        assert_eq!(outcome.phone, Some(PHONE), "{what}");
        if reason.is_some() {
            let flow = b"\x80\x3C\x00\x00\x06\x41\x01\x00\x42\x01\x00";
            assert_eq!(outcome.control_flow.as_deref(), Some(&flow[..]), "{what}");
        }
        opened(&lock.tap(&mut card).0, "fast");
    }
    // A mailbox request that was answered is the same proof: then the status may stay without an answer, as in the standard phase.
    let requests = vec![MailboxRequest {
        open: false,
        operations: vec![Operation::Read { offset: 0, length: 2 }],
    }];
    let (mut lock, mut card) = (Lock::new(|c| c.mailbox = requests), card());
    opened(&lock.tap(&mut card).0, "standard");
    for (wrong, open) in [(1, false), (2, true)] {
        let mut exchanges = 0;
        let (outcome, _) = lock.tap_bent(&mut card, &mut |command, answer| {
            exchanges += u32::from(command[1] == 0xC9);
            if command[1] == 0xC9 && exchanges == wrong {
                Vec::new()
            } else {
                answer
            }
        });
        assert_eq!(outcome.verdict == Verdict::Open, open, "{wrong}: {}", outcome.evidence);
    }
}

/// After success there is one more status to be had, for a door that does not move.
#[test]
fn a_door_that_does_not_move_is_said_to_be_broken() {
    let (mut lock, mut card) = (Lock::new(|_| ()), card());
    for phase in ["standard", "fast"] {
        let (outcome, _) = lock.tap(&mut card);
        opened(&outcome, phase);
        assert!(card.transmit(&outcome.control_flow.unwrap()).ends_with(&[0x90, 0x00]));
        let told: Vec<_> = card.events.drain(..).filter(|e| matches!(e, Event::ReaderStatus(_))).collect();
        assert_eq!(told, [Event::ReaderStatus(0x0101), Event::ReaderStatus(0x0026)], "{phase}");
    }
}

/// A repeated, a truncated and a zeroed part of each command: refused, keys gone, next tap clean.
#[test]
fn every_command_wrong_in_turn() {
    let (_, commands) = Lock::new(|_| ()).tap_bent(&mut card(), &mut |_, answer| answer);
    // The card's own random numbers are the same each time, so recorded commands are right ones.
    for (index, right) in commands.iter().enumerate().skip(1) {
        for at in 5..right.len() - 1 {
            let mut card = card();
            let mut last = Vec::new();
            for (number, command) in commands.iter().enumerate().take(index + 1) {
                let mut command = command.clone();
                if number == index {
                    command[at] ^= 0x40;
                }
                last = card.transmit(&command);
            }
            let sw = &last[last.len() - 2..];
            let harmless = index == 1;
            if !harmless {
                assert_ne!(sw, [0x90, 0x00], "command {index}, byte {at}");
                assert_eq!(card.vault.alive(), 0, "command {index}, byte {at}");
            }
            assert!(!card.events.contains(&Event::ReaderStatus(0x0101)), "command {index}, byte {at}");
            assert_eq!(card.transmit(b"\x80\x3C\x00\x00\x06\x41\x01\x00\x42\x01\x00"), [0x90, 0x00]);
            card.vault.remembered.clear();
            opened(&Lock::new(|_| ()).tap(&mut card).0, "standard");
        }
    }
}

#[test]
fn a_channel_is_used_up_at_ffff() {
    let mut vault = MemoryVault::new(&[READER]);
    let (private, own) = vault.agreement_key().unwrap();
    let kdh = vault.agree(private, &own, &[]).unwrap();
    let [reader, device] = vault.hkdf(kdh, &[], &[]).unwrap();
    let keys = SessionKeys {
        reader,
        device,
        step_up: None,
    };
    let (mut lock, mut phone) = (Channel::new(Side::Reader, keys), Channel::new(Side::Device, keys));
    for _ in 1..0xFFFF {
        lock.seal(&mut vault, &[]).unwrap();
        assert_eq!(phone.open(&mut vault, &[0; 16]), Err(ChannelError::Tag), "a wrong message counts");
    }
    assert_eq!(lock.seal(&mut vault, &[]), Err(ChannelError::UsedUp));
    assert_eq!(phone.open(&mut vault, &[0; 16]), Err(ChannelError::UsedUp));
}

#[test]
fn statuses_have_meanings_of_their_own() {
    let all = (0..0x0200).map(ReaderStatus).filter(|s| s.meaning() != "unknown status");
    assert_eq!(all.clone().count(), 20);
    for status in all {
        assert_eq!(status.is_success(), status.reason().is_none());
    }
}
