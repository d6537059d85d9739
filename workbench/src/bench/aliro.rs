//! Aliro: CPU of the lock's chip and of the phone's, store included, beside the sum of the bare P-256 operations that each must do; and the fast phase
//! with many remembered credentials.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tapdoor_chip::{Application, Chip, ChipError, ChipLink, Kind, SqliteStore, Store};
use tapdoor_link::{CardLink, LinkError};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::ReaderConfig;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::crypto::{agree, sign};
use tapdoor_reader::config::{LockConfig, Method};
use tapdoor_reader::control::Control;
use tapdoor_reader::tap::Host;
use tapdoor_reader::{Tap, TapVerdict, lock, tap};

use super::{BenchError, median, thread_cpu};
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

/// Microseconds of CPU of one call, median.
fn one(mut call: impl FnMut()) -> f64 {
    let mut times = Vec::new();
    for _ in 0..201 {
        let (before, wall) = (thread_cpu(), Instant::now());
        call();
        let taken = match (before, thread_cpu()) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => wall.elapsed(),
        };
        times.push(taken.as_secs_f64() * 1e6);
    }
    median(&mut times)
}

/// Key generation, agreement, signature, verification: microseconds each.
#[must_use]
pub fn bare() -> [f64; 4] {
    let (own, other) = (SecretScalar([7; 32]), SecretScalar([9; 32]));
    let public = agree::public_uncompressed(&other).unwrap_or([0; 65]);
    let signature = sign::sign(&other.0, b"message").unwrap_or([0; 64]);
    [
        one(|| {
            std::hint::black_box(agree::public_uncompressed(&own));
        }),
        one(|| {
            std::hint::black_box(agree::agree(&own, &public));
        }),
        one(|| {
            std::hint::black_box(sign::sign(&own.0, b"message"));
        }),
        one(|| {
            std::hint::black_box(sign::verify(&public, b"message", &signature));
        }),
    ]
}

/// Measures both phases, without and with durable stores in `folder`.
///
/// # Errors
/// [`BenchError`].
pub fn phases(folder: &Path, taps: u32, observe: &mut dyn FnMut(&AliroCost)) -> Result<(), BenchError> {
    let [generate, agreement, signature, verification] = bare();
    for (phase, fast, bare_us, limit_us) in [
        ("standard", false, generate + agreement + signature + verification, STANDARD_LIMIT),
        ("fast", true, generate, FAST_LIMIT),
    ] {
        for durable in [false, true] {
            let place = tempfile::tempdir_in(folder)?;
            let at = durable.then_some(place.path());
            let site = Site::generate(1, false)?;
            let config = config(&site, |reader| reader.fast = fast)?;
            let mut lock = Chip::personalise(store(at, "lock.chip")?, &config.personalisation)?;
            let phone = site.phones.first().copied().unwrap_or(tapdoor_protocol::ids::PhoneId([0; 8]));
            let mut phone = Chip::personalise(store(at, "phone.chip")?, &site.phone_chip(phone))?;
            // The first one is a standard one in any case.
            metered(&config, &mut lock, &mut phone)?;
            let (mut locks, mut phones, mut apdus) = (Vec::new(), Vec::new(), 0);
            for _ in 0..taps.clamp(20, 400) {
                let (tap, lock_us, phone_us) = metered(&config, &mut lock, &mut phone)?;
                locks.push(lock_us);
                phones.push(phone_us);
                apdus = tap.apdus;
            }
            observe(&AliroCost {
                phase,
                store: if durable { "durable" } else { "memory" },
                apdus,
                lock_us: median(&mut locks),
                phone_us: median(&mut phones),
                bare_us,
                limit_us,
            });
        }
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
