//! What both sides of a recorded transaction said, and the keys that follow from it.
//!
//! The formulas are written here a second time, on plain keys, so that a fault in the reader's own code does not hide itself:
//!
//! ```text
//! salt(word, extra) = X(group key) || word || reader id || 5E || 5C 02 version || X(reader ephemeral) || transaction || cp || ap || A5 || extra
//! info              = X(device ephemeral) || [B1 of AUTH0] || [B2 of its answer]
//! signed(usage)     = 4D 20 reader id || 86 20 X(device ephemeral) || 87 20 X(reader ephemeral) || 4C 10 transaction || 93 04 usage
//! ```

use tapdoor_protocol::aliro::{Auth0Command, Auth0Response, PublicKey};
use tapdoor_protocol::crypto::{gcm_open, hkdf_sha256};
use zeroize::Zeroizing;

/// AUTH0 and its answer, as far as keys depend on them.
#[derive(Clone, Debug)]
pub(super) struct Transcript {
    pub(super) group_key: PublicKey,
    pub(super) a5: Vec<u8>,
    pub(super) auth0: Auth0Command,
    pub(super) answer: Auth0Response,
}

impl Transcript {
    fn keys<const N: usize>(&self, ikm: &[u8; 32], word: &[u8; 12], extra: &[u8]) -> Zeroizing<[[u8; 32]; N]> {
        let auth0 = &self.auth0;
        let (version, flags) = (auth0.version.to_be_bytes(), [auth0.parameters, auth0.policy]);
        let salt: [&[u8]; 10] = [
            self.group_key.x(),
            word,
            &auth0.reader.0,
            &[0x5E, 0x5C, 0x02],
            &version,
            auth0.ephemeral.x(),
            &auth0.transaction,
            &flags,
            &self.a5,
            extra,
        ];
        let info: [&[u8]; 3] = [self.answer.ephemeral.x(), &auth0.vendor, &self.answer.vendor];
        let mut out = Zeroizing::new([[0; 32]; N]);
        hkdf_sha256(ikm, &salt, &info, out.as_flattened_mut());
        out
    }

    /// What is in the cryptogram, and the channel, if this is the Kpersistent.
    pub(super) fn fast(&self, persistent: &[u8; 32], credential: &PublicKey) -> Option<(Vec<u8>, Channel)> {
        let cryptogram = self.answer.cryptogram.as_ref()?;
        let keys = self.keys::<3>(persistent, b"VolatileFast", credential.x());
        let text = gcm_open(&keys[0], &[0; 12], cryptogram)?;
        Some((text, Channel::new(&keys[1], &keys[2])))
    }

    /// The channel of the standard phase.
    pub(super) fn standard(&self, kdh: &[u8; 32]) -> Channel {
        let keys = self.keys::<2>(kdh, b"Volatile****", &[]);
        Channel::new(&keys[0], &keys[1])
    }

    /// Kpersistent.
    pub(super) fn persistent(&self, kdh: &[u8; 32], credential: &PublicKey) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.keys::<1>(kdh, b"Persistent**", credential.x())[0])
    }

    /// What a side signs.
    pub(super) fn signed(&self, usage: [u8; 4]) -> Vec<u8> {
        let parts: [&[u8]; 10] = [
            &[0x4D, 0x20],
            &self.auth0.reader.0,
            &[0x86, 0x20],
            self.answer.ephemeral.x(),
            &[0x87, 0x20],
            self.auth0.ephemeral.x(),
            &[0x4C, 0x10],
            &self.auth0.transaction,
            &[0x93, 0x04],
            &usage,
        ];
        parts.concat()
    }
}

/// ExpeditedSKReader and ExpeditedSKDevice with their counters.
pub(super) struct Channel {
    keys: Zeroizing<[[u8; 32]; 2]>,
    counters: [u32; 2],
}

impl Channel {
    fn new(reader: &[u8; 32], device: &[u8; 32]) -> Self {
        Self {
            keys: Zeroizing::new([*reader, *device]),
            counters: [1, 1],
        }
    }

    /// The next message of a side. The counter goes up in any case.
    pub(super) fn open(&mut self, from_device: bool, sealed: &[u8]) -> Option<Vec<u8>> {
        let side = usize::from(from_device);
        let mut nonce = [0; 12];
        nonce[7] = u8::from(from_device);
        nonce[8..].copy_from_slice(&self.counters[side].to_be_bytes());
        self.counters[side] = self.counters[side].saturating_add(1);
        gcm_open(&self.keys[side], &nonce, sealed)
    }
}
