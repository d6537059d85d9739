//! A phone that lacks the application: the lock's signed request goes to the server, which installs it (docs/protocol.md section 9).

use std::collections::BTreeMap;
use std::time::Duration;

use tapdoor_agent::download::{DownloadEvent, DownloadRequest, Refusal, download};
use tapdoor_agent::{AgentError, Server};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::door::Reason;
use tapdoor_protocol::globalplatform::remote_admin::AdminFrom;
use tapdoor_protocol::identity::Request;
use tapdoor_protocol::ids::LockId;

use crate::config::ServerConfig;
use crate::own_chip::SharedChip;
use crate::tap::NoDownload;
use crate::updates::DuringTap;

/// The way to the server that a lock takes when a phone lacks its application. Nothing is connected until then.
#[derive(Clone)]
pub struct Downloads {
    server: Server,
    lock: LockId,
    name: (&'static str, String),
    wait: Duration,
}

impl Downloads {
    /// The lock's way to its server.
    ///
    /// # Errors
    /// [`AgentError`] for an address or an authority that cannot be used.
    pub fn new(lock: LockId, config: &ServerConfig) -> Result<Self, AgentError> {
        Ok(Self {
            server: config.place.server()?,
            lock,
            name: config.name.clone(),
            wait: config.wait,
        })
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Asks and waits. The lock's own chip is served meanwhile: the phone's list entry comes to it.
    pub(crate) fn fetch(
        &self,
        request: &Request,
        chip: &SharedChip,
        stop: &Stop,
        observe: &mut dyn FnMut(&DownloadEvent),
    ) -> Result<(), NoDownload> {
        let (kind, name) = &self.name;
        let request = DownloadRequest {
            lock: BTreeMap::from([((*kind).to_owned(), name.clone())]),
            request: hex::encode(&request.signed),
            signature: hex::encode(request.signature),
        };
        let chip = DuringTap(chip.clone());
        download(&self.server, AdminFrom::Lock(self.lock), &chip, &request, self.wait, stop, observe).map_err(|refusal| NoDownload {
            reason: reason(&refusal),
            detail: detail(&refusal),
        })
    }
}

/// The tap's reason for a refusal.
fn reason(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::Server { code, .. } => match code.as_str() {
            "not-entitled" => Reason::NotEntitled,
            "unknown-phone" => Reason::UnknownPhone,
            "identity-mismatch" => Reason::WrongKey,
            "replayed" => Reason::Replay,
            _ => Reason::ServerError,
        },
        Refusal::Agent(_) | Refusal::Timeout(_) => Reason::ServerError,
    }
}

fn detail(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Server { .. } => format!("the phone has no application, and the server gives it none: {refusal}"),
        Refusal::Agent(_) | Refusal::Timeout(_) => {
            format!("the phone has no application, and the server cannot be reached for it: {refusal}")
        }
    }
}
