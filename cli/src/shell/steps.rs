//! Steps of the script language, typed one at a time.

use std::time::Duration;

use serde_json::json;
use tapdoor_protocol::status::StatusWord;
use tapdoor_reader::{Tap, TapVerdict};
use tapdoor_workbench::desk::DeskError;
use tapdoor_workbench::names;
use tapdoor_workbench::script::syntax::Kind;
use tapdoor_workbench::script::{self, Case, Options, Outcome as CaseOutcome, Progress, Runner, Step};

use super::{Shell, no_reader};
use crate::commands::Outcome;
use crate::failure::{DEVICE, DONE, Failure, INTERRUPTED, REFUSED};
use crate::out::{BAD, DIM, GOOD, Out, ms, paint};

/// Whether a line is bytes: it begins with hexadecimal digits, an even number of them, and is no word of the shell.
pub fn is_bytes(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    let digits = first.split('{').next().unwrap_or_default();
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit() || c == ':')
}

/// Whether a line begins a block that goes on in the next one.
pub fn is_open(line: &str) -> bool {
    line.trim_start().starts_with("for") && script::lex::open_blocks(line) > 0
}

pub fn desk_failure(error: DeskError) -> Failure {
    let code = if error.is_stopped() { INTERRUPTED } else { DEVICE };
    Failure::new(code, error)
}

/// Prints what passes.
struct Told<'a> {
    out: &'a mut Out,
    failed: Option<std::io::Error>,
}

impl Told<'_> {
    fn keep(&mut self, told: std::io::Result<()>) {
        if let Err(error) = told {
            self.failed.get_or_insert(error);
        }
    }
}

impl Progress for Told<'_> {
    fn exchange(&mut self, _: &Step, command: &[u8], answer: &[u8], time: Duration) {
        let Some((data, sw)) = answer.split_last_chunk::<2>() else { return };
        let sw = StatusWord::from(*sw);
        let event = json!({"event": "apdu", "c": hex::encode(command), "r": hex::encode(answer), "sw": sw.to_string(), "meaning": sw.meaning(), "ms": ms(time)});
        let told = self.out.event(&event, || {
            let style = if sw.is_ok() { GOOD } else { BAD };
            let space = if data.is_empty() { "" } else { " " };
            format!(
                "{} {}\n{} {}{space}{} {}",
                paint(DIM, ">"),
                hex::encode(command),
                paint(DIM, "<"),
                hex::encode(data),
                paint(style, sw),
                paint(DIM, format!("{} ({:.1} ms)", sw.meaning(), time.as_secs_f64() * 1e3))
            )
        });
        self.keep(told);
    }

    fn tap(&mut self, _: &Step, tap: &Tap) {
        let event = json!({"event": "tap", "verdict": tap.verdict.name(), "method": tap.method.map(|m| m.name()), "reason": tap.reason.map(|r| r.name()), "detail": tap.detail, "apdus": tap.apdus, "ms": {"total": ms(tap.total), "select": ms(tap.select), "authenticate": ms(tap.authenticate)}});
        let told = self.out.event(&event, || {
            let style = if tap.verdict == TapVerdict::Open { GOOD } else { BAD };
            let method = tap.method.map_or("", |m| m.name());
            format!(
                "{} {method} {} APDUs {}",
                paint(style, tap.verdict.name()),
                tap.apdus,
                paint(DIM, format!("{} ({:.1} ms)", tap.detail, tap.total.as_secs_f64() * 1e3))
            )
        });
        self.keep(told);
    }

    fn note(&mut self, _: &Step, text: &str) {
        let told = self.out.event(&json!({"event": "note", "text": text}), || text.to_owned());
        self.keep(told);
    }

    fn case(&mut self, case: &Case) {
        if let CaseOutcome::Failed(failure) = &case.outcome {
            let event = json!({"event": "test", "name": case.name, "outcome": "failed", "detail": failure.to_string()});
            let told = self.out.event(&event, || format!("{} {failure}", paint(BAD, "FAIL")));
            self.keep(told);
        }
    }
}

/// An application by its short name, by the registry's, or by its digits.
pub(super) fn application(aid: &[u8]) -> String {
    if aid.is_empty() {
        return "default".into();
    }
    let named = names::all().find(|(_, known)| known.as_bytes() == aid).map(|(name, _)| name);
    named.unwrap_or_else(|| hex::encode(aid))
}

impl Shell<'_> {
    /// Carries out steps, with the values and the last answer of before.
    pub(super) fn steps(&mut self, line: &str) -> Outcome {
        let script = script::load_named("shell", line)?;
        let desk = self.desk.as_mut().ok_or_else(no_reader)?;
        let memory = std::mem::take(&mut self.memory);
        let mut told = Told {
            out: self.out,
            failed: None,
        };
        let options = Options { keep_going: true };
        let mut runner = Runner::new(desk, self.lock.as_mut(), &mut told, options).with_memory(memory);
        let mut code = DONE;
        let mut problem = None;
        for step in &script.steps {
            let holds_steps = matches!(step.kind, Kind::For { .. } | Kind::Include(_));
            if holds_steps {
                code = code.max(runner.block_alone(step));
            } else if let Err(failure) = runner.step_alone(step) {
                problem = Some(failure);
                break;
            }
        }
        let stopped = runner.is_stopped();
        self.memory = runner.into_memory();
        if let Some(error) = told.failed {
            return Err(error.into());
        }
        if stopped {
            return Err(Failure::new(INTERRUPTED, "stopped"));
        }
        match problem {
            None => Ok(code),
            Some(failure) => {
                let mut text = failure.what.clone();
                for (name, value) in [("expected", &failure.expected), ("got", &failure.got)] {
                    if let Some(value) = value {
                        text.push_str(&format!("\n  {name:9} {value}"));
                    }
                }
                Err(Failure::new(if failure.error { DEVICE } else { REFUSED }, text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_bytes, is_open};

    #[test]
    fn what_is_open() {
        for line in ["for x in A {", "for x in A B {\nselect aka", "for x in A { for y in B {\n}"] {
            assert!(is_open(line), "{line}");
        }
        for line in [
            "for x in A { reset }",
            "for x in A",
            "note {",
            "select aka",
            "for x in A {\nreset\n}",
            "for \"{",
        ] {
            assert!(!is_open(line), "{line}");
        }
    }

    #[test]
    fn what_is_bytes() {
        for line in ["00A4040000", "00 A4 04 00 00", "00:a4:04:00", "80{x}00", "0"] {
            assert!(is_bytes(line), "{line}");
        }
        for line in ["apdu 00", "select aka", "{x}", "", "help", "record x"] {
            assert!(!is_bytes(line), "{line}");
        }
    }
}
