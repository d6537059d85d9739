//! Steps against any reader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tapdoor_chip::random::{OsRandom, RandomSource};
use tapdoor_link::LinkErrorKind;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::Reason;
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;
use tapdoor_reader::{Tap, TapVerdict};

use super::auth::OwnLock;
use super::pattern::{Mismatch, Values};
use super::report::{Case, Failure, Outcome, Report};
use super::syntax::{Condition, Expect, Kind, Part, Script, Step, Text, Value};
use crate::desk::{Desk, DeskError};
use crate::names;

/// Names and what they are, as text: a value that bytes are made of is hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<Arc<str>, String>);

impl Variables {
    /// What a name is.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A name becomes this text.
    pub fn set(&mut self, name: &str, text: impl Into<String>) {
        self.0.insert(name.into(), text.into());
    }

    /// All names, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (&**name, text.as_str()))
    }

    /// Forgets a name; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }
}

/// How a script runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on with the next `test` after a failure, and with the next script; otherwise the run ends there.
    pub keep_going: bool,
}

/// Told how a run goes.
pub trait Progress {
    /// A command was answered.
    fn exchange(&mut self, _step: &Step, _command: &[u8], _answer: &[u8], _time: Duration) {}

    /// A tap of `auth` was decided.
    fn tap(&mut self, _step: &Step, _tap: &Tap) {}

    /// A remark of the script.
    fn note(&mut self, _step: &Step, _text: &str) {}

    /// A case has ended.
    fn case(&mut self, _case: &Case) {}
}

/// Nobody is told.
pub struct Silent;

impl Progress for Silent {}

/// What was expected and not found, before it is known where.
struct Wrong {
    what: String,
    expected: Option<String>,
    got: Option<String>,
    error: bool,
    stopped: bool,
}

impl Wrong {
    /// An expectation that failed.
    fn assertion(what: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            expected: Some(expected.into()),
            got: Some(got.into()),
            error: false,
            stopped: false,
        }
    }

    /// The script cannot be carried out.
    fn error(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            expected: None,
            got: None,
            error: true,
            stopped: false,
        }
    }
}

impl From<DeskError> for Wrong {
    fn from(error: DeskError) -> Self {
        Self {
            stopped: error.is_stopped(),
            ..Self::error(error.to_string())
        }
    }
}

impl From<Mismatch> for Wrong {
    fn from(mismatch: Mismatch) -> Self {
        Self {
            error: false,
            ..Self::error(format!("byte {}: {}", mismatch.at, mismatch.what))
        }
    }
}

/// A result that the next step may have expected.
struct Pending {
    step: Step,
    reason: Option<Reason>,
    wrong: Wrong,
}

/// How a step left the script.
enum Flow {
    Next,
    /// The rest of this file, or of this case, is skipped.
    Skip(String),
}

/// The case that is under way.
struct Open {
    name: Option<String>,
    begun: Instant,
    steps: u64,
    /// Steps that judge or send something.
    work: u64,
    notes: Vec<String>,
    /// The case is over; its steps are passed by.
    over: Option<Outcome>,
}

impl Open {
    fn new(name: Option<String>) -> Self {
        Self {
            name,
            begun: Instant::now(),
            steps: 0,
            work: 0,
            notes: Vec::new(),
            over: None,
        }
    }
}

/// Carries out steps at a desk. Names keep their values from one script to the next.
pub struct Runner<'a> {
    desk: &'a mut Desk,
    lock: Option<&'a mut OwnLock>,
    progress: &'a mut dyn Progress,
    options: Options,
    /// Names and what they are.
    pub variables: Variables,
    response: Vec<u8>,
    command: Vec<u8>,
    /// Whether there is a last answer.
    answered: bool,
    time: Duration,
    pending: Option<Pending>,
    tap: Option<(TapVerdict, Option<Reason>)>,
    open: Open,
    cases: Vec<Case>,
    ended: bool,
    stopped: bool,
}

impl<'a> Runner<'a> {
    /// A runner at this desk. `lock` makes the taps of `auth`.
    pub fn new(desk: &'a mut Desk, lock: Option<&'a mut OwnLock>, progress: &'a mut dyn Progress, options: Options) -> Self {
        Self {
            desk,
            lock,
            progress,
            options,
            variables: Variables::default(),
            response: Vec::with_capacity(300),
            command: Vec::with_capacity(300),
            answered: false,
            time: Duration::ZERO,
            pending: None,
            tap: None,
            open: Open::new(None),
            cases: Vec::new(),
            ended: false,
            stopped: false,
        }
    }

    /// Carries out scripts, one after the other. Each begins with the names of `variables`.
    pub fn run(&mut self, scripts: &[Script]) -> Report {
        let given = self.variables.clone();
        for script in scripts {
            if self.ended {
                break;
            }
            self.variables.clone_from(&given);
            self.script(script);
        }
        Report {
            cases: std::mem::take(&mut self.cases),
            stopped: self.stopped,
        }
    }

    fn script(&mut self, script: &Script) {
        self.open = Open::new(None);
        self.answered = false;
        self.tap = None;
        let before = self.cases.len();
        if let Flow::Skip(why) = self.steps(&script.steps)
            && self.open.over.is_none()
        {
            self.open.over = Some(Outcome::Skipped(why));
        }
        self.close(&script.name);
        if self.cases.len() == before && !self.ended {
            // A script in which nothing is tested has passed when it came to its end.
            self.report(Case {
                file: script.name.clone(),
                name: script.name.to_string(),
                outcome: Outcome::Passed,
                steps: 0,
                time: Duration::ZERO,
                notes: Vec::new(),
            });
        }
        // The next script finds the card as it would alone.
        self.desk.release();
    }

    /// One step outside of a script: for the shell. The failure, if it was not as expected.
    ///
    /// # Errors
    /// [`Failure`]. A failed exchange or tap is one at once, unlike in a script, where `expect fail` may follow.
    pub fn step_alone(&mut self, step: &Step) -> Result<(), Box<Failure>> {
        let outcome = self.step(step);
        let pending = self.pending.take();
        match (outcome, pending) {
            (Err(wrong), _) => Err(self.failure(step, wrong)),
            (Ok(_), Some(pending)) => Err(self.failure(&pending.step, pending.wrong)),
            (Ok(_), None) => Ok(()),
        }
    }

    /// A loop or an included script outside of a script. Its cases are reported; the status is that of `run`: 0, or 1 if one failed.
    pub fn block_alone(&mut self, step: &Step) -> u8 {
        self.open = Open::new(None);
        self.guarded(step);
        self.close(&step.place.file);
        self.ended = self.stopped;
        let failed = self.cases.drain(..).any(|case| matches!(case.outcome, Outcome::Failed(_)));
        u8::from(failed)
    }

    /// Whether somebody asked to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped || self.desk.stop().is_stopped()
    }

    /// The last answer, if there is one.
    #[must_use]
    pub fn last_answer(&self) -> Option<&[u8]> {
        self.answered.then_some(self.response.as_slice())
    }

    /// What a shell keeps from one step to the next.
    #[must_use]
    pub fn into_memory(self) -> Memory {
        Memory {
            variables: self.variables,
            response: self.answered.then_some(self.response),
            time: self.time,
            tap: self.tap,
        }
    }

    /// Goes on from there.
    #[must_use]
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.variables = memory.variables;
        self.answered = memory.response.is_some();
        self.response = memory.response.unwrap_or_default();
        self.time = memory.time;
        self.tap = memory.tap;
        self
    }

    fn steps(&mut self, steps: &[Step]) -> Flow {
        for step in steps {
            if let Flow::Skip(why) = self.guarded(step) {
                return Flow::Skip(why);
            }
            if self.ended {
                break;
            }
        }
        Flow::Next
    }

    /// One step, and what becomes of it.
    fn guarded(&mut self, step: &Step) -> Flow {
        if let Kind::Test(name) = &step.kind {
            self.flush();
            if self.ended {
                return Flow::Next;
            }
            let name = self.expand(name);
            self.close(&step.place.file);
            self.open = Open::new(Some(match &name {
                Ok(name) => name.clone(),
                Err(_) => step.text.to_string(),
            }));
            if let Err(wrong) = name {
                self.fail(step, wrong);
            }
            return Flow::Next;
        }
        // A loop or an included file may hold the next test.
        let holds_steps = matches!(step.kind, Kind::For { .. } | Kind::Include(_));
        if self.open.over.is_some() && !holds_steps {
            return Flow::Next;
        }
        if !matches!(step.kind, Kind::Expect(Expect::Fail(_) | Expect::Open)) {
            self.flush();
            if self.ended || (self.open.over.is_some() && !holds_steps) {
                return Flow::Next;
            }
        }
        if self.desk.stop().is_stopped() {
            self.stop();
            return Flow::Next;
        }
        let in_test = self.open.name.is_some();
        match self.step(step) {
            Ok(Flow::Next) => Flow::Next,
            Ok(Flow::Skip(why)) if in_test => {
                self.open.over = Some(Outcome::Skipped(why));
                Flow::Next
            }
            Ok(skip) => skip,
            Err(wrong) => {
                self.fail(step, wrong);
                Flow::Next
            }
        }
    }

    /// What was not as it should be, and no step had expected, is a failure now.
    fn flush(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.fail(&pending.step, pending.wrong);
        }
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.ended = true;
    }

    fn fail(&mut self, step: &Step, wrong: Wrong) {
        if wrong.stopped {
            self.stop();
            return;
        }
        let failure = self.failure(step, wrong);
        self.open.over = Some(Outcome::Failed(failure));
        // The next case begins with a card that is in order.
        self.desk.release();
        self.ended |= !self.options.keep_going;
    }

    fn failure(&self, step: &Step, wrong: Wrong) -> Box<Failure> {
        Box::new(Failure {
            place: step.place.clone(),
            step: step.text.clone(),
            what: wrong.what,
            expected: wrong.expected,
            got: wrong.got,
            exchange: (self.answered && !wrong.error).then(|| (hex::encode(&self.command), hex::encode(&self.response))),
            error: wrong.error,
        })
    }

    /// Ends the case that is under way.
    fn close(&mut self, file: &Arc<str>) {
        if let Some(pending) = self.pending.take() {
            self.fail(&pending.step, pending.wrong);
        }
        let open = std::mem::replace(&mut self.open, Open::new(None));
        if open.name.is_none() && open.work == 0 && open.over.is_none() {
            return;
        }
        if self.stopped && open.over.is_none() {
            return;
        }
        self.report(Case {
            file: file.clone(),
            name: open.name.unwrap_or_else(|| file.to_string()),
            outcome: open.over.unwrap_or(Outcome::Passed),
            steps: open.steps,
            time: open.begun.elapsed(),
            notes: open.notes,
        });
    }

    fn report(&mut self, case: Case) {
        self.progress.case(&case);
        self.cases.push(case);
    }

    fn step(&mut self, step: &Step) -> Result<Flow, Wrong> {
        if !matches!(step.kind, Kind::For { .. } | Kind::Include(_)) {
            self.open.steps += 1;
        }
        match &step.kind {
            Kind::Test(_) => {}
            Kind::Select { aid, p2 } => {
                let aid = self.aid(aid)?;
                let command = Command::new(0x00, 0xA4, 0x04, *p2).data(aid.as_bytes()).ne(256);
                let mut bytes = std::mem::take(&mut self.command);
                let encoded = command.encode_into(&mut bytes);
                self.command = bytes;
                encoded.map_err(|e| Wrong::error(e.to_string()))?;
                self.send(step)?;
            }
            Kind::Apdu(text) => {
                self.command = self.bytes(text)?;
                if self.command.is_empty() {
                    return Err(Wrong::error("an APDU of no bytes cannot be sent"));
                }
                self.send(step)?;
            }
            Kind::Expect(expect) => {
                self.open.work += 1;
                self.expect(expect)?;
            }
            Kind::Let { name, only_new, .. } if *only_new && self.variables.get(name).is_some() => {}
            Kind::Let { name, value, .. } => {
                let text = self.value(value)?;
                self.variables.0.insert(name.clone(), text);
            }
            Kind::Reset => {
                self.answered = false;
                self.desk.reset()?;
            }
            Kind::Auth(method) => self.auth(step, method)?,
            Kind::WaitCard(limit) => self.with_limit(*limit, Desk::wait_card)?,
            Kind::WaitRemoval(limit) => {
                self.answered = false;
                self.with_limit(*limit, Desk::wait_removal)?;
            }
            Kind::Pause(time) => {
                if self.desk.stop().sleep(*time) {
                    return Err(DeskError::Stopped.into());
                }
            }
            Kind::Note(text) => {
                let text = self.expand(text)?;
                self.desk.note(&text);
                self.progress.note(step, &text);
                self.open.notes.push(text);
            }
            Kind::Fail(text) => {
                let mut wrong = Wrong::error(self.expand(text)?);
                wrong.error = false;
                return Err(wrong);
            }
            Kind::Include(steps) => {
                // What an included file skips is that file.
                if let Flow::Skip(why) = self.steps(steps) {
                    self.open.notes.push(format!("skipped: {why}"));
                }
            }
            Kind::For { name, values, body } => {
                for value in values {
                    let value = self.expand(value)?;
                    self.variables.0.insert(name.clone(), value);
                    if let Flow::Skip(why) = self.steps(body) {
                        return Ok(Flow::Skip(why));
                    }
                    if self.ended {
                        break;
                    }
                }
            }
            Kind::Skip { when, condition } => {
                let holds = self.condition(condition)?;
                if holds == *when {
                    return Ok(Flow::Skip(step.text.to_string()));
                }
            }
        }
        Ok(Flow::Next)
    }

    fn with_limit(&mut self, limit: Option<Duration>, wait: impl FnOnce(&mut Desk) -> Result<(), DeskError>) -> Result<(), Wrong> {
        let usual = self.desk.wait;
        self.desk.wait = limit.unwrap_or(usual);
        let outcome = wait(self.desk);
        self.desk.wait = usual;
        Ok(outcome?)
    }

    fn send(&mut self, step: &Step) -> Result<(), Wrong> {
        self.open.work += 1;
        self.tap = None;
        self.answered = false;
        match self.desk.transmit_into(&self.command, &mut self.response) {
            Ok(time) => {
                self.answered = true;
                self.time = time;
                self.progress.exchange(step, &self.command, &self.response, time);
                Ok(())
            }
            Err(error) => {
                let reason = match &error {
                    DeskError::Link(link) => Some(match link.kind {
                        LinkErrorKind::CardGone | LinkErrorKind::CardReset => Reason::Torn,
                        LinkErrorKind::Timeout => Reason::Timeout,
                        _ => Reason::CardError,
                    }),
                    _ => return Err(error.into()),
                };
                let wrong = Wrong::from(error);
                if wrong.stopped {
                    return Err(wrong);
                }
                // The next step may have expected just that.
                self.pending = Some(Pending {
                    step: step.clone(),
                    reason,
                    wrong,
                });
                Ok(())
            }
        }
    }

    fn auth(&mut self, step: &Step, method: &Text) -> Result<(), Wrong> {
        self.open.work += 1;
        self.answered = false;
        let method = self.expand(method)?;
        let Some(lock) = self.lock.as_deref_mut() else {
            return Err(Wrong::error("auth needs the keys of a lock: give --config lock.toml"));
        };
        let Some(tap) = lock.tap(&method, self.desk) else {
            return Err(Wrong::error(format!(
                "\"{method}\" is no method of this version; they are {}, aka-milenage and aka-tuak",
                tapdoor_reader::config::Method::WORDS.map(|(name, _)| name).join(", ")
            )));
        };
        if self.desk.stop().is_stopped() {
            return Err(DeskError::Stopped.into());
        }
        self.progress.tap(step, &tap);
        self.time = tap.select + tap.authenticate;
        self.tap = Some((tap.verdict, tap.reason));
        if tap.verdict != TapVerdict::Open {
            let reason = tap.reason.map_or("error", Reason::name);
            let mut wrong = Wrong::assertion(format!("{}: {}", tap.verdict.name(), tap.detail), "open", reason);
            wrong.error = tap.verdict == TapVerdict::Error;
            self.pending = Some(Pending {
                step: step.clone(),
                reason: tap.reason,
                wrong,
            });
        }
        Ok(())
    }

    fn answer(&self) -> Result<(&[u8], StatusWord), Wrong> {
        match self.response.split_last_chunk::<2>() {
            Some((data, sw)) if self.answered => Ok((data, StatusWord::from(*sw))),
            _ => Err(Wrong::error("there is no answer to judge: select or apdu comes first")),
        }
    }

    fn expect(&mut self, expect: &Expect) -> Result<(), Wrong> {
        match expect {
            Expect::Sw(patterns) => {
                let (_, sw) = self.answer()?;
                if patterns.iter().any(|p| p.matches(sw)) {
                    return Ok(());
                }
                let all: Vec<String> = patterns.iter().map(ToString::to_string).collect();
                let all = all.join(" or ");
                let what = format!("the status word is {sw} ({}), not {all}", sw.meaning());
                Err(Wrong::assertion(what, all, sw.to_string()))
            }
            Expect::Data(pattern) => {
                let (data, sw) = self.answer()?;
                let data = data.to_vec();
                pattern.matches::<Wrong>(&data, &mut self.variables).map_err(|wrong| Wrong {
                    expected: Some(pattern.to_string()),
                    got: Some(format!("{} {sw}", hex::encode_upper(&data)).trim_start().to_owned()),
                    ..wrong
                })
            }
            Expect::Tag { path, value } => {
                let data = self.answer()?.0.to_vec();
                let name = path_name(path);
                let Some(found) = find(&data, path) else {
                    let what = format!("there is no tag {name}");
                    return Err(Wrong::assertion(what, format!("tag {name}"), hex::encode_upper(&data)));
                };
                let Some(pattern) = value else { return Ok(()) };
                pattern.matches::<Wrong>(found, &mut self.variables).map_err(|wrong| Wrong {
                    what: format!("tag {name}, {}", wrong.what),
                    expected: Some(pattern.to_string()),
                    got: Some(hex::encode_upper(found)),
                    ..wrong
                })
            }
            Expect::NoTag(path) => {
                let data = self.answer()?.0;
                let name = path_name(path);
                match find(data, path) {
                    None => Ok(()),
                    Some(found) => Err(Wrong::assertion(
                        format!("there is a tag {name}"),
                        format!("no tag {name}"),
                        hex::encode_upper(found),
                    )),
                }
            }
            Expect::Length(comparison, wanted) => {
                let length = self.answer()?.0.len();
                if comparison.holds(&length, wanted) {
                    return Ok(());
                }
                let expected = format!("{} {wanted}", comparison.sign());
                Err(Wrong::assertion(
                    format!("the answer has {length} bytes"),
                    expected,
                    length.to_string(),
                ))
            }
            Expect::Time(comparison, wanted) => {
                if !self.answered && self.tap.is_none() {
                    return Err(Wrong::error("there is no answer to judge: select, apdu or auth comes first"));
                }
                if comparison.holds(&self.time, wanted) {
                    return Ok(());
                }
                let expected = format!("{} {wanted:?}", comparison.sign());
                Err(Wrong::assertion(
                    format!("the card took {:?}", self.time),
                    expected,
                    format!("{:?}", self.time),
                ))
            }
            Expect::Open => match (self.pending.take(), self.tap) {
                (Some(pending), _) => Err(pending.wrong),
                (None, Some((TapVerdict::Open, _))) => Ok(()),
                _ => Err(Wrong::error("there is no tap to judge: auth comes first")),
            },
            Expect::Fail(reason) => match self.pending.take() {
                Some(pending) if pending.reason == Some(*reason) => {
                    self.tap = None;
                    Ok(())
                }
                Some(pending) => Err(Wrong {
                    expected: Some(reason.name().to_owned()),
                    got: Some(pending.reason.map_or("error", Reason::name).to_owned()),
                    error: false,
                    ..pending.wrong
                }),
                None => {
                    let (got, what) = match self.tap {
                        Some(_) => ("open", "the tap opened"),
                        None if self.answered => ("an answer", "the command was answered"),
                        None => return Err(Wrong::error("there is nothing to judge: select, apdu or auth comes first")),
                    };
                    Err(Wrong::assertion(what, reason.name(), got))
                }
            },
            Expect::Equal(a, b) | Expect::Different(a, b) => {
                let (left, right) = (self.expand(a)?, self.expand(b)?);
                let wants_equal = matches!(expect, Expect::Equal(..));
                if left.eq_ignore_ascii_case(&right) == wants_equal {
                    return Ok(());
                }
                let what = if wants_equal {
                    "the two are not equal"
                } else {
                    "the two are equal"
                };
                Err(Wrong::assertion(what, left, right))
            }
        }
    }

    fn value(&self, value: &Value) -> Result<String, Wrong> {
        Ok(match value {
            Value::Text(text) => self.expand(text)?,
            Value::Data { from, to } => {
                let data = self.answer()?.0;
                let part = data.get(*from..to.unwrap_or(data.len()).max(*from));
                hex::encode(part.ok_or_else(|| {
                    let to = to.map_or(String::new(), |to| to.to_string());
                    Wrong::error(format!("the last answer has {} bytes, and no data[{from}..{to}]", data.len()))
                })?)
            }
            Value::Sw => format!("{:04x}", self.answer()?.1.0),
            Value::Tag(path) => {
                let found = find(self.answer()?.0, path);
                hex::encode(found.ok_or_else(|| Wrong::error(format!("the last answer has no tag {}", path_name(path))))?)
            }
            Value::Random(length) => {
                let mut bytes = vec![0; *length];
                OsRandom.fill(&mut bytes).map_err(|e| Wrong::error(e.to_string()))?;
                hex::encode(bytes)
            }
        })
    }

    fn condition(&mut self, condition: &Condition) -> Result<bool, Wrong> {
        Ok(match condition {
            Condition::Always => true,
            Condition::Method(method) => {
                let method = self.expand(method)?;
                // A method that this build does not know is one that the lock does not have.
                self.lock.as_ref().is_some_and(|lock| lock.has(&method) == Some(true))
            }
            Condition::Application(aid) => {
                let aid = self.aid(aid)?;
                let command = Command::new(0x00, 0xA4, 0x04, 0x00).data(aid.as_bytes()).ne(256).encode();
                let command = command.map_err(|e| Wrong::error(e.to_string()))?;
                let answer = self.desk.transmit(&command)?;
                !answer.bytes.ends_with(&StatusWord::NOT_FOUND.to_bytes())
            }
            Condition::Empty => self.answer()?.0.is_empty(),
            Condition::Config => self.lock.is_some(),
            Condition::Set(name) => self.variables.get(name).is_some(),
            Condition::Reader(kind) => self.expand(kind)? == self.desk.info().driver,
            Condition::Sw(pattern) => pattern.matches(self.answer()?.1),
        })
    }

    fn expand(&self, text: &Text) -> Result<String, Wrong> {
        if let Some(plain) = text.plain() {
            return Ok(plain.to_owned());
        }
        let mut out = String::new();
        for part in &text.0 {
            match part {
                Part::Plain(plain) => out.push_str(plain),
                Part::Value(name) => out.push_str(self.named(name)?),
                Part::Length(name) => {
                    let length = decode(name, self.named(name)?)?.len();
                    let length =
                        u8::try_from(length).map_err(|_| Wrong::error(format!("{name} has {length} bytes; {{#{name}}} is one byte")))?;
                    out.push_str(&format!("{length:02x}"));
                }
            }
        }
        Ok(out)
    }

    fn named(&self, name: &str) -> Result<&str, Wrong> {
        self.variables.get(name).ok_or_else(|| {
            Wrong::error(format!(
                "{name} has no value: let, a capture, for or --set {name}=VALUE gives it one"
            ))
        })
    }

    fn bytes(&self, text: &Text) -> Result<Vec<u8>, Wrong> {
        decode("this", &self.expand(text)?)
    }

    fn aid(&self, text: &Text) -> Result<Aid, Wrong> {
        let text = self.expand(text)?;
        names::aid(&text).ok_or_else(|| {
            Wrong::error(format!(
                "\"{text}\" is no AID: 1 to 16 bytes in hexadecimal, or one of {}",
                names::short()
            ))
        })
    }
}

/// What a shell keeps from one step to the next.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Names and what they are.
    pub variables: Variables,
    /// The last answer.
    pub response: Option<Vec<u8>>,
    time: Duration,
    tap: Option<(TapVerdict, Option<Reason>)>,
}

impl Values<Wrong> for Variables {
    fn get(&self, name: &str) -> Result<Vec<u8>, Wrong> {
        match Variables::get(self, name) {
            Some(text) => decode(name, text),
            None => Err(Wrong::error(format!(
                "{name} has no value: let, a capture, for or --set {name}=VALUE gives it one"
            ))),
        }
    }

    fn set(&mut self, name: &Arc<str>, bytes: &[u8]) {
        self.0.insert(name.clone(), hex::encode(bytes));
    }
}

fn decode(name: &str, text: &str) -> Result<Vec<u8>, Wrong> {
    let plain = !text.contains(|c: char| c == ':' || c.is_whitespace());
    let decoded = if plain {
        hex::decode(text)
    } else {
        hex::decode(text.chars().filter(|c| *c != ':' && !c.is_whitespace()).collect::<String>())
    };
    decoded.map_err(|e| {
        let shown: String = text.chars().take(40).collect();
        Wrong::error(format!("{name} (\"{shown}\") is not hexadecimal: {e}"))
    })
}

/// The content of the tag at the end of this path.
fn find<'b>(data: &'b [u8], path: &[u32]) -> Option<&'b [u8]> {
    path.iter().try_fold(data, |inside, tag| tlv::find(inside, *tag))
}

fn path_name(path: &[u32]) -> String {
    path.iter().map(|tag| format!("{tag:02X}")).collect::<Vec<_>>().join("/")
}
