//! The rows of what came after personalisation.

use rusqlite::{Connection, Row, params};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::vault::{Method, Slot};

use super::content::{Change, Content, Delivered, Instance, LoadFile};
use super::sqlite::strange;
use crate::kind::LifeCycle;
use crate::personalise::{ListEntry, ScpKeys, Secret};

const WRITE_RECORD: &str =
    "INSERT INTO record(aid, name, value) VALUES (?1, ?2, ?3) ON CONFLICT(aid, name) DO UPDATE SET value = excluded.value";

fn aid(row: &Row<'_>, column: usize) -> rusqlite::Result<Aid> {
    Aid::new(&row.get::<_, Vec<u8>>(column)?).ok_or_else(|| strange("aid"))
}

fn secret(row: &Row<'_>, column: usize) -> rusqlite::Result<Secret> {
    row.get::<_, Vec<u8>>(column).map(Secret::new)
}

/// A list entry out of the columns phone, weakest, not_after, flags, k_id, k_l, milenage, tuak.
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<ListEntry> {
    Ok(ListEntry {
        phone: PhoneId(row.get(0)?),
        weakest: Method::from_number(row.get(1)?).ok_or_else(|| strange("weakest"))?,
        not_after: row.get(2)?,
        flags: row.get(3)?,
        k_id: secret(row, 4)?,
        k_l: secret(row, 5)?,
        milenage: row.get::<_, Option<Vec<u8>>>(6)?.map(Secret::new),
        tuak: row.get::<_, Option<Vec<u8>>>(7)?.map(Secret::new),
    })
}

/// An SCP03 key set out of the columns kvn, enc, mac, dek.
pub(super) fn key_set(row: &Row<'_>) -> rusqlite::Result<ScpKeys> {
    Ok(ScpKeys {
        kvn: row.get(0)?,
        enc: secret(row, 1)?,
        mac: secret(row, 2)?,
        dek: secret(row, 3)?,
    })
}

/// The keys of an application; `query` names the table.
pub(super) fn keys(connection: &Connection, query: &str, aid: &[u8]) -> rusqlite::Result<Vec<(Slot, Secret)>> {
    let mut statement = connection.prepare_cached(query)?;
    let rows = statement.query_map(params![aid], |row| {
        let slot = Slot::from_number(row.get(0)?).ok_or_else(|| strange("slot"))?;
        Ok((slot, secret(row, 1)?))
    })?;
    rows.collect()
}

fn all<T>(connection: &Connection, query: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<Vec<T>> {
    connection.prepare(query)?.query_map([], read)?.collect()
}

/// Reads all of it.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Content> {
    let (sequence, failures, life_cycle) = connection.query_row("SELECT sequence, failures, life_cycle FROM card", [], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let load_file = |row: &Row<'_>| {
        Ok(LoadFile {
            aid: aid(row, 0)?,
            version: row.get(1)?,
            hash: row.get(2)?,
            domain: aid(row, 3)?,
            code: row.get(4)?,
        })
    };
    let instance = |row: &Row<'_>| {
        let own = aid(row, 0)?;
        let own_keys = "SELECT slot, value FROM instance_key WHERE aid = ?1 ORDER BY slot";
        Ok(Instance {
            aid: own,
            load_file: aid(row, 1)?,
            module: aid(row, 2)?,
            life_cycle: LifeCycle(row.get(3)?),
            personalised: row.get(4)?,
            privileges: row.get(5)?,
            parameters: row.get(6)?,
            keys: keys(connection, own_keys, own.as_bytes())?,
        })
    };
    let delivered = |row: &Row<'_>| {
        let entry = match row.get::<_, Option<u8>>(1)? {
            Some(_) => Some(entry(row)?),
            None => None,
        };
        Ok(Delivered {
            phone: PhoneId(row.get(0)?),
            entry,
        })
    };
    let instances = "SELECT aid, load_file, module, life_cycle, personalised, privileges, parameters FROM instance ORDER BY position";
    let list = "SELECT phone, weakest, not_after, flags, k_id, k_l, milenage, tuak FROM delivered ORDER BY position";
    Ok(Content {
        sequence,
        failures,
        life_cycle,
        key_sets: all(connection, "SELECT kvn, enc, mac, dek FROM key_set ORDER BY position", key_set)?,
        dap_keys: all(connection, "SELECT kid, value FROM dap_key ORDER BY kid", |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?,
        load_files: all(
            connection,
            "SELECT aid, version, hash, domain, code FROM load_file ORDER BY position",
            load_file,
        )?,
        instances: all(connection, instances, instance)?,
        life_cycles: all(connection, "SELECT aid, value FROM life_cycle ORDER BY aid", |row| {
            Ok((aid(row, 0)?, LifeCycle(row.get(1)?)))
        })?,
        list: all(connection, list, delivered)?,
    })
}

/// Writes one change. The caller has opened the transaction.
pub(super) fn write(connection: &Connection, change: &Change) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| connection.prepare_cached(sql)?.execute(values).map(|_| ());
    match change {
        Change::Record { aid, name, value } => run(WRITE_RECORD, params![aid.as_bytes(), name, value]),
        Change::Sequence { next, failures } => run("UPDATE card SET sequence = ?1, failures = ?2", params![next, failures]),
        Change::CardLifeCycle(state) => run("UPDATE card SET life_cycle = ?1", params![state]),
        Change::LoadFile(file) => run(
            "INSERT INTO load_file(aid, version, hash, domain, code) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT(aid) DO UPDATE SET version = excluded.version, hash = excluded.hash, domain = excluded.domain, code = excluded.code",
            params![file.aid.as_bytes(), file.version, file.hash, file.domain.as_bytes(), file.code],
        ),
        Change::NoLoadFile(aid) => run("DELETE FROM load_file WHERE aid = ?1", params![aid.as_bytes()]),
        Change::Instance(instance) => {
            let aid = instance.aid.as_bytes();
            run(
                "INSERT INTO instance(aid, load_file, module, life_cycle, personalised, privileges, parameters) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT(aid) DO UPDATE SET load_file = excluded.load_file, module = excluded.module, life_cycle = excluded.life_cycle,
                 personalised = excluded.personalised, privileges = excluded.privileges, parameters = excluded.parameters",
                params![
                    aid,
                    instance.load_file.as_bytes(),
                    instance.module.as_bytes(),
                    instance.life_cycle.0,
                    instance.personalised,
                    instance.privileges,
                    instance.parameters,
                ],
            )?;
            run("DELETE FROM instance_key WHERE aid = ?1", params![aid])?;
            let put = "INSERT INTO instance_key(aid, slot, value) VALUES (?1, ?2, ?3)";
            let mut keys = instance.keys.iter();
            keys.try_for_each(|(slot, key)| run(put, params![aid, *slot as u8, key.expose()]))
        }
        Change::NoInstance(aid) => {
            let aid = aid.as_bytes();
            run("DELETE FROM instance WHERE aid = ?1", params![aid])?;
            run("DELETE FROM instance_key WHERE aid = ?1", params![aid])?;
            run("DELETE FROM record WHERE aid = ?1", params![aid])
        }
        Change::LifeCycle(aid, state) => {
            let aid = aid.as_bytes();
            let mut instance = connection.prepare_cached("UPDATE instance SET life_cycle = ?2 WHERE aid = ?1")?;
            if instance.execute(params![aid, state.0])? > 0 {
                return Ok(());
            }
            let put = "INSERT INTO life_cycle(aid, value) VALUES (?1, ?2) ON CONFLICT(aid) DO UPDATE SET value = excluded.value";
            run(put, params![aid, state.0])
        }
        Change::KeySet { keys, replaces } => {
            let gone = "DELETE FROM key_set WHERE kvn = ?1 OR kvn = ?2";
            run(gone, params![keys.kvn, replaces])?;
            run(
                "INSERT INTO key_set(kvn, enc, mac, dek) VALUES (?1, ?2, ?3, ?4)",
                params![keys.kvn, keys.enc.expose(), keys.mac.expose(), keys.dek.expose()],
            )
        }
        Change::NoKeySet(kvn) => run("DELETE FROM key_set WHERE kvn = ?1", params![kvn]),
        Change::DapKey(kid, point) => run(
            "INSERT INTO dap_key(kid, value) VALUES (?1, ?2) ON CONFLICT(kid) DO UPDATE SET value = excluded.value",
            params![kid, point],
        ),
        Change::NoDapKey(kid) => run("DELETE FROM dap_key WHERE kid = ?1", params![kid]),
        Change::List(Delivered { phone, entry }) => {
            run("DELETE FROM delivered WHERE phone = ?1", params![phone.0])?;
            let Some(e) = entry else {
                return run("INSERT INTO delivered(phone) VALUES (?1)", params![phone.0]);
            };
            run(
                "INSERT INTO delivered(phone, weakest, not_after, flags, k_id, k_l, milenage, tuak) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    phone.0,
                    e.weakest as u8,
                    e.not_after,
                    e.flags,
                    e.k_id.expose(),
                    e.k_l.expose(),
                    e.milenage.as_ref().map(Secret::expose),
                    e.tuak.as_ref().map(Secret::expose),
                ],
            )
        }
    }
}
