//! Type A, ISO/IEC 14443-3 clause 6: request, anticollision over cascade levels 1 to 3, selection, halt.
//!
//! [`pcd::Select`] is the reader's part, [`picc::Picc`] the card's.

pub mod pcd;
pub mod picc;

use core::fmt;

/// REQA, a short frame: whoever is idle answers.
pub const REQA: [u8; 1] = [0x26];
/// WUPA, a short frame: whoever is idle or halted answers.
pub const WUPA: [u8; 1] = [0x52];
/// HLTA, with a checksum; it is not answered.
pub const HLTA: [u8; 2] = [0x50, 0x00];
/// SEL of the cascade levels 1, 2 and 3.
pub const SEL: [u8; 3] = [0x93, 0x95, 0x97];
/// NVB of SELECT: the whole of a level's 40 bits follows.
pub const NVB_ALL: u8 = 0x70;
/// Cascade tag: first byte of a level that is not the last.
pub const CASCADE_TAG: u8 = 0x88;

/// An identifier of 4, 7 or 10 bytes, in the order of the air.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Uid {
    bytes: [u8; 10],
    length: u8,
}

impl Uid {
    /// An identifier; `None` unless it has 4, 7 or 10 bytes.
    #[must_use]
    pub fn new(uid: &[u8]) -> Option<Self> {
        let length = match uid.len() {
            4 => 4,
            7 => 7,
            10 => 10,
            _ => return None,
        };
        let mut bytes = [0; 10];
        bytes.iter_mut().zip(uid).for_each(|(to, from)| *to = *from);
        Some(Self { bytes, length })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// How many cascade levels it takes: 1 to 3.
    #[must_use]
    pub const fn levels(&self) -> usize {
        match self.length {
            4 => 1,
            7 => 2,
            _ => 3,
        }
    }

    /// What a level (0 to 2) shows of it: four bytes and their check byte BCC. Behind the last level, that of the last.
    #[must_use]
    pub fn level(&self, level: usize) -> [u8; 5] {
        let last = self.levels() - 1;
        let at = level.min(last) * 3;
        let [a, b, c, d] = if level < last {
            [CASCADE_TAG, self.bytes[at], self.bytes[at + 1], self.bytes[at + 2]]
        } else {
            [self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]]
        };
        [a, b, c, d, a ^ b ^ c ^ d]
    }
}

impl From<[u8; 4]> for Uid {
    fn from([a, b, c, d]: [u8; 4]) -> Self {
        Self {
            bytes: [a, b, c, d, 0, 0, 0, 0, 0, 0],
            length: 4,
        }
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uid({self})")
    }
}

/// Answer to request, as its two bytes come: the low byte first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Atqa(pub [u8; 2]);

impl Atqa {
    /// How long the UID is: 4, 7 or 10 bytes; `None` for the value that is not used.
    #[must_use]
    pub const fn uid_length(self) -> Option<usize> {
        match self.0[0] >> 6 {
            0 => Some(4),
            1 => Some(7),
            2 => Some(10),
            _ => None,
        }
    }

    /// The usual answer of a card with such a UID: bit frame anticollision, b3.
    #[must_use]
    pub const fn of(uid: &Uid) -> Self {
        match uid.length {
            4 => Self([0x04, 0x00]),
            7 => Self([0x44, 0x03]),
            _ => Self([0x84, 0x03]),
        }
    }
}

/// Select acknowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sak(pub u8);

impl Sak {
    /// The UID goes on at the next level (b3).
    #[must_use]
    pub const fn is_cascade(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// The card knows ISO-DEP (b6).
    #[must_use]
    pub const fn has_iso_dep(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// The card knows NFC-DEP (b7).
    #[must_use]
    pub const fn has_nfc_dep(self) -> bool {
        self.0 & 0x40 != 0
    }
}

/// A card that was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its answer to request. If several cards answered, the first one's bits up to where they differ.
    pub atqa: Atqa,
    /// Its identifier. One that begins with 08 is random, another one at each activation.
    pub uid: Uid,
    /// Its select acknowledge.
    pub sak: Sak,
}

impl Card {
    /// Whether the identifier is random (ISO/IEC 14443-3 6.5.4): of four bytes, the first of them 08.
    #[must_use]
    pub fn has_random_uid(&self) -> bool {
        matches!(self.uid.as_bytes(), [0x08, _, _, _])
    }
}
