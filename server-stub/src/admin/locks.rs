//! Locks.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tapdoor_protocol::ids::LockId;

use super::chips::{ChipKeysBody, merge, random_id, seal, shown};
use super::{Show, find_lock, hex_bytes, identifiers, json, named, sure, value};
use crate::config::DOOR;
use crate::error::ApiError;
use crate::registry::{ChipRef, Identifier, IdentifierKind, Lock};
use crate::seal::SealedKeys;
use crate::state::Shared;

/// A lock to be added or changed. Fields that are left out stay as they are.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LockBody {
    /// 16 hexadecimal digits; made up if left out. Cannot be changed.
    pub id: Option<String>,
    /// P-256, SEC1, hexadecimal.
    pub public_key: Option<String>,
    /// Network address.
    pub mac: Option<String>,
    /// Of its chip.
    pub iccid: Option<String>,
    /// Of its subscription.
    pub imsi: Option<String>,
    /// Its number.
    pub msisdn: Option<String>,
    /// "door" if left out.
    pub system: Option<String>,
    /// Groups it is in.
    pub groups: Option<Vec<String>>,
    /// `HH:MM-HH:MM`, UTC; empty for none.
    pub window: Option<String>,
    /// Its chip's keys.
    pub chip: Option<ChipKeysBody>,
    /// Out of service.
    pub revoked: Option<bool>,
}

/// A lock as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LockView {
    /// 16 hexadecimal digits.
    pub id: String,
    /// By kind; masked unless asked for.
    pub identifiers: BTreeMap<&'static str, String>,
    /// P-256, SEC1, hexadecimal.
    pub public_key: Option<String>,
    /// Its system.
    pub system: String,
    /// Its groups.
    pub groups: Vec<String>,
    /// Its maintenance window.
    pub window: Option<String>,
    /// Whether the server has keys of its chip.
    pub chip: bool,
    /// Out of service.
    pub revoked: bool,
    /// Whether its agent is there.
    pub connected: bool,
}

fn lock_view(state: &Shared, lock: &Lock, show: Show) -> LockView {
    LockView {
        id: lock.id.to_string(),
        identifiers: shown(&lock.identifiers, show),
        public_key: lock.public_key.as_ref().map(hex::encode),
        system: lock.system.clone(),
        groups: lock.groups.clone(),
        window: lock.window.map(|w| w.to_string()),
        chip: lock.chip.is_some(),
        revoked: lock.revoked,
        connected: state.hub.is_present(ChipRef::Lock(lock.id)),
    }
}

/// What a body changes.
struct LockChange {
    body: LockBody,
    identifiers: Vec<Identifier>,
    public_key: Option<Vec<u8>>,
    chip: Option<SealedKeys>,
}

impl LockChange {
    fn read(state: &Shared, id: LockId, body: LockBody) -> Result<Self, ApiError> {
        let public_key = body.public_key.as_deref().map(|text| hex_bytes("public_key", text)).transpose()?;
        if public_key.as_deref().is_some_and(|key| !crate::config::is_public_key(key)) {
            return Err(ApiError::malformed(
                "public_key: a P-256 public key in SEC1 form has 33 bytes from 02 or 03, or 65 from 04",
            ));
        }
        Ok(Self {
            identifiers: identifiers(&[
                (IdentifierKind::Mac, body.mac.as_deref()),
                (IdentifierKind::Iccid, body.iccid.as_deref()),
                (IdentifierKind::Imsi, body.imsi.as_deref()),
                (IdentifierKind::Msisdn, body.msisdn.as_deref()),
            ])?,
            public_key,
            chip: seal(state, ChipRef::Lock(id), body.chip.as_ref())?,
            body,
        })
    }

    fn apply(self, lock: &mut Lock) -> Result<(), ApiError> {
        merge(&mut lock.identifiers, self.identifiers);
        match self.body.window.as_deref() {
            Some("") => lock.window = None,
            Some(text) => lock.window = Some(value("window", text)?),
            None => {}
        }
        lock.public_key = self.public_key.or(lock.public_key.take());
        lock.chip = self.chip.or(lock.chip.take());
        if let Some(system) = self.body.system {
            lock.system = system;
        }
        if let Some(groups) = self.body.groups {
            lock.groups = groups;
        }
        lock.revoked = self.body.revoked.unwrap_or(lock.revoked);
        Ok(())
    }
}

/// All locks.
///
/// # Errors
/// [`ApiError`], as in all handlers here.
#[utoipa::path(get, operation_id = "listLocks", path = "/v1/locks", tag = "administration", params(Show), security(("token" = [])), responses((status = 200, description = "Done", body = [LockView])))]
pub async fn list(State(state): State<Shared>, show: Query<Show>) -> Result<Json<Vec<LockView>>, ApiError> {
    let locks = state.db.call(|store| store.locks()).await?;
    Ok(Json(locks.iter().map(|lock| lock_view(&state, lock, *show)).collect()))
}

/// Registers a lock.
///
/// # Errors
/// 409 `conflict` if it is there or an identifier is taken.
#[utoipa::path(post, operation_id = "addLock", path = "/v1/locks", tag = "administration", request_body = LockBody, security(("token" = [])),
    responses((status = 201, description = "Added", body = LockView), (status = 400, description = "Malformed", body = crate::error::ErrorBody), (status = 409, description = "Conflict", body = crate::error::ErrorBody)))]
pub async fn add(State(state): State<Shared>, request: Request) -> Result<(StatusCode, Json<LockView>), ApiError> {
    let body: LockBody = json(&state, request, state.limits.body).await?;
    let id = match &body.id {
        Some(text) => value("id", text)?,
        None => LockId(random_id()?),
    };
    let mut lock = Lock {
        id,
        public_key: None,
        identifiers: Vec::new(),
        system: DOOR.into(),
        groups: Vec::new(),
        window: None,
        chip: None,
        revoked: false,
    };
    LockChange::read(&state, id, body)?.apply(&mut lock)?;
    let lock = state
        .db
        .call(move |store| {
            if store.lock(id)?.is_some() {
                return Ok(Err(ApiError::new(
                    StatusCode::CONFLICT,
                    "conflict",
                    "this lock is registered already",
                )));
            }
            store.put_lock(&lock)?;
            Ok(Ok(lock))
        })
        .await??;
    tracing::info!(lock = %lock.id, system = lock.system, "lock registered");
    Ok((StatusCode::CREATED, Json(lock_view(&state, &lock, Show { identities: true }))))
}

/// Changes a lock.
///
/// # Errors
/// 404 `unknown-lock`, 409 `conflict`.
#[utoipa::path(patch, operation_id = "changeLock", path = "/v1/locks/{lock}", tag = "administration", request_body = LockBody, security(("token" = [])),
    params(("lock" = String, Path, description = "16 hexadecimal digits, or KIND:VALUE")),
    responses((status = 200, description = "Done", body = LockView), (status = 404, description = "Unknown", body = crate::error::ErrorBody)))]
pub async fn change(State(state): State<Shared>, Path(text): Path<String>, request: Request) -> Result<Json<LockView>, ApiError> {
    let body: LockBody = json(&state, request, state.limits.body).await?;
    if body.id.is_some() {
        return Err(ApiError::malformed("id: cannot be changed; register another lock"));
    }
    let name = named(&text, IdentifierKind::OF_LOCKS)?;
    let id = state.db.call(move |store| find_lock(store, &name)).await??.id;
    let change = LockChange::read(&state, id, body)?;
    let lock = state
        .db
        .call(move |store| {
            let Some(mut lock) = store.lock(id)? else {
                return Ok(Err(ApiError::not_found("no such lock")));
            };
            sure!(change.apply(&mut lock));
            store.put_lock(&lock)?;
            Ok(Ok(lock))
        })
        .await??;
    tracing::info!(lock = %lock.id, revoked = lock.revoked, "lock changed");
    Ok(Json(lock_view(&state, &lock, Show::default())))
}

/// Takes a lock out of service.
///
/// # Errors
/// 404 `unknown-lock`.
#[utoipa::path(delete, operation_id = "revokeLock", path = "/v1/locks/{lock}", tag = "administration", security(("token" = [])),
    params(("lock" = String, Path, description = "16 hexadecimal digits, or KIND:VALUE")),
    responses((status = 200, description = "Done", body = LockView), (status = 404, description = "Unknown", body = crate::error::ErrorBody)))]
pub async fn revoke(State(state): State<Shared>, Path(text): Path<String>) -> Result<Json<LockView>, ApiError> {
    let name = named(&text, IdentifierKind::OF_LOCKS)?;
    let lock = state
        .db
        .call(move |store| {
            let mut lock = sure!(find_lock(store, &name)?);
            lock.revoked = true;
            store.put_lock(&lock)?;
            Ok(Ok(lock))
        })
        .await??;
    tracing::info!(lock = %lock.id, "lock revoked");
    Ok(Json(lock_view(&state, &lock, Show::default())))
}
