//! Protocol data units and their framing (ISO/IEC 18092 12.4 to 12.6).
//!
//! On the air a unit is `LEN | unit`, at 106 kbit/s `F0 | LEN | unit`; LEN counts itself.

use alloc::vec::Vec;

use crate::rf::frame::BitRate;
use crate::rf::time::{Ticks, waiting_time};

/// Start byte at 106 kbit/s.
pub const SB: u8 = 0xF0;
/// First byte of requests.
pub const REQUEST: u8 = 0xD4;
/// First byte of responses.
pub const RESPONSE: u8 = 0xD5;
/// Longest unit: LEN is a byte.
pub const MAX_UNIT: usize = 254;

/// Takes the unit out of its frame: `None` unless LEN is right.
#[must_use]
pub fn unframe(rate: BitRate, frame: &[u8]) -> Option<&[u8]> {
    let rest = match (rate, frame) {
        (BitRate::Kbps106, [SB, rest @ ..]) => rest,
        (BitRate::Kbps106, _) => return None,
        (_, rest) => rest,
    };
    match rest {
        [len, unit @ ..] if usize::from(*len) == rest.len() => Some(unit),
        _ => None,
    }
}

/// Begins a frame in `out`, whose content it replaces; [`finish`] ends it.
pub fn begin(rate: BitRate, out: &mut Vec<u8>) {
    out.clear();
    if rate == BitRate::Kbps106 {
        out.push(SB);
    }
    out.push(0);
}

/// Writes LEN. Units longer than [`MAX_UNIT`] are cut.
pub fn finish(rate: BitRate, out: &mut Vec<u8>) {
    let at = usize::from(rate == BitRate::Kbps106);
    out.truncate(at + 1 + MAX_UNIT);
    let len = u8::try_from(out.len() - at).unwrap_or(u8::MAX);
    if let Some(byte) = out.get_mut(at) {
        *byte = len;
    }
}

/// Longest units by their code LR.
#[must_use]
pub const fn length(lr: u8) -> usize {
    match lr & 3 {
        0 => 64,
        1 => 128,
        2 => 192,
        _ => 254,
    }
}

/// ATR_REQ or ATR_RES: attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Atr {
    /// Identifier: random, or the NFCID2 of a type F target and two bytes.
    pub nfcid3: [u8; 10],
    /// The target's number; 0: none.
    pub did: u8,
    /// Rates that can be sent.
    pub bs: u8,
    /// Rates that can be received.
    pub br: u8,
    /// Response waiting time integer, of ATR_RES.
    pub to: Option<u8>,
    /// Code of the longest unit that the sender takes.
    pub lr: u8,
    /// General bytes, such as LLCP's parameters; at most 48.
    pub general: Vec<u8>,
}

impl Atr {
    /// Reads what follows `D4 00` or `D5 01`. `response` says which. `None` when it is too short or its number is none. Never panics.
    #[must_use]
    pub fn parse(response: bool, body: &[u8]) -> Option<Self> {
        let (nfcid3, rest) = body.split_first_chunk::<10>()?;
        let (did, bs, br, to, pp, rest) = match rest {
            [did, bs, br, to, pp, rest @ ..] if response => (*did, *bs, *br, Some(*to & 0x0F), *pp, rest),
            [did, bs, br, pp, rest @ ..] if !response => (*did, *bs, *br, None, *pp, rest),
            _ => return None,
        };
        if did > 14 {
            return None;
        }
        Some(Self {
            nfcid3: *nfcid3,
            did,
            bs,
            br,
            to,
            lr: pp >> 4 & 3,
            general: if pp & 2 == 0 { Vec::new() } else { rest.to_vec() },
        })
    }

    /// Appends the unit.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.to.is_some() { &[RESPONSE, 0x01] } else { &[REQUEST, 0x00] });
        out.extend_from_slice(&self.nfcid3);
        out.extend_from_slice(&[self.did, self.bs, self.br]);
        out.extend(self.to);
        let general = &self.general[..self.general.len().min(48)];
        out.push((self.lr & 3) << 4 | u8::from(!general.is_empty()) << 1);
        out.extend_from_slice(general);
    }

    /// Response waiting time of a target.
    #[must_use]
    pub const fn rwt(&self) -> Ticks {
        match self.to {
            Some(to) if to <= 14 => waiting_time(to),
            _ => waiting_time(14),
        }
    }
}

/// Kind and number of a DEP unit (PFB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pfb {
    /// Information; with `more`, the chain goes on.
    Information {
        /// More information bit MI.
        more: bool,
        /// Packet number, 0 to 3.
        pni: u8,
    },
    /// Acknowledges a unit of a chain: ACK, or NAK.
    Acknowledge {
        /// NAK: say it again.
        negative: bool,
        /// Packet number, 0 to 3.
        pni: u8,
    },
    /// Are you there?
    Attention,
    /// More time, please; its byte says how much.
    Timeout,
}

/// DEP_REQ or DEP_RES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dep<'a> {
    /// Kind and number.
    pub pfb: Pfb,
    /// The target's number.
    pub did: Option<u8>,
    /// Information; the multiplier of a time-out extension. A node address is passed over.
    pub data: &'a [u8],
}

impl<'a> Dep<'a> {
    /// Reads what follows `D4 06` or `D5 07`. `None` when it is none. Never panics.
    #[must_use]
    pub const fn parse(body: &'a [u8]) -> Option<Self> {
        let [byte, rest @ ..] = body else {
            return None;
        };
        let mut rest = rest;
        let pni = *byte & 3;
        let pfb = match *byte >> 4 {
            0 => Pfb::Information { more: false, pni },
            1 => Pfb::Information { more: true, pni },
            4 => Pfb::Acknowledge { negative: false, pni },
            5 => Pfb::Acknowledge { negative: true, pni },
            8 => Pfb::Attention,
            9 => Pfb::Timeout,
            _ => return None,
        };
        let mut did = None;
        if *byte & 4 != 0 {
            let [number, tail @ ..] = rest else {
                return None;
            };
            (did, rest) = (Some(*number), tail);
        }
        if *byte & 8 != 0 {
            let [_, tail @ ..] = rest else {
                return None;
            };
            rest = tail;
        }
        Some(Self { pfb, did, data: rest })
    }

    /// Appends what follows `D4 06` or `D5 07`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let pfb = match self.pfb {
            Pfb::Information { more, pni } => u8::from(more) << 4 | pni & 3,
            Pfb::Acknowledge { negative, pni } => 0x40 | u8::from(negative) << 4 | pni & 3,
            Pfb::Attention => 0x80,
            Pfb::Timeout => 0x90,
        };
        out.push(pfb | if self.did.is_some() { 4 } else { 0 });
        out.extend(self.did);
        out.extend_from_slice(self.data);
    }
}

/// PSL_REQ: other rates and lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Psl {
    /// The target's number; 0: none.
    pub did: u8,
    /// From initiator to target.
    pub send: BitRate,
    /// From target to initiator.
    pub receive: BitRate,
    /// Code of the longest unit.
    pub lr: u8,
}

impl Psl {
    /// Reads what follows `D4 04`; `None` when it is none, or asks for rates that there are not.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let [did, brs, fsl] = *body else {
            return None;
        };
        Some(Self {
            did,
            send: BitRate::from_divisor_code(brs & 7)?,
            receive: BitRate::from_divisor_code(brs >> 3 & 7)?,
            lr: fsl & 3,
        })
    }

    /// Appends the unit.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let brs = self.receive.divisor_code() << 3 | self.send.divisor_code();
        out.extend_from_slice(&[REQUEST, 0x04, self.did, brs, self.lr & 3]);
    }
}
