//! Command scripts (ETSI TS 102 226 5.2.1).

use alloc::vec::Vec;

use super::{BadFormat, Form, enclose, objects, template};
use crate::globalplatform::lv;

const DEFINITE: u8 = 0xAA;
pub(super) const INDEFINITE: u8 = 0xAE;
const COMMAND: u8 = 0x22;
const IMMEDIATE_ACTION: u8 = 0x81;
const ERROR_ACTION: u8 = 0x82;
const SCRIPT_CHAINING: u8 = 0x83;

/// One TLV of a command script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandTlv<'a> {
    /// 22: a C-APDU, 4 bytes at least.
    Command(&'a [u8]),
    /// 81: a proactive command to be done at once, or a reference to one.
    ImmediateAction(&'a [u8]),
    /// 82: the same for the case of an error; may be empty.
    ErrorAction(&'a [u8]),
    /// 83: first (01, 11), another (02) or last (03) script of a chain. Only as the first TLV.
    ScriptChaining(u8),
}

/// A command script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandScript<'a> {
    /// How its length is written.
    pub form: Form,
    /// What is in it.
    pub items: Vec<CommandTlv<'a>>,
}

impl<'a> CommandScript<'a> {
    /// A script of C-APDUs.
    #[must_use]
    pub fn new(form: Form, commands: &'a [impl AsRef<[u8]>]) -> Self {
        Self {
            form,
            items: commands.iter().map(|apdu| CommandTlv::Command(apdu.as_ref())).collect(),
        }
    }

    /// Reads a script; all bytes must be used up.
    ///
    /// # Errors
    /// [`BadFormat`], to be answered with [`super::ResponseScript::bad_format`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadFormat> {
        let (form, content) = template(bytes, DEFINITE, INDEFINITE)?;
        let mut items = Vec::new();
        objects(form, content, |tag, value| {
            items.push(match (tag, value) {
                (COMMAND, [_, _, _, _, ..]) => CommandTlv::Command(value),
                (IMMEDIATE_ACTION, [_, ..]) => CommandTlv::ImmediateAction(value),
                (ERROR_ACTION, _) => CommandTlv::ErrorAction(value),
                (SCRIPT_CHAINING, [which]) if items.is_empty() => CommandTlv::ScriptChaining(*which),
                (SCRIPT_CHAINING, [_]) => return Err(BadFormat::UnknownTag),
                (COMMAND | IMMEDIATE_ACTION | SCRIPT_CHAINING, _) => return Err(BadFormat::WrongLength),
                _ => return Err(BadFormat::UnknownTag),
            });
            Ok(())
        })?;
        Ok(Self { form, items })
    }

    /// The C-APDUs in it.
    pub fn commands(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.items.iter().filter_map(|item| match item {
            CommandTlv::Command(apdu) => Some(*apdu),
            _ => None,
        })
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        for item in &self.items {
            let (tag, value) = match item {
                CommandTlv::Command(apdu) => (COMMAND, *apdu),
                CommandTlv::ImmediateAction(value) => (IMMEDIATE_ACTION, *value),
                CommandTlv::ErrorAction(value) => (ERROR_ACTION, *value),
                CommandTlv::ScriptChaining(which) => (SCRIPT_CHAINING, core::slice::from_ref(which)),
            };
            content.push(tag);
            lv::write(&mut content, value);
        }
        enclose(self.form, DEFINITE, INDEFINITE, &content)
    }
}
