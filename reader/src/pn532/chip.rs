//! [`Chip`]: the PN532's commands with names, and what they come to.

use std::time::Duration;

use tapdoor_protocol::pn532::{Answer, Code, Command, ErrorCode, Modulation, Parameters, Pn532Error, RfItem, SamMode, Timeout};

use super::port::{Port, PortError, PortErrorKind};

/// How long a command may take that does nothing in the air.
const PLAIN: Duration = Duration::from_secs(1);
/// How long the search for a card may take that is made once: every technology answers or stays silent within some 100 ms.
const SEARCH: Duration = Duration::from_secs(3);
/// What is added to a time in the air: the way to the chip and back, at 115200 baud 50 ms, and a busy machine.
pub(crate) const MARGIN: Duration = Duration::from_millis(700);

/// A command that did not come to what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChipError {
    /// Between us and the chip.
    #[error(transparent)]
    Port(#[from] PortError),
    /// An answer that cannot be read.
    #[error(transparent)]
    Answer(#[from] Pn532Error),
    /// The chip could not do it.
    #[error("{command}: {error}")]
    Failed {
        /// The command's name.
        command: &'static str,
        /// Why not.
        error: ErrorCode,
    },
    /// The chip at the other end is another one.
    #[error("a chip that calls itself {0:02x}, and not a PN532 (32)")]
    OtherChip(u8),
}

impl ChipError {
    /// The chip's own error, if it is one.
    #[must_use]
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Failed { error, .. } => Some(*error),
            _ => None,
        }
    }

    /// Whether chip and line are as good as before: a command that failed, or was refused.
    #[must_use]
    pub const fn is_harmless(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::Answer(_) => true,
            Self::Port(e) => matches!(e.kind, PortErrorKind::Refused | PortErrorKind::TooLong),
            Self::OtherChip(_) => false,
        }
    }
}

/// Which chip it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// Version.
    pub version: u8,
    /// Revision.
    pub revision: u8,
}

impl std::fmt::Display for Firmware {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PN532 v{}.{}", self.version, self.revision)
    }
}

/// A PN532 on a [`Port`].
#[derive(Debug)]
pub struct Chip<P> {
    port: P,
    out: Vec<u8>,
    answer: Vec<u8>,
}

impl<P: Port> Chip<P> {
    /// The chip on `port`, of which nothing is known yet.
    pub fn new(port: P) -> Self {
        Self {
            port,
            out: Vec::with_capacity(300),
            answer: Vec::with_capacity(300),
        }
    }

    /// What carries the commands.
    pub const fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// What carries the commands.
    pub const fn port(&self) -> &P {
        &self.port
    }

    /// Gives the port back.
    pub fn into_port(self) -> P {
        self.port
    }

    /// Sends `command` and reads the answer.
    ///
    /// # Errors
    /// [`ChipError::Port`], [`ChipError::Answer`]. A status that tells of a failure is the caller's to look at.
    pub fn run(&mut self, command: &Command<'_>, timeout: Duration) -> Result<Answer<'_>, ChipError> {
        self.out.clear();
        command.encode(&mut self.out);
        self.port.exchange(&self.out, timeout, &mut self.answer)?;
        Ok(Answer::parse(command.code(), &self.answer)?)
    }

    /// Wakes the chip and makes it what a reader is: no SAM, no repetitions of its own, no RATS of its own unless `rats`.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn start(&mut self, rats: bool) -> Result<Firmware, ChipError> {
        self.run(
            &Command::SamConfiguration {
                mode: SamMode::Normal,
                timeout: 0,
                irq: None,
            },
            PLAIN,
        )?;
        let firmware = self.firmware()?;
        self.set_automatic_rats(rats)?;
        self.configure(RfItem::MaxRetryCom(0))?;
        self.configure(RfItem::MaxRetries {
            atr: 0,
            psl: 0,
            passive: 0,
        })?;
        Ok(firmware)
    }

    /// Which chip it is.
    ///
    /// # Errors
    /// [`ChipError::OtherChip`] if it is no PN532.
    pub fn firmware(&mut self) -> Result<Firmware, ChipError> {
        match self.run(&Command::GetFirmwareVersion, PLAIN)? {
            Answer::FirmwareVersion {
                ic: 0x32,
                version,
                revision,
                ..
            } => Ok(Firmware { version, revision }),
            Answer::FirmwareVersion { ic, .. } => Err(ChipError::OtherChip(ic)),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether InListPassiveTarget sends RATS by itself.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn set_automatic_rats(&mut self, on: bool) -> Result<(), ChipError> {
        let flags = if on { Parameters::AUTOMATIC_RATS } else { 0 };
        self.run(&Command::SetParameters(Parameters(flags)), PLAIN).map(drop)
    }

    /// Sets an item of the radio.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn configure(&mut self, item: RfItem<'_>) -> Result<(), ChipError> {
        self.run(&Command::RfConfiguration(item), PLAIN).map(drop)
    }

    /// Writes registers: address and value.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn write_registers(&mut self, writes: &[(u16, u8)]) -> Result<(), ChipError> {
        let mut bytes = Vec::with_capacity(3 * writes.len());
        for (address, value) in writes {
            bytes.extend_from_slice(&address.to_be_bytes());
            bytes.push(*value);
        }
        self.run(&Command::WriteRegister { writes: &bytes }, PLAIN).map(drop)
    }

    /// Reads registers, one byte each.
    ///
    /// # Errors
    /// [`ChipError`], also if the number of values is not that of the addresses.
    pub fn read_registers(&mut self, addresses: &[u16]) -> Result<&[u8], ChipError> {
        let bytes: Vec<u8> = addresses.iter().flat_map(|a| a.to_be_bytes()).collect();
        match self.run(&Command::ReadRegister { addresses: &bytes }, PLAIN)? {
            Answer::Registers(values) if values.len() == addresses.len() => Ok(values),
            other => Err(unexpected(&other)),
        }
    }

    /// Looks for one card, once.
    ///
    /// # Errors
    /// [`ChipError`]; an empty field is none.
    pub fn list(&mut self, modulation: Modulation, initiator: &[u8]) -> Result<Answer<'_>, ChipError> {
        let command = Command::InListPassiveTarget {
            most: 1,
            modulation,
            initiator,
        };
        self.run(&command, SEARCH)
    }

    /// Forgets every target. Type A cards halt, cards with ISO-DEP are deselected.
    ///
    /// # Errors
    /// [`ChipError`]; a card that is gone already is none.
    pub fn release(&mut self) -> Result<(), ChipError> {
        self.run(&Command::InRelease(0), SEARCH).map(drop)
    }

    /// Sends a frame as the registers say, and gives back what was answered, and what the chip says of it. With an error there may be data
    /// all the same. `wait` is what the chip was set to wait.
    ///
    /// # Errors
    /// [`ChipError`] between us and the chip.
    pub fn thru(&mut self, data: &[u8], wait: Duration) -> Result<(Option<ErrorCode>, &[u8]), ChipError> {
        match self.run(&Command::InCommunicateThru { data }, wait + MARGIN)? {
            Answer::Data(_, status, data) => Ok((status.error, data)),
            other => Err(unexpected(&other)),
        }
    }

    /// One piece to and one piece from the target with this number.
    ///
    /// # Errors
    /// [`ChipError::Failed`] with what the chip says of it.
    pub fn data_exchange(&mut self, target: u8, more: bool, data: &[u8], wait: Duration) -> Result<(bool, &[u8]), ChipError> {
        let command = Command::InDataExchange { target, more, data };
        status_and_data(self.run(&command, wait + MARGIN)?)
    }

    /// Whether the ISO-DEP card that was listed is still there: the attention request of Diagnose.
    ///
    /// # Errors
    /// [`ChipError`]; a card that is gone is none.
    pub fn is_present(&mut self) -> Result<bool, ChipError> {
        let command = Command::Diagnose { test: 6, parameters: &[] };
        match self.run(&command, SEARCH)? {
            Answer::Diagnose([status]) => Ok(ErrorCode::new(*status).is_none()),
            other => Err(unexpected(&other)),
        }
    }

    /// Switches the field.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn field(&mut self, on: bool) -> Result<(), ChipError> {
        self.configure(RfItem::Field { auto_rfca: false, on })
    }

    /// How long an answer outside ISO-DEP and NFC-DEP is waited for.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn set_timeout(&mut self, retry: Timeout) -> Result<(), ChipError> {
        self.configure(RfItem::Timings {
            // 102.4 ms, as after a reset.
            atr_res: Timeout::at_least(102_400),
            retry,
        })
    }
}

fn status_and_data(answer: Answer<'_>) -> Result<(bool, &[u8]), ChipError> {
    match answer {
        Answer::Data(code, status, data) => match status.error {
            None => Ok((status.more, data)),
            Some(error) => Err(ChipError::Failed {
                command: code.name(),
                error,
            }),
        },
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Answer<'_>) -> ChipError {
    let code: Code = answer.code();
    ChipError::Answer(Pn532Error::Length {
        what: code.name(),
        length: 0,
    })
}
