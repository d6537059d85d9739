//! `pn532:SERIAL-PATH`: a PN532 on a serial line, by our own driver.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::firmware::{self, FirmwareSource};
use super::radio::{self, Polling, Radio, RadioSource};
use super::{ReaderInfo, SourceError, SourceErrorKind};
use crate::pn532::{AnyPort, Chip, ChipError, Hsu, PortErrorKind, RawField};

const LAYER: &str = "pn532";

/// How the chip is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Our own polling and ISO-DEP, with frames (B).
    #[default]
    Raw,
    /// The chip's firmware finds cards and does ISO-DEP (A).
    Firmware,
}

impl Mode {
    /// In the words of the tape.
    #[must_use]
    pub const fn on_tape(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Firmware => "pcsc",
        }
    }
}

/// A chip on a serial line.
#[derive(Debug)]
pub struct SerialDevice {
    path: PathBuf,
    baud: u32,
    mode: Mode,
    firmware: Option<String>,
}

/// What carries commands on such a line.
#[cfg(unix)]
pub type SerialPort = Hsu<crate::pn532::SerialLine>;
/// What would carry commands; there is none on this system.
#[cfg(not(unix))]
pub type SerialPort = Hsu<Box<dyn crate::pn532::Line + Send>>;

impl<L: crate::pn532::Line + Send + 'static> Radio for RawField<Hsu<L>> {}

impl SerialDevice {
    fn chip(&mut self) -> Result<Chip<SerialPort>, SourceError> {
        let mut chip = Chip::new(Hsu::new(self.line()?));
        let rats = self.mode == Mode::Firmware;
        let firmware = chip.start(rats).map_err(|e| self.failed(&e))?;
        self.firmware = Some(firmware.to_string());
        Ok(chip)
    }

    #[cfg(unix)]
    fn line(&self) -> Result<crate::pn532::SerialLine, SourceError> {
        crate::pn532::SerialLine::open(&self.path, self.baud).map_err(|e| {
            let kind = match e.kind() {
                std::io::ErrorKind::WouldBlock => SourceErrorKind::Busy,
                std::io::ErrorKind::PermissionDenied => SourceErrorKind::SerialPermission,
                _ => SourceErrorKind::Serial,
            };
            let detail = if kind == SourceErrorKind::Busy {
                "another program holds it".to_owned()
            } else {
                e.to_string()
            };
            SourceError::new(kind, LAYER, format!("cannot open {}: {detail}", self.path.display()))
        })
    }

    #[cfg(not(unix))]
    fn line(&self) -> Result<Box<dyn crate::pn532::Line + Send>, SourceError> {
        Err(SourceError::new(
            SourceErrorKind::Serial,
            LAYER,
            "serial lines are opened on Unix only; use a PC/SC reader",
        ))
    }

    fn failed(&self, e: &ChipError) -> SourceError {
        SourceError::new(SourceErrorKind::Serial, LAYER, format!("{}: {e}", self.path.display()))
    }
}

impl radio::Device for SerialDevice {
    type Radio = RawField<SerialPort>;

    fn open(&mut self, epoch: Instant) -> Result<Self::Radio, SourceError> {
        Ok(RawField::new(self.chip()?, epoch))
    }

    fn describe(&self) -> ReaderInfo {
        ReaderInfo {
            name: format!("pn532 {}", self.path.display()),
            driver: "pn532",
            firmware: self.firmware.clone(),
            mode: self.mode.on_tape(),
            listen: None,
            is_acr122: false,
        }
    }

    fn layer(&self) -> &'static str {
        LAYER
    }
}

impl firmware::Device for SerialDevice {
    type Port = SerialPort;

    fn open(&mut self) -> Result<Chip<SerialPort>, SourceError> {
        self.chip()
    }

    fn describe(&self) -> ReaderInfo {
        radio::Device::describe(self)
    }

    fn layer(&self) -> &'static str {
        LAYER
    }
}

/// Whether what is behind a failed command is lost.
pub(super) fn is_lost(e: &ChipError) -> bool {
    match e {
        ChipError::Port(port) => !matches!(port.kind, PortErrorKind::Refused | PortErrorKind::TooLong),
        _ => false,
    }
}

/// A PN532 at `path` with our own ISO-DEP.
///
/// # Errors
/// `Serial`, `SerialPermission`, `Busy`.
pub fn open_raw(path: &Path, baud: u32, polling: Polling) -> Result<RadioSource<SerialDevice>, SourceError> {
    RadioSource::open(device(path, baud, Mode::Raw), polling)
}

/// A PN532 at `path` whose firmware does ISO-DEP.
///
/// # Errors
/// As [`open_raw`].
pub fn open_firmware(path: &Path, baud: u32) -> Result<FirmwareSource<SerialDevice>, SourceError> {
    FirmwareSource::open(device(path, baud, Mode::Firmware))
}

/// The chip at `path` for other uses than a card.
///
/// # Errors
/// As [`open_raw`].
pub fn open_chip(path: &Path, baud: u32) -> Result<Chip<AnyPort>, SourceError> {
    let chip = device(path, baud, Mode::Raw).chip()?;
    Ok(Chip::new(Box::new(chip.into_port())))
}

fn device(path: &Path, baud: u32, mode: Mode) -> SerialDevice {
    SerialDevice {
        path: path.to_owned(),
        baud,
        mode,
        firmware: None,
    }
}
