//! Tables of a chip's store, and how an older store becomes one of today.

use rusqlite::Connection;

/// "TPDR": marks our files among SQLite's.
pub(super) const APPLICATION_ID: u32 = 0x5450_4452;
/// The newest schema, which this build writes.
pub(super) const SCHEMA: u32 = 2;

/// Schema 1: the personalisation and the records.
const FIRST: &str = "
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

/// Schema 2 adds the card manager of the personalisation, and what comes by it. `delivered` rows without keys say that the phone is off the list.
const SECOND: &str = "
CREATE TABLE card_manager(id INTEGER PRIMARY KEY CHECK(id = 0), kvn INTEGER NOT NULL, enc BLOB NOT NULL, mac BLOB NOT NULL, dek BLOB NOT NULL,
    i INTEGER NOT NULL, load_files INTEGER NOT NULL, code INTEGER NOT NULL, instances INTEGER NOT NULL, list INTEGER NOT NULL);
CREATE TABLE provider(position INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE card(id INTEGER PRIMARY KEY CHECK(id = 0), sequence INTEGER NOT NULL, failures INTEGER NOT NULL, life_cycle INTEGER);
INSERT INTO card(id, sequence, failures) VALUES (0, 0, 0);
CREATE TABLE key_set(position INTEGER PRIMARY KEY, kvn INTEGER NOT NULL UNIQUE, enc BLOB NOT NULL, mac BLOB NOT NULL, dek BLOB NOT NULL);
CREATE TABLE dap_key(kid INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE load_file(position INTEGER PRIMARY KEY, aid BLOB NOT NULL UNIQUE, version BLOB NOT NULL, hash BLOB NOT NULL,
    domain BLOB NOT NULL, code BLOB NOT NULL);
CREATE TABLE instance(position INTEGER PRIMARY KEY, aid BLOB NOT NULL UNIQUE, load_file BLOB NOT NULL, module BLOB NOT NULL,
    life_cycle INTEGER NOT NULL, personalised INTEGER NOT NULL, privileges INTEGER NOT NULL, parameters BLOB NOT NULL);
CREATE TABLE instance_key(aid BLOB NOT NULL, slot INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY(aid, slot)) WITHOUT ROWID;
CREATE TABLE life_cycle(aid BLOB PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE delivered(position INTEGER PRIMARY KEY, phone BLOB NOT NULL UNIQUE, weakest INTEGER, not_after INTEGER, flags INTEGER,
    k_id BLOB, k_l BLOB, milenage BLOB, tuak BLOB);
";

/// Makes the tables of an empty database, in one transaction.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    let mut number = [0; 8];
    if getrandom::fill(&mut number).is_err() {
        return Err(rusqlite::Error::InvalidQuery);
    }
    connection.execute_batch(&format!(
        "PRAGMA synchronous=FULL; BEGIN IMMEDIATE; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA}; {FIRST} {SECOND}"
    ))?;
    connection.execute("INSERT INTO chip(number) VALUES (?1)", rusqlite::params![number])?;
    connection.execute_batch("COMMIT")
}

/// Makes a store of schema 1 one of schema 2, in one transaction: what was there stays, and nothing was downloaded yet.
pub(super) fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let migrated = connection.execute_batch(&format!(
        "PRAGMA synchronous=FULL; BEGIN IMMEDIATE; {SECOND} PRAGMA user_version={SCHEMA}; COMMIT"
    ));
    if migrated.is_err() {
        // What failed has left the transaction open; the first error is the one to tell.
        let _ = connection.execute_batch("ROLLBACK");
    }
    migrated
}
