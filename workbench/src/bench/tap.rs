//! A whole tap in process, SELECT to verdict, through chip dispatch and opened store on both sides; and finding a phone in a long list.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tapdoor_chip::{Chip, ChipError, ChipLink, SqliteStore, Store};
use tapdoor_link::CardLink;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_reader::config::{LockConfig, Method};
use tapdoor_reader::control::Control;
use tapdoor_reader::tap::Host;
use tapdoor_reader::{Tap, TapVerdict, lock, tap};

use super::{BenchError, median, thread_cpu};
use crate::site::Site;

/// What a tap costs.
#[derive(Clone, Debug, Serialize)]
pub struct TapCost {
    /// The method, and the algorithm where there is a choice.
    pub method: &'static str,
    /// Where the chips' stores are: in memory, or on disk with every commit synced.
    pub store: &'static str,
    /// Taps measured.
    pub taps: u32,
    /// CPU time of a tap, both sides, median of rounds, in microseconds; includes the kernel's part of a durable write.
    pub cpu_us: f64,
    /// Wall time of a tap, median of rounds, in microseconds.
    pub wall_us: f64,
    /// APDUs of a tap, CONTROL FLOW aside.
    pub apdus: u64,
    /// Bytes of those APDUs, both ways.
    pub bytes: u64,
    /// Durable writes of a tap, both sides together.
    pub durable_writes: u64,
}

/// Counts bytes in passing.
struct Counted<L> {
    link: L,
    bytes: u64,
}

impl<L: CardLink> CardLink for Counted<L> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), tapdoor_link::LinkError> {
        self.link.transmit(command, response)?;
        self.bytes += u64::try_from(command.len() + response.len()).unwrap_or(0);
        Ok(())
    }
}

/// Rounds of which the median is taken.
const ROUNDS: u32 = 9;

/// A lock and a phone that it opens for, by one method.
pub struct Pair {
    config: LockConfig,
    lock: Chip,
    phone: Chip,
    clock: u32,
}

impl Pair {
    /// A new site, its chips' stores in `folder`, or in memory.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn new(method: Method, algorithm: Algorithm, folder: Option<&Path>) -> Result<Self, BenchError> {
        let site = Site::generate(1, false)?;
        let phone = site.phones.first().copied().unwrap_or(PhoneId([0; 8]));
        let mut config = LockConfig::parse(Path::new("lock.toml"), &site.lock_toml())?;
        config.methods = vec![method];
        config.algorithm = algorithm;
        let open = |name: &str| -> Result<Box<dyn Store>, ChipError> {
            Ok(match folder {
                Some(folder) => Box::new(SqliteStore::open(&folder.join(name))?),
                None => Box::new(SqliteStore::in_memory()?),
            })
        };
        let lock = Chip::personalise(open("lock.chip")?, &config.personalisation)?;
        let phone = Chip::personalise(open("phone.chip")?, &site.phone_chip(phone))?;
        Ok(Self {
            config,
            lock,
            phone,
            clock: lock::now(),
        })
    }

    /// A tap, and the bytes of its APDUs both ways. The clock runs a second a tap, as AKA's sequence numbers want it.
    ///
    /// # Errors
    /// [`BenchError::Tap`] when it does not open.
    pub fn tap(&mut self) -> Result<(Tap, u64), BenchError> {
        self.clock = self.clock.saturating_add(1);
        let mut counted = Counted {
            link: ChipLink::new(&mut self.phone),
            bytes: 0,
        };
        let mut control = Control::new(ChipLink::new(&mut self.lock));
        let mut pause = |_| true;
        let tap = tap::run(&self.config, &mut control, &mut counted, self.clock, Host::alone(&mut pause));
        if tap.verdict != TapVerdict::Open {
            return Err(BenchError::Tap(tap.detail));
        }
        Ok((tap, counted.bytes))
    }
}

/// Measures each method, without and with its durable write. `folder` is on the disk that is to be measured.
///
/// # Errors
/// [`BenchError`].
pub fn taps(folder: &Path, rounds_of: u32, observe: &mut dyn FnMut(&TapCost)) -> Result<Vec<TapCost>, BenchError> {
    // Challenge-response stores nothing: RP and RL are random and live in memory, so a power cut spends them.
    let methods = [
        ("challenge-response", Method::ChallengeResponse, Algorithm::Milenage, 0),
        ("aka (milenage)", Method::Aka, Algorithm::Milenage, 2),
        ("aka (tuak)", Method::Aka, Algorithm::Tuak, 2),
    ];
    let mut out = Vec::new();
    for (name, method, algorithm, durable_writes) in methods {
        for durable in [false, true] {
            let place = tempfile::tempdir_in(folder)?;
            let mut pair = Pair::new(method, algorithm, durable.then_some(place.path()))?;
            let taps = if durable { rounds_of.div_ceil(20) } else { rounds_of };
            let (tap, bytes) = pair.tap()?;
            for _ in 0..taps.min(200) {
                pair.tap()?;
            }
            let (mut cpu, mut wall) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let (cpu_before, wall_before) = (thread_cpu(), Instant::now());
                for _ in 0..taps {
                    pair.tap()?;
                }
                let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(taps);
                wall.push(each(wall_before.elapsed()));
                if let (Some(before), Some(after)) = (cpu_before, thread_cpu()) {
                    cpu.push(each(after.saturating_sub(before)));
                }
            }
            let cost = TapCost {
                method: name,
                store: if durable { "durable" } else { "memory" },
                taps: taps * ROUNDS,
                cpu_us: median(&mut cpu),
                wall_us: median(&mut wall),
                apdus: tap.apdus,
                bytes,
                durable_writes: if durable { durable_writes } else { 0 },
            };
            observe(&cost);
            out.push(cost);
        }
    }
    Ok(out)
}

/// What finding a phone costs.
#[derive(Clone, Debug, Serialize)]
pub struct FindCost {
    /// Length of the list.
    pub entries: usize,
    /// Finding the last one, in microseconds of CPU, median.
    pub last_us: f64,
    /// Finding none, in microseconds of CPU, median.
    pub none_us: f64,
}

/// Measures SELECT's answer at BEGIN with a list of `entries` phones: the last one's, and a stranger's.
///
/// # Errors
/// [`BenchError`].
pub fn find(entries: usize) -> Result<FindCost, BenchError> {
    let site = Site::generate(entries, false)?;
    let mut config = LockConfig::parse(Path::new("lock.toml"), &Site::generate(1, false)?.lock_toml())?;
    config.personalisation.list = site.phones.iter().map(|p| site.entry(*p)).collect();
    let mut lock = Chip::personalise(
        Box::new(SqliteStore::in_memory().map_err(ChipError::from)?),
        &config.personalisation,
    )?;
    let last = site.phones.last().copied().unwrap_or(PhoneId([0; 8]));
    let stranger = Site::generate(1, false)?;
    let stranger_id = stranger.phones.first().copied().unwrap_or(PhoneId([0; 8]));
    let mut measure = |filling| -> Result<f64, BenchError> {
        let mut phone = Chip::personalise(Box::new(SqliteStore::in_memory().map_err(ChipError::from)?), &filling)?;
        let select = Command::new(0x00, 0xA4, 0x04, 0x00)
            .data(Aid::CHALLENGE_RESPONSE.as_bytes())
            .ne(256)
            .encode()
            .unwrap_or_default();
        let mut times = Vec::new();
        let mut fci = Vec::new();
        for _ in 0..51 {
            phone.process(&select, &mut fci);
            let body = fci.split_last_chunk::<2>().map_or(&[][..], |(body, _)| body);
            let mut control = Control::new(ChipLink::new(&mut lock));
            let (cpu, wall) = (thread_cpu(), Instant::now());
            control.begin(Aid::CHALLENGE_RESPONSE_LOCK, 0, lock::now(), body)?;
            let taken = match (cpu, thread_cpu()) {
                (Some(before), Some(after)) => after.saturating_sub(before),
                _ => wall.elapsed(),
            };
            times.push(taken.as_secs_f64() * 1e6);
        }
        Ok(median(&mut times))
    };
    Ok(FindCost {
        entries,
        last_us: measure(site.phone_chip(last))?,
        none_us: measure(stranger.phone_chip(stranger_id))?,
    })
}
