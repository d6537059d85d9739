//! The way of a chip to the application management server, for whoever hosts the chip: a phone or a lock.
//!
//! | module | what | standard |
//! |---|---|---|
//! | [`chip`] | the chip, as its agent sees it | |
//! | [`server`] | which server, and whom to trust to be it | |
//! | [`admin`] | one session: proof, scripts, answers | GlobalPlatform Card Amendment B 3, ETSI TS 102 226 5.2 |
//! | [`agent`] | sessions without end, each after the loss of the last | |
//! | [`download`] | a lock's request for an application, and what becomes of it | docs/protocol.md section 9 |
//! | [`config`] | what lock.toml and phone.toml say about chip and server | |
//! | [`error`] | what can go wrong, with its cure | |
//!
//! This is the one asynchronous part of phone and lock. Both call it from a thread that may block.

pub mod admin;
pub mod agent;
pub mod chip;
pub mod config;
pub mod download;
pub mod error;
pub mod server;

pub use agent::{Agent, AgentEvent};
pub use chip::WiredChip;
pub use download::{DownloadEvent, DownloadRequest, Refusal};
pub use error::AgentError;
pub use server::Server;
