//! What a chip is filled with: applications, their keys and parameters, the lock's list.

mod check;

pub use self::check::PersonaliseError;

use std::fmt;

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::aka::profile_u::Profile;
use tapdoor_protocol::aliro::{DeviceConfig, ReaderConfig};
use tapdoor_protocol::globalplatform::scp03::I;
use tapdoor_protocol::identity::{Identity, IdentityKind};
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_protocol::tlv;
use tapdoor_protocol::vault::{Method, Slot};
use zeroize::Zeroizing;

use crate::kind::{Kind, LifeCycle, privilege};

/// A secret of 16 to 64 bytes that is wiped when dropped and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over the bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// K || OPc (MILENAGE: 16 and 16 bytes) or K || TOPc (TUAK: 16 or 32, and 32).
    ///
    /// # Errors
    /// [`SubscriberPart`] that has another length.
    pub fn subscriber(algorithm: Algorithm, k: &[u8], operator: &[u8]) -> Result<Self, SubscriberPart> {
        let (k_lengths, operator_length): (&[usize], usize) = match algorithm {
            Algorithm::Milenage => (&[16], 16),
            Algorithm::Tuak => (&[16, 32], 32),
        };
        if !k_lengths.contains(&k.len()) {
            return Err(SubscriberPart::K);
        }
        if operator.len() != operator_length {
            return Err(SubscriberPart::Operator);
        }
        Ok(Self::new([k, operator].concat()))
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// Which part of a subscriber key has the wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriberPart {
    /// K.
    #[error("K has 16 bytes (TUAK: 16 or 32)")]
    K,
    /// OPc or TOPc.
    #[error("OPc has 16 bytes (TUAK: TOPc, 32)")]
    Operator,
}

/// An application with its personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its AID.
    pub aid: Aid,
    /// Which program.
    pub kind: Kind,
    /// Its state.
    pub life_cycle: LifeCycle,
    /// Its privileges.
    pub privileges: u8,
    /// Its parameters, BER-TLV, private to the applet.
    pub parameters: Vec<u8>,
    /// Its keys.
    pub keys: Vec<(Slot, Secret)>,
}

impl Application {
    fn new(aid: Aid, kind: Kind, parameters: &[(u32, &[u8])], keys: Vec<(Slot, Secret)>) -> Self {
        let mut encoded = Vec::new();
        for (tag, value) in parameters {
            tlv::write(&mut encoded, *tag, value);
        }
        Self {
            aid,
            kind,
            life_cycle: LifeCycle::PERSONALISED,
            privileges: 0,
            parameters: encoded,
            keys,
        }
    }

    /// Challenge-response, phone half. `flags` as in docs/protocol.md section 4.
    #[must_use]
    pub fn challenge_response(aid: Aid, phone: PhoneId, flags: u32, k_ph: Secret, k_id: Secret) -> Self {
        let keys = vec![(Slot::Phone, k_ph), (Slot::Recognition, k_id)];
        Self::new(
            aid,
            Kind::ChallengeResponse,
            &[(tag::PHONE, &phone.0), (tag::FLAGS, &flags.to_be_bytes())],
            keys,
        )
    }

    /// AKA profile P, phone half.
    #[must_use]
    pub fn aka(aid: Aid, phone: PhoneId, k_ph: Secret, k_id: Secret) -> Self {
        let keys = vec![(Slot::Phone, k_ph), (Slot::Recognition, k_id)];
        Self::new(aid, Kind::Aka, &[(tag::PHONE, &phone.0)], keys)
    }

    /// A test USIM: it is selected by default, as a UICC's file system is.
    #[must_use]
    pub fn usim(aid: Aid, profile: &Profile, key: Secret) -> Self {
        let algorithm = [profile.algorithm.p2()];
        let kc = [u8::from(profile.kc)];
        let start = profile.start.to_be_bytes();
        let age_limit = profile.age_limit.map(u64::to_be_bytes);
        let mut parameters: Vec<(u32, &[u8])> = vec![
            (tag::ALGORITHM, &algorithm),
            (tag::ICCID, profile.iccid.as_bytes()),
            (tag::IMSI, profile.imsi.as_bytes()),
            (tag::KC, &kc),
            (tag::START, &start),
        ];
        if let Some(limit) = &age_limit {
            parameters.push((tag::AGE_LIMIT, limit));
        }
        if let Some(pin) = &profile.pin {
            parameters.push((tag::PIN, pin.as_bytes()));
        }
        let mut application = Self::new(aid, Kind::Usim, &parameters, vec![(Slot::TestSubscriber, key)]);
        application.privileges = privilege::DEFAULT_SELECTED;
        application
    }

    /// The phone's identity; without one the application is there and answers 6985.
    #[must_use]
    pub fn identity(aid: Aid, identity: Option<(&Identity, Secret)>) -> Self {
        let Some((identity, agent)) = identity else {
            return Self::new(aid, Kind::Identity, &[], Vec::new());
        };
        let parameters: [(u32, &[u8]); 4] = [
            (tag::KIND, &[identity.kind as u8]),
            (tag::DIGITS, identity.digits.as_bytes()),
            (tag::SERVER, &identity.server),
            (tag::PLAIN, &[u8::from(identity.plain)]),
        ];
        Self::new(aid, Kind::Identity, &parameters, vec![(Slot::Agent, agent)])
    }

    /// Challenge-response, lock half, for phones whose application is `phone_aid`.
    #[must_use]
    pub fn challenge_response_lock(aid: Aid, lock: LockId, phone_aid: Aid) -> Self {
        Self::new(
            aid,
            Kind::ChallengeResponseLock,
            &[(tag::LOCK, &lock.0), (tag::AID, phone_aid.as_bytes())],
            Vec::new(),
        )
    }

    /// AKA profile P, lock half, for phones whose application is `phone_aid`.
    #[must_use]
    pub fn aka_lock(aid: Aid, lock: LockId, phone_aid: Aid) -> Self {
        Self::new(
            aid,
            Kind::AkaLock,
            &[(tag::LOCK, &lock.0), (tag::AID, phone_aid.as_bytes())],
            Vec::new(),
        )
    }

    /// AKA profile U, lock half; `pin` for cards that ask for one.
    #[must_use]
    pub fn usim_host(aid: Aid, lock: LockId, pin: Option<&str>) -> Self {
        let mut parameters: Vec<(u32, &[u8])> = vec![(tag::LOCK, &lock.0)];
        if let Some(pin) = pin {
            parameters.push((tag::PIN, pin.as_bytes()));
        }
        Self::new(aid, Kind::UsimHost, &parameters, Vec::new())
    }

    /// The request, lock half, with the lock's P-256 signing key.
    #[must_use]
    pub fn request_lock(aid: Aid, lock: LockId, signing: Secret) -> Self {
        Self::new(aid, Kind::RequestLock, &[(tag::LOCK, &lock.0)], vec![(Slot::Signing, signing)])
    }

    /// Aliro, user device, with the private keys of its credentials in their order, 32 bytes each.
    #[must_use]
    pub fn aliro(aid: Aid, device: &DeviceConfig, credentials: Secret) -> Self {
        let mut application = Self::new(aid, Kind::Aliro, &[], vec![(Slot::AliroKeys, credentials)]);
        application.parameters = device.encode();
        application
    }

    /// Aliro, reader, with its P-256 private key.
    #[must_use]
    pub fn aliro_lock(aid: Aid, reader: &ReaderConfig, key: Secret) -> Self {
        let mut application = Self::new(aid, Kind::AliroLock, &[], vec![(Slot::Signing, key)]);
        application.parameters = reader.encode();
        application
    }

    /// The same application with a K_agent (16 bytes), by which [`crate::Chip::agent_proof`] proves to the server whose chip this is.
    /// Meant for [`Self::request_lock`]; [`Self::identity`] has one already.
    #[must_use]
    pub fn with_agent_key(mut self, agent: Secret) -> Self {
        self.keys.retain(|(slot, _)| *slot != Slot::Agent);
        self.keys.push((Slot::Agent, agent));
        self
    }
}

/// Tags of an application's parameters.
pub(crate) mod tag {
    pub const PHONE: u32 = 0x80;
    pub const FLAGS: u32 = 0x81;
    pub const LOCK: u32 = 0x82;
    pub const AID: u32 = 0x4F;
    pub const ALGORITHM: u32 = 0x83;
    pub const ICCID: u32 = 0x84;
    pub const IMSI: u32 = 0x85;
    pub const PIN: u32 = 0x86;
    pub const KC: u32 = 0x87;
    pub const KIND: u32 = 0x88;
    pub const DIGITS: u32 = 0x89;
    pub const SERVER: u32 = 0x8A;
    pub const PLAIN: u32 = 0x8B;
    pub const START: u32 = 0x8C;
    pub const AGE_LIMIT: u32 = 0x8D;
}

/// A phone that may open this lock (docs/protocol.md section 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// Which phone.
    pub phone: PhoneId,
    /// The weakest method it may use.
    pub weakest: Method,
    /// Seconds since 1970-01-01 UTC; 0 = never ends.
    pub not_after: u32,
    /// Bit 0: the user must be authenticated.
    pub flags: u8,
    /// K_id, 16 bytes.
    pub k_id: Secret,
    /// K_l, 16 bytes.
    pub k_l: Secret,
    /// K || OPc, 32 bytes.
    pub milenage: Option<Secret>,
    /// K || TOPc, 64 bytes.
    pub tuak: Option<Secret>,
}

/// A test USIM that may open this lock (profile U).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestSubscriber {
    /// The name under which its taps are reported.
    pub phone: PhoneId,
    /// Decimal digits.
    pub imsi: String,
    /// MILENAGE or TUAK.
    pub algorithm: Algorithm,
    /// Seconds since 1970-01-01 UTC; 0 = never ends.
    pub not_after: u32,
    /// K || OPc (32 bytes), or K || TOPc (48 or 64).
    pub key: Secret,
}

/// Everything a chip is filled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Personalisation {
    /// Applications, in the order in which SELECT by partial AID finds them.
    pub applications: Vec<Application>,
    /// The lock's list.
    pub list: Vec<ListEntry>,
    /// Test USIMs.
    pub subscribers: Vec<TestSubscriber>,
    /// Who may manage the chip's content; without it nobody may.
    pub card_manager: Option<CardManager>,
}

/// The key set of the card manager, and how much may be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardManager {
    /// The first SCP03 key set. One that came by PUT KEY replaces it for good.
    pub keys: ScpKeys,
    /// What its SCP03 offers ("i"): 70, or 71 for challenges and MACs of 16 bytes.
    pub i: I,
    /// P-256 public keys (SEC1, 33 or 65 bytes) of the providers. When there is one, only load files signed with one of them are taken.
    pub dap_keys: Vec<Vec<u8>>,
    /// Limits of what is downloaded.
    pub quotas: Quotas,
}

impl CardManager {
    /// With this key set, i = 70, no provider's key and the default quotas.
    #[must_use]
    pub fn new(keys: ScpKeys) -> Self {
        Self {
            keys,
            i: I::DEFAULT,
            dap_keys: Vec::new(),
            quotas: Quotas::default(),
        }
    }
}

/// An SCP03 key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScpKeys {
    /// Key version number, 30 to 3F (hexadecimal).
    pub kvn: u8,
    /// Key-ENC (KID 1), 16, 24 or 32 bytes, as the other two.
    pub enc: Secret,
    /// Key-MAC (KID 2).
    pub mac: Secret,
    /// Key-DEK (KID 3).
    pub dek: Secret,
}

/// How much may be downloaded; what is beyond is answered 6A84.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Executable load files.
    pub load_files: u32,
    /// Bytes of their code, all together.
    pub code: u32,
    /// Applications made of them.
    pub instances: u32,
    /// Entries of the lock's list that were delivered.
    pub list: u32,
}

impl Default for Quotas {
    /// 8 load files, 1 MiB of code, 16 applications, 100,000 list entries.
    fn default() -> Self {
        Self {
            load_files: 8,
            code: 1 << 20,
            instances: 16,
            list: 100_000,
        }
    }
}

/// Reads an identity's parameters back; `None` when the application has none.
pub(crate) fn identity_of(parameters: &[u8]) -> Option<Identity> {
    let &[kind] = tlv::find(parameters, tag::KIND)? else { return None };
    Some(Identity {
        kind: IdentityKind::from_number(kind)?,
        digits: String::from_utf8(tlv::find(parameters, tag::DIGITS)?.to_vec()).ok()?,
        server: tlv::find(parameters, tag::SERVER)?.to_vec(),
        plain: tlv::find(parameters, tag::PLAIN)? == [1],
    })
}
