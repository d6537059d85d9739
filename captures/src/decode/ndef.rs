//! NDEF on a Type 4 tag: the capability container and the records of a message (NFC Forum Type 4 Tag 2.0, NDEF 1.0, URI RTD, Text RTD).

use super::Field;
use super::view::View;

/// Most records of a message that are shown.
const MAX_RECORDS: usize = 64;

/// What was read or written at this offset of this file.
pub(super) fn file(id: u16, offset: usize, data: View<'_>) -> Vec<Field> {
    if data.is_brief() {
        return Vec::new();
    }
    match (id, offset) {
        (0xE103, 0) if data.len() >= 15 => container(data),
        (0xE103, _) => data.field("data"),
        (_, 0) => match data.bytes() {
            [high, low] => vec![Field::new("NLEN", u16::from_be_bytes([*high, *low]).to_string())],
            [high, low, ..] => {
                let mut fields = vec![Field::new("NLEN", u16::from_be_bytes([*high, *low]).to_string())];
                fields.extend(message(data.range(2..data.len()), 0));
                fields
            }
            _ => data.field("data"),
        },
        (_, 2) => message(data, 0),
        _ => data.field("data"),
    }
}

fn container(data: View<'_>) -> Vec<Field> {
    let bytes = data.bytes();
    let number = |at: usize| bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    let mut fields = vec![
        Field::new("version", format!("{}.{}", bytes[2] >> 4, bytes[2] & 15)),
        Field::new("longest read", number(3).to_string()),
        Field::new("longest write", number(5).to_string()),
    ];
    if bytes[7..9] == [0x04, 0x06] {
        let access = |byte: u8| match byte {
            0x00 => "free".to_owned(),
            0xFF => "none".to_owned(),
            other => format!("{other:02x}"),
        };
        fields.push(Field::new("NDEF file", format!("{:04x}, {} bytes", number(9), number(11))));
        fields.push(Field::new("read access", access(bytes[13])));
        fields.push(Field::new("write access", access(bytes[14])));
    }
    fields
}

/// `depth`: how many smart posters it stands in.
fn message(data: View<'_>, depth: u8) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut rest = data;
    while rest.len() > 0 && fields.len() < MAX_RECORDS {
        let Some((field, length)) = record(rest, depth) else {
            fields.extend(rest.field("more"));
            break;
        };
        let last = rest.bytes().first().is_some_and(|flags| flags & 0x40 != 0);
        fields.push(field);
        rest = rest.range(length..rest.len());
        if last {
            break;
        }
    }
    fields
}

/// A record, and how many bytes it takes.
fn record(data: View<'_>, depth: u8) -> Option<(Field, usize)> {
    let bytes = data.bytes();
    let flags = *bytes.first()?;
    let kind_length = usize::from(*bytes.get(1)?);
    let (payload_length, mut at) = match flags & 0x10 {
        0 => (u32::from_be_bytes(bytes.get(2..6)?.try_into().ok()?) as usize, 6),
        _ => (usize::from(*bytes.get(2)?), 3),
    };
    let id_length = match flags & 0x08 {
        0 => 0,
        _ => {
            at += 1;
            usize::from(*bytes.get(at - 1)?)
        }
    };
    let kind = bytes.get(at..at + kind_length)?;
    at += kind_length + id_length;
    let end = at.checked_add(payload_length)?;
    let payload = data.range(at..end);
    if payload.len() != payload_length {
        return None;
    }
    Some((Field::new("record", describe(flags & 7, kind, payload, depth)), end))
}

fn describe(tnf: u8, kind: &[u8], payload: View<'_>, depth: u8) -> String {
    let bytes = payload.bytes();
    let name = String::from_utf8_lossy(kind);
    match (tnf, kind, bytes) {
        (0, ..) => "empty".into(),
        (1, b"U", [code, uri @ ..]) => format!("URI {}{}", prefix(*code), String::from_utf8_lossy(uri)),
        (1, b"T", [status, text @ ..]) if usize::from(status & 0x3F) <= text.len() => {
            let (language, text) = text.split_at(usize::from(status & 0x3F));
            let language = String::from_utf8_lossy(language);
            match status & 0x80 {
                0 => format!("text [{language}] {}", String::from_utf8_lossy(text)),
                _ => format!("text [{language}] {} bytes of UTF-16", text.len()),
            }
        }
        (1, b"Sp", _) if depth < 2 => {
            let inner = message(payload, depth + 1);
            let parts: Vec<_> = inner.into_iter().map(|field| field.value).collect();
            format!("smart poster: {}", parts.join("; "))
        }
        (1, ..) => format!("well known {name}, {}", payload.hex()),
        (2, ..) => format!("MIME {name}, {} bytes", bytes.len()),
        (3, ..) => format!("absolute URI {name}"),
        (4, b"android.com:pkg", _) => format!("Android application {}", String::from_utf8_lossy(bytes)),
        (4, ..) => format!("external {name}, {} bytes", bytes.len()),
        _ => format!("{} bytes of unknown type", bytes.len()),
    }
}

fn prefix(code: u8) -> &'static str {
    match code {
        1 => "http://www.",
        2 => "https://www.",
        3 => "http://",
        4 => "https://",
        5 => "tel:",
        6 => "mailto:",
        _ => "",
    }
}
