//! The ACR122U: a card that comes and goes, pseudo-APDUs, and the socket of our own driver.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{ATS, Echo, echo};
use proptest::prelude::*;
use tapdoor_simulator::acr122u::{Acr122u, Quirks, Reply};
use tapdoor_simulator::{Carried, Field, Hand};

fn reader(quirks: Quirks) -> (Acr122u<Field>, Hand) {
    let (card, hand) = Carried::new(Echo::phone([8, 1, 2, 3]));
    let mut field = Field::new();
    field.place(Box::new(card));
    (Acr122u::new(field, quirks), hand)
}

fn said(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

const ATR: [u8; 6] = [0x3B, 0x81, 0x80, 0x01, 0x80, 0x80];

#[test]
fn a_card_comes_and_goes() {
    let (mut reader, hand) = reader(Quirks::default());
    assert!(!reader.present());
    assert_eq!(reader.power_on(), None);
    assert_eq!(reader.transmit(&[0x00, 0x01, 0, 0]), Reply::NoCard);
    hand.hold(true);
    assert!(reader.present() && reader.present());
    assert_eq!(reader.power_on(), Some(ATR.to_vec()));
    assert_eq!(said(reader.transmit(&[0x00, 0x05, 0, 0])), echo(&[0x00, 0x05]));
    // 256 bytes and a status word: the longest short answer, in five frames.
    assert_eq!(said(reader.transmit(&[0x01, 0x00, 0, 0])), echo(&[0x01, 0x00]));
    // Power off and on: the same card, another session.
    reader.power_off();
    assert_eq!(reader.transmit(&[0x00, 0x05, 0, 0]), Reply::NoCard);
    assert!(reader.present() && reader.present());
    assert_eq!(reader.power_on(), Some(ATR.to_vec()));
    assert_eq!(said(reader.transmit(&[0x00, 0x05, 0, 0])), echo(&[0x00, 0x05]));
    assert_eq!(reader.power_on(), Some(ATR.to_vec()));
    hand.hold(false);
    assert_eq!(reader.transmit(&[0x00, 0x05, 0, 0]), Reply::NoCard);
    assert!(!reader.present());
    hand.hold(true);
    assert!(reader.present());
    reader.power_off();
    hand.hold(false);
    assert!(!reader.present());
}

#[test]
fn only_short_apdus() {
    let (mut reader, hand) = reader(Quirks::default());
    hand.hold(true);
    assert!(reader.power_on().is_some());
    let longest = [&[0x00, 0x01, 0, 0, 0xFF][..], &[0; 256]].concat();
    assert_eq!(said(reader.transmit(&longest)), echo(&[0x00, 0x01]));
    assert_eq!(reader.transmit(&[&longest[..], &[0]].concat()), Reply::TooLong);
    assert_eq!(reader.transmit(&[0x00, 0x01, 0, 0, 0, 0, 1, 0x55]), Reply::TooLong);
    assert_eq!(reader.escape(&[0xFF; 262]), Reply::TooLong);
}

#[test]
fn the_chip_behind_it() {
    let (mut reader, hand) = reader(Quirks::default());
    // Polling by the host, before any card is there: auto polling off, once, type A.
    assert_eq!(said(reader.escape(&[0xFF, 0x00, 0x51, 0x7F, 0x00])), [0x90, 0x7F]);
    assert_eq!(
        said(reader.escape(&[0xFF, 0, 0, 0, 6, 0xD4, 0x32, 0x05, 0xFF, 0x01, 0x00])),
        [0xD5, 0x33, 0x90, 0x00]
    );
    let list = [0xFF, 0, 0, 0, 4, 0xD4, 0x4A, 0x01, 0x00];
    assert_eq!(said(reader.escape(&list)), [0xD5, 0x4B, 0x00, 0x90, 0x00]);
    hand.hold(true);
    assert!(!reader.present());
    let mut found = vec![0xD5, 0x4B, 0x01, 0x01, 0x00, 0x04, 0x20, 0x04, 8, 1, 2, 3];
    found.extend_from_slice(&ATS);
    found.extend_from_slice(&[0x90, 0x00]);
    assert_eq!(said(reader.escape(&list)), found);
    assert_eq!(
        said(reader.escape(&[0xFF, 0, 0, 0, 5, 0xD4, 0x40, 0x01, 0x00, 0x01])),
        [0xD5, 0x41, 0x00, 0x00, 0x90, 0x00, 0x90, 0x00]
    );
    // Polling by the reader again: what the host left is found.
    assert_eq!(said(reader.escape(&[0xFF, 0x00, 0x51, 0xFF, 0x00])), [0x90, 0xFF]);
    assert!(reader.present() || reader.present());
    assert_eq!(said(reader.transmit(&[0xFF, 0xCA, 0, 0, 0])), [8, 1, 2, 3, 0x90, 0x00]);
    assert_eq!(said(reader.transmit(&[0xFF, 0xCA, 1, 0, 0])), [&ATS[..], &[0x90, 0x00]].concat());
    assert_eq!(said(reader.transmit(&[0xFF, 0xCA, 0, 0, 2])), [0x6C, 4]);
    assert_eq!(said(reader.escape(&[0xFF, 0, 0, 0, 1, 0xD5])), [0x63, 0x7F]);
    assert_eq!(said(reader.escape(&[0x00, 0xA4, 4, 0])), [0x63, 0x00]);
}

#[test]
fn the_quirks_of_real_ones() {
    let (mut reader, hand) = reader(Quirks {
        stale_answers: true,
        bare_parameter: true,
        ..Quirks::default()
    });
    hand.hold(true);
    assert!(reader.power_on().is_some());
    assert_eq!(said(reader.transmit(&[0xFF, 0x00, 0x50, 0, 0])), [0xFF]);
    assert_eq!(said(reader.transmit(&[0xFF, 0x00, 0x48, 0, 0])), b"ACR122U207");
    // From here on every answer is the one before it.
    assert_eq!(said(reader.transmit(&[0x00, 0x01, 0, 0])), b"ACR122U207");
    assert_eq!(said(reader.transmit(&[0x00, 0x02, 0, 0])), echo(&[0x00, 0x01]));
    assert!(reader.power_on().is_some());
    assert_eq!(said(reader.transmit(&[0x00, 0x03, 0, 0])), echo(&[0x00, 0x03]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_command_harms(commands in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8), pseudo: bool) {
        let (mut reader, hand) = reader(Quirks::default());
        hand.hold(true);
        prop_assert!(reader.power_on().is_some());
        for mut command in commands {
            if pseudo {
                command.splice(0..0, [0xFF, 0x00]);
            }
            // Endless searches are another test's: they last for seconds.
            if command.len() > 6 && command[..4] == [0xFF, 0, 0, 0] {
                continue;
            }
            let _ = reader.transmit(&command);
            let _ = reader.escape(&command);
        }
        let _ = reader.escape(&[0xFF, 0x00, 0x51, 0xFF, 0x00]);
        prop_assert!(reader.present() || reader.present());
    }
}

#[cfg(unix)]
mod socket {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::thread;
    use std::time::{Duration, Instant};

    use tapdoor_link::ifd;
    use tapdoor_link::stop::Stop;
    use tapdoor_simulator::acr122u::socket::Socket;

    use super::*;

    fn ask(mut stream: &UnixStream, kind: u8, body: &[u8]) -> (u8, Vec<u8>) {
        let mut out = Vec::new();
        assert!(ifd::encode(kind, body, &mut out));
        stream.write_all(&out).unwrap();
        let mut header = [0; ifd::HEADER];
        stream.read_exact(&mut header).unwrap();
        let (kind, length) = ifd::header(header).unwrap();
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).unwrap();
        (kind, answer)
    }

    fn served(test: impl FnOnce(&Path, &Hand)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reader");
        let socket = Socket::bind(&path).unwrap();
        assert!(Socket::bind(&path).is_err());
        let (reader, hand) = reader(Quirks::default());
        let stop = Stop::new();
        let other = stop.clone();
        let serving = thread::spawn(move || {
            let result = socket.serve(reader, &other, &|_| {});
            drop(socket);
            result
        });
        test(&path, &hand);
        stop.stop();
        serving.join().unwrap().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_driver_is_told_when_a_card_comes() {
        served(|path, hand| {
            let (commands, events) = (UnixStream::connect(path).unwrap(), UnixStream::connect(path).unwrap());
            assert_eq!(ask(&commands, ifd::PRESENCE, &[]), (ifd::OK, vec![0]));
            assert_eq!(ask(&commands, ifd::POWER_UP, &[]), (ifd::NO_CARD, vec![]));
            assert_eq!(ask(&events, ifd::WAIT, &ifd::wait(false, 1)), (ifd::OK, vec![0]));
            let begun = Instant::now();
            thread::scope(|scope| {
                let waiting = scope.spawn(|| ask(&events, ifd::WAIT, &ifd::wait(false, 30_000)));
                hand.hold(true);
                assert_eq!(waiting.join().unwrap(), (ifd::OK, vec![1]));
            });
            assert!(begun.elapsed() < Duration::from_secs(20));
            assert_eq!(ask(&commands, ifd::POWER_UP, &[]), (ifd::OK, ATR.to_vec()));
            assert_eq!(ask(&commands, ifd::TRANSMIT, &[0x00, 0x01, 0, 0]), (ifd::OK, echo(&[0x00, 0x01])));
            assert_eq!(ask(&commands, ifd::TRANSMIT, &[0; 300]), (ifd::REFUSED, vec![]));
            assert_eq!(
                ask(&commands, ifd::ESCAPE, &[0xFF, 0, 0x48, 0, 0]),
                (ifd::OK, b"ACR122U207".to_vec())
            );
            assert_eq!(ask(&commands, ifd::WAIT, &[1]), (ifd::REFUSED, vec![]));
            assert_eq!(ask(&commands, 0x33, &[]), (ifd::REFUSED, vec![]));
            hand.hold(false);
            assert_eq!(ask(&events, ifd::WAIT, &ifd::wait(true, 30_000)), (ifd::OK, vec![0]));
            assert_eq!(ask(&commands, ifd::TRANSMIT, &[0x00, 0x01, 0, 0]), (ifd::NO_CARD, vec![]));
        });
    }

    #[test]
    fn nonsense_ends_its_own_connection_only() {
        served(|path, _| {
            let good = UnixStream::connect(path).unwrap();
            for nonsense in [&[0xFF; 5][..], &[ifd::PRESENCE, 0xFF, 0, 0, 0], &[ifd::TRANSMIT, 0, 0]] {
                let mut bad = UnixStream::connect(path).unwrap();
                bad.write_all(nonsense).unwrap();
                if nonsense.len() == 5 {
                    assert_eq!(bad.read(&mut [0; 9]).unwrap(), 0);
                }
            }
            assert_eq!(ask(&good, ifd::PRESENCE, &[]), (ifd::OK, vec![0]));
        });
    }
}
