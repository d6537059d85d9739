//! A lock's request for an application that a phone lacks, and what becomes of it, as it happens (one JSON object a line).
//!
//! While the lock waits, it is the agent of its own chip: the phone's list entry comes to it by the same way.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::globalplatform::remote_admin::AdminFrom;

use crate::admin;
use crate::agent::until_stopped;
use crate::chip::WiredChip;
use crate::error::AgentError;
use crate::server::{Server, refusal};

/// Longest line of the server's report.
const LINE: usize = 16 * 1024;

/// What the lock asks, signed by its chip.
#[derive(Clone, Debug, Serialize)]
pub struct DownloadRequest {
    /// By what the lock names itself: one of `mac`, `iccid`, `imsi`, `msisdn`, or `id`.
    pub lock: BTreeMap<String, String>,
    /// What was signed, hexadecimal.
    pub request: String,
    /// r || s, hexadecimal.
    pub signature: String,
}

/// What the server tells while it works.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum DownloadEvent {
    /// The request was good; there is a job.
    Accepted {
        /// Its number.
        job: u64,
    },
    /// The phone's agent is not connected.
    Waiting,
    /// Commands that the phone's chip has answered.
    Progress {
        /// So many,
        done: u64,
        /// of so many.
        total: u64,
    },
    /// The lock's own chip has the phone's list entry.
    LockUpdated,
    /// The server has no keys of the lock's chip: its list is kept by hand.
    LockUnchanged,
    /// The application is there.
    Installed {
        /// Its AID.
        application: String,
        /// Its version.
        version: String,
        /// How long it took at the server.
        ms: f64,
    },
    /// It could not be done.
    Failed {
        /// The server's word for it.
        code: String,
        /// In words.
        message: String,
    },
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// Why there is no application.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The server refuses, or could not do it: its word for it, and in words.
    #[error("{message} ({code})")]
    Server {
        /// The server's word for it.
        code: String,
        /// In words.
        message: String,
    },
    /// The server could not be asked, or fell silent.
    #[error(transparent)]
    Agent(AgentError),
    /// It took longer than the lock waits.
    #[error("the server did not finish within {0:?}")]
    Timeout(Duration),
}

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Refused { code, message, .. } => Self::Server { code, message },
            error => Self::Agent(error),
        }
    }
}

/// Asks, and waits until the application is there, at most for `patience`. `chip` is the lock's own.
///
/// # Errors
/// [`Refusal`].
pub fn download(
    server: &Server,
    from: AdminFrom,
    chip: &dyn WiredChip,
    request: &DownloadRequest,
    patience: Duration,
    stop: &Stop,
    observe: &mut dyn FnMut(&DownloadEvent),
) -> Result<(), Refusal> {
    let work = async {
        let asked = ask(server, request, observe);
        let administered = async {
            loop {
                match admin::session(server, from, chip, &|_| ()).await {
                    Ok(never) => match never {},
                    Err(error) if error.is_passing() => tokio::time::sleep(Duration::from_millis(100)).await,
                    // Not entitled to be administered: the request's own answer says more.
                    Err(_) => std::future::pending::<()>().await,
                }
            }
        };
        Ok(tokio::select! {
            outcome = asked => outcome,
            () = administered => Ok(()),
            () = tokio::time::sleep(patience) => Err(Refusal::Timeout(patience)),
        })
    };
    until_stopped(stop, work)?
}

async fn ask(server: &Server, request: &DownloadRequest, observe: &mut dyn FnMut(&DownloadEvent)) -> Result<(), Refusal> {
    let url = server.at("/v1/downloads")?;
    let lost = |e: reqwest::Error| Refusal::Agent(AgentError::connection(url.as_str(), &e));
    let mut response = server.client().post(url.clone()).json(request).send().await.map_err(lost)?;
    if !response.status().is_success() {
        return Err(refusal(response).await.into());
    }
    let mut lines = Lines::default();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        lines.feed(&chunk)?;
        while let Some(event) = lines.next()? {
            observe(&event);
            match event {
                DownloadEvent::Installed { .. } => return Ok(()),
                DownloadEvent::Failed { code, message } => return Err(Refusal::Server { code, message }),
                _ => {}
            }
        }
    }
    Err(AgentError::Answer("the report of the download ends without an outcome".to_owned()).into())
}

/// Lines out of chunks that do not end where lines do.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, chunk: &[u8]) -> Result<(), AgentError> {
        if self.bytes.len() + chunk.len() > LINE && !chunk.contains(&b'\n') {
            return Err(AgentError::Answer(format!("a line of more than {LINE} bytes")));
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<DownloadEvent>, AgentError> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        serde_json::from_slice(&line)
            .map(Some)
            .map_err(|e| AgentError::Answer(format!("a report that cannot be read: {e}")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_whatever_the_chunks() {
        let text = "{\"event\":\"accepted\",\"job\":7}\n{\"event\":\"waiting\"}\n{\"event\":\"progress\",\"done\":3,\"total\":70}\n{\"event\":\"lock-updated\"}\n\
                    {\"event\":\"tomorrow\",\"x\":1}\n{\"event\":\"installed\",\"application\":\"F0544150444F4F5201\",\"version\":\"1.0\",\"ms\":12.5}\n";
        for size in [1, 7, 1000] {
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                lines.feed(chunk).unwrap();
                while let Some(event) = lines.next().unwrap() {
                    seen.push(event);
                }
            }
            assert_eq!(seen.len(), 6);
            assert_eq!(seen[2], DownloadEvent::Progress { done: 3, total: 70 });
            assert_eq!(seen[4], DownloadEvent::Other);
        }
    }

    #[test]
    fn an_endless_line_and_a_broken_one_are_refused() {
        let mut lines = Lines::default();
        assert!(lines.feed(&[b'x'; LINE + 1]).is_err());
        lines.feed(b"{\"event\":\n").unwrap();
        assert!(lines.next().is_err());
    }
}
