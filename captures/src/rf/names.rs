//! What a frame is called and what it holds, given the frames before it (ISO/IEC 14443-3 and -4, ISO/IEC 18092).

use super::dep::{Block, payload};
use crate::decode::{Name, with_number, with_numbers};
use crate::event::{Crc, Direction};

/// What a frame means.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meaning<'a> {
    pub(crate) name: Name,
    pub(crate) fields: Vec<(&'static str, String)>,
    /// The frame without CRC and its block, if it is one of ISO-DEP.
    pub(crate) block: Option<(&'a [u8], Block<'a>)>,
}

/// What the reader said last, and so what the card's frame is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Other,
    Wake,
    Anticollision,
    Select(u8),
    Rats,
    Pps,
    WakeB,
    Attrib,
    Sensf,
    /// MIFARE and the like: what follows is not ISO-DEP, and may be enciphered.
    Foreign,
}

/// Follows the field.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    asked: Asked,
    /// Frame waiting time integer, from ATS or ATQB.
    fwi: u8,
    brief: bool,
}

impl Names {
    pub(crate) const fn new(brief: bool) -> Self {
        Self {
            asked: Asked::Other,
            fwi: 4,
            brief,
        }
    }

    /// The field went off or on.
    pub(crate) const fn reset(&mut self) {
        *self = Self::new(self.brief);
    }

    /// Time that one S(WTX) with this multiplier grants, in nanoseconds: 256 * 16 / fc * 2^FWI * WTXM.
    pub(crate) fn granted(&self, wtxm: u8) -> u64 {
        (302_065u64 << self.fwi) * u64::from(wtxm)
    }

    pub(crate) fn frame<'a>(&mut self, dir: Direction, data: &'a [u8], bits: Option<u32>, crc: Option<Crc>) -> Meaning<'a> {
        let Some(frame) = payload(data, crc) else {
            return self.said(with_number("", data.len() as u64, " bytes with a wrong CRC"));
        };
        // The synchronisation of FeliCa, which some recorders keep.
        let frame = frame.strip_prefix(&[0xB2, 0x4D]).unwrap_or(frame);
        match dir {
            Direction::Out => self.reader(frame, bits),
            Direction::In => self.card(frame, bits),
        }
    }

    fn said<'a>(&self, name: impl Into<Name>) -> Meaning<'a> {
        Meaning {
            name: name.into(),
            ..Meaning::default()
        }
    }

    fn with<'a>(&self, name: impl Into<Name>, fields: impl FnOnce() -> Vec<(&'static str, String)>) -> Meaning<'a> {
        Meaning {
            name: name.into(),
            fields: if self.brief { Vec::new() } else { fields() },
            block: None,
        }
    }

    fn block<'a>(&mut self, frame: &'a [u8]) -> Option<Meaning<'a>> {
        let block = Block::parse(frame)?;
        // Most frames are one of these.
        let name = match block {
            Block::I {
                number: 0, chained: false, ..
            } => "I(0)",
            Block::I { number: 0, .. } => "I(0)+",
            Block::I { chained: false, .. } => "I(1)",
            Block::I { .. } => "I(1)+",
            Block::R { number: 0, nak: false } => "R(ACK) 0",
            Block::R { nak: false, .. } => "R(ACK) 1",
            Block::R { number: 0, .. } => "R(NAK) 0",
            Block::R { .. } => "R(NAK) 1",
            Block::Wtx(_) => "S(WTX) ",
            Block::Deselect => "S(DESELECT)",
        };
        let name = match block {
            Block::Wtx(wtxm) => with_numbers([name, ", ", " ms granted"], [wtxm.into(), self.granted(wtxm) / 1_000_000]),
            _ => name.into(),
        };
        Some(Meaning {
            name,
            fields: Vec::new(),
            block: Some((frame, block)),
        })
    }

    fn reader<'a>(&mut self, frame: &'a [u8], bits: Option<u32>) -> Meaning<'a> {
        let short = frame.len() == 1 && bits.is_none_or(|bits| bits == 7);
        let (asked, meaning) = match frame {
            [0x26] if short => (Asked::Wake, self.said("REQA")),
            [0x52] if short => (Asked::Wake, self.said("WUPA")),
            [sel @ (0x93 | 0x95 | 0x97), 0x70, uid @ ..] if uid.len() == 5 => {
                let level = level(*sel);
                let name = ["SELECT, cascade level 1", "SELECT, cascade level 2", "SELECT, cascade level 3"];
                let meaning = self.with(name[usize::from(level - 1)], || vec![("UID part", hex::encode(&uid[..4]))]);
                (Asked::Select(level), meaning)
            }
            [sel @ (0x93 | 0x95 | 0x97), nvb @ 0x20..=0x6F, ..] => {
                let known = (nvb >> 4).saturating_sub(2) * 8 + (nvb & 7);
                let level = level(*sel);
                let name = match (known, level) {
                    (0, 1) => "ANTICOLLISION, cascade level 1".into(),
                    (0, level) => with_number("ANTICOLLISION, cascade level ", level.into(), ""),
                    (bits, level) => Name::from(format!("ANTICOLLISION, cascade level {level}, {bits} bits known")),
                };
                (Asked::Anticollision, self.said(name))
            }
            [0x50, 0x00] => (Asked::Other, self.said("HLTA")),
            [0xE0, parameter] => {
                let meaning = self.with("RATS", || {
                    let size = frame_size(parameter >> 4);
                    vec![("FSD", size), ("CID", (parameter & 15).to_string())]
                });
                (Asked::Rats, meaning)
            }
            [0xD0..=0xDF, 0x01 | 0x11, rest @ ..] if rest.len() < 2 && self.asked != Asked::Foreign => {
                let divisors = rest.first().copied().unwrap_or_default();
                let meaning = self.with("PPS", || {
                    vec![("reader to card", rate(divisors & 3)), ("card to reader", rate(divisors >> 2 & 3))]
                });
                (Asked::Pps, meaning)
            }
            [0x05, afi, parameter] => {
                let name = if parameter & 0x08 != 0 { "WUPB" } else { "REQB" };
                let meaning = self.with(name, || {
                    vec![("AFI", format!("{afi:02x}")), ("slots", (1u32 << (parameter & 7)).to_string())]
                });
                (Asked::WakeB, meaning)
            }
            [0x1D, pupi @ ..] if pupi.len() >= 8 => {
                let meaning = self.with("ATTRIB", || {
                    let frame = frame_size(pupi[5] & 15);
                    vec![
                        ("PUPI", hex::encode(&pupi[..4])),
                        ("FSD", frame),
                        ("CID", (pupi[7] & 15).to_string()),
                    ]
                });
                (Asked::Attrib, meaning)
            }
            [0x50, pupi @ ..] if pupi.len() == 4 => (Asked::Other, self.with("HLTB", || vec![("PUPI", hex::encode(pupi))])),
            [0x6A, rest @ ..] if rest.len() >= 3 => (Asked::Other, self.polling_loop(rest)),
            [_, 0x00, system @ ..] | [0x00, system @ ..] if system.len() == 4 && felica(frame) => {
                let meaning = self.with("SENSF_REQ", || vec![("system code", hex::encode(&system[..2]))]);
                (Asked::Sensf, meaning)
            }
            _ => return self.reader_later(frame),
        };
        self.asked = asked;
        meaning
    }

    /// What comes once a card is selected.
    fn reader_later<'a>(&mut self, frame: &'a [u8]) -> Meaning<'a> {
        if let Some(meaning) = self.block(frame) {
            self.asked = Asked::Other;
            return meaning;
        }
        if let Some(meaning) = self.nfc_dep(frame) {
            self.asked = Asked::Other;
            return meaning;
        }
        let name = match frame {
            [0x60, block] => with_number("MIFARE AUTH, key A, block ", (*block).into(), ""),
            [0x61, block] => with_number("MIFARE AUTH, key B, block ", (*block).into(), ""),
            [0x30, page] => with_number("READ of page or block ", (*page).into(), ""),
            [0xA2, page, _, _, _, _] => with_number("WRITE of page ", (*page).into(), ""),
            [0xA0, block] => with_number("MIFARE WRITE of block ", (*block).into(), ""),
            [0x1A, 0x00] => "AUTHENTICATE of Ultralight C".into(),
            [0x3A, from, to] => format!("FAST_READ of pages {from} to {to}").into(),
            [0x1B, _, _, _, _] => "PWD_AUTH".into(),
            [0x60] => "GET_VERSION".into(),
            [0xC2..=0xC8, ..] | [] => with_number("", frame.len() as u64, " bytes"),
            _ => {
                let name = with_number("", frame.len() as u64, " bytes");
                return self.said(name);
            }
        };
        self.asked = Asked::Foreign;
        self.said(name)
    }

    fn card<'a>(&mut self, frame: &'a [u8], bits: Option<u32>) -> Meaning<'a> {
        let asked = self.asked;
        match (asked, frame) {
            (Asked::Wake, [low, high]) => self.with("ATQA", || {
                let size = match low >> 6 {
                    0 => "4 bytes",
                    1 => "7 bytes",
                    2 => "10 bytes",
                    _ => "reserved",
                };
                vec![("ATQA", format!("{high:02x}{low:02x}")), ("UID size", size.into())]
            }),
            (Asked::Anticollision, [a, b, c, d, bcc]) => {
                let right = a ^ b ^ c ^ d == *bcc;
                let name = if right { "UID part" } else { "UID part with a wrong BCC" };
                self.with(name, || vec![("UID part", hex::encode(&frame[..4]))])
            }
            (Asked::Select(level), [sak]) => self.with("SAK", || {
                let what = match sak {
                    _ if sak & 0x04 != 0 => format!("{sak:02x}, UID goes on in cascade level {}", level + 1),
                    _ if sak & 0x60 == 0x60 => format!("{sak:02x}, ISO-DEP and NFC-DEP"),
                    _ if sak & 0x20 != 0 => format!("{sak:02x}, ISO-DEP"),
                    _ if sak & 0x40 != 0 => format!("{sak:02x}, NFC-DEP"),
                    _ => format!("{sak:02x}, no ISO-DEP"),
                };
                vec![("SAK", what)]
            }),
            (Asked::Rats, [length, ..]) if usize::from(*length) == frame.len() => self.ats(frame),
            (Asked::Pps, [0xD0..=0xDF]) => self.said("PPS answer"),
            (Asked::WakeB, [0x50, rest @ ..]) if rest.len() >= 11 => {
                self.fwi = (rest[10] >> 4).min(14);
                let fwi = self.fwi;
                self.with("ATQB", || {
                    vec![
                        ("PUPI", hex::encode(&rest[..4])),
                        ("application data", hex::encode(&rest[4..8])),
                        ("FSC", frame_size(rest[9] >> 4)),
                        ("ISO-DEP", if rest[9] & 1 != 0 { "yes" } else { "no" }.into()),
                        ("FWT", waiting(fwi)),
                    ]
                })
            }
            (Asked::Attrib, [mbli, ..]) if frame.len() < 3 => self.with("ATTRIB answer", || vec![("CID", (mbli & 15).to_string())]),
            (Asked::Sensf, [_, 0x01, idm @ ..] | [0x01, idm @ ..]) if idm.len() >= 16 => self.with("SENSF_RES", || {
                vec![("IDm", hex::encode(&idm[..8])), ("PMm", hex::encode(&idm[8..16]))]
            }),
            (Asked::Foreign, _) => {
                let name = match (bits, frame) {
                    (Some(4), [code]) | (_, [code]) => match code & 15 {
                        0x0A => "ACK".into(),
                        code => format!("NAK {code:x}").into(),
                    },
                    _ => with_number("", frame.len() as u64, " bytes"),
                };
                self.said(name)
            }
            _ => {
                if let Some(meaning) = self.block(frame) {
                    return meaning;
                }
                if let Some(meaning) = self.nfc_dep(frame) {
                    return meaning;
                }
                let name = with_number("", frame.len() as u64, " bytes");
                self.said(name)
            }
        }
    }

    fn ats<'a>(&mut self, frame: &[u8]) -> Meaning<'a> {
        let mut at = 2;
        let mut next = |there: bool| {
            let byte = frame.get(at).copied().filter(|_| there);
            at += usize::from(byte.is_some());
            byte
        };
        let t0 = frame.get(1).copied();
        let has = |bit: u8| t0.is_some_and(|t0| t0 & bit != 0);
        let (ta, tb, tc) = (next(has(0x10)), next(has(0x20)), next(has(0x40)));
        self.fwi = tb.map_or(4, |tb| tb >> 4).min(14);
        let fwi = self.fwi;
        self.with("ATS", || {
            let mut fields = vec![("FSC", frame_size(t0.map_or(2, |t0| t0 & 15))), ("FWT", waiting(fwi))];
            if let Some(tb) = tb.filter(|tb| tb & 15 != 0) {
                fields.push(("SFGT", waiting((tb & 15).min(14))));
            }
            if let Some(ta) = ta {
                fields.push(("bit rates", format!("{ta:02x}")));
            }
            if let Some(tc) = tc {
                let what = ["neither CID nor NAD", "NAD", "CID", "CID and NAD"][usize::from(tc & 3)];
                fields.push(("supports", what.into()));
            }
            if at < frame.len() {
                fields.push(("historical bytes", hex::encode(&frame[at..])));
            }
            fields
        })
    }

    /// Enhanced contactless polling: version, configuration, type, subtype, terminal capabilities.
    fn polling_loop<'a>(&self, rest: &[u8]) -> Meaning<'a> {
        self.with(format!("enhanced contactless polling, version {}", rest[0]), || match rest {
            [2, config, kind, subtype, tci @ ..] => {
                let kind = match kind {
                    1 => "01, transit".into(),
                    2 => "02, access".into(),
                    3 => "03, identity".into(),
                    5 => "05, hand-over".into(),
                    other => format!("{other:02x}"),
                };
                let cut = tci.len().min(3);
                let mut fields = vec![
                    ("configuration", format!("{config:02x}")),
                    ("type", kind),
                    ("subtype", format!("{subtype:02x}")),
                    ("TCI", hex::encode(&tci[..cut])),
                ];
                if tci.len() > cut {
                    fields.push(("data", hex::encode(&tci[cut..])));
                }
                fields
            }
            [_, tci @ ..] => vec![("TCI", hex::encode(tci))],
            [] => Vec::new(),
        })
    }

    /// NFC-DEP: with or without start byte and length.
    fn nfc_dep<'a>(&self, frame: &[u8]) -> Option<Meaning<'a>> {
        let rest = match frame {
            [0xF0, length, rest @ ..] if usize::from(*length) == rest.len() + 1 => rest,
            [length, rest @ ..] if usize::from(*length) == frame.len() => rest,
            _ => frame,
        };
        let name = match rest {
            [0xD4, 0x00, ..] => "ATR_REQ",
            [0xD5, 0x01, ..] => "ATR_RES",
            [0xD4, 0x04, ..] => "PSL_REQ",
            [0xD5, 0x05, ..] => "PSL_RES",
            [0xD4, 0x06, ..] => "DEP_REQ",
            [0xD5, 0x07, ..] => "DEP_RES",
            [0xD4, 0x08, ..] => "DSL_REQ",
            [0xD5, 0x09, ..] => "DSL_RES",
            [0xD4, 0x0A, ..] => "RLS_REQ",
            [0xD5, 0x0B, ..] => "RLS_RES",
            _ => return None,
        };
        Some(match rest {
            [_, 0x00 | 0x01, id @ ..] if id.len() >= 10 => self.with(name, || vec![("NFCID3", hex::encode(&id[..10]))]),
            [_, 0x06 | 0x07, pfb, ..] => self.with(name, || vec![("PFB", format!("{pfb:02x}"))]),
            _ => self.said(name),
        })
    }
}

const fn level(sel: u8) -> u8 {
    (sel - 0x91) / 2
}

fn felica(frame: &[u8]) -> bool {
    matches!(frame, [0x06, 0x00, ..] if frame.len() == 6) || matches!(frame, [0x00, ..] if frame.len() == 5)
}

fn frame_size(code: u8) -> String {
    let size = [16, 24, 32, 40, 48, 64, 96, 128, 256, 512, 1024, 2048, 4096].get(usize::from(code));
    size.map_or_else(|| format!("reserved code {code}"), |size| format!("{size} bytes"))
}

/// FWT or SFGT in words.
fn waiting(integer: u8) -> String {
    let microseconds = 302u64 << integer;
    format!("{}.{} ms", microseconds / 1000, microseconds % 1000 / 100)
}

fn rate(divisor: u8) -> String {
    format!("{} kbit/s", 106u32 << divisor)
}
