//! Commands of the PN532, for the host that writes them and the chip that parses them (UM0701-02 7.2 to 7.4).

use alloc::vec::Vec;

use super::rf::{BaudRate, Parameters, RfItem, SamMode};
use super::target::{AutoPollType, Modulation};
use super::{Pn532Error, Take};

macro_rules! codes {
    ($($name:ident = $value:literal;)*) => {
        /// A command's code. The answer's is one more.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum Code { $($name = $value,)* }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// From the wire.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The manual's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

codes! {
    Diagnose = 0x00;
    GetFirmwareVersion = 0x02;
    GetGeneralStatus = 0x04;
    ReadRegister = 0x06;
    WriteRegister = 0x08;
    ReadGpio = 0x0C;
    WriteGpio = 0x0E;
    SetSerialBaudRate = 0x10;
    SetParameters = 0x12;
    SamConfiguration = 0x14;
    PowerDown = 0x16;
    RfConfiguration = 0x32;
    InDataExchange = 0x40;
    InCommunicateThru = 0x42;
    InDeselect = 0x44;
    InJumpForPsl = 0x46;
    InListPassiveTarget = 0x4A;
    InPsl = 0x4E;
    InAtr = 0x50;
    InRelease = 0x52;
    InSelect = 0x54;
    InJumpForDep = 0x56;
    RfRegulationTest = 0x58;
    InAutoPoll = 0x60;
    TgGetData = 0x86;
    TgGetInitiatorCommand = 0x88;
    TgGetTargetStatus = 0x8A;
    TgInitAsTarget = 0x8C;
    TgSetData = 0x8E;
    TgResponseToInitiator = 0x90;
    TgSetGeneralBytes = 0x92;
    TgSetMetaData = 0x94;
}

impl Code {
    /// The code of the answer.
    #[must_use]
    pub const fn answer(self) -> u8 {
        self as u8 + 1
    }
}

/// Who makes the field in NFC-DEP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepMode {
    /// The initiator alone.
    Passive,
    /// Each side for what it sends.
    Active,
}

/// What InJumpForDEP and InJumpForPSL ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump<'a> {
    /// Active or passive.
    pub mode: DepMode,
    /// 0, 1 or 2: 106, 212, 424 kbit/s.
    pub rate: u8,
    /// For passive activation: 4 bytes NFCID1 at 106, 5 bytes of SENSF_REQ at 212 and 424.
    pub passive: Option<&'a [u8]>,
    /// The initiator's NFCID3.
    pub nfcid3: Option<[u8; 10]>,
    /// General bytes, at most 48.
    pub general: &'a [u8],
}

/// What the chip is to be as a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetSetup<'a> {
    /// Bit 0 passive only, bit 1 NFC-DEP only, bit 2 ISO-DEP card only.
    pub mode: u8,
    /// SENS_RES as on the air (low byte first).
    pub sens_res: [u8; 2],
    /// NFCID1's last three bytes; the first is always 08.
    pub nfcid1: [u8; 3],
    /// SEL_RES.
    pub sel_res: u8,
    /// NFCID2, PAD and system code: the content of SENSF_RES.
    pub felica: [u8; 18],
    /// NFCID3 for ATR_RES.
    pub nfcid3: [u8; 10],
    /// General bytes of ATR_RES, at most 47.
    pub general: &'a [u8],
    /// Historical bytes of the ATS, at most 48.
    pub historical: &'a [u8],
}

impl TargetSetup<'_> {
    /// Passive communication only.
    pub const PASSIVE_ONLY: u8 = 0x01;
    /// NFC-DEP only.
    pub const DEP_ONLY: u8 = 0x02;
    /// ISO-DEP card only.
    pub const PICC_ONLY: u8 = 0x04;
}

/// A command with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Self tests.
    Diagnose {
        /// 00 communication line, 01 ROM, 02 RAM, 04 polling, 05 echo, 06 attention request, 07 antenna.
        test: u8,
        /// Parameters of the test.
        parameters: &'a [u8],
    },
    /// Which chip.
    GetFirmwareVersion,
    /// Last error, field, targets.
    GetGeneralStatus,
    /// Reads registers: pairs of address bytes, high byte first.
    ReadRegister {
        /// 2 bytes each.
        addresses: &'a [u8],
    },
    /// Writes registers: address, high byte first, and value.
    WriteRegister {
        /// 3 bytes each.
        writes: &'a [u8],
    },
    /// Reads the ports P3, P7 and I0I1.
    ReadGpio,
    /// Writes the ports P3 and P7 (bit 7: this port is meant).
    WriteGpio {
        /// Port P3.
        p3: u8,
        /// Port P7.
        p7: u8,
    },
    /// Another rate of the serial line, from the host's ACK of the answer on.
    SetSerialBaudRate(BaudRate),
    /// Flags.
    SetParameters(Parameters),
    /// The SAM.
    SamConfiguration {
        /// How the SAM is used.
        mode: SamMode,
        /// Time-out of the virtual card mode in 50 ms.
        timeout: u8,
        /// Whether the chip drives its interrupt line.
        irq: Option<bool>,
    },
    /// Sleep.
    PowerDown {
        /// What wakes it: bit 5 SPI, 4 HSU, 3 RF, 7 I2C, 0 and 1 INT0 and INT1.
        wake_up: u8,
        /// Whether the chip drives its interrupt line when it wakes.
        irq: Option<bool>,
    },
    /// Radio settings.
    RfConfiguration(RfItem<'a>),
    /// Data to a target that was listed.
    InDataExchange {
        /// Its number, 1 or 2.
        target: u8,
        /// More information follows.
        more: bool,
        /// At most [`super::MAX_DATA`] bytes.
        data: &'a [u8],
    },
    /// Bytes to whatever is in the field, through the chip's CIU as its registers are set.
    InCommunicateThru {
        /// At most [`super::MAX_THRU`] bytes.
        data: &'a [u8],
    },
    /// Deselects a target (0: all); it can be selected again.
    InDeselect(u8),
    /// Activation, without ATR.
    InJumpForPsl(Jump<'a>),
    /// Finds cards.
    InListPassiveTarget {
        /// 1 or 2.
        most: u8,
        /// Technology and rate.
        modulation: Modulation,
        /// A UID for type A (88 before each part but the last), AFI and polling method for type B, SENSF_REQ from its command code on (5 bytes) for FeliCa.
        initiator: &'a [u8],
    },
    /// Changes rates of a target.
    InPsl {
        /// Its number.
        target: u8,
        /// Rate from initiator to target: 0, 1 or 2.
        initiator_rate: u8,
        /// Rate from target to initiator.
        target_rate: u8,
    },
    /// ATR_REQ to a target that was listed.
    InAtr {
        /// Its number.
        target: u8,
        /// The initiator's NFCID3.
        nfcid3: Option<[u8; 10]>,
        /// General bytes, at most 48.
        general: &'a [u8],
    },
    /// Forgets a target (0: all).
    InRelease(u8),
    /// Selects a target again.
    InSelect(u8),
    /// Activation and ATR.
    InJumpForDep(Jump<'a>),
    /// The carrier for a laboratory, until the next command.
    RfRegulationTest {
        /// Rate and framing.
        mode: u8,
    },
    /// Polls for several technologies.
    InAutoPoll {
        /// Rounds, FF for ever.
        rounds: u8,
        /// In 150 ms, 1 to 15.
        period: u8,
        /// [`AutoPollType`]s, 1 to 15.
        types: &'a [u8],
    },
    /// Waits for data of the initiator.
    TgGetData,
    /// Waits for a frame of the initiator, raw.
    TgGetInitiatorCommand,
    /// Whether an initiator has activated this target.
    TgGetTargetStatus,
    /// Waits to be activated.
    TgInitAsTarget(TargetSetup<'a>),
    /// Data to the initiator.
    TgSetData {
        /// At most [`super::MAX_DATA`] bytes.
        data: &'a [u8],
    },
    /// A frame to the initiator, raw.
    TgResponseToInitiator {
        /// At most [`super::MAX_DATA`] bytes.
        data: &'a [u8],
    },
    /// General bytes of the ATR_RES that is not sent automatically.
    TgSetGeneralBytes {
        /// At most 47.
        general: &'a [u8],
    },
    /// Data to the initiator, and more follows.
    TgSetMetaData {
        /// At most [`super::MAX_DATA`] bytes.
        data: &'a [u8],
    },
}

impl<'a> Command<'a> {
    /// The code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Diagnose { .. } => Code::Diagnose,
            Self::GetFirmwareVersion => Code::GetFirmwareVersion,
            Self::GetGeneralStatus => Code::GetGeneralStatus,
            Self::ReadRegister { .. } => Code::ReadRegister,
            Self::WriteRegister { .. } => Code::WriteRegister,
            Self::ReadGpio => Code::ReadGpio,
            Self::WriteGpio { .. } => Code::WriteGpio,
            Self::SetSerialBaudRate(_) => Code::SetSerialBaudRate,
            Self::SetParameters(_) => Code::SetParameters,
            Self::SamConfiguration { .. } => Code::SamConfiguration,
            Self::PowerDown { .. } => Code::PowerDown,
            Self::RfConfiguration(_) => Code::RfConfiguration,
            Self::InDataExchange { .. } => Code::InDataExchange,
            Self::InCommunicateThru { .. } => Code::InCommunicateThru,
            Self::InDeselect(_) => Code::InDeselect,
            Self::InJumpForPsl(_) => Code::InJumpForPsl,
            Self::InListPassiveTarget { .. } => Code::InListPassiveTarget,
            Self::InPsl { .. } => Code::InPsl,
            Self::InAtr { .. } => Code::InAtr,
            Self::InRelease(_) => Code::InRelease,
            Self::InSelect(_) => Code::InSelect,
            Self::InJumpForDep(_) => Code::InJumpForDep,
            Self::RfRegulationTest { .. } => Code::RfRegulationTest,
            Self::InAutoPoll { .. } => Code::InAutoPoll,
            Self::TgGetData => Code::TgGetData,
            Self::TgGetInitiatorCommand => Code::TgGetInitiatorCommand,
            Self::TgGetTargetStatus => Code::TgGetTargetStatus,
            Self::TgInitAsTarget(_) => Code::TgInitAsTarget,
            Self::TgSetData { .. } => Code::TgSetData,
            Self::TgResponseToInitiator { .. } => Code::TgResponseToInitiator,
            Self::TgSetGeneralBytes { .. } => Code::TgSetGeneralBytes,
            Self::TgSetMetaData { .. } => Code::TgSetMetaData,
        }
    }

    /// Appends code and parameters to `out`; [`super::frame::encode`] puts them into a frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.code() as u8);
        match *self {
            Self::Diagnose { test, parameters } => {
                out.push(test);
                out.extend_from_slice(parameters);
            }
            Self::GetFirmwareVersion
            | Self::GetGeneralStatus
            | Self::ReadGpio
            | Self::TgGetData
            | Self::TgGetInitiatorCommand
            | Self::TgGetTargetStatus => {}
            Self::ReadRegister { addresses: data }
            | Self::WriteRegister { writes: data }
            | Self::InCommunicateThru { data }
            | Self::TgSetData { data }
            | Self::TgResponseToInitiator { data }
            | Self::TgSetGeneralBytes { general: data }
            | Self::TgSetMetaData { data } => out.extend_from_slice(data),
            Self::WriteGpio { p3, p7 } => out.extend_from_slice(&[p3, p7]),
            Self::SetSerialBaudRate(rate) => out.push(rate as u8),
            Self::SetParameters(Parameters(flags)) => out.push(flags),
            Self::SamConfiguration { mode, timeout, irq } => {
                out.extend_from_slice(&[mode as u8, timeout]);
                out.extend(irq.map(u8::from));
            }
            Self::PowerDown { wake_up, irq } => {
                out.push(wake_up);
                out.extend(irq.map(u8::from));
            }
            Self::RfConfiguration(item) => item.encode(out),
            Self::InDataExchange { target, more, data } => {
                out.push(target & 0x07 | u8::from(more) << 6);
                out.extend_from_slice(data);
            }
            Self::InDeselect(target) | Self::InRelease(target) | Self::InSelect(target) => out.push(target),
            Self::InJumpForPsl(jump) | Self::InJumpForDep(jump) => {
                let next =
                    u8::from(jump.passive.is_some()) | u8::from(jump.nfcid3.is_some()) << 1 | u8::from(!jump.general.is_empty()) << 2;
                out.extend_from_slice(&[u8::from(jump.mode == DepMode::Active), jump.rate, next]);
                out.extend_from_slice(jump.passive.unwrap_or_default());
                out.extend(jump.nfcid3.iter().flatten());
                out.extend_from_slice(jump.general);
            }
            Self::InListPassiveTarget {
                most,
                modulation,
                initiator,
            } => {
                out.extend_from_slice(&[most, modulation as u8]);
                out.extend_from_slice(initiator);
            }
            Self::InPsl {
                target,
                initiator_rate,
                target_rate,
            } => out.extend_from_slice(&[target, initiator_rate, target_rate]),
            Self::InAtr { target, nfcid3, general } => {
                out.extend_from_slice(&[target, u8::from(nfcid3.is_some()) | u8::from(!general.is_empty()) << 1]);
                out.extend(nfcid3.iter().flatten());
                out.extend_from_slice(general);
            }
            Self::RfRegulationTest { mode } => out.push(mode),
            Self::InAutoPoll { rounds, period, types } => {
                out.extend_from_slice(&[rounds, period]);
                out.extend_from_slice(types);
            }
            Self::TgInitAsTarget(setup) => {
                out.push(setup.mode);
                out.extend_from_slice(&setup.sens_res);
                out.extend_from_slice(&setup.nfcid1);
                out.push(setup.sel_res);
                out.extend_from_slice(&setup.felica);
                out.extend_from_slice(&setup.nfcid3);
                for part in [setup.general, setup.historical] {
                    // No frame holds more.
                    let length = part.len().min(255);
                    out.push(length as u8);
                    out.extend_from_slice(&part[..length]);
                }
            }
        }
    }

    /// Reads code and parameters, the content of [`super::Incoming::Command`].
    ///
    /// # Errors
    /// [`Pn532Error`]: the chip answers an unknown code or wrong parameters with its error frame.
    pub fn parse(content: &'a [u8]) -> Result<Self, Pn532Error> {
        let mut head = Take::new("a command", content);
        let byte = head.byte()?;
        let code = Code::from_byte(byte).ok_or(Pn532Error::UnknownCommand(byte))?;
        let mut take = Take::new(code.name(), head.rest());
        let command = match code {
            Code::Diagnose => Self::Diagnose {
                test: take.byte()?,
                parameters: take.rest(),
            },
            Code::GetFirmwareVersion => Self::GetFirmwareVersion,
            Code::GetGeneralStatus => Self::GetGeneralStatus,
            Code::ReadRegister => Self::ReadRegister {
                addresses: groups(&mut take, 2)?,
            },
            Code::WriteRegister => Self::WriteRegister {
                writes: groups(&mut take, 3)?,
            },
            Code::ReadGpio => Self::ReadGpio,
            Code::WriteGpio => {
                let [p3, p7] = take.array()?;
                Self::WriteGpio { p3, p7 }
            }
            Code::SetSerialBaudRate => Self::SetSerialBaudRate(value("a line rate", take.byte()?, BaudRate::from_byte)?),
            Code::SetParameters => Self::SetParameters(Parameters(take.byte()?)),
            // Some hosts leave the time-out out.
            Code::SamConfiguration => Self::SamConfiguration {
                mode: value("a SAM mode", take.byte()?, SamMode::from_byte)?,
                timeout: if take.is_empty() { 0 } else { take.byte()? },
                irq: optional(&mut take)?,
            },
            Code::PowerDown => Self::PowerDown {
                wake_up: take.byte()?,
                irq: optional(&mut take)?,
            },
            Code::RfConfiguration => Self::RfConfiguration(RfItem::parse(&mut take)?),
            Code::InDataExchange => {
                let target = take.byte()?;
                Self::InDataExchange {
                    target: target & 0x07,
                    more: target & 0x40 != 0,
                    data: take.rest(),
                }
            }
            Code::InCommunicateThru => Self::InCommunicateThru { data: take.rest() },
            Code::InDeselect => Self::InDeselect(take.byte()?),
            Code::InRelease => Self::InRelease(take.byte()?),
            Code::InSelect => Self::InSelect(take.byte()?),
            Code::InJumpForPsl => Self::InJumpForPsl(jump(&mut take)?),
            Code::InJumpForDep => Self::InJumpForDep(jump(&mut take)?),
            Code::InListPassiveTarget => {
                let most = take.byte()?;
                if !(1..=2).contains(&most) {
                    return Err(Pn532Error::Value {
                        what: "the number of targets",
                        value: most,
                    });
                }
                Self::InListPassiveTarget {
                    most,
                    modulation: value("a modulation", take.byte()?, Modulation::from_byte)?,
                    initiator: take.rest(),
                }
            }
            Code::InPsl => {
                let [target, initiator_rate, target_rate] = take.array()?;
                Self::InPsl {
                    target,
                    initiator_rate,
                    target_rate,
                }
            }
            Code::InAtr => {
                let [target, next] = take.array()?;
                Self::InAtr {
                    target,
                    nfcid3: if next & 1 != 0 { Some(take.array()?) } else { None },
                    general: if next & 2 != 0 { take.rest() } else { &[] },
                }
            }
            Code::RfRegulationTest => Self::RfRegulationTest { mode: take.byte()? },
            Code::InAutoPoll => {
                let [rounds, period] = take.array()?;
                let types = take.rest();
                if let Some(unknown) = types.iter().find(|t| AutoPollType::from_byte(**t).is_none()) {
                    return Err(Pn532Error::Value {
                        what: "a type of InAutoPoll",
                        value: *unknown,
                    });
                }
                if types.is_empty() || types.len() > 15 {
                    return Err(take.short());
                }
                Self::InAutoPoll { rounds, period, types }
            }
            Code::TgGetData => {
                // libnfc sends a byte too many when it fetches the rest of long data.
                take.rest();
                Self::TgGetData
            }
            Code::TgGetInitiatorCommand => Self::TgGetInitiatorCommand,
            Code::TgGetTargetStatus => Self::TgGetTargetStatus,
            Code::TgInitAsTarget => Self::TgInitAsTarget(setup(&mut take)?),
            Code::TgSetData => Self::TgSetData { data: take.rest() },
            Code::TgResponseToInitiator => Self::TgResponseToInitiator { data: take.rest() },
            Code::TgSetGeneralBytes => Self::TgSetGeneralBytes { general: take.rest() },
            Code::TgSetMetaData => Self::TgSetMetaData { data: take.rest() },
        };
        take.end()?;
        Ok(command)
    }
}

fn value<T>(what: &'static str, byte: u8, from: impl Fn(u8) -> Option<T>) -> Result<T, Pn532Error> {
    from(byte).ok_or(Pn532Error::Value { what, value: byte })
}

fn optional(take: &mut Take<'_>) -> Result<Option<bool>, Pn532Error> {
    Ok(if take.is_empty() { None } else { Some(take.byte()? != 0) })
}

/// All that is left, in groups of `size` bytes, at least one.
fn groups<'a>(take: &mut Take<'a>, size: usize) -> Result<&'a [u8], Pn532Error> {
    let rest = take.rest();
    if rest.is_empty() || !rest.len().is_multiple_of(size) {
        return Err(take.short());
    }
    Ok(rest)
}

fn jump<'a>(take: &mut Take<'a>) -> Result<Jump<'a>, Pn532Error> {
    let [mode, rate, next] = take.array()?;
    let mode = match mode {
        0 => DepMode::Passive,
        1 => DepMode::Active,
        value => {
            return Err(Pn532Error::Value {
                what: "active or passive",
                value,
            });
        }
    };
    if rate > 2 {
        return Err(Pn532Error::Value {
            what: "a rate of NFC-DEP",
            value: rate,
        });
    }
    let passive = if next & 1 != 0 {
        Some(take.bytes(if rate == 0 { 4 } else { 5 })?)
    } else {
        None
    };
    Ok(Jump {
        mode,
        rate,
        passive,
        nfcid3: if next & 2 != 0 { Some(take.array()?) } else { None },
        general: if next & 4 != 0 { take.rest() } else { &[] },
    })
}

fn setup<'a>(take: &mut Take<'a>) -> Result<TargetSetup<'a>, Pn532Error> {
    let mut setup = TargetSetup {
        mode: take.byte()?,
        sens_res: take.array()?,
        nfcid1: take.array()?,
        sel_res: take.byte()?,
        felica: take.array()?,
        nfcid3: take.array()?,
        general: &[],
        historical: &[],
    };
    // Hosts that leave out an empty part are understood.
    if !take.is_empty() {
        let length = take.byte()?;
        setup.general = take.bytes(usize::from(length))?;
    }
    if !take.is_empty() {
        let length = take.byte()?;
        setup.historical = take.bytes(usize::from(length))?;
    }
    Ok(setup)
}
