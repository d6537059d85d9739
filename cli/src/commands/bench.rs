//! `tapdoor bench`.

mod download;

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tapdoor_link::stop::Stop;
use tapdoor_reader::source::pcsc::PcscSource;
use tapdoor_workbench::ReaderSpec;
use tapdoor_workbench::bench::{self, BenchError};
use tapdoor_workbench::radio;

use super::Outcome;
use crate::args::{BenchArgs, BenchName};
use crate::failure::{DEVICE, DONE, Failure, REFUSED, USAGE};
use crate::out::{self, Out};

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        Self::new(DEVICE, error)
    }
}

/// A measurement as an event.
fn event(name: &str, cost: &impl Serialize) -> Value {
    let mut value = json!({ "name": name });
    if let (Some(map), Ok(Value::Object(fields))) = (value.as_object_mut(), serde_json::to_value(cost)) {
        map.extend(fields);
    }
    out::event("bench", value)
}

/// Runs the command.
pub fn run(args: &BenchArgs, out: &mut Out, stop: &Stop) -> Outcome {
    if cfg!(debug_assertions) {
        out.warn("this is a debug build: its figures say nothing");
    }
    let all = args.name.is_none();
    if all || args.name == Some(BenchName::Tap) {
        tap(args, out)?;
    }
    if all || args.name == Some(BenchName::Find) {
        find(out)?;
    }
    if all || args.name == Some(BenchName::Aliro) {
        aliro(args, out)?;
    }
    if all || args.name == Some(BenchName::Radio) {
        on_the_air(args, out)?;
    }
    if args.name == Some(BenchName::Faults) {
        return faults(out);
    }
    if args.name == Some(BenchName::Link) || (all && args.reader.is_some()) {
        link(args, out, stop)?;
    }
    if all || args.name == Some(BenchName::Verify) {
        verify(args, out)?;
    }
    if all || args.name == Some(BenchName::Script) {
        script(args, out)?;
    }
    if all || args.name == Some(BenchName::Decode) {
        decode(out)?;
    }
    if all || args.name == Some(BenchName::Download) {
        return download::run(args, out);
    }
    Ok(DONE)
}

/// Least rate of both: what their users were promised.
const PER_SECOND: f64 = 20_000.0;

fn verify(args: &BenchArgs, out: &mut Out) -> Result<(), Failure> {
    let folder = tempfile_here()?;
    let mut failed = None;
    bench::tape::verify(folder.path(), args.count, &mut |cost| {
        let told = out.event(&event("verify", cost), || {
            let ratio = cost.per_second / PER_SECOND;
            format!(
                "verify: {:18} {:8.0} taps a second on one core: {ratio:.2} of the 20,000 wanted",
                cost.method, cost.per_second
            )
        });
        if let Err(error) = told {
            failed.get_or_insert(error);
        }
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn script(args: &BenchArgs, out: &mut Out) -> Result<(), Failure> {
    let cost = bench::tape::script(args.count.saturating_mul(10))?;
    out.event(&event("script", &cost), || {
        format!(
            "script: {:.0} steps a second at sim: : {:.2} of the 20,000 wanted",
            cost.per_second,
            cost.per_second / PER_SECOND
        )
    })?;
    Ok(())
}

fn decode(out: &mut Out) -> Result<(), Failure> {
    let folder = tempfile_here()?;
    let cost = bench::decode::measure(folder.path(), 1_000_000)?;
    out.event(&event("decode", &cost), || {
        let beside = match (cost.tshark_seconds, cost.ratio) {
            (Some(theirs), Some(ratio)) => format!(
                "; tshark {theirs:.1} s: {ratio:.1} times as long, at least {} wanted",
                bench::decode::LIMIT
            ),
            _ => "; tshark is not here to compare with".to_owned(),
        };
        format!(
            "{} frames of pcapng shown in {:.2} s, {:.0} a second{beside}",
            cost.frames, cost.seconds, cost.per_second
        )
    })?;
    if let Some(ratio) = cost.ratio {
        let limit = json!({"event": "limit", "name": "decode", "what": "tshark's time by ours", "value": ratio, "limit": bench::decode::LIMIT, "ratio": ratio / bench::decode::LIMIT});
        out.json(&limit)?;
    }
    Ok(())
}

fn tap(args: &BenchArgs, out: &mut Out) -> Result<(), Failure> {
    // On the disk where people work, not in a memory file system that makes a durable write look free.
    let folder = tempfile_here()?;
    out.text("a whole tap in process, SELECT to verdict, both sides")?;
    out.text("  method              store     CPU us    wall us   APDUs  bytes  durable writes")?;
    let mut failed = None;
    let costs = bench::tap::taps(folder.path(), args.count, &mut |cost| {
        let told = out.event(&event("tap", cost), || {
            format!(
                "  {:18}  {:8} {:8.1}  {:9.1}  {:5}  {:5}  {}",
                cost.method, cost.store, cost.cpu_us, cost.wall_us, cost.apdus, cost.bytes, cost.durable_writes
            )
        });
        if let Err(error) = told {
            failed.get_or_insert(error);
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let first = costs.iter().find(|c| c.method == "challenge-response" && c.store == "memory");
    if let Some(cost) = first {
        let limit = json!({"event": "limit", "name": "tap", "what": "CPU of challenge-response without durable write", "value_us": cost.cpu_us, "limit_us": 50, "ratio": cost.cpu_us / 50.0});
        out.event(&limit, || {
            format!(
                "  challenge-response without durable write: {:.2} of the limit of 50 us",
                cost.cpu_us / 50.0
            )
        })?;
    }
    Ok(())
}

fn find(out: &mut Out) -> Result<(), Failure> {
    let cost = bench::tap::find(10_000)?;
    out.event(&event("find", &cost), || {
        format!(
            "finding a phone among {}: the last {:.0} us, a stranger {:.0} us of CPU: {:.2} of the limit of 2,000 us",
            cost.entries,
            cost.last_us,
            cost.none_us,
            cost.none_us / 2000.0
        )
    })?;
    Ok(())
}

fn on_the_air(args: &BenchArgs, out: &mut Out) -> Result<(), Failure> {
    if let Some(folder) = &args.tapes {
        std::fs::create_dir_all(folder).map_err(|e| Failure::new(DEVICE, format!("{}: {e}", folder.display())))?;
    }
    out.text("a whole tap on the air, from field on to the answer to S(DESELECT); simulated time, the phone's work being nothing")?;
    out.text("  method              kbit/s  CONTROL FLOW      ms   on air  APDUs  frames  bytes out  bytes in")?;
    let costs = radio::bench::taps(args.tapes.as_deref())?;
    for cost in &costs {
        let traffic = &cost.traffic;
        out.event(&event("radio", cost), || {
            format!(
                "  {:18}  {:6}  {:12}  {:6.3}  {:7.3}  {:5}  {:6}  {:9}  {:8}",
                cost.method,
                cost.rate,
                if cost.control_flow { "yes" } else { "no" },
                cost.ms,
                cost.on_air_ms,
                cost.apdus,
                traffic.frames,
                traffic.sent,
                traffic.received
            )
        })?;
    }
    let judged = |cost: &&radio::bench::AirCost| (cost.method, cost.rate, cost.control_flow) == ("challenge-response", 106, true);
    if let Some(cost) = costs.iter().find(judged) {
        let (limit, ratio) = (radio::bench::LIMIT_MS, cost.ms / radio::bench::LIMIT_MS);
        let what = "challenge-response at 106 kbit/s with CONTROL FLOW";
        let event = json!({"event": "limit", "name": "radio", "what": what, "value_ms": cost.ms, "limit_ms": limit, "ratio": ratio});
        out.event(&event, || format!("  {what}: {ratio:.2} of the limit of {limit} ms"))?;
    }
    Ok(())
}

/// A line a frame, a column a fault; then what broke a rule.
fn faults(out: &mut Out) -> Outcome {
    let mut failed = None;
    let mut row = String::new();
    let names: Vec<_> = radio::faults::FAULTS.iter().map(|(name, _)| format!("{name:>15}")).collect();
    out.text("every fault at every frame of a tap: what came of it, and milliseconds of simulated time from field on")?;
    out.text("opened: in the session in which the fault was; again: in a later session of the same tap")?;
    let cells = radio::faults::table(&radio::bench::RATES, &mut |cell| {
        let mut tell = || {
            if cell.frame == 1 && row.is_empty() {
                out.text(&format!("{} at {} kbit/s\n  frame {}", cell.method, cell.rate, names.concat()))?;
            }
            row.push_str(&format!(" {:>7} {:6.1}", cell.outcome, cell.ms));
            if row.len() >= 15 * names.len() {
                out.text(&format!("  {:5} {row}", cell.frame))?;
                row.clear();
            }
            out.json(&event("faults", cell))
        };
        if let Err(error) = tell() {
            failed.get_or_insert(error);
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let mut broken = 0;
    for cell in &cells {
        if let Err(rule) = cell.judge() {
            broken += 1;
            out.warn(&format!(
                "{} at {} kbit/s, frame {}, {}: {rule}",
                cell.method, cell.rate, cell.frame, cell.fault
            ));
        }
    }
    let summary = json!({"event": "summary", "name": "faults", "cells": cells.len(), "broken": broken, "ok": broken == 0});
    out.event(&summary, || format!("{} cells, {broken} of them against a rule", cells.len()))?;
    Ok(if broken == 0 { DONE } else { REFUSED })
}

fn aliro(args: &BenchArgs, out: &mut Out) -> Result<(), Failure> {
    let folder = tempfile_here()?;
    out.text("Aliro, CPU of each chip in a tap, beside the P-256 operations alone and the time on the air at 106 kbit/s (simulated)")?;
    out.text("  phase     store     lock us   phone us   P-256 us  APDUs  of the lock's limit  air ms")?;
    let mut failed = None;
    bench::aliro::phases(folder.path(), args.count, &mut |cost| {
        let told = out.event(&event("aliro", cost), || {
            format!(
                "  {:8}  {:8} {:8.1}   {:8.1}   {:8.1}  {:5}  {:19.2}  {:6.1}",
                cost.phase,
                cost.store,
                cost.lock_us,
                cost.phone_us,
                cost.bare_us,
                cost.apdus,
                cost.lock_us / cost.limit_us,
                cost.air_ms
            )
        });
        if let Err(error) = told {
            failed.get_or_insert(error);
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    for remembered in [16, 256, 4096] {
        let cost = bench::aliro::many(remembered)?;
        out.event(&event("aliro-remembered", &cost), || {
            format!(
                "  {:5} remembered: fast, tried last {:.0} us; none fits, so standard {:.0} us",
                cost.remembered, cost.last_us, cost.miss_us
            )
        })?;
    }
    Ok(())
}

fn link(args: &BenchArgs, out: &mut Out, stop: &Stop) -> Result<(), Failure> {
    let fragment = match &args.reader {
        Some(ReaderSpec::Pcsc(fragment)) => fragment,
        Some(reader) => return rate(reader, args, out, stop),
        None => {
            return Err(Failure::new(
                USAGE,
                "bench link needs a reader: give --reader; with pcsc:FRAGMENT it compares with SCardTransmit",
            ));
        }
    };
    let mut source = PcscSource::open(fragment)?;
    let folder = tempfile_here()?;
    let cost = bench::link::measure(&mut source, args.count, folder.path(), stop)?;
    out.event(&event("link", &cost), || {
        format!(
            "APDUs per second at {}: {:.0} as the lock does it, recorder on; {:.0} by a bare SCardTransmit loop: {:.3}",
            cost.reader, cost.per_second, cost.bare_per_second, cost.ratio
        )
    })?;
    Ok(())
}

/// At a reader that has no bare loop to compare with.
fn rate(reader: &ReaderSpec, args: &BenchArgs, out: &mut Out, stop: &Stop) -> Result<(), Failure> {
    let mut source = reader.open(None, Duration::ZERO)?;
    let folder = tempfile_here()?;
    let cost = bench::link::rate(source.as_mut(), args.count, folder.path(), stop)?;
    out.event(&event("link", &cost), || {
        format!(
            "APDUs per second at {}: {:.0} as the lock does it, recorder on",
            cost.reader, cost.per_second
        )
    })?;
    Ok(())
}

fn tempfile_here() -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new()
        .prefix(".tapdoor-bench-")
        .tempdir_in(".")
        .or_else(|_| tempfile::tempdir())
        .map_err(|e| Failure::new(DEVICE, format!("temporary folder: {e}")))
}
