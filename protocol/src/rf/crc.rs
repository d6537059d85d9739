//! Checksums of frames: CRC_A and CRC_B (ISO/IEC 14443-3 Annex B), CRC_F (ISO/IEC 18092, JIS X 6319-4).
//!
//! All three have the polynomial x^16 + x^12 + x^5 + 1. CRC_A and CRC_B go out with their low byte first, CRC_F with its high byte first.

use alloc::vec::Vec;

use super::frame::Technology;

/// Length of every checksum in bytes.
pub const LEN: usize = 2;

/// Bits come lowest first: CRC_A and CRC_B.
const REFLECTED: [u16; 256] = table(true);
/// Bits come highest first: CRC_F.
const STRAIGHT: [u16; 256] = table(false);

const fn table(reflected: bool) -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let mut crc = if reflected { byte } else { byte << 8 };
        let mut bit = 0;
        while bit < 8 {
            crc = match (reflected, crc & if reflected { 1 } else { 0x8000 } != 0) {
                (true, true) => (crc >> 1) ^ 0x8408,
                (true, false) => crc >> 1,
                (false, true) => (crc << 1) ^ 0x1021,
                (false, false) => crc << 1,
            };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

fn reflected(init: u16, data: &[u8]) -> u16 {
    data.iter().fold(init, |crc, byte| {
        (crc >> 8) ^ REFLECTED[usize::from((crc ^ u16::from(*byte)) & 0xFF)]
    })
}

/// CRC_A of `data`.
#[must_use]
pub fn crc_a(data: &[u8]) -> u16 {
    reflected(0x6363, data)
}

/// CRC_B of `data`.
#[must_use]
pub fn crc_b(data: &[u8]) -> u16 {
    !reflected(0xFFFF, data)
}

/// CRC_F of `data`, which begins with the length byte.
#[must_use]
pub fn crc_f(data: &[u8]) -> u16 {
    data.iter().fold(0, |crc: u16, byte| {
        (crc << 8) ^ STRAIGHT[usize::from((crc >> 8) ^ u16::from(*byte)) & 0xFF]
    })
}

/// The two bytes that follow `data` in a frame of this technology, in the order of the air.
#[must_use]
pub fn bytes(technology: Technology, data: &[u8]) -> [u8; LEN] {
    match technology {
        Technology::A => crc_a(data).to_le_bytes(),
        Technology::B => crc_b(data).to_le_bytes(),
        Technology::F => crc_f(data).to_be_bytes(),
    }
}

/// Appends the checksum of the whole of `frame` to it.
pub fn append(technology: Technology, frame: &mut Vec<u8>) {
    let crc = bytes(technology, frame);
    frame.extend_from_slice(&crc);
}

/// `frame` without its checksum, if that is right; `None` if it is wrong or there is none.
#[must_use]
pub fn strip(technology: Technology, frame: &[u8]) -> Option<&[u8]> {
    let (data, crc) = frame.split_last_chunk::<LEN>()?;
    (bytes(technology, data) == *crc).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values() {
        assert_eq!(
            (crc_a(b"123456789"), crc_b(b"123456789"), crc_f(b"123456789")),
            (0xBF05, 0x906E, 0x31C3)
        );
    }

    #[test]
    fn what_is_appended_is_stripped() {
        for technology in [Technology::A, Technology::B, Technology::F] {
            let mut frame = alloc::vec![0x05, 0x00, 0x08];
            append(technology, &mut frame);
            assert_eq!(strip(technology, &frame), Some(&[0x05, 0x00, 0x08][..]));
            for bit in 0..frame.len() * 8 {
                let mut bad = frame.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(strip(technology, &bad), None);
            }
            assert_eq!(strip(technology, &frame[..1]), None);
        }
    }
}
