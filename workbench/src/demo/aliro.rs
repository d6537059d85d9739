//! Aliro: fast, standard, certificate, and what is refused.

use tapdoor_chip::personalise::Secret;
use tapdoor_chip::{Application, Kind};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::aliro::ReaderConfig;
use tapdoor_protocol::aliro::certificate::CertificateFields;
use tapdoor_protocol::aliro::reader::Placement;
use tapdoor_protocol::door::Reason;
use tapdoor_reader::config::{LockConfig, Method};
use tapdoor_reader::{Lock, TapVerdict};

use super::{DemoError, Found, Scene, Stage};
use crate::aliro::{KeyFile, files};

/// A lock that is the site's reader, changed, with this key; its memory is `store`.
fn reader(stage: &mut Stage, store: &str, key: Secret, change: impl FnOnce(&mut ReaderConfig)) -> Result<Lock, DemoError> {
    let path = stage.folder.join(format!("{store}.toml"));
    let mut config = LockConfig::parse(&path, &stage.site.lock_toml())?;
    config.store = path.with_extension("chip");
    config.methods = vec![Method::Aliro];
    config.algorithm = Algorithm::Milenage;
    let mut reader = stage.site.aliro_reader();
    change(&mut reader);
    for application in config.personalisation.applications.iter_mut().filter(|a| a.kind == Kind::AliroLock) {
        *application = Application::aliro_lock(Aid::ALIRO_LOCK, &reader, key.clone());
    }
    Ok(Lock::new(config)?)
}

fn new_key() -> Result<KeyFile, DemoError> {
    files::new_key().map_err(|e| DemoError::Aliro(e.to_string()))
}

fn secret(key: &KeyFile) -> Secret {
    Secret::new(key.private().map(|key| key.to_vec()).unwrap_or_default())
}

/// The scenes.
pub(super) const SCENES: [(&str, &str, TapVerdict, Scene); 5] = [
    (
        "aliro-standard",
        "both sign; a phone and a reader that have never met, in four APDUs",
        TapVerdict::Open,
        |stage| {
            let key = stage.site.aliro_key();
            let mut lock = reader(stage, "reader", key, |_| ())?;
            let mut phone = stage.phone(false)?;
            Ok(Found::of(stage.tap(&mut lock, &mut phone), None, Some(4)))
        },
    ),
    (
        "aliro-fast",
        "they have met: a cryptogram under the key that both remember, in three APDUs",
        TapVerdict::Open,
        |stage| {
            let key = stage.site.aliro_key();
            let mut lock = reader(stage, "reader", key.clone(), |_| ())?;
            let mut phone = stage.phone(false)?;
            let first = stage.tap(&mut lock, &mut phone);
            drop(lock);
            // Switched off and on in between: what is remembered is stored.
            let mut lock = reader(stage, "reader", key, |_| ())?;
            let mut found = Found::of(stage.tap(&mut lock, &mut phone), None, Some(3));
            found.ok &= first.verdict == TapVerdict::Open && first.apdus == 4;
            Ok(found)
        },
    ),
    (
        "aliro-certificate",
        "a reader with a certificate of the group's issuer, by LOAD CERT: five APDUs",
        TapVerdict::Open,
        |stage| {
            // The phone knows the key of the site's reader for the group: here that key is the issuer's.
            let issuer = stage.site.aliro_key();
            let issuer: [u8; 32] = issuer.expose().try_into().unwrap_or_default();
            let issuer = KeyFile::from_private(&issuer).map_err(|e| DemoError::Aliro(e.to_string()))?;
            let own = new_key()?;
            let certificate = files::certificate(CertificateFields::default(), &own.public, &issuer);
            let certificate = certificate.map_err(|e| DemoError::Aliro(e.to_string()))?;
            let mut lock = reader(stage, "reader", secret(&own), |config| {
                config.certificate = Some((certificate.encode(), Placement::LoadCert));
            })?;
            let mut phone = stage.phone(false)?;
            Ok(Found::of(stage.tap(&mut lock, &mut phone), None, Some(5)))
        },
    ),
    (
        "aliro-wrong-reader",
        "a reader of the group with another key: the phone tells it nothing",
        TapVerdict::Refused,
        |stage| {
            let key = secret(&new_key()?);
            let mut lock = reader(stage, "reader", key, |_| ())?;
            let mut phone = stage.phone(false)?;
            Ok(Found::of(stage.tap(&mut lock, &mut phone), Some(Reason::WrongKey), Some(3)))
        },
    ),
    (
        "aliro-revoked",
        "it opened; then its credential was revoked, and the remembered key does not help",
        TapVerdict::Refused,
        |stage| {
            let key = stage.site.aliro_key();
            let mut lock = reader(stage, "reader", key.clone(), |_| ())?;
            let mut phone = stage.phone(false)?;
            let before = stage.tap(&mut lock, &mut phone);
            drop(lock);
            let mut lock = reader(stage, "reader", key, |config| {
                config.credentials.iter_mut().for_each(|credential| credential.revoked = true);
            })?;
            let mut found = Found::of(stage.tap(&mut lock, &mut phone), Some(Reason::NotEntitled), Some(2));
            found.ok &= before.verdict == TapVerdict::Open;
            Ok(found)
        },
    ),
];
