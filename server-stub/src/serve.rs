//! Connections: TLS, limits, start and stop.
//!
//! Each connection is served by hyper in a task of its own. What is limited: how many there are, how long a handshake, the headers and a body may
//! take, how long a body may be. A connection too many is closed at once, without an answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::config::{ServerConfig, StorePlace, TlsFiles};
use crate::error::ApiError;
use crate::import::{self, ApplicationError};
use crate::state::{Shared, State, stopped};
use crate::store::{Db, SqliteStore, StoreError};
use crate::time::Clock;
use crate::{admin, download, openapi, ota};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of TLS cannot be read.
    #[error("{path}: {detail}; `tapdoor server init` makes certificates, `plain = true` does without on loopback")]
    Tls {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An application of the configuration.
    #[error(transparent)]
    Application(#[from] ApplicationError),
}

/// The server.
#[derive(Debug)]
pub struct Server;

/// A server that runs. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct RunningServer {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whether with TLS.
    pub tls: bool,
    state: Shared,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts on the current tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(config: ServerConfig) -> Result<RunningServer, StartError> {
        Self::start_with(config, Clock::system()).await
    }

    /// The same with a wall clock of one's own.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with(config: ServerConfig, clock: Clock) -> Result<RunningServer, StartError> {
        let acceptor = config.tls.as_ref().map(acceptor).transpose()?;
        let store = match &config.store {
            StorePlace::File(path) => SqliteStore::open(path)?,
            StorePlace::Memory => SqliteStore::in_memory()?,
        };
        let applications = import::read_applications(&config.register)?;
        let db = Db::start(Box::new(store))?;
        let (register, now) = (config.register.clone(), clock.now());
        db.call(move |store| {
            import::import(store, &register, &applications, now)?;
            store.requeue(None, "the server was started again", now)
        })
        .await?;
        let listener = TcpListener::bind(config.listen).await.map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;
        let addr = listener.local_addr().map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;
        let (stop, stopping) = watch::channel(false);
        let state: Shared = Arc::new(State::new(&config, db, clock, stopping));
        tracing::info!(%addr, tls = acceptor.is_some(), "listening");
        let tls = acceptor.is_some();
        let task = tokio::spawn(accept(listener, acceptor, state.clone()));
        tokio::spawn(ota::reap(state.clone()));
        tokio::spawn(forget_nonces(state.clone()));
        Ok(RunningServer {
            addr,
            tls,
            state,
            stop,
            task: Some(task),
        })
    }
}

impl RunningServer {
    /// Begins to stop: no new connections, requests that wait are answered, the rest may end within `limits.stop`.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the end.
    pub async fn join(mut self) {
        if let Some(task) = self.task.take() {
            // A task that ended by a panic has ended, too.
            let _ = task.await;
        }
    }

    /// The state, for callers in the same process: the store, who is connected.
    #[must_use]
    pub fn state(&self) -> &Shared {
        &self.state
    }

    /// Its base URL for clients on this machine.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.addr)
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, StartError> {
    let fault = |path: &PathBuf, detail: String| StartError::Tls {
        path: path.clone(),
        detail,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|e| fault(&files.certificate, e.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| fault(&files.key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| fault(&files.certificate, e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| fault(&files.certificate, e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// All routes.
pub(crate) fn router(state: Shared) -> Router {
    Router::new()
        .route("/healthz", get(admin::healthz))
        .route("/openapi.json", get(openapi::serve))
        .route("/v1/downloads", post(download::download))
        .route("/v1/admin", post(ota::begin))
        .route("/v1/admin/{token}/{step}", post(ota::step))
        .merge(admin::routes(state.clone()))
        .fallback(|| async { ApiError::not_found("there is nothing here; /openapi.json says what there is").into_response() })
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "this is not asked by this method; see /openapi.json",
            )
            .into_response()
        })
        .layer(tower_http::catch_panic::CatchPanicLayer::new())
        .with_state(state)
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, state: Shared) {
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(state.limits.connections));
    let router = router(state.clone());
    let mut stopping = state.stopping.clone();
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Ended tasks are let go of.
            Some(_) = tasks.join_next() => continue,
            () = stopped(&mut stopping) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: give the others time to end.
                tracing::error!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            tracing::warn!(peer = %peer.ip(), "too many connections, closed");
            continue;
        };
        // A script or a line of progress must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), graceful.watcher());
        let header_time = state.limits.header_time;
        tasks.spawn(async move {
            let _permit = permit;
            match acceptor {
                None => connection(stream, peer, router, watcher, header_time).await,
                Some(acceptor) => match tokio::time::timeout(header_time, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => connection(stream, peer, router, watcher, header_time).await,
                    Ok(Err(error)) => tracing::info!(peer = %peer.ip(), %error, "TLS handshake failed"),
                    Err(_) => tracing::info!(peer = %peer.ip(), "TLS handshake took too long"),
                },
            }
        });
    }
    drop(listener);
    tracing::info!("stopping");
    if tokio::time::timeout(state.limits.stop, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "cut off at the end");
        tasks.shutdown().await;
    }
}

async fn connection<S>(stream: S, peer: SocketAddr, router: Router, watcher: hyper_util::server::graceful::Watcher, header_time: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router.layer(axum::Extension(ConnectInfo(peer))));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time)
        .max_buf_size(32 << 10)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(peer = %peer.ip(), %error, "connection");
    }
}

/// A whole body, within its limits.
///
/// # Errors
/// 413 `too-large`, 408 `timeout`, 400 `malformed` if the connection breaks.
pub(crate) async fn body(state: &Shared, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = || {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("the body is longer than {limit} bytes"),
        )
    };
    // What announces itself as too long need not be sent.
    if usize::try_from(hyper::body::Body::size_hint(&body).lower()).is_ok_and(|announced| announced > limit) {
        return Err(too_large());
    }
    match tokio::time::timeout(state.limits.body_time, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(ApiError::malformed("the body ends before it should")),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the body did not come in time",
        )),
    }
}

/// Whether a body says that it is JSON.
///
/// # Errors
/// 415 `unsupported-media-type`.
pub(crate) fn is_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "the content type must be application/json",
        ))
    }
}

/// Once an hour forgets nonces of requests that are more than a day old. When the wall clock has moved otherwise than the monotonic one since the start,
/// nothing is forgotten: the floor would rise above the clocks of good requests.
async fn forget_nonces(state: Shared) {
    const HOUR: Duration = Duration::from_secs(3600);
    let wall = state.clock.now();
    let mut stopping = state.stopping.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(HOUR) => {}
            () = stopped(&mut stopping) => return,
        }
        let (now, expected) = (state.clock.now(), wall + state.started.elapsed().as_secs());
        if now.abs_diff(expected) > crate::request::SKEW {
            tracing::warn!(now, expected, "the server's clock has jumped; nonces are kept");
            continue;
        }
        let floor = u32::try_from(now.saturating_sub(86_400)).unwrap_or(u32::MAX);
        if let Err(error) = state.db.call(move |store| store.forget_nonces(floor)).await {
            tracing::error!(%error, "store");
        }
    }
}
