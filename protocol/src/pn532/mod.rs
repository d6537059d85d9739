//! The PN532's host link (UM0701-02): high speed UART frames, commands and answers, for the host and for the chip.
//!
//! | module | what | clauses of UM0701-02 |
//! |---|---|---|
//! | [`frame`] | normal, extended, ACK, NACK and error frames; resynchronisation after garbage | 6.2.1 |
//! | [`command`] | what a host asks | 7.2 to 7.4 |
//! | [`answer`] | what the chip answers | 7.2 to 7.4 |
//! | [`target`] | cards as InListPassiveTarget, InAutoPoll and InJumpForDEP describe them | 7.3.5, 7.3.13, 7.3.3 |
//! | [`rf`] | items of RFConfiguration, time-out codes, SetParameters' flags, SAM modes, rates | 7.2.9, 7.2.10, 7.3.1 |
//! | [`status`] | the status byte and the error codes by name | 7.1 |
//!
//! Everything is parsed from and written to byte slices. Each parser refuses what it cannot express and never panics. The same types
//! serve both ends: a host writes [`Command`]s and parses [`Answer`]s, a simulated chip the other way round.

pub mod answer;
pub mod command;
pub mod frame;
pub mod rf;
pub mod status;
pub mod target;

pub use answer::{Answer, DepAnswer};
pub use command::{Code, Command, DepMode, Jump, TargetSetup};
pub use frame::{ACK, ERROR, Frames, Incoming, NACK, WAKE_UP};
pub use rf::{BaudRate, Parameters, RfItem, SamMode, Timeout};
pub use status::{ErrorCode, Status};
pub use target::{AutoPollType, Listed, Modulation, PolledTarget};

/// The longest content of a frame in bytes, TFI included (UM0701-02 6.2.1.2).
pub const MAX_FRAME: usize = 265;
/// The most data bytes that InDataExchange, TgSetData and the like carry in one frame, each way.
pub const MAX_DATA: usize = 262;
/// The most data bytes of InCommunicateThru: the chip's RF buffer.
pub const MAX_THRU: usize = 263;

/// Bytes that do not say what they should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Pn532Error {
    /// A command code that UM0701-02 does not know.
    #[error("PN532: {0:02x} is no command of UM0701-02")]
    UnknownCommand(u8),
    /// An answer to another command than the one that was sent: a stale one, as some ACR122U firmware gives.
    #[error("PN532: the answer is {got:02x} and not {expected:02x}: it belongs to another command")]
    WrongAnswer {
        /// The code that was due.
        expected: u8,
        /// The code that came.
        got: u8,
    },
    /// The parameters of a command or answer end too early, or do not have the length that they state.
    #[error("PN532: {what} cannot be read from {length} bytes")]
    Length {
        /// Which command, answer or part of it.
        what: &'static str,
        /// How many bytes there were.
        length: usize,
    },
    /// A value outside what UM0701-02 allows.
    #[error("PN532: {what} cannot be {value:02x}")]
    Value {
        /// Which parameter.
        what: &'static str,
        /// Its value.
        value: u8,
    },
    /// More than a frame holds.
    #[error("PN532: {length} bytes do not fit a frame of at most 265")]
    TooLong {
        /// How many there were.
        length: usize,
    },
}

/// Takes bytes from the front of a slice.
#[derive(Clone, Copy)]
pub(crate) struct Take<'a> {
    rest: &'a [u8],
    all: usize,
    what: &'static str,
}

impl<'a> Take<'a> {
    pub(crate) const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            all: bytes.len(),
            what,
        }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Pn532Error> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(self.short())?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Pn532Error> {
        let error = self.short();
        self.bytes(N)?.try_into().map_err(|_| error)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Pn532Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) const fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    pub(crate) const fn end(self) -> Result<(), Pn532Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.short()) }
    }

    pub(crate) const fn short(&self) -> Pn532Error {
        Pn532Error::Length {
            what: self.what,
            length: self.all,
        }
    }
}
