//! Aliro 1.0 and Apple's Home Key, as far as they can be seen without keys.

use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::tlv;

use super::Field;
use super::view::View;

/// What the answer is, when it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Auth0,
    Sealed,
    Envelope,
    None,
}

pub(super) fn command(command: &Command<'_>, data: View<'_>, home: bool) -> Option<(String, Vec<Field>, Answer)> {
    Some(match command.ins {
        0x80 => {
            let fast = match tlv::find(data.bytes(), 0x41) {
                Some([flags, ..]) => flags & 1 != 0,
                _ => home && command.p1 & 1 != 0,
            };
            let name = if fast { "AUTH0, fast" } else { "AUTH0, standard" };
            (name.into(), fields(data, auth0), Answer::Auth0)
        }
        0x81 => ("AUTH1".into(), fields(data, auth1), Answer::Sealed),
        0xD1 => ("LOAD CERT".into(), data.field("certificate"), Answer::None),
        0xC9 => ("EXCHANGE".into(), sealed(data), Answer::Sealed),
        0xC3 => ("ENVELOPE".into(), fields(data, envelope), Answer::Envelope),
        0x3C => (control_flow(command, data, home), fields(data, control), Answer::None),
        _ => return None,
    })
}

pub(super) fn answer(kind: Answer, data: View<'_>) -> Vec<Field> {
    match kind {
        Answer::Auth0 => fields(data, auth0_answer),
        Answer::Sealed => sealed(data),
        Answer::Envelope => fields(data, envelope),
        Answer::None => data.field("data"),
    }
}

fn fields(data: View<'_>, name: fn(u32) -> Option<&'static str>) -> Vec<Field> {
    if data.is_brief() {
        return Vec::new();
    }
    let mut fields = Vec::new();
    for object in tlv::iter(data.bytes()) {
        let Ok(object) = object else {
            return data.field("data");
        };
        let value = data.find(object.value).hex();
        let label = match name(object.tag.0) {
            Some(name) => name.to_owned(),
            None => format!("tag {:02x}", object.tag.0),
        };
        fields.push(Field::new(label, value));
    }
    fields
}

/// Ciphertext and the tag of AES-GCM.
fn sealed(data: View<'_>) -> Vec<Field> {
    match data.len().checked_sub(16) {
        Some(length) if length > 0 => data.split(&[("ciphertext", length), ("tag", 16)]),
        _ => data.field("data"),
    }
}

const fn auth0(tag: u32) -> Option<&'static str> {
    Some(match tag {
        0x41 => "parameters",
        0x42 => "policy",
        0x4C => "transaction id",
        0x4D => "reader id",
        0x5C => "version",
        0x87 => "reader ephemeral key",
        0xB1 => "vendor extension",
        _ => return None,
    })
}

const fn auth0_answer(tag: u32) -> Option<&'static str> {
    Some(match tag {
        0x86 => "credential ephemeral key",
        0x9D => "cryptogram",
        0xB2 => "vendor extension",
        _ => return None,
    })
}

const fn auth1(tag: u32) -> Option<&'static str> {
    Some(match tag {
        0x41 => "parameters",
        0x90 => "certificate",
        0x9E => "reader signature",
        _ => return None,
    })
}

const fn envelope(tag: u32) -> Option<&'static str> {
    match tag {
        0x53 => Some("request or response"),
        _ => None,
    }
}

const fn control(tag: u32) -> Option<&'static str> {
    Some(match tag {
        0x41 => "S1",
        0x42 => "S2",
        0x43 => "domain data",
        _ => return None,
    })
}

fn control_flow(command: &Command<'_>, data: View<'_>, home: bool) -> String {
    let s2 = tlv::find(data.bytes(), 0x42);
    let what = match (home, command.p1, s2) {
        (_, _, Some([0x27])) => "no common version",
        (true, 0x01, _) => "success",
        (true, 0x40, _) => "step-up follows",
        (_, _, Some([0x00])) | (true, 0x00, _) => "failure",
        _ => "",
    };
    match what {
        "" => "CONTROL FLOW".into(),
        what => format!("CONTROL FLOW, {what}"),
    }
}
