//! [`Port`]: a command to the chip, and its answer.

use std::fmt;
use std::time::Duration;

/// What went wrong between us and the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PortErrorKind {
    /// No answer in time, or none that could be read.
    Silent,
    /// The chip's error frame: a command that it does not know, or wrong parameters.
    Refused,
    /// The line, the reader or its service failed or disappeared.
    Gone,
    /// The command is longer than this way carries; nothing was sent.
    TooLong,
    /// Somebody asked to stop.
    Cancelled,
}

/// A command that was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct PortError {
    /// What kind of failure.
    pub kind: PortErrorKind,
    /// What happened, in words.
    pub detail: String,
}

impl PortError {
    /// A failure.
    pub fn new(kind: PortErrorKind, detail: impl fmt::Display) -> Self {
        Self {
            kind,
            detail: detail.to_string(),
        }
    }
}

/// What carries commands to a PN532.
pub trait Port {
    /// Sends `command` (code and parameters), waits up to `timeout` for the answer, and puts its content (code and data) into `answer`.
    ///
    /// Answers to other commands are passed over: what is given back has the code of `command` plus one.
    ///
    /// # Errors
    /// [`PortError`]; then the chip does nothing any more and takes the next command.
    fn exchange(&mut self, command: &[u8], timeout: Duration, answer: &mut Vec<u8>) -> Result<(), PortError>;

    /// The longest command and the longest answer, code included, in bytes.
    fn longest(&self) -> (usize, usize);

    /// Whether a command that takes too long can be ended. Without it no command may be sent that waits for ever.
    fn can_abort(&self) -> bool;
}

/// Any way to a chip.
pub type AnyPort = Box<dyn Port + Send>;

impl<P: Port + ?Sized> Port for &mut P {
    fn exchange(&mut self, command: &[u8], timeout: Duration, answer: &mut Vec<u8>) -> Result<(), PortError> {
        (**self).exchange(command, timeout, answer)
    }

    fn longest(&self) -> (usize, usize) {
        (**self).longest()
    }

    fn can_abort(&self) -> bool {
        (**self).can_abort()
    }
}

impl<P: Port + ?Sized> Port for Box<P> {
    fn exchange(&mut self, command: &[u8], timeout: Duration, answer: &mut Vec<u8>) -> Result<(), PortError> {
        (**self).exchange(command, timeout, answer)
    }

    fn longest(&self) -> (usize, usize) {
        (**self).longest()
    }

    fn can_abort(&self) -> bool {
        (**self).can_abort()
    }
}
