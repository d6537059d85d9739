//! Pushing, jobs, status.

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tapdoor_protocol::aid::Aid;

use super::grants::Jobs;
use super::{Judged, Named, find_lock, find_phone, json, named, sure, value};
use crate::error::ApiError;
use crate::registry::{ChipRef, Half, IdentifierKind, Job, JobId, JobKind, JobState, Lock, NewJob, Version};
use crate::request::entitled;
use crate::state::Shared;
use crate::store::{self, Store};

/// To whom.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum PushTo {
    /// A lock.
    Lock(String),
    /// A phone.
    Phone(String),
    /// The locks of a group, or the phones that may open one of them.
    Group(String),
    /// The locks of a system, or the phones that may open one of them.
    System(String),
}

/// When.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// As soon as the agent is there, and no tap waits.
    #[default]
    Now,
    /// In the lock's maintenance window.
    Window,
}

/// What is to be pushed: an application, a lock's whole list, or a load file to be deleted.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushBody {
    /// An application's name.
    pub application: Option<String>,
    /// Its version; the highest if left out.
    pub version: Option<String>,
    /// The lock's whole list anew.
    #[serde(default)]
    pub list: bool,
    /// AID of a load file that is to go, with its instances.
    pub delete: Option<String>,
    /// To whom.
    pub to: PushTo,
    /// When.
    #[serde(default)]
    pub when: When,
}

/// A target as people name it.
enum To {
    Lock(Named),
    Phone(Named),
    Group(String),
    System(String),
}

/// What, before the store was asked.
enum What {
    Application(String, Option<Version>),
    List,
    Delete(Aid),
}

fn read(body: PushBody) -> Result<(What, To), ApiError> {
    let what = match (body.application, body.list, body.delete) {
        (Some(name), false, None) => {
            let version = body.version.as_deref().map(|text| value("version", text)).transpose()?;
            What::Application(name, version)
        }
        (None, true, None) => What::List,
        (None, false, Some(aid)) => What::Delete(value("delete", &aid)?),
        _ => return Err(ApiError::malformed("push one of application, list, delete")),
    };
    let to = match body.to {
        PushTo::Lock(text) => To::Lock(named(&text, IdentifierKind::OF_LOCKS)?),
        PushTo::Phone(text) => To::Phone(named(&text, IdentifierKind::OF_PHONES)?),
        PushTo::Group(name) => To::Group(name),
        PushTo::System(name) => To::System(name),
    };
    Ok((what, to))
}

/// The chips that are meant. `half`: for groups and systems, whether their locks or their phones are.
fn chips(store: &mut dyn Store, to: &To, half: Half, now: u64) -> Judged<Vec<ChipRef>> {
    let chosen: Box<dyn Fn(&Lock) -> bool> = match to {
        To::Lock(name) => {
            return Ok(find_lock(store, name)?.map(|lock| vec![ChipRef::Lock(lock.id)]));
        }
        To::Phone(name) => {
            return Ok(find_phone(store, name)?.map(|phone| vec![ChipRef::Phone(phone.id)]));
        }
        To::Group(name) => Box::new(move |lock: &Lock| lock.groups.contains(name)),
        To::System(name) => Box::new(move |lock: &Lock| lock.system == *name),
    };
    let locks: Vec<Lock> = store.locks()?.into_iter().filter(|lock| !lock.revoked && chosen(lock)).collect();
    if half == Half::Lock {
        return Ok(Ok(locks.iter().map(|lock| ChipRef::Lock(lock.id)).collect()));
    }
    let mut phones = Vec::new();
    for phone in store.phones()?.into_iter().filter(|phone| !phone.revoked) {
        for lock in &locks {
            if entitled(store, phone.id, lock, now)?.is_some() {
                phones.push(ChipRef::Phone(phone.id));
                break;
            }
        }
    }
    Ok(Ok(phones))
}

fn push_all(store: &mut dyn Store, what: &What, to: &To, when: When, now: u64) -> Judged<Vec<(ChipRef, JobId)>> {
    let refused = |code, message: String| Ok(Err(ApiError::new(StatusCode::CONFLICT, code, message)));
    let (kind, half) = match what {
        What::Application(name, version) => match store.application(name, *version)? {
            Some(application) => (
                JobKind::Install {
                    application: application.name,
                    version: application.version.to_string(),
                },
                Some(application.half),
            ),
            None => return refused("no-application", format!("no such version of \"{name}\" was uploaded")),
        },
        What::List => (JobKind::List {}, Some(Half::Lock)),
        What::Delete(aid) => (JobKind::Delete { elf: aid.to_string() }, None),
    };
    let mut chosen = Vec::new();
    // Without a half of its own, a deletion to a group goes to its locks and phones.
    for half in half.map_or(vec![Half::Lock, Half::Phone], |half| vec![half]) {
        for chip in sure!(chips(store, to, half, now)?) {
            if !chosen.contains(&chip) {
                chosen.push(chip);
            }
        }
    }
    let mut jobs = Vec::new();
    for chip in chosen {
        let is = if matches!(chip, ChipRef::Lock(_)) {
            Half::Lock
        } else {
            Half::Phone
        };
        if half.is_some_and(|half| half != is) {
            return refused("wrong-half", "this is not for this kind of chip".into());
        }
        let order = NewJob {
            chip,
            kind: kind.clone(),
            urgent: false,
            window: when == When::Window && is == Half::Lock,
            requester: None,
        };
        jobs.push((chip, store.add_job(&order, now)?));
    }
    Ok(Ok(jobs))
}

/// Makes jobs.
///
/// # Errors
/// 404 `unknown-lock`, `unknown-phone`; 409 `no-application`, `wrong-half`.
#[utoipa::path(post, operation_id = "push", path = "/v1/push", tag = "administration", request_body = PushBody, security(("token" = [])),
    responses((status = 200, description = "Done", body = Jobs), (status = 404, description = "Unknown", body = crate::error::ErrorBody), (status = 409, description = "Conflict", body = crate::error::ErrorBody)))]
pub async fn push(State(state): State<Shared>, request: Request) -> Result<Json<Jobs>, ApiError> {
    let body: PushBody = json(&state, request, state.limits.body).await?;
    let (when, now) = (body.when, state.clock.now());
    let (what, to) = read(body)?;
    let jobs = state.db.call(move |store| push_all(store, &what, &to, when, now)).await??;
    for (chip, job) in &jobs {
        tracing::info!(job, agent = %chip, ?when, "pushed");
        state.hub.ring(*chip);
    }
    Ok(Json(Jobs {
        jobs: jobs.into_iter().map(|(_, job)| job).collect(),
    }))
}

/// Which jobs.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct Which {
    /// In this state.
    pub state: Option<JobState>,
    /// Of this lock.
    pub lock: Option<String>,
    /// Of this phone.
    pub phone: Option<String>,
    /// At most so many; 100 if left out, 1000 at most.
    pub limit: Option<u32>,
}

/// A job as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct JobView {
    /// Its number.
    pub id: JobId,
    /// `phone/<id>` or `lock/<id>`.
    pub chip: String,
    /// What it does.
    #[schema(value_type = Object)]
    pub kind: JobKind,
    /// Where it stands.
    pub state: JobState,
    /// A tap waits for it.
    pub urgent: bool,
    /// Only in the maintenance window.
    pub window: bool,
    /// How often it was begun.
    pub attempts: u32,
    /// RFC 3339.
    pub created: String,
    /// RFC 3339.
    pub updated: String,
    /// How long it ran.
    pub ms: u64,
    /// Why it failed, for programs.
    pub code: Option<String>,
    /// The same for people.
    pub message: Option<String>,
    /// What happened to it; only when one job is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<EventView>,
}

/// A line of a job's history.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EventView {
    /// RFC 3339.
    pub at: String,
    /// The state it came into.
    pub state: JobState,
    /// More about it.
    pub detail: String,
}

fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    time.map(|t| t.to_string()).unwrap_or_default()
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        Self {
            id: job.id,
            chip: job.order.chip.whole(),
            kind: job.order.kind,
            state: job.state,
            urgent: job.order.urgent,
            window: job.order.window,
            attempts: job.attempts,
            created: time(job.created),
            updated: time(job.updated),
            ms: job.ms,
            code: job.code,
            message: job.message,
            history: Vec::new(),
        }
    }
}

/// The latest jobs, newest first.
///
/// # Errors
/// 404 `unknown-lock`, `unknown-phone`.
#[utoipa::path(get, operation_id = "listJobs", path = "/v1/jobs", tag = "administration", params(Which), security(("token" = [])), responses((status = 200, description = "Done", body = [JobView])))]
pub async fn list(State(state): State<Shared>, Query(which): Query<Which>) -> Result<Json<Vec<JobView>>, ApiError> {
    let to = match (&which.lock, &which.phone) {
        (None, None) => None,
        (Some(lock), None) => Some(To::Lock(named(lock, IdentifierKind::OF_LOCKS)?)),
        (None, Some(phone)) => Some(To::Phone(named(phone, IdentifierKind::OF_PHONES)?)),
        (Some(_), Some(_)) => return Err(ApiError::malformed("name a lock or a phone, not both")),
    };
    let jobs = state
        .db
        .call(move |store| {
            let chip = match &to {
                Some(to) => sure!(chips(store, to, Half::Lock, 0)?).first().copied(),
                None => None,
            };
            let limit = which.limit.unwrap_or(100).min(1000);
            Ok(Ok(store.jobs(chip, which.state, limit)?))
        })
        .await??;
    Ok(Json(jobs.into_iter().map(JobView::from).collect()))
}

/// One job with its history.
///
/// # Errors
/// 404 `not-found`.
#[utoipa::path(get, operation_id = "getJob", path = "/v1/jobs/{job}", tag = "administration", params(("job" = i64, Path)), security(("token" = [])),
    responses((status = 200, description = "Done", body = JobView), (status = 404, description = "Unknown", body = crate::error::ErrorBody)))]
pub async fn one(State(state): State<Shared>, Path(id): Path<String>) -> Result<Json<JobView>, ApiError> {
    let missing = || ApiError::not_found("no such job");
    let id: JobId = id.parse().map_err(|_| missing())?;
    let found = state
        .db
        .call(move |store| -> store::Result<_> { Ok((store.job(id)?, store.history(id)?)) })
        .await?;
    let (Some(job), history) = found else {
        return Err(missing());
    };
    let mut view = JobView::from(job);
    view.history = history
        .into_iter()
        .map(|event| EventView {
            at: time(event.at),
            state: event.state,
            detail: event.detail,
        })
        .collect();
    Ok(Json(view))
}

/// How the server does.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Status {
    /// Locks in service.
    pub locks: u64,
    /// Phones in service.
    pub phones: u64,
    /// Grants.
    pub grants: u64,
    /// Versions of applications.
    pub applications: u64,
    /// Jobs by state.
    pub jobs: JobCounts,
    /// Agents that are there.
    pub connected: Connected,
    /// What the store has done.
    pub store: StoreWork,
    /// Downloads under way.
    pub downloads: usize,
    /// Seconds since the start.
    pub uptime: u64,
}

/// Jobs by state.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct JobCounts {
    /// To be done.
    pub queued: u64,
    /// Under way.
    pub running: u64,
    /// Done.
    pub done: u64,
    /// Given up.
    pub failed: u64,
}

/// What the store has done since the start.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct StoreWork {
    /// Transactions.
    pub transactions: u64,
    /// How long they took together, their way to the disk included, in milliseconds.
    pub ms: f64,
}

/// Agents that are there.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Connected {
    /// Of phones.
    pub phones: usize,
    /// Of locks.
    pub locks: usize,
}

/// Counts.
///
/// # Errors
/// [`ApiError`].
#[utoipa::path(get, operation_id = "status", path = "/v1/status", tag = "administration", security(("token" = [])), responses((status = 200, description = "Done", body = Status)))]
pub async fn status(State(state): State<Shared>) -> Result<Json<Status>, ApiError> {
    let counts = state.db.call(|store| store.counts()).await?;
    let [queued, running, done, failed] = counts.jobs;
    let (phones, locks) = state.hub.agents();
    let (transactions, took) = state.db.transactions();
    Ok(Json(Status {
        locks: counts.locks,
        phones: counts.phones,
        grants: counts.grants,
        applications: counts.applications,
        jobs: JobCounts {
            queued,
            running,
            done,
            failed,
        },
        connected: Connected { phones, locks },
        store: StoreWork {
            transactions,
            ms: took.as_secs_f64() * 1e3,
        },
        downloads: state.limits.downloads - state.downloads.available_permits(),
        uptime: state.started.elapsed().as_secs(),
    }))
}
