//! The UID, from our own search or by the reader's `FF CA 00 00 00` (PC/SC part 3, 3.2.2.1.3), and whether it names the card (ISO/IEC 14443-3 6.5.4).

use serde::Serialize;
use tapdoor_link::LinkError;

use super::{Finding, Probe, as_hex};

const GET_UID: [u8; 5] = [0xFF, 0xCA, 0x00, 0x00, 0x00];

/// Whether a UID names its card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Another one at every activation: 4 bytes that begin with 08.
    Random,
    /// Always the same, and in theory no other card has it: 7 or 10 bytes.
    Unique,
    /// Always the same, and others may have it too: 4 bytes that do not begin with 08.
    Fixed,
    /// Of a length that type A does not have: a type B card's PUPI has 4, a FeliCa IDm or an ISO/IEC 15693 UID has 8.
    Other,
}

/// What the UID is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Uid {
    /// Its bytes, in the order of the air. They name a card and whoever carries it, unless they are random.
    #[serde(serialize_with = "as_hex::serialize")]
    pub uid: Vec<u8>,
    /// Whether it names its card.
    pub kind: Kind,
    /// The chip's maker, by the first byte of 7 or 10 (ISO/IEC 7816-6).
    pub maker: Option<&'static str>,
    /// In words.
    pub meaning: &'static str,
}

impl Uid {
    /// What these bytes are.
    #[must_use]
    pub fn read(uid: &[u8]) -> Self {
        let (kind, meaning) = match uid {
            [0x08, _, _, _] => (
                Kind::Random,
                "random, another one at every activation: phones do this; nothing may depend on it",
            ),
            [_, _, _, _] => (
                Kind::Fixed,
                "4 bytes, fixed (or a type B card's PUPI): not unique, and easily copied",
            ),
            _ if matches!(uid.len(), 7 | 10) => (
                Kind::Unique,
                "fixed, of a single card; readable by everybody, so no proof of anything",
            ),
            _ => (Kind::Other, "not of type A: FeliCa or ISO/IEC 15693, by its length"),
        };
        Self {
            uid: uid.to_vec(),
            kind,
            maker: uid.first().filter(|_| kind == Kind::Unique).and_then(|first| maker(*first)),
            meaning,
        }
    }

    /// Its digits, all but the first two bytes hidden unless it is random.
    #[must_use]
    pub fn masked(&self) -> String {
        match (self.kind, self.uid.as_slice()) {
            (Kind::Random, bytes) => hex::encode(bytes),
            (_, [first, ..]) => format!("{first:02x}..({} bytes)", self.uid.len()),
            (_, []) => String::new(),
        }
    }
}

/// Makers of chips with a UID of 7 bytes, those that are met often.
const fn maker(first: u8) -> Option<&'static str> {
    Some(match first {
        0x02 => "STMicroelectronics",
        0x04 => "NXP",
        0x05 => "Infineon",
        0x07 => "Texas Instruments",
        0x16 => "EM Microelectronic",
        0x1D => "Fudan Microelectronics",
        0x2E => "Broadcom",
        0x5F => "Samsung",
        _ => return None,
    })
}

pub(super) fn check(probe: &mut Probe<'_>) -> Result<(), LinkError> {
    let uid = match &probe.activation.uid {
        Some(uid) => Some(uid.clone()),
        None => probe.ask_reader(&GET_UID)?,
    };
    if let Some(uid) = uid {
        probe.tell(Finding::Uid(Uid::read(&uid)));
    }
    Ok(())
}
