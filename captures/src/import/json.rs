//! JSON documents that hold a list of frames or events: nfc-laboratory's, and our own. The list is read element by element.

use std::io::{self, BufRead};

use serde::Deserialize;

use super::{Format, Importer, Out, at, binary};
use crate::event::{Crc, Direction, Event, Layer};
use crate::header::Header;
use crate::read::{MAX_LINE, Problem, ReadError};
use crate::rf::crc;

/// A document with a list of this format's elements.
pub(crate) struct Frames<R> {
    input: R,
    format: Format,
    offset: u64,
    state: State,
    elements: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the list.
    Head,
    /// In the list, before an element or behind a comma.
    List,
    /// Behind an element.
    Behind,
    /// Behind the list, in the object.
    Tail,
    End,
}

impl<R: BufRead> Frames<R> {
    pub(crate) const fn new(input: R, format: Format) -> Self {
        Self {
            input,
            format,
            offset: 0,
            state: State::Head,
            elements: 0,
        }
    }

    fn wrong(&self, found: impl Into<String>, expected: impl Into<String>) -> ReadError {
        binary(self.offset, found, expected)
    }

    fn peek(&mut self) -> Result<Option<u8>, ReadError> {
        loop {
            match self.input.fill_buf() {
                Ok(chunk) => return Ok(chunk.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(at(0, 0, self.offset, Problem::Io(error))),
            }
        }
    }

    fn skip(&mut self) {
        self.input.consume(1);
        self.offset += 1;
    }

    fn blanks(&mut self) -> Result<Option<u8>, ReadError> {
        loop {
            match self.peek()? {
                Some(byte) if byte.is_ascii_whitespace() => self.skip(),
                other => return Ok(other),
            }
        }
    }

    /// Reads one value, up to its closing brace, quote, or the mark behind it.
    fn value(&mut self) -> Result<Vec<u8>, ReadError> {
        let start = self.offset;
        let mut text = Vec::new();
        let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
        loop {
            let Some(byte) = self.peek()? else {
                return Err(binary(start, "the file ends within what begins here", self.format.expected()));
            };
            if !quoted && depth == 0 && !text.is_empty() && matches!(byte, b',' | b']' | b'}' | b':') {
                return Ok(text);
            }
            self.skip();
            text.push(byte);
            if text.len() > MAX_LINE {
                return Err(binary(
                    start,
                    format!("an element of more than {MAX_LINE} bytes"),
                    self.format.expected(),
                ));
            }
            match (quoted, byte) {
                (true, _) if escaped => escaped = false,
                (true, b'\\') => escaped = true,
                (true, b'"') => quoted = false,
                (true, _) => continue,
                (false, b'"') => quoted = true,
                (false, b'{' | b'[') => depth += 1,
                (false, b'}' | b']') => {
                    depth = depth
                        .checked_sub(1)
                        .ok_or_else(|| binary(start, "a bracket that was not opened", self.format.expected()))?;
                }
                _ => continue,
            }
            if depth == 0 && !quoted {
                return Ok(text);
            }
        }
    }

    fn list_name(&self) -> &'static str {
        if self.format == Format::Json { "events" } else { "frames" }
    }

    /// Reads up to the list.
    fn head(&mut self, out: &mut Out) -> Result<(), ReadError> {
        let name = self.list_name();
        let expected = format!("an object with a list of \"{name}\"");
        if self.offset == 0 && self.peek()? == Some(0xEF) {
            // A byte order mark.
            for _ in 0..3 {
                self.skip();
            }
        }
        match self.blanks()? {
            Some(b'{') => self.skip(),
            None if self.offset == 0 => return Err(self.wrong("the file is empty", expected)),
            _ => return Err(self.wrong("no object", expected)),
        }
        loop {
            match self.blanks()? {
                Some(b'"') => {}
                Some(b',') => {
                    self.skip();
                    continue;
                }
                Some(b'}') => return Err(self.wrong("the end of the object", expected)),
                None => return Err(self.wrong("the end of the file", expected)),
                Some(_) => return Err(self.wrong("no name of a field", expected)),
            }
            let key = self.value()?;
            match self.blanks()? {
                Some(b':') => self.skip(),
                _ => return Err(self.wrong("no colon behind a field's name", expected)),
            }
            let first = self.blanks()?;
            if key == format!("\"{name}\"").as_bytes() {
                return match first {
                    Some(b'[') => {
                        self.skip();
                        self.state = State::List;
                        Ok(())
                    }
                    _ => Err(self.wrong("no list", expected)),
                };
            }
            let start = self.offset;
            let value = self.value()?;
            if key == b"\"tape\"" {
                out.header = Header::parse(&value).map_err(|error| binary(start, error.to_string(), "the header of a tape"))?;
            }
        }
    }

    /// Reads what follows the list: other fields, and the end.
    fn tail(&mut self) -> Result<(), ReadError> {
        loop {
            match self.blanks()? {
                Some(b'}') => break,
                Some(b',' | b':') => self.skip(),
                Some(b']') | None => return Err(self.wrong("no end of the object", "a closing brace behind the list")),
                Some(_) => {
                    self.value()?;
                }
            }
        }
        self.skip();
        self.state = State::End;
        match self.blanks()? {
            None => Ok(()),
            Some(_) => Err(self.wrong("something behind the end of the object", "the end of the file")),
        }
    }

    fn element(&mut self, out: &mut Out) -> Result<(), ReadError> {
        let start = self.offset;
        let text = self.value()?;
        self.elements += 1;
        let wrong = |error: serde_json::Error| binary(start, format!("element {}: {error}", self.elements), self.format.expected());
        if self.format == Format::Json {
            out.events.push_back(Event::parse(&text).map_err(wrong)?);
            return Ok(());
        }
        let frame: LabFrame = serde_json::from_slice(&text).map_err(wrong)?;
        let event = frame
            .event()
            .map_err(|found| binary(start, format!("element {}: {found}", self.elements), self.format.expected()))?;
        out.push(event);
        Ok(())
    }
}

impl<R: BufRead> Importer for Frames<R> {
    fn more(&mut self, out: &mut Out) -> Result<bool, ReadError> {
        loop {
            match self.state {
                State::Head => self.head(out)?,
                State::Tail => self.tail()?,
                State::End => return Ok(false),
                State::List | State::Behind => match (self.blanks()?, self.state) {
                    (Some(b']'), _) => {
                        self.skip();
                        self.state = State::Tail;
                    }
                    (Some(b','), State::Behind) => {
                        self.skip();
                        self.state = State::List;
                    }
                    (Some(_), State::List) => {
                        self.element(out)?;
                        self.state = State::Behind;
                        return Ok(true);
                    }
                    (Some(_), _) => return Err(self.wrong("neither a comma nor the end of the list", self.format.expected())),
                    (None, _) => return Err(self.wrong("the file ends within the list", self.format.expected())),
                },
            }
        }
    }
}

/// A frame of nfc-laboratory.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabFrame {
    #[serde(default)]
    frame_data: Option<String>,
    #[serde(default)]
    frame_flags: u64,
    #[serde(default)]
    frame_rate: u64,
    frame_type: u64,
    #[serde(default)]
    tech_type: u64,
    time_start: f64,
    #[serde(default)]
    time_end: f64,
}

impl LabFrame {
    fn event(self) -> Result<Event, String> {
        let nanoseconds = |seconds: f64| match (0.0..1e9).contains(&seconds) {
            true => Ok((seconds * 1e9).round() as u64),
            false => Err(format!("the time {seconds}")),
        };
        let start = nanoseconds(self.time_start)?;
        let end = nanoseconds(self.time_end)?.max(start);
        let event = Event::new(start, Layer::Rf);
        let dir = match self.frame_type {
            256 => return Ok(event.with("field", &"off")),
            257 => return Ok(event.with("field", &"on")),
            258 => Direction::Out,
            259 => Direction::In,
            other => return Err(format!("a frame of type {other}")),
        };
        let text = self.frame_data.unwrap_or_default();
        let data = match text.is_empty() {
            true => Vec::new(),
            false => super::lines::hex_bytes(text.as_bytes())
                .ok_or_else(|| format!("\"{}\" is not hexadecimal", super::lines::shown(text.as_bytes())))?,
        };
        let mut event = event.bytes(dir, data);
        let data = event.data.as_deref().unwrap_or_default();
        // Flags of nfc-laboratory: 1 short frame, 2 enciphered.
        event.bits = (self.frame_flags & 1 != 0 && data.len() == 1).then_some(7);
        event.crc = Some(match crc::state(data) {
            // What is enciphered has no CRC that could be read.
            Crc::Bad if self.frame_flags & 2 != 0 => Crc::None,
            state => state,
        });
        if self.frame_flags & !1 != 0 {
            event = event.with("flags", &self.frame_flags);
        }
        let technology = match self.tech_type {
            257 => "A",
            258 => "B",
            259 => "F",
            260 => "V",
            _ => "",
        };
        if !technology.is_empty() {
            event = event.with("tech", &technology);
        }
        // 105938 bits a second are 106 kbit/s.
        let rate = match self.frame_rate {
            0 => 0,
            rate => [106, 212, 424, 848]
                .into_iter()
                .min_by_key(|known: &u64| (known * 1000).abs_diff(rate))
                .unwrap_or(106),
        };
        if rate > 106 {
            event = event.with("rate", &rate);
        }
        Ok(event.with("duration", &(end - start)))
    }
}
