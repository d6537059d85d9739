//! A secure element in software: the lock and the phone have one each.
//!
//! | module | what | standard |
//! |---|---|---|
//! | [`chip`] | dispatch: SELECT, the field and the wire, one transaction per command | ISO/IEC 7816-4 11.1; GlobalPlatform Card 6.4 |
//! | `exchange` | command chaining, GET RESPONSE | ISO/IEC 7816-4 5 |
//! | `card` | what all sessions share | GlobalPlatform Card 6.6 |
//! | [`kind`] | programs, life cycles, privileges | GlobalPlatform Card 5.3, 6.6.1 |
//! | [`registry`] | which applications there are, and how one is found by full or partial AID | GlobalPlatform Card 6.6 |
//! | `manager` | the card manager: SCP03, content management | GlobalPlatform Card 9, 11; Amendment D |
//! | [`applet`] | the interface of an application | |
//! | [`applets`] | the built-in ones, each a thin shell over a method of `tapdoor-protocol` | docs/protocol.md |
//! | [`vault`] | keys, which never leave | |
//! | [`sandbox`] | downloaded applications: WebAssembly with limits | docs/applets.md |
//! | [`personalise`] | what a chip is filled with | |
//! | [`store`] | non-volatile memory: every change one transaction | |
//! | [`link`] | the chip as a card on a link | |

pub mod applet;
pub mod applets;
mod card;
pub mod chip;
mod exchange;
pub mod kind;
pub mod link;
mod manager;
pub mod personalise;
pub mod random;
pub mod registry;
pub mod sandbox;
pub mod store;
pub mod vault;

pub use chip::{Chip, ChipError, ChipEvent};
pub use kind::Kind;
pub use link::ChipLink;
pub use personalise::{Application, CardManager, ListEntry, Personalisation, Quotas, ScpKeys, TestSubscriber};
pub use random::{OsRandom, RandomSource};
pub use store::{SqliteStore, Store, StoreError};
