//! NFC-DEP, the data exchange protocol of ISO/IEC 18092 clause 12, in passive communication mode at 106, 212 and 424 kbit/s.
//!
//! | module | what |
//! |---|---|
//! | [`pdu`] | ATR, PSL, DEP, DSL, RLS and their framing |
//! | [`initiator`] | the reader's half |
//! | [`target`] | the card's half |
//!
//! Every request and its response carry the packet number PNI; a response that is lost is fetched again by attention and repetition,
//! one that is damaged by NAK.

pub mod initiator;
pub mod pdu;
pub mod target;

use super::frame::{BitRate, Technology};

/// Longest information of one exchange that is put together from a chain.
pub const MAX_DATA: usize = 65_538;
/// Most that a time-out extension may ask for.
pub const RTOX_MAX: u8 = 59;

/// How a rate is sent: type A at 106 kbit/s, type F above.
#[must_use]
pub const fn technology(rate: BitRate) -> Technology {
    match rate {
        BitRate::Kbps106 => Technology::A,
        _ => Technology::F,
    }
}
