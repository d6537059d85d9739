//! [`Stage`]: a lock and a phone that share one method, and the field between them.
//!
//! The phone's work costs no simulated time, so that what is measured is the air. The phone's chip keeps count of the locks that proved
//! themselves to it: no door may open without that.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tapdoor_captures::{FieldTape, SharedTape};
use tapdoor_chip::{Chip, ChipLink, SqliteStore};
use tapdoor_hce_card::radio::{Appearance, Pace, RadioCard, UidSource};
use tapdoor_hce_card::serve::Card;
use tapdoor_link::field::{FieldEvent, FieldObserver, converse};
use tapdoor_link::{CardLink, FieldFaults, FieldLink, FieldPlan, FieldRecorder, IsoDepLink};
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::door::{Event, Reason};
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::rf::crc;
use tapdoor_protocol::rf::frame::{BitRate, Frame, RxFrame};
use tapdoor_protocol::rf::iso14443::dep::activate::Wishes;
use tapdoor_protocol::rf::iso14443::type_a::Uid;
use tapdoor_protocol::rf::polling::{Plan, Round};
use tapdoor_protocol::rf::time::{self, Ticks};
use tapdoor_reader::config::LockConfig;
use tapdoor_reader::control::Control;
use tapdoor_reader::tap::Host;
use tapdoor_reader::{TapVerdict, lock, tap};
use tapdoor_simulator::Field;

use super::bench::Way;
use crate::bench::BenchError;
use crate::site::Site;

/// The lock gives a tap up for which no card was found, or that was torn, when so much time has passed since the field came.
pub const PATIENCE: Ticks = Ticks::from_millis(700);
/// A torn tap is begun again so many times within that.
pub const ATTEMPTS: u32 = 3;
/// Between two rounds of polling.
const PAUSE: Ticks = Ticks::from_millis(10);

/// What went over the air in a tap, as the lock's reader saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// Frames of both directions.
    pub frames: u64,
    /// Bytes to the phone, checksums included; a frame of odd bits counts its bytes.
    pub sent: u64,
    /// Bytes from the phone.
    pub received: u64,
    /// How long frames were on the air.
    #[serde(skip)]
    pub on_air: Ticks,
}

impl Traffic {
    fn add(&mut self, frame: &Frame<'_>, sent: bool) {
        let length = frame.data.len() + if frame.crc { crc::LEN } else { 0 };
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        self.frames += 1;
        self.on_air += frame.air_time();
        if sent {
            self.sent += length;
        } else {
            self.received += length;
        }
    }
}

/// Counts what passes, and writes it on a tape if there is one.
#[derive(Default)]
struct Counter {
    traffic: Traffic,
    tape: Option<FieldTape>,
}

impl FieldObserver for Counter {
    fn happened(&mut self, event: &FieldEvent<'_>) {
        match event {
            FieldEvent::Sent { frame, .. } => self.traffic.add(frame, true),
            FieldEvent::Received { frame, .. } => self.traffic.add(frame, false),
            FieldEvent::Field { .. } | FieldEvent::Silence { .. } => {}
        }
        self.tape.happened(event);
    }
}

/// A phone's chip, shown to the field.
struct Shown {
    chip: Chip,
    /// How often a lock proved itself to it.
    proofs: Arc<AtomicU64>,
}

impl Card for Shown {
    fn power_on(&mut self) {
        self.chip.power_on();
    }

    fn power_off(&mut self) {
        self.chip.power_off();
    }

    fn reset(&mut self) {
        self.chip.power_on();
    }

    fn atr(&self) -> &[u8] {
        &[]
    }

    fn process(&mut self, command: &[u8], response: &mut Vec<u8>) {
        self.chip.process(command, response);
        let proofs = self.chip.drain_events();
        let proofs = proofs
            .filter(|event| matches!(event.event, Event::Authenticated { .. } | Event::AliroReader { .. }))
            .count();
        self.proofs.fetch_add(u64::try_from(proofs).unwrap_or(0), Ordering::SeqCst);
    }
}

/// What came of a tap.
#[derive(Clone, Debug)]
pub struct AirTap {
    /// Whether the door opened.
    pub verdict: TapVerdict,
    /// Why not.
    pub reason: Option<Reason>,
    /// What happened, in words.
    pub detail: String,
    /// From the moment the field came to the end of the answer to S(DESELECT), or to when the lock gave up.
    pub time: Ticks,
    /// How often a session with the phone was begun.
    pub sessions: u32,
    /// APDUs of the last session, CONTROL FLOW aside.
    pub apdus: u64,
    /// Whether in the last session the lock proved itself to the phone.
    pub phone_agrees: bool,
    /// What passed.
    pub traffic: Traffic,
}

/// A lock, a phone and a field.
pub struct Stage {
    config: LockConfig,
    lock: Chip,
    clock: u32,
    link: FieldRecorder<FieldFaults<Field>, Counter>,
    proofs: Arc<AtomicU64>,
    plan: Plan,
    tell: bool,
    rx: RxFrame,
}

impl Stage {
    /// A new site with a lock and a phone in memory, that authenticate this way, and ISO-DEP at up to `rate`.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn new(way: Way, rate: BitRate) -> Result<Self, BenchError> {
        let site = Site::generate(1, false)?;
        let phone = site.phones.first().copied().unwrap_or(PhoneId([0; 8]));
        let mut text = site.lock_toml();
        if !way.fast {
            text = text.replace("\n[aliro]\n", "\n[aliro]\nfast = false\n");
        }
        let mut config = LockConfig::parse(Path::new("lock.toml"), &text)?;
        config.methods = vec![way.method];
        config.algorithm = Algorithm::Milenage;
        let memory = || SqliteStore::in_memory().map_err(tapdoor_chip::ChipError::from);
        let lock = Chip::personalise(Box::new(memory()?), &config.personalisation)?;
        let chip = Chip::personalise(Box::new(memory()?), &site.phone_chip(phone))?;
        let proofs = Arc::new(AtomicU64::new(0));
        let shown = Shown {
            chip,
            proofs: Arc::clone(&proofs),
        };
        let appearance = Appearance {
            // A fixed one, so that the same tap takes the same time.
            uid: Uid::new(&[0x08, 0x54, 0x41, 0x50]).map_or(UidSource::Random, UidSource::Fixed),
            ..Appearance::default()
        };
        let mut field = Field::new();
        field.place(Box::new(RadioCard::new(shown, appearance, Pace::Simulated(Ticks::ZERO))));
        let wishes = Wishes { rate, ..Wishes::default() };
        Ok(Self {
            config,
            lock,
            clock: lock::now(),
            link: FieldRecorder::new(FieldFaults::new(field, FieldPlan::new()), Counter::default()),
            proofs,
            plan: Plan::type_a().with_wishes(wishes),
            tell: true,
            rx: RxFrame::new(),
        })
    }

    /// Ends each tap with the verdict, without CONTROL FLOW to the phone.
    #[must_use]
    pub const fn without_control_flow(mut self) -> Self {
        self.tell = false;
        self
    }

    /// One tap with these faults: the field comes, the lock polls, activates and authenticates the phone, tells it the verdict,
    /// deselects it, and the field goes. A torn session is begun again, as a lock does when the phone is still there.
    ///
    /// # Errors
    /// [`BenchError::Field`] when the field itself fails, which a simulated one does not.
    pub fn tap(&mut self, faults: FieldPlan) -> Result<AirTap, BenchError> {
        self.link.inner_mut().restart(faults);
        self.link.observer_mut().traffic = Traffic::default();
        self.link.set_field(true)?;
        let begun = self.link.now();
        let mut tap = AirTap {
            verdict: TapVerdict::Error,
            reason: Some(Reason::Torn),
            detail: "no card was found".into(),
            time: Ticks::ZERO,
            sessions: 0,
            apdus: 0,
            phone_agrees: false,
            traffic: Traffic::default(),
        };
        let mut fresh = true;
        while self.link.now() - begun < PATIENCE && tap.sessions < ATTEMPTS {
            let mut round = if std::mem::take(&mut fresh) {
                Round::after_field_on(&self.plan)
            } else {
                Round::new(&self.plan)
            };
            let found = match converse(&mut self.link, &mut round, &mut self.rx)? {
                Ok(found) => found,
                Err(error) => {
                    tap.detail = error.to_string();
                    None
                }
            };
            let Some(parameters) = found.as_ref().and_then(|found| found.iso_dep().copied()) else {
                self.link.pause(PAUSE);
                continue;
            };
            tap.sessions += 1;
            self.session(parameters, &mut tap);
            if tap.verdict != TapVerdict::Error {
                break;
            }
            // Torn: once more, with a phone that has forgotten everything.
            self.link.set_field(false)?;
            self.link.pause(time::FIELD_OFF);
            self.link.set_field(true)?;
            fresh = true;
        }
        tap.time = self.link.now() - begun;
        tap.traffic = self.link.observer_mut().traffic;
        self.link.inner_mut().restart(FieldPlan::new());
        self.link.set_field(false)?;
        // Between taps, so that the next one finds a field that was off.
        self.link.pause(Ticks::from_millis(100));
        Ok(tap)
    }

    fn session(&mut self, parameters: tapdoor_protocol::rf::iso14443::dep::Parameters, tap: &mut AirTap) {
        self.clock = self.clock.saturating_add(1);
        let proofs = self.proofs.load(Ordering::SeqCst);
        let mut iso_dep = IsoDepLink::new(&mut self.link, parameters);
        let mut control = Control::new(ChipLink::new(&mut self.lock));
        let mut go_on = |_| true;
        let ended = tap::run(&self.config, &mut control, &mut iso_dep, self.clock, Host::alone(&mut go_on));
        if let Some(command) = ended.control_flow.as_ref().filter(|_| self.tell) {
            // Best effort: the verdict stands.
            let _ = iso_dep.transmit(command, &mut Vec::new());
        }
        let _ = iso_dep.deselect();
        (tap.verdict, tap.reason, tap.detail, tap.apdus) = (ended.verdict, ended.reason, ended.detail, ended.apdus);
        tap.phone_agrees = self.proofs.load(Ordering::SeqCst) > proofs;
    }

    /// Writes the frames of the next taps on this tape; its time begins when the field comes.
    pub fn record(&mut self, tape: &SharedTape) {
        let zero = self.link.now();
        self.link.observer_mut().tape = Some(FieldTape::new(tape, zero));
    }

    /// Writes no more.
    pub fn stop_recording(&mut self) {
        self.link.observer_mut().tape = None;
    }
}
