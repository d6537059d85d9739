//! Response scripts (ETSI TS 102 226 5.2.2).

use alloc::vec::Vec;

use super::{BadFormat, Form, enclose, objects, template};
use crate::globalplatform::lv;

const DEFINITE: u8 = 0xAB;
const INDEFINITE: u8 = 0xAF;
const EXECUTED: u8 = 0x80;
const RESPONSE: u8 = 0x23;
const IMMEDIATE_ACTION: u8 = 0x81;
const SCRIPT_CHAINING: u8 = 0x83;
const BAD_FORMAT: u8 = 0x90;

/// One TLV of a response script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseTlv<'a> {
    /// 23: an R-APDU, 2 bytes at least.
    Response(&'a [u8]),
    /// 81: what became of an immediate action. 01: suspension error; otherwise the answer of the terminal.
    ImmediateAction(&'a [u8]),
    /// 83: 01 no previous script, 02 not supported, 03 unable to process.
    ScriptChaining(&'a [u8]),
    /// 90: the command script is malformed.
    BadFormat(BadFormat),
}

/// A response script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseScript<'a> {
    /// How its length is written.
    pub form: Form,
    /// 80: how many command TLVs were executed. A card may leave it out in the indefinite form, where it does not know it in advance.
    pub executed: Option<u32>,
    /// What is in it besides.
    pub items: Vec<ResponseTlv<'a>>,
}

impl<'a> ResponseScript<'a> {
    /// A response script for that many executed command TLVs, without their answers.
    #[must_use]
    pub const fn new(form: Form, executed: u32) -> Self {
        Self {
            form,
            executed: Some(executed),
            items: Vec::new(),
        }
    }

    /// The answer to a malformed script.
    #[must_use]
    pub fn bad_format(form: Form, executed: u32, bad: BadFormat) -> Self {
        Self {
            items: alloc::vec![ResponseTlv::BadFormat(bad)],
            ..Self::new(form, executed)
        }
    }

    /// Reads a script; all bytes must be used up.
    ///
    /// # Errors
    /// [`BadFormat`] says what is wrong with the response script itself.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadFormat> {
        let (form, content) = template(bytes, DEFINITE, INDEFINITE)?;
        let mut executed = None;
        let mut items = Vec::new();
        objects(form, content, |tag, value| {
            items.push(match (tag, value) {
                (EXECUTED, [..]) if (1..=4).contains(&value.len()) && executed.is_none() => {
                    executed = Some(value.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)));
                    return Ok(());
                }
                (RESPONSE, [_, _, ..]) => ResponseTlv::Response(value),
                (IMMEDIATE_ACTION, [_, ..]) => ResponseTlv::ImmediateAction(value),
                (SCRIPT_CHAINING, [_, ..]) => ResponseTlv::ScriptChaining(value),
                (BAD_FORMAT, [number]) => ResponseTlv::BadFormat(BadFormat::from_number(*number).ok_or(BadFormat::WrongLength)?),
                (EXECUTED | RESPONSE | IMMEDIATE_ACTION | SCRIPT_CHAINING | BAD_FORMAT, _) => return Err(BadFormat::WrongLength),
                _ => return Err(BadFormat::UnknownTag),
            });
            Ok(())
        })?;
        Ok(Self { form, executed, items })
    }

    /// The R-APDUs in it.
    pub fn responses(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.items.iter().filter_map(|item| match item {
            ResponseTlv::Response(apdu) => Some(*apdu),
            _ => None,
        })
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        if let Some(executed) = self.executed {
            let bytes = executed.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(3);
            content.push(EXECUTED);
            lv::write(&mut content, &bytes[zeros..]);
        }
        for item in &self.items {
            let number;
            let (tag, value) = match item {
                ResponseTlv::Response(apdu) => (RESPONSE, *apdu),
                ResponseTlv::ImmediateAction(value) => (IMMEDIATE_ACTION, *value),
                ResponseTlv::ScriptChaining(value) => (SCRIPT_CHAINING, *value),
                ResponseTlv::BadFormat(bad) => {
                    number = [*bad as u8];
                    (BAD_FORMAT, &number[..])
                }
            };
            content.push(tag);
            lv::write(&mut content, value);
        }
        enclose(self.form, DEFINITE, INDEFINITE, &content)
    }
}
