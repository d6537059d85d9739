//! [`Decoder`]: what an event means, in words and named fields.
//!
//! It follows each layer's session, because what a command means depends on what was selected and what was asked before. Frames of
//! layer `rf` are put together to APDUs, and mean what these mean.

mod aliro;
mod decipher;
mod door;
mod globalplatform;
mod names;
mod ndef;
mod tags;
mod view;
mod words;

use std::borrow::Cow;

use tapdoor_protocol::aid::{self, Aid};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;

use crate::event::{Direction, Event, Layer};
use crate::rf::{Block, Chains, Names};
pub use decipher::AliroKeys;
use tags::Dictionary;
use view::{Held, View};
pub(crate) use words::{Name, with_number, with_numbers};

/// What one event means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// In a few words: `SELECT f0544150444f4f5201, Tapdoor challenge-response`, `9000 done`.
    pub name: Cow<'static, str>,
    /// What is inside, in order.
    pub fields: Vec<Field>,
    /// The status word of a response.
    pub sw: Option<StatusWord>,
    /// More time that the card asked for, in nanoseconds: S(WTX).
    pub wtx: Option<u64>,
}

/// A named part of a command or response.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Field {
    /// As in docs/protocol.md: `RP`, `lock id`, `RES`; or the tag.
    pub name: String,
    /// Words, or lower-case hexadecimal digits with `**` for each masked byte.
    pub value: String,
}

impl Field {
    fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// Most bytes of an answer in parts that are put together again.
const MAX_PARTS: usize = 65_536;

/// Decodes the events of a tape, given in order.
#[derive(Clone, Debug)]
pub struct Decoder {
    apdu: Session,
    chip: Session,
    /// What the frames carry.
    rf: Session,
    names: Names,
    chains: Chains,
    tap: Option<u64>,
    brief: bool,
    /// What opens enciphered parts, where there are keys.
    decipher: Option<Box<decipher::Transaction>>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// One layer's state.
#[derive(Clone, Debug, Default)]
struct Session {
    selected: App,
    /// The elementary file that is selected.
    file: u16,
    /// The security level of a secure channel.
    level: u8,
    asked: Asked,
    /// The parts of an answer that is not whole yet.
    parts: Held,
}

/// Which application is selected, as far as it changes what commands mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum App {
    #[default]
    Unknown,
    ChallengeResponse,
    Aka,
    Identity,
    Usim,
    CardManager,
    Aliro,
    HomeKey,
    Ndef,
    Desfire,
}

impl App {
    fn of(aid: &[u8]) -> Self {
        let is = |known: Aid| known.as_bytes() == aid;
        if is(Aid::CHALLENGE_RESPONSE) || is(Aid::CHALLENGE_RESPONSE_LOCK) {
            Self::ChallengeResponse
        } else if is(Aid::AKA) || is(Aid::AKA_LOCK) {
            Self::Aka
        } else if is(Aid::IDENTITY) || is(Aid::REQUEST_LOCK) {
            Self::Identity
        } else if aid.starts_with(Aid::USIM_PREFIX.as_bytes()) {
            Self::Usim
        } else if is(Aid::CARD_MANAGER) || aid.starts_with(&[0xA0, 0, 0, 0, 3, 0, 0]) {
            Self::CardManager
        } else if aid.starts_with(&[0xA0, 0, 0, 9, 9, 0xAC, 0xCE, 0x55]) {
            Self::Aliro
        } else if aid.starts_with(&[0xA0, 0, 0, 8, 0x58, 0x01]) {
            Self::HomeKey
        } else if aid == [0xD2, 0x76, 0x00, 0x00, 0x85, 0x01, 0x01] {
            Self::Ndef
        } else if aid == [0xD2, 0x76, 0x00, 0x00, 0x85, 0x01, 0x00] {
            Self::Desfire
        } else {
            Self::Unknown
        }
    }
}

/// What was asked, and so what the answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Other,
    Application(App),
    File(u16),
    ChallengeResponse,
    AkaProfileP,
    Usim,
    Identity,
    Begin,
    Next,
    Request,
    InitializeUpdate,
    ExternalAuthenticate(u8),
    Objects(Dictionary),
    Aliro(aliro::Answer),
    /// A part of a file of a Type 4 tag, from this byte on.
    Ndef(usize),
}

impl Decoder {
    /// At the beginning of a tape.
    #[must_use]
    pub const fn new() -> Self {
        Self::with(false)
    }

    /// One that gives names and status words, and no fields: several times as fast.
    #[must_use]
    pub const fn brief() -> Self {
        Self::with(true)
    }

    const fn with(brief: bool) -> Self {
        Self {
            apdu: Session::new(),
            chip: Session::new(),
            rf: Session::new(),
            names: Names::new(brief),
            chains: Chains::new(),
            tap: None,
            brief,
            decipher: None,
        }
    }

    /// The same as [`Self::new`], with keys for what is enciphered.
    #[must_use]
    pub fn with_keys(keys: &AliroKeys) -> Self {
        Self {
            decipher: decipher::Transaction::new(keys),
            ..Self::new()
        }
    }

    /// What this event means. Events that a filter hides must be given too.
    pub fn decode(&mut self, event: &Event) -> Decoded {
        let (block, mut decoded) = self.decode_apart(event);
        if let Some(block) = block {
            let mut name = String::with_capacity(block.len() + 1 + decoded.name.len());
            name.push_str(&block);
            name.push(' ');
            name.push_str(&decoded.name);
            decoded.name = name.into();
        }
        decoded
    }

    /// The same without a string for what the name is put together of: the name of a block, and that of the APDU which it completes.
    pub(crate) fn decode_apart(&mut self, event: &Event) -> (Option<Name>, Decoded) {
        if event.tap.is_some() && event.tap != self.tap {
            // Another card, or the same one reset.
            self.tap = event.tap;
            self.apdu = Session::default();
            self.reset_field();
        }
        let (Some(dir), Some(data)) = (event.dir, &event.data) else {
            if event.layer == Layer::Rf && event.extra.get("field").is_some() {
                self.reset_field();
            }
            if let Some(decipher) = self.decipher.as_mut().filter(|_| event.layer == Layer::Chip) {
                decipher.drawn(event);
            }
            return (None, remark(event, self.brief));
        };
        let marks = view::marks(data.len(), &event.mask);
        let view = View::new(data, &marks, self.brief);
        let named = |name| {
            let decoded = Decoded {
                name,
                ..Decoded::default()
            };
            (None, decoded)
        };
        let (session, chip) = match &event.layer {
            Layer::Apdu => (&mut self.apdu, false),
            Layer::Chip => (&mut self.chip, true),
            Layer::Rf => return self.frame(event, dir, data),
            Layer::Other(layer) if layer == "pn532" => return named(names::pn532(data)),
            Layer::Other(layer) if layer == "ccid" => return named(names::ccid(data)),
            Layer::Other(layer) if layer == "nci" => return named(names::nci(data)),
            _ => return (None, remark(event, self.brief)),
        };
        let mut decoded = match dir {
            Direction::Out => session.command(view, chip),
            Direction::In => session.response(view),
        };
        if let Some(decipher) = self.decipher.as_mut().filter(|_| !chip) {
            decoded.fields.extend(decipher.feed(dir, data));
        }
        (None, decoded)
    }

    fn reset_field(&mut self) {
        self.rf = Session::default();
        self.names.reset();
        self.chains.reset();
    }

    /// A frame, and the APDU that it completes.
    fn frame(&mut self, event: &Event, dir: Direction, data: &[u8]) -> (Option<Name>, Decoded) {
        let mut meaning = self.names.frame(dir, data, event.bits, event.crc);
        let Some((frame, block)) = meaning.block.take() else {
            if dir == Direction::Out {
                // Polling or an activation: whatever was selected is no longer.
                self.chains.reset();
                self.rf = Session::default();
            }
            let fields = match meaning.fields.is_empty() {
                true => Vec::new(),
                false => meaning.fields.into_iter().map(|(name, value)| Field::new(name, value)).collect(),
            };
            let decoded = Decoded {
                name: meaning.name,
                fields,
                ..Decoded::default()
            };
            return (None, decoded);
        };
        let wtx = match (block, dir) {
            (Block::Wtx(wtxm), Direction::In) => Some(self.names.granted(wtxm)),
            _ => None,
        };
        if let Some((_, apdu)) = self.chains.feed(dir, event.t, frame, block) {
            let view = View::new(apdu, &[], self.brief);
            let inner = match dir {
                Direction::Out => self.rf.command(view, false),
                Direction::In => self.rf.response(view),
            };
            return (Some(meaning.name), inner);
        }
        let decoded = Decoded {
            name: meaning.name,
            wtx,
            ..Decoded::default()
        };
        (None, decoded)
    }
}

/// An event that is no APDU: its remark, else what the lock decided, else its bytes.
fn remark(event: &Event, brief: bool) -> Decoded {
    let extra = |name| event.extra.text(name);
    let verdict = || match (extra("verdict"), extra("reason")) {
        (Some(verdict), Some(reason)) => Some(format!("{verdict}: {reason}")),
        (verdict, _) => verdict,
    };
    let field = || extra("field").map(|state| format!("field {state}"));
    let bytes = || event.data.as_ref().map(|data| with_number("", data.len() as u64, " bytes"));
    let name = event.text.clone().or_else(verdict).or_else(field).map(Name::from).or_else(bytes);
    let mut fields = Vec::new();
    if !brief {
        fields.extend(event.extra.iter().map(|(name, value)| {
            let text = event.extra.text(name).unwrap_or_else(|| value.to_owned());
            Field::new(name, text)
        }));
    }
    Decoded {
        name: name.unwrap_or_default(),
        fields,
        ..Decoded::default()
    }
}

impl Session {
    const fn new() -> Self {
        Self {
            selected: App::Unknown,
            file: 0,
            level: 0,
            asked: Asked::Other,
            parts: Held::new(),
        }
    }

    fn command(&mut self, view: View<'_>, chip: bool) -> Decoded {
        let Ok(command) = Command::parse(view.bytes()) else {
            self.asked = Asked::Other;
            self.parts.clear();
            return Decoded {
                name: with_number("no command APDU (", view.len() as u64, " bytes)"),
                ..Decoded::default()
            };
        };
        if command.ins == 0xC0 {
            return Decoded {
                name: with_number("GET RESPONSE, ", u64::from(command.ne), " bytes"),
                ..Decoded::default()
            };
        }
        self.parts.clear();
        let data = view.find(command.data);
        let (name, mut fields, asked) = self.meaning(&command, data, chip);
        self.asked = asked;
        let name = match command.is_chained() && !name.starts_with("DESFire") {
            true => {
                fields.clear();
                format!("{name}, more follows").into()
            }
            false => name,
        };
        Decoded {
            name,
            fields,
            ..Decoded::default()
        }
    }

    fn meaning(&self, command: &Command<'_>, data: View<'_>, chip: bool) -> (Name, Vec<Field>, Asked) {
        let (cla, ins, p1, p2) = (command.plain_cla(), command.ins, command.p1, command.p2);
        let proprietary = cla & 0x80 != 0 && cla != 0xA0;
        let home = self.selected == App::HomeKey;
        if (home || self.selected == App::Aliro)
            && let Some((name, fields, answer)) = aliro::command(command, data, home)
        {
            return (name.into(), fields, Asked::Aliro(answer));
        }
        if command.cla == 0x90
            && (self.selected == App::Desfire || (self.selected == App::Unknown && (p1, p2) == (0, 0)))
            && let Some(name) = names::desfire(ins)
        {
            return (format!("DESFire {name}").into(), data.field("data"), Asked::Other);
        }
        match ins {
            _ if cla == 0xFF => ("command to the reader itself".into(), data.field("data"), Asked::Other),
            0xA4 if p1 == 0x04 => select_application(data),
            0xA4 => {
                let name = names::file(data.bytes());
                let id = data.bytes().last_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
                let mut text = data.hex_behind("SELECT ");
                text.push_str(name);
                (text.into(), Vec::new(), Asked::File(id))
            }
            0xB0 if self.selected == App::Ndef && p1 & 0x80 == 0 => {
                let offset = u16::from_be_bytes([p1, p2]);
                (names::command(cla, ins, p1, p2), Vec::new(), Asked::Ndef(offset.into()))
            }
            0xD6 if self.selected == App::Ndef && p1 & 0x80 == 0 => {
                let offset = u16::from_be_bytes([p1, p2]);
                let fields = ndef::file(self.file, offset.into(), data);
                (with_number("UPDATE BINARY from ", offset.into(), ""), fields, Asked::Other)
            }
            0x88 if p2 & 0x80 != 0 || self.selected == App::Usim => ("AUTHENTICATE, USIM".into(), door::usim_command(data), Asked::Usim),
            0x88 if proprietary && (self.selected == App::Aka || data.len() == 40) => {
                let algorithm = match p2 {
                    0 => "MILENAGE",
                    1 => "TUAK",
                    _ => "unknown algorithm",
                };
                let fields = data.split(&[("RAND", 16), ("AUTN", 16), ("lock id", 8)]);
                (format!("AUTHENTICATE, AKA with {algorithm}").into(), fields, Asked::AkaProfileP)
            }
            0x88 if proprietary => {
                let fields = data.split(&[("RL", 16), ("lock id", 8), ("TL", 20)]);
                ("AUTHENTICATE, challenge-response".into(), fields, Asked::ChallengeResponse)
            }
            0x3C if proprietary => (door::control_flow(p1, data), Vec::new(), Asked::Other),
            0x10 if proprietary && chip => ("BEGIN".into(), door::begin(data), Asked::Begin),
            0x12 if proprietary && chip => ("NEXT".into(), door::answer_of_phone(data), Asked::Next),
            0x14 if proprietary && chip => ("REQUEST".into(), door::answer_of_phone(data), Asked::Request),
            0xCA if proprietary && (p1, p2) == (0, 0) && data.len() == 24 => {
                let fields = data.split(&[("lock id", 8), ("nonce", 16)]);
                ("GET IDENTITY".into(), fields, Asked::Identity)
            }
            _ => self.management(command, data, proprietary),
        }
    }

    /// Card management, and whatever needs no more than its header to be named.
    fn management(&self, command: &Command<'_>, data: View<'_>, proprietary: bool) -> (Name, Vec<Field>, Asked) {
        let (cla, ins, p1, p2) = (command.plain_cla(), command.ins, command.p1, command.p2);
        let asked = match ins {
            0x50 => Asked::InitializeUpdate,
            0x82 => Asked::ExternalAuthenticate(p1),
            0xCA | 0xCB => Asked::Objects(Dictionary::General),
            0xF2 => Asked::Objects(Dictionary::Registry),
            _ => Asked::Other,
        };
        let manager = proprietary || command.secure_messaging() || self.selected == App::CardManager;
        if manager && let Some((name, fields)) = globalplatform::command(command, data, self.level) {
            return (name.into(), fields, asked);
        }
        let name = names::command(cla, ins, p1, p2);
        let fields = data.field(if ins == 0x20 { "PIN" } else { "data" });
        (name, fields, if matches!(ins, 0xCA | 0xCB) { asked } else { Asked::Other })
    }

    fn response(&mut self, view: View<'_>) -> Decoded {
        let Some((_, &sw)) = view.bytes().split_last_chunk::<2>() else {
            self.parts.clear();
            return Decoded {
                name: with_number("no response APDU (", view.len() as u64, " bytes)"),
                ..Decoded::default()
            };
        };
        let sw = StatusWord(u16::from_be_bytes(sw));
        let data = view.range(0..view.len() - 2);
        let name = words::status(sw);
        let more = matches!(sw.sw1(), 0x61 | 0x6C);
        if !more && matches!(sw.sw1(), 0x90 | 0x62 | 0x63) {
            match self.asked {
                Asked::Application(app) => (self.selected, self.file, self.level) = (app, 0, 0),
                Asked::File(id) => self.file = id,
                Asked::ExternalAuthenticate(level) => self.level = level,
                _ => {}
            }
        }
        let fields = if view.is_brief() {
            Vec::new()
        } else if more {
            self.keep(data);
            data.field("part")
        } else if self.parts.len() == 0 {
            self.answer(data)
        } else {
            self.keep(data);
            let parts = std::mem::take(&mut self.parts);
            self.answer(parts.view(false))
        };
        Decoded {
            name,
            fields,
            sw: Some(sw),
            wtx: None,
        }
    }

    fn keep(&mut self, data: View<'_>) {
        if self.parts.len() + data.len() > MAX_PARTS {
            self.parts.clear();
        }
        self.parts.extend(data);
    }

    fn answer(&self, data: View<'_>) -> Vec<Field> {
        if data.len() == 0 {
            return Vec::new();
        }
        match self.asked {
            Asked::Application(app) => fci(data, app),
            Asked::File(_) => objects(data, "", Dictionary::General),
            Asked::ChallengeResponse => data.split(&[("TP", 20)]),
            Asked::AkaProfileP => door::aka_answer(data),
            Asked::Usim => door::usim_answer(data),
            Asked::Identity => door::identity(data),
            Asked::Begin | Asked::Next | Asked::Request => door::chip_answer(data),
            Asked::InitializeUpdate => globalplatform::initialize_update(data),
            Asked::Objects(dictionary) => objects(data, "", dictionary),
            Asked::Aliro(kind) => aliro::answer(kind, data),
            Asked::Ndef(offset) => ndef::file(self.file, offset, data),
            Asked::Other | Asked::ExternalAuthenticate(_) => data.field("data"),
        }
    }
}

fn select_application(data: View<'_>) -> (Name, Vec<Field>, Asked) {
    let name = match aid::name_of(data.bytes()) {
        Some(known) => {
            let mut text = data.hex_behind("SELECT ");
            text.push_str(", ");
            text.push_str(&known);
            text.into()
        }
        None if data.len() == 0 => "SELECT the default application".into(),
        None => data.hex_behind("SELECT ").into(),
    };
    let app = match data.len() {
        // The default application of a card with a card manager is the card manager.
        0 => App::CardManager,
        _ => App::of(data.bytes()),
    };
    (name, Vec::new(), Asked::Application(app))
}

/// The answer to SELECT: by name for the door's applications, by tag for others.
fn fci(data: View<'_>, app: App) -> Vec<Field> {
    if data.is_brief() {
        return Vec::new();
    }
    let mut fields = Vec::new();
    let door = matches!(app, App::ChallengeResponse | App::Aka | App::Identity);
    let proprietary = tlv::find(data.bytes(), 0x6F).and_then(|fci| tlv::find(fci, 0xA5));
    let Some(proprietary) = proprietary.filter(|_| door) else {
        let dictionary = match app {
            App::Aliro | App::HomeKey => Dictionary::Aliro,
            _ => Dictionary::General,
        };
        return objects(data, "", dictionary);
    };
    for object in tlv::iter(proprietary).map_while(Result::ok) {
        let value = data.find(object.value).hex();
        fields.push(match object.tag.0 {
            0x80 => Field::new("version", value),
            0x81 => Field::new("RP", value),
            0x82 => Field::new("T", value),
            tag => Field::new(format!("tag {tag:02x}"), value),
        });
    }
    fields
}

/// Most templates inside templates that are opened.
const MAX_DEPTH: usize = 6;

/// Data objects by tag and name, with the tags of the templates around them. What is not TLV is given as it is.
fn objects(data: View<'_>, path: &str, dictionary: Dictionary) -> Vec<Field> {
    let mut fields = Vec::new();
    if data.is_brief() {
        return fields;
    }
    let whole = || data.field(if path.is_empty() { "data" } else { path });
    for object in tlv::iter(data.bytes()) {
        let Ok(object) = object else {
            return whole();
        };
        let tag = format!("{path}{}{:02x}", if path.is_empty() { "" } else { "/" }, object.tag.0);
        let value = data.find(object.value);
        if object.tag.is_constructed() && path.split('/').count() < MAX_DEPTH {
            fields.extend(objects(value, &tag, dictionary));
            continue;
        }
        let label = match tags::name(object.tag.0, dictionary) {
            Some(name) => format!("{tag} {name}"),
            None => tag,
        };
        let known = match object.tag.0 {
            0x4F | 0x84 => aid::name_of(value.bytes()),
            0x50 | 0x9F12 => std::str::from_utf8(value.bytes()).ok().map(|text| Cow::Owned(text.to_owned())),
            _ => None,
        };
        fields.push(match known {
            Some(known) => Field::new(label, format!("{}, {known}", value.hex())),
            None => Field::new(label, value.hex()),
        });
    }
    fields
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Mask;

    fn hex(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    /// Decodes commands and responses in turn.
    fn session(layer: &Layer, lines: &[&str]) -> Vec<Decoded> {
        let mut decoder = Decoder::new();
        let turn = |(n, line): (usize, &&str)| {
            let dir = if n % 2 == 0 { Direction::Out } else { Direction::In };
            decoder.decode(&Event::new(0, layer.clone()).bytes(dir, hex(line)))
        };
        lines.iter().enumerate().map(turn).collect()
    }

    fn flat(decoded: &Decoded) -> String {
        let fields = decoded.fields.iter().map(|f| format!("; {}={}", f.name, f.value));
        fields.fold(decoded.name.clone().into_owned(), |line, field| line + &field)
    }

    #[test]
    fn what_cannot_be_read_is_said_and_forgotten() {
        let decoded = session(&Layer::Apdu, &["00A4", "90", "", ""]);
        let names: Vec<_> = decoded.iter().map(flat).collect();
        assert_eq!(
            names,
            [
                "no command APDU (2 bytes)",
                "no response APDU (1 bytes)",
                "no command APDU (0 bytes)",
                "no response APDU (0 bytes)"
            ]
        );
    }

    #[test]
    fn a_failed_select_does_not_change_what_commands_mean() {
        let select = "00A4040007A000000087100200";
        let command = format!("80880000 2C {} 00", "11".repeat(44));
        let decoded = session(&Layer::Apdu, &[select, "6A82", &command]);
        assert_eq!(decoded[2].name, "AUTHENTICATE, challenge-response");
        let decoded = session(&Layer::Apdu, &[select, "9000", &command]);
        assert_eq!(decoded[2].name, "AUTHENTICATE, USIM");
    }

    #[test]
    fn an_answer_in_parts_is_decoded_when_it_is_whole() {
        let command = format!("80880001 28 {} 00", "11".repeat(40));
        let lines = [&*command, "DB0801020304 6106", "00C0000006", "05060708 9000"];
        let decoded = session(&Layer::Apdu, &lines);
        assert_eq!(decoded[0].name, "AUTHENTICATE, AKA with TUAK");
        assert_eq!(flat(&decoded[1]).split("; ").last(), Some("part=db0801020304"));
        assert_eq!(decoded[2].name, "GET RESPONSE, 6 bytes");
        assert_eq!(decoded[3].fields, [Field::new("RES", "0102030405060708")]);
    }

    #[test]
    fn masked_bytes_show_as_stars_also_inside_fields() {
        let mut decoder = Decoder::new();
        let mut verify = Event::new(0, Layer::Apdu).bytes(Direction::Out, hex("0020000104 00000000"));
        let mask = |offset, length| Mask {
            offset,
            length,
            kind: "pin".into(),
        };
        verify.mask = vec![mask(5, 2), mask(900, usize::MAX), mask(usize::MAX, 3)];
        let decoded = decoder.decode(&verify);
        assert_eq!(decoded.fields, [Field::new("PIN", "****0000")]);
    }

    #[test]
    fn the_commands_of_the_locks_chip() {
        let fci = format!("6F2F 8409F0544150444F4F5201 A522 800101 8110{} 820101", "AA".repeat(16))
            .replace("A522", "A518")
            .replace("6F2F", "6F25");
        let begin = format!("80100000 2D 90046921D200 {fci} 00");
        let lines = [
            &*begin,
            "C1 06 803C00000104 C5 08 0102030405060708 9000",
            "8012000002 6A82 00",
            "C2 01 04 C9 03 616263 9000",
        ];
        let decoded = session(&Layer::Chip, &lines);
        let text: Vec<_> = decoded.iter().map(flat).collect();
        assert!(
            text[0].starts_with("BEGIN; clock=2025-11-22T15:08:48Z; version=01; RP=aaaa"),
            "{}",
            text[0]
        );
        assert_eq!(
            text[1],
            "9000 done; next=803c00000104 (CONTROL FLOW, plain: wrong-key); phone id=0102030405060708"
        );
        assert!(text[2].starts_with("NEXT; phone said=6a82 "), "{}", text[2]);
        assert_eq!(text[3], "9000 done; verdict=wrong-key; evidence=abc");
        // On the air the same instruction is something else.
        assert!(!session(&Layer::Apdu, &[&begin])[0].name.contains("BEGIN"));
    }

    #[test]
    fn other_applications_are_shown_by_tag() {
        let lines = ["00A4040007A000000087100200", "6F0B 8402A000 A505 500358595A 9000"];
        let decoded = session(&Layer::Apdu, &lines);
        assert_eq!(decoded[0].name, "SELECT a0000000871002, USIM");
        assert_eq!(
            flat(&decoded[1]),
            "9000 done; 6f/84 DF name=a000; 6f/a5/50 application label=58595a, XYZ"
        );
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            lines in proptest::collection::vec(
                (any::<bool>(), any::<bool>(), proptest::sample::select(vec![0x10, 0x12, 0x14, 0x20, 0x3C, 0x88, 0xA4, 0xC0, 0xCA]),
                 proptest::sample::select(vec![0u8, 1, 0x81]), proptest::collection::vec(any::<u8>(), 0..60),
                 (any::<usize>(), any::<usize>())), 0..12),
        ) {
            let mut decoder = Decoder::new();
            for (chip, out, ins, p2, data, (offset, length)) in lines {
                let layer = if chip { Layer::Chip } else { Layer::Apdu };
                let bytes = match out {
                    true => [&[0x80, ins, 0x04, p2, data.len() as u8], data.as_slice()].concat(),
                    false => data,
                };
                let dir = if out { Direction::Out } else { Direction::In };
                let mut event = Event::new(0, layer).bytes(dir, bytes);
                event.mask = vec![Mask { offset: offset % 70, length, kind: "x".into() }];
                let _ = decoder.decode(&event);
            }
        }
    }
}
