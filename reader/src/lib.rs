//! The lock: where cards come from, the tap loop, the door and the policy.
//!
//! | module | what |
//! |---|---|
//! | [`source`] | readers that cards come to: PC/SC, `vpcd-listen` |
//! | [`pn532`] | the PN532's driver: serial line, commands, the chip as a radio, ISO-DEP in its firmware |
//! | [`acr122u`] | the PN532 inside an ACR122U, and what is odd about that |
//! | [`udp`] | frames over UDP, as nfcpy writes them |
//! | [`config`] | lock.toml |
//! | [`control`] | the control side of the lock's chip: BEGIN, NEXT |
//! | [`tap`] | one tap, from the first SELECT to the verdict |
//! | [`policy`] | time caps, and delays after failures |
//! | [`door`] | what moves: a log, a command |
//! | [`feedback`] | LED and buzzer of an ACR122 |
//! | [`calibrate`] | time caps from honest taps |
//! | [`lock`] | the loop: wait for a card, tap, door, CONTROL FLOW, wait for removal |

pub mod acr122u;
pub mod calibrate;
pub mod config;
pub mod control;
pub mod door;
pub mod download;
mod drawn;
pub mod feedback;
pub mod lock;
pub mod own_chip;
pub mod pn532;
pub mod policy;
pub mod source;
pub mod tap;
pub mod udp;
pub mod updates;

pub use config::LockConfig;
pub use control::Control;
pub use door::Door;
pub use lock::{Lock, LockEvent};
pub use source::{CardSource, ReaderInfo, Session, SourceError};
pub use tap::{Tap, TapVerdict};
