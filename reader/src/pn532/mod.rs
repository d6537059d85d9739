//! The PN532, driven by us: over a serial line, or inside an ACR122U.
//!
//! | module | what |
//! |---|---|
//! | [`port`] | [`Port`]: command to answer, whatever carries them |
//! | [`hsu`] | the chip's own serial protocol: ACK, NACK, repetition, abort |
//! | [`serial`] | a serial port or a pty (Unix) |
//! | [`chip`] | [`Chip`]: commands with names, and what they come to |
//! | [`raw`] | [`RawField`]: the chip as a radio, frame to frame; ISO-DEP is ours (mode B) |
//! | [`dep`] | [`DepInitiator`] and [`DepTarget`]: NFC-DEP by the chip's firmware, both roles |
//! | [`firmware`] | [`FirmwareCard`]: the chip finds the card and does ISO-DEP itself (mode A) |

pub mod chip;
pub mod dep;
pub mod firmware;
pub mod hsu;
pub mod port;
pub mod raw;
#[cfg(unix)]
pub mod serial;

pub use chip::{Chip, ChipError};
pub use dep::{DepInitiator, DepTarget};
pub use firmware::FirmwareCard;
pub use hsu::{Hsu, Line};
pub use port::{AnyPort, Port, PortError, PortErrorKind};
pub use raw::RawField;
#[cfg(unix)]
pub use serial::SerialLine;

pub(crate) const LAYER: &str = "pn532";
