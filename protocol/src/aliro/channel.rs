//! The secure channel: AES-256-GCM, a key and a counter for each direction.
//!
//! The nonce is the direction (8 bytes: 0 from the reader, 1 from the user device) and the counter (4 bytes), which starts at 1 and goes up with
//! every message, also with one that does not open. At FFFF the channel is used up.

use alloc::vec::Vec;

use super::schedule::SessionKeys;
use super::vault::AliroVault;
use crate::vault::{KeyRef, VaultError};

/// Messages of this number and later ones are not sent nor taken.
const LAST: u32 = 0xFFFF;

/// Which side of the channel we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The reader.
    Reader,
    /// The user device.
    Device,
}

/// Why a message did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The tag is wrong, or the counters are out of step.
    #[error("the message does not open: wrong key, changed bytes, or counters out of step")]
    Tag,
    /// FFFF messages have passed.
    #[error("the channel is used up")]
    UsedUp,
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// A secure channel.
#[derive(Debug)]
pub struct Channel {
    keys: SessionKeys,
    side: Side,
    sent: u32,
    received: u32,
}

fn nonce(from: Side, counter: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[7] = u8::from(from == Side::Device);
    nonce[8..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

impl Channel {
    /// A channel with new keys: both counters at 1.
    #[must_use]
    pub const fn new(side: Side, keys: SessionKeys) -> Self {
        Self {
            keys,
            side,
            sent: 1,
            received: 1,
        }
    }

    fn key(&self, from: Side) -> KeyRef {
        match from {
            Side::Reader => self.keys.reader,
            Side::Device => self.keys.device,
        }
    }

    fn other(&self) -> Side {
        match self.side {
            Side::Reader => Side::Device,
            Side::Device => Side::Reader,
        }
    }

    /// Enciphers the next message: ciphertext || tag.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn seal<V: AliroVault>(&mut self, vault: &mut V, plain: &[u8]) -> Result<Vec<u8>, ChannelError> {
        if self.sent >= LAST {
            return Err(ChannelError::UsedUp);
        }
        let sealed = vault.gcm_seal(self.key(self.side), &nonce(self.side, self.sent), plain)?;
        self.sent += 1;
        Ok(sealed)
    }

    /// Takes the message back that was sealed last. It must not have left the chip: the next one gets its number.
    pub const fn withdraw(&mut self) {
        self.sent = if self.sent > 1 { self.sent - 1 } else { 1 };
    }

    /// Opens the next message of the other side.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub fn open<V: AliroVault>(&mut self, vault: &mut V, sealed: &[u8]) -> Result<Vec<u8>, ChannelError> {
        if self.received >= LAST {
            return Err(ChannelError::UsedUp);
        }
        let from = self.other();
        let opened = vault.gcm_open(self.key(from), &nonce(from, self.received), sealed)?;
        self.received += 1;
        opened.ok_or(ChannelError::Tag)
    }

    /// The key from which the step-up phase derives its own, after AUTH1 only. This is its seam.
    #[must_use]
    pub const fn step_up(&self) -> Option<KeyRef> {
        self.keys.step_up
    }

    /// Wipes the keys.
    pub fn end<V: AliroVault>(self, vault: &mut V) {
        self.keys.forget(vault);
    }
}
