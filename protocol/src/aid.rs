//! Application identifiers (ISO/IEC 7816-5) and who uses them.
//!
//! The registry is `data/aids.tsv`: AID, category, name. Rows of category `rid` name the owner of a registered
//! application provider identifier, the first 5 bytes of an AID.

use alloc::borrow::Cow;
use core::fmt;
use core::str::FromStr;

use crate::status::tsv;

/// Most bytes of an AID.
pub const MAX_LENGTH: usize = 16;

/// An application identifier of 1 to 16 bytes, or the beginning of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aid {
    // First, so that the derived order is that of the bytes. Unused bytes are 0.
    bytes: [u8; MAX_LENGTH],
    length: u8,
}

impl Aid {
    /// The phone's half of challenge-response (docs/protocol.md 2).
    pub const CHALLENGE_RESPONSE: Self = tapdoor(0x01);
    /// The phone's half of AKA, profile P.
    pub const AKA: Self = tapdoor(0x02);
    /// The phone's identity.
    pub const IDENTITY: Self = tapdoor(0x0F);
    /// The lock's half of challenge-response.
    pub const CHALLENGE_RESPONSE_LOCK: Self = tapdoor(0x81);
    /// The lock's half of AKA, profile P.
    pub const AKA_LOCK: Self = tapdoor(0x82);
    /// The lock's half of AKA, profile U: host of a test USIM.
    pub const USIM_HOST: Self = tapdoor(0x83);
    /// Aliro, lock half.
    pub const ALIRO_LOCK: Self = tapdoor(0x84);
    /// The lock's signed requests.
    pub const REQUEST_LOCK: Self = tapdoor(0x8F);
    /// The full AID of our own test USIM (ETSI TS 101 220).
    pub const USIM: Self = constant("a0000000871002ffffffff8907090000");
    /// What all USIMs begin with, for SELECT by partial AID.
    pub const USIM_PREFIX: Self = constant("a0000000871002");
    /// The card manager (GlobalPlatform issuer security domain).
    pub const CARD_MANAGER: Self = constant("a000000151000000");
    /// Aliro, expedited phase.
    pub const ALIRO_EXPEDITED: Self = constant("a000000909acce5501");
    /// Aliro, step-up phase.
    pub const ALIRO_STEP_UP: Self = constant("a000000909acce5502");
    /// By which an Android phone shows that it has host card emulation.
    pub const ANDROID_HCE: Self = constant("a000000476416e64726f6964484345");

    /// The AID with these bytes; `None` unless there are 1 to 16.
    #[must_use]
    pub const fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > MAX_LENGTH {
            return None;
        }
        let mut aid = Self {
            bytes: [0; MAX_LENGTH],
            length: bytes.len() as u8,
        };
        aid.bytes.split_at_mut(bytes.len()).0.copy_from_slice(bytes);
        Some(aid)
    }

    /// Its bytes, 1 to 16.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        self.bytes.split_at(self.length as usize).0
    }
}

/// One of our own: "TAPDOOR" after F0, which is free for proprietary use (ISO/IEC 7816-5: category F).
const fn tapdoor(application: u8) -> Aid {
    let mut aid = constant("f0544150444f4f5200");
    aid.bytes[8] = application;
    aid
}

/// An AID of the source text or the table. Used in constants only, where a wrong one does not compile.
#[expect(clippy::panic, reason = "evaluated by the compiler, never at run time")]
const fn constant(text: &str) -> Aid {
    match parse(text) {
        Ok(aid) => aid,
        Err(_) => panic!("not an AID"),
    }
}

const fn parse(text: &str) -> Result<Aid, ParseAidError> {
    let digits = text.as_bytes();
    let length = digits.len() / 2;
    if digits.is_empty() || !digits.len().is_multiple_of(2) || length > MAX_LENGTH {
        return Err(ParseAidError::Length { digits: digits.len() });
    }
    let mut aid = Aid {
        bytes: [0; MAX_LENGTH],
        length: length as u8,
    };
    let mut n = 0;
    while n < digits.len() {
        let digit = match digits[n] {
            c @ b'0'..=b'9' => c - b'0',
            c @ b'a'..=b'f' => c - b'a' + 10,
            c @ b'A'..=b'F' => c - b'A' + 10,
            _ => return Err(ParseAidError::Digit { position: n }),
        };
        aid.bytes[n / 2] = aid.bytes[n / 2] << 4 | digit;
        n += 1;
    }
    Ok(aid)
}

/// Why a text is not an AID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseAidError {
    /// Not an even number of digits from 2 to 32.
    #[error("an AID has 1 to 16 bytes, that is 2 to 32 hexadecimal digits and an even number of them; here are {digits}")]
    Length {
        /// How many there are.
        digits: usize,
    },
    /// Something other than a hexadecimal digit.
    #[error("byte {position} (from 0) of the AID's text is no hexadecimal digit: write digits only, without spaces")]
    Digit {
        /// Where in the text, in bytes from 0.
        position: usize,
    },
}

impl FromStr for Aid {
    type Err = ParseAidError;

    /// Reads hexadecimal digits of either case, nothing between them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text)
    }
}

impl fmt::Display for Aid {
    /// Lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Aid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aid({self})")
    }
}

impl AsRef<[u8]> for Aid {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// A known application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its AID, or the beginning that all its AIDs share.
    pub aid: Aid,
    /// What it is for, one word: `access`, `payment`, `telecom`, ...
    pub category: &'static str,
    /// Its name.
    pub name: &'static str,
}

const TABLE: &str = include_str!("../data/aids.tsv");
const LENGTH: usize = tsv::count(TABLE);

/// Sorted by AID, owners of RIDs among them.
static ENTRIES: [Entry; LENGTH] = {
    let rows: [[&str; 3]; LENGTH] = tsv::rows(TABLE);
    let mut entries = [Entry {
        aid: Aid::CARD_MANAGER,
        category: "",
        name: "",
    }; LENGTH];
    let mut n = 0;
    while n < LENGTH {
        let [aid, category, name] = rows[n];
        entries[n] = Entry {
            aid: constant(aid),
            category,
            name,
        };
        n += 1;
    }
    entries
};

/// The category of rows that name the owner of a RID.
const RID: &str = "rid";

/// The applications that are known, in the order of their AIDs.
pub fn registry() -> impl Iterator<Item = Entry> {
    ENTRIES.iter().copied().filter(|entry| entry.category != RID)
}

/// Names an application: the known one whose AID is the longest beginning of `aid`, or else the owner of its RID.
///
/// `None` if neither is known, and for a partial AID too short to tell.
#[must_use]
pub fn name_of(aid: &[u8]) -> Option<Cow<'static, str>> {
    let mut aid = aid.get(..MAX_LENGTH).unwrap_or(aid);
    let mut entries: &[Entry] = &ENTRIES;
    let entry = loop {
        let at = entries.partition_point(|entry| entry.aid.as_bytes() <= aid);
        let entry = entries.get(at.checked_sub(1)?)?;
        let known = entry.aid.as_bytes();
        if aid.starts_with(known) {
            break entry;
        }
        // What begins like `aid` stands before this one, and cannot be longer than what both share.
        let shared = aid.iter().zip(known).take_while(|(a, b)| a == b).count();
        aid = aid.get(..shared)?;
        entries = entries.get(..at)?;
    };
    Some(match entry.category {
        RID => Cow::Owned(alloc::format!("unknown application of {}", entry.name)),
        _ => Cow::Borrowed(entry.name),
    })
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn one_to_sixteen_bytes() {
        assert_eq!(Aid::new(&[]), None);
        assert_eq!(Aid::new(&[1; 17]), None);
        for length in 1..=16 {
            assert_eq!(Aid::new(&[0; 16][..length]).unwrap().as_bytes(), &[0; 16][..length]);
        }
    }

    #[test]
    fn text() {
        let text = "f0544150444f4f5201";
        assert_eq!(Aid::CHALLENGE_RESPONSE.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(Aid::CHALLENGE_RESPONSE));
        assert_eq!(alloc::format!("{:?}", Aid::USIM_PREFIX), "Aid(a0000000871002)");
        assert_eq!("".parse::<Aid>(), Err(ParseAidError::Length { digits: 0 }));
        assert_eq!("a00".parse::<Aid>(), Err(ParseAidError::Length { digits: 3 }));
        let long = "00".repeat(17);
        assert_eq!(long.parse::<Aid>(), Err(ParseAidError::Length { digits: 34 }));
        assert_eq!("a0 0".parse::<Aid>(), Err(ParseAidError::Digit { position: 2 }));
        assert_eq!("a0é".parse::<Aid>(), Err(ParseAidError::Digit { position: 2 }));
    }

    #[test]
    fn our_own_as_in_the_protocol_page() {
        let rows = [
            (Aid::CHALLENGE_RESPONSE, "f0544150444f4f5201"),
            (Aid::AKA, "f0544150444f4f5202"),
            (Aid::IDENTITY, "f0544150444f4f520f"),
            (Aid::CHALLENGE_RESPONSE_LOCK, "f0544150444f4f5281"),
            (Aid::AKA_LOCK, "f0544150444f4f5282"),
            (Aid::USIM_HOST, "f0544150444f4f5283"),
            (Aid::ALIRO_LOCK, "f0544150444f4f5284"),
            (Aid::REQUEST_LOCK, "f0544150444f4f528f"),
        ];
        for (aid, text) in rows {
            assert_eq!(aid.to_string(), text);
            assert_eq!(&aid.as_bytes()[1..8], b"TAPDOOR");
            assert!(name_of(aid.as_bytes()).unwrap().starts_with("Tapdoor "));
        }
        assert!(Aid::USIM.as_bytes().starts_with(Aid::USIM_PREFIX.as_bytes()));
        assert!(Aid::ANDROID_HCE.as_bytes().ends_with(b"AndroidHCE"));
    }

    #[test]
    fn order_is_that_of_the_bytes() {
        let mut aids: Vec<Aid> = ["00", "0000", "0001", "01", "a0", "a000", "a00000", "ff"]
            .map(|t| t.parse().unwrap())
            .into();
        aids.reverse();
        let mut bytes: Vec<Vec<u8>> = aids.iter().map(|aid| aid.as_bytes().to_vec()).collect();
        aids.sort_unstable();
        bytes.sort_unstable();
        assert!(aids.iter().map(Aid::as_bytes).eq(bytes.iter().map(Vec::as_slice)));
    }

    #[test]
    fn the_registry_is_sorted_and_complete() {
        assert!(ENTRIES.is_sorted_by(|a, b| a.aid < b.aid));
        assert_eq!(registry().count(), 78 + 8);
        assert_eq!(ENTRIES.len() - registry().count(), 14);
        assert!(ENTRIES.iter().filter(|e| e.category == RID).all(|e| e.aid.as_bytes().len() == 5));
    }

    #[test]
    fn names() {
        let name = |text: &str| name_of(text.parse::<Aid>().unwrap().as_bytes());
        assert_eq!(name("a0000000871002").as_deref(), Some("USIM"));
        assert_eq!(name_of(Aid::USIM.as_bytes()).as_deref(), Some("USIM"));
        assert_ne!(name("a000000151000000"), name("a0000001510000"));
        assert_eq!(name("a000000151535041ff"), name("a000000151535041"));
        assert_eq!(name("a00000015199").as_deref(), Some("unknown application of GlobalPlatform"));
        assert_eq!(name("a000000151").as_deref(), Some("unknown application of GlobalPlatform"));
        assert_eq!(name("a0000001"), None);
        assert_eq!(name("f0112233445566"), None);
        assert_eq!(name_of(&[]), None);
        let long = [Aid::USIM.as_bytes(), &[0; 40]].concat();
        assert_eq!(name_of(&long).as_deref(), Some("USIM"));
    }
}
