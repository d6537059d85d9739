//! Provisioning of Aliro: keys in files, readers in lock.toml, credentials in phone.toml and lock.toml.

pub mod files;
pub mod keys;

pub use files::{AliroError, CredentialPlan, ReaderPlan};
pub use keys::{KeyError, KeyFile, KeyFormat};
