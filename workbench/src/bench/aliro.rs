//! Aliro: CPU of the lock's chip and of the phone's, store included, beside the sum of the bare P-256 operations that each must do, by the same
//! library, and beside the time on the air; and the fast phase with many remembered credentials.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tapdoor_chip::vault::curve;
use tapdoor_chip::{Application, Chip, ChipError, ChipLink, Kind, SqliteStore, Store};
use tapdoor_link::{CardLink, FieldPlan, LinkError};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::ReaderConfig;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::rf::frame::BitRate;
use tapdoor_reader::config::{LockConfig, Method};
use tapdoor_reader::control::Control;
use tapdoor_reader::tap::Host;
use tapdoor_reader::{Tap, TapVerdict, lock, tap};

use super::{BenchError, median, thread_cpu};
use crate::radio::bench::WAYS;
use crate::radio::stage::Stage;
use crate::site::Site;

/// Limits of the lock's CPU, in microseconds.
const STANDARD_LIMIT: f64 = 700.0;
const FAST_LIMIT: f64 = 200.0;

/// What one phase costs.
#[derive(Clone, Debug, Serialize)]
pub struct AliroCost {
    /// `standard` or `fast`.
    pub phase: &'static str,
    /// Where the chips' stores are: in memory, or on disk with every commit synced.
    pub store: &'static str,
    /// APDUs of a tap, the reader status included.
    pub apdus: u64,
    /// CPU of the lock's chip in a tap, median, microseconds.
    pub lock_us: f64,
    /// CPU of the phone's chip in a tap, median, microseconds.
    pub phone_us: f64,
    /// Sum of the P-256 operations that either side must do, microseconds.
    pub bare_us: f64,
    /// What the lock may take, microseconds.
    pub limit_us: f64,
    /// How long the tap is on the air at 106 kbit/s, simulated time, milliseconds.
    pub air_ms: f64,
}

/// What trying all remembered credentials costs.
#[derive(Clone, Debug, Serialize)]
pub struct RememberedCost {
    /// How many credentials the lock remembers.
    pub remembered: usize,
    /// CPU of the lock's chip in a fast tap of the phone that is tried last, microseconds.
    pub last_us: f64,
    /// CPU of the lock's chip in a tap that falls to standard because none fits, microseconds.
    pub miss_us: f64,
}

/// A chip whose CPU time is counted.
struct Metered<L> {
    link: L,
    cpu: Duration,
}

impl<L> Metered<L> {
    fn new(link: L) -> Self {
        Self { link, cpu: Duration::ZERO }
    }
}

impl<L: CardLink> CardLink for &mut Metered<L> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        let (before, wall) = (thread_cpu(), Instant::now());
        let result = self.link.transmit(command, response);
        self.cpu += match (before, thread_cpu()) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => wall.elapsed(),
        };
        result
    }

    fn limits(&self) -> tapdoor_link::Limits {
        self.link.limits()
    }
}

fn store(folder: Option<&Path>, name: &str) -> Result<Box<dyn Store>, ChipError> {
    Ok(match folder {
        Some(folder) => Box::new(SqliteStore::open(&folder.join(name))?),
        None => Box::new(SqliteStore::in_memory()?),
    })
}

fn config(site: &Site, change: impl FnOnce(&mut ReaderConfig)) -> Result<LockConfig, BenchError> {
    let mut config = LockConfig::parse(Path::new("lock.toml"), &site.lock_toml())?;
    config.methods = vec![Method::Aliro];
    let mut reader = site.aliro_reader();
    change(&mut reader);
    for application in config.personalisation.applications.iter_mut().filter(|a| a.kind == Kind::AliroLock) {
        *application = Application::aliro_lock(Aid::ALIRO_LOCK, &reader, site.aliro_key());
    }
    Ok(config)
}

/// A tap: the report, and the CPU of lock and phone in microseconds.
fn metered(config: &LockConfig, lock: &mut Chip, phone: &mut Chip) -> Result<(Tap, f64, f64), BenchError> {
    let (mut lock, mut phone) = (Metered::new(ChipLink::new(lock)), Metered::new(ChipLink::new(phone)));
    let mut control = Control::new(&mut lock);
    let mut pause = |_| true;
    let tap = tap::run(config, &mut control, &mut phone, lock::now(), Host::alone(&mut pause));
    drop(control);
    if tap.verdict != TapVerdict::Open {
        return Err(BenchError::Tap(tap.detail));
    }
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    Ok((tap, us(lock.cpu), us(phone.cpu)))
}

/// Microseconds of CPU of one call.
fn one<R>(call: impl FnOnce() -> R) -> f64 {
    let (before, wall) = (thread_cpu(), Instant::now());
    std::hint::black_box(call());
    let taken = match (before, thread_cpu()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => wall.elapsed(),
    };
    taken.as_secs_f64() * 1e6
}

/// The P-256 operations of a chip alone: key generation, agreement, signature, verification.
struct Bare {
    own: SecretScalar,
    public: [u8; 65],
    signature: [u8; 64],
}

impl Bare {
    fn new() -> Self {
        let other = SecretScalar([9; 32]);
        Self {
            own: SecretScalar([7; 32]),
            public: curve::public_uncompressed(&other).unwrap_or([0; 65]),
            signature: curve::sign(&other.0, MESSAGE).unwrap_or([0; 64]),
        }
    }

    /// Microseconds each, once.
    fn round(&self) -> [f64; 4] {
        [
            one(|| curve::public_uncompressed(&self.own)),
            one(|| curve::agree(&self.own, &self.public)),
            one(|| curve::sign(&self.own.0, MESSAGE)),
            one(|| curve::verify(&self.public, MESSAGE, &self.signature)),
        ]
    }
}

/// As long as what Aliro signs.
const MESSAGE: &[u8] = &[0x4D; 126];

/// A lock and a phone in one phase with one kind of store, and what their taps cost so far.
struct Pair {
    phase: Phase,
    durable: bool,
    config: LockConfig,
    lock: Chip,
    phone: Chip,
    lock_us: Vec<f64>,
    phone_us: Vec<f64>,
    apdus: u64,
    // Last, so that the chips let go of their files first.
    _folder: tempfile::TempDir,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Standard,
    Fast,
}

impl Pair {
    fn new(folder: &Path, phase: Phase, durable: bool) -> Result<Self, BenchError> {
        let place = tempfile::tempdir_in(folder)?;
        let at = durable.then_some(place.path());
        let site = Site::generate(1, false)?;
        let config = config(&site, |reader| reader.fast = phase == Phase::Fast)?;
        let lock = Chip::personalise(store(at, "lock.chip")?, &config.personalisation)?;
        let phone = site.phones.first().copied().unwrap_or(tapdoor_protocol::ids::PhoneId([0; 8]));
        let phone = Chip::personalise(store(at, "phone.chip")?, &site.phone_chip(phone))?;
        let mut pair = Self {
            phase,
            durable,
            config,
            lock,
            phone,
            lock_us: Vec::new(),
            phone_us: Vec::new(),
            apdus: 0,
            _folder: place,
        };
        // The first one is a standard one in any case.
        metered(&pair.config, &mut pair.lock, &mut pair.phone)?;
        Ok(pair)
    }

    fn tap(&mut self) -> Result<(), BenchError> {
        let (tap, lock_us, phone_us) = metered(&self.config, &mut self.lock, &mut self.phone)?;
        self.lock_us.push(lock_us);
        self.phone_us.push(phone_us);
        self.apdus = tap.apdus;
        Ok(())
    }
}

/// How long such a tap is on the air at 106 kbit/s, by simulated time, in milliseconds.
fn air_ms(phase: Phase) -> Result<f64, BenchError> {
    let fast = phase == Phase::Fast;
    let way = WAYS.into_iter().find(|way| way.method == Method::Aliro && way.fast == fast);
    let way = way.ok_or_else(|| BenchError::Tap("the radio does not know Aliro".into()))?;
    let mut stage = Stage::new(way, BitRate::Kbps106)?;
    // Who has been here before is known.
    stage.tap(FieldPlan::new())?;
    Ok(stage.tap(FieldPlan::new())?.time.as_micros_f64() / 1000.0)
}

/// Measures both phases, without and with durable stores in `folder`, and the bare operations, all of them in turn in every round.
///
/// # Errors
/// [`BenchError`].
pub fn phases(folder: &Path, taps: u32, observe: &mut dyn FnMut(&AliroCost)) -> Result<(), BenchError> {
    let mut pairs = Vec::new();
    for phase in [Phase::Standard, Phase::Fast] {
        for durable in [false, true] {
            pairs.push(Pair::new(folder, phase, durable)?);
        }
    }
    let (bare, mut rounds) = (Bare::new(), [const { Vec::new() }; 4]);
    for _ in 0..taps.clamp(20, 400) {
        for (times, time) in rounds.iter_mut().zip(bare.round()) {
            times.push(time);
        }
        pairs.iter_mut().try_for_each(Pair::tap)?;
    }
    let [generate, agreement, signature, verification] = rounds.each_mut().map(|times| median(times));
    for pair in &mut pairs {
        let (name, bare_us, limit_us) = match pair.phase {
            Phase::Standard => ("standard", generate + agreement + signature + verification, STANDARD_LIMIT),
            Phase::Fast => ("fast", generate, FAST_LIMIT),
        };
        observe(&AliroCost {
            phase: name,
            store: if pair.durable { "durable" } else { "memory" },
            apdus: pair.apdus,
            lock_us: median(&mut pair.lock_us),
            phone_us: median(&mut pair.phone_us),
            bare_us,
            limit_us,
            air_ms: air_ms(pair.phase)?,
        });
    }
    Ok(())
}

/// Measures the fast phase at a lock that remembers `remembered` credentials, all of them learnt by taps.
///
/// # Errors
/// [`BenchError`].
pub fn many(remembered: usize) -> Result<RememberedCost, BenchError> {
    let site = Site::generate(remembered + 1, false)?;
    let config = config(&site, |_| ())?;
    let mut lock = Chip::personalise(store(None, "")?, &config.personalisation)?;
    let open = |index: usize| -> Result<Chip, BenchError> {
        let phone = site.phones.get(index).copied().unwrap_or(tapdoor_protocol::ids::PhoneId([0; 8]));
        Ok(Chip::personalise(store(None, "")?, &site.phone_chip(phone))?)
    };
    for index in 0..remembered.saturating_sub(1) {
        metered(&config, &mut lock, &mut open(index)?)?;
    }
    let mut last = open(remembered.saturating_sub(1))?;
    metered(&config, &mut lock, &mut last)?;
    let mut hits = Vec::new();
    for _ in 0..25 {
        hits.push(metered(&config, &mut lock, &mut last)?.1);
    }
    // A phone that was never here: all are tried, none fits. It is remembered afterwards, so there is one measurement.
    let miss = metered(&config, &mut lock, &mut open(remembered)?)?.1;
    Ok(RememberedCost {
        remembered,
        last_us: median(&mut hits),
        miss_us: miss,
    })
}
