//! The rows of a personalisation.

use rusqlite::{Connection, OptionalExtension, params};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::globalplatform::scp03::I;
use tapdoor_protocol::ids::PhoneId;

use super::downloaded;
use super::sqlite::strange;
use crate::kind::{Kind, LifeCycle};
use crate::personalise::{Application, CardManager, Personalisation, Quotas, Secret, TestSubscriber};

/// Reads it all.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Personalisation> {
    let mut out = Personalisation::default();
    let mut applications = connection.prepare("SELECT aid, kind, life_cycle, privileges, parameters FROM application ORDER BY position")?;
    let mut rows = applications.query([])?;
    while let Some(row) = rows.next()? {
        let aid: Vec<u8> = row.get(0)?;
        let kind: String = row.get(1)?;
        let keys = "SELECT slot, value FROM application_key WHERE aid = ?1 ORDER BY slot";
        let loaded = downloaded::keys(connection, keys, &aid)?;
        out.applications.push(Application {
            aid: Aid::new(&aid).ok_or_else(|| strange("aid"))?,
            kind: Kind::from_name(&kind).ok_or_else(|| strange("kind"))?,
            life_cycle: LifeCycle(row.get(2)?),
            privileges: row.get(3)?,
            parameters: row.get(4)?,
            keys: loaded,
        });
    }
    let mut list = connection.prepare("SELECT phone, weakest, not_after, flags, k_id, k_l, milenage, tuak FROM list ORDER BY position")?;
    let mut rows = list.query([])?;
    while let Some(row) = rows.next()? {
        out.list.push(downloaded::entry(row)?);
    }
    let manager = connection
        .query_row(
            "SELECT kvn, enc, mac, dek, i, load_files, code, instances, list FROM card_manager",
            [],
            |row| {
                Ok(CardManager {
                    keys: downloaded::key_set(row)?,
                    i: I(row.get(4)?),
                    dap_keys: Vec::new(),
                    quotas: Quotas {
                        load_files: row.get(5)?,
                        code: row.get(6)?,
                        instances: row.get(7)?,
                        list: row.get(8)?,
                    },
                })
            },
        )
        .optional()?;
    if let Some(mut manager) = manager {
        let mut providers = connection.prepare("SELECT value FROM provider ORDER BY position")?;
        manager.dap_keys = providers.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        out.card_manager = Some(manager);
    }
    let mut subscribers = connection.prepare("SELECT imsi, phone, algorithm, not_after, value FROM subscriber ORDER BY position")?;
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

/// Replaces it all, in one transaction.
pub(super) fn write(connection: &mut Connection, personalisation: &Personalisation) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "DELETE FROM application; DELETE FROM application_key; DELETE FROM list; DELETE FROM subscriber;
             DELETE FROM card_manager; DELETE FROM provider",
    )?;
    {
        let mut application = transaction
            .prepare("INSERT INTO application(position, aid, kind, life_cycle, privileges, parameters) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
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
    if let Some(CardManager { keys, i, dap_keys, quotas }) = &personalisation.card_manager {
        transaction.execute(
                "INSERT INTO card_manager(id, kvn, enc, mac, dek, i, load_files, code, instances, list) VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    keys.kvn,
                    keys.enc.expose(),
                    keys.mac.expose(),
                    keys.dek.expose(),
                    i.0,
                    quotas.load_files,
                    quotas.code,
                    quotas.instances,
                    quotas.list
                ],
            )?;
        for (position, key) in (0i64..).zip(dap_keys) {
            transaction.execute("INSERT INTO provider(position, value) VALUES (?1, ?2)", params![position, key])?;
        }
    }
    transaction.execute_batch(
        "DELETE FROM record WHERE aid NOT IN (SELECT aid FROM application UNION SELECT aid FROM instance);
             DELETE FROM life_cycle WHERE aid NOT IN (SELECT aid FROM application)",
    )?;
    transaction.commit()
}
