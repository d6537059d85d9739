//! One tap with a download at a time, on a quiet site with every chip's memory on the disk: where its time goes.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tapdoor_agent::DownloadEvent;
use tapdoor_chip::SqliteStore;
use tapdoor_link::stop::Stop;
use tapdoor_reader::lock::LockEvent;
use tapdoor_reader::{Lock, TapVerdict};

use super::phone::Waiting;
use super::server::Process;
use super::site::Files;
use super::store::{Spent, Timed};
use super::{ms, server};
use crate::bench::{BenchError, median};
use crate::sim::SimSource;
use crate::site::PACKAGED;

/// Where the time of a tap with a download goes: medians over the taps, in milliseconds. Lock and phone work at the same time, so the parts of the two
/// chips overlap.
#[derive(Clone, Debug, Serialize)]
pub struct Trip {
    /// Taps measured.
    pub taps: u32,
    /// Bytes of the module that is downloaded, its signature included.
    pub bytes: u64,
    /// Lock to open.
    pub total: f64,
    /// SELECTs and GET IDENTITY, before.
    pub ask_phone: f64,
    /// From the lock's decision to ask until the application is there.
    pub download: f64,
    /// Of that: connection, TLS, the signed request, its checks, until it is accepted.
    pub request: f64,
    /// A TCP connection and a TLS handshake with this server, measured alone.
    pub tls: f64,
    /// The phone's chip: INITIALIZE UPDATE and EXTERNAL AUTHENTICATE.
    pub phone_scp03: f64,
    /// The phone's chip: INSTALL [for load] and all LOAD blocks.
    pub phone_load: f64,
    /// The phone's chip: INSTALL [for install]: the module checked, an instance made.
    pub phone_install: f64,
    /// The phone's chip: STORE DATA.
    pub phone_personalise: f64,
    /// The phone's chip: all durable writes, which are part of these.
    pub phone_store: f64,
    /// The lock's chip: durable writes of the phone's list entry.
    pub lock_store: f64,
    /// The server's transactions.
    pub server_store: f64,
    /// What is left of the download: HTTP, the server's side of SCP03, the lock's chip, the machine's scheduling.
    pub rest: f64,
    /// The full authentication afterwards.
    pub authenticate: f64,
}

/// What one tap showed.
#[derive(Clone, Copy, Default)]
struct Sample {
    total: Duration,
    ask_phone: Duration,
    download: Duration,
    request: Duration,
    authenticate: Duration,
}

pub(super) fn measure(program: &Path, folder: &Path, count: u32) -> Result<Trip, BenchError> {
    let files = Files::new(folder, 1, 1)?;
    let mut process = Process::start(program, folder)?;
    let (phone_writes, lock_writes) = (Spent::default(), Spent::default());
    let timed = |name: &str, writes: &Spent| -> Result<_, BenchError> {
        let store = SqliteStore::open(&folder.join(name)).map_err(tapdoor_chip::ChipError::from)?;
        Ok(Box::new(Timed {
            store,
            writes: writes.clone(),
        }))
    };
    let phone = Waiting::new(folder, 0, process.api.url(), timed("phone.chip", &phone_writes)?)?;
    let mut locks = files.locks(process.api.url(), &|_| Ok(timed("lock.chip", &lock_writes)?))?;
    let Some(lock) = locks.first_mut() else {
        return Err(BenchError::Server("a site without a lock".into()));
    };
    let work = &phone.work;
    let spent = [
        &work.open,
        &work.load,
        &work.install,
        &work.personalise,
        &phone_writes,
        &lock_writes,
    ];
    let mut columns: [Vec<f64>; 13] = Default::default();
    // The first one pays for what is done once: the server's caches, the chips' files.
    for number in 0..=count.max(1) {
        server::until(|| Ok(phone.is_connected()))?;
        let before = spent.map(Spent::time);
        let stored = server_store(&process)?;
        let sample = tap(lock, &phone)?;
        let after = spent.map(Spent::time);
        let parts: Vec<f64> = after
            .iter()
            .zip(before)
            .map(|(after, before)| ms(after.saturating_sub(before)))
            .collect();
        let chip: f64 = parts.iter().take(4).sum();
        let whole = [sample.total, sample.ask_phone, sample.download, sample.request, sample.authenticate].map(ms);
        let rest = (ms(sample.download.saturating_sub(sample.request)) - chip).max(0.0);
        let row = whole.into_iter().chain(parts).chain([server_store(&process)? - stored, rest]);
        if number > 0 {
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
        remove(&process, &phone)?;
    }
    let mut tls: Vec<f64> = (0..count.clamp(5, 50))
        .map(|_| process.handshake().map(ms))
        .collect::<Result<_, _>>()?;
    let [
        total,
        ask_phone,
        download,
        request,
        authenticate,
        phone_scp03,
        phone_load,
        phone_install,
        phone_personalise,
        phone_store,
        lock_store,
        server_store,
        rest,
    ] = columns.map(|mut column| median(&mut column));
    let size = std::fs::metadata(folder.join(format!("apps/{}.load", PACKAGED[0].file)))?.len();
    Ok(Trip {
        taps: count.max(1),
        bytes: size,
        total,
        ask_phone,
        download,
        request,
        tls: median(&mut tls),
        phone_scp03,
        phone_load,
        phone_install,
        phone_personalise,
        phone_store,
        lock_store,
        server_store,
        rest,
        authenticate,
    })
}

/// One tap, with the moments at which the server's report came.
fn tap(lock: &mut Lock, phone: &Waiting) -> Result<Sample, BenchError> {
    let mut source = SimSource::new(phone.shared(), Duration::ZERO);
    let (mut accepted, mut sample, mut refused) = (None, Sample::default(), None);
    lock.run(&mut source, &Stop::new(), &mut |event| match event {
        LockEvent::Download(DownloadEvent::Accepted { .. }) => {
            accepted = Some(Instant::now());
            true
        }
        LockEvent::Tap { tap, .. } => {
            let decided = Instant::now();
            match (tap.verdict, tap.download) {
                (TapVerdict::Open, Some(download)) => {
                    // Backwards from the verdict: authentication came last, the download before it.
                    let begun = decided.checked_sub(tap.authenticate + download).unwrap_or(decided);
                    sample = Sample {
                        total: tap.total,
                        ask_phone: tap.total.saturating_sub(download + tap.authenticate),
                        download,
                        request: accepted.map_or(Duration::ZERO, |at| at.saturating_duration_since(begun)),
                        authenticate: tap.authenticate,
                    };
                }
                _ => refused = Some(tap.detail.clone()),
            }
            false
        }
        _ => true,
    })?;
    refused.map_or(Ok(sample), |detail| Err(BenchError::Tap(detail)))
}

fn server_store(process: &Process) -> Result<f64, BenchError> {
    Ok(process.api.get("/v1/status")?["store"]["ms"].as_f64().unwrap_or(0.0))
}

/// Takes the application from the phone again.
fn remove(process: &Process, phone: &Waiting) -> Result<(), BenchError> {
    let body = json!({ "delete": PACKAGED[0].elf, "to": { "phone": phone.id.to_string() } });
    let jobs = process.api.push(&body)?;
    process.done(&jobs)
}
