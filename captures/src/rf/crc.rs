//! CRC_A and CRC_B (ISO/IEC 14443-3 6.2.4 and 7.2) as they stand in a frame, low byte first.

use crate::event::Crc;

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0x8408 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

fn run(start: u16, data: &[u8]) -> u16 {
    data.iter()
        .fold(start, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

/// The two bytes that follow `data` in a frame of type A.
#[must_use]
pub fn a(data: &[u8]) -> [u8; 2] {
    run(0x6363, data).to_le_bytes()
}

/// The two bytes that follow `data` in a frame of type B.
#[must_use]
pub fn b(data: &[u8]) -> [u8; 2] {
    (!run(0xFFFF, data)).to_le_bytes()
}

/// Whether a frame ends with its CRC of type A or B.
#[must_use]
pub fn holds(frame: &[u8]) -> bool {
    frame.split_last_chunk::<2>().is_some_and(|(data, crc)| a(data) == *crc || b(data) == *crc)
}

/// What a frame that may end with a CRC shows: frames of one or two bytes, anticollision and its answers have none.
#[must_use]
pub fn state(frame: &[u8]) -> Crc {
    match frame {
        [] | [_] | [_, _] => Crc::None,
        _ if holds(frame) => Crc::Ok,
        [0x93 | 0x95 | 0x97, 0x20..=0x6F, ..] => Crc::None,
        [a, b, c, d, e] if a ^ b ^ c ^ d == *e => Crc::None,
        _ => Crc::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_check_values() {
        assert_eq!(a(b"123456789"), [0x05, 0xBF]);
        assert_eq!(b(b"123456789"), [0x6E, 0x90]);
        assert_eq!(a(&[0x50, 0x00]), [0x57, 0xCD]);
        assert!(holds(&[0x05, 0x00, 0x00, 0x71, 0xFF]));
    }

    #[test]
    fn frames_with_and_without() {
        assert_eq!(state(&[0x26]), Crc::None);
        assert_eq!(state(&[0x93, 0x20]), Crc::None);
        assert_eq!(state(&[0x88, 0x04, 0x8D, 0x24, 0x25]), Crc::None);
        assert_eq!(state(&[0xE0, 0x80, 0x31, 0x73]), Crc::Ok);
        assert_eq!(state(&[0xE0, 0x80, 0x31, 0x74]), Crc::Bad);
    }
}
