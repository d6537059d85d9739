//! AUTH0 and AUTH1, commands and answers.

use alloc::vec::Vec;

use super::fields::{self, Object, WireError};
use super::{Bitmap, KeySlot, PublicKey, ReaderIdentifier};
use crate::tlv::{self, Tag};

/// Most bytes of the vendor extension in the AUTH0 command.
const VENDOR_COMMAND: usize = 127;
/// Most bytes of the vendor extension in the AUTH0 answer.
const VENDOR_ANSWER: usize = 128;

/// What the reader asks in AUTH0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth0Command {
    /// Command parameters: bit 0 set for FAST. It goes into the salts as it is.
    pub parameters: u8,
    /// Authentication policy: 01 the user device's setting, 02 that and a secure action, 03 the user must be authenticated.
    pub policy: u8,
    /// Chosen version.
    pub version: u16,
    /// The reader's ephemeral key.
    pub ephemeral: PublicKey,
    /// Transaction identifier.
    pub transaction: [u8; 16],
    /// Which reader.
    pub reader: ReaderIdentifier,
    /// `B1` with tag and length, as it stands; empty without one.
    pub vendor: Vec<u8>,
}

impl Auth0Command {
    /// Whether a cryptogram is asked for.
    #[must_use]
    pub fn is_fast(&self) -> bool {
        self.parameters & 1 != 0
    }

    /// The command's data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(0x81 + self.vendor.len());
        tlv::write(&mut out, 0x41, &[self.parameters]);
        tlv::write(&mut out, 0x42, &[self.policy]);
        tlv::write(&mut out, 0x5C, &self.version.to_be_bytes());
        tlv::write(&mut out, 0x87, &self.ephemeral.0);
        tlv::write(&mut out, 0x4C, &self.transaction);
        tlv::write(&mut out, 0x4D, &self.reader.0);
        out.extend_from_slice(&self.vendor);
        out
    }

    /// Reads the command's data.
    ///
    /// # Errors
    /// [`WireError`], also for unknown parameters or policies and for a point that is not on the curve.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let [cp, ap, version, key, transaction, reader, vendor] = fields::scan(bytes, [0x41, 0x42, 0x5C, 0x87, 0x4C, 0x4D, 0xB1])?;
        let [parameters] = fields::exactly(0x41, cp)?;
        let [policy] = fields::exactly(0x42, ap)?;
        if parameters > 1 {
            return Err(WireError::Value { tag: Tag(0x41) });
        }
        if !(1..=3).contains(&policy) {
            return Err(WireError::Value { tag: Tag(0x42) });
        }
        Ok(Self {
            parameters,
            policy,
            version: u16::from_be_bytes(fields::exactly(0x5C, version)?),
            ephemeral: point(0x87, key)?,
            transaction: fields::exactly(0x4C, transaction)?,
            reader: ReaderIdentifier(fields::exactly(0x4D, reader)?),
            vendor: raw(fields::at_most(vendor, VENDOR_COMMAND)?),
        })
    }
}

/// What the user device answers to AUTH0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth0Response {
    /// The device's ephemeral key.
    pub ephemeral: PublicKey,
    /// The cryptogram, in FAST and only there.
    pub cryptogram: Option<[u8; 64]>,
    /// `B2` with tag and length, as it stands; empty without one.
    pub vendor: Vec<u8>,
}

impl Auth0Response {
    /// The answer's data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(136 + self.vendor.len());
        tlv::write(&mut out, 0x86, &self.ephemeral.0);
        if let Some(cryptogram) = &self.cryptogram {
            tlv::write(&mut out, 0x9D, cryptogram);
        }
        out.extend_from_slice(&self.vendor);
        out
    }

    /// Reads the answer's data; `fast` says whether there must be a cryptogram.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn parse(bytes: &[u8], fast: bool) -> Result<Self, WireError> {
        let [key, cryptogram, vendor] = fields::scan(bytes, [0x86, 0x9D, 0xB2])?;
        let cryptogram = match (fast, cryptogram) {
            (true, object) => Some(fields::exactly(0x9D, object)?),
            (false, None) => None,
            (false, Some(_)) => return Err(WireError::Unexpected { tag: Tag(0x9D) }),
        };
        Ok(Self {
            ephemeral: point(0x86, key)?,
            cryptogram,
            vendor: raw(fields::at_most(vendor, VENDOR_ANSWER)?),
        })
    }
}

/// How the device is to name its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// By its key slot.
    Slot,
    /// By its whole public key.
    PublicKey,
}

/// AUTH1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth1Command {
    /// How the credential is to be named.
    pub form: KeyForm,
    /// The reader's signature.
    pub signature: [u8; 64],
    /// A compressed certificate, where it was not loaded before.
    pub certificate: Option<Vec<u8>>,
}

impl Auth1Command {
    /// The command's data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(0x45 + self.certificate.as_ref().map_or(0, |c| c.len() + 4));
        tlv::write(&mut out, 0x41, &[u8::from(self.form == KeyForm::PublicKey)]);
        tlv::write(&mut out, 0x9E, &self.signature);
        if let Some(certificate) = &self.certificate {
            tlv::write(&mut out, 0x90, certificate);
        }
        out
    }

    /// Reads the command's data.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let [form, signature, certificate] = fields::scan(bytes, [0x41, 0x9E, 0x90])?;
        Ok(Self {
            form: match fields::exactly(0x41, form)? {
                [0] => KeyForm::Slot,
                [1] => KeyForm::PublicKey,
                _ => return Err(WireError::Value { tag: Tag(0x41) }),
            },
            signature: fields::exactly(0x9E, signature)?,
            certificate: certificate.map(|object| object.value.to_vec()),
        })
    }
}

/// By which the device named its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// Key slot, tag 4E.
    Slot(KeySlot),
    /// Public key, tag 5A.
    Key(PublicKey),
}

/// When the documents of a credential were signed: 20 characters as `2026-02-26T15:54:26Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// Of the access document, tag 91.
    pub credential: Option<[u8; 20]>,
    /// Of the revocation document, tag 92.
    pub revocation: Option<[u8; 20]>,
}

/// The plain text of the answer to AUTH1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth1Response {
    /// The credential.
    pub named: Named,
    /// The device's signature.
    pub signature: [u8; 64],
    /// Private data of the mailbox, tag 4B.
    pub private: Option<Vec<u8>>,
    /// What the device offers.
    pub bitmap: Bitmap,
    /// Of its documents.
    pub timestamps: Timestamps,
}

impl Auth1Response {
    /// The plain text.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192);
        match &self.named {
            Named::Slot(slot) => tlv::write(&mut out, 0x4E, &slot.0),
            Named::Key(key) => tlv::write(&mut out, 0x5A, &key.0),
        }
        tlv::write(&mut out, 0x9E, &self.signature);
        if let Some(private) = &self.private {
            tlv::write(&mut out, 0x4B, private);
        }
        tlv::write(&mut out, 0x5E, &self.bitmap.0.to_be_bytes());
        for (tag, time) in [(0x91, &self.timestamps.credential), (0x92, &self.timestamps.revocation)] {
            if let Some(time) = time {
                tlv::write(&mut out, tag, time);
            }
        }
        out
    }

    /// Reads the plain text; `form` is what was asked for, and nothing else is taken.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn parse(bytes: &[u8], form: KeyForm) -> Result<Self, WireError> {
        let [slot, key, signature, private, bitmap, first, second] = fields::scan(bytes, [0x4E, 0x5A, 0x9E, 0x4B, 0x5E, 0x91, 0x92])?;
        let named = match (form, slot, key) {
            (KeyForm::Slot, Some(_), Some(_)) => return Err(WireError::Unexpected { tag: Tag(0x5A) }),
            (KeyForm::PublicKey, Some(_), Some(_)) => return Err(WireError::Unexpected { tag: Tag(0x4E) }),
            (KeyForm::Slot, slot, _) => Named::Slot(KeySlot(fields::exactly(0x4E, slot)?)),
            (KeyForm::PublicKey, _, key) => Named::Key(point(0x5A, key)?),
        };
        let time = |tag, object: Option<Object<'_>>| object.map(|o| fields::exactly::<20>(tag, Some(o))).transpose();
        Ok(Self {
            named,
            signature: fields::exactly(0x9E, signature)?,
            private: private.map(|object| object.value.to_vec()),
            bitmap: Bitmap(u16::from_be_bytes(fields::exactly(0x5E, bitmap)?)),
            timestamps: Timestamps {
                credential: time(0x91, first)?,
                revocation: time(0x92, second)?,
            },
        })
    }
}

/// The 48 bytes in a cryptogram: `5E 02 bitmap 91 14 time 92 14 time`, times that are not there as zeros.
#[must_use]
pub fn cryptogram_text(bitmap: Bitmap, timestamps: &Timestamps) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    tlv::write(&mut out, 0x5E, &bitmap.0.to_be_bytes());
    tlv::write(&mut out, 0x91, &timestamps.credential.unwrap_or_default());
    tlv::write(&mut out, 0x92, &timestamps.revocation.unwrap_or_default());
    out
}

/// Reads what [`cryptogram_text`] makes.
///
/// # Errors
/// [`WireError`].
pub fn parse_cryptogram_text(bytes: &[u8]) -> Result<(Bitmap, Timestamps), WireError> {
    let [bitmap, first, second] = fields::scan(bytes, [0x5E, 0x91, 0x92])?;
    let time = |tag, object| fields::exactly::<20>(tag, object).map(|time| (time != [0; 20]).then_some(time));
    Ok((
        Bitmap(u16::from_be_bytes(fields::exactly(0x5E, bitmap)?)),
        Timestamps {
            credential: time(0x91, first)?,
            revocation: time(0x92, second)?,
        },
    ))
}

fn point(tag: u32, object: Option<Object<'_>>) -> Result<PublicKey, WireError> {
    let bytes: [u8; 65] = fields::exactly(tag, object)?;
    PublicKey::new(&bytes).ok_or(WireError::Value { tag: Tag(tag) })
}

fn raw(object: Option<Object<'_>>) -> Vec<u8> {
    object.map(|object| object.raw.to_vec()).unwrap_or_default()
}
