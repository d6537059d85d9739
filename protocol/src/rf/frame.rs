//! Frames in the air (ISO/IEC 14443-3 6.1 and 7.1, ISO/IEC 18092 9.2), as the state machines hand them to a link.
//!
//! A frame travels **without its checksum**: [`Frame::crc`] says whether the air carries one behind the data. Start and end marks, parity
//! bits, preamble and sync code are the link's affair, too. What is left is `data`: for type F from the length byte on, for NFC-DEP at
//! 106 kbit/s from the F0 on.
//!
//! Within a byte the lowest bit goes first. Bit frames of the type A anticollision begin and end within a byte: see
//! [`Frame::first_bit`] and [`Frame::last_bits`].

use alloc::vec::Vec;
use core::fmt;

use super::time::{self, Ticks};

/// How bits become a radio signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Technology {
    /// ISO/IEC 14443 type A; NFC-DEP at 106 kbit/s as well.
    #[default]
    A,
    /// ISO/IEC 14443 type B.
    B,
    /// FeliCa (JIS X 6319-4); NFC-DEP at 212 and 424 kbit/s as well.
    F,
}

impl fmt::Display for Technology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
            Self::F => "F",
        })
    }
}

/// Bits a second, in kbit/s as the standards round them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BitRate {
    /// fc/128.
    #[default]
    Kbps106,
    /// fc/64.
    Kbps212,
    /// fc/32.
    Kbps424,
    /// fc/16.
    Kbps848,
}

impl BitRate {
    /// All of them, slowest first.
    pub const ALL: [Self; 4] = [Self::Kbps106, Self::Kbps212, Self::Kbps424, Self::Kbps848];

    /// The number that the protocols code it by (DSI, DRI): 0 to 3.
    #[must_use]
    pub const fn divisor_code(self) -> u8 {
        self as u8
    }

    /// The rate of a code from 0 to 3.
    #[must_use]
    pub const fn from_divisor_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Kbps106),
            1 => Some(Self::Kbps212),
            2 => Some(Self::Kbps424),
            3 => Some(Self::Kbps848),
            _ => None,
        }
    }

    /// In kbit/s: 106, 212, 424 or 848.
    #[must_use]
    pub const fn kbps(self) -> u32 {
        106 << self.divisor_code()
    }

    /// How long a bit lasts: 1 etu of this rate, 128/fc at 106 kbit/s.
    #[must_use]
    pub const fn bit(self) -> Ticks {
        Ticks(128 >> self.divisor_code())
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kbit/s", self.kbps())
    }
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The reader: PCD, initiator.
    Pcd,
    /// The card: PICC, target.
    Picc,
}

/// A frame that is to be sent, or that a card has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// How.
    pub technology: Technology,
    /// How fast.
    pub rate: BitRate,
    /// The bytes, without checksum.
    pub data: &'a [u8],
    /// The first bit of the first byte that goes on the air, 0 to 7; the ones below it were sent by the other side (a card's answer to
    /// an anticollision frame that ended within a byte). Normally 0.
    pub first_bit: u8,
    /// How many bits of the last byte, from its lowest, go on the air: 1 to 8. 7 for REQA.
    pub last_bits: u8,
    /// Whether a checksum follows on the air.
    pub crc: bool,
}

impl<'a> Frame<'a> {
    /// Whole bytes with a checksum, 106 kbit/s: most frames of type A and B.
    #[must_use]
    pub const fn new(technology: Technology, data: &'a [u8]) -> Self {
        Self {
            technology,
            rate: BitRate::Kbps106,
            data,
            first_bit: 0,
            last_bits: 8,
            crc: true,
        }
    }

    /// The same at another rate.
    #[must_use]
    pub const fn at(mut self, rate: BitRate) -> Self {
        self.rate = rate;
        self
    }

    /// The same without a checksum.
    #[must_use]
    pub const fn bare(mut self) -> Self {
        self.crc = false;
        self
    }

    /// The same of which only so many bits of the last byte are sent (1 to 8); without a checksum.
    #[must_use]
    pub const fn ending_with(mut self, last_bits: u8) -> Self {
        self.last_bits = last_bits;
        self.crc = false;
        self
    }

    /// A short frame of type A: 7 bits.
    #[must_use]
    pub const fn short(data: &'a [u8; 1]) -> Self {
        Self::new(Technology::A, data).ending_with(7)
    }

    /// How many bits of `data` go on the air, parity and checksum aside.
    #[must_use]
    pub fn bits(&self) -> usize {
        bits(self.data.len(), self.first_bit, self.last_bits)
    }

    /// Whether all its bytes are whole.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.first_bit == 0 && self.last_bits == 8
    }

    /// How long it takes on the air, marks, parity and checksum included.
    #[must_use]
    pub fn air_time(&self) -> Ticks {
        time::air_time(self)
    }
}

fn bits(bytes: usize, first_bit: u8, last_bits: u8) -> usize {
    match bytes {
        0 => 0,
        n => (n * 8)
            .saturating_sub(usize::from(first_bit.min(7)))
            .saturating_sub(usize::from(8 - last_bits.clamp(1, 8))),
    }
}

/// What the receiver of an answer must know beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// How long after the end of the command the answer may begin at the latest.
    pub timeout: Ticks,
    /// Its rate.
    pub rate: BitRate,
    /// Whether it has a checksum, which the link then checks and takes away.
    pub crc: bool,
    /// Where in its first byte the first bit belongs (0 to 7).
    pub first_bit: u8,
}

impl Expect {
    /// An answer like its command: rate and checksum are the same.
    #[must_use]
    pub const fn like(command: &Frame<'_>, timeout: Ticks) -> Self {
        Self {
            timeout,
            rate: command.rate,
            crc: command.crc,
            first_bit: 0,
        }
    }

    /// The same for an answer that begins within a byte (0 to 7).
    #[must_use]
    pub const fn from_bit(mut self, first_bit: u8) -> Self {
        self.first_bit = first_bit;
        self
    }

    /// The same at another rate.
    #[must_use]
    pub const fn at(mut self, rate: BitRate) -> Self {
        self.rate = rate;
        self
    }
}

/// A frame in a buffer of its own, which is used again and again: an answer that came in, or one that a card makes.
///
/// After an error it holds what was received up to there, as far as the link can tell; the [collision](RfError::Collision)'s position
/// says how much of that is good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RxFrame {
    /// How.
    pub technology: Technology,
    /// How fast.
    pub rate: BitRate,
    /// The bytes, without checksum.
    pub data: Vec<u8>,
    /// As [`Frame::first_bit`]; the bits below it are 0.
    pub first_bit: u8,
    /// As [`Frame::last_bits`].
    pub last_bits: u8,
    /// Whether there was a right checksum on the air, which was taken away.
    pub crc: bool,
    /// When the command's first bit went out, by the link's clock. A link that cannot know sets it to when it was handed the command.
    pub sent_at: Ticks,
    /// When the answer's first bit came in, by the link's clock.
    pub at: Ticks,
}

impl RxFrame {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            technology: Technology::A,
            rate: BitRate::Kbps106,
            data: Vec::new(),
            first_bit: 0,
            last_bits: 8,
            crc: false,
            sent_at: Ticks::ZERO,
            at: Ticks::ZERO,
        }
    }

    /// Empties it; the buffer stays.
    pub fn clear(&mut self) {
        self.data.clear();
        self.first_bit = 0;
        self.last_bits = 8;
        self.crc = false;
    }

    /// Takes over another frame's content; the times stay.
    pub fn set(&mut self, frame: &Frame<'_>) {
        self.technology = frame.technology;
        self.rate = frame.rate;
        self.data.clear();
        self.data.extend_from_slice(frame.data);
        self.first_bit = frame.first_bit;
        self.last_bits = frame.last_bits;
        self.crc = frame.crc;
    }

    /// It as a frame that is to be sent.
    #[must_use]
    pub fn frame(&self) -> Frame<'_> {
        Frame {
            technology: self.technology,
            rate: self.rate,
            data: &self.data,
            first_bit: self.first_bit,
            last_bits: self.last_bits,
            crc: self.crc,
        }
    }

    /// How many bits of `data` were on the air.
    #[must_use]
    pub fn bits(&self) -> usize {
        bits(self.data.len(), self.first_bit, self.last_bits)
    }

    /// Whether all its bytes are whole.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.first_bit == 0 && self.last_bits == 8
    }
}

/// What can go wrong with a frame in the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RfError {
    /// Nothing began in time.
    #[error("nothing was heard in time")]
    Timeout,
    /// The checksum is wrong, or there is none where one belongs.
    #[error("the checksum is wrong")]
    Crc,
    /// A parity bit is wrong, and that is no collision.
    #[error("a parity bit is wrong")]
    Parity,
    /// Start, end, length or sync are wrong; bits are missing.
    #[error("the frame is torn")]
    Framing,
    /// Two senders differ. Everything before the bit is good.
    #[error("two cards differ in bit {bit}")]
    Collision {
        /// Which bit of the answer's `data`, counted from the lowest of its first byte. Bits below `first_bit` count.
        bit: usize,
    },
    /// The frame is longer than the receiver takes.
    #[error("the frame is longer than the receiver takes")]
    Overflow,
}

/// What the other end's frame is for whoever waits for it: the frame, or what is wrong with it.
pub type Received<'a> = Result<Frame<'a>, RfError>;
