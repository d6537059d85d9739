//! pcap and pcapng: frames of link type 264 (ISO 14443), NFCGate's card configuration (147), and GSMTAP of SIM cards over UDP.
//!
//! Read by hand rather than with a crate: blocks come one at a time through one buffer, an error names its byte, and comments and
//! sections are at hand. Blocks have at most 1 MiB; longer ones of kinds that say nothing to us are skipped without being held.
//!
//! A frame of link type 264 stands behind `00 EVENT LENGTH(2)`: FF from the card and FE from the reader with CRC, FB and FA without,
//! FC field on, FD field off.

mod gsmtap;
mod quick;

use std::io::{self, BufRead, Read};

use super::{Importer, Out, at, binary};
use crate::event::{Crc, Direction, Event, Layer, Mask};
use crate::header::Header;
use crate::read::{Problem, ReadError};
use crate::rf::crc;
use gsmtap::Gsmtap;

/// Link type of ISO 14443.
pub(crate) const ISO_14443: u16 = 264;
/// Link type of NFCGate's card configuration.
const USER_0: u16 = 147;

/// Longest block or packet that is read.
const MAX_BLOCK: usize = 1 << 20;
/// What our own remarks in a comment begin with.
pub(crate) const MARK: &str = "tapdoor ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pcap,
    Pcapng,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u16,
    /// Ticks a second.
    resolution: u64,
}

impl Interface {
    fn nanoseconds(self, ticks: u64) -> u64 {
        match self.resolution {
            1_000_000_000 => ticks,
            1_000_000 => ticks.saturating_mul(1000),
            other => u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(other)).unwrap_or(u64::MAX),
        }
    }
}

/// A capture file.
pub(crate) struct Capture<R> {
    input: R,
    kind: Kind,
    offset: u64,
    big: bool,
    interfaces: Vec<Interface>,
    buffer: Vec<u8>,
    gsmtap: Gsmtap,
    /// What the times count from, in nanoseconds since 1970, once it is known.
    base: Option<u64>,
    packets: u64,
    used: u64,
}

/// A packet in the buffer.
struct Packet {
    interface: usize,
    time: u64,
    /// Where its bytes stand in the buffer.
    start: usize,
    end: usize,
    options: usize,
}

impl<R: BufRead> Capture<R> {
    /// Reads the beginning of the file.
    pub(crate) fn open(input: R) -> Result<Self, ReadError> {
        let mut capture = Self {
            input,
            kind: Kind::Pcapng,
            offset: 0,
            big: false,
            interfaces: Vec::new(),
            buffer: Vec::new(),
            gsmtap: Gsmtap::default(),
            base: None,
            packets: 0,
            used: 0,
        };
        let magic = capture.peek()?;
        let nanoseconds = match magic {
            [0x0A, 0x0D, 0x0D, 0x0A] => return Ok(capture),
            [0xD4, 0xC3, 0xB2, 0xA1] | [0xA1, 0xB2, 0xC3, 0xD4] => false,
            [0x4D, 0x3C, 0xB2, 0xA1] | [0xA1, 0xB2, 0x3C, 0x4D] => true,
            other => {
                let found = format!("the bytes {}", hex::encode(other));
                return Err(binary(0, found, "the beginning of a pcap or pcapng file"));
            }
        };
        capture.kind = Kind::Pcap;
        capture.big = magic[0] == 0xA1;
        capture.fill(24, "the 24 bytes of the file header")?;
        let link = capture.u32(20) as u16;
        capture.interfaces.push(Interface {
            link,
            resolution: if nanoseconds { 1_000_000_000 } else { 1_000_000 },
        });
        Ok(capture)
    }

    fn peek(&mut self) -> Result<[u8; 4], ReadError> {
        let chunk = self.input.fill_buf().map_err(|error| at(0, 0, 0, Problem::Io(error)))?;
        match chunk.first_chunk::<4>() {
            Some(magic) => Ok(*magic),
            None => Err(binary(
                0,
                format!("the file ends after {} bytes", chunk.len()),
                "the beginning of a pcap or pcapng file",
            )),
        }
    }

    /// Reads exactly so many bytes into the buffer, in place of what is there; `false` when the file has ended before the first.
    fn read(&mut self, length: usize, expected: &str) -> Result<bool, ReadError> {
        self.buffer.clear();
        self.append(length, expected)
    }

    fn append(&mut self, length: usize, expected: &str) -> Result<bool, ReadError> {
        let before = self.buffer.len();
        let offset = self.offset;
        let mut missing = length;
        // Straight from the reader's buffer: most blocks are in it as a whole.
        while missing > 0 {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(at(0, 0, offset, Problem::Io(error))),
            };
            if chunk.is_empty() {
                break;
            }
            let used = chunk.len().min(missing);
            self.buffer.extend_from_slice(&chunk[..used]);
            self.input.consume(used);
            missing -= used;
        }
        let read = self.buffer.len() - before;
        self.offset += read as u64;
        match read {
            0 if length > 0 => Ok(false),
            _ if missing > 0 => Err(binary(offset, format!("the file ends after {read} of {length} bytes"), expected)),
            _ => Ok(true),
        }
    }

    fn fill(&mut self, length: usize, expected: &str) -> Result<(), ReadError> {
        let offset = self.offset;
        match self.read(length, expected)? {
            true => Ok(()),
            false => Err(binary(offset, "the end of the file", expected)),
        }
    }

    fn u16(&self, at: usize) -> u16 {
        let bytes = self.buffer.get(at..at + 2).and_then(|b| b.try_into().ok()).unwrap_or_default();
        if self.big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }

    fn u32(&self, at: usize) -> u32 {
        let bytes = self.buffer.get(at..at + 4).and_then(|b| b.try_into().ok()).unwrap_or_default();
        if self.big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    /// The next packet; `None` at the end of the file.
    fn packet(&mut self, out: &mut Out) -> Result<Option<Packet>, ReadError> {
        match self.kind {
            Kind::Pcap => self.record(),
            Kind::Pcapng => loop {
                let start = self.offset;
                if !self.read(8, "a block: its type and length")? {
                    return Ok(None);
                }
                if let Some(packet) = self.block(start, out)? {
                    return Ok(Some(packet));
                }
            },
        }
    }

    fn record(&mut self) -> Result<Option<Packet>, ReadError> {
        let start = self.offset;
        if !self.read(16, "a packet: time and lengths")? {
            return Ok(None);
        }
        let (seconds, fraction, length) = (self.u32(0), self.u32(4), self.u32(8) as usize);
        if length > MAX_BLOCK {
            return Err(binary(
                start + 8,
                format!("a packet of {length} bytes"),
                format!("at most {MAX_BLOCK}"),
            ));
        }
        self.fill(length.max(1).min(length), "the bytes of the packet")?;
        let resolution = self.interfaces.first().map_or(1_000_000, |interface| interface.resolution);
        let time = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * (1_000_000_000 / resolution);
        Ok(Some(Packet {
            interface: 0,
            time,
            start: 0,
            end: length,
            options: length,
        }))
    }

    /// Reads the rest of a block whose first 8 bytes are in the buffer.
    fn block(&mut self, start: u64, out: &mut Out) -> Result<Option<Packet>, ReadError> {
        let section = self.buffer[..4] == [0x0A, 0x0D, 0x0D, 0x0A];
        if section {
            // The byte order of what follows, lengths included.
            self.append(4, "the byte-order magic of a section")?;
            self.big = match self.buffer.get(8..12) {
                Some([0x4D, 0x3C, 0x2B, 0x1A]) => false,
                Some([0x1A, 0x2B, 0x3C, 0x4D]) => true,
                _ => return Err(binary(start + 8, "another byte-order magic", "1A2B3C4D in either byte order")),
            };
            self.interfaces.clear();
        }
        let kind = if section { 0x0A0D_0D0A } else { self.u32(0) };
        let length = self.u32(4) as usize;
        let have = self.buffer.len();
        if length < 12 || !length.is_multiple_of(4) || length < have {
            return Err(binary(
                start + 4,
                format!("a block of {length} bytes"),
                "a multiple of 4, at least 12",
            ));
        }
        let known = section || matches!(kind, 1 | 2 | 3 | 6);
        if !known {
            return self.skip(length - have).map(|()| None);
        }
        if length > MAX_BLOCK {
            return Err(binary(
                start + 4,
                format!("a block of {length} bytes"),
                format!("at most {MAX_BLOCK}"),
            ));
        }
        if !self.append(length - have, "the rest of the block")? {
            return Err(binary(self.offset, "the end of the file", "the rest of the block"));
        }
        if self.u32(length - 4) as usize != length {
            return Err(binary(
                start + length as u64 - 4,
                "another length at the end of the block",
                format!("{length} again"),
            ));
        }
        match kind {
            0x0A0D_0D0A => self.section(length, out),
            1 => {
                if self.interfaces.len() >= 1 << 16 {
                    return Err(binary(start, "another interface", "at most 65,536"));
                }
                self.interface(length);
            }
            6 if length >= 32 => return self.enhanced(start, length).map(Some),
            2 if length >= 32 => {
                // The obsolete packet block: interface of 16 bits.
                return self.timed(start, usize::from(self.u16(8)), length).map(Some);
            }
            3 if length >= 16 => {
                let original = self.u32(8) as usize;
                let end = 12 + original.min(length - 16);
                return Ok(Some(Packet {
                    interface: 0,
                    time: self.base.unwrap_or(0),
                    start: 12,
                    end,
                    options: end,
                }));
            }
            _ => return Err(binary(start + 4, format!("a packet block of {length} bytes"), "at least 32")),
        }
        Ok(None)
    }

    fn skip(&mut self, length: usize) -> Result<(), ReadError> {
        let offset = self.offset;
        let copied = io::copy(&mut self.input.by_ref().take(length as u64), &mut io::sink());
        let copied = copied.map_err(|error| at(0, 0, offset, Problem::Io(error)))?;
        self.offset += copied;
        match copied == length as u64 {
            true => Ok(()),
            false => Err(binary(
                offset,
                format!("the file ends after {copied} of {length} bytes"),
                "the rest of the block",
            )),
        }
    }

    fn enhanced(&self, start: u64, length: usize) -> Result<Packet, ReadError> {
        self.timed(start, self.u32(8) as usize, length)
    }

    fn timed(&self, start: u64, interface: usize, length: usize) -> Result<Packet, ReadError> {
        let captured = self.u32(20) as usize;
        let room = length - 32;
        if captured > room {
            let found = format!("a packet of {captured} bytes in a block with room for {room}");
            return Err(binary(start + 20, found, "a packet that fits"));
        }
        let Some(described) = self.interfaces.get(interface) else {
            let found = format!("interface {interface}, which was not described");
            return Err(binary(start + 8, found, "an interface description block before"));
        };
        let ticks = u64::from(self.u32(12)) << 32 | u64::from(self.u32(16));
        let time = described.nanoseconds(ticks);
        Ok(Packet {
            interface,
            time,
            start: 28,
            end: 28 + captured,
            options: 28 + captured.next_multiple_of(4),
        })
    }

    /// Options from here to the end of the block: code and where its value stands.
    fn options(&self, from: usize, end: usize) -> impl Iterator<Item = (u16, &[u8])> {
        let mut at = from;
        std::iter::from_fn(move || {
            if at + 4 > end {
                return None;
            }
            let (code, length) = (self.u16(at), usize::from(self.u16(at + 2)));
            let value = self.buffer.get(at + 4..at + 4 + length).filter(|_| at + 4 + length <= end)?;
            at += 4 + length.next_multiple_of(4);
            (code != 0).then_some((code, value))
        })
    }

    fn section(&mut self, length: usize, out: &mut Out) {
        let mut header = None;
        let mut tool = None;
        for (code, value) in self.options(24, length - 4) {
            let Ok(text) = std::str::from_utf8(value) else {
                continue;
            };
            match code {
                1 => {
                    header = text
                        .strip_prefix(MARK)
                        .and_then(|text| Header::parse(text.as_bytes()).ok())
                        .or(header)
                }
                4 => tool = Some(text.to_owned()),
                _ => {}
            }
        }
        // A second section goes on where the first has ended.
        if self.packets > 0 {
            return;
        }
        match header {
            Some(header) => {
                let created = header
                    .created
                    .as_deref()
                    .and_then(|created| created.parse::<jiff::Timestamp>().ok());
                self.base = Some(created.and_then(|created| u64::try_from(created.as_nanosecond()).ok()).unwrap_or(0));
                out.header = header;
            }
            None => out.header.tool = tool,
        }
    }

    fn interface(&mut self, length: usize) {
        let link = self.u16(8);
        let resolution = self
            .options(16, length - 4)
            .find(|(code, _)| *code == 9)
            .map(|(_, value)| match value {
                [power] if power & 0x80 != 0 => 1u64.checked_shl((power & 0x7F).into()).unwrap_or(u64::MAX),
                [power] => 10u64.checked_pow((*power).into()).unwrap_or(u64::MAX),
                _ => 1_000_000,
            });
        self.interfaces.push(Interface {
            link,
            resolution: resolution.unwrap_or(1_000_000).max(1),
        });
    }

    /// Time since the beginning of the tape.
    fn time(&mut self, absolute: u64, out: &mut Out) -> u64 {
        const YEAR: u64 = 365 * 86_400 * 1_000_000_000;
        let base = *self.base.get_or_insert_with(|| {
            // Times of a clock that counts from the beginning of the trace are kept as they are.
            if absolute < YEAR {
                return 0;
            }
            let created = i128::from(absolute);
            out.header.created = jiff::Timestamp::from_nanosecond(created).ok().map(|time| time.to_string());
            absolute
        });
        absolute.saturating_sub(base)
    }

    fn frame(&mut self, packet: &Packet, t: u64, offset: u64, out: &mut Out) -> Result<(), ReadError> {
        let bytes = self.buffer.get(packet.start..packet.end).unwrap_or_default();
        let Some((&[version, event, high, low], data)) = bytes.split_first_chunk::<4>() else {
            return Err(binary(
                offset,
                format!("a frame of {} bytes", bytes.len()),
                "00 EVENT LENGTH(2) and the frame",
            ));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if version != 0 {
            return Err(binary(offset, format!("version {version:02x} of the pseudo header"), "00"));
        }
        let Some(data) = data.get(..length) else {
            let found = format!("a frame of {} bytes whose pseudo header says {length}", data.len());
            return Err(binary(offset + 2, found, "as many bytes as it says"));
        };
        let Some((dir, state)) = carried(event) else {
            let state = match event {
                0xFC => "on",
                0xFD => "off",
                other => return Err(binary(offset + 1, format!("event {other:02x}"), "FA to FF")),
            };
            let event = Event::new(t, Layer::Rf).with("field", &state);
            self.told(packet, event, out);
            return Ok(());
        };
        let made = Event {
            dir: Some(dir),
            bits: short(dir, data),
            crc: Some(state.unwrap_or_else(|| crc::state(data))),
            data: Some(data.to_vec()),
            ..Event::new(t, Layer::Rf)
        };
        if self.kind == Kind::Pcap || packet.options + 4 >= self.buffer.len() {
            out.events.push_back(made);
        } else {
            self.told(packet, made, out);
        }
        Ok(())
    }

    /// Our own comment on a packet.
    fn remark(&self, packet: &Packet) -> Option<Event> {
        let end = self.buffer.len().saturating_sub(4);
        if self.kind != Kind::Pcapng || packet.options >= end {
            return None;
        }
        let mut texts = self.options(packet.options, end).filter(|(code, _)| *code == 1);
        let text = texts.find_map(|(_, value)| std::str::from_utf8(value).ok()?.strip_prefix(MARK))?;
        Event::parse(text.as_bytes()).ok()
    }

    /// What our own comment says more of a packet than its format can hold.
    fn told(&self, packet: &Packet, mut event: Event, out: &mut Out) {
        let end = self.buffer.len().saturating_sub(4);
        if self.kind == Kind::Pcapng && packet.options < end {
            for (code, value) in self.options(packet.options, end) {
                let text = std::str::from_utf8(value).ok().filter(|_| code == 1);
                let told = text
                    .and_then(|text| text.strip_prefix(MARK))
                    .and_then(|text| Event::parse(text.as_bytes()).ok());
                if let Some(told) = told {
                    event = merged(event, told);
                } else if let Some(text) = text {
                    event.text.get_or_insert_with(|| text.to_owned());
                }
            }
        }
        out.push(event);
    }
}

/// Which way the frame of such an event went, and what became of its CRC where that is known; `None` for events without a frame.
const fn carried(event: u8) -> Option<(Direction, Option<Crc>)> {
    match event {
        0xFE => Some((Direction::Out, None)),
        0xFF => Some((Direction::In, None)),
        0xFA => Some((Direction::Out, Some(Crc::Dropped))),
        0xFB => Some((Direction::In, Some(Crc::Dropped))),
        _ => None,
    }
}

/// The bits of REQA and WUPA.
fn short(dir: Direction, data: &[u8]) -> Option<u32> {
    matches!((dir, data), (Direction::Out, [0x26 | 0x52])).then_some(7)
}

/// An event, and what a remark knows of it.
fn merged(mut event: Event, told: Event) -> Event {
    if told.layer == Layer::Apdu
        && let Some(data) = &mut event.data
        && data.first() == Some(&0x02)
    {
        // An APDU in a block that was made up for it.
        data.remove(0);
    }
    event.tap = told.tap.or(event.tap);
    event.bits = told.bits;
    event.crc = told.crc;
    event.parity = told.parity;
    event.text = told.text;
    event.mask = told.mask.into_iter().filter(|Mask { length, .. }| *length > 0).collect();
    event.layer = told.layer;
    event.extra = told.extra;
    event
}

impl<R: BufRead> Importer for Capture<R> {
    fn quick(&mut self, event: &mut Event) -> bool {
        self.whole_frame(event)
    }

    fn more(&mut self, out: &mut Out) -> Result<bool, ReadError> {
        let start = self.offset;
        let Some(packet) = self.packet(out)? else {
            if self.used == 0 {
                let found = format!("{} packets, none of them of NFC or a SIM card", self.packets);
                return Err(binary(start, found, super::Format::Pcapng.expected()));
            }
            return Ok(false);
        };
        self.packets += 1;
        let offset = self.offset - self.buffer.len() as u64 + packet.start as u64;
        let link = self.interfaces.get(packet.interface).map_or(0, |interface| interface.link);
        match link {
            ISO_14443 => {
                let t = self.time(packet.time, out);
                self.frame(&packet, t, offset, out)?;
                self.used += 1;
            }
            USER_0 => {
                let t = self.time(packet.time, out);
                let data = self.buffer.get(packet.start..packet.end).unwrap_or_default();
                out.bytes(t, Layer::Other("nfcgate".into()), Direction::In, data);
                self.used += 1;
            }
            link => {
                let bytes = self.buffer.get(packet.start..packet.end).unwrap_or_default();
                if let Some(message) = gsmtap::find(link, bytes).map(<[u8]>::to_vec) {
                    let t = self.time(packet.time, out);
                    let told = self.remark(&packet);
                    self.used += u64::from(self.gsmtap.take(t, &message, told, out));
                }
            }
        }
        Ok(true)
    }
}
