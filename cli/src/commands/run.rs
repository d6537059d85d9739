//! `tapdoor run`: scripted interop tests.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tapdoor_link::stop::Stop;
use tapdoor_reader::{Tap, TapVerdict};
use tapdoor_workbench::desk::Desk;
use tapdoor_workbench::script::auth::OwnLockError;
use tapdoor_workbench::script::{
    self, Case, Failure as CaseFailure, LoadError, Options, Outcome as CaseOutcome, OwnLock, Progress, Runner, Script, Step,
};

use super::{Outcome, ready, tape};
use crate::args::{ResultForm, RunArgs};
use crate::failure::{DEVICE, DONE, Failure, INPUT, INTERRUPTED, REFUSED, USAGE};
use crate::out::{BAD, DIM, GOOD, Out, WARN, ms, paint};

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let code = if matches!(error, LoadError::NoSuite(_)) { USAGE } else { INPUT };
        Self::new(code, error)
    }
}

impl From<OwnLockError> for Failure {
    fn from(error: OwnLockError) -> Self {
        match error {
            OwnLockError::Config(error) => error.into(),
            OwnLockError::Chip(error) => error.into(),
        }
    }
}

/// Runs the command.
pub fn run(args: &RunArgs, out: &mut Out, stop: &Stop) -> Outcome {
    if args.list {
        for (name, what, _) in script::SUITES {
            let event = json!({"event": "suite", "name": format!("suite:{name}"), "what": what});
            out.event(&event, || format!("suite:{name}  {what}"))?;
        }
        return Ok(DONE);
    }
    if out.is_json() && args.form == ResultForm::Tap {
        return Err(Failure::new(USAGE, "--json and --form tap both want stdout: choose one"));
    }
    let scripts = args
        .scripts
        .iter()
        .map(|name| script::load(name))
        .collect::<Result<Vec<Script>, _>>()?;
    if args.check {
        for script in &scripts {
            let event = json!({"event": "script", "file": &*script.name, "ok": true});
            out.event(&event, || format!("{}: understood", script.name))?;
        }
        return Ok(DONE);
    }
    let Some(reader) = &args.reader else {
        return Err(Failure::new(
            USAGE,
            "no reader: give --reader READER, as in --reader sim:, or set TAPDOOR_READER",
        ));
    };
    let mut lock = args.config.as_deref().map(OwnLock::load).transpose()?;
    let source = reader.open(args.config.as_deref(), Duration::ZERO)?;
    let mut desk = Desk::new(source, Duration::from_secs(args.wait), stop);
    if let Some(path) = &args.record {
        desk.record(tape(path, desk.info(), args.show_secrets)?);
    }
    let info = desk.info().clone();
    if args.form == ResultForm::Text && (out.is_json() || info.listen.is_some()) {
        out.event(&ready(&info), || format!("ready: {} ({})", info.name, info.driver))?;
    }
    carry_out(args, &scripts, out, &mut desk, lock.as_mut())
}

/// The same at a desk that is there already.
pub fn run_at(args: &RunArgs, out: &mut Out, desk: &mut Desk, lock: Option<&mut OwnLock>) -> Outcome {
    if args.list || args.check {
        return run(args, out, &Stop::new());
    }
    let scripts = args
        .scripts
        .iter()
        .map(|name| script::load(name))
        .collect::<Result<Vec<Script>, _>>()?;
    carry_out(args, &scripts, out, desk, lock)
}

fn carry_out(args: &RunArgs, scripts: &[Script], out: &mut Out, desk: &mut Desk, lock: Option<&mut OwnLock>) -> Outcome {
    let mut told = Told {
        out,
        form: args.form,
        recent: VecDeque::new(),
        failed: None,
    };
    let options = Options {
        keep_going: args.keep_going,
    };
    let mut runner = Runner::new(desk, lock, &mut told, options);
    for (name, value) in &args.set {
        runner.variables.set(name, value);
    }
    let report = runner.run(scripts);
    drop(runner);
    if let Some(failed) = told.failed {
        return Err(failed.into());
    }
    if let Some(path) = &args.junit {
        std::fs::write(path, report.junit()).map_err(|e| Failure::new(DEVICE, format!("{}: {e}", path.display())))?;
    }
    let [passed, skipped, failed, errors] = report.counts();
    let ran = report.cases.len();
    let summary = json!({"event": "summary", "passed": passed, "skipped": skipped, "failed": failed, "errors": errors, "steps": report.steps(), "stopped": report.stopped, "ok": failed + errors == 0 && !report.stopped});
    match args.form {
        ResultForm::Tap => out.text(report.tap().trim_end())?,
        ResultForm::Text => out.event(&summary, || {
            let style = if failed + errors == 0 { GOOD } else { BAD };
            let word = if report.stopped { ", stopped" } else { "" };
            paint(
                style,
                format!("{ran} tests: {passed} passed, {skipped} skipped, {failed} failed, {errors} errors{word}"),
            )
        })?,
    }
    Ok(match (report.stopped, failed, errors) {
        (true, ..) => INTERRUPTED,
        (_, 0, 0) => DONE,
        (_, 0, _) => DEVICE,
        _ => REFUSED,
    })
}

/// Tells people and programs how it goes.
struct Told<'a> {
    out: &'a mut Out,
    form: ResultForm,
    /// The last exchanges, to be shown beside a failure.
    recent: VecDeque<(Vec<u8>, Vec<u8>)>,
    failed: Option<std::io::Error>,
}

/// How many exchanges are shown beside a failure.
const RECENT: usize = 4;

impl Told<'_> {
    fn keep(&mut self, told: std::io::Result<()>) {
        if let Err(error) = told {
            self.failed.get_or_insert(error);
        }
    }

    /// Whether people want to see failures only; programs get all there is.
    fn is_quiet(&self) -> bool {
        self.out.is_quiet() && !self.out.is_json()
    }

    fn is_wanted(&self) -> bool {
        self.form == ResultForm::Text
    }
}

impl Progress for Told<'_> {
    fn exchange(&mut self, step: &Step, command: &[u8], answer: &[u8], time: Duration) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((command.to_vec(), answer.to_vec()));
        if self.out.is_verbose() && self.is_wanted() {
            let event =
                json!({"event": "apdu", "at": step.place.to_string(), "c": hex::encode(command), "r": hex::encode(answer), "ms": ms(time)});
            let told = self.out.event(&event, || {
                format!(
                    "  {}\n  {} {}\n  {} {}",
                    paint(DIM, &step.text),
                    paint(DIM, ">"),
                    hex::encode(command),
                    paint(DIM, "<"),
                    hex::encode(answer)
                )
            });
            self.keep(told);
        }
    }

    fn tap(&mut self, step: &Step, tap: &Tap) {
        self.recent.clear();
        if self.out.is_verbose() && self.is_wanted() {
            let event = json!({"event": "auth", "at": step.place.to_string(), "verdict": tap.verdict.name(), "reason": tap.reason.map(|r| r.name()), "method": tap.method.map(|m| m.name()), "ms": ms(tap.total)});
            let told = self.out.event(&event, || {
                let verdict = if tap.verdict == TapVerdict::Open {
                    paint(GOOD, "open")
                } else {
                    paint(BAD, tap.verdict.name())
                };
                format!("  {}\n    {verdict}: {}", paint(DIM, &step.text), tap.detail)
            });
            self.keep(told);
        }
    }

    fn note(&mut self, step: &Step, text: &str) {
        if self.is_wanted() && !self.is_quiet() {
            let event = json!({"event": "note", "at": step.place.to_string(), "text": text});
            let told = self.out.event(&event, || format!("  {text}"));
            self.keep(told);
        }
    }

    fn case(&mut self, case: &Case) {
        let recent = std::mem::take(&mut self.recent);
        if !self.is_wanted() {
            return;
        }
        if self.is_quiet() && !matches!(case.outcome, CaseOutcome::Failed(_)) {
            return;
        }
        let told = self.out.event(&case_value(case), || {
            let time = format!("{:.1} ms", case.time.as_secs_f64() * 1e3);
            let name = format!("{}: {}", case.file, case.name);
            match &case.outcome {
                CaseOutcome::Passed => format!("{} {name} {}", paint(GOOD, "pass"), paint(DIM, time)),
                CaseOutcome::Skipped(why) => format!("{} {name} {}", paint(WARN, "skip"), paint(DIM, why)),
                CaseOutcome::Failed(failure) => {
                    let word = if failure.error { "ERROR" } else { "FAIL" };
                    let mut text = format!("{} {name}\n  {failure}", paint(BAD, word)).replace("\n  expected", "\n    expected");
                    text = text.replace("\n  got", "\n    got").replace("\n  last", "\n    last");
                    if recent.len() > 1 {
                        text.push_str("\n    before it:");
                        for (command, answer) in recent.iter().take(recent.len() - 1) {
                            text.push_str(&format!("\n      {} -> {}", hex::encode(command), hex::encode(answer)));
                        }
                    }
                    text
                }
            }
        });
        self.keep(told);
    }
}

fn failure_value(failure: &CaseFailure) -> Value {
    json!({
        "file": &*failure.place.file,
        "line": failure.place.line,
        "step": &*failure.step,
        "detail": failure.what,
        "expected": failure.expected,
        "got": failure.got,
        "c": failure.exchange.as_ref().map(|(c, _)| c),
        "r": failure.exchange.as_ref().map(|(_, r)| r),
        "kind": if failure.error { "error" } else { "failure" },
    })
}

fn case_value(case: &Case) -> Value {
    let (outcome, failure, why) = match &case.outcome {
        CaseOutcome::Passed => ("passed", Value::Null, None),
        CaseOutcome::Skipped(why) => ("skipped", Value::Null, Some(why)),
        CaseOutcome::Failed(failure) => ("failed", failure_value(failure), None),
    };
    json!({
        "event": "test",
        "file": &*case.file,
        "name": case.name,
        "outcome": outcome,
        "why": why,
        "failure": failure,
        "steps": case.steps,
        "ms": ms(case.time),
        "notes": case.notes,
    })
}
