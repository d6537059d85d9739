//! Other programs' files as events: recognised from their content, read as a stream, in bounded memory.
//!
//! | module | what |
//! |---|---|
//! | [`mod@format`] | [`Format`]: the names, and which file is which |
//! | [`lines`] | text, line by line; what every text format shares |
//! | [`logs`] | logs of exchanges: apdu4j, pcscd, OpenSC, `.dump` |
//! | [`arrows`] | lines with arrows, and scriptor |
//! | [`chips`] | logs of reader chips: libnfc, nfcpy, Android; CCID and PN532 layers unwrapped |
//! | [`proxmark`] | Proxmark3's trace and its listing |
//! | [`pcap`] | pcap and pcapng: link type 264, GSMTAP |
//! | [`json`] | nfc-laboratory, and our own JSON |

pub mod arrows;
pub mod chips;
pub mod format;
pub mod json;
pub mod lines;
pub mod logs;
pub mod pcap;
pub mod proxmark;

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use crate::event::{Direction, Event, Layer};
use crate::header::{Header, TapeMode};
use crate::read::{Cut, Events, Problem, ReadError, TapeReader};
pub use format::Format;
use lines::Text;

/// So many bytes of a file are looked at to recognise it.
const PREFIX: usize = 1 << 18;

/// A file whose first bytes were looked at.
pub type Rewound<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// What an importer hands out.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) header: Header,
    pub(crate) events: VecDeque<Event>,
    /// Which tap is under way, where the format tells taps apart.
    pub(crate) tap: Option<u64>,
}

impl Out {
    /// Bytes on a layer.
    pub(crate) fn bytes(&mut self, t: u64, layer: Layer, dir: Direction, data: impl Into<Vec<u8>>) {
        let event = Event::new(t, layer).bytes(dir, data);
        self.push(event);
    }

    pub(crate) fn note(&mut self, t: u64, text: impl Into<String>) {
        let event = Event::new(t, Layer::Note).text(text);
        self.push(event);
    }

    #[inline]
    pub(crate) fn push(&mut self, mut event: Event) {
        event.tap = event.tap.or(self.tap);
        self.events.push_back(event);
    }

    /// What follows belongs to another card, or to the same one reset.
    pub(crate) fn next_tap(&mut self) {
        self.tap = Some(self.tap.unwrap_or(0) + 1);
    }
}

/// Reads a file of one format.
pub(crate) trait Importer {
    /// Reads on until there is at least one event more; `false` at the end.
    fn more(&mut self, out: &mut Out) -> Result<bool, ReadError>;

    /// Puts the next event in place of one that is done with, where there is a quicker way than through `out`; `false` where there is none.
    fn quick(&mut self, _event: &mut Event) -> bool {
        false
    }
}

/// A file of any format that is known, as events.
pub struct Import<R> {
    format: Format,
    inner: Inner<R>,
}

enum Inner<R> {
    Tape(Box<TapeReader<Rewound<R>>>),
    Foreign(Box<Foreign<R>>),
}

struct Foreign<R> {
    importer: Box<dyn Importer>,
    out: Out,
    /// An error that comes after the events before it.
    error: Option<ReadError>,
    finished: bool,
    _input: std::marker::PhantomData<R>,
}

impl<R: BufRead + 'static> Import<R> {
    /// Opens a file: of this format, or of the one that its first bytes show.
    ///
    /// # Errors
    /// When the format cannot be told, or the file does not begin as it should.
    pub fn open(mut input: R, from: Option<Format>) -> Result<Self, ReadError> {
        let mut prefix = Vec::new();
        let read = input.by_ref().take(PREFIX as u64).read_to_end(&mut prefix);
        read.map_err(|error| at(0, 0, 0, Problem::Io(error)))?;
        let format = match from {
            Some(format) => format,
            None => format::recognise(&prefix)?,
        };
        let input = io::Cursor::new(prefix).chain(input);
        let importer: Box<dyn Importer> = match format {
            Format::Tape => {
                let tape = TapeReader::new(input)?;
                let inner = Inner::Tape(Box::new(tape));
                return Ok(Self { format, inner });
            }
            Format::Pcapng | Format::Pcap | Format::Gsmtap => Box::new(pcap::Capture::open(input)?),
            Format::Pm3Trace => Box::new(proxmark::Trace::new(input)),
            Format::NfcLaboratory | Format::Json => Box::new(json::Frames::new(input, format)),
            Format::Pm3Text => Box::new(Text::new(input, format, proxmark::Listing::default())),
            Format::Apdu4j => Box::new(Text::new(input, format, logs::Apdu4j::default())),
            Format::Dump => Box::new(Text::new(input, format, logs::Dump::default())),
            Format::Pcscd => Box::new(Text::new(input, format, logs::Pcscd::default())),
            Format::OpenSc => Box::new(Text::new(input, format, logs::OpenSc::default())),
            Format::OpenScTool => Box::new(Text::new(input, format, logs::OpenScTool::default())),
            Format::Arrows => Box::new(Text::new(input, format, arrows::Arrows::default())),
            Format::Scriptor => Box::new(Text::new(input, format, arrows::Scriptor::default())),
            Format::Libnfc => Box::new(Text::new(input, format, chips::Libnfc::default())),
            Format::Nfcpy => Box::new(Text::new(input, format, chips::Nfcpy::default())),
            Format::Nci => Box::new(Text::new(input, format, chips::Nci::default())),
            Format::Door | Format::Csv => {
                let problem = Problem::Foreign {
                    found: format!("{} can be written, but not read", format.name()),
                    expected: format::readable(),
                };
                return Err(at(0, 0, 0, problem));
            }
        };
        let mut foreign = Foreign {
            importer,
            out: Out::default(),
            error: None,
            finished: false,
            _input: std::marker::PhantomData,
        };
        foreign.out.header.mode = Some(TapeMode::Import);
        // What the file says of its reader and card stands before the first event.
        foreign.fill();
        if foreign.out.events.is_empty()
            && let Some(error) = foreign.error.take()
        {
            return Err(error);
        }
        Ok(Self {
            format,
            inner: Inner::Foreign(Box::new(foreign)),
        })
    }
}

impl<R> Import<R> {
    /// Which format it is.
    pub const fn format(&self) -> Format {
        self.format
    }
}

impl<R> Foreign<R> {
    fn fill(&mut self) {
        while self.out.events.is_empty() && !self.finished {
            match self.importer.more(&mut self.out) {
                Ok(true) => {}
                Ok(false) => self.finished = true,
                Err(error) => {
                    self.error = Some(error);
                    self.finished = true;
                }
            }
        }
    }
}

impl<R: BufRead> Events for Import<R> {
    fn header(&self) -> &Header {
        match &self.inner {
            Inner::Tape(tape) => tape.header(),
            Inner::Foreign(foreign) => &foreign.out.header,
        }
    }

    #[inline]
    fn next_event(&mut self) -> Option<Result<Event, ReadError>> {
        match &mut self.inner {
            Inner::Tape(tape) => tape.next(),
            Inner::Foreign(foreign) => {
                if foreign.out.events.is_empty() {
                    foreign.fill();
                }
                // Events are large: each is moved as seldom as can be.
                match foreign.out.events.pop_front() {
                    Some(event) => Some(Ok(event)),
                    None => foreign.error.take().map(Err),
                }
            }
        }
    }

    fn next_into(&mut self, event: &mut Event) -> Option<Result<(), ReadError>> {
        if let Inner::Foreign(foreign) = &mut self.inner
            && foreign.out.events.is_empty()
            && !foreign.finished
            && foreign.importer.quick(event)
        {
            return Some(Ok(()));
        }
        Some(self.next_event()?.map(|next| *event = next))
    }

    fn cut(&self) -> Option<Cut> {
        match &self.inner {
            Inner::Tape(tape) => tape.cut(),
            Inner::Foreign(_) => None,
        }
    }
}

impl<R: BufRead> Iterator for Import<R> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event()
    }
}

impl<R> std::fmt::Debug for Import<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Import").field("format", &self.format).finish_non_exhaustive()
    }
}

pub(crate) const fn at(line: u64, column: u64, offset: u64, problem: Problem) -> ReadError {
    ReadError {
        line,
        column,
        offset,
        problem,
    }
}

/// An error in a file that has no lines.
pub(crate) fn binary(offset: u64, found: impl Into<String>, expected: impl Into<String>) -> ReadError {
    at(
        0,
        0,
        offset,
        Problem::Foreign {
            found: found.into(),
            expected: expected.into(),
        },
    )
}
