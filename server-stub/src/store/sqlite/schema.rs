//! The tables, and how a file comes to have them.

/// In `application_id` of the file's header: "TDsv".
pub const APPLICATION_ID: i32 = 0x5444_7376;
/// In `user_version`.
pub const VERSION: i32 = 1;

/// Version 1. Identifiers of locks and phones are unique within their side; a job that waits is there once.
pub const V1: &str = "
CREATE TABLE chips (
    side INTEGER NOT NULL,              -- 1 phone, 2 lock
    id BLOB NOT NULL,
    public_key BLOB,                    -- locks
    system TEXT,                        -- locks
    window TEXT,                        -- locks
    user_authenticated INTEGER NOT NULL DEFAULT 0,
    keys BLOB,                          -- sealed
    revoked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (side, id)
) WITHOUT ROWID;
CREATE TABLE identifiers (
    side INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    value TEXT NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (side, kind, value)
) WITHOUT ROWID;
CREATE UNIQUE INDEX identifiers_of ON identifiers (side, id, kind);
CREATE TABLE lock_groups (
    lock BLOB NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (lock, name)
) WITHOUT ROWID;
CREATE TABLE grants (
    phone BLOB NOT NULL,
    target_kind INTEGER NOT NULL,       -- 1 lock, 2 group
    target TEXT NOT NULL,
    not_after INTEGER NOT NULL,
    weakest INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (phone, target_kind, target)
) WITHOUT ROWID;
CREATE TABLE systems (
    name TEXT PRIMARY KEY,
    application TEXT,
    lock_application TEXT
) WITHOUT ROWID;
CREATE TABLE providers (
    name TEXT PRIMARY KEY,
    key BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE applications (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,           -- 256 * major + minor
    provider TEXT,
    half INTEGER NOT NULL,              -- 1 phone, 2 lock
    elf BLOB NOT NULL,
    module BLOB NOT NULL,
    aid BLOB NOT NULL,
    peer BLOB NOT NULL,
    parameters BLOB NOT NULL,
    profile INTEGER NOT NULL,           -- 0 none, 1 door
    hash BLOB NOT NULL,
    load_file BLOB NOT NULL,
    PRIMARY KEY (name, version)
);
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    side INTEGER NOT NULL,
    chip BLOB NOT NULL,
    kind TEXT NOT NULL,                 -- JSON
    urgent INTEGER NOT NULL,
    window INTEGER NOT NULL,
    requester BLOB,
    state INTEGER NOT NULL,             -- 0 queued, 1 running, 2 done, 3 failed
    attempts INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    ms INTEGER NOT NULL DEFAULT 0,
    code TEXT,
    message TEXT
);
CREATE INDEX jobs_open ON jobs (side, chip, state) WHERE state < 2;
CREATE TABLE job_events (
    job INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    state INTEGER NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE nonces (
    lock BLOB NOT NULL,
    nonce BLOB NOT NULL,
    clock INTEGER NOT NULL,
    PRIMARY KEY (lock, nonce)
) WITHOUT ROWID;
CREATE INDEX nonces_by_clock ON nonces (clock);
CREATE TABLE numbers (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
";
