//! Where the server keeps what it knows.
//!
//! [`Store`] is the seam: nothing else knows SQL. [`Db`] owns a store on a thread of its own, the only writer, and runs closures there. Each closure is
//! all or nothing; closures that wait at the same time share one commit, and are answered after it. So nothing is told to the outside that a power
//! cut could take back.

mod db;
mod sqlite;

use tapdoor_protocol::ids::{LockId, PhoneId};

pub use self::db::Db;
pub use self::sqlite::SqliteStore;
use crate::registry::{
    Application, ChipRef, Grant, Identifier, Job, JobEvent, JobId, JobState, Lock, NewJob, Phone, Provider, System, Version,
};

/// Why the store refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database failed: disk, permissions, damage.
    #[error("store: {what}: {detail}")]
    Database {
        /// What was being done.
        what: String,
        /// What SQLite says.
        detail: String,
    },
    /// Something that must be unique is there already.
    #[error("{0}")]
    Conflict(String),
    /// A file of a later version of this program, or of another one.
    #[error("store {path}: {detail}")]
    Foreign {
        /// Which file.
        path: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The server is stopping.
    #[error("store: closed, because the server is stopping")]
    Closed,
}

/// A result of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// What a job is when it ends or is queued again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobEnd {
    /// Why it failed, for programs.
    pub code: Option<String>,
    /// The same for people; or a note for the history.
    pub message: Option<String>,
    /// How long it ran.
    pub ms: u64,
}

/// How many there are of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Locks in service.
    pub locks: u64,
    /// Phones in service.
    pub phones: u64,
    /// Grants that were not taken back.
    pub grants: u64,
    /// Versions of applications.
    pub applications: u64,
    /// Jobs by state: queued, running, done, failed.
    pub jobs: [u64; 4],
}

/// Everything the server remembers. Methods belong to the transaction that [`Db`] holds round them.
pub trait Store: Send {
    /// Begins a transaction for several closures.
    ///
    /// # Errors
    /// [`StoreError::Database`], as in all methods here.
    fn begin(&mut self) -> Result<()>;
    /// Makes it durable.
    ///
    /// # Errors
    /// Then nothing of it was kept.
    fn commit(&mut self) -> Result<()>;
    /// Begins one closure's part.
    ///
    /// # Errors
    /// As above.
    fn mark(&mut self) -> Result<()>;
    /// Keeps or undoes what was done since [`Store::mark`].
    ///
    /// # Errors
    /// As above.
    fn settle(&mut self, keep: bool) -> Result<()>;

    /// Adds a lock or replaces all its fields.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] for an identifier that another lock has.
    fn put_lock(&mut self, lock: &Lock) -> Result<()>;
    /// A lock.
    ///
    /// # Errors
    /// As above.
    fn lock(&mut self, id: LockId) -> Result<Option<Lock>>;
    /// The lock that is known by this.
    ///
    /// # Errors
    /// As above.
    fn lock_by(&mut self, identifier: &Identifier) -> Result<Option<Lock>>;
    /// All locks.
    ///
    /// # Errors
    /// As above.
    fn locks(&mut self) -> Result<Vec<Lock>>;

    /// Adds a phone or replaces all its fields.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] for an identifier that another phone has.
    fn put_phone(&mut self, phone: &Phone) -> Result<()>;
    /// A phone.
    ///
    /// # Errors
    /// As above.
    fn phone(&mut self, id: PhoneId) -> Result<Option<Phone>>;
    /// The phone that is known by this.
    ///
    /// # Errors
    /// As above.
    fn phone_by(&mut self, identifier: &Identifier) -> Result<Option<Phone>>;
    /// All phones.
    ///
    /// # Errors
    /// As above.
    fn phones(&mut self) -> Result<Vec<Phone>>;

    /// Adds a grant, or replaces that of the same phone for the same target.
    ///
    /// # Errors
    /// As above.
    fn put_grant(&mut self, grant: &Grant) -> Result<()>;
    /// All grants, of one phone if asked for; those taken back too.
    ///
    /// # Errors
    /// As above.
    fn grants(&mut self, phone: Option<PhoneId>) -> Result<Vec<Grant>>;

    /// Adds or replaces a system.
    ///
    /// # Errors
    /// As above.
    fn put_system(&mut self, system: &System) -> Result<()>;
    /// A system.
    ///
    /// # Errors
    /// As above.
    fn system(&mut self, name: &str) -> Result<Option<System>>;
    /// All systems.
    ///
    /// # Errors
    /// As above.
    fn systems(&mut self) -> Result<Vec<System>>;

    /// Adds a version of an application.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if that version is there with another content.
    fn put_application(&mut self, application: &Application) -> Result<()>;
    /// A version of an application; the highest if none is named.
    ///
    /// # Errors
    /// As above.
    fn application(&mut self, name: &str, version: Option<Version>) -> Result<Option<Application>>;
    /// All versions of all applications, without their load files.
    ///
    /// # Errors
    /// As above.
    fn applications(&mut self) -> Result<Vec<Application>>;
    /// Adds or replaces a provider.
    ///
    /// # Errors
    /// As above.
    fn put_provider(&mut self, provider: &Provider) -> Result<()>;
    /// A provider.
    ///
    /// # Errors
    /// As above.
    fn provider(&mut self, name: &str) -> Result<Option<Provider>>;

    /// Adds a job, unless the same is waiting for the same chip already: then that one is given back (and becomes urgent if this one is, and
    /// no longer waits for a window if this one does not).
    ///
    /// # Errors
    /// As above.
    fn add_job(&mut self, order: &NewJob, now: u64) -> Result<JobId>;
    /// A job.
    ///
    /// # Errors
    /// As above.
    fn job(&mut self, id: JobId) -> Result<Option<Job>>;
    /// The latest jobs, newest first, at most `limit`, of one chip or in one state if asked for.
    ///
    /// # Errors
    /// As above.
    fn jobs(&mut self, chip: Option<ChipRef>, state: Option<JobState>, limit: u32) -> Result<Vec<Job>>;
    /// The jobs that wait for a chip: urgent ones first, then in the order they came.
    ///
    /// # Errors
    /// As above.
    fn waiting(&mut self, chip: ChipRef) -> Result<Vec<Job>>;
    /// Begins a job that waits: it is running then, and this is the number of the attempt. `None` if it does not wait (any more).
    ///
    /// # Errors
    /// As above.
    fn begin_job(&mut self, id: JobId, now: u64) -> Result<Option<u32>>;
    /// Ends an attempt: the job is done, failed, or waits again. False, and nothing is changed, if that attempt is not the one that runs: so a
    /// session that was replaced cannot end the attempt of the one that replaced it.
    ///
    /// # Errors
    /// As above.
    fn end_job(&mut self, id: JobId, attempt: u32, to: JobState, end: &JobEnd, now: u64) -> Result<bool>;
    /// Lets whatever was running wait again, for one chip or for all: when no session can be at it.
    ///
    /// # Errors
    /// As above.
    fn requeue(&mut self, chip: Option<ChipRef>, why: &str, now: u64) -> Result<u64>;
    /// A job's history, oldest first.
    ///
    /// # Errors
    /// As above.
    fn history(&mut self, id: JobId) -> Result<Vec<JobEvent>>;

    /// Remembers a request's nonce. False if this lock used it before.
    ///
    /// # Errors
    /// As above.
    fn remember_nonce(&mut self, lock: LockId, nonce: &[u8; 16], clock: u32) -> Result<bool>;
    /// Forgets nonces of requests made before `floor`. From then on such requests are refused by [`Store::nonce_floor`].
    ///
    /// # Errors
    /// As above.
    fn forget_nonces(&mut self, floor: u32) -> Result<()>;
    /// Requests with a clock below this are too old to be judged.
    ///
    /// # Errors
    /// As above.
    fn nonce_floor(&mut self) -> Result<u32>;

    /// How many there are of everything.
    ///
    /// # Errors
    /// As above.
    fn counts(&mut self) -> Result<Counts>;
}
