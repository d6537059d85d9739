//! CCID messages, ACR122U pseudo-APDUs and PN532 frames, down to what went over the air.

use super::super::Out;
use crate::event::{Crc, Direction, Event, Layer};
use crate::rf::Assembler;

/// Most bytes of a PN532 frame that comes in pieces.
const MAX_FRAME: usize = 600;
/// Most bytes of an exchange in parts.
const MAX_PARTS: usize = 1 << 16;

/// What one program and one chip say to each other.
#[derive(Default)]
pub(super) struct Wire {
    /// The last command to the chip, without `D4`.
    command: Vec<u8>,
    /// An APDU for a card went out through CCID itself.
    card: bool,
    /// Bytes of a frame that is not whole yet.
    pieces: Vec<u8>,
    /// What is being exchanged in parts.
    sent: Vec<u8>,
    received: Vec<u8>,
    /// The target is of ISO-DEP, so that the chip makes blocks of what it is given.
    iso_dep: Option<bool>,
    frames: Assembler,
    /// Time of the next event, in logs that have times.
    pub(super) t: u64,
}

fn layer(name: &str) -> Layer {
    Layer::Other(name.to_owned())
}

/// The message of a CCID frame, if it is one.
fn ccid(bytes: &[u8]) -> Option<&[u8]> {
    let (head, message) = bytes.split_first_chunk::<10>()?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    let known = matches!(head[0], 0x61..=0x6F | 0x80..=0x84);
    (known && length as usize == message.len()).then_some(message)
}

/// The commands and answers in a PN532 frame: `00 00 FF LEN LCS .. DCS 00`, or the extended form. `None` while it is not whole.
fn framed(bytes: &[u8]) -> Framed<'_> {
    let Some(start) = bytes.windows(2).position(|window| window == [0x00, 0xFF]) else {
        return if bytes.len() < MAX_FRAME { Framed::Cut } else { Framed::None };
    };
    match &bytes[start + 2..] {
        [0x00, 0xFF, ..] => Framed::Ack,
        [0xFF, 0x00, ..] => Framed::Ack,
        [0xFF, 0xFF, high, low, _, rest @ ..] => whole(rest, usize::from(u16::from_be_bytes([*high, *low]))),
        [0xFF, 0xFF, ..] | [] | [_] => Framed::Cut,
        [length, check, rest @ ..] if length.wrapping_add(*check) == 0 => whole(rest, (*length).into()),
        _ => Framed::None,
    }
}

enum Framed<'a> {
    Data(&'a [u8]),
    Ack,
    Cut,
    None,
}

fn whole(rest: &[u8], length: usize) -> Framed<'_> {
    match rest.get(..length) {
        // The checksum behind it must be there too.
        Some(data) if rest.len() > length => Framed::Data(data),
        _ => Framed::Cut,
    }
}

impl Wire {
    /// A message to the reader.
    fn to(&mut self, bytes: &[u8], out: &mut Out) {
        match bytes {
            // The reader's own commands, and commands to its chip.
            [0xFF, 0x00, 0x00, 0x00, length, data @ ..] if usize::from(*length) == data.len() && data.first() == Some(&0xD4) => {
                self.chip_command(data, out);
            }
            [0xFF, 0xC0, ..] => {}
            [0xFF, ..] => self.command.clear(),
            [0xD4, ..] => self.chip_command(bytes, out),
            [_, _, _, _, ..] => {
                self.command.clear();
                self.card = true;
                out.bytes(self.t, Layer::Apdu, Direction::Out, bytes);
            }
            _ => {}
        }
    }

    pub(super) fn sends(&mut self, bytes: &[u8], out: &mut Out) {
        self.pieces.clear();
        if let Some(message) = ccid(bytes) {
            out.bytes(self.t, layer("ccid"), Direction::Out, bytes);
            if matches!(bytes[0], 0x6F | 0x6B) {
                self.to(message, out);
            }
            return;
        }
        // Waking the chip up is no frame.
        match framed(bytes) {
            Framed::Data(data) if data.first() == Some(&0xD4) => self.chip_command(data, out),
            _ if matches!(bytes, [0xFF | 0xD4, ..]) => self.to(bytes, out),
            _ => {}
        }
    }

    pub(super) fn receives(&mut self, bytes: &[u8], out: &mut Out) {
        if let Some(message) = ccid(bytes).filter(|_| self.pieces.is_empty()) {
            out.bytes(self.t, layer("ccid"), Direction::In, bytes);
            if matches!(bytes[0], 0x80 | 0x83) {
                self.from(message, out);
            }
            return;
        }
        if self.pieces.is_empty() && matches!(bytes, [0xD5, ..] | [.., 0x90, 0x00]) && !self.command.is_empty() && bytes[0] == 0xD5 {
            self.from(bytes, out);
            return;
        }
        if self.pieces.len() + bytes.len() > MAX_FRAME {
            self.pieces.clear();
        }
        self.pieces.extend_from_slice(bytes);
        let pieces = std::mem::take(&mut self.pieces);
        match framed(&pieces) {
            Framed::Data(data) => self.chip_answer(data, out),
            Framed::Cut => self.pieces = pieces,
            Framed::Ack | Framed::None => {}
        }
    }

    /// The message of a data block.
    fn from(&mut self, message: &[u8], out: &mut Out) {
        if std::mem::take(&mut self.card) {
            if message.len() >= 2 {
                out.bytes(self.t, Layer::Apdu, Direction::In, message);
            }
            return;
        }
        match message {
            [0xD5, .., 0x90, 0x00] => self.chip_answer(&message[..message.len() - 2], out),
            [0xD5, ..] => self.chip_answer(message, out),
            // GET RESPONSE will follow.
            [0x61, _] => {}
            _ if !self.command.is_empty() => {
                let text = match message {
                    [] => "the reader gave no answer of its chip".to_owned(),
                    other => format!(
                        "the reader answered {} in place of its chip",
                        hex::encode(&other[..other.len().min(16)])
                    ),
                };
                self.failed(&text, out);
            }
            _ => {}
        }
    }

    fn failed(&mut self, text: &str, out: &mut Out) {
        self.command.clear();
        out.push(
            Event::new(self.t, Layer::Note)
                .text(text)
                .with("error", &"reader")
                .with("at", &"pn532"),
        );
    }

    /// `D4 ..`
    fn chip_command(&mut self, data: &[u8], out: &mut Out) {
        out.bytes(self.t, layer("pn532"), Direction::Out, data);
        self.command = data[1..].to_vec();
        match data {
            [_, 0x40, target, part @ ..] => {
                if self.sent.len() + part.len() > MAX_PARTS {
                    self.sent.clear();
                }
                self.sent.extend_from_slice(part);
                // More follows: the chip chains, and answers with a status only.
                if target & 0x40 == 0 && !part.is_empty() {
                    let sent = std::mem::take(&mut self.sent);
                    self.exchanged(Direction::Out, &sent, out);
                }
            }
            [_, 0x42, frame @ ..] => self.frame(Direction::Out, frame, out),
            [_, 0x8E, data @ ..] => self.exchanged(Direction::In, data, out),
            [_, 0x90, frame @ ..] => self.frame(Direction::In, frame, out),
            _ => {}
        }
    }

    /// `D5 ..`
    fn chip_answer(&mut self, data: &[u8], out: &mut Out) {
        out.bytes(self.t, layer("pn532"), Direction::In, data);
        let (0xD5 | 0x7F, Some(code)) = (data.first().copied().unwrap_or_default(), data.get(1)) else {
            return;
        };
        if self.command.first().copied() != Some(code.wrapping_sub(1)) {
            out.note(self.t, "the chip answered another command than the last one");
            return;
        }
        self.command.clear();
        match &data[1..] {
            [0x4B, found, targets @ ..] if *found > 0 => self.target(targets, out),
            [0x41, status, part @ ..] => {
                if status & 0x3F != 0 {
                    self.received.clear();
                    return self.failed(&format!("the chip reports error {:02x}", status & 0x3F), out);
                }
                if self.received.len() + part.len() > MAX_PARTS {
                    self.received.clear();
                }
                self.received.extend_from_slice(part);
                if status & 0x40 == 0 && !self.received.is_empty() {
                    let received = std::mem::take(&mut self.received);
                    self.exchanged(Direction::In, &received, out);
                }
            }
            [0x43, status, frame @ ..] => match status & 0x3F {
                0 => self.frame(Direction::In, frame, out),
                error => self.failed(&format!("the chip reports error {error:02x}"), out),
            },
            // The chip is the card: what it was sent comes from the other reader.
            [0x87, 0, data @ ..] => self.exchanged(Direction::Out, data, out),
            [0x89, 0, frame @ ..] => self.frame(Direction::Out, frame, out),
            [0x8D, mode, command @ ..] => {
                out.next_tap();
                self.iso_dep = None;
                let text = format!("activated as a target, mode {mode:02x}, by {}", hex::encode(command));
                out.note(self.t, text);
            }
            _ => {}
        }
    }

    /// A target that InListPassiveTarget found.
    fn target(&mut self, targets: &[u8], out: &mut Out) {
        out.next_tap();
        self.frames = Assembler::new();
        let note = Event::new(self.t, Layer::Note);
        // Type A: number, ATQA, SAK, UID, ATS. Type B: number, ATQB (50 ..), ATTRIB_RES.
        let event = match targets {
            [_, 0x50, rest @ ..] if rest.len() >= 11 => {
                self.iso_dep = Some(true);
                note.text(format!("type B target, PUPI {}", hex::encode(&rest[..4])))
                    .with("pupi", &hex::encode(&rest[..4]))
            }
            [_, high, low, sak, length, rest @ ..] if rest.len() >= usize::from(*length) && matches!(length, 4 | 7 | 10) => {
                self.iso_dep = Some(sak & 0x20 != 0);
                let (uid, ats) = rest.split_at((*length).into());
                let mut text = format!("type A target, ATQA {high:02x}{low:02x}, SAK {sak:02x}, UID {}", hex::encode(uid));
                let mut note = note
                    .with("atqa", &hex::encode([*high, *low]))
                    .with("sak", &hex::encode([*sak]))
                    .with("uid", &hex::encode(uid));
                if let Some(ats) = ats
                    .first()
                    .and_then(|length| ats.get(..usize::from(*length)))
                    .filter(|ats| !ats.is_empty())
                {
                    text.push_str(&format!(", ATS {}", hex::encode(ats)));
                    note = note.with("ats", &hex::encode(ats));
                }
                note.text(text)
            }
            _ => {
                self.iso_dep = Some(false);
                note.text(format!("target {}", hex::encode(targets)))
            }
        };
        out.push(event);
    }

    /// What the chip wraps into blocks, or passes on as a frame where the target has none.
    fn exchanged(&mut self, dir: Direction, data: &[u8], out: &mut Out) {
        let least = if dir == Direction::Out { 4 } else { 2 };
        match self.iso_dep {
            Some(false) => self.frame(dir, data, out),
            None if data.len() < least => self.frame(dir, data, out),
            _ => out.bytes(self.t, Layer::Apdu, dir, data),
        }
    }

    /// A frame whose CRC the chip made or checked, and the APDU that it completes.
    fn frame(&mut self, dir: Direction, data: &[u8], out: &mut Out) {
        let mut event = Event::new(self.t, Layer::Rf).bytes(dir, data);
        event.crc = Some(Crc::Dropped);
        let apdu = self.frames.feed(&event);
        out.push(event);
        if let Some(mut apdu) = apdu {
            apdu.tap = out.tap;
            out.push(apdu);
        }
    }
}
