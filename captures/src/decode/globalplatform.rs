//! Card management and SCP03 as they can be seen from outside (GPC v2.3.1 11, Amendment D).

use super::view::View;
use super::{Field, objects};
use crate::decode::tags::Dictionary;
use tapdoor_protocol::aid;
use tapdoor_protocol::apdu::Command;

/// What a command is called, and its fields. `mac` bytes at the end are a C-MAC; `sealed` data cannot be read.
pub(super) fn command(command: &Command<'_>, data: View<'_>, level: u8) -> Option<(String, Vec<Field>)> {
    let secure = command.secure_messaging();
    // In a session the last 8 bytes are the C-MAC, and with C-DECRYPTION the rest is ciphertext.
    let mac = if secure && command.ins != 0x82 { data.len().min(8) } else { 0 };
    let plain = data.range(0..data.len() - mac);
    let sealed = secure && command.ins != 0x82 && level & 0x02 != 0;
    let (p1, p2) = (command.p1, command.p2);
    let (name, mut fields) = match command.ins {
        0x50 => (
            format!("INITIALIZE UPDATE, key version {p1:02x}"),
            plain.split(&[("host challenge", plain.len())]),
        ),
        0x82 => {
            let name = format!("EXTERNAL AUTHENTICATE, {}", security(p1));
            (name, data.split(&[("host cryptogram", 8), ("C-MAC", 8)]))
        }
        0xE6 => (format!("INSTALL {}", install_kind(p1)), if sealed { Vec::new() } else { install(p1, plain) }),
        0xE8 => {
            let last = if p1 & 0x80 != 0 { ", the last" } else { "" };
            let fields = if sealed { Vec::new() } else { plain.field("block") };
            (format!("LOAD, block {p2}{last}"), fields)
        }
        0xE4 => {
            let what = if p2 & 0x80 != 0 { " and what depends on it" } else { "" };
            (format!("DELETE{what}"), tlv(plain, sealed, Dictionary::General))
        }
        0xF2 => {
            let what = match p1 {
                0x80 => "issuer security domain",
                0x40 => "applications",
                0x20 => "load files",
                0x10 => "load files and modules",
                _ => "unknown subset",
            };
            let next = if p2 & 1 != 0 { ", next" } else { "" };
            (format!("GET STATUS, {what}{next}"), tlv(plain, sealed, Dictionary::Registry))
        }
        0xF0 => (format!("SET STATUS {p1:02x} to {p2:02x}"), if sealed { Vec::new() } else { plain.field("AID") }),
        0xD8 => {
            let fields = if sealed { Vec::new() } else { plain.field("key data") };
            (format!("PUT KEY, replaces version {p1:02x}, key {:02x}", p2 & 0x7F), fields)
        }
        0xE2 => {
            let last = if p1 & 0x80 != 0 { ", the last" } else { "" };
            (format!("STORE DATA, block {p2}{last}"), if sealed { Vec::new() } else { plain.field("data") })
        }
        0xCA | 0xCB => {
            let fields = if sealed { Vec::new() } else { plain.field("data") };
            (format!("GET DATA {p1:02x}{p2:02x}{}", data_object(p1, p2)), fields)
        }
        _ => return None,
    };
    if sealed {
        fields.extend(plain.field("enciphered"));
    }
    if mac == 8 {
        fields.extend(data.range(data.len() - mac..data.len()).field("C-MAC"));
    }
    Some((name, fields))
}

fn tlv(data: View<'_>, sealed: bool, dictionary: Dictionary) -> Vec<Field> {
    if sealed || data.is_brief() {
        return Vec::new();
    }
    objects(data, "", dictionary)
}

/// The security level of EXTERNAL AUTHENTICATE in words.
fn security(level: u8) -> String {
    let known = [(0x01, "C-MAC"), (0x02, "C-DECRYPTION"), (0x10, "R-MAC"), (0x20, "R-ENCRYPTION")];
    let names: Vec<_> = known.iter().filter(|(bit, _)| level & bit != 0).map(|(_, name)| *name).collect();
    match names.is_empty() {
        true => "no secure messaging".into(),
        false => names.join(", "),
    }
}

fn data_object(p1: u8, p2: u8) -> &'static str {
    match (p1, p2) {
        (0x00, 0x42) => ", issuer identification",
        (0x00, 0x45) => ", card image number",
        (0x00, 0x66) => ", card data",
        (0x00, 0x67) => ", card capabilities",
        (0x00, 0xC1) => ", sequence counter",
        (0x00, 0xE0) => ", key information",
        (0x9F, 0x7F) => ", production life cycle",
        (0xFF, 0x21) => ", extended card resources",
        _ => "",
    }
}

fn install_kind(p1: u8) -> &'static str {
    match p1 & 0x7F {
        0x02 => "[for load]",
        0x04 => "[for install]",
        0x08 => "[for make selectable]",
        0x0C => "[for install and make selectable]",
        0x0E => "[for load, install and make selectable]",
        0x10 => "[for extradition]",
        0x20 => "[for personalization]",
        0x40 => "[for registry update]",
        _ => "of unknown kind",
    }
}

/// Length-value fields; what each is depends on the kind.
fn install(p1: u8, data: View<'_>) -> Vec<Field> {
    if data.is_brief() {
        return Vec::new();
    }
    let names: &[&str] = match p1 & 0x7F {
        0x02 => &["load file AID", "security domain AID", "load file hash", "parameters", "token"],
        0x10 => &["security domain AID", "", "application AID", "", "parameters", "token"],
        0x20 => &["", "", "application AID", "", "", ""],
        _ => &["load file AID", "module AID", "application AID", "privileges", "parameters", "token"],
    };
    let mut fields = Vec::new();
    let mut at = 0;
    for name in names {
        let Some(length) = data.bytes().get(at) else {
            break;
        };
        let end = at + 1 + usize::from(*length);
        if end > data.len() {
            break;
        }
        let value = data.range(at + 1..end);
        if value.len() > 0 {
            let known = if name.ends_with("AID") { aid::name_of(value.bytes()) } else { None };
            let text = match known {
                Some(known) => format!("{}, {known}", value.hex()),
                None => value.hex(),
            };
            fields.push(Field::new(if name.is_empty() { "reserved" } else { name }, text));
        }
        at = end;
    }
    fields.extend(data.range(at..data.len()).field("more"));
    fields
}

/// The answer to INITIALIZE UPDATE: SCP02 or SCP03.
pub(super) fn initialize_update(data: View<'_>) -> Vec<Field> {
    match (data.bytes().get(11), data.len()) {
        (Some(0x03), 29 | 32) => data.split(&[
            ("diversification", 10),
            ("key version", 1),
            ("SCP", 1),
            ("i", 1),
            ("card challenge", 8),
            ("card cryptogram", 8),
            ("sequence counter", data.len() - 29),
        ]),
        (Some(0x02), 28) => data.split(&[
            ("diversification", 10),
            ("key version", 1),
            ("SCP", 1),
            ("sequence counter", 2),
            ("card challenge", 6),
            ("card cryptogram", 8),
        ]),
        (_, 28) => data.split(&[
            ("diversification", 10),
            ("key version", 1),
            ("SCP", 1),
            ("card challenge", 8),
            ("card cryptogram", 8),
        ]),
        _ => data.field("data"),
    }
}
