//! The application management server: who may open which door, with which application, and how it gets onto the chips.
//!
//! It is needed to change something, never to open a door. A lock whose phone has no application asks it ([`download`]); the agents of phones and
//! locks hold a request open with it ([`ota`]) and are handed scripts for their chips; people administer it ([`admin`]).
//!
//! | module | what |
//! |---|---|
//! | [`config`] | server.toml |
//! | [`ca`] | the certificate authority, and [`init`](ca::init) |
//! | [`registry`] | locks, phones, grants, systems, applications, jobs |
//! | [`store`] | where they are kept: one [`Store`](store::Store) trait, SQLite behind it, one thread that writes |
//! | [`seal`] | keys of chips, enciphered at rest |
//! | [`request`] | the checks of a lock's request, in order |
//! | [`profile`], [`jobs`] | what is written into a chip, and which job is next |
//! | [`proof`], [`ota`] | an agent proves itself; its session (GlobalPlatform Amendment B, ETSI TS 102 226) |
//! | [`download`], [`admin`], [`openapi`] | the routes |
//! | [`serve`] | connections, TLS, limits, start and stop |
//! | [`logs`] | structured logs, without secrets |
//!
//! Nothing here opens an identity or a key to a log: identities are shown by their last digits, keys not at all.

pub mod admin;
pub mod ca;
pub mod config;
pub mod download;
pub mod error;
pub mod hub;
pub mod import;
pub mod jobs;
pub mod logs;
pub mod openapi;
pub mod ota;
pub mod profile;
pub mod proof;
pub mod rate;
pub mod registry;
pub mod request;
pub mod seal;
pub mod serve;
pub mod state;
pub mod store;
pub mod time;

pub use config::ServerConfig;
pub use serve::{RunningServer, Server, StartError};
