//! The administration API: everything that people register, grant, push and look at. Bearer token; JSON.
//!
//! Identifiers are shown masked unless `?identities=true` asks for them; keys are never shown.

pub mod applications;
pub mod chips;
pub mod grants;
pub mod jobs;
pub mod locks;
pub mod phones;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tapdoor_protocol::crypto;
use tapdoor_protocol::ids::{LockId, PhoneId};

use crate::error::ApiError;
use crate::registry::{Identifier, IdentifierKind, Lock, Phone};
use crate::serve::{body, is_json};
use crate::state::Shared;
use crate::store::{self, Store};

/// The routes that want the token.
pub(crate) fn routes(state: Shared) -> Router<Shared> {
    Router::new()
        .route("/v1/locks", get(locks::list).post(locks::add))
        .route("/v1/locks/{lock}", patch(locks::change).delete(locks::revoke))
        .route("/v1/phones", get(phones::list).post(phones::add))
        .route("/v1/phones/{phone}", patch(phones::change).delete(phones::revoke))
        .route("/v1/grants", get(grants::list).post(grants::grant))
        .route("/v1/revoke", post(grants::revoke))
        .route("/v1/systems", get(applications::systems).post(applications::put_system))
        .route("/v1/providers", post(applications::put_provider))
        .route("/v1/applications", get(applications::list).post(applications::add))
        .route("/v1/push", post(jobs::push))
        .route("/v1/jobs", get(jobs::list))
        .route("/v1/jobs/{job}", get(jobs::one))
        .route("/v1/status", get(jobs::status))
        .route_layer(middleware::from_fn_with_state(state, token))
}

/// Is it alive? No token is wanted.
#[utoipa::path(get, path = "/healthz", tag = "administration", responses((status = 200, description = "It is", body = Health)))]
pub async fn healthz(State(state): State<Shared>) -> Result<Json<Health>, ApiError> {
    state.db.call(|store| store.nonce_floor()).await?;
    Ok(Json(Health { status: "ok" }))
}

/// Answer of `/healthz`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Health {
    /// `ok`: the server answers, and so does its store.
    pub status: &'static str,
}

async fn token(State(state): State<Shared>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let refused = match (&state.admin_token, given) {
        (Some(token), Some(given)) if crypto::equal(token.as_bytes(), given.as_bytes()) => return next.run(request).await,
        (None, _) => "the administration API is closed: set `admin-token` in server.toml",
        (Some(_), None) => "give the administration token: Authorization: Bearer ...",
        (Some(_), Some(_)) => "this is not the administration token",
    };
    tracing::warn!(path = request.uri().path(), "administration refused");
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", refused).into_response();
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    response
}

/// A body that is JSON of this shape.
async fn json<T: DeserializeOwned>(state: &Shared, request: Request, limit: usize) -> Result<T, ApiError> {
    let (parts, content) = request.into_parts();
    is_json(&parts.headers)?;
    let content = body(state, content, limit).await?;
    // Says line and column, and quotes field names at most.
    serde_json::from_slice(&content).map_err(|e| ApiError::malformed(format!("JSON: {e}")))
}

/// Whether to show identifiers whole.
#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct Show {
    /// Show identifiers whole.
    pub identities: bool,
}

fn hex_bytes(field: &str, text: &str) -> Result<Vec<u8>, ApiError> {
    hex::decode(text).map_err(|e| ApiError::malformed(format!("{field}: {e}")))
}

fn value<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, ApiError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e: T::Err| ApiError::malformed(format!("{field}: {e}")))
}

fn identifiers(fields: &[(IdentifierKind, Option<&str>)]) -> Result<Vec<Identifier>, ApiError> {
    fields
        .iter()
        .filter_map(|(kind, text)| text.map(|text| Identifier::parse(*kind, text)))
        .collect::<Result<_, _>>()
        .map_err(|e| ApiError::new(StatusCode::BAD_REQUEST, "malformed-identifier", e.to_string()))
}

/// How people name a lock or a phone: 16 hexadecimal digits, `kind:value`, or a value that is right for one of the kinds.
enum Named {
    Id([u8; 8]),
    Any(Vec<Identifier>),
}

fn named(text: &str, kinds: [IdentifierKind; 4]) -> Result<Named, ApiError> {
    let refused = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "malformed-identifier", message);
    if let Ok(id) = text.strip_prefix("id:").unwrap_or(text).parse::<PhoneId>() {
        return Ok(Named::Id(id.0));
    }
    if let Some((word, value)) = text.split_once(':')
        && let Some(kind) = IdentifierKind::from_word(word).filter(|kind| kinds.contains(kind))
    {
        let identifier = Identifier::parse(kind, value).map_err(|e| refused(e.to_string()))?;
        return Ok(Named::Any(vec![identifier]));
    }
    let candidates: Vec<Identifier> = kinds.iter().filter_map(|kind| Identifier::parse(*kind, text).ok()).collect();
    if candidates.is_empty() {
        let words: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
        return Err(refused(format!(
            "this names nothing: give 16 hexadecimal digits, or KIND:VALUE with KIND one of {}",
            words.join(", ")
        )));
    }
    Ok(Named::Any(candidates))
}

/// What a closure in the store gives when the refusal is not the store's.
type Judged<T> = store::Result<Result<T, ApiError>>;

fn find_lock(store: &mut dyn Store, named: &Named) -> Judged<Lock> {
    let lock = match named {
        Named::Id(id) => store.lock(LockId(*id))?,
        Named::Any(candidates) => {
            let mut found = None;
            for candidate in candidates {
                found = found.or(store.lock_by(candidate)?);
            }
            found
        }
    };
    Ok(lock.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "unknown-lock", "no such lock is registered")))
}

fn find_phone(store: &mut dyn Store, named: &Named) -> Judged<Phone> {
    let phone = match named {
        Named::Id(id) => store.phone(PhoneId(*id))?,
        Named::Any(candidates) => {
            let mut found = None;
            for candidate in candidates {
                found = found.or(store.phone_by(candidate)?);
            }
            found
        }
    };
    Ok(phone.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "unknown-phone", "no such phone is registered")))
}

/// `?` for a [`Judged`] inside a closure that gives one.
macro_rules! sure {
    ($judged:expr) => {
        match $judged {
            Ok(value) => value,
            Err(refused) => return Ok(Err(refused)),
        }
    };
}
use sure;
