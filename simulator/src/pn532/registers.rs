//! The registers of the chip that hosts read and write: the contactless interface unit (CIU) at 6300 to 633F, and what else is asked for.
//!
//! The radio is set by a few of them ([`Registers::sending`], [`Registers::receiving`]); the others keep what is written and do nothing.

use std::collections::BTreeMap;

use tapdoor_protocol::rf::frame::{BitRate, Technology};

/// What hosts address by name.
#[allow(missing_docs)]
pub mod address {
    pub const MODE: u16 = 0x6301;
    pub const TX_MODE: u16 = 0x6302;
    pub const RX_MODE: u16 = 0x6303;
    pub const MANUAL_RCV: u16 = 0x630D;
    pub const ERROR: u16 = 0x6336;
    pub const FIFO_DATA: u16 = 0x6339;
    pub const FIFO_LEVEL: u16 = 0x633A;
    pub const CONTROL: u16 = 0x633C;
    pub const BIT_FRAMING: u16 = 0x633D;
    pub const COLL: u16 = 0x633E;
}

/// Checksum on, in `CIU_TxMode` and `CIU_RxMode`.
const CRC: u8 = 0x80;
/// The chip neither makes nor checks parity, in `CIU_ManualRCV`.
const PARITY_DISABLE: u8 = 0x10;

/// `CIU_Mode`'s DetectSync: the chip takes away and adds the F0 of NFC-DEP at 106 kbit/s.
pub const DETECT_SYNC: u8 = 0x40;

/// After a reset, where that is not 0.
const RESET: [(u16, u8); 12] = [
    (0x6301, 0x3B),
    (0x6304, 0x80),
    (0x6306, 0x10),
    (0x6307, 0x84),
    (0x6308, 0x84),
    (0x6309, 0x4D),
    (0x6313, 0x88),
    (0x6314, 0x26),
    (0x6316, 0x48),
    (0x6317, 0x88),
    (0x6318, 0x20),
    (0x6319, 0x20),
];

/// How a direction of the radio is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Technology; `None` for the active mode of NFC-DEP.
    pub technology: Option<Technology>,
    /// Bit rate; `None` for those that no card has.
    pub rate: Option<BitRate>,
    /// Whether the chip does the checksum.
    pub crc: bool,
}

impl Mode {
    /// Technology and rate with a checksum.
    #[must_use]
    pub const fn new(technology: Technology, rate: BitRate, crc: bool) -> Self {
        Self {
            technology: Some(technology),
            rate: Some(rate),
            crc,
        }
    }

    fn from_byte(byte: u8) -> Self {
        Self {
            technology: match byte & 0x03 {
                0 => Some(Technology::A),
                2 => Some(Technology::F),
                3 => Some(Technology::B),
                _ => None,
            },
            rate: BitRate::from_divisor_code(byte >> 4 & 0x07),
            crc: byte & CRC != 0,
        }
    }

    fn to_byte(self) -> u8 {
        let framing = match self.technology {
            Some(Technology::A) => 0,
            Some(Technology::F) => 2,
            Some(Technology::B) => 3,
            None => 1,
        };
        framing | self.rate.unwrap_or_default().divisor_code() << 4 | if self.crc { CRC } else { 0 }
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Registers(BTreeMap<u16, u8>);

impl Registers {
    /// As after a reset.
    #[must_use]
    pub fn new() -> Self {
        Self(RESET.into_iter().collect())
    }

    /// The value at an address; registers that nobody wrote are 0.
    #[must_use]
    pub fn read(&self, address: u16) -> u8 {
        self.0.get(&address).copied().unwrap_or(0)
    }

    /// Writes one.
    pub fn write(&mut self, address: u16, value: u8) {
        // At most one entry for each of 65,536 addresses.
        self.0.insert(address, value);
    }

    /// How frames are sent.
    #[must_use]
    pub fn sending(&self) -> Mode {
        Mode::from_byte(self.read(address::TX_MODE))
    }

    /// How answers are received.
    #[must_use]
    pub fn receiving(&self) -> Mode {
        Mode::from_byte(self.read(address::RX_MODE))
    }

    /// Sets both directions, as the firmware does before it sends something of its own.
    pub fn set_modes(&mut self, mode: Mode) {
        self.write(address::TX_MODE, mode.to_byte());
        self.write(address::RX_MODE, mode.to_byte());
    }

    /// How many bits of the last byte are sent: 1 to 8.
    #[must_use]
    pub fn last_bits(&self) -> u8 {
        match self.read(address::BIT_FRAMING) & 0x07 {
            0 => 8,
            bits => bits,
        }
    }

    /// At which bit of a byte the answer begins: 0 to 7.
    #[must_use]
    pub fn first_bit(&self) -> u8 {
        self.read(address::BIT_FRAMING) >> 4 & 0x07
    }

    /// Whether the host makes parity bits itself.
    #[must_use]
    pub fn parity_by_host(&self) -> bool {
        self.read(address::MANUAL_RCV) & PARITY_DISABLE != 0
    }

    /// Notes how many bits of the last byte were received.
    pub fn received(&mut self, last_bits: u8) {
        let control = self.read(address::CONTROL) & !0x07;
        self.write(address::CONTROL, control | (last_bits % 8));
        self.write(address::ERROR, 0);
        self.write(address::FIFO_LEVEL, 0);
    }

    /// Notes that nothing came: what was sent is still in the FIFO.
    pub fn unanswered(&mut self, sent: &[u8]) {
        self.write(address::FIFO_DATA, sent.first().copied().unwrap_or(0));
        self.write(address::FIFO_LEVEL, u8::try_from(sent.len()).unwrap_or(64));
    }

    /// Notes a collision in this bit.
    pub fn collided(&mut self, bit: usize) {
        self.write(address::ERROR, 0x08);
        // CollPos counts from 1, and 0 is the 32nd bit.
        let position = u8::try_from((bit + 1) % 32).unwrap_or(0);
        self.write(address::COLL, if bit < 32 { position } else { 0x20 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_bytes() {
        let mut registers = Registers::new();
        for technology in [Technology::A, Technology::B, Technology::F] {
            for rate in BitRate::ALL {
                for crc in [true, false] {
                    let mode = Mode::new(technology, rate, crc);
                    registers.set_modes(mode);
                    assert_eq!((registers.sending(), registers.receiving()), (mode, mode));
                }
            }
        }
        registers.write(address::TX_MODE, 0x80);
        assert_eq!(registers.sending(), Mode::new(Technology::A, BitRate::Kbps106, true));
        registers.write(address::TX_MODE, 0x92);
        assert_eq!(registers.sending(), Mode::new(Technology::F, BitRate::Kbps212, true));
        registers.write(address::TX_MODE, 0x03);
        assert_eq!(registers.sending(), Mode::new(Technology::B, BitRate::Kbps106, false));
        registers.write(address::TX_MODE, 0x71);
        assert_eq!((registers.sending().technology, registers.sending().rate), (None, None));
    }

    #[test]
    fn bits_of_frames() {
        let mut registers = Registers::new();
        assert_eq!(
            (registers.last_bits(), registers.first_bit(), registers.parity_by_host()),
            (8, 0, false)
        );
        registers.write(address::BIT_FRAMING, 0x57);
        assert_eq!((registers.last_bits(), registers.first_bit()), (7, 5));
        registers.received(8);
        assert_eq!(registers.read(address::CONTROL), 0);
        registers.received(4);
        assert_eq!(registers.read(address::CONTROL), 4);
        registers.unanswered(&[0x26]);
        assert_eq!(registers.read(address::FIFO_DATA), 0x26);
        registers.collided(11);
        assert_eq!(registers.read(address::COLL), 12);
    }
}
