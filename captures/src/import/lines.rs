//! Text formats: lines with a bound, their numbers and offsets, hexadecimal digits, times, and the marks by which a format is known.

use std::borrow::Cow;
use std::io::{self, BufRead};

use super::format::is_control;
use super::{Format, Importer, Out, at};
use crate::read::{MAX_LINE, Problem, ReadError};

/// What is wrong with a line.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// Which byte of the line, from 0.
    pub(crate) column: usize,
    pub(crate) found: String,
    /// What should stand there; the format's own line if empty.
    pub(crate) expected: String,
}

impl Wrong {
    pub(crate) fn new(found: impl Into<String>) -> Self {
        Self {
            column: 0,
            found: found.into(),
            expected: String::new(),
        }
    }

    pub(crate) fn expected(mut self, what: impl Into<String>) -> Self {
        self.expected = what.into();
        self
    }
}

/// Reads a text format, line by line.
pub(crate) trait LineFormat {
    /// Takes a line without its line break.
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong>;

    /// The file has ended.
    fn end(&mut self, _out: &mut Out) -> Result<(), Wrong> {
        Ok(())
    }
}

/// A text file.
pub(crate) struct Text<R, F> {
    input: R,
    format: Format,
    lines: F,
    buffer: Vec<u8>,
    line: u64,
    offset: u64,
    next: u64,
}

impl<R: BufRead, F: LineFormat> Text<R, F> {
    pub(crate) const fn new(input: R, format: Format, lines: F) -> Self {
        Self {
            input,
            format,
            lines,
            buffer: Vec::new(),
            line: 0,
            offset: 0,
            next: 0,
        }
    }

    fn error(&self, wrong: Wrong) -> ReadError {
        let expected = if wrong.expected.is_empty() {
            self.format.expected().to_owned()
        } else {
            wrong.expected
        };
        let problem = Problem::Foreign {
            found: wrong.found,
            expected,
        };
        let column = wrong.column as u64;
        at(self.line.max(1), column + 1, self.offset + column, problem)
    }

    /// Reads the next line; `false` at the end of the file.
    fn read(&mut self) -> Result<bool, ReadError> {
        self.buffer.clear();
        self.offset = self.next;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(at(self.line + 1, 1, self.offset, Problem::Io(error))),
            };
            if chunk.is_empty() {
                let any = self.next > self.offset;
                self.line += u64::from(any);
                return Ok(any);
            }
            let line_break = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..line_break.unwrap_or(chunk.len())];
            if self.buffer.len() + part.len() > MAX_LINE {
                self.line += 1;
                let wrong = Wrong::new(format!("the line is longer than {MAX_LINE} bytes"));
                return Err(self.error(wrong));
            }
            self.buffer.extend_from_slice(part);
            let used = part.len() + usize::from(line_break.is_some());
            self.input.consume(used);
            self.next += used as u64;
            if line_break.is_some() {
                self.line += 1;
                return Ok(true);
            }
        }
    }
}

impl<R: BufRead, F: LineFormat> Importer for Text<R, F> {
    fn more(&mut self, out: &mut Out) -> Result<bool, ReadError> {
        if !self.read()? {
            if self.line == 0 {
                return Err(self.error(Wrong::new("the file is empty")));
            }
            self.lines.end(out).map_err(|wrong| self.error(wrong))?;
            return Ok(false);
        }
        if let Some(column) = self.buffer.iter().position(|byte| is_control(*byte)) {
            let mut wrong = Wrong::new(format!("the byte {:02x} is no text", self.buffer[column]));
            wrong.column = column;
            return Err(self.error(wrong));
        }
        let line = self.buffer.strip_suffix(b"\r").unwrap_or(&self.buffer);
        let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        let line = uncoloured(&String::from_utf8_lossy(line)).into_owned();
        // Two logs in one file: what belongs to the other one would be read as nothing.
        if let Some(found) = signature(line.as_bytes()).filter(|found| found.is_certain() && !self.format.holds(found.format())) {
            let wrong = Wrong::new(format!(
                "here begins what looks like {}: \"{}\"",
                found.format().name(),
                shown(line.as_bytes())
            ));
            let expected = format!("{} to the end; split the file", self.format.name());
            return Err(self.error(wrong.expected(expected)));
        }
        // A fence of Markdown.
        if line.starts_with("```") {
            return Ok(true);
        }
        let line = match self.format {
            // There the mark is an arrow.
            Format::Arrows => &line,
            _ => unquoted(&line),
        };
        self.lines.line(line, out).map_err(|wrong| self.error(wrong))?;
        Ok(true)
    }
}

impl Format {
    /// Whether lines of the other format are at home in a file of this one.
    const fn holds(self, other: Self) -> bool {
        matches!(
            (self, other),
            // What a program prints stands between its debug lines; `#` begins a remark almost everywhere.
            (Self::OpenSc, Self::OpenScTool) | (Self::OpenScTool, Self::OpenSc) | (Self::Dump | Self::Scriptor, Self::Apdu4j)
        ) || self as u8 == other as u8
    }
}

/// Without the marks of a quotation in an issue or a mail.
fn unquoted(mut line: &str) -> &str {
    while let Some(rest) = line.strip_prefix("> ") {
        line = rest;
    }
    line
}

/// Without the sequences that colour a terminal.
pub(crate) fn uncoloured(line: &str) -> Cow<'_, str> {
    if !line.contains('\u{1b}') {
        return Cow::Borrowed(line);
    }
    let mut parts = line.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // ESC [ parameters letter
        let rest = part.strip_prefix('[').unwrap_or(part);
        plain.push_str(
            rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
                .get(1..)
                .unwrap_or_default(),
        );
    }
    Cow::Owned(plain)
}

/// The beginning of a line, fit to be shown.
pub(crate) fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(160)]);
    let mut text: String = text.trim().chars().take(40).flat_map(char::escape_default).collect();
    if line.len() > 40 {
        text.push_str("..");
    }
    text
}

/// A line by which a format is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signature {
    /// No other format has such a line.
    Certain(Format),
    /// Another may.
    Likely(Format),
}

impl Signature {
    pub(crate) const fn is_certain(self) -> bool {
        matches!(self, Self::Certain(_))
    }

    pub(crate) const fn format(self) -> Format {
        match self {
            Self::Certain(format) | Self::Likely(format) => format,
        }
    }
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|window| window == word)
}

/// The format that a line shows, if it shows one.
pub(crate) fn signature(line: &[u8]) -> Option<Signature> {
    use Signature::{Certain, Likely};
    let line = &line[..line.len().min(400)];
    let line = line.trim_ascii();
    let whole = line;
    // Quoted in an issue or a mail.
    let line = line.strip_prefix(b"> ").unwrap_or(line);
    let begins = |word: &[u8]| line.starts_with(word);
    if begins(b"{\"tape\":") {
        return Some(Certain(Format::Tape));
    }
    if begins(b"\"frames\"") || begins(b"{\"frames\"") {
        return Some(Certain(Format::NfcLaboratory));
    }
    if contains(line, b"| Src | Data") {
        return Some(Certain(Format::Pm3Text));
    }
    if contains(line, b"NxpNciX") || contains(line, b"NxpNciR") || contains(line, b"StNfcHal: (#") {
        return Some(Certain(Format::Nci));
    }
    if contains(line, b"nfc.clf.transport") {
        return Some(Certain(Format::Nfcpy));
    }
    let levels = [&b"debug"[..], b"trace", b"error", b"info", b"unknown", b"unkown"];
    if contains(line, b"libnfc.") && levels.iter().any(|level| begins(level)) {
        return Some(Certain(Format::Libnfc));
    }
    // Up to libnfc 1.5 there is nothing before it.
    if let [b'T' | b'R', b'X', b':', rest @ ..] = line
        && hex_bytes(rest).is_some()
    {
        return Some(Likely(Format::Libnfc));
    }
    // Rows of a listing whose heading was left out.
    if contains(line, b"| Rdr |") || contains(line, b"| Tag |") {
        return Some(Likely(Format::Pm3Text));
    }
    if contains(line, b"Outgoing APDU") || contains(line, b"Incoming APDU") {
        return Some(Certain(Format::OpenSc));
    }
    if begins(b"Sending: ") || begins(b"Received (SW1=0x") {
        return Some(Certain(Format::OpenScTool));
    }
    if [&b"A>> "[..], b"A<< ", b"B>> ", b"B<< ", b"A>>#", b"B>>#", b"A#", b"SCardConnect(\""]
        .iter()
        .any(|mark| begins(mark))
    {
        return Some(Certain(Format::Apdu4j));
    }
    let daemon = std::str::from_utf8(line).map_or(line, |line| super::logs::after_unit(line).as_bytes());
    if let [_, _, _, _, _, _, _, _, b' ', rest @ ..] = daemon
        && daemon[..8].iter().all(u8::is_ascii_digit)
    {
        let rest = super::logs::after_thread(rest);
        if rest.starts_with(b"APDU: ") || rest.starts_with(b"SW: ") || rest == b"SW:" {
            return Some(Certain(Format::Pcscd));
        }
        return Some(Likely(Format::Pcscd));
    }
    if begins(b"P:") && contains(line, b"; T:0x") || begins(b"0x") && contains(line, b".c:") {
        return Some(Likely(Format::OpenSc));
    }
    if begins(b"-->") || begins(b"<--") {
        let bytes = hex_bytes(&line[3..]).is_some_and(|bytes| bytes.len() > 1);
        return Some(if bytes { Certain(Format::Arrows) } else { Likely(Format::Arrows) });
    }
    if (begins(b">> ") || begins(b"<< ")) && line.get(3).is_some_and(u8::is_ascii_hexdigit) {
        return Some(Likely(Format::Apdu4j));
    }
    // Here the mark is no quotation; scriptor has the meaning of a status word behind an answer.
    if let [b'<' | b'>', b' ', rest @ ..] = whole {
        let hex = rest.split(|byte| *byte == b':').next().unwrap_or_default();
        if hex_bytes(hex).is_some_and(|bytes| bytes.len() > 1) {
            return Some(Likely(Format::Arrows));
        }
    }
    if begins(b"Using T=") && line.ends_with(b" protocol") {
        return Some(Likely(Format::Arrows));
    }
    if let [b'<' | b'>', rest @ ..] = line
        && rest.len() > 3
        && hex_bytes(rest).is_some()
    {
        return Some(Likely(Format::Arrows));
    }
    None
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Bytes in hexadecimal digits, blanks and colons between them or not; nothing else.
pub(crate) fn hex_bytes(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for byte in text {
        match (digit(*byte), high) {
            (Some(value), None) => high = Some(value),
            (Some(value), Some(first)) => {
                bytes.push(first << 4 | value);
                high = None;
            }
            (None, None) if matches!(byte, b' ' | b'\t' | b':' | b'\r') => {}
            _ => return None,
        }
    }
    (high.is_none() && !bytes.is_empty()).then_some(bytes)
}

/// The same of a line, and what is wrong if it is not that.
pub(crate) fn hex_line(text: &str) -> Result<Vec<u8>, Wrong> {
    hex_bytes(text.as_bytes()).ok_or_else(|| {
        let text = text.trim();
        let what = match text
            .bytes()
            .position(|byte| digit(byte).is_none() && !matches!(byte, b' ' | b'\t' | b':'))
        {
            _ if text.is_empty() => "no bytes".to_owned(),
            Some(at) => format!(
                "\"{}\" is no hexadecimal digit",
                text[at..].chars().next().unwrap_or(' ').escape_default()
            ),
            None => format!("an odd number of hexadecimal digits in \"{}\"", shown(text.as_bytes())),
        };
        Wrong::new(what)
    })
}

/// Bytes as pairs of digits at the beginning of a text dump, up to what is not one: the column of characters behind it. At most `most`.
pub(crate) fn dumped(text: &str, most: usize) -> Vec<u8> {
    let pairs = text.split([' ', '\t']).filter(|word| !word.is_empty());
    let byte = |word: &str| match word.as_bytes() {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    pairs.map_while(byte).take(most).collect()
}

/// A time of day, `HH:MM:SS.fff`, in nanoseconds.
pub(crate) fn time_of_day(text: &str) -> Option<u64> {
    let mut parts = text.splitn(3, ':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let (seconds, fraction) = parts.next()?.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    // Some logs of OpenSC on macOS have rubbish in place of milliseconds.
    let fraction = match fraction.len() {
        1..=9 => fraction.parse::<u64>().ok()? * 10u64.pow(9 - fraction.len() as u32),
        _ => 0,
    };
    let seconds = hours
        .checked_mul(3600)?
        .checked_add(minutes.checked_mul(60)?)?
        .checked_add(seconds)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// Times of day as time since the first of them; they may pass midnight.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    first: Option<u64>,
    last: u64,
    days: u64,
}

const DAY: u64 = 86_400_000_000_000;

impl Clock {
    pub(crate) fn at(&mut self, time: u64) -> u64 {
        let first = *self.first.get_or_insert(time);
        // Lines of several threads step back a little; midnight steps back a day.
        if time.saturating_add(DAY / 2) < self.last {
            self.days += 1;
        }
        self.last = time;
        self.days.saturating_mul(DAY).saturating_add(time).saturating_sub(first)
    }
}

/// A duration as apdu4j prints it: `26ms`, `1s200ms`, `1.5s`, in nanoseconds.
pub(crate) fn duration(text: &str) -> Option<u64> {
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| (0.0..1e6).contains(n));
    let milliseconds = text.strip_suffix("ms")?;
    let total = match milliseconds.split_once('s') {
        Some((seconds, rest)) => number(seconds)? * 1000.0 + number(rest)?,
        None => number(milliseconds)?,
    };
    Some((total * 1e6) as u64)
}
