//! The key vault. Keys come in by personalisation, are used by reference, and never leave.
//!
//! A [`KeyRef`] is a place in one of three tables, told apart by its upper bits: personalised keys, keys of list entries, and transient keys.
//! A reference works only for the applet that it was given to; a freed transient reference never works again, even when its place is used anew.

use std::collections::BTreeMap;

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::quantities::Subscriber;
use tapdoor_protocol::aka::{Algorithm, Amf, Autn, Auts, Rand, Sqn};
use tapdoor_protocol::crypto::{self, ecies, sign};
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::vault::{KeyRef, Method, Opened, Peer, PeerKey, Slot, Vault, VaultError, Vector};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::personalise::{Personalisation, Secret};
use crate::random::RandomSource;
use crate::store::{Change, Store};

/// Keys that live no longer than a session. More than any method needs, few enough to bound a hostile applet.
const TRANSIENT_KEYS: usize = 32;
/// Longest record.
const RECORD_LIMIT: usize = 4096;
/// AMF of every AUTN we make (docs/protocol.md section 5).
const AMF: Amf = Amf([0, 0]);

const TRANSIENT: u32 = 0x8000_0000;
const PEER: u32 = 0x4000_0000;

/// What a transient key may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Zeroize)]
enum Usage {
    /// Derivation, CMAC, CCM, AKA.
    Symmetric,
    /// CK || IK of a test USIM, which may be revealed.
    TestSession,
    /// A P-256 private key.
    Ephemeral,
}

/// Key bytes in place, wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Bytes {
    bytes: [u8; 64],
    length: usize,
}

impl Bytes {
    fn new(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; 64];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        Some(Self { bytes, length: from.len() })
    }

    fn expose(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

struct Stored {
    owner: usize,
    slot: Slot,
    key: Bytes,
}

struct Transient {
    owner: usize,
    usage: Usage,
    key: Bytes,
}

#[derive(Default)]
struct TransientPlace {
    generation: u16,
    key: Option<Transient>,
}

/// A list entry's keys besides K_id.
struct PeerKeys {
    k_l: [u8; 16],
    milenage: Option<Bytes>,
    tuak: Option<Bytes>,
}

impl Drop for PeerKeys {
    fn drop(&mut self) {
        self.k_l.zeroize();
    }
}

struct KnownSubscriber {
    imsi: String,
    peer: Peer,
    algorithm: Algorithm,
    key: Bytes,
}

/// All keys of a chip, and what the current command wants to store.
pub struct KeyStore {
    stored: Vec<Stored>,
    transient: Vec<TransientPlace>,
    /// K_id of every list entry, side by side: this is what finding a phone runs over.
    recognition: Zeroizing<Vec<[u8; 16]>>,
    peers: Vec<Peer>,
    peer_keys: Vec<PeerKeys>,
    subscribers: Vec<KnownSubscriber>,
    random: Box<dyn RandomSource>,
    /// Records written by the current command, by (applet, record).
    pending: BTreeMap<(usize, Vec<u8>), Vec<u8>>,
}

impl KeyStore {
    /// Takes the keys of a checked personalisation. Applets are numbered as there.
    pub(crate) fn new(personalisation: &Personalisation, random: Box<dyn RandomSource>) -> Self {
        let mut stored = Vec::new();
        for (owner, application) in personalisation.applications.iter().enumerate() {
            stored.extend(
                application
                    .keys
                    .iter()
                    .filter_map(|(slot, key)| Bytes::new(key.expose()).map(|key| Stored { owner, slot: *slot, key })),
            );
        }
        let mut recognition = Zeroizing::new(Vec::with_capacity(personalisation.list.len()));
        let mut peers = Vec::with_capacity(personalisation.list.len());
        let mut peer_keys = Vec::with_capacity(personalisation.list.len());
        for entry in &personalisation.list {
            let (Ok(k_id), Ok(k_l)) = (entry.k_id.expose().try_into(), entry.k_l.expose().try_into()) else {
                continue;
            };
            let index = u32::try_from(peers.len()).unwrap_or(u32::MAX);
            recognition.push(k_id);
            peers.push(Peer {
                index,
                phone: entry.phone,
                weakest: entry.weakest,
                not_after: entry.not_after,
                flags: entry.flags,
            });
            let optional = |key: &Option<Secret>| key.as_ref().and_then(|key| Bytes::new(key.expose()));
            peer_keys.push(PeerKeys {
                k_l,
                milenage: optional(&entry.milenage),
                tuak: optional(&entry.tuak),
            });
        }
        let subscribers = personalisation
            .subscribers
            .iter()
            .enumerate()
            .filter_map(|(index, s)| {
                let index = u32::try_from(index).ok()?;
                let peer = Peer {
                    index,
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
            })
            .collect();
        let transient = (0..TRANSIENT_KEYS).map(|_| TransientPlace::default()).collect();
        Self {
            stored,
            transient,
            recognition,
            peers,
            peer_keys,
            subscribers,
            random,
            pending: BTreeMap::new(),
        }
    }

    /// Wipes every transient key and forgets what was not committed: power is gone.
    pub(crate) fn power_off(&mut self) {
        for place in &mut self.transient {
            place.key = None;
        }
        self.pending.clear();
    }

    /// What the current command wrote, as changes for one transaction.
    pub(crate) fn take_changes(&mut self, aids: impl Fn(usize) -> Option<Aid>) -> Vec<Change> {
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

    fn keep(&mut self, owner: usize, usage: Usage, bytes: &[u8]) -> Result<KeyRef, VaultError> {
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

    fn transient(&self, owner: usize, key: KeyRef) -> Option<&Transient> {
        let place = self.transient.get((key.0 & 0xFF) as usize)?;
        let generation = u16::try_from((key.0 & !TRANSIENT) >> 8).ok()?;
        place.key.as_ref().filter(|t| place.generation == generation && t.owner == owner)
    }

    /// The bytes behind a reference, if it is this applet's and not a private key for signatures.
    fn bytes(&self, owner: usize, key: KeyRef) -> Option<&[u8]> {
        if key.0 & TRANSIENT != 0 {
            return self
                .transient(owner, key)
                .filter(|t| t.usage != Usage::Ephemeral)
                .map(|t| t.key.expose());
        }
        if key.0 & PEER != 0 {
            let place = (key.0 & !PEER) as usize;
            if place & 3 == 0 {
                return self.subscribers.get(place >> 2).map(|s| s.key.expose());
            }
            let keys = self.peer_keys.get(place >> 2)?;
            return match place & 3 {
                1 => Some(&keys.k_l),
                2 => keys.milenage.as_ref().map(Bytes::expose),
                _ => keys.tuak.as_ref().map(Bytes::expose),
            };
        }
        self.stored
            .get(key.0 as usize)
            .filter(|s| s.owner == owner && s.slot != Slot::Signing)
            .map(|s| s.key.expose())
    }
}

/// The vault as one applet sees it during one command.
pub struct AppletVault<'a> {
    pub(crate) keys: &'a mut KeyStore,
    pub(crate) store: &'a mut dyn Store,
    pub(crate) owner: usize,
    pub(crate) aid: Aid,
    /// Whether the lock's list may be used: lock halves only.
    pub(crate) may_use_list: bool,
}

impl AppletVault<'_> {
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
        key.0 & (TRANSIENT | PEER) == 0
            && self
                .keys
                .stored
                .get(key.0 as usize)
                .is_some_and(|s| s.owner == self.owner && s.slot == Slot::TestSubscriber)
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
        self.keys.random.fill(out)
    }

    fn key(&self, slot: Slot) -> Result<KeyRef, VaultError> {
        let place = self
            .keys
            .stored
            .iter()
            .position(|s| s.owner == self.owner && s.slot == slot)
            .ok_or(VaultError::NoKey)?;
        u32::try_from(place).map(KeyRef).map_err(|_| VaultError::NoKey)
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
        if key.0 & TRANSIENT != 0
            && self.keys.transient(self.owner, key).is_some()
            && let Some(place) = self.keys.transient.get_mut((key.0 & 0xFF) as usize)
        {
            place.key = None;
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
        // T is public and its computation does not branch on keys, so stopping at the hit tells only where in the list the phone stands.
        let place = self
            .keys
            .recognition
            .iter()
            .position(|k_id| crypto::equal(&crypto::cmac128(k_id, &[data]), tag));
        Ok(place.and_then(|place| self.keys.peers.get(place)).copied())
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
        let key = KeyRef(PEER | peer.index << 2 | which as u32);
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
            self.keys.random.fill(scalar.as_mut_slice())?;
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
        let stored = self
            .keys
            .stored
            .get(key.0 as usize)
            .filter(|s| s.owner == self.owner && s.slot == Slot::Signing)
            .ok_or(VaultError::NoKey)?;
        let scalar: &[u8; 32] = stored.key.expose().try_into().map_err(|_| VaultError::NoKey)?;
        sign::sign(scalar, message).ok_or(VaultError::NoKey)
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

/// What the vault says of a phone by its place in the list; for reports.
impl std::fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phones: Vec<PhoneId> = self.peers.iter().take(4).map(|p| p.phone).collect();
        write!(
            f,
            "KeyStore({} keys, {} list entries from {phones:?}.., {} USIMs)",
            self.stored.len(),
            self.peers.len(),
            self.subscribers.len()
        )
    }
}
