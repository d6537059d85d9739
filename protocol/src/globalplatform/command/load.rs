//! LOAD (GPC 11.6).

use alloc::vec::Vec;

use super::{apdu, expect, ins};
use crate::apdu::{ApduError, Command};
use crate::status::StatusWord;

/// One block of a load file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load<'a> {
    /// Whether it is the last one (P1 b8).
    pub last: bool,
    /// Its number from 0, counted modulo 256 (P2).
    pub number: u8,
    /// The bytes.
    pub block: &'a [u8],
}

impl<'a> Load<'a> {
    /// Reads the command.
    ///
    /// # Errors
    /// 6E00, 6D00; 6A86 for a P1 other than 00 and 80; 6700 without data.
    pub fn parse(command: &Command<'a>) -> Result<Self, StatusWord> {
        expect(command, ins::LOAD)?;
        if command.p1 & 0x7F != 0 {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        if command.data.is_empty() {
            return Err(StatusWord::WRONG_LENGTH);
        }
        Ok(Self {
            last: command.p1 & 0x80 != 0,
            number: command.p2,
            block: command.data,
        })
    }

    /// The plain C-APDU.
    ///
    /// # Errors
    /// [`ApduError`] for a block above 65535 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, ApduError> {
        apdu(ins::LOAD, if self.last { 0x80 } else { 0 }, self.number, self.block)
    }
}
