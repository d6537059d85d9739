//! A secure element in software: the lock and the phone have one each.
//!
//! | module | what | standard |
//! |---|---|---|
//! | [`chip`] | dispatch: SELECT, command chaining, GET RESPONSE, one transaction per command | ISO/IEC 7816-4 5, 11.1; GlobalPlatform Card 6.4 |
//! | [`kind`] | programs, life cycles, privileges | GlobalPlatform Card 5.3, 6.6.1 |
//! | [`registry`] | which applications there are, and how one is found by full or partial AID | GlobalPlatform Card 6.6 |
//! | [`manager`] | the card manager: GET DATA, GET STATUS | GlobalPlatform Card 11.3, 11.4 |
//! | [`applet`] | the interface of an application | |
//! | [`applets`] | the built-in ones, each a thin shell over a method of `tapdoor-protocol` | docs/protocol.md |
//! | [`vault`] | keys, which never leave | |
//! | [`personalise`] | what a chip is filled with | |
//! | [`store`] | non-volatile memory: every change one transaction | |
//! | [`link`] | the chip as a card on a link | |

pub mod applet;
pub mod applets;
pub mod chip;
pub mod kind;
pub mod link;
pub mod manager;
pub mod personalise;
pub mod random;
pub mod registry;
pub mod store;
pub mod vault;

pub use chip::{Chip, ChipError, ChipEvent};
pub use kind::Kind;
pub use link::ChipLink;
pub use personalise::{Application, ListEntry, Personalisation, TestSubscriber};
pub use random::{OsRandom, RandomSource};
pub use store::{SqliteStore, Store, StoreError};
