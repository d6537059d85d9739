//! `[aliro]` of lock.toml: which reader this is, how it authenticates, which credentials may open.

use serde::Deserialize;
use tapdoor_chip::Application;
use tapdoor_chip::personalise::Secret;
use tapdoor_config::{ConfigError, Field, File, Spanned};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::certificate::Certificate;
use tapdoor_protocol::aliro::exchange::{MailboxRequest, Operation};
use tapdoor_protocol::aliro::mailbox::LARGEST;
use tapdoor_protocol::aliro::reader::{Entry, Placement};
use tapdoor_protocol::aliro::{KeyForm, PublicKey, ReaderConfig, ReaderIdentifier, ReaderStatus};
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::ids::PhoneId;

use super::moment;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawAliro {
    group: Field,
    sub: Field,
    key: Field,
    certificate: Option<Field>,
    issuer: Option<Field>,
    certificate_in: Option<Field>,
    fast: Option<bool>,
    versions: Option<Vec<Field>>,
    policy: Option<Spanned<u8>>,
    credential_by: Option<Field>,
    status: Option<Field>,
    vendor: Option<Field>,
    remembered: Option<Spanned<u16>>,
    #[serde(default)]
    mailbox: Vec<Field>,
    #[serde(default)]
    credentials: Vec<RawCredential>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawCredential {
    id: Field,
    key: Field,
    not_before: Option<Field>,
    not_after: Option<Field>,
    #[serde(default)]
    revoked: bool,
}

fn point(file: &File, field: &Field) -> Result<PublicKey, ConfigError> {
    PublicKey::new(&file.bytes(field)?).ok_or_else(|| {
        let detail = "must be a P-256 public key in its uncompressed form: 130 hexadecimal digits from 04, a point of the curve";
        file.error(&field.span(), detail)
    })
}

/// A version or a status: four hexadecimal digits.
fn word(file: &File, field: &Field) -> Result<u16, ConfigError> {
    Ok(u16::from_be_bytes(*file.key::<2>(field)?))
}

/// The application of the lock's chip, and which reader it is.
pub(super) fn check(file: &File, raw: &RawAliro) -> Result<(Application, ReaderIdentifier), ConfigError> {
    let private = file.key::<32>(&raw.key)?;
    let own = public_uncompressed(&SecretScalar(*private))
        .map(PublicKey)
        .ok_or_else(|| file.error(&raw.key.span(), "is no P-256 private key"))?;
    let identifier = ReaderIdentifier::new(*file.key::<16>(&raw.group)?, *file.key::<16>(&raw.sub)?);
    let mut config = ReaderConfig::new(identifier, own);
    match (&raw.certificate, &raw.issuer) {
        (Some(certificate), Some(issuer)) => {
            let bytes = file.bytes(certificate)?;
            let parsed = Certificate::parse(&bytes).map_err(|e| file.error(&certificate.span(), e.to_string()))?;
            let key = point(file, issuer)?;
            if parsed.key != own {
                return Err(file.error(&certificate.span(), "is for another key than `key`"));
            }
            if !parsed.is_signed_by(&key) {
                return Err(file.error(&certificate.span(), "was not signed by `issuer`"));
            }
            let words = [("load-cert", Placement::LoadCert), ("auth1", Placement::Auth1)];
            let placement = raw
                .certificate_in
                .as_ref()
                .map_or(Ok(Placement::LoadCert), |field| file.word(field, &words))?;
            config.certificate = Some((bytes.to_vec(), placement));
            config.group_key = key;
        }
        (None, None) => {}
        (Some(field), None) => return Err(file.error(&field.span(), "needs `issuer`, the public key that signed it")),
        (None, Some(field)) => return Err(file.error(&field.span(), "is without a `certificate`")),
    }
    config.fast = raw.fast.unwrap_or(true);
    if let Some(versions) = &raw.versions {
        config.versions = versions.iter().map(|field| word(file, field)).collect::<Result<_, _>>()?;
        if config.versions.is_empty() {
            return Err(file.error(&raw.group.span(), "`versions` is empty: 1.0 is \"0100\""));
        }
    }
    if let Some(policy) = &raw.policy {
        config.policy = *policy.get_ref();
        if !(1..=3).contains(&config.policy) {
            let detail = "must be 1 (the phone's setting), 2 (that and a secure action) or 3 (the user must be authenticated)";
            return Err(file.error(&policy.span(), detail));
        }
    }
    if let Some(field) = &raw.credential_by {
        config.form = file.word(field, &[("key-slot", KeyForm::Slot), ("public-key", KeyForm::PublicKey)])?;
    }
    if let Some(field) = &raw.status {
        config.status = ReaderStatus(word(file, field)?);
        if !config.status.is_success() {
            return Err(file.error(
                &field.span(),
                "must be a status of success: 0100 secured, 0101 unsecured, 0181 unsecuring started",
            ));
        }
    }
    if let Some(field) = &raw.vendor {
        let value = file.bytes(field)?.to_vec();
        if value.len() > 127 {
            return Err(file.error(&field.span(), "must have at most 127 bytes"));
        }
        config.vendor = Some(value);
    }
    if let Some(most) = &raw.remembered {
        config.remembered = *most.get_ref();
        if !(16..=4096).contains(&config.remembered) {
            return Err(file.error(&most.span(), "must be 16 to 4096"));
        }
    }
    config.mailbox = raw.mailbox.iter().map(|field| request(file, field)).collect::<Result<_, _>>()?;
    let (mut phones, mut keys) = (std::collections::HashSet::new(), std::collections::HashSet::new());
    for credential in &raw.credentials {
        let (phone, key) = (file.value::<PhoneId>(&credential.id)?, point(file, &credential.key)?);
        if !phones.insert(phone) {
            return Err(file.error(&credential.id.span(), "is there twice; each must be unique"));
        }
        if !keys.insert(key) {
            return Err(file.error(&credential.key.span(), "is there twice; each must be unique"));
        }
        let (from, until) = (
            moment(file, credential.not_before.as_ref())?,
            moment(file, credential.not_after.as_ref())?,
        );
        if let Some(field) = credential.not_before.as_ref().filter(|_| until != 0 && from >= until) {
            return Err(file.error(&field.span(), "must be before `not-after`"));
        }
        config.credentials.push(Entry {
            phone,
            key,
            not_before: from,
            not_after: until,
            revoked: credential.revoked,
        });
    }
    let application = Application::aliro_lock(Aid::ALIRO_LOCK, &config, Secret::new(private.to_vec()));
    Ok((application, identifier))
}

/// One EXCHANGE: `[atomic:] read OFFSET LENGTH; write OFFSET HEX; set OFFSET LENGTH BYTE`. Numbers are decimal, or hexadecimal after 0x.
fn request(file: &File, field: &Field) -> Result<MailboxRequest, ConfigError> {
    parse_request(field.get_ref()).ok_or_else(|| {
        let detail = format!(
            "must be like \"read 0 16\", \"write 4 aabb; set 8 2 ff\" or \"atomic: write 0 aa\", within a mailbox of {LARGEST} bytes; \"atomic:\" leaves the session open"
        );
        file.error(&field.span(), detail)
    })
}

fn parse_request(text: &str) -> Option<MailboxRequest> {
    let text = text.trim();
    let (open, text) = match text.strip_prefix("atomic:") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let operation = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let operation = match words.as_slice() {
            ["read", offset, length] => Operation::Read {
                offset: number(offset)?,
                length: number(length)?,
            },
            ["write", offset, data] => Operation::Write {
                offset: number(offset)?,
                data: hex::decode(data).ok()?,
            },
            ["set", offset, length, value] => Operation::Set {
                offset: number(offset)?,
                length: number(length)?,
                value: u8::from_str_radix(value, 16).ok()?,
            },
            _ => return None,
        };
        let (offset, length) = match &operation {
            Operation::Read { offset, length } | Operation::Set { offset, length, .. } => (*offset, usize::from(*length)),
            Operation::Write { offset, data } => (*offset, data.len()),
        };
        (usize::from(offset) + length <= usize::from(LARGEST)).then_some(operation)
    };
    let operations = text
        .split(';')
        .filter(|part| !part.trim().is_empty())
        .map(operation)
        .collect::<Option<Vec<_>>>()?;
    (!operations.is_empty()).then_some(MailboxRequest { open, operations })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn mailbox_requests() {
        let request = parse_request("atomic: write 0 aabb; set 0x10 2 ff ; read 3 4").unwrap();
        assert!(request.open);
        assert_eq!(request.operations.len(), 3);
        assert!(!parse_request("read 0 4096").unwrap().open);
        for bad in [
            "",
            "atomic:",
            "read 0",
            "read 1 4096",
            "write 0 a",
            "set 0 1 100",
            "burn 0 1",
            "read -1 2",
        ] {
            assert!(parse_request(bad).is_none(), "{bad}");
        }
    }
}
