//! GET STATUS, SET STATUS and GET DATA (GPC 11.4, 11.10, 11.3).

use alloc::vec::Vec;

use super::{apdu, expect, ins};
use crate::aid::Aid;
use crate::apdu::{ApduError, Command};
use crate::status::StatusWord;
use crate::tlv;

/// Which part of the registry is asked for (P1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Subset {
    /// 80: the issuer security domain.
    IssuerSecurityDomain = 0x80,
    /// 40: applications, supplementary security domains among them.
    Applications = 0x40,
    /// 20: executable load files.
    LoadFiles = 0x20,
    /// 10: executable load files with their modules.
    LoadFilesAndModules = 0x10,
}

impl Subset {
    const fn of(p1: u8) -> Option<Self> {
        match p1 {
            0x80 => Some(Self::IssuerSecurityDomain),
            0x40 => Some(Self::Applications),
            0x20 => Some(Self::LoadFiles),
            0x10 => Some(Self::LoadFilesAndModules),
            _ => None,
        }
    }
}

/// GET STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetStatus<'a> {
    /// Which part.
    pub subset: Subset,
    /// P2 b1: the next entries, after 6310.
    pub next: bool,
    /// P2 b2: the answer in TLV form (E3); the old form otherwise.
    pub tlv: bool,
    /// What an AID has to begin with, up to 16 bytes; empty for all.
    pub aid: &'a [u8],
    /// 5C: which data objects are wanted, if the host says.
    pub tags: Option<&'a [u8]>,
}

impl<'a> GetStatus<'a> {
    /// All entries of a part, in TLV form.
    #[must_use]
    pub const fn all(subset: Subset) -> Self {
        Self {
            subset,
            next: false,
            tlv: true,
            aid: &[],
            tags: None,
        }
    }

    /// Reads the command. `84F22002` without data, which some hosts send, asks for all.
    ///
    /// # Errors
    /// 6E00, 6D00; 6A86; 6A80 for data.
    pub fn parse(command: &Command<'a>) -> Result<Self, StatusWord> {
        expect(command, ins::GET_STATUS)?;
        let subset = Subset::of(command.p1).filter(|_| command.p2 & 0xFC == 0);
        let mut out = Self {
            subset: subset.ok_or(StatusWord::INCORRECT_P1_P2)?,
            next: command.p2 & 0x01 != 0,
            tlv: command.p2 & 0x02 != 0,
            aid: &[],
            tags: None,
        };
        for object in tlv::iter(command.data) {
            match object.map(|object| (object.tag.0, object.value)) {
                Ok((0x4F, aid)) if aid.len() <= 16 => out.aid = aid,
                Ok((0x5C, tags)) => out.tags = Some(tags),
                _ => return Err(StatusWord::WRONG_DATA),
            }
        }
        Ok(out)
    }

    /// The plain C-APDU.
    ///
    /// # Errors
    /// [`ApduError`] for more data than a command holds.
    pub fn encode(&self) -> Result<Vec<u8>, ApduError> {
        let mut data = Vec::new();
        tlv::write(&mut data, 0x4F, self.aid);
        if let Some(tags) = self.tags {
            tlv::write(&mut data, 0x5C, tags);
        }
        let p2 = u8::from(self.next) | if self.tlv { 0x02 } else { 0 };
        apdu(ins::GET_STATUS, self.subset as u8, p2, &data)
    }
}

/// SET STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetStatus {
    /// P1 80: the card (its issuer security domain).
    Card {
        /// The new life cycle state.
        state: u8,
    },
    /// P1 40: an application or supplementary security domain.
    Application {
        /// Which.
        aid: Aid,
        /// The new state: 80 locks, 00 unlocks (GPC 11.10.2.2), others are the application's own.
        state: u8,
    },
    /// P1 60: a security domain and all that belongs to it.
    SecurityDomain {
        /// Which.
        aid: Aid,
        /// 80 locks, 00 unlocks.
        state: u8,
    },
}

impl SetStatus {
    /// Reads the command.
    ///
    /// # Errors
    /// 6E00, 6D00; 6A86; 6A80 for an AID that is none.
    pub fn parse(command: &Command<'_>) -> Result<Self, StatusWord> {
        expect(command, ins::SET_STATUS)?;
        let state = command.p2;
        let aid = || match command.data.len() {
            5..=16 => Aid::new(command.data).ok_or(StatusWord::WRONG_DATA),
            _ => Err(StatusWord::WRONG_DATA),
        };
        match command.p1 {
            // The data field, which may name the domain, is ignored (GPC 11.10.2.3).
            0x80 => Ok(Self::Card { state }),
            0x40 => Ok(Self::Application { aid: aid()?, state }),
            0x60 => Ok(Self::SecurityDomain { aid: aid()?, state }),
            _ => Err(StatusWord::INCORRECT_P1_P2),
        }
    }

    /// The plain C-APDU.
    ///
    /// # Errors
    /// [`ApduError`]; not known to happen.
    pub fn encode(&self) -> Result<Vec<u8>, ApduError> {
        let (p1, state, aid) = match self {
            Self::Card { state } => (0x80, state, None),
            Self::Application { aid, state } => (0x40, state, Some(aid)),
            Self::SecurityDomain { aid, state } => (0x60, state, Some(aid)),
        };
        // No answer has data, but all commands are sent with Le: what is wrapped can then carry an R-MAC.
        apdu(ins::SET_STATUS, p1, *state, aid.map_or(&[], Aid::as_bytes))
    }
}

/// GET DATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetData<'a> {
    /// The tag: P1 P2.
    pub tag: u16,
    /// A tag list, in the odd form and where the data object wants one. May be empty.
    pub data: &'a [u8],
}

impl<'a> GetData<'a> {
    /// Reads the command, class 80 or 00, even or odd form.
    ///
    /// # Errors
    /// 6E00, 6D00.
    pub fn parse(command: &Command<'a>) -> Result<Self, StatusWord> {
        if !matches!(command.ins, ins::GET_DATA | ins::GET_DATA_ODD) {
            return Err(StatusWord::INS_NOT_SUPPORTED);
        }
        if !matches!(command.cla, 0x00..=0x03 | 0x40..=0x4F | 0x80..=0x83 | 0xC0..=0xCF) {
            return Err(StatusWord::CLA_NOT_SUPPORTED);
        }
        Ok(Self {
            tag: u16::from_be_bytes([command.p1, command.p2]),
            data: command.data,
        })
    }

    /// The plain C-APDU, in the even form.
    ///
    /// # Errors
    /// [`ApduError`] for more data than a command holds.
    pub fn encode(&self) -> Result<Vec<u8>, ApduError> {
        let [p1, p2] = self.tag.to_be_bytes();
        apdu(ins::GET_DATA, p1, p2, self.data)
    }
}
