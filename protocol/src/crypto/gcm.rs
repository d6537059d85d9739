//! NIST SP 800-38D: AES-256-GCM with a nonce of 12 bytes, a tag of 16 and no associated data.

use alloc::vec::Vec;

use aes::Aes256Enc;
use aes::cipher::BlockCipherEncrypt;
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};

/// The length of the tag, in bytes.
const TAG: usize = 16;

/// Ciphertext || tag(16). **A key and a nonce must never meet twice.** Empty for a text that GCM cannot carry (64 GiB), which [`gcm_open`] refuses.
#[must_use]
pub fn gcm_seal(key: &[u8; 32], nonce: &[u8; 12], plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(plain.len().saturating_add(TAG));
    sealed.extend_from_slice(plain);
    let cipher = Aes256Gcm::new(key.into());
    match cipher.encrypt_inout_detached(nonce.into(), &[], sealed.as_mut_slice().into()) {
        Ok(tag) => {
            sealed.extend_from_slice(&tag);
            sealed
        }
        Err(_) => Vec::new(),
    }
}

/// Opens what [`gcm_seal`] made; `None` when the tag is wrong. Constant time in the tag.
#[must_use]
pub fn gcm_open(key: &[u8; 32], nonce: &[u8; 12], sealed: &[u8]) -> Option<Vec<u8>> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG>()?;
    let mut plain = ciphertext.to_vec();
    let cipher = Aes256Gcm::new(key.into());
    cipher
        .decrypt_inout_detached(nonce.into(), &[], plain.as_mut_slice().into(), tag.into())
        .ok()?;
    Some(plain)
}

/// The first block of plain text, unauthenticated: good for seeing that a key is not the right one, and for nothing else.
#[must_use]
pub(crate) fn gcm_begins(key: &[u8; 32], nonce: &[u8; 12], ciphertext: &[u8; 16]) -> [u8; 16] {
    // The tag has counter 1, the text begins with 2.
    let mut block = [0; 16];
    block[..12].copy_from_slice(nonce);
    block[15] = 2;
    let mut block = block.into();
    Aes256Enc::new(key.into()).encrypt_block(&mut block);
    core::array::from_fn(|at| block[at] ^ ciphertext[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Test cases 13, 14 and 15 of the GCM specification (McGrew and Viega), as in NIST's examples.
    #[test]
    fn published() {
        let nonce = [0; 12];
        assert_eq!(hex::encode(gcm_seal(&[0; 32], &nonce, &[])), "530f8afbc74536b9a963b4f1c4cb738b");
        assert_eq!(
            hex::encode(gcm_seal(&[0; 32], &nonce, &[0; 16])),
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
        );
        let key: [u8; 32] = hex::decode("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
            .unwrap()
            .try_into()
            .unwrap();
        let nonce: [u8; 12] = hex::decode("cafebabefacedbaddecaf888").unwrap().try_into().unwrap();
        let plain = hex::decode(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        )
        .unwrap();
        let sealed = gcm_seal(&key, &nonce, &plain);
        assert!(hex::encode(&sealed).starts_with("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c9"));
        assert!(hex::encode(&sealed).ends_with("b094dac5d93471bdec1a502270e3cc6c"));
        assert_eq!(gcm_open(&key, &nonce, &sealed), Some(plain));
    }

    proptest! {
        #[test]
        fn a_changed_bit_does_not_open(key: [u8; 32], nonce: [u8; 12], plain: Vec<u8>, bit in 0usize..4096) {
            let mut sealed = gcm_seal(&key, &nonce, &plain);
            if let (Some(block), Some(begins)) = (sealed[..plain.len()].first_chunk(), plain.first_chunk()) {
                prop_assert_eq!(&gcm_begins(&key, &nonce, block), begins);
            }
            prop_assert_eq!(gcm_open(&key, &nonce, &sealed), Some(plain));
            let at = bit % (sealed.len() * 8);
            sealed[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(gcm_open(&key, &nonce, &sealed), None);
        }

        #[test]
        fn never_panics(key: [u8; 32], nonce: [u8; 12], sealed: Vec<u8>) {
            let _ = gcm_open(&key, &nonce, &sealed);
        }
    }
}
