//! The store in a SQLite file: WAL, `synchronous=FULL`, one process at a time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::vault::{Method, Slot};

use super::{Change, Store, StoreError};
use crate::kind::{Kind, LifeCycle};
use crate::personalise::{Application, ListEntry, Personalisation, Secret, TestSubscriber};

/// "TPDR": marks our files among SQLite's.
const APPLICATION_ID: u32 = 0x5450_4452;
/// The schema below.
const SCHEMA: u32 = 1;

/// How long another process is waited for.
const BUSY: Duration = Duration::from_millis(200);

const CREATE: &str = "
CREATE TABLE chip(number BLOB NOT NULL);
CREATE TABLE application(position INTEGER PRIMARY KEY, aid BLOB NOT NULL UNIQUE, kind TEXT NOT NULL,
    life_cycle INTEGER NOT NULL, privileges INTEGER NOT NULL, parameters BLOB NOT NULL);
CREATE TABLE application_key(aid BLOB NOT NULL, slot INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY(aid, slot)) WITHOUT ROWID;
CREATE TABLE record(aid BLOB NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY(aid, name)) WITHOUT ROWID;
CREATE TABLE list(position INTEGER PRIMARY KEY, phone BLOB NOT NULL UNIQUE, weakest INTEGER NOT NULL, not_after INTEGER NOT NULL,
    flags INTEGER NOT NULL, k_id BLOB NOT NULL, k_l BLOB NOT NULL, milenage BLOB, tuak BLOB);
CREATE TABLE subscriber(position INTEGER PRIMARY KEY, imsi TEXT NOT NULL UNIQUE, phone BLOB NOT NULL, algorithm INTEGER NOT NULL,
    not_after INTEGER NOT NULL, value BLOB NOT NULL);
";

const READ_RECORD: &str = "SELECT value FROM record WHERE aid = ?1 AND name = ?2";
const WRITE_RECORD: &str =
    "INSERT INTO record(aid, name, value) VALUES (?1, ?2, ?3) ON CONFLICT(aid, name) DO UPDATE SET value = excluded.value";

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
        Self::initialise(&connection).map_err(|e| error(path, &e))?;
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
        let made = Self::initialise(&connection).map_err(|e| error(path, &e)).and_then(|()| {
            drop(connection);
            std::fs::rename(&fresh, path).map_err(io)
        });
        if made.is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
        made
    }

    /// Makes the tables of an empty database, in one transaction.
    fn initialise(connection: &Connection) -> rusqlite::Result<()> {
        let mut number = [0; 8];
        if getrandom::fill(&mut number).is_err() {
            return Err(rusqlite::Error::InvalidQuery);
        }
        connection.execute_batch(&format!(
            "PRAGMA synchronous=FULL; BEGIN IMMEDIATE; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA}; {CREATE}"
        ))?;
        connection.execute("INSERT INTO chip(number) VALUES (?1)", params![number])?;
        connection.execute_batch("COMMIT")
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
            Self::initialise(&connection).map_err(|e| error(name, &e))?;
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
        let id: u32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if id != APPLICATION_ID {
            return Err(StoreError::Foreign {
                path: self.path.clone(),
                found: id,
            }
            .into());
        }
        let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
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
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
        // Takes the lock now, so that a second process learns it at once.
        connection.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
        connection.set_prepared_statement_cache_capacity(16);
        Ok(())
    }

    fn read_all(&self) -> rusqlite::Result<Personalisation> {
        let mut out = Personalisation::default();
        let mut keys = self
            .connection
            .prepare("SELECT slot, value FROM application_key WHERE aid = ?1 ORDER BY slot")?;
        let mut applications = self
            .connection
            .prepare("SELECT aid, kind, life_cycle, privileges, parameters FROM application ORDER BY position")?;
        let mut rows = applications.query([])?;
        while let Some(row) = rows.next()? {
            let aid: Vec<u8> = row.get(0)?;
            let kind: String = row.get(1)?;
            let mut loaded = Vec::new();
            let mut key_rows = keys.query(params![aid])?;
            while let Some(key) = key_rows.next()? {
                let slot: u8 = key.get(0)?;
                loaded.push((
                    Slot::from_number(slot).ok_or_else(|| strange("slot"))?,
                    Secret::new(key.get::<_, Vec<u8>>(1)?),
                ));
            }
            out.applications.push(Application {
                aid: Aid::new(&aid).ok_or_else(|| strange("aid"))?,
                kind: Kind::from_name(&kind).ok_or_else(|| strange("kind"))?,
                life_cycle: LifeCycle(row.get(2)?),
                privileges: row.get(3)?,
                parameters: row.get(4)?,
                keys: loaded,
            });
        }
        let mut list = self
            .connection
            .prepare("SELECT phone, weakest, not_after, flags, k_id, k_l, milenage, tuak FROM list ORDER BY position")?;
        let mut rows = list.query([])?;
        while let Some(row) = rows.next()? {
            out.list.push(ListEntry {
                phone: PhoneId(row.get(0)?),
                weakest: Method::from_number(row.get(1)?).ok_or_else(|| strange("weakest"))?,
                not_after: row.get(2)?,
                flags: row.get(3)?,
                k_id: Secret::new(row.get::<_, Vec<u8>>(4)?),
                k_l: Secret::new(row.get::<_, Vec<u8>>(5)?),
                milenage: row.get::<_, Option<Vec<u8>>>(6)?.map(Secret::new),
                tuak: row.get::<_, Option<Vec<u8>>>(7)?.map(Secret::new),
            });
        }
        let mut subscribers = self
            .connection
            .prepare("SELECT imsi, phone, algorithm, not_after, value FROM subscriber ORDER BY position")?;
        let mut rows = subscribers.query([])?;
        while let Some(row) = rows.next()? {
            out.subscribers.push(TestSubscriber {
                imsi: row.get(0)?,
                phone: PhoneId(row.get(1)?),
                algorithm: Algorithm::from_p2(row.get(2)?).ok_or_else(|| strange("algorithm"))?,
                not_after: row.get(3)?,
                key: Secret::new(row.get::<_, Vec<u8>>(4)?),
            });
        }
        Ok(out)
    }

    fn write_all(&mut self, personalisation: &Personalisation) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute_batch("DELETE FROM application; DELETE FROM application_key; DELETE FROM list; DELETE FROM subscriber")?;
        {
            let mut application = transaction.prepare(
                "INSERT INTO application(position, aid, kind, life_cycle, privileges, parameters) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            let mut key = transaction.prepare("INSERT INTO application_key(aid, slot, value) VALUES (?1, ?2, ?3)")?;
            for (position, a) in (0i64..).zip(&personalisation.applications) {
                let aid = a.aid.as_bytes();
                application.execute(params![position, aid, a.kind.name(), a.life_cycle.0, a.privileges, a.parameters])?;
                for (slot, value) in &a.keys {
                    key.execute(params![aid, *slot as u8, value.expose()])?;
                }
            }
            let mut list = transaction.prepare(
                "INSERT INTO list(position, phone, weakest, not_after, flags, k_id, k_l, milenage, tuak) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            for (position, e) in (0i64..).zip(&personalisation.list) {
                list.execute(params![
                    position,
                    e.phone.0,
                    e.weakest as u8,
                    e.not_after,
                    e.flags,
                    e.k_id.expose(),
                    e.k_l.expose(),
                    e.milenage.as_ref().map(Secret::expose),
                    e.tuak.as_ref().map(Secret::expose),
                ])?;
            }
            let mut subscriber = transaction
                .prepare("INSERT INTO subscriber(position, imsi, phone, algorithm, not_after, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for (position, s) in (0i64..).zip(&personalisation.subscribers) {
                subscriber.execute(params![position, s.imsi, s.phone.0, s.algorithm.p2(), s.not_after, s.key.expose()])?;
            }
        }
        transaction.execute("DELETE FROM record WHERE aid NOT IN (SELECT aid FROM application)", [])?;
        transaction.commit()
    }

    fn write_records(&mut self, changes: &[Change]) -> rusqlite::Result<()> {
        let write = |connection: &Connection, change: &Change| {
            let Change::Record { aid, name, value } = change;
            connection
                .prepare_cached(WRITE_RECORD)?
                .execute(params![aid.as_bytes(), name, value])
                .map(|_| ())
        };
        // A single statement is its own transaction.
        if let [change] = changes {
            return write(&self.connection, change);
        }
        let transaction = self.connection.transaction()?;
        changes.iter().try_for_each(|change| write(&transaction, change))?;
        transaction.commit()
    }
}

impl Store for SqliteStore {
    fn personalisation(&mut self) -> Result<Personalisation, StoreError> {
        self.read_all().map_err(|e| error(&self.path, &e))
    }

    fn personalise(&mut self, personalisation: &Personalisation) -> Result<(), StoreError> {
        if self.personalisation()? == *personalisation {
            return Ok(());
        }
        self.write_all(personalisation).map_err(|e| error(&self.path, &e))
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
        self.write_records(changes).map_err(|e| error(&self.path, &e))
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
fn strange(column: &'static str) -> rusqlite::Error {
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
