//! The radio field in software, and readers that other people's drivers take for real ones.
//!
//! | module | what |
//! |---|---|
//! | [`acr122u`] | the ACR122U: pseudo-APDUs, polling, and a socket for our own PC/SC driver |
//! | [`field`] | several cards in front of one reader, collisions, and a clock that charges the time on air |
//! | [`pn532`] | the PN532 chip: all commands that hosts use, over any serial line |
//! | [`line`](mod@line) | the serial line: a pseudo-terminal with a symlink |

pub mod acr122u;
pub mod field;
pub mod line;
pub mod pn532;

pub use acr122u::Acr122u;
pub use field::{CardId, Carried, Field, Hand};
pub use pn532::Pn532;
