//! `POST /v1/downloads`: a lock asks for an application for the phone that lies on it, and is told how it goes.
//!
//! The answer is a stream of JSON objects, one a line (`application/x-ndjson`), each sent as soon as it is known:
//!
//! ```text
//! {"event":"accepted","job":7}
//! {"event":"waiting"}                                   the phone's agent is not there
//! {"event":"progress","done":12,"total":80}             commands that the phone's chip answered with 9000
//! {"event":"lock-updated"}                              the lock's list has the phone, or: "lock-unchanged"
//! {"event":"installed","application":"f0..","version":"1.0","ms":140}
//! {"event":"failed","code":"timeout","message":".."}    instead of the last one
//! ```
//!
//! The wait is bounded; the job is not taken back by it, so an application that comes too late for this tap is there for the next one.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::error::ApiError;
use crate::hub::{Busy, JobView, Watch};
use crate::registry::{ChipRef, JobId, JobKind, JobState, NewJob};
use crate::request::{Accepted, Asked, DownloadRequest, Refusal, judge, parse};
use crate::serve::{body, is_json};
use crate::state::{Shared, stopped};
use crate::store::{self, Store};

/// A line of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum DownloadEvent {
    /// The request is good; this job does it.
    Accepted {
        /// The phone's job.
        job: JobId,
    },
    /// The phone's agent is not connected.
    Waiting,
    /// The phone's chip is at work.
    Progress {
        /// Commands answered 9000.
        done: usize,
        /// Commands in all.
        total: usize,
    },
    /// The lock's chip has the phone on its list.
    LockUpdated,
    /// The server has no keys of the lock's chip: its list is kept by hand.
    LockUnchanged,
    /// Done.
    Installed {
        /// AID of the application.
        application: String,
        /// Its version.
        version: String,
        /// Milliseconds since the request was accepted.
        ms: u64,
    },
    /// Not done.
    Failed {
        /// For programs.
        code: String,
        /// For people.
        message: String,
    },
}

/// The lock's request.
///
/// # Errors
/// Every [`Refusal`] as an [`ApiError`].
#[utoipa::path(post, path = "/v1/downloads", tag = "locks", request_body = DownloadRequest,
    responses((status = 200, description = "A stream of events, one JSON object a line", content_type = "application/x-ndjson", body = DownloadEvent),
              (status = 400, description = "malformed, malformed-identifier, bad-identity, malformed-identity", body = crate::error::ErrorBody),
              (status = 403, description = "lock-unregistered, lock-revoked, bad-signature, clock-skew, identity-mismatch, not-entitled", body = crate::error::ErrorBody),
              (status = 404, description = "unknown-phone", body = crate::error::ErrorBody),
              (status = 409, description = "replayed, no-application, no-chip-keys", body = crate::error::ErrorBody),
              (status = 413, description = "too-large", body = crate::error::ErrorBody),
              (status = 415, description = "unsupported-media-type", body = crate::error::ErrorBody),
              (status = 429, description = "too-many-requests", body = crate::error::ErrorBody)))]
pub async fn download(
    State(state): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, content) = request.into_parts();
    let content = json_body(&state, &parts.headers, content).await?;
    let asked =
        parse(&content).inspect_err(|refusal| tracing::warn!(peer = %peer.ip(), code = refusal.code(), %refusal, "request refused"))?;
    let lock = asked.lock;
    accept(&state, peer.ip(), asked).await.inspect_err(|error| {
        tracing::warn!(peer = %peer.ip(), %lock, code = error.code, message = error.message, "request refused");
    })
}

async fn json_body(state: &Shared, headers: &HeaderMap, content: Body) -> Result<Bytes, ApiError> {
    is_json(headers)?;
    body(state, content, state.limits.body).await
}

/// What an accepted request set going.
struct Started {
    accepted: Accepted,
    /// On the phone's chip.
    phone: JobId,
    /// On the lock's chip, if its keys are known.
    lock: Option<JobId>,
}

fn start(store: &mut dyn Store, accepted: Accepted, now: u64) -> store::Result<Started> {
    let order = |chip, kind| NewJob {
        chip,
        kind,
        urgent: true,
        window: false,
        requester: Some(accepted.lock.id),
    };
    let install = JobKind::Install {
        application: accepted.application.name.clone(),
        version: accepted.application.version.to_string(),
    };
    let phone = store.add_job(&order(ChipRef::Phone(accepted.phone.id), install), now)?;
    let lock = if accepted.lock.chip.is_some() {
        let entry = JobKind::Entry {
            phone: accepted.phone.id.to_string(),
        };
        Some(store.add_job(&order(ChipRef::Lock(accepted.lock.id), entry), now)?)
    } else {
        None
    };
    Ok(Started { accepted, phone, lock })
}

async fn accept(state: &Shared, peer: IpAddr, asked: Asked) -> Result<Response, ApiError> {
    if !state.rate.take((peer, asked.lock), Instant::now()) {
        return Err(Refusal::TooMany.into());
    }
    let permit = state.downloads.clone().try_acquire_owned().map_err(|_| Refusal::TooMany)?;
    let begun = Instant::now();
    let (now, secrets, plain) = (state.clock.now(), state.workshop.secrets.clone(), state.plain_identities);
    let judged = state.db.call(move |store| {
        Ok(match judge(store, &secrets, plain, now, &asked)? {
            Ok(accepted) => Ok(start(store, accepted, now)?),
            // Not an error of the store: the nonce stays remembered.
            Err(refusal) => Err(refusal),
        })
    });
    let started = judged.await??;
    let Accepted {
        lock, phone, application, ..
    } = &started.accepted;
    tracing::info!(lock = %lock.id, phone = phone.id.masked(), application = application.name, job = started.phone, "request accepted");
    let busy = state.hub.busy(lock.id);
    state.hub.ring(ChipRef::Phone(phone.id));
    state.hub.ring(ChipRef::Lock(lock.id));
    let (sender, mut receiver) = mpsc::channel::<Bytes>(16);
    let shared = state.clone();
    tokio::spawn(async move {
        let _permit = permit;
        Stream { sender, begun, busy }.run(&shared, started).await;
    });
    let lines =
        futures_util::stream::poll_fn(move |context| receiver.poll_recv(context).map(|line| line.map(Ok::<_, std::convert::Infallible>)));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// The lock hung up.
struct Gone;

struct Stream {
    sender: mpsc::Sender<Bytes>,
    begun: Instant,
    busy: Busy,
}

impl Stream {
    async fn send(&self, event: DownloadEvent) -> Result<(), Gone> {
        let mut line = serde_json::to_vec(&event).map_err(|_| Gone)?;
        line.push(b'\n');
        self.sender.send(line.into()).await.map_err(|_| Gone)
    }

    async fn run(self, state: &Shared, started: Started) {
        let (lock, job) = (started.accepted.lock.id, started.phone);
        match self.follow(state, &started).await {
            Ok(()) => tracing::info!(%lock, job, ms = self.ms(), "download ended"),
            Err(Gone) => tracing::info!(%lock, job, "the lock hung up; the job goes on"),
        }
        // Only now may the lock's chip be given work that no tap waits for.
        drop(self.busy);
    }

    fn ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn follow(&self, state: &Shared, started: &Started) -> Result<(), Gone> {
        let deadline = tokio::time::Instant::from_std(self.begun + state.limits.download_time);
        let Accepted { phone, application, .. } = &started.accepted;
        self.send(DownloadEvent::Accepted { job: started.phone }).await?;
        if !state.hub.is_present(ChipRef::Phone(phone.id)) {
            self.send(DownloadEvent::Waiting).await?;
        }
        let mut on_phone = state.hub.watch(started.phone);
        let mut on_lock = started.lock.map(|job| state.hub.watch(job));
        // From here on nothing is missed; what happened before is in the store.
        state.announce(started.phone).await;
        if let Some(job) = started.lock {
            state.announce(job).await;
        }
        let mut stopping = state.stopping.clone();
        let mut shown = (0, 0);
        let mut lock_done = on_lock.is_none();
        if lock_done {
            self.send(DownloadEvent::LockUnchanged).await?;
        }
        loop {
            let view = on_phone.receiver.borrow_and_update().clone();
            if view.total > 0 && (view.done, view.total) != shown {
                shown = (view.done, view.total);
                self.send(DownloadEvent::Progress {
                    done: view.done,
                    total: view.total,
                })
                .await?;
            }
            if !lock_done && let Some(watch) = &mut on_lock {
                let view = watch.receiver.borrow_and_update().clone();
                match view.state {
                    JobState::Done => {
                        lock_done = true;
                        self.send(DownloadEvent::LockUpdated).await?;
                    }
                    JobState::Failed => return self.send(failed(&view)).await,
                    JobState::Queued | JobState::Running => {}
                }
            }
            match view.state {
                JobState::Failed => return self.send(failed(&view)).await,
                JobState::Done if lock_done => {
                    let event = DownloadEvent::Installed {
                        application: application.aid.to_string(),
                        version: application.version.to_string(),
                        ms: self.ms(),
                    };
                    return self.send(event).await;
                }
                _ => {}
            }
            tokio::select! {
                _ = on_phone.receiver.changed() => {}
                () = changed(&mut on_lock) => {}
                () = self.sender.closed() => return Err(Gone),
                () = tokio::time::sleep_until(deadline) => {
                    return self.send(ended("timeout", if view.state == JobState::Done {
                        "the lock's agent did not fetch its list entry in time"
                    } else {
                        "the phone's agent did not finish in time; the job goes on"
                    })).await;
                }
                () = stopped(&mut stopping) => return self.send(ended("stopping", "the server is stopping; the job goes on afterwards")).await,
            }
        }
    }
}

async fn changed(watch: &mut Option<Watch>) {
    let told = match watch {
        Some(watch) => watch.receiver.changed().await.is_ok(),
        None => false,
    };
    if !told {
        std::future::pending().await
    }
}

fn ended(code: &str, message: &str) -> DownloadEvent {
    DownloadEvent::Failed {
        code: code.into(),
        message: message.into(),
    }
}

fn failed(view: &JobView) -> DownloadEvent {
    ended(
        view.code.as_deref().unwrap_or("failed"),
        view.message.as_deref().unwrap_or("the job failed"),
    )
}
