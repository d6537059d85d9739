//! RATS, the answer to select ATS, and PPS (ISO/IEC 14443-4 5.1 to 5.4).

use alloc::vec::Vec;

use super::frame_size;
use crate::rf::frame::BitRate;
use crate::rf::time::{Ticks, waiting_time};

/// Request for answer to select.
pub const RATS: u8 = 0xE0;
/// Start byte of PPS, with the CID in its low half.
pub const PPSS: u8 = 0xD0;
/// CID 15 is not used.
pub const CID_MAX: u8 = 14;

/// RATS: how long a frame the reader takes, and the number that it gives to the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rats {
    /// Code of the reader's frame size.
    pub fsdi: u8,
    /// The card's number, 0 to 14.
    pub cid: u8,
}

impl Rats {
    /// The frame.
    #[must_use]
    pub const fn encode(self) -> [u8; 2] {
        [RATS, (self.fsdi & 0x0F) << 4 | self.cid & 0x0F]
    }

    /// Reads it; `None` when it is something else. CID 15 is refused (5.6.1.2 would have the card ignore it).
    #[must_use]
    pub const fn parse(frame: &[u8]) -> Option<Self> {
        match frame {
            [RATS, param] if *param & 0x0F <= CID_MAX => Some(Self {
                fsdi: *param >> 4,
                cid: *param & 0x0F,
            }),
            _ => None,
        }
    }
}

/// Which rates a card can do besides 106 kbit/s, both ways (TA(1)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates(pub u8);

impl Rates {
    /// 106, 212, 424 and 848 both ways, also different ones.
    pub const ALL: Self = Self(0x77);

    /// Whether both directions must have the same rate.
    #[must_use]
    pub const fn same_only(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Whether reader to card can have this rate.
    #[must_use]
    pub const fn send(self, rate: BitRate) -> bool {
        rate as u8 == 0 || self.0 & 1 << (rate as u8 - 1) != 0
    }

    /// Whether card to reader can have this rate.
    #[must_use]
    pub const fn receive(self, rate: BitRate) -> bool {
        rate as u8 == 0 || self.0 & 1 << (rate as u8 + 3) != 0
    }

    /// The fastest pair (to the card, from it) that is not above `limit` in either direction.
    #[must_use]
    pub fn best(self, limit: BitRate) -> (BitRate, BitRate) {
        // b4 is not used yet; a card that sets it is taken for one that knows 106 kbit/s only.
        if self.0 & 0x08 != 0 {
            return (BitRate::Kbps106, BitRate::Kbps106);
        }
        let fastest = |able: &dyn Fn(BitRate) -> bool| {
            let fitting = BitRate::ALL.into_iter().rev().find(|rate| *rate <= limit && able(*rate));
            fitting.unwrap_or_default()
        };
        if self.same_only() {
            let both = fastest(&|rate| self.send(rate) && self.receive(rate));
            (both, both)
        } else {
            (fastest(&|rate| self.send(rate)), fastest(&|rate| self.receive(rate)))
        }
    }
}

/// Answer to select. What an ATS leaves out has its default here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ats {
    /// Code of the card's frame size FSC.
    pub fsci: u8,
    /// Which rates it knows.
    pub rates: Rates,
    /// Frame waiting time integer; 4 unless it says otherwise.
    pub fwi: u8,
    /// Start-up frame guard time integer; 0 means none.
    pub sfgi: u8,
    /// Whether blocks may have a CID.
    pub cid: bool,
    /// Whether I-blocks may have a NAD.
    pub nad: bool,
    /// Historical bytes (ISO/IEC 7816-4 8.1.1).
    pub historical: Vec<u8>,
}

impl Default for Ats {
    /// What an ATS of nothing but its length means: frames of 32 bytes, 106 kbit/s, 4.8 ms, CID but no NAD.
    fn default() -> Self {
        Self {
            fsci: 2,
            rates: Rates(0),
            fwi: 4,
            sfgi: 0,
            cid: true,
            nad: false,
            historical: Vec::new(),
        }
    }
}

/// Why bytes are no ATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AtsError {
    /// No byte at all.
    #[error("the ATS is empty")]
    Empty,
    /// TL counts itself and everything behind it.
    #[error("the ATS says that it has {says} bytes, and has {has}: the card lies about its length, or the frame is cut off")]
    Length {
        /// TL.
        says: u8,
        /// How many bytes there are.
        has: usize,
    },
    /// T0 announces interface bytes that are not there.
    #[error("T0 {t0:02X} announces more interface bytes than the ATS has")]
    CutOff {
        /// T0.
        t0: u8,
    },
}

impl Ats {
    /// Reads an ATS without checksum. Accepts every value of every byte, with the meaning that the standard gives to values that are
    /// not used yet; only lengths must be right. Never panics.
    ///
    /// # Errors
    /// [`AtsError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AtsError> {
        let mut ats = Self::default();
        let [tl, rest @ ..] = bytes else {
            return Err(AtsError::Empty);
        };
        if usize::from(*tl) != bytes.len() {
            return Err(AtsError::Length {
                says: *tl,
                has: bytes.len(),
            });
        }
        let [t0, rest @ ..] = rest else {
            return Ok(ats);
        };
        let mut rest = rest.iter();
        let mut take = |bit: u8| match t0 & bit {
            0 => Ok(None),
            _ => rest.next().map(|byte| Some(*byte)).ok_or(AtsError::CutOff { t0: *t0 }),
        };
        ats.fsci = t0 & 0x0F;
        if let Some(ta) = take(0x10)? {
            ats.rates = Rates(ta);
        }
        if let Some(tb) = take(0x20)? {
            // 15 is not used yet: FWI counts as 4, SFGI as 0.
            ats.fwi = if tb >> 4 == 15 { 4 } else { tb >> 4 };
            ats.sfgi = if tb & 0x0F == 15 { 0 } else { tb & 0x0F };
        }
        if let Some(tc) = take(0x40)? {
            (ats.cid, ats.nad) = (tc & 2 != 0, tc & 1 != 0);
        }
        ats.historical.extend(rest);
        Ok(ats)
    }

    /// The bytes, without checksum, all interface bytes written out. Historical bytes beyond 250 are left out: TL cannot count them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let historical = &self.historical[..self.historical.len().min(250)];
        let tl = u8::try_from(5 + historical.len()).unwrap_or(u8::MAX);
        let tc = u8::from(self.cid) << 1 | u8::from(self.nad);
        let mut out = Vec::with_capacity(usize::from(tl));
        out.extend_from_slice(&[
            tl,
            0x70 | self.fsci & 0x0F,
            self.rates.0,
            (self.fwi & 0x0F) << 4 | self.sfgi & 0x0F,
            tc,
        ]);
        out.extend_from_slice(historical);
        out
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

    /// How long the reader waits after the ATS before its next frame.
    #[must_use]
    pub const fn sfgt(&self) -> Ticks {
        match self.sfgi {
            0 | 15.. => Ticks::ZERO,
            sfgi => waiting_time(sfgi),
        }
    }
}

/// PPS: the rates that the reader chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pps {
    /// The card's number.
    pub cid: u8,
    /// From reader to card (DRI).
    pub send: BitRate,
    /// From card to reader (DSI).
    pub receive: BitRate,
}

impl Pps {
    /// The frame, with PPS1.
    #[must_use]
    pub const fn encode(self) -> [u8; 3] {
        [
            PPSS | self.cid & 0x0F,
            0x11,
            self.receive.divisor_code() << 2 | self.send.divisor_code(),
        ]
    }

    /// Reads it; `None` when it is something else. Without PPS1 nothing changes: 106 kbit/s.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (ppss, pps1) = match frame {
            [ppss, 0x01] => (*ppss, 0),
            [ppss, 0x11, pps1] if pps1 & 0xF0 == 0 => (*ppss, *pps1),
            _ => return None,
        };
        (ppss & 0xF0 == PPSS && ppss & 0x0F <= CID_MAX).then_some(())?;
        Some(Self {
            cid: ppss & 0x0F,
            send: BitRate::from_divisor_code(pps1 & 3)?,
            receive: BitRate::from_divisor_code(pps1 >> 2 & 3)?,
        })
    }
}
