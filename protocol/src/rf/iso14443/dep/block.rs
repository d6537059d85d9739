//! Blocks: prologue and information field (ISO/IEC 14443-4 7.1). The epilogue is the frame's checksum.

use alloc::vec::Vec;
use core::fmt;

/// Most that S(WTX) may ask for.
pub const WTXM_MAX: u8 = 59;

/// What kind of block, with what its first byte (PCB) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Information.
    I {
        /// Block number, 0 or 1.
        number: u8,
        /// More follows.
        chaining: bool,
        /// Node address.
        nad: Option<u8>,
    },
    /// R(ACK): go on.
    Ack {
        /// Block number, 0 or 1.
        number: u8,
    },
    /// R(NAK): say it again. Only a reader sends it.
    Nak {
        /// Block number, 0 or 1.
        number: u8,
    },
    /// S(DESELECT), request or response.
    Deselect,
    /// S(WTX), request or response: waiting time multiplier as it came, which should be from 1 to 59.
    Wtx(u8),
    /// S(PARAMETERS), which nobody here answers.
    Parameters,
}

/// A block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// What kind.
    pub kind: Kind,
    /// The card's number, if the block has one: 0 to 14.
    pub cid: Option<u8>,
    /// The information field: part of an APDU in an I-block. Empty in R-blocks and S(DESELECT); S(WTX)'s is in its kind.
    pub inf: &'a [u8],
}

/// Why bytes are no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// Nothing at all.
    #[error("a block has at least a PCB")]
    Empty,
    /// Not a PCB of ISO/IEC 14443-4.
    #[error("{0:02X} is no PCB")]
    Pcb(u8),
    /// CID or NAD are announced and missing, or the information field of S(WTX).
    #[error("the block that begins with {0:02X} is cut off")]
    CutOff(u8),
    /// CID 15, or its bits b6 b5 set.
    #[error("{0:02X} is no CID")]
    Cid(u8),
    /// Bytes behind the end of an R-block, S(DESELECT) or S(WTX).
    #[error("the block that begins with {0:02X} is longer than such a block is")]
    TooLong(u8),
}

const HAS_CID: u8 = 0x08;
const HAS_NAD: u8 = 0x04;
const CHAINING: u8 = 0x10;

impl<'a> Block<'a> {
    /// Reads a block. A card's power level indication (CID b8 b7, WTXM b8 b7) is passed over. Never panics.
    ///
    /// # Errors
    /// [`BlockError`]. A WTXM outside 1 to 59 is none: see [`Kind::Wtx`].
    pub const fn parse(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let [pcb, rest @ ..] = bytes else {
            return Err(BlockError::Empty);
        };
        let pcb = *pcb;
        let number = pcb & 1;
        // Which bits may vary depends on the kind.
        let form = match pcb {
            _ if pcb & 0xE2 == 0x02 => 'I',
            _ if pcb & 0xF6 == 0xA2 => 'A',
            _ if pcb & 0xF6 == 0xB2 => 'N',
            _ if pcb & 0xF7 == 0xC2 => 'D',
            _ if pcb & 0xF7 == 0xF2 => 'W',
            _ if pcb & 0xF7 == 0xF0 => 'P',
            _ => return Err(BlockError::Pcb(pcb)),
        };
        let (cid, rest) = if pcb & HAS_CID == 0 {
            (None, rest)
        } else {
            match rest {
                [cid, ..] if *cid & 0x30 != 0 || *cid & 0x0F == 0x0F => return Err(BlockError::Cid(*cid)),
                [cid, rest @ ..] => (Some(*cid & 0x0F), rest),
                [] => return Err(BlockError::CutOff(pcb)),
            }
        };
        let (kind, inf): (Kind, &[u8]) = match form {
            'I' => {
                let (nad, inf) = match rest {
                    _ if pcb & HAS_NAD == 0 => (None, rest),
                    [nad, inf @ ..] => (Some(*nad), inf),
                    [] => return Err(BlockError::CutOff(pcb)),
                };
                let chaining = pcb & CHAINING != 0;
                (Kind::I { number, chaining, nad }, inf)
            }
            'P' => (Kind::Parameters, rest),
            'W' => match rest {
                [wtxm] => (Kind::Wtx(*wtxm & 0x3F), &[]),
                [] => return Err(BlockError::CutOff(pcb)),
                _ => return Err(BlockError::TooLong(pcb)),
            },
            _ if !rest.is_empty() => return Err(BlockError::TooLong(pcb)),
            'A' => (Kind::Ack { number }, rest),
            'N' => (Kind::Nak { number }, rest),
            _ => (Kind::Deselect, rest),
        };
        Ok(Self { kind, cid, inf })
    }

    /// Replaces the content of `out` by the block.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        let pcb = match self.kind {
            Kind::I { number, chaining, nad } => {
                0x02 | number & 1 | if chaining { CHAINING } else { 0 } | if nad.is_some() { HAS_NAD } else { 0 }
            }
            Kind::Ack { number } => 0xA2 | number & 1,
            Kind::Nak { number } => 0xB2 | number & 1,
            Kind::Deselect => 0xC2,
            Kind::Wtx(_) => 0xF2,
            Kind::Parameters => 0xF0,
        };
        out.push(pcb | if self.cid.is_some() { HAS_CID } else { 0 });
        out.extend(self.cid.map(|cid| cid & 0x0F));
        match self.kind {
            Kind::I { nad, .. } => out.extend(nad),
            Kind::Wtx(wtxm) => out.push(wtxm & 0x3F),
            _ => {}
        }
        out.extend_from_slice(self.inf);
    }
}

impl fmt::Display for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::I { number, chaining, .. } => {
                write!(f, "I({number}){} {} bytes", if chaining { "+" } else { "" }, self.inf.len())?;
            }
            Kind::Ack { number } => write!(f, "R(ACK)({number})")?,
            Kind::Nak { number } => write!(f, "R(NAK)({number})")?,
            Kind::Deselect => f.write_str("S(DESELECT)")?,
            Kind::Wtx(wtxm) => write!(f, "S(WTX) {wtxm}")?,
            Kind::Parameters => f.write_str("S(PARAMETERS)")?,
        }
        self.cid.map_or(Ok(()), |cid| write!(f, " CID {cid}"))
    }
}
