//! The chip, asked as hosts ask it: bytes from UM0701-02 and from what libnfc 1.8 sends.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{ATS, Echo, ask, chip, echo, exchange};
use tapdoor_protocol::rf::time::Ticks;
use tapdoor_simulator::pn532::Outcome;

const ONCE: [u8; 5] = [0x32, 0x05, 0xFF, 0x01, 0x00];
const LIST_A: [u8; 3] = [0x4A, 0x01, 0x00];

fn listed(uid: [u8; 4]) -> Vec<u8> {
    let mut answer = vec![0x4B, 0x01, 0x01, 0x00, 0x04, 0x20, 0x04];
    answer.extend_from_slice(&uid);
    answer.extend_from_slice(&ATS);
    answer
}

#[test]
fn what_a_host_asks_first() {
    let mut chip = chip(vec![]);
    assert_eq!(
        ask(&mut chip, &[0x00, 0x00, b'l', b'i', b'b']),
        Ok(vec![0x01, 0x00, b'l', b'i', b'b'])
    );
    assert_eq!(ask(&mut chip, &[0x02]), Ok(vec![0x03, 0x32, 0x01, 0x06, 0x07]));
    assert_eq!(ask(&mut chip, &[0x14, 0x01]), Ok(vec![0x15]));
    assert_eq!(ask(&mut chip, &[0x12, 0x14]), Ok(vec![0x13]));
    assert_eq!(ask(&mut chip, &[0x04]), Ok(vec![0x05, 0x00, 0x00, 0x00, 0x80]));
    assert_eq!(ask(&mut chip, &[0x10, 0x08]), Ok(vec![0x11]));
    // ReadRegister has no status byte.
    assert_eq!(ask(&mut chip, &[0x08, 0x63, 0x02, 0x80, 0x63, 0x3D, 0x07]), Ok(vec![0x09]));
    assert_eq!(
        ask(&mut chip, &[0x06, 0x63, 0x02, 0x63, 0x3D, 0x63, 0x05]),
        Ok(vec![0x07, 0x80, 0x07, 0x00])
    );
    assert_eq!(ask(&mut chip, &[0x0E, 0x85, 0x00]), Ok(vec![0x0F]));
    assert_eq!(ask(&mut chip, &[0x0C]), Ok(vec![0x0D, 0x05, 0xFF, 0x01]));
    assert_eq!(ask(&mut chip, &[0x16, 0x20]), Ok(vec![0x17, 0x00]));
    for syntax in [
        &[][..],
        &[0xEE],
        &[0x02, 0x00],
        &[0x4A, 0x03, 0x00],
        &[0x4A, 0x01, 0x09],
        &[0x00, 0x77],
        &[0x08, 0x63],
    ] {
        assert_eq!(ask(&mut chip, syntax), Err(Outcome::Syntax), "{syntax:02x?}");
    }
}

#[test]
fn a_phone_is_found_and_talked_to() {
    let mut chip = chip(vec![Echo::phone([8, 1, 2, 3])]);
    ask(&mut chip, &ONCE).unwrap();
    assert_eq!(ask(&mut chip, &LIST_A), Ok(listed([8, 1, 2, 3])));
    assert_eq!(exchange(&mut chip, 1, &[0x00, 0x03, 7]), (0x00, vec![0, 1, 2, 0x90, 0x00]));
    // Longer than a frame of the card and than one of the chip: chaining both ways.
    let mut command = vec![0x00, 0xFA];
    command.resize(262, 0x55);
    assert_eq!(exchange(&mut chip, 1, &command), (0x00, echo(&command)));
    // Is it there? Is another there?
    assert_eq!(ask(&mut chip, &[0x00, 0x06]), Ok(vec![0x01, 0x00]));
    assert_eq!(exchange(&mut chip, 2, &[0]), (0x27, vec![]));
    // Deselected, it sleeps: REQA does not wake it, a selection does.
    assert_eq!(ask(&mut chip, &[0x44, 0x01]), Ok(vec![0x45, 0x00]));
    assert_eq!(ask(&mut chip, &[0x54, 0x01]), Ok(vec![0x55, 0x00]));
    assert_eq!(exchange(&mut chip, 1, &[0x00, 0x00]), (0x00, vec![0x90, 0x00]));
    assert_eq!(ask(&mut chip, &[0x52, 0x00]), Ok(vec![0x53, 0x00]));
    assert_eq!(ask(&mut chip, &LIST_A), Ok(vec![0x4B, 0x00]));
    assert_eq!(exchange(&mut chip, 1, &[0x00, 0x00]), (0x27, vec![]));
    // By its identifier, and after the field was off.
    assert_eq!(ask(&mut chip, &[0x4A, 0x01, 0x00, 8, 1, 2, 3]), Ok(listed([8, 1, 2, 3])));
    ask(&mut chip, &[0x32, 0x01, 0x00]).unwrap();
    assert_eq!(ask(&mut chip, &LIST_A), Ok(listed([8, 1, 2, 3])));
}

#[test]
fn long_answers_come_in_pieces() {
    let mut chip = chip(vec![Echo::phone([8, 1, 2, 3])]);
    ask(&mut chip, &LIST_A).unwrap();
    let expected = echo(&[0x03, 0x00]);
    let (status, mut got) = exchange(&mut chip, 1, &[0x03, 0x00]);
    assert_eq!((status, got.len()), (0x40, 262));
    let (status, more) = exchange(&mut chip, 1, &[]);
    assert_eq!((status, more.len()), (0x40, 262));
    got.extend(more);
    let (status, more) = exchange(&mut chip, 1, &[]);
    assert_eq!(status, 0x00);
    got.extend(more);
    assert_eq!(got, expected);
    // And long commands: "more information" in bit 6 of the target's number.
    assert_eq!(ask(&mut chip, &[0x40, 0x41, 0x00, 0x02]), Ok(vec![0x41, 0x00]));
    assert_eq!(exchange(&mut chip, 1, &[9, 9, 9]), (0x00, vec![0, 1, 0x90, 0x00]));
}

#[test]
fn two_phones_in_one_field() {
    let mut chip = chip(vec![Echo::phone([8, 0x31, 2, 3]), Echo::phone([8, 0x32, 2, 3])]);
    ask(&mut chip, &ONCE).unwrap();
    let answer = ask(&mut chip, &[0x4A, 0x02, 0x00]).unwrap();
    assert_eq!(answer[..2], [0x4B, 0x02]);
    // The first difference is taken as a 1: 0x31 has it in bit 0.
    assert_eq!((&answer[7..11], &answer[22..26]), (&[8, 0x31, 2, 3][..], &[8, 0x32, 2, 3][..]));
    for target in [2, 1, 1, 2] {
        assert_eq!(exchange(&mut chip, target, &[0x00, target]), (0x00, echo(&[0x00, target])));
    }
    assert_eq!(ask(&mut chip, &[0x04]).unwrap()[3], 2);
}

#[test]
fn nobody_in_the_field() {
    let mut chip = chip(vec![]);
    ask(&mut chip, &ONCE).unwrap();
    for modulation in 0..=4 {
        let mut command = vec![0x4A, 0x01, modulation];
        match modulation {
            1 | 2 => command.extend_from_slice(&[0x00, 0xFF, 0xFF, 0x01, 0x00]),
            3 => command.push(0x00),
            _ => {}
        }
        assert_eq!(ask(&mut chip, &command), Ok(vec![0x4B, 0x00]), "modulation {modulation}");
    }
    // What was sent is still in the FIFO, by which nfcpy knows that nobody answered.
    ask(&mut chip, &LIST_A).unwrap();
    assert_eq!(ask(&mut chip, &[0x06, 0x63, 0x39]), Ok(vec![0x07, 0x26]));
    // For ever, until the host ends it.
    ask(&mut chip, &[0x32, 0x05, 0xFF, 0x01, 0xFF]).unwrap();
    assert_eq!(ask(&mut chip, &LIST_A), Err(Outcome::Busy));
    let mut answer = Vec::new();
    assert_eq!(chip.resume(&mut answer), Outcome::Busy);
    chip.link().place(Box::new(Echo::phone([8, 9, 9, 9])));
    assert_eq!(chip.resume(&mut answer), Outcome::Answered);
    assert_eq!(answer, listed([8, 9, 9, 9]));
}

#[test]
fn frames_as_the_registers_have_them() {
    let mut chip = chip(vec![Echo::phone([8, 1, 2, 3])]);
    // Without a field nothing answers.
    assert_eq!(ask(&mut chip, &[0x42, 0x26]), Ok(vec![0x43, 0x01]));
    ask(&mut chip, &[0x32, 0x01, 0x01]).unwrap();
    // REQA: 7 bits, no checksums.
    ask(&mut chip, &[0x08, 0x63, 0x02, 0x00, 0x63, 0x03, 0x00, 0x63, 0x3D, 0x07]).unwrap();
    assert_eq!(ask(&mut chip, &[0x42, 0x26]), Ok(vec![0x43, 0x00, 0x04, 0x00]));
    ask(&mut chip, &[0x08, 0x63, 0x3D, 0x00]).unwrap();
    assert_eq!(ask(&mut chip, &[0x42, 0x93, 0x20]), Ok(vec![0x43, 0x00, 8, 1, 2, 3, 8]));
    // SELECT with the checksum in the data, as nfc-anticol does; the answer's checksum comes with it.
    assert_eq!(ask(&mut chip, &[0x42, 0x93, 0x70, 8, 1, 2, 3, 8, 0x9A, 0x1E]), Ok(vec![0x43, 0x01]));
    ask(&mut chip, &[0x08, 0x63, 0x3D, 0x07]).unwrap();
    // The wrong checksum has sent the card back to where it waited.
    assert_eq!(ask(&mut chip, &[0x42, 0x26]), Ok(vec![0x43, 0x00, 0x04, 0x00]));
    ask(&mut chip, &[0x08, 0x63, 0x3D, 0x00, 0x63, 0x02, 0x80]).unwrap();
    assert_eq!(
        ask(&mut chip, &[0x42, 0x93, 0x70, 8, 1, 2, 3, 8]),
        Ok(vec![0x43, 0x00, 0x20, 0xFC, 0x70])
    );
    ask(&mut chip, &[0x08, 0x63, 0x03, 0x80]).unwrap();
    let mut answer = vec![0x43, 0x00];
    answer.extend_from_slice(&ATS);
    assert_eq!(ask(&mut chip, &[0x42, 0xE0, 0x50]), Ok(answer));
    assert_eq!(
        ask(&mut chip, &[0x42, 0x02, 0x00, 0x01]),
        Ok(vec![0x43, 0x00, 0x02, 0x00, 0x90, 0x00])
    );
    // A checksum is expected where none is.
    assert_eq!(ask(&mut chip, &[0x42, 0xC2]), Ok(vec![0x43, 0x00, 0xC2]));
}

#[test]
fn collisions_are_seen_by_the_host() {
    let mut chip = chip(vec![Echo::phone([8, 0x01, 0, 0]), Echo::phone([8, 0x03, 0, 0])]);
    ask(&mut chip, &[0x32, 0x01, 0x01]).unwrap();
    ask(&mut chip, &[0x08, 0x63, 0x02, 0x00, 0x63, 0x03, 0x00, 0x63, 0x3D, 0x07]).unwrap();
    assert_eq!(ask(&mut chip, &[0x42, 0x52]), Ok(vec![0x43, 0x00, 0x04, 0x00]));
    ask(&mut chip, &[0x08, 0x63, 0x3D, 0x00]).unwrap();
    assert_eq!(ask(&mut chip, &[0x42, 0x93, 0x20]), Ok(vec![0x43, 0x06]));
    // CIU_Error's CollErr, and the position from 1.
    assert_eq!(ask(&mut chip, &[0x06, 0x63, 0x36, 0x63, 0x3E]), Ok(vec![0x07, 0x08, 10]));
}

#[test]
fn faster_when_asked() {
    let mut chip = chip(vec![Echo::phone([8, 1, 2, 3])]);
    ask(&mut chip, &LIST_A).unwrap();
    assert_eq!(ask(&mut chip, &[0x4E, 0x01, 0x02, 0x02]), Ok(vec![0x4F, 0x00]));
    let before = tapdoor_link::field::FieldLink::now(chip.link());
    assert_eq!(exchange(&mut chip, 1, &[0x00, 0x20]), (0x00, echo(&[0x00, 0x20])));
    let fast = tapdoor_link::field::FieldLink::now(chip.link()) - before;
    // At 106 kbit/s the answer's 37 bytes alone take 42,000 periods.
    assert!(fast < Ticks(20_000), "{fast:?}");
    assert_eq!(ask(&mut chip, &[0x4E, 0x01, 0x03, 0x03]), Ok(vec![0x4F, 0x10]));
}

#[test]
fn a_card_that_needs_time() {
    let slow = Echo::phone([8, 1, 2, 3]).working(Ticks::from_millis(700));
    let mut chip = chip(vec![slow]);
    ask(&mut chip, &LIST_A).unwrap();
    let before = tapdoor_link::field::FieldLink::now(chip.link());
    assert_eq!(exchange(&mut chip, 1, &[0x00, 0x01]), (0x00, vec![0, 0x90, 0x00]));
    let took = tapdoor_link::field::FieldLink::now(chip.link()) - before;
    assert!(took >= Ticks::from_millis(700) && took < Ticks::from_millis(800), "{took}");
}

#[test]
fn polling_for_several_kinds() {
    let mut chip = chip(vec![Echo::new(&[1, 2, 3, 4], 0x08)]);
    // A memory card is no ISO-DEP card.
    let mut answer = Vec::new();
    assert_eq!(chip.command(&[0x60, 0xFF, 0x01, 0x20], &mut answer), Outcome::Busy);
    chip.abort();
    ask(&mut chip, &[0x32, 0x01, 0x00]).unwrap();
    assert_eq!(
        ask(&mut chip, &[0x60, 0x01, 0x01, 0x11, 0x23, 0x10]),
        Ok(vec![0x61, 0x01, 0x10, 0x09, 0x01, 0x00, 0x04, 0x08, 0x04, 1, 2, 3, 4])
    );
    chip.link().place(Box::new(Echo::phone([8, 1, 2, 3])));
}
