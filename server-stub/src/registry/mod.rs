//! What the server knows: locks, phones, grants, systems, applications, jobs. Plain data; [`crate::store`] keeps them.

mod identifier;
mod job;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_protocol::vault::Method;

pub use self::identifier::{Identifier, IdentifierError, IdentifierKind};
pub use self::job::{Job, JobEvent, JobId, JobKind, JobState, NewJob};
use crate::seal::SealedKeys;
use crate::time::Window;

/// Whose chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChipRef {
    /// A phone's.
    Phone(PhoneId),
    /// A lock's.
    Lock(LockId),
}

impl ChipRef {
    /// The 8 bytes of its identifier.
    #[must_use]
    pub fn id(&self) -> [u8; 8] {
        match self {
            Self::Phone(id) => id.0,
            Self::Lock(id) => id.0,
        }
    }

    /// 1 for a phone's, 2 for a lock's.
    #[must_use]
    pub fn number(&self) -> u8 {
        match self {
            Self::Phone(_) => 1,
            Self::Lock(_) => 2,
        }
    }

    /// The chip of this number and identifier.
    #[must_use]
    pub fn from_parts(number: u8, id: [u8; 8]) -> Option<Self> {
        match number {
            1 => Some(Self::Phone(PhoneId(id))),
            2 => Some(Self::Lock(LockId(id))),
            _ => None,
        }
    }

    /// As in `X-Admin-From`, whole: `phone/0011223344556677`.
    #[must_use]
    pub fn whole(&self) -> String {
        match self {
            Self::Phone(id) => format!("phone/{id}"),
            Self::Lock(id) => format!("lock/{id}"),
        }
    }
}

impl fmt::Display for ChipRef {
    /// A phone is masked; a lock's identifier is public.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phone(id) => write!(f, "phone {}", id.masked()),
            Self::Lock(id) => write!(f, "lock {id}"),
        }
    }
}

/// A lock.
#[derive(Clone, Debug, PartialEq)]
pub struct Lock {
    /// Its identifier on the air.
    pub id: LockId,
    /// P-256, SEC1: under which its requests verify. Without one it can request nothing.
    pub public_key: Option<Vec<u8>>,
    /// At most one of each kind of [`IdentifierKind::OF_LOCKS`].
    pub identifiers: Vec<Identifier>,
    /// Which system it belongs to: that decides the application.
    pub system: String,
    /// Groups of locks it is in.
    pub groups: Vec<String>,
    /// When jobs that can wait are handed out; never, without one.
    pub window: Option<Window>,
    /// Its chip's key set.
    pub chip: Option<SealedKeys>,
    /// Taken out of service: its requests and its agent are refused.
    pub revoked: bool,
}

/// A phone.
#[derive(Clone, Debug, PartialEq)]
pub struct Phone {
    /// Its identifier at this site.
    pub id: PhoneId,
    /// At most one of each kind of [`IdentifierKind::OF_PHONES`].
    pub identifiers: Vec<Identifier>,
    /// What its application is told to claim: the user was authenticated on the phone.
    pub user_authenticated: bool,
    /// Its chip's key set.
    pub chip: Option<SealedKeys>,
    /// Taken out of service.
    pub revoked: bool,
}

/// What a grant opens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GrantTarget {
    /// One lock.
    Lock(LockId),
    /// All locks of a group, also those that join later.
    Group(String),
}

impl fmt::Display for GrantTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(id) => write!(f, "lock {id}"),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// A phone may open a lock or a group of locks.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// Who.
    pub phone: PhoneId,
    /// What.
    pub target: GrantTarget,
    /// Seconds since 1970; 0 = never ends.
    pub not_after: u32,
    /// The weakest method that opens.
    pub weakest: Method,
    /// List entry flags (bit 0: the user must be authenticated).
    pub flags: u8,
    /// Taken back. Kept, so that a configuration file does not give it again.
    pub revoked: bool,
}

impl Grant {
    /// Whether it opens at this wall time.
    #[must_use]
    pub fn is_good(&self, now: u64) -> bool {
        !self.revoked && (self.not_after == 0 || u64::from(self.not_after) > now)
    }
}

/// A kind of requester: door locks, lockers, vending machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Its name.
    pub name: String,
    /// The application that its phones get.
    pub application: Option<String>,
    /// The application that its locks get.
    pub lock_application: Option<String>,
}

/// A version of an application: two bytes, compared in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub [u8; 2]);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0[0], self.0[1])
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let (major, minor) = text.split_once('.').ok_or(VersionError)?;
        if text.contains('+') {
            return Err(VersionError);
        }
        Ok(Self([
            major.parse().map_err(|_| VersionError)?,
            minor.parse().map_err(|_| VersionError)?,
        ]))
    }
}

/// Text that is not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is two numbers from 0 to 255: 1.0")]
pub struct VersionError;

/// Which chip an application is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// Phones.
    Phone,
    /// Locks.
    Lock,
}

/// What an application is personalised with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// As a door application: the phone's identifier and keys, or the lock's identifier.
    Door,
    /// Nothing.
    None,
}

/// One version of an application: a load file, and the one instance to be made of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Application {
    /// Its name, shared by its versions.
    pub name: String,
    /// Which version.
    pub version: Version,
    /// Who made it.
    pub provider: Option<String>,
    /// For which chip.
    pub half: Half,
    /// AID of the load file.
    pub elf: Aid,
    /// AID of the module in it.
    pub module: Aid,
    /// AID of the instance.
    pub aid: Aid,
    /// AID of the phone's application, which a lock half asks for; its own for a phone half.
    pub peer: Aid,
    /// Content of C9 at installation.
    pub parameters: Vec<u8>,
    /// What it is filled with.
    pub profile: Profile,
    /// SHA-256 over the load file data block.
    pub hash: [u8; 32],
    /// The whole load file, signature included. Empty in lists.
    pub load_file: Vec<u8>,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Application({} {}, {} bytes)", self.name, self.version, self.load_file.len())
    }
}

/// A provider of applications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// P-256, SEC1: under which its load files verify.
    pub key: Vec<u8>,
}
