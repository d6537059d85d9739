//! The PN532's host link: known bytes, round trips, and whatever a line can bring.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::collection::vec;
use proptest::prelude::*;
use tapdoor_protocol::pn532::command::{Code, Command, DepMode, Jump, TargetSetup};
use tapdoor_protocol::pn532::frame::{self, Damage, TO_CHIP, TO_HOST};
use tapdoor_protocol::pn532::{
    ACK, Answer, AutoPollType, BaudRate, DepAnswer, ERROR, ErrorCode, Frames, Incoming, Listed, MAX_FRAME, Modulation, NACK, Parameters,
    Pn532Error, PolledTarget, RfItem, SamMode, Status, Timeout, WAKE_UP,
};

fn command_frame(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode(TO_CHIP, content, &mut out).unwrap();
    out
}

/// What a line brought, owned.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Ack,
    Nack,
    Error,
    Command(Vec<u8>),
    Answer(Vec<u8>),
    Damaged(Damage),
}

fn drain(frames: &mut Frames, seen: &mut Vec<Seen>) {
    while let Some(incoming) = frames.next_frame() {
        seen.push(match incoming {
            Incoming::Ack => Seen::Ack,
            Incoming::Nack => Seen::Nack,
            Incoming::Error => Seen::Error,
            Incoming::Command(content) => Seen::Command(content.to_vec()),
            Incoming::Answer(content) => Seen::Answer(content.to_vec()),
            Incoming::Damaged(damage) => Seen::Damaged(damage),
        });
    }
}

fn read(bytes: &[u8], chunk: usize) -> Vec<Seen> {
    let (mut frames, mut seen) = (Frames::new(), Vec::new());
    for part in bytes.chunks(chunk.max(1)) {
        frames.push(part);
        drain(&mut frames, &mut seen);
    }
    seen
}

#[test]
fn known_frames() {
    // GetFirmwareVersion and its answer, as drivers log them.
    assert_eq!(command_frame(&[0x02]), [0x00, 0x00, 0xFF, 0x02, 0xFE, 0xD4, 0x02, 0x2A, 0x00]);
    let answer = [0x00, 0x00, 0xFF, 0x06, 0xFA, 0xD5, 0x03, 0x32, 0x01, 0x06, 0x07, 0xE8, 0x00];
    let mut line = ACK.to_vec();
    line.extend_from_slice(&answer);
    let seen = read(&line, 1);
    assert_eq!(seen, [Seen::Ack, Seen::Answer(vec![0x03, 0x32, 0x01, 0x06, 0x07])]);
    assert_eq!(
        Answer::parse(Code::GetFirmwareVersion, &[0x03, 0x32, 0x01, 0x06, 0x07]).unwrap(),
        Answer::FirmwareVersion {
            ic: 0x32,
            version: 1,
            revision: 6,
            support: 7
        }
    );
    assert_eq!(read(&ERROR, 3), [Seen::Error]);
    assert_eq!(read(&NACK, 3), [Seen::Nack]);
}

#[test]
fn the_wake_up_before_a_command_is_passed_over() {
    let mut line = WAKE_UP.to_vec();
    line.extend_from_slice(&command_frame(&[0x14, 0x01, 0x00]));
    for chunk in 1..line.len() {
        assert_eq!(read(&line, chunk), [Seen::Command(vec![0x14, 0x01, 0x00])]);
    }
}

#[test]
fn extended_frames_begin_where_one_byte_of_length_ends() {
    for (length, head) in [
        (253, &[0xFE, 0x02][..]),
        (254, &[0xFF, 0x01]),
        (255, &[0xFF, 0xFF, 0x01, 0x00, 0xFF]),
        (264, &[0xFF, 0xFF, 0x01, 0x09, 0xF6]),
    ] {
        let content = vec![0x40; length];
        let frame = command_frame(&content);
        assert_eq!(&frame[3..3 + head.len()], head);
        assert_eq!(read(&frame, 7), [Seen::Command(content)]);
    }
    let mut out = vec![1];
    assert_eq!(
        frame::encode(TO_CHIP, &[0; MAX_FRAME], &mut out),
        Err(Pn532Error::TooLong { length: MAX_FRAME + 1 })
    );
    assert_eq!(out, [1]);
}

#[test]
fn a_255_byte_frame_is_not_taken_for_an_extended_one() {
    // LEN FF and LCS 01: the second byte tells it from FF FF and FF 00.
    let content = vec![0; 254];
    assert_eq!(read(&command_frame(&content), 300), [Seen::Command(content)]);
}

#[test]
fn damaged_frames_are_named_and_what_follows_is_read() {
    let good = command_frame(&[0x02]);
    let mut lcs = good.clone();
    lcs[4] ^= 1;
    let mut dcs = good.clone();
    dcs[7] ^= 1;
    let mut tfi = Vec::new();
    frame::encode(0xD3, &[0x02], &mut tfi).unwrap();
    // Inside a frame whose content is damaged nothing is taken for a frame.
    let mut inner = command_frame(&[&[0x42][..], &ACK, &good].concat());
    *inner.last_mut().unwrap() = 0;
    let at = inner.len() - 2;
    inner[at] ^= 0x10;
    let long = [0x00, 0x00, 0xFF, 0xFF, 0xFF, 0x01, 0x0A, 0xF5, 0xD4];
    let none = [0x00, 0x00, 0xFF, 0x00, 0x00, 0x00];
    for (bad, damage) in [
        (&lcs[..], Damage::Lcs),
        (&dcs, Damage::Dcs),
        (&tfi, Damage::Tfi(0xD3)),
        (&inner, Damage::Dcs),
        (&long, Damage::Length(266)),
        (&none, Damage::Length(0)),
    ] {
        let line = [bad, &good].concat();
        for chunk in [1, 4, line.len()] {
            assert_eq!(
                read(&line, chunk),
                [Seen::Damaged(damage), Seen::Command(vec![0x02])],
                "{line:02x?}"
            );
        }
    }
}

#[test]
fn cards_as_drivers_log_them() {
    // An ISO-DEP card with a random UID: libnfc shows ATQA 00 04, SAK 20.
    let answer = [
        0x4B, 0x01, 0x01, 0x00, 0x04, 0x20, 0x04, 0x08, 0x12, 0x34, 0x56, 0x05, 0x78, 0x80, 0x70, 0x02,
    ];
    let parsed = Answer::parse(Code::InListPassiveTarget, &answer).unwrap();
    assert_eq!(
        parsed.targets(Modulation::A106, true).unwrap(),
        [Listed::A {
            target: 1,
            sens_res: [0x00, 0x04],
            sel_res: 0x20,
            uid: &[0x08, 0x12, 0x34, 0x56],
            ats: Some(&[0x05, 0x78, 0x80, 0x70, 0x02]),
        }]
    );
    assert!(parsed.targets(Modulation::A106, false).is_err(), "an ATS nobody asked for");
    assert_eq!(
        Answer::parse(Code::InListPassiveTarget, &[0x4B, 0x00])
            .unwrap()
            .targets(Modulation::B106, true)
            .unwrap(),
        []
    );
    assert!(Answer::parse(Code::InListPassiveTarget, &[0x4B, 0x03]).is_err());
}

#[test]
fn a_stale_answer_is_named() {
    assert_eq!(
        Answer::parse(Code::ReadRegister, &[0x33]),
        Err(Pn532Error::WrongAnswer { expected: 0x07, got: 0x33 })
    );
}

#[test]
fn every_error_code_has_a_name_and_keeps_its_value() {
    for value in 1..=0x3F {
        let error = ErrorCode::new(value).unwrap();
        assert_eq!(error.value(), value);
        assert!(!error.meaning().is_empty());
    }
    assert_eq!(ErrorCode::new(0x29), Some(ErrorCode::Released));
    assert_eq!(ErrorCode::new(0xC0), None);
    for byte in 0..=0xFF {
        assert_eq!(Status::from_byte(byte).to_byte(), byte);
    }
}

#[test]
fn time_outs() {
    assert_eq!(Timeout::at_least(0).microseconds(), Some(100));
    assert_eq!(Timeout::at_least(100).to_byte(), 1);
    assert_eq!(Timeout::at_least(101).to_byte(), 2);
    assert_eq!(Timeout::at_least(51_200).to_byte(), 0x0A);
    assert_eq!(Timeout::at_least(u64::MAX).microseconds(), Some(3_276_800));
    assert_eq!(Timeout::from_byte(17), None);
    assert_eq!(Timeout::NONE.microseconds(), None);
}

#[test]
fn line_rates() {
    for byte in 0..9 {
        let rate = BaudRate::from_byte(byte).unwrap();
        assert_eq!((rate as u8, BaudRate::from_baud(rate.baud())), (byte, Some(rate)));
    }
    assert_eq!(BaudRate::from_byte(9), None);
    assert_eq!(BaudRate::B115200.baud(), 115_200);
}

/// Owned material that a command borrows from.
#[derive(Clone, Debug)]
struct Material {
    bytes: Vec<u8>,
    second: Vec<u8>,
    numbers: [u8; 4],
    long: [u8; 18],
    ten: Option<[u8; 10]>,
    flags: [bool; 3],
    which: usize,
}

fn material() -> impl Strategy<Value = Material> {
    (
        vec(any::<u8>(), 0..200),
        vec(any::<u8>(), 0..48),
        any::<[u8; 4]>(),
        any::<[u8; 18]>(),
        any::<Option<[u8; 10]>>(),
        any::<[bool; 3]>(),
        0..Code::ALL.len(),
    )
        .prop_map(|(bytes, second, numbers, long, ten, flags, which)| Material {
            bytes,
            second,
            numbers,
            long,
            ten,
            flags,
            which,
        })
}

fn jump<'a>(m: &'a Material, passive: &'a [u8; 5]) -> Jump<'a> {
    let rate = m.numbers[0] % 3;
    Jump {
        mode: if m.flags[0] { DepMode::Active } else { DepMode::Passive },
        rate,
        passive: m.flags[1].then_some(&passive[..if rate == 0 { 4 } else { 5 }]),
        nfcid3: m.ten,
        general: &m.second,
    }
}

fn command<'a>(m: &'a Material, passive: &'a [u8; 5], types: &'a [u8]) -> Command<'a> {
    let [a, b, c, _] = m.numbers;
    let data = &m.bytes[..];
    match Code::ALL[m.which] {
        Code::Diagnose => Command::Diagnose { test: a, parameters: data },
        Code::GetFirmwareVersion => Command::GetFirmwareVersion,
        Code::GetGeneralStatus => Command::GetGeneralStatus,
        Code::ReadRegister => Command::ReadRegister {
            addresses: &m.long[..2 * (1 + usize::from(a % 9))],
        },
        Code::WriteRegister => Command::WriteRegister {
            writes: &m.long[..3 * (1 + usize::from(a % 6))],
        },
        Code::ReadGpio => Command::ReadGpio,
        Code::WriteGpio => Command::WriteGpio { p3: a, p7: b },
        Code::SetSerialBaudRate => Command::SetSerialBaudRate(BaudRate::from_byte(a % 9).unwrap()),
        Code::SetParameters => Command::SetParameters(Parameters(a)),
        Code::SamConfiguration => Command::SamConfiguration {
            mode: SamMode::from_byte(a % 4 + 1).unwrap(),
            timeout: b,
            irq: m.flags[0].then_some(m.flags[1]),
        },
        Code::PowerDown => Command::PowerDown {
            wake_up: a,
            irq: m.flags[0].then_some(m.flags[1]),
        },
        Code::RfConfiguration => Command::RfConfiguration(match a % 8 {
            0 => RfItem::Field {
                auto_rfca: m.flags[0],
                on: m.flags[1],
            },
            1 => RfItem::Timings {
                atr_res: Timeout::from_byte(b % 17).unwrap(),
                retry: Timeout::from_byte(c % 17).unwrap(),
            },
            2 => RfItem::MaxRetryCom(b),
            3 => RfItem::MaxRetries {
                atr: a,
                psl: b,
                passive: c,
            },
            4 => RfItem::Analog {
                item: 0x0A,
                values: &m.long[..11],
            },
            5 => RfItem::Analog {
                item: 0x0B,
                values: &m.long[..8],
            },
            6 => RfItem::Analog {
                item: 0x0C,
                values: &m.long[..3],
            },
            _ => RfItem::Analog {
                item: 0x0D,
                values: &m.long[..9],
            },
        }),
        Code::InDataExchange => Command::InDataExchange {
            target: a & 7,
            more: m.flags[0],
            data,
        },
        Code::InCommunicateThru => Command::InCommunicateThru { data },
        Code::InDeselect => Command::InDeselect(a),
        Code::InJumpForPsl => Command::InJumpForPsl(jump(m, passive)),
        Code::InListPassiveTarget => Command::InListPassiveTarget {
            most: a % 2 + 1,
            modulation: Modulation::from_byte(b % 5).unwrap(),
            initiator: &m.second,
        },
        Code::InPsl => Command::InPsl {
            target: a,
            initiator_rate: b,
            target_rate: c,
        },
        Code::InAtr => Command::InAtr {
            target: a,
            nfcid3: m.ten,
            general: &m.second,
        },
        Code::InRelease => Command::InRelease(a),
        Code::InSelect => Command::InSelect(a),
        Code::InJumpForDep => Command::InJumpForDep(jump(m, passive)),
        Code::RfRegulationTest => Command::RfRegulationTest { mode: a },
        Code::InAutoPoll => Command::InAutoPoll {
            rounds: a,
            period: b,
            types,
        },
        Code::TgGetData => Command::TgGetData,
        Code::TgGetInitiatorCommand => Command::TgGetInitiatorCommand,
        Code::TgGetTargetStatus => Command::TgGetTargetStatus,
        Code::TgInitAsTarget => Command::TgInitAsTarget(TargetSetup {
            mode: a,
            sens_res: [b, c],
            nfcid1: [a, b, c],
            sel_res: b,
            felica: m.long,
            nfcid3: m.ten.unwrap_or_default(),
            general: &m.second,
            historical: &data[..data.len().min(48)],
        }),
        Code::TgSetData => Command::TgSetData { data },
        Code::TgResponseToInitiator => Command::TgResponseToInitiator { data },
        Code::TgSetGeneralBytes => Command::TgSetGeneralBytes { general: data },
        Code::TgSetMetaData => Command::TgSetMetaData { data },
    }
}

fn dep(m: &Material, target: u8) -> DepAnswer<'_> {
    let [did, send_rates, receive_rates, timeout] = m.numbers;
    DepAnswer {
        target,
        nfcid3: m.ten.unwrap_or_default(),
        did,
        send_rates,
        receive_rates,
        timeout,
        pp: 0x32,
        general: &m.second,
    }
}

fn answer<'a>(m: &'a Material) -> Answer<'a> {
    let [a, b, c, d] = m.numbers;
    let code = Code::ALL[m.which];
    let status = Status::from_byte(a);
    match code {
        Code::Diagnose => Answer::Diagnose(&m.bytes),
        Code::GetFirmwareVersion => Answer::FirmwareVersion {
            ic: a,
            version: b,
            revision: c,
            support: d,
        },
        Code::GetGeneralStatus => Answer::GeneralStatus {
            error: status,
            field: m.flags[0],
            targets: &m.long[..4 * usize::from(b % 3)],
            sam: c,
        },
        Code::ReadRegister => Answer::Registers(&m.bytes),
        Code::ReadGpio => Answer::Gpio([a, b, c]),
        Code::InListPassiveTarget => Answer::Listed {
            count: a % 3,
            data: &m.bytes,
        },
        Code::InAutoPoll => Answer::Polled {
            count: a % 3,
            data: &m.bytes,
        },
        Code::InAtr => Answer::Atr(if status.error.is_none() { Ok(dep(m, 0)) } else { Err(status) }),
        Code::InJumpForDep | Code::InJumpForPsl => Answer::Jumped(code, if status.error.is_none() { Ok(dep(m, 1)) } else { Err(status) }),
        Code::TgGetTargetStatus => Answer::TargetStatus { state: a, rates: b },
        Code::TgInitAsTarget => Answer::Activated {
            mode: a,
            command: &m.bytes,
        },
        Code::InDataExchange | Code::InCommunicateThru | Code::TgGetData | Code::TgGetInitiatorCommand => {
            Answer::Data(code, status, &m.bytes)
        }
        Code::PowerDown
        | Code::InDeselect
        | Code::InRelease
        | Code::InSelect
        | Code::InPsl
        | Code::TgSetData
        | Code::TgSetMetaData
        | Code::TgResponseToInitiator
        | Code::TgSetGeneralBytes => Answer::Status(code, status),
        _ => Answer::Done(code),
    }
}

/// Bytes that look like frames often enough to get past the first checks.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => Just(0u8), 3 => Just(0xFF), 1 => Just(0xD4), 1 => Just(0xD5), 1 => Just(0x01), 2 => any::<u8>()];
    vec(byte, 0..80)
}

proptest! {
    #[test]
    fn commands_round_trip(m in material(), passive: [u8; 5], picks in vec(0usize..16, 1..=15)) {
        let types: Vec<u8> = picks.iter().map(|p| AutoPollType::ALL[*p] as u8).collect();
        let command = command(&m, &passive, &types);
        let mut content = Vec::new();
        command.encode(&mut content);
        prop_assert_eq!(content[0], command.code() as u8);
        prop_assert_eq!(Command::parse(&content), Ok(command));
    }

    #[test]
    fn answers_round_trip(m in material()) {
        let answer = answer(&m);
        let mut content = Vec::new();
        answer.encode(&mut content);
        prop_assert_eq!(Answer::parse(answer.code(), &content), Ok(answer));
    }

    #[test]
    fn listed_cards_round_trip(m in material(), kind in 0u8..5, uid in prop_oneof![Just(4usize), Just(7), Just(10)], tl in 1usize..30) {
        let [a, b, c, d] = m.numbers;
        let mut ats = vec![0x55; tl];
        ats[0] = tl as u8;
        let one = match kind {
            0 => {
                let with_ats = m.flags[0];
                Listed::A { target: 1, sens_res: [a, b], sel_res: if with_ats { 0x20 } else { c & !0x20 }, uid: &m.long[..uid], ats: with_ats.then_some(&ats[..]) }
            }
            1 | 2 => Listed::Felica { target: 1, nfcid2: m.long[..8].try_into().unwrap(), pad: m.long[8..16].try_into().unwrap(), system_code: m.flags[0].then_some([c, d]) },
            3 => Listed::B { target: 1, atqb: m.long[..12].try_into().unwrap(), attrib_res: &m.second },
            _ => Listed::Jewel { target: 1, sens_res: [a, b], id: m.numbers },
        };
        let mut data = Vec::new();
        one.encode(&mut data);
        one.encode(&mut data);
        let modulation = Modulation::from_byte(kind).unwrap();
        prop_assert_eq!(Answer::Listed { count: 2, data: &data }.targets(modulation, true), Ok(vec![one, one]));

        let kind = AutoPollType::ALL[m.which % 16];
        if kind.modulation() == Some(modulation) || kind.is_dep() {
            let polled = if kind.is_dep() { PolledTarget::Dep(kind, dep(&m, 1)) } else { PolledTarget::Card(kind, one) };
            let mut data = Vec::new();
            polled.encode(&mut data);
            prop_assert_eq!(Answer::Polled { count: 1, data: &data }.polled(), Ok(vec![polled]));
        }
    }

    #[test]
    fn frames_round_trip_however_they_are_cut(contents in vec(vec(any::<u8>(), 0..MAX_FRAME), 1..6), garbage in vec(1u8..0xFF, 0..20), chunk in 1usize..300, to_host: bool) {
        let (mut bytes, mut expected) = (garbage, Vec::new());
        for content in contents {
            bytes.extend_from_slice(&ACK);
            frame::encode(if to_host { TO_HOST } else { TO_CHIP }, &content, &mut bytes).unwrap();
            expected.extend([Seen::Ack, if to_host { Seen::Answer(content) } else { Seen::Command(content) }]);
        }
        prop_assert_eq!(read(&bytes, chunk), expected);
    }

    #[test]
    fn the_cut_never_matters(bytes in line(), chunk in 1usize..80) {
        prop_assert_eq!(read(&bytes, chunk), read(&bytes, bytes.len()));
    }

    #[test]
    fn after_garbage_and_a_frames_worth_of_quiet_frames_are_read_again(garbage in line(), content in vec(any::<u8>(), 0..20)) {
        // Whatever a false beginning still waits for.
        let mut bytes = garbage;
        bytes.extend_from_slice(&[0x55; MAX_FRAME + 8]);
        frame::encode(TO_HOST, &content, &mut bytes).unwrap();
        prop_assert_eq!(read(&bytes, 64).pop(), Some(Seen::Answer(content)));
    }

    #[test]
    fn one_wrong_byte_is_never_taken_for_another_frame(content in vec(any::<u8>(), 1..260), at in 3usize..260, wrong in 1u8..=255) {
        let mut bytes = command_frame(&content);
        let at = at % (bytes.len() - 1);
        if at < 3 { return Ok(()); }
        bytes[at] ^= wrong;
        for seen in read(&bytes, bytes.len()) {
            prop_assert!(!matches!(seen, Seen::Command(c) | Seen::Answer(c) if c == content || c.len() == content.len()));
        }
    }

    #[test]
    fn no_bytes_make_a_parser_panic(content in vec(any::<u8>(), 0..300), which in 0..Code::ALL.len(), kind in 0u8..5, rats: bool) {
        let _ = Command::parse(&content);
        let code = Code::ALL[which];
        let mut forced = vec![code as u8];
        forced.extend_from_slice(&content);
        if let Ok(command) = Command::parse(&forced) {
            prop_assert_eq!(command.code(), code);
        }
        forced[0] = code.answer();
        if let Ok(answer) = Answer::parse(code, &forced) {
            let _ = answer.targets(Modulation::from_byte(kind).unwrap(), rats);
            let _ = answer.polled();
        }
    }
}
