//! READER of the command line: where a card is.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tapdoor_chip::{Chip, ChipError, SqliteStore};
use tapdoor_config::ConfigError;
use tapdoor_hce_card::{Laboratory, Phone, PhoneConfig, Switch};
use tapdoor_protocol::pn532::BaudRate;
use tapdoor_protocol::vault::VaultError;
use tapdoor_reader::LockConfig;
#[cfg(feature = "libnfc")]
use tapdoor_reader::source::libnfc;
use tapdoor_reader::source::pcsc::PcscSource;
use tapdoor_reader::source::radio::Polling;
use tapdoor_reader::source::vpcd_listen::VpcdListen;
use tapdoor_reader::source::{CardSource, SourceError, acr122u_raw, pn532, udp};

use crate::address::{Port, is_host_port};
use crate::replay::{ReplayError, TapeSource};
use crate::sim::{SharedPhone, SimSource};
use crate::site::Site;

/// A READER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderSpec {
    /// `pcsc:FRAGMENT`
    Pcsc(String),
    /// `vpcd-listen:HOST:PORT`
    VpcdListen(String),
    /// `sim:` with laboratory switches, separated by commas.
    Sim(Vec<Switch>),
    /// `tape:FILE`
    Tape(PathBuf),
    /// `acr122u-raw:FRAGMENT`
    Acr122uRaw(String),
    /// `pn532:PATH`, and `,firmware` or `,baud=N` behind it.
    Pn532 {
        /// The serial line.
        path: PathBuf,
        /// Its rate.
        baud: u32,
        /// Whether the chip's firmware does ISO-DEP.
        firmware: bool,
    },
    /// `udp:HOST:PORT`
    Udp(String),
    /// `libnfc:CONNSTRING`
    Libnfc(String),
}

/// The forms, for people.
const FORMS: &str = "pcsc:FRAGMENT, acr122u-raw:FRAGMENT, pn532:PATH, libnfc:CONNSTRING, udp:HOST:PORT, vpcd-listen:HOST:PORT, sim:[SWITCH,..] or tape:FILE";
/// The rate of a PN532's line after a reset.
const BAUD: u32 = 115_200;

/// What is wrong with a READER.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not of any known form.
    #[error("\"{0}\" is no reader; write {forms}", forms = FORMS)]
    Unknown(String),
    /// No address where one belongs.
    #[error("\"{0}\" has no address; write vpcd-listen:HOST:PORT or udp:HOST:PORT, for instance udp:127.0.0.1:54321")]
    Address(String),
    /// What follows a path.
    #[error("\"{0}\" means nothing here; a pn532: reader knows `,firmware` and `,baud=N` (9600 to 1288000, as the chip has them)")]
    Option(String),
    /// Built without it.
    #[error("this build has no libnfc; build with `--features libnfc` (libnfc-dev and libclang-dev are needed), or use `pn532:`")]
    NoLibnfc,
    /// The switches of `sim:`.
    #[error(transparent)]
    Switch(#[from] tapdoor_hce_card::laboratory::SwitchError),
}

impl FromStr for ReaderSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (kind, rest) = text.split_once(':').ok_or_else(|| SpecError::Unknown(text.into()))?;
        Ok(match kind {
            "pcsc" => Self::Pcsc(rest.into()),
            "vpcd-listen" if is_host_port(rest, Port::Any) => Self::VpcdListen(rest.into()),
            "sim" => Self::Sim(
                rest.split(',')
                    .filter(|s| !s.is_empty())
                    .map(str::parse)
                    .collect::<Result<_, _>>()?,
            ),
            "tape" if !rest.is_empty() => Self::Tape(rest.into()),
            "acr122u-raw" => Self::Acr122uRaw(rest.into()),
            "pn532" if !rest.is_empty() => pn532(rest)?,
            "udp" if is_host_port(rest, Port::Known) => Self::Udp(rest.into()),
            "udp" | "vpcd-listen" => return Err(SpecError::Address(text.into())),
            "libnfc" if cfg!(feature = "libnfc") => Self::Libnfc(rest.into()),
            "libnfc" => return Err(SpecError::NoLibnfc),
            _ => return Err(SpecError::Unknown(text.into())),
        })
    }
}

/// PATH and what follows it.
fn pn532(rest: &str) -> Result<ReaderSpec, SpecError> {
    let mut parts = rest.split(',');
    let path = parts.next().unwrap_or_default().into();
    let (mut baud, mut firmware) = (BAUD, false);
    for option in parts {
        match option.split_once('=') {
            None if option == "firmware" => firmware = true,
            Some(("baud", rate)) => {
                let known = rate.parse().ok().filter(|rate| BaudRate::from_baud(*rate).is_some());
                baud = known.ok_or_else(|| SpecError::Option(option.into()))?;
            }
            _ => return Err(SpecError::Option(option.into())),
        }
    }
    Ok(ReaderSpec::Pn532 { path, baud, firmware })
}

/// Why a READER cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The phone.toml of a simulated phone.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its chip.
    #[error(transparent)]
    Chip(#[from] ChipError),
    /// The tape.
    #[error(transparent)]
    Tape(#[from] ReplayError),
    /// A reader that this build does not have.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] VaultError),
}

impl ReaderSpec {
    /// Opens the reader, which looks for phones as `lock_toml` says where that is ours to say. A simulated phone is the phone.toml beside `lock_toml`; without one it is a phone of no site, with new keys. `pause` is
    /// how long it stays away between two taps.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, lock_toml: Option<&Path>, pause: Duration) -> Result<Box<dyn CardSource>, OpenError> {
        let polling = || match lock_toml {
            Some(path) => LockConfig::load(path).map(|config| config.polling),
            None => Ok(Polling::default()),
        };
        Ok(match self {
            Self::Pcsc(fragment) => Box::new(PcscSource::open(fragment)?),
            Self::VpcdListen(address) => Box::new(VpcdListen::bind(address)?),
            Self::Sim(switches) => Box::new(SimSource::new(SharedPhone::new(simulated(switches, lock_toml)?), pause)),
            Self::Tape(path) => Box::new(TapeSource::open(path)?),
            Self::Acr122uRaw(fragment) => acr122u_raw::open(fragment, polling()?)?,
            Self::Pn532 {
                path,
                baud,
                firmware: true,
            } => Box::new(pn532::open_firmware(path, *baud)?),
            Self::Pn532 { path, baud, .. } => Box::new(pn532::open_raw(path, *baud, polling()?)?),
            Self::Udp(address) => Box::new(udp::open(address, polling()?)?),
            #[cfg(feature = "libnfc")]
            Self::Libnfc(connstring) => Box::new(libnfc::LibnfcSource::open(connstring)?),
            #[cfg(not(feature = "libnfc"))]
            Self::Libnfc(_) => return Err(SpecError::NoLibnfc.into()),
        })
    }
}

/// A simulated phone lives in memory, so that it never competes with a phone process for a store.
fn simulated(switches: &[Switch], lock_toml: Option<&Path>) -> Result<Phone, OpenError> {
    let beside = lock_toml.map(|path| path.with_file_name("phone.toml")).filter(|path| path.exists());
    let (personalisation, mut laboratory) = match beside {
        Some(path) => {
            let config = PhoneConfig::load(&path)?;
            let wrong = config.laboratory.wrong_key || switches.contains(&Switch::WrongKey);
            (if wrong { config.wrong } else { config.personalisation }, config.laboratory)
        }
        None => {
            let site = Site::generate(1, false)?;
            let phone = site.phones.first().copied().ok_or(VaultError::Random)?;
            (site.phone_chip(phone), Laboratory::default())
        }
    };
    for switch in switches {
        laboratory.set(switch.clone());
    }
    let store = SqliteStore::in_memory().map_err(ChipError::from)?;
    Ok(Phone::with_chip(Chip::personalise(Box::new(store), &personalisation)?, laboratory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_read_and_others_refused() {
        assert_eq!("pcsc:".parse(), Ok(ReaderSpec::Pcsc(String::new())));
        assert_eq!("pcsc:ACR122U".parse(), Ok(ReaderSpec::Pcsc("ACR122U".into())));
        assert_eq!("vpcd-listen:127.0.0.1:0".parse(), Ok(ReaderSpec::VpcdListen("127.0.0.1:0".into())));
        assert_eq!("sim:".parse(), Ok(ReaderSpec::Sim(vec![])));
        assert!(matches!("sim:missing-app,tear=2".parse(), Ok(ReaderSpec::Sim(s)) if s.len() == 2));
        assert_eq!("udp:localhost:54321".parse(), Ok(ReaderSpec::Udp("localhost:54321".into())));
        assert_eq!("acr122u-raw:".parse(), Ok(ReaderSpec::Acr122uRaw(String::new())));
        let line = |baud, firmware| {
            let path = "/dev/ttyUSB0".into();
            Ok(ReaderSpec::Pn532 { path, baud, firmware })
        };
        assert_eq!("pn532:/dev/ttyUSB0".parse(), line(115_200, false));
        assert_eq!("pn532:/dev/ttyUSB0,firmware,baud=9600".parse(), line(9600, true));
        assert_eq!("pn532:x,baud=5".parse::<ReaderSpec>(), Err(SpecError::Option("baud=5".into())));
        assert_eq!("libnfc:x".parse::<ReaderSpec>().is_ok(), cfg!(feature = "libnfc"));
        for bad in [
            "",
            "pn532:",
            "udp:5",
            "udp:127.0.0.1:0",
            "udp:udp:127.0.0.1:5",
            "vpcd-listen:vpcd:127.0.0.1:5",
            "pn532:x,fast",
            "pcsc",
            "vpcd-listen:5",
            "tape:",
            "sim:fly",
            "x:y",
        ] {
            assert!(bad.parse::<ReaderSpec>().is_err(), "{bad}");
        }
    }
}
