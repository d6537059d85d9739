//! The FCI of the expedited phase: `6F{84{AID} A5{80{type} 5C{versions} [7F66{..}] [B3{..}]}}`.

use alloc::vec::Vec;

use super::APPLICATION_TYPE;
use super::fields::{self, WireError};
use crate::aid::Aid;
use crate::tlv::{self, Tag};

/// The longest A5, so that its length takes one byte wherever it is encoded anew.
const LONGEST: usize = 127;

/// How long APDUs may be in all, when extended lengths are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Longest command APDU.
    pub command: u16,
    /// Longest response APDU, status word included.
    pub response: u16,
}

impl Lengths {
    /// `02 02 command 02 02 response`.
    #[must_use]
    pub fn encode(&self) -> [u8; 8] {
        let ([a, b], [c, d]) = (self.command.to_be_bytes(), self.response.to_be_bytes());
        [2, 2, a, b, 2, 2, c, d]
    }

    fn parse(value: &[u8]) -> Option<Self> {
        match *value {
            [2, 2, a, b, 2, 2, c, d] => Some(Self {
                command: u16::from_be_bytes([a, b]),
                response: u16::from_be_bytes([c, d]),
            }),
            _ => None,
        }
    }
}

/// What a user device says when it is selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fci {
    /// The AID, tag 84.
    pub aid: Vec<u8>,
    /// Protocol versions, in the device's order: 0100 is 1.0.
    pub versions: Vec<u16>,
    /// Extended lengths, if it knows them.
    pub lengths: Option<Lengths>,
    /// The user device descriptor, at most 127 bytes.
    pub descriptor: Option<Vec<u8>>,
    /// The whole A5 as it came, which every salt contains.
    pub a5: Vec<u8>,
}

impl Fci {
    /// The FCI of a device.
    #[must_use]
    pub fn new(versions: &[u16], lengths: Option<Lengths>, descriptor: Option<&[u8]>) -> Self {
        let mut inner = Vec::with_capacity(32);
        tlv::write(&mut inner, 0x80, &APPLICATION_TYPE);
        let list: Vec<u8> = versions.iter().flat_map(|v| v.to_be_bytes()).collect();
        tlv::write(&mut inner, 0x5C, &list);
        if let Some(lengths) = lengths {
            tlv::write(&mut inner, 0x7F66, &lengths.encode());
        }
        if let Some(descriptor) = descriptor {
            tlv::write(&mut inner, 0xB3, descriptor);
        }
        let mut a5 = Vec::with_capacity(inner.len() + 3);
        tlv::write(&mut a5, 0xA5, &inner);
        Self {
            aid: Aid::ALIRO_EXPEDITED.as_bytes().to_vec(),
            versions: versions.to_vec(),
            lengths,
            descriptor: descriptor.map(<[u8]>::to_vec),
            a5,
        }
    }

    /// The answer's data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut inner = Vec::with_capacity(self.a5.len() + 11);
        tlv::write(&mut inner, 0x84, &self.aid);
        inner.extend_from_slice(&self.a5);
        let mut out = Vec::with_capacity(inner.len() + 2);
        tlv::write(&mut out, 0x6F, &inner);
        out
    }

    /// Reads the data of the answer to SELECT.
    ///
    /// # Errors
    /// [`WireError`]: also for another AID or application type, and for an A5 of more than 127 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let missing = |tag| WireError::Missing { tag: Tag(tag) };
        let [template] = fields::scan(bytes, [0x6F])?;
        let [aid, a5] = fields::scan(template.ok_or(missing(0x6F))?.value, [0x84, 0xA5])?;
        let (aid, a5) = (aid.ok_or(missing(0x84))?, a5.ok_or(missing(0xA5))?);
        if aid.value != Aid::ALIRO_EXPEDITED.as_bytes() {
            return Err(WireError::Value { tag: Tag(0x84) });
        }
        if a5.value.len() > LONGEST {
            return Err(WireError::Length {
                tag: Tag(0xA5),
                got: a5.value.len(),
            });
        }
        let [kind, versions, lengths, descriptor] = fields::scan(a5.value, [0x80, 0x5C, 0x7F66, 0xB3])?;
        if fields::exactly::<2>(0x80, kind)? != APPLICATION_TYPE {
            return Err(WireError::Value { tag: Tag(0x80) });
        }
        let versions = versions.ok_or(missing(0x5C))?.value;
        if versions.is_empty() || versions.len() % 2 != 0 {
            return Err(WireError::Length {
                tag: Tag(0x5C),
                got: versions.len(),
            });
        }
        let lengths = match lengths {
            None => None,
            Some(object) => Some(Lengths::parse(object.value).ok_or(WireError::Value { tag: Tag(0x7F66) })?),
        };
        Ok(Self {
            aid: aid.value.to_vec(),
            versions: versions
                .chunks_exact(2)
                .filter_map(|v| Some(u16::from_be_bytes(v.try_into().ok()?)))
                .collect(),
            lengths,
            descriptor: descriptor.map(|object| object.value.to_vec()),
            a5: a5.raw.to_vec(),
        })
    }
}
