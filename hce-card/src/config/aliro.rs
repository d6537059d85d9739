//! `[aliro]` of phone.toml: the credentials of the user device, and the reader groups that it knows.

use serde::Deserialize;
use tapdoor_chip::Application;
use tapdoor_chip::personalise::Secret;
use tapdoor_config::{ConfigError, Field, File, Spanned};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::auth::Timestamps;
use tapdoor_protocol::aliro::device::{Credential, Group};
use tapdoor_protocol::aliro::mailbox::{LARGEST, Permissions};
use tapdoor_protocol::aliro::select::{Fci, Lengths};
use tapdoor_protocol::aliro::{Bitmap, DeviceConfig, PublicKey};
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use zeroize::Zeroizing;

/// Most credentials of a phone.
const CREDENTIALS: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawAliro {
    versions: Option<Vec<Field>>,
    extended_length: Option<Spanned<[u16; 2]>>,
    descriptor: Option<Field>,
    vendor: Option<Field>,
    signaling: Option<Field>,
    credentials: Spanned<Vec<RawCredential>>,
    #[serde(default)]
    groups: Vec<RawGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawCredential {
    key: Field,
    mailbox: Option<Spanned<u16>>,
    mailbox_readable: Option<bool>,
    mailbox_writable: Option<bool>,
    credential_signed: Option<Field>,
    revocation_signed: Option<Field>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawGroup {
    id: Field,
    key: Field,
    credential: Option<Spanned<u8>>,
}

/// A user device, checked.
pub(super) struct UserDevice {
    config: DeviceConfig,
    keys: Zeroizing<Vec<u8>>,
}

impl UserDevice {
    /// The application; with wrong keys its signatures are those of other credentials.
    pub(super) fn application(&self, wrong: bool) -> Application {
        let mut keys = self.keys.clone();
        if wrong {
            keys.chunks_mut(32).filter_map(|key| key.last_mut()).for_each(|last| *last ^= 1);
        }
        Application::aliro(Aid::ALIRO_EXPEDITED, &self.config, Secret::new(keys.to_vec()))
    }
}

fn bytes(file: &File, field: Option<&Field>, most: usize) -> Result<Option<Vec<u8>>, ConfigError> {
    let Some(field) = field else { return Ok(None) };
    let value = file.bytes(field)?.to_vec();
    if value.len() > most {
        return Err(file.error(&field.span(), format!("must have at most {most} bytes")));
    }
    Ok(Some(value))
}

fn word(file: &File, field: &Field) -> Result<u16, ConfigError> {
    Ok(u16::from_be_bytes(*file.key::<2>(field)?))
}

fn time(file: &File, field: Option<&Field>) -> Result<Option<[u8; 20]>, ConfigError> {
    let Some(field) = field else { return Ok(None) };
    let text = field.get_ref().as_bytes().try_into();
    text.map(Some)
        .map_err(|_| file.error(&field.span(), "must have 20 characters, as 2026-02-26T15:54:26Z"))
}

/// Checks the section.
pub(super) fn check(file: &File, raw: &RawAliro) -> Result<UserDevice, ConfigError> {
    let mut config = DeviceConfig::default();
    if let Some(versions) = &raw.versions {
        config.versions = versions.iter().map(|field| word(file, field)).collect::<Result<_, _>>()?;
    }
    if let Some(lengths) = &raw.extended_length {
        let [command, response] = *lengths.get_ref();
        if command < 64 || response < 64 {
            return Err(file.error(
                &lengths.span(),
                "must be the longest command and response APDU, 64 bytes at least: [275, 275]",
            ));
        }
        config.lengths = Some(Lengths { command, response });
    }
    config.descriptor = bytes(file, raw.descriptor.as_ref(), 127)?;
    config.vendor = bytes(file, raw.vendor.as_ref(), 128)?;
    if let Some(field) = &raw.signaling {
        config.bitmap = Bitmap(word(file, field)?);
    }
    let fci = Fci::new(&config.versions, config.lengths, config.descriptor.as_deref());
    if Fci::parse(&fci.encode()).is_err() {
        let detail = "[aliro]: the FCI is longer than readers take (127 bytes), or there is no version";
        return Err(file.error_in_file(detail));
    }
    let credentials = raw.credentials.get_ref();
    if credentials.is_empty() || credentials.len() > CREDENTIALS {
        let detail = format!("[aliro] must have 1 to {CREDENTIALS} credentials");
        return Err(file.error(&raw.credentials.span(), detail));
    }
    let mut keys = Zeroizing::new(Vec::with_capacity(32 * credentials.len()));
    for credential in credentials {
        let private = file.key::<32>(&credential.key)?;
        let key = public_uncompressed(&SecretScalar(*private))
            .map(PublicKey)
            .ok_or_else(|| file.error(&credential.key.span(), "is no P-256 private key"))?;
        if config.credentials.iter().any(|other| other.key == key) {
            return Err(file.error(&credential.key.span(), "is there twice; each must be unique"));
        }
        keys.extend_from_slice(private.as_slice());
        let mailbox = match &credential.mailbox {
            Some(size) if *size.get_ref() > LARGEST => return Err(file.error(&size.span(), format!("must be 0 to {LARGEST}"))),
            Some(size) => *size.get_ref(),
            None => 512,
        };
        config.credentials.push(Credential {
            key,
            mailbox,
            permissions: Permissions {
                read: credential.mailbox_readable.unwrap_or(true),
                write: credential.mailbox_writable.unwrap_or(true),
            },
            timestamps: Timestamps {
                credential: time(file, credential.credential_signed.as_ref())?,
                revocation: time(file, credential.revocation_signed.as_ref())?,
            },
        });
    }
    for group in &raw.groups {
        let identifier = *file.key::<16>(&group.id)?;
        if config.groups.iter().any(|other| other.identifier == identifier) {
            return Err(file.error(&group.id.span(), "is there twice; each must be unique"));
        }
        let key = PublicKey::new(&file.bytes(&group.key)?).ok_or_else(|| {
            let detail = "must be a P-256 public key in its uncompressed form: 130 hexadecimal digits from 04, a point of the curve";
            file.error(&group.key.span(), detail)
        })?;
        let credential = match &group.credential {
            None => 0,
            Some(number) => match usize::from(*number.get_ref())
                .checked_sub(1)
                .filter(|n| *n < config.credentials.len())
            {
                Some(number) => number as u8,
                None => return Err(file.error(&number.span(), "is no number of a credential; they are counted from 1")),
            },
        };
        config.groups.push(Group {
            identifier,
            key,
            credential,
        });
    }
    Ok(UserDevice { config, keys })
}
