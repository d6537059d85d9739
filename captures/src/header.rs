//! [`Header`]: the first line of a tape.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::{Hex, once};
use crate::extra::{Extra, hex_into, json_string};

/// How the reader was used, and so which layers the tape can have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TapeMode {
    /// Through PC/SC: the reader's firmware does ISO-DEP, so there are APDUs and no frames.
    Pcsc,
    /// Raw: our own polling and ISO-DEP, so there are frames too.
    Raw,
    /// In simulation.
    Sim,
    /// Made from another program's trace.
    Import,
    /// A mode that this crate does not know.
    Other(String),
}

impl TapeMode {
    /// As on the tape.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pcsc => "pcsc",
            Self::Raw => "raw",
            Self::Sim => "sim",
            Self::Import => "import",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for TapeMode {
    fn from(name: &str) -> Self {
        match name {
            "pcsc" => Self::Pcsc,
            "raw" => Self::Raw,
            "sim" => Self::Sim,
            "import" => Self::Import,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// What a tape says of itself. Everything may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// When the recording began, RFC 3339. Event times count from here.
    pub created: Option<String>,
    /// The program that wrote it, with its version.
    pub tool: Option<String>,
    /// The operating system it ran on.
    pub os: Option<String>,
    /// The reader's name.
    pub reader: Option<String>,
    /// How the reader was reached.
    pub driver: Option<String>,
    /// The reader's firmware.
    pub firmware: Option<String>,
    /// How the reader was used.
    pub mode: Option<TapeMode>,
    /// The card's ATR, where there was one.
    pub atr: Option<Vec<u8>>,
    /// Remarks.
    pub notes: Option<String>,
    /// All other fields.
    pub extra: Extra,
}

/// The version of the format that this crate writes and reads.
pub const VERSION: u64 = 1;

const NAMES: &[&str] = &[
    "tape", "created", "tool", "os", "reader", "driver", "firmware", "mode", "atr", "notes",
];

impl Header {
    /// A tape that begins now, on this operating system, written by `tool`.
    #[must_use]
    pub fn now(tool: &str) -> Self {
        Self {
            created: Some(jiff::Timestamp::now().to_string()),
            tool: Some(tool.to_owned()),
            os: Some(std::env::consts::OS.to_owned()),
            ..Self::default()
        }
    }

    /// Reads the first line.
    ///
    /// # Errors
    /// With the column of what is wrong and what was expected in its place.
    pub fn parse(line: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }

    /// Appends the header as one line, line break included.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"tape":1"#);
        let texts = [
            ("created", self.created.as_deref()),
            ("tool", self.tool.as_deref()),
            ("os", self.os.as_deref()),
            ("reader", self.reader.as_deref()),
            ("driver", self.driver.as_deref()),
            ("firmware", self.firmware.as_deref()),
            ("mode", self.mode.as_ref().map(TapeMode::as_str)),
        ];
        for (name, text) in texts {
            field(name, text, out);
        }
        if let Some(atr) = &self.atr {
            out.extend_from_slice(br#","atr":""#);
            hex_into(atr, out);
            out.push(b'"');
        }
        field("notes", self.notes.as_deref(), out);
        self.extra.encode_into(NAMES, out);
        out.extend_from_slice(b"}\n");
    }
}

fn field(name: &str, text: Option<&str>, out: &mut Vec<u8>) {
    if let Some(text) = text {
        out.push(b',');
        json_string(name, out);
        out.push(b':');
        json_string(text, out);
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the header of a tape: {\"tape\":1,...}")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
                let (mut tape, mut created, mut tool, mut os) = (None, None, None, None);
                let (mut reader, mut driver, mut firmware) = (None, None, None);
                let (mut mode, mut atr, mut notes) = (None, None, None);
                let mut extra = Extra::new();
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    match &*name {
                        "tape" => once::<_, u64>(&mut tape, "tape", &mut map)?,
                        "created" => once(&mut created, "created", &mut map)?,
                        "tool" => once(&mut tool, "tool", &mut map)?,
                        "os" => once(&mut os, "os", &mut map)?,
                        "reader" => once(&mut reader, "reader", &mut map)?,
                        "driver" => once(&mut driver, "driver", &mut map)?,
                        "firmware" => once(&mut firmware, "firmware", &mut map)?,
                        "mode" => once::<_, Cow<'de, str>>(&mut mode, "mode", &mut map)?,
                        "atr" => once::<_, Hex>(&mut atr, "atr", &mut map)?,
                        "notes" => once(&mut notes, "notes", &mut map)?,
                        _ => extra.push(name.into_owned(), map.next_value::<Box<RawValue>>()?),
                    }
                }
                match tape.flatten() {
                    Some(VERSION) => {}
                    Some(other) => {
                        let found = de::Unexpected::Unsigned(other);
                        return Err(de::Error::invalid_value(found, &"tape version 1"));
                    }
                    None => return Err(de::Error::missing_field("tape")),
                }
                Ok(Header {
                    created: created.flatten(),
                    tool: tool.flatten(),
                    os: os.flatten(),
                    reader: reader.flatten(),
                    driver: driver.flatten(),
                    firmware: firmware.flatten(),
                    mode: mode.flatten().map(|name| TapeMode::from(&*name)),
                    atr: atr.flatten().map(|hex| hex.0),
                    notes: notes.flatten(),
                    extra,
                })
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(header: &Header) -> String {
        let mut out = Vec::new();
        header.encode_into(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn other_versions_and_other_lines_are_refused() {
        for (text, expected) in [
            (r#"{"tape":2}"#, "expected tape version 1"),
            (r#"{"t":1,"layer":"apdu"}"#, "missing field `tape`"),
            (r#"{"tape":1,"tape":1}"#, "duplicate field `tape`"),
            (r#"{"tape":1,"atr":"3"}"#, "hexadecimal"),
            ("3", "expected the header of a tape"),
        ] {
            let error = Header::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn every_field_and_every_unknown_one_is_kept() {
        let text = concat!(
            r#"{"tape":1,"created":"2026-11-22T15:00:00Z","tool":"tapdoor 0.1.0","os":"linux","reader":"ACS ACR122U","#,
            r#""driver":"pcsc","firmware":"ACR122U215","mode":"pcsc","atr":"3b8080","notes":"desk \"2\"","site":{"b":1,"a":2}}"#,
            "\n"
        );
        let header = Header::parse(text.as_bytes()).unwrap();
        assert_eq!(header.mode, Some(TapeMode::Pcsc));
        assert_eq!(line(&header), text);
        let strange = "{\"tape\":1,\"mode\":\"dream\"}\n";
        assert_eq!(line(&Header::parse(strange.as_bytes()).unwrap()), strange);
    }

    #[test]
    fn now_is_a_time_that_can_be_read() {
        let header = Header::now("t");
        let created: Result<jiff::Timestamp, _> = header.created.as_deref().unwrap().parse();
        assert!(created.is_ok());
        assert_eq!(Header::parse(line(&header).as_bytes()).unwrap(), header);
    }
}
