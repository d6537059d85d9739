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
//! time; a thread that was given up gives the card back when its call returns. [`PcscSource::set_answer_timeout`] can switch
//! this off for the exchanges.

use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use pcsc::{Card, Context, Disposition, Error, Protocols, ReaderState, Scope, ShareMode, State};
use tapdoor_link::card::{CardLink, Limits, LinkError, LinkErrorKind};
use tapdoor_link::stop::{Backoff, Stop, StopGuard};
use zeroize::Zeroize;

use super::{
    CardSource, Hold, Observer, Protocol, ReaderInfo, Session, SourceError, SourceErrorKind, SourceEvent, is_contactless, no_observer,
};

const LAYER: &str = "pcsc";
/// T=0 and T=1.
const PROTOCOLS: Protocols = Protocols::ANY;
/// How long to try to get hold of a card that is there.
const HOLD_TIME: Duration = Duration::from_secs(2);
/// Pause between two attempts at that, unless the reader's state changes.
const HOLD_PAUSE: Duration = Duration::from_millis(50);
/// A reader that comes between our look at the list and the wait for changes of the list makes no event.
const LIST_AGAIN: Duration = Duration::from_secs(2);
/// How long a card may take for an answer, unless set otherwise.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it still may when somebody has asked to stop.
const LAST_ANSWER: Duration = Duration::from_millis(300);
/// How long the end of a session may take.
const LEAVE_TIME: Duration = Duration::from_secs(2);
/// The longest R-APDU, as long as the service takes it.
const RECEIVE: usize = 65_546;

/// Whether a reader of this name is an ACR122U, or wants to be taken for one.
#[must_use]
pub fn is_acr122(name: &str) -> bool {
    name.to_ascii_uppercase().contains("ACR122")
}

/// A reader as the service sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderStatus {
    /// The reader's name.
    pub name: String,
    /// Whether a card is there.
    pub present: bool,
    /// Whether that card does not answer.
    pub mute: bool,
    /// Whether a program is connected to the card.
    pub in_use: bool,
    /// Whether that program has it for itself.
    pub exclusive: bool,
    /// The card's answer to reset.
    pub atr: Option<Vec<u8>>,
}

/// Every reader of the service, with its state; none is no error.
///
/// # Errors
/// `NoService`, `Permission` or `Reader`.
pub fn list_readers() -> Result<Vec<ReaderStatus>, SourceError> {
    let context = Context::establish(Scope::User).map_err(service_error)?;
    let names = context.list_readers_owned().map_err(service_error)?;
    let mut states: Vec<_> = names.into_iter().map(|name| ReaderState::new(name, State::UNAWARE)).collect();
    if states.is_empty() {
        return Ok(Vec::new());
    }
    match context.get_status_change(Duration::from_secs(1), &mut states) {
        // A reader that went away meanwhile: the others were not filled in.
        Ok(()) | Err(Error::Timeout | Error::UnknownReader) => {}
        Err(e) => return Err(service_error(e)),
    }
    let status = |state: &ReaderState| {
        let event = state.event_state();
        ReaderStatus {
            name: state.name().to_string_lossy().into_owned(),
            present: event.contains(State::PRESENT),
            mute: event.contains(State::MUTE),
            in_use: event.intersects(State::INUSE | State::EXCLUSIVE),
            exclusive: event.contains(State::EXCLUSIVE),
            atr: Some(state.atr()).filter(|atr| !atr.is_empty()).map(<[u8]>::to_vec),
        }
    };
    Ok(states.iter().map(status).collect())
}

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
    answer_timeout: Option<Duration>,
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

/// What a session that begins knows of its card.
struct About {
    atr: Vec<u8>,
    protocol: Protocol,
    hold: Hold,
}

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
            answer_timeout: Some(ANSWER_TIMEOUT),
        }
    }

    /// How long a card may take for an answer (10 s unless set). Watching that costs two changes of thread for each exchange;
    /// with `None` the caller's thread makes the call itself, and stays in it for as long as driver and card please.
    pub fn set_answer_timeout(&mut self, timeout: Option<Duration>) {
        self.answer_timeout = timeout.map(|timeout| timeout.max(Duration::from_millis(1)));
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
    /// before; `None` if that does not come about within `time`. The thread that does it goes on as the session's.
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
        let (timeout, stop_session) = (self.answer_timeout, stop.clone());
        let session = move || {
            let held = Context::establish(Scope::User)
                .and_then(|context| connect(&context, &name))
                .and_then(|(card, hold)| start(card, hold, reset));
            queueing.store(false, Ordering::SeqCst);
            let (card, about) = match held {
                Ok(held) => held,
                Err(e) => {
                    let _ = done.send(Some(Err(e)));
                    return;
                }
            };
            let Some(timeout) = timeout else {
                // If nobody waits any more, this gives the card back.
                let _ = done.send(Some(Ok((PcscLink::new(limits, Way::Here(card)), about))));
                return;
            };
            let (watched, worker) = Watched::new(timeout, &stop_session);
            let link = PcscLink::new(limits, Way::Thread(watched));
            if let Err(mpsc::SendError(Some(Ok((mut link, _))))) = done.send(Some(Ok((link, about))))
                && let Way::Thread(watched) = &mut link.way
            {
                // Nobody waits any more, and this thread would wait for itself.
                watched.given_up = true;
            }
            worker.run(card);
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

/// Makes a clean start with a card that is held.
fn start(mut card: Card, hold: Hold, reset: bool) -> Result<(HeldCard, About), Error> {
    // Inside another program's connection a reset would break that one; SELECT starts clean enough.
    if hold == Hold::Exclusive && reset {
        card.reconnect(ShareMode::Exclusive, PROTOCOLS, Disposition::ResetCard)?;
    }
    let status = match status(&card) {
        Err(Error::ResetCard) => {
            let mode = if hold == Hold::Exclusive {
                ShareMode::Exclusive
            } else {
                ShareMode::Shared
            };
            card.reconnect(mode, PROTOCOLS, Disposition::LeaveCard)?;
            status(&card)
        }
        status => status,
    };
    let (atr, protocol) = status?;
    let end = if is_contactless(&atr) || hold == Hold::Transaction {
        Disposition::LeaveCard
    } else {
        Disposition::ResetCard
    };
    let card = HeldCard {
        card: Some(card),
        buffer: vec![0; RECEIVE].into_boxed_slice(),
        dirty: 0,
        end,
    };
    Ok((card, About { atr, protocol, hold }))
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

/// Which of the readers `names` is meant; `last` is the name under which it was seen before.
fn choose(fragment: &str, last: &str, names: Vec<String>) -> Result<String, SourceError> {
    if names.is_empty() {
        return Err(SourceError::new(
            SourceErrorKind::NoReader,
            LAYER,
            "the smart card service has no reader",
        ));
    }
    if let Some(name) = names.iter().find(|name| *name == last) {
        return Ok(name.clone());
    }
    let wanted = fragment.to_lowercase();
    let exact = names.iter().find(|name| name.to_lowercase() == wanted);
    if let Some(name) = exact.or_else(|| names.iter().find(|name| name.to_lowercase().contains(&wanted))) {
        if !fragment.is_empty() || names.len() == 1 {
            return Ok(name.clone());
        }
        let mut e = SourceError::new(
            SourceErrorKind::Ambiguous,
            LAYER,
            format!("{} readers, and none was named", names.len()),
        );
        e.readers = names;
        return Err(e);
    }
    let mut e = SourceError::new(SourceErrorKind::NoMatch, LAYER, format!("no reader's name contains \"{fragment}\""));
    e.readers = names;
    Err(e)
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

/// A card that is held, for itself alone or in a transaction.
fn connect(context: &Context, name: &CStr) -> Result<(Card, Hold), Error> {
    match context.connect(name, ShareMode::Exclusive, PROTOCOLS) {
        Ok(card) => Ok((card, Hold::Exclusive)),
        Err(Error::SharingViolation) => Ok((begin_transaction(context, name)?, Hold::Transaction)),
        Err(e) => Err(e),
    }
}

/// A card, shared, inside a transaction that lasts until it is disconnected.
fn begin_transaction(context: &Context, name: &CStr) -> Result<Card, Error> {
    let mut card = context.connect(name, ShareMode::Shared, PROTOCOLS)?;
    let mut begun = card.transaction().map(std::mem::forget);
    if begun == Err(Error::ResetCard) {
        begun = card.reconnect(ShareMode::Shared, PROTOCOLS, Disposition::LeaveCard).and_then(|()| {
            // The guard would end the transaction; disconnecting does.
            card.transaction().map(std::mem::forget)
        });
    }
    match begun {
        Ok(()) => Ok(card),
        Err(e) => {
            leave(card, Disposition::LeaveCard);
            Err(e)
        }
    }
}

fn status(card: &Card) -> Result<(Vec<u8>, Protocol), Error> {
    let (mut names, mut atr) = ([0; 512], [0; pcsc::MAX_ATR_SIZE]);
    let status = card.status2(&mut names, &mut atr)?;
    let protocol = match status.protocol2() {
        Some(pcsc::Protocol::T0) => Protocol::T0,
        Some(pcsc::Protocol::T1) => Protocol::T1,
        Some(pcsc::Protocol::RAW) | None => return Err(Error::ProtoMismatch),
    };
    Ok((status.atr().to_vec(), protocol))
}

fn leave(card: Card, disposition: Disposition) {
    // What fails here has ended already; the handle is closed by its drop.
    let _ = card.disconnect(disposition);
}

/// Tells a service that does not run from one that may not be used.
fn service_error(e: Error) -> SourceError {
    let kind = match e {
        Error::NoService | Error::ServiceStopped | Error::InvalidHandle | Error::CommError | Error::Shutdown => {
            let (kind, detail) = diagnose();
            return SourceError::new(kind, LAYER, format!("{e}: {detail}"));
        }
        Error::NoReadersAvailable | Error::ReaderUnavailable | Error::UnknownReader => SourceErrorKind::NoReader,
        Error::SecurityViolation | Error::NoAccess => SourceErrorKind::Permission,
        Error::SharingViolation => SourceErrorKind::Busy,
        Error::Cancelled => SourceErrorKind::Cancelled,
        _ => SourceErrorKind::Reader,
    };
    SourceError::new(kind, LAYER, e.to_string())
}

/// Why pcscd cannot be reached: its library has one code for all reasons, its socket tells them apart.
#[cfg(all(unix, not(target_os = "macos")))]
fn diagnose() -> (SourceErrorKind, String) {
    use std::io::ErrorKind;
    use std::os::unix::net::UnixStream;

    let path = std::env::var_os("PCSCLITE_CSOCK_NAME").unwrap_or_else(|| "/run/pcscd/pcscd.comm".into());
    let path = std::path::Path::new(&path);
    let shown = path.display();
    match UnixStream::connect(path) {
        Ok(_) => (SourceErrorKind::NoService, format!("pcscd at {shown} hung up; it may be starting")),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => (SourceErrorKind::Permission, format!("{shown}: {e}")),
        Err(e) if e.kind() == ErrorKind::NotFound => (SourceErrorKind::NoService, format!("pcscd does not run: there is no {shown}")),
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
            (SourceErrorKind::NoService, format!("pcscd has died and left {shown} behind"))
        }
        Err(e) => (SourceErrorKind::NoService, format!("{shown}: {e}")),
    }
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn diagnose() -> (SourceErrorKind, String) {
    (SourceErrorKind::NoService, "the smart card service does not run".to_owned())
}

/// One exchange on its way to the card's thread and back. The buffers travel along and are used again.
struct Exchange {
    command: Vec<u8>,
    response: Vec<u8>,
    result: Result<(), Error>,
}

/// What comes back from the card's thread, or past it.
enum Reply {
    Exchange(Exchange),
    /// Somebody asked to stop.
    Stop,
    /// The card was given back.
    Left,
}

/// A card that is held. Dropping it gives the card back.
struct HeldCard {
    card: Option<Card>,
    buffer: Box<[u8]>,
    /// How much of the buffer has held answers.
    dirty: usize,
    end: Disposition,
}

impl HeldCard {
    /// May block for ever.
    fn exchange(&mut self, job: &mut Exchange) {
        job.response.clear();
        let Some(card) = &self.card else { return };
        job.result = card.transmit(&job.command, &mut self.buffer).map(|answer| {
            self.dirty = self.dirty.max(answer.len());
            job.response.extend_from_slice(answer);
        });
    }
}

impl Drop for HeldCard {
    fn drop(&mut self) {
        if let Some(card) = self.card.take() {
            leave(card, self.end);
        }
        // Answers can be secret (CK and IK of a test USIM).
        self.buffer[..self.dirty].zeroize();
    }
}

/// The card's thread.
struct Worker {
    jobs: mpsc::Receiver<Exchange>,
    replies: mpsc::SyncSender<Reply>,
}

impl Worker {
    /// Exchanges until the link is dropped, then gives the card back.
    fn run(self, mut card: HeldCard) {
        for mut job in &self.jobs {
            card.exchange(&mut job);
            if self.replies.send(Reply::Exchange(job)).is_err() {
                break;
            }
        }
        drop(card);
        let _ = self.replies.send(Reply::Left);
    }
}

/// The other end of the card's thread. Dropping it ends the session.
struct Watched {
    jobs: Option<mpsc::SyncSender<Exchange>>,
    replies: mpsc::Receiver<Reply>,
    timeout: Duration,
    /// The card's thread is in a call that does not return.
    given_up: bool,
    stopping: bool,
    _wake: StopGuard,
}

impl Watched {
    fn new(timeout: Duration, stop: &Stop) -> (Self, Worker) {
        let (jobs, queue) = mpsc::sync_channel(1);
        // Room for all that can be under way: an exchange, a stop, the end.
        let (replies, answers) = mpsc::sync_channel(4);
        let stopped = replies.clone();
        let wake = stop.on_stop(move || {
            let _ = stopped.try_send(Reply::Stop);
        });
        let watched = Self {
            jobs: Some(jobs),
            replies: answers,
            timeout,
            given_up: false,
            stopping: false,
            _wake: wake,
        };
        (watched, Worker { jobs: queue, replies })
    }

    /// One exchange, within the time for an answer.
    fn exchange(&mut self, job: Exchange) -> Result<Exchange, LinkError> {
        let fail = |kind, detail: &str| Err(LinkError::new(kind, LAYER, detail));
        if self.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
            return fail(LinkErrorKind::CardGone, "the session has ended");
        }
        let mut left = self.timeout;
        loop {
            match self.replies.recv_timeout(left) {
                Ok(Reply::Exchange(job)) => return Ok(job),
                // An answer that is about to come is waited for, so that a tap is not torn by the stop.
                Ok(Reply::Stop) => {
                    self.stopping = true;
                    self.timeout = self.timeout.min(LAST_ANSWER);
                    left = self.timeout;
                }
                Ok(Reply::Left) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    self.given_up = true;
                    return fail(LinkErrorKind::Reader, "the session's thread has ended");
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.given_up = true;
                    if self.stopping {
                        return fail(LinkErrorKind::Cancelled, "stopped while the card was silent");
                    }
                    let detail = format!("no answer within {:?}; the card was given up", self.timeout);
                    return fail(LinkErrorKind::Timeout, &detail);
                }
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // This ends the card's thread, or will when its call returns.
        self.jobs = None;
        if !self.given_up {
            let end = Instant::now() + LEAVE_TIME;
            // The next session must not find this one in its way.
            while let Ok(Reply::Exchange(_) | Reply::Stop) = self.replies.recv_timeout(end.saturating_duration_since(Instant::now())) {}
        }
    }
}

/// Which thread speaks with the card.
enum Way {
    /// The caller's.
    Here(HeldCard),
    /// The card's own.
    Thread(Watched),
}

/// A card that is held. Dropping it gives the card back.
struct PcscLink {
    way: Way,
    spare: Option<Exchange>,
    limits: Limits,
}

impl PcscLink {
    fn new(limits: Limits, way: Way) -> Self {
        let spare = Exchange {
            command: Vec::with_capacity(261),
            response: Vec::with_capacity(258),
            result: Ok(()),
        };
        Self {
            way,
            spare: Some(spare),
            limits,
        }
    }

    fn exchange(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        let fail = |kind, detail: String| Err(LinkError::new(kind, LAYER, detail));
        if command.is_empty() || command.len() > self.limits.command {
            let detail = format!(
                "a command of {} bytes, where 1 to {} can be sent",
                command.len(),
                self.limits.command
            );
            return fail(LinkErrorKind::TooLong, detail);
        }
        let Some(mut job) = self.spare.take() else {
            return fail(LinkErrorKind::CardGone, "the session has ended".to_owned());
        };
        job.command.clear();
        job.command.extend_from_slice(command);
        let job = match &mut self.way {
            Way::Here(card) => {
                card.exchange(&mut job);
                job
            }
            Way::Thread(watched) => watched.exchange(job)?,
        };
        let result = self.judge(&job, response);
        self.spare = Some(job);
        result
    }

    fn judge(&self, job: &Exchange, response: &mut Vec<u8>) -> Result<(), LinkError> {
        let fail = |kind, detail: String| Err(LinkError::new(kind, LAYER, detail));
        let answer = &job.response;
        match job.result {
            Ok(()) if answer.is_empty() => fail(LinkErrorKind::CardGone, "the card fell silent: an answer without a byte".to_owned()),
            Ok(()) if answer.len() < 2 || answer.len() > self.limits.response => {
                let detail = format!("an answer of {} bytes, where 2 to {} can be", answer.len(), self.limits.response);
                fail(LinkErrorKind::Malformed, detail)
            }
            Ok(()) => {
                response.extend_from_slice(answer);
                Ok(())
            }
            // The library's text for this one speaks of transactions.
            Err(Error::NotTransacted) => fail(
                LinkErrorKind::CardGone,
                "the card fell silent in the middle of the command (NOT_TRANSACTED)".to_owned(),
            ),
            Err(e) => fail(link_error_kind(e), format!("{e} ({e:?})")),
        }
    }
}

impl CardLink for PcscLink {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        self.exchange(command, response).map_err(|e| e.during(command))
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.command.zeroize();
        self.response.zeroize();
    }
}

fn link_error_kind(e: Error) -> LinkErrorKind {
    match e {
        Error::ResetCard => LinkErrorKind::CardReset,
        Error::RemovedCard | Error::NoSmartcard | Error::UnpoweredCard | Error::UnresponsiveCard | Error::NotTransacted => {
            LinkErrorKind::CardGone
        }
        Error::InsufficientBuffer | Error::CommDataLost | Error::InvalidParameter | Error::InvalidValue => LinkErrorKind::Malformed,
        Error::Timeout | Error::WaitedTooLong => LinkErrorKind::Timeout,
        Error::SharingViolation => LinkErrorKind::Busy,
        Error::Cancelled | Error::SystemCancelled => LinkErrorKind::Cancelled,
        _ => LinkErrorKind::Reader,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(fragment: &str, last: &str, names: &[&str]) -> Result<String, SourceErrorKind> {
        choose(fragment, last, names.iter().map(|&name| name.to_owned()).collect()).map_err(|e| e.kind)
    }

    #[test]
    fn which_reader() {
        let two = ["ACS ACR122U PICC Interface 00 00", "ACS ACR122U PICC Interface 00 01"];
        assert_eq!(pick("", "", &[]), Err(SourceErrorKind::NoReader));
        assert_eq!(pick("x", "", &two), Err(SourceErrorKind::NoMatch));
        assert_eq!(pick("", "", &two), Err(SourceErrorKind::Ambiguous));
        assert_eq!(pick("", "", &two[..1]).unwrap(), two[0]);
        assert_eq!(pick("acr122u", "", &two).unwrap(), two[0]);
        assert_eq!(pick("00 01", "", &two).unwrap(), two[1]);
        assert_eq!(pick("acr", two[1], &two).unwrap(), two[1], "the one it was before");
        assert_eq!(pick("", two[1], &two).unwrap(), two[1]);
        assert_eq!(
            pick("acr", "ACS ACR122U PICC Interface 01 00", &two).unwrap(),
            two[0],
            "plugged in again"
        );
        assert_eq!(
            pick("reader", "", &["Other reader 2", "Reader"]).unwrap(),
            "Reader",
            "a whole name before a part"
        );
    }

    #[test]
    fn a_refused_choice_lists_the_readers() {
        let e = choose("x", "", vec!["A".to_owned(), "B".to_owned()]).unwrap_err();
        assert!(e.to_string().contains("A, B"), "{e}");
        assert!(e.to_string().contains("pcsc:FRAGMENT"), "{e}");
    }

    #[test]
    fn acr122_names() {
        assert!(is_acr122("ACS ACR122U PICC Interface 00 00"));
        assert!(is_acr122("acs acr122"));
        assert!(!is_acr122("ACS ACR1252 1S CL Reader"));
    }
}
