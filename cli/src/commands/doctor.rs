//! `tapdoor doctor`.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde_json::json;
use tapdoor_workbench::doctor::{Finding, Here, Recorder, Recording, State, examine};

use super::Outcome;
use crate::args::DoctorArgs;
use crate::failure::{DEVICE, DONE, Failure, INPUT, REFUSED, USAGE};
use crate::out::{BAD, DIM, GOOD, Out, WARN, event, paint};

/// Runs the command.
pub fn run(args: &DoctorArgs, out: &mut Out) -> Outcome {
    let findings = match (&args.recorded, &args.record) {
        (Some(path), _) => examine(&read(path)?),
        (None, Some(path)) => {
            let recorder = Recorder::new(Here);
            let findings = examine(&recorder);
            write(path, &recorder.into_recording())?;
            findings
        }
        (None, None) => examine(&Here),
    };
    for finding in &findings {
        show(finding, out)?;
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (problems, warnings) = (count(State::Problem), count(State::Warning));
    let summary = json!({"event": "summary", "ok": problems == 0, "problems": problems, "warnings": warnings});
    out.event(&summary, || match (problems, warnings) {
        (0, 0) => paint(GOOD, "nothing stands in the way of a tap"),
        (0, _) => paint(WARN, "taps should work; see the warnings"),
        _ => paint(
            BAD,
            "something stands in the way of a tap: do what the arrows say, from the top, and run this again",
        ),
    })?;
    Ok(if problems == 0 { DONE } else { REFUSED })
}

fn show(finding: &Finding, out: &mut Out) -> Result<(), Failure> {
    let value = serde_json::to_value(finding).map_err(|e| Failure::new(DEVICE, e))?;
    out.event(&event("finding", value), || {
        let (style, word) = match finding.state {
            State::Ok => (GOOD, "ok"),
            State::Note => (DIM, "note"),
            State::Warning => (WARN, "warning"),
            State::Problem => (BAD, "problem"),
        };
        let mut text = format!("{} {:<10} {}", paint(style, format!("{word:<7}")), finding.check, finding.found);
        for step in &finding.cure {
            text.push_str(&format!("\n                   -> {step}"));
        }
        text
    })?;
    Ok(())
}

fn read(path: &Path) -> Result<Recording, Failure> {
    let text = fs::read_to_string(path).map_err(|e| Failure::new(INPUT, format!("{}: {e}", path.display())))?;
    serde_json::from_str(&text).map_err(|e| {
        Failure::new(
            INPUT,
            format!("{} is no recording of `tapdoor doctor --record`: {e}", path.display()),
        )
    })
}

fn write(path: &Path, recording: &Recording) -> Result<(), Failure> {
    let failed = |e: std::io::Error| {
        let code = if e.kind() == ErrorKind::AlreadyExists { USAGE } else { DEVICE };
        Failure::new(code, format!("{}: {e}; choose another name with --record", path.display()))
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    let text = serde_json::to_string_pretty(recording).map_err(|e| Failure::new(DEVICE, e))?;
    writeln!(file, "{text}").map_err(failed)
}
