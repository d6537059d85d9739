//! The numbers by which networks know a phone or a chip: IMEI (3GPP TS 23.003 6.2.1), ICCID (ITU-T E.118), IMSI (TS 23.003 2.2), MSISDN
//! (ITU-T E.164), and the check digit that two of them end in (ISO/IEC 7812-1 annex B).
//!
//! They name people. So `Debug` and `Display` show the last digits only; the whole number is asked for by name (`digits`).

use core::fmt;
use core::str::FromStr;

/// Most digits of any of them.
const MOST: usize = 20;

/// Decimal digits in ASCII, at most 20. Unused bytes are 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Digits {
    bytes: [u8; MOST],
    length: u8,
}

impl Digits {
    fn new(text: &str, shortest: usize, longest: usize) -> Result<Self, NumberError> {
        let digits = text.as_bytes();
        if let Some(position) = digits.iter().position(|b| !b.is_ascii_digit()) {
            return Err(NumberError::Digit { position });
        }
        let mut bytes = [0; MOST];
        match (bytes.get_mut(..digits.len()), u8::try_from(digits.len())) {
            (Some(place), Ok(length)) if (shortest..=longest).contains(&digits.len()) => {
                place.copy_from_slice(digits);
                Ok(Self { bytes, length })
            }
            _ => Err(NumberError::Length {
                digits: digits.len(),
                shortest,
                longest,
            }),
        }
    }

    fn as_str(&self) -> &str {
        // Only ASCII digits were let in.
        let digits = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        core::str::from_utf8(digits).unwrap_or_default()
    }
}

/// The Luhn check digit (0 to 9) that belongs behind these digits; `None` if something else than a decimal digit is among them.
#[must_use]
pub fn luhn(digits: &str) -> Option<u8> {
    let mut sum: u32 = 0;
    // The digit next to the check digit counts double, and then every other one to the left.
    for (place, byte) in digits.bytes().rev().enumerate() {
        let digit = char::from(byte).to_digit(10)?;
        let weighed = match (place % 2, digit) {
            (0, d) if d > 4 => 2 * d - 9,
            (0, d) => 2 * d,
            (_, d) => d,
        };
        sum = (sum + weighed) % 10;
    }
    u8::try_from((10 - sum) % 10).ok()
}

/// Whether the last digit is the Luhn check digit of those before it. False for an empty text and for anything but digits.
#[must_use]
pub fn luhn_holds(digits: &str) -> bool {
    let Some((rest, last)) = digits.len().checked_sub(1).and_then(|at| digits.split_at_checked(at)) else {
        return false;
    };
    luhn(rest).is_some_and(|check| last.as_bytes() == [b'0' + check])
}

/// Why a text is not such a number. The number itself is never quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberError {
    /// Something that is no decimal digit.
    #[error("character {position} (from 0) is no decimal digit: write digits only, without spaces")]
    Digit {
        /// Where, in bytes from 0.
        position: usize,
    },
    /// Too few or too many digits.
    #[error("has {digits} digits, but must have {shortest} to {longest}")]
    Length {
        /// How many there are.
        digits: usize,
        /// How many there must be at least.
        shortest: usize,
        /// And at most.
        longest: usize,
    },
    /// The last digit does not check the others.
    #[error("the last digit must be the Luhn check digit of those before it, but is not: is one mistyped?")]
    Luhn,
    /// A number that begins with what no number of its kind begins with.
    #[error("must begin with the country code, 1 to 9, and not with 0")]
    Country,
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Digits);

        impl $name {
            /// All digits. They name a person or a thing of a person: log them masked.
            #[must_use]
            pub fn digits(&self) -> &str {
                self.0.as_str()
            }
        }

        impl FromStr for $name {
            type Err = NumberError;

            /// Never panics.
            fn from_str(text: &str) -> Result<Self, NumberError> {
                let check: fn(&str) -> Result<Digits, NumberError> = $check;
                check(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            /// Masked: the last three digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let digits = self.digits();
                let shown = digits.len().checked_sub(3).and_then(|at| digits.get(at..)).unwrap_or_default();
                write!(f, "..{shown}")
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

fn checked(digits: Digits) -> Result<Digits, NumberError> {
    if luhn_holds(digits.as_str()) {
        Ok(digits)
    } else {
        Err(NumberError::Luhn)
    }
}

number! {
    /// An international mobile equipment identity: 15 digits, the last of them a Luhn check digit (TS 23.003 6.2.1, annex B).
    Imei, |text| checked(Digits::new(text, 15, 15)?)
}

number! {
    /// The number of a chip card: 18 to 20 digits. With 19 or 20, the last is a Luhn check digit (ITU-T E.118 4.1; 20 is practice beyond it);
    /// 18 are the number without its check digit.
    Iccid, |text| {
        let digits = Digits::new(text, 18, 20)?;
        if digits.length == 18 { Ok(digits) } else { checked(digits) }
    }
}

number! {
    /// An international mobile subscription identity: 6 to 15 digits (3 of the country, 2 or 3 of the network, the subscriber's; TS 23.003 2.2).
    Imsi, |text| Digits::new(text, 6, 15)
}

number! {
    /// A telephone number with its country code: 3 to 15 digits (ITU-T E.164 6.2.1), a `+` before them is left out.
    Msisdn, |text| {
        let digits = Digits::new(text.strip_prefix('+').unwrap_or(text), 3, 15)?;
        if digits.as_str().starts_with('0') { Err(NumberError::Country) } else { Ok(digits) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use proptest::prelude::*;

    #[test]
    fn check_digits() {
        // TS 23.003 annex B's example, and the usual example of Luhn's algorithm.
        assert_eq!(luhn("49015420323751"), Some(8));
        assert_eq!(luhn("7992739871"), Some(3));
        assert_eq!(luhn("79x"), None);
        assert!(luhn_holds("490154203237518"));
        assert!(!luhn_holds("490154203237519"));
        assert!(!luhn_holds(""));
        assert!(!luhn_holds("79é"));
    }

    #[test]
    fn each_kind_has_its_rules() {
        assert!("490154203237518".parse::<Imei>().is_ok());
        assert_eq!("490154203237519".parse::<Imei>(), Err(NumberError::Luhn));
        assert!(matches!(
            "49015420323751".parse::<Imei>(),
            Err(NumberError::Length { digits: 14, .. })
        ));
        assert_eq!("49015420323751 ".parse::<Imei>(), Err(NumberError::Digit { position: 14 }));
        // 18 digits stand without a check digit; 19 and 20 do not.
        assert!("890010100000000000".parse::<Iccid>().is_ok());
        assert_eq!("8900101000000000002".parse::<Iccid>(), Err(NumberError::Luhn));
        assert!("001010000000001".parse::<Imsi>().is_ok());
        assert!("00101".parse::<Imsi>().is_err());
        assert_eq!("+4915112345678".parse::<Msisdn>(), "4915112345678".parse());
        assert_eq!("04915112345678".parse::<Msisdn>(), Err(NumberError::Country));
        assert!("++491".parse::<Msisdn>().is_err());
        assert!("".parse::<Msisdn>().is_err());
        assert!("1234567890123456".parse::<Msisdn>().is_err());
    }

    #[test]
    fn shown_masked() {
        let imei: Imei = "490154203237518".parse().unwrap();
        assert_eq!(format!("{imei} {imei:?}"), "..518 Imei(..518)");
        assert_eq!(imei.digits(), "490154203237518");
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in ".{0,24}") {
            let _ = (text.parse::<Imei>(), text.parse::<Iccid>(), text.parse::<Imsi>(), text.parse::<Msisdn>(), luhn_holds(&text));
        }

        #[test]
        fn what_is_right_is_read_back(body in "[0-9]{14}", long in "[0-9]{18,19}") {
            let imei = format!("{body}{}", luhn(&body).unwrap());
            let read: Imei = imei.parse().unwrap();
            prop_assert_eq!(read.digits(), &imei);
            let iccid = format!("{long}{}", luhn(&long).unwrap());
            let read: Iccid = iccid.parse().unwrap();
            prop_assert_eq!(read.digits(), &iccid);
        }

        /// Luhn's promise: no single wrong digit passes.
        #[test]
        fn one_wrong_digit_is_seen(body in "[0-9]{14}", at in 0usize..15, by in 1u8..10) {
            let mut digits = format!("{body}{}", luhn(&body).unwrap()).into_bytes();
            digits[at] = b'0' + (digits[at] - b'0' + by) % 10;
            prop_assert!(String::from_utf8(digits).unwrap().parse::<Imei>().is_err());
        }

        #[test]
        fn masked_never_shows_the_number(body in "[1-9][0-9]{5,14}") {
            let number: Msisdn = body.parse().unwrap();
            let shown = format!("{number:?}{number}");
            prop_assert_eq!(shown.matches(|c: char| c.is_ascii_digit()).count(), 6);
        }
    }
}
