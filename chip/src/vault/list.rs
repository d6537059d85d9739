//! The lock's list: phones that may open it, and their keys (docs/protocol.md section 1).
//!
//! An entry has a number of its own that is never given again while the chip runs, and a changed entry gets a new one. So a tap that has found
//! a phone can never go on with the keys of another: if its entry is changed or removed meanwhile, its references stop working.

use std::collections::HashMap;

use tapdoor_protocol::crypto;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::vault::Peer;
use zeroize::{Zeroize, Zeroizing};

use super::keys::Bytes;
use crate::personalise::{ListEntry, Secret};
use crate::store::Delivered;

/// Entry numbers must fit into a key reference beside which key is meant.
const NUMBERS: u32 = 1 << 28;

/// A list entry's keys besides K_id.
pub(super) struct PeerKeys {
    pub(super) k_l: [u8; 16],
    pub(super) milenage: Option<Bytes>,
    pub(super) tuak: Option<Bytes>,
}

impl Drop for PeerKeys {
    fn drop(&mut self) {
        self.k_l.zeroize();
    }
}

/// The list. Its three tables run side by side, sorted by the entries' numbers.
#[derive(Default)]
pub(crate) struct List {
    /// K_id of every entry, side by side: this is what finding a phone runs over.
    recognition: Zeroizing<Vec<[u8; 16]>>,
    peers: Vec<Peer>,
    /// Boxed, so that wiping one wipes it where it was: nothing is left behind by moving.
    #[expect(clippy::vec_box, reason = "keys must not be moved about in memory")]
    keys: Vec<Box<PeerKeys>>,
    next: u32,
}

impl List {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// The phones on the list.
    pub(crate) fn phones(&self) -> impl Iterator<Item = PhoneId> + '_ {
        self.peers.iter().map(|p| p.phone)
    }

    /// Whether as many entries can still be given numbers.
    pub(crate) fn has_numbers(&self, count: usize) -> bool {
        u32::try_from(count).is_ok_and(|count| count <= NUMBERS - self.next)
    }

    /// Takes in what was said of phones, each named once. An entry that stays as it is keeps its number. False when numbers have run out.
    pub(crate) fn apply(&mut self, edits: &[Delivered]) -> bool {
        if !self.has_numbers(edits.len()) {
            return false;
        }
        let mut new: HashMap<PhoneId, &Delivered> = edits.iter().map(|edit| (edit.phone, edit)).collect();
        let mut stays = Vec::with_capacity(self.peers.len());
        for place in 0..self.peers.len() {
            stays.push(match self.peers.get(place).and_then(|peer| new.get(&peer.phone)) {
                None => true,
                Some(edit) if edit.entry.as_ref().is_some_and(|entry| self.is(place, entry)) => {
                    new.remove(&edit.phone);
                    true
                }
                Some(_) => false,
            });
        }
        if stays.contains(&false) {
            self.keep(&stays);
        }
        let entries = edits.iter().filter(|edit| new.contains_key(&edit.phone));
        entries.filter_map(|edit| edit.entry.as_ref()).for_each(|entry| self.push(entry));
        true
    }

    /// Whether the entry at this place is just this one.
    fn is(&self, place: usize, entry: &ListEntry) -> bool {
        let (Some(peer), Some(k_id), Some(keys)) = (self.peers.get(place), self.recognition.get(place), self.keys.get(place)) else {
            return false;
        };
        let same = |have: &Option<Bytes>, want: &Option<Secret>| match (have, want) {
            (Some(have), Some(want)) => crypto::equal(have.expose(), want.expose()),
            (None, None) => true,
            _ => false,
        };
        (peer.weakest, peer.not_after, peer.flags) == (entry.weakest, entry.not_after, entry.flags)
            && crypto::equal(k_id, entry.k_id.expose())
            && crypto::equal(&keys.k_l, entry.k_l.expose())
            && same(&keys.milenage, &entry.milenage)
            && same(&keys.tuak, &entry.tuak)
    }

    /// Takes out all entries that do not stay.
    fn keep(&mut self, stays: &[bool]) {
        let stay = |place: usize| stays.get(place) == Some(&true);
        let mut kept = Zeroizing::new(Vec::with_capacity(self.recognition.len()));
        kept.extend(self.recognition.iter().enumerate().filter(|(n, _)| stay(*n)).map(|(_, k_id)| *k_id));
        // The old table is wiped whole.
        self.recognition = kept;
        let (mut peer, mut keys) = (0.., 0..);
        self.peers.retain(|_| peer.next().is_some_and(stay));
        self.keys.retain(|_| keys.next().is_some_and(stay));
    }

    /// Appends an entry whose phone is not on the list.
    pub(crate) fn push(&mut self, entry: &ListEntry) {
        let (Ok(k_id), Ok(k_l)) = (entry.k_id.expose().try_into(), entry.k_l.expose().try_into()) else {
            return;
        };
        if !self.has_numbers(1) {
            return;
        }
        self.push_recognition(k_id);
        self.peers.push(Peer {
            index: self.next,
            phone: entry.phone,
            weakest: entry.weakest,
            not_after: entry.not_after,
            flags: entry.flags,
        });
        let optional = |key: &Option<Secret>| key.as_ref().and_then(|key| Bytes::new(key.expose()));
        self.keys.push(Box::new(PeerKeys {
            k_l,
            milenage: optional(&entry.milenage),
            tuak: optional(&entry.tuak),
        }));
        self.next += 1;
    }

    /// A vector that grows leaves its old place behind as it was, so it is moved by hand and the old place wiped.
    fn push_recognition(&mut self, k_id: [u8; 16]) {
        if self.recognition.len() == self.recognition.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(2 * self.recognition.len() + 16));
            larger.extend_from_slice(&self.recognition);
            self.recognition = larger;
        }
        self.recognition.push(k_id);
    }

    /// The entry whose K_id gives `tag` over `data`.
    pub(super) fn find(&self, data: &[u8], tag: &[u8; 16]) -> Option<Peer> {
        // T is public and its computation does not branch on keys, so stopping at the hit tells only where in the list the phone stands.
        let place = self
            .recognition
            .iter()
            .position(|k_id| crypto::equal(&crypto::cmac128(k_id, &[data]), tag))?;
        self.peers.get(place).copied()
    }

    /// The keys of the entry with this number, if it is still there.
    pub(super) fn keys(&self, number: u32) -> Option<&PeerKeys> {
        let place = self.peers.binary_search_by_key(&number, |p| p.index).ok()?;
        self.keys.get(place).map(Box::as_ref)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use tapdoor_protocol::vault::Method;

    fn entry(phone: u8, key: u8) -> ListEntry {
        ListEntry {
            phone: PhoneId([phone; 8]),
            weakest: Method::ChallengeResponse,
            not_after: 0,
            flags: 0,
            k_id: Secret::new([key; 16]),
            k_l: Secret::new([key; 16]),
            milenage: None,
            tuak: None,
        }
    }

    fn found(list: &List, key: u8) -> Option<Peer> {
        list.find(b"data", &crypto::cmac128(&[key; 16], &[b"data"]))
    }

    fn put(phone: u8, key: u8) -> Delivered {
        Delivered {
            phone: PhoneId([phone; 8]),
            entry: Some(entry(phone, key)),
        }
    }

    fn off(phone: u8) -> Delivered {
        Delivered {
            phone: PhoneId([phone; 8]),
            entry: None,
        }
    }

    #[test]
    fn a_number_names_one_entry_for_ever() {
        let mut list = List::default();
        (0..40).for_each(|n| list.push(&entry(n, n)));
        let (old, gone, kept) = (found(&list, 7).unwrap(), found(&list, 3).unwrap(), found(&list, 39).unwrap());
        // The same phone with new keys, one gone, one said again as it is, one that was never there taken off, and a new one: what was found
        // before is not found by the old numbers.
        assert!(list.apply(&[put(7, 107), off(3), put(39, 39), off(200), put(41, 41)]));
        assert!(list.keys(old.index).is_none() && list.keys(gone.index).is_none());
        assert_eq!(found(&list, 7), None);
        assert_eq!(found(&list, 3), None);
        assert_eq!(list.keys(kept.index).unwrap().k_l, [39; 16]);
        let new = found(&list, 107).unwrap();
        assert_eq!((new.phone, list.keys(new.index).unwrap().k_l), (PhoneId([7; 8]), [107; 16]));
        for n in (0..42).filter(|n| ![3, 7, 40].contains(n)) {
            let peer = found(&list, n).unwrap();
            assert_eq!((peer.phone, list.keys(peer.index).unwrap().k_l), (PhoneId([n; 8]), [n; 16]));
        }
        assert_eq!(list.len(), 40);
        assert_eq!((list.recognition.len(), list.keys.len()), (40, 40));
    }

    #[test]
    fn numbers_do_not_wrap() {
        let mut list = List {
            next: NUMBERS - 1,
            ..List::default()
        };
        assert!(list.apply(&[put(1, 1)]));
        assert!(!list.apply(&[put(2, 2)]) && !list.has_numbers(1) && list.has_numbers(0));
        assert_eq!(list.len(), 1);
    }
}
