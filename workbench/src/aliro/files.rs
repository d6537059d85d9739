//! `[aliro]` written into lock.toml and phone.toml: what is there stays, and what comes out is checked before it is written.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tapdoor_chip::random::{OsRandom, RandomSource};
use tapdoor_config::ConfigError;
use tapdoor_hce_card::PhoneConfig;
use tapdoor_protocol::aliro::certificate::{Certificate, CertificateError, CertificateFields};
use tapdoor_protocol::aliro::reader::Placement;
use tapdoor_protocol::aliro::{PublicKey, ReaderConfig};
use tapdoor_protocol::crypto::sign;
use tapdoor_protocol::vault::VaultError;
use tapdoor_reader::LockConfig;

use super::{KeyError, KeyFile};

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AliroError {
    /// A configuration file, before or after.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The file system.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Already there, or not there.
    #[error("{}: {detail}", path.display())]
    State {
        /// Which file.
        path: PathBuf,
        /// What is the matter, and what to do.
        detail: String,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] VaultError),
}

fn state(path: &Path, detail: impl Into<String>) -> AliroError {
    AliroError::State {
        path: path.into(),
        detail: detail.into(),
    }
}

/// A new P-256 key.
///
/// # Errors
/// [`AliroError::Random`].
pub fn new_key() -> Result<KeyFile, AliroError> {
    Ok(KeyFile::from_private(&crate::site::scalar()?)?)
}

fn random16() -> Result<[u8; 16], VaultError> {
    let mut out = [0; 16];
    OsRandom.fill(&mut out)?;
    Ok(out)
}

/// Issues a reader's certificate.
///
/// # Errors
/// [`AliroError`] for fields that do not fit the profile, and without the issuer's private key.
pub fn certificate(fields: CertificateFields, key: &PublicKey, issuer: &KeyFile) -> Result<Certificate, AliroError> {
    let private = *issuer.private()?;
    Ok(Certificate::issue(fields, *key, &issuer.public, |tbs| sign::sign(&private, tbs))?)
}

/// A reader to be made.
#[derive(Debug, Default)]
pub struct ReaderPlan {
    /// Reader group identifier; a new one otherwise.
    pub group: Option<[u8; 16]>,
    /// Reader group sub identifier; a new one otherwise.
    pub sub: Option<[u8; 16]>,
    /// The reader's key; a new one otherwise.
    pub key: Option<KeyFile>,
    /// The issuer of its certificate, with the certificate's fields and place.
    pub issuer: Option<(KeyFile, CertificateFields, Option<Placement>)>,
}

/// Writes `[aliro]` into a lock.toml that has none. Gives the reader.
///
/// # Errors
/// [`AliroError`]; the file is as it was then.
pub fn add_reader(lock: &Path, plan: ReaderPlan) -> Result<ReaderConfig, AliroError> {
    let text = read(lock)?;
    // A lock.toml whose methods name Aliro already is wrong until this is done; what else is wrong with it shows below.
    if LockConfig::parse(lock, &text).is_ok_and(|config| config.aliro.is_some()) {
        return Err(state(lock, "there is a section [aliro] already; take it out first, or edit it"));
    }
    let (group, sub) = (plan.group.map_or_else(random16, Ok)?, plan.sub.map_or_else(random16, Ok)?);
    let key = plan.key.map_or_else(new_key, Ok)?;
    let mut section = format!(
        "\n[aliro]\ngroup = \"{}\"\nsub = \"{}\"\nkey = \"{}\"\n",
        hex::encode(group),
        hex::encode(sub),
        hex::encode(key.private()?)
    );
    if let Some((issuer, fields, placement)) = plan.issuer {
        let certificate = certificate(fields, &key.public, &issuer)?;
        let place = if placement == Some(Placement::Auth1) {
            "auth1"
        } else {
            "load-cert"
        };
        let _ = write!(
            section,
            "certificate = \"{}\"\nissuer = \"{}\"\ncertificate-in = \"{place}\"\n",
            hex::encode(certificate.encode()),
            hex::encode(issuer.public.0)
        );
    }
    let new = text + &section;
    let reader = reader_of(lock, &new)?;
    replace(lock, &new)?;
    Ok(reader)
}

/// The reader of a lock.toml.
///
/// # Errors
/// [`AliroError`], also when there is none.
pub fn reader(lock: &Path) -> Result<ReaderConfig, AliroError> {
    reader_of(lock, &read(lock)?)
}

fn reader_of(lock: &Path, text: &str) -> Result<ReaderConfig, AliroError> {
    let config = LockConfig::parse(lock, text)?;
    let applications = config.personalisation.applications.iter();
    let application = applications.into_iter().find(|a| a.kind == tapdoor_chip::Kind::AliroLock);
    application
        .and_then(|a| ReaderConfig::decode(&a.parameters))
        .ok_or_else(|| state(lock, "there is no section [aliro]; `tapdoor aliro reader --lock FILE` makes one"))
}

/// A credential to be made.
#[derive(Debug, Default)]
pub struct CredentialPlan {
    /// Its key; a new one otherwise. A public key is for phones that are not ours.
    pub key: Option<KeyFile>,
    /// Under which name the lock reports it; the phone's own otherwise.
    pub name: Option<String>,
    /// RFC 3339.
    pub not_after: Option<String>,
    /// Bytes of its mailbox.
    pub mailbox: Option<u16>,
}

/// Makes a credential: the private key goes into phone.toml (with the lock's reader group), the public one into lock.toml. Either may be left out.
///
/// # Errors
/// [`AliroError`]; no file has changed then, except that phone.toml may have when lock.toml could not be written.
pub fn add_credential(lock: Option<&Path>, phone: Option<&Path>, plan: CredentialPlan) -> Result<PublicKey, AliroError> {
    let key = plan.key.map_or_else(new_key, Ok)?;
    let mut name = plan.name;
    let reader = lock.map(reader).transpose()?;
    let mut new_phone = None;
    if let Some(path) = phone {
        let text = read(path)?;
        let mut section = format!(
            "\n[[aliro.credentials]]\nkey = \"{}\"\nmailbox = {}\n",
            hex::encode(key.private()?),
            plan.mailbox.unwrap_or(512)
        );
        let (id, number) = match PhoneConfig::parse(path, &text) {
            Ok(config) => (config.id, next_credential(&config)),
            // A phone.toml whose applications name Aliro already is wrong until this is done.
            Err(error) => PhoneConfig::parse(path, &format!("{text}{section}"))
                .map(|config| (config.id, 1))
                .map_err(|_| error)?,
        };
        name.get_or_insert_with(|| id.to_string());
        if let Some(reader) = &reader {
            let _ = write!(
                section,
                "\n[[aliro.groups]]\nid = \"{}\"\nkey = \"{}\"\ncredential = {number}\n",
                hex::encode(reader.identifier.group()),
                hex::encode(reader.group_key.0)
            );
        }
        let text = listed(&text) + &section;
        PhoneConfig::parse(path, &text)?;
        new_phone = Some((path, text));
    }
    let mut new_lock = None;
    if let Some(path) = lock {
        let name = name.ok_or_else(|| state(path, "a credential needs a name: give --name, 16 hexadecimal digits, or --phone"))?;
        let mut section = format!(
            "\n[[aliro.credentials]]\nid = \"{name}\"\nkey = \"{}\"\n",
            hex::encode(key.public.0)
        );
        if let Some(time) = &plan.not_after {
            let _ = writeln!(section, "not-after = \"{time}\"");
        }
        let text = read(path)? + &section;
        LockConfig::parse(path, &text)?;
        new_lock = Some((path, text));
    }
    for (path, text) in new_phone.into_iter().chain(new_lock) {
        replace(path, &text)?;
    }
    Ok(key.public)
}

/// Which number a new credential of a phone has, from 1.
fn next_credential(config: &PhoneConfig) -> usize {
    let applications = &config.personalisation.applications;
    applications
        .iter()
        .find(|application| application.kind == tapdoor_chip::Kind::Aliro)
        .and_then(|application| tapdoor_protocol::aliro::DeviceConfig::decode(&application.parameters))
        .map_or(1, |device| device.credentials.len() + 1)
}

/// `applications` in phone.toml names "aliro", if it names anything.
fn listed(text: &str) -> String {
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("applications") && line.contains('['));
    match line {
        Some(line) if !line.contains("\"aliro\"") => {
            let separator = if line.contains('"') { ", " } else { "" };
            text.replacen(line, &line.replacen(']', &format!("{separator}\"aliro\"]"), 1), 1)
        }
        _ => text.to_owned(),
    }
}

fn read(path: &Path) -> Result<String, AliroError> {
    fs::read_to_string(path).map_err(|source| AliroError::Io { path: path.into(), source })
}

/// Writes a file that only its owner can read. An existing one is kept.
///
/// # Errors
/// [`AliroError::Io`].
pub fn create(path: &Path, content: &[u8]) -> Result<(), AliroError> {
    let io = |source| AliroError::Io { path: path.into(), source };
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).and_then(|mut file| file.write_all(content)).map_err(io)
}

/// The file is the old one or the new one, whatever happens.
fn replace(path: &Path, text: &str) -> Result<(), AliroError> {
    let io = |source| AliroError::Io { path: path.into(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Site;

    #[test]
    fn a_reader_with_a_certificate_and_a_credential() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, phone) = (folder.path().join("lock.toml"), folder.path().join("phone.toml"));
        let site = Site::generate(1, false).unwrap();
        let cut = |text: &str, at: &str| text.split_once(at).map_or(text.to_owned(), |(before, _)| before.to_owned());
        let bare = cut(&site.lock_toml(), "\n# The Aliro reader").replace(", \"aliro\"", "");
        fs::write(&lock, bare).unwrap();
        let bare = cut(&site.phone_toml(0, "p.chip", false).unwrap(), "\n# The Aliro user device").replace(", \"aliro\"", "");
        fs::write(&phone, bare).unwrap();
        assert!(matches!(reader(&lock), Err(AliroError::State { .. })));
        let plan = ReaderPlan {
            issuer: Some((new_key().unwrap(), CertificateFields::default(), Some(Placement::Auth1))),
            ..ReaderPlan::default()
        };
        let made = add_reader(&lock, plan).unwrap();
        assert!(made.certificate.is_some() && made.credentials.is_empty());
        assert!(matches!(add_reader(&lock, ReaderPlan::default()), Err(AliroError::State { .. })));
        let key = add_credential(Some(&lock), Some(&phone), CredentialPlan::default()).unwrap();
        let made = reader(&lock).unwrap();
        assert_eq!(
            made.credentials.iter().map(|c| (c.phone, c.key)).collect::<Vec<_>>(),
            [(site.phones[0], key)]
        );
        let config = PhoneConfig::load(&phone).unwrap();
        assert_eq!(config.personalisation.applications.last().unwrap().kind, tapdoor_chip::Kind::Aliro);
        // The same phone again: its name is taken.
        let before = fs::read(&phone).unwrap();
        assert!(add_credential(Some(&lock), Some(&phone), CredentialPlan::default()).is_err());
        assert_eq!(fs::read(&phone).unwrap(), before);
    }
}
