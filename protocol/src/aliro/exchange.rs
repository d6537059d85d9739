//! EXCHANGE: mailbox operations, notifications and the reader status, enciphered in both directions.

use alloc::vec::Vec;

use super::ReaderStatus;
use super::fields::{self, WireError};
use crate::tlv::{self, Tag};

/// One mailbox operation. Offsets and lengths are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Tag 87.
    Read {
        /// From here.
        offset: u16,
        /// So many.
        length: u16,
    },
    /// Tag 8A.
    Write {
        /// From here.
        offset: u16,
        /// These bytes.
        data: Vec<u8>,
    },
    /// Tag 95: the same value in all bytes.
    Set {
        /// From here.
        offset: u16,
        /// So many.
        length: u16,
        /// This value.
        value: u8,
    },
}

/// `BA`: what is done to the mailbox in one EXCHANGE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailboxRequest {
    /// Whether the atomic session stays open: writes and sets are collected.
    pub open: bool,
    /// In their order.
    pub operations: Vec<Operation>,
}

/// The plain text of an EXCHANGE command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExchangeCommand {
    /// `BA`.
    pub mailbox: Option<MailboxRequest>,
    /// `AE`, its value; at most 250 bytes.
    pub notify: Option<Vec<u8>>,
    /// `97`.
    pub status: Option<ReaderStatus>,
    /// `98`: make the URSK available.
    pub ursk: bool,
    /// `81`: update the document.
    pub update: bool,
}

impl ExchangeCommand {
    /// Only a reader status.
    #[must_use]
    pub fn status(status: ReaderStatus) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    /// Only mailbox operations.
    #[must_use]
    pub fn mailbox(request: MailboxRequest) -> Self {
        Self {
            mailbox: Some(request),
            ..Self::default()
        }
    }

    /// The plain text.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        if let Some(mailbox) = &self.mailbox {
            let mut inner = Vec::with_capacity(16);
            tlv::write(&mut inner, 0x8C, &[u8::from(mailbox.open)]);
            for operation in &mailbox.operations {
                match operation {
                    Operation::Read { offset, length } => tlv::write(&mut inner, 0x87, &pair(*offset, *length)),
                    Operation::Write { offset, data } => tlv::write(&mut inner, 0x8A, &[&offset.to_be_bytes()[..], data].concat()),
                    Operation::Set { offset, length, value } => {
                        tlv::write(&mut inner, 0x95, &[&pair(*offset, *length)[..], &[*value]].concat());
                    }
                }
            }
            tlv::write(&mut out, 0xBA, &inner);
        }
        if let Some(notify) = &self.notify {
            tlv::write(&mut out, 0xAE, notify);
        }
        if let Some(status) = self.status {
            tlv::write(&mut out, 0x97, &status.0.to_be_bytes());
        }
        if self.ursk {
            tlv::write(&mut out, 0x98, &[]);
        }
        if self.update {
            tlv::write(&mut out, 0x81, &[]);
        }
        out
    }

    /// Reads the plain text.
    ///
    /// # Errors
    /// [`WireError`]: the device then answers `0002 FFFF` and does nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let [mailbox, notify, status, ursk, update] = fields::scan(bytes, [0xBA, 0xAE, 0x97, 0x98, 0x81])?;
        if let Some(object) = ursk.filter(|object| !object.value.is_empty()) {
            return Err(WireError::Length {
                tag: Tag(0x98),
                got: object.value.len(),
            });
        }
        Ok(Self {
            mailbox: mailbox.map(|object| parse_mailbox(object.value)).transpose()?,
            notify: fields::at_most(notify, 250)?.map(|object| object.value.to_vec()),
            status: match status {
                Some(object) => Some(ReaderStatus(u16::from_be_bytes(fields::exactly(0x97, Some(object))?))),
                None => None,
            },
            ursk: ursk.is_some(),
            update: update.is_some(),
        })
    }
}

fn pair(a: u16, b: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (a.to_be_bytes(), b.to_be_bytes());
    [a, b, c, d]
}

fn parse_mailbox(mut bytes: &[u8]) -> Result<MailboxRequest, WireError> {
    let open = match fields::next(&mut bytes)? {
        Some(object) if object.tag == 0x8C => match object.value {
            [0] => false,
            [1] => true,
            _ => return Err(WireError::Value { tag: Tag(0x8C) }),
        },
        _ => return Err(WireError::Missing { tag: Tag(0x8C) }),
    };
    let mut operations = Vec::new();
    while let Some(object) = fields::next(&mut bytes)? {
        let word = |a: u8, b: u8| u16::from_be_bytes([a, b]);
        operations.push(match (object.tag, object.value) {
            (0x87, &[a, b, c, d]) => Operation::Read {
                offset: word(a, b),
                length: word(c, d),
            },
            (0x8A, &[a, b, ref data @ ..]) => Operation::Write {
                offset: word(a, b),
                data: data.to_vec(),
            },
            (0x95, &[a, b, c, d, value]) => Operation::Set {
                offset: word(a, b),
                length: word(c, d),
                value,
            },
            (0x87 | 0x8A | 0x95, value) => {
                return Err(WireError::Length {
                    tag: Tag(object.tag),
                    got: value.len(),
                });
            }
            (tag, _) => return Err(WireError::Unexpected { tag: Tag(tag) }),
        });
    }
    Ok(MailboxRequest { open, operations })
}

/// The plain text of the answer to EXCHANGE: what was read, and B1 B2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeResponse {
    /// One for each read, in their order.
    pub reads: Vec<Vec<u8>>,
    /// B1 B2: 0000 for success.
    pub status: u16,
}

impl ExchangeResponse {
    /// Success without anything read: `0002 0000`.
    pub const OK: Self = Self {
        reads: Vec::new(),
        status: 0,
    };
    /// Nothing was done: `0002 FFFF`.
    pub const ERROR: Self = Self {
        reads: Vec::new(),
        status: 0xFFFF,
    };

    /// The plain text.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.reads.iter().map(|read| read.len() + 2).sum::<usize>());
        for read in &self.reads {
            // A read's length came in two bytes.
            out.extend_from_slice(&(read.len() as u16).to_be_bytes());
            out.extend_from_slice(read);
        }
        out.extend_from_slice(&pair(2, self.status));
        out
    }

    /// Reads the plain text. `None` unless it is made of counted parts, the last of which has 2 bytes. Never panics.
    #[must_use]
    pub fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
            let (part, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
            parts.push(part.to_vec());
            bytes = rest;
        }
        let status = parts.pop()?;
        (bytes.is_empty()).then_some(())?;
        Some(Self {
            reads: parts,
            status: u16::from_be_bytes(status.as_slice().try_into().ok()?),
        })
    }
}
