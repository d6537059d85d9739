//! The tables of server.toml: systems, locks, phones, grants, providers, applications.

use std::path::PathBuf;

use serde::Deserialize;
use tapdoor_config::{ConfigError, Field, File};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_protocol::vault::Method;

use crate::registry::{ChipRef, Grant, GrantTarget, Half, Identifier, IdentifierKind, Lock, Phone, Profile, Provider, System, Version};
use crate::seal::{ChipKeys, SealedKeys, Sealer};

/// The name of the system that locks belong to unless they say another.
pub const DOOR: &str = "door";

/// What to bring into the store at the start.
#[derive(Clone, Debug, Default)]
pub struct Register {
    /// Systems.
    pub systems: Vec<System>,
    /// Locks.
    pub locks: Vec<Lock>,
    /// Phones.
    pub phones: Vec<Phone>,
    /// Grants.
    pub grants: Vec<GrantEntry>,
    /// Providers.
    pub providers: Vec<Provider>,
    /// Applications.
    pub applications: Vec<ApplicationEntry>,
}

/// A grant of the file.
pub type GrantEntry = Grant;

/// An application of the file; its load file is read when it is brought in.
#[derive(Clone, Debug)]
pub struct ApplicationEntry {
    /// As in [`crate::registry::Application`].
    pub name: String,
    /// As there.
    pub version: Version,
    /// As there.
    pub provider: Option<String>,
    /// As there.
    pub half: Half,
    /// As there.
    pub elf: Aid,
    /// As there.
    pub module: Aid,
    /// As there.
    pub aid: Aid,
    /// As there.
    pub peer: Aid,
    /// As there.
    pub parameters: Vec<u8>,
    /// As there.
    pub profile: Profile,
    /// The load file.
    pub load_file: PathBuf,
}

/// The tables as they stand. (They are not one flattened struct because that would lose the places of the values.)
pub(super) struct Raw {
    pub systems: Vec<RawSystem>,
    pub locks: Vec<RawLock>,
    pub phones: Vec<RawPhone>,
    pub grants: Vec<RawGrant>,
    pub providers: Vec<RawProvider>,
    pub applications: Vec<RawApplication>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawSystem {
    name: Field,
    application: Option<String>,
    lock_application: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawLock {
    id: Field,
    public_key: Option<Field>,
    mac: Option<Field>,
    iccid: Option<Field>,
    imsi: Option<Field>,
    msisdn: Option<Field>,
    system: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    window: Option<Field>,
    chip_kvn: Option<u8>,
    chip_enc: Option<Field>,
    chip_mac: Option<Field>,
    chip_dek: Option<Field>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawPhone {
    id: Field,
    imei: Option<Field>,
    iccid: Option<Field>,
    imsi: Option<Field>,
    msisdn: Option<Field>,
    #[serde(default)]
    user_authenticated: bool,
    chip_kvn: Option<u8>,
    chip_enc: Option<Field>,
    chip_mac: Option<Field>,
    chip_dek: Option<Field>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawGrant {
    phone: Field,
    lock: Option<Field>,
    group: Option<String>,
    until: Option<Field>,
    weakest: Option<Field>,
    #[serde(default)]
    user_authenticated: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawProvider {
    name: String,
    key: Field,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawApplication {
    name: String,
    version: Field,
    provider: Option<String>,
    half: Option<Field>,
    elf: Field,
    module: Field,
    aid: Field,
    peer: Option<Field>,
    parameters: Option<Field>,
    profile: Option<Field>,
    load_file: String,
}

const METHODS: [(&str, Method); 3] = [
    ("challenge-response", Method::ChallengeResponse),
    ("aka", Method::Aka),
    ("aliro", Method::Aliro),
];

pub(super) fn check(file: &File, raw: &Raw, sealer: &Sealer) -> Result<Register, ConfigError> {
    let mut register = Register {
        systems: systems(file, &raw.systems)?,
        ..Register::default()
    };
    for raw in &raw.locks {
        register.locks.push(lock(file, raw, sealer)?);
    }
    for raw in &raw.phones {
        register.phones.push(phone(file, raw, sealer)?);
    }
    for raw in &raw.grants {
        register.grants.push(grant(file, raw)?);
    }
    for raw in &raw.providers {
        register.providers.push(Provider {
            name: raw.name.clone(),
            key: public_key(file, &raw.key)?,
        });
    }
    for raw in &raw.applications {
        register.applications.push(application(file, raw)?);
    }
    Ok(register)
}

fn systems(file: &File, raw: &[RawSystem]) -> Result<Vec<System>, ConfigError> {
    raw.iter()
        .map(|raw| {
            if raw.name.get_ref().is_empty() {
                return Err(file.error(&raw.name.span(), "must not be empty"));
            }
            Ok(System {
                name: raw.name.get_ref().clone(),
                application: raw.application.clone(),
                lock_application: raw.lock_application.clone(),
            })
        })
        .collect()
}

fn identifiers(file: &File, fields: &[(IdentifierKind, &Option<Field>)]) -> Result<Vec<Identifier>, ConfigError> {
    fields
        .iter()
        .filter_map(|(kind, field)| field.as_ref().map(|field| (kind, field)))
        .map(|(kind, field)| Identifier::parse(*kind, field.get_ref()).map_err(|e| file.error(&field.span(), e.detail)))
        .collect()
}

fn public_key(file: &File, field: &Field) -> Result<Vec<u8>, ConfigError> {
    let key = file.bytes(field)?.to_vec();
    if is_public_key(&key) {
        Ok(key)
    } else {
        Err(file.error(
            &field.span(),
            "must be a P-256 public key, SEC1: 33 bytes from 02 or 03, or 65 from 04",
        ))
    }
}

/// Whether these bytes have the form of a P-256 public key in SEC1 form.
#[must_use]
pub(crate) fn is_public_key(key: &[u8]) -> bool {
    matches!((key.len(), key.first()), (33, Some(2 | 3)) | (65, Some(4)))
}

type KeyFields<'a> = [(&'a str, &'a Option<Field>); 3];

fn chip(
    file: &File,
    at: &Field,
    chip: ChipRef,
    kvn: Option<u8>,
    keys: KeyFields<'_>,
    sealer: &Sealer,
) -> Result<Option<SealedKeys>, ConfigError> {
    let given: Vec<&Field> = keys.iter().filter_map(|(_, field)| field.as_ref()).collect();
    let [enc, mac, dek] = given.as_slice() else {
        if given.is_empty() && kvn.is_none() {
            return Ok(None);
        }
        return Err(file.error(
            &at.span(),
            "has some of chip-enc, chip-mac and chip-dek: give all three, or none and no chip-kvn",
        ));
    };
    let bytes = |field: &Field| file.bytes(field).map(|b| b.to_vec());
    let keys =
        ChipKeys::new(kvn.unwrap_or(0x30), bytes(enc)?, bytes(mac)?, bytes(dek)?).map_err(|e| file.error(&enc.span(), e.to_string()))?;
    sealer
        .seal(chip, &keys)
        .map(Some)
        .ok_or_else(|| file.error_in_file("the machine gives no random numbers"))
}

fn lock(file: &File, raw: &RawLock, sealer: &Sealer) -> Result<Lock, ConfigError> {
    let id: LockId = file.value(&raw.id)?;
    let keys = [("enc", &raw.chip_enc), ("mac", &raw.chip_mac), ("dek", &raw.chip_dek)];
    Ok(Lock {
        id,
        public_key: raw.public_key.as_ref().map(|field| public_key(file, field)).transpose()?,
        identifiers: identifiers(
            file,
            &[
                (IdentifierKind::Mac, &raw.mac),
                (IdentifierKind::Iccid, &raw.iccid),
                (IdentifierKind::Imsi, &raw.imsi),
                (IdentifierKind::Msisdn, &raw.msisdn),
            ],
        )?,
        system: raw.system.clone().unwrap_or_else(|| DOOR.into()),
        groups: raw.groups.clone(),
        window: raw.window.as_ref().map(|field| file.value(field)).transpose()?,
        chip: chip(file, &raw.id, ChipRef::Lock(id), raw.chip_kvn, keys, sealer)?,
        revoked: false,
    })
}

fn phone(file: &File, raw: &RawPhone, sealer: &Sealer) -> Result<Phone, ConfigError> {
    let id: PhoneId = file.value(&raw.id)?;
    let keys = [("enc", &raw.chip_enc), ("mac", &raw.chip_mac), ("dek", &raw.chip_dek)];
    Ok(Phone {
        id,
        identifiers: identifiers(
            file,
            &[
                (IdentifierKind::Imei, &raw.imei),
                (IdentifierKind::Iccid, &raw.iccid),
                (IdentifierKind::Imsi, &raw.imsi),
                (IdentifierKind::Msisdn, &raw.msisdn),
            ],
        )?,
        user_authenticated: raw.user_authenticated,
        chip: chip(file, &raw.id, ChipRef::Phone(id), raw.chip_kvn, keys, sealer)?,
        revoked: false,
    })
}

fn grant(file: &File, raw: &RawGrant) -> Result<Grant, ConfigError> {
    let target = match (&raw.lock, &raw.group) {
        (Some(lock), None) => GrantTarget::Lock(file.value(lock)?),
        (None, Some(group)) => GrantTarget::Group(group.clone()),
        _ => return Err(file.error(&raw.phone.span(), "a grant names a `lock` or a `group`, one of the two")),
    };
    Ok(Grant {
        phone: file.value(&raw.phone)?,
        target,
        not_after: raw.until.as_ref().map_or(Ok(0), |field| file.time(field))?,
        weakest: raw
            .weakest
            .as_ref()
            .map_or(Ok(Method::ChallengeResponse), |field| file.word(field, &METHODS))?,
        flags: u8::from(raw.user_authenticated),
        revoked: false,
    })
}

fn application(file: &File, raw: &RawApplication) -> Result<ApplicationEntry, ConfigError> {
    let aid: Aid = file.value(&raw.aid)?;
    Ok(ApplicationEntry {
        name: raw.name.clone(),
        version: file.value(&raw.version)?,
        provider: raw.provider.clone(),
        half: raw.half.as_ref().map_or(Ok(Half::Phone), |field| {
            file.word(field, &[("phone", Half::Phone), ("lock", Half::Lock)])
        })?,
        elf: file.value(&raw.elf)?,
        module: file.value(&raw.module)?,
        aid,
        peer: raw.peer.as_ref().map_or(Ok(aid), |field| file.value(field))?,
        parameters: raw
            .parameters
            .as_ref()
            .map_or(Ok(Vec::new()), |field| file.bytes(field).map(|b| b.to_vec()))?,
        profile: raw.profile.as_ref().map_or(Ok(Profile::Door), |field| {
            file.word(field, &[("door", Profile::Door), ("none", Profile::None)])
        })?,
        load_file: file.resolve(&raw.load_file),
    })
}
