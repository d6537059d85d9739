//! Two chips: one is the initiator, and the other a target in its field.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{ask, exchange};
use tapdoor_link::field::FieldLink;
use tapdoor_protocol::rf::frame::{Expect, Frame, RxFrame, Technology};
use tapdoor_protocol::rf::time::Ticks;
use tapdoor_simulator::pn532::Outcome;
use tapdoor_simulator::pn532::target::Antenna;
use tapdoor_simulator::{Field, Pn532};

const SETUP: [u8; 26] = [
    0x8C, 0x00, 0x04, 0x00, 0x11, 0x22, 0x33, 0x60, // mode, SENS_RES, NFCID1, SEL_RES
    0x01, 0xFE, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7, 0xFF, 0xFF, // FeliCa
];

fn setup(general: &[u8]) -> Vec<u8> {
    let mut setup = SETUP.to_vec();
    setup.extend_from_slice(&[0xAA, 0x99, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
    setup.push(general.len() as u8);
    setup.extend_from_slice(general);
    setup.push(0);
    setup
}

/// Asks the target's chip, and waits for the answer as its host would.
fn wait(chip: &mut Pn532<Field>, content: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut outcome = chip.command(content, &mut answer);
    let end = Instant::now() + Duration::from_secs(10);
    while outcome == Outcome::Busy {
        assert!(Instant::now() < end, "no answer to {content:02x?}");
        thread::sleep(Duration::from_millis(1));
        outcome = chip.resume(&mut answer);
    }
    assert_eq!(outcome, Outcome::Answered);
    answer
}

/// Runs the target's host in a thread; it says when it has begun to listen.
fn with_target(host: impl FnOnce(&mut Pn532<Field>, mpsc::Sender<()>) + Send + 'static, test: impl FnOnce(&mut Pn532<Field>)) {
    let antenna = Antenna::default();
    let mut field = Field::new();
    field.place(Box::new(antenna.card()));
    let mut initiator = Pn532::new(field);
    // Searches go on until the target listens.
    let (begun, listening) = mpsc::channel();
    let target = thread::spawn(move || host(&mut Pn532::new(Field::new()).with_antenna(antenna), begun));
    listening.recv().unwrap();
    test(&mut initiator);
    target.join().unwrap();
}

fn listening(chip: &mut Pn532<Field>, content: &[u8], begun: &mpsc::Sender<()>) -> Vec<u8> {
    let mut answer = Vec::new();
    assert_eq!(chip.command(content, &mut answer), Outcome::Busy);
    begun.send(()).unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while chip.resume(&mut answer) == Outcome::Busy {
        assert!(Instant::now() < end, "nobody came");
        thread::sleep(Duration::from_millis(1));
    }
    answer
}

#[test]
fn nfc_dep_at_every_rate() {
    for rate in 0..=2_u8 {
        with_target(
            move |chip, begun| {
                let activated = listening(chip, &setup(b"target"), &begun);
                let framing = if rate == 0 { 0 } else { 2 };
                assert_eq!(activated[..2], [0x8D, rate << 4 | 0x04 | framing]);
                // ATR_REQ with its length byte.
                assert_eq!(
                    (usize::from(activated[2]), &activated[3..5]),
                    (activated.len() - 2, &[0xD4, 0x00][..])
                );
                assert!(activated.ends_with(b"initiator"));
                for length in [1, 200, 262] {
                    let data = wait(chip, &[0x86]);
                    assert_eq!((data[..2].to_vec(), data.len()), (vec![0x87, 0x00], 2 + length));
                    // While the initiator waits; once it is answered it may go.
                    assert_eq!(wait(chip, &[0x8A]), [0x8B, 0x01, rate << 4 | rate]);
                    let mut answer = vec![0x8E];
                    answer.extend(data[2..].iter().rev());
                    assert_eq!(wait(chip, &answer), [0x8F, 0x00]);
                }
                // Released.
                assert_eq!(wait(chip, &[0x86]), [0x87, 0x29]);
            },
            |initiator| {
                let mut jump = vec![0x56, 0x00, rate, 0x04];
                jump.extend_from_slice(b"initiator");
                let answer = ask(initiator, &jump).unwrap();
                assert_eq!(answer[..3], [0x57, 0x00, 0x01]);
                assert_eq!(answer[3..6], [0xAA, 0x99, 0x88]);
                assert!(answer.ends_with(b"target"));
                for length in [1, 200, 262] {
                    let data: Vec<u8> = (0..length).map(|n| n as u8).collect();
                    let expected: Vec<u8> = data.iter().rev().copied().collect();
                    assert_eq!(exchange(initiator, 1, &data), (0x00, expected), "{length} bytes");
                }
                assert_eq!(ask(initiator, &[0x00, 0x06]), Ok(vec![0x01, 0x00]));
                assert_eq!(ask(initiator, &[0x52, 0x01]), Ok(vec![0x53, 0x00]));
            },
        );
    }
}

#[test]
fn a_card_whose_apdus_the_host_answers() {
    with_target(
        |chip, begun| {
            assert_eq!(wait(chip, &[0x12, 0x24]), [0x13]);
            let mut card = setup(&[]);
            (card[1], card[7]) = (0x05, 0x20);
            assert_eq!(listening(chip, &card, &begun), [0x8D, 0x08, 0xE0, 0x50]);
            let apdu = wait(chip, &[0x86]);
            assert_eq!(apdu[..6], [0x87, 0x00, 0x00, 0xA4, 0x04, 0x00]);
            assert_eq!(wait(chip, &[0x94, 0x01, 0x02]), [0x95, 0x00]);
            assert_eq!(wait(chip, &[0x8E, 0x90, 0x00]), [0x8F, 0x00]);
            assert_eq!(wait(chip, &[0x86]), [0x87, 0x29]);
        },
        |initiator| {
            let answer = ask(initiator, &[0x4A, 0x01, 0x00]).unwrap();
            assert_eq!(
                answer,
                [
                    0x4B, 0x01, 0x01, 0x00, 0x04, 0x20, 0x04, 0x08, 0x11, 0x22, 0x33, 0x05, 0x75, 0x33, 0x92, 0x03
                ]
            );
            assert_eq!(
                exchange(initiator, 1, &[0x00, 0xA4, 0x04, 0x00]),
                (0x00, vec![0x01, 0x02, 0x90, 0x00])
            );
            ask(initiator, &[0x44, 0x01]).unwrap();
        },
    );
}

/// Sets a chip up as a card with ISO-DEP, and waits until it is activated.
fn be_a_card(chip: &mut Pn532<Field>, begun: &mpsc::Sender<()>) {
    assert_eq!(wait(chip, &[0x12, 0x24]), [0x13]);
    let mut card = setup(&[]);
    (card[1], card[7]) = (0x05, 0x20);
    assert_eq!(listening(chip, &card, begun)[..2], [0x8D, 0x08]);
}

#[test]
fn the_chip_asks_for_time_while_its_host_works() {
    let antenna = Antenna::default();
    let mut field = Field::new();
    field.place(Box::new(antenna.card()));
    let (begun, listens) = mpsc::channel();
    let target = thread::spawn(move || {
        let mut chip = Pn532::new(Field::new()).with_antenna(antenna);
        be_a_card(&mut chip, &begun);
        assert_eq!(wait(&mut chip, &[0x86])[..2], [0x87, 0x00]);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(wait(&mut chip, &[0x8E, 0x90, 0x00]), [0x8F, 0x00]);
    });
    listens.recv().unwrap();
    field.set_field(true).unwrap();
    let mut say = |frame: Frame<'_>| {
        let mut rx = RxFrame::new();
        // The chip's own waiting time, FWI 9, and some.
        let expect = Expect::like(&frame, Ticks::from_millis(160));
        field.exchange(&frame, &expect, &mut rx).unwrap();
        rx.data
    };
    let whole = |data: &'static [u8]| Frame::new(Technology::A, data);
    assert_eq!(say(whole(&[0x52]).ending_with(7)), [0x04, 0x00]);
    assert_eq!(say(whole(&[0x93, 0x20]).bare()), [0x08, 0x11, 0x22, 0x33, 0x08]);
    assert_eq!(say(whole(&[0x93, 0x70, 0x08, 0x11, 0x22, 0x33, 0x08])), [0x20]);
    assert_eq!(say(whole(&[0xE0, 0x50])), [0x05, 0x75, 0x33, 0x92, 0x03]);
    let mut answer = say(whole(&[0x02, 0x00, 0xA4, 0x04, 0x00]));
    let mut asked = 0;
    while answer == [0xF2, 0x01] {
        asked += 1;
        answer = say(whole(&[0xF2, 0x01]));
    }
    assert_eq!(answer, [0x02, 0x90, 0x00]);
    assert!(asked > 0);
    target.join().unwrap();
}

#[test]
fn a_long_command_comes_in_parts() {
    with_target(
        |chip, begun| {
            be_a_card(chip, &begun);
            let first = wait(chip, &[0x86]);
            assert_eq!((first[..2].to_vec(), first.len()), (vec![0x87, 0x40], 2 + 262));
            // A host may send a byte too many, as libnfc does.
            let rest = wait(chip, &[0x86, 0x55]);
            assert_eq!((rest[..2].to_vec(), rest.len()), (vec![0x87, 0x00], 2 + 138));
            assert_eq!(wait(chip, &[0x8E, 0x90, 0x00]), [0x8F, 0x00]);
            // The next one is not fetched whole, and answered all the same.
            assert_eq!(wait(chip, &[0x86])[..2], [0x87, 0x40]);
            assert_eq!(wait(chip, &[0x8E, 0x67, 0x00]), [0x8F, 0x00]);
            assert_eq!(wait(chip, &[0x86]), [0x87, 0x00, 0x01]);
            assert_eq!(wait(chip, &[0x8E, 0x90, 0x00]), [0x8F, 0x00]);
        },
        |initiator| {
            ask(initiator, &[0x4A, 0x01, 0x00]).unwrap();
            let mut part = vec![0x40, 0x41];
            part.extend([0xCD; 200]);
            for status in [[0x90, 0x00], [0x67, 0x00]] {
                assert_eq!(ask(initiator, &part), Ok(vec![0x41, 0x00]));
                assert_eq!(exchange(initiator, 1, &[0xCD; 200]), (0x00, status.to_vec()));
            }
            assert_eq!(exchange(initiator, 1, &[0x01]), (0x00, vec![0x90, 0x00]));
        },
    );
}

#[test]
fn a_host_that_ends_the_target() {
    for end in [&[0x52, 0x00][..], &[0x16, 0x10]] {
        with_target(
            move |chip, begun| {
                be_a_card(chip, &begun);
                assert_eq!(wait(chip, &[0x86])[..2], [0x87, 0x00]);
                assert_eq!(wait(chip, end)[1..], [0x00]);
                assert_eq!(wait(chip, &[0x86]), [0x87, 0x25]);
            },
            |initiator| {
                ask(initiator, &[0x4A, 0x01, 0x00]).unwrap();
                assert_eq!(exchange(initiator, 1, &[0x01]).0, 0x01);
            },
        );
    }
}

#[test]
fn frames_that_the_host_answers() {
    with_target(
        |chip, begun| {
            // Nothing is answered by the chip: neither RATS nor ATR_REQ.
            assert_eq!(wait(chip, &[0x12, 0x00]), [0x13]);
            let mut card = setup(&[]);
            card[7] = 0x20;
            assert_eq!(listening(chip, &card, &begun), [0x8D, 0x00, 0xE0, 0x50]);
            assert_eq!(wait(chip, &[0x90, 0x05, 0x78, 0x80, 0x70, 0x02]), [0x91, 0x00]);
            assert_eq!(wait(chip, &[0x88]), [0x89, 0x00, 0x02, 0x00, 0x01]);
            assert_eq!(wait(chip, &[0x90, 0x02, 0x90, 0x00]), [0x91, 0x00]);
        },
        |initiator| {
            let answer = ask(initiator, &[0x4A, 0x01, 0x00]).unwrap();
            assert!(answer.ends_with(&[0x05, 0x78, 0x80, 0x70, 0x02]));
            assert_eq!(exchange(initiator, 1, &[0x00, 0x01]), (0x00, vec![0x90, 0x00]));
        },
    );
}

/// As nfcpy does it: ATR_REQ and ATR_RES without F0, then frames with it.
#[test]
fn the_start_byte_is_the_hosts_where_detect_sync_is_off() {
    with_target(
        |chip, begun| {
            assert_eq!(wait(chip, &[0x12, 0x00]), [0x13]);
            assert_eq!(listening(chip, &setup(&[]), &begun)[3..5], [0xD4, 0x00]);
            let mut atr_res = vec![0x90, 18, 0xD5, 0x01];
            atr_res.extend_from_slice(&[0x22; 10]);
            atr_res.extend_from_slice(&[0, 0, 0, 8, 0x32, 0x46]);
            atr_res[1] = atr_res.len() as u8 - 1;
            assert_eq!(wait(chip, &atr_res), [0x91, 0x00]);
            assert_eq!(wait(chip, &[0x88]), [0x89, 0x00, 0x05, 0xD4, 0x06, 0x00, 0x07]);
            assert_eq!(wait(chip, &[0x06, 0x63, 0x01]), [0x07, 0x7B]);
            assert_eq!(wait(chip, &[0x08, 0x63, 0x01, 0x3B]), [0x09]);
            assert_eq!(wait(chip, &[0x90, 0xF0, 0x05, 0xD5, 0x07, 0x00, 0x08]), [0x91, 0x00]);
            assert_eq!(wait(chip, &[0x88]), [0x89, 0x00, 0xF0, 0x05, 0xD4, 0x06, 0x01, 0x09]);
            assert_eq!(wait(chip, &[0x90, 0xF0, 0x05, 0xD5, 0x07, 0x01, 0x0A]), [0x91, 0x00]);
        },
        |initiator| {
            let answer = ask(initiator, &[0x56, 0x00, 0x00, 0x00]).unwrap();
            assert_eq!(answer[..3], [0x57, 0x00, 0x01]);
            assert_eq!(exchange(initiator, 1, &[0x07]), (0x00, vec![0x08]));
            assert_eq!(exchange(initiator, 1, &[0x09]), (0x00, vec![0x0A]));
        },
    );
}

#[test]
fn a_host_that_is_silent_and_one_that_is_not_a_target() {
    with_target(
        |chip, begun| {
            assert_eq!(wait(chip, &[0x86]), [0x87, 0x25]);
            assert_eq!(wait(chip, &[0x8E, 0x00]), [0x8F, 0x25]);
            assert_eq!(wait(chip, &[0x8A]), [0x8B, 0x00, 0x00]);
            listening(chip, &setup(&[]), &begun);
            // Says nothing more.
        },
        |initiator| {
            let answer = ask(initiator, &[0x56, 0x00, 0x00, 0x00]).unwrap();
            assert_eq!(answer[..3], [0x57, 0x00, 0x01]);
            let begun = Instant::now();
            assert_eq!(exchange(initiator, 1, &[1]).0, 0x01);
            assert!(begun.elapsed() < Duration::from_secs(30));
        },
    );
    // Without another antenna near, nobody ever comes.
    let mut alone = Pn532::new(Field::new());
    assert_eq!(ask(&mut alone, &setup(&[])), Err(Outcome::Busy));
    assert_eq!(ask(&mut alone, &[0x86]), Ok(vec![0x87, 0x25]));
}
