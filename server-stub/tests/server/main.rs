//! The server from outside: its checks, its store, its HTTP face, and chips administered over the air.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod api;
mod bad_input;
mod chip;
mod load;
mod ota;
mod requests;
mod site;
mod store;
