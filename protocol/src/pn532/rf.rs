//! Items of RFConfiguration (UM0701-02 7.3.1), flags of SetParameters (7.2.9), modes of SAMConfiguration (7.2.10), line rates (7.2.6).

use alloc::vec::Vec;

use super::{Pn532Error, Take};

/// A time-out as the chip codes it: 0 none, n = 100 us * 2^(n-1), 1 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(u8);

impl Timeout {
    /// No time-out.
    pub const NONE: Self = Self(0);

    /// From the wire.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        if byte <= 16 { Some(Self(byte)) } else { None }
    }

    /// To the wire.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self.0
    }

    /// How long, in microseconds; `None` waits for ever.
    #[must_use]
    pub const fn microseconds(self) -> Option<u64> {
        if self.0 == 0 { None } else { Some(100 << (self.0 - 1)) }
    }

    /// The shortest that is at least `microseconds`; the longest (3.28 s) if there is none.
    #[must_use]
    pub fn at_least(microseconds: u64) -> Self {
        let code = (1..16).find(|n| 100 << (n - 1) >= microseconds).unwrap_or(16);
        Self(code)
    }
}

/// An item of RFConfiguration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RfItem<'a> {
    /// 01: the field.
    Field {
        /// Detect foreign fields before switching on.
        auto_rfca: bool,
        /// On or off.
        on: bool,
    },
    /// 02: time-outs of ATR_RES and of exchanges that have no protocol (InCommunicateThru, MIFARE InDataExchange).
    Timings {
        /// For ATR_RES.
        atr_res: Timeout,
        /// For answers outside ISO-DEP and NFC-DEP.
        retry: Timeout,
    },
    /// 04: how often an exchange is retried; FF for ever.
    MaxRetryCom(u8),
    /// 05: how often activation is retried; FF for ever.
    MaxRetries {
        /// ATR_REQ.
        atr: u8,
        /// PSL_REQ and PPS.
        psl: u8,
        /// Passive activation: 0 once, FF until a card comes.
        passive: u8,
    },
    /// 0A to 0D: analogue settings, 11, 8, 3 or 9 bytes.
    Analog {
        /// Which technology.
        item: u8,
        /// Register values.
        values: &'a [u8],
    },
}

impl<'a> RfItem<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Field { auto_rfca, on } => out.extend_from_slice(&[0x01, u8::from(auto_rfca) << 1 | u8::from(on)]),
            Self::Timings { atr_res, retry } => out.extend_from_slice(&[0x02, 0x00, atr_res.0, retry.0]),
            Self::MaxRetryCom(n) => out.extend_from_slice(&[0x04, n]),
            Self::MaxRetries { atr, psl, passive } => out.extend_from_slice(&[0x05, atr, psl, passive]),
            Self::Analog { item, values } => {
                out.push(item);
                out.extend_from_slice(values);
            }
        }
    }

    pub(super) fn parse(take: &mut Take<'a>) -> Result<Self, Pn532Error> {
        let timeout = |value| Timeout::from_byte(value).ok_or(Pn532Error::Value { what: "a time-out", value });
        Ok(match take.byte()? {
            0x01 => {
                let byte = take.byte()?;
                Self::Field {
                    auto_rfca: byte & 2 != 0,
                    on: byte & 1 != 0,
                }
            }
            0x02 => {
                let [_, atr_res, retry] = take.array()?;
                Self::Timings {
                    atr_res: timeout(atr_res)?,
                    retry: timeout(retry)?,
                }
            }
            0x04 => Self::MaxRetryCom(take.byte()?),
            0x05 => {
                let [atr, psl, passive] = take.array()?;
                Self::MaxRetries { atr, psl, passive }
            }
            item @ 0x0A => Self::Analog {
                item,
                values: take.bytes(11)?,
            },
            item @ 0x0B => Self::Analog {
                item,
                values: take.bytes(8)?,
            },
            item @ 0x0C => Self::Analog {
                item,
                values: take.bytes(3)?,
            },
            item @ 0x0D => Self::Analog {
                item,
                values: take.bytes(9)?,
            },
            value => {
                return Err(Pn532Error::Value {
                    what: "an item of RFConfiguration",
                    value,
                });
            }
        })
    }
}

/// The flags of SetParameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters(pub u8);

impl Parameters {
    /// NAD in exchanges.
    pub const NAD: u8 = 0x01;
    /// DID (or CID) in exchanges.
    pub const DID: u8 = 0x02;
    /// As a target: answer ATR_REQ without the host.
    pub const AUTOMATIC_ATR_RES: u8 = 0x04;
    /// InListPassiveTarget sends RATS to cards that know ISO-DEP.
    pub const AUTOMATIC_RATS: u8 = 0x10;
    /// As a target: be an ISO-DEP card.
    pub const ISO14443_4_PICC: u8 = 0x20;
    /// Frames to the host without preamble and postamble.
    pub const NO_AMBLES: u8 = 0x40;
    /// What the chip has after a reset.
    pub const DEFAULT: Self = Self(Self::AUTOMATIC_ATR_RES | Self::AUTOMATIC_RATS);

    /// Whether `flag` is set.
    #[must_use]
    pub const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// How the chip uses a SAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SamMode {
    /// Not at all.
    Normal = 1,
    /// The SAM is a virtual card.
    VirtualCard = 2,
    /// The SAM is a wired card.
    WiredCard = 3,
    /// Both.
    Dual = 4,
}

impl SamMode {
    /// From the wire.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Normal,
            2 => Self::VirtualCard,
            3 => Self::WiredCard,
            4 => Self::Dual,
            _ => return None,
        })
    }
}

/// The rate of the serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BaudRate {
    /// 9600 baud.
    B9600 = 0,
    /// 19200 baud.
    B19200 = 1,
    /// 38400 baud.
    B38400 = 2,
    /// 57600 baud.
    B57600 = 3,
    /// 115200 baud, as after a reset.
    B115200 = 4,
    /// 230400 baud.
    B230400 = 5,
    /// 460800 baud.
    B460800 = 6,
    /// 921600 baud.
    B921600 = 7,
    /// 1288000 baud.
    B1288000 = 8,
}

impl BaudRate {
    const ALL: [(Self, u32); 9] = [
        (Self::B9600, 9600),
        (Self::B19200, 19_200),
        (Self::B38400, 38_400),
        (Self::B57600, 57_600),
        (Self::B115200, 115_200),
        (Self::B230400, 230_400),
        (Self::B460800, 460_800),
        (Self::B921600, 921_600),
        (Self::B1288000, 1_288_000),
    ];

    /// From the wire.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).map(|(rate, _)| *rate)
    }

    /// From baud.
    #[must_use]
    pub fn from_baud(baud: u32) -> Option<Self> {
        Self::ALL.iter().find(|(_, b)| *b == baud).map(|(rate, _)| *rate)
    }

    /// In baud.
    #[must_use]
    pub const fn baud(self) -> u32 {
        Self::ALL[self as usize].1
    }
}
