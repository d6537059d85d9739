//! Where a peer is: the readers through which NFC-DEP goes.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use tapdoor_link::field::FieldLink;
use tapdoor_reader::pn532::{AnyPort, Chip, RawField};
use tapdoor_reader::source::{acr122u_raw, pn532};
use tapdoor_reader::udp::UdpField;

use super::DepError;
use crate::address::{Port, is_host_port};
use crate::open::{ReaderSpec, SpecError};

/// Where the peer of a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `HOST:PORT` or `udp:HOST:PORT`: frames in nfcpy's format.
    Udp(String),
    /// `pn532:PATH`, and `,firmware` or `,baud=N` behind it.
    Pn532 {
        /// The serial line.
        path: PathBuf,
        /// Its rate.
        baud: u32,
        /// Whether the chip's firmware is the initiator.
        firmware: bool,
    },
    /// `acr122u-raw:FRAGMENT`
    Acr122uRaw(String),
}

/// Not a place for a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A reader through which frames do not go, or nothing at all.
    #[error("no peer is found at \"{0}\"; write HOST:PORT (UDP, nfcpy's format), pn532:PATH[,firmware] or acr122u-raw:FRAGMENT")]
    Unknown(String),
    /// A reader with a mistake in it.
    #[error(transparent)]
    Reader(#[from] SpecError),
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let address = text.strip_prefix("udp:").unwrap_or(text);
        if is_host_port(address, Port::Any) {
            return Ok(Self::Udp(address.into()));
        }
        match text.parse() {
            Ok(ReaderSpec::Pn532 { path, baud, firmware }) => Ok(Self::Pn532 { path, baud, firmware }),
            Ok(ReaderSpec::Acr122uRaw(fragment)) => Ok(Self::Acr122uRaw(fragment)),
            Err(e @ SpecError::Option(_)) => Err(e.into()),
            Ok(_) | Err(_) => Err(PlaceError::Unknown(text.into())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => f.write_str(address),
            Self::Pn532 { path, .. } => write!(f, "pn532:{}", path.display()),
            Self::Acr122uRaw(fragment) => write!(f, "acr122u-raw:{fragment}"),
        }
    }
}

impl Place {
    /// The way there as a radio, with its field on.
    pub(super) fn field(&self) -> Result<Box<dyn FieldLink + Send>, DepError> {
        let mut field: Box<dyn FieldLink + Send> = match self.chip()? {
            Some(chip) => Box::new(RawField::new(chip, Instant::now())),
            None => {
                let address = self.to_string();
                Box::new(UdpField::connect(&address, Instant::now()).map_err(|e| DepError::Address(address, e))?)
            }
        };
        field.set_field(true)?;
        Ok(field)
    }

    /// The chip there; `None` where there is none.
    pub(super) fn chip(&self) -> Result<Option<Chip<AnyPort>>, DepError> {
        Ok(match self {
            Self::Udp(_) => None,
            Self::Pn532 { path, baud, .. } => Some(pn532::open_chip(path, *baud)?),
            Self::Acr122uRaw(fragment) => Some(acr122u_raw::open_chip(fragment)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!("127.0.0.1:5".parse(), Ok(Place::Udp("127.0.0.1:5".into())));
        assert_eq!("udp:[::1]:0".parse(), Ok(Place::Udp("[::1]:0".into())));
        assert_eq!(
            "pn532:/dev/ttyUSB0,firmware".parse(),
            Ok(Place::Pn532 {
                path: "/dev/ttyUSB0".into(),
                baud: 115_200,
                firmware: true
            })
        );
        assert_eq!("acr122u-raw:".parse(), Ok(Place::Acr122uRaw(String::new())));
        for bad in ["", "nowhere", "udp:", "udp:5", "pcsc:ACR", "sim:", "pn532:"] {
            let error = bad.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains("HOST:PORT"), "{bad}: {error}");
        }
        assert!("pn532:/dev/x,fast".parse::<Place>().unwrap_err().to_string().contains("firmware"));
    }
}
