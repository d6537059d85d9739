//! The commands of card content management (GPC 11): each can be built by the host and read by the card.
//!
//! | command | type | GPC |
//! |---|---|---|
//! | INSTALL | [`Install`] | 11.5 |
//! | LOAD | [`Load`] | 11.6 |
//! | STORE DATA | [`StoreData`] | 11.11 |
//! | DELETE | [`Delete`] | 11.2 |
//! | PUT KEY | [`PutKey`] | 11.8, Amendment D 7.2 |
//! | SET STATUS | [`SetStatus`] | 11.10 |
//! | GET STATUS | [`GetStatus`] | 11.4 |
//! | GET DATA | [`GetData`] | 11.3 |
//!
//! `encode` gives the plain C-APDU with class 80 and Le 00; SCP03 is wrapped around it. `parse` takes the plain C-APDU that the secure channel
//! gives and refuses with the status word to answer with. It looks at form only: whether an AID exists, or a key is right, is the card's.

mod delete;
mod install;
mod load;
mod put_key;
mod status;
mod store_data;

pub use self::delete::Delete;
pub use self::install::{Extradition, Install, InstallForInstall, InstallForLoad, LoadParameters, RegistryUpdate};
pub use self::load::Load;
pub use self::put_key::{KeyComponent, KeyData, PutKey, key_type};
pub use self::status::{GetData, GetStatus, SetStatus, Subset};
pub use self::store_data::{Encryption, Format, StoreData};

use alloc::vec::Vec;

use crate::apdu::{ApduError, Command};
use crate::status::StatusWord;

/// Instruction bytes (GPC table 11-1).
pub mod ins {
    /// DELETE.
    pub const DELETE: u8 = 0xE4;
    /// GET DATA.
    pub const GET_DATA: u8 = 0xCA;
    /// GET DATA, odd form.
    pub const GET_DATA_ODD: u8 = 0xCB;
    /// GET STATUS.
    pub const GET_STATUS: u8 = 0xF2;
    /// INSTALL.
    pub const INSTALL: u8 = 0xE6;
    /// LOAD.
    pub const LOAD: u8 = 0xE8;
    /// PUT KEY.
    pub const PUT_KEY: u8 = 0xD8;
    /// SET STATUS.
    pub const SET_STATUS: u8 = 0xF0;
    /// STORE DATA.
    pub const STORE_DATA: u8 = 0xE2;
}

/// Any of the commands, as a card manager gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Management<'a> {
    /// INSTALL.
    Install(Install<'a>),
    /// LOAD.
    Load(Load<'a>),
    /// STORE DATA.
    StoreData(StoreData<'a>),
    /// DELETE.
    Delete(Delete<'a>),
    /// PUT KEY.
    PutKey(PutKey<'a>),
    /// SET STATUS.
    SetStatus(SetStatus),
    /// GET STATUS.
    GetStatus(GetStatus<'a>),
    /// GET DATA.
    GetData(GetData<'a>),
}

impl<'a> Management<'a> {
    /// Reads a plain command.
    ///
    /// # Errors
    /// The status word to answer with; 6D00 for an instruction that is none of these.
    pub fn parse(command: &Command<'a>) -> Result<Self, StatusWord> {
        Ok(match command.ins {
            ins::INSTALL => Self::Install(Install::parse(command)?),
            ins::LOAD => Self::Load(Load::parse(command)?),
            ins::STORE_DATA => Self::StoreData(StoreData::parse(command)?),
            ins::DELETE => Self::Delete(Delete::parse(command)?),
            ins::PUT_KEY => Self::PutKey(PutKey::parse(command)?),
            ins::SET_STATUS => Self::SetStatus(SetStatus::parse(command)?),
            ins::GET_STATUS => Self::GetStatus(GetStatus::parse(command)?),
            ins::GET_DATA | ins::GET_DATA_ODD => Self::GetData(GetData::parse(command)?),
            _ => return Err(StatusWord::INS_NOT_SUPPORTED),
        })
    }
}

/// Refuses another instruction, and a class that is not GlobalPlatform's (80 to 83, C0 to CF, no chaining).
fn expect(command: &Command<'_>, ins: u8) -> Result<(), StatusWord> {
    if command.ins != ins {
        return Err(StatusWord::INS_NOT_SUPPORTED);
    }
    if !matches!(command.cla, 0x80..=0x83 | 0xC0..=0xCF) {
        return Err(StatusWord::CLA_NOT_SUPPORTED);
    }
    Ok(())
}

fn apdu(ins: u8, p1: u8, p2: u8, data: &[u8]) -> Result<Vec<u8>, ApduError> {
    Command::new(0x80, ins, p1, p2).data(data).ne(256).encode()
}
