//! [`Chip`]: the PN532's commands with names, and what they come to.

use std::time::Duration;

use tapdoor_protocol::pn532::{
    Answer, Code, Command, DepAnswer, ErrorCode, Jump, MAX_DATA, Modulation, Parameters, Pn532Error, RfItem, SamMode, TargetSetup, Timeout,
};

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
    /// A message that does not end.
    #[error("an answer without end, after {0} bytes")]
    Endless(usize),
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
            Self::Failed { .. } | Self::Answer(_) | Self::Endless(_) => true,
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
        self.set_parameters(Parameters(if on { Parameters::AUTOMATIC_RATS } else { 0 }))
    }

    /// What the chip does by itself.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn set_parameters(&mut self, parameters: Parameters) -> Result<(), ChipError> {
        self.run(&Command::SetParameters(parameters), PLAIN).map(drop)
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

    /// A message to the target with this number and its answer, both in as many pieces as the way to the chip asks for. The answer, of at
    /// most `most` bytes, is appended to `response`.
    ///
    /// # Errors
    /// [`ChipError::Failed`] with what the chip says of it; [`ChipError::Endless`].
    pub fn converse(&mut self, target: u8, data: &[u8], most: usize, wait: Duration, response: &mut Vec<u8>) -> Result<(), ChipError> {
        // Code and target number; in the answer, code and status.
        let piece = self.piece(2);
        let mut pieces = data.chunks(piece).peekable();
        let mut more = false;
        while let Some(data) = pieces.next() {
            let (again, answer) = self.data_exchange(target, pieces.peek().is_some(), data, wait)?;
            more = again;
            response.extend_from_slice(answer);
        }
        while more {
            let (again, answer) = self.data_exchange(target, false, &[], wait)?;
            if answer.is_empty() || response.len() + answer.len() > most {
                return Err(ChipError::Endless(response.len()));
            }
            response.extend_from_slice(answer);
            more = again;
        }
        Ok(())
    }

    /// How much data fits into a command whose code and parameters take `overhead` bytes, and into an answer of the same form.
    fn piece(&self, overhead: usize) -> usize {
        let (command, answer) = self.port.longest();
        MAX_DATA
            .min(command.saturating_sub(overhead))
            .min(answer.saturating_sub(overhead))
            .max(1)
    }

    /// Finds an NFC-DEP target and sends ATR_REQ; `None` when nobody answers.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn jump_for_dep(&mut self, jump: &Jump<'_>) -> Result<Option<DepAnswer<'_>>, ChipError> {
        match self.run(&Command::InJumpForDep(*jump), SEARCH)? {
            Answer::Jumped(_, Ok(found)) => Ok(Some(found)),
            Answer::Jumped(code, Err(status)) => match status.error {
                None | Some(ErrorCode::Timeout) => Ok(None),
                Some(error) => Err(ChipError::Failed {
                    command: code.name(),
                    error,
                }),
            },
            other => Err(unexpected(&other)),
        }
    }

    /// Is a target for at most `wait`: how it was activated, and the initiator's first command; `None` when nobody came.
    ///
    /// # Errors
    /// [`ChipError`]; [`PortErrorKind::TooLong`] on a way on which a command cannot be ended.
    pub fn init_as_target(&mut self, setup: &TargetSetup<'_>, wait: Duration) -> Result<Option<(u8, &[u8])>, ChipError> {
        if !self.port.can_abort() {
            let detail = "the chip waits as a target until somebody comes, and here it cannot be told to stop";
            return Err(PortError::new(PortErrorKind::TooLong, detail).into());
        }
        match self.run(&Command::TgInitAsTarget(*setup), wait) {
            Ok(Answer::Activated { mode, command }) => Ok(Some((mode, command))),
            Ok(other) => Err(unexpected(&other)),
            Err(ChipError::Port(e)) if e.kind == PortErrorKind::Silent => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Waits for what the initiator sends and appends it to `data`.
    ///
    /// # Errors
    /// [`ChipError::Failed`]: the initiator has released this target, or has gone; [`ChipError::Endless`] beyond `most` bytes.
    pub fn target_receive(&mut self, most: usize, wait: Duration, data: &mut Vec<u8>) -> Result<(), ChipError> {
        loop {
            let (more, piece) = status_and_data(self.run(&Command::TgGetData, wait)?)?;
            data.extend_from_slice(piece);
            if !more {
                return Ok(());
            }
            if piece.is_empty() || data.len() > most {
                return Err(ChipError::Endless(data.len()));
            }
        }
    }

    /// Sends `data` to the initiator.
    ///
    /// # Errors
    /// As [`Self::target_receive`].
    pub fn target_send(&mut self, data: &[u8], wait: Duration) -> Result<(), ChipError> {
        let piece = self.piece(1);
        let mut rest = data;
        loop {
            let (data, after) = rest.split_at(rest.len().min(piece));
            let command = if after.is_empty() {
                Command::TgSetData { data }
            } else {
                Command::TgSetMetaData { data }
            };
            match self.run(&command, wait)? {
                Answer::Status(code, status) => {
                    if let Some(error) = status.error {
                        let command = code.name();
                        return Err(ChipError::Failed { command, error });
                    }
                }
                other => return Err(unexpected(&other)),
            }
            if after.is_empty() {
                return Ok(());
            }
            rest = after;
        }
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
