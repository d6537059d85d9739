//! What all handlers share.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, watch};
use zeroize::Zeroizing;

use crate::config::{Limits, ServerConfig};
use crate::hub::{Hub, JobView};
use crate::jobs::Workshop;
use crate::ota::Sessions;
use crate::proof::Challenges;
use crate::rate::Rate;
use crate::registry::{Job, JobId};
use crate::request::LockName;
use crate::store::Db;
use crate::time::Clock;

/// A running server's state; handlers have it in an [`Arc`].
#[derive(Debug)]
pub struct State {
    /// The store.
    pub db: Db,
    /// The wall clock.
    pub clock: Clock,
    /// Secrets, and what is made with them.
    pub workshop: Workshop,
    /// Limits.
    pub limits: Limits,
    /// Laboratory: identities in plain.
    pub plain_identities: bool,
    /// Of the administration API.
    pub admin_token: Option<Zeroizing<String>>,
    /// Who waits for what.
    pub hub: Hub,
    /// Challenges that are out.
    pub challenges: Challenges,
    /// Agents' sessions.
    pub sessions: Sessions,
    /// Of download requests, by address and lock.
    pub rate: Rate<(IpAddr, LockName)>,
    /// Downloads under way.
    pub downloads: Arc<Semaphore>,
    /// True once the server stops.
    pub stopping: watch::Receiver<bool>,
    /// When it was started.
    pub started: Instant,
}

/// As handlers have it.
pub type Shared = Arc<State>;

/// Waits until the server stops.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // Without a sender there is nobody left to serve for.
    let _ = stopping.wait_for(|stop| *stop).await;
}

impl State {
    /// The state of a server that begins.
    #[must_use]
    pub fn new(config: &ServerConfig, db: Db, clock: Clock, stopping: watch::Receiver<bool>) -> Self {
        Self {
            db,
            clock,
            workshop: Workshop {
                secrets: config.secrets.clone(),
                sealer: config.sealer.clone(),
                attempts: config.limits.attempts,
            },
            limits: config.limits,
            plain_identities: config.plain_identities,
            admin_token: config.admin_token.clone(),
            hub: Hub::default(),
            challenges: Challenges::default(),
            sessions: Sessions::default(),
            rate: Rate::new(config.limits.downloads_per_minute),
            downloads: Arc::new(Semaphore::new(config.limits.downloads)),
            stopping,
            started: Instant::now(),
        }
    }

    /// Reads a job and tells those who watch it how it ended.
    pub async fn announce(&self, id: JobId) {
        match self.db.call(move |store| store.job(id)).await {
            Ok(Some(job)) => self.announce_job(&job),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, job = id, "store"),
        }
    }

    /// Tells those who watch it where a job stands.
    pub fn announce_job(&self, job: &Job) {
        self.hub.tell(job.id, JobView::from(job));
    }
}
