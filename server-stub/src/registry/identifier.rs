//! The numbers and addresses by which locks and phones are known, of each kind.

use std::fmt;
use std::str::FromStr;

use tapdoor_protocol::ids::{Iccid, Imei, Imsi, Mac, Msisdn};

/// The kinds of identifier. The words are those of JSON, TOML and the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IdentifierKind {
    /// A phone's own: 15 digits.
    Imei = 1,
    /// A chip's: 18 to 20 digits.
    Iccid = 2,
    /// A subscription's: 6 to 15 digits.
    Imsi = 3,
    /// A telephone number.
    Msisdn = 4,
    /// A lock's network address.
    Mac = 5,
}

impl IdentifierKind {
    /// By which a lock may be known.
    pub const OF_LOCKS: [Self; 4] = [Self::Mac, Self::Iccid, Self::Imsi, Self::Msisdn];
    /// By which a phone may be known.
    pub const OF_PHONES: [Self; 4] = [Self::Imei, Self::Iccid, Self::Imsi, Self::Msisdn];
    const ALL: [Self; 5] = [Self::Imei, Self::Iccid, Self::Imsi, Self::Msisdn, Self::Mac];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Imei => "imei",
            Self::Iccid => "iccid",
            Self::Imsi => "imsi",
            Self::Msisdn => "msisdn",
            Self::Mac => "mac",
        }
    }

    /// The kind of this word, if there is one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The kind of this number, if there is one. 1 to 4 are also those of docs/protocol.md section 8.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// A checked identifier of a lock or a phone. Shown masked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identifier {
    /// Of a phone.
    Imei(Imei),
    /// Of a chip.
    Iccid(Iccid),
    /// Of a subscription.
    Imsi(Imsi),
    /// A telephone number.
    Msisdn(Msisdn),
    /// Of a lock.
    Mac(Mac),
}

/// A text that is no identifier of its kind. The text is not quoted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", kind.word())]
pub struct IdentifierError {
    /// What it should have been.
    pub kind: IdentifierKind,
    /// What is wrong.
    pub detail: String,
}

impl Identifier {
    /// Reads one of a known kind.
    ///
    /// # Errors
    /// [`IdentifierError`]: length, digits or check digit.
    pub fn parse(kind: IdentifierKind, text: &str) -> Result<Self, IdentifierError> {
        fn read<T: FromStr>(text: &str) -> Result<T, String>
        where
            T::Err: fmt::Display,
        {
            text.parse().map_err(|e: T::Err| e.to_string())
        }
        match kind {
            IdentifierKind::Imei => read(text).map(Self::Imei),
            IdentifierKind::Iccid => read(text).map(Self::Iccid),
            IdentifierKind::Imsi => read(text).map(Self::Imsi),
            IdentifierKind::Msisdn => read(text).map(Self::Msisdn),
            IdentifierKind::Mac => read(text).map(Self::Mac),
        }
        .map_err(|detail| IdentifierError { kind, detail })
    }

    /// Which kind.
    #[must_use]
    pub fn kind(&self) -> IdentifierKind {
        match self {
            Self::Imei(_) => IdentifierKind::Imei,
            Self::Iccid(_) => IdentifierKind::Iccid,
            Self::Imsi(_) => IdentifierKind::Imsi,
            Self::Msisdn(_) => IdentifierKind::Msisdn,
            Self::Mac(_) => IdentifierKind::Mac,
        }
    }

    /// The whole of it, in its one spelling. Not for logs.
    #[must_use]
    pub fn whole(&self) -> String {
        match self {
            Self::Imei(n) => n.digits().to_owned(),
            Self::Iccid(n) => n.digits().to_owned(),
            Self::Imsi(n) => n.digits().to_owned(),
            Self::Msisdn(n) => n.digits().to_owned(),
            Self::Mac(mac) => mac.whole(),
        }
    }
}

impl fmt::Display for Identifier {
    /// The kind and the masked value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.kind().word();
        match self {
            Self::Imei(n) => write!(f, "{word} {n}"),
            Self::Iccid(n) => write!(f, "{word} {n}"),
            Self::Imsi(n) => write!(f, "{word} {n}"),
            Self::Msisdn(n) => write!(f, "{word} {n}"),
            Self::Mac(n) => write!(f, "{word} {n}"),
        }
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
