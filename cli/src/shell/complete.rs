//! Completion and hints: commands, readers, AIDs by name, methods, options, files and names of values.

use std::borrow::Cow;

use clap::CommandFactory;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};
use tapdoor_reader::config::Method;
use tapdoor_reader::source::pcsc::list_readers;
use tapdoor_workbench::{names, script};

use super::help;
use crate::args::Arguments;

/// Readers that are not asked of pcscd.
const READERS: [&str; 10] = [
    "pcsc:",
    "vpcd-listen:127.0.0.1:35963",
    "sim:",
    "sim:missing-app",
    "sim:wrong-key",
    "sim:tear=2",
    "tape:",
    "acr122u-raw:",
    "udp:",
    "pn532:",
];

/// What the line editor asks.
pub struct Assistant {
    files: FilenameCompleter,
    history: HistoryHinter,
    commands: clap::Command,
    /// Names of values.
    pub variables: Vec<String>,
    /// Whether colours are wanted.
    pub colour: bool,
}

impl Assistant {
    /// With the commands of the program and of the shell.
    pub fn new(colour: bool) -> Self {
        let mut commands = Arguments::command();
        commands.build();
        Self {
            files: FilenameCompleter::new(),
            history: HistoryHinter::new(),
            commands,
            variables: Vec::new(),
            colour,
        }
    }

    fn command_names(&self) -> impl Iterator<Item = &str> {
        let own = help::ALL.iter().map(|help| help.name);
        let program = self.commands.get_subcommands().map(clap::Command::get_name);
        own.chain(program.filter(|name| help::find(name).is_none() && *name != "shell"))
    }

    /// What may stand in the place of `word`, the last of the words so far; `None` for a file.
    fn candidates(&self, before: &[&str], word: &str) -> Option<Vec<String>> {
        let owned = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let Some((&command, arguments)) = before.split_first() else {
            return Some(self.command_names().map(str::to_owned).collect());
        };
        let previous = arguments.last().copied().unwrap_or(command);
        match (command, previous) {
            (_, "--reader") | ("reader", _) => Some(readers()),
            ("select", _) if arguments.is_empty() => Some(names::all().map(|(name, _)| name).collect()),
            ("auth", _) | (_, "--method") => {
                let words = Method::WORDS.iter().map(|(name, _)| *name);
                Some(words.chain(["aka-milenage", "aka-tuak"]).map(str::to_owned).collect())
            }
            ("help", _) => Some(self.command_names().map(str::to_owned).collect()),
            ("unset", _) => Some(self.variables.clone()),
            ("expect", "expect") => owned(&[
                "sw",
                "data",
                "tag",
                "no tag",
                "length",
                "time",
                "open",
                "fail",
                "equal",
                "different",
            ]),
            ("expect", "fail") => Some(tapdoor_protocol::door::Reason::ALL.iter().map(|r| r.name().to_owned()).collect()),
            ("wait", "wait") => owned(&["card", "removal"]),
            ("let" | "default" | "note" | "history" | "vars" | "reset" | "card" | "release" | "quit", _) => Some(Vec::new()),
            ("run" | "include", _) if word.starts_with("suite") => {
                Some(script::SUITES.iter().map(|(name, ..)| format!("suite:{name}")).collect())
            }
            _ if word.starts_with('-') => self.options(command, arguments),
            _ => {
                let values = self.values(command, arguments);
                if !values.is_empty() {
                    return Some(values);
                }
                let subcommand = self
                    .commands
                    .find_subcommand(command)
                    .filter(|c| c.has_subcommands() && arguments.is_empty());
                subcommand.map(|c| c.get_subcommands().map(|c| c.get_name().to_owned()).collect())
            }
        }
    }

    /// What an option or a place may hold, where that is one of a few words.
    fn values(&self, command: &str, arguments: &[&str]) -> Vec<String> {
        let Some(found) = self.commands.find_subcommand(command) else {
            return Vec::new();
        };
        let option = arguments.last().and_then(|last| last.strip_prefix("--"));
        let mut all = found.get_arguments();
        let argument = match option {
            Some(long) => all.find(|a| a.get_long() == Some(long)),
            None => all.find(|a| a.is_positional()).filter(|_| arguments.is_empty()),
        };
        let values = argument
            .filter(|a| a.get_num_args().is_none_or(|n| n.takes_values()))
            .map(clap::Arg::get_possible_values);
        values.into_iter().flatten().map(|value| value.get_name().to_owned()).collect()
    }

    fn options(&self, command: &str, arguments: &[&str]) -> Option<Vec<String>> {
        let mut found = self.commands.find_subcommand(command)?;
        if let Some(inner) = arguments.first().and_then(|name| found.find_subcommand(name)) {
            found = inner;
        }
        Some(
            found
                .get_arguments()
                .filter_map(|a| a.get_long())
                .map(|long| format!("--{long}"))
                .collect(),
        )
    }
}

/// Every kind of reader, and those that pcscd has.
fn readers() -> Vec<String> {
    let mut all: Vec<String> = READERS.map(str::to_owned).into();
    all.extend(list_readers().unwrap_or_default().into_iter().map(|r| format!("pcsc:{}", r.name)));
    all
}

/// Where the word that is being typed begins.
fn word_start(line: &str) -> usize {
    line.rfind(char::is_whitespace)
        .map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8))
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..pos).unwrap_or(line);
        // A value, anywhere.
        if let Some(open) = typed
            .rfind('{')
            .filter(|open| !typed[*open..].contains('}') && !typed[*open..].contains(' '))
        {
            let begun = &typed[open + 1..];
            let fitting = self.variables.iter().filter(|name| name.starts_with(begun));
            return Ok((open + 1, fitting.map(|name| pair(name, &format!("{name}}}"))).collect()));
        }
        let start = word_start(typed);
        let word = &typed[start..];
        let before: Vec<&str> = typed[..start].split_whitespace().collect();
        match self.candidates(&before, word) {
            Some(all) => {
                let mut fitting: Vec<Pair> = all.iter().filter(|c| c.starts_with(word)).map(|c| pair(c, &spaced(c))).collect();
                fitting.sort_by(|a, b| a.display.cmp(&b.display));
                fitting.dedup_by(|a, b| a.display == b.display);
                Ok((start, fitting))
            }
            None => self.files.complete(line, pos, context),
        }
    }
}

/// What is whole gets a space behind it; what goes on does not.
fn spaced(candidate: &str) -> String {
    if candidate.ends_with([':', '=']) {
        candidate.to_owned()
    } else {
        format!("{candidate} ")
    }
}

fn pair(display: &str, replacement: &str) -> Pair {
    Pair {
        display: display.to_owned(),
        replacement: replacement.to_owned(),
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, context: &Context<'_>) -> Option<String> {
        // The form of a command that was just typed; else a line of before.
        if let Some(help) = line.strip_suffix(' ').and_then(help::find) {
            return help.form.strip_prefix(line).map(str::to_owned);
        }
        self.history.hint(line, pos, context)
    }
}

impl Highlighter for Assistant {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if self.colour {
            Cow::Owned(format!("\u{1b}[2m{hint}\u{1b}[0m"))
        } else {
            Cow::Borrowed(hint)
        }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _default: bool) -> Cow<'b, str> {
        if self.colour {
            Cow::Owned(format!("\u{1b}[1m{prompt}\u{1b}[0m"))
        } else {
            Cow::Borrowed(prompt)
        }
    }
}

/// A block that is open goes on in the next line.
impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match super::steps::is_open(context.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustyline::history::DefaultHistory;

    use super::*;

    fn complete(line: &str) -> Vec<String> {
        let mut assistant = Assistant::new(false);
        assistant.variables = vec!["rp".into(), "rl".into(), "tl".into()];
        let history = DefaultHistory::new();
        let (start, pairs) = assistant.complete(line, line.len(), &Context::new(&history)).unwrap();
        pairs.into_iter().map(|p| format!("{}{}", &line[..start], p.replacement)).collect()
    }

    #[test]
    fn commands_aids_methods_values_options() {
        assert_eq!(complete("sel"), ["select "]);
        assert!(complete("").contains(&"lock ".to_owned()) && !complete("").contains(&"shell ".to_owned()));
        assert_eq!(complete("select challenge"), ["select challenge-response "]);
        assert!(complete("select vi").contains(&"select visa ".to_owned()));
        assert_eq!(complete("auth aka-t"), ["auth aka-tuak "]);
        assert_eq!(complete("apdu 00{r"), ["apdu 00{rp}", "apdu 00{rl}"]);
        assert_eq!(complete("lock --conf"), ["lock --config "]);
        assert!(complete("server add-").contains(&"server add-lock ".to_owned()));
        assert_eq!(complete("reader sim:w"), ["reader sim:wrong-key "]);
        assert_eq!(complete("reader tap"), ["reader tape:"]);
        assert_eq!(complete("run suite:d"), ["run suite:door "]);
        assert_eq!(complete("unset t"), ["unset tl "]);
        // Words of which one must stand there.
        assert_eq!(complete("bench li"), ["bench link "]);
        assert_eq!(complete("replay x --as c"), ["replay x --as card "]);
        assert!(complete("é é").is_empty());
    }

    #[test]
    fn hints_are_forms() {
        let assistant = Assistant::new(false);
        let history = DefaultHistory::new();
        let hint = assistant.hint("select ", 7, &Context::new(&history));
        assert_eq!(hint.as_deref(), Some("AID [p2 XX]"));
    }
}
