//! Running the `tapdoor` command with `--json` and waiting for what it says.
//!
//! Include it with `#[path = "../../tests/support/proc.rs"] mod proc;`; the crate needs serde_json.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The command under test: TAPDOOR_BIN, or what cargo built for this test.
pub fn tapdoor() -> PathBuf {
    let built = option_env!("CARGO_BIN_EXE_tapdoor").map(PathBuf::from);
    std::env::var_os("TAPDOOR_BIN")
        .map(PathBuf::from)
        .or(built)
        .expect("set TAPDOOR_BIN, or be an integration test of the cli crate")
}

/// A running command. Dropping it kills it.
pub struct Proc {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    /// Every object that was read, in order.
    pub seen: Vec<Value>,
}

impl Proc {
    /// Starts `tapdoor --json` with `args`, and `env` added to the environment.
    pub fn tapdoor<A: AsRef<OsStr>>(args: &[A], env: &[(&str, PathBuf)]) -> Self {
        let mut command = Command::new(tapdoor());
        command.arg("--json").args(args).envs(env.iter().map(|(name, value)| (name, value)));
        Self::spawn(command)
    }

    /// Starts `command`, whose output is one JSON object a line.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", command.get_program().display()));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let stdin = child.stdin.take();
        Self {
            child,
            stdin,
            lines,
            stderr: Some(stderr),
            seen: Vec::new(),
        }
    }

    /// The next object, if one comes within `time`; `None` at the end of the output too.
    pub fn next(&mut self, time: Duration) -> Option<Value> {
        match self.lines.recv_timeout(time) {
            Ok(line) => {
                let value: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}"));
                self.seen.push(value.clone());
                Some(value)
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// The next object whose `event` is `event`; what comes before it is kept in `seen`.
    ///
    /// # Panics
    /// If none comes within `time`, with all that did come, and with what went to stderr if the command has ended.
    #[track_caller]
    pub fn wait_event(&mut self, event: &str, time: Duration) -> Value {
        self.wait_for(&format!("event \"{event}\""), time, |value| value["event"] == event)
    }

    /// The next object that `fits`; `what` names it if it does not come.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, time: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.next(left) {
                Some(value) if fits(&value) => return value,
                Some(_) => {}
                None => {
                    self.kill();
                    let stderr = self.stderr();
                    panic!("no {what} in {time:?}; it said {:?}; stderr:\n{stderr}", self.seen);
                }
            }
        }
    }

    /// Writes a line to the command's input.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("the input is open");
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    /// Closes the command's input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// The command's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the signal named `signal` (`INT`, `TERM`, ...).
    pub fn signal(&self, signal: &str) {
        let done = Command::new("kill").args(["-s", signal, &self.pid().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Kills the command at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How the command ended.
    ///
    /// # Panics
    /// If it has not within `time`.
    #[track_caller]
    pub fn wait_exit(&mut self, time: Duration) -> ExitStatus {
        let end = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What was still in the pipe.
                while self.next(Duration::from_secs(1)).is_some() {}
                return status;
            }
            if Instant::now() > end {
                self.kill();
                let stderr = self.stderr();
                panic!("still running after {time:?}; it said {:?}; stderr:\n{stderr}", self.seen);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// All that it said, on both. Blocks until the command has ended.
    pub fn said(&mut self) -> String {
        let stderr = self.stderr();
        let lines: Vec<String> = self.seen.iter().map(Value::to_string).collect();
        format!("{}\n{stderr}", lines.join("\n"))
    }

    /// What went to stderr. Blocks until the command has ended.
    pub fn stderr(&mut self) -> String {
        self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end: exit status, objects, stderr.
#[track_caller]
pub fn run<A: AsRef<OsStr>>(args: &[A], env: &[(&str, PathBuf)], time: Duration) -> (i32, Vec<Value>, String) {
    let mut proc = Proc::tapdoor(args, env);
    proc.close_input();
    let status = proc.wait_exit(time);
    let stderr = proc.stderr();
    (status.code().unwrap_or(-1), std::mem::take(&mut proc.seen), stderr)
}

/// The root of this repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("crates lie in the root")
        .to_owned()
}

/// Exit status, stdout, stderr of a command for people.
pub fn text<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> (i32, String, String) {
    let output = Command::new(tapdoor())
        .args(arguments)
        .env_remove("TAPDOOR_READER")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap_or(-1), stdout, stderr)
}

/// The same with --json: every line of stdout is one object, or the test fails.
#[track_caller]
pub fn json(arguments: &[&str]) -> (i32, Vec<Value>, String) {
    let (code, objects, stderr) = run(arguments, &[], Duration::from_secs(60));
    assert!(!stderr.contains("panicked"), "{stderr}");
    for object in &objects {
        assert!(object.is_object(), "{object}");
    }
    (code, objects, stderr)
}
