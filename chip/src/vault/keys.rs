//! All keys of a chip: personalised ones by application and slot, the lock's list, test USIMs, and transient ones.

use std::collections::{BTreeMap, HashMap};

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::crypto;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::vault::{KeyRef, Method, Peer, Slot, VaultError};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::List;
use super::remembered::Remembered;
use crate::personalise::{Secret, TestSubscriber};
use crate::random::RandomSource;
use crate::registry::AppId;
use crate::store::Change;

/// Keys that live no longer than a session. More than any method needs, few enough to bound a hostile applet.
const TRANSIENT_KEYS: usize = 32;

/// Marks references to transient keys.
pub(super) const TRANSIENT: u32 = 0x8000_0000;
/// Marks references to keys of list entries and of test USIMs.
pub(super) const PEER: u32 = 0x4000_0000;

/// What a transient key may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Zeroize)]
pub(super) enum Usage {
    /// Derivation, CMAC, CCM, AKA.
    Symmetric,
    /// CK || IK of a test USIM, which may be revealed.
    TestSession,
    /// A P-256 private key.
    Ephemeral,
}

/// Key bytes in place, wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Bytes {
    bytes: [u8; 64],
    length: usize,
}

impl Bytes {
    pub(super) fn new(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; 64];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self { bytes, length: from.len() })
    }

    pub(super) fn expose(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

struct Stored {
    owner: AppId,
    slot: Slot,
    /// Number among the keys of a slot that holds several.
    number: u8,
    key: Bytes,
}

pub(super) struct Transient {
    owner: AppId,
    pub(super) usage: Usage,
    pub(super) key: Bytes,
}

#[derive(Default)]
struct TransientPlace {
    generation: u16,
    key: Option<Transient>,
}

pub(super) struct KnownSubscriber {
    pub(super) imsi: String,
    pub(super) peer: Peer,
    pub(super) algorithm: Algorithm,
    key: Bytes,
}

/// All keys of a chip, and what the current command wants to store.
pub struct KeyStore {
    stored: Vec<Stored>,
    transient: Vec<TransientPlace>,
    pub(crate) list: List,
    pub(super) subscribers: Vec<KnownSubscriber>,
    random: Box<dyn RandomSource>,
    /// Keys that applets remember by name.
    pub(super) remembered: HashMap<AppId, Remembered>,
    /// Records written by the current command, by (applet, record).
    pub(super) pending: BTreeMap<(AppId, Vec<u8>), Vec<u8>>,
}

impl KeyStore {
    /// A store that has no keys yet.
    pub(crate) fn new(random: Box<dyn RandomSource>, subscribers: &[TestSubscriber]) -> Self {
        let known = |(index, s): (usize, &TestSubscriber)| {
            let peer = Peer {
                index: u32::try_from(index).ok()?,
                phone: s.phone,
                weakest: Method::Aka,
                not_after: s.not_after,
                flags: 0,
            };
            Some(KnownSubscriber {
                imsi: s.imsi.clone(),
                peer,
                algorithm: s.algorithm,
                key: Bytes::new(s.key.expose())?,
            })
        };
        Self {
            stored: Vec::new(),
            transient: (0..TRANSIENT_KEYS).map(|_| TransientPlace::default()).collect(),
            list: List::default(),
            subscribers: subscribers.iter().enumerate().filter_map(known).collect(),
            random,
            remembered: HashMap::new(),
            pending: BTreeMap::new(),
        }
    }

    /// Whether a test USIM is reported under this name.
    pub(crate) fn has_subscriber(&self, phone: PhoneId) -> bool {
        self.subscribers.iter().any(|s| s.peer.phone == phone)
    }

    /// Gives an application a key, in place of the one that it had in this slot.
    pub(crate) fn add(&mut self, owner: AppId, slot: Slot, key: &Secret) {
        self.stored.retain(|s| (s.owner, s.slot) != (owner, slot));
        let several = slot == Slot::AliroKeys;
        let size = if several { 32 } else { usize::MAX };
        for (number, key) in (0u8..=255).zip(key.expose().chunks(size)) {
            if let Some(key) = Bytes::new(key) {
                self.stored.push(Stored { owner, slot, number, key });
            }
        }
    }

    /// Copies of an application's keys, to store them anew.
    pub(crate) fn of(&self, owner: AppId) -> Vec<(Slot, Secret)> {
        let mut out: Vec<(Slot, Secret)> = Vec::new();
        for stored in self.stored.iter().filter(|s| s.owner == owner) {
            match out.last_mut().filter(|(slot, _)| *slot == stored.slot) {
                Some((_, together)) => *together = Secret::new([together.expose(), stored.key.expose()].concat()),
                None => out.push((stored.slot, Secret::new(stored.key.expose()))),
            }
        }
        out
    }

    /// Wipes the transient keys of an application.
    pub(crate) fn wipe_session(&mut self, owner: AppId) {
        for place in &mut self.transient {
            place.key.take_if(|t| t.owner == owner);
        }
    }

    /// Forgets the session of an application: its transient keys, and what it wanted to store and has not.
    pub(crate) fn end_session(&mut self, owner: AppId) {
        self.wipe_session(owner);
        self.pending.retain(|(o, _), _| *o != owner);
    }

    /// The application is gone, and its keys with it.
    pub(crate) fn remove(&mut self, owner: AppId) {
        self.end_session(owner);
        self.stored.retain(|s| s.owner != owner);
        self.remembered.remove(&owner);
    }

    /// The application goes on under another number, with its keys and without its session.
    pub(crate) fn renumber(&mut self, from: AppId, to: AppId) {
        self.end_session(from);
        for stored in self.stored.iter_mut().filter(|s| s.owner == from) {
            stored.owner = to;
        }
        // Read anew from the store under the new number.
        self.remembered.remove(&from);
    }

    /// AES-CMAC by the K_agent of this application.
    pub(crate) fn agent_proof(&self, owner: AppId, data: &[&[u8]]) -> Option<[u8; 16]> {
        crypto::cmac(self.stored(owner, Slot::Agent)?.expose(), data)
    }

    /// Random bytes.
    pub(crate) fn fill_random(&mut self, out: &mut [u8]) -> Result<(), VaultError> {
        self.random.fill(out)
    }

    /// Wipes every transient key and forgets what was not committed: power is gone.
    pub(crate) fn power_off(&mut self) {
        for place in &mut self.transient {
            place.key = None;
        }
        self.pending.clear();
    }

    /// What the current command wrote, as changes for one transaction.
    pub(crate) fn take_changes(&mut self, aids: impl Fn(AppId) -> Option<Aid>) -> Vec<Change> {
        std::mem::take(&mut self.pending)
            .into_iter()
            .filter_map(|((owner, name), value)| {
                Some(Change::Record {
                    aid: aids(owner)?,
                    name,
                    value,
                })
            })
            .collect()
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn keep(&mut self, owner: AppId, usage: Usage, bytes: &[u8]) -> Result<KeyRef, VaultError> {
        let key = Bytes::new(bytes).ok_or(VaultError::Full)?;
        let (index, place) = self
            .transient
            .iter_mut()
            .enumerate()
            .find(|(_, p)| p.key.is_none())
            .ok_or(VaultError::Full)?;
        place.generation = place.generation.wrapping_add(1);
        place.key = Some(Transient { owner, usage, key });
        let index = u32::try_from(index).map_err(|_| VaultError::Full)?;
        Ok(KeyRef(TRANSIENT | u32::from(place.generation) << 8 | index))
    }

    pub(super) fn transient(&self, owner: AppId, key: KeyRef) -> Option<&Transient> {
        let place = self.transient.get((key.0 & 0xFF) as usize)?;
        let generation = u16::try_from((key.0 & !TRANSIENT) >> 8).ok()?;
        place.key.as_ref().filter(|t| place.generation == generation && t.owner == owner)
    }

    /// Frees the place that this reference names.
    pub(super) fn free(&mut self, key: KeyRef) {
        if let Some(place) = self.transient.get_mut((key.0 & 0xFF) as usize) {
            place.key = None;
        }
    }

    /// The personalised key of an application; of several in one slot the first.
    pub(super) fn stored(&self, owner: AppId, slot: Slot) -> Option<&Bytes> {
        self.numbered(owner, slot, 0)
    }

    /// The personalised key of an application with this number in its slot.
    pub(super) fn numbered(&self, owner: AppId, slot: Slot, number: u8) -> Option<&Bytes> {
        let own = |s: &&Stored| (s.owner, s.slot, s.number) == (owner, slot, number);
        self.stored.iter().find(own).map(|s| &s.key)
    }

    /// A commit failed: what is remembered is read anew from the store.
    pub(crate) fn distrust_remembered(&mut self) {
        self.remembered.clear();
    }

    /// The bytes behind a reference, if it is this applet's and not a private key for signatures.
    pub(super) fn bytes(&self, owner: AppId, key: KeyRef) -> Option<&[u8]> {
        if key.0 & TRANSIENT != 0 {
            return self
                .transient(owner, key)
                .filter(|t| t.usage != Usage::Ephemeral)
                .map(|t| t.key.expose());
        }
        if key.0 & PEER != 0 {
            let number = (key.0 & !PEER) >> 2;
            if key.0 & 3 == 0 {
                return self.subscribers.get(number as usize).map(|s| s.key.expose());
            }
            let keys = self.list.keys(number)?;
            return match key.0 & 3 {
                1 => Some(&keys.k_l),
                2 => keys.milenage.as_ref().map(Bytes::expose),
                _ => keys.tuak.as_ref().map(Bytes::expose),
            };
        }
        let slot = u8::try_from(key.0).ok().and_then(Slot::from_number)?;
        let secret = !matches!(slot, Slot::Signing | Slot::AliroKeys);
        self.stored(owner, slot).filter(|_| secret).map(Bytes::expose)
    }
}

/// Says how much there is, and no key.
impl std::fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "KeyStore({} keys, {} list entries, {} USIMs)",
            self.stored.len(),
            self.list.len(),
            self.subscribers.len()
        )
    }
}
