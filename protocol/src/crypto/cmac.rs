//! NIST SP 800-38B, RFC 4493: AES-CMAC.
//!
//! A lock finds a phone by computing one CMAC with the key of each list entry, so the time for *one key and one short message* is what
//! counts here. Everything therefore happens inside one closure that the AES backend runs: the key schedule stays in registers, the
//! subkey and the first block are enciphered side by side, and nothing is buffered that need not be.

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128Enc, Aes192Enc, Aes256Enc, Block};
use zeroize::{Zeroize, Zeroizing};

/// AES-CMAC over the concatenation of `data`; `None` unless the key has 16 or 32 bytes.
#[must_use]
pub fn cmac(key: &[u8], data: &[&[u8]]) -> Option<[u8; 16]> {
    match key.len() {
        16 | 32 => Prf::new(key).map(|prf| prf.mac(data.iter().copied())),
        _ => None,
    }
}

/// AES-128-CMAC over the concatenation of `data`.
#[must_use]
pub fn cmac128(key: &[u8; 16], data: &[&[u8]]) -> [u8; 16] {
    mac(&Aes128Enc::new(key.into()), data.iter().copied())
}

/// AES-CMAC with an expanded key of any of the three lengths. The schedule is overwritten on drop.
pub(crate) enum Prf {
    Aes128(Aes128Enc),
    Aes192(Aes192Enc),
    Aes256(Aes256Enc),
}

impl Prf {
    /// `None` unless the key has 16, 24 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Enc::new_from_slice(key).ok().map(Self::Aes128),
            24 => Aes192Enc::new_from_slice(key).ok().map(Self::Aes192),
            32 => Aes256Enc::new_from_slice(key).ok().map(Self::Aes256),
            _ => None,
        }
    }

    /// The MAC of the concatenation of `parts`.
    pub(crate) fn mac<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> [u8; 16] {
        match self {
            Self::Aes128(cipher) => mac(cipher, parts),
            Self::Aes192(cipher) => mac(cipher, parts),
            Self::Aes256(cipher) => mac(cipher, parts),
        }
    }
}

fn mac<'a, C>(cipher: &C, parts: impl Iterator<Item = &'a [u8]>) -> [u8; 16]
where
    C: BlockCipherEncrypt<BlockSize = U16>,
{
    let mut out = Block::default();
    cipher.encrypt_with_backend(Mac { parts, out: &mut out });
    out.into()
}

/// One whole computation, to be run where the backend's instructions are available.
struct Mac<'o, I> {
    parts: I,
    out: &'o mut Block,
}

impl<I> BlockSizeUser for Mac<'_, I> {
    type BlockSize = U16;
}

impl<'a, I: Iterator<Item = &'a [u8]>> BlockCipherEncClosure for Mac<'_, I> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut subkey = Block::default();
        backend.encrypt_block((&mut subkey).into());

        // `chain` is the CBC state, `block` the block being filled; the last block is never enciphered before the end is known.
        let mut chain = 0u128;
        let mut block = [0u8; 16];
        let mut used = 0;
        for part in self.parts {
            let mut rest = part;
            while !rest.is_empty() {
                if used == block.len() {
                    let mut state = Block::from((chain ^ u128::from_be_bytes(block)).to_be_bytes());
                    backend.encrypt_block((&mut state).into());
                    chain = u128::from_be_bytes(state.into());
                    block = [0; 16];
                    used = 0;
                }
                let (now, later) = rest.split_at(rest.len().min(block.len() - used));
                block[used..used + now.len()].copy_from_slice(now);
                used += now.len();
                rest = later;
            }
        }

        let mut mask = double(u128::from_be_bytes(subkey.into()));
        if let Some(padding) = block.get_mut(used) {
            *padding = 0x80;
            mask = double(mask);
        }
        *self.out = (chain ^ u128::from_be_bytes(block) ^ mask).to_be_bytes().into();
        backend.encrypt_block(self.out.into());

        subkey.as_mut_slice().zeroize();
        drop(Zeroizing::new(mask));
    }
}

/// Multiplication by x in GF(2^128), without a branch on the secret.
#[inline(always)]
fn double(value: u128) -> u128 {
    (value << 1) ^ ((value >> 127) * 0x87)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::cmac::Mac as _;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        /// Against the `cmac` crate, with the message cut anywhere.
        #[test]
        fn as_the_cmac_crate(key: [u8; 32], data: Vec<u8>, cut in 0usize..100, second in 0usize..100) {
            let (a, rest) = data.split_at(cut.min(data.len()));
            let (b, c) = rest.split_at(second.min(rest.len()));
            let parts = [a, &[], b, c];
            let short: [u8; 16] = core::array::from_fn(|i| key[i]);

            let expected: [u8; 16] = ::cmac::Cmac::<aes::Aes128>::new(&short.into()).chain_update(&data).finalize().into_bytes().into();
            prop_assert_eq!(cmac128(&short, &parts), expected);
            prop_assert_eq!(cmac(&short, &parts), Some(expected));

            let expected: [u8; 16] = ::cmac::Cmac::<aes::Aes192>::new_from_slice(&key[..24]).unwrap().chain_update(&data).finalize().into_bytes().into();
            prop_assert_eq!(Prf::new(&key[..24]).map(|p| p.mac(parts.into_iter())), Some(expected));
            prop_assert_eq!(cmac(&key[..24], &parts), None);

            let expected: [u8; 16] = ::cmac::Cmac::<aes::Aes256>::new(&key.into()).chain_update(&data).finalize().into_bytes().into();
            prop_assert_eq!(cmac(&key, &parts), Some(expected));
        }
    }
}
