//! Recorded taps verified, and steps of a script, per second.

use std::io::BufReader;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tapdoor_captures::{Header, SharedTape, TapeWriter};
use tapdoor_chip::{Chip, ChipError, SqliteStore};
use tapdoor_hce_card::{Laboratory, Phone, PhoneLink};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_reader::config::{LockConfig, Method};
use tapdoor_reader::{Lock, TapVerdict};

use super::{BenchError, median, thread_cpu};
use crate::desk::Desk;
use crate::recorded::Taps;
use crate::script::{self, Options, Runner};
use crate::sim::{SharedPhone, SimSource};
use crate::site::Site;
use crate::verify::Verifier;

const ROUNDS: u32 = 5;

/// What verifying costs.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyCost {
    /// The method, and the algorithm where there is a choice.
    pub method: &'static str,
    /// Taps on the tape.
    pub taps: u64,
    /// Bytes of the tape.
    pub bytes: u64,
    /// Taps a second on one core (CPU time where the system tells it), median of rounds.
    pub per_second: f64,
}

fn in_memory() -> Result<Box<SqliteStore>, ChipError> {
    Ok(Box::new(SqliteStore::in_memory()?))
}

/// Records `taps` taps of each method in `folder` and verifies them.
///
/// # Errors
/// [`BenchError`].
pub fn verify(folder: &Path, taps: u32, observe: &mut dyn FnMut(&VerifyCost)) -> Result<(), BenchError> {
    let methods = [
        ("challenge-response", Method::ChallengeResponse, Algorithm::Milenage),
        ("aka (milenage)", Method::Aka, Algorithm::Milenage),
        ("aka (tuak)", Method::Aka, Algorithm::Tuak),
    ];
    for (name, method, algorithm) in methods {
        let site = Site::generate(1, false)?;
        let text = site.lock_toml();
        let config = || -> Result<LockConfig, BenchError> {
            let mut config = LockConfig::parse(Path::new("lock.toml"), &text)?;
            (config.methods, config.algorithm) = (vec![method], algorithm);
            Ok(config)
        };
        let path = folder.join(format!("{}.tape", name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
        record(&site, config()?, &path, taps)?;
        let bytes = std::fs::metadata(&path)?.len();
        let mut rates = Vec::new();
        for round in 0..=ROUNDS {
            let mut verifier = Verifier::new(config()?, &crate::aliro::Evidence::default())?;
            let tape = BufReader::with_capacity(1 << 16, std::fs::File::open(&path)?);
            let (cpu, wall) = (thread_cpu(), Instant::now());
            let mut bad = None;
            let mut all = Taps::new(tape).map_err(|e| BenchError::Tap(e.to_string()))?;
            let count = verifier.tape(&mut all, &mut |tap| {
                if !tap.is_good() {
                    bad.get_or_insert(tap.detail);
                }
            });
            let count = count.map_err(|e| BenchError::Tap(e.to_string()))?;
            if let Some(bad) = bad {
                return Err(BenchError::Tap(bad));
            }
            let time = match (cpu, thread_cpu()) {
                (Some(before), Some(after)) => after.saturating_sub(before),
                _ => wall.elapsed(),
            };
            if round > 0 {
                rates.push(count as f64 / time.as_secs_f64());
            }
        }
        observe(&VerifyCost {
            method: name,
            taps: taps.into(),
            bytes,
            per_second: median(&mut rates),
        });
    }
    Ok(())
}

fn record(site: &Site, config: LockConfig, path: &Path, taps: u32) -> Result<(), BenchError> {
    let id = site.phones.first().copied().unwrap_or(PhoneId([0; 8]));
    let phone = SharedPhone::new(Phone::with_chip(
        Chip::personalise(in_memory()?, &site.phone_chip(id))?,
        Laboratory::default(),
    ));
    let mut lock = Lock::with_store(config, in_memory()?)?;
    lock.record(SharedTape::new(TapeWriter::create(path, &Header::now("tapdoor bench"))?));
    for _ in 0..taps {
        let tap = lock.tap_on(&mut PhoneLink::new(phone.clone()), &Stop::new(), false, &mut |_| ());
        if tap.verdict != TapVerdict::Open {
            return Err(BenchError::Tap(tap.detail));
        }
    }
    Ok(())
}

/// What a script costs.
#[derive(Clone, Debug, Serialize)]
pub struct ScriptCost {
    /// Steps of a round.
    pub steps: u64,
    /// Steps a second of wall time, median of rounds.
    pub per_second: f64,
}

/// Runs a script of `steps` steps against a phone in this process: SELECT and two expectations, one of them a capture, over and over.
///
/// # Errors
/// [`BenchError`].
pub fn script(steps: u32) -> Result<ScriptCost, BenchError> {
    let site = Site::generate(1, false)?;
    let id = site.phones.first().copied().unwrap_or(PhoneId([0; 8]));
    let phone = Phone::with_chip(Chip::personalise(in_memory()?, &site.phone_chip(id))?, Laboratory::default());
    let source = SimSource::new(SharedPhone::new(phone), Duration::ZERO);
    let mut desk = Desk::new(Box::new(source), Duration::from_secs(5), &Stop::new());
    let text = "select challenge-response\nexpect sw 9000\nexpect tag 6F/A5/81 {rp:16}\nexpect time < 1s\n"
        .repeat(usize::try_from(steps / 4).unwrap_or(1).max(1));
    let mut rates = Vec::new();
    let mut done = 0;
    for round in 0..=ROUNDS {
        let begun = Instant::now();
        let script = script::load_named("bench", &text).map_err(|e| BenchError::Tap(e.to_string()))?;
        let mut silent = script::run::Silent;
        let report = Runner::new(&mut desk, None, &mut silent, Options::default()).run(&[script]);
        if report.counts() != [1, 0, 0, 0] {
            return Err(BenchError::Tap(format!("{:?}", report.cases)));
        }
        done = report.steps();
        if round > 0 {
            rates.push(done as f64 / begun.elapsed().as_secs_f64());
        }
    }
    Ok(ScriptCost {
        steps: done,
        per_second: median(&mut rates),
    })
}
