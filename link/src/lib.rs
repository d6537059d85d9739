//! The seam between a lock and a card: [`CardLink`], and decorators over it.
pub mod card;
pub use card::{CardLink, Limits, LinkError, LinkErrorKind};
