//! Type B, ISO/IEC 14443-3 clause 7: request and slots, ATQB, ATTRIB, halt.
//!
//! [`pcd::Select`] and [`pcd::Attrib`] are the reader's part, [`picc::Picc`] the card's.

pub mod pcd;
pub mod picc;

use alloc::vec::Vec;
use core::fmt;

use super::dep::ats::Rates;
use super::dep::frame_size;
use crate::rf::time::{Ticks, waiting_time};

/// First byte of REQB and WUPB.
pub const APF: u8 = 0x05;
/// First byte of ATQB, and of HLTB.
pub const ATQB: u8 = 0x50;
/// First byte of ATTRIB.
pub const ATTRIB: u8 = 0x1D;
/// Greatest code of the number of slots: 16 of them.
pub const SLOTS_MAX: u8 = 4;

/// Pseudo-unique PICC identifier: fixed, or random at each activation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pupi(pub [u8; 4]);

impl fmt::Display for Pupi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pupi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pupi({self})")
    }
}

/// REQB or WUPB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which cards should answer (application family identifier); 0: all.
    pub afi: u8,
    /// WUPB: halted cards, too.
    pub wake: bool,
    /// Code of the number of slots: 0 to 4 for 1, 2, 4, 8, 16.
    pub slots: u8,
    /// Whether the reader takes an extended ATQB, of a byte more.
    pub extended: bool,
}

impl Request {
    /// The frame.
    #[must_use]
    pub const fn encode(self) -> [u8; 3] {
        let slots = if self.slots > SLOTS_MAX { SLOTS_MAX } else { self.slots };
        [APF, self.afi, (self.extended as u8) << 4 | (self.wake as u8) << 3 | slots]
    }

    /// Reads it; `None` when it is something else, or its number of slots is not used yet.
    #[must_use]
    pub const fn parse(frame: &[u8]) -> Option<Self> {
        match frame {
            [APF, afi, param] if *param & 7 <= SLOTS_MAX && *param & 0xE0 == 0 => Some(Self {
                afi: *afi,
                wake: *param & 0x08 != 0,
                slots: *param & 7,
                extended: *param & 0x10 != 0,
            }),
            _ => None,
        }
    }

    /// Whether a card of this family is meant (7.7.3): all, a whole family, one of its parts, or that part of any family.
    #[must_use]
    pub const fn means(&self, afi: u8) -> bool {
        match (self.afi >> 4, self.afi & 0x0F) {
            (0, 0) => true,
            (family, 0) => afi >> 4 == family,
            (0, part) => afi & 0x0F == part,
            _ => afi == self.afi,
        }
    }
}

/// Answer to request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Atqb {
    /// The card's identifier.
    pub pupi: Pupi,
    /// Application data: AFI, checksum of an AID, number of applications; or proprietary.
    pub application: [u8; 4],
    /// Rates besides 106 kbit/s.
    pub rates: Rates,
    /// Code of the card's frame size.
    pub fsci: u8,
    /// Protocol type: b1 ISO-DEP, b3 b2 TR2.
    pub protocol: u8,
    /// Frame waiting time integer.
    pub fwi: u8,
    /// Application data coding, 0 to 3.
    pub adc: u8,
    /// Whether I-blocks may have a NAD.
    pub nad: bool,
    /// Whether blocks may have a CID.
    pub cid: bool,
    /// Start-up frame guard time integer, of an extended ATQB.
    pub sfgi: Option<u8>,
}

impl Atqb {
    /// Reads an ATQB without checksum: 12 bytes, or 13 of an extended one. Values that are not used yet get the meaning that the
    /// standard gives them. `None` when it is none. Never panics.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (head, rest) = frame.split_first_chunk::<12>()?;
        let [ATQB, p0, p1, p2, p3, a0, a1, a2, a3, rates, sizes, times] = *head else {
            return None;
        };
        let sfgi = match rest {
            [] => None,
            [byte] => Some(if byte >> 4 == 15 { 0 } else { byte >> 4 }),
            _ => return None,
        };
        Some(Self {
            pupi: Pupi([p0, p1, p2, p3]),
            application: [a0, a1, a2, a3],
            rates: Rates(rates),
            fsci: sizes >> 4,
            protocol: sizes & 0x0F,
            fwi: if times >> 4 == 15 { 4 } else { times >> 4 },
            adc: times >> 2 & 3,
            nad: times & 2 != 0,
            cid: times & 1 != 0,
            sfgi,
        })
    }

    /// Appends the frame.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(ATQB);
        out.extend_from_slice(&self.pupi.0);
        out.extend_from_slice(&self.application);
        out.push(self.rates.0);
        out.push((self.fsci & 0x0F) << 4 | self.protocol & 0x0F);
        out.push((self.fwi & 0x0F) << 4 | (self.adc & 3) << 2 | u8::from(self.nad) << 1 | u8::from(self.cid));
        out.extend(self.sfgi.map(|sfgi| sfgi << 4));
    }

    /// Whether it knows ISO-DEP.
    #[must_use]
    pub const fn has_iso_dep(&self) -> bool {
        self.protocol & 1 != 0
    }

    /// Longest frame that the card takes.
    #[must_use]
    pub const fn fsc(&self) -> usize {
        frame_size(self.fsci)
    }

    /// Frame waiting time.
    #[must_use]
    pub const fn fwt(&self) -> Ticks {
        waiting_time(self.fwi)
    }
}
