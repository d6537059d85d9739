//! FeliCa polling: SENSF_REQ and SENSF_RES (ISO/IEC 18092 11.2.2.5, JIS X 6319-4, NFC Forum Digital), both sides, at 212 and 424 kbit/s.
//!
//! Frames begin with their length byte, which counts itself.

use alloc::vec::Vec;

use super::frame::{BitRate, Expect, Frame, Received, RfError, RxFrame, Technology};
use super::time::{self, Ticks};
use super::{Dialogue, Step};

/// Asks all systems.
pub const SYSTEM_ANY: u16 = 0xFFFF;
/// NFC Forum type 3 tags.
pub const SYSTEM_NDEF: u16 = 0x12FC;
/// The identifiers of NFC-DEP targets begin so.
pub const NFC_DEP_PREFIX: [u8; 2] = [0x01, 0xFE];

/// What the answer should say besides the identifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ask {
    /// Nothing.
    #[default]
    Nothing,
    /// The system code.
    SystemCode,
    /// What rates there are.
    Rates,
}

/// Polling command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SensfReq {
    /// Which system; FF in either byte is a wild card.
    pub system: u16,
    /// What else is asked.
    pub ask: Ask,
    /// Number of time slots less one: 0, 1, 3, 7 or 15.
    pub slots: u8,
}

impl SensfReq {
    /// The frame.
    #[must_use]
    pub const fn encode(self) -> [u8; 6] {
        let [high, low] = self.system.to_be_bytes();
        [6, 0x00, high, low, self.ask as u8, self.slots]
    }

    /// Reads it; `None` when it is something else.
    #[must_use]
    pub const fn parse(frame: &[u8]) -> Option<Self> {
        let [6, 0x00, high, low, ask, slots @ (0 | 1 | 3 | 7 | 15)] = frame else {
            return None;
        };
        let ask = match ask {
            1 => Ask::SystemCode,
            2 => Ask::Rates,
            // Values that are not used yet ask for nothing.
            _ => Ask::Nothing,
        };
        Some(Self {
            system: u16::from_be_bytes([*high, *low]),
            ask,
            slots: *slots,
        })
    }

    /// Whether a card with this system is meant.
    #[must_use]
    pub const fn means(self, system: u16) -> bool {
        let ([high, low], [h, l]) = (self.system.to_be_bytes(), system.to_be_bytes());
        (high == 0xFF || high == h) && (low == 0xFF || low == l)
    }

    /// How long a reader waits: until the last slot has begun, and half a slot more.
    #[must_use]
    pub const fn timeout(self) -> Ticks {
        Ticks(time::F_FIRST_SLOT.0 + time::F_SLOT.0 * (self.slots as u64 + 1))
    }
}

/// Polling response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SensfRes {
    /// The card's identifier IDm (NFCID2).
    pub id: [u8; 8],
    /// Manufacture parameters PMm (PAD).
    pub parameters: [u8; 8],
    /// What was asked for: the system code, or rates.
    pub data: Option<[u8; 2]>,
}

impl SensfRes {
    /// Appends the frame.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[if self.data.is_some() { 20 } else { 18 }, 0x01]);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.parameters);
        out.extend(self.data.into_iter().flatten());
    }

    /// Reads it; `None` when it is something else, or its length byte lies. Never panics.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (head, rest) = frame.split_first_chunk::<2>()?;
        if usize::from(head[0]) != frame.len() || head[1] != 0x01 {
            return None;
        }
        let (id, rest) = rest.split_first_chunk::<8>()?;
        let (parameters, rest) = rest.split_first_chunk::<8>()?;
        let data = match rest {
            [] => None,
            [high, low] => Some([*high, *low]),
            _ => return None,
        };
        Some(Self {
            id: *id,
            parameters: *parameters,
            data,
        })
    }

    /// Whether it is a target of NFC-DEP.
    #[must_use]
    pub const fn has_nfc_dep(&self) -> bool {
        self.id[0] == NFC_DEP_PREFIX[0] && self.id[1] == NFC_DEP_PREFIX[1]
    }
}

/// The reader's polling of one rate.
#[derive(Debug)]
pub struct Poll {
    frame: [u8; 6],
    request: SensfReq,
    rate: BitRate,
    retries: u8,
    outcome: Option<Result<Option<SensfRes>, RfError>>,
}

impl Poll {
    /// Asks at 212 or 424 kbit/s; other rates are taken as 212.
    #[must_use]
    pub const fn new(request: SensfReq, rate: BitRate) -> Self {
        Self {
            frame: request.encode(),
            request,
            rate: match rate {
                BitRate::Kbps424 => BitRate::Kbps424,
                _ => BitRate::Kbps212,
            },
            retries: 2,
            outcome: None,
        }
    }

    /// What it has come to, once it has ended.
    #[must_use]
    pub const fn finished(&self) -> Option<Result<Option<SensfRes>, RfError>> {
        self.outcome
    }
}

impl Dialogue for Poll {
    /// `None` when nothing answered; an error when what answered could not be read.
    type Output = Result<Option<SensfRes>, RfError>;

    fn poll(&mut self) -> Step<'_, Self::Output> {
        if let Some(outcome) = self.outcome {
            return Step::Done(outcome);
        }
        let frame = Frame::new(Technology::F, &self.frame).at(self.rate);
        Step::Exchange(frame, Expect::like(&frame, self.request.timeout()))
    }

    fn answered(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        let error = match outcome {
            Err(RfError::Timeout) => return self.outcome = Some(Ok(None)),
            Err(error) => error,
            Ok(()) => match SensfRes::parse(&answer.data) {
                Some(found) => return self.outcome = Some(Ok(Some(found))),
                None => RfError::Framing,
            },
        };
        // Two cards in the same slot: they draw again.
        match self.retries.checked_sub(1) {
            Some(left) => self.retries = left,
            None => self.outcome = Some(Err(error)),
        }
    }
}

/// The card's side of polling.
#[derive(Clone, Copy, Debug)]
pub struct Card {
    response: SensfRes,
    system: u16,
    random: u32,
}

impl Card {
    /// A card of this system. `random` is what its choice of slots begins with.
    #[must_use]
    pub const fn new(response: SensfRes, system: u16, random: u32) -> Self {
        Self {
            response,
            system,
            random: random | 1,
        }
    }

    /// Answers a polling command: fills `answer` and returns after how long it goes out. `None` for everything else.
    pub fn receive(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> Option<Ticks> {
        let frame = frame.ok().filter(|frame| frame.technology == Technology::F && frame.crc)?;
        let request = SensfReq::parse(frame.data).filter(|request| request.means(self.system))?;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let slot = u64::from(self.random) % (u64::from(request.slots) + 1);
        let data = match request.ask {
            Ask::Nothing => None,
            Ask::SystemCode => Some(self.system.to_be_bytes()),
            // 212 and 424 kbit/s.
            Ask::Rates => Some([0x00, 0x83]),
        };
        answer.set(&Frame::new(Technology::F, &[]).at(frame.rate));
        SensfRes { data, ..self.response }.encode_into(&mut answer.data);
        Some(time::F_FIRST_SLOT + time::F_SLOT * slot)
    }
}
