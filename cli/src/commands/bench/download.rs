//! `tapdoor bench download`.

use std::time::Duration;

use serde_json::json;
use tapdoor_workbench::bench::download::{Crowd, crowd, trip};

use super::{event, tempfile_here};
use crate::args::BenchArgs;
use crate::commands::Outcome;
use crate::failure::{DEVICE, DONE, Failure, REFUSED};
use crate::out::Out;

/// How many taps on a quiet site show where the time goes.
const TRIPS: u32 = 20;
/// Limits: a tap with a download in milliseconds, the server's memory in bytes.
const TRIP_LIMIT: f64 = 250.0;
const MEMORY_LIMIT: u64 = 200 << 20;

/// Both measurements.
pub(super) fn run(args: &BenchArgs, out: &mut Out) -> Outcome {
    let program = std::env::current_exe().map_err(|e| Failure::new(DEVICE, format!("this program's own file: {e}")))?;
    let folder = tempfile_here()?;
    let trip = trip(&program, &folder.path().join("one"), args.count.min(TRIPS))?;
    let event_of_trip = json!({"ratio": trip.total / TRIP_LIMIT, "limit_ms": TRIP_LIMIT, "ms": trip});
    out.event(&event("download", &event_of_trip), || {
        let rows = [
            ("lock to open", trip.total),
            ("  SELECT and GET IDENTITY", trip.ask_phone),
            ("  download", trip.download),
            ("    connection, TLS, request, checks", trip.request),
            ("      TCP and TLS, measured alone", trip.tls),
            ("    phone's chip: SCP03", trip.phone_scp03),
            ("    phone's chip: LOAD blocks", trip.phone_load),
            ("    phone's chip: instantiation", trip.phone_install),
            ("    phone's chip: STORE DATA", trip.phone_personalise),
            ("    phone's chip: durable writes", trip.phone_store),
            ("    lock's chip: durable writes", trip.lock_store),
            ("    server's store", trip.server_store),
            ("    HTTP, server's SCP03, lock's chip, scheduling", trip.rest),
            ("  authentication", trip.authenticate),
        ];
        let rows: Vec<String> = rows.iter().map(|(what, ms)| format!("  {what:50} {ms:8.2} ms")).collect();
        format!(
            "a tap with a download of {} bytes over TLS, the server a process of its own ({} taps, medians; parts that run at the same time overlap)\n{}\n  {:.3} of the limit of {TRIP_LIMIT} ms",
            trip.bytes,
            trip.taps,
            rows.join("\n"),
            trip.total / TRIP_LIMIT
        )
    })?;
    let size = Crowd {
        phones: args.phones.into(),
        rounds: args.rounds,
        at_a_time: args.at_a_time,
    };
    let quiet = out.is_json() || out.is_quiet();
    let mut note = |round: u32, took: Duration| {
        if !quiet {
            eprintln!("round {round} of {}: {took:.1?}", size.rounds);
        }
    };
    let cost = crowd(&program, &folder.path().join("many"), size, &mut note)?;
    out.event(&event("downloads", &cost), || {
        let memory = cost.server_memory.map_or_else(
            || "its memory is not told by this system".to_owned(),
            |bytes| format!("{} MB at most of the {} allowed", bytes >> 20, MEMORY_LIMIT >> 20),
        );
        format!(
            "{} downloads of {} bytes to {} phones, {} at a time: {:.1} a second, p50 {:.0} ms, p99 {:.0} ms; {} lost, {} doubled, {} failed; the server: {memory}",
            cost.downloads, cost.bytes, cost.phones, cost.at_a_time, cost.per_second, cost.p50, cost.p99, cost.lost, cost.doubled, cost.failed
        )
    })?;
    Ok(if cost.lost + cost.doubled + cost.failed > 0 {
        REFUSED
    } else {
        DONE
    })
}
