//! lock.toml and phone.toml of what is registered.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tapdoor_protocol::door::keys;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_server::ServerConfig;
use tapdoor_server::ca;
use tapdoor_server::config::Secrets;
use tapdoor_workbench::site::public_key;

use super::api;
use crate::failure::{DEVICE, Failure, USAGE};

/// What files of locks and phones need to know of the server.
pub struct Site {
    secrets: Secrets,
    folder: PathBuf,
    ca: Option<PathBuf>,
    /// Where the server is.
    pub url: String,
    /// Public keys of providers, hexadecimal.
    pub providers: Vec<String>,
    /// The server's public key for identities, hexadecimal.
    pub server_key: String,
}

impl Site {
    /// From server.toml, which is `file`.
    pub fn new(config: &ServerConfig, file: &Path, ca: Option<&Path>) -> Self {
        Self {
            secrets: config.secrets.clone(),
            folder: file.parent().unwrap_or(Path::new("")).to_path_buf(),
            ca: api::authority(config, ca),
            url: api::url(config.tls.is_some(), config.listen),
            providers: config.register.providers.iter().map(|p| hex::encode(&p.key)).collect(),
            server_key: public_key(&config.secrets.private.0).map(hex::encode).unwrap_or_default(),
        }
    }

    /// By which the agent of the phone or lock with this identifier proves itself.
    pub fn agent(&self, id: [u8; 8]) -> keys::Key<16> {
        keys::agent(&self.secrets.site, PhoneId(id))
    }

    /// The certificate of the server's authority as a file in `folder` names it.
    pub fn ca(&self, file: &Path) -> String {
        let Some(ca) = &self.ca else { return ca::CA_CERTIFICATE.into() };
        let folder = |path: &Path| {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            parent.canonicalize().ok()
        };
        match (ca.file_name(), folder(ca), folder(file)) {
            (Some(name), Some(a), Some(b)) if a == b => name.to_string_lossy().into_owned(),
            (Some(name), Some(a), _) => a.join(name).display().to_string(),
            _ => ca.display().to_string(),
        }
    }

    /// A new file: `out`, or `STEM-2.toml` and so on beside server.toml. Nothing is overwritten, and no chip of another time is left with new keys.
    pub fn file(&self, out: Option<&Path>, stem: &str) -> Result<NewFile, Failure> {
        if let Some(path) = out {
            return match NewFile::create(path.to_path_buf()) {
                Ok(Some(file)) => Ok(file),
                Ok(None) => Err(Failure::new(
                    USAGE,
                    format!(
                        "{} (or its .chip) is there already and is not overwritten: name another with --out",
                        path.display()
                    ),
                )),
                Err(e) => Err(Failure::new(DEVICE, format!("{}: {e}", path.display()))),
            };
        }
        for number in 2..=1_000_000 {
            let path = self.folder.join(format!("{stem}-{number}.toml"));
            match NewFile::create(path.clone()) {
                Ok(Some(file)) => return Ok(file),
                Ok(None) => {}
                Err(e) => return Err(Failure::new(DEVICE, format!("{}: {e}", path.display()))),
            }
        }
        Err(Failure::new(USAGE, "name a file with --out"))
    }
}

/// A file that is removed again unless it is filled: when the server refuses, nothing is left.
pub struct NewFile {
    /// Where it is.
    pub path: PathBuf,
    file: File,
    filled: bool,
}

impl NewFile {
    /// `None` if it, or a chip of its name, is there.
    fn create(path: PathBuf) -> io::Result<Option<Self>> {
        if path.with_extension("chip").exists() {
            return Ok(None);
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(file) => Ok(Some(Self { path, file, filled: false })),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The name of the chip that goes with it.
    pub fn chip(&self) -> String {
        let chip = self.path.with_extension("chip");
        chip.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Writes all of it.
    pub fn fill(&mut self, text: &str) -> Result<(), Failure> {
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_all())
            .map_err(|e| Failure::new(DEVICE, format!("{}: {e}", self.path.display())))
    }

    /// Keeps it.
    pub fn keep(mut self) -> PathBuf {
        self.filled = true;
        self.path.clone()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.filled {
            let _ = fs::remove_file(&self.path);
        }
    }
}
