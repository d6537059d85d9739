//! A chip whose card manager gets any APDUs and half-valid ones, half of them wrapped with the right keys, by the wire and through the field, with
//! a real module loaded now and then: there is always an answer, and never a panic.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use tapdoor_chip::personalise::Secret;
use tapdoor_chip::{CardManager, Chip, Personalisation, ScpKeys, SqliteStore};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::globalplatform::load_file::{LoadFile, hash};
use tapdoor_protocol::globalplatform::scp03::{Channel, Host, Keys, Level};

/// A real module, so that what follows a load is reached too.
const CODE: &[u8] = include_bytes!("../../applets/challenge-response.wasm");
const ELF: &[u8] = &[0xF0, 0x54, 0x41, 0x50, 0x44, 0x4F, 0x4F, 0x52, 0xA1];
const MANAGER: [u8; 8] = [0xA0, 0, 0, 1, 0x51, 0, 0, 0];
const INS: [u8; 10] = [0xE6, 0xE8, 0xE2, 0xE4, 0xD8, 0xF0, 0xF2, 0xCA, 0x50, 0x82];

fn keys() -> Keys {
    Keys::new(&[1; 16], &[2; 16], &[3; 16]).expect("keys of 16 bytes")
}

fn new_chip() -> Chip {
    let [enc, mac, dek] = [1u8, 2, 3].map(|byte| Secret::new([byte; 16]));
    let keys = ScpKeys { kvn: 0x30, enc, mac, dek };
    let personalisation = Personalisation {
        card_manager: Some(CardManager::new(keys)),
        ..Personalisation::default()
    };
    let store = SqliteStore::in_memory().expect("a store in memory");
    Chip::personalise(Box::new(store), &personalisation).expect("a chip")
}

fn send(chip: &mut Chip, field: bool, command: &[u8]) -> Vec<u8> {
    let mut response = Vec::new();
    if field {
        chip.process(command, &mut response);
    } else {
        chip.process_wired(command, &mut response);
    }
    assert!(response.len() >= 2, "no answer to {command:02x?}");
    response
}

fn select(chip: &mut Chip, field: bool) -> Vec<u8> {
    let command = [&[0x00, 0xA4, 0x04, 0x00, 8][..], &MANAGER, &[0]].concat();
    send(chip, field, &command)
}

/// A secure channel, unless the fuzzer has changed the keys.
fn open(chip: &mut Chip, field: bool) -> Option<Channel> {
    select(chip, field);
    let (host, command) = Host::initialize_update(0x30, [7u8; 8]);
    let answer = send(chip, field, &command);
    let (command, channel) = host.authenticate(&keys(), &answer, Level::FULL).ok()?;
    send(chip, field, &command).ends_with(&[0x90, 0x00]).then_some(channel)
}

/// One command within the channel; the answer as the host reads it.
fn wrapped(chip: &mut Chip, field: bool, channel: &mut Channel, command: &[u8]) {
    let Ok(parsed) = Command::parse(command) else { return };
    let Ok(wrapped) = channel.wrap(&parsed) else { return };
    let mut answer = send(chip, field, &wrapped.command);
    while let [.., 0x61, le] = answer[..] {
        answer.truncate(answer.len() - 2);
        answer.extend(send(chip, field, &[0x00, 0xC0, 0, 0, le]));
    }
    let _ = channel.unwrap(wrapped.ticket, &answer);
}

fn load(chip: &mut Chip, field: bool, channel: &mut Channel) {
    let file = LoadFile {
        signatures: Vec::new(),
        block: CODE,
    };
    let file = file.encode();
    let install = [&[ELF.len() as u8][..], ELF, &[0, 32], &hash(CODE), &[0, 0]].concat();
    let command = [&[0x80, 0xE6, 0x02, 0x00, install.len() as u8][..], &install, &[0]].concat();
    wrapped(chip, field, channel, &command);
    let count = file.chunks(200).len();
    for (number, block) in file.chunks(200).enumerate() {
        let p1 = if number + 1 == count { 0x80 } else { 0x00 };
        let command = [&[0x80, 0xE8, p1, number as u8, block.len() as u8][..], block, &[0]].concat();
        wrapped(chip, field, channel, &command);
    }
}

thread_local! {
    /// One chip for many inputs: opening a store costs more than a hundred commands. It is made anew every now and then, and whenever an input
    /// has put it where nothing can be done any more.
    static CHIP: RefCell<Option<(Chip, u32)>> = const { RefCell::new(None) };
}

fuzz_target!(|bytes: &[u8]| {
    CHIP.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|(_, used)| *used >= 200) {
            *slot = Some((new_chip(), 0));
        }
        let Some((chip, used)) = slot.as_mut() else { return };
        *used += 1;
        chip.power_on();
        let mut field = false;
        let mut channel = open(chip, field);
        if channel.is_none() {
            // Keys or state were changed by an earlier input: a new chip.
            *slot = None;
            return;
        }
        let mut rest = bytes;
        while let [control, length, tail @ ..] = rest {
            let take = usize::from(*length).min(tail.len());
            let (piece, next) = tail.split_at(take);
            rest = next;
            // Half of them behind the MAC; of those half with an instruction that there is.
            match control & 0x0F {
                0..=7 => {
                    let mut command = piece.to_vec();
                    if control & 0x10 != 0
                        && let [_, instruction, ..] = &mut command[..]
                    {
                        *instruction = INS[usize::from(*instruction) % INS.len()];
                    }
                    if control & 0x20 != 0
                        && let [class, ..] = &mut command[..]
                    {
                        *class = 0x80;
                    }
                    if let Some(channel) = &mut channel {
                        wrapped(chip, field, channel, &command);
                    }
                }
                8 => {
                    let known = [
                        &[0x80, INS[take % INS.len()]][..],
                        &piece[..take.min(2)],
                        &[take.saturating_sub(2) as u8],
                    ]
                    .concat();
                    let command = [&known[..], &piece[take.min(2)..], &[0]].concat();
                    if let Some(channel) = &mut channel {
                        wrapped(chip, field, channel, &command);
                    }
                }
                9 => {
                    if let Some(channel) = &mut channel {
                        load(chip, field, channel);
                    }
                }
                10 => {
                    field = control & 0x10 != 0;
                    channel = open(chip, field);
                }
                11 => {
                    chip.power_off();
                    chip.power_on();
                    if field {
                        channel = None;
                    }
                }
                12 => {
                    select(chip, field);
                    channel = None;
                }
                _ => {
                    send(chip, control & 0x10 != 0, piece);
                }
            }
            let _ = (chip.take_failure(), chip.take_refusal(), chip.take_fault());
        }
        let _ = chip.drain_events().count();
    });
});
