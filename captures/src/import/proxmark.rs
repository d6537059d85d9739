//! Proxmark3: the binary trace, and the listing that its client prints of it.
//!
//! A record of a trace is, in little endian, `u32` start in 1/13.56 MHz, `u16` duration in the same, `u16` length with the direction
//! in its highest bit, the bytes, and one parity bit a byte.

use std::io::{self, BufRead, Read};

use super::lines::{LineFormat, Wrong, shown};
use super::{Importer, Out, at, binary};
use crate::event::{Crc, Direction, Event, Layer};
use crate::read::{Problem, ReadError};
use crate::rf::crc;

/// Most bytes of a frame that is believed: the longest frame of ISO-DEP has 4096.
const MAX_FRAME: usize = 8192;

/// Carrier periods as nanoseconds. Every period has a nanosecond of its own, so the way back is exact.
#[must_use]
pub const fn nanoseconds(periods: u64) -> u64 {
    // 1e9 / 13.56e6 = 25000 / 339, rounded to the nearest; in 128 bits, since this may count for centuries.
    ((periods as u128 * 25_000 + 169) / 339) as u64
}

/// Nanoseconds as carrier periods, rounded to the nearest.
#[must_use]
pub const fn periods(nanoseconds: u64) -> u64 {
    ((nanoseconds as u128 * 339 + 12_500) / 25_000) as u64
}

/// Bytes of parity behind so many bytes of a frame. The client counts one where there is no frame, too.
pub(crate) const fn parity_length(bytes: usize) -> usize {
    if bytes == 0 { 1 } else { bytes.div_ceil(8) }
}

/// Whether the first bytes of a file can be records of a trace: every one of a frame's length, and each later than the one before.
pub(crate) fn looks_like_a_trace(prefix: &[u8]) -> bool {
    let mut rest = prefix;
    let (mut records, mut last, mut any) = (0, None, false);
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let time = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let length = usize::from(u16::from_le_bytes([head[6], head[7]]) & 0x7FFF);
        let whole = length + parity_length(length);
        any |= length > 0;
        // A trace of type A is in order but for the end of a frame that the next one overtakes, and the counter that runs over.
        let backwards = last.is_some_and(|last: u32| time.wrapping_sub(last) > 1 << 31 && last.wrapping_sub(time) > 1 << 24);
        if length > 1024 || backwards {
            return false;
        }
        last = Some(time);
        records += 1;
        match tail.get(whole..) {
            Some(next) => rest = next,
            // The last record of what is looked at, or of a trace that was cut off.
            None => return any,
        }
        if records > 200 {
            return any;
        }
    }
    any || records == 0 && (1..8).contains(&prefix.len())
}

/// A binary trace.
pub(crate) struct Trace<R> {
    input: R,
    offset: u64,
    last: u32,
    /// What was added to times because the 32-bit counter ran over.
    turns: u64,
    any: bool,
}

impl<R: BufRead> Trace<R> {
    pub(crate) const fn new(input: R) -> Self {
        Self {
            input,
            offset: 0,
            last: 0,
            turns: 0,
            any: false,
        }
    }

    /// Reads so many bytes, or as many as there are.
    fn read(&mut self, length: usize, into: &mut Vec<u8>) -> Result<usize, ReadError> {
        let offset = self.offset;
        let read = self.input.by_ref().take(length as u64).read_to_end(into);
        let read = read.map_err(|error: io::Error| at(0, 0, offset, Problem::Io(error)))?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> Importer for Trace<R> {
    fn more(&mut self, out: &mut Out) -> Result<bool, ReadError> {
        let start = self.offset;
        let mut head = Vec::with_capacity(8);
        match self.read(8, &mut head)? {
            0 if self.any => return Ok(false),
            0 => return Err(binary(0, "the file is empty", super::Format::Pm3Trace.expected())),
            _ => {}
        }
        let Ok(head) = <[u8; 8]>::try_from(head.as_slice()) else {
            return Err(binary(
                start,
                format!("the file ends {} bytes into a record", head.len()),
                "the 8 bytes of its head",
            ));
        };
        self.any = true;
        let time = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let duration = u16::from_le_bytes([head[4], head[5]]);
        let length = u16::from_le_bytes([head[6], head[7]]);
        let dir = if length & 0x8000 == 0 { Direction::Out } else { Direction::In };
        let length = usize::from(length & 0x7FFF);
        if length > MAX_FRAME {
            return Err(binary(
                start + 6,
                format!("a frame of {length} bytes"),
                format!("at most {MAX_FRAME}"),
            ));
        }
        // The counter has 32 bits: five minutes. A little back is no turn.
        if self.last > time && self.last - time > 1 << 31 {
            self.turns += 1 << 32;
        }
        self.last = time;
        let whole = length + parity_length(length);
        let mut data = Vec::with_capacity(whole);
        if self.read(whole, &mut data)? < whole {
            let found = format!("the file ends {} bytes into a frame", data.len());
            return Err(binary(start + 8, found, format!("{length} bytes and {} of parity", whole - length)));
        }
        let parity = data.split_off(length);
        let mut event = Event::new(nanoseconds(self.turns + u64::from(time)), Layer::Rf).bytes(dir, data);
        let data = event.data.as_deref().unwrap_or_default();
        event.bits = short(dir, data);
        event.crc = Some(crc::state(data));
        event.parity = (length > 0).then_some(parity);
        out.push(event.with("duration", &nanoseconds(duration.into())));
        Ok(true)
    }
}

/// REQA and WUPA have seven bits; the trace does not say so.
fn short(dir: Direction, data: &[u8]) -> Option<u32> {
    matches!((dir, data), (Direction::Out, [0x26 | 0x52 | 0x35 | 0x40 | 0x43])).then_some(7)
}

/// What `trace list` prints.
#[derive(Default)]
pub(crate) struct Listing {
    state: State,
    frame: Option<Frame>,
    /// Times are gaps and durations.
    relative: bool,
    /// Times are microseconds and not carrier periods.
    microseconds: bool,
    end: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the table.
    #[default]
    Before,
    Table,
}

/// A frame whose rows are being read.
struct Frame {
    start: u64,
    end: u64,
    dir: Direction,
    data: Vec<u8>,
    /// Whether each byte's parity is right.
    wrong: Vec<bool>,
    bits: Option<u32>,
    crc: Option<bool>,
    text: String,
}

impl Listing {
    /// Bytes and their meaning in a row of their own, as a remark on the frame.
    fn deciphered(&mut self, data: &str, text: &str) {
        if let Some(frame) = &mut self.frame
            && frame.text.len() < 1 << 12
        {
            let text = format!("deciphered: {data} {text}");
            frame.text.push_str(if frame.text.is_empty() { "" } else { "; " });
            frame.text.push_str(text.trim_end_matches(['|', ' ']));
        }
    }

    fn finish(&mut self, out: &mut Out) {
        let Some(frame) = self.frame.take() else {
            return;
        };
        let mut event = Event::new(nanoseconds(frame.start), Layer::Rf).bytes(frame.dir, frame.data);
        let data = event.data.as_deref().unwrap_or_default();
        event.bits = frame.bits.or_else(|| short(frame.dir, data));
        event.crc = Some(match frame.crc {
            Some(true) => Crc::Ok,
            Some(false) => Crc::Bad,
            None => crc::state(data),
        });
        if frame.wrong.contains(&true) {
            let mut parity = vec![0; data.len().div_ceil(8)];
            for (n, (byte, wrong)) in data.iter().zip(&frame.wrong).enumerate() {
                // Odd parity, and the other bit where it was wrong.
                let bit = (byte.count_ones() % 2 == 0) != *wrong;
                parity[n / 8] |= u8::from(bit) << (7 - n % 8);
            }
            event.parity = Some(parity);
        }
        if !frame.text.is_empty() {
            event.text = Some(frame.text);
        }
        let duration = nanoseconds(frame.end).saturating_sub(nanoseconds(frame.start));
        out.push(event.with("duration", &duration));
    }

    fn row(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        let mut columns = line.splitn(6, '|').map(str::trim);
        let mut next = || columns.next().unwrap_or_default();
        let (start, end, source, data, sum, text) = (next(), next(), next(), next(), next(), next());
        let dir = match source {
            "Rdr" => Some(Direction::Out),
            "Tag" => Some(Direction::In),
            "" => None,
            // What the client has deciphered of the frame above it.
            "*" => {
                self.deciphered(data, text);
                return Ok(());
            }
            other => return Err(Wrong::new(format!("\"{}\" as the source", shown(other.as_bytes()))).expected("Rdr or Tag")),
        };
        match dir {
            Some(dir) => {
                self.finish(out);
                let number = |text: &str| {
                    periods_of(text, self.microseconds).ok_or_else(|| {
                        Wrong::new(format!("\"{}\" as a time", shown(text.as_bytes()))).expected("a number of carrier periods")
                    })
                };
                let (mut start, mut end) = (number(start)?, number(end)?);
                if self.relative {
                    start = start.saturating_add(self.end);
                    end = end.saturating_add(start);
                }
                self.end = end;
                self.frame = Some(Frame {
                    start,
                    end,
                    dir,
                    data: Vec::new(),
                    wrong: Vec::new(),
                    bits: None,
                    crc: None,
                    text: String::new(),
                });
            }
            // A frame delay between two frames, or a remark.
            None if data.is_empty() || data.starts_with("fdt") || data.starts_with("Frame Delay") => return Ok(()),
            None => {}
        }
        let Some(frame) = &mut self.frame else {
            return Err(Wrong::new("data of a frame that has not begun").expected("a row with START | END | Rdr or Tag"));
        };
        // Mifare keys and the like stand in rows of their own, which are no bytes.
        if dir.is_none() && !data.split_whitespace().all(|word| byte(word).is_some()) {
            return Ok(());
        }
        for word in data.split_whitespace() {
            let (value, wrong, bits) = byte(word)
                .ok_or_else(|| Wrong::new(format!("\"{}\"", shown(word.as_bytes()))).expected("a byte as two hexadecimal digits"))?;
            if frame.data.len() >= MAX_FRAME {
                return Err(Wrong::new("a frame that does not end").expected(format!("at most {MAX_FRAME} bytes")));
            }
            frame.data.push(value);
            frame.wrong.push(wrong);
            if let Some(bits) = bits {
                frame.bits = Some(8 * (frame.data.len() as u32 - 1) + bits);
            }
        }
        match sum {
            "ok" => frame.crc = Some(true),
            "!!" | "!crc" => frame.crc = Some(false),
            _ => {}
        }
        if !text.is_empty() {
            if !frame.text.is_empty() {
                frame.text.push(' ');
            }
            frame.text.push_str(text.trim_end_matches('|').trim());
        }
        Ok(())
    }
}

/// A time as carrier periods. Some clients write times before the first one with a sign: those are 0.
fn periods_of(text: &str, microseconds: bool) -> Option<u64> {
    if microseconds || text.contains('.') {
        let time: f64 = text.parse().ok()?;
        return (time.abs() < 1e15).then_some((time.max(0.0) * 13.56).round() as u64);
    }
    text.parse::<i64>().ok().map(|time| time.max(0).unsigned_abs())
}

/// `26`, `26(7)`, `4d!`, `04'`: a byte, whether its parity is wrong, and how many bits of it there are.
fn byte(word: &str) -> Option<(u8, bool, Option<u32>)> {
    let value = u8::from_str_radix(word.get(..2)?, 16).ok()?;
    if !word.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut rest = &word[2..];
    let mut wrong = false;
    if let Some(after) = rest.strip_prefix('!') {
        (wrong, rest) = (true, after);
    }
    rest = rest.trim_end_matches('\'');
    let bits = match rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(bits) => Some(bits.parse().ok().filter(|bits| (1..8).contains(bits))?),
        None if rest.is_empty() => None,
        None => return None,
    };
    Some((value, wrong, bits))
}

impl LineFormat for Listing {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        let line = line.trim_end();
        if line.contains("| Src |") {
            self.finish(out);
            self.relative = line.trim_start().starts_with("Gap");
            self.state = State::Table;
            return Ok(());
        }
        if line.contains("all times are in") {
            self.microseconds = line.contains("microseconds");
        }
        // Rows without the heading.
        if self.state == State::Before && (line.contains("| Rdr |") || line.contains("| Tag |")) {
            self.state = State::Table;
        }
        if self.state == State::Before || line.trim().is_empty() || line.trim_start().starts_with("---") {
            return Ok(());
        }
        match line.matches('|').count() {
            4.. => self.row(line, out),
            3 if line.contains("|Frame Delay Time") => Ok(()),
            // The client's own lines begin with a mark in brackets or a prompt.
            _ if line.starts_with('[') || line.contains("pm3 -->") => {
                self.finish(out);
                self.state = State::Before;
                Ok(())
            }
            _ => Err(Wrong::new(format!("\"{}\"", shown(line.as_bytes())))),
        }
    }

    fn end(&mut self, out: &mut Out) -> Result<(), Wrong> {
        self.finish(out);
        match self.state {
            State::Before if out.events.is_empty() && out.tap.is_none() && self.end == 0 => {
                Err(Wrong::new("the file ends before the table").expected("its heading, Start | End | Src | Data ..."))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_and_nanoseconds_go_both_ways() {
        for n in (0..5_000_000).step_by(37).chain([u64::from(u32::MAX), 1 << 40]) {
            assert_eq!(periods(nanoseconds(n)), n);
        }
    }

    #[test]
    fn bytes_of_a_listing() {
        assert_eq!(byte("26(7)"), Some((0x26, false, Some(7))));
        assert_eq!(byte("4d!"), Some((0x4D, true, None)));
        assert_eq!(byte("4d!(4)"), Some((0x4D, true, Some(4))));
        assert_eq!(byte("+5"), None);
        assert_eq!(byte("4"), None);
        assert_eq!(byte("4é"), None);
    }
}
