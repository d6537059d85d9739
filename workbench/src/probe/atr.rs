//! The answer to reset: ISO/IEC 7816-3 clause 8, and what PC/SC part 3 (3.1.3.2.3) makes up for contactless cards.
//!
//! A reader gives a contactless card an ATR of its own making: `3B 8n 80 01`, then the historical bytes of the ATS (type A), eight bytes of the
//! ATQB and ATTRIB (type B), or, for a card without ISO/IEC 14443-4, a description that begins with PC/SC's RID.

use serde::Serialize;
use tapdoor_link::LinkError;
pub use tapdoor_reader::source::is_contactless;

use super::{Finding, Probe, as_hex};

/// PC/SC Workgroup, in the historical bytes of storage cards.
const PCSC_RID: [u8; 5] = [0xA0, 0x00, 0x00, 0x03, 0x06];

/// What an ATR is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A contactless card or phone with ISO/IEC 14443-4.
    Contactless,
    /// A contactless card that only stores, without APDUs of its own.
    Storage,
    /// A contact card.
    Contact,
    /// Not an ATR.
    Broken,
}

/// What an ATR says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Atr {
    /// Its bytes.
    #[serde(serialize_with = "as_hex::serialize")]
    pub atr: Vec<u8>,
    /// What it is made for.
    pub kind: Kind,
    /// The transmission protocols that it offers, without repetition.
    pub protocols: Vec<u8>,
    /// Its historical bytes.
    #[serde(serialize_with = "as_hex::serialize")]
    pub historical: Vec<u8>,
    /// In words.
    pub meaning: String,
}

/// Interface bytes, historical bytes: what ISO/IEC 7816-3 has in every ATR. `None` if a byte is missing or too many, or the check byte is wrong.
///
/// Accepts direct and inverse convention. Never panics.
fn parts(atr: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let [0x3B | 0x3F, t0, rest @ ..] = atr else { return None };
    let mut rest = rest.iter().copied();
    let mut protocols: Vec<u8> = Vec::new();
    let mut announced = *t0;
    loop {
        // TA, TB, TC as announced.
        for bit in [0x10, 0x20, 0x40] {
            if announced & bit != 0 {
                rest.next()?;
            }
        }
        if announced & 0x80 == 0 {
            break;
        }
        announced = rest.next()?;
        if !protocols.contains(&(announced & 0x0F)) {
            protocols.push(announced & 0x0F);
        }
    }
    let mut historical: Vec<u8> = rest.collect();
    // TCK is there unless T=0 is all that there is; the exclusive or of everything from T0 to it is zero.
    if protocols.iter().any(|protocol| *protocol != 0) {
        historical.pop()?;
        if atr.iter().skip(1).fold(0, |sum, byte| sum ^ byte) != 0 {
            return None;
        }
    }
    if historical.len() != usize::from(t0 & 0x0F) {
        return None;
    }
    if protocols.is_empty() {
        protocols.push(0);
    }
    Some((protocols, historical))
}

/// What kind of storage card PC/SC's two bytes mean (part 3 supplement, table of card names; the common ones).
fn storage_card(name: u16) -> &'static str {
    match name {
        0x0001 => "MIFARE Classic 1K",
        0x0002 => "MIFARE Classic 4K",
        0x0003 => "MIFARE Ultralight",
        0x0026 => "MIFARE Mini",
        0x002F => "Jewel",
        0x0030 => "Topaz",
        0x0036 | 0x0038 => "MIFARE Plus 2K",
        0x0037 | 0x0039 => "MIFARE Plus 4K",
        0x003A => "MIFARE Ultralight C",
        0x003B => "FeliCa",
        0xF004 => "Topaz or Jewel (ACR122U)",
        0xF011 => "FeliCa at 212 kbit/s (ACR122U)",
        0xF012 => "FeliCa at 424 kbit/s (ACR122U)",
        name if name >> 8 == 0xFF => "a card whose SAK the reader does not know",
        _ => "a card that PC/SC's table does not have here",
    }
}

/// The standard in PC/SC's byte SS.
fn storage_standard(standard: u8) -> &'static str {
    match standard {
        0x01..=0x03 => "ISO/IEC 14443 type A",
        0x05..=0x07 => "ISO/IEC 14443 type B",
        0x09..=0x0C => "ISO/IEC 15693",
        0x0D..=0x10 => "a contact memory card",
        0x11 => "FeliCa",
        _ => "a standard that is not told",
    }
}

impl Atr {
    /// Reads an ATR. Bytes that are none give [`Kind::Broken`].
    #[must_use]
    pub fn read(atr: &[u8]) -> Self {
        let Some((protocols, historical)) = parts(atr) else {
            return Self {
                atr: atr.to_vec(),
                kind: Kind::Broken,
                protocols: Vec::new(),
                historical: Vec::new(),
                meaning: "not as ISO/IEC 7816-3 has it: a byte is missing or too many, or the check byte is wrong".to_owned(),
            };
        };
        let (kind, meaning) = if !is_contactless(atr) {
            let names: Vec<String> = protocols.iter().map(|protocol| format!("T={protocol}")).collect();
            (Kind::Contact, format!("a contact card, {}", names.join(" and ")))
        } else if let [0x80, 0x4F, _, rid @ .., standard, high, low, _, _, _, _] = historical.as_slice()
            && rid == PCSC_RID
        {
            let name = u16::from_be_bytes([*high, *low]);
            let meaning = format!(
                "a storage card, {}: {} ({name:04X}); it takes the reader's commands, not APDUs",
                storage_standard(*standard),
                storage_card(name)
            );
            (Kind::Storage, meaning)
        } else {
            let meaning = match historical.as_slice() {
                [] => "contactless, ISO/IEC 14443-4, no historical bytes: what most phones show".to_owned(),
                [a, b, c, d, _, protocol_info, waiting, _] if protocol_info & 0x0F == 0x01 => format!(
                    "contactless, ISO/IEC 14443-4; eight bytes that type B would show as application data {a:02X}{b:02X}{c:02X}{d:02X} and FWI {}",
                    waiting >> 4
                ),
                bytes => format!("contactless, ISO/IEC 14443-4, {} historical bytes", bytes.len()),
            };
            (Kind::Contactless, meaning)
        };
        Self {
            atr: atr.to_vec(),
            kind,
            protocols,
            historical,
            meaning,
        }
    }
}

pub(super) fn check(probe: &mut Probe<'_>) -> Result<(), LinkError> {
    if let Some(atr) = probe.atr {
        probe.tell(Finding::Atr(Atr::read(atr)));
    }
    Ok(())
}
