//! The door: a log, and a command that is run with the verdict in its environment.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::DoorConfig;
use crate::tap::Tap;

/// A command that runs longer than this is ended: it must not pile up behind the taps.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// What became of a verdict.
#[derive(Debug)]
pub struct Applied {
    /// Whether it stands in the log.
    pub logged: io::Result<()>,
    /// Whether the command was started.
    pub moved: io::Result<()>,
}

/// What moves when the verdict is there.
#[derive(Debug)]
pub struct Door {
    config: DoorConfig,
}

impl Door {
    /// The door of this configuration.
    #[must_use]
    pub fn new(config: DoorConfig) -> Self {
        Self { config }
    }

    /// Carries the verdict out: what failed of log and command, each of which is carried out whatever becomes of the other. Returns when the
    /// command has been started; it is not waited for.
    pub fn apply(&self, number: u64, tap: &Tap, time: &str) -> Applied {
        Applied {
            logged: self.log(number, tap, time),
            moved: self.run(number, tap),
        }
    }

    /// One line, in one write, so that several locks can share a log.
    fn log(&self, number: u64, tap: &Tap, time: &str) -> io::Result<()> {
        let Some(path) = &self.config.log else { return Ok(()) };
        let line = format!(
            "{time} tap {number} {} {} {} {}\n",
            tap.verdict.name(),
            tap.method.map_or("-", |m| m.name()),
            tap.phone.map_or_else(|| "-".into(), |p| p.masked()),
            tap.reason.map_or("-", |r| r.name()),
        );
        OpenOptions::new().append(true).create(true).open(path)?.write_all(line.as_bytes())
    }

    fn run(&self, number: u64, tap: &Tap) -> io::Result<()> {
        let Some((program, arguments)) = self.config.run.split_first() else {
            return Ok(());
        };
        let mut child = Command::new(program)
            .args(arguments)
            .env("TAPDOOR_TAP", number.to_string())
            .env("TAPDOOR_VERDICT", tap.verdict.name())
            .env("TAPDOOR_METHOD", tap.method.map_or("", |m| m.name()))
            .env("TAPDOOR_PHONE", tap.phone.map_or_else(String::new, |p| p.to_string()))
            .env("TAPDOOR_REASON", tap.reason.map_or("", |r| r.name()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("door command {program}: {e}")))?;
        thread::spawn(move || {
            let end = Instant::now() + COMMAND_LIMIT;
            // There is no wait with a time-out in the standard library; this thread has nothing else to do.
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() >= end {
                    let _ = child.kill();
                    let _ = child.wait();
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        Ok(())
    }
}
