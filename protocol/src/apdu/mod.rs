//! Command and response APDUs (ISO/IEC 7816-3 12.1.3, ISO/IEC 7816-4 5.1; clauses of 7816-4 are those of its 2005 edition).
//!
//! | module | what | side |
//! |---|---|---|
//! | `command` | [`Command`]: header, data, Ne; short and extended form; splitting for command chaining | both |
//! | `response` | [`Response`]: data and status word | both |
//! | [`chain`] | [`chain::Assembler`]: puts a command chain together again | card |
//! | [`get_response`] | [`get_response::Completion`]: follows 61xx and 6Cxx until an answer is whole | terminal |
//!
//! Bytes are encoded and decoded by the `iso7816` crate. This module checks what that crate asserts or lets
//! pass, so that no input panics and nothing is accepted that the standard excludes.

pub mod chain;
mod command;
mod error;
pub mod get_response;
mod response;

pub use command::{Command, MAX_DATA, MAX_NE, MAX_SHORT_DATA, MAX_SHORT_NE};
pub use error::ApduError;
pub use response::Response;
