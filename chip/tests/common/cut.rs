//! Power cuts at every write and every sync of a chip's store: scripts, and what must hold of the disk after the reboot.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tapdoor_chip::personalise::ScpKeys;
use tapdoor_chip::store::{Change, Content, Durability};
use tapdoor_chip::{Chip, Personalisation, SqliteStore, Store, StoreError};
use tapdoor_protocol::aid::Aid;

use crate::common::send_whole;
use crate::vfs::{Disk, Survivors};

pub const FILE: &str = "chip.db";

/// How a cut leaves the disk, and how often the store checkpoints meanwhile: each cut is tried with all of them.
pub const SURVIVORS: [Survivors; 7] = [
    Survivors::None,
    Survivors::Prefix(1),
    Survivors::Prefix(2),
    Survivors::Torn(1),
    Survivors::Torn(2),
    Survivors::Torn(3),
    Survivors::Torn(4),
];

/// All that a store holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct All {
    personalisation: Personalisation,
    content: Content,
    records: BTreeMap<(Aid, Vec<u8>), Vec<u8>>,
}

impl All {
    fn personalise(&mut self, personalisation: &Personalisation) {
        self.personalisation = personalisation.clone();
        let stays = |aid: &Aid| personalisation.applications.iter().any(|a| a.aid == *aid);
        let instances: Vec<Aid> = self.content.instances.iter().map(|i| i.aid).collect();
        self.records.retain(|(aid, _), _| stays(aid) || instances.contains(aid));
        self.content.life_cycles.retain(|(aid, _)| stays(aid));
    }

    /// What the change is meant to do, said once more and otherwise than in SQL.
    fn change(&mut self, change: &Change) {
        let c = &mut self.content;
        match change {
            Change::Record { aid, name, value } => {
                self.records.insert((*aid, name.clone()), value.clone());
            }
            Change::Sequence { next, failures } => (c.sequence, c.failures) = (*next, *failures),
            Change::CardLifeCycle(state) => c.life_cycle = Some(*state),
            Change::LoadFile(file) => put(&mut c.load_files, file.clone(), |l| l.aid),
            Change::NoLoadFile(aid) => c.load_files.retain(|l| l.aid != *aid),
            Change::Instance(instance) => put(&mut c.instances, instance.clone(), |i| i.aid),
            Change::NoInstance(aid) => {
                c.instances.retain(|i| i.aid != *aid);
                self.records.retain(|(owner, _), _| owner != aid);
            }
            Change::LifeCycle(aid, state) => match c.instances.iter_mut().find(|i| i.aid == *aid) {
                Some(instance) => instance.life_cycle = *state,
                None => {
                    put(&mut c.life_cycles, (*aid, *state), |(aid, _)| *aid);
                    c.life_cycles.sort_by_key(|(aid, _)| *aid);
                }
            },
            Change::KeySet { keys, replaces } => {
                c.key_sets.retain(|set: &ScpKeys| set.kvn != keys.kvn && Some(set.kvn) != *replaces);
                c.key_sets.push(keys.clone());
            }
            Change::NoKeySet(kvn) => c.key_sets.retain(|set| set.kvn != *kvn),
            Change::DapKey(kid, point) => {
                put(&mut c.dap_keys, (*kid, point.clone()), |(kid, _)| *kid);
                c.dap_keys.sort();
            }
            Change::NoDapKey(kid) => c.dap_keys.retain(|(k, _)| k != kid),
            Change::List(delivered) => {
                c.list.retain(|d| d.phone != delivered.phone);
                c.list.push(delivered.clone());
            }
            other => panic!("{other:?}: the model does not know it"),
        }
    }
}

fn put<T, K: PartialEq>(all: &mut Vec<T>, new: T, key: impl Fn(&T) -> K) {
    let wanted = key(&new);
    match all.iter_mut().find(|old| key(old) == wanted) {
        Some(old) => *old = new,
        None => all.push(new),
    }
}

/// What a store was told to keep: what it said it has kept, and what it was about to when the power went.
#[derive(Debug, Default)]
pub struct Ledger {
    number: Option<[u8; 8]>,
    kept: All,
    attempted: Option<All>,
}

impl Ledger {
    fn attempt(&mut self, change: impl FnOnce(&mut All)) {
        let mut content = self.kept.clone();
        change(&mut content);
        self.attempted = Some(content);
    }

    fn settle<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_ok()
            && let Some(content) = self.attempted.take()
        {
            self.kept = content;
        }
        result
    }
}

/// A store that is watched.
pub struct Watched {
    pub store: SqliteStore,
    pub ledger: Arc<Mutex<Ledger>>,
}

impl Store for Watched {
    fn personalisation(&mut self) -> Result<Personalisation, StoreError> {
        self.store.personalisation()
    }

    fn personalise(&mut self, personalisation: &Personalisation) -> Result<(), StoreError> {
        let mut ledger = self.ledger.lock().unwrap();
        ledger.attempt(|all| all.personalise(personalisation));
        ledger.settle(self.store.personalise(personalisation))
    }

    fn content(&mut self) -> Result<Content, StoreError> {
        self.store.content()
    }

    fn number(&mut self) -> Result<[u8; 8], StoreError> {
        let number = self.store.number()?;
        self.ledger.lock().unwrap().number = Some(number);
        Ok(number)
    }

    fn record(&mut self, aid: &Aid, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.record(aid, name)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut ledger = self.ledger.lock().unwrap();
        ledger.attempt(|all| changes.iter().for_each(|change| all.change(change)));
        ledger.settle(self.store.commit(changes))
    }
}

/// How a script opens its stores.
#[derive(Clone, Copy)]
pub struct Mode {
    pub durability: Durability,
    /// Pages after which SQLite moves the log into the file.
    pub checkpoint: u32,
}

pub const DURABLE: [Mode; 2] = [
    Mode {
        durability: Durability::Full,
        checkpoint: 1000,
    },
    Mode {
        durability: Durability::Full,
        checkpoint: 3,
    },
];

/// `None` when the disk has no power (any more).
pub fn open(disk: &Disk, mode: Mode) -> Option<SqliteStore> {
    let store = disk.connect(FILE).map_err(|e| e.to_string()).and_then(|connection| {
        connection
            .pragma_update(None, "wal_autocheckpoint", mode.checkpoint)
            .map_err(|e| e.to_string())?;
        let store = SqliteStore::from_connection(connection, Path::new(FILE)).map_err(|e| e.to_string())?;
        store.set_durability(mode.durability).map_err(|e| e.to_string())?;
        Ok(store)
    });
    match store {
        Ok(store) => Some(store),
        Err(_) if !disk.has_power() => None,
        Err(error) => panic!("the store does not open: {error}"),
    }
}

/// What came of a script: what the store was told, and what the script itself saw leave the chip.
pub struct Told<T> {
    ledger: Arc<Mutex<Ledger>>,
    seen: T,
}

/// What is done to the chip on a disk; `None` when the power went.
pub type Script<T> = fn(&Disk, Mode, Arc<Mutex<Ledger>>, &mut T) -> Option<()>;
/// What must hold of the disk after the reboot.
pub type Judge<T> = fn(&Disk, &T) -> Result<(), String>;
/// Is shown each command, and each command with its answer.
pub type Watch<'a> = dyn FnMut(&[u8], Option<&[u8]>) + 'a;

/// Runs a script with the power going at every operation, and judges what is left. Gives the violations found, the number of
/// cut points, and the number of disks looked at.
pub fn cut_everywhere<T: Default>(mode: Mode, script: Script<T>, judge: Judge<T>) -> (Vec<String>, usize, usize) {
    let run = |cut: Option<usize>| {
        let disk = Disk::new();
        if let Some(cut) = cut {
            disk.cut_at(cut);
        }
        let mut told = Told {
            ledger: Arc::default(),
            seen: T::default(),
        };
        let finished = script(&disk, mode, Arc::clone(&told.ledger), &mut told.seen).is_some();
        assert!(finished || !disk.has_power(), "the script ends early only when the power goes");
        (disk, told, finished)
    };
    let (disk, _, finished) = run(None);
    assert!(finished);
    let operations = disk.operations();
    let (mut violations, mut disks) = (Vec::new(), 0);
    // The last cut comes when all is done.
    for cut in 0..=operations {
        let (disk, told, _) = run(Some(cut));
        for survivors in SURVIVORS {
            // Nothing to choose from: one look is enough.
            if disk.unsynced() == 0 && !matches!(survivors, Survivors::None) {
                continue;
            }
            let survivors = match survivors {
                Survivors::None => Survivors::None,
                Survivors::Prefix(seed) => Survivors::Prefix(seed * 100_003 + cut as u64),
                Survivors::Torn(seed) => Survivors::Torn(seed * 100_003 + cut as u64),
            };
            disks += 1;
            let after = disk.reboot(survivors);
            let verdict = whole(&after, &told.ledger.lock().unwrap()).and_then(|()| judge(&after, &told.seen));
            if let Err(violation) = verdict {
                violations.push(format!("cut {cut} of {operations}, {survivors:?}: {violation}"));
            }
        }
    }
    (violations, operations + 1, disks)
}

/// The store opens and holds what it said it has kept, or that and the whole of what it was about to keep.
pub fn whole(disk: &Disk, ledger: &Ledger) -> Result<(), String> {
    let connection = disk.connect(FILE).map_err(|e| format!("no connection: {e}"))?;
    let mut store = SqliteStore::from_connection(connection, Path::new(FILE)).map_err(|e| format!("the store does not open: {e}"))?;
    let number = store.number().map_err(|e| e.to_string())?;
    if ledger.number.is_some_and(|n| n != number) {
        return Err("the chip has another number".into());
    }
    let mut found = All {
        personalisation: store.personalisation().map_err(|e| e.to_string())?,
        content: store.content().map_err(|e| e.to_string())?,
        ..All::default()
    };
    let names = ledger
        .kept
        .records
        .keys()
        .chain(ledger.attempted.iter().flat_map(|c| c.records.keys()));
    for (aid, name) in names {
        if let Some(value) = store.record(aid, name).map_err(|e| e.to_string())? {
            found.records.insert((*aid, name.clone()), value);
        }
    }
    if found == ledger.kept || ledger.attempted.as_ref() == Some(&found) {
        Ok(())
    } else {
        Err(format!(
            "the store holds neither the old nor the new: {} records, {} applications, {:?}",
            found.records.len(),
            found.personalisation.applications.len(),
            found.content
        ))
    }
}

/// Several tests' worth of cuts: none may find anything.
pub fn must_hold<T: Default>(name: &str, script: Script<T>, judge: Judge<T>) {
    for mode in DURABLE {
        let (violations, cuts, disks) = cut_everywhere(mode, script, judge);
        println!(
            "{name}, checkpoint after {} pages: {cuts} cut points, {disks} disks looked at",
            mode.checkpoint
        );
        assert!(
            violations.is_empty(),
            "{name}: {} violations, the first: {}",
            violations.len(),
            violations[0]
        );
        assert!(cuts > 50, "{name}: the script writes too little to show anything");
    }
}

/// Sends a command and gives the answer's data; `None` unless it is 9000.
pub fn ask(chip: &mut Chip, command: &[u8]) -> Option<Vec<u8>> {
    let mut answer = send_whole(chip, command);
    let sw = answer.split_off(answer.len() - 2);
    if sw == [0x6F, 0x00] {
        assert!(answer.is_empty(), "nothing leaves with 6F00");
        assert!(chip.take_failure().is_some(), "6F00 has its reason");
    }
    (sw == [0x90, 0x00]).then_some(answer)
}

/// A chip on the disk: personalised if it is not yet. `None` when the power went.
pub fn boot(disk: &Disk, mode: Mode, ledger: &Arc<Mutex<Ledger>>, personalisation: &Personalisation) -> Option<Chip> {
    let mut store = Watched {
        store: open(disk, mode)?,
        ledger: Arc::clone(ledger),
    };
    store.number().ok()?;
    match Chip::personalise(Box::new(store), personalisation) {
        Ok(chip) => Some(chip),
        Err(error) => {
            assert!(!disk.has_power(), "{error}");
            None
        }
    }
}
