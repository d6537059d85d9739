//! The phone: its chip shown to the field.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | phone.toml |
//! | [`phone`] | the phone: its chip behind the laboratory's switches |
//! | [`laboratory`] | the switches: missing application, wrong key, slow, silent, torn |
//! | [`link`] | the phone as a card on a link in the same process |
//! | [`agent`] | the phone's chip as its agent sees it |
//! | [`radio`] | the phone in a radio field |
//! | [`serve`] | the phone shown to somebody else: vpcd, a listening socket |

pub mod agent;
pub mod config;
pub mod laboratory;
pub mod link;
pub mod phone;
pub mod radio;
pub mod serve;

pub use agent::{HasPhone, PhoneChip};
pub use config::PhoneConfig;
pub use laboratory::{Laboratory, Switch};
pub use link::PhoneLink;
pub use phone::Phone;
pub use radio::RadioCard;
