//! [`CardLink`]: C-APDU in, R-APDU out, exactly the bytes given (ISO/IEC 7816-3 12.1).

use std::fmt;

/// How long APDUs may be on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest C-APDU in bytes that the link carries (261 for short APDUs).
    pub command: usize,
    /// Longest R-APDU in bytes, status word included (258 for short APDUs).
    pub response: usize,
}

impl Limits {
    /// Short APDUs only: Lc up to 255, Le up to 256.
    pub const SHORT: Self = Self {
        command: 261,
        response: 258,
    };
    /// Extended length.
    pub const EXTENDED: Self = Self {
        command: 65_544,
        response: 65_538,
    };
}

/// What went wrong on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkErrorKind {
    /// The card left the field, or the program that plays it hung up.
    CardGone,
    /// Something reset the card in the middle of the session.
    CardReset,
    /// No answer in time.
    Timeout,
    /// The answer broke the rules of the link (too long, shorter than a status word, lying length).
    Malformed,
    /// The command does not fit this link; nothing was sent.
    TooLong,
    /// Another program holds the card or the reader.
    Busy,
    /// The reader or its service failed or disappeared.
    Reader,
    /// Somebody asked to stop.
    Cancelled,
}

/// A failed exchange, with its evidence.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkError {
    /// What kind of failure.
    pub kind: LinkErrorKind,
    /// Which layer speaks: `pcsc`, `vpcd`, `chip`, `fault`, ...
    pub layer: &'static str,
    /// What happened, in words, with the operating system's or library's own text.
    pub detail: String,
    /// The header of the command that was being sent (at most its first 5 bytes; never data, which can be secret).
    pub command: Option<Vec<u8>>,
}

impl LinkError {
    /// A failure outside any command.
    pub fn new(kind: LinkErrorKind, layer: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind,
            layer,
            detail: detail.into(),
            command: None,
        }
    }

    /// The same with the command that was being sent: its first 5 bytes are kept.
    #[must_use]
    pub fn during(mut self, command: &[u8]) -> Self {
        self.command = Some(command[..command.len().min(5)].to_vec());
        self
    }

    /// What the person at the desk can do about it.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self.kind {
            LinkErrorKind::CardGone => "hold the phone still on the reader until the door answers",
            LinkErrorKind::CardReset => "tap again; close other programs that use this reader",
            LinkErrorKind::Timeout => "wake the phone and tap again; a slow card may need a larger time-out",
            LinkErrorKind::Malformed => {
                "the card or the program that plays it breaks the protocol: record a tape and look at it with `tapdoor show`"
            }
            LinkErrorKind::TooLong => "use command chaining, or a link that carries extended length",
            LinkErrorKind::Busy => "close the other program that uses this reader",
            LinkErrorKind::Reader => "check that pcscd runs and the reader is plugged in: `tapdoor readers`",
            LinkErrorKind::Cancelled => "start the command again",
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.detail)?;
        if let Some(command) = &self.command {
            write!(f, " (during ")?;
            command.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
            write!(f, "..)")?;
        }
        write!(f, "; {}", self.cure())
    }
}

impl fmt::Debug for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkError({:?}: {self})", self.kind)
    }
}

impl std::error::Error for LinkError {}

/// A card that answers APDUs.
///
/// Implementations send exactly the bytes they are given and return exactly what came back: no GET RESPONSE, no chaining, no retries.
/// Decorators add those. After an error of kind `CardGone`, `CardReset` or `Reader` the session is over.
pub trait CardLink {
    /// Sends `command` and replaces the content of `response` by the R-APDU (data and status word, at least 2 bytes).
    ///
    /// The buffer is reused so that a session of many exchanges allocates nothing.
    ///
    /// # Errors
    /// [`LinkError`]; `response` is then empty.
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError>;

    /// How long APDUs may be here.
    fn limits(&self) -> Limits {
        Limits::SHORT
    }
}

impl<L: CardLink + ?Sized> CardLink for &mut L {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        (**self).transmit(command, response)
    }

    fn limits(&self) -> Limits {
        (**self).limits()
    }
}

impl<L: CardLink + ?Sized> CardLink for Box<L> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        (**self).transmit(command, response)
    }

    fn limits(&self) -> Limits {
        (**self).limits()
    }
}
