//! Proxmark3's trace.

use std::io::{self, Write};

use super::{Exporter, Losses, event_losses, header_losses};
use crate::event::{Crc, Direction, Event, Layer};
use crate::header::Header;
use crate::import::proxmark::{nanoseconds, parity_length, periods};
use crate::rf::{air_time, crc};

pub(crate) struct Trace<W> {
    out: W,
    frames: bool,
    /// The block number of the blocks that are made up.
    number: u8,
    type_b: bool,
}

impl<W: Write> Trace<W> {
    pub(crate) fn new(out: W, header: &Header, losses: &mut Losses) -> Self {
        header_losses(header, &[], losses);
        Self {
            out,
            frames: false,
            number: 0,
            type_b: false,
        }
    }

    fn record(&mut self, event: &Event, data: &[u8], dir: Direction, losses: &mut Losses) -> io::Result<()> {
        let Ok(length) = u16::try_from(data.len()) else {
            losses.add("frames of more than 32,767 bytes");
            return Ok(());
        };
        if length > 0x7FFF {
            losses.add("frames of more than 32,767 bytes");
            return Ok(());
        }
        let start = periods(event.t);
        if nanoseconds(start) != event.t {
            losses.add("times finer than 1/13.56 MHz");
        }
        if start > u64::from(u32::MAX) {
            losses.add("times beyond 316 s, which begin again at 0 (a reader of the trace can count on)");
        }
        let duration = event.extra.get("duration").and_then(|text| text.parse::<u64>().ok());
        let duration = u16::try_from(periods(duration.unwrap_or_else(|| air_time(data.len(), 106)))).unwrap_or(u16::MAX);
        let response = if dir == Direction::In { 0x8000 } else { 0 };
        self.out.write_all(&(start as u32).to_le_bytes())?;
        self.out.write_all(&duration.to_le_bytes())?;
        self.out.write_all(&(length | response).to_le_bytes())?;
        self.out.write_all(data)?;
        let mut parity = vec![0; parity_length(data.len())];
        for (n, byte) in data.iter().enumerate() {
            // Odd parity.
            parity[n / 8] |= u8::from(byte.count_ones() % 2 == 0) << (7 - n % 8);
        }
        match &event.parity {
            Some(known) if known.len() == parity.len() => self.out.write_all(known),
            _ => self.out.write_all(&parity),
        }
    }
}

impl<W: Write> Exporter for Trace<W> {
    fn event(&mut self, event: &Event, losses: &mut Losses) -> io::Result<()> {
        let (Some(dir), Some(data)) = (event.dir, &event.data) else {
            losses.add(&format!("events of layer {} without bytes", event.layer));
            return Ok(());
        };
        match event.layer {
            Layer::Rf => {
                self.frames = true;
                event_losses(event, &["duration", "tech"], losses);
                if event.tap.is_some() {
                    losses.add("numbers of taps");
                }
                self.type_b |= matches!((dir, data.as_slice()), (Direction::Out, [0x05, _, _, ..] | [0x1D, ..]));
                if event.crc != Some(Crc::Dropped) {
                    return self.record(event, data, dir, losses);
                }
                losses.add("that the CRC was not seen: it is calculated");
                let check = if self.type_b { crc::b(data) } else { crc::a(data) };
                self.record(event, &[data, &check[..]].concat(), dir, losses)
            }
            Layer::Apdu if !self.frames => {
                losses.add("that there are no frames on the tape: each APDU stands in an I-block that is made up");
                let block = [&[0x02 | self.number], data.as_slice()].concat();
                if dir == Direction::In {
                    self.number ^= 1;
                }
                let check = crc::a(&block);
                self.record(event, &[&block[..], &check[..]].concat(), dir, losses)
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
