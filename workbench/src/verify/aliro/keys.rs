//! What verifies Aliro taps: the keys of lock.toml, what the lock's chip remembers, and private keys that were given or are on the tape.

use tapdoor_protocol::aliro::vault::kdh;
use tapdoor_protocol::aliro::{PublicKey, ReaderConfig};
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::vault::Slot;
use tapdoor_reader::LockConfig;
use zeroize::Zeroizing;

use crate::aliro::Evidence;

/// A private key and its public half.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) private: Zeroizing<[u8; 32]>,
    pub(super) public: PublicKey,
}

impl Pair {
    pub(super) fn new(private: &[u8; 32]) -> Option<Self> {
        let public = public_uncompressed(&SecretScalar(*private)).map(PublicKey)?;
        Some(Self {
            private: Zeroizing::new(*private),
            public,
        })
    }

    /// Kdh with the other side's key.
    pub(super) fn agree(&self, other: &PublicKey, transaction: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        kdh(&SecretScalar(*self.private), other, transaction)
    }
}

/// A Kpersistent, and whose it is.
#[derive(Clone)]
pub(super) struct Persistent {
    pub(super) credential: PublicKey,
    pub(super) key: Zeroizing<[u8; 32]>,
}

/// The keys.
pub struct Keys {
    pub(super) config: ReaderConfig,
    pub(super) reader: Pair,
    pub(super) ephemerals: Vec<Pair>,
    given: Vec<Persistent>,
    /// Of the tape: at most one for each credential of lock.toml.
    learnt: Vec<Persistent>,
}

impl Keys {
    /// Of a configuration with a section `[aliro]`, and what else there is.
    #[must_use]
    pub fn new(config: &LockConfig, evidence: &Evidence) -> Option<Self> {
        let mut applications = config.personalisation.applications.iter();
        let application = applications.find(|a| a.kind == tapdoor_chip::Kind::AliroLock)?;
        let config = ReaderConfig::decode(&application.parameters)?;
        let (_, private) = application.keys.iter().find(|(slot, _)| *slot == Slot::Signing)?;
        let reader = Pair::new(private.expose().try_into().ok()?)?;
        let remembered = evidence.remembered.iter().map(|(credential, key)| Persistent {
            credential: *credential,
            key: key.clone(),
        });
        // Whose a Kpersistent is that was given by hand, only a cryptogram can tell.
        let given = evidence.given.iter().flat_map(|key| {
            config.credentials.iter().map(|entry| Persistent {
                credential: entry.key,
                key: key.clone(),
            })
        });
        Some(Self {
            given: remembered.chain(given).collect(),
            learnt: Vec::new(),
            ephemerals: evidence.given.iter().filter_map(|key| Pair::new(key)).collect(),
            reader,
            config,
        })
    }

    /// A Kpersistent that was made on the tape, in place of the one of before: so both sides do it.
    pub(super) fn learn(&mut self, credential: PublicKey, key: &[u8; 32]) {
        let key = Zeroizing::new(*key);
        match self.learnt.iter_mut().find(|known| known.credential == credential) {
            Some(known) => known.key = key,
            None => self.learnt.push(Persistent { credential, key }),
        }
    }

    /// Every Kpersistent that there is, those of the tape first.
    pub(super) fn persistent(&self) -> impl Iterator<Item = &Persistent> {
        self.learnt.iter().chain(&self.given)
    }
}
