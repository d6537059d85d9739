//! The key vault: what an authentication method may ask of the chip that runs it.
//!
//! A method names keys by [`KeyRef`] and never sees their bytes. The same trait is the boundary for built-in applets
//! (the chip's own vault) and for downloaded ones (host functions of a sandbox), so every operation here can be carried by plain integers and bytes.
//!
//! Everything stored by [`Vault::store`] is durable before the answer to the current command leaves the chip: the chip
//! commits once per command, and answers 6F00 if it cannot.

use alloc::vec::Vec;

use crate::aka::{Algorithm, Autn, Auts, Rand, Sqn};
use crate::ids::PhoneId;

/// A key, by reference. Its meaning is private to the vault that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyRef(pub u32);

/// Which personalised key of the running applet is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Slot {
    /// K_ph, 16 bytes: the phone's key.
    Phone = 1,
    /// K_id, 16 bytes: by which locks recognise the phone.
    Recognition = 2,
    /// A USIM's K || OPc (32 bytes) or K || TOPc (48 or 64 bytes), profile U. The only kind whose CK and IK may be revealed.
    TestSubscriber = 3,
    /// K_agent, 16 bytes: proves an identity to the server.
    Agent = 4,
    /// The chip's own P-256 signing key, 32 bytes.
    Signing = 5,
    /// P-256 signing keys of Aliro credentials, 32 bytes each, one after another: at most 64.
    AliroKeys = 6,
}

impl Slot {
    /// The slot with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [
            Self::Phone,
            Self::Recognition,
            Self::TestSubscriber,
            Self::Agent,
            Self::Signing,
            Self::AliroKeys,
        ]
        .into_iter()
        .find(|s| *s as u8 == number)
    }
}

/// An authentication method, in order of strength. The numbers are those of a list entry's weakest method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Method {
    /// Challenge-response by AES-CCM.
    ChallengeResponse = 1,
    /// 3GPP AKA.
    Aka = 2,
    /// Aliro 1.0.
    Aliro = 3,
}

impl Method {
    /// The name used on the command line and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ChallengeResponse => "challenge-response",
            Self::Aka => "aka",
            Self::Aliro => "aliro",
        }
    }

    /// The method with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::ChallengeResponse, Self::Aka, Self::Aliro]
            .into_iter()
            .find(|m| *m as u8 == number)
    }
}

/// Which key of a list entry is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PeerKey {
    /// K_l, 16 bytes.
    Lock = 1,
    /// K || OPc, 32 bytes.
    Milenage = 2,
    /// K || TOPc, 64 bytes.
    Tuak = 3,
}

/// A list entry without its keys: a phone that may open this lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The vault's own number of the entry.
    pub index: u32,
    /// Which phone.
    pub phone: PhoneId,
    /// The weakest method that the phone may use.
    pub weakest: Method,
    /// Seconds since 1970-01-01 UTC from which the entry no longer holds; 0 = never ends.
    pub not_after: u32,
    /// Bit 0: the user must be authenticated on the phone.
    pub flags: u8,
}

/// What verifying an AUTN gives a USIM.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The sequence number, already unmasked.
    pub sqn: Sqn,
    /// RES, 4 to 32 bytes.
    pub res: Vec<u8>,
    /// CK || IK as a key.
    pub session: KeyRef,
}

/// What the home side makes for one authentication.
#[derive(Clone, Debug)]
pub struct Vector {
    /// AUTN to send.
    pub autn: Autn,
    /// The RES to expect. Compare with [`crate::crypto::equal`].
    pub xres: Vec<u8>,
    /// CK || IK as a key.
    pub session: KeyRef,
}

/// Why the vault refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// No such key, or not of a kind that allows the operation.
    #[error("no such key, or it may not be used so")]
    NoKey,
    /// The store could not be read or written.
    #[error("the chip's store failed")]
    Store,
    /// No randomness to be had.
    #[error("the random number generator failed")]
    Random,
    /// Limits of the vault reached (transient keys, record sizes).
    #[error("the vault is full")]
    Full,
}

/// Keys by reference, randomness, and records that survive.
pub trait Vault {
    /// Fills `out` with unpredictable bytes.
    ///
    /// # Errors
    /// [`VaultError::Random`]; `out` must then not be used.
    fn random(&mut self, out: &mut [u8]) -> Result<(), VaultError>;

    /// The applet's personalised key in this slot; [`VaultError::NoKey`] when there is none.
    ///
    /// # Errors
    /// [`VaultError::NoKey`].
    fn key(&self, slot: Slot) -> Result<KeyRef, VaultError>;

    /// SP 800-108 (docs/protocol.md section 1): derives consecutive keys of `lengths` bytes each into `out`, as transient keys.
    ///
    /// # Errors
    /// [`VaultError::NoKey`] if the parent has not 16 or 32 bytes, [`VaultError::Full`].
    fn derive<const N: usize>(
        &mut self,
        parent: KeyRef,
        label: &[u8],
        context: &[&[u8]],
        lengths: [usize; N],
    ) -> Result<[KeyRef; N], VaultError>;

    /// Overwrites and frees a transient key. Unknown references are ignored.
    fn forget(&mut self, key: KeyRef);

    /// AES-CMAC over the concatenation of `data`.
    ///
    /// # Errors
    /// [`VaultError::NoKey`].
    fn cmac(&mut self, key: KeyRef, data: &[&[u8]]) -> Result<[u8; 16], VaultError>;

    /// CCM-16 of docs/protocol.md section 1: ciphertext || tag(16).
    ///
    /// # Errors
    /// [`VaultError::NoKey`].
    fn ccm_seal(&mut self, key: KeyRef, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError>;

    /// Opens what [`Vault::ccm_seal`] made; `None` when the tag is wrong. Constant time in the tag.
    ///
    /// # Errors
    /// [`VaultError::NoKey`].
    fn ccm_open(&mut self, key: KeyRef, aad: &[u8], sealed: &[u8]) -> Result<Option<Vec<u8>>, VaultError>;

    /// The list entry whose K_id gives `tag` = AES-CMAC(K_id, data).
    ///
    /// # Errors
    /// [`VaultError::Store`].
    fn find_peer(&mut self, data: &[u8], tag: &[u8; 16]) -> Result<Option<Peer>, VaultError>;

    /// The test subscriber (profile U) with this IMSI (decimal digits).
    ///
    /// # Errors
    /// [`VaultError::Store`].
    fn find_subscriber(&mut self, imsi: &str) -> Result<Option<(Peer, KeyRef, Algorithm)>, VaultError>;

    /// A key of a list entry.
    ///
    /// # Errors
    /// [`VaultError::NoKey`] when the entry has none of this kind.
    fn peer_key(&mut self, peer: &Peer, which: PeerKey) -> Result<KeyRef, VaultError>;

    /// Home side: AUTN, XRES and session keys for RAND and SQN.
    ///
    /// # Errors
    /// [`VaultError::NoKey`] if the key does not fit the algorithm.
    fn aka_vector(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand, sqn: Sqn) -> Result<Vector, VaultError>;

    /// USIM side: verifies AUTN's MAC and gives SQN, RES and session keys; `None` when the MAC is wrong.
    ///
    /// # Errors
    /// As [`Vault::aka_vector`].
    fn aka_open(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand, autn: &Autn) -> Result<Option<Opened>, VaultError>;

    /// USIM side: AUTS for RAND and SQN_MS.
    ///
    /// # Errors
    /// As [`Vault::aka_vector`].
    fn aka_auts(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand, sqn_ms: Sqn) -> Result<Auts, VaultError>;

    /// Home side: SQN_MS out of AUTS; `None` when MAC-S is wrong.
    ///
    /// # Errors
    /// As [`Vault::aka_vector`].
    fn aka_resynchronise(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand, auts: &Auts) -> Result<Option<Sqn>, VaultError>;

    /// USIM side, GSM context: SRES and Kc. Only for [`Slot::TestSubscriber`].
    ///
    /// # Errors
    /// [`VaultError::NoKey`] for every other key.
    fn aka_gsm(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand) -> Result<([u8; 4], [u8; 8]), VaultError>;

    /// CK || IK of a session that came from [`Slot::TestSubscriber`] (profile U sends them to the terminal).
    ///
    /// # Errors
    /// [`VaultError::NoKey`] for every other key.
    fn reveal_session(&mut self, session: KeyRef) -> Result<([u8; 16], [u8; 16]), VaultError>;

    /// A new P-256 key pair for one ECIES encryption: the private half by reference, the public half compressed.
    ///
    /// # Errors
    /// [`VaultError::Random`].
    fn ephemeral(&mut self) -> Result<(KeyRef, [u8; 33]), VaultError>;

    /// ECIES of TS 33.501 Annex C profile B to `recipient` (SEC1, 33 or 65 bytes) with a key from [`Vault::ephemeral`]: ciphertext || tag(8).
    ///
    /// # Errors
    /// [`VaultError::NoKey`] for a bad recipient point or another kind of key.
    fn ecies_seal(&mut self, ephemeral: KeyRef, recipient: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError>;

    /// ECDSA P-256 with SHA-256, r || s.
    ///
    /// # Errors
    /// [`VaultError::NoKey`].
    fn sign(&mut self, key: KeyRef, message: &[u8]) -> Result<[u8; 64], VaultError>;

    /// Reads one of the applet's records. At most 4,096 bytes.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    fn load(&mut self, record: &[u8]) -> Result<Option<Vec<u8>>, VaultError>;

    /// Writes one of the applet's records, durable before the current command is answered.
    ///
    /// # Errors
    /// [`VaultError::Store`], [`VaultError::Full`].
    fn store(&mut self, record: &[u8], value: &[u8]) -> Result<(), VaultError>;
}
