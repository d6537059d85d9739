//! The loop of a lock: wait for a card, tap, door, CONTROL FLOW, feedback, wait for removal. Never stuck, whatever the card does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tapdoor_agent::DownloadEvent;
use tapdoor_captures::{Event, Layer, SharedTape};
use tapdoor_chip::{Chip, ChipError, ChipLink, SqliteStore, StoreError};
use tapdoor_link::stop::Stop;
use tapdoor_link::{Abandoned, Attended, Attention, CardLink, Exchange, Observer, Recorder, attend, attend_and_hear};
use tapdoor_protocol::door::Reason;
use tapdoor_protocol::identity::Request;

use crate::config::LockConfig;
use crate::control::Control;
use crate::door::Door;
use crate::download::Downloads;
use crate::drawn::Drawn;
use crate::feedback;
use crate::own_chip::{OwnChip, SharedChip};
use crate::policy::Delays;
use crate::source::{ANSWER_TIMEOUT, CardSource, SourceError, SourceErrorKind};
use crate::tap::{self, Host, Tap, TapVerdict};
use crate::updates::{Administration, Updates};

/// A card that was reset by somebody else is tried once more from the start.
const RETRIES: u32 = 1;

/// How long an answer is waited for. A source that watches the time itself knows more about what happened, so it goes first.
const PATIENCE: Duration = ANSWER_TIMEOUT.saturating_add(Duration::from_millis(500));

/// A lock: its configuration, its chip, its door.
pub struct Lock {
    worker: Worker,
    door: Door,
    taps: u64,
}

/// What a tap needs, for the thread that runs it.
#[derive(Clone)]
struct Worker {
    config: Arc<LockConfig>,
    chip: SharedChip,
    delays: Arc<Mutex<Delays>>,
    tape: Option<SharedTape>,
    downloads: Option<Downloads>,
}

/// What the loop tells while it runs.
#[derive(Debug)]
pub enum LockEvent<'a> {
    /// A tap is decided.
    Tap {
        /// Its number, from 1.
        number: u64,
        /// Everything about it.
        tap: &'a Tap,
    },
    /// How a download goes, during a tap.
    Download(&'a DownloadEvent),
    /// Something went wrong that does not end the loop.
    Trouble(&'a str),
}

impl Lock {
    /// Personalises the lock's chip in its store and makes the lock.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn new(config: LockConfig) -> Result<Self, ChipError> {
        let store = SqliteStore::open(&config.store)?;
        Self::with_store(config, Box::new(store))
    }

    /// The same with another store.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn with_store(config: LockConfig, store: Box<dyn tapdoor_chip::Store>) -> Result<Self, ChipError> {
        let chip = Chip::personalise(store, &config.personalisation)?;
        Ok(Self::with_chip(config, chip))
    }

    /// A lock whose chip's random numbers are on the tape, ephemeral keys included: for laboratories.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn in_the_open(config: LockConfig, tape: SharedTape) -> Result<Self, ChipError> {
        let mut store = SqliteStore::open(&config.store)?;
        config.personalisation.check()?;
        tapdoor_chip::Store::personalise(&mut store, &config.personalisation)?;
        let chip = Chip::open_with(Box::new(store), Box::new(Drawn::new(tape.clone())))?;
        let mut lock = Self::with_chip(config, chip);
        lock.record(tape);
        Ok(lock)
    }

    /// The lock with a chip that is ready.
    #[must_use]
    pub fn with_chip(config: LockConfig, chip: Chip) -> Self {
        let door = Door::new(config.door.clone());
        let delays = Delays::new(config.max_delay);
        Self {
            worker: Worker {
                config: Arc::new(config),
                chip: SharedChip::new(chip),
                delays: Arc::new(Mutex::new(delays)),
                tape: None,
                downloads: None,
            },
            door,
            taps: 0,
        }
    }

    /// Records from now on.
    pub fn record(&mut self, tape: SharedTape) {
        self.worker.tape = Some(tape);
    }

    /// Asks this server for applications that phones lack, from now on.
    pub fn download_from(&mut self, downloads: Downloads) {
        self.worker.downloads = Some(downloads);
    }

    /// What serves the lock's own chip between taps, for a thread of its own; `None` without a server.
    #[must_use]
    pub fn administration(&self) -> Option<Administration> {
        let (downloads, config) = (self.worker.downloads.as_ref()?, self.config());
        let updates = config.server.as_ref().map_or(Updates::OnRequest, |server| server.updates);
        let chip = self.worker.chip.clone();
        Some(Administration::new(downloads.server().clone(), config.id, chip, updates))
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &LockConfig {
        &self.worker.config
    }

    /// Why the lock's chip could not store something, if that happened.
    pub fn take_store_failure(&mut self) -> Option<StoreError> {
        self.worker.chip.lock().take_failure()
    }

    /// Waits for taps until `observe` says that it is enough (`false`) or somebody stops.
    ///
    /// # Errors
    /// [`SourceError`] when the source gives no cards any more; `Cancelled` after `stop`.
    pub fn run(
        &mut self,
        source: &mut dyn CardSource,
        stop: &Stop,
        observe: &mut dyn FnMut(LockEvent<'_>) -> bool,
    ) -> Result<(), SourceError> {
        let mut tries = 0;
        loop {
            let session = match source.wait_card(stop) {
                Ok(session) => session,
                Err(error) if error.kind == SourceErrorKind::Busy => {
                    observe(LockEvent::Trouble(&error.to_string()));
                    source.wait_removal(stop)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let is_acr122 = source.describe().is_acr122;
            let (worker, number, stopped) = (self.worker.clone(), self.taps + 1, stop.clone());
            let begun = Instant::now();
            // Held here and not by the worker: a tap that is abandoned must not keep the administration waiting for ever.
            let chip = self.worker.chip.clone();
            let no_administration = chip.tap();
            let work = move |link: &mut Attended<_>, tell: &dyn Fn(DownloadEvent)| {
                worker.authenticate(link, number, &stopped, is_acr122, &|event| tell(event.clone()))
            };
            let mut hear = |event: DownloadEvent| {
                observe(LockEvent::Download(&event));
            };
            let (link, tap) = match attend_and_hear(session.link, PATIENCE, stop, work, &mut hear) {
                Ok((link, tap)) => (Some(link), tap),
                Err(abandoned) => (None, self.worker.abandoned(&abandoned, number, begun)),
            };
            if tap.reset && tries < RETRIES {
                // Somebody else reset the card: the same tap once more, from a clean start.
                tries += 1;
                continue;
            }
            tries = 0;
            if stop.is_stopped() && tap.verdict == TapVerdict::Error {
                return Err(SourceError::cancelled("lock"));
            }
            self.taps = number;
            let moved = self.open(&tap, &mut |text| {
                observe(LockEvent::Trouble(text));
            });
            drop(no_administration);
            let go_on = observe(LockEvent::Tap { number, tap: &tap });
            if let Some(link) = link {
                let worker = self.worker.clone();
                // Best effort: a phone that is silent now is let go.
                let _ = attend(link, PATIENCE, stop, move |link| worker.tell(link, &tap, moved, is_acr122));
            }
            if let Some(error) = self.worker.tape.as_ref().and_then(|tape| tape.lock().take_error()) {
                observe(LockEvent::Trouble(&format!(
                    "the tape cannot be written: {error}; the taps go on without it"
                )));
            }
            if !go_on {
                return Ok(());
            }
            source.wait_removal(stop)?;
        }
    }

    /// One tap on a card that is held: verdict, door, CONTROL FLOW, feedback. For links that always come back.
    pub fn tap_on(&mut self, link: &mut (dyn CardLink + Send), stop: &Stop, is_acr122: bool, trouble: &mut dyn FnMut(&str)) -> Tap {
        let mut phone = Attended::unwatched(link);
        let tap = self.worker.authenticate(&mut phone, self.taps + 1, stop, is_acr122, &|_| ());
        self.taps += 1;
        let moved = self.open(&tap, trouble);
        self.worker.tell(&mut phone, &tap, moved, is_acr122);
        tap
    }

    /// The verdict is carried out: delays, door, tape. Whether the door did what it must.
    fn open(&mut self, tap: &Tap, trouble: &mut dyn FnMut(&str)) -> bool {
        match (tap.phone, tap.verdict, tap.reason) {
            (Some(id), TapVerdict::Open, _) => self.worker.delays().succeeded(id),
            (Some(id), TapVerdict::Refused, Some(Reason::WrongKey | Reason::ResyncFailed)) => {
                self.worker.delays().failed(id, Instant::now());
            }
            _ => {}
        }
        let applied = self.door.apply(self.taps, tap, &time());
        for error in [&applied.logged, &applied.moved].into_iter().filter_map(|r| r.as_ref().err()) {
            trouble(&format!("door: {error}"));
        }
        if let Some(error) = self.take_store_failure() {
            trouble(&error.to_string());
        }
        self.note(tap);
        applied.moved.is_ok()
    }

    /// The authentication alone, at a clock of the caller's: no door, no CONTROL FLOW, no record. For simulations and measurements.
    pub fn tap_at(&mut self, phone: &mut dyn CardLink, clock: u32, pause: &mut tap::Pause<'_>) -> Tap {
        let mut chip = self.worker.chip.lock();
        let host = Host::alone(pause);
        tap::run(&self.worker.config, &mut Control::new(ChipLink::new(&mut chip)), phone, clock, host)
    }

    fn note(&self, tap: &Tap) {
        let Some(tape) = &self.worker.tape else { return };
        let mut tape = tape.lock();
        let mut event = Event::new(tape.now(), Layer::Lock)
            .tap(self.taps)
            .text(match tap.reason {
                Some(reason) => format!("{}: {} ({})", tap.verdict.name(), reason.name(), tap.detail),
                None => format!("{}: {}", tap.verdict.name(), tap.detail),
            })
            .with("verdict", &tap.verdict.name())
            .with("reason", &tap.reason.map(Reason::name))
            .with("method", &tap.method.map(|m| m.name()));
        for warning in &tap.warnings {
            event = event.with("warning", &warning.to_string());
        }
        tape.event(&event);
    }
}

impl Worker {
    fn delays(&self) -> MutexGuard<'_, Delays> {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn epoch(&self) -> Instant {
        self.tape.as_ref().map_or_else(Instant::now, |tape| tape.lock().epoch())
    }

    /// What is sent on this is recorded, as long as somebody waits for the answer.
    fn recorded<'a, L: CardLink>(&self, link: &'a mut Attended<L>) -> Recorder<&'a mut Attended<L>, Option<Attentive>> {
        let attention = link.attention();
        let observer = self.tape.clone().map(|tape| Attentive { tape, attention });
        Recorder::new(link, observer, self.epoch())
    }

    /// From the first SELECT to the verdict.
    fn authenticate<L: CardLink>(
        &self,
        link: &mut Attended<L>,
        number: u64,
        stop: &Stop,
        is_acr122: bool,
        tell: &dyn Fn(&DownloadEvent),
    ) -> Tap {
        if let Some(tape) = &self.tape {
            tape.lock().tap(number);
        }
        let mut pause = |phone| {
            let left = self.delays().left(phone, Instant::now());
            left.is_zero() || !stop.sleep(left)
        };
        let chip = OwnChip::new(&self.chip, link.attention());
        let chip = Recorder::new(chip, self.tape.as_ref().map(|t| t.on(Layer::Chip)), self.epoch());
        let mut fetch = self.downloads.as_ref().map(|downloads| {
            move |request: &Request| {
                self.server_note(number, "asks the server for the application that the phone lacks");
                downloads.fetch(request, &self.chip, stop, &mut |event| tell(event))
            }
        });
        let host = Host {
            pause: &mut pause,
            fetch: fetch.as_mut().map(|fetch| fetch as &mut tap::Fetch<'_>),
            leds: is_acr122 && self.config.feedback,
        };
        tap::run(&self.config, &mut Control::new(chip), self.recorded(link), now(), host)
    }

    fn server_note(&self, number: u64, text: &str) {
        if let Some(tape) = &self.tape {
            let mut tape = tape.lock();
            let event = Event::new(tape.now(), Layer::Server).tap(number).text(text);
            tape.event(&event);
        }
    }

    /// A tap whose card fell silent for ever.
    fn abandoned(&self, abandoned: &Abandoned, number: u64, begun: Instant) -> Tap {
        if let Some(tape) = &self.tape
            && !abandoned.command.is_empty()
        {
            let mut tape = tape.lock();
            let epoch = tape.epoch();
            tape.tap(number);
            tape.exchange_on(
                &Layer::Apdu,
                &Exchange {
                    start: abandoned.since.saturating_duration_since(epoch),
                    end: epoch.elapsed(),
                    command: &abandoned.command,
                    result: Err(&abandoned.error),
                },
            );
        }
        Tap::abandoned(abandoned, begun.elapsed())
    }

    /// Best effort: the door has moved, or not, and nothing here changes that.
    fn tell<L: CardLink>(&self, link: &mut Attended<L>, tap: &Tap, moved: bool, is_acr122: bool) {
        let told = tap.control_flow.as_ref().or(tap.stuck.as_ref().filter(|_| !moved));
        if let Some(command) = told {
            let mut answer = Vec::with_capacity(8);
            let _ = self.recorded(link).transmit(command, &mut answer);
        }
        if self.config.feedback && is_acr122 && tap.reason != Some(Reason::Torn) {
            feedback::show(link, tap.verdict);
        }
    }
}

/// Keeps answers that come too late off the tape: it is at another tap by then.
struct Attentive {
    tape: SharedTape,
    attention: Attention,
}

impl Observer for Attentive {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        if !self.attention.is_abandoned() {
            self.tape.exchange(exchange);
        }
    }
}

/// Seconds since 1970-01-01 UTC; 0 for a clock before that, and the last moment for one after 2106.
#[must_use]
pub fn now() -> u32 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn time() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
