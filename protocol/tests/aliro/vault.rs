//! A vault in memory. What it draws at random can be laid down, as vectors need it.

use std::collections::{HashMap, VecDeque};

use tapdoor_protocol::aka::{Algorithm, Autn, Auts, Rand, Sqn};
use tapdoor_protocol::aliro::recognition::Recognition;
use tapdoor_protocol::aliro::vault::{Hit, kdh};
use tapdoor_protocol::aliro::{AliroVault, PublicKey};
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::crypto::{self, agree, sign};
use tapdoor_protocol::vault::{KeyRef, Opened, Peer, PeerKey, Slot, Vault, VaultError, Vector};

#[derive(Default)]
pub struct MemoryVault {
    pub signing: Vec<[u8; 32]>,
    pub ephemerals: VecDeque<[u8; 32]>,
    pub randoms: VecDeque<Vec<u8>>,
    pub signatures: VecDeque<[u8; 64]>,
    pub signed: Vec<Vec<u8>>,
    pub remembered: Vec<(Vec<u8>, [u8; 32])>,
    pub records: HashMap<Vec<u8>, Vec<u8>>,
    keys: HashMap<u32, [u8; 32]>,
    next: u32,
    counter: u64,
}

const CREDENTIAL: u32 = 0x100;

impl MemoryVault {
    pub fn new(signing: &[[u8; 32]]) -> Self {
        Self {
            signing: signing.to_vec(),
            ..Self::default()
        }
    }

    /// How many transient keys are alive.
    pub fn alive(&self) -> usize {
        self.keys.len()
    }

    fn keep(&mut self, key: [u8; 32]) -> KeyRef {
        self.next += 1;
        self.keys.insert(0x8000_0000 | self.next, key);
        KeyRef(0x8000_0000 | self.next)
    }

    fn get(&self, key: KeyRef) -> Result<&[u8; 32], VaultError> {
        self.keys.get(&key.0).ok_or(VaultError::NoKey)
    }

    fn fresh(&mut self) -> [u8; 32] {
        self.counter += 1;
        let mut out = [0; 32];
        crypto::hkdf_sha256(&self.counter.to_be_bytes(), &[&self.signing.concat()], &[], &mut out);
        out
    }
}

impl AliroVault for MemoryVault {
    fn agreement_key(&mut self) -> Result<(KeyRef, PublicKey), VaultError> {
        let private = self.ephemerals.pop_front().unwrap_or_else(|| self.fresh());
        let public = agree::public_uncompressed(&SecretScalar(private)).ok_or(VaultError::Random)?;
        Ok((self.keep(private), PublicKey(public)))
    }

    fn agree(&mut self, private: KeyRef, public: &PublicKey, shared_info: &[u8]) -> Result<KeyRef, VaultError> {
        let private = SecretScalar(*self.get(private)?);
        let kdh = kdh(&private, public, shared_info).ok_or(VaultError::NoKey)?;
        Ok(self.keep(*kdh))
    }

    fn hkdf<const N: usize>(&mut self, key: KeyRef, salt: &[u8], info: &[u8]) -> Result<[KeyRef; N], VaultError> {
        let mut okm = vec![0; 32 * N];
        crypto::hkdf_sha256(self.get(key)?, &[salt], &[info], &mut okm);
        let mut out = [KeyRef(0); N];
        for (place, chunk) in out.iter_mut().zip(okm.chunks_exact(32)) {
            *place = self.keep(chunk.try_into().unwrap());
        }
        Ok(out)
    }

    fn gcm_seal(&mut self, key: KeyRef, nonce: &[u8; 12], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(crypto::gcm_seal(self.get(key)?, nonce, plain))
    }

    fn gcm_open(&mut self, key: KeyRef, nonce: &[u8; 12], sealed: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        Ok(crypto::gcm_open(self.get(key)?, nonce, sealed))
    }

    fn verify(&mut self, public: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        sign::verify(&public.0, message, signature)
    }

    fn credential_key(&self, number: u8) -> Result<KeyRef, VaultError> {
        self.signing.get(usize::from(number)).ok_or(VaultError::NoKey)?;
        Ok(KeyRef(CREDENTIAL | u32::from(number)))
    }

    fn remember(&mut self, name: &[u8], key: KeyRef, most: usize) -> Result<(), VaultError> {
        let key = *self.get(key)?;
        if let Some(entry) = self.remembered.iter_mut().find(|(n, _)| n == name) {
            entry.1 = key;
            return Ok(());
        }
        if self.remembered.len() >= most {
            self.remembered.remove(0);
        }
        self.remembered.push((name.to_vec(), key));
        Ok(())
    }

    fn remembered(&mut self, name: &[u8]) -> Result<Option<KeyRef>, VaultError> {
        let found = self.remembered.iter().find(|(n, _)| n == name).map(|(_, key)| *key);
        Ok(found.map(|key| self.keep(key)))
    }

    fn forget_remembered(&mut self, name: &[u8]) -> Result<(), VaultError> {
        self.remembered.retain(|(n, _)| n != name);
        Ok(())
    }

    fn find_cryptogram(&mut self, recognition: &Recognition<'_>) -> Result<Option<Hit>, VaultError> {
        let found = self.remembered.iter().find_map(|(name, key)| {
            let credential = PublicKey(name.as_slice().try_into().ok()?);
            Some((credential, *key, recognition.open(key, &credential)?))
        });
        Ok(found.map(|(credential, key, text)| Hit {
            credential,
            kpersistent: self.keep(key),
            text,
        }))
    }
}

impl Vault for MemoryVault {
    fn random(&mut self, out: &mut [u8]) -> Result<(), VaultError> {
        if let Some(laid) = self.randoms.pop_front() {
            out.copy_from_slice(&laid);
            return Ok(());
        }
        for chunk in out.chunks_mut(32) {
            let bytes = self.fresh();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }

    fn key(&self, slot: Slot) -> Result<KeyRef, VaultError> {
        match slot {
            Slot::Signing => self.credential_key(0),
            _ => Err(VaultError::NoKey),
        }
    }

    fn forget(&mut self, key: KeyRef) {
        self.keys.remove(&key.0);
    }

    fn sign(&mut self, key: KeyRef, message: &[u8]) -> Result<[u8; 64], VaultError> {
        self.signed.push(message.to_vec());
        let own = key
            .0
            .checked_sub(CREDENTIAL)
            .and_then(|n| self.signing.get(n as usize))
            .ok_or(VaultError::NoKey)?;
        match self.signatures.pop_front() {
            Some(signature) => Ok(signature),
            None => sign::sign(own, message).ok_or(VaultError::NoKey),
        }
    }

    fn load(&mut self, record: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        Ok(self.records.get(record).cloned())
    }

    fn store(&mut self, record: &[u8], value: &[u8]) -> Result<(), VaultError> {
        self.records.insert(record.to_vec(), value.to_vec());
        Ok(())
    }

    // What follows is other methods' business.

    fn derive<const N: usize>(&mut self, _: KeyRef, _: &[u8], _: &[&[u8]], _: [usize; N]) -> Result<[KeyRef; N], VaultError> {
        Err(VaultError::NoKey)
    }

    fn cmac(&mut self, _: KeyRef, _: &[&[u8]]) -> Result<[u8; 16], VaultError> {
        Err(VaultError::NoKey)
    }

    fn ccm_seal(&mut self, _: KeyRef, _: &[u8], _: &[u8]) -> Result<Vec<u8>, VaultError> {
        Err(VaultError::NoKey)
    }

    fn ccm_open(&mut self, _: KeyRef, _: &[u8], _: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        Err(VaultError::NoKey)
    }

    fn find_peer(&mut self, _: &[u8], _: &[u8; 16]) -> Result<Option<Peer>, VaultError> {
        Ok(None)
    }

    fn find_subscriber(&mut self, _: &str) -> Result<Option<(Peer, KeyRef, Algorithm)>, VaultError> {
        Ok(None)
    }

    fn peer_key(&mut self, _: &Peer, _: PeerKey) -> Result<KeyRef, VaultError> {
        Err(VaultError::NoKey)
    }

    fn aka_vector(&mut self, _: KeyRef, _: Algorithm, _: &Rand, _: Sqn) -> Result<Vector, VaultError> {
        Err(VaultError::NoKey)
    }

    fn aka_open(&mut self, _: KeyRef, _: Algorithm, _: &Rand, _: &Autn) -> Result<Option<Opened>, VaultError> {
        Err(VaultError::NoKey)
    }

    fn aka_auts(&mut self, _: KeyRef, _: Algorithm, _: &Rand, _: Sqn) -> Result<Auts, VaultError> {
        Err(VaultError::NoKey)
    }

    fn aka_resynchronise(&mut self, _: KeyRef, _: Algorithm, _: &Rand, _: &Auts) -> Result<Option<Sqn>, VaultError> {
        Err(VaultError::NoKey)
    }

    fn aka_gsm(&mut self, _: KeyRef, _: Algorithm, _: &Rand) -> Result<([u8; 4], [u8; 8]), VaultError> {
        Err(VaultError::NoKey)
    }

    fn reveal_session(&mut self, _: KeyRef) -> Result<([u8; 16], [u8; 16]), VaultError> {
        Err(VaultError::NoKey)
    }

    fn ephemeral(&mut self) -> Result<(KeyRef, [u8; 33]), VaultError> {
        Err(VaultError::NoKey)
    }

    fn ecies_seal(&mut self, _: KeyRef, _: &[u8], _: &[u8]) -> Result<Vec<u8>, VaultError> {
        Err(VaultError::NoKey)
    }
}
