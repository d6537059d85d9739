//! Status words and what they mean (ISO/IEC 7816-4 5.1.3; ETSI TS 102 221 10.2; 3GPP TS 31.102 7.3; GlobalPlatform 11.1.3).
//!
//! The table is `data/status_words.tsv`: a pattern of four characters (X is any digit), the class, who defined the meaning,
//! and the meaning. The same value may mean other things to other cards; the meaning here is the most common one.

use alloc::borrow::Cow;
use alloc::string::ToString;
use core::fmt;

pub(crate) mod tsv;

const TABLE: &str = include_str!("../data/status_words.tsv");

/// Pattern, class, scope, meaning; sorted by pattern.
static ROWS: [[&str; 4]; tsv::count(TABLE)] = tsv::rows(TABLE);

/// SW1 and SW2 of a response APDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusWord(pub u16);

/// Kind of a status word, by SW1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// 9000 and 61XX: done.
    Normal,
    /// 62XX: done with a warning, nothing stored was changed.
    Warning,
    /// 63XX: done with a warning, something stored may have changed.
    WarningChanged,
    /// 64XX: failed while executing, nothing stored was changed.
    Error,
    /// 65XX: failed while executing, something stored may have changed.
    ErrorChanged,
    /// 66XX: failed for a reason of security.
    Security,
    /// 67XX to 6FXX: refused before executing.
    Checking,
    /// 9XXX except 9000: the application's own; may well be success, as 91XX of a UICC or 9100 of DESFire.
    Application,
    /// Not a status word of ISO/IEC 7816-3: SW1 is neither 6X (60 excepted) nor 9X.
    Invalid,
}

impl Class {
    /// The name used in files and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warning => "warning",
            Self::WarningChanged => "warning-changed",
            Self::Error => "error",
            Self::ErrorChanged => "error-changed",
            Self::Security => "security",
            Self::Checking => "checking",
            Self::Application => "application",
            Self::Invalid => "invalid",
        }
    }
}

impl StatusWord {
    /// Done.
    pub const OK: Self = Self(0x9000);
    /// More data available (GlobalPlatform GET STATUS).
    pub const MORE_DATA_AVAILABLE: Self = Self(0x6310);
    /// Wrong length.
    pub const WRONG_LENGTH: Self = Self(0x6700);
    /// Logical channel not supported.
    pub const CHANNEL_NOT_SUPPORTED: Self = Self(0x6881);
    /// Secure messaging not supported.
    pub const SECURE_MESSAGING_NOT_SUPPORTED: Self = Self(0x6882);
    /// Last command of the chain expected.
    pub const LAST_COMMAND_EXPECTED: Self = Self(0x6883);
    /// Command chaining not supported.
    pub const CHAINING_NOT_SUPPORTED: Self = Self(0x6884);
    /// Security status not satisfied.
    pub const SECURITY_STATUS: Self = Self(0x6982);
    /// Authentication method (PIN) blocked.
    pub const PIN_BLOCKED: Self = Self(0x6983);
    /// Reference data not usable.
    pub const REFERENCE_DATA_NOT_USABLE: Self = Self(0x6984);
    /// Conditions of use not satisfied.
    pub const CONDITIONS_NOT_SATISFIED: Self = Self(0x6985);
    /// Wrong values in the data field.
    pub const WRONG_DATA: Self = Self(0x6A80);
    /// Function not supported.
    pub const FUNCTION_NOT_SUPPORTED: Self = Self(0x6A81);
    /// File or application not found.
    pub const NOT_FOUND: Self = Self(0x6A82);
    /// Record not found.
    pub const RECORD_NOT_FOUND: Self = Self(0x6A83);
    /// Not enough memory.
    pub const NOT_ENOUGH_MEMORY: Self = Self(0x6A84);
    /// Wrong P1-P2.
    pub const INCORRECT_P1_P2: Self = Self(0x6A86);
    /// Referenced data not found.
    pub const DATA_NOT_FOUND: Self = Self(0x6A88);
    /// Instruction not supported.
    pub const INS_NOT_SUPPORTED: Self = Self(0x6D00);
    /// Class not supported.
    pub const CLA_NOT_SUPPORTED: Self = Self(0x6E00);
    /// No precise diagnosis.
    pub const NO_DIAGNOSIS: Self = Self(0x6F00);
    /// Authentication failed: wrong MAC (3GPP TS 31.102).
    pub const AUTHENTICATION_FAILED: Self = Self(0x9862);

    /// The status word of these two bytes.
    #[must_use]
    pub const fn from_bytes(sw1: u8, sw2: u8) -> Self {
        Self(u16::from_be_bytes([sw1, sw2]))
    }

    /// SW1 and SW2.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }

    /// The first byte.
    #[must_use]
    pub const fn sw1(self) -> u8 {
        self.to_bytes()[0]
    }

    /// The second byte.
    #[must_use]
    pub const fn sw2(self) -> u8 {
        self.to_bytes()[1]
    }

    /// Whether it is 9000. Nothing else is: 61XX is not the whole answer, and 9100 is for those who know the card.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == Self::OK.0
    }

    /// The kind of status word.
    #[must_use]
    pub const fn class(self) -> Class {
        match self.0 {
            0x9000 | 0x6100..=0x61FF => Class::Normal,
            0x6200..=0x62FF => Class::Warning,
            0x6300..=0x63FF => Class::WarningChanged,
            0x6400..=0x64FF => Class::Error,
            0x6500..=0x65FF => Class::ErrorChanged,
            0x6600..=0x66FF => Class::Security,
            0x6700..=0x6FFF => Class::Checking,
            0x9001..=0x9FFF => Class::Application,
            _ => Class::Invalid,
        }
    }

    /// What it means, in a few words; numbers that it carries are filled in (bytes available, tries left).
    #[must_use]
    pub fn meaning(self) -> Cow<'static, str> {
        let (row, wildcards) = self.row();
        let [_, _, _, text] = *row;
        let number = u32::from(self.0) & ((1 << (4 * wildcards)) - 1);
        if text.contains("{n}") {
            Cow::Owned(text.replace("{n}", &number.to_string()))
        } else if text.contains("{length}") {
            // A length byte 00 is 256.
            let length = if number == 0 { 256 } else { number };
            Cow::Owned(text.replace("{length}", &length.to_string()))
        } else {
            Cow::Borrowed(text)
        }
    }

    /// Who defined that meaning: `iso`, `etsi`, `3gpp`, `gp`, `desfire`, `vendor`, or several with commas.
    #[must_use]
    pub fn scope(self) -> &'static str {
        let [_, _, scope, _] = *self.row().0;
        scope
    }

    /// The narrowest row for this status word, and how many of its digits are wildcards.
    fn row(self) -> (&'static [&'static str; 4], usize) {
        let mut pattern = self.digits();
        if let Some(row) = find(pattern) {
            return (row, 0);
        }
        // 6202 to 6280 and 6402 to 6480 are one meaning each, written in the table at 02.
        if let (0x62 | 0x64, 0x02..=0x80) = (self.sw1(), self.sw2())
            && let Some(row) = find(Self::from_bytes(self.sw1(), 0x02).digits())
        {
            return (row, 0);
        }
        for wildcards in 1..=pattern.len() {
            pattern[pattern.len() - wildcards] = b'X';
            if let Some(row) = find(pattern) {
                return (row, wildcards);
            }
        }
        (&UNKNOWN, 0)
    }

    /// The four hexadecimal digits, upper case.
    fn digits(self) -> [u8; 4] {
        [12, 8, 4, 0].map(|shift| b"0123456789ABCDEF"[usize::from(self.0 >> shift & 0xF)])
    }
}

/// Only if the table had no row XXXX.
static UNKNOWN: [&str; 4] = ["XXXX", "invalid", "iso", "unknown status word"];

fn find(pattern: [u8; 4]) -> Option<&'static [&'static str; 4]> {
    let index = ROWS.binary_search_by(|[row, ..]| row.as_bytes().cmp(&pattern)).ok()?;
    ROWS.get(index)
}

impl fmt::Display for StatusWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}

impl From<[u8; 2]> for StatusWord {
    fn from([sw1, sw2]: [u8; 2]) -> Self {
        Self::from_bytes(sw1, sw2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(ROWS.is_sorted_by(|a, b| a[0] < b[0]));
        assert_eq!(ROWS.len(), 244);
        assert!(find(*b"XXXX").is_some());
        for [pattern, class, scope, meaning] in ROWS {
            assert_eq!(pattern.len(), 4, "{pattern}");
            let wildcards = pattern.bytes().filter(|b| *b == b'X').count();
            assert!(
                pattern[..4 - wildcards].bytes().all(|b| b"0123456789ABCDEF".contains(&b)),
                "{pattern}"
            );
            // The class is that of every status word of the pattern, 9000 and the catch-alls excepted.
            if pattern != "XXXX" && pattern != "6XXX" {
                let highest = u16::from_str_radix(&pattern.replace('X', "F"), 16).unwrap();
                assert_eq!(class, StatusWord(highest).class().name(), "{pattern}");
            }
            let known = ["iso", "etsi", "3gpp", "gp", "desfire", "vendor"];
            assert!(scope.split(',').all(|s| known.contains(&s)), "{pattern}");
            if meaning.contains('{') {
                assert!(
                    wildcards > 0 && (meaning.contains("{n}") || meaning.contains("{length}")),
                    "{pattern}"
                );
            }
            assert!(meaning.len() <= 90 && !meaning.ends_with('.'), "{pattern}");
        }
    }

    #[test]
    fn narrowest_pattern_first() {
        let rows = [
            (0x9000, "done"),
            (0x6A82, "file or application not found"),
            (0x6110, "16 more bytes available by GET RESPONSE"),
            (0x6100, "256 more bytes available by GET RESPONSE"),
            (0x6C0A, "wrong Le, 10 bytes available"),
            (0x6C01, "wrong Le, 1 bytes available"),
            (0x63C2, "wrong, 2 tries left"),
            (0x63C7, "counter at 7, mostly tries left"),
            (0x6210, "the card asks for an exchange of its own (triggering)"),
            (0x6480, "the card asks for an exchange of its own (triggering), failed"),
            (0x6481, "failed, nothing stored was changed"),
            (0x9862, "authentication failed, wrong MAC"),
            (0x9134, "done, proactive command of 52 bytes waiting"),
        ];
        for (sw, meaning) in rows {
            assert_eq!(StatusWord(sw).meaning(), meaning, "{sw:04X}");
        }
        assert_eq!(StatusWord(0x0000).meaning(), StatusWord(0xFFFF).meaning());
        assert_ne!(StatusWord(0x6281).meaning(), StatusWord(0x6280).meaning());
    }

    #[test]
    fn classes_and_bytes() {
        let sw = StatusWord::from_bytes(0x61, 0x0A);
        assert_eq!((sw.sw1(), sw.sw2(), sw.to_bytes()), (0x61, 0x0A, [0x61, 0x0A]));
        assert_eq!(StatusWord::from([0x61, 0x0A]), sw);
        assert_eq!(sw.to_string(), "610A");
        assert!(StatusWord::OK.is_ok() && !sw.is_ok() && !StatusWord(0x9100).is_ok());
        assert_eq!(StatusWord(0x6000).class(), Class::Invalid);
        assert_eq!(StatusWord(0x9100).class(), Class::Application);
        assert_eq!(StatusWord::NOT_FOUND.class(), Class::Checking);
    }

    #[test]
    fn scopes() {
        assert_eq!(StatusWord(0x9863).scope(), "etsi,3gpp");
        assert_eq!(StatusWord(0x6F12).scope(), "etsi");
        assert_eq!(StatusWord(0x0000).scope(), "vendor");
    }
}
