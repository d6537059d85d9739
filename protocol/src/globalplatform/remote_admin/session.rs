//! The server's side of one session with a chip: scripts out, response scripts in.

use alloc::vec::Vec;

use super::job::Job;
use super::plan::{Planned, Question, Registry, plan, questions};
use crate::aid::Aid;
use crate::apdu::{ApduError, Command, Response};
use crate::globalplatform::registry::parse_status;
use crate::globalplatform::scp03::{Challenge, Channel, Host, Keys, Level, Scp03Error, Ticket};
use crate::globalplatform::script::{BadFormat, CommandScript, Form, ResponseScript, ResponseTlv};
use crate::status::StatusWord;

/// How large a script becomes at most, in bytes, unless [`AdminSession::script_limit`] says otherwise: an applet of 16 kB goes in one.
pub const DEFAULT_SCRIPT_LIMIT: usize = 32 * 1024;

/// What a session has changed on the chip.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Load files loaded, new or upgraded.
    pub loaded: Vec<Aid>,
    /// Instances made selectable.
    pub installed: Vec<Aid>,
    /// Applications and load files deleted.
    pub deleted: Vec<Aid>,
    /// STORE DATA blocks given to the card manager.
    pub stored: usize,
}

impl Report {
    /// Whether anything had to be done.
    #[must_use]
    pub fn changed(&self) -> bool {
        *self != Self::default()
    }
}

/// How far a session is: commands of the plan. Both are 0 until the plan is made, and stay 0 when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Commands answered 9000.
    pub done: usize,
    /// Commands in all.
    pub total: usize,
}

/// Why a session failed. What was done before stays done; the same jobs in a new session do the rest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The response script is malformed.
    #[error("the chip's answer is no response script: {0}")]
    ResponseScript(BadFormat),
    /// The chip could not read the script, or not run it.
    #[error("the chip refused the command script: {0}")]
    CommandScript(BadFormat),
    /// The script was refused in another way, as by script chaining.
    #[error("the chip answered the command script with something else than R-APDUs")]
    UnexpectedAnswer,
    /// The card manager could not be selected.
    #[error("SELECT of the card manager was answered {sw} ({}): is this a chip that can be administered?", .sw.meaning())]
    Select {
        /// The status word.
        sw: StatusWord,
    },
    /// The secure channel could not be opened, or broke.
    #[error(transparent)]
    SecureChannel(#[from] Scp03Error),
    /// The card did not believe the host.
    #[error("EXTERNAL AUTHENTICATE was answered {sw} ({}): the chip knows other keys than the server", .sw.meaning())]
    Authentication {
        /// The status word.
        sw: StatusWord,
    },
    /// A command was answered with an error.
    #[error("{command} (command {number} of {total}) was answered {sw}: {}", .sw.meaning())]
    Refused {
        /// Which command.
        command: &'static str,
        /// Which of the plan, from 1; 0 for a question.
        number: usize,
        /// How many there are.
        total: usize,
        /// The status word.
        sw: StatusWord,
    },
    /// Fewer or more answers than commands, without an error that explains it.
    #[error("{answers} answers came to {commands} commands and none of them is an error: the response script was cut off")]
    Missing {
        /// How many answers.
        answers: usize,
        /// How many commands.
        commands: usize,
    },
    /// The answer to GET STATUS is not what the specification says.
    #[error("GET STATUS for {aid} was answered with something else than entries (E3)")]
    Status {
        /// What was asked for.
        aid: Aid,
    },
    /// The chip has a newer version.
    #[error("the chip has {elf} in version {}.{}, {}.{} was to be loaded: a downgrade is refused", .on_card[0], .on_card[1], .wanted[0], .wanted[1])]
    Downgrade {
        /// The load file.
        elf: Aid,
        /// What is on the chip.
        on_card: [u8; 2],
        /// What was to be loaded.
        wanted: [u8; 2],
    },
    /// A step was taken that is not the session's next one.
    #[error("the session was given {0}: begin a new one")]
    OutOfTurn(&'static str),
    /// A command of the plan cannot be encoded.
    #[error(transparent)]
    Apdu(#[from] ApduError),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminStep {
    /// Send this command script, and come back with the response script.
    Script(Vec<u8>),
    /// All jobs are done.
    Done(Report),
    /// It cannot be done, or not now.
    Failed(AdminError),
}

/// The server's side of a session. Not to be cloned: each step is taken once, repeated requests get the answer that was kept.
///
/// ```text
/// script 1   SELECT card manager, INITIALIZE UPDATE
/// script 2   EXTERNAL AUTHENTICATE (level 33), GET STATUS for the load files and applications of the jobs
/// script 3.. only what is missing
/// ```
///
/// A script is run up to the first error, and GET STATUS that finds nothing is one. The session then goes on in the next script behind the
/// command that was the last to be run ([`Channel::rewind`]).
#[derive(Debug)]
pub struct AdminSession {
    keys: Keys,
    kvn: u8,
    jobs: Vec<Job>,
    limit: usize,
    form: Form,
    state: State,
    registry: Registry,
    progress: Progress,
    /// The chip wants challenges of 16 bytes.
    s16: bool,
    /// The plan was refused once for what was not known, and made again.
    second: bool,
}

/// The plan while it is being done.
struct Work {
    plan: Vec<Planned>,
    tickets: Vec<Ticket>,
    report: Report,
}

#[derive(Debug)]
enum State {
    Start,
    /// Script 1 is out.
    Opening(Host),
    /// Questions are out, behind EXTERNAL AUTHENTICATE if `authenticating`.
    Asking {
        channel: Channel,
        authenticating: bool,
        asked: Vec<(Question, Ticket)>,
    },
    /// Commands of the plan are out.
    Working {
        channel: Channel,
        plan: Vec<Planned>,
        tickets: Vec<Ticket>,
        report: Report,
    },
    Ended,
}

impl AdminSession {
    /// A session with the chip that has these keys under `kvn` (0: whichever is its first set).
    #[must_use]
    pub fn new(keys: Keys, kvn: u8, jobs: Vec<Job>) -> Self {
        Self {
            keys,
            kvn,
            jobs,
            limit: DEFAULT_SCRIPT_LIMIT,
            form: Form::Definite,
            state: State::Start,
            registry: Registry::default(),
            progress: Progress::default(),
            s16: false,
            second: false,
        }
    }

    /// The same with scripts of at most about `limit` bytes; one command is sent in any case. Smaller scripts show progress more often.
    #[must_use]
    pub const fn script_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The same with scripts in this form; definite length otherwise.
    #[must_use]
    pub const fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    /// How far it is.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// The next step: `None` at first, then the chip's response script. `random`: 16 fresh random bytes for each step, the host's challenge in
    /// those that open a channel; 8 of them, unless the chip has refused that length (S16). After `Done` and `Failed` the session is over and the keys of its channel are overwritten.
    pub fn step(&mut self, response: Option<&[u8]>, random: &[u8; 16]) -> AdminStep {
        let state = core::mem::replace(&mut self.state, State::Ended);
        let next = match (state, response) {
            (State::Start, None) => self.open(random),
            (State::Start, Some(_)) => Err(AdminError::OutOfTurn("a response before any script")),
            (State::Ended, _) => Err(AdminError::OutOfTurn("a step after its end")),
            (_, None) => Err(AdminError::OutOfTurn("no response to its script")),
            (state, Some(response)) => self.answered(state, response, random),
        };
        next.unwrap_or_else(AdminStep::Failed)
    }

    fn answered(&mut self, state: State, response: &[u8], random: &[u8; 16]) -> Result<AdminStep, AdminError> {
        let answers = answers(response)?;
        match state {
            State::Opening(_) if !self.s16 && wants_16(&answers) => {
                self.s16 = true;
                self.open(random)
            }
            State::Opening(host) => self.authenticate(&host, &answers),
            State::Asking {
                channel,
                authenticating,
                asked,
            } => self.told(channel, authenticating, asked, &answers),
            State::Working {
                channel,
                plan,
                tickets,
                report,
            } => {
                let work = Work { plan, tickets, report };
                self.worked(channel, work, &answers, random)
            }
            State::Start | State::Ended => Err(AdminError::OutOfTurn("a response before any script")),
        }
    }

    fn script(&self, commands: &[Vec<u8>]) -> AdminStep {
        AdminStep::Script(CommandScript::new(self.form, commands).encode())
    }

    fn open(&mut self, random: &[u8; 16]) -> Result<AdminStep, AdminError> {
        let select = Command::new(0x00, 0xA4, 0x04, 0x00).data(Aid::CARD_MANAGER.as_bytes()).ne(256);
        let challenge = match random.first_chunk::<8>() {
            Some(half) if !self.s16 => Challenge::from(*half),
            _ => Challenge::from(*random),
        };
        let (host, update) = Host::initialize_update(self.kvn, challenge);
        let script = self.script(&[select.encode()?, update]);
        self.state = State::Opening(host);
        Ok(script)
    }

    fn authenticate(&mut self, host: &Host, answers: &[&[u8]]) -> Result<AdminStep, AdminError> {
        if let Some(select) = answers.first() {
            let sw = Response::parse(select)?.sw;
            if !sw.is_ok() {
                return Err(AdminError::Select { sw });
            }
        }
        let &[_, update] = answers else {
            return Err(AdminError::Missing {
                answers: answers.len(),
                commands: 2,
            });
        };
        let (command, channel) = host.authenticate(&self.keys, update, Level::FULL)?;
        self.ask(channel, Some(command))
    }

    /// Asks what is not known yet; with nothing to ask, goes on to work.
    fn ask(&mut self, mut channel: Channel, authenticate: Option<Vec<u8>>) -> Result<AdminStep, AdminError> {
        let authenticating = authenticate.is_some();
        let mut commands: Vec<Vec<u8>> = authenticate.into_iter().collect();
        let mut asked = Vec::new();
        for question in questions(&self.jobs) {
            if self.registry.answers(&question) {
                continue;
            }
            let plain = question.command()?;
            let wrapped = channel.wrap(&Command::parse(&plain)?)?;
            commands.push(wrapped.command);
            asked.push((question, wrapped.ticket));
        }
        if commands.is_empty() {
            let (plan, report) = plan(&self.jobs, &self.registry, channel.max_command_data())?;
            self.progress.total = plan.len();
            return self.work(channel, plan, report);
        }
        let script = self.script(&commands);
        self.state = State::Asking {
            channel,
            authenticating,
            asked,
        };
        Ok(script)
    }

    fn told(
        &mut self,
        mut channel: Channel,
        authenticating: bool,
        asked: Vec<(Question, Ticket)>,
        answers: &[&[u8]],
    ) -> Result<AdminStep, AdminError> {
        let commands = asked.len() + usize::from(authenticating);
        let missing = AdminError::Missing {
            answers: answers.len(),
            commands,
        };
        if answers.len() > commands {
            return Err(missing);
        }
        let mut answers = answers.iter();
        if authenticating {
            let answer = answers.next().ok_or_else(|| missing.clone())?;
            let sw = Response::parse(answer)?.sw;
            if !sw.is_ok() {
                return Err(AdminError::Authentication { sw });
            }
        }
        // The script ends early behind an error only, and the only error that may be is "nothing found".
        let mut complete = answers.len() == asked.len();
        let mut last = None;
        for ((question, ticket), answer) in asked.into_iter().zip(answers) {
            last = Some(ticket.mark());
            let plain = channel.unwrap(ticket, answer)?;
            let Response { data, sw } = Response::parse(&plain)?;
            let aid = question.aid;
            let entry = match sw {
                StatusWord::OK | StatusWord::MORE_DATA_AVAILABLE => {
                    let entries = parse_status(data).ok_or(AdminError::Status { aid })?;
                    let entry = entries.into_iter().find(|entry| entry.aid == aid);
                    // 6310: others begin like this AID too, and it is not among those that fitted into the answer.
                    if entry.is_none() && !sw.is_ok() {
                        return Err(AdminError::Status { aid });
                    }
                    entry
                }
                StatusWord::DATA_NOT_FOUND | StatusWord::NOT_FOUND => {
                    complete = true;
                    None
                }
                sw => {
                    return Err(AdminError::Refused {
                        command: "GET STATUS",
                        number: 0,
                        total: self.progress.total,
                        sw,
                    });
                }
            };
            self.registry.note(&question, entry);
        }
        if !complete {
            return Err(missing);
        }
        if let Some(mark) = last {
            channel.rewind(mark);
        }
        self.ask(channel, None)
    }

    /// Sends what is left of the plan, as much as a script holds.
    fn work(&mut self, mut channel: Channel, plan: Vec<Planned>, report: Report) -> Result<AdminStep, AdminError> {
        let mut commands = Vec::new();
        let mut tickets = Vec::new();
        let mut size = 0;
        for planned in plan.get(self.progress.done..).unwrap_or_default() {
            let wrapped = channel.wrap(&Command::parse(&planned.command)?)?;
            size += wrapped.command.len() + 4;
            commands.push(wrapped.command);
            tickets.push(wrapped.ticket);
            // No answer but the last in a script is longer than a command, so it is the commands that count.
            if size >= self.limit {
                break;
            }
        }
        if commands.is_empty() {
            return Ok(AdminStep::Done(report));
        }
        let script = self.script(&commands);
        self.state = State::Working {
            channel,
            plan,
            tickets,
            report,
        };
        Ok(script)
    }

    fn worked(&mut self, mut channel: Channel, work: Work, answers: &[&[u8]], random: &[u8; 16]) -> Result<AdminStep, AdminError> {
        let Work { plan, tickets, report } = work;
        let commands = tickets.len();
        for (ticket, answer) in tickets.into_iter().zip(answers) {
            let plain = channel.unwrap(ticket, answer)?;
            let sw = Response::parse(&plain)?.sw;
            if !sw.is_ok() {
                let refused = plan.get(self.progress.done);
                let unknown = refused.and_then(|planned| planned.application);
                if !self.second && unknown.is_some_and(|aid| self.registry.is_silent_about(&aid)) {
                    return self.begin_again(random);
                }
                return Err(AdminError::Refused {
                    command: refused.map_or("a command", |planned| planned.name),
                    number: self.progress.done + 1,
                    total: plan.len(),
                    sw,
                });
            }
            self.progress.done += 1;
        }
        if answers.len() != commands {
            return Err(AdminError::Missing {
                answers: answers.len(),
                commands,
            });
        }
        self.work(channel, plan, report)
    }

    /// The instance could not be made and was never asked for: perhaps its name is taken. In a new channel, because commands that write
    /// were wrapped and not run.
    fn begin_again(&mut self, random: &[u8; 16]) -> Result<AdminStep, AdminError> {
        self.second = true;
        self.registry = Registry::default();
        self.progress = Progress::default();
        self.open(random)
    }
}

/// Whether INITIALIZE UPDATE was refused for its length, as a chip in S16 mode refuses 8 bytes (Amendment D 7.1.1.5).
fn wants_16(answers: &[&[u8]]) -> bool {
    matches!(answers, [select, update] if select.ends_with(&[0x90, 0x00]) && *update == StatusWord::WRONG_LENGTH.to_bytes())
}

/// The R-APDUs of a response script.
fn answers(response: &[u8]) -> Result<Vec<&[u8]>, AdminError> {
    let script = ResponseScript::parse(response).map_err(AdminError::ResponseScript)?;
    let mut out = Vec::with_capacity(script.items.len());
    for item in script.items {
        match item {
            ResponseTlv::Response(apdu) => out.push(apdu),
            ResponseTlv::BadFormat(bad) => return Err(AdminError::CommandScript(bad)),
            ResponseTlv::ImmediateAction(_) | ResponseTlv::ScriptChaining(_) => return Err(AdminError::UnexpectedAnswer),
        }
    }
    Ok(out)
}
