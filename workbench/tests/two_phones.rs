//! Two phones before one PN532: each reader's way of telling them apart, over a pseudo-terminal.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::thread;

use tapdoor_hce_card::radio::{Appearance, Pace, RadioCard, UidSource};
use tapdoor_hce_card::serve::Card;
use tapdoor_link::stop::Stop;
use tapdoor_protocol::rf::iso14443::type_a::Uid;
use tapdoor_reader::source::radio::Polling;
use tapdoor_reader::source::{CardSource, pn532};
use tapdoor_simulator::line::Pty;
use tapdoor_simulator::pn532::hsu;
use tapdoor_simulator::{Field, Pn532};

/// Answers with what it got and its name.
struct Named(u8);

impl Card for Named {
    fn power_on(&mut self) {}

    fn power_off(&mut self) {}

    fn reset(&mut self) {}

    fn atr(&self) -> &[u8] {
        &[]
    }

    fn process(&mut self, command: &[u8], response: &mut Vec<u8>) {
        response.extend_from_slice(command);
        response.extend_from_slice(&[self.0, 0x90, 0x00]);
    }
}

fn phone(name: u8, uid: [u8; 4]) -> Box<RadioCard<Named>> {
    let appearance = Appearance {
        uid: UidSource::Fixed(Uid::from(uid)),
        ..Appearance::default()
    };
    Box::new(RadioCard::new(Named(name), appearance, Pace::Live))
}

/// Serves the chip with two phones near it, opens it, and talks to the phone that was found. Gives its UID and its name.
fn found(uids: [[u8; 4]; 2], open: impl FnOnce(&Path) -> Box<dyn CardSource>) -> (Vec<u8>, u8) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pn532");
    let stop = Stop::new();
    let mut line = Pty::open(&path, &stop).unwrap();
    let serving = stop.clone();
    let chip = thread::spawn(move || {
        let mut field = Field::new();
        for (name, uid) in (1..).zip(uids) {
            field.place(phone(name, uid));
        }
        hsu::serve(&mut Pn532::new(field), &mut line, &serving).unwrap();
    });
    let mut source = open(&path);
    let mut session = source.wait_card(&Stop::new()).unwrap();
    let mut response = Vec::new();
    session.link.transmit(&[0x80, 0x01, 0x00, 0x00], &mut response).unwrap();
    assert_eq!((&response[..4], &response[5..]), (&[0x80, 0x01, 0x00, 0x00][..], &[0x90, 0x00][..]));
    let uid = session.activation.uid.clone().unwrap();
    drop(session);
    drop(source);
    stop.stop();
    chip.join().unwrap();
    (uid, response[4])
}

/// Phones' identifiers begin with 08, so the first eight bits never differ.
const PAIRS: [[[u8; 4]; 2]; 3] = [
    [[0x08, 0x12, 0x34, 0x56], [0x08, 0x12, 0x34, 0xD6]],
    [[0x08, 0x00, 0x00, 0x00], [0x08, 0x01, 0xFF, 0x00]],
    [[0x08, 0xFF, 0xFF, 0xFF], [0x08, 0xFF, 0xFF, 0x7F]],
];

/// Regression: the chip keeps the bits before a collision to itself in InCommunicateThru, and we took them for zeros.
#[test]
fn raw_reader() {
    for uids in PAIRS {
        let (uid, name) = found(uids, |path| Box::new(pn532::open_raw(path, 115_200, Polling::default()).unwrap()));
        assert_eq!(uid, uids[usize::from(name) - 1], "{uids:02x?}");
    }
}

#[test]
fn firmware_reader() {
    for uids in PAIRS {
        let (uid, name) = found(uids, |path| Box::new(pn532::open_firmware(path, 115_200).unwrap()));
        assert_eq!(uid, uids[usize::from(name) - 1], "{uids:02x?}");
    }
}
