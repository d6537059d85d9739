//! Answers of the PN532, for the chip that writes them and the host that parses them (UM0701-02 7.2 to 7.4).

use alloc::vec::Vec;

use super::command::Code;
use super::status::Status;
use super::target::{Listed, Modulation, PolledTarget};
use super::{Pn532Error, Take};

/// What a peer of NFC-DEP says of itself: target number and the content of ATR_RES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepAnswer<'a> {
    /// Its number.
    pub target: u8,
    /// The target's NFCID3.
    pub nfcid3: [u8; 10],
    /// DID.
    pub did: u8,
    /// Rates it can send at.
    pub send_rates: u8,
    /// Rates it can receive at.
    pub receive_rates: u8,
    /// Time-out.
    pub timeout: u8,
    /// PP: length reduction, general bytes.
    pub pp: u8,
    /// General bytes.
    pub general: &'a [u8],
}

impl<'a> DepAnswer<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.target);
        self.encode_atr(out);
    }

    fn encode_atr(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.nfcid3);
        out.extend_from_slice(&[self.did, self.send_rates, self.receive_rates, self.timeout, self.pp]);
        out.extend_from_slice(self.general);
    }

    pub(super) fn parse(take: &mut Take<'a>) -> Result<Self, Pn532Error> {
        let target = take.byte()?;
        Self::parse_atr(take, target)
    }

    fn parse_atr(take: &mut Take<'a>, target: u8) -> Result<Self, Pn532Error> {
        let nfcid3 = take.array()?;
        let [did, send_rates, receive_rates, timeout, pp] = take.array()?;
        Ok(Self {
            target,
            nfcid3,
            did,
            send_rates,
            receive_rates,
            timeout,
            pp,
            general: take.rest(),
        })
    }
}

/// An answer with its content. Which it is follows from its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Success without content: WriteRegister, WriteGPIO, SetSerialBaudRate, SetParameters, SAMConfiguration, RFConfiguration.
    Done(Code),
    /// A status alone: PowerDown, InDeselect, InRelease, InSelect, InPSL, TgSetData, TgSetMetaData, TgResponseToInitiator,
    /// TgSetGeneralBytes.
    Status(Code, Status),
    /// A status and data: InDataExchange, InCommunicateThru, TgGetData, TgGetInitiatorCommand.
    Data(Code, Status, &'a [u8]),
    /// What the test gave.
    Diagnose(&'a [u8]),
    /// Which chip.
    FirmwareVersion {
        /// 32 for a PN532.
        ic: u8,
        /// Version.
        version: u8,
        /// Revision.
        revision: u8,
        /// Bit 0 type A, 1 type B, 2 ISO 18092.
        support: u8,
    },
    /// Last error, whether a foreign field is there, targets, SAM.
    GeneralStatus {
        /// The last error.
        error: Status,
        /// Whether a foreign field is there.
        field: bool,
        /// Number, rate to, rate from and modulation of each target: 4 bytes each, at most two.
        targets: &'a [u8],
        /// The SAM's status.
        sam: u8,
    },
    /// The values of registers.
    Registers(&'a [u8]),
    /// The ports P3, P7 and I0I1.
    Gpio([u8; 3]),
    /// Targets, to be read by [`Answer::targets`].
    Listed {
        /// How many, 0 to 2.
        count: u8,
        /// Their descriptions.
        data: &'a [u8],
    },
    /// Targets, to be read by [`Answer::polled`].
    Polled {
        /// How many, 0 to 2.
        count: u8,
        /// Their descriptions.
        data: &'a [u8],
    },
    /// Whether NFC-DEP was set up (InJumpForDEP, InJumpForPSL).
    Jumped(Code, Result<DepAnswer<'a>, Status>),
    /// Whether the target answered ATR_REQ. Target numbers do not appear here: they are 0.
    Atr(Result<DepAnswer<'a>, Status>),
    /// State (0 released, 1 activated, 2 deselected) and rates of this target.
    TargetStatus {
        /// 0, 1, 2.
        state: u8,
        /// Bits 6 to 4 the initiator's rate, 2 to 0 the target's.
        rates: u8,
    },
    /// This target was activated.
    Activated {
        /// Bits 6 to 4 rate, bit 3 ISO-DEP, bit 2 NFC-DEP, bits 1 and 0 framing (0 type A, 1 active, 2 FeliCa).
        mode: u8,
        /// The first command of the initiator.
        command: &'a [u8],
    },
}

impl<'a> Answer<'a> {
    /// To which command it belongs.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Done(code) | Self::Status(code, _) | Self::Data(code, ..) | Self::Jumped(code, _) => *code,
            Self::Diagnose(_) => Code::Diagnose,
            Self::FirmwareVersion { .. } => Code::GetFirmwareVersion,
            Self::GeneralStatus { .. } => Code::GetGeneralStatus,
            Self::Registers(_) => Code::ReadRegister,
            Self::Gpio(_) => Code::ReadGpio,
            Self::Listed { .. } => Code::InListPassiveTarget,
            Self::Polled { .. } => Code::InAutoPoll,
            Self::Atr(_) => Code::InAtr,
            Self::TargetStatus { .. } => Code::TgGetTargetStatus,
            Self::Activated { .. } => Code::TgInitAsTarget,
        }
    }

    /// Appends code and content to `out`; [`super::frame::encode`] puts them into a frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.code().answer());
        match *self {
            Self::Done(_) => {}
            Self::Status(_, status) | Self::Jumped(_, Err(status)) | Self::Atr(Err(status)) => out.push(status.to_byte()),
            Self::Data(_, status, data) => {
                out.push(status.to_byte());
                out.extend_from_slice(data);
            }
            Self::Diagnose(data) | Self::Registers(data) => out.extend_from_slice(data),
            Self::FirmwareVersion {
                ic,
                version,
                revision,
                support,
            } => out.extend_from_slice(&[ic, version, revision, support]),
            Self::GeneralStatus {
                error,
                field,
                targets,
                sam,
            } => {
                let count = (targets.len() / 4).min(2);
                out.extend_from_slice(&[error.to_byte(), u8::from(field), count as u8]);
                out.extend_from_slice(&targets[..4 * count]);
                out.push(sam);
            }
            Self::Gpio(ports) => out.extend_from_slice(&ports),
            Self::Listed { count, data } | Self::Polled { count, data } => {
                out.push(count);
                out.extend_from_slice(data);
            }
            Self::Jumped(_, Ok(dep)) => {
                out.push(0);
                dep.encode(out);
            }
            Self::Atr(Ok(dep)) => {
                out.push(0);
                dep.encode_atr(out);
            }
            Self::TargetStatus { state, rates } => out.extend_from_slice(&[state, rates]),
            Self::Activated { mode, command } => {
                out.push(mode);
                out.extend_from_slice(command);
            }
        }
    }

    /// Reads the answer to a command with the code `to` from code and content, what [`super::Incoming::Answer`] holds.
    ///
    /// # Errors
    /// [`Pn532Error::WrongAnswer`] if it belongs to another command; the other kinds if it cannot be read.
    pub fn parse(to: Code, content: &'a [u8]) -> Result<Self, Pn532Error> {
        let mut head = Take::new("an answer", content);
        let got = head.byte()?;
        if got != to.answer() {
            return Err(Pn532Error::WrongAnswer {
                expected: to.answer(),
                got,
            });
        }
        let mut take = Take::new(to.name(), head.rest());
        let answer = match to {
            Code::WriteRegister
            | Code::WriteGpio
            | Code::SetSerialBaudRate
            | Code::SetParameters
            | Code::SamConfiguration
            | Code::RfConfiguration
            | Code::RfRegulationTest => Self::Done(to),
            Code::PowerDown
            | Code::InDeselect
            | Code::InRelease
            | Code::InSelect
            | Code::InPsl
            | Code::TgSetData
            | Code::TgSetMetaData
            | Code::TgResponseToInitiator
            | Code::TgSetGeneralBytes => Self::Status(to, Status::from_byte(take.byte()?)),
            Code::InDataExchange | Code::InCommunicateThru | Code::TgGetData | Code::TgGetInitiatorCommand => {
                Self::Data(to, Status::from_byte(take.byte()?), take.rest())
            }
            Code::Diagnose => Self::Diagnose(take.rest()),
            Code::ReadRegister => Self::Registers(take.rest()),
            Code::GetFirmwareVersion => {
                let [ic, version, revision, support] = take.array()?;
                Self::FirmwareVersion {
                    ic,
                    version,
                    revision,
                    support,
                }
            }
            Code::GetGeneralStatus => {
                let [error, field, count] = take.array()?;
                Self::GeneralStatus {
                    error: Status::from_byte(error),
                    field: field != 0,
                    targets: take.bytes(4 * usize::from(few(count)?))?,
                    sam: take.byte()?,
                }
            }
            Code::ReadGpio => Self::Gpio(take.array()?),
            Code::InListPassiveTarget => Self::Listed {
                count: few(take.byte()?)?,
                data: take.rest(),
            },
            Code::InAutoPoll => Self::Polled {
                count: few(take.byte()?)?,
                data: take.rest(),
            },
            Code::InJumpForDep | Code::InJumpForPsl => {
                let status = Status::from_byte(take.byte()?);
                Self::Jumped(
                    to,
                    if status.error.is_some() {
                        // Some chips fill the rest with zeros.
                        take.rest();
                        Err(status)
                    } else {
                        Ok(DepAnswer::parse(&mut take)?)
                    },
                )
            }
            Code::InAtr => {
                let status = Status::from_byte(take.byte()?);
                Self::Atr(if status.error.is_some() {
                    take.rest();
                    Err(status)
                } else {
                    Ok(DepAnswer::parse_atr(&mut take, 0)?)
                })
            }
            Code::TgGetTargetStatus => Self::TargetStatus {
                state: take.byte()?,
                // A released target has no rates.
                rates: if take.is_empty() { 0 } else { take.byte()? },
            },
            Code::TgInitAsTarget => Self::Activated {
                mode: take.byte()?,
                command: take.rest(),
            },
        };
        take.end()?;
        Ok(answer)
    }

    /// The cards of [`Answer::Listed`]. `rats`: whether the chip was set to send RATS by itself (SetParameters).
    ///
    /// # Errors
    /// As [`Answer::parse`].
    pub fn targets(&self, modulation: Modulation, rats: bool) -> Result<Vec<Listed<'a>>, Pn532Error> {
        let Self::Listed { count, data } = *self else {
            return Ok(Vec::new());
        };
        let mut take = Take::new("the list of targets", data);
        let targets = (0..count)
            .map(|_| Listed::parse(&mut take, modulation, rats))
            .collect::<Result<_, _>>()?;
        take.end()?;
        Ok(targets)
    }

    /// The cards and peers of [`Answer::Polled`].
    ///
    /// # Errors
    /// As [`Answer::parse`].
    pub fn polled(&self) -> Result<Vec<PolledTarget<'a>>, Pn532Error> {
        let Self::Polled { count, data } = *self else {
            return Ok(Vec::new());
        };
        let mut take = Take::new("the list of targets", data);
        let targets = (0..count).map(|_| PolledTarget::parse(&mut take)).collect::<Result<_, _>>()?;
        take.end()?;
        Ok(targets)
    }
}

/// A number of targets.
const fn few(count: u8) -> Result<u8, Pn532Error> {
    if count <= 2 {
        Ok(count)
    } else {
        Err(Pn532Error::Value {
            what: "the number of targets",
            value: count,
        })
    }
}
