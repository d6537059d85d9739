//! The store in a SQLite file: WAL, `synchronous=FULL`, one process at a time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use tapdoor_protocol::aid::Aid;

use super::schema::{self, APPLICATION_ID, SCHEMA};
use super::{Change, Content, Store, StoreError, downloaded, personalised};
use crate::personalise::Personalisation;

/// How long another process is waited for.
const BUSY: Duration = Duration::from_millis(200);

const READ_RECORD: &str = "SELECT value FROM record WHERE aid = ?1 AND name = ?2";
/// How much a commit promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced to the medium before it returns.
    Full,
    /// For measurements only: SQLite's `synchronous=OFF`.
    None,
}

/// A chip's memory in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens the store, or makes a new one if the file does not exist. Secrets are in it: it is made readable for its owner only.
    ///
    /// # Errors
    /// [`StoreError`]. An existing file is never replaced, whatever is wrong with it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            Self::create(path)?;
        }
        if path.metadata().is_ok_and(|m| m.len() == 0) {
            // SQLite would take an empty file for a new database, and sequence numbers would start again.
            return Err(StoreError::Damaged {
                path: path.into(),
                detail: "the file is empty".into(),
            });
        }
        let mut log = path.as_os_str().to_os_string();
        log.push("-wal");
        let has_log = Path::new(&log).metadata().is_ok_and(|m| m.len() > 0);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|e| error(path, &e))?;
        if has_log {
            // What is refused below stays as it is: its log must not be moved into it when the connection closes.
            connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .map_err(|e| error(path, &e))?;
        } else {
            check_length(&connection, path)?;
        }
        let store = Self::with_connection(connection, path, Durability::Full)?;
        store
            .connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(|e| error(path, &e))?;
        Ok(store)
    }

    /// A store that lives in memory, for simulations and measurements.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_memory() -> Result<Self, StoreError> {
        let path = Path::new(":memory:");
        let connection = Connection::open_in_memory().map_err(|e| error(path, &e))?;
        schema::create(&connection).map_err(|e| error(path, &e))?;
        Self::with_connection(connection, path, Durability::None)
    }

    /// The new file comes into being under another name and is renamed when it is whole: a store is there, or it is not.
    fn create(path: &Path) -> Result<(), StoreError> {
        let io = |e: std::io::Error| StoreError::Io {
            path: path.into(),
            detail: e.to_string(),
        };
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".new-{}", std::process::id()));
        let fresh = path.with_file_name(name);
        let _ = std::fs::remove_file(&fresh);
        private_file(&fresh).map_err(io)?;
        let connection = Connection::open(&fresh).map_err(|e| error(path, &e))?;
        let made = schema::create(&connection).map_err(|e| error(path, &e)).and_then(|()| {
            drop(connection);
            std::fs::rename(&fresh, path).map_err(io)
        });
        if made.is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
        made
    }

    /// Takes over a connection that was opened elsewhere (on another file layer), checks it and makes its tables if it is new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn from_connection(connection: Connection, name: &Path) -> Result<Self, StoreError> {
        let tables: u32 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(|e| error(name, &e))?;
        if tables == 0 {
            schema::create(&connection).map_err(|e| error(name, &e))?;
        }
        Self::with_connection(connection, name, Durability::Full)
    }

    fn with_connection(connection: Connection, path: &Path, durability: Durability) -> Result<Self, StoreError> {
        let store = Self {
            connection,
            path: path.into(),
        };
        store.check().map_err(|e| match e {
            CheckError::Sql(e) => error(path, &e),
            CheckError::Store(e) => e,
        })?;
        store.set_durability(durability)?;
        Ok(store)
    }

    /// Changes what a commit promises.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_durability(&self, durability: Durability) -> Result<(), StoreError> {
        let pragma = match durability {
            Durability::Full => "PRAGMA synchronous=FULL",
            Durability::None => "PRAGMA synchronous=OFF",
        };
        self.connection.execute_batch(pragma).map_err(|e| error(&self.path, &e))
    }

    fn check(&self) -> Result<(), CheckError> {
        let connection = &self.connection;
        connection.busy_timeout(BUSY)?;
        // One process at a time: a second one would have its own idea of what was spent. Also spares WAL its shared memory file.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        // A key that is deleted is overwritten.
        connection.pragma_update(None, "secure_delete", true)?;
        let id: u32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if id != APPLICATION_ID {
            return Err(StoreError::Foreign {
                path: self.path.clone(),
                found: id,
            }
            .into());
        }
        let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found == 0 {
            return Err(StoreError::Damaged {
                path: self.path.clone(),
                detail: "its schema is 0, which none has".into(),
            }
            .into());
        }
        if found > SCHEMA {
            return Err(StoreError::Newer {
                path: self.path.clone(),
                found,
                known: SCHEMA,
            }
            .into());
        }
        let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
        if verdict != "ok" {
            return Err(StoreError::Damaged {
                path: self.path.clone(),
                detail: verdict,
            }
            .into());
        }
        if found < SCHEMA {
            // Which is 1: there was no other.
            schema::migrate(connection)?;
        }
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
        // Takes the lock now, so that a second process learns it at once.
        connection.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
        connection.set_prepared_statement_cache_capacity(16);
        Ok(())
    }

    fn write_changes(&mut self, changes: &[Change]) -> rusqlite::Result<()> {
        // A single statement is its own transaction.
        if let [change @ Change::Record { .. }] = changes {
            return downloaded::write(&self.connection, change);
        }
        let transaction = self.connection.transaction()?;
        changes.iter().try_for_each(|change| downloaded::write(&transaction, change))?;
        transaction.commit()
    }
}

impl Store for SqliteStore {
    fn personalisation(&mut self) -> Result<Personalisation, StoreError> {
        personalised::read(&self.connection).map_err(|e| error(&self.path, &e))
    }

    fn personalise(&mut self, personalisation: &Personalisation) -> Result<(), StoreError> {
        if self.personalisation()? == *personalisation {
            return Ok(());
        }
        personalised::write(&mut self.connection, personalisation).map_err(|e| error(&self.path, &e))
    }

    fn content(&mut self) -> Result<Content, StoreError> {
        downloaded::read(&self.connection).map_err(|e| error(&self.path, &e))
    }

    fn number(&mut self) -> Result<[u8; 8], StoreError> {
        self.connection
            .query_row("SELECT number FROM chip", [], |row| row.get(0))
            .map_err(|e| error(&self.path, &e))
    }

    fn record(&mut self, aid: &Aid, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = || {
            self.connection
                .prepare_cached(READ_RECORD)?
                .query_row(params![aid.as_bytes(), name], |row| row.get(0))
                .optional()
        };
        read().map_err(|e| error(&self.path, &e))
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write_changes(changes).map_err(|e| error(&self.path, &e))
    }
}

/// SQLite takes a file that was cut off within its last page for whole, and reads zeros where there is nothing. Only a store that was closed
/// can be judged by its length: with a log beside it, the power may have gone while the file grew, and the log makes it whole.
fn check_length(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    // Before anything else is read, as in `SqliteStore::check`.
    connection.busy_timeout(BUSY).map_err(|e| error(path, &e))?;
    connection
        .pragma_update(None, "locking_mode", "EXCLUSIVE")
        .map_err(|e| error(path, &e))?;
    // Reads the header, without which the size of a page is not known.
    connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
        .map_err(|e| error(path, &e))?;
    let page: u32 = connection
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .map_err(|e| error(path, &e))?;
    // Not opened a second time: closing it would release SQLite's locks.
    let length = path
        .metadata()
        .map_err(|e| StoreError::Io {
            path: path.into(),
            detail: e.to_string(),
        })?
        .len();
    if page == 0 || length % u64::from(page) != 0 {
        let detail = format!("{length} bytes are no whole number of pages of {page} bytes: the file was cut off");
        return Err(StoreError::Damaged { path: path.into(), detail });
    }
    Ok(())
}

enum CheckError {
    Sql(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for CheckError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for CheckError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A value that no version of ours writes.
pub(super) fn strange(column: &'static str) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnName(column.into())
}

fn error(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.to_path_buf();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse { path },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged {
            path,
            detail: error.to_string(),
        },
        Some(_) => StoreError::Io {
            path,
            detail: error.to_string(),
        },
        // A missing table or a value of another kind: the file was changed by something else.
        None => StoreError::Damaged {
            path,
            detail: error.to_string(),
        },
    }
}

#[cfg(unix)]
fn private_file(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map(|_| ())
}

#[cfg(not(unix))]
fn private_file(path: &Path) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).create_new(true).open(path).map(|_| ())
}
