//! [`TapeReader`]: reads a tape line by line, however long it is, and wherever it was cut off.

use std::fmt;
use std::io::{self, BufRead};

use crate::event::Event;
use crate::header::Header;

/// Most bytes of a line, the line break not counted. The longest APDU takes about 132 kB.
pub const MAX_LINE: usize = 1 << 20;

/// What is wrong with a tape, and where.
#[derive(Debug)]
pub struct ReadError {
    /// Which line, from 1; 0 in a file that has no lines.
    pub line: u64,
    /// Which byte of the line, from 1; 0 in a file that has no lines.
    pub column: u64,
    /// Which byte of the file, from 0.
    pub offset: u64,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// It could not be read at all.
    Io(io::Error),
    /// There is nothing in the file.
    Empty,
    /// It is longer than [`MAX_LINE`].
    TooLong,
    /// It is not the header of a tape: what was expected and found.
    Header(String),
    /// It is not an event: what was expected and found.
    Event(String),
    /// Another program's file is not as it should be.
    Foreign {
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            offset,
            problem,
        } = self;
        match line {
            0 => write!(f, "byte {offset}: ")?,
            _ => write!(f, "line {line}, column {column} (byte {offset}): ")?,
        }
        match problem {
            Problem::Io(error) => write!(f, "cannot read on: {error}"),
            Problem::Empty => f.write_str("the file is empty; expected the header of a tape, {\"tape\":1,...}"),
            Problem::TooLong => write!(f, "the line is longer than {MAX_LINE} bytes; expected one event, a JSON object"),
            Problem::Header(what) => {
                write!(f, "not a tape: {what}; expected the header of a tape, {{\"tape\":1,...}}")
            }
            Problem::Event(what) => {
                write!(f, "{what}; expected one event, {{\"t\":NANOSECONDS,\"layer\":NAME,...}}")
            }
            Problem::Foreign { found, expected } => write!(f, "{found}; expected {expected}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// The last line of a tape that was cut off in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which line, from 1.
    pub line: u64,
    /// How many bytes of it are there.
    pub bytes: usize,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the tape was cut off in line {}, of which {} bytes are there",
            self.line, self.bytes
        )
    }
}

/// Events one after another, wherever they come from: a tape, or another program's file.
pub trait Events {
    /// What the file says of itself.
    fn header(&self) -> &Header;
    /// The next event; `None` at the end, and after an error.
    fn next_event(&mut self) -> Option<Result<Event, ReadError>>;
    /// The same in place of an event that is done with, whose memory may be used again.
    fn next_into(&mut self, event: &mut Event) -> Option<Result<(), ReadError>> {
        Some(self.next_event()?.map(|next| *event = next))
    }
    /// Where the file was cut off, known once the events have ended.
    fn cut(&self) -> Option<Cut> {
        None
    }
}

impl<R: BufRead> Events for TapeReader<R> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_event(&mut self) -> Option<Result<Event, ReadError>> {
        self.next()
    }

    fn cut(&self) -> Option<Cut> {
        self.cut
    }
}

/// Reads a tape: an iterator over its events.
///
/// Memory is bounded by [`MAX_LINE`]. A last line that was cut off is no error: the iterator ends, and [`Self::cut`] tells. After
/// an error the iterator has ended. Empty lines and CR LF are accepted.
#[derive(Debug)]
pub struct TapeReader<R> {
    input: R,
    header: Header,
    buffer: Vec<u8>,
    /// Lines begun.
    line: u64,
    /// Where the current line begins.
    offset: u64,
    /// Where the next line begins.
    next: u64,
    cut: Option<Cut>,
    finished: bool,
}

/// How a line ended.
enum Ending {
    Break,
    EndOfFile,
}

impl<R: BufRead> TapeReader<R> {
    /// Reads the header. A header that was cut off gives a tape without events, and a [`Cut`].
    ///
    /// # Errors
    /// When the first line is not the header of a tape.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut reader = Self {
            input,
            header: Header::default(),
            buffer: Vec::new(),
            line: 0,
            offset: 0,
            next: 0,
            cut: None,
            finished: false,
        };
        let Some(ending) = reader.read_line()? else {
            return Err(reader.error(1, Problem::Empty));
        };
        let text = reader.text();
        match Header::parse(text) {
            Ok(header) => reader.header = header,
            Err(error) if is_cut(&ending, text, &error) => reader.end_cut(),
            Err(error) => return Err(reader.error(error.column(), Problem::Header(message(&error)))),
        }
        Ok(reader)
    }

    /// What the tape says of itself.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Where the tape was cut off, known once the iterator has ended.
    pub const fn cut(&self) -> Option<Cut> {
        self.cut
    }

    /// The line that was read last, from 1.
    pub const fn line(&self) -> u64 {
        self.line
    }

    fn read_event(&mut self) -> Result<Option<Event>, ReadError> {
        while let Some(ending) = self.read_line()? {
            let text = self.text();
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return match Event::parse(text) {
                Ok(event) => Ok(Some(event)),
                Err(error) if is_cut(&ending, text, &error) => {
                    self.end_cut();
                    Ok(None)
                }
                Err(error) => Err(self.error(error.column(), Problem::Event(message(&error)))),
            };
        }
        Ok(None)
    }

    fn end_cut(&mut self) {
        self.finished = true;
        self.cut = Some(Cut {
            line: self.line,
            bytes: self.buffer.len(),
        });
    }

    fn error(&mut self, column: usize, problem: Problem) -> ReadError {
        self.finished = true;
        let column = (column as u64).max(1);
        ReadError {
            line: self.line.max(1),
            column,
            offset: self.offset + column - 1,
            problem,
        }
    }

    /// The current line without what is not JSON: a byte order mark before the first line, a carriage return behind any.
    fn text(&self) -> &[u8] {
        let line = self.buffer.as_slice();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.strip_prefix(b"\xEF\xBB\xBF") {
            Some(rest) if self.line == 1 => rest,
            _ => line,
        }
    }

    /// Reads the next line into the buffer, its line break left out; `None` at the end of the file.
    fn read_line(&mut self) -> Result<Option<Ending>, ReadError> {
        self.buffer.clear();
        self.offset = self.next;
        self.line += 1;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let column = self.buffer.len() + 1;
                    return Err(self.error(column, Problem::Io(error)));
                }
            };
            if chunk.is_empty() {
                if self.buffer.is_empty() {
                    self.line -= 1;
                    return Ok(None);
                }
                return Ok(Some(Ending::EndOfFile));
            }
            let line_break = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..line_break.unwrap_or(chunk.len())];
            if self.buffer.len() + part.len() > MAX_LINE {
                return Err(self.error(MAX_LINE + 1, Problem::TooLong));
            }
            self.buffer.extend_from_slice(part);
            let used = part.len() + usize::from(line_break.is_some());
            self.input.consume(used);
            self.next += used as u64;
            if line_break.is_some() {
                return Ok(Some(Ending::Break));
            }
        }
    }
}

impl<R: BufRead> Iterator for TapeReader<R> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let event = self.read_event().transpose();
        self.finished |= !matches!(event, Some(Ok(_)));
        event
    }
}

/// Whether a line that could not be read is the beginning of one that could.
fn is_cut(ending: &Ending, text: &[u8], error: &serde_json::Error) -> bool {
    if !matches!(ending, Ending::EndOfFile) {
        return false;
    }
    if error.is_eof() {
        return true;
    }
    // Cut in the middle of a character: look at what stands before it. Cut in the middle of a number: one more digit makes it one.
    let whole = match std::str::from_utf8(text) {
        Ok(_) => text.len(),
        Err(utf8) if utf8.error_len().is_none() => utf8.valid_up_to(),
        Err(_) => return false,
    };
    let ends = |text: &[u8]| Event::parse(text).is_err_and(|error| error.is_eof());
    ends(&text[..whole]) || ends(&[&text[..whole], b"0"].concat())
}

/// What `serde_json` says without its own line and column, which are those of a single line.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Direction, Layer};

    fn read(bytes: &[u8]) -> Result<(Vec<Event>, Option<Cut>), ReadError> {
        // A small buffer, so that lines are put together from pieces.
        let mut reader = TapeReader::new(io::BufReader::with_capacity(7, bytes))?;
        let events = reader.by_ref().collect::<Result<_, _>>()?;
        Ok((events, reader.cut()))
    }

    fn small_tape() -> (Vec<u8>, Vec<Event>) {
        let events = vec![
            Event::new(1, Layer::Apdu).bytes(Direction::Out, [0x00, 0xA4, 0x04, 0x00]).tap(1),
            Event::new(2, Layer::Apdu).bytes(Direction::In, [0x6A, 0x82]).tap(1),
            Event::new(3, Layer::Note).text("Tür 🚪 \"zu\"").with("ünknown", &[1.5, -2e-30]),
            Event::new(4, Layer::Other("new".into())),
        ];
        let mut bytes = Vec::new();
        Header {
            tool: Some("tést".into()),
            ..Header::default()
        }
        .encode_into(&mut bytes);
        for event in &events {
            event.encode_into(&mut bytes);
        }
        (bytes, events)
    }

    #[test]
    fn a_tape_cut_at_any_byte_reads_up_to_there() {
        let (bytes, events) = small_tape();
        for cut in 1..bytes.len() {
            let (read, reported) = read(&bytes[..cut]).unwrap_or_else(|error| panic!("{cut}: {error}"));
            let whole = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
            // A last line that lacks only its line break is whole.
            let complete = bytes[cut] == b'\n';
            assert_eq!(read, events[..(whole + usize::from(complete)).saturating_sub(1)], "{cut}");
            let begun = bytes[..cut].rsplit(|byte| *byte == b'\n').next().unwrap().len();
            let expected = (begun > 0 && !complete).then_some(Cut {
                line: whole as u64 + 1,
                bytes: begun,
            });
            assert_eq!(reported, expected, "{cut}");
        }
        assert_eq!(read(&bytes).unwrap(), (events, None));
    }

    #[test]
    fn errors_say_where_and_what_was_expected() {
        let header = "{\"tape\":1}\n";
        let good = "{\"t\":1,\"layer\":\"rf\"}\n";
        for (text, expected) in [
            (String::new(), "line 1, column 1 (byte 0): the file is empty; expected the header"),
            (
                "MZ\u{0}\n".into(),
                "line 1, column 1 (byte 0): not a tape: expected value; expected the header of a tape",
            ),
            ("hello".into(), "line 1, column 1 (byte 0): not a tape: "),
            (good.into(), "line 1, column 20 (byte 19): not a tape: missing field `tape`"),
            ("{\"tape\":2}\n".into(), "invalid value: integer `2`, expected tape version 1"),
            (
                format!("{header}{good}{{\"t\":x}}\n"),
                "line 3, column 6 (byte 37): expected value; expected one event",
            ),
            (
                format!("{header}{{\"t\":1}}"),
                "line 2, column 7 (byte 17): missing field `layer`; expected one event",
            ),
            (
                format!("{header}{{\"t\":1\n{good}"),
                "line 2, column 6 (byte 16): EOF while parsing an object",
            ),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn line_breaks_of_other_systems_and_empty_lines_are_read() {
        let (bytes, events) = small_tape();
        let text = String::from_utf8(bytes).unwrap();
        let strange = format!("\u{FEFF}{}\r\n \r\n", text.replace('\n', "\r\n"));
        assert_eq!(read(strange.as_bytes()).unwrap(), (events, None));
    }

    #[test]
    fn a_line_without_end_is_not_read_into_memory() {
        #[derive(Debug)]
        struct Endless;
        impl io::Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer.fill(b'{');
                Ok(buffer.len())
            }
        }
        let error = TapeReader::new(io::BufReader::new(Endless)).unwrap_err();
        assert!(matches!(error.problem, Problem::TooLong), "{error}");
        let mut bytes = b"{\"tape\":1}\n".to_vec();
        bytes.resize(bytes.len() + MAX_LINE + 1, b' ');
        let error = read(&bytes).unwrap_err();
        assert_eq!((error.line, error.column), (2, MAX_LINE as u64 + 1));
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let mut bytes = b"{\"tape\":1}\n{\"t\":1,\"layer\":\"x\",\"deep\":".to_vec();
        bytes.resize(bytes.len() + MAX_LINE - 100, b'[');
        assert!(read(&bytes).unwrap().1.is_some());
        bytes.push(b'\n');
        assert!(read(&bytes).is_err());
    }

    #[test]
    fn after_an_error_the_iterator_has_ended() {
        let mut reader = TapeReader::new(&b"{\"tape\":1}\nx\n{\"t\":1,\"layer\":\"rf\"}\n"[..]).unwrap();
        assert!(reader.next().unwrap().is_err());
        assert!(reader.next().is_none());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
            let _ = read(&[b"{\"tape\":1}\n", bytes.as_slice()].concat());
        }

        #[test]
        fn a_tape_with_flipped_bytes_never_panics(at in 0usize..200, byte in any::<u8>()) {
            let (mut bytes, _) = small_tape();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Err(error) = read(&bytes) {
                prop_assert!(error.offset <= bytes.len() as u64);
            }
        }
    }
}
