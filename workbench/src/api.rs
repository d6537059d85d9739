//! The server's administration API, for whoever composes a whole site in one place.

use std::path::Path;

use reqwest::Method;
use serde_json::Value;
use tokio::runtime::Runtime;

/// What the API did not do, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ApiError(pub String);

/// A client of one server, which trusts the site's authority and nobody else.
pub struct Api {
    runtime: Runtime,
    client: reqwest::Client,
    url: String,
    token: String,
    authority: reqwest::Certificate,
}

impl Api {
    /// The API at `url`; `authority` is the PEM file of the site's authority. `runtime` may run the server itself, too.
    ///
    /// # Errors
    /// [`ApiError`] for an authority that cannot be read.
    pub fn new(runtime: Runtime, url: String, token: String, authority: &Path) -> Result<Self, ApiError> {
        let told = |detail: String| ApiError(format!("{}: {detail}", authority.display()));
        let authority = std::fs::read(authority).map_err(|e| told(e.to_string()))?;
        // Whoever called first decides; all of this program's choices are the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let authority = reqwest::Certificate::from_pem(&authority).map_err(|e| told(e.to_string()))?;
        Ok(Self {
            runtime,
            client: client(&authority)?,
            url,
            token,
            authority,
        })
    }

    /// Forgets all connections: the next request makes a new one.
    ///
    /// # Errors
    /// [`ApiError`], if there can be no client.
    pub fn reconnect(&mut self) -> Result<(), ApiError> {
        self.client = client(&self.authority)?;
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The runtime that was given.
    #[must_use]
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// One request.
    ///
    /// # Errors
    /// [`ApiError`] for anything but success.
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let fault = |detail: String| ApiError(format!("{path}: {detail}"));
        self.runtime.block_on(async {
            let response = request.send().await.map_err(|e| fault(e.to_string()))?;
            let status = response.status();
            let text = response.text().await.map_err(|e| fault(e.to_string()))?;
            if !status.is_success() {
                return Err(fault(format!("{status} {text}")));
            }
            serde_json::from_str(&text).map_err(|e| fault(e.to_string()))
        })
    }

    /// What is asked for.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.call(Method::GET, path, None)
    }

    /// Pushes, and gives the numbers of the jobs.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub fn push(&self, body: &Value) -> Result<Vec<Value>, ApiError> {
        let answer = self.call(Method::POST, "/v1/push", Some(body))?;
        Ok(answer["jobs"].as_array().cloned().unwrap_or_default())
    }
}

fn client(authority: &reqwest::Certificate) -> Result<reqwest::Client, ApiError> {
    reqwest::Client::builder()
        .tls_certs_only([authority.clone()])
        .no_proxy()
        .build()
        .map_err(|e| ApiError(format!("HTTPS client: {e}")))
}
