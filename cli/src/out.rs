//! Text for people, JSON for programs: one place that knows which.

use std::io::{self, Write};

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use serde_json::Value;

use crate::args::{Arguments, Color};
use crate::failure::Failure;

/// Where output goes.
pub struct Out {
    json: bool,
    verbosity: i8,
}

/// Opened, done.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Refused, failed.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Warnings.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// What is less important.
pub const DIM: Style = Style::new().dimmed();

/// `text` in `style`; whether the style reaches the terminal is decided where it is written.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

impl Out {
    /// As the arguments ask for.
    pub fn new(arguments: &Arguments) -> Self {
        let choice = match arguments.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        choice.write_global();
        let verbosity = i8::try_from(arguments.verbose).unwrap_or(i8::MAX) - i8::from(arguments.quiet);
        Self {
            json: arguments.json,
            verbosity,
        }
    }

    /// The same for one line of a shell, with the options of that line too.
    pub fn for_line(&self, arguments: &Arguments) -> Self {
        let line = Self::new(arguments);
        Self {
            json: self.json || line.json,
            verbosity: self.verbosity.saturating_add(line.verbosity),
        }
    }

    /// Whether output is for programs.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether `-v` was given.
    pub fn is_verbose(&self) -> bool {
        self.verbosity > 0
    }

    /// Whether `-q` was given.
    pub fn is_quiet(&self) -> bool {
        self.verbosity < 0
    }

    /// One event: `value` for programs, `text` for people. A line each, whole, at once.
    pub fn event(&mut self, value: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        if self.json {
            self.line(&value.to_string())
        } else {
            self.text(&text())
        }
    }

    /// A line for programs only.
    pub fn json(&mut self, value: &Value) -> io::Result<()> {
        if self.json { self.line(&value.to_string()) } else { Ok(()) }
    }

    /// A line for people only.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { self.line(text) }
    }

    fn line(&self, text: &str) -> io::Result<()> {
        let mut stdout = anstream::stdout().lock();
        writeln!(stdout, "{text}")?;
        stdout.flush()
    }

    /// Something that people should know and that ends nothing: to stderr.
    pub fn warn(&self, text: &str) {
        if self.verbosity >= 0 {
            let _ = writeln!(anstream::stderr(), "{} {text}", paint(WARN, "warning:"));
        }
    }

    /// Why the command ends: to stderr, and for programs as an event too.
    pub fn failure(&mut self, failure: &Failure) {
        if failure.code == crate::failure::DONE {
            return;
        }
        let _ = self.json(&serde_json::json!({"event": "error", "status": failure.code, "detail": failure.detail}));
        if failure.code != crate::failure::INTERRUPTED || self.is_verbose() {
            let _ = writeln!(anstream::stderr(), "{} {}", paint(BAD, "error:"), failure.detail);
        }
    }
}

/// The fields of `value` as an event of this name.
pub fn event(name: &str, value: Value) -> Value {
    let mut event = serde_json::json!({ "event": name });
    if let (Some(map), Value::Object(fields)) = (event.as_object_mut(), value) {
        map.extend(fields);
    }
    event
}

/// Milliseconds with three digits behind the point, as a JSON number.
pub fn ms(time: std::time::Duration) -> Value {
    Value::from((time.as_secs_f64() * 1e6).round() / 1e3)
}
