//! [`Store`] on SQLite: WAL, synchronous FULL, one connection.

mod jobs;
mod registry;
mod schema;

use std::fmt;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, ToSql};
use tapdoor_protocol::ids::{LockId, PhoneId};

use super::{Counts, JobEnd, Result, Store, StoreError};
use crate::registry::{
    Application, ChipRef, Grant, Identifier, Job, JobEvent, JobId, JobState, Lock, NewJob, Phone, Provider, System, Version,
};

/// The server's SQLite file.
pub struct SqliteStore {
    connection: Connection,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteStore")
    }
}

/// Wraps what SQLite says.
fn failed(what: &str) -> impl FnOnce(rusqlite::Error) -> StoreError + '_ {
    move |error| StoreError::Database {
        what: what.to_owned(),
        detail: error.to_string(),
    }
}

/// A row that does not read back as what was written: somebody changed the file.
fn damaged(what: &str) -> StoreError {
    StoreError::Database {
        what: what.to_owned(),
        detail: "the row is damaged; restore the file from a copy".into(),
    }
}

impl SqliteStore {
    /// Opens a file, or makes it (mode 0600).
    ///
    /// # Errors
    /// [`StoreError::Foreign`] for a file of something else or of a later version, [`StoreError::Database`] if it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        private(path).map_err(|e| StoreError::Database {
            what: format!("open {name}"),
            detail: e.to_string(),
        })?;
        let connection = Connection::open(path).map_err(failed(&format!("open {name}")))?;
        Self::prepare(connection, &name)
    }

    /// A store that lives as long as the process.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn in_memory() -> Result<Self> {
        let connection = Connection::open_in_memory().map_err(failed("open in memory"))?;
        Self::prepare(connection, ":memory:")
    }

    fn prepare(connection: Connection, name: &str) -> Result<Self> {
        let foreign = |detail: String| StoreError::Foreign {
            path: name.to_owned(),
            detail,
        };
        let pragma = |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i32>(0));
        let not_ours = |e: rusqlite::Error| foreign(format!("{e}; name another file with `store`"));
        let (id, version) = (
            pragma("application_id").map_err(not_ours)?,
            pragma("user_version").map_err(not_ours)?,
        );
        let empty = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
            .map_err(not_ours)?
            == 0;
        if !empty && id != schema::APPLICATION_ID {
            return Err(foreign("is not a server's store; name another file with `store`".into()));
        }
        if version > schema::VERSION {
            return Err(foreign(format!(
                "has version {version}, and this program knows {}; use the program that wrote it",
                schema::VERSION
            )));
        }
        connection
            .busy_timeout(std::time::Duration::from_secs(10))
            .map_err(failed("set busy time-out"))?;
        connection.set_prepared_statement_cache_capacity(128);
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -8000;")
            .map_err(failed("set WAL"))?;
        if empty {
            connection
                .execute_batch(&format!(
                    "BEGIN IMMEDIATE; {} PRAGMA application_id = {}; PRAGMA user_version = {}; COMMIT;",
                    schema::V1,
                    schema::APPLICATION_ID,
                    schema::VERSION
                ))
                .map_err(failed("make tables"))?;
        }
        Ok(Self { connection })
    }

    /// Runs a statement; how many rows it changed.
    fn execute(&self, what: &str, sql: &str, parameters: &[&dyn ToSql]) -> Result<usize> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(parameters))
            .map_err(failed(what))
    }

    /// The first row, if there is one.
    fn first<T>(
        &self,
        what: &str,
        sql: &str,
        parameters: &[&dyn ToSql],
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(parameters, read).optional())
            .map_err(failed(what))
    }

    /// All rows.
    fn all<T>(
        &self,
        what: &str,
        sql: &str,
        parameters: &[&dyn ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map(parameters, read)?.collect())
            .map_err(failed(what))
    }

    fn batch(&self, what: &str, sql: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(failed(what))
    }
}

/// Makes the file so that only its owner can read it: it holds identities.
fn private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

impl Store for SqliteStore {
    fn begin(&mut self) -> Result<()> {
        self.batch("begin", "BEGIN IMMEDIATE")
    }

    fn commit(&mut self) -> Result<()> {
        let committed = self.batch("commit", "COMMIT");
        if committed.is_err() {
            // Nothing of it may linger into the next transaction; SQLite may have rolled back by itself already.
            let _ = self.batch("roll back", "ROLLBACK");
        }
        committed
    }

    fn mark(&mut self) -> Result<()> {
        self.batch("mark", "SAVEPOINT closure")
    }

    fn settle(&mut self, keep: bool) -> Result<()> {
        let sql = if keep {
            "RELEASE closure"
        } else {
            "ROLLBACK TO closure; RELEASE closure"
        };
        self.batch("settle", sql)
    }

    fn put_lock(&mut self, lock: &Lock) -> Result<()> {
        self.write_lock(lock)
    }

    fn lock(&mut self, id: LockId) -> Result<Option<Lock>> {
        self.read_lock(id)
    }

    fn lock_by(&mut self, identifier: &Identifier) -> Result<Option<Lock>> {
        match self.known_by(registry::LOCK, identifier)? {
            Some(id) => self.read_lock(LockId(id)),
            None => Ok(None),
        }
    }

    fn locks(&mut self) -> Result<Vec<Lock>> {
        self.read_locks()
    }

    fn put_phone(&mut self, phone: &Phone) -> Result<()> {
        self.write_phone(phone)
    }

    fn phone(&mut self, id: PhoneId) -> Result<Option<Phone>> {
        self.read_phone(id)
    }

    fn phone_by(&mut self, identifier: &Identifier) -> Result<Option<Phone>> {
        match self.known_by(registry::PHONE, identifier)? {
            Some(id) => self.read_phone(PhoneId(id)),
            None => Ok(None),
        }
    }

    fn phones(&mut self) -> Result<Vec<Phone>> {
        self.read_phones()
    }

    fn put_grant(&mut self, grant: &Grant) -> Result<()> {
        self.write_grant(grant)
    }

    fn grants(&mut self, phone: Option<PhoneId>) -> Result<Vec<Grant>> {
        self.read_grants(phone)
    }

    fn put_system(&mut self, system: &System) -> Result<()> {
        self.execute(
            "put a system",
            "INSERT OR REPLACE INTO systems (name, application, lock_application) VALUES (?1, ?2, ?3)",
            &[&system.name, &system.application, &system.lock_application],
        )
        .map(drop)
    }

    fn system(&mut self, name: &str) -> Result<Option<System>> {
        self.first(
            "get a system",
            "SELECT name, application, lock_application FROM systems WHERE name = ?1",
            &[&name],
            registry::system,
        )
    }

    fn systems(&mut self) -> Result<Vec<System>> {
        self.all(
            "list systems",
            "SELECT name, application, lock_application FROM systems ORDER BY name",
            &[],
            registry::system,
        )
    }

    fn put_application(&mut self, application: &Application) -> Result<()> {
        self.write_application(application)
    }

    fn application(&mut self, name: &str, version: Option<Version>) -> Result<Option<Application>> {
        self.read_application(name, version)
    }

    fn applications(&mut self) -> Result<Vec<Application>> {
        self.read_applications()
    }

    fn put_provider(&mut self, provider: &Provider) -> Result<()> {
        self.execute(
            "put a provider",
            "INSERT OR REPLACE INTO providers (name, key) VALUES (?1, ?2)",
            &[&provider.name, &provider.key],
        )
        .map(drop)
    }

    fn provider(&mut self, name: &str) -> Result<Option<Provider>> {
        self.first(
            "get a provider",
            "SELECT name, key FROM providers WHERE name = ?1",
            &[&name],
            |row| {
                Ok(Provider {
                    name: row.get(0)?,
                    key: row.get(1)?,
                })
            },
        )
    }

    fn add_job(&mut self, order: &NewJob, now: u64) -> Result<JobId> {
        self.insert_job(order, now)
    }

    fn job(&mut self, id: JobId) -> Result<Option<Job>> {
        self.read_jobs("WHERE id = ?1", &[&id]).map(|jobs| jobs.into_iter().next())
    }

    fn jobs(&mut self, chip: Option<ChipRef>, state: Option<JobState>, limit: u32) -> Result<Vec<Job>> {
        let (side, id) = chip.map(|chip| (chip.number(), chip.id().to_vec())).unzip();
        let state = state.map(|state| state as u8);
        self.read_jobs(
            "WHERE (?1 IS NULL OR (side = ?1 AND chip = ?2)) AND (?3 IS NULL OR state = ?3) ORDER BY id DESC LIMIT ?4",
            &[&side, &id, &state, &limit],
        )
    }

    fn waiting(&mut self, chip: ChipRef) -> Result<Vec<Job>> {
        self.read_jobs(
            "WHERE side = ?1 AND chip = ?2 AND state = 0 ORDER BY urgent DESC, id",
            &[&chip.number(), &chip.id()],
        )
    }

    fn begin_job(&mut self, id: JobId, now: u64) -> Result<Option<u32>> {
        self.begin_attempt(id, now)
    }

    fn end_job(&mut self, id: JobId, attempt: u32, to: JobState, end: &JobEnd, now: u64) -> Result<bool> {
        self.end_attempt(id, attempt, to, end, now)
    }

    fn requeue(&mut self, chip: Option<ChipRef>, why: &str, now: u64) -> Result<u64> {
        self.requeue_running(chip, why, now)
    }

    fn history(&mut self, id: JobId) -> Result<Vec<JobEvent>> {
        self.read_history(id)
    }

    fn remember_nonce(&mut self, lock: LockId, nonce: &[u8; 16], clock: u32) -> Result<bool> {
        self.execute(
            "remember a nonce",
            "INSERT OR IGNORE INTO nonces (lock, nonce, clock) VALUES (?1, ?2, ?3)",
            &[&lock.0, nonce, &clock],
        )
        .map(|changed| changed == 1)
    }

    fn forget_nonces(&mut self, floor: u32) -> Result<()> {
        self.execute(
            "raise the floor of nonces",
            "INSERT INTO numbers (name, value) VALUES ('nonce-floor', ?1) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            &[&floor],
        )?;
        self.execute("forget nonces", "DELETE FROM nonces WHERE clock < ?1", &[&floor])
            .map(drop)
    }

    fn nonce_floor(&mut self) -> Result<u32> {
        self.first(
            "get the floor of nonces",
            "SELECT value FROM numbers WHERE name = 'nonce-floor'",
            &[],
            |row| row.get(0),
        )
        .map(Option::unwrap_or_default)
    }

    fn counts(&mut self) -> Result<Counts> {
        let count = |sql: &str| {
            self.first("count", sql, &[], |row| row.get::<_, i64>(0))
                .map(|n| n.and_then(|n| u64::try_from(n).ok()).unwrap_or_default())
        };
        Ok(Counts {
            locks: count("SELECT count(*) FROM chips WHERE side = 2 AND revoked = 0")?,
            phones: count("SELECT count(*) FROM chips WHERE side = 1 AND revoked = 0")?,
            grants: count("SELECT count(*) FROM grants WHERE revoked = 0")?,
            applications: count("SELECT count(*) FROM applications")?,
            jobs: [
                count("SELECT count(*) FROM jobs WHERE state = 0")?,
                count("SELECT count(*) FROM jobs WHERE state = 1")?,
                count("SELECT count(*) FROM jobs WHERE state = 2")?,
                count("SELECT count(*) FROM jobs WHERE state = 3")?,
            ],
        })
    }
}
