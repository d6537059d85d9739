//! Identifiers of phones and locks (docs/protocol.md section 1), and the numbers by which networks know them.

use core::fmt;
use core::str::FromStr;

mod mac;
mod numbers;

pub use self::mac::{Mac, MacError};
pub use self::numbers::{Iccid, Imei, Imsi, Msisdn, NumberError, luhn, luhn_holds};

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 8]);

        impl $name {
            /// Reads exactly 8 bytes; any other length gives `None`. Never panics.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            /// Accepts exactly 16 hexadecimal digits, in either case. Never panics.
            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut id = [0; 8];
                hex::decode_to_slice(text, &mut id).map_err(|_| IdError)?;
                Ok(Self(id))
            }
        }
    };
}

identifier! {
    /// A phone's subscription at one site, 8 bytes. It never crosses the air.
    PhoneId
}

identifier! {
    /// A lock, 8 bytes. Sent in clear by the lock.
    LockId
}

impl PhoneId {
    /// The identifier as it may be shown without being asked: the last two bytes only.
    #[must_use]
    pub fn masked(&self) -> alloc::string::String {
        alloc::format!("..{:02x}{:02x}", self.0[6], self.0[7])
    }
}

/// Text that is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identifier has exactly 16 hexadecimal digits (8 bytes)")]
pub struct IdError;
