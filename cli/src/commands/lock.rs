//! `tapdoor lock`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_reader::calibrate::Calibration;
use tapdoor_reader::config::Method;
use tapdoor_reader::{Lock, LockConfig, LockEvent, Tap, TapVerdict};

use super::{Outcome, ready, tape};
use crate::args::{Expect, LockArgs};
use crate::failure::{DEVICE, DONE, Failure, REFUSED, USAGE};
use crate::out::{BAD, DIM, GOOD, Out, WARN, ms, paint};

/// Runs the command.
pub fn run(args: &LockArgs, out: &mut Out, stop: &Stop) -> Outcome {
    let mut config = LockConfig::load(&args.config)?;
    if !args.method.is_empty() {
        config.methods = methods(&args.method, &config)?;
    }
    let enough = args.calibrate.or(args.count).or(args.once.then_some(1));
    // A simulated phone taps as fast as it can when taps are counted, and like a person otherwise.
    let pause = if enough.is_some() { Duration::ZERO } else { Duration::from_secs(1) };
    let mut source = args.reader.reader.open(Some(&args.config), pause)?;
    let verbose = out.is_verbose();
    source.set_observer(Arc::new(move |event| {
        // Losses are always told; the rest with -v.
        if verbose || !matches!(event, tapdoor_reader::source::SourceEvent::CardMute(_)) {
            eprintln!("{event}");
        }
    }));
    let mut lock = Lock::new(config)?;
    let info = source.describe();
    if let Some(path) = &args.record {
        lock.record(tape(path, &info, args.show_secrets)?);
    }
    out.event(&ready(&info), || {
        let place = info.listen.map_or(String::new(), |l| format!(", listening on {l}"));
        format!("ready: {} ({}{place}). Tap.", info.name, info.driver)
    })?;

    let mut state = State {
        taps: 0,
        good: 0,
        last_error: false,
        calibration: Calibration::default(),
        failure: None,
    };
    let result = lock.run(source.as_mut(), stop, &mut |event| match event {
        LockEvent::Trouble(text) => {
            out.warn(text);
            true
        }
        LockEvent::Tap { number, tap } => {
            state.count(tap, args.expect);
            let told = out.event(&value(number, tap, args.show_secrets), || line(number, tap, args.show_secrets));
            if let Err(error) = told {
                state.failure = Some(error.into());
                return false;
            }
            tap.warnings.iter().for_each(|warning| out.warn(&warning.to_string()));
            enough.is_none_or(|n| state.taps < n)
        }
    });
    if let Some(failure) = state.failure {
        return Err(failure);
    }
    result?;
    if args.calibrate.is_some() {
        return proposal(&state.calibration, out);
    }
    Ok(match (state.good == state.taps, state.last_error) {
        (true, _) => DONE,
        // One tap that came to no decision: reader or card failed.
        (false, true) if args.once => DEVICE,
        (false, _) => REFUSED,
    })
}

struct State {
    taps: u64,
    good: u64,
    last_error: bool,
    calibration: Calibration,
    failure: Option<Failure>,
}

impl State {
    fn count(&mut self, tap: &Tap, expect: Expect) {
        let opened = tap.verdict == TapVerdict::Open;
        self.taps += 1;
        self.good += u64::from(opened == (expect == Expect::Open));
        self.last_error = tap.verdict == TapVerdict::Error;
        self.calibration.add(tap);
    }
}

fn methods(words: &[String], config: &LockConfig) -> Result<Vec<Method>, Failure> {
    let mut out = Vec::new();
    for word in words {
        let method = Method::WORDS
            .iter()
            .find(|(name, _)| name == word)
            .map(|(_, method)| *method)
            .ok_or_else(|| {
                let all: Vec<&str> = Method::WORDS.iter().map(|(name, _)| *name).collect();
                Failure::new(
                    USAGE,
                    format!("\"{word}\" is no method of this version; they are {}", all.join(", ")),
                )
            })?;
        let has_key = |entry: &tapdoor_chip::ListEntry| match config.algorithm {
            Algorithm::Milenage => entry.milenage.is_some(),
            Algorithm::Tuak => entry.tuak.is_some(),
        };
        if method == Method::Aka && !config.personalisation.list.iter().all(has_key) {
            let name = config.algorithm.name();
            return Err(Failure::new(
                USAGE,
                format!("method aka: a phone in the list has no `{name}` key; add it in lock.toml"),
            ));
        }
        out.push(method);
    }
    Ok(out)
}

fn value(number: u64, tap: &Tap, show_secrets: bool) -> Value {
    json!({
        "event": "tap",
        "tap": number,
        "verdict": tap.verdict.name(),
        "method": tap.method.map(|m| m.name()),
        "phone": tap.phone.map(|p| if show_secrets { p.to_string() } else { p.masked() }),
        "reason": tap.reason.map(|r| r.name()),
        "detail": tap.detail,
        "apdus": tap.apdus,
        "ms": {"total": ms(tap.total), "select": ms(tap.select), "authenticate": ms(tap.authenticate)},
        "downloaded": false,
        "warnings": tap.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn line(number: u64, tap: &Tap, show_secrets: bool) -> String {
    let verdict = match tap.verdict {
        TapVerdict::Open => paint(GOOD, "OPEN"),
        TapVerdict::Refused => paint(BAD, "REFUSED"),
        TapVerdict::Error => paint(WARN, "ERROR"),
    };
    let phone = tap
        .phone
        .map_or_else(|| "-".to_owned(), |p| if show_secrets { p.to_string() } else { p.masked() });
    let method = tap.method.map_or("-", |m| m.name());
    let time = format!("{:.1} ms", tap.total.as_secs_f64() * 1e3);
    let mut text = format!("tap {number}: {verdict}  {method}  phone {phone}  {} APDUs  {time}", tap.apdus);
    if let Some(reason) = tap.reason {
        text.push_str(&format!(
            "\n  {}: {}\n  {}",
            reason.name(),
            tap.detail,
            paint(DIM, format!("try: {}", reason.cure()))
        ));
    }
    text
}

fn proposal(calibration: &Calibration, out: &mut Out) -> Outcome {
    let (Some((answer, tap)), Some(text)) = (calibration.caps_ms(), calibration.proposal()) else {
        return Err(Failure::new(REFUSED, "no tap opened, so there is nothing to calibrate by"));
    };
    let event = json!({
        "event": "calibration",
        "taps": calibration.taps,
        "slowest": {"answer": ms(calibration.answer), "tap": ms(calibration.tap)},
        "answer-cap-ms": answer,
        "tap-cap-ms": tap,
    });
    out.event(&event, || {
        format!("\nFrom {} taps that opened; for lock.toml:\n\n{text}", calibration.taps)
    })?;
    Ok(DONE)
}
