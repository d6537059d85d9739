//! TS 33.102, TS 35.206, TS 35.231: authentication and key agreement, both sides, without the commands that carry it.
//!
//! | module | what | standard |
//! |---|---|---|
//! | [`milenage`] | the MILENAGE functions f1 to f5\*, and the conversions to a GSM triplet | TS 35.206, TS 55.205 |
//! | [`tuak`] | the TUAK functions with every length the standard knows | TS 35.231 |
//! | [`quantities`] | AUTN, RES, CK, IK and AUTS of a subscriber, whichever the algorithm | TS 33.102 6.3 |
//! | [`freshness`] | sequence numbers: what is accepted, what comes next | TS 33.102 Annex C, docs/protocol.md 5 |

use core::fmt;

pub mod freshness;
pub mod milenage;
pub mod profile_p;
pub mod profile_u;
pub mod quantities;
pub mod sequence;
pub mod tuak;

/// The algorithm set behind f1 to f5\*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// TS 35.206, built on AES-128.
    Milenage,
    /// TS 35.231, built on Keccak-f\[1600\].
    Tuak,
}

impl Algorithm {
    /// The name used on the command line and in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milenage => "milenage",
            Self::Tuak => "tuak",
        }
    }

    /// The algorithm with this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Milenage, Self::Tuak].into_iter().find(|a| a.name() == name)
    }

    /// The low nibble of P2 of AUTHENTICATE, and P2 of BEGIN (docs/protocol.md sections 5 and 9).
    #[must_use]
    pub const fn p2(self) -> u8 {
        match self {
            Self::Milenage => 0,
            Self::Tuak => 1,
        }
    }

    /// The algorithm with this P2, if there is one.
    #[must_use]
    pub const fn from_p2(p2: u8) -> Option<Self> {
        match p2 {
            0 => Some(Self::Milenage),
            1 => Some(Self::Tuak),
            _ => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// Reads exactly as many bytes as it has; any other length gives `None`.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

quantity! {
    /// RAND, 16 bytes: the home side's challenge, new for every vector.
    Rand, 16
}

quantity! {
    /// AUTN, 16 bytes: (SQN xor AK) || AMF || MAC-A.
    Autn, 16
}

quantity! {
    /// AUTS, 14 bytes: (SQN_MS xor AK\*) || MAC-S.
    Auts, 14
}

quantity! {
    /// AMF, 2 bytes: the authentication management field, under the MAC and otherwise free.
    Amf, 2
}

impl Amf {
    /// 0000: AMF in profile P, and AMF\* in every AUTS.
    pub const ZERO: Self = Self([0; 2]);
}

/// SQN, 48 bits: SEQ(43) || IND(5). Ordered by SEQ first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sqn(u64);

impl Sqn {
    /// The bits of IND.
    pub const IND_BITS: u32 = 5;
    /// The largest IND.
    pub const MAX_IND: u8 = (1 << Self::IND_BITS) - 1;
    /// The largest SEQ, 2^43 - 1.
    pub const MAX_SEQ: u64 = (1 << (48 - Self::IND_BITS)) - 1;

    /// SEQ || IND; `None` if SEQ has more than 43 bits or IND more than 5.
    #[must_use]
    pub const fn new(seq: u64, ind: u8) -> Option<Self> {
        if seq <= Self::MAX_SEQ && ind <= Self::MAX_IND {
            Some(Self(seq << Self::IND_BITS | ind as u64))
        } else {
            None
        }
    }

    /// Reads six bytes, of which every value is an SQN.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = bytes;
        Self(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// The six bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 6] {
        let [_, _, a, b, c, d, e, f] = self.0.to_be_bytes();
        [a, b, c, d, e, f]
    }

    /// SEQ, the part that counts.
    #[must_use]
    pub const fn seq(self) -> u64 {
        self.0 >> Self::IND_BITS
    }

    /// IND, the place in the USIM's array.
    #[must_use]
    pub const fn ind(self) -> u8 {
        (self.0 & Self::MAX_IND as u64) as u8
    }
}

impl fmt::Display for Sqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl fmt::Debug for Sqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sqn({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn limits() {
        assert_eq!(Sqn::new(Sqn::MAX_SEQ, 31).map(Sqn::to_bytes), Some([0xFF; 6]));
        assert_eq!(Sqn::new(Sqn::MAX_SEQ + 1, 0), None);
        assert_eq!(Sqn::new(u64::MAX, 0), None);
        assert_eq!(Sqn::new(0, 32), None);
    }

    #[test]
    fn shown() {
        assert_eq!(Sqn::new(1, 2).map(|s| s.to_string()).as_deref(), Some("000000000022"));
        assert_eq!(format!("{:?}", Sqn::from_bytes([0, 0, 0, 0, 0, 0x22])), "Sqn(000000000022)");
        assert_eq!(format!("{:?} {}", Amf([0x80, 1]), Amf::ZERO), "Amf(8001) 0000");
        assert_eq!(Algorithm::Tuak.to_string(), "tuak");
    }

    #[test]
    fn algorithms() {
        for algorithm in [Algorithm::Milenage, Algorithm::Tuak] {
            assert_eq!(Algorithm::from_p2(algorithm.p2()), Some(algorithm));
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::from_p2(2), None);
        assert_eq!(Algorithm::from_name("comp128"), None);
    }

    proptest! {
        #[test]
        fn sqn_there_and_back(bytes: [u8; 6]) {
            let sqn = Sqn::from_bytes(bytes);
            prop_assert_eq!(sqn.to_bytes(), bytes);
            prop_assert_eq!(Sqn::new(sqn.seq(), sqn.ind()), Some(sqn));
        }
    }
}
