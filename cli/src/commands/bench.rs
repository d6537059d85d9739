//! `tapdoor bench`.

mod download;

use serde::Serialize;
use serde_json::{Value, json};
use tapdoor_link::stop::Stop;
use tapdoor_reader::source::pcsc::PcscSource;
use tapdoor_workbench::ReaderSpec;
use tapdoor_workbench::bench::{self, BenchError};

use super::Outcome;
use crate::args::{BenchArgs, BenchName};
use crate::failure::{DEVICE, DONE, Failure, USAGE};
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
    if args.name == Some(BenchName::Link) || (all && args.reader.is_some()) {
        link(args, out, stop)?;
    }
    if all || args.name == Some(BenchName::Verify) {
        verify(args, out)?;
    }
    if all || args.name == Some(BenchName::Script) {
        script(args, out)?;
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

fn link(args: &BenchArgs, out: &mut Out, stop: &Stop) -> Result<(), Failure> {
    let Some(ReaderSpec::Pcsc(fragment)) = &args.reader else {
        return Err(Failure::new(
            USAGE,
            "bench link compares with SCardTransmit: give --reader pcsc:FRAGMENT",
        ));
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

fn tempfile_here() -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new()
        .prefix(".tapdoor-bench-")
        .tempdir_in(".")
        .or_else(|_| tempfile::tempdir())
        .map_err(|e| Failure::new(DEVICE, format!("temporary folder: {e}")))
}
