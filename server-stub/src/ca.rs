//! The certificate authority of a site: it signs the certificate of its own server and nothing else (X.509, ECDSA P-256).
//!
//! Agents and locks are given the authority's certificate and trust no other. Keys are written with mode 0600, and no file is overwritten.

use std::io::Write;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use zeroize::Zeroizing;

/// File of the authority's certificate.
pub const CA_CERTIFICATE: &str = "ca.crt";
/// File of the authority's private key. The running server does not need it.
pub const CA_KEY: &str = "ca.key";
/// File of the server's certificate.
pub const SERVER_CERTIFICATE: &str = "server.crt";
/// File of the server's private key.
pub const SERVER_KEY: &str = "server.key";
/// File of the administration token, alone on one line.
pub const ADMIN_TOKEN: &str = "admin.token";

/// How long a server's certificate is good, in years; the authority's is good three times as long.
const YEARS: i32 = 5;

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file is there already.
    #[error(
        "{0} is there already and is not overwritten; to renew the server's certificate, remove {SERVER_CERTIFICATE} and {SERVER_KEY} and keep {CA_CERTIFICATE} and {CA_KEY}"
    )]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A name that no certificate can carry, or a damaged certificate.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// No name was given.
    #[error("give at least one name or address under which the server is reached")]
    NoName,
    /// No randomness.
    #[error("the machine gives no random numbers")]
    Random,
}

/// The files that [`init`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitFiles {
    /// The authority's certificate: give it to agents and locks.
    pub ca_certificate: PathBuf,
    /// The authority's key: keep it away from the server.
    pub ca_key: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
    /// The token of the administration API, to be copied into server.toml as `admin-token`.
    pub admin_token: PathBuf,
}

/// A new authority, a server certificate for these names and addresses, and an administration token.
///
/// # Errors
/// [`CaError`]; when a file is there already nothing is written.
pub fn init(folder: &Path, names: &[String]) -> Result<InitFiles, CaError> {
    let files = InitFiles {
        ca_certificate: folder.join(CA_CERTIFICATE),
        ca_key: folder.join(CA_KEY),
        certificate: folder.join(SERVER_CERTIFICATE),
        key: folder.join(SERVER_KEY),
        admin_token: folder.join(ADMIN_TOKEN),
    };
    absent([
        &files.ca_certificate,
        &files.ca_key,
        &files.certificate,
        &files.key,
        &files.admin_token,
    ])?;
    let authority = Authority::new()?;
    let server = authority.server(names)?;
    let token = random_token()?;
    std::fs::create_dir_all(folder).map_err(|source| CaError::File {
        path: folder.into(),
        source,
    })?;
    write(&files.ca_key, authority.key_pem().as_bytes(), true)?;
    write(&files.ca_certificate, authority.certificate_pem.as_bytes(), false)?;
    write(&files.key, server.key_pem.as_bytes(), true)?;
    write(&files.certificate, server.certificate_pem.as_bytes(), false)?;
    write(&files.admin_token, format!("{}\n", *token).as_bytes(), true)?;
    Ok(files)
}

/// A new certificate and key of the server, from the authority in the folder. The old two files must have been removed or moved.
///
/// # Errors
/// [`CaError`].
pub fn renew(folder: &Path, names: &[String]) -> Result<(PathBuf, PathBuf), CaError> {
    let (certificate, key) = (folder.join(SERVER_CERTIFICATE), folder.join(SERVER_KEY));
    absent([&certificate, &key])?;
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|source| CaError::File { path, source })
    };
    let authority = Authority::from_pem(read(CA_CERTIFICATE)?, &Zeroizing::new(read(CA_KEY)?))?;
    let server = authority.server(names)?;
    write(&key, server.key_pem.as_bytes(), true)?;
    write(&certificate, server.certificate_pem.as_bytes(), false)?;
    Ok((certificate, key))
}

/// 32 random bytes in hexadecimal.
///
/// # Errors
/// [`CaError::Random`].
pub fn random_token() -> Result<Zeroizing<String>, CaError> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| CaError::Random)?;
    Ok(Zeroizing::new(hex::encode(bytes.as_slice())))
}

/// An authority in memory, for tests and demonstrations too.
pub struct Authority {
    /// Its certificate, PEM.
    pub certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(..)")
    }
}

/// A certificate with its key.
pub struct Issued {
    /// PEM.
    pub certificate_pem: String,
    /// PEM, PKCS #8.
    pub key_pem: Zeroizing<String>,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issued(..)")
    }
}

fn parameters(name: &str, years: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // From yesterday, for clocks that are a little behind.
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let date = |d: jiff::civil::Date, years: i32| {
        let (month, day) = (u8::try_from(d.month()).unwrap_or(1), u8::try_from(d.day()).unwrap_or(1));
        // No 29th of February in a year that has none.
        rcgen::date_time_ymd(i32::from(d.year()) + years, month, day.min(28))
    };
    let yesterday = today.yesterday().unwrap_or(today);
    params.not_before = date(yesterday, 0);
    params.not_after = date(yesterday, years);
    params
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// [`CaError::Certificate`].
    pub fn new() -> Result<Self, CaError> {
        let mut params = parameters("Tapdoor site authority", 3 * YEARS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate_pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// One that was made before.
    ///
    /// # Errors
    /// [`CaError::Certificate`].
    pub fn from_pem(certificate_pem: String, key_pem: &str) -> Result<Self, CaError> {
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, KeyPair::from_pem(key_pem)?)?;
        Ok(Self { certificate_pem, issuer })
    }

    fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// A server certificate for these names and addresses.
    ///
    /// # Errors
    /// [`CaError::Certificate`] for a name that is none, [`CaError::NoName`].
    pub fn server(&self, names: &[String]) -> Result<Issued, CaError> {
        let first = names.first().ok_or(CaError::NoName)?;
        let mut params = parameters(first, YEARS);
        for name in names {
            params.subject_alt_names.push(match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Issued {
            certificate_pem: params.signed_by(&key, &self.issuer)?.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }
}

fn absent<const N: usize>(files: [&PathBuf; N]) -> Result<(), CaError> {
    match files.into_iter().find(|path| path.exists()) {
        Some(path) => Err(CaError::Exists(path.clone())),
        None => Ok(()),
    }
}

fn write(path: &Path, content: &[u8], secret: bool) -> Result<(), CaError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o644 });
    #[cfg(not(unix))]
    let _ = secret;
    options
        .open(path)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => CaError::Exists(path.into()),
            _ => CaError::File { path: path.into(), source },
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_are_made_once_and_the_certificate_can_be_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let files = init(folder.path(), &names).unwrap();
        #[cfg(unix)]
        for secret in [&files.ca_key, &files.key, &files.admin_token] {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(secret).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_to_string(&files.admin_token).unwrap().trim().len(), 64);
        assert!(matches!(init(folder.path(), &names), Err(CaError::Exists(_))));
        assert!(matches!(renew(folder.path(), &names), Err(CaError::Exists(_))));
        let before = std::fs::read(&files.certificate).unwrap();
        std::fs::remove_file(&files.certificate).unwrap();
        std::fs::remove_file(&files.key).unwrap();
        renew(folder.path(), &names).unwrap();
        assert_ne!(std::fs::read(&files.certificate).unwrap(), before);
        assert!(matches!(Authority::new().unwrap().server(&[]), Err(CaError::NoName)));
        assert!(Authority::new().unwrap().server(&["not a näme".to_owned()]).is_err());
    }
}
