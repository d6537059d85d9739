//! MAC addresses (IEEE Std 802 8.1: EUI-48) in the spellings that people and devices use.

use core::fmt;
use core::str::FromStr;

/// A network interface's address, 6 bytes. A lock may be known by it. Shown masked by `Debug` and `Display`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The whole address as `02:00:5e:10:00:01`.
    #[must_use]
    pub fn whole(&self) -> alloc::string::String {
        let [a, b, c, d, e, f] = self.0;
        alloc::format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Text that is not a MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a MAC address has 12 hexadecimal digits: 02:00:5e:10:00:01, 02-00-5e-10-00-01, 0200.5e10.0001 or 02005e100001")]
pub struct MacError;

impl FromStr for Mac {
    type Err = MacError;

    /// Pairs of digits with `:` or `-` between them, groups of four with `.`, or digits alone; either case. Never panics.
    fn from_str(text: &str) -> Result<Self, MacError> {
        let (separator, group) = match text.as_bytes().iter().find(|b| !b.is_ascii_hexdigit()) {
            None => (None, 12),
            Some(b @ (b':' | b'-')) => (Some(*b), 2),
            Some(b'.') => (Some(b'.'), 4),
            Some(_) => return Err(MacError),
        };
        let mut digits = [0u8; 12];
        let mut count = 0;
        for (place, byte) in text.bytes().enumerate() {
            if separator.is_some() && place % (group + 1) == group {
                if Some(byte) != separator {
                    return Err(MacError);
                }
            } else {
                *digits.get_mut(count).ok_or(MacError)? = byte;
                count += 1;
            }
        }
        let whole = 12 + separator.map_or(0, |_| 12 / group - 1);
        if text.len() != whole {
            return Err(MacError);
        }
        let mut address = [0; 6];
        hex::decode_to_slice(digits, &mut address).map_err(|_| MacError)?;
        Ok(Self(address))
    }
}

impl fmt::Display for Mac {
    /// Masked: the last two bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "..{:02x}:{:02x}", self.0[4], self.0[5])
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    #[test]
    fn spellings() {
        let mac = Mac([0x02, 0x00, 0x5E, 0x10, 0x00, 0x01]);
        for text in ["02:00:5e:10:00:01", "02-00-5E-10-00-01", "0200.5e10.0001", "02005e100001"] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        for text in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:",
            "02:00-5e:10:00:01",
            "0:200:5e:10:00:01",
            "02005e10000",
            "02 00 5e 10 00 01",
            ":0:00:5e:10:00:01",
            "0200.5e10.00:1",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(MacError), "{text}");
        }
        assert_eq!(format!("{mac:?} {}", mac.whole()), "Mac(..00:01) 02:00:5e:10:00:01");
    }

    proptest! {
        #[test]
        fn round_trip(bytes: [u8; 6]) {
            prop_assert_eq!(Mac(bytes).whole().parse(), Ok(Mac(bytes)));
            prop_assert_eq!(hex::encode(bytes).parse(), Ok(Mac(bytes)));
        }

        #[test]
        fn any_text_is_taken_or_refused(text in "[0-9a-f:.-]{0,20}|.{0,20}") {
            let _ = text.parse::<Mac>();
        }
    }
}
