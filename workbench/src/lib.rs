//! What composes lock and phone.
//!
//! | module | what |
//! |---|---|
//! | [`site`] | a site: its key, its lock, its phones, as keys and as configuration files |
//! | [`dep`] | NFC-DEP with a peer, both roles, over UDP and through PN532 chips |
//! | [`init`] | a working set of files in a new folder |
//! | [`open`] | READER of the command line: which source of cards |
//! | [`api`] | the administration of a server |
//! | [`serve`] | SERVE of the command line: where a phone is shown |
//! | [`sim`] | a phone in the same process |
//! | `simulate` | simulated chips without a phone |
//! | [`desk`] | a reader with the card that lies on it, held between commands |
//! | [`script`] | `.door` scripts: interop tests as plain text |
//! | [`names`] | applications by name |
//! | [`recorded`] | a tape as taps |
//! | [`verify`] | a recorded tap's cryptography, and today's lock over recorded answers |
//! | [`replay`] | the card side of a recorded tape |
//! | [`mod@aliro`] | provisioning of Aliro: keys, readers, credentials |
//! | [`doctor`] | what stands in the way of a tap on this machine |
//! | [`probe`] | what a card or phone is |
//! | [`demo`] | the whole story in one process |
//! | [`mod@bench`] | measurements |
//! | [`radio`] | taps through a simulated field: time on air, and the fault table |

mod address;
pub mod aliro;
pub mod api;
pub mod bench;
pub mod demo;
pub mod dep;
pub mod desk;
pub mod doctor;
pub mod init;
pub mod names;
pub mod open;
pub mod probe;
pub mod radio;
pub mod recorded;
pub mod replay;
pub mod script;
pub mod serve;
pub mod sim;
#[cfg(unix)]
pub mod simulate;
pub mod site;
pub mod verify;

pub use open::{OpenError, ReaderSpec};
pub use sim::SimSource;
pub use site::Site;
