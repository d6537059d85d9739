//! pcapng: frames of link type 264, and APDUs as GSMTAP.
//!
//! What the packets have no place for (taps, bits, parity, remarks) stands in a comment that begins with `tapdoor `, so that the way back
//! loses nothing. Where a tape has APDUs and no frames, each APDU stands in an I-block with PCB 02 and without CRC, as NFCGate does it.

use std::io::{self, Write};

use super::pairs::{Found, Pairs};
use super::{Exporter, Losses};
use crate::event::{Crc, Direction, Event, Layer};
use crate::header::Header;
use crate::import::pcap::{ISO_14443, MARK};
use crate::rf::crc;

/// Longest packet that is written.
const MAX_PACKET: usize = 65_000;

fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    // An option has at most 65535 bytes; what is longer is a remark that nobody needs to read a packet.
    let Ok(length) = u16::try_from(value.len()) else {
        return;
    };
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    padded(out, value);
}

/// The blocks of a file, in little endian.
struct Blocks<W> {
    out: W,
    block: Vec<u8>,
    base: u64,
}

impl<W: Write> Blocks<W> {
    fn new(out: W, header: &Header, link: u16) -> io::Result<Self> {
        let created = header
            .created
            .as_deref()
            .and_then(|created| created.parse::<jiff::Timestamp>().ok());
        let base = created.and_then(|created| u64::try_from(created.as_nanosecond()).ok()).unwrap_or(0);
        let mut blocks = Self {
            out,
            block: Vec::with_capacity(512),
            base,
        };
        let mut line = MARK.as_bytes().to_vec();
        header.encode_into(&mut line);
        blocks.begin(0x0A0D_0D0A);
        blocks.block.extend_from_slice(&0x1A2B_3C4D_u32.to_le_bytes());
        blocks.block.extend_from_slice(&[1, 0, 0, 0]);
        blocks.block.extend_from_slice(&u64::MAX.to_le_bytes());
        option(&mut blocks.block, 1, line.trim_ascii_end());
        option(&mut blocks.block, 4, concat!("tapdoor ", env!("CARGO_PKG_VERSION")).as_bytes());
        option(&mut blocks.block, 0, &[]);
        blocks.end()?;
        blocks.begin(1);
        blocks.block.extend_from_slice(&link.to_le_bytes());
        blocks.block.extend_from_slice(&[0; 6]);
        if let Some(reader) = &header.reader {
            option(&mut blocks.block, 2, reader.as_bytes());
        }
        // Nanoseconds.
        option(&mut blocks.block, 9, &[9]);
        option(&mut blocks.block, 0, &[]);
        blocks.end()?;
        Ok(blocks)
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.block.extend_from_slice(&kind.to_le_bytes());
        self.block.extend_from_slice(&[0; 4]);
    }

    fn end(&mut self) -> io::Result<()> {
        // Blocks are short: packets have at most 65,000 bytes, and so have options.
        let length = (self.block.len() + 4) as u32;
        self.block[4..8].copy_from_slice(&length.to_le_bytes());
        self.block.extend_from_slice(&length.to_le_bytes());
        self.out.write_all(&self.block)
    }

    fn packet(&mut self, t: u64, bytes: &[&[u8]], comment: Option<&[u8]>) -> io::Result<()> {
        let time = self.base.saturating_add(t);
        let length: usize = bytes.iter().map(|part| part.len()).sum();
        self.begin(6);
        for number in [0, (time >> 32) as u32, time as u32, length as u32, length as u32] {
            self.block.extend_from_slice(&number.to_le_bytes());
        }
        for part in bytes {
            self.block.extend_from_slice(part);
        }
        self.block.resize(self.block.len().next_multiple_of(4), 0);
        if let Some(comment) = comment {
            option(&mut self.block, 1, comment);
            option(&mut self.block, 0, &[]);
        }
        self.end()
    }
}

/// A remark on an event, without its bytes.
fn comment(event: &Event) -> Vec<u8> {
    let mut rest = event.clone();
    rest.data = None;
    let mut line = MARK.as_bytes().to_vec();
    rest.encode_into(&mut line);
    line.truncate(line.trim_ascii_end().len());
    line
}

/// Link type 264.
pub(crate) struct Frames<W> {
    blocks: Blocks<W>,
    frames: bool,
}

impl<W: Write> Frames<W> {
    pub(crate) fn new(out: W, header: &Header) -> io::Result<Self> {
        Ok(Self {
            blocks: Blocks::new(out, header, ISO_14443)?,
            frames: false,
        })
    }
}

/// Whether the importer would find everything again without a remark.
fn speaks_for_itself(event: &Event, dir: Direction, data: &[u8]) -> bool {
    let short = matches!((dir, data), (Direction::Out, [0x26 | 0x52])).then_some(7);
    let state = event.crc == Some(Crc::Dropped) || event.crc == Some(crc::state(data));
    event.tap.is_none()
        && event.bits == short
        && state
        && event.parity.is_none()
        && event.mask.is_empty()
        && event.text.is_none()
        && event.extra.is_empty()
}

impl<W: Write> Exporter for Frames<W> {
    fn event(&mut self, event: &Event, losses: &mut Losses) -> io::Result<()> {
        let field = event.extra.text("field").filter(|_| event.layer == Layer::Rf);
        let (dir, data) = match (event.dir, &event.data, field.as_deref()) {
            (Some(dir), Some(data), _) => (dir, data),
            (_, _, Some(state @ ("on" | "off"))) => {
                let code = if state == "on" { 0xFC } else { 0xFD };
                let plain = event.tap.is_none() && event.text.is_none() && event.extra.iter().count() == 1;
                let remark = (!plain).then(|| comment(event));
                return self.blocks.packet(event.t, &[&[0, code, 0, 0]], remark.as_deref());
            }
            _ => {
                losses.add(&format!("events of layer {} without bytes", event.layer));
                return Ok(());
            }
        };
        if data.len() > MAX_PACKET {
            losses.add("frames of more than 65,000 bytes");
            return Ok(());
        }
        match event.layer {
            Layer::Rf => {
                self.frames = true;
                let code = match (event.crc, dir) {
                    (Some(Crc::Dropped), Direction::Out) => 0xFA,
                    (Some(Crc::Dropped), Direction::In) => 0xFB,
                    (_, Direction::Out) => 0xFE,
                    (_, Direction::In) => 0xFF,
                };
                let [high, low] = (data.len() as u16).to_be_bytes();
                let remark = (!speaks_for_itself(event, dir, data)).then(|| comment(event));
                self.blocks.packet(event.t, &[&[0, code, high, low], data], remark.as_deref())
            }
            Layer::Apdu if !self.frames => {
                let code = if dir == Direction::Out { 0xFA } else { 0xFB };
                let [high, low] = (data.len() as u16 + 1).to_be_bytes();
                self.blocks
                    .packet(event.t, &[&[0, code, high, low, 0x02], data], Some(&comment(event)))
            }
            Layer::Apdu => {
                losses.add("APDUs beside the frames that carry them");
                Ok(())
            }
            ref layer => {
                losses.add(&format!("events of layer {layer}"));
                Ok(())
            }
        }
    }
}

/// GSMTAP: UDP over IPv4 over Ethernet, a command with its answer in each packet.
pub(crate) struct Gsmtap<W> {
    blocks: Blocks<W>,
    pairs: Pairs,
    atr: Option<Vec<u8>>,
    tap: Option<u64>,
}

impl<W: Write> Gsmtap<W> {
    pub(crate) fn new(out: W, header: &Header) -> io::Result<Self> {
        Ok(Self {
            blocks: Blocks::new(out, header, 1)?,
            pairs: Pairs::default(),
            atr: header.atr.clone(),
            tap: None,
        })
    }

    fn send(&mut self, t: u64, kind: u8, message: &[&[u8]], remark: Option<&[u8]>) -> io::Result<()> {
        let length: usize = message.iter().map(|part| part.len()).sum();
        let udp = (8 + 16 + length) as u16;
        let mut head = vec![0; 12];
        head.extend_from_slice(&[0x08, 0x00]);
        let ip = head.len();
        head.extend_from_slice(&[0x45, 0]);
        head.extend_from_slice(&(20 + udp).to_be_bytes());
        head.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        let words = head[ip..].as_chunks::<2>().0.iter();
        let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
        let sum = !((sum & 0xFFFF) + (sum >> 16)) as u16;
        head[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
        head.extend_from_slice(&4729u16.to_be_bytes());
        head.extend_from_slice(&4729u16.to_be_bytes());
        head.extend_from_slice(&udp.to_be_bytes());
        // A checksum of zero: none.
        head.extend_from_slice(&[0, 0]);
        head.extend_from_slice(&[2, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, kind, 0, 0, 0]);
        let mut parts: Vec<&[u8]> = vec![&head];
        parts.extend_from_slice(message);
        self.blocks.packet(t, &parts, remark)
    }

    fn command(&mut self, command: &Event, answer: Option<&Event>, losses: &mut Losses) -> io::Result<()> {
        let bytes = command.data.as_deref().unwrap_or_default();
        let back = answer.and_then(|answer| answer.data.as_deref()).unwrap_or_default();
        if bytes.len() + back.len() > MAX_PACKET {
            losses.add("exchanges of more than 65,000 bytes");
            return Ok(());
        }
        super::event_losses(command, &["from"], losses);
        // Where the command ends and when the answer came; the mask and the like have no place.
        let mut told = Event::new(answer.map_or(command.t, |answer| answer.t), Layer::Apdu).with("command", &bytes.len());
        told.tap = command.tap;
        self.send(command.t, 0, &[bytes, back], Some(&comment(&told)))
    }
}

/// Whether our own importer made this of a packet with an ATR.
fn is_reset(event: &Event) -> bool {
    event.layer == Layer::Note && event.text.as_deref() == Some("reset") && event.extra.get("atr").is_some()
}

impl<W: Write> Exporter for Gsmtap<W> {
    fn own_apdus(&mut self) {
        self.pairs.own_apdus();
    }

    fn event(&mut self, event: &Event, losses: &mut Losses) -> io::Result<()> {
        if let Some(atr) = self.atr.take() {
            self.tap = event.tap;
            // A packet of its own, unless the tape has the reset that it stands for.
            let told = Event::new(event.t, Layer::Note).with("header", &true);
            let remark = (!is_reset(event)).then(|| comment(&told));
            self.send(event.t, 1, &[&atr], remark.as_deref())?;
        }
        match self.pairs.take(event, losses) {
            Found::Pair(command, answer) => {
                super::event_losses(&answer, &["from"], losses);
                self.command(&command, Some(&answer), losses)
            }
            Found::Lonely(command) => {
                losses.add("that a command was not answered");
                self.command(&command, None, losses)
            }
            // What our own importer makes of the packet with the ATR.
            Found::Note if is_reset(event) => {
                if self.tap != event.tap
                    && let Some(atr) = event.extra.text("atr").and_then(|atr| hex::decode(atr).ok())
                {
                    self.tap = event.tap;
                    return self.send(event.t, 1, &[&atr], None);
                }
                Ok(())
            }
            Found::Note => {
                losses.add("remarks");
                Ok(())
            }
            Found::Nothing => Ok(()),
        }
    }

    fn finish(&mut self, losses: &mut Losses) -> io::Result<()> {
        match self.pairs.last() {
            Some(command) => {
                losses.add("that a command was not answered");
                self.command(&command, None, losses)
            }
            None => Ok(()),
        }
    }
}
