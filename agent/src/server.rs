//! Which server, and whom to trust to be it.

use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Client, Response, Url};
use serde::Deserialize;

use crate::error::AgentError;

const CONNECT: Duration = Duration::from_secs(5);
/// The longest pause within an answer: the server holds requests open for 25 s.
const READ: Duration = Duration::from_secs(40);
/// Longest body that is read.
const BODY: usize = 1 << 20;

/// A server: its address, and a client that trusts its authority and nobody else.
#[derive(Clone, Debug)]
pub struct Server {
    base: Url,
    client: Client,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
    message: String,
}

impl Server {
    /// The server at `url` (`https://host:port`), whose certificate is signed by the authority in `ca` (PEM). Plain `http` is for this machine
    /// only, and needs no authority.
    ///
    /// # Errors
    /// [`AgentError::Address`], [`AgentError::Authority`].
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, AgentError> {
        let bad = |detail| AgentError::Address {
            url: url.to_owned(),
            detail,
        };
        let base = Url::parse(url).map_err(|_| bad("write https://HOST:PORT"))?;
        let host = base.host_str().ok_or_else(|| bad("write https://HOST:PORT"))?;
        let local = host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        match base.scheme() {
            "https" => {}
            "http" if local => {}
            "http" => return Err(bad("plain http goes to this machine only: use https")),
            _ => return Err(bad("write https://HOST:PORT")),
        }
        if !matches!(base.path(), "" | "/") || base.query().is_some() {
            return Err(bad("give it without a path"));
        }
        // Whoever called first decides; all of this program's choices are the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut authorities = Vec::new();
        if base.scheme() == "https" {
            let Some(path) = ca else {
                return Err(bad("name the certificate of its authority too (ca)"));
            };
            let failed = |detail: String| AgentError::Authority {
                path: path.display().to_string(),
                detail,
            };
            let pem = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
            authorities = Certificate::from_pem_bundle(&pem).map_err(|e| failed(e.to_string()))?;
            if authorities.is_empty() {
                return Err(failed("holds no certificate".to_owned()));
            }
        }
        let client = Client::builder()
            .tls_certs_only(authorities)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(READ)
            .tcp_nodelay(true)
            .user_agent(concat!("tapdoor/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| AgentError::Start(format!("HTTPS client: {e}")))?;
        Ok(Self { base, client })
    }

    /// The address.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// `path` at this server, verbatim; an address at another server is refused, wherever it came from.
    pub(crate) fn at(&self, path: &str) -> Result<Url, AgentError> {
        let url = self
            .base
            .join(path)
            .map_err(|e| AgentError::Answer(format!("an address that is none ({e})")))?;
        if url.origin() == self.base.origin() {
            Ok(url)
        } else {
            Err(AgentError::Answer("an address at another server".to_owned()))
        }
    }
}

/// The whole body of an answer, which must not be longer than is reasonable.
pub(crate) async fn body(mut response: Response) -> Result<Vec<u8>, AgentError> {
    let url = response.url().to_string();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| AgentError::connection(&url, &e))? {
        if bytes.len() + chunk.len() > BODY {
            return Err(AgentError::Answer(format!("more than {BODY} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What a server says that refuses.
pub(crate) async fn refusal(response: Response) -> AgentError {
    let status = response.status().as_u16();
    let bytes = match body(response).await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(ErrorBody { code, message }) => AgentError::Refused { status, code, message },
        Err(_) => AgentError::Refused {
            status,
            code: "unknown".to_owned(),
            message: "it does not say why: is this an application management server?".to_owned(),
        },
    }
}
