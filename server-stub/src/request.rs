//! A lock's request for an application (docs/protocol.md sections 8 and 9): the checks, in their order, each with a reason of its own.
//!
//! [`parse`] needs the body alone; [`judge`] needs the store and the wall clock. Neither knows HTTP.
//!
//! A request is good once. Its nonce is remembered durably before anything else is learnt from it, and its clock must be within 10 minutes of the
//! server's. When the server's clock jumps, requests with a right clock are refused (`clock-skew`) until it is set right; old requests do not become
//! good by that, because their nonces are kept for a day by the requests' own clocks, and those from before what was forgotten are refused whatever the
//! server's clock says.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tapdoor_protocol::crypto::{self, ecies, sign};
use tapdoor_protocol::door::keys;
use tapdoor_protocol::ids::{LockId, PhoneId};

use crate::config::Secrets;
use crate::error::ApiError;
use crate::registry::{Application, Grant, GrantTarget, Half, Identifier, IdentifierKind, Lock, Phone};
use crate::store::{self, Store};

/// How far the clock in a request may be from the server's, in seconds, either way.
pub const SKEW: u64 = 600;

/// The body of `POST /v1/downloads`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DownloadRequest {
    /// The lock's name: one of `mac`, `iccid`, `imsi`, `msisdn`, or its `id`.
    #[schema(example = json!({"mac": "02:00:5e:10:00:01"}))]
    pub lock: BTreeMap<String, String>,
    /// What the lock's chip signed, hexadecimal (docs/protocol.md section 9).
    pub request: String,
    /// r || s, 64 bytes, hexadecimal.
    pub signature: String,
}

/// How a lock names itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockName {
    /// By one of its four identifiers.
    Identifier(Identifier),
    /// By its identifier on the air.
    Id(LockId),
}

impl std::fmt::Display for LockName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identifier(identifier) => write!(f, "{identifier}"),
            Self::Id(id) => write!(f, "id {id}"),
        }
    }
}

/// A request whose form is right.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who asks.
    pub lock: LockName,
    /// The bytes that are signed.
    signed: Vec<u8>,
    signature: [u8; 64],
    lock_id: LockId,
    nonce: [u8; 16],
    clock: u32,
    /// The identity as the phone gave it: form, and the rest.
    identity: Vec<u8>,
}

/// A request that was found good.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// For this lock.
    pub lock: Lock,
    /// And this phone.
    pub phone: Phone,
    /// The grant that allows it.
    pub grant: Grant,
    /// What the phone gets, without its load file.
    pub application: Application,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// The lock's own name is malformed.
    #[error("the lock's name: {0}")]
    MalformedIdentifier(String),
    /// Too many requests.
    #[error("too many requests: wait, then ask again")]
    TooMany,
    /// Nobody knows the lock.
    #[error("no lock is registered under this name: `tapdoor server add-lock` registers it")]
    Unregistered,
    /// The lock was taken out of service.
    #[error("this lock was taken out of service")]
    Revoked,
    /// The signature is not by the lock's chip.
    #[error("{0}")]
    BadSignature(&'static str),
    /// The clocks differ too much.
    #[error("the lock's clock is {0} seconds from the server's, at most {SKEW} are allowed: set the clocks")]
    ClockSkew(i64),
    /// The request was seen before.
    #[error("this request was made before: a nonce is good once")]
    Replayed,
    /// The identity does not open.
    #[error("{0}")]
    BadIdentity(&'static str),
    /// The identity opens, and is no identity.
    #[error("the phone's identity: {0}")]
    MalformedIdentity(String),
    /// Nobody knows the phone.
    #[error("no phone is registered under this identity")]
    UnknownPhone,
    /// The phone's proof is not its own.
    #[error("the identity was not proved by the phone it belongs to")]
    IdentityMismatch,
    /// No grant.
    #[error("this phone may not open this lock")]
    NotEntitled,
    /// Nothing to send.
    #[error("{0}")]
    NoApplication(String),
    /// The phone's chip cannot be administered.
    #[error("the server has no keys of this phone's chip: register them (chip-enc, chip-mac, chip-dek)")]
    NoChipKeys,
}

impl Refusal {
    /// The word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::MalformedIdentifier(_) => "malformed-identifier",
            Self::TooMany => "too-many-requests",
            Self::Unregistered => "lock-unregistered",
            Self::Revoked => "lock-revoked",
            Self::BadSignature(_) => "bad-signature",
            Self::ClockSkew(_) => "clock-skew",
            Self::Replayed => "replayed",
            Self::BadIdentity(_) => "bad-identity",
            Self::MalformedIdentity(_) => "malformed-identity",
            Self::UnknownPhone => "unknown-phone",
            Self::IdentityMismatch => "identity-mismatch",
            Self::NotEntitled => "not-entitled",
            Self::NoApplication(_) => "no-application",
            Self::NoChipKeys => "no-chip-keys",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::MalformedIdentifier(_) | Self::BadIdentity(_) | Self::MalformedIdentity(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Unregistered
            | Self::Revoked
            | Self::BadSignature(_)
            | Self::ClockSkew(_)
            | Self::IdentityMismatch
            | Self::NotEntitled => StatusCode::FORBIDDEN,
            Self::UnknownPhone => StatusCode::NOT_FOUND,
            Self::Replayed | Self::NoApplication(_) | Self::NoChipKeys => StatusCode::CONFLICT,
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.status(), refusal.code(), refusal.to_string())
    }
}

/// Reads a body.
///
/// # Errors
/// [`Refusal::Malformed`] with the place of the fault, [`Refusal::MalformedIdentifier`]. Never panics.
pub fn parse(body: &[u8]) -> Result<Asked, Refusal> {
    let body: DownloadRequest = serde_json::from_slice(body).map_err(|e| Refusal::Malformed(format!("JSON: {e}")))?;
    let mut names = body.lock.iter();
    let (Some((word, text)), None) = (names.next(), names.next()) else {
        return Err(Refusal::Malformed(
            "\"lock\" names the lock in one way: mac, iccid, imsi, msisdn or id".into(),
        ));
    };
    let kind = IdentifierKind::from_word(word).filter(|kind| IdentifierKind::OF_LOCKS.contains(kind));
    let lock = match (word.as_str(), kind) {
        ("id", _) => LockName::Id(text.parse().map_err(|e| Refusal::MalformedIdentifier(format!("id: {e}")))?),
        (_, Some(kind)) => LockName::Identifier(Identifier::parse(kind, text).map_err(|e| Refusal::MalformedIdentifier(e.to_string()))?),
        _ => {
            return Err(Refusal::Malformed(
                "\"lock\" names the lock by mac, iccid, imsi, msisdn or id, and by nothing else".into(),
            ));
        }
    };
    let signed = hex::decode(&body.request).map_err(|e| Refusal::Malformed(format!("\"request\" is not hexadecimal: {e}")))?;
    let mut signature = [0; 64];
    hex::decode_to_slice(&body.signature, &mut signature)
        .map_err(|e| Refusal::Malformed(format!("\"signature\" is not 64 bytes in hexadecimal: {e}")))?;
    let wrong = |what: &str| Refusal::Malformed(format!("\"request\": {what} (docs/protocol.md section 9)"));
    let (head, identity) = signed.split_first_chunk::<31>().ok_or_else(|| wrong("has fewer than 31 bytes"))?;
    let [version, fields @ ..] = head;
    if *version != 1 {
        return Err(wrong("does not begin with 01"));
    }
    let part = |at: std::ops::Range<usize>| fields.get(at).unwrap_or_default();
    let lock_id = LockId::from_slice(part(0..8)).ok_or_else(|| wrong("has no lock id"))?;
    let nonce = part(8..24).try_into().map_err(|_| wrong("has no nonce"))?;
    let clock = u32::from_be_bytes(part(24..28).try_into().map_err(|_| wrong("has no clock"))?);
    let length = u16::from_be_bytes(part(28..30).try_into().map_err(|_| wrong("has no length"))?);
    if usize::from(length) != identity.len() || identity.is_empty() {
        return Err(wrong("announces another length of the identity than there is"));
    }
    let identity = identity.to_vec();
    Ok(Asked {
        lock,
        signature,
        lock_id,
        nonce,
        clock,
        identity,
        signed,
    })
}

/// Looks whether a request is good, from the lock to the application. Its nonce is spent by the first judgement that gets as far as that.
///
/// # Errors
/// The outer error is the store's; the inner one is the reason of the refusal, and what was remembered must be kept then.
pub fn judge(store: &mut dyn Store, secrets: &Secrets, plain: bool, now: u64, asked: &Asked) -> store::Result<Result<Accepted, Refusal>> {
    let lock = match &asked.lock {
        LockName::Identifier(identifier) => store.lock_by(identifier)?,
        LockName::Id(id) => store.lock(*id)?,
    };
    let Some(lock) = lock else {
        return Ok(Err(Refusal::Unregistered));
    };
    if lock.revoked {
        return Ok(Err(Refusal::Revoked));
    }
    if let Err(refusal) = signature(&lock, asked) {
        return Ok(Err(refusal));
    }
    let skew = i64::from(asked.clock).saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
    if skew.unsigned_abs() > SKEW || asked.clock < store.nonce_floor()? {
        return Ok(Err(Refusal::ClockSkew(skew)));
    }
    if !store.remember_nonce(lock.id, &asked.nonce, asked.clock)? {
        return Ok(Err(Refusal::Replayed));
    }
    let identity = match open(secrets, plain, &asked.identity) {
        Ok(identity) => identity,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let phone = match store.phone_by(&identity.identifier)? {
        Some(phone) if !phone.revoked => phone,
        _ => return Ok(Err(Refusal::UnknownPhone)),
    };
    let agent = keys::agent(&secrets.site, phone.id);
    let proof = crypto::cmac128(&agent, &[&lock.id.0, &asked.nonce, &identity.ephemeral]);
    if !crypto::equal(&proof, &identity.proof) {
        return Ok(Err(Refusal::IdentityMismatch));
    }
    let Some(grant) = entitled(store, phone.id, &lock, now)? else {
        return Ok(Err(Refusal::NotEntitled));
    };
    let application = match application(store, &lock)? {
        Ok(application) => application,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if phone.chip.is_none() {
        return Ok(Err(Refusal::NoChipKeys));
    }
    Ok(Ok(Accepted {
        lock,
        phone,
        grant,
        application,
    }))
}

fn signature(lock: &Lock, asked: &Asked) -> Result<(), Refusal> {
    let Some(key) = &lock.public_key else {
        return Err(Refusal::BadSignature("no public key of this lock's chip is registered"));
    };
    if !sign::verify(key, &asked.signed, &asked.signature) {
        return Err(Refusal::BadSignature("the signature is not by this lock's chip"));
    }
    if asked.lock_id != lock.id {
        return Err(Refusal::BadSignature("the signed lock id is not this lock's"));
    }
    Ok(())
}

/// An identity, opened.
struct Opened {
    identifier: Identifier,
    proof: [u8; 16],
    /// E, or nothing in the plain form.
    ephemeral: Vec<u8>,
}

/// Form 00: E(33) || C || M(8). Form 01: plain. P = kind || length || digits || CMAC(16).
fn open(secrets: &Secrets, plain: bool, identity: &[u8]) -> Result<Opened, Refusal> {
    let (opened, ephemeral) = match identity.split_first() {
        Some((0, rest)) => {
            let (ephemeral, sealed) = rest
                .split_first_chunk::<33>()
                .ok_or(Refusal::BadIdentity("the enciphered identity is too short"))?;
            let opened = ecies::open(&secrets.private, ephemeral, sealed).ok_or(Refusal::BadIdentity(
                "the identity does not open: was the phone given another server key?",
            ))?;
            (opened, ephemeral.to_vec())
        }
        Some((1, rest)) if plain => (rest.to_vec(), Vec::new()),
        Some((1, _)) => {
            return Err(Refusal::BadIdentity(
                "the identity came in plain, which is for a laboratory only (plain-identities)",
            ));
        }
        _ => return Err(Refusal::BadIdentity("the identity is of an unknown form")),
    };
    let malformed = |detail: &str| Refusal::MalformedIdentity(detail.to_owned());
    let [kind, length, rest @ ..] = opened.as_slice() else {
        return Err(malformed("has no kind and length"));
    };
    let (digits, proof) = rest
        .split_at_checked(usize::from(*length))
        .ok_or_else(|| malformed("is shorter than it says"))?;
    let proof = proof.try_into().map_err(|_| malformed("has no proof of 16 bytes behind it"))?;
    let kind = IdentifierKind::from_number(*kind)
        .filter(|kind| IdentifierKind::OF_PHONES.contains(kind))
        .ok_or_else(|| malformed("is of an unknown kind"))?;
    let digits = std::str::from_utf8(digits).map_err(|_| malformed("is not ASCII digits"))?;
    if digits.starts_with('+') {
        return Err(malformed("is not ASCII digits"));
    }
    let identifier = Identifier::parse(kind, digits).map_err(|e| Refusal::MalformedIdentity(e.to_string()))?;
    Ok(Opened {
        identifier,
        proof,
        ephemeral,
    })
}

/// The grant by which a phone may open a lock now: for the lock itself, or for one of its groups; the one that lasts longest.
///
/// # Errors
/// The store's.
pub fn entitled(store: &mut dyn Store, phone: PhoneId, lock: &Lock, now: u64) -> store::Result<Option<Grant>> {
    let fits = |grant: &Grant| match &grant.target {
        GrantTarget::Lock(id) => *id == lock.id,
        GrantTarget::Group(name) => lock.groups.contains(name),
    };
    let lasts = |grant: &Grant| if grant.not_after == 0 { u32::MAX } else { grant.not_after };
    let grants = store.grants(Some(phone))?;
    Ok(grants.into_iter().filter(|g| g.is_good(now) && fits(g)).max_by_key(lasts))
}

fn application(store: &mut dyn Store, lock: &Lock) -> store::Result<Result<Application, Refusal>> {
    let refused = |detail: String| Ok(Err(Refusal::NoApplication(detail)));
    let Some(system) = store.system(&lock.system)? else {
        return refused(format!("the lock's system \"{}\" is not registered", lock.system));
    };
    let Some(name) = system.application else {
        return refused(format!("the system \"{}\" has no application for phones", lock.system));
    };
    match store.application(&name, None)? {
        Some(application) if application.half == Half::Phone => Ok(Ok(Application {
            load_file: Vec::new(),
            ..application
        })),
        Some(_) => refused(format!("the application \"{name}\" is for locks, not for phones")),
        None => refused(format!("no version of the application \"{name}\" was uploaded")),
    }
}
