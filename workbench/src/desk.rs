//! A reader with the card that lies on it: held from one command to the next, and never waited for longer than was agreed.
//!
//! Scripts, the shell and the replay of commands all work at a desk. It sends exactly the bytes it is given.

use std::thread;
use std::time::{Duration, Instant};

use tapdoor_captures::{Event, Layer, SharedTape};
use tapdoor_link::stop::{Stop, StopGuard};
use tapdoor_link::{CardLink, Exchange, Limits, LinkError, LinkErrorKind, attend};
use tapdoor_protocol::apdu::Command;
use tapdoor_reader::source::{ANSWER_TIMEOUT, CardSource, ReaderInfo, SourceErrorKind};
use tapdoor_reader::{Session, SourceError};

/// An answer and how long the card took for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// R-APDU: data and status word, at least 2 bytes.
    pub bytes: Vec<u8>,
    /// The card's time.
    pub time: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The link to the card.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The reader.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Nobody tapped.
    #[error("no card came to {reader} within {:.1} s; tap it, or give it longer with --wait", .limit.as_secs_f64())]
    NoCard {
        /// Which reader.
        reader: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The card lies there still.
    #[error("the card was not taken away from {reader} within {:.1} s", .limit.as_secs_f64())]
    NotRemoved {
        /// Which reader.
        reader: String,
        /// How long was waited.
        limit: Duration,
    },
    /// Somebody asked to stop.
    #[error("stopped")]
    Stopped,
}

impl DeskError {
    /// Whether somebody asked to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        match self {
            Self::Stopped => true,
            Self::Link(error) => error.kind == LinkErrorKind::Cancelled,
            Self::Source(error) => error.kind == SourceErrorKind::Cancelled,
            _ => false,
        }
    }
}

/// A reader, and the card that is held.
pub struct Desk {
    source: Box<dyn CardSource>,
    info: ReaderInfo,
    link: Option<Box<dyn CardLink + Send>>,
    atr: Option<Vec<u8>>,
    /// What the card's link was told to listen to, and what tells it.
    waiting: Option<(Stop, StopGuard)>,
    /// How long a card is waited for.
    pub wait: Duration,
    stop: Stop,
    tape: Option<SharedTape>,
    taps: u64,
    response: Vec<u8>,
    heard: Option<Vec<Heard>>,
    selected: Option<Vec<u8>>,
}

/// A command, and its answer if there was one.
pub type Heard = (Vec<u8>, Option<Vec<u8>>);

impl Desk {
    /// A desk at this reader; `wait` is how long a card is waited for.
    #[must_use]
    pub fn new(source: Box<dyn CardSource>, wait: Duration, stop: &Stop) -> Self {
        Self {
            info: source.describe(),
            source,
            link: None,
            atr: None,
            waiting: None,
            wait,
            stop: stop.clone(),
            tape: None,
            taps: 0,
            response: Vec::with_capacity(300),
            heard: None,
            selected: None,
        }
    }

    /// Records from now on, frames too where the reader has them.
    pub fn record(&mut self, tape: SharedTape) {
        self.source.record_frames(Some(tape.clone()));
        self.tape = Some(tape);
    }

    /// Records no more.
    pub fn stop_recording(&mut self) {
        self.source.record_frames(None);
        self.tape = None;
    }

    /// Remembers every exchange from now on.
    pub fn listen(&mut self) {
        self.heard = Some(Vec::new());
    }

    /// What was remembered; from now on nothing is.
    pub fn heard(&mut self) -> Vec<Heard> {
        self.heard.take().unwrap_or_default()
    }

    /// What the reader is.
    #[must_use]
    pub fn info(&self) -> &ReaderInfo {
        &self.info
    }

    /// Whether a card is held.
    #[must_use]
    pub fn has_card(&self) -> bool {
        self.link.is_some()
    }

    /// The card's ATR, while one is held and has one.
    #[must_use]
    pub fn atr(&self) -> Option<&[u8]> {
        self.atr.as_deref().filter(|_| self.has_card())
    }

    /// The AID by which an application was selected last on the card that is held.
    #[must_use]
    pub fn selected(&self) -> Option<&[u8]> {
        self.selected.as_deref()
    }

    /// What asks to stop from now on.
    pub fn stopped_by(&mut self, stop: &Stop) {
        self.stop = stop.clone();
        if let Some((own, _)) = self.waiting.take() {
            self.waiting = Some(tied(own, stop));
        }
    }

    /// Who may ask to stop.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The reader is told to whom it reports.
    pub fn observed_by(&mut self, observer: tapdoor_reader::source::Observer) {
        self.source.set_observer(observer);
    }

    /// Lets go of the card; it may stay where it is.
    pub fn release(&mut self) {
        self.link = None;
        self.atr = None;
        self.waiting = None;
        self.selected = None;
    }

    /// Waits until a card is held, unless one is.
    ///
    /// # Errors
    /// [`DeskError`].
    pub fn wait_card(&mut self) -> Result<(), DeskError> {
        if self.link.is_some() {
            return Ok(());
        }
        let (session, waiting) = limited(&self.stop, self.wait, |stop| self.source.wait_card(stop)).map_err(|error| match error {
            Some(error) => error.into(),
            None if self.stop.is_stopped() => DeskError::Stopped,
            None => DeskError::NoCard {
                reader: self.info.name.clone(),
                limit: self.wait,
            },
        })?;
        self.waiting = Some(waiting);
        self.hold(session);
        Ok(())
    }

    fn hold(&mut self, session: Session) {
        self.taps += 1;
        if let Some(tape) = &self.tape {
            tape.lock().tap(self.taps);
        }
        self.link = Some(session.link);
        self.atr = session.atr;
    }

    /// Lets go of the card and takes it again, from a clean start.
    ///
    /// # Errors
    /// [`DeskError`].
    pub fn reset(&mut self) -> Result<(), DeskError> {
        self.release();
        self.wait_card()
    }

    /// Waits until the card is gone.
    ///
    /// # Errors
    /// [`DeskError`].
    pub fn wait_removal(&mut self) -> Result<(), DeskError> {
        self.release();
        let outcome = limited(&self.stop, self.wait, |stop| self.source.wait_removal(stop));
        outcome.map(|_| ()).map_err(|error| match error {
            Some(error) => error.into(),
            None if self.stop.is_stopped() => DeskError::Stopped,
            None => DeskError::NotRemoved {
                reader: self.info.name.clone(),
                limit: self.wait,
            },
        })
    }

    /// Sends exactly these bytes; waits for a card first if none is held.
    ///
    /// # Errors
    /// [`DeskError`]. When the card is gone or given up, none is held any more.
    pub fn transmit(&mut self, command: &[u8]) -> Result<Answer, DeskError> {
        let mut bytes = Vec::with_capacity(64);
        let time = self.transmit_into(command, &mut bytes)?;
        Ok(Answer { bytes, time })
    }

    /// The same into a buffer of the caller's.
    ///
    /// # Errors
    /// As [`Desk::transmit`].
    pub fn transmit_into(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<Duration, DeskError> {
        self.wait_card()?;
        if self.stop.is_stopped() {
            return Err(DeskError::Stopped);
        }
        let started = Instant::now();
        let outcome = self.exchange(command, response);
        let ended = Instant::now();
        if let Some(tape) = &self.tape {
            let mut tape = tape.lock();
            let epoch = tape.epoch();
            tape.exchange_on(
                &Layer::Apdu,
                &Exchange {
                    start: started.saturating_duration_since(epoch),
                    end: ended.saturating_duration_since(epoch),
                    command,
                    result: outcome.as_ref().map(|()| response.as_slice()),
                },
            );
        }
        if let Some(heard) = &mut self.heard {
            heard.push((command.to_vec(), outcome.is_ok().then(|| response.clone())));
        }
        match outcome {
            Ok(()) => {
                if let Some(aid) = selects(command).filter(|_| matches!(response.as_slice(), [.., 0x90, 0x00] | [.., 0x61, _])) {
                    self.selected = Some(aid.to_vec());
                }
                Ok(ended.saturating_duration_since(started))
            }
            Err(error) => {
                if !matches!(error.kind, LinkErrorKind::TooLong | LinkErrorKind::Malformed) {
                    self.release();
                }
                Err(error.into())
            }
        }
    }

    fn exchange(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        let Some(mut link) = self.link.take() else {
            return Err(LinkError::new(LinkErrorKind::CardGone, "desk", "no card is held").during(command));
        };
        // A phone in this process keeps its own time, and a thread for each exchange would cost more than the exchange.
        if matches!(self.info.driver, "sim" | "tape") {
            let outcome = link.transmit(command, response);
            self.link = Some(link);
            return checked(outcome, command, response);
        }
        let (sent, mut buffer) = (command.to_vec(), std::mem::take(&mut self.response));
        let work = move |link: &mut tapdoor_link::Attended<Box<dyn CardLink + Send>>| {
            let outcome = link.transmit(&sent, &mut buffer);
            (outcome, buffer)
        };
        match attend(link, ANSWER_TIMEOUT, &self.stop, work) {
            Ok((link, (outcome, buffer))) => {
                self.link = Some(link);
                response.extend_from_slice(&buffer);
                self.response = buffer;
                checked(outcome, command, response)
            }
            Err(abandoned) => Err(abandoned.error),
        }
    }

    /// A remark on the tape, if one is recorded.
    pub fn note(&self, text: &str) {
        if let Some(tape) = &self.tape {
            tape.lock().note(text);
        }
    }

    /// A verdict on the tape, if one is recorded.
    pub fn note_lock(&self, event: impl FnOnce(u64) -> Event) {
        if let Some(tape) = &self.tape {
            let mut tape = tape.lock();
            let event = event(tape.now());
            tape.event(&event);
        }
    }

    /// The tape, if one is recorded.
    #[must_use]
    pub fn tape(&self) -> Option<&SharedTape> {
        self.tape.as_ref()
    }
}

/// What a SELECT by AID names.
fn selects(command: &[u8]) -> Option<&[u8]> {
    // A look at two bytes first: this is on the way of every step of a script.
    let [_, 0xA4, 0x04, ..] = command else { return None };
    Command::parse(command).ok().filter(|c| c.plain_cla() == 0x00).map(|c| c.data)
}

/// An answer shorter than a status word is none, whoever gave it.
fn checked(outcome: Result<(), LinkError>, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
    outcome?;
    if response.len() < 2 {
        let detail = format!("an answer of {} bytes, shorter than a status word", response.len());
        response.clear();
        return Err(LinkError::new(LinkErrorKind::Malformed, "desk", detail).during(command));
    }
    Ok(())
}

/// The desk as the link of a tap.
impl CardLink for Desk {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        match self.transmit_into(command, response) {
            Ok(_) => Ok(()),
            Err(DeskError::Link(error)) => Err(error),
            Err(error) => {
                let kind = if error.is_stopped() {
                    LinkErrorKind::Cancelled
                } else {
                    LinkErrorKind::CardGone
                };
                Err(LinkError::new(kind, "desk", error.to_string()).during(command))
            }
        }
    }

    fn limits(&self) -> Limits {
        self.link.as_ref().map_or(Limits::SHORT, |link| link.limits())
    }
}

/// `own` is stopped when `stop` is.
fn tied(own: Stop, stop: &Stop) -> (Stop, StopGuard) {
    let other = own.clone();
    let guard = stop.on_stop(move || other.stop());
    (own, guard)
}

/// Does `work` until it is done, `limit` is over or `stop` asks to end; the error is `None` for one of the latter two. A link that `work` makes
/// goes on listening to what is returned beside it.
fn limited<T>(
    stop: &Stop,
    limit: Duration,
    work: impl FnOnce(&Stop) -> Result<T, SourceError>,
) -> Result<(T, (Stop, StopGuard)), Option<SourceError>> {
    let tied = tied(Stop::new(), stop);
    let (late, done) = (tied.0.clone(), Stop::new());
    let watched = done.clone();
    let watch = thread::Builder::new().name("wait".to_owned()).spawn(move || {
        if !watched.sleep(limit) {
            late.stop();
        }
    });
    let outcome = work(&tied.0);
    let ended = tied.0.is_stopped();
    done.stop();
    if let Ok(watch) = watch {
        let _ = watch.join();
    }
    match outcome {
        Ok(made) => Ok((made, tied)),
        Err(error) if error.kind == SourceErrorKind::Cancelled && ended => Err(None),
        Err(error) => Err(Some(error)),
    }
}
