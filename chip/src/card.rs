//! What both sessions of a chip share: the registry of applications, keys, memory, and the state of the card manager
//! (GlobalPlatform Card 6.6, 7.1).

use std::collections::HashMap;

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::Event;
use tapdoor_protocol::globalplatform::registry::life_cycle;
use tapdoor_protocol::globalplatform::scp03::{I, Keys};
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;
use tapdoor_protocol::vault::Slot;

use crate::applet::{Applet, Env};
use crate::applets;
use crate::chip::ChipError;
use crate::kind::{Kind, LifeCycle, made_selectable};
use crate::personalise::{Application, Quotas, ScpKeys, tag};
use crate::random::RandomSource;
use crate::registry::{AppId, Entry, Origin};
use crate::sandbox::{Code, Fault, Limits};
use crate::store::{Change, Instance, Store, StoreError};
use crate::vault::{AppletVault, KeyStore};

/// An SCP03 key set in use.
pub(crate) struct KeySet {
    pub(crate) kvn: u8,
    pub(crate) keys: Keys,
}

impl KeySet {
    fn new(keys: &ScpKeys) -> Option<Self> {
        Some(Self {
            kvn: keys.kvn,
            keys: Keys::new(keys.enc.expose(), keys.mac.expose(), keys.dek.expose()).ok()?,
        })
    }
}

/// A key that verifies signatures of load files.
pub(crate) struct Provider {
    /// Key identifier; none for those of the personalisation, which PUT KEY cannot touch.
    pub(crate) kid: Option<u8>,
    /// SEC1.
    pub(crate) point: Vec<u8>,
}

/// A load file in the registry.
pub(crate) struct Loaded {
    pub(crate) aid: Aid,
    pub(crate) version: [u8; 2],
    pub(crate) domain: Aid,
    /// Bytes of code.
    pub(crate) size: usize,
    /// None when this build of the chip does not take what an earlier one took: its applications answer 6985 until it is upgraded.
    pub(crate) code: Option<Code>,
}

/// The state of the card manager.
pub(crate) struct Managed {
    pub(crate) number: [u8; 8],
    /// Card life cycle.
    pub(crate) state: u8,
    pub(crate) i: I,
    pub(crate) sequence: u32,
    pub(crate) failures: u32,
    pub(crate) key_sets: Vec<KeySet>,
    pub(crate) providers: Vec<Provider>,
    pub(crate) quotas: Quotas,
    pub(crate) load_files: Vec<Loaded>,
}

impl Managed {
    /// Whether there are keys, and so content management.
    pub(crate) fn is_managed(&self) -> bool {
        !self.key_sets.is_empty()
    }

    pub(crate) fn load_file(&self, aid: &Aid) -> Option<&Loaded> {
        self.load_files.iter().find(|l| l.aid == *aid)
    }

    /// Bytes of all code but this load file's.
    pub(crate) fn code_besides(&self, aid: &Aid) -> usize {
        self.load_files.iter().filter(|l| l.aid != *aid).map(|l| l.size).sum()
    }
}

/// An application whose code this build does not take.
struct Unusable;

impl Applet for Unusable {
    fn select(&mut self, _: &mut Env<'_>, _: u8, _: &mut Vec<u8>) -> Result<(), StatusWord> {
        Err(StatusWord::CONDITIONS_NOT_SATISFIED)
    }

    fn process(&mut self, _: &mut Env<'_>, _: &Command<'_>, _: &mut Vec<u8>) -> Result<(), StatusWord> {
        Err(StatusWord::CONDITIONS_NOT_SATISFIED)
    }

    fn deselect(&mut self, _: &mut Env<'_>) {}
}

/// The chip without its sessions.
pub(crate) struct Card {
    pub(crate) entries: Vec<Entry>,
    pub(crate) managed: Managed,
    pub(crate) keys: KeyStore,
    store: Box<dyn Store>,
    /// What the current command made happen.
    pub(crate) scratch: Vec<Event>,
    /// Why the last commit failed, for the host's log.
    pub(crate) failure: Option<StoreError>,
    /// Why the last load was refused, for the host's log.
    pub(crate) refusal: Option<String>,
    next: u64,
}

impl Card {
    /// Reads the store.
    pub(crate) fn start(mut store: Box<dyn Store>, random: Box<dyn RandomSource>) -> Result<Self, ChipError> {
        let personalisation = store.personalisation()?;
        personalisation.check()?;
        let content = store.content()?;
        let number = store.number()?;
        let (mut quotas, mut i, mut key_sets, mut providers) = (Quotas::default(), I::DEFAULT, Vec::new(), Vec::new());
        if let Some(manager) = &personalisation.card_manager {
            (quotas, i) = (manager.quotas, manager.i);
            key_sets.extend(KeySet::new(&manager.keys));
            providers.extend(manager.dap_keys.iter().map(|key| Provider {
                kid: None,
                point: key.clone(),
            }));
        }
        if !content.key_sets.is_empty() {
            key_sets = content.key_sets.iter().filter_map(KeySet::new).collect();
        }
        providers.extend(content.dap_keys.into_iter().map(|(kid, point)| Provider { kid: Some(kid), point }));
        let load_files = content
            .load_files
            .iter()
            .map(|l| Loaded {
                aid: l.aid,
                version: l.version,
                domain: l.domain,
                size: l.code.len(),
                code: Code::check(&l.code, &Limits::default()).ok(),
            })
            .collect();
        let state = match (content.life_cycle, key_sets.is_empty()) {
            (Some(state), _) => state,
            (None, true) => life_cycle::CARD_OP_READY,
            (None, false) => life_cycle::CARD_SECURED,
        };
        let mut card = Self {
            entries: Vec::new(),
            managed: Managed {
                number,
                state,
                i,
                sequence: content.sequence,
                failures: content.failures,
                key_sets,
                providers,
                quotas,
                load_files,
            },
            keys: KeyStore::new(random, &personalisation.subscribers),
            store,
            scratch: Vec::new(),
            failure: None,
            refusal: None,
            next: 0,
        };
        let changed: HashMap<Aid, LifeCycle> = content.life_cycles.into_iter().collect();
        for application in &personalisation.applications {
            // The downloaded one stands in its place.
            let replaced = |i: &Instance| i.aid == application.aid && made_selectable(i.life_cycle);
            if !content.instances.iter().any(replaced) {
                card.add_personalised(application, changed.get(&application.aid).copied())?;
            }
        }
        for instance in &content.instances {
            card.add_downloaded(instance);
        }
        let spoken_of: std::collections::HashSet<_> = content.list.iter().map(|d| d.phone).collect();
        for entry in personalisation.list.iter().filter(|e| !spoken_of.contains(&e.phone)) {
            card.keys.list.push(entry);
        }
        for entry in content.list.iter().filter_map(|d| d.entry.as_ref()) {
            card.keys.list.push(entry);
        }
        Ok(card)
    }

    /// A number that no application ever had.
    fn number(&mut self) -> AppId {
        self.next += 1;
        AppId(self.next)
    }

    fn add_personalised(&mut self, a: &Application, life_cycle: Option<LifeCycle>) -> Result<(), ChipError> {
        let id = self.number();
        let lock_half = matches!(
            a.kind,
            Kind::ChallengeResponseLock | Kind::AkaLock | Kind::UsimHost | Kind::RequestLock
        );
        a.keys.iter().for_each(|(slot, key)| self.keys.add(id, *slot, key));
        self.entries.push(Entry {
            id,
            aid: a.aid,
            life_cycle: life_cycle.unwrap_or(a.life_cycle),
            privileges: a.privileges,
            origin: Origin::Personalised(a.kind),
            may_use_list: lock_half,
            applet: applets::make(a.kind, &a.parameters).ok_or(ChipError::Parameters(a.aid))?,
        });
        Ok(())
    }

    /// Puts a downloaded application into the registry, at the place of the one that is there or at the end.
    pub(crate) fn add_downloaded(&mut self, instance: &Instance) {
        let old = self.entries.iter().position(|e| e.is_downloaded() && e.aid == instance.aid);
        if let Some(id) = old.and_then(|place| self.entries.get(place)).map(|e| e.id) {
            self.end_session(id);
            self.keys.remove(id);
        }
        let id = self.number();
        instance.keys.iter().for_each(|(slot, key)| self.keys.add(id, *slot, key));
        let (applet, may_use_list) = self.program(&instance.load_file, &instance.module, &instance.parameters);
        let entry = Entry {
            id,
            aid: instance.aid,
            life_cycle: instance.life_cycle,
            privileges: instance.privileges,
            origin: Origin::Downloaded {
                load_file: instance.load_file,
                module: instance.module,
                personalised: instance.personalised,
                parameters: instance.parameters.clone(),
            },
            may_use_list,
            applet,
        };
        match old.and_then(|place| self.entries.get_mut(place)) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
    }

    /// The program of a downloaded application, and whether it may use the list: only what says it is a lock half, and was told of which lock.
    fn program(&self, load_file: &Aid, module: &Aid, parameters: &[u8]) -> (Box<dyn Applet>, bool) {
        let code = self.managed.load_file(load_file).and_then(|l| l.code.as_ref());
        let lock_half = code.and_then(|code| code.module(module)).is_some_and(|m| m.lock_half);
        let told = tlv::find(parameters, tag::LOCK).is_some();
        match code.map(|code| code.applet(module, parameters)) {
            Some(Ok(applet)) => (applet, lock_half && told),
            _ => (Box::new(Unusable), false),
        }
    }

    /// Gives the applications of a load file the code that it has now. Keys, records and places stay; sessions end.
    pub(crate) fn renew_programs(&mut self, load_file: &Aid) {
        let ids: Vec<AppId> = self
            .entries
            .iter()
            .filter(|e| e.load_file() == Some(load_file))
            .map(|e| e.id)
            .collect();
        for id in ids {
            let Some(id) = self.renumber(id) else { continue };
            let Some(Origin::Downloaded { module, parameters, .. }) = self.entry(id).map(|e| e.origin.clone()) else {
                continue;
            };
            let (applet, may_use_list) = self.program(load_file, &module, &parameters);
            if let Some(entry) = self.entry_mut(id) {
                (entry.applet, entry.may_use_list) = (applet, may_use_list);
            }
        }
    }

    /// Where an application stands.
    pub(crate) fn place(&self, id: AppId) -> Option<usize> {
        self.entries.iter().position(|e| e.id == id)
    }

    pub(crate) fn entry(&self, id: AppId) -> Option<&Entry> {
        self.entries.iter().find(|e| e.id == id)
    }

    pub(crate) fn entry_mut(&mut self, id: AppId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|e| e.id == id)
    }

    /// The downloaded application with this AID.
    pub(crate) fn downloaded(&self, aid: &Aid) -> Option<&Entry> {
        self.entries.iter().find(|e| e.is_downloaded() && e.aid == *aid)
    }

    /// The applet and what it may use, for one command.
    pub(crate) fn lend(&mut self, id: AppId) -> Option<(&mut dyn Applet, Env<'_>)> {
        let entry = self.entries.iter_mut().find(|e| e.id == id)?;
        let vault = AppletVault {
            keys: &mut self.keys,
            store: self.store.as_mut(),
            owner: id,
            aid: entry.aid,
            may_use_list: entry.may_use_list,
        };
        Some((
            entry.applet.as_mut(),
            Env {
                vault,
                aid: &entry.aid,
                events: &mut self.scratch,
            },
        ))
    }

    /// A command to this application failed before it came there.
    pub(crate) fn refused(&mut self, id: AppId) {
        if let Some((applet, mut env)) = self.lend(id) {
            applet.refused(&mut env);
        }
    }

    /// What this application's last command wanted to store could not be stored: whether it answers all the same.
    pub(crate) fn unstored(&mut self, id: AppId, answer: &mut Vec<u8>) -> bool {
        let said = self.lend(id).is_some_and(|(applet, mut env)| applet.unstored(&mut env, answer));
        // A last word stores nothing.
        self.keys.end_session(id);
        said
    }

    /// The application is no longer selected. Its session keys are gone, whatever it does about them.
    pub(crate) fn deselect(&mut self, id: AppId) {
        if let Some((applet, mut env)) = self.lend(id) {
            applet.deselect(&mut env);
        }
        self.keys.wipe_session(id);
    }

    /// Ends an application's session from outside: whatever it wanted to store in it is not stored.
    fn end_session(&mut self, id: AppId) {
        self.deselect(id);
        self.keys.end_session(id);
    }

    /// Ends an application's session and gives it another number, so that whoever had it selected has nothing selected.
    pub(crate) fn renumber(&mut self, id: AppId) -> Option<AppId> {
        self.end_session(id);
        let new = self.number();
        self.keys.renumber(id, new);
        self.entry_mut(id)?.id = new;
        Some(new)
    }

    /// Takes an application out of the registry, with its keys.
    pub(crate) fn remove(&mut self, id: AppId) {
        self.end_session(id);
        self.keys.remove(id);
        self.entries.retain(|e| e.id != id);
    }

    /// An application that the sandbox has stopped, and why.
    pub(crate) fn take_fault(&mut self) -> Option<(AppId, Fault)> {
        self.entries.iter_mut().find_map(|e| Some((e.id, e.applet.take_fault()?)))
    }

    /// What the applets wrote in this command, durably.
    pub(crate) fn commit_records(&mut self) -> Result<(), StatusWord> {
        if !self.keys.has_changes() {
            return Ok(());
        }
        let entries = &self.entries;
        let aid = |id| entries.iter().find(|e| e.id == id).map(|e| e.aid);
        let changes = self.keys.take_changes(aid);
        self.commit(&changes)
    }

    /// Makes all changes durably, or none and 6F00.
    pub(crate) fn commit(&mut self, changes: &[Change]) -> Result<(), StatusWord> {
        self.store.commit(changes).map_err(|error| {
            self.failure = Some(error);
            // What is remembered in memory may be ahead of what is stored.
            self.keys.distrust_remembered();
            StatusWord::NO_DIAGNOSIS
        })
    }

    /// Keeps the reason of a refusal for the host's log, and gives the status word.
    pub(crate) fn refuse(&mut self, sw: StatusWord, reason: &dyn std::fmt::Display) -> StatusWord {
        self.refusal = Some(reason.to_string());
        sw
    }

    /// The agent's proof, by the K_agent of the identity or request application.
    pub(crate) fn agent_proof(&self, challenge: &[u8; 16], id: &[u8; 8]) -> Option<[u8; 16]> {
        let own = |e: &&Entry| matches!(e.origin, Origin::Personalised(Kind::Identity | Kind::RequestLock));
        let mut applications = self.entries.iter().filter(own);
        applications.find_map(|e| self.keys.agent_proof(e.id, &[b"AGENT1", challenge, id]))
    }

    /// How long a key in this slot must be.
    pub(crate) fn fits(slot: Slot, length: usize) -> bool {
        match slot {
            Slot::Phone | Slot::Recognition | Slot::Agent => length == 16,
            Slot::Signing => length == 32,
            Slot::AliroKeys => length > 0 && length.is_multiple_of(32) && length <= 64 * 32,
            Slot::TestSubscriber => matches!(length, 32 | 48 | 64),
        }
    }
}
