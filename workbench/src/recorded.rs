//! A tape as taps: what was sent to a phone, what it answered, what the lock decided.

use std::io::BufRead;

use tapdoor_captures::{Cut, Direction, Event, Header, Layer, Mask, ReadError, TapeReader};
use tapdoor_link::LinkErrorKind;
use tapdoor_protocol::door::BeginData;

/// Most exchanges of one tap; a lock gives up long before.
pub const MAX_EXCHANGES: usize = 10_000;

/// One command and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedExchange {
    /// C-APDU; masked bytes are zeros.
    pub command: Vec<u8>,
    /// What was taken out of it.
    pub command_mask: Vec<Mask>,
    /// R-APDU, or how the link failed; `None` if the tape does not say.
    pub answer: Option<Result<Vec<u8>, LinkErrorKind>>,
    /// What was taken out of the answer.
    pub answer_mask: Vec<Mask>,
    /// When the command went out, in nanoseconds since the start of the tape.
    pub out: u64,
    /// When the answer was in.
    pub back: u64,
}

/// What the lock decided then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedVerdict {
    /// `open`, `refused`, `error`.
    pub verdict: String,
    /// The reason, where it did not open.
    pub reason: Option<String>,
    /// By which method.
    pub method: Option<String>,
}

impl std::fmt::Display for RecordedVerdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.verdict)?;
        self.reason.iter().try_for_each(|reason| write!(f, " ({reason})"))
    }
}

/// One tap of a tape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedTap {
    /// Its number on the tape.
    pub number: Option<u64>,
    /// Exchanges with the phone.
    pub exchanges: Vec<RecordedExchange>,
    /// How many of them came before the verdict.
    pub before_verdict: Option<usize>,
    /// What was decided.
    pub verdict: Option<RecordedVerdict>,
    /// The clock that the lock's chip was told, if the tape holds that.
    pub clock: Option<u32>,
    /// Random bytes that the lock's chip drew, in order, if the tape holds them: it does so only with secrets.
    pub drawn: Vec<Vec<u8>>,
    /// When it began, in nanoseconds since the start of the tape.
    pub began: u64,
    /// Whether the tape tells of a download.
    pub download: bool,
}

impl RecordedTap {
    /// The exchanges up to the verdict.
    #[must_use]
    pub fn deciding(&self) -> &[RecordedExchange] {
        self.exchanges
            .get(..self.before_verdict.unwrap_or(self.exchanges.len()))
            .unwrap_or(&self.exchanges)
    }

    /// Kinds of bytes that were taken out as secret.
    #[must_use]
    pub fn masked(&self) -> Vec<String> {
        let all = self.exchanges.iter().flat_map(|e| e.command_mask.iter().chain(&e.answer_mask));
        let mut kinds: Vec<String> = all.map(|mask| mask.kind.to_string()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

/// Reads taps one by one: memory is bounded by one tap.
pub struct Taps<R> {
    tape: TapeReader<R>,
    next: Option<Event>,
    finished: bool,
}

impl<R: BufRead> Taps<R> {
    /// The taps of a tape.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn new(input: R) -> Result<Self, ReadError> {
        Ok(Self {
            tape: TapeReader::new(input)?,
            next: None,
            finished: false,
        })
    }

    /// What the tape says of itself.
    pub fn header(&self) -> &Header {
        self.tape.header()
    }

    /// Where the tape was cut off, known at its end.
    pub fn cut(&self) -> Option<Cut> {
        self.tape.cut()
    }

    fn read(&mut self) -> Result<Option<Event>, ReadError> {
        match self.next.take() {
            Some(event) => Ok(Some(event)),
            None => self.tape.next().transpose(),
        }
    }

    fn tap(&mut self) -> Result<Option<RecordedTap>, ReadError> {
        let mut tap: Option<RecordedTap> = None;
        while let Some(event) = self.read()? {
            if !concerns(&event) {
                continue;
            }
            let Some(tap) = &mut tap else {
                let mut begun = RecordedTap {
                    number: event.tap,
                    began: event.t,
                    ..RecordedTap::default()
                };
                take(&mut begun, event);
                tap = Some(begun);
                continue;
            };
            // Another number, or without numbers another verdict, is another tap.
            let other = match (event.tap, tap.number) {
                (Some(a), Some(b)) => a != b,
                (None, Some(_)) | (Some(_), None) => true,
                (None, None) => tap.verdict.is_some() && is_select(&event),
            };
            if other {
                self.next = Some(event);
                break;
            }
            take(tap, event);
        }
        Ok(tap)
    }
}

impl<R: BufRead> Iterator for Taps<R> {
    type Item = Result<RecordedTap, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let tap = self.tap().transpose();
        self.finished |= !matches!(tap, Some(Ok(_)));
        tap
    }
}

/// Whether an event says something of a tap.
fn concerns(event: &Event) -> bool {
    match event.layer {
        Layer::Apdu => event.dir.is_some() && event.data.is_some(),
        Layer::Chip => {
            event.dir == Some(Direction::Out) && event.data.is_some() || event.dir.is_none() && event.extra.get("random").is_some()
        }
        Layer::Lock => text(event, "verdict").is_some(),
        Layer::Server => event.tap.is_some(),
        Layer::Note => text(event, "error").is_some() && event.tap.is_some(),
        _ => false,
    }
}

fn is_select(event: &Event) -> bool {
    event.dir == Some(Direction::Out) && matches!(event.data.as_deref(), Some([_, 0xA4, 0x04, ..]))
}

fn text(event: &Event, name: &str) -> Option<String> {
    event.extra.text(name)
}

fn take(tap: &mut RecordedTap, event: Event) {
    match (&event.layer, event.dir) {
        (Layer::Apdu, Some(Direction::Out)) if tap.exchanges.len() >= MAX_EXCHANGES => {}
        (Layer::Apdu, Some(Direction::Out)) => tap.exchanges.push(RecordedExchange {
            command: event.data.unwrap_or_default(),
            command_mask: event.mask,
            answer: None,
            answer_mask: Vec::new(),
            out: event.t,
            back: event.t,
        }),
        (Layer::Apdu, Some(Direction::In)) => {
            if let Some(last) = tap.exchanges.last_mut().filter(|e| e.answer.is_none()) {
                last.answer = event.data.map(Ok);
                last.answer_mask = event.mask;
                last.back = event.t;
            }
        }
        (Layer::Chip, None) => {
            let drawn = text(&event, "random").and_then(|digits| hex::decode(digits).ok());
            tap.drawn.extend(drawn.filter(|_| tap.drawn.len() < MAX_EXCHANGES));
        }
        (Layer::Chip, _) => {
            // BEGIN tells the chip the time.
            if let (None, Some([0x80, 0x10, _, _, _, data @ ..])) = (tap.clock, event.data.as_deref()) {
                tap.clock = BeginData::parse(data).map(|begin| begin.clock);
            }
        }
        (Layer::Lock, _) => {
            tap.before_verdict.get_or_insert(tap.exchanges.len());
            tap.verdict.get_or_insert_with(|| RecordedVerdict {
                verdict: text(&event, "verdict").unwrap_or_default(),
                reason: text(&event, "reason"),
                method: text(&event, "method"),
            });
        }
        (Layer::Server, _) => tap.download = true,
        (Layer::Note, _) => {
            let at_phone = text(&event, "at").is_none_or(|at| at == "apdu");
            if let Some(last) = tap.exchanges.last_mut().filter(|e| e.answer.is_none() && at_phone) {
                last.answer = Some(Err(kind(text(&event, "error").as_deref().unwrap_or_default())));
                last.back = event.t;
            }
        }
        _ => {}
    }
}

/// The kind of link error of this name on a tape.
fn kind(name: &str) -> LinkErrorKind {
    match name {
        "card-reset" => LinkErrorKind::CardReset,
        "timeout" => LinkErrorKind::Timeout,
        "malformed" => LinkErrorKind::Malformed,
        "too-long" => LinkErrorKind::TooLong,
        "busy" => LinkErrorKind::Busy,
        "reader" => LinkErrorKind::Reader,
        "cancelled" => LinkErrorKind::Cancelled,
        _ => LinkErrorKind::CardGone,
    }
}
