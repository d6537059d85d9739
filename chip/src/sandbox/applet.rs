//! A downloaded applet as an application of the chip.
//!
//! # How long an instance lives
//! A phone's half gets a new instance at every SELECT, so nothing of one terminal's session is there in the next one's. A lock's half keeps
//! its instance as long as it stays selected, as the built-in ones do: it remembers the challenges it has seen. Both end when another
//! application is selected, when power goes, and when the applet is stopped; the transient keys of the session are then wiped by the chip,
//! whatever the applet does about them.

use std::sync::Arc;

use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;
use tapdoor_protocol::vault::Vault;
use zeroize::Zeroizing;

use super::Fault;
use super::code::Compiled;
use super::declaration::ModuleInfo;
use super::host::{Session, Turn};
use super::instance::{Entry, Instance};
use crate::applet::{Applet, Env};

enum State {
    /// Not selected.
    Idle,
    /// Selected. Boxed, because most applets of a chip are idle.
    Running(Box<Instance>),
    /// Stopped: nothing runs before the next SELECT.
    Stopped,
}

pub(super) struct Downloaded {
    code: Arc<Compiled>,
    entry: u8,
    lock_half: bool,
    parameters: Zeroizing<Vec<u8>>,
    state: State,
    session: Session,
    fault: Option<Fault>,
}

impl Downloaded {
    pub fn new(code: Arc<Compiled>, module: &ModuleInfo, parameters: &[u8]) -> Self {
        Self {
            code,
            entry: module.entry,
            lock_half: module.lock_half,
            parameters: Zeroizing::new(parameters.to_vec()),
            state: State::Idle,
            session: Session::default(),
            fault: None,
        }
    }

    /// Runs one entry, with a new instance if there is none. What it said and did counts only if it was not stopped.
    fn run(&mut self, env: &mut Env<'_>, entry: Entry, input: &[u8], out: &mut Vec<u8>) -> Result<(), StatusWord> {
        match self.attempt(env, entry, input, out) {
            Ok(StatusWord::OK) => Ok(()),
            Ok(sw) => Err(sw),
            Err(fault) => {
                self.fault = Some(fault);
                env.vault.discard_writes();
                self.end(env);
                self.state = State::Stopped;
                Err(StatusWord::NO_DIAGNOSIS)
            }
        }
    }

    fn attempt(&mut self, env: &mut Env<'_>, entry: Entry, input: &[u8], out: &mut Vec<u8>) -> Result<StatusWord, Fault> {
        if matches!(self.state, State::Idle) {
            self.state = State::Running(Box::new(Instance::new(&self.code).map_err(Fault::Instantiate)?));
        }
        let State::Running(instance) = &mut self.state else {
            return Ok(StatusWord::CONDITIONS_NOT_SATISFIED);
        };
        let mut turn = Turn {
            vault: &mut env.vault,
            limits: &self.code.limits,
            aid: env.aid,
            parameters: &self.parameters,
            input,
            session: &mut self.session,
            answer: Vec::new(),
            events: Vec::new(),
            written: 0,
        };
        let status = instance.call(self.entry, entry, &mut turn)?;
        let (answer, events) = (turn.answer, turn.events);
        let sw = status_word(status)?;
        if sw.is_ok() {
            if matches!(entry, Entry::Select { .. }) && !says_own_aid(&answer, env.aid.as_bytes()) {
                return Err(Fault::Identity);
            }
            out.extend_from_slice(&answer);
        }
        env.events.extend(events);
        Ok(sw)
    }

    /// Drops the instance and wipes the session's keys.
    fn end(&mut self, env: &mut Env<'_>) {
        self.state = State::Idle;
        for key in self.session.keys.drain(..) {
            env.vault.forget(key);
        }
    }
}

impl Applet for Downloaded {
    fn select(&mut self, env: &mut Env<'_>, p2: u8, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        if !self.lock_half || matches!(self.state, State::Stopped) {
            self.end(env);
        }
        self.run(env, Entry::Select { p2 }, &[], out)
    }

    fn process(&mut self, env: &mut Env<'_>, command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        let mut input = Zeroizing::new(Vec::with_capacity(8 + command.data.len()));
        input.extend_from_slice(&[command.cla, command.ins, command.p1, command.p2]);
        input.extend_from_slice(&command.ne.to_be_bytes());
        input.extend_from_slice(command.data);
        self.run(env, Entry::Process { length: input.len() }, &input, out)
    }

    fn deselect(&mut self, env: &mut Env<'_>) {
        if matches!(self.state, State::Running(_)) {
            // What it answers, or whether it must be stopped, changes nothing: its session is over.
            let _ = self.run(env, Entry::Deselect, &[], &mut Vec::new());
        }
        self.end(env);
    }

    fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }
}

/// A status word that an application may answer: 61XX and 6CXX are the chip's own.
fn status_word(status: i32) -> Result<StatusWord, Fault> {
    match u16::try_from(status) {
        Ok(sw @ (0x6200..=0x6BFF | 0x6D00..=0x6FFF | 0x9000..=0x9FFF)) => Ok(StatusWord(sw)),
        _ => Err(Fault::Status(status)),
    }
}

/// Whether an answer to SELECT, if it is an FCI, FCP or FMD with a name in it (tag 84), says this one.
fn says_own_aid(answer: &[u8], aid: &[u8]) -> bool {
    [0x6F, 0x62, 0x64]
        .into_iter()
        .filter_map(|template| tlv::find(answer, template))
        .filter_map(|template| tlv::find(template, 0x84))
        .all(|name| name == aid)
}
