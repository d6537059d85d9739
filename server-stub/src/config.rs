//! server.toml: the site's secrets, where to listen, and what to register at the first start.
//!
//! What stands here is brought into the store when the server starts, unless it is there already: what was changed or revoked through the
//! administration API stays so.

mod register;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tapdoor_config::{ConfigError, Field, File};
use tapdoor_protocol::crypto;
use tapdoor_protocol::crypto::ecies::{SecretScalar, public_compressed};
use zeroize::Zeroizing;

pub use self::register::{ApplicationEntry, GrantEntry, Register};
pub(crate) use self::register::{DOOR, is_public_key};
use crate::seal::Sealer;

/// A whole server.toml, checked.
#[derive(Debug)]
pub struct ServerConfig {
    /// K_site and the key that opens identities.
    pub secrets: Secrets,
    /// Where the store is.
    pub store: StorePlace,
    /// Seals keys of chips.
    pub sealer: Sealer,
    /// Where to listen; port 0 is any.
    pub listen: SocketAddr,
    /// Certificate chain and key, both PEM; none for plain HTTP, which is for loopback only.
    pub tls: Option<TlsFiles>,
    /// The bearer token of the administration API; without one it is closed.
    pub admin_token: Option<Zeroizing<String>>,
    /// Limits.
    pub limits: Limits,
    /// Laboratory switch: accept identities in plain (docs/protocol.md section 8, form 01).
    pub plain_identities: bool,
    /// What to bring into the store.
    pub register: Register,
}

/// The site's secrets.
#[derive(Clone)]
pub struct Secrets {
    /// K_site.
    pub site: Zeroizing<[u8; 16]>,
    /// P-256: opens identities.
    pub private: SecretScalar,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A file.
    File(PathBuf),
    /// Memory: forgotten at the end.
    Memory,
}

/// The files of a TLS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, PEM, the server's own first.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// Limits, so that nobody can take what belongs to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; further ones are closed at once.
    pub connections: usize,
    /// Downloads at a time.
    pub downloads: usize,
    /// Download requests a minute from one address for one lock.
    pub downloads_per_minute: u32,
    /// Sessions of agents at a time.
    pub agents: usize,
    /// Bytes of a request's body (applications have a limit of their own).
    pub body: usize,
    /// Bytes of an application's body.
    pub application: usize,
    /// From the first byte to the end of the headers; the same for the TLS handshake.
    pub header_time: Duration,
    /// From the end of the headers to the end of the body.
    pub body_time: Duration,
    /// How long an agent's request is held open.
    pub poll: Duration,
    /// How long a download waits for the phone and for the lock.
    pub download_time: Duration,
    /// How long a session lives without a request.
    pub session: Duration,
    /// How often a job is begun before it is given up.
    pub attempts: u32,
    /// How long stopping waits for answers under way.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            downloads: 64,
            downloads_per_minute: 120,
            agents: 4096,
            body: 256 << 10,
            application: 4 << 20,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(10),
            poll: Duration::from_secs(25),
            download_time: Duration::from_secs(30),
            session: Duration::from_secs(60),
            attempts: 50,
            stop: Duration::from_secs(5),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    site_key: Field,
    private_key: Field,
    store: Option<String>,
    store_key: Option<Field>,
    listen: Option<Field>,
    #[serde(default)]
    plain: bool,
    tls: Option<RawTls>,
    admin_token: Option<Field>,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    laboratory: RawLaboratory,
    #[serde(default)]
    systems: Vec<register::RawSystem>,
    #[serde(default)]
    locks: Vec<register::RawLock>,
    #[serde(default)]
    phones: Vec<register::RawPhone>,
    #[serde(default)]
    grants: Vec<register::RawGrant>,
    #[serde(default)]
    providers: Vec<register::RawProvider>,
    #[serde(default)]
    applications: Vec<register::RawApplication>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawTls {
    certificate: String,
    key: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawLaboratory {
    #[serde(default)]
    plain_identities: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawLimits {
    connections: Option<usize>,
    downloads: Option<usize>,
    downloads_per_minute: Option<u32>,
    agents: Option<usize>,
    body: Option<usize>,
    application: Option<usize>,
    header_ms: Option<u64>,
    body_ms: Option<u64>,
    poll_ms: Option<u64>,
    download_ms: Option<u64>,
    session_ms: Option<u64>,
    attempts: Option<u32>,
    stop_ms: Option<u64>,
}

impl RawLimits {
    fn limits(&self) -> Limits {
        let d = Limits::default();
        let ms = |given: Option<u64>, default| given.map_or(default, Duration::from_millis);
        Limits {
            connections: self.connections.unwrap_or(d.connections),
            downloads: self.downloads.unwrap_or(d.downloads),
            downloads_per_minute: self.downloads_per_minute.unwrap_or(d.downloads_per_minute),
            agents: self.agents.unwrap_or(d.agents),
            body: self.body.unwrap_or(d.body),
            application: self.application.unwrap_or(d.application),
            header_time: ms(self.header_ms, d.header_time),
            body_time: ms(self.body_ms, d.body_time),
            poll: ms(self.poll_ms, d.poll),
            download_time: ms(self.download_ms, d.download_time),
            session: ms(self.session_ms, d.session),
            attempts: self.attempts.unwrap_or(d.attempts),
            stop: ms(self.stop_ms, d.stop),
        }
    }
}

impl ServerConfig {
    /// Reads and checks a server.toml.
    ///
    /// # Errors
    /// [`ConfigError`] naming file, line and field.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let (file, raw) = File::load(path)?;
        Self::check(&file, path, raw)
    }

    /// The same from text.
    ///
    /// # Errors
    /// As [`ServerConfig::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let (file, raw) = File::parse(path, text.to_owned())?;
        Self::check(&file, path, raw)
    }

    fn check(file: &File, path: &Path, raw: Raw) -> Result<Self, ConfigError> {
        let site = file.key::<16>(&raw.site_key)?;
        let private = SecretScalar(*file.key::<32>(&raw.private_key)?);
        if public_compressed(&private).is_none() {
            return Err(file.error(
                &raw.private_key.span(),
                "is no P-256 private key (0, or too large): make another 32 bytes",
            ));
        }
        let sealer = match &raw.store_key {
            Some(field) => {
                let key = file.bytes(field)?;
                Sealer::new(&key).ok_or_else(|| {
                    file.error(
                        &field.span(),
                        format!(
                            "must have 16 or 32 bytes (32 or 64 hexadecimal digits), but has {} bytes",
                            key.len()
                        ),
                    )
                })?
            }
            None => {
                let mut key = Zeroizing::new([0; 16]);
                crypto::kdf_ctr(site.as_slice(), b"STOREKEY", &[], key.as_mut_slice())
                    .map_err(|_| file.error(&raw.site_key.span(), "gives no store key; set `store-key`"))?;
                Sealer::new(key.as_slice()).ok_or_else(|| file.error(&raw.site_key.span(), "gives no store key; set `store-key`"))?
            }
        };
        let listen = match &raw.listen {
            Some(field) => field
                .get_ref()
                .parse()
                .map_err(|_| file.error(&field.span(), "must be an address and a port: 127.0.0.1:8443 or [::1]:8443"))?,
            None => SocketAddr::from(([127, 0, 0, 1], 8443)),
        };
        let tls = match (&raw.tls, raw.plain) {
            (Some(tls), false) => Some(TlsFiles {
                certificate: file.resolve(&tls.certificate),
                key: file.resolve(&tls.key),
            }),
            (_, true) if !listen.ip().is_loopback() => {
                return Err(file.error_in_file(format!(
                    "`plain = true` is allowed on loopback only, and `listen` is {listen}: use TLS (`tapdoor server init` makes certificates)"
                )));
            }
            (_, true) => None,
            // Checked when it starts: a file that `tapdoor init` made is complete otherwise.
            (None, false) => Some(TlsFiles {
                certificate: file.resolve(crate::ca::SERVER_CERTIFICATE),
                key: file.resolve(crate::ca::SERVER_KEY),
            }),
        };
        let admin_token = match raw.admin_token {
            Some(field) => {
                if field.get_ref().len() < 16 {
                    return Err(file.error(
                        &field.span(),
                        "must have 16 characters or more: `tapdoor server init` makes a good one",
                    ));
                }
                Some(Zeroizing::new(field.into_inner()))
            }
            None => None,
        };
        let store = match raw.store.as_deref() {
            Some(":memory:") => StorePlace::Memory,
            Some(name) => StorePlace::File(file.resolve(name)),
            None => StorePlace::File(path.with_extension("db")),
        };
        let tables = register::Raw {
            systems: raw.systems,
            locks: raw.locks,
            phones: raw.phones,
            grants: raw.grants,
            providers: raw.providers,
            applications: raw.applications,
        };
        let register = register::check(file, &tables, &sealer)?;
        Ok(Self {
            secrets: Secrets { site, private },
            store,
            register,
            sealer,
            listen,
            tls,
            admin_token,
            limits: raw.limits.limits(),
            plain_identities: raw.laboratory.plain_identities,
        })
    }

    /// Another place to listen, as `--listen` asks.
    ///
    /// # Errors
    /// The reason, if it is not loopback and the configuration says `plain`.
    pub fn listen_on(&mut self, listen: SocketAddr) -> Result<(), &'static str> {
        if self.tls.is_none() && !listen.ip().is_loopback() {
            return Err("plain HTTP is allowed on loopback only: use TLS");
        }
        self.listen = listen;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
