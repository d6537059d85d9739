//! The administration API, of the server that runs, or of one that is started for the length of a command.
//!
//! Either way the same checks are made by the same code. The short-lived server listens on loopback, at a port and with a token that nobody else knows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use reqwest::{Certificate, Client, Method, Url};
use serde_json::Value;
use tapdoor_server::config::StorePlace;
use tapdoor_server::{RunningServer, Server, ServerConfig, StartError, ca};
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

use super::claim::{Claim, Claimed};
use crate::failure::{DEVICE, Failure, INPUT, REFUSED, USAGE};

/// A server that can be asked.
pub struct Api {
    client: Client,
    base: Url,
    token: Zeroizing<String>,
    /// Whether it is one that runs by itself.
    pub running: bool,
    own: Option<RunningServer>,
    runtime: Runtime,
    /// Given back last, when the store is closed.
    _claim: Option<Claim>,
}

/// Where the certificate of the server's authority is.
pub fn authority(config: &ServerConfig, given: Option<&Path>) -> Option<PathBuf> {
    let beside = || config.tls.as_ref().map(|tls| tls.certificate.with_file_name(ca::CA_CERTIFICATE));
    given.map(Path::to_path_buf).or_else(beside)
}

/// How clients on this machine reach a server that listens there.
pub fn url(tls: bool, listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(ip, listen.port()))
}

impl Api {
    /// The server of this configuration.
    pub fn open(config: ServerConfig, file: &Path, ca: Option<&Path>) -> Result<Self, Failure> {
        // Whoever called first decides; all of this program's choices are the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|e| Failure::new(DEVICE, e))?;
        match Claim::take(&config, file)? {
            Claimed::Running(url) => {
                let token = config.admin_token.clone().ok_or_else(|| {
                    Failure::new(
                        USAGE,
                        format!("{}: without `admin-token` a running server cannot be administered", file.display()),
                    )
                })?;
                Ok(Self {
                    client: client(&url, authority(&config, ca).as_deref())?,
                    base: parse(&url)?,
                    token,
                    running: true,
                    own: None,
                    _claim: None,
                    runtime,
                })
            }
            Claimed::Ours(_) if config.store == StorePlace::Memory => Err(Failure::new(
                USAGE,
                format!(
                    "{}: the store is in memory and no server runs: there is nothing to administer",
                    file.display()
                ),
            )),
            Claimed::Ours(claim) => {
                let token = ca::random_token().map_err(|e| Failure::new(DEVICE, e))?;
                let mut config = config;
                config.tls = None;
                config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                config.admin_token = Some(token.clone());
                let own = runtime.block_on(Server::start(config))?;
                Ok(Self {
                    client: client("http://127.0.0.1", None)?,
                    base: parse(&own.url())?,
                    token,
                    running: false,
                    own: Some(own),
                    _claim: Some(claim),
                    runtime,
                })
            }
        }
    }

    /// Its address, if it is one that runs by itself.
    pub fn url(&self) -> Option<&str> {
        self.running.then_some(self.base.as_str())
    }

    /// Asks `method` of `path`, each part of which is taken as it is.
    pub fn call(&self, method: Method, path: &[&str], query: &[(&str, &str)], body: Option<&Value>) -> Result<Value, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).bearer_auth(self.token.as_str());
        if let Some(body) = body {
            request = request.json(body);
        }
        self.runtime.block_on(async {
            let response = request.send().await.map_err(|e| lost(&self.base, &e))?;
            let status = response.status();
            let text = response.bytes().await.map_err(|e| lost(&self.base, &e))?;
            let value: Value = serde_json::from_slice(&text).unwrap_or_default();
            if status.is_success() {
                return Ok(value);
            }
            let code = match status.as_u16() {
                400 | 413 | 415 => INPUT,
                401 => USAGE,
                500.. | 408 => DEVICE,
                _ => REFUSED,
            };
            let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            Err(Failure::new(code, format!("{} ({})", field("message"), field("code"))))
        })
    }

    /// GET.
    pub fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.call(Method::GET, path, query, None)
    }

    /// POST.
    pub fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.call(Method::POST, path, &[], Some(body))
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(own) = self.own.take() {
            own.stop();
            self.runtime.block_on(own.join());
        }
    }
}

fn parse(url: &str) -> Result<Url, Failure> {
    Url::parse(url).map_err(|e| Failure::new(INPUT, format!("the server's address \"{url}\": {e}")))
}

fn client(url: &str, ca: Option<&Path>) -> Result<Client, Failure> {
    let mut roots = Vec::new();
    if let (true, Some(path)) = (url.starts_with("https:"), ca) {
        let failed = |e: &dyn std::fmt::Display| {
            Failure::new(
                USAGE,
                format!("{}: {e}; name the certificate of the server's authority with --ca", path.display()),
            )
        };
        let pem = std::fs::read(path).map_err(|e| failed(&e))?;
        roots = Certificate::from_pem_bundle(&pem).map_err(|e| failed(&e))?;
    }
    Client::builder()
        .tls_certs_only(roots)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(std::time::Duration::from_secs(5))
        .timeout(std::time::Duration::from_secs(60))
        .build()
        .map_err(|e| Failure::new(DEVICE, e))
}

fn lost(base: &Url, error: &dyn std::error::Error) -> Failure {
    // The causes tell the certificate from the cable.
    let mut detail = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        detail = format!("{detail}: {cause}");
        source = cause.source();
    }
    Failure::new(DEVICE, format!("{base}: {detail}"))
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        use tapdoor_server::import::ApplicationError;
        use tapdoor_server::store::StoreError;
        let code = match &error {
            StartError::Listen { .. } | StartError::Store(StoreError::Database { .. } | StoreError::Closed) => DEVICE,
            StartError::Store(StoreError::Foreign { .. })
            | StartError::Application(ApplicationError::LoadFile { .. } | ApplicationError::Signature { .. }) => INPUT,
            _ => USAGE,
        };
        Self::new(code, error)
    }
}
