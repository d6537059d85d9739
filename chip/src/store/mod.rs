//! Non-volatile memory. Every change is one transaction: after a power cut the old state or the new one is there, never a mixture.

mod content;
mod downloaded;
mod personalised;
mod schema;
mod sqlite;

pub use content::{Change, Content, Delivered, Instance, LoadFile};
pub use sqlite::{Durability, SqliteStore};

use std::path::PathBuf;

use tapdoor_protocol::aid::Aid;

use crate::personalise::Personalisation;

/// What a chip needs of its memory.
pub trait Store: Send {
    /// What the chip is filled with.
    ///
    /// # Errors
    /// [`StoreError`].
    fn personalisation(&mut self) -> Result<Personalisation, StoreError>;

    /// What came after that.
    ///
    /// # Errors
    /// [`StoreError`].
    fn content(&mut self) -> Result<Content, StoreError>;

    /// Replaces what the chip is filled with, in one transaction. Records of applications that stay are kept, those of others removed;
    /// what came after personalisation stays.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    fn personalise(&mut self, personalisation: &Personalisation) -> Result<(), StoreError>;

    /// The chip's own number.
    ///
    /// # Errors
    /// [`StoreError`].
    fn number(&mut self) -> Result<[u8; 8], StoreError>;

    /// One record of an applet.
    ///
    /// # Errors
    /// [`StoreError`].
    fn record(&mut self, aid: &Aid, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Makes all changes or none. When it returns they are durable.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError>;
}

/// Why the memory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is empty, cut off, or was written to by something else.
    #[error("chip store {}: damaged ({detail}). Nothing was changed. Restore it from a copy, or move it away and personalise anew (sequence numbers then start again)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// The file is no chip store.
    #[error("chip store {}: not a chip store (application id {found:#010x}). Nothing was changed. Name another file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its application id.
        found: u32,
    },
    /// The file was written by a newer Tapdoor.
    #[error("chip store {}: written by a newer version (schema {found}, this build knows {known}). Nothing was changed. Use the newer build", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Another process has the file open.
    #[error("chip store {}: in use by another process. Stop the other `tapdoor`, or give this one its own store", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file system or SQLite failed.
    #[error("chip store {}: {detail}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        detail: String,
    },
}
