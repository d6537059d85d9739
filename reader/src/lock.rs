//! The loop of a lock: wait for a card, tap, door, CONTROL FLOW, feedback, wait for removal. Never stuck, whatever the card does.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tapdoor_captures::{Event, Layer, SharedTape};
use tapdoor_chip::{Chip, ChipError, ChipLink, SqliteStore, StoreError};
use tapdoor_link::stop::Stop;
use tapdoor_link::{CardLink, Recorder};
use tapdoor_protocol::door::Reason;

use crate::config::LockConfig;
use crate::control::Control;
use crate::door::Door;
use crate::feedback;
use crate::policy::Delays;
use crate::source::{CardSource, SourceError, SourceErrorKind};
use crate::tap::{self, Tap, TapVerdict};

/// A card that was reset by somebody else is tried once more from the start.
const RETRIES: u32 = 1;

/// The phone of a tap, recorded if there is a tape.
type Phone<'a> = Recorder<&'a mut (dyn CardLink + Send), Option<SharedTape>>;

/// A lock: its configuration, its chip, its door.
pub struct Lock {
    config: LockConfig,
    chip: Chip,
    door: Door,
    delays: Delays,
    tape: Option<SharedTape>,
    taps: u64,
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

    /// The lock with a chip that is ready.
    #[must_use]
    pub fn with_chip(config: LockConfig, chip: Chip) -> Self {
        let door = Door::new(config.door.clone());
        let delays = Delays::new(config.max_delay);
        Self {
            config,
            chip,
            door,
            delays,
            tape: None,
            taps: 0,
        }
    }

    /// Records from now on.
    pub fn record(&mut self, tape: SharedTape) {
        self.tape = Some(tape);
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &LockConfig {
        &self.config
    }

    /// Why the lock's chip could not store something, if that happened.
    pub fn take_store_failure(&mut self) -> Option<StoreError> {
        self.chip.take_failure()
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
            let mut link = session.link;
            let mut phone = self.recorded(link.as_mut());
            let tap = self.authenticate(&mut phone, stop);
            if tap.reset && tries < RETRIES {
                // Somebody else reset the card: the same tap once more, from a clean start.
                tries += 1;
                continue;
            }
            tries = 0;
            if stop.is_stopped() && tap.verdict == TapVerdict::Error {
                return Err(SourceError::cancelled("lock"));
            }
            self.taps += 1;
            self.open(&tap, &mut |text| {
                observe(LockEvent::Trouble(text));
            });
            let go_on = observe(LockEvent::Tap {
                number: self.taps,
                tap: &tap,
            });
            self.tell(&mut phone, &tap, is_acr122);
            if let Some(error) = self.tape.as_ref().and_then(|tape| tape.lock().take_error()) {
                observe(LockEvent::Trouble(&format!(
                    "the tape cannot be written: {error}; the taps go on without it"
                )));
            }
            drop(phone);
            drop(link);
            if !go_on {
                return Ok(());
            }
            source.wait_removal(stop)?;
        }
    }

    /// One tap on a card that is held: verdict, door, CONTROL FLOW, feedback.
    pub fn tap_on(&mut self, link: &mut (dyn CardLink + Send), stop: &Stop, is_acr122: bool, trouble: &mut dyn FnMut(&str)) -> Tap {
        let mut phone = self.recorded(link);
        let tap = self.authenticate(&mut phone, stop);
        self.taps += 1;
        self.open(&tap, trouble);
        self.tell(&mut phone, &tap, is_acr122);
        tap
    }

    fn recorded<'a>(&self, link: &'a mut (dyn CardLink + Send)) -> Phone<'a> {
        let epoch = self.tape.as_ref().map_or_else(Instant::now, |tape| tape.lock().epoch());
        Recorder::new(link, self.tape.clone(), epoch)
    }

    /// From the first SELECT to the verdict.
    fn authenticate(&mut self, phone: &mut Phone<'_>, stop: &Stop) -> Tap {
        if let Some(tape) = &self.tape {
            tape.lock().tap(self.taps + 1);
        }
        let delays = &self.delays;
        let mut pause = |phone| {
            let left = delays.left(phone, Instant::now());
            left.is_zero() || !stop.sleep(left)
        };
        let epoch = self.tape.as_ref().map_or_else(Instant::now, |tape| tape.lock().epoch());
        let chip = Recorder::new(ChipLink::new(&mut self.chip), self.tape.as_ref().map(|t| t.on(Layer::Chip)), epoch);
        tap::run(&self.config, &mut Control::new(chip), phone, now(), &mut pause)
    }

    /// The verdict is carried out: delays, door, tape.
    fn open(&mut self, tap: &Tap, trouble: &mut dyn FnMut(&str)) {
        match (tap.phone, tap.verdict, tap.reason) {
            (Some(id), TapVerdict::Open, _) => self.delays.succeeded(id),
            (Some(id), TapVerdict::Refused, Some(Reason::WrongKey | Reason::ResyncFailed)) => self.delays.failed(id, Instant::now()),
            _ => {}
        }
        if let Err(error) = self.door.apply(self.taps, tap, &time()) {
            trouble(&format!("door: {error}"));
        }
        if let Some(error) = self.chip.take_failure() {
            trouble(&error.to_string());
        }
        self.note(tap);
    }

    /// Best effort: the door has moved, and nothing here changes that.
    fn tell(&self, phone: &mut Phone<'_>, tap: &Tap, is_acr122: bool) {
        if let Some(command) = &tap.control_flow {
            let mut answer = Vec::with_capacity(8);
            let _ = phone.transmit(command, &mut answer);
        }
        if self.config.feedback && is_acr122 && tap.reason != Some(Reason::Torn) {
            feedback::show(*phone.inner_mut(), tap.verdict);
        }
    }

    /// The authentication alone, at a clock of the caller's: no door, no CONTROL FLOW, no record. For simulations and measurements.
    pub fn tap_at(&mut self, phone: &mut dyn CardLink, clock: u32, pause: &mut tap::Pause<'_>) -> Tap {
        tap::run(&self.config, &mut Control::new(ChipLink::new(&mut self.chip)), phone, clock, pause)
    }

    fn note(&self, tap: &Tap) {
        let Some(tape) = &self.tape else { return };
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

/// Seconds since 1970-01-01 UTC; 0 for a clock before that, and the last moment for one after 2106.
#[must_use]
pub fn now() -> u32 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn time() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
