//! The phone in a radio field: type A with ISO-DEP, as Android phones look (ISO/IEC 14443-3 and -4).
//!
//! | module | what |
//! |---|---|
//! | [`card`] | [`RadioCard`]: frames in, frames out |
//! | [`worker`] | the phone on a thread of its own, so that a slow one asks for more time as it goes |
//!
//! A phone shows another identifier each time a field comes (08 and three random bytes), so no reader can know it by that. Its link to the
//! application is up from RATS to S(DESELECT) or the loss of the field. Frames are 64 bytes long unless the ATS says otherwise.

pub mod card;
pub mod worker;

pub use card::{Appearance, Pace, RadioCard, UidSource};
