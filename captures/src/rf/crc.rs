//! CRC_A and CRC_B (ISO/IEC 14443-3 6.2.4 and 7.2) as they stand in a frame, low byte first.

use crate::event::Crc;

/// So many bytes are taken at once.
const SLICE: usize = 8;

/// `TABLES[n][byte]` is what a byte makes of the sum with `n` zeros behind it. With all of them, the bytes of a slice do not wait for each other.
const TABLES: [[u16; 256]; SLICE] = {
    let mut tables = [[0; 256]; SLICE];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0x8408 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][at] = crc;
        at += 1;
    }
    let mut zeros = 1;
    while zeros < SLICE {
        let mut at = 0;
        while at < 256 {
            let before = tables[zeros - 1][at];
            tables[zeros][at] = before >> 8 ^ tables[0][(before & 0xFF) as usize];
            at += 1;
        }
        zeros += 1;
    }
    tables
};

fn run(start: u16, data: &[u8]) -> u16 {
    let (slices, rest) = data.as_chunks::<SLICE>();
    let crc = slices.iter().fold(start, |crc, slice| {
        let [low, high] = crc.to_le_bytes();
        let first = TABLES[7][usize::from(slice[0] ^ low)] ^ TABLES[6][usize::from(slice[1] ^ high)];
        let middle = TABLES[5][usize::from(slice[2])] ^ TABLES[4][usize::from(slice[3])] ^ TABLES[3][usize::from(slice[4])];
        let last = TABLES[2][usize::from(slice[5])] ^ TABLES[1][usize::from(slice[6])] ^ TABLES[0][usize::from(slice[7])];
        first ^ middle ^ last
    });
    rest.iter()
        .fold(crc, |crc, byte| crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)])
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

/// Whether a frame of FeliCa is whole: length, content, and CRC (ISO/IEC 18092 9.3; CCITT, from 0, high byte first). Some recordings have
/// the synchronisation `B2 4D` before it.
fn holds_f(frame: &[u8]) -> bool {
    let frame = frame.strip_prefix(&[0xB2, 0x4D]).unwrap_or(frame);
    let Some((data, check)) = frame.split_last_chunk::<2>() else {
        return false;
    };
    let sum = data.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 }
        })
    });
    data.first().is_some_and(|length| usize::from(*length) == data.len()) && sum.to_be_bytes() == *check
}

/// Whether a frame ends with its CRC of type A or B.
#[must_use]
pub fn holds(frame: &[u8]) -> bool {
    frame
        .split_last_chunk::<2>()
        .is_some_and(|(data, crc)| a(data) == *crc || b(data) == *crc)
}

/// What a frame that may end with a CRC shows: frames of one or two bytes, anticollision and its answers have none.
#[must_use]
pub fn state(frame: &[u8]) -> Crc {
    match frame {
        [] | [_] | [_, _] => Crc::None,
        _ if holds(frame) => Crc::Ok,
        [0x93 | 0x95 | 0x97, 0x20..=0x6F, ..] => Crc::None,
        [a, b, c, d, e] if a ^ b ^ c ^ d == *e => Crc::None,
        _ if holds_f(frame) => Crc::Ok,
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
    fn slices_and_single_bytes_give_the_same_sum() {
        let data: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(37) ^ 0x5A).collect();
        for length in 0..data.len() {
            let slow = data[..length].iter().fold(0x6363u16, |crc, byte| {
                (0..8).fold(
                    crc ^ u16::from(*byte),
                    |crc, _| if crc & 1 != 0 { crc >> 1 ^ 0x8408 } else { crc >> 1 },
                )
            });
            assert_eq!(run(0x6363, &data[..length]), slow, "{length} bytes");
        }
    }

    #[test]
    fn frames_with_and_without() {
        assert_eq!(state(&[0x26]), Crc::None);
        assert_eq!(state(&[0x93, 0x20]), Crc::None);
        assert_eq!(state(&[0x88, 0x04, 0x8D, 0x24, 0x25]), Crc::None);
        assert_eq!(state(&[0xE0, 0x80, 0x31, 0x73]), Crc::Ok);
        assert_eq!(state(&[0xE0, 0x80, 0x31, 0x74]), Crc::Bad);
        // SENSF_REQ as NFC Forum Digital has it, and with its synchronisation.
        assert_eq!(state(&[0x06, 0x00, 0xFF, 0xFF, 0x00, 0x00, 0x09, 0x21]), Crc::Ok);
        assert_eq!(state(&[0xB2, 0x4D, 0x06, 0x00, 0xFF, 0xFF, 0x00, 0x00, 0x09, 0x21]), Crc::Ok);
        assert_eq!(state(&[0x06, 0x00, 0xFF, 0xFF, 0x00, 0x00, 0x09, 0x22]), Crc::Bad);
    }
}
