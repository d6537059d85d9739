//! A store as version 1 of the schema made it, by that version's own SQL.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic)]

use rusqlite::{Connection, params};
use tapdoor_chip::Personalisation;
use tapdoor_chip::personalise::Secret;

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

pub const NUMBER: [u8; 8] = [8, 7, 6, 5, 4, 3, 2, 1];

/// Fills an empty database; `records` are (AID, name, value).
pub fn write(connection: &Connection, p: &Personalisation, records: &[(&[u8], &[u8], &[u8])]) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; BEGIN; PRAGMA application_id=0x54504452; PRAGMA user_version=1; {CREATE}"
    ))?;
    connection.execute("INSERT INTO chip VALUES (?1)", [NUMBER])?;
    for (position, a) in (0i64..).zip(&p.applications) {
        let aid = a.aid.as_bytes();
        let values = params![position, aid, a.kind.name(), a.life_cycle.0, a.privileges, a.parameters];
        connection.execute("INSERT INTO application VALUES (?1, ?2, ?3, ?4, ?5, ?6)", values)?;
        for (slot, key) in &a.keys {
            connection.execute(
                "INSERT INTO application_key VALUES (?1, ?2, ?3)",
                params![aid, *slot as u8, key.expose()],
            )?;
        }
    }
    for (position, e) in (0i64..).zip(&p.list) {
        let optional = |key: &Option<Secret>| key.as_ref().map(|key| key.expose().to_vec());
        connection.execute(
            "INSERT INTO list VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                position,
                e.phone.0,
                e.weakest as u8,
                e.not_after,
                e.flags,
                e.k_id.expose(),
                e.k_l.expose(),
                optional(&e.milenage),
                optional(&e.tuak)
            ],
        )?;
    }
    for (position, s) in (0i64..).zip(&p.subscribers) {
        connection.execute(
            "INSERT INTO subscriber VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![position, s.imsi, s.phone.0, s.algorithm.p2(), s.not_after, s.key.expose()],
        )?;
    }
    for (aid, name, value) in records {
        connection.execute("INSERT INTO record VALUES (?1, ?2, ?3)", params![aid, name, value])?;
    }
    connection.execute_batch("COMMIT")
}
