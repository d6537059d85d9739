//! DELETE (GPC 11.2).

use alloc::vec::Vec;

use super::{apdu, expect, ins};
use crate::aid::Aid;
use crate::apdu::{ApduError, Command};
use crate::status::StatusWord;
use crate::tlv;

/// DELETE of card content or of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete<'a> {
    /// Applications or executable load files. The specification has one in a command; more are read, for hosts that send them.
    Content {
        /// Which.
        aids: Vec<Aid>,
        /// P2 80: with an executable load file, its instances too.
        related: bool,
        /// 9E: delete token. Empty: none.
        token: &'a [u8],
    },
    /// Keys by identifier, by version number, or by both.
    Keys {
        /// D0: key identifier.
        kid: Option<u8>,
        /// D2: key version number.
        kvn: Option<u8>,
    },
}

impl<'a> Delete<'a> {
    /// Reads the command.
    ///
    /// # Errors
    /// 6E00, 6D00; 6A86 for P1 other than 00 or P2 other than 00 and 80; 6A80 for data.
    pub fn parse(command: &Command<'a>) -> Result<Self, StatusWord> {
        expect(command, ins::DELETE)?;
        if command.p1 != 0 || command.p2 & 0x7F != 0 {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        let wrong = StatusWord::WRONG_DATA;
        let mut aids = Vec::new();
        let (mut kid, mut kvn, mut token) = (None, None, &[][..]);
        for object in tlv::iter(command.data) {
            let object = object.map_err(|_| wrong)?;
            match (object.tag.0, object.value) {
                (0x4F, aid) if (5..=16).contains(&aid.len()) => aids.push(Aid::new(aid).ok_or(wrong)?),
                (0xD0, &[id]) if kid.is_none() => kid = Some(id),
                (0xD2, &[version]) if kvn.is_none() => kvn = Some(version),
                (0x9E, value) => token = value,
                // Control reference template of a token: who issued it, which concerns no one here.
                (0xB6, _) => {}
                _ => return Err(wrong),
            }
        }
        match (aids.is_empty(), kid.or(kvn).is_some()) {
            (false, false) => Ok(Self::Content {
                aids,
                related: command.p2 & 0x80 != 0,
                token,
            }),
            (true, true) => Ok(Self::Keys { kid, kvn }),
            _ => Err(wrong),
        }
    }

    /// The plain C-APDU.
    ///
    /// # Errors
    /// [`ApduError`] for more data than a command holds.
    pub fn encode(&self) -> Result<Vec<u8>, ApduError> {
        let mut data = Vec::new();
        let mut p2 = 0;
        match self {
            Self::Content { aids, related, token } => {
                p2 = if *related { 0x80 } else { 0 };
                aids.iter().for_each(|aid| tlv::write(&mut data, 0x4F, aid.as_bytes()));
                if !token.is_empty() {
                    tlv::write(&mut data, 0x9E, token);
                }
            }
            Self::Keys { kid, kvn } => {
                for (tag, value) in [(0xD0, kid), (0xD2, kvn)] {
                    if let Some(value) = value {
                        tlv::write(&mut data, tag, &[*value]);
                    }
                }
            }
        }
        apdu(ins::DELETE, 0, p2, &data)
    }
}
