//! The key vault of today's reader over a recorded tap: what was random then comes from the tape, keys from lock.toml and from what was given.

use std::collections::VecDeque;

use tapdoor_protocol::aka::{Algorithm, Autn, Auts, Rand, Sqn};
use tapdoor_protocol::aliro::PublicKey;
use tapdoor_protocol::aliro::recognition::Recognition;
use tapdoor_protocol::aliro::vault::{AliroVault, Hit};
use tapdoor_protocol::crypto::{gcm_open, gcm_seal, hkdf_sha256, sign};
use tapdoor_protocol::vault::{KeyRef, Opened, Peer, PeerKey, Slot, Vault, VaultError, Vector};
use zeroize::Zeroizing;

use super::checks::{Drawn, NO_EPHEMERAL, NO_PERSISTENT};
use super::keys::{Pair, Persistent};

/// The reader's signing key; transient keys have the numbers from 1.
const SIGNING: KeyRef = KeyRef(0);

enum Key {
    Symmetric(Zeroizing<[u8; 32]>),
    /// The ephemeral key of the current transaction.
    Ephemeral,
}

/// The vault.
pub(super) struct TapeVault {
    reader: Pair,
    persistent: Vec<Persistent>,
    drawn: VecDeque<Drawn>,
    current: Option<Drawn>,
    transient: Vec<Option<Key>>,
    /// What was asked for and is not here: from then on nothing is judged.
    lacks: Option<&'static str>,
}

impl TapeVault {
    pub(super) fn new(reader: Pair) -> Self {
        Self {
            reader,
            persistent: Vec::new(),
            drawn: VecDeque::new(),
            current: None,
            transient: Vec::new(),
            lacks: None,
        }
    }

    /// For another tap.
    pub(super) fn load(&mut self, drawn: Vec<Drawn>, persistent: Vec<Persistent>) {
        self.drawn = drawn.into();
        self.persistent = persistent;
        self.current = None;
        self.transient.clear();
        self.lacks = None;
    }

    pub(super) fn lacks(&self) -> Option<&'static str> {
        self.lacks
    }

    fn keep(&mut self, key: Key) -> KeyRef {
        let free = self.transient.iter().position(Option::is_none).unwrap_or(self.transient.len());
        match self.transient.get_mut(free) {
            Some(place) => *place = Some(key),
            None => self.transient.push(Some(key)),
        }
        KeyRef(u32::try_from(free + 1).unwrap_or(u32::MAX))
    }

    fn place(&mut self, key: KeyRef) -> Option<&mut Option<Key>> {
        let place = usize::try_from(key.0).ok()?.checked_sub(1)?;
        self.transient.get_mut(place)
    }

    fn symmetric(&mut self, key: KeyRef) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        match self.place(key) {
            Some(Some(Key::Symmetric(key))) => Ok(key.clone()),
            _ => Err(VaultError::NoKey),
        }
    }

    fn lacking(&mut self, what: &'static str) -> VaultError {
        self.lacks = Some(what);
        VaultError::NoKey
    }
}

impl AliroVault for TapeVault {
    fn agreement_key(&mut self) -> Result<(KeyRef, PublicKey), VaultError> {
        let current = match self.current.take() {
            Some(current) => current,
            // The tape has no transaction here: any key will do, and the command that is made of it is another than the tape's.
            None => Drawn::stand_in().ok_or(VaultError::Random)?,
        };
        let public = current.ephemeral;
        self.current = Some(current);
        Ok((self.keep(Key::Ephemeral), public))
    }

    fn agree(&mut self, private: KeyRef, public: &PublicKey, shared_info: &[u8]) -> Result<KeyRef, VaultError> {
        if !matches!(self.place(private), Some(Some(Key::Ephemeral))) {
            return Err(VaultError::NoKey);
        }
        let current = self.current.as_ref().ok_or(VaultError::NoKey)?;
        let Some(pair) = &current.private else {
            return Err(self.lacking(NO_EPHEMERAL));
        };
        // Either side's private key gives the same secret.
        let other = if pair.public == current.ephemeral {
            public
        } else {
            &current.ephemeral
        };
        let kdh = pair.agree(other, shared_info).ok_or(VaultError::NoKey)?;
        Ok(self.keep(Key::Symmetric(kdh)))
    }

    fn hkdf<const N: usize>(&mut self, key: KeyRef, salt: &[u8], info: &[u8]) -> Result<[KeyRef; N], VaultError> {
        let key = self.symmetric(key)?;
        let mut material = Zeroizing::new([[0; 32]; N]);
        hkdf_sha256(&*key, &[salt], &[info], material.as_flattened_mut());
        Ok(material.map(|key| self.keep(Key::Symmetric(Zeroizing::new(key)))))
    }

    fn gcm_seal(&mut self, key: KeyRef, nonce: &[u8; 12], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(gcm_seal(&*self.symmetric(key)?, nonce, plain))
    }

    fn gcm_open(&mut self, key: KeyRef, nonce: &[u8; 12], sealed: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        Ok(gcm_open(&*self.symmetric(key)?, nonce, sealed))
    }

    fn credential_key(&self, _number: u8) -> Result<KeyRef, VaultError> {
        Err(VaultError::NoKey)
    }

    fn verify(&mut self, public: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        sign::verify(&public.0, message, signature)
    }

    // What is remembered is learnt from the tape by the checks.
    fn remember(&mut self, _name: &[u8], _key: KeyRef, _most: usize) -> Result<(), VaultError> {
        Ok(())
    }

    fn remembered(&mut self, _name: &[u8]) -> Result<Option<KeyRef>, VaultError> {
        Ok(None)
    }

    fn forget_remembered(&mut self, _name: &[u8]) -> Result<(), VaultError> {
        Ok(())
    }

    fn find_cryptogram(&mut self, recognition: &Recognition<'_>) -> Result<Option<Hit>, VaultError> {
        let current = self.current.as_ref();
        // What the lock remembered then is seen by what it did.
        if current.is_some_and(|drawn| drawn.to_auth1) {
            return Ok(None);
        }
        let found = self.persistent.iter().find_map(|known| {
            let text = recognition.open(&known.key, &known.credential)?;
            Some((known.credential, known.key.clone(), text))
        });
        match found {
            Some((credential, key, text)) => Ok(Some(Hit {
                credential,
                kpersistent: self.keep(Key::Symmetric(key)),
                text,
            })),
            None if current.is_some_and(|drawn| drawn.to_exchange) => Err(self.lacking(NO_PERSISTENT)),
            None => Ok(None),
        }
    }
}

impl Vault for TapeVault {
    fn random(&mut self, out: &mut [u8]) -> Result<(), VaultError> {
        // Where the tape has nothing the lock asks more than it did then; the difference is told by the command that it makes of it.
        out.fill(0);
        self.current = self.drawn.pop_front();
        if let (Some(drawn), Some(place)) = (&self.current, out.get_mut(..16)) {
            place.copy_from_slice(&drawn.transaction);
        }
        Ok(())
    }

    fn key(&self, slot: Slot) -> Result<KeyRef, VaultError> {
        match slot {
            Slot::Signing => Ok(SIGNING),
            _ => Err(VaultError::NoKey),
        }
    }

    fn forget(&mut self, key: KeyRef) {
        if let Some(place) = self.place(key) {
            *place = None;
        }
    }

    fn sign(&mut self, key: KeyRef, message: &[u8]) -> Result<[u8; 64], VaultError> {
        if key != SIGNING {
            return Err(VaultError::NoKey);
        }
        // A signature has randomness of its own, unless its maker follows RFC 6979: one that is right is the one.
        let then = self.current.as_ref().and_then(|drawn| drawn.signature);
        match then.filter(|then| sign::verify(&self.reader.public.0, message, then)) {
            Some(then) => Ok(then),
            None => sign::sign(&self.reader.private, message).ok_or(VaultError::NoKey),
        }
    }

    // The rest is what Aliro's reader does not ask for.

    fn derive<const N: usize>(
        &mut self,
        _parent: KeyRef,
        _label: &[u8],
        _context: &[&[u8]],
        _lengths: [usize; N],
    ) -> Result<[KeyRef; N], VaultError> {
        Err(VaultError::NoKey)
    }

    fn cmac(&mut self, _key: KeyRef, _data: &[&[u8]]) -> Result<[u8; 16], VaultError> {
        Err(VaultError::NoKey)
    }

    fn ccm_seal(&mut self, _key: KeyRef, _aad: &[u8], _plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        Err(VaultError::NoKey)
    }

    fn ccm_open(&mut self, _key: KeyRef, _aad: &[u8], _sealed: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        Err(VaultError::NoKey)
    }

    fn find_peer(&mut self, _data: &[u8], _tag: &[u8; 16]) -> Result<Option<Peer>, VaultError> {
        Ok(None)
    }

    fn find_subscriber(&mut self, _imsi: &str) -> Result<Option<(Peer, KeyRef, Algorithm)>, VaultError> {
        Ok(None)
    }

    fn peer_key(&mut self, _peer: &Peer, _which: PeerKey) -> Result<KeyRef, VaultError> {
        Err(VaultError::NoKey)
    }

    fn aka_vector(&mut self, _key: KeyRef, _algorithm: Algorithm, _rand: &Rand, _sqn: Sqn) -> Result<Vector, VaultError> {
        Err(VaultError::NoKey)
    }

    fn aka_open(&mut self, _key: KeyRef, _algorithm: Algorithm, _rand: &Rand, _autn: &Autn) -> Result<Option<Opened>, VaultError> {
        Err(VaultError::NoKey)
    }

    fn aka_auts(&mut self, _key: KeyRef, _algorithm: Algorithm, _rand: &Rand, _sqn_ms: Sqn) -> Result<Auts, VaultError> {
        Err(VaultError::NoKey)
    }

    fn aka_resynchronise(&mut self, _key: KeyRef, _algorithm: Algorithm, _rand: &Rand, _auts: &Auts) -> Result<Option<Sqn>, VaultError> {
        Err(VaultError::NoKey)
    }

    fn aka_gsm(&mut self, _key: KeyRef, _algorithm: Algorithm, _rand: &Rand) -> Result<([u8; 4], [u8; 8]), VaultError> {
        Err(VaultError::NoKey)
    }

    fn reveal_session(&mut self, _session: KeyRef) -> Result<([u8; 16], [u8; 16]), VaultError> {
        Err(VaultError::NoKey)
    }

    fn ephemeral(&mut self) -> Result<(KeyRef, [u8; 33]), VaultError> {
        Err(VaultError::Random)
    }

    fn ecies_seal(&mut self, _ephemeral: KeyRef, _recipient: &[u8], _plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        Err(VaultError::NoKey)
    }

    fn load(&mut self, _record: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        Ok(None)
    }

    fn store(&mut self, _record: &[u8], _value: &[u8]) -> Result<(), VaultError> {
        Ok(())
    }
}
