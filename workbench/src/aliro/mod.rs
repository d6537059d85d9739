//! Aliro's files: keys, readers in lock.toml, credentials in phone.toml and lock.toml, and what opens recorded transactions.

pub mod files;
pub mod keys;
pub mod remembered;

pub use files::{AliroError, CredentialPlan, ReaderPlan};
pub use keys::{KeyError, KeyFile, KeyFormat};
pub use remembered::Evidence;
