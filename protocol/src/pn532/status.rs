//! The status byte and the error codes (UM0701-02 7.1).

use core::fmt;

macro_rules! error_codes {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        /// Why the chip could not do what it was asked, by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", stringify!($value), "`: ", $text, ".")] $name,)*
            /// A code that UM0701-02 does not list, 6 bits.
            Other(u8),
        }

        impl ErrorCode {
            /// The code `value` (its low 6 bits); `None` for 0, which is success.
            #[must_use]
            pub const fn new(value: u8) -> Option<Self> {
                match value & 0x3F {
                    0 => None,
                    $($value => Some(Self::$name),)*
                    other => Some(Self::Other(other)),
                }
            }

            /// The byte on the wire.
            #[must_use]
            pub const fn value(self) -> u8 {
                match self {
                    $(Self::$name => $value,)*
                    Self::Other(value) => value & 0x3F,
                }
            }

            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(_) => "an error that the manual does not list",
                }
            }
        }
    };
}

error_codes! {
    Timeout = 0x01, "the target has not answered in time";
    Crc = 0x02, "CRC error in the answer";
    Parity = 0x03, "parity error in the answer";
    BitCount = 0x04, "wrong bit count during anticollision or selection";
    Framing = 0x05, "framing error";
    Collision = 0x06, "abnormal bit collision during anticollision at 106 kbit/s";
    BufferSize = 0x07, "communication buffer too small";
    RfOverflow = 0x09, "RF buffer overflow";
    NoField = 0x0A, "the counterpart has not switched its RF field on in time";
    Protocol = 0x0B, "RF protocol error";
    Temperature = 0x0D, "overheated: the antenna drivers are off";
    InternalOverflow = 0x0E, "internal buffer overflow";
    Parameter = 0x10, "invalid parameter";
    DepCommand = 0x12, "the initiator's command is not supported in target mode";
    DataFormat = 0x13, "the data format does not match the specification";
    Authentication = 0x14, "MIFARE authentication error";
    NoSecure = 0x18, "NFC secure is not supported";
    BusBusy = 0x19, "the I2C bus is busy";
    UidCheck = 0x23, "wrong UID check byte";
    DepState = 0x25, "invalid device state for this command";
    NotAllowed = 0x26, "not allowed in this configuration";
    Context = 0x27, "not acceptable in the chip's present state";
    Released = 0x29, "the initiator has released this target";
    CardExchanged = 0x2A, "another card answers than the one expected";
    CardGone = 0x2B, "the card has disappeared";
    Nfcid3Mismatch = 0x2C, "NFCID3 of initiator and target do not match";
    OverCurrent = 0x2D, "over-current";
    NadMissing = 0x2E, "NAD missing in a DEP frame";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PN532 error {:02x}: {}", self.value(), self.meaning())
    }
}

/// The first byte of most answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// A NAD follows.
    pub nad: bool,
    /// More information follows in the next answer.
    pub more: bool,
    /// What went wrong; `None` is success.
    pub error: Option<ErrorCode>,
}

impl Status {
    /// Success, nothing more.
    pub const OK: Self = Self {
        nad: false,
        more: false,
        error: None,
    };

    /// A failure.
    #[must_use]
    pub const fn failed(error: ErrorCode) -> Self {
        Self {
            nad: false,
            more: false,
            error: Some(error),
        }
    }

    /// From the wire.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        Self {
            nad: byte & 0x80 != 0,
            more: byte & 0x40 != 0,
            error: ErrorCode::new(byte),
        }
    }

    /// To the wire.
    #[must_use]
    pub fn to_byte(self) -> u8 {
        u8::from(self.nad) << 7 | u8::from(self.more) << 6 | self.error.map_or(0, ErrorCode::value)
    }
}

impl From<ErrorCode> for Status {
    fn from(error: ErrorCode) -> Self {
        Self::failed(error)
    }
}
