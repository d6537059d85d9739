//! READER of the command line: where a card is.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tapdoor_chip::{Chip, ChipError, SqliteStore};
use tapdoor_config::ConfigError;
use tapdoor_hce_card::{Laboratory, Phone, PhoneConfig, Switch};
use tapdoor_protocol::vault::VaultError;
use tapdoor_reader::source::pcsc::PcscSource;
use tapdoor_reader::source::vpcd_listen::VpcdListen;
use tapdoor_reader::source::{CardSource, SourceError};

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
}

/// What is wrong with a READER.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not of any known form.
    #[error("\"{0}\" is no reader; write pcsc:FRAGMENT, vpcd-listen:HOST:PORT, sim:[SWITCH,..] or tape:FILE")]
    Unknown(String),
    /// A form that comes later.
    #[error("readers `{0}:` come with the radio and are not in this version; a reader at pcscd is `pcsc:`")]
    Later(String),
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
            "vpcd-listen" if rest.contains(':') => Self::VpcdListen(rest.into()),
            "sim" => Self::Sim(
                rest.split(',')
                    .filter(|s| !s.is_empty())
                    .map(str::parse)
                    .collect::<Result<_, _>>()?,
            ),
            "tape" if !rest.is_empty() => Self::Tape(rest.into()),
            "acr122u-raw" | "libnfc" | "pn532" | "udp" => return Err(SpecError::Later(kind.into())),
            _ => return Err(SpecError::Unknown(text.into())),
        })
    }
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
    /// No randomness.
    #[error(transparent)]
    Random(#[from] VaultError),
}

impl ReaderSpec {
    /// Opens the reader. A simulated phone is the phone.toml beside `lock_toml`; without one it is a phone of no site, with new keys. `pause` is
    /// how long it stays away between two taps.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, lock_toml: Option<&Path>, pause: Duration) -> Result<Box<dyn CardSource>, OpenError> {
        Ok(match self {
            Self::Pcsc(fragment) => Box::new(PcscSource::open(fragment)?),
            Self::VpcdListen(address) => Box::new(VpcdListen::bind(address)?),
            Self::Sim(switches) => Box::new(SimSource::new(SharedPhone::new(simulated(switches, lock_toml)?), pause)),
            Self::Tape(path) => Box::new(TapeSource::open(path)?),
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
        assert!(matches!("udp:localhost:54321".parse::<ReaderSpec>(), Err(SpecError::Later(_))));
        for bad in ["", "pcsc", "vpcd-listen:5", "tape:", "sim:fly", "x:y"] {
            assert!(bad.parse::<ReaderSpec>().is_err(), "{bad}");
        }
    }
}
