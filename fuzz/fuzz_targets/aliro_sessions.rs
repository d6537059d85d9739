//! Both state machines of Aliro, in chips: a peer that says anything. The door does not open for it, and the next honest tap does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapdoor_chip::personalise::Secret;
use tapdoor_chip::{Application, Chip, Personalisation, SqliteStore};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::auth::Timestamps;
use tapdoor_protocol::aliro::device::{Credential, Group};
use tapdoor_protocol::aliro::mailbox::Permissions;
use tapdoor_protocol::aliro::reader::Entry;
use tapdoor_protocol::aliro::{DeviceConfig, PublicKey, ReaderConfig, ReaderIdentifier};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::door::{BeginData, LockStep, Verdict};
use tapdoor_protocol::ids::PhoneId;

fn public(private: u8) -> PublicKey {
    PublicKey(public_uncompressed(&SecretScalar([private; 32])).unwrap())
}

fn chip(application: Application) -> Chip {
    let filling = Personalisation { applications: vec![application], ..Personalisation::default() };
    Chip::personalise(Box::new(SqliteStore::in_memory().unwrap()), &filling).unwrap()
}

fn send(chip: &mut Chip, command: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    let mut command = command.to_vec();
    loop {
        let mut answer = Vec::new();
        chip.process(&command, &mut answer);
        let sw = answer.split_off(answer.len() - 2);
        whole.extend(answer);
        if sw[0] != 0x61 {
            whole.extend(sw);
            return whole;
        }
        command = vec![0x00, 0xC0, 0, 0, 0];
    }
}

fn ask(lock: &mut Chip, ins: u8, data: &[u8]) -> LockStep {
    let answer = send(lock, &Command::new(0x80, ins, 0, 0).data(data).ne(256).encode().unwrap());
    LockStep::parse(&answer[..answer.len() - 2]).unwrap()
}

/// One tap; `bend` makes what the lock gets from what the phone says.
fn tap(lock: &mut Chip, phone: &mut Chip, mut bend: impl FnMut(Vec<u8>) -> Vec<u8>) -> Verdict {
    phone.power_on();
    lock.power_on();
    let select = |aid: Aid| Command::new(0x00, 0xA4, 0x04, 0).data(aid.as_bytes()).ne(256).encode().unwrap();
    let fci = bend(send(phone, &select(Aid::ALIRO_EXPEDITED)));
    send(lock, &select(Aid::ALIRO_LOCK));
    let fci = &fci[..fci.len().saturating_sub(2)];
    let mut step = ask(lock, 0x10, &BeginData { clock: 1, fci }.encode());
    for _ in 0..300 {
        match step {
            LockStep::Transmit { command, .. } => {
                let answer = bend(send(phone, &command));
                step = ask(lock, 0x12, &answer);
            }
            LockStep::Done(outcome) => return outcome.verdict,
        }
    }
    panic!("a tap without end");
}

fuzz_target!(|input: (Vec<Vec<u8>>, Vec<Option<Vec<u8>>>)| {
    let (commands, answers) = input;
    let mut reader = ReaderConfig::new(ReaderIdentifier::new([1; 16], [2; 16]), public(1));
    reader.credentials.push(Entry { phone: PhoneId([7; 8]), key: public(3), not_before: 0, not_after: 0, revoked: false });
    let device = DeviceConfig {
        groups: vec![Group { identifier: [1; 16], key: public(1), credential: 0 }],
        credentials: vec![Credential {
            key: public(3),
            mailbox: 512,
            permissions: Permissions { read: true, write: true },
            timestamps: Timestamps::default(),
        }],
        ..DeviceConfig::default()
    };
    let mut lock = chip(Application::aliro_lock(Aid::ALIRO_LOCK, &reader, Secret::new(vec![1; 32])));
    let mut phone = chip(Application::aliro(Aid::ALIRO_EXPEDITED, &device, Secret::new(vec![3; 32])));
    // A reader that says anything.
    send(&mut phone, &Command::new(0x00, 0xA4, 0x04, 0).data(Aid::ALIRO_EXPEDITED.as_bytes()).ne(256).encode().unwrap());
    for command in commands.iter().take(32) {
        send(&mut phone, command);
    }
    // A phone that says anything, at least where it speaks first after SELECT.
    let mut turn = 0;
    let verdict = tap(&mut lock, &mut phone, |right| {
        turn += 1;
        match answers.get(turn - 1) {
            Some(Some(wrong)) if turn > 1 => wrong.clone(),
            _ if turn == 2 || turn == 3 => Vec::new(),
            _ => right,
        }
    });
    assert_ne!(verdict, Verdict::Open);
    assert_eq!(tap(&mut lock, &mut phone, |right| right), Verdict::Open);
});
