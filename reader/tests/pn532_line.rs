//! The PN532's serial protocol against a chip that plays tricks. No time passes: a line that has nothing says so at once.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tapdoor_link::field::{FieldErrorKind, FieldLink};
use tapdoor_link::{CardLink, LinkErrorKind};
use tapdoor_protocol::pn532::frame::{TO_HOST, encode};
use tapdoor_protocol::pn532::{ACK, ERROR, ErrorCode, Frames, Incoming};
use tapdoor_protocol::rf::frame::{BitRate, Expect, Frame, RfError, RxFrame, Technology};
use tapdoor_protocol::rf::time::Ticks;
use tapdoor_reader::pn532::dep::Said;
use tapdoor_reader::pn532::{Chip, ChipError, DepInitiator, DepTarget, FirmwareCard, Hsu, Line, Port, PortErrorKind, RawField};

/// What the chip does with the next thing that it is sent.
#[derive(Clone, Debug)]
enum Act {
    /// ACK and this answer (code and data).
    Answer(Vec<u8>),
    /// The answer without its ACK.
    Unacknowledged(Vec<u8>),
    /// These bytes.
    Raw(Vec<u8>),
    /// Nothing.
    Silence,
    /// The line breaks.
    Break,
}

#[derive(Default)]
struct Tricky {
    acts: VecDeque<Act>,
    input: VecDeque<u8>,
    frames: Frames,
    /// What came: commands as they are, `ack`, `nack`.
    seen: Vec<String>,
    broken: bool,
}

impl Tricky {
    fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        Self {
            acts: acts.into_iter().collect(),
            ..Self::default()
        }
    }
}

fn answer(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(TO_HOST, content, &mut out).unwrap();
    out
}

fn answered(content: &[u8]) -> Vec<u8> {
    [&ACK[..], &answer(content)].concat()
}

impl Line for Tricky {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.frames.push(bytes);
        let mut acts = 0;
        while let Some(incoming) = self.frames.next_frame() {
            self.seen.push(match incoming {
                Incoming::Ack => "ack".to_owned(),
                Incoming::Nack => "nack".to_owned(),
                Incoming::Command(content) => hex::encode(content),
                other => panic!("{other:?}"),
            });
            // An ACK from the host is not answered.
            acts += usize::from(!matches!(self.seen.last().unwrap().as_str(), "ack"));
        }
        for _ in 0..acts {
            match self.acts.pop_front() {
                Some(Act::Answer(content)) => self.input.extend(answered(&content)),
                Some(Act::Unacknowledged(content)) => self.input.extend(answer(&content)),
                Some(Act::Raw(bytes)) => self.input.extend(bytes),
                Some(Act::Silence) | None => {}
                Some(Act::Break) => self.broken = true,
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], _: Duration) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // A few bytes at a time, as lines do.
        let count = self.input.len().min(buffer.len()).min(7);
        buffer.iter_mut().zip(self.input.drain(..count)).for_each(|(to, from)| *to = from);
        Ok(count)
    }
}

const FIRMWARE: [u8; 5] = [0x03, 0x32, 0x01, 0x06, 0x07];

fn ask(acts: impl IntoIterator<Item = Act>) -> (Result<Vec<u8>, PortErrorKind>, Vec<String>) {
    let mut port = Hsu::new(Tricky::new(acts));
    let mut out = Vec::new();
    let result = port
        .exchange(&[0x02], Duration::from_secs(1), &mut out)
        .map(|()| out)
        .map_err(|e| e.kind);
    (result, port.line_mut().seen.clone())
}

#[test]
fn command_acknowledgement_answer() {
    assert_eq!(
        ask([Act::Answer(FIRMWARE.to_vec())]),
        (Ok(FIRMWARE.to_vec()), vec!["02".to_owned()])
    );
}

#[test]
fn without_an_acknowledgement_the_command_is_sent_again() {
    let (result, seen) = ask([Act::Silence, Act::Answer(FIRMWARE.to_vec())]);
    assert_eq!(result.unwrap(), FIRMWARE);
    assert_eq!(seen, ["02", "ack", "02"]);
    let (result, seen) = ask([Act::Silence, Act::Silence, Act::Silence, Act::Answer(FIRMWARE.to_vec())]);
    assert_eq!(result, Err(PortErrorKind::Silent));
    assert_eq!(seen, ["02", "ack", "02", "ack", "02", "ack"]);
}

#[test]
fn an_answer_whose_acknowledgement_was_lost_counts() {
    assert_eq!(ask([Act::Unacknowledged(FIRMWARE.to_vec())]).0.unwrap(), FIRMWARE);
}

#[test]
fn a_damaged_answer_is_asked_for_again() {
    let mut damaged = answered(&FIRMWARE);
    let at = damaged.len() - 2;
    damaged[at] ^= 0x01;
    let (result, seen) = ask([Act::Raw(damaged.clone()), Act::Raw(answer(&FIRMWARE))]);
    assert_eq!(result.unwrap(), FIRMWARE);
    assert_eq!(seen, ["02", "nack"]);
    let (result, seen) = ask([Act::Raw(damaged.clone()), Act::Raw(damaged.clone()), Act::Raw(damaged)]);
    assert_eq!(result, Err(PortErrorKind::Silent));
    assert_eq!(seen, ["02", "nack", "nack", "ack"]);
}

#[test]
fn an_answer_that_never_ends_is_ended() {
    let mut torn = answered(&FIRMWARE);
    torn.truncate(torn.len() - 3);
    let (result, seen) = ask([Act::Raw(torn)]);
    assert_eq!(result, Err(PortErrorKind::Silent));
    assert_eq!(seen, ["02", "ack"], "the command is ended, not sent twice");
}

#[test]
fn an_error_frame_is_a_refusal() {
    let (result, seen) = ask([Act::Raw([&ACK[..], &ERROR].concat())]);
    assert_eq!(result, Err(PortErrorKind::Refused));
    assert_eq!(seen, ["02"]);
}

#[test]
fn answers_to_older_commands_and_garbage_are_passed_over() {
    let mut line = vec![0x00, 0xFF, 0x12, 0x34, 0x55];
    line.extend_from_slice(&ACK);
    line.extend_from_slice(&answer(&[0x43, 0x01]));
    line.extend_from_slice(&answer(&FIRMWARE));
    assert_eq!(ask([Act::Raw(line)]).0.unwrap(), FIRMWARE);
}

#[test]
fn a_line_that_dies_is_an_error_at_once() {
    assert_eq!(ask([Act::Break]).0, Err(PortErrorKind::Gone));
}

#[test]
fn a_line_that_babbles_is_left() {
    let (result, _) = ask([Act::Raw([ACK.to_vec(), vec![0x55; 200_000]].concat())]);
    assert_eq!(result, Err(PortErrorKind::Silent));
}

#[test]
fn after_a_silence_the_chip_is_woken() {
    let mut port = Hsu::new(Tricky::new([
        Act::Answer(FIRMWARE.to_vec()),
        Act::Silence,
        Act::Answer(FIRMWARE.to_vec()),
    ]));
    let mut out = Vec::new();
    for _ in 0..2 {
        port.exchange(&[0x02], Duration::from_secs(1), &mut out).unwrap();
        assert_eq!(out, FIRMWARE);
    }
}

#[test]
fn too_long_a_command_is_not_sent() {
    let mut port = Hsu::new(Tricky::new([]));
    let error = port.exchange(&[0x42; 265], Duration::from_secs(1), &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind, PortErrorKind::TooLong);
    assert!(port.line_mut().seen.is_empty());
}

fn chip(acts: impl IntoIterator<Item = Act>) -> Chip<Hsu<Tricky>> {
    Chip::new(Hsu::new(Tricky::new(acts)))
}

fn data(content: &[u8]) -> Act {
    Act::Answer(content.to_vec())
}

#[test]
fn another_chip_is_refused() {
    let mut chip = chip([data(&[0x15]), data(&[0x03, 0x07, 0x01, 0x06, 0x07])]);
    assert_eq!(chip.start(false), Err(ChipError::OtherChip(0x07)));
}

#[test]
fn the_chip_is_made_a_reader() {
    let mut chip = chip([data(&[0x15]), data(&FIRMWARE), data(&[0x13]), data(&[0x33]), data(&[0x33])]);
    assert_eq!(chip.start(true).unwrap().to_string(), "PN532 v1.6");
    let seen = chip.port_mut().line_mut().seen.clone();
    assert_eq!(seen, ["140100", "02", "1210", "320400", "3205000000"]);
}

/// A field whose type A is set up, with an empty field around.
fn field(acts: impl IntoIterator<Item = Act>) -> RawField<Hsu<Tricky>> {
    let mut all = vec![data(&[0x33]), data(&[0x4B, 0x00])];
    all.extend(acts);
    let mut field = RawField::new(chip(all), Instant::now());
    field.set_field(true).unwrap();
    field
}

fn seen(field: &mut RawField<Hsu<Tricky>>) -> Vec<String> {
    std::mem::take(&mut field.chip_mut().port_mut().line_mut().seen)
}

#[test]
fn registers_are_written_when_something_changes_and_only_then() {
    let mut field = field([
        data(&[0x09]),
        data(&[0x33]),
        data(&[0x43, 0x00, 0x04, 0x00]),
        data(&[0x07, 0x00]),
        data(&[0x09]),
        data(&[0x33]),
        data(&[0x43, 0x00, 0x20]),
        data(&[0x43, 0x00, 0x20]),
    ]);
    let mut rx = RxFrame::new();
    let wupa = Frame::short(&[0x52]);
    field.exchange(&wupa, &Expect::like(&wupa, Ticks(1400)), &mut rx).unwrap();
    assert_eq!((rx.data.as_slice(), rx.last_bits, rx.crc), (&[0x04, 0x00][..], 8, false));
    let select = Frame::new(Technology::A, &[0x93, 0x70, 8, 1, 2, 3, 8]);
    for _ in 0..2 {
        field
            .exchange(&select, &Expect::like(&select, Ticks::from_millis(5)), &mut rx)
            .unwrap();
        assert_eq!((rx.data.as_slice(), rx.crc), (&[0x20][..], true));
    }
    assert_eq!(
        seen(&mut field),
        [
            "320101",
            "4a0100",
            // No checksum, 7 bits.
            "08630200630300633d07",
            "3202000b02",
            "4252",
            // How many bits came.
            "06633c",
            // Checksum both ways, whole bytes.
            "08630280630380633d00",
            "3202000b07",
            "42937008010203 08".replace(' ', "").as_str(),
            "4293700801020308",
        ]
    );
}

#[test]
fn what_the_chip_says_of_an_answer() {
    for (status, expected) in [
        (0x01, RfError::Timeout),
        (0x02, RfError::Crc),
        (0x03, RfError::Parity),
        (0x05, RfError::Framing),
        (0x09, RfError::Overflow),
    ] {
        let mut field = field([data(&[0x09]), data(&[0x33]), data(&[0x43, status])]);
        let frame = Frame::new(Technology::A, &[0xC2]);
        let error = field
            .exchange(&frame, &Expect::like(&frame, Ticks(70_000)), &mut RxFrame::new())
            .unwrap_err();
        assert_eq!(error.as_rf(), Some(expected));
    }
    let mut collided = field([data(&[0x09]), data(&[0x33]), data(&[0x43, 0x06, 0x88]), data(&[0x07, 0x0C])]);
    let frame = Frame::new(Technology::A, &[0x93, 0x20]).bare();
    let mut rx = RxFrame::new();
    let error = collided.exchange(&frame, &Expect::like(&frame, Ticks(1400)), &mut rx).unwrap_err();
    assert_eq!(error.as_rf(), Some(RfError::Collision { bit: 11 }));
    assert_eq!(rx.data, [0x88]);
    let mut overheated = field([data(&[0x09]), data(&[0x33]), data(&[0x43, 0x0D])]);
    let error = overheated
        .exchange(&frame, &Expect::like(&frame, Ticks(1400)), &mut rx)
        .unwrap_err();
    assert_eq!(error.kind, FieldErrorKind::Reader);
}

#[test]
fn a_time_longer_than_the_chip_knows_is_ended_by_us() {
    let mut field = field([data(&[0x09]), data(&[0x33]), Act::Raw(ACK.to_vec())]);
    let frame = Frame::new(Technology::A, &[0x02, 0x00]);
    let error = field
        .exchange(&frame, &Expect::like(&frame, Ticks::from_millis(5000)), &mut RxFrame::new())
        .unwrap_err();
    assert_eq!(error.as_rf(), Some(RfError::Timeout));
    let seen = seen(&mut field);
    assert_eq!(seen[3..], ["3202000b00", "420200", "ack"]);
}

/// ISO-DEP in the firmware: a card with number 1 and an ATS.
fn card(acts: impl IntoIterator<Item = Act>) -> FirmwareCard<Hsu<Tricky>> {
    let mut all = vec![data(&[0x4B, 1, 1, 0x00, 0x04, 0x20, 4, 8, 1, 2, 3, 5, 0x78, 0x80, 0x70, 2])];
    all.extend(acts);
    FirmwareCard::find(chip(all), Duration::from_secs(1)).map_err(|(_, e)| e).unwrap()
}

#[test]
fn long_apdus_in_pieces() {
    let mut card = card([
        data(&[0x41, 0x00]),
        data(&[&[0x41, 0x40][..], &[0xAA; 262]].concat()),
        data(&[&[0x41, 0x00][..], &[0xBB; 36], &[0x90, 0x00]].concat()),
    ]);
    assert_eq!((card.uid(), card.ats()), (&[8, 1, 2, 3][..], &[5, 0x78, 0x80, 0x70, 2][..]));
    let mut response = Vec::new();
    card.transmit(&[0x55; 300], &mut response).unwrap();
    assert_eq!(response.len(), 300);
    let seen = card.chip_mut().port_mut().line_mut().seen.clone();
    assert_eq!(seen[1][..4], *"4041");
    assert_eq!((seen[1].len(), seen[2].len(), seen[3].as_str()), (2 * 264, 2 * 40, "4001"));
}

#[test]
fn the_firmwares_errors_are_the_cards() {
    for (status, kind) in [
        (0x01, LinkErrorKind::CardGone),
        (0x29, LinkErrorKind::CardGone),
        (0x0B, LinkErrorKind::Malformed),
    ] {
        let mut response = Vec::new();
        let error = card([data(&[0x41, status])]).transmit(&[0, 0xA4, 4, 0], &mut response).unwrap_err();
        assert_eq!(error.kind, kind);
        assert!(error.to_string().contains("InDataExchange"), "{error}");
    }
    let error = card([data(&[0x41, 0x00, 0x90])])
        .transmit(&[0, 0xA4, 4, 0], &mut Vec::new())
        .unwrap_err();
    assert_eq!(error.kind, LinkErrorKind::Malformed);
    let endless = std::iter::repeat_n(data(&[0x41, 0x40]), 10);
    let error = card(endless).transmit(&[0, 0xA4, 4, 0], &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind, LinkErrorKind::Malformed);
}

#[test]
fn a_field_without_such_a_card() {
    for list in [&[0x4B, 0][..], &[0x4B, 1, 1, 0x00, 0x04, 0x08, 4, 1, 2, 3, 4]] {
        let outcome = FirmwareCard::find(chip([data(list)]), Duration::from_secs(1))
            .map(|_| ())
            .map_err(|(_, e)| e);
        assert_eq!(outcome, Err(None));
    }
    let outcome = FirmwareCard::find(chip([data(&[0x4B, 1, 1, 0, 4, 0x20, 9])]), Duration::from_secs(1))
        .map(|_| ())
        .map_err(|(_, e)| e);
    assert!(matches!(outcome, Err(Some(ChipError::Answer(_)))), "a length that lies");
}

proptest! {
    #[test]
    fn whatever_the_line_brings_it_ends(acts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..12), command in proptest::collection::vec(any::<u8>(), 1..20)) {
        let acts = acts.into_iter().map(|mut bytes| { if bytes.first().is_some_and(|b| b & 1 == 1) { bytes.splice(..0, ACK); } Act::Raw(bytes) });
        let mut port = Hsu::new(Tricky::new(acts));
        let mut out = Vec::new();
        for _ in 0..3 {
            if port.exchange(&command, Duration::from_secs(1), &mut out).is_ok() {
                prop_assert_eq!(out[0], command[0].wrapping_add(1));
            }
        }
    }

    #[test]
    fn whatever_the_chip_answers_the_field_ends(contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..12)) {
        // Right codes, wrong content.
        let codes = [0x4Bu8, 0x09, 0x33, 0x43, 0x07, 0x43];
        let acts = contents.into_iter().zip(codes.iter().cycle()).map(|(mut content, code)| { content[0] = *code; Act::Answer(content) });
        let mut field = RawField::new(chip(acts), Instant::now());
        let frame = Frame::short(&[0x26]);
        let mut rx = RxFrame::new();
        for _ in 0..3 {
            let _ = field.exchange(&frame, &Expect::like(&frame, Ticks(1000)), &mut rx);
        }
    }
}

/// A target by the chip's firmware, after SetParameters.
fn target(acts: impl IntoIterator<Item = Act>) -> DepTarget<Hsu<Tricky>> {
    let mut all = vec![data(&[0x13])];
    all.extend(acts);
    DepTarget::new(chip(all), [1, 2, 3, 4, 5, 6], b"gt").unwrap()
}

const ATR_REQ: [u8; 20] = [0x8D, 0x25, 18, 0xD4, 0x00, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 0, 0, 0x32, b'i'];

#[test]
fn a_target_of_the_firmware_hears_and_answers_in_pieces() {
    let mut target = target([
        data(&ATR_REQ),
        data(&[&[0x87, 0x40][..], &[5; 262]].concat()),
        data(&[0x87, 0x00, 6]),
        data(&[0x95, 0x00]),
        data(&[0x8F, 0x00]),
        data(&[0x87, 0x29]),
    ]);
    assert_eq!(target.wait(Duration::from_millis(500)), Ok(Some(b"i".to_vec())));
    let mut heard = Vec::new();
    assert_eq!(target.receive(1000, &mut heard), Ok(Said::Data));
    assert_eq!(heard, [&[5; 262][..], &[6]].concat());
    assert_eq!(target.send(&heard), Ok(Said::Data));
    assert_eq!(target.receive(1000, &mut heard), Ok(Said::Over));
}

#[test]
fn targets_that_nobody_wants_and_initiators_that_do_not_end() {
    // Activated as a card: no session of NFC-DEP.
    assert_eq!(target([data(&[0x8D, 0x08, 0xE0, 0x80])]).wait(Duration::from_millis(500)), Ok(None));
    // An ATR_REQ that cannot be read has no general bytes.
    assert_eq!(
        target([data(&[0x8D, 0x04, 4, 0xD4, 0x00, 1])]).wait(Duration::from_millis(500)),
        Ok(Some(vec![]))
    );
    let endless = std::iter::repeat_with(|| data(&[&[0x87, 0x40][..], &[5; 200]].concat())).take(50);
    let mut heard = Vec::new();
    assert_eq!(target(endless).receive(1000, &mut heard), Err(ChipError::Endless(1200)));
    let empty = std::iter::repeat_with(|| data(&[0x87, 0x40])).take(50);
    assert_eq!(target(empty).receive(1000, &mut heard), Err(ChipError::Endless(0)));
    let refused = target([Act::Raw([&ACK[..], &ERROR].concat())]).send(&[1]).unwrap_err();
    assert!(refused.is_harmless(), "{refused}");
}

#[test]
fn an_initiator_of_the_firmware() {
    let jumped = [&[0x57, 0x00, 0x01][..], &[7; 10], &[0, 0, 0, 9, 0x32], b"gt"].concat();
    let mut initiator = DepInitiator::find(
        chip([data(&jumped), data(&[0x41, 0x00, 8]), data(&[0x41, 0x0B]), data(&[0x53, 0x00])]),
        BitRate::Kbps106,
        [1; 10],
        b"gi",
    )
    .unwrap()
    .unwrap();
    assert_eq!(initiator.general(), b"gt");
    let mut received = vec![1, 2, 3];
    initiator.exchange(&[1], 100, &mut received).unwrap();
    assert_eq!(received, [8]);
    let error = initiator.exchange(&[1], 100, &mut received).unwrap_err();
    assert_eq!((error.code(), received.len()), (Some(ErrorCode::Protocol), 0));
    let chip = initiator.release().unwrap();
    let seen = chip.into_port().line_mut().seen.clone();
    assert_eq!(seen[0], format!("56000006{}6769", "01".repeat(10)));
    assert_eq!(seen.last().map(String::as_str), Some("5200"));
    for nobody in [&[0x57, 0x01][..], &[0x57, 0x41]] {
        let found = DepInitiator::find(self::chip([data(nobody)]), BitRate::Kbps212, [1; 10], b"").unwrap();
        assert!(found.is_none());
    }
    let short = DepInitiator::find(self::chip([data(&[0x57, 0x00, 0x01, 7])]), BitRate::Kbps424, [1; 10], b"");
    assert!(matches!(short, Err(ChipError::Answer(_))));
}
