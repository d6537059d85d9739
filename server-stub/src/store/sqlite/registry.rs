//! Locks, phones, grants, systems, applications.

use rusqlite::Row;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_protocol::vault::Method;

use super::super::{Result, StoreError};
use super::{SqliteStore, damaged};
use crate::registry::{Application, Grant, GrantTarget, Half, Identifier, IdentifierKind, Lock, Phone, Profile, System, Version};
use crate::seal::SealedKeys;

/// Number of the phones' side.
pub const PHONE: u8 = 1;
/// Number of the locks' side.
pub const LOCK: u8 = 2;

/// A row of `systems`.
pub fn system(row: &Row<'_>) -> rusqlite::Result<System> {
    Ok(System {
        name: row.get(0)?,
        application: row.get(1)?,
        lock_application: row.get(2)?,
    })
}

/// A row of `chips`, as it is.
struct Chip {
    id: [u8; 8],
    public_key: Option<Vec<u8>>,
    system: Option<String>,
    window: Option<String>,
    user_authenticated: bool,
    keys: Option<SealedKeys>,
    revoked: bool,
}

fn chip(row: &Row<'_>) -> rusqlite::Result<Chip> {
    Ok(Chip {
        id: row.get(0)?,
        public_key: row.get(1)?,
        system: row.get(2)?,
        window: row.get(3)?,
        user_authenticated: row.get(4)?,
        keys: row.get::<_, Option<Vec<u8>>>(5)?.map(SealedKeys),
        revoked: row.get(6)?,
    })
}

const CHIP: &str = "SELECT id, public_key, system, window, user_authenticated, keys, revoked FROM chips";

impl SqliteStore {
    /// Whose identifier this is.
    pub(super) fn known_by(&self, side: u8, identifier: &Identifier) -> Result<Option<[u8; 8]>> {
        self.first(
            "look up an identifier",
            "SELECT id FROM identifiers WHERE side = ?1 AND kind = ?2 AND value = ?3",
            &[&side, &(identifier.kind() as u8), &identifier.whole()],
            |row| row.get(0),
        )
    }

    fn identifiers(&self, side: u8, id: [u8; 8]) -> Result<Vec<Identifier>> {
        self.all(
            "read identifiers",
            "SELECT kind, value FROM identifiers WHERE side = ?1 AND id = ?2 ORDER BY kind",
            &[&side, &id],
            |row| {
                let kind = IdentifierKind::from_number(row.get(0)?);
                let value: String = row.get(1)?;
                Ok(kind.and_then(|kind| Identifier::parse(kind, &value).ok()))
            },
        )?
        .into_iter()
        .map(|identifier| identifier.ok_or_else(|| damaged("read identifiers")))
        .collect()
    }

    fn write_identifiers(&self, side: u8, id: [u8; 8], identifiers: &[Identifier]) -> Result<()> {
        let other = if side == PHONE { LOCK } else { PHONE };
        let taken = self.first(
            "look for the other side",
            "SELECT 1 FROM chips WHERE side = ?1 AND id = ?2",
            &[&other, &id],
            |_| Ok(()),
        )?;
        if taken.is_some() {
            // Both would have the same K_agent, and could pose as each other.
            return Err(StoreError::Conflict(
                "a lock and a phone may not have the same 8-byte id: choose another".into(),
            ));
        }
        self.execute(
            "forget identifiers",
            "DELETE FROM identifiers WHERE side = ?1 AND id = ?2",
            &[&side, &id],
        )?;
        for identifier in identifiers {
            if self.known_by(side, identifier)?.is_some() {
                let word = if side == PHONE { "phone" } else { "lock" };
                return Err(StoreError::Conflict(format!(
                    "{identifier} belongs to another {word} (or is named twice): each must be unique"
                )));
            }
            let added = self.execute(
                "add an identifier",
                "INSERT OR IGNORE INTO identifiers (side, kind, value, id) VALUES (?1, ?2, ?3, ?4)",
                &[&side, &(identifier.kind() as u8), &identifier.whole(), &id],
            )?;
            if added == 0 {
                return Err(StoreError::Conflict(format!(
                    "{identifier} is the second of its kind: name one of each kind at most"
                )));
            }
        }
        Ok(())
    }

    pub(super) fn write_lock(&mut self, lock: &Lock) -> Result<()> {
        let id = lock.id.0;
        self.write_identifiers(LOCK, id, &lock.identifiers)?;
        self.execute(
            "put a lock",
            "INSERT OR REPLACE INTO chips (side, id, public_key, system, window, keys, revoked) VALUES (2, ?1, ?2, ?3, ?4, ?5, ?6)",
            &[
                &id,
                &lock.public_key,
                &lock.system,
                &lock.window.map(|w| w.to_string()),
                &lock.chip.as_ref().map(|c| &c.0),
                &lock.revoked,
            ],
        )?;
        self.execute("leave groups", "DELETE FROM lock_groups WHERE lock = ?1", &[&id])?;
        for group in &lock.groups {
            self.execute(
                "join a group",
                "INSERT OR IGNORE INTO lock_groups (lock, name) VALUES (?1, ?2)",
                &[&id, group],
            )?;
        }
        Ok(())
    }

    fn lock_of(&self, chip: Chip) -> Result<Lock> {
        let window = chip.window.map(|text| text.parse().map_err(|_| damaged("read a lock")));
        Ok(Lock {
            id: LockId(chip.id),
            public_key: chip.public_key,
            identifiers: self.identifiers(LOCK, chip.id)?,
            system: chip.system.unwrap_or_default(),
            groups: self.all(
                "read groups",
                "SELECT name FROM lock_groups WHERE lock = ?1 ORDER BY name",
                &[&chip.id],
                |row| row.get(0),
            )?,
            window: window.transpose()?,
            chip: chip.keys,
            revoked: chip.revoked,
        })
    }

    pub(super) fn read_lock(&self, id: LockId) -> Result<Option<Lock>> {
        self.first("get a lock", &format!("{CHIP} WHERE side = 2 AND id = ?1"), &[&id.0], chip)?
            .map(|chip| self.lock_of(chip))
            .transpose()
    }

    pub(super) fn read_locks(&self) -> Result<Vec<Lock>> {
        self.all("list locks", &format!("{CHIP} WHERE side = 2 ORDER BY id"), &[], chip)?
            .into_iter()
            .map(|chip| self.lock_of(chip))
            .collect()
    }

    pub(super) fn write_phone(&mut self, phone: &Phone) -> Result<()> {
        let id = phone.id.0;
        self.write_identifiers(PHONE, id, &phone.identifiers)?;
        self.execute(
            "put a phone",
            "INSERT OR REPLACE INTO chips (side, id, user_authenticated, keys, revoked) VALUES (1, ?1, ?2, ?3, ?4)",
            &[&id, &phone.user_authenticated, &phone.chip.as_ref().map(|c| &c.0), &phone.revoked],
        )
        .map(drop)
    }

    fn phone_of(&self, chip: Chip) -> Result<Phone> {
        Ok(Phone {
            id: PhoneId(chip.id),
            identifiers: self.identifiers(PHONE, chip.id)?,
            user_authenticated: chip.user_authenticated,
            chip: chip.keys,
            revoked: chip.revoked,
        })
    }

    pub(super) fn read_phone(&self, id: PhoneId) -> Result<Option<Phone>> {
        self.first("get a phone", &format!("{CHIP} WHERE side = 1 AND id = ?1"), &[&id.0], chip)?
            .map(|chip| self.phone_of(chip))
            .transpose()
    }

    pub(super) fn read_phones(&self) -> Result<Vec<Phone>> {
        self.all("list phones", &format!("{CHIP} WHERE side = 1 ORDER BY id"), &[], chip)?
            .into_iter()
            .map(|chip| self.phone_of(chip))
            .collect()
    }

    pub(super) fn write_grant(&mut self, grant: &Grant) -> Result<()> {
        let (kind, target) = match &grant.target {
            GrantTarget::Lock(id) => (1, id.to_string()),
            GrantTarget::Group(name) => (2, name.clone()),
        };
        self.execute(
            "put a grant",
            "INSERT OR REPLACE INTO grants (phone, target_kind, target, not_after, weakest, flags, revoked) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            &[
                &grant.phone.0,
                &kind,
                &target,
                &grant.not_after,
                &(grant.weakest as u8),
                &grant.flags,
                &grant.revoked,
            ],
        )
        .map(drop)
    }

    pub(super) fn read_grants(&self, phone: Option<PhoneId>) -> Result<Vec<Grant>> {
        self.all(
            "read grants",
            "SELECT phone, target_kind, target, not_after, weakest, flags, revoked FROM grants WHERE ?1 IS NULL OR phone = ?1",
            &[&phone.map(|p| p.0)],
            |row| {
                let text: String = row.get(2)?;
                let target = match row.get::<_, u8>(1)? {
                    1 => text.parse().ok().map(GrantTarget::Lock),
                    _ => Some(GrantTarget::Group(text)),
                };
                let (Some(target), Some(weakest)) = (target, Method::from_number(row.get(4)?)) else {
                    return Ok(None);
                };
                Ok(Some(Grant {
                    phone: PhoneId(row.get(0)?),
                    target,
                    not_after: row.get(3)?,
                    weakest,
                    flags: row.get(5)?,
                    revoked: row.get(6)?,
                }))
            },
        )?
        .into_iter()
        .map(|grant| grant.ok_or_else(|| damaged("read grants")))
        .collect()
    }

    pub(super) fn write_application(&mut self, a: &Application) -> Result<()> {
        if let Some(there) = self.read_application(&a.name, Some(a.version))? {
            return if there == *a {
                Ok(())
            } else {
                Err(StoreError::Conflict(format!(
                    "application {} {} is there with another content: give the new one a higher version",
                    a.name, a.version
                )))
            };
        }
        self.execute(
            "put an application",
            "INSERT INTO applications (name, version, provider, half, elf, module, aid, peer, parameters, profile, hash, load_file)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            &[
                &a.name,
                &u16::from_be_bytes(a.version.0),
                &a.provider,
                &if a.half == Half::Phone { PHONE } else { LOCK },
                &a.elf.as_bytes(),
                &a.module.as_bytes(),
                &a.aid.as_bytes(),
                &a.peer.as_bytes(),
                &a.parameters,
                &(a.profile == Profile::Door),
                &a.hash,
                &a.load_file,
            ],
        )
        .map(drop)
    }

    pub(super) fn read_application(&self, name: &str, version: Option<Version>) -> Result<Option<Application>> {
        let sql = format!(
            "{} WHERE name = ?1 AND (?2 IS NULL OR version = ?2) ORDER BY version DESC LIMIT 1",
            select("load_file")
        );
        self.first(
            "get an application",
            &sql,
            &[&name, &version.map(|v| u16::from_be_bytes(v.0))],
            application,
        )?
        .map(|a| a.ok_or_else(|| damaged("get an application")))
        .transpose()
    }

    pub(super) fn read_applications(&self) -> Result<Vec<Application>> {
        let sql = format!("{} ORDER BY name, version", select("x''"));
        self.all("list applications", &sql, &[], application)?
            .into_iter()
            .map(|a| a.ok_or_else(|| damaged("list applications")))
            .collect()
    }
}

fn select(load_file: &str) -> String {
    format!("SELECT name, version, provider, half, elf, module, aid, peer, parameters, profile, hash, {load_file} FROM applications")
}

fn application(row: &Row<'_>) -> rusqlite::Result<Option<Application>> {
    let aid = |column: usize| -> rusqlite::Result<Option<Aid>> { Ok(Aid::new(row.get_ref(column)?.as_blob()?)) };
    let (Some(elf), Some(module), Some(instance), Some(peer)) = (aid(4)?, aid(5)?, aid(6)?, aid(7)?) else {
        return Ok(None);
    };
    Ok(Some(Application {
        name: row.get(0)?,
        version: Version(row.get::<_, u16>(1)?.to_be_bytes()),
        provider: row.get(2)?,
        half: if row.get::<_, u8>(3)? == PHONE { Half::Phone } else { Half::Lock },
        elf,
        module,
        aid: instance,
        peer,
        parameters: row.get(8)?,
        profile: if row.get(9)? { Profile::Door } else { Profile::None },
        hash: row.get(10)?,
        load_file: row.get(11)?,
    }))
}
