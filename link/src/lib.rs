//! The seam between a lock and a card: [`CardLink`], and decorators over it.
//!
//! A decorator owns a link, is a link itself, and adds one thing. They stack in the order in which they are written:
//!
//! ```
//! use tapdoor_link::{CardLink, Complete, RelayGuard, Scripted, Timed};
//!
//! let card = Scripted::new().answer([0x61, 0x02]).answer([0xCA, 0xFE, 0x90, 0x00]);
//! let mut link = Complete::new(RelayGuard::new(Timed::new(card)));
//!
//! let mut response = Vec::new();
//! link.transmit(&[0x00, 0xA4, 0x04, 0x00], &mut response)?;
//! assert_eq!(response, [0xCA, 0xFE, 0x90, 0x00]);
//! # Ok::<(), tapdoor_link::LinkError>(())
//! ```
//!
//! | module | what | adds |
//! |---|---|---|
//! | [`card`] | [`CardLink`], [`Limits`], [`LinkError`] | the seam itself |
//! | [`complete`] | [`Complete`] | GET RESPONSE after `61xx`, repetition after `6Cxx`, command chaining |
//! | [`recorder`] | [`Recorder`], [`Observer`] | somebody who is told of every exchange, such as a tape |
//! | [`mod@attend`] | [`Attended`] | work with a card that may fall silent for ever |
//! | [`timing`] | [`Timed`] | how long the card took |
//! | [`relay_guard`] | [`RelayGuard`] | caps on the time of each answer and of the tap |
//! | [`fault`] | [`Faulty`], [`FaultPlan`] | faults, on purpose and repeatably |
//! | [`field`] | [`FieldLink`], [`FieldCard`] | the seam below: frames in the radio field |
//! | [`field`] | [`IsoDepLink`], [`FieldRecorder`], [`FieldFaults`] | a card link over a field link; frames on tape; faults in the air |
//! | [`handler`] | [`ApduHandler`] | the face that `apdu-core` wants |
//! | [`script`] | [`Scripted`] | a card that answers a list, for tests |
//! | [`clock`] | [`Clock`], [`Monotonic`], [`ManualClock`] | time, so that tests need not wait |

pub mod attend;
pub mod card;
pub mod clock;
pub mod complete;
pub mod fault;
pub mod field;
pub mod handler;
pub mod ifd;
pub mod recorder;
pub mod relay_guard;
pub mod script;
pub mod stop;
pub mod timing;
pub mod vpcd;

pub use attend::{Abandoned, Attended, Attention, attend, attend_and_hear};
pub use card::{CardLink, Limits, LinkError, LinkErrorKind};
pub use clock::{Clock, ManualClock, Monotonic};
pub use complete::Complete;
pub use fault::{Fault, FaultPlan, Faulty};
pub use field::{FieldCard, FieldError, FieldErrorKind, FieldFaults, FieldLink, FieldPlan, FieldRecorder, IsoDepLink};
pub use handler::ApduHandler;
pub use recorder::{Exchange, Observer, Recorder};
pub use relay_guard::{Mode, RelayGuard, Warning};
pub use script::Scripted;
pub use timing::{Timed, Timing};
