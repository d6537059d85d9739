//! The server as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tapdoor_server::ServerConfig;
use tapdoor_server::ca::CA_CERTIFICATE;

use crate::api::Api;
use crate::bench::BenchError;

/// How long anything may take at the server.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server process; it ends with this value.
pub(super) struct Process {
    child: Child,
    /// Kept open, so that the server may write to it.
    _out: BufReader<ChildStdout>,
    pub api: Api,
}

impl Process {
    /// Starts `program server` on the server.toml in `folder`, on any free port of loopback.
    pub fn start(program: &Path, folder: &Path) -> Result<Self, BenchError> {
        let config = folder.join("server.toml");
        let token = ServerConfig::load(&config)?.admin_token;
        let token = token.map_or_else(String::new, |token| token.as_str().to_owned());
        let mut child = Command::new(program)
            .args(["--json", "-q", "server", "--listen", "127.0.0.1:0", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let no_url = || BenchError::Server(format!("{} server: it did not say where it listens", program.display()));
        let mut out = BufReader::new(child.stdout.take().ok_or_else(no_url)?);
        let mut line = String::new();
        out.read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line).unwrap_or_default();
        let Some(url) = ready["url"].as_str().map(str::to_owned) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(no_url());
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            api: Api::new(runtime, url, token, &folder.join(CA_CERTIFICATE))?,
            child,
            _out: out,
        })
    }

    /// Waits until all of these jobs are done.
    pub fn done(&self, jobs: &[Value]) -> Result<(), BenchError> {
        for job in jobs {
            until(|| {
                let view = self.api.get(&format!("/v1/jobs/{job}"))?;
                match view["state"].as_str() {
                    Some("done") => Ok(true),
                    Some("failed") => Err(BenchError::Server(format!("job {job} failed: {}", view["message"]))),
                    _ => Ok(false),
                }
            })?;
        }
        Ok(())
    }

    /// How long a connection and a TLS handshake take: a first request by a new client, less a second one on the same connection.
    pub fn handshake(&mut self) -> Result<Duration, BenchError> {
        self.api.reconnect()?;
        let time = || -> Result<Duration, BenchError> {
            let begun = Instant::now();
            self.api.get("/healthz")?;
            Ok(begun.elapsed())
        };
        let first = time()?;
        Ok(first.saturating_sub(time()?))
    }

    /// The most memory that it had resident so far, in bytes; `None` where the system does not tell.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
    }
}

/// Waits until it is so, for as long as is reasonable.
pub(super) fn until(mut so: impl FnMut() -> Result<bool, BenchError>) -> Result<(), BenchError> {
    let begun = Instant::now();
    while !so()? {
        if begun.elapsed() > PATIENCE {
            return Err(BenchError::Server(format!(
                "what was waited for did not happen within {PATIENCE:?}"
            )));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
