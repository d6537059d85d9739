//! Keys that an applet remembers by name: Kpersistent of Aliro. In memory, so that all can be tried at a tap, and in records of the applet.
//!
//! Record `P` || place(2) holds order(8) || key(32) || name, or nothing where a key was forgotten. Places are dense: the first one that has no
//! record ends them.

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::vault::VaultError;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::store::{Store, StoreError};

/// Longest name.
const NAME: usize = 72;

/// One key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) key: [u8; 32],
    /// Later ones have greater numbers.
    order: u64,
}

/// All keys that one applet remembers, by place.
#[derive(Default)]
pub(super) struct Remembered {
    // Boxed, so that growing leaves no keys behind in memory.
    places: Vec<Option<Box<Entry>>>,
    next: u64,
}

/// What is to be written: name and value of a record.
pub(super) type Write = (Vec<u8>, Zeroizing<Vec<u8>>);

fn record(place: u16) -> Vec<u8> {
    let [high, low] = place.to_be_bytes();
    vec![b'P', high, low]
}

/// A name and a key.
pub type NamedKey = (Vec<u8>, [u8; 32]);

/// Names and keys that an application remembers, read from its chip's store: for programs that decipher what the chip took part in.
///
/// # Errors
/// [`StoreError`].
pub fn remembered_keys(store: &mut dyn Store, aid: &Aid) -> Result<Vec<NamedKey>, StoreError> {
    let mut failure = None;
    let all = Remembered::load(|name| {
        store.record(aid, name).map_err(|error| {
            failure = Some(error);
            VaultError::Store
        })
    });
    match (all, failure) {
        (_, Some(error)) => Err(error),
        (all, None) => Ok(all
            .map(|all| all.iter().map(|e| (e.name.clone(), e.key)).collect())
            .unwrap_or_default()),
    }
}

impl Remembered {
    /// Reads what is there.
    pub(super) fn load(mut read: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, VaultError>) -> Result<Self, VaultError> {
        let mut all = Self::default();
        for place in 0..=u16::MAX {
            let Some(value) = read(&record(place))?.map(Zeroizing::new) else {
                break;
            };
            let entry = value.split_first_chunk::<8>().and_then(|(order, rest)| {
                let (key, name) = rest.split_first_chunk::<32>()?;
                Some(Box::new(Entry {
                    name: name.to_vec(),
                    key: *key,
                    order: u64::from_be_bytes(*order),
                }))
            });
            all.next = all.next.max(entry.as_ref().map_or(0, |e| e.order.saturating_add(1)));
            all.places.push(entry);
        }
        Ok(all)
    }

    /// All keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.places.iter().flatten().map(AsRef::as_ref)
    }

    /// The key of this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<&Entry> {
        self.iter().find(|entry| entry.name == name)
    }

    /// Remembers a key, in place of the one of the same name, or in a free place, or in place of the oldest when there are `most`.
    pub(super) fn put(&mut self, name: &[u8], key: &[u8; 32], most: usize) -> Result<Write, VaultError> {
        if name.len() > NAME || most == 0 {
            return Err(VaultError::Full);
        }
        let same = |p: &Option<Box<Entry>>| p.as_ref().is_some_and(|e| e.name == name);
        let place = match self.places.iter().position(same) {
            Some(place) => place,
            None if self.iter().count() >= most => {
                let oldest = self
                    .places
                    .iter()
                    .enumerate()
                    .filter_map(|(n, p)| Some((p.as_ref()?.order, n)))
                    .min();
                oldest.ok_or(VaultError::Full)?.1
            }
            None => self.places.iter().position(Option::is_none).unwrap_or(self.places.len()),
        };
        let number = u16::try_from(place).map_err(|_| VaultError::Full)?;
        let order = self.next;
        self.next += 1;
        let entry = Box::new(Entry {
            name: name.to_vec(),
            key: *key,
            order,
        });
        let mut value = Zeroizing::new(Vec::with_capacity(40 + name.len()));
        value.extend_from_slice(&order.to_be_bytes());
        value.extend_from_slice(key);
        value.extend_from_slice(name);
        match self.places.get_mut(place) {
            Some(old) => *old = Some(entry),
            None => self.places.push(Some(entry)),
        }
        Ok((record(number), value))
    }

    /// Forgets the key of this name.
    pub(super) fn forget(&mut self, name: &[u8]) -> Option<Write> {
        let place = self.places.iter().position(|p| p.as_ref().is_some_and(|e| e.name == name))?;
        *self.places.get_mut(place)? = None;
        Some((record(u16::try_from(place).ok()?), Zeroizing::new(Vec::new())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_oldest_goes_and_what_was_written_is_read_again() {
        let mut records: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        let mut all = Remembered::default();
        let mut write = |(name, value): Write| drop(records.insert(name, value.to_vec()));
        for n in 0..5u8 {
            write(all.put(&[n], &[n; 32], 4).unwrap());
        }
        // 0 was the oldest. 1 is made anew, so 2 is the oldest now.
        write(all.put(&[1], &[0x11; 32], 4).unwrap());
        write(all.put(&[6], &[6; 32], 4).unwrap());
        write(all.forget(&[3]).unwrap());
        assert!(all.forget(&[3]).is_none());
        let names = |all: &Remembered| {
            let mut names: Vec<u8> = all.iter().map(|e| e.name[0]).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(&all), [1, 4, 6]);
        let mut again = Remembered::load(|name| Ok(records.get(name).cloned())).unwrap();
        assert_eq!(names(&again), [1, 4, 6]);
        assert_eq!(again.find(&[1]).unwrap().key, [0x11; 32]);
        // The free place is used before another is evicted.
        again.put(&[7], &[7; 32], 4).unwrap();
        assert_eq!(names(&again), [1, 4, 6, 7]);
        again.put(&[8], &[8; 32], 4).unwrap();
        assert_eq!(names(&again), [1, 6, 7, 8]);
        assert_eq!(again.put(&[0; 73], &[0; 32], 4).err(), Some(VaultError::Full));
    }
}
