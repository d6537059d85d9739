//! NIST SP 800-108 in counter mode with AES-CMAC, and the ANSI X9.63 key derivation function with SHA-256.

use alloc::vec::Vec;
use core::iter;

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::cmac::Prf;

/// Why nothing was derived. The output is untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KdfError {
    /// The key has a length that AES, or the caller's formula, does not know.
    #[error("a key of this length cannot be used")]
    Key,
    /// The counter has to have 8, 16, 24 or 32 bits.
    #[error("the counter has to have 8, 16, 24 or 32 bits")]
    Counter,
    /// Nothing was asked for, or more than the counter or the length field can count.
    #[error("an output of this length cannot be derived")]
    Length,
    /// The counter's place lies beyond the fixed input.
    #[error("the counter's place lies beyond the fixed input")]
    Location,
}

/// Where the counter stands in the input of each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterLocation {
    /// Before the fixed input, as in docs/protocol.md section 1.
    BeforeFixed,
    /// After the fixed input.
    AfterFixed,
    /// After this many bytes of the fixed input.
    MiddleFixed(usize),
}

/// The KDF of docs/protocol.md section 1: fills `out` from `key` (16 or 32 bytes), a label and a context.
///
/// Block i, counted from 1 in one byte, is AES-CMAC(key, i || label || 00 || context || L), where L is the length of the whole of `out` in
/// bits, in two bytes. An output can therefore have 1 to 4,080 bytes.
///
/// # Errors
/// [`KdfError::Key`] unless the key has 16 or 32 bytes, [`KdfError::Length`] for an output that is empty or too long.
pub fn kdf_ctr(key: &[u8], label: &[u8], context: &[&[u8]], out: &mut [u8]) -> Result<(), KdfError> {
    if !matches!(key.len(), 16 | 32) {
        return Err(KdfError::Key);
    }
    let bits = out.len().checked_mul(8).ok_or(KdfError::Length)?;
    let length = u16::try_from(bits).map_err(|_| KdfError::Length)?.to_be_bytes();
    let mut fixed = Vec::with_capacity(context.len() + 3);
    fixed.extend_from_slice(&[label, &[0]]);
    fixed.extend_from_slice(context);
    fixed.push(&length);
    counter_mode(key, 8, &[], &fixed, out)
}

/// NIST SP 800-108 counter mode with AES-CMAC, the counter before the fixed input: fills `out` from `key` (16, 24 or 32 bytes) and the
/// concatenation of `fixed`, which the caller lays out.
///
/// # Errors
/// As [`sp800_108_counter_at`].
pub fn sp800_108_counter(key: &[u8], r_bits: u8, fixed: &[&[u8]], out: &mut [u8]) -> Result<(), KdfError> {
    sp800_108_counter_at(key, CounterLocation::BeforeFixed, r_bits, fixed, out)
}

/// NIST SP 800-108 counter mode with AES-CMAC, the counter of `r_bits` bits wherever it is wanted.
///
/// # Errors
/// [`KdfError::Key`] unless the key has 16, 24 or 32 bytes, [`KdfError::Counter`] unless the counter has 8, 16, 24 or 32 bits,
/// [`KdfError::Length`] for an output that is empty or longer than 2^r - 1 blocks, [`KdfError::Location`] for a place beyond the fixed input.
pub fn sp800_108_counter_at(key: &[u8], location: CounterLocation, r_bits: u8, fixed: &[&[u8]], out: &mut [u8]) -> Result<(), KdfError> {
    match location {
        CounterLocation::BeforeFixed => counter_mode(key, r_bits, &[], fixed, out),
        CounterLocation::AfterFixed => counter_mode(key, r_bits, fixed, &[], out),
        CounterLocation::MiddleFixed(at) => {
            let (before, after) = cut(fixed, at).ok_or(KdfError::Location)?;
            counter_mode(key, r_bits, &before, &after, out)
        }
    }
}

/// Cuts a concatenation in two after `at` bytes.
#[allow(clippy::type_complexity)]
fn cut<'a>(parts: &[&'a [u8]], mut at: usize) -> Option<(Vec<&'a [u8]>, Vec<&'a [u8]>)> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for part in parts {
        let (now, later) = part.split_at(at.min(part.len()));
        at -= now.len();
        before.push(now);
        after.push(later);
    }
    (at == 0).then_some((before, after))
}

fn counter_mode(key: &[u8], r_bits: u8, before: &[&[u8]], after: &[&[u8]], out: &mut [u8]) -> Result<(), KdfError> {
    let prf = Prf::new(key).ok_or(KdfError::Key)?;
    if !matches!(r_bits, 8 | 16 | 24 | 32) {
        return Err(KdfError::Counter);
    }
    let most = u32::MAX >> (32 - r_bits);
    let blocks = u32::try_from(out.len().div_ceil(16)).map_err(|_| KdfError::Length)?;
    if blocks == 0 || blocks > most {
        return Err(KdfError::Length);
    }
    for (i, chunk) in (1..=blocks).zip(out.chunks_mut(16)) {
        let counter = i.to_be_bytes();
        let counter = &counter[4 - usize::from(r_bits / 8)..];
        let parts = before.iter().copied().chain(iter::once(counter)).chain(after.iter().copied());
        let block = Zeroizing::new(prf.mac(parts));
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
    Ok(())
}

/// The ANSI X9.63 key derivation function with SHA-256: fills `out` from the shared secret `z`.
///
/// Block i, counted from 1 in four bytes, is SHA-256(z || i || shared information). The standard ends at 2^32 - 1 blocks, 128 GiB.
pub fn x963_sha256(z: &[u8], shared_info: &[u8], out: &mut [u8]) {
    let mut counter = 0u32;
    for chunk in out.chunks_mut(32) {
        counter = counter.wrapping_add(1);
        let mut block = Sha256::new()
            .chain_update(z)
            .chain_update(counter.to_be_bytes())
            .chain_update(shared_info)
            .finalize();
        chunk.copy_from_slice(&block[..chunk.len()]);
        block.as_mut_slice().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::cmac;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn limits() {
        let key = [1; 32];
        let mut out = vec![0; 4081];
        assert_eq!(kdf_ctr(&key[..16], b"PH", &[], &mut out[..4080]), Ok(()));
        out.fill(0);
        assert_eq!(kdf_ctr(&key[..16], b"PH", &[], &mut out), Err(KdfError::Length));
        assert_eq!(kdf_ctr(&key[..16], b"PH", &[], &mut []), Err(KdfError::Length));
        for length in (0..=32).filter(|l| ![16, 32].contains(l)) {
            assert_eq!(kdf_ctr(&key[..length], b"PH", &[], &mut out[..16]), Err(KdfError::Key));
        }
        for length in (0..=32).filter(|l| ![16, 24, 32].contains(l)) {
            assert_eq!(sp800_108_counter(&key[..length], 8, &[], &mut out[..16]), Err(KdfError::Key));
        }
        for bits in (0..=255).filter(|b| ![8, 16, 24, 32].contains(b)) {
            assert_eq!(sp800_108_counter(&key, bits, &[], &mut out), Err(KdfError::Counter));
        }
        assert_eq!(sp800_108_counter(&key, 8, &[], &mut out), Err(KdfError::Length));
        assert_eq!(
            sp800_108_counter_at(&key, CounterLocation::MiddleFixed(4), 8, &[b"ab", b"c"], &mut out[..16]),
            Err(KdfError::Location)
        );
        assert!(out.iter().all(|b| *b == 0), "an error leaves the output alone");
        assert_eq!(sp800_108_counter(&key, 16, &[], &mut out), Ok(()));
    }

    proptest! {
        /// Section 1's formula, written out.
        #[test]
        fn the_formula(key: [u8; 16], label: Vec<u8>, context: Vec<u8>, cut in 0usize..100, length in 1usize..200) {
            let (a, b) = context.split_at(cut.min(context.len()));
            let mut out = vec![0; length];
            prop_assert_eq!(kdf_ctr(&key, &label, &[a, b], &mut out), Ok(()));
            let bits = (length as u16 * 8).to_be_bytes();
            let mut expected = Vec::new();
            for i in 1..=length.div_ceil(16) as u8 {
                expected.extend(cmac(&key, &[&[i], &label, &[0], &context, &bits]).unwrap());
            }
            prop_assert_eq!(out, &expected[..length]);
        }

        /// The three places agree where they mean the same.
        #[test]
        fn the_places(key: [u8; 24], fixed: Vec<u8>, cut in 0usize..100) {
            let cut = cut.min(fixed.len());
            let (a, b) = fixed.split_at(cut);
            let at = |location, parts: &[&[u8]]| {
                let mut out = [0; 40];
                sp800_108_counter_at(&key, location, 16, parts, &mut out).map(|()| out)
            };
            prop_assert_eq!(at(CounterLocation::MiddleFixed(0), &[a, b]), at(CounterLocation::BeforeFixed, &[&fixed]));
            prop_assert_eq!(at(CounterLocation::MiddleFixed(fixed.len()), &[a, b]), at(CounterLocation::AfterFixed, &[&fixed]));
            prop_assert_eq!(at(CounterLocation::MiddleFixed(cut), &[a, b]), at(CounterLocation::MiddleFixed(cut), &[&fixed]));
        }
    }
}
