//! Aliro 1.0: recorded transactions in both roles, both roles against each other, and peers that misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in tests a panic is the verdict"
)]

mod card;
mod certificates;
mod pair;
mod properties;
mod recorded;
mod vault;
mod vectors;
