//! Many phones wait, many locks ask: each download once, none lost, none doubled.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tapdoor_chip::{ChipError, SqliteStore, Store};
use tapdoor_reader::{Lock, TapVerdict};

use super::ms;
use super::phone::Waiting;
use super::server::{self, Process};
use super::site::Files;
use crate::bench::BenchError;
use crate::site::PACKAGED;

/// How many.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Phones whose agents wait.
    pub phones: usize,
    /// Downloads to each of them, with a deletion between.
    pub rounds: u32,
    /// Downloads at a time: as many locks.
    pub at_a_time: u16,
}

/// How it went.
#[derive(Clone, Debug, Serialize)]
pub struct CrowdCost {
    /// Phones that waited.
    pub phones: usize,
    /// Downloads at a time.
    pub at_a_time: u16,
    /// Downloads, each within a tap that opened.
    pub downloads: u64,
    /// Bytes of the module, its signature included.
    pub bytes: u64,
    /// Downloads a second, deletions not counted.
    pub per_second: f64,
    /// Median of a download, in milliseconds.
    pub p50: f64,
    /// 99 of 100 are faster, in milliseconds.
    pub p99: f64,
    /// Taps that did not open.
    pub lost: u64,
    /// Load files that phones' chips took beyond one for each download.
    pub doubled: u64,
    /// Jobs that failed at the server.
    pub failed: u64,
    /// The most memory that the server had, in bytes; `None` where the system does not tell.
    pub server_memory: Option<u64>,
}

pub(super) fn measure(program: &Path, folder: &Path, crowd: Crowd, told: &mut dyn FnMut(u32, Duration)) -> Result<CrowdCost, BenchError> {
    let files = Files::new(folder, crowd.phones, crowd.at_a_time)?;
    let process = Process::start(program, folder)?;
    // The chips are not what is measured here: two hundred of them on one disk would be.
    let memory = || -> Result<Box<dyn Store>, BenchError> { Ok(Box::new(SqliteStore::in_memory().map_err(ChipError::from)?)) };
    let mut locks = files.locks(process.api.url(), &|_| memory())?;
    let phones: Vec<Waiting> = (0..crowd.phones)
        .map(|index| Waiting::new(folder, index, process.api.url(), memory()?))
        .collect::<Result<_, _>>()?;
    server::until(|| Ok(phones.iter().all(Waiting::is_connected)))?;
    let (mut times, mut refusals, mut busy) = (Vec::new(), Vec::new(), Duration::ZERO);
    for round in 1..=crowd.rounds {
        let begun = Instant::now();
        let (opened, refused) = all(&mut locks, &phones);
        let took = begun.elapsed();
        busy += took;
        times.extend(opened);
        refusals.extend(refused);
        told(round, took);
        let mut jobs = Vec::new();
        for phone in &phones {
            let body = json!({ "delete": PACKAGED[0].elf, "to": { "phone": phone.id.to_string() } });
            jobs.extend(process.api.push(&body)?);
        }
        process.done(&jobs)?;
    }
    if let Some(first) = refusals.first() {
        return Err(BenchError::Server(format!(
            "{} taps did not open; the first: {first}",
            refusals.len()
        )));
    }
    let status = process.api.get("/v1/status")?;
    let loaded: u64 = phones.iter().map(Waiting::loaded).sum();
    let cost = cost(
        crowd,
        folder,
        &mut times,
        busy,
        loaded,
        status["jobs"]["failed"].as_u64().unwrap_or(0),
        &process,
    )?;
    // All at once: one after the other would wait for each agent's connection.
    phones.iter().for_each(Waiting::stop);
    Ok(cost)
}

/// Every phone taps once; each lock takes the next phone that has not.
fn all(locks: &mut [Lock], phones: &[Waiting]) -> (Vec<f64>, Vec<String>) {
    let (next, opened, refused) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for lock in locks {
            scope.spawn(|| {
                while let Some(phone) = phones.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tap = phone.tap(lock);
                    match (tap.verdict, tap.download) {
                        (TapVerdict::Open, Some(download)) => push(&opened, ms(download)),
                        (TapVerdict::Open, None) => push(&refused, format!("phone {} opened without a download", phone.id)),
                        _ => push(&refused, tap.detail),
                    }
                }
            });
        }
    });
    let taken = |list: Mutex<Vec<_>>| list.into_inner().unwrap_or_default();
    (taken(opened), refused.into_inner().unwrap_or_default())
}

fn push<T>(list: &Mutex<Vec<T>>, value: T) {
    if let Ok(mut list) = list.lock() {
        list.push(value);
    }
}

fn cost(
    crowd: Crowd,
    folder: &Path,
    times: &mut [f64],
    busy: Duration,
    loaded: u64,
    failed: u64,
    process: &Process,
) -> Result<CrowdCost, BenchError> {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| {
        // Nearest rank; a share of a count of at most millions.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = (share * times.len() as f64).ceil() as usize;
        times.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    let downloads = u64::try_from(times.len()).unwrap_or(u64::MAX);
    let wanted = u64::from(crowd.rounds) * u64::try_from(crowd.phones).unwrap_or(u64::MAX);
    Ok(CrowdCost {
        phones: crowd.phones,
        at_a_time: crowd.at_a_time,
        downloads,
        bytes: std::fs::metadata(folder.join(format!("apps/{}.load", PACKAGED[0].file)))?.len(),
        #[allow(clippy::cast_precision_loss)]
        per_second: downloads as f64 / busy.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        lost: wanted.saturating_sub(downloads),
        doubled: loaded.saturating_sub(downloads),
        failed,
        server_memory: process.peak_memory(),
    })
}
