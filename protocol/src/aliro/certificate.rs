//! Compressed certificates, profile0000, and the X.509 certificates that they stand for.
//!
//! ```text
//! 30 { 04 02 0000  30 { [80 serial] [81 issuer] [82 notBefore] [83 notAfter] [84 subject] 85 42 00 || public key(65)  86 len 00 || DER signature } }
//! ```
//! A field that has its default is left out: serial 01, issuer "issuer", 200101000000Z, 490101000000Z, subject "subject". The signature is over the
//! X.509 TBSCertificate ([`Certificate::tbs`]), by the key of the reader group. Reading is strict DER: shortest lengths, nothing left over, fields in
//! their order and at most once, the key a point of the curve, r and s positive and in shortest form. A field that says its default is accepted.

use alloc::vec::Vec;

use super::PublicKey;
use crate::crypto::{sha1, sign};

/// Why bytes are no certificate of this profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not DER, or not the objects that the profile has.
    #[error("not DER of profile0000: {0}")]
    Structure(&'static str),
    /// A field with a value that it must not have.
    #[error("the certificate's {0} is none")]
    Field(&'static str),
}

/// The fields of a certificate besides key and signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFields {
    /// The content of an INTEGER, 1 to 20 bytes.
    pub serial: Vec<u8>,
    /// Common name of the issuer, 1 to 32 bytes of UTF-8.
    pub issuer: Vec<u8>,
    /// `YYMMDDhhmmssZ` (UTCTime) or `YYYYMMDDhhmmssZ` (GeneralizedTime).
    pub not_before: Vec<u8>,
    /// The same.
    pub not_after: Vec<u8>,
    /// Common name of the reader, 1 to 32 bytes of UTF-8.
    pub subject: Vec<u8>,
}

impl Default for CertificateFields {
    fn default() -> Self {
        let [serial, issuer, not_before, not_after, subject] = DEFAULTS.map(<[u8]>::to_vec);
        Self {
            serial,
            issuer,
            not_before,
            not_after,
            subject,
        }
    }
}

const DEFAULTS: [&[u8]; 5] = [&[1], b"issuer", b"200101000000Z", b"490101000000Z", b"subject"];
const NAMES: [&str; 5] = ["serial", "issuer", "notBefore", "notAfter", "subject"];

impl CertificateFields {
    fn all(&self) -> [&[u8]; 5] {
        [&self.serial, &self.issuer, &self.not_before, &self.not_after, &self.subject]
    }

    fn check(&self) -> Result<(), CertificateError> {
        let name = |name: &[u8]| (1..=32).contains(&name.len()) && core::str::from_utf8(name).is_ok();
        let good = [
            (1..=20).contains(&self.serial.len()),
            name(&self.issuer),
            is_time(&self.not_before),
            is_time(&self.not_after),
            name(&self.subject),
        ];
        match good.iter().zip(NAMES).find(|(good, _)| !**good) {
            Some((_, name)) => Err(CertificateError::Field(name)),
            None => Ok(()),
        }
    }
}

/// Digits and a Z, month and day and time within their bounds.
fn is_time(text: &[u8]) -> bool {
    let digits = match text.split_last() {
        Some((b'Z', digits)) if matches!(digits.len(), 12 | 14) && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return false,
    };
    let (_, rest) = digits.split_at(digits.len() - 10);
    let two = |at: usize| match rest.get(at..at + 2) {
        Some([a, b]) => (a - b'0') * 10 + (b - b'0'),
        _ => 255,
    };
    (1..=12).contains(&two(0)) && (1..=31).contains(&two(2)) && two(4) < 24 && two(6) < 60 && two(8) < 60
}

/// A certificate of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Serial, names and times.
    pub fields: CertificateFields,
    /// The reader's key.
    pub key: PublicKey,
    /// The issuer's signature, r || s.
    pub signature: [u8; 64],
}

impl Certificate {
    /// Makes a certificate: `sign` signs the TBSCertificate with the issuer's key.
    ///
    /// # Errors
    /// [`CertificateError::Field`] for fields that do not fit the profile, and "signature" when there is none.
    pub fn issue(
        fields: CertificateFields,
        key: PublicKey,
        issuer: &PublicKey,
        sign: impl FnOnce(&[u8]) -> Option<[u8; 64]>,
    ) -> Result<Self, CertificateError> {
        fields.check()?;
        let mut certificate = Self {
            fields,
            key,
            signature: [0; 64],
        };
        certificate.signature = sign(&certificate.tbs(issuer)).ok_or(CertificateError::Field("signature"))?;
        Ok(certificate)
    }

    /// Whether this issuer signed it.
    #[must_use]
    pub fn is_signed_by(&self, issuer: &PublicKey) -> bool {
        sign::verify(&issuer.0, &self.tbs(issuer), &self.signature)
    }

    /// Reads a compressed certificate. Never panics.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let (outer, rest) = der(bytes, 0x30).ok_or(CertificateError::Structure("the outer SEQUENCE"))?;
        empty(rest, "bytes after the certificate")?;
        let (profile, rest) = der(outer, 0x04).ok_or(CertificateError::Structure("the profile"))?;
        if profile != [0, 0] {
            return Err(CertificateError::Field("profile"));
        }
        let (mut body, rest) = der(rest, 0x30).ok_or(CertificateError::Structure("the inner SEQUENCE"))?;
        empty(rest, "bytes after the inner SEQUENCE")?;
        let mut values = DEFAULTS.map(<[u8]>::to_vec);
        for (tag, place) in (0x80u8..).zip(&mut values) {
            if body.first() == Some(&tag) {
                let (value, rest) = der(body, tag).ok_or(CertificateError::Structure("a field's length"))?;
                *place = value.to_vec();
                body = rest;
            }
        }
        let [serial, issuer, not_before, not_after, subject] = values;
        let fields = CertificateFields {
            serial,
            issuer,
            not_before,
            not_after,
            subject,
        };
        fields.check()?;
        let (key, rest) = der(body, 0x85).ok_or(CertificateError::Structure("the public key"))?;
        let (signature, rest) = der(rest, 0x86).ok_or(CertificateError::Structure("the signature"))?;
        empty(rest, "bytes after the signature")?;
        Ok(Self {
            fields,
            key: bit_string(key)
                .and_then(PublicKey::new)
                .ok_or(CertificateError::Field("public key"))?,
            signature: bit_string(signature)
                .and_then(read_signature)
                .ok_or(CertificateError::Field("signature"))?,
        })
    }

    /// The compressed certificate.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(300);
        for ((tag, value), default) in (0x80u8..).zip(self.fields.all()).zip(DEFAULTS) {
            if value != default {
                put(&mut body, tag, &[value]);
            }
        }
        put(&mut body, 0x85, &[&[0], &self.key.0]);
        put(&mut body, 0x86, &[&[0], &write_signature(&self.signature)]);
        let mut out = Vec::with_capacity(body.len() + 12);
        put(&mut out, 0x04, &[&[0, 0]]);
        put(&mut out, 0x30, &[&body]);
        one(0x30, &[&out])
    }

    /// The TBSCertificate that this issuer signs.
    #[must_use]
    pub fn tbs(&self, issuer: &PublicKey) -> Vec<u8> {
        self.tbs_with(&sha1(&issuer.0))
    }

    fn tbs_with(&self, key_identifier: &[u8; 20]) -> Vec<u8> {
        let fields = &self.fields;
        let name = |text: &[u8]| one(0x30, &[&one(0x31, &[&one(0x30, &[&COMMON_NAME, &one(0x0C, &[text])])])]);
        let time = |text: &[u8]| one(if text.len() == 13 { 0x17 } else { 0x18 }, &[text]);
        let extension = |id: &[u8], critical: bool, value: &[u8]| {
            let critical: &[u8] = if critical { &[0x01, 0x01, 0xFF] } else { &[] };
            one(0x30, &[id, critical, &one(0x04, &[value])])
        };
        let extensions = one(
            0x30,
            &[
                &extension(&AUTHORITY_KEY, false, &one(0x30, &[&one(0x80, &[key_identifier])])),
                &extension(&BASIC_CONSTRAINTS, true, &[0x30, 0x00]),
                &extension(&KEY_USAGE, true, &[0x03, 0x02, 0x07, 0x80]),
            ],
        );
        one(
            0x30,
            &[
                &[0xA0, 0x03, 0x02, 0x01, 0x02],
                &one(0x02, &[&fields.serial]),
                &ECDSA_SHA256,
                &name(&fields.issuer),
                &one(0x30, &[&time(&fields.not_before), &time(&fields.not_after)]),
                &name(&fields.subject),
                &one(0x30, &[&EC_KEY_P256, &one(0x03, &[&[0], &self.key.0])]),
                &one(0xA3, &[&extensions]),
            ],
        )
    }

    /// The X.509 certificate in DER.
    #[must_use]
    pub fn to_x509(&self, issuer: &PublicKey) -> Vec<u8> {
        let signature = write_signature(&self.signature);
        one(0x30, &[&self.tbs(issuer), &ECDSA_SHA256, &one(0x03, &[&[0], &signature])])
    }

    /// Reads an X.509 certificate that can be compressed without loss. Never panics.
    ///
    /// # Errors
    /// [`CertificateError`] for every other certificate.
    pub fn from_x509(bytes: &[u8]) -> Result<Self, CertificateError> {
        let structure = CertificateError::Structure;
        let (outer, rest) = der(bytes, 0x30).ok_or(structure("the outer SEQUENCE"))?;
        empty(rest, "bytes after the certificate")?;
        let (tbs, rest) = der(outer, 0x30).ok_or(structure("the TBSCertificate"))?;
        let signed = outer.get(..outer.len() - rest.len()).unwrap_or_default();
        let rest = rest.strip_prefix(&ECDSA_SHA256[..]).ok_or(structure("the signature algorithm"))?;
        let (signature, rest) = der(rest, 0x03).ok_or(structure("the signature"))?;
        empty(rest, "bytes after the signature")?;
        let rest = tbs.strip_prefix(&[0xA0, 0x03, 0x02, 0x01, 0x02]).ok_or(structure("the version"))?;
        let (serial, rest) = der(rest, 0x02).ok_or(structure("the serial"))?;
        let rest = rest.strip_prefix(&ECDSA_SHA256[..]).ok_or(structure("the signature algorithm"))?;
        let (issuer, rest) = common_name(rest).ok_or(structure("the issuer: one common name, UTF-8"))?;
        let (validity, rest) = der(rest, 0x30).ok_or(structure("the validity"))?;
        let (not_before, validity) = time(validity).ok_or(structure("notBefore"))?;
        let (not_after, validity) = time(validity).ok_or(structure("notAfter"))?;
        empty(validity, "bytes after notAfter")?;
        let (subject, rest) = common_name(rest).ok_or(structure("the subject: one common name, UTF-8"))?;
        let (key, rest) = der(rest, 0x30).ok_or(structure("the public key"))?;
        let key = key.strip_prefix(&EC_KEY_P256[..]).ok_or(structure("the public key's algorithm"))?;
        let (key, _) = der(key, 0x03).ok_or(structure("the public key"))?;
        let certificate = Self {
            fields: CertificateFields {
                serial: serial.to_vec(),
                issuer: issuer.to_vec(),
                not_before: not_before.to_vec(),
                not_after: not_after.to_vec(),
                subject: subject.to_vec(),
            },
            key: bit_string(key)
                .and_then(PublicKey::new)
                .ok_or(CertificateError::Field("public key"))?,
            signature: bit_string(signature)
                .and_then(read_signature)
                .ok_or(CertificateError::Field("signature"))?,
        };
        certificate.fields.check()?;
        // The authority's key identifier stands at a fixed place; what is then made anew must be what came.
        let identifier = rest.get(17..37).and_then(|id| <&[u8; 20]>::try_from(id).ok());
        match identifier {
            Some(identifier) if certificate.tbs_with(identifier) == signed => Ok(certificate),
            _ => Err(structure(
                "extensions: a key identifier, no CA, digital signature, and nothing else",
            )),
        }
    }
}

/// 2.5.4.3.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
/// 2.5.29.35.
const AUTHORITY_KEY: [u8; 5] = [0x06, 0x03, 0x55, 0x1D, 0x23];
/// 2.5.29.19.
const BASIC_CONSTRAINTS: [u8; 5] = [0x06, 0x03, 0x55, 0x1D, 0x13];
/// 2.5.29.15.
const KEY_USAGE: [u8; 5] = [0x06, 0x03, 0x55, 0x1D, 0x0F];
/// SEQUENCE { 1.2.840.10045.4.3.2 }.
const ECDSA_SHA256: [u8; 12] = [0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
/// SEQUENCE { 1.2.840.10045.2.1, 1.2.840.10045.3.1.7 }.
const EC_KEY_P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07,
];

fn empty(rest: &[u8], what: &'static str) -> Result<(), CertificateError> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(CertificateError::Structure(what))
    }
}

/// The content of the DER object with this tag, and what follows it. Only shortest lengths, below 64 KiB.
fn der(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *bytes {
        [first, length @ 0..=0x7F, ref rest @ ..] if first == tag => (usize::from(length), rest),
        [first, 0x81, length @ 0x80..=0xFF, ref rest @ ..] if first == tag => (usize::from(length), rest),
        [first, 0x82, high @ 1..=0xFF, low, ref rest @ ..] if first == tag => (usize::from(u16::from_be_bytes([high, low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn bit_string(content: &[u8]) -> Option<&[u8]> {
    content.strip_prefix(&[0])
}

fn common_name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, rest) = der(bytes, 0x30)?;
    let (set, after) = der(sequence, 0x31)?;
    let (pair, behind) = der(set, 0x30)?;
    let (text, last) = der(pair.strip_prefix(&COMMON_NAME[..])?, 0x0C)?;
    (after.is_empty() && behind.is_empty() && last.is_empty()).then_some((text, rest))
}

fn time(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let tag = *bytes.first().filter(|tag| matches!(tag, 0x17 | 0x18))?;
    let (text, rest) = der(bytes, tag)?;
    (text.len() == if tag == 0x17 { 13 } else { 15 }).then_some((text, rest))
}

fn put(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(tag);
    match length {
        0..=0x7F => out.push(length as u8),
        0x80..=0xFF => out.extend_from_slice(&[0x81, length as u8]),
        // Nothing here comes near 64 KiB.
        _ => {
            let [high, low] = (length as u16).to_be_bytes();
            out.extend_from_slice(&[0x82, high, low]);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn one(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + parts.iter().map(|part| part.len()).sum::<usize>());
    put(&mut out, tag, parts);
    out
}

/// DER of an ECDSA signature to r || s.
fn read_signature(bytes: &[u8]) -> Option<[u8; 64]> {
    let (sequence, rest) = der(bytes, 0x30)?;
    let (r, after) = der(sequence, 0x02)?;
    let (s, last) = der(after, 0x02)?;
    if !rest.is_empty() || !last.is_empty() {
        return None;
    }
    let mut out = [0; 64];
    let (left, right) = out.split_at_mut(32);
    for (place, integer) in [(left, r), (right, s)] {
        let magnitude = match *integer {
            [] | [0] | [0x80..=0xFF, ..] | [0, 0..=0x7F, ..] => return None,
            [0, ref magnitude @ ..] => magnitude,
            ref magnitude => magnitude,
        };
        let from = 32usize.checked_sub(magnitude.len())?;
        place.get_mut(from..)?.copy_from_slice(magnitude);
    }
    Some(out)
}

/// r || s to DER.
fn write_signature(signature: &[u8; 64]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(31);
        let magnitude = bytes.get(zeros..).unwrap_or_default();
        let sign: &[u8] = if magnitude.first().is_some_and(|first| *first >= 0x80) {
            &[0]
        } else {
            &[]
        };
        one(0x02, &[sign, magnitude])
    };
    let (r, s) = signature.split_at(32);
    one(0x30, &[&integer(r), &integer(s)])
}
