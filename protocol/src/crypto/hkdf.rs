//! RFC 5869: HKDF with HMAC-SHA-256. Salt and info are given in parts, so that what several derivations share is never copied together.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// The longest output: 255 blocks of 32 bytes.
const LONGEST: usize = 255 * 32;
/// A block of SHA-256.
const BLOCK: usize = 64;

/// Fills `out` (at most 8,160 bytes) from `ikm`, the concatenation of `salt` and that of `info`. Longer outputs are left as they are beyond that.
pub fn hkdf_sha256(ikm: &[u8], salt: &[&[u8]], info: &[&[u8]], out: &mut [u8]) {
    expand(&extract(ikm, salt), info, out);
}

/// The beginning that many salts have in common: it is hashed once for all of them.
pub struct CommonSalt<'a> {
    bytes: &'a [u8],
    hash: Sha256,
}

impl<'a> CommonSalt<'a> {
    /// The salts that begin with these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            hash: Sha256::new_with_prefix(bytes),
        }
    }

    /// [`hkdf_sha256`] with the salt that ends in `end`.
    pub fn hkdf_sha256(&self, ikm: &[u8], end: &[u8], info: &[&[u8]], out: &mut [u8]) {
        // HMAC hashes keys that are longer than a block, and no others.
        let prk = if self.bytes.len() + end.len() > BLOCK {
            mac(&self.hash.clone().chain_update(end).finalize(), ikm)
        } else {
            extract(ikm, &[self.bytes, end])
        };
        expand(&prk, info, out);
    }
}

fn expand(prk: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    let mut previous = Zeroizing::new([0; 32]);
    let length = out.len().min(LONGEST);
    let chunks = out.get_mut(..length).unwrap_or_default().chunks_mut(32);
    for (counter, chunk) in (1u8..=255).zip(chunks) {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(prk) else {
            return;
        };
        if counter > 1 {
            mac.update(&*previous);
        }
        info.iter().for_each(|part| mac.update(part));
        mac.update(&[counter]);
        let mut block: [u8; 32] = mac.finalize().into_bytes().into();
        *previous = block;
        chunk.copy_from_slice(block.get(..chunk.len()).unwrap_or_default());
        block.zeroize();
    }
}

/// The pseudo-random key: HMAC(salt, ikm).
fn extract(ikm: &[u8], salt: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut key = [0u8; BLOCK];
    let mut length = 0;
    let total: usize = salt.iter().map(|part| part.len()).sum();
    if total > key.len() {
        let mut hash = Sha256::new();
        salt.iter().for_each(|part| hash.update(part));
        key[..32].copy_from_slice(&hash.finalize());
        length = 32;
    } else {
        for part in salt {
            let end = length + part.len();
            if let Some(place) = key.get_mut(length..end) {
                place.copy_from_slice(part);
                length = end;
            }
        }
    }
    // HMAC takes keys of every length; shorter ones than a block are filled up with zeros.
    mac(key.get(..length).unwrap_or_default(), ikm)
}

fn mac(key: &[u8], ikm: &[u8]) -> Zeroizing<[u8; 32]> {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => Zeroizing::new(mac.chain_update(ikm).finalize().into_bytes().into()),
        Err(_) => Zeroizing::new([0; 32]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn hex(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    /// RFC 5869 A.1, A.2 and A.3.
    #[test]
    fn published() {
        let mut out = vec![0; 42];
        hkdf_sha256(
            &[0x0B; 22],
            &[&hex("000102030405060708090a0b0c")],
            &[&hex("f0f1f2f3f4f5f6f7f8f9")],
            &mut out,
        );
        let first = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
        assert_eq!(hex::encode(&out), first);
        let bytes: Vec<u8> = (0..=255).collect();
        let mut out = vec![0; 82];
        // In parts: they are one string.
        hkdf_sha256(
            &bytes[..0x50],
            &[&bytes[0x60..0x70], &bytes[0x70..0xB0]],
            &[&bytes[0xB0..0xB1], &bytes[0xB1..]],
            &mut out,
        );
        assert_eq!(
            hex::encode(&out),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        );
        let mut out = vec![0; 42];
        hkdf_sha256(&[0x0B; 22], &[], &[], &mut out);
        assert_eq!(
            hex::encode(&out),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
        );
    }

    #[test]
    fn a_common_beginning_of_salts_changes_nothing() {
        for (length, end) in [(0, 0), (0, 100), (10, 20), (32, 32), (32, 33), (64, 0), (65, 0), (160, 32)] {
            let (salt, end) = (vec![7; length], vec![8; end]);
            let (mut whole, mut parts) = ([0; 70], [0; 70]);
            hkdf_sha256(b"key", &[&salt, &end], &[b"info"], &mut whole);
            CommonSalt::new(&salt).hkdf_sha256(b"key", &end, &[b"info"], &mut parts);
            assert_eq!(whole, parts, "{length} and {}", end.len());
        }
    }

    #[test]
    fn a_shorter_output_is_the_beginning_of_a_longer_one() {
        for length in [0usize, 1, 31, 32, 33, 160, 8160] {
            let mut long = vec![0; 8160];
            hkdf_sha256(b"key", &[b"salt"], &[b"info"], &mut long);
            let mut out = vec![0; length];
            hkdf_sha256(b"key", &[b"salt"], &[b"info"], &mut out);
            assert_eq!(out, long[..length]);
        }
    }
}
