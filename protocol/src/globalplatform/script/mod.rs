//! Expanded remote command and response scripts (ETSI TS 102 226 5.2; tags in ETSI TS 101 220 7.2).
//!
//! | template | definite length | indefinite length |
//! |---|---|---|
//! | commands | AA length .. | AE 80 .. 00 00 |
//! | responses | AB length .. | AF 80 .. 00 00 |
//!
//! What is read borrows from its bytes, so that a lying length costs nothing. A command script is checked as a whole before its first
//! command is run; what is wrong with it is answered as [`BadFormat`].

mod command;
mod response;

pub use self::command::{CommandScript, CommandTlv};
pub use self::response::{ResponseScript, ResponseTlv};

use alloc::vec::Vec;

use super::lv;
use crate::status::{Class, StatusWord};

/// How the length of a script is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A BER length in front: AA, AB.
    Definite,
    /// 80 in front and 00 00 at the end: AE, AF.
    Indefinite,
}

/// What is wrong with a script: the value of the bad format TLV (tag 90).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum BadFormat {
    /// 01.
    #[error(
        "the script has an unknown tag: only AA or AE outside and 22, 81, 82, 83 inside (AB or AF and 23, 80, 81, 83, 90 for responses)"
    )]
    UnknownTag = 1,
    /// 02.
    #[error("a length in the script is wrong: the object it belongs to ends elsewhere")]
    WrongLength = 2,
    /// 03.
    #[error("a length, or the end of an indefinite one, is missing in the script")]
    LengthNotFound = 3,
}

impl BadFormat {
    /// From the value of the TLV.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::UnknownTag),
            2 => Some(Self::WrongLength),
            3 => Some(Self::LengthNotFound),
            _ => None,
        }
    }
}

/// Whether a script goes on after a command with this status word: 9000, 91XX, 92XX, 61XX and the warnings 62XX and 63XX.
///
/// All others are errors, and what follows in the script is not run (TS 102 226 5.2.1). 62F1 (answer truncated) ends a script too.
#[must_use]
pub const fn goes_on(sw: StatusWord) -> bool {
    match sw.class() {
        Class::Normal => true,
        Class::Warning | Class::WarningChanged => sw.0 != 0x62F1,
        _ => matches!(sw.sw1(), 0x91 | 0x92),
    }
}

/// Runs a command script: each C-APDU is handed to `execute`, which gives the R-APDU, until the end or the first error. Gives the response
/// script, in the same form; a malformed script is answered with its [`BadFormat`] and nothing is run.
///
/// Immediate action, error action and script chaining are for proactive sessions and suspended scripts, which there are not here: the first
/// two are passed over, chaining is answered "not supported" and nothing is run.
pub fn run(script: &[u8], mut execute: impl FnMut(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let form = match script.first() {
        Some(&command::INDEFINITE) => Form::Indefinite,
        _ => Form::Definite,
    };
    let script = match CommandScript::parse(script) {
        Ok(script) => script,
        Err(bad) => return ResponseScript::bad_format(form, 0, bad).encode(),
    };
    let mut answers = Vec::new();
    let mut executed = 0;
    for item in &script.items {
        match item {
            CommandTlv::Command(apdu) => {
                executed += 1;
                let answer = execute(apdu);
                let sw = answer.last_chunk().copied().map_or(StatusWord::NO_DIAGNOSIS, StatusWord::from);
                answers.push(answer);
                if !goes_on(sw) {
                    break;
                }
            }
            CommandTlv::ImmediateAction(_) | CommandTlv::ErrorAction(_) => executed += 1,
            CommandTlv::ScriptChaining(_) => {
                let response = ResponseScript {
                    form,
                    executed: Some(0),
                    items: alloc::vec![ResponseTlv::ScriptChaining(&[2])],
                };
                return response.encode();
            }
        }
    }
    let mut response = ResponseScript::new(form, executed);
    response.items = answers.iter().map(|answer| ResponseTlv::Response(answer)).collect();
    response.encode()
}

/// The content of a template with its form.
fn template(bytes: &[u8], definite: u8, indefinite: u8) -> Result<(Form, &[u8]), BadFormat> {
    let (&tag, rest) = bytes.split_first().ok_or(BadFormat::UnknownTag)?;
    if tag == definite {
        let (length, content) = length(rest)?;
        return match content.len() == length {
            true => Ok((Form::Definite, content)),
            false => Err(BadFormat::WrongLength),
        };
    }
    if tag != indefinite {
        return Err(BadFormat::UnknownTag);
    }
    match rest.split_first() {
        None => Err(BadFormat::LengthNotFound),
        Some((0x80, content)) => Ok((Form::Indefinite, content)),
        Some(_) => Err(BadFormat::WrongLength),
    }
}

fn length(bytes: &[u8]) -> Result<(usize, &[u8]), BadFormat> {
    match bytes.first() {
        None => Err(BadFormat::LengthNotFound),
        // Indefinite and reserved forms are not for single objects.
        Some(0x80 | 0x84..) => Err(BadFormat::WrongLength),
        Some(_) => lv::read_length(bytes).ok_or(BadFormat::LengthNotFound),
    }
}

/// The objects of a template, each a tag and a value. An indefinite one ends with 00 00 and nothing behind.
fn objects<'a>(form: Form, content: &'a [u8], mut each: impl FnMut(u8, &'a [u8]) -> Result<(), BadFormat>) -> Result<(), BadFormat> {
    let mut rest = content;
    loop {
        let Some((&tag, after)) = rest.split_first() else {
            return match form {
                Form::Definite => Ok(()),
                Form::Indefinite => Err(BadFormat::LengthNotFound),
            };
        };
        if form == Form::Indefinite && tag == 0 {
            return match after {
                [0] => Ok(()),
                [] => Err(BadFormat::LengthNotFound),
                _ => Err(BadFormat::WrongLength),
            };
        }
        let (length, after) = length(after)?;
        let (value, after) = after.split_at_checked(length).ok_or(BadFormat::WrongLength)?;
        each(tag, value)?;
        rest = after;
    }
}

/// Puts the template around its content.
fn enclose(form: Form, definite: u8, indefinite: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    match form {
        Form::Definite => {
            out.push(definite);
            lv::write(&mut out, content);
        }
        Form::Indefinite => {
            out.extend_from_slice(&[indefinite, 0x80]);
            out.extend_from_slice(content);
            out.extend_from_slice(&[0, 0]);
        }
    }
    out
}
