//! Secure Channel Protocol 03, both ends (GPC Amendment D v1.2).
//!
//! | step | host | card |
//! |---|---|---|
//! | INITIALIZE UPDATE (7.1.1) | [`Host::initialize_update`] | [`Card::initialize_update`] |
//! | EXTERNAL AUTHENTICATE (7.1.2) | [`Host::authenticate`] | [`Card::external_authenticate`] |
//! | each command after that (6.2.4 to 6.2.7) | [`Channel::wrap`], [`Channel::unwrap`] | [`CardChannel::unwrap`], [`CardChannel::wrap`] |
//!
//! The host may wrap many commands before the first answer is there, as a script does: each wrapping gives a [`Ticket`], and the answer is
//! unwrapped with the ticket of its command. The R-MAC is chained to the C-MAC of the command it answers, so nothing else is needed.
//!
//! A MAC is compared, in constant time, before anything is deciphered. A wrong one ends the session at the end that sees it, and the session
//! keys are overwritten.
//!
//! Which answers are protected: 9000 and the warnings 62XX and 63XX carry an R-MAC when the level has one. All other status words are errors,
//! come alone and without a MAC (6.2.5), so they prove nothing: a host may stop for them and may never take them for success.
//!
//! Commands on a logical channel are authenticated as if sent on the basic one (class 84 or 04), so the channel can be chosen below this layer.

mod block;
mod card;
mod channel;
mod host;
mod keys;

pub use self::card::{Card, CardChallenge, CardSetup};
pub use self::channel::{CardChannel, Channel, Mark, Ticket, Wrapped};
pub use self::host::{Host, InitializeUpdateResponse};
pub use self::keys::{Derivation, Keys, SessionKeys, derive, key_check_value};

use crate::apdu::ApduError;
use crate::status::{Class, StatusWord};

/// INS of INITIALIZE UPDATE.
pub const INITIALIZE_UPDATE: u8 = 0x50;
/// INS of EXTERNAL AUTHENTICATE.
pub const EXTERNAL_AUTHENTICATE: u8 = 0x82;
/// The largest sequence counter: 3 bytes.
pub const MAX_SEQUENCE: u32 = 0x00FF_FFFF;

/// How long challenges, cryptograms and MACs are (Amendment D 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 8 bytes.
    S8,
    /// 16 bytes.
    S16,
}

impl Mode {
    /// The length in bytes: 8 or 16.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::S8 => 8,
            Self::S16 => 16,
        }
    }
}

/// A challenge of the host or of the card, 8 or 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Challenge {
    bytes: [u8; 16],
    mode: Mode,
}

impl Challenge {
    /// `None` unless there are 8 or 16 bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mode = match bytes.len() {
            8 => Mode::S8,
            16 => Mode::S16,
            _ => return None,
        };
        let mut challenge = Self { bytes: [0; 16], mode };
        challenge.bytes[..mode.length()].copy_from_slice(bytes);
        Some(challenge)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.mode.length()]
    }

    /// Which mode it belongs to.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }
}

impl From<[u8; 8]> for Challenge {
    fn from(bytes: [u8; 8]) -> Self {
        let mut challenge = Self {
            bytes: [0; 16],
            mode: Mode::S8,
        };
        challenge.bytes[..8].copy_from_slice(&bytes);
        challenge
    }
}

impl From<[u8; 16]> for Challenge {
    fn from(bytes: [u8; 16]) -> Self {
        Self { bytes, mode: Mode::S16 }
    }
}

/// The implementation parameter "i": what the card's SCP03 can do (Amendment D 5.1, table 5-1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct I(pub u8);

impl I {
    /// S8, pseudo-random card challenge, R-MAC and R-ENC: 70.
    pub const DEFAULT: Self = Self(0x70);

    /// S16 if bit 01 is set.
    #[must_use]
    pub const fn mode(self) -> Mode {
        if self.0 & 0x01 == 0 { Mode::S8 } else { Mode::S16 }
    }

    /// Bit 10: the card challenge follows from a sequence counter, which the card then sends along.
    #[must_use]
    pub const fn pseudo_random(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// Bit 20: answers can carry a MAC.
    #[must_use]
    pub const fn r_mac(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// Bits 20 and 40: answers can be enciphered.
    #[must_use]
    pub const fn r_enc(self) -> bool {
        self.0 & 0x60 == 0x60
    }

    /// Whether it is one of the values of table 5-1: reserved bits clear, no R-ENC without R-MAC.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.0 & 0x8E == 0 && self.0 & 0x60 != 0x40
    }

    /// Whether a session of this level is possible.
    #[must_use]
    pub const fn allows(self, level: Level) -> bool {
        (!level.r_mac() || self.r_mac()) && (!level.r_enc() || self.r_enc())
    }
}

impl Default for I {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The security level of a session: P1 of EXTERNAL AUTHENTICATE (Amendment D table 7-4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Level(u8);

impl Level {
    /// 00: authenticated, then nothing is protected.
    pub const NONE: Self = Self(0x00);
    /// 01: commands carry a MAC.
    pub const C_MAC: Self = Self(0x01);
    /// 03: commands are enciphered and carry a MAC.
    pub const C_ENC: Self = Self(0x03);
    /// 11: commands and answers carry a MAC.
    pub const C_MAC_R_MAC: Self = Self(0x11);
    /// 13: commands are enciphered, both carry a MAC.
    pub const C_ENC_R_MAC: Self = Self(0x13);
    /// 33: both are enciphered and carry a MAC.
    pub const FULL: Self = Self(0x33);

    /// `None` unless it is one of the six levels.
    #[must_use]
    pub const fn new(level: u8) -> Option<Self> {
        match level {
            0x00 | 0x01 | 0x03 | 0x11 | 0x13 | 0x33 => Some(Self(level)),
            _ => None,
        }
    }

    /// The byte.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// Commands carry a MAC.
    #[must_use]
    pub const fn c_mac(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// Commands are enciphered.
    #[must_use]
    pub const fn c_enc(self) -> bool {
        self.0 & 0x02 != 0
    }

    /// Answers carry a MAC.
    #[must_use]
    pub const fn r_mac(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// Answers are enciphered.
    #[must_use]
    pub const fn r_enc(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// Most plain data bytes of a command that is still a short APDU (Lc 255) when wrapped: 239 for level 33 in S8.
    #[must_use]
    pub const fn max_command_data(self, mode: Mode) -> usize {
        self.fits(255, mode, self.c_mac(), self.c_enc())
    }

    /// Most plain data bytes of an answer that is still a short one (256 bytes) when wrapped: 239 for level 33 in S8.
    #[must_use]
    pub const fn max_response_data(self, mode: Mode) -> usize {
        self.fits(256, mode, self.r_mac(), self.r_enc())
    }

    const fn fits(self, field: usize, mode: Mode, mac: bool, enc: bool) -> usize {
        let left = if mac { field - mode.length() } else { field };
        // Whole blocks, one byte of which at least is padding.
        if enc { left / 16 * 16 - 1 } else { left }
    }
}

/// Whether an answer with this status word carries an R-MAC in a session that has one: 9000, 62XX and 63XX (Amendment D 6.2.5).
#[must_use]
pub const fn is_protected(sw: StatusWord) -> bool {
    sw.is_ok() || matches!(sw.class(), Class::Warning | Class::WarningChanged)
}

/// What went wrong on the host's end, or before a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Scp03Error {
    /// A key of another length than AES has, or three of different lengths.
    #[error("SCP03 keys have 16, 24 or 32 bytes and all three the same length, one here has {length}: correct the key set")]
    KeyLength {
        /// How many bytes it has.
        length: usize,
    },
    /// Nothing to derive, or too much.
    #[error("SCP03 cannot derive {length} bytes: 1 to 4080 are possible")]
    Length {
        /// How many bytes were asked for.
        length: usize,
    },
    /// Data for Key-DEK that is not whole blocks.
    #[error("{length} bytes are not whole AES blocks: pad sensitive data to a multiple of 16 before it is enciphered with Key-DEK")]
    Blocks {
        /// How many bytes there are.
        length: usize,
    },
    /// The card did not answer INITIALIZE UPDATE with 9000.
    #[error("INITIALIZE UPDATE was answered {sw}: {}", .sw.meaning())]
    Refused {
        /// The status word.
        sw: StatusWord,
    },
    /// The answer to INITIALIZE UPDATE has the wrong length.
    #[error(
        "INITIALIZE UPDATE was answered with {length} bytes of data, {expected} or {with_counter} (with sequence counter) are right for this challenge: does the card speak SCP03 in this mode?"
    )]
    AnswerLength {
        /// How many bytes came.
        length: usize,
        /// How many there are without sequence counter.
        expected: usize,
        /// How many there are with it.
        with_counter: usize,
    },
    /// The card speaks another secure channel protocol.
    #[error("the card's key set {kvn:02X} is for SCP{protocol:02X}, not SCP03: choose another key version number")]
    Protocol {
        /// Its key version number.
        kvn: u8,
        /// The protocol's number.
        protocol: u8,
    },
    /// The level needs what "i" does not offer.
    #[error("security level {level:02X} is not possible with i = {i:02X}: choose a level without R-MAC or R-ENC")]
    Level {
        /// The level.
        level: u8,
        /// The card's parameter.
        i: u8,
    },
    /// The card does not know the keys.
    #[error("the card cryptogram is wrong: the card has other keys under key version {kvn:02X}, or it is not the card")]
    CardCryptogram {
        /// The key version number that the card named.
        kvn: u8,
    },
    /// The session has ended.
    #[error("the secure channel has ended: begin again with INITIALIZE UPDATE")]
    Ended,
    /// The command would not fit once wrapped.
    #[error("the command has {length} data bytes, at most {most} fit into a short APDU once wrapped: send less in each command")]
    CommandTooLong {
        /// How many data bytes it has.
        length: usize,
        /// How many fit.
        most: usize,
    },
    /// The command already announces secure messaging, or its class cannot.
    #[error("a command of class {cla:02X} cannot be wrapped: use 80 or 00, and let the channel set the bit for secure messaging")]
    Class {
        /// The class.
        cla: u8,
    },
    /// The answer carries no MAC although its status word calls for one.
    #[error(
        "the answer {sw} has {length} bytes of data and no room for an R-MAC: the answer was cut or made by someone else; session ended"
    )]
    NoResponseMac {
        /// The status word.
        sw: StatusWord,
        /// How many bytes of data there are.
        length: usize,
    },
    /// The R-MAC is wrong.
    #[error("the R-MAC of the answer {sw} is wrong: the answer was changed, or belongs to another command; session ended")]
    ResponseMac {
        /// The status word that came with it.
        sw: StatusWord,
    },
    /// The deciphered answer is not padded.
    #[error("the answer is not enciphered as SCP03 says ({length} bytes): session ended")]
    ResponsePadding {
        /// How many bytes of data there are without R-MAC.
        length: usize,
    },
    /// An error status word came with data, which nothing protects.
    #[error("the error {sw} came with {length} bytes of unprotected data: session ended")]
    DataWithError {
        /// The status word.
        sw: StatusWord,
        /// How many bytes there are.
        length: usize,
    },
    /// Not an APDU.
    #[error(transparent)]
    Apdu(#[from] ApduError),
}
