//! The description of the API (OpenAPI 3.1), made from the handlers themselves.

use axum::Json;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::{admin, download, ota};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tapdoor application management server",
        description = "Locks ask for applications, agents of chips are administered, people register, grant and push. Refusals are {\"code\", \"message\"}."
    ),
    tags(
        (name = "locks", description = "What a lock asks"),
        (name = "agents", description = "GlobalPlatform remote administration (Amendment B headers) of phones' and locks' chips"),
        (name = "administration", description = "Bearer token")
    ),
    paths(
        download::download, ota::begin, ota::step,
        admin::healthz,
        admin::locks::list, admin::locks::add, admin::locks::change, admin::locks::revoke,
        admin::phones::list, admin::phones::add, admin::phones::change, admin::phones::revoke,
        admin::grants::list, admin::grants::grant, admin::grants::revoke,
        admin::applications::systems, admin::applications::put_system, admin::applications::put_provider,
        admin::applications::list, admin::applications::add,
        admin::jobs::push, admin::jobs::list, admin::jobs::one, admin::jobs::status
    ),
    components(schemas(download::DownloadEvent, crate::error::ErrorBody)),
    modifiers(&Token)
)]
struct Api;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut Document) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// The document.
#[must_use]
pub fn document() -> Document {
    Api::openapi()
}

/// `GET /openapi.json`.
pub async fn serve() -> Json<Document> {
    Json(document())
}
