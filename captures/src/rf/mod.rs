//! Frames in the radio field: checksums, names, and ISO-DEP put together again (ISO/IEC 14443-3, -4; ISO/IEC 18092; NFC Forum Digital).

pub mod crc;
mod dep;
mod names;
mod scout;

pub(crate) use dep::payload;
pub use dep::{Assembler, Block, Chains};
pub(crate) use names::Names;
pub(crate) use scout::Scouted;

/// Time on air at 106 kbit/s of a frame of type A of so many bytes, in nanoseconds: nine bits a byte, a start bit, and the end.
#[must_use]
pub const fn air_time(bytes: usize, kbits: u64) -> u64 {
    let bits = 9 * bytes as u64 + 2;
    // One bit at 106 kbit/s lasts 128/13.56 MHz.
    let slowest = bits * 128_000_000 / 13_560;
    match kbits {
        // The usual rate, without the division.
        0 | 106 => slowest,
        other => slowest * 106 / other,
    }
}
