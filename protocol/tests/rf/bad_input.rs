//! Frames of every length with every first byte, and cards that lie: nothing panics, everything ends.

use proptest::prelude::*;
use tapdoor_protocol::rf::Dialogue;
use tapdoor_protocol::rf::frame::{Frame, Received, RfError, RxFrame, Technology};
use tapdoor_protocol::rf::iso14443::dep::Parameters;
use tapdoor_protocol::rf::iso14443::dep::activate::{Activate, Wishes};
use tapdoor_protocol::rf::iso14443::dep::ats::{Ats, Pps, Rats};
use tapdoor_protocol::rf::iso14443::dep::block::{Block, Kind};
use tapdoor_protocol::rf::iso14443::dep::pcd::{DepError, Pcd};
use tapdoor_protocol::rf::iso14443::type_a;
use tapdoor_protocol::rf::iso14443::type_b::{self, Atqb};

use crate::air::{Air, Hears};
use crate::iso_dep::{activate, terminal};

/// Says the same to everything.
struct Parrot(Vec<u8>, bool);

impl Hears for Parrot {
    fn hear(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> bool {
        let frame = frame.unwrap();
        answer.set(&Frame::new(frame.technology, &self.0));
        (answer.rate, answer.crc) = (frame.rate, frame.crc);
        answer.first_bit = if frame.crc { 0 } else { frame.last_bits % 8 };
        // REQA ends within a byte, and its answer does not.
        if frame.data.len() == 1 {
            answer.first_bit = 0;
        }
        self.1
    }

    fn reset(&mut self) {}
}

fn every_frame(mut judge: impl FnMut(&[u8])) {
    for length in 0..=40 {
        for first in 0..=255u8 {
            for rest in [0x00, 0x01, 0x88, 0xFF] {
                let mut frame = vec![rest; length];
                if let Some(byte) = frame.first_mut() {
                    *byte = first;
                }
                judge(&frame);
            }
        }
    }
    judge(&[]);
}

fn ends<D: Dialogue>(frame: &[u8], dialogue: &mut D, most: usize) {
    let mut parrot = Parrot(frame.to_vec(), true);
    let mut air = Air::new(vec![&mut parrot]);
    air.run(dialogue);
    assert!(air.exchanges <= most, "{} exchanges with {frame:02x?}", air.exchanges);
}

#[test]
fn every_frame_to_a_reader() {
    every_frame(|frame| {
        ends(frame, &mut type_a::pcd::Select::new(type_a::pcd::Request::Wupa), 40);
        ends(frame, &mut type_b::pcd::Select::new(0, true), 150);
        ends(frame, &mut Activate::new(Wishes::default()), 8);
        let mut pcd = Pcd::new(Parameters::new(Technology::A)).with_max_wtx(20);
        let mut response = Vec::new();
        ends(frame, &mut pcd.transceive(&[7; 100], &mut response), 50);
        ends(frame, &mut pcd.presence_check(), 8);
        ends(frame, &mut pcd.deselect(), 8);
    });
}

#[test]
fn every_frame_to_a_card_in_every_state() {
    every_frame(|frame| {
        for crc in [true, false] {
            let frame = Frame {
                crc,
                ..Frame::new(Technology::A, frame)
            };
            let mut card = terminal(Ats::default());
            let mut answer = RxFrame::new();
            card.hear(Ok(frame), &mut answer);
            card.reset();
            let mut air = Air::new(vec![&mut card]);
            air.run(&mut type_a::pcd::Select::new(type_a::pcd::Request::Wupa)).unwrap().unwrap();
            drop(air);
            card.hear(Ok(frame), &mut answer);
            card.hear(Ok(frame), &mut answer);
            card.reset();
            let mut air = Air::new(vec![&mut card]);
            activate(&mut air, Wishes::default());
            drop(air);
            card.hear(Ok(frame), &mut answer);
            card.hear(Err(RfError::Crc), &mut answer);
            card.hear(Ok(frame), &mut answer);
        }
    });
}

#[test]
fn a_card_that_wants_time_for_ever() {
    let mut parrot = Parrot(vec![0xF2, 0x01], true);
    let mut air = Air::new(vec![&mut parrot]);
    let mut pcd = Pcd::new(Parameters::new(Technology::A));
    let mut response = vec![1];
    let error = air.run(&mut pcd.transceive(&[1], &mut response)).unwrap_err();
    assert_eq!(error, DepError::Waiting { times: 1001 });
    assert!(response.is_empty());
}

#[test]
fn multipliers_that_there_are_not() {
    for wtxm in [0, 60, 63] {
        let mut parrot = Parrot(vec![0xF2, wtxm], true);
        let mut air = Air::new(vec![&mut parrot]);
        let mut pcd = Pcd::new(Parameters::new(Technology::A));
        let error = air.run(&mut pcd.transceive(&[1], &mut Vec::new())).unwrap_err();
        assert!(matches!(error, DepError::Protocol { pcb: 0xF2, .. }), "{error}");
        assert_eq!(air.exchanges, 4);
    }
}

/// Answers every block with a chained I-block of the number that is expected.
struct Endless(usize);

impl Hears for Endless {
    fn hear(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> bool {
        let frame = frame.unwrap();
        let mut block = vec![0x12 | frame.data[0] & 1];
        block.resize(1 + self.0, 0xAA);
        answer.set(&Frame::new(Technology::A, &block));
        true
    }

    fn reset(&mut self) {}
}

#[test]
fn a_chain_without_end() {
    for (length, most) in [(0, 20), (1, 66_000), (200, 400)] {
        let mut card = Endless(length);
        let mut air = Air::new(vec![&mut card]);
        let mut pcd = Pcd::new(Parameters::new(Technology::A));
        let mut response = Vec::new();
        let error = air.run(&mut pcd.transceive(&[1], &mut response)).unwrap_err();
        assert!(matches!(error, DepError::TooLong { .. } | DepError::Protocol { .. }));
        assert!(air.exchanges < most && response.is_empty());
    }
}

#[test]
fn a_command_without_end_is_forgotten() {
    use tapdoor_protocol::rf::iso14443::dep::picc::{Heard, MAX_COMMAND, Picc};
    let mut picc = Picc::new(Parameters::new(Technology::A));
    let block = [&[0x12][..], &[7; 250]].concat();
    let mut refused = 0;
    for _ in 0..1000 {
        refused += usize::from(picc.receive(&block) == Heard::Silent);
        assert!(picc.command().len() <= MAX_COMMAND);
    }
    assert!(refused > 0);
}

proptest! {
    #[test]
    fn parsers_never_panic_and_agree_with_their_writers(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(block) = Block::parse(&bytes) {
            let mut written = Vec::new();
            block.write(&mut written);
            prop_assert_eq!(Block::parse(&written), Ok(block));
            prop_assert_eq!(written.len(), bytes.len());
            let _ = block.to_string();
        }
        if let Ok(ats) = Ats::parse(&bytes) {
            prop_assert_eq!(Ats::parse(&ats.encode()), Ok(ats));
        }
        if let Some(atqb) = Atqb::parse(&bytes) {
            let mut written = Vec::new();
            atqb.encode_into(&mut written);
            prop_assert_eq!(Atqb::parse(&written), Some(atqb));
        }
        if let Some(rats) = Rats::parse(&bytes) {
            prop_assert_eq!(&rats.encode()[..], &bytes[..]);
        }
        if let Some(pps) = Pps::parse(&bytes) {
            prop_assert_eq!(Pps::parse(&pps.encode()), Some(pps));
        }
        if let Some(request) = type_b::Request::parse(&bytes) {
            prop_assert_eq!(&request.encode()[..], &bytes[..]);
        }
    }

    #[test]
    fn every_block_can_be_read(
        kind in prop_oneof![
            (0u8..2, any::<bool>(), any::<Option<u8>>()).prop_map(|(number, chaining, nad)| Kind::I { number, chaining, nad }),
            (0u8..2).prop_map(|number| Kind::Ack { number }),
            (0u8..2).prop_map(|number| Kind::Nak { number }),
            Just(Kind::Deselect),
            (0u8..64).prop_map(Kind::Wtx),
        ],
        cid in proptest::option::of(0u8..15),
        inf in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let inf = if matches!(kind, Kind::I { .. }) { &inf[..] } else { &[] };
        let block = Block { kind, cid, inf };
        let mut written = Vec::new();
        block.write(&mut written);
        prop_assert_eq!(Block::parse(&written), Ok(block));
    }
}
