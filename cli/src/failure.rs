//! Exit statuses, and what is said when something fails.

use std::fmt::Display;
use std::io;

use tapdoor_chip::{ChipError, StoreError};
use tapdoor_config::ConfigError;
use tapdoor_reader::SourceError;
use tapdoor_reader::source::SourceErrorKind;
use tapdoor_workbench::OpenError;

/// Done.
pub const DONE: u8 = 0;
/// Refused, an assertion failed, or differences were found.
pub const REFUSED: u8 = 1;
/// Wrong usage or configuration.
pub const USAGE: u8 = 2;
/// Reader, card or network failed.
pub const DEVICE: u8 = 3;
/// A file or input could not be understood.
pub const INPUT: u8 = 4;
/// Interrupted.
pub const INTERRUPTED: u8 = 130;

/// Why a command ends without having done its work.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub code: u8,
    /// What happened and what to do about it.
    pub detail: String,
}

impl Failure {
    /// With one of the statuses above.
    pub fn new(code: u8, detail: impl Display) -> Self {
        Self {
            code,
            detail: detail.to_string(),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // The reader of a pipe that has seen enough is no failure of ours.
        let code = if error.kind() == io::ErrorKind::BrokenPipe { DONE } else { DEVICE };
        Self::new(code, error)
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let code = if error.kind == SourceErrorKind::Cancelled {
            INTERRUPTED
        } else {
            DEVICE
        };
        Self::new(code, error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(USAGE, error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Source(error) => error.into(),
            OpenError::Config(error) => error.into(),
            OpenError::Spec(error) => Self::new(USAGE, error),
            OpenError::Tape(error) => Self::new(INPUT, error),
            OpenError::Chip(error) => error.into(),
            OpenError::Random(error) => Self::new(DEVICE, error),
        }
    }
}

impl From<ChipError> for Failure {
    fn from(error: ChipError) -> Self {
        let code = match &error {
            ChipError::Store(StoreError::Damaged { .. } | StoreError::Foreign { .. } | StoreError::Newer { .. })
            | ChipError::Parameters(_) => INPUT,
            ChipError::Store(StoreError::Io { .. }) => DEVICE,
            _ => USAGE,
        };
        Self::new(code, error)
    }
}
