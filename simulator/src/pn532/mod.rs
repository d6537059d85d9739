//! The PN532 chip (UM0701-02): commands in, answers out, a field behind it.
//!
//! | module | what |
//! |---|---|
//! | [`hsu`] | the chip at the end of a serial line |
//! | [`registers`] | the registers that hosts read and write |
//! | [`target`] | the chip as a target: TgInitAsTarget and what follows |
//! | `cards` | finding cards and talking to them: InListPassiveTarget, InDataExchange, InAutoPoll and their kin |
//! | `peers` | NFC-DEP with a target: InJumpForDEP, InATR |
//! | `thru` | InCommunicateThru: frames as the registers have them |
//!
//! A command that waits for something, such as a card that is not there yet, is [`Outcome::Busy`]: [`Pn532::resume`] goes on with it and
//! [`Pn532::abort`] ends it. So nothing here blocks longer than a card takes for its answer.

pub mod hsu;
pub mod registers;

pub mod target;

mod cards;
mod peers;
mod thru;

use tapdoor_link::field::{FieldError, FieldErrorKind, FieldLink};
use tapdoor_protocol::pn532::{Answer, Code, Command, ErrorCode, Parameters, RfItem, Status, Timeout};
use tapdoor_protocol::rf::frame::{RfError, RxFrame};
use tapdoor_protocol::rf::time::{self, Ticks};

use self::cards::{Poll, Target};
use self::peers::JumpOrder;
use self::registers::Registers;
use self::target::{Antenna, Waits};

/// IC, version, revision and support of a PN532, as GetFirmwareVersion tells them: firmware 1.6.
pub const FIRMWARE: [u8; 4] = [0x32, 0x01, 0x06, 0x07];

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer is there: code and parameters.
    Answered,
    /// It goes on: [`Pn532::resume`] or [`Pn532::abort`].
    Busy,
    /// The command has a wrong syntax: the error frame.
    Syntax,
}

/// What a command that goes on is waiting for.
#[derive(Clone, Debug)]
enum UnderWay {
    /// For a card.
    Poll(Poll),
    /// For a target of NFC-DEP.
    Jump(Box<JumpOrder>),
    /// For an initiator.
    Target(Waits),
    /// For nothing: tests that last until the host ends them.
    Endless,
}

/// Limits of RFConfiguration.
#[derive(Clone, Copy, Debug)]
struct Settings {
    passive_retries: u8,
    atr_retries: u8,
    retry: Timeout,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            passive_retries: 0xFF,
            atr_retries: 0xFF,
            // 51.2 ms, as after a reset.
            retry: Timeout::at_least(51_200),
        }
    }
}

/// A chip in front of a field.
pub struct Pn532<L> {
    link: L,
    registers: Registers,
    parameters: Parameters,
    settings: Settings,
    field: bool,
    targets: [Option<Target>; 2],
    // Which of them is active, the others being halted.
    active: Option<usize>,
    last_error: Status,
    gpio: [u8; 3],
    under_way: Option<UnderWay>,
    antenna: Option<Antenna>,
    rx: RxFrame,
}

impl<L: FieldLink> Pn532<L> {
    /// A chip after its reset: the field is off.
    pub fn new(link: L) -> Self {
        Self {
            link,
            registers: Registers::new(),
            parameters: Parameters::DEFAULT,
            settings: Settings::default(),
            field: false,
            targets: [None, None],
            active: None,
            last_error: Status::OK,
            gpio: [0x3F, 0xFF, 0x01],
            under_way: None,
            antenna: None,
            rx: RxFrame::new(),
        }
    }

    /// The same with an antenna that stands in somebody else's field, so that it can be a target.
    #[must_use]
    pub fn with_antenna(mut self, antenna: Antenna) -> Self {
        self.antenna = Some(antenna);
        self
    }

    /// What is behind the antenna.
    pub fn link(&mut self) -> &mut L {
        &mut self.link
    }

    /// Whether frames to the host lack preamble and postamble.
    #[must_use]
    pub const fn has_no_ambles(&self) -> bool {
        self.parameters.has(Parameters::NO_AMBLES)
    }

    /// Takes a command (code and parameters). [`Outcome::Answered`]: `answer` holds the answer's code and parameters.
    ///
    /// A command that was under way is ended.
    pub fn command(&mut self, content: &[u8], answer: &mut Vec<u8>) -> Outcome {
        answer.clear();
        self.abort();
        let Ok(command) = Command::parse(content) else {
            return Outcome::Syntax;
        };
        self.run(&command, answer)
    }

    /// Goes on with the command that is under way.
    pub fn resume(&mut self, answer: &mut Vec<u8>) -> Outcome {
        answer.clear();
        match self.under_way.take() {
            Some(UnderWay::Poll(poll)) => self.poll_on(poll, answer),
            Some(UnderWay::Target(waits)) => self.target_on(waits, answer),
            Some(UnderWay::Jump(order)) => self.jump_on(order, answer),
            Some(UnderWay::Endless) => {
                self.under_way = Some(UnderWay::Endless);
                Outcome::Busy
            }
            // Nobody should ask.
            None => Outcome::Syntax,
        }
    }

    /// Ends the command that is under way, without an answer.
    pub fn abort(&mut self) {
        if matches!(self.under_way.take(), Some(UnderWay::Target(Waits::Activation))) {
            self.stop_listening();
        }
    }

    fn run(&mut self, command: &Command<'_>, answer: &mut Vec<u8>) -> Outcome {
        match *command {
            Command::Diagnose { test, parameters } => return self.diagnose(test, parameters, answer),
            Command::GetFirmwareVersion => {
                let [ic, version, revision, support] = FIRMWARE;
                Answer::FirmwareVersion {
                    ic,
                    version,
                    revision,
                    support,
                }
                .encode(answer);
            }
            Command::GetGeneralStatus => self.general_status(answer),
            Command::ReadRegister { addresses } => {
                let values: Vec<u8> = addresses
                    .as_chunks()
                    .0
                    .iter()
                    .map(|a| self.registers.read(u16::from_be_bytes(*a)))
                    .collect();
                Answer::Registers(&values).encode(answer);
            }
            Command::WriteRegister { writes } => {
                for [high, low, value] in writes.as_chunks().0 {
                    self.registers.write(u16::from_be_bytes([*high, *low]), *value);
                }
                self.tell_sync();
                done(Code::WriteRegister, answer);
            }
            Command::ReadGpio => Answer::Gpio(self.gpio).encode(answer),
            Command::WriteGpio { p3, p7 } => {
                for (port, value) in self.gpio.iter_mut().zip([p3, p7]) {
                    if value & 0x80 != 0 {
                        *port = value & 0x7F;
                    }
                }
                done(Code::WriteGpio, answer);
            }
            Command::SetParameters(parameters) => {
                self.parameters = parameters;
                done(Code::SetParameters, answer);
            }
            // A pseudo-terminal has no rate, and there is no SAM.
            Command::SetSerialBaudRate(_) | Command::SamConfiguration { .. } => done(command.code(), answer),
            Command::PowerDown { .. } => {
                self.set_field(false);
                self.stop_listening();
                status(Code::PowerDown, Status::OK, answer);
            }
            Command::RfConfiguration(item) => {
                self.configure(item);
                done(Code::RfConfiguration, answer);
            }
            Command::RfRegulationTest { .. } => {
                self.under_way = Some(UnderWay::Endless);
                return Outcome::Busy;
            }
            Command::InListPassiveTarget {
                most,
                modulation,
                initiator,
            } => return self.list(most, modulation, initiator, answer),
            Command::InAutoPoll { rounds, period, types } => return self.auto_poll(rounds, period, types, answer),
            Command::InDataExchange { target, more, data } => self.exchange(target, more, data, answer),
            Command::InCommunicateThru { data } => self.thru(data, answer),
            Command::InDeselect(target) => {
                let result = self.deselect(target);
                status(Code::InDeselect, self.noted(result), answer);
            }
            Command::InRelease(target) => {
                let result = self.release(target);
                // Hosts end a target's session by it, too.
                self.stop_listening();
                status(Code::InRelease, self.noted(result), answer);
            }
            Command::InSelect(target) => {
                let result = self.select(target);
                status(Code::InSelect, self.noted(result), answer);
            }
            Command::InPsl {
                target,
                initiator_rate,
                target_rate,
            } => {
                let result = self.change_rates(target, initiator_rate, target_rate);
                status(Code::InPsl, self.noted(result), answer);
            }
            Command::InAtr { target, nfcid3, general } => self.attribute(target, nfcid3, general, answer),
            Command::InJumpForDep(jump) | Command::InJumpForPsl(jump) => return self.jump(command.code(), &jump, answer),
            Command::TgGetTargetStatus => self.target_status().encode(answer),
            Command::TgGetData | Command::TgGetInitiatorCommand => {
                if self.antenna.is_some() {
                    return self.target_on(Waits::Data(command.code()), answer);
                }
                let failed = self.noted(Err(ErrorCode::DepState));
                Answer::Data(command.code(), failed, &[]).encode(answer);
            }
            Command::TgSetData { data } | Command::TgResponseToInitiator { data } => {
                let result = self.say_to_initiator(data, false);
                status(command.code(), self.noted(result), answer);
            }
            Command::TgSetMetaData { data } => {
                let result = self.say_to_initiator(data, true);
                status(Code::TgSetMetaData, self.noted(result), answer);
            }
            // Only for a chip that was not set to answer ATR_REQ by itself; its host answers by TgResponseToInitiator.
            Command::TgSetGeneralBytes { .. } => {
                let failed = self.noted(Err(ErrorCode::DepState));
                status(Code::TgSetGeneralBytes, failed, answer);
            }
            Command::TgInitAsTarget(setup) => return self.init_as_target(&setup),
        }
        Outcome::Answered
    }

    /// Self tests (7.2.1). There is no hardware that could fail.
    fn diagnose(&mut self, test: u8, parameters: &[u8], answer: &mut Vec<u8>) -> Outcome {
        match test {
            // The line: everything comes back.
            0x00 => {
                let mut echo = vec![test];
                echo.extend_from_slice(parameters);
                Answer::Diagnose(&echo).encode(answer);
            }
            // ROM, RAM.
            0x01 | 0x02 => Answer::Diagnose(&[0]).encode(answer),
            // How many of 128 polls were not answered: all, as no FeliCa tag is at the antenna for this test.
            0x04 => Answer::Diagnose(&[0x80]).encode(answer),
            0x05 => {
                self.under_way = Some(UnderWay::Endless);
                return Outcome::Busy;
            }
            // Is the card still there?
            0x06 => {
                let result = self.attention();
                Answer::Diagnose(&[self.noted(result).to_byte()]).encode(answer);
            }
            // The antenna.
            0x07 => Answer::Diagnose(&[0]).encode(answer),
            _ => return Outcome::Syntax,
        }
        Outcome::Answered
    }

    fn general_status(&self, answer: &mut Vec<u8>) {
        let mut targets = Vec::new();
        for (number, target) in (1..).zip(&self.targets) {
            if let Some(target) = target {
                let (rate, modulation) = target.status();
                targets.extend_from_slice(&[number, rate, rate, modulation]);
            }
        }
        Answer::GeneralStatus {
            error: self.last_error,
            field: false,
            targets: &targets,
            sam: 0x80,
        }
        .encode(answer);
    }

    fn configure(&mut self, item: RfItem<'_>) {
        match item {
            RfItem::Field { on, .. } => self.set_field(on),
            RfItem::Timings { retry, .. } => self.settings.retry = retry,
            RfItem::MaxRetries { passive, atr, .. } => {
                (self.settings.passive_retries, self.settings.atr_retries) = (passive, atr);
            }
            // Retries of single exchanges, and analogue settings, change nothing in an ideal field.
            RfItem::MaxRetryCom(_) | RfItem::Analog { .. } => {}
        }
    }

    /// Switches the field; targets are forgotten when it goes.
    fn set_field(&mut self, on: bool) {
        if !on {
            self.targets = [None, None];
            self.active = None;
        }
        if on {
            self.stop_listening();
        }
        if on != self.field {
            self.field = on;
            // A simulated field does not fail, and one over a line shows it at the next frame.
            let _ = self.link.set_field(on);
            self.link.pause(if on { time::GUARD_TIME } else { time::FIELD_OFF });
        }
    }

    /// The status that belongs to a result; a failure is kept for GetGeneralStatus.
    fn noted(&mut self, result: Result<(), ErrorCode>) -> Status {
        let status = match result {
            Ok(()) => Status::OK,
            Err(error) => Status::failed(error),
        };
        self.last_error = status;
        status
    }

    /// How long an answer without a protocol is waited for.
    fn retry_timeout(&self) -> Ticks {
        // "No time-out" would wait for ever; the longest is 3.28 s.
        Ticks::from_micros(self.settings.retry.microseconds().unwrap_or(3_276_800))
    }
}

fn done(code: Code, answer: &mut Vec<u8>) {
    Answer::Done(code).encode(answer);
}

fn status(code: Code, status: Status, answer: &mut Vec<u8>) {
    Answer::Status(code, status).encode(answer);
}

/// The chip's word for what went wrong in the field.
fn error_code(error: &FieldError) -> ErrorCode {
    match error.kind {
        FieldErrorKind::Rf(RfError::Crc) => ErrorCode::Crc,
        FieldErrorKind::Rf(RfError::Parity) => ErrorCode::Parity,
        FieldErrorKind::Rf(RfError::Framing) => ErrorCode::Framing,
        FieldErrorKind::Rf(RfError::Collision { .. }) => ErrorCode::Collision,
        FieldErrorKind::Rf(RfError::Overflow) => ErrorCode::RfOverflow,
        _ => ErrorCode::Timeout,
    }
}
