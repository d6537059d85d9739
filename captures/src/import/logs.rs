//! Logs of whole exchanges: apdu4j and its dumps, pcscd, OpenSC.

use super::Out;
use super::lines::{Clock, LineFormat, Wrong, dumped, duration, hex_bytes, hex_line, shown, time_of_day};
use crate::event::{Direction, Event, Layer};

/// Commands and answers take turns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turns {
    waiting: bool,
}

impl Turns {
    pub(super) fn command(&mut self, t: u64, bytes: Vec<u8>, out: &mut Out) -> Result<(), Wrong> {
        if bytes.len() < 4 {
            return Err(Wrong::new(format!("a command of {} bytes", bytes.len())).expected("a command APDU, at least CLA INS P1 P2"));
        }
        self.waiting = true;
        out.bytes(t, Layer::Apdu, Direction::Out, bytes);
        Ok(())
    }

    pub(super) fn answer(&mut self, t: u64, bytes: Vec<u8>, out: &mut Out) -> Result<(), Wrong> {
        if !self.waiting {
            return Err(Wrong::new("an answer to which there is no command").expected("the command before it"));
        }
        if bytes.len() < 2 {
            return Err(Wrong::new(format!("an answer of {} bytes", bytes.len())).expected("data and status word"));
        }
        self.waiting = false;
        out.bytes(t, Layer::Apdu, Direction::In, bytes);
        Ok(())
    }

    fn failure(&mut self, t: u64, text: &str, out: &mut Out) -> Result<(), Wrong> {
        if !self.waiting {
            return Err(Wrong::new("a failure of which there is no command").expected("the command before it"));
        }
        self.waiting = false;
        out.push(Event::new(t, Layer::Note).text(text).with("error", &"other").with("at", &"apdu"));
        Ok(())
    }
}

/// The header's remark on how far times can be trusted.
pub(super) fn clock(out: &mut Out, what: &str) {
    // A text can always be said in JSON.
    let _ = out.header.extra.insert("clock", &what);
}

fn protocol(out: &mut Out, what: &str) {
    let _ = out.header.extra.insert("protocol", &what);
}

/// apdu4j and GlobalPlatformPro, from 2014 on.
#[derive(Default)]
pub(crate) struct Apdu4j {
    turns: Turns,
    t: u64,
    begun: bool,
}

impl Apdu4j {
    fn connect(&mut self, rest: &str, out: &mut Out) {
        // SCardConnect("NAME", T=*) -> T=1, ATR
        let Some((name, rest)) = rest.split_once('"') else {
            return;
        };
        out.next_tap();
        self.turns = Turns::default();
        out.header.reader.get_or_insert_with(|| name.to_owned());
        let Some((_, answer)) = rest.split_once("-> ") else {
            return;
        };
        match answer.split_once(", ") {
            Some((kind, atr)) => {
                protocol(out, kind);
                if let Some(atr) = hex_bytes(atr.as_bytes()) {
                    out.header.atr.get_or_insert(atr);
                }
            }
            None if answer.starts_with("T=") => protocol(out, answer.trim()),
            None => out.note(self.t, format!("SCardConnect: {}", answer.trim())),
        }
    }
}

impl LineFormat for Apdu4j {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        if !std::mem::replace(&mut self.begun, true) {
            clock(out, "durations");
        }
        let line = line.trim();
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(rest) = line.strip_prefix("SCardConnect(\"") {
            self.connect(rest, out);
            return Ok(());
        }
        let Some((dir, rest)) = marked(line) else {
            return Ok(());
        };
        let mut hex = String::with_capacity(rest.len());
        let (mut length, mut time, mut words) = (None, None, false);
        for token in rest.split_whitespace() {
            if let Some(inner) = token.strip_prefix('(').and_then(|token| token.strip_suffix(')')) {
                match duration(inner) {
                    Some(duration) => time = Some(duration),
                    None => length = length.or_else(|| announced(inner)),
                }
            } else if token.starts_with("T=") || token.starts_with('#') {
                // The protocol, or the channel.
            } else if !words && hex_bytes(token.as_bytes()).is_some() {
                hex.push_str(token);
            } else if token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Wrong::new(format!(
                    "an odd number of hexadecimal digits in \"{}\"",
                    shown(token.as_bytes())
                )));
            } else {
                words = true;
            }
        }
        self.t = self.t.saturating_add(time.unwrap_or(0));
        if hex.is_empty() || words {
            return match dir {
                Direction::In => self.turns.failure(self.t, rest.trim(), out),
                Direction::Out => Err(Wrong::new("a command without bytes")),
            };
        }
        let bytes = hex_line(&hex)?;
        if let Some((most, least)) = length
            && (bytes.len() < least || bytes.len() > most)
        {
            return Err(Wrong::new(format!("{} bytes", bytes.len())).expected(format!("{least} as the line announces")));
        }
        match dir {
            Direction::Out => self.turns.command(self.t, bytes, out),
            Direction::In => self.turns.answer(self.t, bytes, out),
        }
    }
}

/// The direction of `A>> ..`, `B<< ..`, `>> ..`, and what follows the mark.
fn marked(line: &str) -> Option<(Direction, &str)> {
    let (at, dir) = match (line.find(">> "), line.find("<< ")) {
        (Some(out), Some(back)) if back < out => (back, Direction::In),
        (Some(out), _) => (out, Direction::Out),
        (None, Some(back)) => (back, Direction::In),
        (None, None) => return None,
    };
    let before = line[..at].rsplit(' ').next().unwrap_or_default();
    let before = before.strip_prefix(['A', 'B']).unwrap_or(before);
    let channel = before.strip_prefix('#').unwrap_or(before);
    channel.bytes().all(|byte| byte.is_ascii_digit()).then(|| (dir, &line[at + 3..]))
}

/// `4+0008`, `0018+2` or `13`: the most and the fewest bytes there can be.
fn announced(text: &str) -> Option<(usize, usize)> {
    match text.split_once('+') {
        Some(("4", data)) => {
            let data: usize = data.parse().ok()?;
            // Header and data, with lengths between and behind or not.
            Some((data.checked_add(10)?, data.checked_add(4)?))
        }
        Some((data, "2")) => data.parse::<usize>().ok()?.checked_add(2).map(|all| (all, all)),
        Some(_) => None,
        None => text.parse().ok().map(|all| (all, all)),
    }
}

/// apdu4j's dump.
#[derive(Default)]
pub(crate) struct Dump {
    turns: Turns,
    t: u64,
    begun: bool,
}

impl LineFormat for Dump {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        if !std::mem::replace(&mut self.begun, true) {
            clock(out, "durations");
        }
        let line = line.trim();
        if line.is_empty() {
            return Ok(());
        }
        let Some(remark) = line.strip_prefix('#') else {
            let bytes = hex_line(line)?;
            return match self.turns.waiting {
                true => self.turns.answer(self.t, bytes, out),
                false => self.turns.command(self.t, bytes, out),
            };
        };
        let remark = remark.trim();
        if let Some(atr) = remark.strip_prefix("ATR:") {
            out.header.atr = Some(hex_line(atr).map_err(|wrong| wrong.expected("the ATR in hexadecimal"))?);
        } else if let Some(kind) = remark.strip_prefix("PROTOCOL:") {
            protocol(out, kind.trim());
        } else if let Some(name) = remark.strip_prefix("Using ") {
            out.header.reader = Some(name.to_owned());
        } else if let Some((when, tool)) = remark.strip_prefix("Generated on ").and_then(|rest| rest.split_once(" by ")) {
            out.header.tool = Some(tool.to_owned());
            if let Ok(when) = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(when) {
                out.header.created = Some(when.to_string());
            }
        } else if let Some(time) = remark.strip_prefix("Received in ").and_then(duration) {
            self.t = self.t.saturating_add(time);
        } else if !matches!(remark, "" | "Sent" | "Received") {
            out.note(self.t, remark);
        }
        Ok(())
    }

    fn end(&mut self, _out: &mut Out) -> Result<(), Wrong> {
        match self.turns.waiting {
            true => Err(Wrong::new("the file ends behind a command").expected("its answer in hexadecimal")),
            false => Ok(()),
        }
    }
}

/// pcscd with `--apdu`.
#[derive(Default)]
pub(crate) struct Pcscd {
    turns: Turns,
    t: u64,
}

/// A line of pcscd without what a system's journal puts before it: `Nov 29 10:00:30 desk pcscd[712]: `.
pub(crate) fn after_unit(line: &str) -> &str {
    let unit = line.split_once("pcscd[").and_then(|(_, rest)| rest.split_once("]: "));
    match unit {
        Some((process, rest)) if process.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => line,
    }
}

/// A line of pcscd behind its time, without the thread.
pub(crate) fn after_thread(rest: &[u8]) -> &[u8] {
    match rest.strip_prefix(b"[") {
        Some(thread) => match thread.iter().position(|byte| *byte == b']') {
            Some(end) => thread[end + 1..].trim_ascii_start(),
            None => rest,
        },
        None => rest,
    }
}

impl LineFormat for Pcscd {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        let Some((time, rest)) = after_unit(line).split_once(' ') else {
            return Ok(());
        };
        if time.len() < 8 || !time.bytes().all(|byte| byte.is_ascii_digit()) {
            // A line that a reader's driver printed by itself.
            return Ok(());
        }
        let microseconds: u64 = time.parse().unwrap_or(0);
        self.t = self.t.saturating_add(microseconds.saturating_mul(1000));
        let rest = std::str::from_utf8(after_thread(rest.as_bytes())).unwrap_or(rest);
        if let Some(hex) = rest.strip_prefix("APDU: ") {
            return self.turns.command(self.t, hex_line(hex)?, out);
        }
        if let Some(hex) = rest.strip_prefix("SW:") {
            // The whole answer stands here, and nothing when the card did not answer.
            return match hex.trim().is_empty() {
                true => self.turns.failure(self.t, "the card did not answer", out),
                false => self.turns.answer(self.t, hex_line(hex)?, out),
            };
        }
        if let Some((_, name)) = rest.split_once("Attempting Connect to ") {
            let name = name.split(" using protocol").next().unwrap_or(name);
            out.header.reader.get_or_insert_with(|| name.to_owned());
        } else if let Some((_, atr)) = rest.split_once("Card ATR: ") {
            if let Some(atr) = hex_bytes(atr.as_bytes()) {
                out.header.atr.get_or_insert(atr);
            }
        } else if rest.contains("Card inserted") {
            out.next_tap();
        }
        Ok(())
    }
}

/// OpenSC's debug log.
#[derive(Default)]
pub(crate) struct OpenSc {
    turns: Turns,
    clock: Clock,
    t: u64,
    /// Bytes that are being read: which way, how many there should be.
    dump: Option<(Direction, usize, Vec<u8>)>,
}

impl OpenSc {
    /// `Outgoing APDU (5 bytes):` or `Incoming APDU data [    5 bytes] ====`.
    fn heading(line: &str) -> Option<(Direction, usize)> {
        let (dir, rest) = match (line.split_once("Outgoing APDU"), line.split_once("Incoming APDU")) {
            (Some((_, rest)), _) => (Direction::Out, rest),
            (_, Some((_, rest))) => (Direction::In, rest),
            _ => return None,
        };
        let rest = rest.trim_start_matches(" data").trim_start().strip_prefix(['(', '['])?;
        let (number, _) = rest.split_once(" byte")?;
        Some((dir, number.trim().parse().ok()?))
    }

    fn finish(&mut self, out: &mut Out) -> Result<(), Wrong> {
        match self.dump.take() {
            Some((Direction::Out, _, bytes)) => self.turns.command(self.t, bytes, out),
            Some((Direction::In, _, bytes)) => self.turns.answer(self.t, bytes, out),
            None => Ok(()),
        }
    }

    fn short(&self) -> Result<(), Wrong> {
        match &self.dump {
            Some((_, length, bytes)) => {
                Err(Wrong::new(format!("the bytes end after {} of {length}", bytes.len())).expected("rows of 16 bytes in hexadecimal"))
            }
            None => Ok(()),
        }
    }
}

impl LineFormat for OpenSc {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        if let Some((_, length, bytes)) = &mut self.dump {
            let want = (*length - bytes.len()).min(16);
            let row = dumped(line.trim_start(), want);
            if row.len() == want {
                bytes.extend_from_slice(&row);
                return if bytes.len() == *length { self.finish(out) } else { Ok(()) };
            }
            return self.short();
        }
        if let Some((dir, length)) = Self::heading(line) {
            if length > 1 << 17 {
                return Err(Wrong::new(format!("an APDU of {length} bytes")).expected("at most 65,544"));
            }
            self.dump = Some((dir, length, Vec::new()));
            return if length == 0 { self.finish(out) } else { Ok(()) };
        }
        let time = line.split_whitespace().take(5).find_map(time_of_day);
        if let Some(time) = time {
            self.t = self.clock.at(time);
        }
        if out.header.reader.is_none()
            && let Some((_, name)) = line.split_once("pcsc_transmit: reader '")
        {
            out.header.reader = Some(name.trim_end().trim_end_matches('\'').to_owned());
        }
        Ok(())
    }

    fn end(&mut self, _out: &mut Out) -> Result<(), Wrong> {
        self.short()
    }
}

/// opensc-tool and opensc-explorer.
#[derive(Default)]
pub(crate) struct OpenScTool {
    turns: Turns,
    begun: bool,
    /// The answer's data so far, and its status word.
    answer: Option<(Vec<u8>, [u8; 2])>,
}

impl OpenScTool {
    fn finish(&mut self, out: &mut Out) -> Result<(), Wrong> {
        match self.answer.take() {
            Some((mut data, sw)) => {
                data.extend_from_slice(&sw);
                self.turns.answer(0, data, out)
            }
            None => Ok(()),
        }
    }

    /// The bytes of `41 42 AB`: so many as there are characters behind them.
    fn row(line: &str) -> Vec<u8> {
        let padded = line.contains("   ");
        match line.len() {
            length if !padded && length % 4 == 0 => dumped(line, length / 4),
            length if length > 48 => dumped(line.get(..48).unwrap_or(line), 16),
            length => dumped(line, length.div_ceil(4)),
        }
    }
}

impl LineFormat for OpenScTool {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        if !std::mem::replace(&mut self.begun, true) {
            clock(out, "none");
        }
        if let Some(name) = line.strip_prefix("Using reader with a card: ") {
            out.header.reader.get_or_insert_with(|| name.trim().to_owned());
        }
        if let Some(hex) = line.strip_prefix("Sending: ") {
            self.finish(out)?;
            return self.turns.command(0, hex_line(hex)?, out);
        }
        if let Some(rest) = line.strip_prefix("Received (SW1=0x") {
            self.finish(out)?;
            let sw = rest.get(..2).zip(rest.split_once("SW2=0x").and_then(|(_, rest)| rest.get(..2)));
            let sw = sw.and_then(|(sw1, sw2)| <[u8; 2]>::try_from(hex_bytes([sw1, sw2].concat().as_bytes())?).ok());
            let sw = sw.ok_or_else(|| Wrong::new(format!("\"{}\"", shown(line.as_bytes()))).expected("Received (SW1=0x90, SW2=0x00)"))?;
            self.answer = Some((Vec::new(), sw));
            return if line.trim_end().ends_with(':') { Ok(()) } else { self.finish(out) };
        }
        if let Some((data, _)) = &mut self.answer {
            let row = Self::row(line.trim_end());
            if row.is_empty() || data.len() + row.len() > 1 << 17 {
                return self.finish(out);
            }
            data.extend_from_slice(&row);
            return Ok(());
        }
        if line.starts_with("APDU transmit failed") {
            return self.turns.failure(0, line, out);
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Out) -> Result<(), Wrong> {
        self.finish(out)
    }
}
