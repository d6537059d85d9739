//! Static keys, session keys, cryptograms and the card challenge (Amendment D 4.1.5, 6.2.1 to 6.2.3; NIST SP 800-108).

use alloc::vec::Vec;
use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::block::Aes;
use super::{Challenge, Mode, Scp03Error};
use crate::crypto::{self, Prf};

/// What is derived (Amendment D table 4-1): the last byte of the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Derivation {
    /// 00: the card cryptogram.
    CardCryptogram = 0x00,
    /// 01: the host cryptogram.
    HostCryptogram = 0x01,
    /// 02: the pseudo-random card challenge.
    CardChallenge = 0x02,
    /// 04: S-ENC.
    SessionEnc = 0x04,
    /// 06: S-MAC.
    SessionMac = 0x06,
    /// 07: S-RMAC.
    SessionRmac = 0x07,
}

/// The key derivation of Amendment D 4.1.5 for any derivation constant: fills `out` from `key` (16, 24 or 32 bytes).
///
/// Block i is AES-CMAC(key, 11 x 00 || constant || 00 || L || i || context), L the length of `out` in bits, in two bytes. SCP03 itself
/// uses the constants of [`Derivation`] only.
///
/// # Errors
/// [`Scp03Error::KeyLength`] for a key of another length, [`Scp03Error::Length`] for an output that is empty or above 255 blocks.
pub fn derive(key: &[u8], constant: u8, context: &[&[u8]], out: &mut [u8]) -> Result<(), Scp03Error> {
    if !matches!(key.len(), 16 | 24 | 32) {
        return Err(Scp03Error::KeyLength { length: key.len() });
    }
    let length = out.len();
    let bits = length.checked_mul(8).and_then(|bits| u16::try_from(bits).ok());
    let [high, low] = bits.ok_or(Scp03Error::Length { length })?.to_be_bytes();
    let mut label = [0; 15];
    label[11..].copy_from_slice(&[constant, 0, high, low]);
    // The counter stands after the label and the length, before the context.
    let fixed = [&[&label[..]], context].concat();
    crypto::sp800_108_counter_at(key, crypto::CounterLocation::MiddleFixed(label.len()), 8, &fixed, out)
        .map_err(|_| Scp03Error::Length { length })
}

/// The three static keys of a key set, 16, 24 or 32 bytes each and all of one length.
#[derive(Clone, Zeroize, ZeroizeOnDrop, Eq)]
pub struct Keys {
    enc: Vec<u8>,
    mac: Vec<u8>,
    dek: Vec<u8>,
}

impl Keys {
    /// A key set from Key-ENC (KID 1), Key-MAC (KID 2) and Key-DEK (KID 3).
    ///
    /// # Errors
    /// [`Scp03Error::KeyLength`] unless all three have the same length of 16, 24 or 32 bytes.
    pub fn new(enc: &[u8], mac: &[u8], dek: &[u8]) -> Result<Self, Scp03Error> {
        for key in [enc, mac, dek] {
            if !matches!(key.len(), 16 | 24 | 32) || key.len() != enc.len() {
                return Err(Scp03Error::KeyLength { length: key.len() });
            }
        }
        Ok(Self {
            enc: enc.to_vec(),
            mac: mac.to_vec(),
            dek: dek.to_vec(),
        })
    }

    /// A key set from 48, 72 or 96 bytes: Key-ENC, Key-MAC, Key-DEK one after another.
    ///
    /// # Errors
    /// [`Scp03Error::KeyLength`] for another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Scp03Error> {
        let length = bytes.len() / 3;
        if !matches!(bytes.len(), 48 | 72 | 96) {
            return Err(Scp03Error::KeyLength { length });
        }
        let (enc, rest) = bytes.split_at(length);
        let (mac, dek) = rest.split_at(length);
        Self::new(enc, mac, dek)
    }

    /// Key-ENC, Key-MAC, Key-DEK one after another, wiped when dropped: to store them or to hand them over.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(3 * self.key_length()));
        for key in self.in_order() {
            out.extend_from_slice(key);
        }
        out
    }

    /// Key-ENC, Key-MAC and Key-DEK, in the order of their key identifiers 1, 2, 3.
    #[must_use]
    pub fn in_order(&self) -> [&[u8]; 3] {
        [&self.enc, &self.mac, &self.dek]
    }

    /// How many bytes each key has: 16, 24 or 32.
    #[must_use]
    pub fn key_length(&self) -> usize {
        self.enc.len()
    }

    /// Enciphers sensitive data (keys in PUT KEY and STORE DATA) with Key-DEK: AES-CBC with a zero IV (Amendment D 6.2.8).
    ///
    /// # Errors
    /// [`Scp03Error::Blocks`] unless the data is a multiple of 16 bytes, not empty: pad it first as its receiver expects.
    pub fn dek_encrypt(&self, data: &[u8]) -> Result<Vec<u8>, Scp03Error> {
        let mut out = data.to_vec();
        self.dek(&out)?.cbc_encrypt([0; 16], &mut out);
        Ok(out)
    }

    /// Deciphers what [`dek_encrypt`](Self::dek_encrypt) enciphered. Nothing in the result tells a wrong key: compare check values.
    ///
    /// # Errors
    /// [`Scp03Error::Blocks`] unless the data is a multiple of 16 bytes, not empty.
    pub fn dek_decrypt(&self, data: &[u8]) -> Result<Zeroizing<Vec<u8>>, Scp03Error> {
        let mut out = Zeroizing::new(data.to_vec());
        self.dek(&out)?.cbc_decrypt([0; 16], &mut out);
        Ok(out)
    }

    fn dek(&self, data: &[u8]) -> Result<Aes, Scp03Error> {
        let length = data.len();
        if length == 0 || !length.is_multiple_of(16) {
            return Err(Scp03Error::Blocks { length });
        }
        Aes::new(&self.dek).ok_or(Scp03Error::KeyLength { length: self.dek.len() })
    }

    /// The card challenge that this key set gives for a sequence counter and a security domain (Amendment D 6.2.2.1).
    ///
    /// # Errors
    /// As [`derive()`]; not for keys that [`new`](Self::new) accepted.
    pub fn card_challenge(&self, mode: Mode, sequence: u32, aid: &[u8]) -> Result<Challenge, Scp03Error> {
        let [_, counter @ ..] = sequence.to_be_bytes();
        let mut out = [0; 16];
        let out = &mut out[..mode.length()];
        derive(&self.enc, Derivation::CardChallenge as u8, &[&counter, aid], out)?;
        Challenge::new(out).ok_or(Scp03Error::Length { length: out.len() })
    }
}

/// The key check value of an AES key: the first 3 bytes of AES(key, 16 x 01) (GPC Amendment D 7.2). `None` unless it has 16, 24 or 32 bytes.
#[must_use]
pub fn key_check_value(key: &[u8]) -> Option<[u8; 3]> {
    let [a, b, c, ..] = Aes::new(key)?.block([1; 16]);
    Some([a, b, c])
}

impl PartialEq for Keys {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        crypto::equal(&self.to_bytes(), &other.to_bytes())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys(3 x {} bytes, redacted)", self.key_length())
    }
}

/// What both ends derive from the two challenges. The key schedules are overwritten on drop.
pub(super) struct Session {
    pub(super) enc: Aes,
    pub(super) mac: Prf,
    pub(super) rmac: Prf,
    card_cryptogram: [u8; 16],
    host_cryptogram: [u8; 16],
    pub(super) mode: Mode,
}

impl Session {
    pub(super) fn new(keys: &Keys, host: &Challenge, card: &Challenge) -> Result<Self, Scp03Error> {
        let context = [host.as_bytes(), card.as_bytes()];
        let length = keys.key_length();
        let wrong = Scp03Error::KeyLength { length };
        let mut bytes = Zeroizing::new([0; 32]);
        let key = &mut bytes[..length];
        derive(&keys.enc, Derivation::SessionEnc as u8, &context, key)?;
        let enc = Aes::new(key).ok_or(wrong)?;
        derive(&keys.mac, Derivation::SessionRmac as u8, &context, key)?;
        let rmac = Prf::new(key).ok_or(wrong)?;
        derive(&keys.mac, Derivation::SessionMac as u8, &context, key)?;
        let mac = Prf::new(key).ok_or(wrong)?;
        let mode = host.mode();
        let mut cryptograms = [[0; 16]; 2];
        for (out, what) in cryptograms.iter_mut().zip([Derivation::CardCryptogram, Derivation::HostCryptogram]) {
            derive(key, what as u8, &context, &mut out[..mode.length()])?;
        }
        let [card_cryptogram, host_cryptogram] = cryptograms;
        Ok(Self {
            enc,
            mac,
            rmac,
            card_cryptogram,
            host_cryptogram,
            mode,
        })
    }

    /// A session of which only the session keys are known.
    #[cfg(test)]
    pub(super) fn from_session_keys(keys: &SessionKeys, mode: Mode) -> Option<Self> {
        Some(Self {
            enc: Aes::new(&keys.enc)?,
            mac: Prf::new(&keys.mac)?,
            rmac: Prf::new(&keys.rmac)?,
            card_cryptogram: [0; 16],
            host_cryptogram: [0; 16],
            mode,
        })
    }

    pub(super) fn card_cryptogram(&self) -> &[u8] {
        &self.card_cryptogram[..self.mode.length()]
    }

    pub(super) fn host_cryptogram(&self) -> &[u8] {
        &self.host_cryptogram[..self.mode.length()]
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(redacted)")
    }
}

/// The session keys themselves, for test vectors and for tools that show a recorded session.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionKeys {
    /// S-ENC.
    pub enc: Vec<u8>,
    /// S-MAC.
    pub mac: Vec<u8>,
    /// S-RMAC.
    pub rmac: Vec<u8>,
}

impl SessionKeys {
    /// S-ENC, S-MAC and S-RMAC (Amendment D 6.2.1).
    ///
    /// # Errors
    /// As [`derive()`]; not for keys that [`Keys::new`] accepted.
    pub fn derive(keys: &Keys, host: &Challenge, card: &Challenge) -> Result<Self, Scp03Error> {
        let context = [host.as_bytes(), card.as_bytes()];
        let one = |key: &[u8], what: Derivation| {
            let mut out = alloc::vec![0; keys.key_length()];
            derive(key, what as u8, &context, &mut out).map(|()| out)
        };
        Ok(Self {
            enc: one(&keys.enc, Derivation::SessionEnc)?,
            mac: one(&keys.mac, Derivation::SessionMac)?,
            rmac: one(&keys.mac, Derivation::SessionRmac)?,
        })
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys(redacted)")
    }
}
