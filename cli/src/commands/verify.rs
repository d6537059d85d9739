//! `tapdoor verify`.

use std::fs::File;
use std::io::BufReader;

use serde_json::{Value, json};
use tapdoor_reader::{LockConfig, TapVerdict};
use tapdoor_workbench::recorded::Taps;
use tapdoor_workbench::verify::{Check, Found, Verified, Verifier};

use super::Outcome;
use super::lock::methods;
use crate::args::VerifyArgs;
use crate::failure::{DONE, Failure, INPUT, REFUSED};
use crate::out::{BAD, DIM, GOOD, Out, WARN, paint};

/// Runs the command.
pub fn run(args: &VerifyArgs, out: &mut Out) -> Outcome {
    let name = args.file.display().to_string();
    let input = |e: &dyn std::fmt::Display| Failure::new(INPUT, format!("{name}: {e}"));
    let mut config = LockConfig::load(&args.config)?;
    if !args.method.is_empty() {
        config.methods = methods(&args.method, &config)?;
    }
    let mut evidence = super::show::given(&args.key)?;
    if config.aliro.is_some()
        && let Err(error) = evidence.read(&config.store)
    {
        // A lock that runs has it, and most tapes do not need it.
        out.warn(&format!("what the lock's chip remembers of Aliro phones is not looked at: {error}"));
    }
    let file = File::open(&args.file).map_err(|e| input(&e))?;
    let mut taps = Taps::new(BufReader::with_capacity(1 << 16, file)).map_err(|e| input(&e))?;
    if taps.header().extra.get("redacted").is_some() {
        out.warn(&format!(
            "{name}: it was redacted, so its challenges and proofs are no longer those of any key"
        ));
    }
    let mut verifier = Verifier::new(config, &evidence)?;
    let (mut shown, mut good, mut unjudged, mut failed) = (0u64, 0u64, 0u64, None);
    let verified = verifier.tape(&mut taps, &mut |tap| {
        if args.tap.is_some_and(|n| tap.number != Some(n)) {
            return;
        }
        shown += 1;
        good += u64::from(tap.is_good());
        unjudged += u64::from(!tap.judged);
        let quiet = out.is_quiet() && tap.is_good() && !out.is_json();
        let told = if quiet {
            Ok(())
        } else {
            out.event(&value(&tap, args.show_secrets), || text(&tap, args.show_secrets))
        };
        if let Err(error) = told {
            failed.get_or_insert(error);
        }
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    verified.map_err(|e| input(&e))?;
    if let Some(cut) = taps.cut() {
        out.warn(&format!("{name}: {cut}"));
    }
    if shown == 0 {
        let what = args
            .tap
            .map_or("no tap with a phone (layer apdu)".to_owned(), |n| format!("no tap {n}"));
        return Err(Failure::new(
            INPUT,
            format!("{name}: {what} on this tape; `tapdoor show` tells what is on it"),
        ));
    }
    let summary =
        json!({"event": "summary", "taps": shown, "same": good, "different": shown - good, "unjudged": unjudged, "ok": good == shown});
    out.event(&summary, || {
        let style = if good == shown { GOOD } else { BAD };
        let mut text = format!("{shown} taps: {} as recorded, {} not", good - unjudged.min(good), shown - good);
        if unjudged > 0 {
            text.push_str(&format!(", {unjudged} not judged"));
        }
        paint(style, text)
    })?;
    Ok(if good == shown { DONE } else { REFUSED })
}

fn phone(tap: &Verified, show_secrets: bool) -> Option<String> {
    tap.phone.map(|p| if show_secrets { p.to_string() } else { p.masked() })
}

fn check_value(check: &Check) -> Value {
    let (result, detail, expected, got) = match &check.found {
        Found::Right(detail) => ("right", Some(detail), None, None),
        Found::Told(detail) => ("told", Some(detail), None, None),
        Found::Wrong { expected, got } => ("wrong", None, Some(expected).filter(|e| !e.is_empty()), Some(got)),
    };
    json!({"name": check.name, "exchange": check.exchange, "result": result, "detail": detail, "expected": expected, "got": got})
}

fn value(tap: &Verified, show_secrets: bool) -> Value {
    json!({
        "event": "verify",
        "tap": tap.number,
        "then": tap.then.as_ref().map(|v| json!({"verdict": v.verdict, "reason": v.reason, "method": v.method})),
        "judged": tap.judged,
        "now": {"verdict": tap.judged.then(|| tap.now.name()), "reason": tap.reason.map(|r| r.name()), "method": tap.method.map(|m| m.name()), "phone": phone(tap, show_secrets), "detail": tap.detail},
        "same_decision": tap.same_decision(),
        "difference": tap.difference.as_ref().map(|d| json!({"exchange": d.exchange, "what": d.what, "then": d.then, "now": d.now})),
        "checks": tap.checks.iter().map(check_value).collect::<Vec<_>>(),
        "unproven": tap.unproven,
        "ok": tap.is_good(),
    })
}

fn text(tap: &Verified, show_secrets: bool) -> String {
    let number = tap.number.map_or("tap".to_owned(), |n| format!("tap {n}"));
    let now = match (tap.now, tap.reason) {
        (TapVerdict::Open, _) => "open".to_owned(),
        (verdict, Some(reason)) => format!("{} ({})", verdict.name(), reason.name()),
        (verdict, None) => verdict.name().to_owned(),
    };
    let decision = match (tap.same_decision(), &tap.then) {
        (Some(true), _) => format!("{} {now}, then and now", paint(GOOD, "same decision:")),
        (Some(false), Some(then)) => format!("{} then {then}, now {now}", paint(BAD, "other decision:")),
        _ if !tap.judged => paint(WARN, "not judged"),
        _ => format!("{} {now}; the tape does not say what was decided then", paint(WARN, "today:")),
    };
    let mut out = format!("{number}: {decision}");
    if let Some(phone) = phone(tap, show_secrets) {
        out.push_str(&format!(", phone {phone}"));
    }
    out.push_str(&format!("\n  {}", paint(DIM, &tap.detail)));
    let width = tap.checks.iter().map(|check| check.name.len()).max().unwrap_or(0).max(8);
    for check in &tap.checks {
        let line = match &check.found {
            Found::Right(detail) => format!("{} {}", paint(GOOD, "right"), paint(DIM, detail)),
            Found::Told(detail) => format!("{} {detail}", paint(WARN, "told ")),
            Found::Wrong { expected, got } if expected.is_empty() => format!("{} the keys do not give {got}", paint(BAD, "WRONG")),
            Found::Wrong { expected, got } => format!("{} the keys give {expected}, the tape has {got}", paint(BAD, "WRONG")),
        };
        out.push_str(&format!("\n  {:width$} in exchange {}: {line}", check.name, check.exchange));
    }
    if let Some(difference) = &tap.difference {
        out.push_str(&format!(
            "\n  {} in exchange {}: {}",
            paint(BAD, "differs"),
            difference.exchange,
            difference.what
        ));
        let or_none = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
        out.push_str(&format!(
            "\n    then {}\n    now  {}",
            or_none(&difference.then),
            or_none(&difference.now)
        ));
    }
    for what in &tap.unproven {
        out.push_str(&format!("\n  {} {what}", paint(WARN, "not proven:")));
    }
    out
}
