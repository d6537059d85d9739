//! A tap through the air: a lock that does its own polling and ISO-DEP, a phone in a simulated field, and a clock that charges the time
//! of every frame.
//!
//! | module | what |
//! |---|---|
//! | [`stage`] | lock, phone and field, and one tap after another |
//! | [`faults`] | every fault at every frame of a tap, and what came of it |
//! | [`mod@bench`] | how long a tap is on the air |

pub mod bench;
pub mod faults;
pub mod stage;

pub use stage::{AirTap, Stage};
