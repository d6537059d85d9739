//! Cards and peers as the chip describes them (UM0701-02 7.3.5, 7.3.13).

use alloc::vec::Vec;

use super::answer::DepAnswer;
use super::{Pn532Error, Take};

/// What InListPassiveTarget looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Modulation {
    /// ISO 14443 type A at 106 kbit/s.
    A106 = 0,
    /// FeliCa at 212 kbit/s.
    Felica212 = 1,
    /// FeliCa at 424 kbit/s.
    Felica424 = 2,
    /// ISO 14443 type B at 106 kbit/s.
    B106 = 3,
    /// Innovision Jewel (Topaz).
    Jewel = 4,
}

impl Modulation {
    /// From the wire.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::A106,
            1 => Self::Felica212,
            2 => Self::Felica424,
            3 => Self::B106,
            4 => Self::Jewel,
            _ => return None,
        })
    }
}

/// What InAutoPoll looks for, and what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum AutoPollType {
    GenericA106 = 0x00,
    GenericFelica212 = 0x01,
    GenericFelica424 = 0x02,
    TypeB106 = 0x03,
    Jewel = 0x04,
    Mifare = 0x10,
    Felica212 = 0x11,
    Felica424 = 0x12,
    IsoDepA = 0x20,
    IsoDepB = 0x23,
    DepPassive106 = 0x40,
    DepPassive212 = 0x41,
    DepPassive424 = 0x42,
    DepActive106 = 0x80,
    DepActive212 = 0x81,
    DepActive424 = 0x82,
}

impl AutoPollType {
    /// Every type there is.
    pub const ALL: [Self; 16] = [
        Self::GenericA106,
        Self::GenericFelica212,
        Self::GenericFelica424,
        Self::TypeB106,
        Self::Jewel,
        Self::Mifare,
        Self::Felica212,
        Self::Felica424,
        Self::IsoDepA,
        Self::IsoDepB,
        Self::DepPassive106,
        Self::DepPassive212,
        Self::DepPassive424,
        Self::DepActive106,
        Self::DepActive212,
        Self::DepActive424,
    ];

    /// From the wire.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|t| *t as u8 == byte)
    }

    /// Whether it is NFC-DEP, with an ATR_RES in its description.
    #[must_use]
    pub const fn is_dep(self) -> bool {
        self as u8 & 0xC0 != 0
    }

    /// The modulation whose description of targets is used; `None` for NFC-DEP.
    #[must_use]
    pub const fn modulation(self) -> Option<Modulation> {
        Some(match self {
            Self::GenericA106 | Self::Mifare | Self::IsoDepA => Modulation::A106,
            Self::GenericFelica212 | Self::Felica212 => Modulation::Felica212,
            Self::GenericFelica424 | Self::Felica424 => Modulation::Felica424,
            Self::TypeB106 | Self::IsoDepB => Modulation::B106,
            Self::Jewel => Modulation::Jewel,
            _ => return None,
        })
    }
}

/// A card that InListPassiveTarget or InAutoPoll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed<'a> {
    /// Type A.
    A {
        /// Its number.
        target: u8,
        /// SENS_RES as the chip gives it: high byte first, the other way round than on the air.
        sens_res: [u8; 2],
        /// SEL_RES.
        sel_res: u8,
        /// 4, 7 or 10 bytes.
        uid: &'a [u8],
        /// The ATS with its length byte TL, if RATS was sent.
        ats: Option<&'a [u8]>,
    },
    /// Type B.
    B {
        /// Its number.
        target: u8,
        /// ATQB from its first byte (50) on.
        atqb: [u8; 12],
        /// The answer to ATTRIB.
        attrib_res: &'a [u8],
    },
    /// FeliCa.
    Felica {
        /// Its number.
        target: u8,
        /// NFCID2.
        nfcid2: [u8; 8],
        /// PAD.
        pad: [u8; 8],
        /// System code, if it was asked for.
        system_code: Option<[u8; 2]>,
    },
    /// Jewel.
    Jewel {
        /// Its number.
        target: u8,
        /// SENS_RES.
        sens_res: [u8; 2],
        /// Its identifier.
        id: [u8; 4],
    },
}

impl<'a> Listed<'a> {
    /// Its number, for InDataExchange.
    #[must_use]
    pub const fn target(&self) -> u8 {
        match self {
            Self::A { target, .. } | Self::B { target, .. } | Self::Felica { target, .. } | Self::Jewel { target, .. } => *target,
        }
    }

    /// Appends the description.
    pub fn encode(&self, out: &mut Vec<u8>) {
        // Lengths that no card has are cut, so that the description stays readable.
        let cut = |bytes: &'a [u8], most: usize| &bytes[..bytes.len().min(most)];
        match *self {
            Self::A {
                target,
                sens_res,
                sel_res,
                uid,
                ats,
            } => {
                let uid = cut(uid, 10);
                out.extend_from_slice(&[target, sens_res[0], sens_res[1], sel_res, uid.len() as u8]);
                out.extend_from_slice(uid);
                out.extend_from_slice(cut(ats.unwrap_or_default(), 254));
            }
            Self::B { target, atqb, attrib_res } => {
                let attrib_res = cut(attrib_res, 255);
                out.push(target);
                out.extend_from_slice(&atqb);
                out.push(attrib_res.len() as u8);
                out.extend_from_slice(attrib_res);
            }
            Self::Felica {
                target,
                nfcid2,
                pad,
                system_code,
            } => {
                out.extend_from_slice(&[target, if system_code.is_some() { 20 } else { 18 }, 0x01]);
                out.extend_from_slice(&nfcid2);
                out.extend_from_slice(&pad);
                out.extend(system_code.iter().flatten());
            }
            Self::Jewel { target, sens_res, id } => {
                out.push(target);
                out.extend_from_slice(&sens_res);
                out.extend_from_slice(&id);
            }
        }
    }

    /// Reads the next description from `take`. `rats` says whether type A cards with ISO-DEP were sent RATS.
    pub(super) fn parse(take: &mut Take<'a>, modulation: Modulation, rats: bool) -> Result<Self, Pn532Error> {
        let target = take.byte()?;
        Ok(match modulation {
            Modulation::A106 => {
                let sens_res = take.array()?;
                let [sel_res, length] = take.array()?;
                let uid = take.bytes(usize::from(length))?;
                let mut ats = None;
                if rats && sel_res & 0x20 != 0 && !take.is_empty() {
                    let mut ahead = *take;
                    let tl = ahead.byte()?;
                    if tl == 0 {
                        return Err(Pn532Error::Value { what: "TL", value: 0 });
                    }
                    ats = Some(take.bytes(usize::from(tl))?);
                }
                Self::A {
                    target,
                    sens_res,
                    sel_res,
                    uid,
                    ats,
                }
            }
            Modulation::B106 => {
                let atqb = take.array()?;
                let length = take.byte()?;
                Self::B {
                    target,
                    atqb,
                    attrib_res: take.bytes(usize::from(length))?,
                }
            }
            Modulation::Felica212 | Modulation::Felica424 => {
                let [length, code] = take.array()?;
                if !matches!(length, 18 | 20) || code != 0x01 {
                    return Err(Pn532Error::Value {
                        what: "the length of SENSF_RES",
                        value: length,
                    });
                }
                Self::Felica {
                    target,
                    nfcid2: take.array()?,
                    pad: take.array()?,
                    system_code: if length == 20 { Some(take.array()?) } else { None },
                }
            }
            Modulation::Jewel => Self::Jewel {
                target,
                sens_res: take.array()?,
                id: take.array()?,
            },
        })
    }
}

/// What InAutoPoll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolledTarget<'a> {
    /// A card.
    Card(AutoPollType, Listed<'a>),
    /// A peer of NFC-DEP.
    Dep(AutoPollType, DepAnswer<'a>),
}

impl<'a> PolledTarget<'a> {
    /// Appends type, length and description.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let kind = match self {
            Self::Card(kind, _) | Self::Dep(kind, _) => *kind,
        };
        out.extend_from_slice(&[kind as u8, 0]);
        let at = out.len();
        match self {
            Self::Card(_, listed) => listed.encode(out),
            Self::Dep(_, dep) => dep.encode(out),
        }
        out.truncate(at + 255);
        out[at - 1] = (out.len() - at) as u8;
    }

    pub(super) fn parse(take: &mut Take<'a>) -> Result<Self, Pn532Error> {
        let [kind, length] = take.array()?;
        let kind = AutoPollType::from_byte(kind).ok_or(Pn532Error::Value {
            what: "a type of InAutoPoll",
            value: kind,
        })?;
        let mut data = Take::new("a target of InAutoPoll", take.bytes(usize::from(length))?);
        let target = match kind.modulation() {
            Some(modulation) => Self::Card(kind, Listed::parse(&mut data, modulation, true)?),
            None => Self::Dep(kind, DepAnswer::parse(&mut data)?),
        };
        data.end()?;
        Ok(target)
    }
}
