//! `tapdoor shell`: every command of the program, the steps of the script language, and raw bytes, at a card that stays powered.

mod complete;
mod help;
mod history;
mod steps;
mod words;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};
use serde_json::json;
use tapdoor_link::stop::Stop;
use tapdoor_workbench::ReaderSpec;
use tapdoor_workbench::desk::Desk;
use tapdoor_workbench::script::OwnLock;
use tapdoor_workbench::script::run::Memory;

use self::complete::Assistant;
use crate::args::{Arguments, Command, ShellArgs};
use crate::commands::{self, Outcome};
use crate::failure::{DONE, Failure, INPUT, INTERRUPTED, USAGE};
use crate::interrupt::Interrupt;
use crate::out::{DIM, Out, paint};

/// Longest line of a pipe.
const MAX_LINE: u64 = 1 << 20;

/// What stays from one line to the next.
struct Shell<'a> {
    out: &'a mut Out,
    interrupt: &'a Interrupt,
    reader: Option<ReaderSpec>,
    config: Option<PathBuf>,
    lock: Option<OwnLock>,
    desk: Option<Desk>,
    memory: Memory,
    wait: Duration,
    lines: Vec<String>,
}

/// What a line says of the shell.
enum Next {
    Go(u8),
    Quit,
}

/// Runs the command.
pub fn run(args: &ShellArgs, out: &mut Out, interrupt: &Interrupt) -> Outcome {
    interrupt.become_shell();
    let lock = args.config.as_deref().map(OwnLock::load).transpose()?;
    let mut shell = Shell {
        out,
        interrupt,
        reader: args.reader.clone(),
        config: args.config.clone(),
        lock,
        desk: None,
        memory: Memory::default(),
        wait: Duration::from_secs(args.wait),
        lines: Vec::new(),
    };
    let interactive = io::stdin().is_terminal() && io::stdout().is_terminal() && !shell.out.is_json();
    if let Some(reader) = shell.reader.clone()
        && let Err(failure) = shell.open(&reader)
    {
        // At a terminal another reader can be named; in a pipe nobody is there to do it.
        if !interactive {
            return Err(failure);
        }
        shell.out.failure(&failure);
    }
    interrupt.end();
    if interactive {
        shell.terminal()
    } else {
        shell.pipe(args.stop_on_error)
    }
}

impl Shell<'_> {
    /// Lines from a terminal.
    fn terminal(&mut self) -> Outcome {
        let colour = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        let config = Config::builder()
            .history_ignore_space(true)
            .history_ignore_dups(true)
            .and_then(|builder| builder.max_history_size(10_000))
            .map_err(line_error)?
            .completion_type(CompletionType::List)
            .build();
        let mut editor: Editor<Assistant, DefaultHistory> = Editor::with_config(config).map_err(line_error)?;
        editor.set_helper(Some(Assistant::new(colour)));
        let file = history::file();
        if let Some(file) = &file
            && let Err(error) = history::load(&mut editor, file)
        {
            self.out.warn(&format!("the lines of before: {}: {error}", file.display()));
        }
        self.out
            .text(&paint(DIM, "tapdoor shell: help lists the commands, TAB completes, Ctrl-D leaves"))?;
        loop {
            if let Some(helper) = editor.helper_mut() {
                helper.variables = self.memory.variables.iter().map(|(name, _)| name.to_owned()).collect();
            }
            match editor.readline(&self.prompt()) {
                Ok(line) => {
                    let kept = editor.add_history_entry(line.as_str()).unwrap_or(false);
                    if let (true, Some(path)) = (kept, &file)
                        && let Err(error) = history::append(&mut editor, path)
                    {
                        self.out.warn(&format!("the line is not kept: {}: {error}", path.display()));
                    }
                    self.lines = editor.history().iter().cloned().collect();
                    match self.line(&line) {
                        Next::Go(_) => {}
                        Next::Quit => return Ok(DONE),
                    }
                }
                // Ctrl-C takes back what was typed.
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => return Ok(DONE),
                Err(error) => return Err(line_error(error)),
            }
        }
    }

    /// Lines from a pipe or a file: no prompt, and the first failure's status at the end.
    fn pipe(&mut self, stop_on_error: bool) -> Outcome {
        let (mut first, mut number) = (DONE, 0u64);
        loop {
            number += 1;
            let mut bytes = Vec::new();
            // Not held: a command may want to read, too.
            io::Read::take(io::stdin().lock(), MAX_LINE).read_until(b'\n', &mut bytes)?;
            if bytes.is_empty() {
                return Ok(first);
            }
            let code = match String::from_utf8(bytes) {
                Ok(line) if line.len() as u64 >= MAX_LINE => {
                    return Err(Failure::new(
                        INPUT,
                        format!("standard input, line {number}: longer than {MAX_LINE} bytes"),
                    ));
                }
                Ok(mut line) => {
                    // A block goes on over lines.
                    while steps::is_open(&line) && line.len() < MAX_LINE as usize {
                        let before = line.len();
                        io::Read::take(io::stdin().lock(), MAX_LINE).read_line(&mut line)?;
                        if line.len() == before {
                            break;
                        }
                        number += 1;
                    }
                    self.lines.push(line.trim_end().to_owned());
                    match self.line(&line) {
                        Next::Go(code) => code,
                        Next::Quit => return Ok(first),
                    }
                }
                Err(_) => {
                    let failure = Failure::new(
                        INPUT,
                        format!("standard input, line {number}: not UTF-8; expected commands, as text"),
                    );
                    self.out.failure(&failure);
                    INPUT
                }
            };
            if code != DONE {
                if !self.out.is_quiet() {
                    eprintln!("(standard input, line {number}: status {code})");
                }
                if first == DONE {
                    first = code;
                }
                if stop_on_error {
                    return Ok(first);
                }
            }
        }
    }

    /// Reader, card, and what is selected.
    fn prompt(&self) -> String {
        let Some(desk) = &self.desk else { return "(no reader)> ".into() };
        let name: String = match &self.reader {
            Some(ReaderSpec::Sim(_)) => "sim:".into(),
            _ => desk.info().name.chars().take(24).collect(),
        };
        match (desk.has_card(), desk.selected().map(steps::application)) {
            (false, _) => format!("{name} (no card)> "),
            (true, None) => format!("{name} card> "),
            (true, Some(application)) => format!("{name} {application}> "),
        }
    }

    /// Opens a reader; the one before is let go.
    fn open(&mut self, reader: &ReaderSpec) -> Result<(), Failure> {
        self.desk = None;
        let stop = self.interrupt.begin();
        let source = reader.open(self.config.as_deref(), Duration::ZERO)?;
        let desk = Desk::new(source, self.wait, &stop);
        let info = desk.info().clone();
        self.reader = Some(reader.clone());
        self.desk = Some(desk);
        if self.out.is_json() || info.listen.is_some() {
            self.out.event(&commands::ready(&info), || {
                let place = info.listen.map_or(String::new(), |l| format!(", listening on {l}"));
                format!("ready: {} ({}{place})", info.name, info.driver)
            })?;
        }
        Ok(())
    }

    /// One line. What fails is told, and the shell goes on.
    fn line(&mut self, line: &str) -> Next {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Next::Go(DONE);
        }
        let stop = self.interrupt.begin();
        if let Some(desk) = &mut self.desk {
            desk.stopped_by(&stop);
        }
        let outcome = self.dispatch(line, &stop);
        self.interrupt.end();
        match outcome {
            Ok(None) => Next::Quit,
            Ok(Some(code)) => Next::Go(code),
            Err(failure) if failure.code == INTERRUPTED || stop.is_stopped() => {
                let _ = writeln!(anstream::stderr(), "{}", paint(DIM, "stopped"));
                Next::Go(INTERRUPTED)
            }
            Err(failure) => {
                self.out.failure(&failure);
                Next::Go(failure.code)
            }
        }
    }

    /// `None`: leave the shell.
    fn dispatch(&mut self, line: &str, stop: &Stop) -> Result<Option<u8>, Failure> {
        let (name, rest) = line
            .split_once(char::is_whitespace)
            .map_or((line, ""), |(name, rest)| (name, rest.trim()));
        if steps::is_bytes(line) {
            return self.steps(&format!("apdu {line}")).map(Some);
        }
        match name {
            "quit" | "exit" => return Ok(None),
            "help" | "?" => self.help(rest)?,
            "reader" if rest.is_empty() => {
                let name = self
                    .desk
                    .as_ref()
                    .map_or("no reader; `reader READER` opens one", |desk| &desk.info().name);
                let event = json!({"event": "reader", "name": self.desk.as_ref().map(|desk| &desk.info().name)});
                self.out.event(&event, || name.to_owned())?;
            }
            "reader" => {
                let reader: ReaderSpec = rest.parse().map_err(|e| Failure::new(USAGE, e))?;
                self.open(&reader)?;
            }
            "config" => self.config(rest)?,
            "card" => self.card()?,
            "release" => {
                if let Some(desk) = &mut self.desk {
                    desk.release();
                }
            }
            "vars" => self.vars()?,
            "unset" => {
                for name in rest.split_whitespace() {
                    if !self.memory.variables.remove(name) {
                        return Err(Failure::new(USAGE, format!("{name} has no value; `vars` lists those that have")));
                    }
                }
            }
            "record" => self.record(rest)?,
            "timeout" if rest.is_empty() => self.out.text(&format!("{:?}", self.wait))?,
            "timeout" => {
                let time = tapdoor_workbench::script::parse::time(rest);
                self.wait = time.ok_or_else(|| Failure::new(USAGE, format!("\"{rest}\" is no time; write 30s or 500ms")))?;
                if let Some(desk) = &mut self.desk {
                    desk.wait = self.wait;
                }
            }
            "history" => {
                for (n, line) in self.lines.iter().enumerate() {
                    self.out.event(&json!({"event": "history", "n": n + 1, "line": line}), || {
                        format!("{:5}  {line}", n + 1)
                    })?;
                }
            }
            "select" | "expect" | "let" | "default" | "reset" | "auth" | "wait" | "include" | "for" | "note" | "fail" | "skip" | "test" => {
                return self.steps(line).map(Some);
            }
            "apdu" if !rest.contains("--") => return self.steps(line).map(Some),
            _ => return self.command(line, stop).map(Some),
        }
        Ok(Some(DONE))
    }

    /// A command of the program, with this shell's reader and configuration where it needs them and names none.
    fn command(&mut self, line: &str, stop: &Stop) -> Outcome {
        let mut words = words::split(line).map_err(|e| Failure::new(USAGE, format!("{line}: {e}")))?;
        let definition = Arguments::command();
        let Some(command) = words.first().and_then(|name| definition.find_subcommand(name)) else {
            let name = words.first().cloned().unwrap_or_default();
            return Err(Failure::new(
                USAGE,
                format!("\"{name}\" is no command, and no APDU in hexadecimal; `help` lists the commands, TAB completes"),
            ));
        };
        let takes = |option: &str| command.get_arguments().any(|a| a.get_long() == Some(option));
        let has = |option: &str| words.iter().any(|w| w == option || w.starts_with(&format!("{option}=")));
        let own_desk = words.first().is_some_and(|name| name == "run") && !has("--reader");
        let configured = takes("config") && matches!(command.get_name(), "lock" | "run" | "verify" | "replay") && !has("--config");
        // The reader's place is held for the parser, and filled in behind it.
        let takes_reader = takes("reader") && !matches!(command.get_name(), "bench" | "shell");
        let spec = self.reader.clone().filter(|_| takes_reader && !has("--reader") && !own_desk);
        if let (true, Some(config)) = (configured, &self.config) {
            words.extend(["--config".to_owned(), config.display().to_string()]);
        }
        if spec.is_some() {
            words.extend(["--reader".to_owned(), "sim:".to_owned()]);
        }
        let mut arguments = match Arguments::try_parse_from(["tapdoor".to_owned()].into_iter().chain(words)) {
            Ok(arguments) => arguments,
            Err(error) => return told(&error),
        };
        if let Some(reader) = &spec
            && !arguments.command.set_reader(reader)
        {
            return Err(Failure::new(USAGE, "name the reader: --reader READER"));
        }
        if let (Command::Run(args), true) = (&arguments.command, own_desk) {
            let Some(desk) = &mut self.desk else {
                return Err(Failure::new(USAGE, "no reader; `reader READER` opens one, or give --reader"));
            };
            return commands::run::run_at(args, self.out, desk, self.lock.as_mut());
        }
        if spec.is_some()
            && let Some(desk) = &mut self.desk
        {
            // The command opens the reader itself.
            desk.release();
        }
        let mut out = self.out.for_line(&arguments);
        commands::dispatch(&arguments, &mut out, stop, None)
    }

    fn help(&mut self, name: &str) -> Result<(), Failure> {
        let definition = Arguments::command();
        if name.is_empty() {
            for help in &help::ALL {
                self.out.event(
                    &json!({"event": "help", "name": help.name, "form": help.form, "what": help.what}),
                    || format!("  {:44} {}", help.form, paint(DIM, help.what)),
                )?;
            }
            self.out
                .text("  bytes in hexadecimal                         send exactly these\n\nand the commands of the program:")?;
            for command in definition
                .get_subcommands()
                .filter(|c| c.get_name() != "shell" && help::find(c.get_name()).is_none())
            {
                let (name, what) = (command.get_name(), command.get_about().map(ToString::to_string).unwrap_or_default());
                self.out.event(&json!({"event": "help", "name": name, "what": what}), || {
                    format!("  {name:44} {}", paint(DIM, &what))
                })?;
            }
            return Ok(());
        }
        if let Some(help) = help::find(name) {
            let event = json!({"event": "help", "name": help.name, "form": help.form, "what": help.what, "more": help.more});
            self.out
                .event(&event, || format!("{}\n{}\n\n{}", help.form, help.what, help.more))?;
            return Ok(());
        }
        let mut definition = definition;
        definition.build();
        let Some(command) = definition.find_subcommand_mut(name) else {
            return Err(Failure::new(USAGE, format!("there is no command \"{name}\"; `help` lists them")));
        };
        let text = command.render_long_help();
        self.out
            .event(&json!({"event": "help", "name": name, "more": text.to_string()}), || {
                text.ansi().to_string()
            })?;
        Ok(())
    }

    fn config(&mut self, rest: &str) -> Result<(), Failure> {
        if rest.is_empty() {
            let name = self.config.as_ref().map(|c| c.display().to_string());
            return Ok(self.out.event(&json!({"event": "config", "path": name}), || {
                name.clone().unwrap_or_else(|| "none".into())
            })?);
        }
        let path = PathBuf::from(words::split(rest).ok().and_then(|w| w.into_iter().next()).unwrap_or_default());
        self.lock = Some(OwnLock::load(&path)?);
        self.config = Some(path);
        // A simulated phone is the one beside lock.toml.
        if let Some(reader @ ReaderSpec::Sim(_)) = self.reader.clone() {
            self.open(&reader)?;
        }
        Ok(())
    }

    fn card(&mut self) -> Result<(), Failure> {
        let desk = self.desk.as_mut().ok_or_else(no_reader)?;
        desk.wait_card().map_err(steps::desk_failure)?;
        let atr = desk.atr().map(hex::encode);
        let contactless = desk.atr().is_some_and(tapdoor_reader::source::is_contactless);
        let event = json!({"event": "card", "atr": atr, "contactless": contactless, "selected": desk.selected().map(steps::application)});
        self.out.event(&event, || {
            let kind = if contactless { "contactless card" } else { "card" };
            match &atr {
                Some(atr) => format!("{kind}, ATR {atr}"),
                None => "card, without an ATR".into(),
            }
        })?;
        Ok(())
    }

    fn vars(&mut self) -> Result<(), Failure> {
        for (name, value) in self.memory.variables.iter() {
            self.out.event(&json!({"event": "variable", "name": name, "value": value}), || {
                format!("  {name} = {value}")
            })?;
        }
        Ok(())
    }

    fn record(&mut self, rest: &str) -> Result<(), Failure> {
        let desk = self.desk.as_mut().ok_or_else(no_reader)?;
        match rest {
            "" => {
                let word = if desk.tape().is_some() { "recording" } else { "not recording" };
                self.out.text(word)?;
            }
            "off" => desk.stop_recording(),
            file => desk.record(commands::tape(file.as_ref(), desk.info(), false)?),
        }
        Ok(())
    }
}

fn no_reader() -> Failure {
    Failure::new(USAGE, "no reader; `reader READER` opens one, as in `reader sim:`")
}

/// What the parser of arguments says; help is no failure.
fn told(error: &clap::Error) -> Outcome {
    error.print()?;
    Ok(if error.use_stderr() { USAGE } else { DONE })
}

fn line_error(error: ReadlineError) -> Failure {
    Failure::new(crate::failure::DEVICE, format!("the terminal: {error}"))
}
