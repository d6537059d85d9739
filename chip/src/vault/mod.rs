//! The key vault. Keys come in by personalisation, are used by reference, and never leave.
//!
//! A [`KeyRef`] names a slot of the running applet, a key of a list entry, or a transient key, told apart by its upper bits.
//! A reference works only for the applet that it was given to; a freed transient reference never works again, even when its place is used anew,
//! and neither does one to a list entry that was changed or removed meanwhile.

mod aliro;
pub mod curve;
mod keys;
mod list;
mod remembered;

pub use self::keys::KeyStore;
pub(crate) use self::list::List;
pub use self::remembered::{NamedKey, remembered_keys};

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::quantities::Subscriber;
use tapdoor_protocol::aka::{Algorithm, Amf, Autn, Auts, Rand, Sqn};
use tapdoor_protocol::crypto::{self, ecies};
use tapdoor_protocol::vault::{KeyRef, Opened, Peer, PeerKey, Slot, Vault, VaultError, Vector};
use zeroize::Zeroizing;

use self::keys::{PEER, TRANSIENT, Usage};
use crate::registry::AppId;
use crate::store::Store;

/// Longest record.
const RECORD_LIMIT: usize = 4096;
/// AMF of every AUTN we make (docs/protocol.md section 5).
const AMF: Amf = Amf([0, 0]);

/// The vault as one applet sees it during one command.
pub struct AppletVault<'a> {
    pub(crate) keys: &'a mut KeyStore,
    pub(crate) store: &'a mut dyn Store,
    pub(crate) owner: AppId,
    pub(crate) aid: Aid,
    /// Whether the lock's list may be used: lock halves only.
    pub(crate) may_use_list: bool,
}

impl AppletVault<'_> {
    /// Forgets what this applet wrote in the current command: it was stopped.
    pub fn discard_writes(&mut self) {
        let owner = self.owner;
        self.keys.pending.retain(|(writer, _), _| *writer != owner);
    }

    fn bytes(&self, key: KeyRef) -> Result<&[u8], VaultError> {
        if key.0 & TRANSIENT == 0 && key.0 & PEER != 0 && !self.may_use_list {
            return Err(VaultError::NoKey);
        }
        self.keys.bytes(self.owner, key).ok_or(VaultError::NoKey)
    }

    fn key16(&self, key: KeyRef) -> Result<&[u8; 16], VaultError> {
        self.bytes(key)?.try_into().map_err(|_| VaultError::NoKey)
    }

    fn subscriber(&self, key: KeyRef, algorithm: Algorithm) -> Result<Subscriber, VaultError> {
        Subscriber::from_bytes(algorithm, self.bytes(key)?).ok_or(VaultError::NoKey)
    }

    fn is_test_subscriber(&self, key: KeyRef) -> bool {
        key.0 == Slot::TestSubscriber as u32 && self.keys.stored(self.owner, Slot::TestSubscriber).is_some()
    }

    fn keep_session(&mut self, usage: Usage, ck: &[u8; 16], ik: &[u8; 16]) -> Result<KeyRef, VaultError> {
        let mut session = Zeroizing::new([0; 32]);
        session[..16].copy_from_slice(ck);
        session[16..].copy_from_slice(ik);
        self.keys.keep(self.owner, usage, session.as_slice())
    }
}

impl Vault for AppletVault<'_> {
    fn random(&mut self, out: &mut [u8]) -> Result<(), VaultError> {
        self.keys.fill_random(out)
    }

    fn key(&self, slot: Slot) -> Result<KeyRef, VaultError> {
        self.keys.stored(self.owner, slot).ok_or(VaultError::NoKey)?;
        Ok(KeyRef(slot as u32))
    }

    fn derive<const N: usize>(
        &mut self,
        parent: KeyRef,
        label: &[u8],
        context: &[&[u8]],
        lengths: [usize; N],
    ) -> Result<[KeyRef; N], VaultError> {
        let mut material = Zeroizing::new([0; 128]);
        let total: usize = lengths.iter().sum();
        let material = material.get_mut(..total).ok_or(VaultError::Full)?;
        crypto::kdf_ctr(self.bytes(parent)?, label, context, material).map_err(|_| VaultError::NoKey)?;
        let mut out = [KeyRef(0); N];
        let mut rest: &[u8] = material;
        for (index, (place, length)) in out.iter_mut().zip(lengths).enumerate() {
            let (head, tail) = rest.split_at_checked(length).ok_or(VaultError::Full)?;
            match self.keys.keep(self.owner, Usage::Symmetric, head) {
                Ok(key) => *place = key,
                Err(error) => {
                    let given = out;
                    given.iter().take(index).for_each(|key| self.forget(*key));
                    return Err(error);
                }
            }
            rest = tail;
        }
        Ok(out)
    }

    fn forget(&mut self, key: KeyRef) {
        if key.0 & TRANSIENT != 0 && self.keys.transient(self.owner, key).is_some() {
            self.keys.free(key);
        }
    }

    fn cmac(&mut self, key: KeyRef, data: &[&[u8]]) -> Result<[u8; 16], VaultError> {
        crypto::cmac(self.bytes(key)?, data).ok_or(VaultError::NoKey)
    }

    fn ccm_seal(&mut self, key: KeyRef, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(crypto::ccm_seal(self.key16(key)?, aad, plain))
    }

    fn ccm_open(&mut self, key: KeyRef, aad: &[u8], sealed: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        Ok(crypto::ccm_open(self.key16(key)?, aad, sealed))
    }

    fn find_peer(&mut self, data: &[u8], tag: &[u8; 16]) -> Result<Option<Peer>, VaultError> {
        if !self.may_use_list {
            return Err(VaultError::NoKey);
        }
        Ok(self.keys.list.find(data, tag))
    }

    fn find_subscriber(&mut self, imsi: &str) -> Result<Option<(Peer, KeyRef, Algorithm)>, VaultError> {
        if !self.may_use_list {
            return Err(VaultError::NoKey);
        }
        Ok(self
            .keys
            .subscribers
            .iter()
            .find(|s| s.imsi == imsi)
            .map(|s| (s.peer, KeyRef(PEER | s.peer.index << 2), s.algorithm)))
    }

    fn peer_key(&mut self, peer: &Peer, which: PeerKey) -> Result<KeyRef, VaultError> {
        let number = peer.index.checked_mul(4).filter(|number| number & (PEER | TRANSIENT) == 0);
        let key = KeyRef(PEER | number.ok_or(VaultError::NoKey)? | which as u32);
        self.bytes(key).map(|_| key)
    }

    fn aka_vector(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand, sqn: Sqn) -> Result<Vector, VaultError> {
        let (autn, xres, ck, ik) = self.subscriber(key, algorithm)?.make_vector(rand, sqn, AMF);
        let (ck, ik) = (Zeroizing::new(ck), Zeroizing::new(ik));
        let session = self.keep_session(Usage::Symmetric, &ck, &ik)?;
        Ok(Vector { autn, xres, session })
    }

    fn aka_open(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand, autn: &Autn) -> Result<Option<Opened>, VaultError> {
        let Some(opened) = self.subscriber(key, algorithm)?.open_autn(rand, autn) else {
            return Ok(None);
        };
        let (sqn, _, res, ck, ik) = opened;
        let (ck, ik) = (Zeroizing::new(ck), Zeroizing::new(ik));
        let usage = if self.is_test_subscriber(key) {
            Usage::TestSession
        } else {
            Usage::Symmetric
        };
        let session = self.keep_session(usage, &ck, &ik)?;
        Ok(Some(Opened { sqn, res, session }))
    }

    fn aka_auts(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand, sqn_ms: Sqn) -> Result<Auts, VaultError> {
        Ok(self.subscriber(key, algorithm)?.make_auts(rand, sqn_ms))
    }

    fn aka_resynchronise(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand, auts: &Auts) -> Result<Option<Sqn>, VaultError> {
        Ok(self.subscriber(key, algorithm)?.open_auts(rand, auts))
    }

    fn aka_gsm(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand) -> Result<([u8; 4], [u8; 8]), VaultError> {
        if !self.is_test_subscriber(key) {
            return Err(VaultError::NoKey);
        }
        Ok(self.subscriber(key, algorithm)?.gsm(rand))
    }

    fn reveal_session(&mut self, session: KeyRef) -> Result<([u8; 16], [u8; 16]), VaultError> {
        let transient = self
            .keys
            .transient(self.owner, session)
            .filter(|t| t.usage == Usage::TestSession)
            .ok_or(VaultError::NoKey)?;
        match transient.key.expose().split_first_chunk::<16>() {
            Some((ck, ik)) => Ok((*ck, ik.try_into().map_err(|_| VaultError::NoKey)?)),
            None => Err(VaultError::NoKey),
        }
    }

    fn ephemeral(&mut self) -> Result<(KeyRef, [u8; 33]), VaultError> {
        // A random 32-byte string is no valid scalar with probability 2^-32; a few tries are plenty.
        for _ in 0..4 {
            let mut scalar = Zeroizing::new([0; 32]);
            self.keys.fill_random(scalar.as_mut_slice())?;
            if let Some(public) = ecies::public_compressed(&ecies::SecretScalar(*scalar)) {
                return Ok((self.keys.keep(self.owner, Usage::Ephemeral, scalar.as_slice())?, public));
            }
        }
        Err(VaultError::Random)
    }

    fn ecies_seal(&mut self, ephemeral: KeyRef, recipient: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let transient = self
            .keys
            .transient(self.owner, ephemeral)
            .filter(|t| t.usage == Usage::Ephemeral)
            .ok_or(VaultError::NoKey)?;
        let scalar = ecies::SecretScalar(transient.key.expose().try_into().map_err(|_| VaultError::NoKey)?);
        ecies::seal(&scalar, recipient, plain).ok_or(VaultError::NoKey)
    }

    fn sign(&mut self, key: KeyRef, message: &[u8]) -> Result<[u8; 64], VaultError> {
        let [0, 0, number, slot] = key.0.to_be_bytes() else {
            return Err(VaultError::NoKey);
        };
        let slot = Slot::from_number(slot).filter(|slot| matches!(slot, Slot::Signing | Slot::AliroKeys));
        let stored = slot.and_then(|slot| self.keys.numbered(self.owner, slot, number));
        let stored = stored.ok_or(VaultError::NoKey)?;
        let scalar: &[u8; 32] = stored.expose().try_into().map_err(|_| VaultError::NoKey)?;
        curve::sign(scalar, message).ok_or(VaultError::NoKey)
    }

    fn load(&mut self, record: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        if let Some(value) = self.keys.pending.get(&(self.owner, record.to_vec())) {
            return Ok(Some(value.clone()));
        }
        self.store.record(&self.aid, record).map_err(|_| VaultError::Store)
    }

    fn store(&mut self, record: &[u8], value: &[u8]) -> Result<(), VaultError> {
        if value.len() > RECORD_LIMIT || record.len() > 64 {
            return Err(VaultError::Full);
        }
        self.keys.pending.insert((self.owner, record.to_vec()), value.to_vec());
        Ok(())
    }
}
