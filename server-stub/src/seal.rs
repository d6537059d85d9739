//! Keys of chips at rest: AES-128-CCM under a key of the configuration, bound to the chip they belong to (NIST SP 800-38C).
//!
//! The file of the store alone therefore gives no key of any chip. The nonce is random, 13 bytes: with fewer than 2^32 sealings a collision is
//! less likely than 2^-40.

use std::fmt;

use tapdoor_protocol::crypto;
use zeroize::Zeroizing;

use crate::registry::ChipRef;

/// A chip's SCP03 key set.
#[derive(Clone)]
pub struct ChipKeys {
    /// Key version number, 30 to 3F.
    pub kvn: u8,
    /// K-ENC, 16, 24 or 32 bytes.
    pub enc: Zeroizing<Vec<u8>>,
    /// K-MAC, as long.
    pub mac: Zeroizing<Vec<u8>>,
    /// K-DEK, as long.
    pub dek: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ChipKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChipKeys(kvn {:02x})", self.kvn)
    }
}

/// A key set nobody can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// A key version number outside 30 to 3F.
    #[error("the key version number of an SCP03 key set is 30 to 3f (48 to 63)")]
    Version,
    /// A key of the wrong length.
    #[error("the three keys of an SCP03 key set have 16, 24 or 32 bytes each, all the same")]
    Length,
}

impl ChipKeys {
    /// A key set, checked.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn new(kvn: u8, enc: Vec<u8>, mac: Vec<u8>, dek: Vec<u8>) -> Result<Self, KeySetError> {
        let keys = Self {
            kvn,
            enc: enc.into(),
            mac: mac.into(),
            dek: dek.into(),
        };
        if !(0x30..=0x3F).contains(&kvn) {
            return Err(KeySetError::Version);
        }
        let length = keys.enc.len();
        if !matches!(length, 16 | 24 | 32) || keys.mac.len() != length || keys.dek.len() != length {
            return Err(KeySetError::Length);
        }
        Ok(keys)
    }
}

/// A key set as the store keeps it: nonce(13) || ciphertext || tag(16).
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKeys(pub Vec<u8>);

impl fmt::Debug for SealedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedKeys(..)")
    }
}

/// Seals and opens.
#[derive(Clone)]
pub struct Sealer(Zeroizing<[u8; 16]>);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

const NONCE: usize = 13;

impl Sealer {
    /// From the store key (16 or 32 bytes; another length is refused with `None`).
    #[must_use]
    pub fn new(store_key: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; 16]);
        crypto::kdf_ctr(store_key, b"STORE", &[], key.as_mut_slice()).ok()?;
        Some(Self(key))
    }

    fn bound_to(chip: ChipRef) -> [u8; 9] {
        let mut aad = [chip.number(); 9];
        if let Some(place) = aad.get_mut(1..) {
            place.copy_from_slice(&chip.id());
        }
        aad
    }

    /// Seals the keys of a chip. `None` if the machine gives no random numbers.
    #[must_use]
    pub fn seal(&self, chip: ChipRef, keys: &ChipKeys) -> Option<SealedKeys> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).ok()?;
        let plain: Zeroizing<Vec<u8>> =
            Zeroizing::new([&[keys.kvn][..], keys.enc.as_slice(), keys.mac.as_slice(), keys.dek.as_slice()].concat());
        let sealed = crypto::ccm_seal_with(&self.0, &nonce, &Self::bound_to(chip), &plain)?;
        Some(SealedKeys([&nonce[..], &sealed].concat()))
    }

    /// Opens them again; `None` under another store key, for another chip, or when they were changed.
    #[must_use]
    pub fn open(&self, chip: ChipRef, sealed: &SealedKeys) -> Option<ChipKeys> {
        let (nonce, sealed) = sealed.0.split_first_chunk::<NONCE>()?;
        let plain = Zeroizing::new(crypto::ccm_open_with(&self.0, nonce, &Self::bound_to(chip), sealed)?);
        let (kvn, keys) = plain.split_first()?;
        let length = keys.len() / 3;
        let (enc, rest) = keys.split_at_checked(length)?;
        let (mac, dek) = rest.split_at_checked(length)?;
        ChipKeys::new(*kvn, enc.to_vec(), mac.to_vec(), dek.to_vec()).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tapdoor_protocol::ids::{LockId, PhoneId};

    #[test]
    fn sealed_keys_belong_to_one_chip_and_one_store_key() {
        let keys = ChipKeys::new(0x30, vec![1; 16], vec![2; 16], vec![3; 16]).unwrap();
        let (sealer, other) = (Sealer::new(&[7; 32]).unwrap(), Sealer::new(&[8; 32]).unwrap());
        let chip = ChipRef::Phone(PhoneId([5; 8]));
        let sealed = sealer.seal(chip, &keys).unwrap();
        let opened = sealer.open(chip, &sealed).unwrap();
        assert_eq!(
            (opened.kvn, &opened.enc[..], &opened.mac[..], &opened.dek[..]),
            (0x30, &[1; 16][..], &[2; 16][..], &[3; 16][..])
        );
        assert!(other.open(chip, &sealed).is_none());
        assert!(sealer.open(ChipRef::Lock(LockId([5; 8])), &sealed).is_none());
        assert!(sealer.open(ChipRef::Phone(PhoneId([6; 8])), &sealed).is_none());
        let mut bent = sealed.clone();
        bent.0[20] ^= 1;
        assert!(sealer.open(chip, &bent).is_none());
        assert!(sealer.open(chip, &SealedKeys(vec![1; 5])).is_none());
        assert!(Sealer::new(&[1; 5]).is_none());
    }

    #[test]
    fn key_sets_are_checked() {
        assert_eq!(
            ChipKeys::new(0x20, vec![1; 16], vec![2; 16], vec![3; 16]).unwrap_err(),
            KeySetError::Version
        );
        assert_eq!(
            ChipKeys::new(0x30, vec![1; 16], vec![2; 24], vec![3; 16]).unwrap_err(),
            KeySetError::Length
        );
        assert_eq!(
            ChipKeys::new(0x30, vec![1; 5], vec![2; 5], vec![3; 5]).unwrap_err(),
            KeySetError::Length
        );
    }
}
