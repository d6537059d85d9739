//! Systems, providers and applications.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tapdoor_protocol::aid::Aid;

use super::{hex_bytes, json, value};
use crate::error::ApiError;
use crate::import::check_load_file;
use crate::registry::{Application, Half, Profile, Provider, System};
use crate::state::Shared;

/// A system.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemBody {
    /// Its name.
    pub name: String,
    /// The application that its phones get.
    pub application: Option<String>,
    /// The application that its locks get.
    pub lock_application: Option<String>,
}

/// All systems.
///
/// # Errors
/// [`ApiError`].
#[utoipa::path(get, operation_id = "listSystems", path = "/v1/systems", tag = "administration", security(("token" = [])), responses((status = 200, description = "Done", body = [SystemBody])))]
pub async fn systems(State(state): State<Shared>) -> Result<Json<Vec<SystemBody>>, ApiError> {
    let systems = state.db.call(|store| store.systems()).await?;
    let view = |s: System| SystemBody {
        name: s.name,
        application: s.application,
        lock_application: s.lock_application,
    };
    Ok(Json(systems.into_iter().map(view).collect()))
}

/// Adds or replaces a system. From now on its requesters get these applications.
///
/// # Errors
/// 400 `malformed`.
#[utoipa::path(post, operation_id = "putSystem", path = "/v1/systems", tag = "administration", request_body = SystemBody, security(("token" = [])),
    responses((status = 200, description = "Done", body = SystemBody), (status = 400, description = "Malformed", body = crate::error::ErrorBody)))]
pub async fn put_system(State(state): State<Shared>, request: Request) -> Result<Json<SystemBody>, ApiError> {
    let body: SystemBody = json(&state, request, state.limits.body).await?;
    if body.name.is_empty() {
        return Err(ApiError::malformed("name: must not be empty"));
    }
    let system = System {
        name: body.name.clone(),
        application: body.application.clone(),
        lock_application: body.lock_application.clone(),
    };
    state.db.call(move |store| store.put_system(&system)).await?;
    tracing::info!(
        system = body.name,
        application = body.application,
        lock_application = body.lock_application,
        "system set"
    );
    Ok(Json(body))
}

/// A provider of applications.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderBody {
    /// Its name.
    pub name: String,
    /// P-256, SEC1, hexadecimal: its load files must be signed under it.
    pub key: String,
}

/// Adds or replaces a provider.
///
/// # Errors
/// 400 `malformed`.
#[utoipa::path(post, operation_id = "putProvider", path = "/v1/providers", tag = "administration", request_body = ProviderBody, security(("token" = [])),
    responses((status = 200, description = "Done", body = ProviderBody), (status = 400, description = "Malformed", body = crate::error::ErrorBody)))]
pub async fn put_provider(State(state): State<Shared>, request: Request) -> Result<Json<ProviderBody>, ApiError> {
    let body: ProviderBody = json(&state, request, state.limits.body).await?;
    let key = hex_bytes("key", &body.key)?;
    if !crate::config::is_public_key(&key) || body.name.is_empty() {
        return Err(ApiError::malformed("a provider has a name and a P-256 public key in SEC1 form"));
    }
    let provider = Provider {
        name: body.name.clone(),
        key,
    };
    state.db.call(move |store| store.put_provider(&provider)).await?;
    Ok(Json(body))
}

/// A version of an application to be added.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplicationBody {
    /// Its name.
    pub name: String,
    /// Two numbers: 1.0.
    pub version: String,
    /// Who made it.
    pub provider: Option<String>,
    /// `phone` if left out.
    pub half: Option<Half>,
    /// AID of the load file.
    pub elf: String,
    /// AID of the module.
    pub module: String,
    /// AID of the instance.
    pub aid: String,
    /// AID of the phone's application, for a lock half; `aid` if left out.
    pub peer: Option<String>,
    /// Content of C9, hexadecimal.
    pub parameters: Option<String>,
    /// `door` if left out.
    pub profile: Option<Profile>,
    /// The load file, hexadecimal.
    pub load_file: String,
}

/// A version of an application as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ApplicationView {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Who made it.
    pub provider: Option<String>,
    /// For which chip.
    pub half: Half,
    /// AID of the load file.
    pub elf: String,
    /// AID of the module.
    pub module: String,
    /// AID of the instance.
    pub aid: String,
    /// What it is filled with.
    pub profile: Profile,
    /// SHA-256 of the load file data block.
    pub hash: String,
}

impl From<&Application> for ApplicationView {
    fn from(a: &Application) -> Self {
        Self {
            name: a.name.clone(),
            version: a.version.to_string(),
            provider: a.provider.clone(),
            half: a.half,
            elf: a.elf.to_string(),
            module: a.module.to_string(),
            aid: a.aid.to_string(),
            profile: a.profile,
            hash: hex::encode(a.hash),
        }
    }
}

/// All versions of all applications.
///
/// # Errors
/// [`ApiError`].
#[utoipa::path(get, operation_id = "listApplications", path = "/v1/applications", tag = "administration", security(("token" = [])), responses((status = 200, description = "Done", body = [ApplicationView])))]
pub async fn list(State(state): State<Shared>) -> Result<Json<Vec<ApplicationView>>, ApiError> {
    let applications = state.db.call(|store| store.applications()).await?;
    Ok(Json(applications.iter().map(ApplicationView::from).collect()))
}

/// Adds a version of an application. The same again is no fault; the same version with another content is.
///
/// # Errors
/// 400 `bad-load-file`, 409 `conflict`.
#[utoipa::path(post, operation_id = "addApplication", path = "/v1/applications", tag = "administration", request_body = ApplicationBody, security(("token" = [])),
    responses((status = 201, description = "Added", body = ApplicationView), (status = 400, description = "Malformed", body = crate::error::ErrorBody), (status = 409, description = "Conflict", body = crate::error::ErrorBody)))]
pub async fn add(State(state): State<Shared>, request: Request) -> Result<(StatusCode, Json<ApplicationView>), ApiError> {
    let body: ApplicationBody = json(&state, request, state.limits.application).await?;
    if body.name.is_empty() {
        return Err(ApiError::malformed("name: must not be empty"));
    }
    let aid: Aid = value("aid", &body.aid)?;
    let mut application = Application {
        version: value("version", &body.version)?,
        provider: body.provider,
        half: body.half.unwrap_or(Half::Phone),
        elf: value("elf", &body.elf)?,
        module: value("module", &body.module)?,
        aid,
        peer: body.peer.as_deref().map_or(Ok(aid), |text| value("peer", text))?,
        parameters: body
            .parameters
            .as_deref()
            .map_or(Ok(Vec::new()), |text| hex_bytes("parameters", text))?,
        profile: body.profile.unwrap_or(Profile::Door),
        hash: [0; 32],
        load_file: hex_bytes("load_file", &body.load_file)?,
        name: body.name,
    };
    let application = state
        .db
        .call(move |store| {
            let provider = match &application.provider {
                Some(name) => store.provider(name)?,
                None => None,
            };
            match check_load_file(&application.name, &application.load_file, provider.as_ref()) {
                Ok(hash) => application.hash = hash,
                Err(error) => {
                    return Ok(Err(ApiError::new(StatusCode::BAD_REQUEST, "bad-load-file", error.to_string())));
                }
            }
            store.put_application(&application)?;
            Ok(Ok(application))
        })
        .await??;
    tracing::info!(application = application.name, version = %application.version, "application added");
    Ok((StatusCode::CREATED, Json(ApplicationView::from(&application))))
}
