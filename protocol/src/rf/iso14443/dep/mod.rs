//! ISO-DEP, the half-duplex block protocol of ISO/IEC 14443-4.
//!
//! | module | what | clause |
//! |---|---|---|
//! | [`ats`] | RATS, answer to select, PPS | 5 |
//! | [`block`] | I-, R- and S-blocks | 7.1 |
//! | [`activate`] | the reader's RATS and PPS | 5.6 |
//! | [`pcd`] | the reader's half: chaining, waiting time, error recovery | 7.5 |
//! | [`picc`] | the card's half | 7.5 |

pub mod activate;
pub mod ats;
pub mod block;
pub mod pcd;
pub mod picc;

use super::super::crc;
use super::super::frame::{BitRate, Technology};
use super::super::time::{self, Ticks};

/// Frame sizes by their code, FSDI and FSCI from 0 to C.
const FRAME_SIZES: [usize; 13] = [16, 24, 32, 40, 48, 64, 96, 128, 256, 512, 1024, 2048, 4096];

/// How long a frame may be, prologue and checksum included (5.1, 5.2.3). Codes D to F are not used yet and count as C.
#[must_use]
pub const fn frame_size(code: u8) -> usize {
    match code {
        0..=12 => FRAME_SIZES[code as usize],
        _ => FRAME_SIZES[12],
    }
}

/// The greatest code whose frames are not longer than `size`; 0 for sizes below 16.
#[must_use]
pub fn frame_size_code(size: usize) -> u8 {
    let fitting = FRAME_SIZES.iter().filter(|s| **s <= size).count();
    u8::try_from(fitting.saturating_sub(1)).unwrap_or(0)
}

/// What both sides have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Type A or B.
    pub technology: Technology,
    /// Longest frame that the card takes, in bytes, checksum included.
    pub fsc: usize,
    /// Longest frame that the reader takes.
    pub fsd: usize,
    /// How long the card may take to answer.
    pub fwt: Ticks,
    /// The card's number, in every block if there is one.
    pub cid: Option<u8>,
    /// The node address of I-blocks, if they have one.
    pub nad: Option<u8>,
    /// Rate from reader to card.
    pub send: BitRate,
    /// Rate from card to reader.
    pub receive: BitRate,
}

impl Parameters {
    /// A card without ATS details: frames of 32 bytes to it and of 256 from it, waiting time 4.8 ms, no CID, no NAD, 106 kbit/s.
    #[must_use]
    pub const fn new(technology: Technology) -> Self {
        Self {
            technology,
            fsc: frame_size(2),
            fsd: frame_size(8),
            fwt: time::waiting_time(4),
            cid: None,
            nad: None,
            send: BitRate::Kbps106,
            receive: BitRate::Kbps106,
        }
    }

    /// How many bytes of an APDU fit into an I-block of a frame of `size` bytes; at least 1.
    const fn room(&self, size: usize, nad: bool) -> usize {
        let prologue = 1 + self.cid.is_some() as usize + nad as usize;
        let room = size.saturating_sub(prologue + crc::LEN);
        if room == 0 { 1 } else { room }
    }
}
