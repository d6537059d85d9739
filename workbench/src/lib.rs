//! What composes lock and phone.
//!
//! | module | what |
//! |---|---|
//! | [`site`] | a site: its key, its lock, its phones, as keys and as configuration files |
//! | [`init`] | a working set of files in a new folder |
//! | [`open`] | READER of the command line: which source of cards |
//! | [`api`] | the administration of a server |
//! | [`serve`] | SERVE of the command line: where a phone is shown |
//! | [`sim`] | a phone in the same process |
//! | [`replay`] | the card side of a recorded tape |
//! | [`doctor`] | what stands in the way of a tap on this machine |
//! | [`probe`] | what a card or phone is |
//! | [`demo`] | the whole story in one process |
//! | [`mod@bench`] | measurements |

pub mod api;
pub mod bench;
pub mod demo;
pub mod doctor;
pub mod init;
pub mod open;
pub mod probe;
pub mod replay;
pub mod serve;
pub mod sim;
pub mod site;

pub use open::{OpenError, ReaderSpec};
pub use sim::SimSource;
pub use site::Site;
