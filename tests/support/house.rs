//! A house of one lock and its phones, made by `tapdoor init` in a temporary folder, and the processes that live in it.
//!
//! Include it beside `proc.rs`: `#[path = "support/house.rs"] mod house;`. The crate needs tempfile.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::proc::{Proc, run};

/// Long enough for anything on a machine that is busy with other things.
pub const LONG: Duration = Duration::from_secs(60);

/// "Within a second", on a machine that does other things too. Far below what those wait for who are not told to stop.
pub const SOON: Duration = Duration::from_secs(5);

/// Configuration and stores.
pub struct House {
    dir: TempDir,
}

impl House {
    /// One lock, one phone.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// With more arguments of `init`.
    pub fn with(arguments: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("tapdoor-house-").tempdir().unwrap();
        let path = dir.path().to_str().unwrap().to_owned();
        let mut all = vec!["init", path.as_str()];
        all.extend(arguments);
        let (code, _, stderr) = run(&all, &[], LONG);
        assert_eq!(code, 0, "{stderr}");
        let house = Self { dir };
        // Most houses have no server; one that has gives its address on the command line.
        house.edit("lock.toml", "\nurl = ", "\n# url = ");
        house
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text, for arguments.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// What a file holds.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Puts `to` in the place of `from`, which must be there.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.text(name);
        assert!(text.contains(from), "no `{from}` in {name}");
        fs::write(self.path(name), text.replacen(from, to, 1)).unwrap();
    }

    /// The same in a copy of the file under another name.
    pub fn variant(&self, name: &str, copy: &str, edits: &[(&str, &str)]) -> String {
        fs::copy(self.path(name), self.path(copy)).unwrap();
        for (from, to) in edits {
            self.edit(copy, from, to);
        }
        self.arg(copy)
    }

    /// The value of the first `field = "value"` of a file.
    pub fn value(&self, name: &str, field: &str) -> String {
        let start = format!("{field} = \"");
        let text = self.text(name);
        let line = text.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("no `{field}` in {name}"));
        line[start.len()..].split('"').next().unwrap().to_owned()
    }

    /// Every value that must never be seen: keys, and identities where they are whole.
    pub fn secrets(&self) -> Vec<String> {
        let mut out = Vec::new();
        for entry in fs::read_dir(self.dir.path()).unwrap().flatten() {
            if entry.path().extension().is_none_or(|e| e != "toml") {
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap();
            let mut table = String::new();
            for line in text.lines() {
                if line.starts_with('[') {
                    table = line.to_owned();
                }
                let Some((name, value)) = line.split_once(" = \"") else { continue };
                let value = value.trim_end_matches('"').to_owned();
                let is_phone = table.contains("phones") || table.contains("subscribers") || (table.is_empty() && text.contains("k-ph"));
                let secret = match name {
                    "k-id" | "k-l" | "k-ph" | "milenage" | "tuak" | "k" | "opc" | "k-agent" | "signing-key" | "site-key"
                    | "private-key" | "digits" | "imei" | "imsi" | "iccid" | "enc" | "dek" | "chip-enc" | "chip-mac" | "chip-dek"
                    | "store-key" | "admin-token" => true,
                    "mac" => table.contains("chip"),
                    "id" => is_phone,
                    _ => false,
                };
                if secret {
                    out.push(value);
                }
            }
        }
        assert!(out.len() > 5, "{out:?}");
        out
    }

    /// Fails if any of the secrets is in `text`.
    #[track_caller]
    pub fn assert_no_secrets(&self, what: &str, text: &str) {
        let text = text.to_lowercase();
        for secret in self.secrets() {
            assert!(!text.contains(&secret), "{what} shows a secret ({secret}):\n{text}");
        }
    }

    /// Starts phone.toml's phone, towards `serve`.
    pub fn phone(&self, serve: &str, more: &[&str]) -> Proc {
        self.phone_of("phone.toml", serve, more)
    }

    /// Starts the phone of another file.
    pub fn phone_of(&self, config: &str, serve: &str, more: &[&str]) -> Proc {
        let config = self.arg(config);
        let mut arguments = vec!["phone", "--config", config.as_str(), "--serve", serve];
        arguments.extend(more);
        let mut phone = Proc::tapdoor(&arguments, &[]);
        phone.wait_event("ready", LONG);
        phone
    }

    /// Starts a phone that listens; where.
    pub fn listening_phone(&self, more: &[&str]) -> (Proc, String) {
        let phone = self.phone("tcp-listen:127.0.0.1:0", more);
        let listen = phone.seen[0]["listen"].as_str().unwrap().to_owned();
        (phone, listen)
    }

    /// Starts the lock at `reader`, and waits until it is ready.
    pub fn lock(&self, reader: &str, more: &[&str], env: &[(&str, PathBuf)]) -> Proc {
        self.lock_of("lock.toml", reader, more, env)
    }

    /// Starts the lock of another file.
    pub fn lock_of(&self, config: &str, reader: &str, more: &[&str], env: &[(&str, PathBuf)]) -> Proc {
        let config = self.arg(config);
        let mut arguments = vec!["lock", "--config", config.as_str(), "--reader", reader];
        arguments.extend(more);
        let mut lock = Proc::tapdoor(&arguments, env);
        lock.wait_event("ready", LONG);
        lock
    }

    /// Starts the lock as a vpcd; where phones connect.
    pub fn listening_lock(&self, more: &[&str]) -> (Proc, String) {
        self.listening_lock_of("lock.toml", more)
    }

    /// The same with another file.
    pub fn listening_lock_of(&self, config: &str, more: &[&str]) -> (Proc, String) {
        let lock = self.lock_of(config, "vpcd-listen:127.0.0.1:0", more, &[]);
        let serve = format!("vpcd:{}", lock.seen[0]["listen"].as_str().unwrap());
        (lock, serve)
    }
}

/// The next tap that the lock tells of.
#[track_caller]
pub fn tap(lock: &mut Proc) -> Value {
    lock.wait_event("tap", LONG)
}

/// Checks verdict and reason of a tap.
#[track_caller]
pub fn assert_tap(tap: &Value, verdict: &str, reason: Option<&str>) {
    assert_eq!((tap["verdict"].as_str(), tap["reason"].as_str()), (Some(verdict), reason), "{tap}");
}

/// The next tap, which opens by `method` within `apdus`.
#[track_caller]
pub fn assert_opens(lock: &mut Proc, method: &str, apdus: u64) -> Value {
    let tap = tap(lock);
    assert_tap(&tap, "open", None);
    assert_eq!(
        (tap["method"].as_str(), tap["apdus"].as_u64()),
        (Some(method), Some(apdus)),
        "{tap}"
    );
    tap
}

/// Blocks until a file `fits`.
#[track_caller]
pub fn wait_file(path: &Path, fits: impl Fn(&str) -> bool) -> String {
    let end = std::time::Instant::now() + LONG;
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if fits(&text) {
            return text;
        }
        assert!(std::time::Instant::now() < end, "{} is not as expected: {text}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The reason that the phone is told, "open" if it is told so.
#[track_caller]
pub fn told(phone: &mut Proc) -> String {
    let verdict = phone.wait_event("verdict", LONG);
    verdict["reason"].as_str().or(verdict["verdict"].as_str()).unwrap().to_owned()
}

/// Interrupts and expects the end.
#[track_caller]
pub fn interrupt(proc: &mut Proc, what: &str) {
    proc.signal("INT");
    let status = proc.wait_exit(SOON);
    assert_eq!(status.code(), Some(130), "{what}: {}", proc.said());
}
