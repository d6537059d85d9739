//! Time in the field: periods of the carrier, and how long frames are on the air.
//!
//! The carrier is 13.56 MHz, and all times of ISO/IEC 14443 and 18092 are whole numbers of its periods (1/fc, about 73.7 ns), so a
//! simulated tap has a duration without rounding.
//!
//! # The model of a frame
//! In bits of the frame's rate (1 etu = 128/fc at 106 kbit/s):
//! - **A**: start 1, each byte 8 and a parity bit, a last byte that is not whole only its bits, end 1. A REQA is 1 + 7 + 1. A trace of a
//!   real reader shows 63.75 for 7 bytes, where this gives 65: the model is an upper bound by about one bit.
//! - **B**: start 10 + 2, each byte 10 (start, 8, stop) with no extra guard time, end 10. A card's answer is preceded by an unmodulated
//!   subcarrier (TR1), which counts to its delay.
//! - **F**: preamble 48, sync 16, each byte 8; no marks.
//!
//! The checksum's two bytes count where there is one.

use core::fmt;
use core::ops::{Add, AddAssign, Mul, Sub};
use core::time::Duration;

use super::crc;
use super::frame::{Frame, Technology};

/// Carrier frequency in hertz.
pub const FC: u64 = 13_560_000;

/// A time or a moment, in periods of the carrier (1/fc). Sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(pub u64);

impl Ticks {
    /// None.
    pub const ZERO: Self = Self(0);
    /// 43,000 years.
    pub const MAX: Self = Self(u64::MAX);

    /// So many microseconds, rounded down.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(FC / 10_000) / 100)
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(FC / 1000))
    }

    /// A duration, rounded down.
    #[must_use]
    pub fn from_duration(duration: Duration) -> Self {
        let ticks = duration.as_nanos().saturating_mul(u128::from(FC)) / 1_000_000_000;
        Self(u64::try_from(ticks).unwrap_or(u64::MAX))
    }

    /// In nanoseconds, rounded down.
    #[must_use]
    pub fn as_nanos(self) -> u64 {
        u64::try_from(u128::from(self.0) * 1_000_000_000 / u128::from(FC)).unwrap_or(u64::MAX)
    }

    /// As a duration, rounded down to nanoseconds.
    #[must_use]
    pub fn as_duration(self) -> Duration {
        Duration::from_nanos(self.as_nanos())
    }

    /// In microseconds.
    #[must_use]
    pub fn as_micros_f64(self) -> f64 {
        // Exact up to 2^53 periods, 21 years.
        #[allow(clippy::cast_precision_loss)]
        let ticks = self.0 as f64;
        ticks / 13.56
    }

    /// The difference, or zero if `other` is later.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Ticks {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Ticks {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Ticks {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.saturating_sub(other)
    }
}

impl Mul<u64> for Ticks {
    type Output = Self;

    fn mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl fmt::Display for Ticks {
    /// In milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ms", self.as_micros_f64() / 1000.0)
    }
}

/// From the end of a reader's frame to a type A card's answer, when the reader's last bit was 0 (ISO/IEC 14443-3 6.2.1.1, n = 9).
pub const FDT_A_AFTER_0: Ticks = Ticks(1172);
/// The same when the last bit was 1.
pub const FDT_A_AFTER_1: Ticks = Ticks(1236);
/// From the end of a card's answer to the reader's next frame, at least.
pub const FDT_PICC_TO_PCD: Ticks = Ticks(1172);
/// Between the starts of two REQA or WUPA, at least.
pub const REQUEST_GUARD_TIME: Ticks = Ticks(7000);
/// A card is ready for a command so long after the field came (ISO/IEC 14443-3 5): 5 ms.
pub const GUARD_TIME: Ticks = Ticks::from_millis(5);
/// The same for type F (NFC Forum Activity: 20.4 ms for a FeliCa card to start).
pub const GUARD_TIME_F: Ticks = Ticks::from_micros(20_400);
/// How long the field stays off so that every card forgets (NFC Forum Digital, tFIELD,OFF): 5 ms.
pub const FIELD_OFF: Ticks = Ticks::from_millis(5);
/// How long a reader waits for ATQA, SAK or a UID: the frame delay time, and two etu of tolerance.
pub const FDT_A_TIMEOUT: Ticks = Ticks(1236 + 2 * 128);
/// TR0 and TR1 of a type B card at the least: from the end of the reader's frame to its subcarrier, and from there to its first bit.
pub const FDT_B_MIN: Ticks = Ticks(1024 + 1280);
/// The same at the most for ATQB: TR0 256/fs and TR1 200/fs.
pub const FDT_B_ATQB_TIMEOUT: Ticks = Ticks(4096 + 3200);
/// Waiting time for ATS and for the answers to PPS and S(DESELECT).
pub const FWT_ACTIVATION: Ticks = Ticks(65_536);
/// What a reader adds to the waiting time of blocks.
pub const DELTA_FWT: Ticks = Ticks(49_152);
/// From the end of a polling command of type F to the first time slot, and the length of a slot (ISO/IEC 18092 11.2.2.5).
pub const F_FIRST_SLOT: Ticks = Ticks(512 * 64);
/// The length of a time slot of type F.
pub const F_SLOT: Ticks = Ticks(256 * 64);

/// Frame waiting time of an index from 0 to 14: 256 * 16/fc * 2^FWI. The start-up guard time SFGT and the response waiting time RWT of
/// NFC-DEP have the same formula. 15 is not used yet and is taken as 4, as ISO/IEC 14443-4 5.2.5 asks.
#[must_use]
pub const fn waiting_time(index: u8) -> Ticks {
    match index {
        0..=14 => Ticks(4096 << index),
        _ => Ticks(4096 << 4),
    }
}

/// How long a frame is on the air: see [the model](self).
#[must_use]
pub fn air_time(frame: &Frame<'_>) -> Ticks {
    let crc = if frame.crc { crc::LEN } else { 0 };
    let bits = frame.bits();
    // Parity follows a byte that ends, wherever it began.
    let ended = frame.data.len() - usize::from(!frame.data.is_empty() && frame.last_bits < 8);
    let bits = match frame.technology {
        Technology::A => 1 + bits + ended + 9 * crc + 1,
        Technology::B => 12 + 10 * (frame.data.len() + crc) + 10,
        Technology::F => 48 + 16 + 8 * (frame.data.len() + crc),
    };
    frame.rate.bit() * u64::try_from(bits).unwrap_or(u64::MAX)
}

/// The frame delay time of a type A card that answers at once: what [`FDT_A_AFTER_0`] or [`FDT_A_AFTER_1`] says, by the last bit of the
/// reader's frame.
#[must_use]
pub fn fdt_a(frame: &Frame<'_>) -> Ticks {
    let last = if frame.crc {
        crc::bytes(frame.technology, frame.data)[1]
    } else {
        frame.data.last().copied().unwrap_or(0)
    };
    let is_one = if frame.crc || frame.last_bits >= 8 {
        // In a whole byte the parity bit is the last, and it makes the number of ones odd.
        last.count_ones().is_multiple_of(2)
    } else {
        last >> (frame.last_bits.max(1) - 1) & 1 == 1
    };
    if is_one { FDT_A_AFTER_1 } else { FDT_A_AFTER_0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rf::frame::BitRate;

    #[test]
    fn the_worked_examples() {
        let micros = |bytes: &[u8], rate| {
            let frame = Frame::new(Technology::A, bytes).at(rate);
            (frame.air_time().as_micros_f64() * 100.0).round() / 100.0
        };
        assert_eq!(micros(&[0xE0, 0x80], BitRate::Kbps106), 358.70);
        assert_eq!(micros(&[0; 62], BitRate::Kbps106), 5456.05);
        assert_eq!(micros(&[0; 254], BitRate::Kbps106), 21_767.55);
        assert_eq!(micros(&[0; 254], BitRate::Kbps424), 5441.89);
        assert_eq!(micros(&[0; 254], BitRate::Kbps848), 2720.94);
        // A real reader's REQA took 1056/fc, and its 7 bytes 8160/fc.
        assert_eq!(Frame::short(&[0x26]).air_time(), Ticks(9 * 128));
        assert_eq!(Frame::new(Technology::A, &[0; 5]).air_time(), Ticks(65 * 128));
    }

    #[test]
    fn bit_frames_count_their_bits() {
        // Two whole bytes with parity, three bits.
        let frame = Frame::new(Technology::A, &[0x93, 0x23, 0x05]).ending_with(3);
        assert_eq!((frame.bits(), frame.air_time()), (19, Ticks((1 + 18 + 3 + 1) * 128)));
        // The card's part: five bits and parity, then four bytes.
        let mut answer = Frame::new(Technology::A, &[0; 5]).bare();
        answer.first_bit = 3;
        assert_eq!((answer.bits(), answer.air_time()), (37, Ticks((1 + 37 + 5 + 1) * 128)));
        assert_eq!(Frame::new(Technology::A, &[]).bare().air_time(), Ticks(2 * 128));
    }

    #[test]
    fn the_delay_depends_on_the_last_bit() {
        assert_eq!(fdt_a(&Frame::short(&[0x26])), FDT_A_AFTER_0);
        assert_eq!(fdt_a(&Frame::short(&[0x52])), FDT_A_AFTER_1);
        assert_eq!(fdt_a(&Frame::new(Technology::A, &[0x93, 0x20]).bare()), FDT_A_AFTER_0);
        assert_eq!(fdt_a(&Frame::new(Technology::A, &[0x93, 0x21]).bare()), FDT_A_AFTER_1);
    }

    #[test]
    fn units() {
        assert_eq!(Ticks::from_millis(5), Ticks(67_800));
        assert_eq!(Ticks::from_micros(20_400), Ticks(276_624));
        assert_eq!(Ticks(1356).as_nanos(), 100_000);
        assert_eq!(Ticks::from_duration(Duration::from_micros(100)), Ticks(1356));
        assert_eq!(waiting_time(0), Ticks(4096));
        assert_eq!(waiting_time(14), Ticks(67_108_864));
        assert_eq!(waiting_time(15), waiting_time(4));
        assert_eq!(Ticks(5) - Ticks(7), Ticks::ZERO);
        assert_eq!(Ticks::MAX + Ticks(1), Ticks::MAX);
    }
}
