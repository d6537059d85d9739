//! Over the air: agents and their sessions (GlobalPlatform Amendment B over TLS, scripts of ETSI TS 102 226).
//!
//! ```text
//! POST /v1/admin                    no proof             401, a challenge
//! POST /v1/admin                    with proof           the session begins; as below
//! POST /v1/admin/<token>/<n>        a response script    the next script (200), or
//!                                   or nothing           "nothing to do" (204) after at most `poll`; in both cases with the next URI
//! ```
//!
//! A request is held open until there is a job. Its number says which step it is: the next one is taken, the last one gets the answer that it got
//! before (so a lost answer never does a step twice), any other is refused (409). An unknown token is 404: the agent begins again with a proof.
//! A newer proof replaces the session that was there; what ran in it waits again, and the next session finds out what of it is done already.
//!
//! Everything that must not stop half way runs in a task of its own, so an agent that hangs up interrupts nothing but its own waiting.

mod session;
mod table;

use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::globalplatform::remote_admin::{self as names, AdminFrom, ScriptStatus};

pub use self::session::{Answer, Session};
pub use self::table::{Sessions, reap};
use crate::error::ApiError;
use crate::proof::{ProofError, SCHEME};
use crate::registry::ChipRef;
use crate::serve::body;
use crate::state::Shared;

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Who asks, by the headers alone.
fn from(headers: &HeaderMap) -> Result<ChipRef, ApiError> {
    if text(headers, names::PROTOCOL) != Some(names::PROTOCOL_VALUE) {
        return Err(ApiError::malformed(format!(
            "the header {} is not {}",
            names::PROTOCOL,
            names::PROTOCOL_VALUE
        )));
    }
    let value = text(headers, names::FROM).ok_or_else(|| ApiError::malformed(format!("the header {} is missing", names::FROM)))?;
    match value.parse::<AdminFrom>() {
        Ok(AdminFrom::Phone(id)) => Ok(ChipRef::Phone(id)),
        Ok(AdminFrom::Lock(id)) => Ok(ChipRef::Lock(id)),
        Err(error) => Err(ApiError::malformed(error.to_string())),
    }
}

/// `POST /v1/admin`: an agent comes.
///
/// # Errors
/// 400 `malformed`, 403 `bad-proof`, 503 `too-many-agents`. 401 with a challenge is an answer, not an error.
#[utoipa::path(post, path = "/v1/admin", tag = "agents",
    params(("X-Admin-Protocol" = String, Header, description = "globalplatform-remote-admin/1.0"),
           ("X-Admin-From" = String, Header, description = "//tapdoor/phone/<16 hex> or //tapdoor/lock/<16 hex>"),
           ("Authorization" = Option<String>, Header, description = "Tapdoor-CMAC challenge=\"<32 hex>\", mac=\"<32 hex>\"")),
    responses((status = 200, description = "A command script (ETSI TS 102 226, expanded)", content_type = "application/vnd.globalplatform.card-content-mgt;version=1.0"),
              (status = 204, description = "Nothing to do yet: ask again at X-Admin-Next-URI"),
              (status = 401, description = "A challenge, in WWW-Authenticate"),
              (status = 403, description = "The proof is wrong", body = crate::error::ErrorBody)))]
pub async fn begin(State(state): State<Shared>, request: Request) -> Result<Response, ApiError> {
    let (parts, content) = request.into_parts();
    let chip = from(&parts.headers)?;
    let content = body(&state, content, state.limits.body).await?;
    let Some(proof) = text(&parts.headers, header::AUTHORIZATION.as_str()) else {
        return challenge(&state, chip);
    };
    match state.challenges.check(&state.workshop.secrets, chip, proof, Instant::now()) {
        Ok(()) => {}
        Err(ProofError::Stale) => return challenge(&state, chip),
        Err(ProofError::Malformed) => return Err(ApiError::malformed("the header Authorization is no Tapdoor-CMAC proof")),
        Err(ProofError::Wrong) => {
            tracing::warn!(agent = %chip, "proof wrong");
            return Err(bad_proof());
        }
    }
    if !content.is_empty() {
        return Err(ApiError::malformed("a session begins without a body"));
    }
    // The key of an agent follows from its identifier; whether it is one of ours is in the register.
    let known = state.db.call(move |store| {
        Ok(match chip {
            ChipRef::Phone(id) => store.phone(id)?.is_some_and(|phone| !phone.revoked),
            ChipRef::Lock(id) => store.lock(id)?.is_some_and(|lock| !lock.revoked),
        })
    });
    if !known.await? {
        tracing::warn!(agent = %chip, "agent of a chip that is not registered");
        return Err(bad_proof());
    }
    let session = state.sessions.begin(&state, chip).await?;
    tracing::info!(agent = %chip, "agent connected");
    Ok(respond(&session, session.wait(&state, 0).await?))
}

fn bad_proof() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "bad-proof",
        "the proof is not by an agent that is registered here",
    )
}

fn challenge(state: &Shared, chip: ChipRef) -> Result<Response, ApiError> {
    let challenge = state.challenges.give(chip, Instant::now()).ok_or_else(ApiError::no_random)?;
    let value = HeaderValue::from_str(&format!("{SCHEME} challenge=\"{}\"", hex::encode(challenge))).map_err(|_| ApiError::no_random())?;
    let error = ApiError::new(StatusCode::UNAUTHORIZED, "proof-wanted", "answer the challenge in WWW-Authenticate");
    let mut response = error.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    Ok(response)
}

/// `POST /v1/admin/<token>/<n>`: step n of a session.
///
/// # Errors
/// 404 `unknown-session`, 403 `not-your-session`, 409 `out-of-order`, 415, 400.
#[utoipa::path(post, path = "/v1/admin/{token}/{step}", tag = "agents",
    params(("token" = String, Path, description = "As given in X-Admin-Next-URI"), ("step" = u64, Path, description = "As given there"),
           ("X-Admin-Script-Status" = Option<String>, Header, description = "ok, unknown-application, not-a-security-domain, security-error")),
    request_body(content = Vec<u8>, content_type = "application/vnd.globalplatform.card-content-mgt-response;version=1.0", description = "A response script; empty when no script was given"),
    responses((status = 200, description = "The next command script", content_type = "application/vnd.globalplatform.card-content-mgt;version=1.0"),
              (status = 204, description = "Nothing to do yet: ask again at X-Admin-Next-URI"),
              (status = 404, description = "Begin again with a proof", body = crate::error::ErrorBody),
              (status = 409, description = "Not the next step", body = crate::error::ErrorBody)))]
pub async fn step(
    State(state): State<Shared>,
    Path((token, number)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, content) = request.into_parts();
    let chip = from(&parts.headers)?;
    let unknown = || {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown-session",
            "no such session: begin again with a proof",
        )
    };
    let session = state.sessions.find(&token).ok_or_else(unknown)?;
    if session.chip() != chip {
        tracing::warn!(agent = %chip, session_of = %session.chip(), "an agent used another's session");
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "not-your-session",
            "this session belongs to another agent",
        ));
    }
    let number: u64 = number.parse().map_err(|_| unknown())?;
    // Present while the body comes in, too.
    let _present = state.hub.present(chip);
    let content = body(&state, content, state.limits.body).await?;
    let status = script_status(&parts.headers, &content)?;
    if let Some(answer) = session.answered(number)? {
        return Ok(respond(&session, answer));
    }
    session.take(&state, number, status, content)?;
    Ok(respond(&session, session.wait(&state, number).await?))
}

fn script_status(headers: &HeaderMap, content: &Bytes) -> Result<ScriptStatus, ApiError> {
    let status = match text(headers, names::SCRIPT_STATUS) {
        Some(word) => ScriptStatus::parse(word)
            .ok_or_else(|| ApiError::malformed(format!("the header {} has an unknown value", names::SCRIPT_STATUS)))?,
        None if content.is_empty() => ScriptStatus::Ok,
        None => return Err(ApiError::malformed(format!("the header {} is missing", names::SCRIPT_STATUS))),
    };
    let content_type = text(headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    if !content.is_empty() && !names::is_content_type(content_type, names::RESPONSES) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            format!("a response script has the content type {}", names::RESPONSES),
        ));
    }
    Ok(status)
}

/// An answer as HTTP.
fn respond(session: &Session, answer: Answer) -> Response {
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    };
    put(names::PROTOCOL, names::PROTOCOL_VALUE);
    put(names::NEXT_URI, &session.uri(answer.next));
    match answer.script {
        Some(script) => {
            put(names::TARGETED_APPLICATION, &names::targeted_application(&Aid::CARD_MANAGER));
            put(header::CONTENT_TYPE.as_str(), names::COMMANDS);
            (StatusCode::OK, headers, script).into_response()
        }
        None => (StatusCode::NO_CONTENT, headers).into_response(),
    }
}
