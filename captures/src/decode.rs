//! [`Decoder`]: what an event means, in words and named fields.
//!
//! It follows each layer's session, because what a command means depends on what was selected and what was asked before.

mod aliro;
mod door;
mod names;
mod view;

use tapdoor_protocol::aid::{self, Aid};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;

use crate::event::{Direction, Event, Layer};
pub use aliro::AliroKeys;
use view::{Held, View};

/// What one event means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// In a few words: `SELECT f0544150444f4f5201, Tapdoor challenge-response`, `9000 done`.
    pub name: String,
    /// What is inside, in order.
    pub fields: Vec<Field>,
    /// The status word of a response.
    pub sw: Option<StatusWord>,
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
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    apdu: Session,
    chip: Session,
    tap: Option<u64>,
    keys: std::sync::Arc<AliroKeys>,
}

/// One layer's state.
#[derive(Clone, Debug, Default)]
struct Session {
    selected: App,
    asked: Asked,
    aliro: aliro::Transaction,
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
        } else if is(Aid::CARD_MANAGER) {
            Self::CardManager
        } else if is(Aid::ALIRO_EXPEDITED) {
            Self::Aliro
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
    File,
    ChallengeResponse,
    AkaProfileP,
    Usim,
    Identity,
    /// The command with this instruction byte.
    Aliro(u8),
    Begin,
    Next,
    Request,
}

impl Decoder {
    /// At the beginning of a tape.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with keys for what is enciphered.
    #[must_use]
    pub fn with_keys(keys: &AliroKeys) -> Self {
        let mut decoder = Self {
            keys: std::sync::Arc::new(keys.clone()),
            ..Self::default()
        };
        decoder.apdu.aliro.keys = std::sync::Arc::clone(&decoder.keys);
        decoder
    }

    /// What this event means. Events that a filter hides must be given too.
    pub fn decode(&mut self, event: &Event) -> Decoded {
        if event.tap.is_some() && event.tap != self.tap {
            // Another card, or the same one reset.
            self.tap = event.tap;
            self.apdu = Session::default();
            self.apdu.aliro.keys = std::sync::Arc::clone(&self.keys);
        }
        let session = match event.layer {
            Layer::Apdu => &mut self.apdu,
            Layer::Chip => &mut self.chip,
            _ => return remark(event),
        };
        let (Some(dir), Some(data)) = (event.dir, &event.data) else {
            return remark(event);
        };
        let held = Held::new(data, &event.mask);
        match dir {
            Direction::Out => session.command(held.view(), event.layer == Layer::Chip),
            Direction::In => session.response(held.view()),
        }
    }
}

/// An event that is no APDU: its remark, else what the lock decided, else its frame.
fn remark(event: &Event) -> Decoded {
    let extra = |name| event.extra.text(name);
    let verdict = || match (extra("verdict"), extra("reason")) {
        (Some(verdict), Some(reason)) => Some(format!("{verdict}: {reason}")),
        (verdict, _) => verdict,
    };
    let frame = || event.data.as_ref().map(|data| names::frame(data));
    let name = event.text.clone().or_else(verdict).or_else(frame);
    let fields = event.extra.iter().map(|(name, value)| {
        let text = event.extra.text(name).unwrap_or_else(|| value.to_owned());
        Field::new(name, text)
    });
    Decoded {
        name: name.unwrap_or_default(),
        fields: fields.collect(),
        sw: None,
    }
}

impl Session {
    fn command(&mut self, view: View<'_>, chip: bool) -> Decoded {
        let Ok(command) = Command::parse(view.bytes()) else {
            self.asked = Asked::Other;
            self.parts.clear();
            return Decoded {
                name: format!("no command APDU ({} bytes)", view.len()),
                ..Decoded::default()
            };
        };
        if command.ins == 0xC0 {
            return Decoded {
                name: format!("GET RESPONSE, {} bytes", command.ne),
                ..Decoded::default()
            };
        }
        self.parts.clear();
        let data = view.find(command.data);
        if self.selected == App::Aliro
            && command.plain_cla() == 0x80
            && let Some((name, fields)) = self.aliro.command(command.ins, data, command.is_chained())
        {
            self.asked = Asked::Aliro(command.ins);
            let name = if command.is_chained() {
                format!("{name}, more follows")
            } else {
                name
            };
            return Decoded { name, fields, sw: None };
        }
        let (name, mut fields, asked) = self.meaning(&command, data, chip);
        self.asked = asked;
        let name = match command.is_chained() {
            true => {
                fields.clear();
                format!("{name}, more follows")
            }
            false => name,
        };
        Decoded { name, fields, sw: None }
    }

    fn meaning(&self, command: &Command<'_>, data: View<'_>, chip: bool) -> (String, Vec<Field>, Asked) {
        let (cla, ins, p1, p2) = (command.plain_cla(), command.ins, command.p1, command.p2);
        let proprietary = cla & 0x80 != 0 && cla != 0xA0;
        match ins {
            _ if cla == 0xFF => ("command to the reader itself".into(), data.field("data"), Asked::Other),
            0xA4 if p1 == 0x04 => select_application(data),
            0xA4 => {
                let name = names::file(data.bytes());
                (format!("SELECT {}{name}", data.hex()), Vec::new(), Asked::File)
            }
            0x88 if p2 & 0x80 != 0 || self.selected == App::Usim => ("AUTHENTICATE, USIM".into(), door::usim_command(data), Asked::Usim),
            0x88 if proprietary && (self.selected == App::Aka || data.len() == 40) => {
                let algorithm = match p2 {
                    0 => "MILENAGE",
                    1 => "TUAK",
                    _ => "unknown algorithm",
                };
                let fields = data.split(&[("RAND", 16), ("AUTN", 16), ("lock id", 8)]);
                (format!("AUTHENTICATE, AKA with {algorithm}"), fields, Asked::AkaProfileP)
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
            _ => {
                let name = names::command(cla, ins, p1, p2);
                let fields = data.field(if ins == 0x20 { "PIN" } else { "data" });
                (name, fields, Asked::Other)
            }
        }
    }

    fn response(&mut self, view: View<'_>) -> Decoded {
        let Some((_, &sw)) = view.bytes().split_last_chunk::<2>() else {
            self.parts.clear();
            return Decoded {
                name: format!("no response APDU ({} bytes)", view.len()),
                ..Decoded::default()
            };
        };
        let sw = StatusWord(u16::from_be_bytes(sw));
        let data = view.range(0..view.len() - 2);
        let name = format!("{:04x} {}", sw.0, sw.meaning());
        if self.parts.len() + data.len() > MAX_PARTS {
            self.parts.clear();
        }
        self.parts.extend(data);
        let fields = match sw.sw1() {
            0x61 | 0x6C => data.field("part"),
            _ => {
                if let (Asked::Application(app), true) = (self.asked, matches!(sw.sw1(), 0x90 | 0x62 | 0x63)) {
                    self.selected = app;
                }
                let parts = std::mem::take(&mut self.parts);
                self.answer(parts.view())
            }
        };
        Decoded {
            name,
            fields,
            sw: Some(sw),
        }
    }

    fn answer(&mut self, data: View<'_>) -> Vec<Field> {
        if data.len() == 0 {
            return Vec::new();
        }
        match self.asked {
            Asked::Application(App::Aliro) => self.aliro.selected(data),
            Asked::Aliro(ins) => self.aliro.answer(ins, data),
            Asked::Application(app) => fci(data, app),
            Asked::File => objects(data, ""),
            Asked::ChallengeResponse => data.split(&[("TP", 20)]),
            Asked::AkaProfileP => door::aka_answer(data),
            Asked::Usim => door::usim_answer(data),
            Asked::Identity => door::identity(data),
            Asked::Begin | Asked::Next | Asked::Request => door::chip_answer(data),
            Asked::Other => data.field("data"),
        }
    }
}

fn select_application(data: View<'_>) -> (String, Vec<Field>, Asked) {
    let name = match aid::name_of(data.bytes()) {
        Some(name) => format!("SELECT {}, {name}", data.hex()),
        None if data.len() == 0 => "SELECT the default application".into(),
        None => format!("SELECT {}", data.hex()),
    };
    (name, Vec::new(), Asked::Application(App::of(data.bytes())))
}

/// The answer to SELECT: by name for the door's applications, by tag for others.
fn fci(data: View<'_>, app: App) -> Vec<Field> {
    let mut fields = Vec::new();
    let door = matches!(app, App::ChallengeResponse | App::Aka | App::Identity);
    let proprietary = tlv::find(data.bytes(), 0x6F).and_then(|fci| tlv::find(fci, 0xA5));
    let Some(proprietary) = proprietary.filter(|_| door) else {
        return objects(data, "");
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

/// Data objects by tag, two levels of templates deep. What is not TLV is given as it is.
fn objects(data: View<'_>, path: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    for object in tlv::iter(data.bytes()) {
        let Ok(object) = object else {
            return data.field(if path.is_empty() { "data" } else { path });
        };
        let tag = format!("{path}{}{:02x}", if path.is_empty() { "" } else { "/" }, object.tag.0);
        let value = data.find(object.value);
        if object.tag.is_constructed() && path.len() < 6 {
            fields.extend(objects(value, &tag));
        } else {
            fields.push(Field::new(tag, value.hex()));
        }
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
        fields.fold(decoded.name.clone(), |line, field| line + &field)
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
        assert_eq!(flat(&decoded[1]), "9000 done; 6f/84=a000; 6f/a5/50=58595a");
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
