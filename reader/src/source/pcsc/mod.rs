//! Readers of the system's smart card service (pcscd, or the one of Windows or macOS).
//!
//! Everything is driven by `SCardGetStatusChange`. What can go away while a [`PcscSource`] waits is outlasted: the card,
//! the reader, and the service itself.
//!
//! **A session starts clean.** A card that has just come was powered up for this session. A card that lay there before,
//! or that an earlier session left there, is reset when the next session takes it. At its end a contactless card is left
//! as it is: a reset would switch the field off and on, which the phone takes for another tap. A contact card is reset,
//! so that no PIN stays verified for the program that comes next.
//!
//! **No call is waited for for ever.** While another program is inside a transaction, `SCardConnect` and
//! `SCardBeginTransaction` block; while a card is silent, `SCardTransmit` does (a driver may have a time-out, vpcd has none).
//! Nothing can cancel them. So each session has a thread and a context of its own, and who waits for it waits for a limited
//! time; a thread that was given up gives the card back when its call returns. The exchanges are the caller's to watch: [`tapdoor_link::attend()`]
//! does it, with [`super::ANSWER_TIMEOUT`].

mod hold;
mod link;
mod readers;

use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use pcsc::{Context, Error, ReaderState, Scope, State};
use tapdoor_link::card::Limits;
use tapdoor_link::stop::{Backoff, Stop};

use super::{Activation, CardSource, Observer, ReaderInfo, Session, SourceError, SourceErrorKind, SourceEvent, no_observer};
use hold::{About, connect, start};
use link::PcscLink;
pub(crate) use readers::choose;
use readers::service_error;

pub use readers::{ReaderStatus, is_acr122, list_readers};

const LAYER: &str = "pcsc";
/// How long to try to get hold of a card that is there.
const HOLD_TIME: Duration = Duration::from_secs(2);
/// Pause between two attempts at that, unless the reader's state changes.
const HOLD_PAUSE: Duration = Duration::from_millis(50);
/// A reader that comes between our look at the list and the wait for changes of the list makes no event.
const LIST_AGAIN: Duration = Duration::from_secs(2);
/// A reader of the system's smart card service.
pub struct PcscSource {
    fragment: String,
    /// The reader's name when it was last seen.
    name: String,
    observer: Observer,
    context: Option<Context>,
    watch: Option<Watch>,
    /// Event count of the card that a session has used, or of whose past we know nothing: to be reset before use.
    used: Option<u32>,
    /// The card of the last `wait_card`.
    tap: Option<Tap>,
    told_service: bool,
    told_reader: bool,
    /// A thread still waits for another program's transaction to end.
    queueing: Arc<AtomicBool>,
}

impl std::fmt::Debug for PcscSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PcscSource")
            .field("fragment", &self.fragment)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

type Held = Result<(PcscLink, About), Error>;

struct Watch {
    state: ReaderState,
    look: Look,
}

/// What the reader's state was.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    present: bool,
    mute: bool,
    /// How many times cards came and went.
    count: u32,
}

enum Seen {
    Reader(Look),
    /// The reader or the service went away and may have come back.
    Lost(Loss),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    Reader,
    Service,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tap {
    /// The card that came at this event count.
    Count(u32),
    /// The card that was there when the service went down.
    AcrossRestart,
}

impl PcscSource {
    /// The reader whose name contains `fragment` (in any case), or the only one if `fragment` is empty.
    ///
    /// # Errors
    /// `NoService`, `Permission`, `NoReader`, `NoMatch` or `Ambiguous`, each with its cure.
    pub fn open(fragment: &str) -> Result<Self, SourceError> {
        let mut source = Self::wait_for(fragment);
        let context = Context::establish(Scope::User).map_err(service_error)?;
        source.name = source.find(&context).map_err(service_error)??;
        source.context = Some(context);
        Ok(source)
    }

    /// The same without looking: the first wait lasts until the service runs and has such a reader.
    #[must_use]
    pub fn wait_for(fragment: &str) -> Self {
        Self {
            fragment: fragment.to_owned(),
            name: String::new(),
            observer: no_observer(),
            context: None,
            watch: None,
            used: None,
            tap: None,
            told_service: false,
            told_reader: false,
            queueing: Arc::default(),
        }
    }

    /// Which reader is ours: the outer error is the service's, the inner one the choice's.
    fn find(&self, context: &Context) -> Result<Result<String, SourceError>, Error> {
        let names: Vec<String> = context
            .list_readers_owned()?
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        Ok(choose(&self.fragment, &self.name, names))
    }

    fn tell(&self, event: &SourceEvent) {
        (self.observer)(event);
    }

    fn lose(&mut self, e: Error) -> Loss {
        self.watch = None;
        if matches!(e, Error::UnknownReader | Error::ReaderUnavailable) {
            return Loss::Reader;
        }
        self.context = None;
        Loss::Service
    }

    /// A context, however long it takes.
    fn context(&mut self, stop: &Stop) -> Result<Context, SourceError> {
        let mut backoff = Backoff::default();
        loop {
            if stop.is_stopped() {
                return Err(SourceError::cancelled(LAYER));
            }
            if let Some(context) = &self.context {
                return Ok(context.clone());
            }
            match Context::establish(Scope::User) {
                Ok(context) => {
                    self.context = Some(context);
                    if std::mem::take(&mut self.told_service) {
                        self.tell(&SourceEvent::ServiceBack);
                    }
                }
                Err(e) => {
                    if !std::mem::replace(&mut self.told_service, true) {
                        self.tell(&SourceEvent::ServiceLost(service_error(e)));
                    }
                    // No event tells that a service starts.
                    let _ = backoff.pause(stop);
                }
            }
        }
    }

    /// Watches the reader if it is there; else waits for a change of the list and says that it was lost.
    fn find_reader(&mut self, context: &Context, stop: &Stop) -> Result<(), Loss> {
        match self.find(context) {
            Ok(Ok(name)) => {
                let Ok(c_name) = CString::new(name.as_str()) else {
                    return Err(Loss::Reader);
                };
                self.name = name;
                let look = Look {
                    present: false,
                    mute: false,
                    count: 0,
                };
                let mut watch = Watch {
                    state: ReaderState::new(c_name, State::UNAWARE),
                    look,
                };
                // Whoever knows nothing is told at once.
                if let Err(e) = context.get_status_change(Duration::from_secs(1), std::slice::from_mut(&mut watch.state)) {
                    return Err(self.lose(e));
                }
                if is_lost(&watch.state) {
                    return Err(Loss::Reader);
                }
                watch.look = look_at(&watch.state);
                watch.state.sync_current_state();
                // Nothing is known of the past of a card that is there already.
                self.used = Some(watch.look.count).filter(|_| watch.look.present);
                self.watch = Some(watch);
                if std::mem::take(&mut self.told_reader) {
                    self.tell(&SourceEvent::ReaderBack(self.name.clone()));
                }
                Ok(())
            }
            Ok(Err(e)) => {
                if !std::mem::replace(&mut self.told_reader, true) {
                    self.tell(&SourceEvent::ReaderLost(e));
                }
                let mut list = [ReaderState::new(pcsc::PNP_NOTIFICATION(), State::UNAWARE)];
                match wait(context, &mut list, LIST_AGAIN, stop) {
                    Ok(()) | Err(Error::Timeout | Error::Cancelled) => Err(Loss::Reader),
                    Err(e) => Err(self.lose(e)),
                }
            }
            Err(e) => Err(self.lose(e)),
        }
    }

    /// What the reader's state is (`now`), or is when it has changed.
    fn see(&mut self, now: bool, stop: &Stop) -> Result<Seen, SourceError> {
        let context = self.context(stop)?;
        let Some(watch) = &mut self.watch else {
            return match self.find_reader(&context, stop) {
                Ok(()) => Ok(self
                    .watch
                    .as_ref()
                    .map_or(Seen::Lost(Loss::Reader), |watch| Seen::Reader(watch.look))),
                Err(loss) => Ok(Seen::Lost(loss)),
            };
        };
        let states = std::slice::from_mut(&mut watch.state);
        let changed = if now {
            context.get_status_change(Duration::ZERO, states)
        } else {
            wait(&context, states, None, stop)
        };
        match changed {
            Ok(()) if is_lost(&watch.state) => {
                self.watch = None;
                Ok(Seen::Lost(Loss::Reader))
            }
            Ok(()) => {
                watch.look = look_at(&watch.state);
                watch.state.sync_current_state();
                Ok(Seen::Reader(watch.look))
            }
            Err(Error::Timeout) => Ok(Seen::Reader(watch.look)),
            Err(Error::Cancelled) if stop.is_stopped() => {
                // What the cancellation may have left behind goes with the context.
                self.context = None;
                self.watch = None;
                Err(SourceError::cancelled(LAYER))
            }
            Err(Error::Cancelled) => Ok(Seen::Reader(watch.look)),
            Err(e) => Ok(Seen::Lost(self.lose(e))),
        }
    }

    /// Tries for a bounded time to get hold of the card that is there; `None` if it did not come to that.
    fn take(&mut self, seen: Look, stop: &Stop) -> Result<Option<Session>, SourceError> {
        let begun = Instant::now();
        self.tap = Some(Tap::Count(seen.count));
        loop {
            let Ok(name) = CString::new(self.name.as_str()) else {
                return Ok(None);
            };
            let left = HOLD_TIME.saturating_sub(begun.elapsed());
            let e = match self.hold(&name, self.used == Some(seen.count), left, stop)? {
                Some(Ok((link, about))) => {
                    self.used = Some(seen.count);
                    return Ok(Some(Session {
                        link: Box::new(link),
                        atr: Some(about.atr).filter(|atr| !atr.is_empty()),
                        protocol: about.protocol,
                        hold: about.hold,
                        activation: Activation::default(),
                    }));
                }
                Some(Err(e)) => e,
                None => Error::SharingViolation,
            };
            match e {
                // In the way of another program, or just gone (a card that comes back within pcscd's 400 ms makes no
                // event), or reset under us: worth another attempt while the card is there.
                Error::SharingViolation
                | Error::NoSmartcard
                | Error::RemovedCard
                | Error::ResetCard
                | Error::UnpoweredCard
                | Error::UnresponsiveCard
                | Error::NotTransacted => {}
                Error::ProtoMismatch | Error::UnsupportedCard | Error::CardUnsupported => {
                    self.tell(&SourceEvent::CardMute(e.to_string()));
                    return Ok(None);
                }
                e => {
                    self.lose(e);
                    return Ok(None);
                }
            }
            if begun.elapsed() >= HOLD_TIME {
                if e == Error::SharingViolation {
                    let detail = format!("another program keeps the card on {}", self.name);
                    return Err(SourceError::new(SourceErrorKind::Busy, LAYER, detail));
                }
                self.tell(&SourceEvent::CardMute(e.to_string()));
                return Ok(None);
            }
            if !self.same_card_after(HOLD_PAUSE, seen, stop)? {
                return Ok(None);
            }
        }
    }

    /// Waits a moment, less if the reader's state changes, and says whether the card is still the one `seen`.
    fn same_card_after(&mut self, pause: Duration, seen: Look, stop: &Stop) -> Result<bool, SourceError> {
        let (Some(context), Some(watch)) = (&self.context, &mut self.watch) else {
            return Ok(false);
        };
        let states = std::slice::from_mut(&mut watch.state);
        match wait(context, states, pause, stop) {
            Err(Error::Timeout) => Ok(true),
            // Not synchronised, so that the next look sees it.
            Ok(()) if is_lost(&watch.state) || look_at(&watch.state) != seen => Ok(false),
            // Another program came or went.
            Ok(()) => {
                watch.state.sync_current_state();
                // It would be a busy loop if it went on coming and going.
                if stop.sleep(Duration::from_millis(5)) {
                    Err(SourceError::cancelled(LAYER))
                } else {
                    Ok(true)
                }
            }
            Err(_) if stop.is_stopped() => Err(SourceError::cancelled(LAYER)),
            Err(e) => {
                self.lose(e);
                Ok(false)
            }
        }
    }

    /// Connects, exclusively or in a transaction of our own, and starts a session, with a `reset` of a card that was used
    /// before; `None` if that does not come about within `time`.
    fn hold(&self, name: &CStr, reset: bool, time: Duration, stop: &Stop) -> Result<Option<Held>, SourceError> {
        // An earlier attempt still waits for the other program.
        if self.queueing.swap(true, Ordering::SeqCst) {
            return Ok(None);
        }
        let (done, result) = mpsc::channel();
        let stopped = done.clone();
        let name = name.to_owned();
        let queueing = Arc::clone(&self.queueing);
        let limits = if is_acr122(&self.name) { Limits::SHORT } else { Limits::EXTENDED };
        let session = move || {
            let held = Context::establish(Scope::User)
                .and_then(|context| connect(&context, &name))
                .and_then(|(card, hold)| start(card, hold, reset));
            queueing.store(false, Ordering::SeqCst);
            // If nobody waits any more, this gives the card back.
            let _ = done.send(Some(held.map(|(card, about)| (PcscLink::new(card, limits), about))));
        };
        if let Err(e) = thread::Builder::new().name("pcsc-session".to_owned()).spawn(session) {
            self.queueing.store(false, Ordering::SeqCst);
            return Err(SourceError::new(SourceErrorKind::Reader, LAYER, format!("no thread: {e}")));
        }
        let _wake = stop.on_stop(move || {
            let _ = stopped.send(None);
        });
        match result.recv_timeout(time) {
            Ok(Some(held)) => Ok(Some(held)),
            Ok(None) => Err(SourceError::cancelled(LAYER)),
            Err(_) => Ok(None),
        }
    }
}

impl CardSource for PcscSource {
    fn describe(&self) -> ReaderInfo {
        let name = if self.name.is_empty() {
            format!("pcsc:{}", self.fragment)
        } else {
            self.name.clone()
        };
        ReaderInfo {
            is_acr122: is_acr122(&name),
            name,
            driver: "pcsc",
            firmware: None,
            mode: "pcsc",
            listen: None,
        }
    }

    fn wait_card(&mut self, stop: &Stop) -> Result<Session, SourceError> {
        let mut now = true;
        // The event count of a card that was tried in vain.
        let mut mute = None;
        self.tap = None;
        loop {
            match self.see(std::mem::take(&mut now), stop)? {
                Seen::Reader(look) if look.present && look.mute => {
                    if mute.replace(look.count) != Some(look.count) {
                        self.tell(&SourceEvent::CardMute("no answer to reset".to_owned()));
                    }
                }
                Seen::Reader(look) if look.present && mute != Some(look.count) => match self.take(look, stop)? {
                    Some(session) => return Ok(session),
                    // A card that could not be taken is tried again when it comes again, not at every change.
                    None => mute = self.watch.as_ref().map(|_| look.count),
                },
                Seen::Reader(_) => {}
                // The count begins anew.
                Seen::Lost(_) => mute = None,
            }
        }
    }

    fn wait_removal(&mut self, stop: &Stop) -> Result<(), SourceError> {
        let mut now = true;
        while let Some(tap) = self.tap {
            match (self.see(std::mem::take(&mut now), stop)?, tap) {
                (Seen::Reader(look), _) if !look.present => self.tap = None,
                (Seen::Reader(look), Tap::Count(count)) if look.count != count => self.tap = None,
                (Seen::Reader(_), Tap::Count(_)) => {}
                // There at the first look after a restart: the phone that was left lying, one tap.
                (Seen::Reader(look), Tap::AcrossRestart) => self.tap = Some(Tap::Count(look.count)),
                (Seen::Lost(Loss::Service), _) => self.tap = Some(Tap::AcrossRestart),
                (Seen::Lost(Loss::Reader), Tap::Count(_)) => self.tap = None,
                // After a restart the service finds its readers one by one.
                (Seen::Lost(Loss::Reader), Tap::AcrossRestart) => {}
            }
        }
        Ok(())
    }

    fn set_observer(&mut self, observer: Observer) {
        self.observer = observer;
    }
}

fn look_at(state: &ReaderState) -> Look {
    let event = state.event_state();
    Look {
        present: event.contains(State::PRESENT),
        mute: event.contains(State::MUTE),
        count: state.event_count(),
    }
}

fn is_lost(state: &ReaderState) -> bool {
    state.event_state().intersects(State::UNKNOWN | State::UNAVAILABLE | State::IGNORE)
}

/// `SCardGetStatusChange` that `stop` ends at once.
fn wait(context: &Context, states: &mut [ReaderState], time: impl Into<Option<Duration>>, stop: &Stop) -> Result<(), Error> {
    let waiting = Arc::new(AtomicBool::new(false));
    let wake = {
        let (context, waiting) = (context.clone(), Arc::clone(&waiting));
        // A cancellation just before the wait begins is lost, so it is repeated until the wait has ended.
        move || {
            for _ in 0..200 {
                if !waiting.load(Ordering::SeqCst) || context.cancel().is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    };
    let _wake = stop.on_stop(wake);
    waiting.store(true, Ordering::SeqCst);
    let result = if stop.is_stopped() {
        Err(Error::Cancelled)
    } else {
        context.get_status_change(time, states)
    };
    waiting.store(false, Ordering::SeqCst);
    if stop.is_stopped() { Err(Error::Cancelled) } else { result }
}
