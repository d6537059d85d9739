//! Phones.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tapdoor_protocol::ids::PhoneId;

use super::chips::{ChipKeysBody, merge, random_id, seal, shown};
use super::{Show, find_phone, identifiers, json, named, value};
use crate::error::ApiError;
use crate::registry::{ChipRef, Identifier, IdentifierKind, JobKind, NewJob, Phone};
use crate::seal::SealedKeys;
use crate::state::Shared;

/// A phone to be added or changed. Fields that are left out stay as they are.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PhoneBody {
    /// 16 hexadecimal digits; made up if left out. Cannot be changed.
    pub id: Option<String>,
    /// Of the phone.
    pub imei: Option<String>,
    /// Of its chip.
    pub iccid: Option<String>,
    /// Of its subscription.
    pub imsi: Option<String>,
    /// Its number.
    pub msisdn: Option<String>,
    /// Whether its application claims that the user was authenticated.
    pub user_authenticated: Option<bool>,
    /// Its chip's keys.
    pub chip: Option<ChipKeysBody>,
    /// Out of service.
    pub revoked: Option<bool>,
}

/// A phone as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PhoneView {
    /// 16 hexadecimal digits.
    pub id: String,
    /// By kind; masked unless asked for.
    pub identifiers: BTreeMap<&'static str, String>,
    /// Whether its application claims that the user was authenticated.
    pub user_authenticated: bool,
    /// Whether the server has keys of its chip.
    pub chip: bool,
    /// Out of service.
    pub revoked: bool,
    /// Whether its agent is there.
    pub connected: bool,
}

fn phone_view(state: &Shared, phone: &Phone, show: Show) -> PhoneView {
    PhoneView {
        id: phone.id.to_string(),
        identifiers: shown(&phone.identifiers, show),
        user_authenticated: phone.user_authenticated,
        chip: phone.chip.is_some(),
        revoked: phone.revoked,
        connected: state.hub.is_present(ChipRef::Phone(phone.id)),
    }
}

struct PhoneChange {
    identifiers: Vec<Identifier>,
    chip: Option<SealedKeys>,
    user_authenticated: Option<bool>,
    revoked: Option<bool>,
}

impl PhoneChange {
    fn read(state: &Shared, id: PhoneId, body: &PhoneBody) -> Result<Self, ApiError> {
        Ok(Self {
            identifiers: identifiers(&[
                (IdentifierKind::Imei, body.imei.as_deref()),
                (IdentifierKind::Iccid, body.iccid.as_deref()),
                (IdentifierKind::Imsi, body.imsi.as_deref()),
                (IdentifierKind::Msisdn, body.msisdn.as_deref()),
            ])?,
            chip: seal(state, ChipRef::Phone(id), body.chip.as_ref())?,
            user_authenticated: body.user_authenticated,
            revoked: body.revoked,
        })
    }

    fn apply(self, phone: &mut Phone) {
        merge(&mut phone.identifiers, self.identifiers);
        phone.chip = self.chip.or(phone.chip.take());
        phone.user_authenticated = self.user_authenticated.unwrap_or(phone.user_authenticated);
        phone.revoked = self.revoked.unwrap_or(phone.revoked);
    }
}

/// All phones.
///
/// # Errors
/// As above.
#[utoipa::path(get, operation_id = "listPhones", path = "/v1/phones", tag = "administration", params(Show), security(("token" = [])), responses((status = 200, description = "Done", body = [PhoneView])))]
pub async fn list(State(state): State<Shared>, show: Query<Show>) -> Result<Json<Vec<PhoneView>>, ApiError> {
    let phones = state.db.call(|store| store.phones()).await?;
    Ok(Json(phones.iter().map(|phone| phone_view(&state, phone, *show)).collect()))
}

/// Registers a phone.
///
/// # Errors
/// 409 `conflict` if it is there or an identifier is taken.
#[utoipa::path(post, operation_id = "addPhone", path = "/v1/phones", tag = "administration", request_body = PhoneBody, security(("token" = [])),
    responses((status = 201, description = "Added", body = PhoneView), (status = 400, description = "Malformed", body = crate::error::ErrorBody), (status = 409, description = "Conflict", body = crate::error::ErrorBody)))]
pub async fn add(State(state): State<Shared>, request: Request) -> Result<(StatusCode, Json<PhoneView>), ApiError> {
    let body: PhoneBody = json(&state, request, state.limits.body).await?;
    let id = match &body.id {
        Some(text) => value("id", text)?,
        None => PhoneId(random_id()?),
    };
    let mut phone = Phone {
        id,
        identifiers: Vec::new(),
        user_authenticated: false,
        chip: None,
        revoked: false,
    };
    PhoneChange::read(&state, id, &body)?.apply(&mut phone);
    let phone = state
        .db
        .call(move |store| {
            if store.phone(id)?.is_some() {
                return Ok(Err(ApiError::new(
                    StatusCode::CONFLICT,
                    "conflict",
                    "this phone is registered already",
                )));
            }
            store.put_phone(&phone)?;
            Ok(Ok(phone))
        })
        .await??;
    tracing::info!(phone = phone.id.masked(), "phone registered");
    Ok((StatusCode::CREATED, Json(phone_view(&state, &phone, Show { identities: true }))))
}

/// Changes a phone.
///
/// # Errors
/// 404 `unknown-phone`, 409 `conflict`.
#[utoipa::path(patch, operation_id = "changePhone", path = "/v1/phones/{phone}", tag = "administration", request_body = PhoneBody, security(("token" = [])),
    params(("phone" = String, Path, description = "16 hexadecimal digits, or KIND:VALUE")),
    responses((status = 200, description = "Done", body = PhoneView), (status = 404, description = "Unknown", body = crate::error::ErrorBody)))]
pub async fn change(State(state): State<Shared>, Path(text): Path<String>, request: Request) -> Result<Json<PhoneView>, ApiError> {
    let body: PhoneBody = json(&state, request, state.limits.body).await?;
    if body.id.is_some() {
        return Err(ApiError::malformed("id: cannot be changed; register another phone"));
    }
    apply(&state, &text, body).await
}

/// Takes a phone out of service, and off the lists of the locks that it could open.
///
/// # Errors
/// 404 `unknown-phone`.
#[utoipa::path(delete, operation_id = "revokePhone", path = "/v1/phones/{phone}", tag = "administration", security(("token" = [])),
    params(("phone" = String, Path, description = "16 hexadecimal digits, or KIND:VALUE")),
    responses((status = 200, description = "Done", body = PhoneView), (status = 404, description = "Unknown", body = crate::error::ErrorBody)))]
pub async fn revoke(State(state): State<Shared>, Path(text): Path<String>) -> Result<Json<PhoneView>, ApiError> {
    let body = PhoneBody {
        revoked: Some(true),
        ..PhoneBody::default()
    };
    apply(&state, &text, body).await
}

async fn apply(state: &Shared, text: &str, body: PhoneBody) -> Result<Json<PhoneView>, ApiError> {
    let name = named(text, IdentifierKind::OF_PHONES)?;
    let id = state.db.call(move |store| find_phone(store, &name)).await??.id;
    let change = PhoneChange::read(state, id, &body)?;
    let now = state.clock.now();
    let (phone, locks) = state
        .db
        .call(move |store| {
            let Some(mut phone) = store.phone(id)? else {
                return Ok(Err(ApiError::not_found("no such phone")));
            };
            let was = phone.revoked;
            change.apply(&mut phone);
            store.put_phone(&phone)?;
            let mut locks = Vec::new();
            if was != phone.revoked {
                for grant in store.grants(Some(id))? {
                    for lock in crate::jobs::locks_of(store, &grant.target)? {
                        if store.lock(lock)?.is_some_and(|lock| lock.chip.is_some()) {
                            let order = NewJob {
                                chip: ChipRef::Lock(lock),
                                kind: JobKind::Entry { phone: id.to_string() },
                                urgent: false,
                                window: false,
                                requester: None,
                            };
                            store.add_job(&order, now)?;
                            locks.push(lock);
                        }
                    }
                }
            }
            Ok(Ok((phone, locks)))
        })
        .await??;
    for lock in locks {
        state.hub.ring(ChipRef::Lock(lock));
    }
    tracing::info!(phone = phone.id.masked(), revoked = phone.revoked, "phone changed");
    Ok(Json(phone_view(state, &phone, Show::default())))
}
