//! `tapdoor convert`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use tapdoor_captures::export::{self, ConvertError, Report};
use tapdoor_captures::{Events, Format};

use super::{Outcome, input};
use crate::args::ConvertArgs;
use crate::failure::{DEVICE, DONE, Failure, INPUT, USAGE};
use crate::out::Out;

/// Runs the command.
pub fn run(args: &ConvertArgs, out: &mut Out) -> Outcome {
    let to = target(&args.output, args.to.as_deref())?;
    if args.output.as_os_str() == "-" && out.is_json() {
        return Err(Failure::new(
            USAGE,
            "with --json stdout holds JSON events: name a file instead of -",
        ));
    }
    let events = input::open(&args.input, input::format(args.from.as_deref())?, out)?;
    let from = events.format();
    let report = write(events, to, &args.input, &args.output)?;
    let losses = report.losses.list();
    for loss in &losses {
        out.warn(&format!("lost: {} ({})", loss.what, loss.count));
    }
    if let Some(cut) = report.cut {
        out.warn(&format!("{}: {cut}", args.input.display()));
    }
    let event = json!({"event": "converted", "from": from.name(), "to": to.name(), "in": args.input, "out": args.output,
        "events": report.events, "losses": losses});
    if args.output.as_os_str() != "-" {
        out.event(&event, || {
            let lost = if losses.is_empty() {
                "nothing lost"
            } else {
                "what was lost stands above"
            };
            format!("{} events of {} as {}, {lost}", report.events, from.name(), to.name())
        })?;
    }
    Ok(DONE)
}

/// The format to write.
pub fn target(output: &Path, to: Option<&str>) -> Result<Format, Failure> {
    if let Some(format) = input::format(to)? {
        return match format.is_writable() {
            true => Ok(format),
            false => Err(Failure::new(USAGE, ConvertError::NotWritable(format))),
        };
    }
    let name = output.display().to_string();
    Format::of_name(&name).ok_or_else(|| Failure::new(USAGE, format!("{name}: its name does not tell the format; say --to FORMAT")))
}

/// Writes all events into a file. What was understood is there even when the input breaks off.
pub fn write<E: Events>(events: E, to: Format, input: &Path, output: &Path) -> Result<Report, Failure> {
    if output.as_os_str() == "-" {
        let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        return export::convert(events, to, out).map_err(|stopped| failure(stopped.error, input));
    }
    let cannot = |error: io::Error| Failure::new(DEVICE, format!("{}: {error}", output.display()));
    if output.exists()
        && input
            .canonicalize()
            .ok()
            .is_some_and(|input| output.canonicalize().is_ok_and(|output| input == output))
    {
        return Err(Failure::new(
            USAGE,
            format!("{}: it is the file that is read; choose another name", output.display()),
        ));
    }
    // Beside it, and into its place when it is whole.
    let part = PathBuf::from(format!("{}.part", output.display()));
    let file = File::create(&part).map_err(|error| Failure::new(DEVICE, format!("{}: {error}", part.display())))?;
    let mut file = BufWriter::with_capacity(1 << 16, file);
    let outcome = export::convert(events, to, &mut file);
    let flushed = file.flush();
    drop(file);
    let unwritten = outcome
        .as_ref()
        .err()
        .is_some_and(|stopped| !matches!(stopped.error, ConvertError::Read(_)));
    if unwritten || flushed.is_err() {
        let _ = std::fs::remove_file(&part);
    } else {
        std::fs::rename(&part, output).map_err(cannot)?;
    }
    flushed.map_err(cannot)?;
    outcome.map_err(|stopped| match stopped.error {
        ConvertError::Write(error) => cannot(error),
        error => failure(error, input),
    })
}

fn failure(error: ConvertError, input: &Path) -> Failure {
    match error {
        ConvertError::Read(error) => Failure::new(INPUT, format!("{}: {error}", input.display())),
        ConvertError::Write(error) => error.into(),
        error => Failure::new(USAGE, error),
    }
}
