//! AKA profile U: a test USIM and the host that authenticates it (TS 31.102 7.1.2, TS 102 221; docs/protocol.md section 6).
//!
//! For a laboratory only: K is shared by every lock, and CK and IK are given to the terminal.

pub mod host;
pub mod usim;

pub use host::Host;
pub use usim::{Profile, Usim};

use alloc::string::String;
use alloc::vec::Vec;

/// EF_IMSI (TS 31.102 4.2.2): length, then nibble-swapped digits with a parity nibble first.
/// Accepts 1 to 15 decimal digits; anything else is `None`.
#[must_use]
pub fn encode_imsi(digits: &str) -> Option<[u8; 9]> {
    let values: Vec<u8> = digits.bytes().map(|b| b.wrapping_sub(b'0')).collect();
    if values.is_empty() || values.len() > 15 || values.iter().any(|&d| d > 9) {
        return None;
    }
    let mut nibbles = Vec::with_capacity(16);
    nibbles.push(if values.len() % 2 == 1 { 0x9 } else { 0x1 });
    nibbles.extend(values);
    let length = nibbles.len().div_ceil(2);
    nibbles.resize(16, 0xF);
    let mut out = [0xFF; 9];
    out[0] = u8::try_from(length).ok()?;
    for (byte, pair) in out[1..].iter_mut().zip(nibbles.chunks_exact(2)) {
        *byte = pair[1] << 4 | pair[0];
    }
    Some(out)
}

/// Reads EF_IMSI: the digits, or `None` for anything that is not an IMSI. Never panics.
#[must_use]
pub fn decode_imsi(file: &[u8]) -> Option<String> {
    let (&length, digits) = file.split_first()?;
    let digits = digits.get(..usize::from(length))?;
    let mut nibbles: Vec<u8> = digits.iter().flat_map(|b| [b & 0x0F, b >> 4]).collect();
    if nibbles.is_empty() || nibbles.len() > 16 {
        return None;
    }
    let parity = nibbles.remove(0);
    if parity & 0x8 == 0 && nibbles.pop() != Some(0xF) {
        return None;
    }
    if nibbles.is_empty() || nibbles.iter().any(|&n| n > 9) {
        return None;
    }
    Some(nibbles.iter().map(|&n| char::from(b'0' + n)).collect())
}

/// EF_ICCID (TS 102 221 13.2): 10 bytes of nibble-swapped digits, padded with F. Accepts 18 to 20 digits.
#[must_use]
pub fn encode_iccid(digits: &str) -> Option<[u8; 10]> {
    if !(18..=20).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut nibbles: Vec<u8> = digits.bytes().map(|b| b - b'0').collect();
    nibbles.resize(20, 0xF);
    let mut out = [0; 10];
    for (byte, pair) in out.iter_mut().zip(nibbles.chunks_exact(2)) {
        *byte = pair[1] << 4 | pair[0];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn imsi_round_trips(digits in "[0-9]{1,15}") {
            prop_assert_eq!(decode_imsi(&encode_imsi(&digits).unwrap()), Some(digits));
        }

        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let _ = decode_imsi(&bytes);
        }
    }

    #[test]
    fn known_files() {
        // 001010123456063 as EF_IMSI: odd number of digits, so parity nibble 9.
        assert_eq!(
            encode_imsi("001010123456063"),
            Some([8, 0x09, 0x10, 0x10, 0x10, 0x32, 0x54, 0x06, 0x36])
        );
        assert_eq!(encode_imsi("0010101234560631"), None);
        assert_eq!(encode_imsi("00101a"), None);
        assert_eq!(encode_iccid("8949000000000000000"), Some([0x98, 0x94, 0, 0, 0, 0, 0, 0, 0, 0xF0]));
        assert_eq!(decode_imsi(&[9, 0x09]), None);
        assert_eq!(decode_imsi(&[]), None);
    }
}
