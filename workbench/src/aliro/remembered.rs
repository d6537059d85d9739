//! Keys that open recorded Aliro transactions: those that were given by hand, and what a lock's chip remembers (docs/aliro.md).

use std::path::Path;

use tapdoor_captures::decode::AliroKeys;
use tapdoor_chip::{SqliteStore, StoreError};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::{PublicKey, ReaderConfig};
use zeroize::Zeroizing;

/// Keys beyond those of lock.toml.
#[derive(Clone, Default)]
pub struct Evidence {
    /// Given by hand: ephemeral private keys of either side, or Kpersistent. It is not said which; both are tried.
    pub given: Vec<Zeroizing<[u8; 32]>>,
    /// Kpersistent that a lock's chip remembers, by credential.
    pub remembered: Vec<(PublicKey, Zeroizing<[u8; 32]>)>,
}

impl std::fmt::Debug for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Evidence({} given, {} remembered)", self.given.len(), self.remembered.len())
    }
}

impl Evidence {
    /// Adds what the chip in this store remembers; nothing when there is no store yet.
    ///
    /// # Errors
    /// [`StoreError`], also while a lock has the store.
    pub fn read(&mut self, store: &Path) -> Result<(), StoreError> {
        if !store.exists() {
            return Ok(());
        }
        let mut store = SqliteStore::open(store)?;
        for (credential, key) in tapdoor_chip::vault::remembered_keys(&mut store, &Aid::ALIRO_LOCK)? {
            self.remembered
                .extend(PublicKey::new(&credential).map(|credential| (credential, Zeroizing::new(key))));
        }
        Ok(())
    }

    /// What deciphers tapes of this reader.
    #[must_use]
    pub fn decipher(&self, reader: &ReaderConfig) -> AliroKeys {
        let given = || self.given.iter().map(|key| **key);
        let mut credentials: Vec<PublicKey> = reader.credentials.iter().map(|entry| entry.key).collect();
        credentials.extend(self.remembered.iter().map(|(credential, _)| *credential));
        credentials.sort_unstable();
        credentials.dedup();
        AliroKeys {
            ephemerals: given().collect(),
            kpersistent: given().chain(self.remembered.iter().map(|(_, key)| **key)).collect(),
            group_keys: vec![reader.group_key],
            credentials,
        }
    }
}
