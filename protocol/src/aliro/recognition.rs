//! The fast phase's search: whose cryptogram is it? For vaults, which try every key that they remember.
//!
//! A try costs one derivation and one block of AES. Only where that block begins as every cryptogram does, GCM and its tag are worth their price;
//! the tag is what decides.

use alloc::vec::Vec;

use super::PublicKey;
use crate::crypto::{CommonSalt, equal, gcm_begins, gcm_open};
use zeroize::Zeroizing;

/// A cryptogram, and what its key is bound to besides the credential.
pub struct Recognition<'a> {
    /// All of the salt but the credential at its end.
    salt: CommonSalt<'a>,
    info: &'a [u8],
    cryptogram: &'a [u8; 64],
}

impl<'a> Recognition<'a> {
    /// `salt` is without the credential at its end.
    #[must_use]
    pub fn new(salt: &'a [u8], info: &'a [u8], cryptogram: &'a [u8; 64]) -> Self {
        Self {
            salt: CommonSalt::new(salt),
            info,
            cryptogram,
        }
    }

    /// What the cryptogram says, if it is one of this credential's.
    #[must_use]
    pub fn open(&self, kpersistent: &[u8; 32], credential: &PublicKey) -> Option<Vec<u8>> {
        let mut key = Zeroizing::new([0; 32]);
        self.salt.hkdf_sha256(kpersistent, credential.x(), &[self.info], key.as_mut_slice());
        let nonce = [0; 12];
        let begins = gcm_begins(&key, &nonce, self.cryptogram.first_chunk()?);
        // 5E 02 bitmap(2) 91 14, as `auth::cryptogram_text` makes it.
        if !equal(&[begins[0], begins[1], begins[4], begins[5]], &[0x5E, 0x02, 0x91, 0x14]) {
            return None;
        }
        gcm_open(&key, &nonce, self.cryptogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aliro::Bitmap;
    use crate::aliro::auth::{Timestamps, cryptogram_text};
    use crate::crypto::{gcm_seal, hkdf_sha256};

    #[test]
    fn only_the_right_key_opens_it_and_the_tag_decides() {
        let (salt, info) = ([5; 150], [6; 32]);
        let credential = PublicKey([4; 65]);
        let mut key = [0; 32];
        hkdf_sha256(&[9; 32], &[&salt, credential.x()], &[&info], &mut key);
        let text = cryptogram_text(Bitmap(0x1234), &Timestamps::default());
        let cryptogram: [u8; 64] = gcm_seal(&key, &[0; 12], &text).try_into().unwrap();
        let open = |cryptogram: &[u8; 64]| Recognition::new(&salt, &info, cryptogram).open(&[9; 32], &credential);
        assert_eq!(open(&cryptogram), Some(text));
        assert_eq!(Recognition::new(&salt, &info, &cryptogram).open(&[8; 32], &credential), None);
        assert_eq!(
            Recognition::new(&salt, &info, &cryptogram).open(&[9; 32], &PublicKey([5; 65])),
            None
        );
        assert_eq!(Recognition::new(&salt, &[7; 32], &cryptogram).open(&[9; 32], &credential), None);
        for at in 0..64 {
            let mut bent = cryptogram;
            bent[at] ^= 1;
            assert_eq!(open(&bent), None, "byte {at}");
        }
    }
}
