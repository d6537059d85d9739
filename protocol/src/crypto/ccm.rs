//! NIST SP 800-38C, RFC 3610: AES-128-CCM with a tag of 16 bytes and a nonce of 13, and CCM-16 of docs/protocol.md section 1.

use alloc::vec::Vec;

use ::ccm::Ccm;
use ::ccm::aead::AeadInOut;
use ::ccm::consts::{U13, U16};
use aes::Aes128Enc;
use aes::cipher::KeyInit;
use zeroize::Zeroize;

type Ccm16 = Ccm<Aes128Enc, U16, U13>;

/// The nonce of CCM-16. Constant, because every key used with it is derived for one message only.
const NONCE: [u8; 13] = [0; 13];

/// The length of the tag, in bytes.
const TAG: usize = 16;

/// The longest plaintext: the length field has 15 - 13 = 2 bytes.
const LONGEST: usize = 0xFFFF;

/// CCM-16: ciphertext || tag(16). **The key must never be used for a second message.**
///
/// A plaintext of more than 65,535 bytes, which CCM with this nonce cannot carry, gives an empty vector, which [`ccm_open`] refuses.
#[must_use]
pub fn ccm_seal(key: &[u8; 16], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    ccm_seal_with(key, &NONCE, aad, plain).unwrap_or_default()
}

/// Opens what [`ccm_seal`] made; `None` when the tag is wrong. Constant time in the tag.
#[must_use]
pub fn ccm_open(key: &[u8; 16], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    ccm_open_with(key, &NONCE, aad, sealed)
}

/// AES-128-CCM with a nonce of one's own: ciphertext || tag(16); `None` for more than 65,535 bytes.
#[must_use]
pub fn ccm_seal_with(key: &[u8; 16], nonce: &[u8; 13], aad: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() > LONGEST {
        return None;
    }
    let mut sealed = Vec::with_capacity(plain.len() + TAG);
    sealed.extend_from_slice(plain);
    let cipher = Ccm16::new(key.into());
    match cipher.encrypt_inout_detached(nonce.into(), aad, sealed.as_mut_slice().into()) {
        Ok(tag) => {
            sealed.extend_from_slice(&tag);
            Some(sealed)
        }
        Err(_) => {
            sealed.zeroize();
            None
        }
    }
}

/// Opens what [`ccm_seal_with`] made; `None` when the tag is wrong. Constant time in the tag.
#[must_use]
pub fn ccm_open_with(key: &[u8; 16], nonce: &[u8; 13], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG>()?;
    let mut plain = ciphertext.to_vec();
    let cipher = Ccm16::new(key.into());
    match cipher.decrypt_inout_detached(nonce.into(), aad, plain.as_mut_slice().into(), tag.into()) {
        Ok(()) => Some(plain),
        Err(_) => {
            // What a wrong tag would have deciphered to is nobody's business.
            plain.zeroize();
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits() {
        assert_eq!(ccm_open(&[0; 16], &[], &[]), None);
        assert_eq!(ccm_open(&[0; 16], &[], &[0; 15]), None);
        let longest = alloc::vec![7; LONGEST];
        let sealed = ccm_seal(&[1; 16], b"L", &longest);
        assert_eq!(ccm_open(&[1; 16], b"L", &sealed), Some(longest));
        let over = ccm_seal(&[1; 16], b"L", &alloc::vec![7; LONGEST + 1]);
        assert!(over.is_empty());
        assert_eq!(ccm_open(&[1; 16], b"L", &over), None);
        assert_eq!(ccm_open(&[1; 16], b"L", &alloc::vec![7; LONGEST + 1 + TAG]), None);
    }

    proptest! {
        #[test]
        fn there_and_back(key: [u8; 16], aad: Vec<u8>, plain: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let mut sealed = ccm_seal(&key, &aad, &plain);
            prop_assert_eq!(sealed.len(), plain.len() + TAG);
            prop_assert_eq!(ccm_open(&key, &aad, &sealed), Some(plain));
            let mut other = aad.clone();
            other.push(0);
            prop_assert_eq!(ccm_open(&key, &other, &sealed), None);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert_eq!(ccm_open(&key, &aad, &sealed), None);
        }
    }
}
