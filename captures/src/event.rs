//! [`Event`]: one line of a tape.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::extra::{Extra, decimal_into, hex_into, json_string};

/// Where an event was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Frames in the radio field.
    Rf,
    /// APDUs between the control side and its own chip.
    Chip,
    /// APDUs between the lock and the phone.
    Apdu,
    /// What the lock decided and did.
    Lock,
    /// What was said to and by the server.
    Server,
    /// Remarks for people.
    Note,
    /// A layer that this crate does not know.
    Other(String),
}

impl Layer {
    /// As on the tape.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Rf => "rf",
            Self::Chip => "chip",
            Self::Apdu => "apdu",
            Self::Lock => "lock",
            Self::Server => "server",
            Self::Note => "note",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for Layer {
    fn from(name: &str) -> Self {
        match name {
            "rf" => Self::Rf,
            "chip" => Self::Chip,
            "apdu" => Self::Apdu,
            "lock" => Self::Lock,
            "server" => Self::Server,
            "note" => Self::Note,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which way bytes went, seen from the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the reader: a command.
    Out,
    /// To the reader: an answer.
    In,
}

impl Direction {
    /// As on the tape.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// What became of the CRC of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crc {
    /// In `data`, and right.
    Ok,
    /// In `data`, and wrong.
    Bad,
    /// Checked and taken away by the hardware; not in `data`.
    Dropped,
    /// This kind of frame has none.
    None,
}

impl Crc {
    /// As on the tape.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Bad => "bad",
            Self::Dropped => "dropped",
            Self::None => "none",
        }
    }
}

/// Bytes that were taken out of `data` as secret; zeros stand in their place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mask {
    /// Where they begin, in bytes.
    pub offset: usize,
    /// How many.
    pub length: usize,
    /// What they were: `ck`, `ik`, `kc`, `pin`, `imsi`, ...; see [`crate::mask`].
    pub kind: Cow<'static, str>,
}

impl Serialize for Mask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.offset, self.length, &self.kind).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Mask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (offset, length, kind) = <(usize, usize, String)>::deserialize(deserializer)?;
        Ok(Self {
            offset,
            length,
            kind: Cow::Owned(kind),
        })
    }
}

/// One event. Only `t` and `layer` must be there; `docs/formats.md` says what each field means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds since the start of the tape.
    pub t: u64,
    /// Where it was seen.
    pub layer: Layer,
    /// Which way the bytes went, if bytes went.
    pub dir: Option<Direction>,
    /// The bytes.
    pub data: Option<Vec<u8>>,
    /// Which tap it belongs to, from 1.
    pub tap: Option<u64>,
    /// Bits in the air, where they are not eight for each byte of `data`.
    pub bits: Option<u32>,
    /// What became of the frame's CRC.
    pub crc: Option<Crc>,
    /// Parity bits as received: one for each byte of `data`, the first one highest.
    pub parity: Option<Vec<u8>>,
    /// What was taken out of `data`.
    pub mask: Vec<Mask>,
    /// A remark for people.
    pub text: Option<String>,
    /// All other fields.
    pub extra: Extra,
}

/// The names of the fields above, which [`Extra`] cannot have.
pub(crate) const NAMES: &[&str] = &["t", "layer", "dir", "data", "tap", "bits", "crc", "parity", "mask", "text"];

impl Event {
    /// An event without bytes.
    #[must_use]
    #[inline]
    pub const fn new(t: u64, layer: Layer) -> Self {
        Self {
            t,
            layer,
            dir: None,
            data: None,
            tap: None,
            bits: None,
            crc: None,
            parity: None,
            mask: Vec::new(),
            text: None,
            extra: Extra::new(),
        }
    }

    /// The same with bytes.
    #[must_use]
    #[inline]
    pub fn bytes(mut self, dir: Direction, data: impl Into<Vec<u8>>) -> Self {
        self.dir = Some(dir);
        self.data = Some(data.into());
        self
    }

    /// Makes a frame of what was another event, in the memory that this had.
    pub(crate) fn begin(&mut self, t: u64, dir: Direction, frame: &[u8]) {
        let mut data = self.data.take().unwrap_or_default();
        data.clear();
        data.extend_from_slice(frame);
        self.t = t;
        if self.layer != Layer::Rf {
            self.layer = Layer::Rf;
        }
        self.dir = Some(dir);
        self.data = Some(data);
        (self.tap, self.bits, self.crc) = (None, None, None);
        if self.parity.is_some() || self.text.is_some() || !self.mask.is_empty() || !self.extra.is_empty() {
            (self.parity, self.text) = (None, None);
            self.mask.clear();
            self.extra = Extra::new();
        }
    }

    /// The same in a tap.
    #[must_use]
    pub const fn tap(mut self, tap: u64) -> Self {
        self.tap = Some(tap);
        self
    }

    /// The same with a remark.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// The same with another field; one that cannot be said in JSON is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: &impl Serialize) -> Self {
        let _ = self.extra.insert(name, value);
        self
    }

    /// Reads one line.
    ///
    /// # Errors
    /// With the column of what is wrong and what was expected in its place.
    pub fn parse(line: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }

    /// Appends the event as one line, line break included.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let data = self.data.as_deref();
        line_start(self.t, &self.layer, self.dir, data, self.tap, out);
        if let Some(bits) = self.bits {
            out.extend_from_slice(br#","bits":"#);
            decimal_into(bits.into(), out);
        }
        if let Some(crc) = self.crc {
            out.extend_from_slice(br#","crc":"#);
            json_string(crc.as_str(), out);
        }
        if let Some(parity) = &self.parity {
            out.extend_from_slice(br#","parity":""#);
            hex_into(parity, out);
            out.push(b'"');
        }
        mask_field(self.mask.iter().map(|m| (m.offset, m.length, &*m.kind)), out);
        if let Some(text) = &self.text {
            out.extend_from_slice(br#","text":"#);
            json_string(text, out);
        }
        self.extra.encode_into(NAMES, out);
        out.extend_from_slice(b"}\n");
    }
}

/// Appends a line up to and including `tap`. The recorder's fast path, so nothing here allocates.
pub(crate) fn line_start(t: u64, layer: &Layer, dir: Option<Direction>, data: Option<&[u8]>, tap: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"t":"#);
    decimal_into(t, out);
    out.extend_from_slice(br#","layer":"#);
    match layer {
        Layer::Other(name) => json_string(name, out),
        known => {
            out.push(b'"');
            out.extend_from_slice(known.as_str().as_bytes());
            out.push(b'"');
        }
    }
    out.extend_from_slice(match dir {
        Some(Direction::Out) => br#","dir":"out""#,
        Some(Direction::In) => br#","dir":"in""#,
        None => br#","dir":null"#,
    });
    match data {
        Some(bytes) => {
            out.extend_from_slice(br#","data":""#);
            hex_into(bytes, out);
            out.push(b'"');
        }
        None => out.extend_from_slice(br#","data":null"#),
    }
    if let Some(tap) = tap {
        out.extend_from_slice(br#","tap":"#);
        decimal_into(tap, out);
    }
}

/// Appends `,"mask":[..]` unless there is nothing to list.
pub(crate) fn mask_field<'a>(masks: impl Iterator<Item = (usize, usize, &'a str)>, out: &mut Vec<u8>) {
    let mut any = false;
    for (offset, length, kind) in masks {
        out.extend_from_slice(if any { b",[" } else { br#","mask":[["# });
        any = true;
        decimal_into(offset as u64, out);
        out.push(b',');
        decimal_into(length as u64, out);
        out.push(b',');
        json_string(kind, out);
        out.push(b']');
    }
    if any {
        out.push(b']');
    }
}

/// A byte string in hexadecimal digits.
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HexVisitor;

        impl Visitor<'_> for HexVisitor {
            type Value = Hex;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an even number of hexadecimal digits in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Hex, E> {
                hex::decode(text).map(Hex).map_err(|_| {
                    let shown: String = text.chars().take(20).collect();
                    E::invalid_value(de::Unexpected::Str(&shown), &self)
                })
            }
        }

        deserializer.deserialize_str(HexVisitor)
    }
}

/// A string that is one of a few.
struct Word<T>(T);

macro_rules! word {
    ($type:ty, $expected:literal, [$($variant:path),+]) => {
        impl<'de> Deserialize<'de> for Word<$type> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                [$($variant),+]
                    .into_iter()
                    .find(|word| word.as_str() == text)
                    .map(Self)
                    .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &$expected))
            }
        }
    };
}

word!(Direction, "\"out\", \"in\" or null", [Direction::Out, Direction::In]);
word!(
    Crc,
    "\"ok\", \"bad\", \"dropped\" or \"none\"",
    [Crc::Ok, Crc::Bad, Crc::Dropped, Crc::None]
);

/// Takes the value of a field that may stand once and may be null.
pub(crate) fn once<'de, M: MapAccess<'de>, T: Deserialize<'de>>(
    slot: &mut Option<Option<T>>,
    name: &'static str,
    map: &mut M,
) -> Result<(), M::Error> {
    match slot.replace(map.next_value()?) {
        None => Ok(()),
        Some(_) => Err(de::Error::duplicate_field(name)),
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EventVisitor;

        impl<'de> Visitor<'de> for EventVisitor {
            type Value = Event;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event: {\"t\":NANOSECONDS,\"layer\":NAME,...}")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Event, M::Error> {
                let (mut t, mut layer, mut dir, mut data) = (None, None, None, None);
                let (mut tap, mut bits, mut crc, mut parity) = (None, None, None, None);
                let (mut mask, mut text, mut extra) = (None, None, Extra::new());
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    match &*name {
                        "t" => once::<_, u64>(&mut t, "t", &mut map)?,
                        "layer" => once::<_, Cow<'de, str>>(&mut layer, "layer", &mut map)?,
                        "dir" => once::<_, Word<Direction>>(&mut dir, "dir", &mut map)?,
                        "data" => once::<_, Hex>(&mut data, "data", &mut map)?,
                        "tap" => once::<_, u64>(&mut tap, "tap", &mut map)?,
                        "bits" => once::<_, u32>(&mut bits, "bits", &mut map)?,
                        "crc" => once::<_, Word<Crc>>(&mut crc, "crc", &mut map)?,
                        "parity" => once::<_, Hex>(&mut parity, "parity", &mut map)?,
                        "mask" => once::<_, Vec<Mask>>(&mut mask, "mask", &mut map)?,
                        "text" => once::<_, String>(&mut text, "text", &mut map)?,
                        _ => extra.push(name.into_owned(), map.next_value::<Box<RawValue>>()?),
                    }
                }
                let layer: Cow<'_, str> = layer.flatten().ok_or_else(|| de::Error::missing_field("layer"))?;
                Ok(Event {
                    t: t.flatten().ok_or_else(|| de::Error::missing_field("t"))?,
                    layer: Layer::from(&*layer),
                    dir: dir.flatten().map(|word| word.0),
                    data: data.flatten().map(|hex| hex.0),
                    tap: tap.flatten(),
                    bits: bits.flatten(),
                    crc: crc.flatten().map(|word| word.0),
                    parity: parity.flatten().map(|hex| hex.0),
                    mask: mask.flatten().unwrap_or_default(),
                    text: text.flatten(),
                    extra,
                })
            }
        }

        deserializer.deserialize_map(EventVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(event: &Event) -> String {
        let mut out = Vec::new();
        event.encode_into(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn wrong_lines_say_where_and_what_was_expected() {
        for (text, expected) in [
            ("{}", "missing field `layer`"),
            (r#"{"layer":"rf"}"#, "missing field `t`"),
            (r#"{"t":null,"layer":"rf"}"#, "missing field `t`"),
            ("[1]", "expected an event"),
            (r#"{"t":-1,"layer":"rf"}"#, "expected u64 at line 1 column 7"),
            (r#"{"t":1,"t":2,"layer":"rf"}"#, "duplicate field `t`"),
            (
                r#"{"t":1,"layer":"rf","data":"abc"}"#,
                "even number of hexadecimal digits in quotes at line 1 column 32",
            ),
            (r#"{"t":1,"layer":"rf","data":"0x"}"#, "hexadecimal"),
            (r#"{"t":1,"layer":"rf","data":7}"#, "hexadecimal"),
            (r#"{"t":1,"layer":"rf","dir":"up"}"#, r#"expected "out", "in" or null"#),
            (r#"{"t":1,"layer":"rf","crc":"x"}"#, r#"expected "ok""#),
            (r#"{"t":1,"layer":"rf","mask":[[1,2]]}"#, "invalid length 2"),
            (r#"{"t":1,"layer":"rf"} x"#, "trailing characters"),
        ] {
            let error = Event::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn unknown_fields_and_layers_come_out_as_they_went_in() {
        let text = concat!(
            r#"{"t":5,"layer":"nci","dir":null,"data":null,"zeta":1.00,"alpha":{"b":[1, 2],"a":null},"#,
            r#""big":123456789012345678901234567890,"alpha":"again"}"#,
            "\n"
        );
        let event = Event::parse(text.as_bytes()).unwrap();
        assert_eq!(event.layer, Layer::Other("nci".into()));
        assert_eq!(line(&event), text);
    }

    #[test]
    fn every_field_has_its_place() {
        let mut event = Event::new(7, Layer::Rf)
            .bytes(Direction::Out, [0x26])
            .tap(3)
            .text("REQA \"short\"")
            .with("x", &[1, 2]);
        event.bits = Some(7);
        event.crc = Some(Crc::None);
        event.parity = Some(vec![0x80]);
        event.mask = vec![
            Mask {
                offset: 0,
                length: 1,
                kind: "pin".into(),
            },
            Mask {
                offset: 1,
                length: 2,
                kind: "odd\n".into(),
            },
        ];
        let text = concat!(
            r#"{"t":7,"layer":"rf","dir":"out","data":"26","tap":3,"bits":7,"crc":"none","parity":"80","#,
            r#""mask":[[0,1,"pin"],[1,2,"odd\n"]],"text":"REQA \"short\"","x":[1,2]}"#,
            "\n"
        );
        assert_eq!(line(&event), text);
        assert_eq!(Event::parse(text.as_bytes()).unwrap(), event);
    }

    #[test]
    fn left_out_is_null_and_upper_case_is_read() {
        let short = Event::parse(br#"{"layer":"apdu","t":1}"#).unwrap();
        let long = Event::parse(br#"{"t":1,"layer":"apdu","dir":null,"data":null,"tap":null,"mask":null}"#).unwrap();
        assert_eq!(short, long);
        let upper = Event::parse(br#"{"layer":"apdu","t":1,"dir":"in","data":"6A82"}"#).unwrap();
        assert!(line(&upper).contains("6a82"));
    }

    fn events() -> impl Strategy<Value = Event> {
        let dir = proptest::option::of(prop_oneof![Just(Direction::Out), Just(Direction::In)]);
        let data = proptest::option::of(any::<Vec<u8>>());
        let tap = any::<Option<u64>>();
        let mask = proptest::collection::vec((any::<u32>(), any::<u32>(), ".{0,5}"), 0..3);
        let extra = proptest::collection::vec(("[a-z]{3,9}", any::<String>()), 0..4);
        let text = proptest::option::of(any::<String>());
        (any::<u64>(), any::<String>(), dir, data, (tap, mask, text, extra)).prop_map(|(t, layer, dir, data, (tap, mask, text, extra))| {
            let mut event = Event::new(t, Layer::from(layer.as_str()));
            (event.dir, event.data, event.tap, event.text) = (dir, data, tap, text);
            let mask = mask.into_iter().map(|(offset, length, kind)| Mask {
                offset: offset as usize,
                length: length as usize,
                kind: kind.into(),
            });
            event.mask = mask.collect();
            for (name, value) in extra.iter().filter(|(name, _)| !NAMES.contains(&name.as_str())) {
                event.extra.insert(name, value).unwrap();
            }
            event
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(event in events()) {
            let text = line(&event);
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert_eq!(Event::parse(text.as_bytes()).unwrap(), event);
        }
    }
}
