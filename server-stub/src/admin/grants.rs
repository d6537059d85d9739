//! Grants: who may open what. Giving and taking back makes jobs for the locks concerned.

use axum::Json;
use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_protocol::vault::Method;

use super::{Judged, Named, find_lock, find_phone, json, named, sure};
use crate::error::ApiError;
use crate::jobs::locks_of;
use crate::registry::{ChipRef, Grant, GrantTarget, IdentifierKind, JobId, JobKind, NewJob};
use crate::state::Shared;
use crate::store::{self, Store};

/// A grant to be given.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantBody {
    /// 16 hexadecimal digits, or KIND:VALUE.
    pub phone: String,
    /// A lock, named so; or `group`.
    pub lock: Option<String>,
    /// A group of locks; or `lock`.
    pub group: Option<String>,
    /// RFC 3339; never ends if left out.
    pub until: Option<String>,
    /// challenge-response (if left out), aka or aliro.
    pub weakest: Option<String>,
    /// The user must be authenticated on the phone.
    #[serde(default)]
    pub user_authenticated: bool,
}

/// Grants to be taken back: one, or all of a phone.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeBody {
    /// 16 hexadecimal digits, or KIND:VALUE.
    pub phone: String,
    /// A lock, named so.
    pub lock: Option<String>,
    /// A group of locks.
    pub group: Option<String>,
}

/// A grant as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct GrantView {
    /// The phone's identifier.
    pub phone: String,
    /// The lock, for a grant to one.
    pub lock: Option<String>,
    /// The group, for a grant to one.
    pub group: Option<String>,
    /// RFC 3339; none: never ends.
    pub until: Option<String>,
    /// The weakest method.
    pub weakest: &'static str,
    /// The user must be authenticated.
    pub user_authenticated: bool,
    /// Whether it opens now.
    pub good: bool,
    /// Taken back.
    pub revoked: bool,
}

/// What giving or taking back set going.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Jobs {
    /// Their numbers.
    pub jobs: Vec<JobId>,
}

impl GrantView {
    fn new(grant: &Grant, now: u64) -> Self {
        let (lock, group) = match &grant.target {
            GrantTarget::Lock(id) => (Some(id.to_string()), None),
            GrantTarget::Group(name) => (None, Some(name.clone())),
        };
        let until = (grant.not_after != 0).then(|| jiff::Timestamp::from_second(i64::from(grant.not_after)).ok());
        Self {
            phone: grant.phone.to_string(),
            lock,
            group,
            until: until.flatten().map(|t| t.to_string()),
            weakest: grant.weakest.name(),
            user_authenticated: grant.flags & 1 != 0,
            good: grant.is_good(now),
            revoked: grant.revoked,
        }
    }
}

/// A target as people name it.
enum Target {
    Lock(Named),
    Group(String),
}

fn target(lock: Option<&str>, group: Option<String>) -> Result<Option<Target>, ApiError> {
    match (lock, group) {
        (None, None) => Ok(None),
        (Some(lock), None) => Ok(Some(Target::Lock(named(lock, IdentifierKind::OF_LOCKS)?))),
        (None, Some(group)) => Ok(Some(Target::Group(group))),
        (Some(_), Some(_)) => Err(ApiError::malformed("name a lock or a group, not both")),
    }
}

impl Target {
    fn find(&self, store: &mut dyn Store) -> Judged<GrantTarget> {
        Ok(match self {
            Self::Lock(name) => find_lock(store, name)?.map(|lock| GrantTarget::Lock(lock.id)),
            Self::Group(name) => Ok(GrantTarget::Group(name.clone())),
        })
    }
}

/// Jobs that bring a phone's entry up to date on the lists that a grant concerns; for locks whose chips can be administered.
fn entries(store: &mut dyn Store, phone: PhoneId, target: &GrantTarget, now: u64) -> store::Result<Vec<(LockId, JobId)>> {
    let mut jobs = Vec::new();
    for lock in locks_of(store, target)? {
        if store.lock(lock)?.is_some_and(|lock| lock.chip.is_some()) {
            let order = NewJob {
                chip: ChipRef::Lock(lock),
                kind: JobKind::Entry { phone: phone.to_string() },
                urgent: false,
                window: false,
                requester: None,
            };
            jobs.push((lock, store.add_job(&order, now)?));
        }
    }
    Ok(jobs)
}

fn ring(state: &Shared, jobs: &[(LockId, JobId)]) -> Jobs {
    for (lock, _) in jobs {
        state.hub.ring(ChipRef::Lock(*lock));
    }
    Jobs {
        jobs: jobs.iter().map(|(_, job)| *job).collect(),
    }
}

/// All grants.
///
/// # Errors
/// [`ApiError`].
#[utoipa::path(get, operation_id = "listGrants", path = "/v1/grants", tag = "administration", security(("token" = [])), responses((status = 200, description = "Done", body = [GrantView])))]
pub async fn list(State(state): State<Shared>) -> Result<Json<Vec<GrantView>>, ApiError> {
    let now = state.clock.now();
    let grants = state.db.call(|store| store.grants(None)).await?;
    Ok(Json(grants.iter().map(|grant| GrantView::new(grant, now)).collect()))
}

/// Gives a grant, or changes the one that is there.
///
/// # Errors
/// 404 `unknown-phone`, `unknown-lock`.
#[utoipa::path(post, operation_id = "grant", path = "/v1/grants", tag = "administration", request_body = GrantBody, security(("token" = [])),
    responses((status = 200, description = "Done", body = Jobs), (status = 404, description = "Unknown", body = crate::error::ErrorBody)))]
pub async fn grant(State(state): State<Shared>, request: Request) -> Result<Json<Jobs>, ApiError> {
    let body: GrantBody = json(&state, request, state.limits.body).await?;
    let phone = named(&body.phone, IdentifierKind::OF_PHONES)?;
    let target = target(body.lock.as_deref(), body.group)?.ok_or_else(|| ApiError::malformed("name a lock or a group"))?;
    let not_after = match &body.until {
        None => 0,
        Some(text) => text
            .parse::<jiff::Timestamp>()
            .ok()
            .and_then(|t| u32::try_from(t.as_second()).ok())
            .ok_or_else(|| ApiError::malformed("until: a time between 1970 and 2106 as 2027-01-31T12:00:00Z"))?,
    };
    let weakest = match body.weakest.as_deref() {
        None => Method::ChallengeResponse,
        Some(word) => [Method::ChallengeResponse, Method::Aka, Method::Aliro]
            .into_iter()
            .find(|method| method.name() == word)
            .ok_or_else(|| ApiError::malformed("weakest: one of challenge-response, aka, aliro"))?,
    };
    let (flags, now) = (u8::from(body.user_authenticated), state.clock.now());
    let (grant, jobs) = state
        .db
        .call(move |store| {
            let phone = sure!(find_phone(store, &phone)?).id;
            let grant = Grant {
                phone,
                target: sure!(target.find(store)?),
                not_after,
                weakest,
                flags,
                revoked: false,
            };
            store.put_grant(&grant)?;
            let jobs = entries(store, phone, &grant.target, now)?;
            Ok(Ok((grant, jobs)))
        })
        .await??;
    tracing::info!(phone = grant.phone.masked(), to = %grant.target, until = grant.not_after, "granted");
    Ok(Json(ring(&state, &jobs)))
}

/// Takes grants back. The phone leaves the lists of the locks concerned when their agents are there next.
///
/// # Errors
/// 404 `unknown-phone`, `unknown-lock`, `no-grant`.
#[utoipa::path(post, operation_id = "revokeGrant", path = "/v1/revoke", tag = "administration", request_body = RevokeBody, security(("token" = [])),
    responses((status = 200, description = "Done", body = Jobs), (status = 404, description = "Unknown", body = crate::error::ErrorBody)))]
pub async fn revoke(State(state): State<Shared>, request: Request) -> Result<Json<Jobs>, ApiError> {
    let body: RevokeBody = json(&state, request, state.limits.body).await?;
    let phone = named(&body.phone, IdentifierKind::OF_PHONES)?;
    let target = target(body.lock.as_deref(), body.group)?;
    let now = state.clock.now();
    let (phone, jobs) = state
        .db
        .call(move |store| {
            let phone = sure!(find_phone(store, &phone)?).id;
            let only = match &target {
                Some(target) => Some(sure!(target.find(store)?)),
                None => None,
            };
            let mut jobs = Vec::new();
            let mut found = false;
            for mut grant in store.grants(Some(phone))? {
                if grant.revoked || only.as_ref().is_some_and(|only| *only != grant.target) {
                    continue;
                }
                found = true;
                grant.revoked = true;
                store.put_grant(&grant)?;
                jobs.extend(entries(store, phone, &grant.target, now)?);
            }
            if !found {
                return Ok(Err(ApiError::new(
                    axum::http::StatusCode::NOT_FOUND,
                    "no-grant",
                    "there is no such grant to take back",
                )));
            }
            jobs.sort_unstable();
            jobs.dedup();
            Ok(Ok((phone, jobs)))
        })
        .await??;
    tracing::info!(phone = phone.masked(), "revoked");
    Ok(Json(ring(&state, &jobs)))
}
