//! Load files: `[E2 {4F security domain, C3 signature}]* C4 {load file data block}` (GPC 11.6.2.3, appendix C).
//!
//! - The *load file data block hash* is SHA-256 of the value of C4.
//! - A DAP is a signature of that hash: the hash is the message, and ECDSA on P-256 with SHA-256 signs it, r || s, 64 bytes (GPC C.3, B.4.3). The
//!   hash goes also into INSTALL [for load], so that the card knows what it will be asked to verify before the first LOAD.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use super::command::Load;
use super::lv;
use crate::aid::Aid;
use crate::crypto::{equal, sign};
use crate::tlv;

/// Why bytes are not a load file, or a load is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadFileError {
    /// A data object that has no place in a load file.
    #[error(
        "byte {position} of the load file begins an object with tag {tag:02X}: only E2 (signatures) and then C4 (the block) belong there"
    )]
    Tag {
        /// The first byte of its tag.
        tag: u8,
        /// Where it stands, from 0.
        position: usize,
    },
    /// A length that cannot be read.
    #[error("the object at byte {position} of the load file has no valid BER length (up to 83 xx xx xx): rebuild the load file")]
    Length {
        /// Where the object stands, from 0.
        position: usize,
    },
    /// The file ends within an object.
    #[error("the load file announces {announced} bytes and has {present}: it was cut off")]
    CutOff {
        /// How many bytes its lengths add up to.
        announced: usize,
        /// How many there are.
        present: usize,
    },
    /// Bytes behind the block.
    #[error("the load file announces {announced} bytes and has {present}: remove what stands behind the block")]
    Trailing {
        /// How many bytes its lengths add up to.
        announced: usize,
        /// How many there are.
        present: usize,
    },
    /// An E2 without AID or signature.
    #[error("signature {number} (from 0) of the load file is not {{4F AID, C3 signature}}: sign it again")]
    Signature {
        /// Which.
        number: usize,
    },
    /// The file is larger than there is room for.
    #[error("the load file announces {announced} bytes, {limit} are the most here: use a smaller application")]
    TooLarge {
        /// How many bytes its lengths add up to.
        announced: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A LOAD with another number than the next one.
    #[error("LOAD block {number:02X} came where {expected:02X} was expected: begin again with INSTALL [for load]")]
    Order {
        /// The number that came.
        number: u8,
        /// The number that was expected.
        expected: u8,
    },
}

/// A signature of a load file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dap<'a> {
    /// 4F: the security domain whose key verifies it.
    pub security_domain: Aid,
    /// C3: the signature. r || s, 64 bytes, for the keys of this project.
    pub signature: &'a [u8],
}

/// A load file, its parts borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFile<'a> {
    /// The signatures, in their order.
    pub signatures: Vec<Dap<'a>>,
    /// The load file data block: the value of C4.
    pub block: &'a [u8],
}

impl<'a> LoadFile<'a> {
    /// Reads a load file; all bytes must be used up.
    ///
    /// # Errors
    /// [`LoadFileError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LoadFileError> {
        let mut signatures = Vec::new();
        let mut position = 0;
        loop {
            let object = bytes.get(position..).unwrap_or_default();
            let Some(Header { tag, header, length }) = header(object, position)? else {
                return Err(LoadFileError::CutOff {
                    announced: bytes.len() + 1,
                    present: bytes.len(),
                });
            };
            let end = position + header + length;
            let Some(value) = bytes.get(position + header..end) else {
                return Err(LoadFileError::CutOff {
                    announced: end,
                    present: bytes.len(),
                });
            };
            position = end;
            if tag == BLOCK {
                return match bytes.len() {
                    present if present > end => Err(LoadFileError::Trailing { announced: end, present }),
                    _ => Ok(Self { signatures, block: value }),
                };
            }
            let number = signatures.len();
            signatures.push(dap(value).ok_or(LoadFileError::Signature { number })?);
        }
    }

    /// The load file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.block.len() + 100 * self.signatures.len() + 5);
        for dap in &self.signatures {
            let mut inner = Vec::new();
            tlv::write(&mut inner, 0x4F, dap.security_domain.as_bytes());
            tlv::write(&mut inner, 0xC3, dap.signature);
            tlv::write(&mut out, u32::from(DAP), &inner);
        }
        tlv::write(&mut out, u32::from(BLOCK), self.block);
        out
    }

    /// A load file with one signature, which `sign` makes from the hash (it must hash its message by SHA-256, as [`sign::sign`] does).
    /// `None` if `sign` gives none.
    #[must_use]
    pub fn signed(block: &[u8], security_domain: Aid, sign: impl FnOnce(&[u8; 32]) -> Option<[u8; 64]>) -> Option<Vec<u8>> {
        let signature = sign(&hash(block))?;
        let file = LoadFile {
            signatures: alloc::vec![Dap {
                security_domain,
                signature: &signature,
            }],
            block,
        };
        Some(file.encode())
    }

    /// SHA-256 of the block.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        hash(self.block)
    }

    /// Whether the hash that INSTALL [for load] named is this file's.
    #[must_use]
    pub fn has_hash(&self, hash: &[u8]) -> bool {
        equal(&self.hash(), hash)
    }

    /// Whether there is a signature for this security domain and it is right under its P-256 public key (SEC1, 33 or 65 bytes).
    #[must_use]
    pub fn is_signed_by(&self, security_domain: &Aid, public_sec1: &[u8]) -> bool {
        let hash = self.hash();
        let mut signatures = self.signatures.iter().filter(|dap| dap.security_domain == *security_domain);
        signatures.any(|dap| match dap.signature.try_into() {
            Ok(signature) => sign::verify(public_sec1, &hash, signature),
            Err(_) => false,
        })
    }
}

/// SHA-256 of a load file data block.
#[must_use]
pub fn hash(block: &[u8]) -> [u8; 32] {
    Sha256::digest(block).into()
}

/// The LOAD commands of a load file: blocks of `size` bytes (0 counts as 1), numbered from 0 modulo 256, the last one marked. An empty file
/// has none.
pub fn blocks(file: &[u8], size: usize) -> impl ExactSizeIterator<Item = Load<'_>> + Clone {
    let chunks = file.chunks(size.max(1));
    let last = chunks.len().wrapping_sub(1);
    chunks.enumerate().map(move |(n, block)| Load {
        last: n == last,
        // Modulo 256 is what is wanted.
        number: n as u8,
        block,
    })
}

const DAP: u8 = 0xE2;
const BLOCK: u8 = 0xC4;

/// The beginning of an object.
struct Header {
    tag: u8,
    /// Bytes of tag and length.
    header: usize,
    /// Bytes of the value.
    length: usize,
}

/// `None` if more bytes are needed to tell.
fn header(bytes: &[u8], position: usize) -> Result<Option<Header>, LoadFileError> {
    let Some((&tag, rest)) = bytes.split_first() else { return Ok(None) };
    if !matches!(tag, DAP | BLOCK) {
        return Err(LoadFileError::Tag { tag, position });
    }
    if let Some((length, value)) = lv::read_length(rest) {
        let header = bytes.len() - value.len();
        return Ok(Some(Header { tag, header, length }));
    }
    match rest.first() {
        // It begins like a length and goes on in the next block.
        None | Some(0x81..=0x83) if rest.len() < 4 => Ok(None),
        _ => Err(LoadFileError::Length { position }),
    }
}

fn dap(bytes: &[u8]) -> Option<Dap<'_>> {
    let mut objects = tlv::iter(bytes);
    let aid = objects.next()?.ok().filter(|object| object.tag.0 == 0x4F)?;
    let signature = objects.next()?.ok().filter(|object| object.tag.0 == 0xC3)?;
    if objects.next().is_some() {
        return None;
    }
    Some(Dap {
        security_domain: Aid::new(aid.value)?,
        signature: signature.value,
    })
}

/// Puts the blocks of a load together on the card. It never holds more than the limit, and refuses as soon as the lengths say that the file
/// would be larger, or that a block brings more than was announced.
#[derive(Clone, Debug)]
pub struct Gatherer {
    bytes: Vec<u8>,
    limit: usize,
    blocks: usize,
    /// What is known of the length.
    announced: Option<usize>,
    /// Where the first object stands whose header is not complete yet.
    position: usize,
}

impl Gatherer {
    /// A load of at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            blocks: 0,
            announced: None,
            position: 0,
        }
    }

    /// Bytes there are so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no block has come yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of the whole file, as soon as its lengths tell.
    #[must_use]
    pub const fn announced(&self) -> Option<usize> {
        self.announced
    }

    /// Takes one block. After the last one gives all bytes, their number being what was announced.
    ///
    /// # Errors
    /// [`LoadFileError`]: give up the load, this gatherer is of no more use.
    pub fn push(&mut self, load: &Load<'_>) -> Result<Option<Vec<u8>>, LoadFileError> {
        // Modulo 256 is what is wanted.
        let expected = self.blocks as u8;
        if load.number != expected {
            return Err(LoadFileError::Order {
                number: load.number,
                expected,
            });
        }
        self.blocks += 1;
        let present = self.bytes.len() + load.block.len();
        if present > self.limit {
            let announced = present.max(self.announced.unwrap_or(0));
            return Err(LoadFileError::TooLarge {
                announced,
                limit: self.limit,
            });
        }
        self.bytes.extend_from_slice(load.block);
        self.measure()?;
        match self.announced {
            Some(announced) if present > announced => Err(LoadFileError::Trailing { announced, present }),
            Some(announced) if load.last && present == announced => Ok(Some(core::mem::take(&mut self.bytes))),
            announced if load.last => Err(LoadFileError::CutOff {
                announced: announced.unwrap_or(present + 1),
                present,
            }),
            _ => Ok(None),
        }
    }

    /// Follows the objects as far as their headers are there.
    fn measure(&mut self) -> Result<(), LoadFileError> {
        while self.announced.is_none() {
            let Some(object) = self.bytes.get(self.position..) else { break };
            let Some(Header { tag, header, length }) = header(object, self.position)? else {
                break;
            };
            // At most FFFFFF for each, and positions stay below the limit: no overflow.
            let end = self.position + header + length;
            if end > self.limit {
                return Err(LoadFileError::TooLarge {
                    announced: end,
                    limit: self.limit,
                });
            }
            if tag == BLOCK {
                self.announced = Some(end);
            }
            self.position = end;
        }
        Ok(())
    }
}
