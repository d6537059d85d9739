//! [`TapeWriter`]: a tape that survives a kill.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tapdoor_link::{Exchange, LinkErrorKind, Observer};

use crate::event::{Direction, Event, Layer, Mask, line_start, mask_field};
use crate::extra::json_string;
use crate::header::Header;
use crate::mask::{MaskPolicy, Masker, Span};

/// Why a tape could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is a file of that name.
    #[error(
        "{} is there already, and a tape is neither overwritten nor appended to: choose another name, or remove it",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system said no.
    #[error("cannot write the tape {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Writes a tape.
///
/// The two lines of an exchange, and every other line, go out in **one** write to a file opened for appending, and nothing is held
/// back: whatever moment the program is killed at, the tape has whole exchanges up to there.
///
/// Secrets and identities are [masked](crate::mask) unless that is [switched off](Self::mask_policy).
///
/// A write that fails must not fail a tap. The first error is kept for [`Self::take_error`], and nothing more is written: what
/// would follow a torn line could not be read.
#[derive(Debug)]
pub struct TapeWriter<W: Write = File> {
    sink: W,
    line: Vec<u8>,
    epoch: Instant,
    tap: Option<u64>,
    apdu: Masker,
    chip: Masker,
    failed: bool,
    error: Option<io::Error>,
}

impl TapeWriter {
    /// Begins a tape in a new file.
    ///
    /// # Errors
    /// [`CreateError::Exists`] when the file is there: a tape is never overwritten and never appended to.
    pub fn create(path: impl AsRef<Path>, header: &Header) -> Result<Self, CreateError> {
        let path = path.as_ref();
        let fail = |source: io::Error| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::AlreadyExists => CreateError::Exists { path },
                _ => CreateError::Io { path, source },
            }
        };
        let file = OpenOptions::new().append(true).create_new(true).open(path).map_err(fail)?;
        Self::with_sink(file, header).map_err(fail)
    }
}

impl<W: Write> TapeWriter<W> {
    /// Begins a tape in anything that can be written to. Time counts from now.
    ///
    /// # Errors
    /// When the header cannot be written.
    pub fn with_sink(mut sink: W, header: &Header) -> io::Result<Self> {
        let mut line = Vec::with_capacity(2048);
        header.encode_into(&mut line);
        sink.write_all(&line)?;
        sink.flush()?;
        Ok(Self {
            sink,
            line,
            epoch: Instant::now(),
            tap: None,
            apdu: Masker::default(),
            chip: Masker::default(),
            failed: false,
            error: None,
        })
    }

    /// Masks by another policy from now on.
    #[must_use]
    pub fn mask_policy(mut self, policy: MaskPolicy) -> Self {
        self.apdu = Masker::new(policy);
        self.chip = Masker::new(policy);
        self
    }

    /// What is kept off this tape.
    #[must_use]
    pub const fn policy(&self) -> MaskPolicy {
        self.apdu.policy()
    }

    /// The moment from which the times on the tape count: give it to [`tapdoor_link::Recorder::new`].
    #[must_use]
    pub const fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Nanoseconds since [`Self::epoch`], the `t` of an event that happens now.
    #[must_use]
    pub fn now(&self) -> u64 {
        nanoseconds(self.epoch.elapsed())
    }

    /// What is written from now on belongs to tap `number`, counted from 1, and to a card on which nothing is selected.
    pub fn tap(&mut self, number: u64) {
        self.tap = Some(number);
        self.apdu.reset();
    }

    /// Writes an event. Without a tap it gets the current one; bytes of layers `apdu` and `chip` are masked.
    pub fn event(&mut self, event: &Event) {
        if self.failed {
            return;
        }
        let mut event = event.clone();
        event.tap = event.tap.or(self.tap);
        let masker = match event.layer {
            Layer::Apdu => Some(&mut self.apdu),
            Layer::Chip => Some(&mut self.chip),
            _ => None,
        };
        if let (Some(masker), Some(dir), Some(data)) = (masker, event.dir, &mut event.data) {
            let spans = match dir {
                Direction::Out => masker.command(data),
                Direction::In => masker.response(data),
            };
            crate::mask::blank(data, spans);
            for Span { offset, length, kind } in spans.iter().copied() {
                let mask = Mask {
                    offset,
                    length,
                    kind: kind.into(),
                };
                if !event.mask.contains(&mask) {
                    event.mask.push(mask);
                }
            }
        }
        self.line.clear();
        event.encode_into(&mut self.line);
        self.flush_line();
    }

    /// Writes a remark for people.
    pub fn note(&mut self, text: &str) {
        let note = Event::new(self.now(), Layer::Note).text(text);
        self.event(&note);
    }

    /// Writes an exchange of layer `apdu` or `chip`.
    pub fn exchange_on(&mut self, layer: &Layer, exchange: &Exchange<'_>) {
        if self.failed {
            return;
        }
        let (start, end) = (nanoseconds(exchange.start), nanoseconds(exchange.end));
        let masker = match layer {
            Layer::Chip => &mut self.chip,
            _ => &mut self.apdu,
        };
        let (line, tap) = (&mut self.line, self.tap);
        line.clear();
        let spans = masker.command(exchange.command);
        bytes_line(start, layer, Direction::Out, exchange.command, tap, spans, line);
        match exchange.result {
            Ok(response) => {
                let spans = masker.response(response);
                bytes_line(end, layer, Direction::In, response, tap, spans, line);
            }
            Err(error) => {
                line_start(end, &Layer::Note, None, None, tap, line);
                line.extend_from_slice(br#","text":"#);
                json_string(&error.to_string(), line);
                line.extend_from_slice(br#","error":"#);
                json_string(error_name(error.kind), line);
                line.extend_from_slice(br#","at":"#);
                json_string(layer.as_str(), line);
                line.extend_from_slice(b"}\n");
            }
        }
        self.flush_line();
    }

    /// The first error of a write since the last call. The tape ends where it happened.
    pub const fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// The sink, for instance to look at what was written.
    pub fn into_sink(self) -> W {
        self.sink
    }

    fn flush_line(&mut self) {
        let outcome = self.sink.write_all(&self.line);
        if let Err(error) = outcome.and_then(|()| self.sink.flush()) {
            self.failed = true;
            self.error = Some(error);
        }
    }
}

/// Appends a line with bytes, masked.
fn bytes_line(t: u64, layer: &Layer, dir: Direction, data: &[u8], tap: Option<u64>, spans: &[Span], out: &mut Vec<u8>) {
    let start = out.len();
    line_start(t, layer, Some(dir), Some(data), tap, out);
    if !spans.is_empty() {
        blank_digits(&mut out[start..], spans);
        mask_field(spans.iter().map(|s| (s.offset, s.length, s.kind)), out);
    }
    out.extend_from_slice(b"}\n");
}

/// Puts zeros in the place of masked bytes in a line that was just begun.
fn blank_digits(line: &mut [u8], spans: &[Span]) {
    const DATA: &[u8] = br#""data":""#;
    let Some(at) = line.windows(DATA.len()).position(|window| window == DATA) else {
        return;
    };
    let digits = &mut line[at + DATA.len()..];
    for span in spans {
        if let Some(secret) = digits.get_mut(2 * span.offset..2 * (span.offset + span.length)) {
            secret.fill(b'0');
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The name of a kind of link error on a tape.
const fn error_name(kind: LinkErrorKind) -> &'static str {
    match kind {
        LinkErrorKind::CardGone => "card-gone",
        LinkErrorKind::CardReset => "card-reset",
        LinkErrorKind::Timeout => "timeout",
        LinkErrorKind::Malformed => "malformed",
        LinkErrorKind::TooLong => "too-long",
        LinkErrorKind::Busy => "busy",
        LinkErrorKind::Reader => "reader",
        LinkErrorKind::Cancelled => "cancelled",
        _ => "other",
    }
}

/// Records on layer `apdu`.
impl<W: Write> Observer for TapeWriter<W> {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.exchange_on(&Layer::Apdu, exchange);
    }

    fn take_error(&mut self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        self.error.take().map(Into::into)
    }
}

/// One tape for several links: the lock's chip on layer `chip`, the phone on layer `apdu`.
#[derive(Debug)]
pub struct SharedTape<W: Write = File> {
    tape: Arc<Mutex<TapeWriter<W>>>,
    layer: Layer,
}

impl<W: Write> SharedTape<W> {
    /// Shares a tape; this handle records on layer `apdu`.
    #[must_use]
    pub fn new(tape: TapeWriter<W>) -> Self {
        Self {
            tape: Arc::new(Mutex::new(tape)),
            layer: Layer::Apdu,
        }
    }

    /// A handle to the same tape that records on another layer.
    #[must_use]
    pub fn on(&self, layer: Layer) -> Self {
        Self {
            tape: Arc::clone(&self.tape),
            layer,
        }
    }

    /// The tape, locked for as long as the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, TapeWriter<W>> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> Clone for SharedTape<W> {
    fn clone(&self) -> Self {
        self.on(self.layer.clone())
    }
}

impl<W: Write> Observer for SharedTape<W> {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.lock().exchange_on(&self.layer, exchange);
    }

    fn take_error(&mut self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        self.lock().take_error().map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use tapdoor_link::{CardLink, LinkError, Recorder, Scripted};

    use super::*;

    /// Takes so many bytes and then says that the disk is full.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
        writes: usize,
    }

    impl Disk {
        fn with_room(room: usize) -> Self {
            Self {
                bytes: Vec::new(),
                room,
                writes: 0,
            }
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes += 1;
            let room = self.room - self.bytes.len();
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let some = &bytes[..bytes.len().min(room)];
            self.bytes.extend_from_slice(some);
            Ok(some.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn exchange<'a>(command: &'a [u8], result: Result<&'a [u8], &'a LinkError>) -> Exchange<'a> {
        Exchange {
            start: Duration::from_nanos(1),
            end: Duration::from_nanos(2),
            command,
            result,
        }
    }

    /// What the sink holds after a header, two exchanges, a note and another exchange.
    fn fill(sink: Disk) -> (io::Result<()>, Disk) {
        let mut tape = match TapeWriter::with_sink(sink, &Header::default()) {
            Ok(tape) => tape,
            Err(error) => return (Err(error), Disk::with_room(0)),
        };
        tape.tap(1);
        for n in 0..3 {
            Observer::exchange(&mut tape, &exchange(&[n, 0xA4, 4, 0], Ok(&[0x90, 0x00])));
            if n == 1 {
                tape.event(&Event::new(3, Layer::Note).text("half-way"));
            }
        }
        let outcome = tape.take_error().map_or(Ok(()), Err);
        assert!(tape.take_error().is_none());
        (outcome, tape.into_sink())
    }

    #[test]
    fn a_disk_that_fills_up_at_any_byte_leaves_whole_lines_before_it_and_nothing_after() {
        let (outcome, whole) = fill(Disk::with_room(usize::MAX));
        assert!(outcome.is_ok());
        assert_eq!(whole.writes, 5, "the header, three exchanges, a note: one write each");
        for room in 0..whole.bytes.len() {
            let (outcome, disk) = fill(Disk::with_room(room));
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::StorageFull, "{room}");
            if !disk.bytes.is_empty() {
                assert_eq!(disk.bytes, whole.bytes[..room]);
            }
        }
    }

    #[test]
    fn an_existing_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("door.tape");
        std::fs::write(&path, "mine").unwrap();
        let error = TapeWriter::create(&path, &Header::default()).unwrap_err();
        assert!(matches!(error, CreateError::Exists { .. }));
        assert!(error.to_string().ends_with("choose another name, or remove it"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        let nowhere = directory.path().join("missing").join("door.tape");
        let error = TapeWriter::create(nowhere, &Header::default()).unwrap_err();
        assert!(matches!(error, CreateError::Io { .. }));
    }

    #[test]
    fn every_exchange_is_in_the_file_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("door.tape");
        let tape = TapeWriter::create(&path, &Header::default()).unwrap();
        let epoch = tape.epoch();
        let card = Scripted::new().answer([0x6A, 0x82]).answer([0x90, 0x00]);
        let mut link = Recorder::new(card, tape, epoch);
        for lines in [3, 5] {
            link.transmit(&[0x00, 0xA4, 0x04, 0x00], &mut Vec::new()).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!((text.lines().count(), text.ends_with("}\n")), (lines, true));
        }
    }

    #[test]
    fn a_link_error_becomes_a_note() {
        let mut tape = TapeWriter::with_sink(Vec::new(), &Header::default()).unwrap();
        tape.tap(4);
        let error = LinkError::new(LinkErrorKind::CardGone, "pcsc", "removed \"it\"").during(&[0, 0xA4, 4, 0, 9, 1]);
        Observer::exchange(&mut tape, &exchange(&[0, 0xA4, 4, 0], Err(&error)));
        let text = String::from_utf8(tape.into_sink()).unwrap();
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(lines[0], r#"{"t":1,"layer":"apdu","dir":"out","data":"00a40400","tap":4}"#);
        let note = Event::parse(lines[1].as_bytes()).unwrap();
        assert_eq!((note.layer, note.t, note.tap), (Layer::Note, 2, Some(4)));
        assert!(note.text.unwrap().starts_with("pcsc: removed \"it\" (during 00a4040009..)"));
        assert!(note.extra.iter().eq([("error", "\"card-gone\""), ("at", "\"apdu\"")]));
    }

    #[test]
    fn secrets_are_masked_unless_asked_for() {
        let verify = [0x00, 0x20, 0x00, 0x01, 0x02, 0x31, 0x32];
        let run = |policy| {
            let tape = TapeWriter::with_sink(Vec::new(), &Header::default()).unwrap();
            let mut tape = tape.mask_policy(policy);
            Observer::exchange(&mut tape, &exchange(&verify, Ok(&[0x90, 0x00])));
            tape.event(&Event::new(9, Layer::Chip).bytes(Direction::Out, verify));
            tape.event(&Event::new(9, Layer::Rf).bytes(Direction::Out, verify));
            String::from_utf8(tape.into_sink()).unwrap()
        };
        let text = run(MaskPolicy::Secrets);
        let masked = r#""data":"00200001020000","mask":[[5,2,"pin"]]}"#;
        assert_eq!(text.matches(masked).count(), 2, "{text}");
        assert_eq!(text.matches("3132").count(), 1, "frames are not looked into");
        let text = run(MaskPolicy::Nothing);
        assert_eq!((text.matches("3132").count(), text.contains("mask")), (3, false));
    }

    #[test]
    fn handles_of_one_tape_record_on_their_layers() {
        let tape = SharedTape::new(TapeWriter::with_sink(Vec::new(), &Header::default()).unwrap());
        let mut chip = tape.on(Layer::Chip);
        let mut phone = tape.clone();
        chip.exchange(&exchange(&[0x80, 0x10, 0, 0], Ok(&[0x90, 0x00])));
        phone.exchange(&exchange(&[0x00, 0xA4, 4, 0], Ok(&[0x90, 0x00])));
        assert!(phone.take_error().is_none());
        let text = String::from_utf8(tape.lock().sink.clone()).unwrap();
        assert_eq!((text.matches("chip").count(), text.matches("apdu").count()), (2, 2));
    }
}
