//! `tapdoor diff`.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use tapdoor_captures::diff::{self, DiffError, Difference, Finding};

use super::{Outcome, input};
use crate::args::DiffArgs;
use crate::failure::{DONE, Failure, INPUT, REFUSED};
use crate::out::{self, BAD, DIM, Out, paint};

/// Runs the command.
pub fn run(args: &DiffArgs, out: &mut Out) -> Outcome {
    let a = input::open(&args.a, input::format(args.from_a.as_deref())?, out)?;
    let b = input::open(&args.b, input::format(args.from_b.as_deref())?, out)?;
    let mut failed = None;
    let outcome = diff::diff(a, b, |finding| {
        if failed.is_none() {
            failed = tell(&finding, out).err();
        }
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let totals = outcome.map_err(|error| {
        let (path, text): (&Path, _) = match &error {
            DiffError::A(error) => (&args.a, error.to_string()),
            DiffError::B(error) => (&args.b, error.to_string()),
        };
        Failure::new(INPUT, format!("{}: {text}", path.display()))
    })?;
    out.event(&named("summary", &totals), || match totals.differences {
        0 => format!("{} exchanges in {} taps, no difference", totals.steps, totals.taps),
        n => format!("{n} differences; {} exchanges in {} taps are in both", totals.steps, totals.taps),
    })?;
    Ok(if totals.differences == 0 { DONE } else { REFUSED })
}

fn named(name: &str, value: &impl Serialize) -> Value {
    out::event(name, serde_json::to_value(value).unwrap_or_default())
}

fn tell(finding: &Finding, out: &mut Out) -> std::io::Result<()> {
    match finding {
        Finding::Difference(difference) => out.event(&named("difference", difference), || text(difference)),
        Finding::Stage(stage) => out.event(&named("stage", stage), || {
            let line = format!(
                "tap {}  {:>10.3} ms {:>10.3} ms {:>+10.3}  {}",
                stage.tap,
                stage.a_ms,
                stage.b_ms,
                stage.b_ms - stage.a_ms,
                stage.step
            );
            paint(DIM, line)
        }),
    }
}

fn text(difference: &Difference) -> String {
    let Difference {
        tap,
        kind,
        exchange,
        step,
        field,
        a,
        b,
    } = difference;
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
    let what = match *kind {
        "only-a" => format!("only in the first: {}", value(a)),
        "only-b" => format!("only in the second: {}", value(b)),
        "status" => format!("{step}: answered {} and {}", value(a), value(b)),
        "command" => format!("{step}: {} and {}", value(a), value(b)),
        _ => format!("{step}: {} is {} and {}", field.as_deref().unwrap_or("a field"), value(a), value(b)),
    };
    // What came from a file must not drive the terminal.
    let what: String = what.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let place = exchange.map_or_else(|| format!("tap {tap}"), |number| format!("tap {tap}, exchange {number}"));
    format!("{place}  {}", paint(BAD, what))
}
