//! NCI packets (NFC Forum NCI 2.0) in Android's log and in that of linux_libnfc-nci.

use super::super::Out;
use super::super::lines::{Clock, LineFormat, Wrong, hex_bytes, hex_line, shown, time_of_day};
use crate::event::{Crc, Direction, Event, Layer};

/// Most bytes of a message in several packets.
const MAX_MESSAGE: usize = 1 << 16;

/// `NxpNciX` and `NxpNciR`, or `Tx` and `Rx` of StNfcHal.
#[derive(Default)]
pub(crate) struct Nci {
    clock: Clock,
    t: u64,
    begun: bool,
    timed: bool,
    active: Option<Active>,
    /// The parts of a message: from the host, from the chip.
    parts: [Vec<u8>; 2],
}

/// What was activated.
#[derive(Clone, Copy, Debug)]
struct Active {
    /// We are the card.
    listen: bool,
    /// The chip does ISO-DEP.
    iso_dep: bool,
}

impl Nci {
    fn packet(&mut self, host: bool, bytes: &[u8], out: &mut Out) -> Result<(), Wrong> {
        let dir = if host { Direction::Out } else { Direction::In };
        out.bytes(self.t, Layer::Other("nci".into()), dir, bytes);
        let &[first, second, length, ref payload @ ..] = bytes else {
            return Ok(());
        };
        if usize::from(length) != payload.len() {
            // Firmware download speaks another language, with lengths of two bytes.
            return Ok(());
        }
        match (first >> 5, first & 15, second & 0x3F) {
            (0, 0, _) => self.data(host, first & 0x10 != 0, payload, out),
            (3, 1, 0x05) => self.activated(payload, out),
            (3, 1, 0x06) => self.active = None,
            (3, 1, 0x07) => {
                let state = if payload.first().is_some_and(|info| info & 1 != 0) {
                    "on"
                } else {
                    "off"
                };
                let event = Event::new(self.t, Layer::Rf).with("field", &state);
                out.push(event);
            }
            _ => {}
        }
        Ok(())
    }

    /// RF_INTF_ACTIVATED_NTF: id, interface, protocol, mode, ...
    fn activated(&mut self, payload: &[u8], out: &mut Out) {
        let [_, interface, protocol, mode, ..] = payload else {
            return;
        };
        out.next_tap();
        self.parts = [Vec::new(), Vec::new()];
        let listen = mode & 0x80 != 0;
        self.active = Some(Active {
            listen,
            iso_dep: *interface == 0x02,
        });
        let interface = match interface {
            0x00 => "NFCEE",
            0x01 => "frames",
            0x02 => "ISO-DEP",
            0x03 => "NFC-DEP",
            _ => "another interface",
        };
        let technology = match mode & 0x7F {
            0x00 => "A",
            0x01 => "B",
            0x02 => "F",
            0x03 => "A, active",
            _ => "another technology",
        };
        let role = if listen { "as the card" } else { "as the reader" };
        let text = format!("activated {role}, {technology}, {interface}, protocol {protocol:02x}");
        out.push(Event::new(self.t, Layer::Note).text(text).with("activation", &hex::encode(payload)));
    }

    fn data(&mut self, host: bool, more: bool, payload: &[u8], out: &mut Out) {
        let parts = &mut self.parts[usize::from(host)];
        if parts.len() + payload.len() > MAX_MESSAGE {
            parts.clear();
        }
        parts.extend_from_slice(payload);
        if more || parts.is_empty() {
            return;
        }
        let mut message = std::mem::take(parts);
        // A log that begins in the middle: the reader speaks first.
        let active = *self.active.get_or_insert(Active {
            listen: !host,
            iso_dep: true,
        });
        let dir = if host != active.listen { Direction::Out } else { Direction::In };
        if active.iso_dep {
            out.bytes(self.t, Layer::Apdu, dir, message);
            return;
        }
        if !host && !active.listen {
            // The frame interface adds a status to what a tag answers.
            message.pop();
        }
        let mut event = Event::new(self.t, Layer::Rf).bytes(dir, message);
        event.crc = Some(Crc::Dropped);
        out.push(event);
    }
}

impl LineFormat for Nci {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        let (host, rest) = match (
            line.split_once("NxpNciX"),
            line.split_once("NxpNciR"),
            line.split_once("StNfcHal: (#"),
        ) {
            (Some((_, rest)), ..) => (true, rest),
            (_, Some((_, rest)), _) => (false, rest),
            (.., Some((_, rest))) => match (rest.split_once(") Tx "), rest.split_once(") Rx ")) {
                (Some((_, hex)), _) => (true, hex),
                (_, Some((_, hex))) => (false, hex),
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        let time = line.split_whitespace().take(3).find_map(time);
        if let Some(time) = time {
            self.timed = true;
            self.t = self.clock.at(time);
        }
        if !std::mem::replace(&mut self.begun, true) && !self.timed {
            let _ = out.header.extra.insert("clock", &"none");
        }
        if rest.contains("(hidden)") {
            return Ok(());
        }
        // ": len =  10 > 2103..", "=> 2103..", "<= 4103.."; StNfcHal has the bytes alone.
        let (announced, hex) = match rest.split_once("len =") {
            Some((_, rest)) => {
                let hex = rest.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
                let number = rest.trim_start().strip_suffix(hex).unwrap_or_default();
                (
                    number.parse::<usize>().ok(),
                    hex.trim_start().trim_start_matches(['<', '=', '>', ' ']),
                )
            }
            None => (None, rest),
        };
        let bytes = match announced {
            Some(_) => hex_line(hex)?,
            // Remarks of the same tag.
            None => match hex_bytes(hex.trim_start_matches(['<', '=', '>', ' ', ':']).as_bytes()) {
                Some(bytes) => bytes,
                None => return Ok(()),
            },
        };
        if let Some(announced) = announced.filter(|announced| *announced != bytes.len()) {
            let wrong = Wrong::new(format!("{} bytes in \"{}\"", bytes.len(), shown(hex.as_bytes())));
            return Err(wrong.expected(format!("{announced} as the line announces")));
        }
        self.packet(host, &bytes, out)
    }
}

/// The time in a word: `15:39:52.449`, `2021:07:12-01:52:37.793`, or seconds, milliseconds and microseconds as `3:564:942`.
fn time(word: &str) -> Option<u64> {
    // Eclipse's view of the log has a colon behind it.
    let word = word.trim_end_matches(':');
    let last = word.rsplit('-').next().unwrap_or(word);
    if let Some(time) = time_of_day(last) {
        return Some(time);
    }
    let mut parts = word.split(':').map(str::parse::<u64>);
    match (parts.next()?, parts.next()?, parts.next()?, parts.next()) {
        (Ok(seconds), Ok(milli @ 0..1000), Ok(micro @ 0..1000), None) => {
            seconds.checked_mul(1_000_000_000)?.checked_add(milli * 1_000_000 + micro * 1000)
        }
        _ => None,
    }
}
