//! STORE DATA (GPC 11.11).

use alloc::vec::Vec;

use super::{apdu, expect, ins};
use crate::apdu::{ApduError, Command};
use crate::status::StatusWord;

/// How a block is built (P1 b5 b4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Format {
    /// The application knows.
    Unspecified = 0x00,
    /// Data grouping identifiers.
    Dgi = 0x08,
    /// BER-TLV.
    BerTlv = 0x10,
}

/// What is enciphered in a block, besides what the secure channel does (P1 b7 b6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encryption {
    /// Nothing, or nobody says.
    None = 0x00,
    /// What the application expects to be.
    ApplicationDependent = 0x20,
    /// All of it.
    Encrypted = 0x60,
}

/// One block of data for a security domain or for the application being personalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreData<'a> {
    /// Whether it is the last one (P1 b8).
    pub last: bool,
    /// What is enciphered.
    pub encryption: Encryption,
    /// How it is built.
    pub format: Format,
    /// Whether the answer may carry data (P1 b1).
    pub response: bool,
    /// Its number from 0, counted modulo 256 (P2).
    pub number: u8,
    /// The bytes.
    pub data: &'a [u8],
}

impl<'a> StoreData<'a> {
    /// Reads the command.
    ///
    /// # Errors
    /// 6E00, 6D00; 6A86 for a P1 with reserved bits or values.
    pub fn parse(command: &Command<'a>) -> Result<Self, StatusWord> {
        expect(command, ins::STORE_DATA)?;
        let wrong = StatusWord::INCORRECT_P1_P2;
        if command.p1 & 0x06 != 0 {
            return Err(wrong);
        }
        Ok(Self {
            last: command.p1 & 0x80 != 0,
            encryption: match command.p1 & 0x60 {
                0x00 => Encryption::None,
                0x20 => Encryption::ApplicationDependent,
                0x60 => Encryption::Encrypted,
                _ => return Err(wrong),
            },
            format: match command.p1 & 0x18 {
                0x00 => Format::Unspecified,
                0x08 => Format::Dgi,
                0x10 => Format::BerTlv,
                _ => return Err(wrong),
            },
            response: command.p1 & 0x01 != 0,
            number: command.p2,
            data: command.data,
        })
    }

    /// The plain C-APDU.
    ///
    /// # Errors
    /// [`ApduError`] for a block above 65535 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, ApduError> {
        let p1 = self.encryption as u8 | self.format as u8 | if self.last { 0x80 } else { 0 } | u8::from(self.response);
        apdu(ins::STORE_DATA, p1, self.number, self.data)
    }
}
