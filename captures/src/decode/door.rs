//! The door's own commands and answers, and those of a USIM (docs/protocol.md sections 3 to 9).

use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::Verdict;
use tapdoor_protocol::door::control_flow::DOWNLOADING;
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;

use super::view::View;
use super::words::{self, Name};
use super::{App, Field, fci};

/// The word for a verdict code of section 7.
fn verdict(code: u8) -> Name {
    match Verdict::from_code(code) {
        Some(Verdict::Open) => "opened".into(),
        Some(Verdict::Refused(reason)) => reason.name().into(),
        None => format!("unknown code {code:02x}").into(),
    }
}

pub(super) fn control_flow(p1: u8, data: View<'_>) -> Name {
    match (p1, data.bytes()) {
        (0x01, _) => "CONTROL FLOW, sealed".into(),
        (0x00, [DOWNLOADING]) => "CONTROL FLOW, plain: downloading".into(),
        (0x00, [code]) => words::joined("CONTROL FLOW, plain: ", &verdict(*code)),
        _ => "CONTROL FLOW, of unknown form".into(),
    }
}

/// `10 RAND 10 AUTN`, or `10 RAND` in GSM context.
pub(super) fn usim_command(data: View<'_>) -> Vec<Field> {
    match data.bytes() {
        [0x10, ..] if matches!(data.len(), 17 | 34) => {
            let mut fields = data.range(1..17).field("RAND");
            fields.extend(data.range(18..data.len()).field("AUTN"));
            fields
        }
        _ => data.field("data"),
    }
}

/// `DB len RES len CK len IK [len Kc]`, `DC len AUTS`, or `len SRES len Kc`.
pub(super) fn usim_answer(data: View<'_>) -> Vec<Field> {
    let (names, start): (&[&str], _) = match data.bytes() {
        [0xDB, ..] => (&["RES", "CK", "IK", "Kc"], 1),
        [0xDC, ..] => (&["AUTS"], 1),
        [0x04, ..] => (&["SRES", "Kc"], 0),
        _ => return data.field("data"),
    };
    let mut fields = Vec::new();
    let mut at = start;
    for name in names {
        let Some(length) = data.bytes().get(at) else {
            break;
        };
        let end = at + 1 + usize::from(*length);
        if end > data.len() {
            break;
        }
        fields.extend(data.range(at + 1..end).field(name));
        at = end;
    }
    fields.extend(data.range(at..data.len()).field("more"));
    fields
}

pub(super) fn aka_answer(data: View<'_>) -> Vec<Field> {
    match data.bytes() {
        [0xDB, 0x08, ..] => data.range(2..data.len()).split(&[("RES", 8)]),
        [0xDC, 0x1E, ..] => data.range(2..data.len()).split(&[("X", 30)]),
        _ => data.field("data"),
    }
}

pub(super) fn identity(data: View<'_>) -> Vec<Field> {
    match data.bytes() {
        _ if data.is_brief() => Vec::new(),
        [0x00, ..] if data.len() > 42 => {
            let mut fields = vec![Field::new("form", "concealed")];
            let ciphertext = data.len() - 42;
            fields.extend(data.range(1..data.len()).split(&[("E", 33), ("C", ciphertext), ("M", 8)]));
            fields
        }
        [0x01, kind, length, ..] => {
            let kind = match kind {
                1 => "IMEI",
                2 => "ICCID",
                3 => "IMSI",
                4 => "MSISDN",
                _ => "unknown kind",
            };
            let mut fields = vec![Field::new("form", "plain"), Field::new("kind", kind)];
            let digits = usize::from(*length);
            fields.extend(data.range(3..data.len()).split(&[("digits", digits), ("CMAC", 16)]));
            fields
        }
        _ => data.field("data"),
    }
}

/// `90{clock}` and the phone's FCI.
pub(super) fn begin(data: View<'_>) -> Vec<Field> {
    if data.is_brief() {
        return Vec::new();
    }
    let Ok((first, rest)) = tlv::read(data.bytes()) else {
        return data.field("data");
    };
    let clock = <[u8; 4]>::try_from(first.value).ok().filter(|_| first.tag.0 == 0x90);
    let Some(clock) = clock.map(u32::from_be_bytes) else {
        return data.field("data");
    };
    let mut fields = vec![Field::new("clock", time(clock))];
    fields.extend(fci(data.find(rest), App::ChallengeResponse));
    fields
}

fn time(seconds: u32) -> String {
    jiff::Timestamp::from_second(seconds.into()).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// An R-APDU inside NEXT or REQUEST.
pub(super) fn answer_of_phone(data: View<'_>) -> Vec<Field> {
    if data.is_brief() {
        return Vec::new();
    }
    let Some((_, &sw)) = data.bytes().split_last_chunk::<2>() else {
        return data.field("data");
    };
    let sw = StatusWord(u16::from_be_bytes(sw));
    let mut fields = vec![Field::new("phone said", format!("{:04x} {}", sw.0, sw.meaning()))];
    fields.extend(data.range(0..data.len() - 2).field("data"));
    fields
}

pub(super) fn chip_answer(data: View<'_>) -> Vec<Field> {
    if data.is_brief() {
        return Vec::new();
    }
    let mut fields = Vec::new();
    for object in tlv::iter(data.bytes()) {
        let Ok(object) = object else {
            return data.field("data");
        };
        let value = data.find(object.value);
        fields.push(match object.tag.0 {
            0xC1 => Field::new("next", command(value)),
            0xC2 => match value.bytes() {
                [code] => Field::new("verdict", verdict(*code)),
                _ => Field::new("verdict", value.hex()),
            },
            0xC3 => Field::new("to be signed", value.hex()),
            0xC4 => Field::new("signature", value.hex()),
            0xC5 => Field::new("phone id", value.hex()),
            0xC6 => Field::new("flags", value.hex()),
            0xC7 => Field::new("control flow", command(value)),
            0xC9 => Field::new("evidence", String::from_utf8_lossy(value.bytes())),
            tag => Field::new(format!("tag {tag:02x}"), value.hex()),
        });
    }
    fields
}

/// A C-APDU inside an answer of the chip, with its name.
fn command(view: View<'_>) -> String {
    let hex = view.hex();
    let Ok(command) = Command::parse(view.bytes()) else {
        return hex;
    };
    let data = view.find(command.data);
    let name = match command.ins {
        0x3C => control_flow(command.p1, data),
        0x88 => "AUTHENTICATE".into(),
        0xCA if command.cla == 0x80 => "GET IDENTITY".into(),
        _ => super::names::command(command.cla, command.ins, command.p1, command.p2),
    };
    format!("{hex} ({name})")
}
