//! What a refused HTTP request is told: a status, a word for programs, a sentence for people.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::store::StoreError;

/// A refusal. Its body is `{"code": "...", "message": "..."}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// For programs; stays the same from version to version.
    pub code: &'static str,
    /// For people. Never contains a secret or a whole identity.
    pub message: String,
}

/// The body of a refusal.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ErrorBody {
    /// For programs.
    #[schema(example = "lock-unregistered")]
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl ApiError {
    /// A refusal.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    /// 400 `malformed`.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    /// 503 `no-random`.
    pub fn no_random() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no-random", "the server has no random numbers")
    }

    /// 404 `not-found`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(message) => Self::new(StatusCode::CONFLICT, "conflict", message),
            StoreError::Closed => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the server is stopping: ask again"),
            error => {
                tracing::error!(%error, "store");
                // What SQLite says is for the log, not for whoever asks.
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store", "the server's store failed; see its log")
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            code: self.code,
            message: self.message,
        };
        (self.status, Json(body)).into_response()
    }
}
