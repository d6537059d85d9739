//! AES-CBC and AES-CMAC with a key of any of the three lengths (NIST SP 800-38A 6.2, 800-38B), and padding method 2 of ISO/IEC 9797-1.

use alloc::vec::Vec;

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256, Block};
use zeroize::Zeroize;

/// An AES key in its expanded form, which is overwritten on drop.
pub(super) enum Aes {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

impl Aes {
    /// `None` unless the key has 16, 24 or 32 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(Self::Aes128),
            24 => Aes192::new_from_slice(key).ok().map(Self::Aes192),
            32 => Aes256::new_from_slice(key).ok().map(Self::Aes256),
            _ => None,
        }
    }

    /// Enciphers one block.
    pub(super) fn block(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = Block::from(block);
        match self {
            Self::Aes128(cipher) => cipher.encrypt_block(&mut block),
            Self::Aes192(cipher) => cipher.encrypt_block(&mut block),
            Self::Aes256(cipher) => cipher.encrypt_block(&mut block),
        }
        block.into()
    }

    fn block_back(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = Block::from(block);
        match self {
            Self::Aes128(cipher) => cipher.decrypt_block(&mut block),
            Self::Aes192(cipher) => cipher.decrypt_block(&mut block),
            Self::Aes256(cipher) => cipher.decrypt_block(&mut block),
        }
        block.into()
    }

    /// CBC in place. Bytes beyond the last whole block are left as they are: callers pad first.
    pub(super) fn cbc_encrypt(&self, iv: [u8; 16], data: &mut [u8]) {
        let mut chain = u128::from_be_bytes(iv);
        for block in data.as_chunks_mut::<16>().0 {
            *block = self.block((u128::from_be_bytes(*block) ^ chain).to_be_bytes());
            chain = u128::from_be_bytes(*block);
        }
    }

    /// CBC in place, the inverse of [`cbc_encrypt`](Self::cbc_encrypt).
    pub(super) fn cbc_decrypt(&self, iv: [u8; 16], data: &mut [u8]) {
        let mut chain = u128::from_be_bytes(iv);
        for block in data.as_chunks_mut::<16>().0 {
            let next = u128::from_be_bytes(*block);
            *block = (u128::from_be_bytes(self.block_back(*block)) ^ chain).to_be_bytes();
            chain = next;
        }
    }
}

/// Appends 80 and as many 00 as make whole blocks; there is always at least the 80.
pub(super) fn pad(data: &mut Vec<u8>) {
    data.push(0x80);
    data.resize(data.len().next_multiple_of(16), 0);
}

/// Takes the padding off; false if there is none, and then `data` is emptied.
#[must_use]
pub(super) fn unpad(data: &mut Vec<u8>) -> bool {
    // At most one block of padding is looked at, so that a long field of zeros costs no more than a short one.
    let floor = data.len().saturating_sub(16);
    let end = data.iter().rposition(|byte| *byte != 0);
    match end {
        Some(end) if end >= floor && data.get(end) == Some(&0x80) => {
            data.truncate(end);
            true
        }
        _ => {
            data.zeroize();
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    /// NIST SP 800-38A F.2.1, F.2.3 and F.2.5: the first two blocks of CBC.
    #[test]
    fn cbc_sp800_38a() {
        let iv = core::array::from_fn(|i| i as u8);
        let plain = hex::decode("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51").unwrap();
        for (key, cipher) in [
            (
                "2b7e151628aed2a6abf7158809cf4f3c",
                "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2",
            ),
            (
                "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
                "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a",
            ),
            (
                "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
                "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d",
            ),
        ] {
            let aes = Aes::new(&hex::decode(key).unwrap()).unwrap();
            let mut data = plain.clone();
            aes.cbc_encrypt(iv, &mut data);
            assert_eq!(hex::encode(&data), cipher);
            aes.cbc_decrypt(iv, &mut data);
            assert_eq!(data, plain);
        }
        assert!(Aes::new(&[0; 17]).is_none());
    }

    proptest! {
        #[test]
        fn padding_round_trip(data: Vec<u8>) {
            let mut padded = data.clone();
            pad(&mut padded);
            prop_assert!(padded.len().is_multiple_of(16) && padded.len() > data.len() && padded.len() <= data.len() + 16);
            prop_assert!(unpad(&mut padded));
            prop_assert_eq!(padded, data);
        }
    }

    #[test]
    fn no_padding() {
        for bad in [vec![], vec![0; 16], vec![1; 16], [&[0x80][..], &[0; 16]].concat()] {
            let mut data = bad.clone();
            assert!(!unpad(&mut data), "{bad:?}");
            assert!(data.is_empty());
        }
    }
}
