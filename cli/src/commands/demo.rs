//! `tapdoor demo`.

use std::io::BufReader;

use serde_json::json;
use tapdoor_captures::{Filter, Style, TapeReader, show};
use tapdoor_reader::TapVerdict;
use tapdoor_workbench::demo::{self, Scenario};

use super::Outcome;
use crate::args::DemoArgs;
use crate::failure::{DEVICE, DONE, Failure, REFUSED};
use crate::out::{self, BAD, DIM, GOOD, Out, ms, paint};

/// Runs the command.
pub fn run(args: &DemoArgs, out: &mut Out) -> Outcome {
    let mut failed = None;
    let mut tape = None;
    out.text("Lock and phone, each with its own chip and store, authenticate each other.\n")?;
    let scenarios = demo::run(
        &mut |scenario| {
            if let Err(e) = out.event(&out::event("scenario", value(scenario)), || line(scenario)) {
                failed.get_or_insert(e);
            }
        },
        &mut |path| {
            tape = std::fs::read(path).ok();
        },
    )
    .map_err(|e| Failure::new(DEVICE, e))?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if let (Some(path), Some(bytes)) = (&args.record, &tape) {
        if path.exists() {
            return Err(Failure::new(
                crate::failure::USAGE,
                format!("{} is there already; name another file", path.display()),
            ));
        }
        std::fs::write(path, bytes)?;
    }
    let ok = scenarios.iter().all(|s| s.ok);
    if !out.is_json()
        && let Some(bytes) = &tape
    {
        out.text("\nThe first scene, from its tape:\n")?;
        drawn(bytes)?;
    }
    let summary = json!({"event": "summary", "scenarios": scenarios.iter().map(value).collect::<Vec<_>>(), "ok": ok});
    out.event(&summary, || {
        if ok {
            format!("\n{} {} scenes, each ended as it should.", paint(GOOD, "ok"), scenarios.len())
        } else {
            format!("\n{} a scene ended otherwise than it should.", paint(BAD, "not ok"))
        }
    })?;
    Ok(if ok { DONE } else { REFUSED })
}

fn value(scenario: &Scenario) -> serde_json::Value {
    json!({
        "name": scenario.name,
        "verdict": scenario.verdict.name(),
        "expected": scenario.expected.name(),
        "ok": scenario.ok,
        "ms": ms(scenario.time),
        "reason": scenario.reason.map(|r| r.name()),
        "detail": scenario.detail,
    })
}

fn line(scenario: &Scenario) -> String {
    let mark = if scenario.ok { paint(GOOD, "ok    ") } else { paint(BAD, "not ok") };
    let verdict = match scenario.verdict {
        TapVerdict::Open => paint(GOOD, format!("{:8}", "open")),
        other => paint(BAD, format!("{:8}", other.name())),
    };
    format!(
        "{mark} {:22} {verdict} {}\n                                {}",
        scenario.name,
        scenario.shows,
        paint(DIM, &scenario.detail)
    )
}

fn drawn(tape: &[u8]) -> Result<(), Failure> {
    let reader = TapeReader::new(BufReader::new(tape)).map_err(|e| Failure::new(DEVICE, e))?;
    let filter = Filter {
        layer: Some("apdu".into()),
        ..Filter::default()
    };
    // anstream takes the colours out again where they are not wanted.
    show::text(reader, &filter, Style::Ansi, &mut anstream::stdout().lock()).map_err(|e| Failure::new(DEVICE, e))?;
    Ok(())
}
