//! [`RawField`]: the chip as nothing but a radio. Polling, activation and ISO-DEP are ours (mode B).
//!
//! Frames go through InCommunicateThru. How they look on the air is set in the registers of the chip's contactless interface unit (CIU),
//! which are written only when something changes: within ISO-DEP at one rate, a block is one command and one answer.
//!
//! The analogue side of a technology is set by the firmware alone, when it looks for a card of it. So the first frame of a technology is
//! preceded by one InListPassiveTarget; a card that it found is made to forget it by a moment without field.

use std::thread;
use std::time::{Duration, Instant};

use tapdoor_link::field::{Abilities, FieldError, FieldErrorKind, FieldLink};
use tapdoor_protocol::pn532::{Answer, ErrorCode, MAX_DATA, MAX_THRU, Modulation, Timeout};
use tapdoor_protocol::rf::frame::{BitRate, Expect, Frame, RfError, RxFrame, Technology};
use tapdoor_protocol::rf::time::{self, Ticks};

use super::LAYER;
use super::chip::{Chip, ChipError};
use super::port::{Port, PortErrorKind};

/// Registers of the CIU (UM0701-02 8.6.23).
mod register {
    pub const TX_MODE: u16 = 0x6302;
    pub const RX_MODE: u16 = 0x6303;
    pub const RX_THRESHOLD: u16 = 0x6308;
    pub const MIF_NFC: u16 = 0x630C;
    pub const MOD_WIDTH: u16 = 0x6314;
    pub const CONTROL: u16 = 0x633C;
    pub const BIT_FRAMING: u16 = 0x633D;
    pub const COLL: u16 = 0x633E;
}

/// RxThreshold, ModWidth and MifNFC for type A at 106, 212 and 424 kbit/s: the firmware's own values (7.3.1, items 0A and 0D).
const TYPE_A: [[u8; 3]; 3] = [[0x85, 0x26, 0x62], [0x85, 0x15, 0x8A], [0x85, 0x08, 0xB2]];
/// The longest waiting time that the chip can be set to; for longer ones it waits until it is told to stop.
const LONGEST: Duration = Duration::from_micros(3_276_800);

/// What the registers are set to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Modes {
    tx: u8,
    rx: u8,
    framing: u8,
}

/// How a chip is set: what need not be said again.
#[derive(Clone, Copy)]
pub struct State {
    epoch: Instant,
    on: bool,
    tuned: Option<Technology>,
    modes: Option<Modes>,
    timeout: Option<Timeout>,
    rate: BitRate,
}

/// A PN532 as a [`FieldLink`].
pub struct RawField<P> {
    chip: Chip<P>,
    state: State,
}

impl<P: Port> RawField<P> {
    /// A chip after [`Chip::start`] without RATS of its own. The field's state is unknown; it is taken for off.
    pub fn new(chip: Chip<P>, epoch: Instant) -> Self {
        let state = State {
            epoch,
            on: false,
            tuned: None,
            modes: None,
            timeout: None,
            rate: BitRate::Kbps106,
        };
        Self { chip, state }
    }

    /// The same chip on another port, in the midst of a session.
    pub const fn resume(chip: Chip<P>, state: State) -> Self {
        Self { chip, state }
    }

    /// The chip. Its settings must stay as they are.
    pub const fn chip_mut(&mut self) -> &mut Chip<P> {
        &mut self.chip
    }

    /// Gives the chip back, and says how it is set.
    pub fn into_parts(self) -> (Chip<P>, State) {
        (self.chip, self.state)
    }

    /// Lets the firmware set the analogue side for `technology`.
    fn tune(&mut self, technology: Technology) -> Result<(), ChipError> {
        if self.state.tuned == Some(technology) {
            return Ok(());
        }
        let (modulation, initiator): (_, &[u8]) = match technology {
            Technology::A => (Modulation::A106, &[]),
            Technology::B => (Modulation::B106, &[0x00]),
            Technology::F => (Modulation::Felica212, &[0x00, 0xFF, 0xFF, 0x00, 0x00]),
        };
        let found = match self.chip.list(modulation, initiator) {
            Ok(Answer::Listed { count, .. }) => count > 0,
            Ok(_) => false,
            // Refused by a chip that lacks the technology; a card that cannot be understood.
            Err(e) if e.is_harmless() => true,
            Err(e) => return Err(e),
        };
        self.state.modes = None;
        self.state.timeout = None;
        self.state.rate = BitRate::Kbps106;
        if found {
            // It was activated. Without field it forgets, and its target number is of no use.
            self.chip.field(false)?;
            thread::sleep(time::FIELD_OFF.as_duration());
            self.chip.field(true)?;
            thread::sleep(time::GUARD_TIME.as_duration());
        }
        self.state.on = true;
        self.state.tuned = Some(technology);
        Ok(())
    }

    fn set_modes(&mut self, tx: &Frame<'_>, expect: &Expect) -> Result<(), ChipError> {
        let framing = match tx.technology {
            Technology::A => 0,
            Technology::F => 2,
            Technology::B => 3,
        };
        let mode = |crc: bool, rate: BitRate| u8::from(crc) << 7 | rate.divisor_code() << 4 | framing;
        let modes = Modes {
            tx: mode(tx.crc, tx.rate),
            rx: mode(expect.crc, expect.rate),
            framing: ((expect.first_bit & 7) << 4) | (tx.last_bits % 8),
        };
        if self.state.modes != Some(modes) {
            let mut writes = [
                (register::TX_MODE, modes.tx),
                (register::RX_MODE, modes.rx),
                (register::BIT_FRAMING, modes.framing),
                (0, 0),
                (0, 0),
                (0, 0),
            ];
            let mut count = 3;
            if tx.technology == Technology::A
                && tx.rate != self.state.rate
                && let Some([threshold, width, nfc]) = TYPE_A.get(usize::from(tx.rate.divisor_code()))
            {
                let values = [
                    (register::RX_THRESHOLD, *threshold),
                    (register::MOD_WIDTH, *width),
                    (register::MIF_NFC, *nfc),
                ];
                writes[3..].copy_from_slice(&values);
                count = 6;
            }
            self.chip.write_registers(&writes[..count])?;
            self.state.rate = tx.rate;
            self.state.modes = Some(modes);
        }
        Ok(())
    }

    /// Sets how long the chip waits, and says how long that is.
    fn set_timeout(&mut self, wait: Duration) -> Result<Duration, ChipError> {
        let code = if wait > LONGEST && self.chip.port().can_abort() {
            Timeout::NONE
        } else {
            Timeout::at_least(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX))
        };
        if self.state.timeout != Some(code) {
            self.chip.set_timeout(code)?;
            self.state.timeout = Some(code);
        }
        Ok(code.microseconds().map_or(wait, Duration::from_micros))
    }

    fn run(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame) -> Result<(), FieldError> {
        let chip = |e: ChipError| chip_error(e).during(tx);
        self.tune(tx.technology).map_err(chip)?;
        self.set_modes(tx, expect).map_err(chip)?;
        let wait = self.set_timeout(expect.timeout.as_duration()).map_err(chip)?;
        rx.clear();
        rx.technology = tx.technology;
        rx.rate = expect.rate;
        rx.first_bit = expect.first_bit & 7;
        rx.sent_at = now(self.state.epoch);
        let error = match self.chip.thru(tx.data, wait) {
            Ok((error, data)) => {
                rx.data.extend_from_slice(data);
                error
            }
            // Longer than the chip can be told to wait: it was ended.
            Err(ChipError::Port(e)) if e.kind == PortErrorKind::Silent && self.state.timeout == Some(Timeout::NONE) => {
                Some(ErrorCode::Timeout)
            }
            Err(e) => return Err(chip(e)),
        };
        rx.at = now(self.state.epoch);
        if let Some(first) = rx.data.first_mut() {
            *first &= 0xFF << rx.first_bit;
        }
        let Some(error) = error else {
            rx.crc = expect.crc;
            if !expect.crc && tx.technology == Technology::A {
                let control = self.chip.read_registers(&[register::CONTROL]).map_err(chip)?;
                rx.last_bits = match control.first().map_or(0, |c| c & 7) {
                    0 => 8,
                    bits => bits,
                };
            }
            return Ok(());
        };
        let rf = match error {
            ErrorCode::Timeout => RfError::Timeout,
            ErrorCode::Crc => RfError::Crc,
            ErrorCode::Parity => RfError::Parity,
            ErrorCode::BitCount | ErrorCode::Framing | ErrorCode::Protocol | ErrorCode::DataFormat | ErrorCode::UidCheck => {
                RfError::Framing
            }
            ErrorCode::Collision => {
                let position = self.chip.read_registers(&[register::COLL]).map_err(chip)?;
                match position.first() {
                    // CollPos counts from 1, and 0 is the 32nd bit; bit 5 says that it is not known.
                    Some(coll) if coll & 0x20 == 0 => RfError::Collision {
                        bit: (usize::from(coll & 0x1F) + 31) % 32,
                    },
                    _ => RfError::Framing,
                }
            }
            ErrorCode::BufferSize | ErrorCode::RfOverflow | ErrorCode::InternalOverflow => RfError::Overflow,
            other => return Err(FieldError::new(FieldErrorKind::Reader, LAYER, other.to_string()).during(tx)),
        };
        Err(FieldError::rf(rf, LAYER).during(tx).with_answer(&rx.data))
    }
}

fn now(epoch: Instant) -> Ticks {
    Ticks::from_duration(epoch.elapsed())
}

/// A failure between us and the chip, as one of the field.
pub(crate) fn chip_error(e: ChipError) -> FieldError {
    let kind = match &e {
        ChipError::Port(port) if port.kind == PortErrorKind::Cancelled => FieldErrorKind::Cancelled,
        ChipError::Port(port) if port.kind == PortErrorKind::TooLong => FieldErrorKind::Unsupported,
        _ => FieldErrorKind::Reader,
    };
    FieldError::new(kind, LAYER, e.to_string())
}

impl<P: Port> FieldLink for RawField<P> {
    fn exchange(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame) -> Result<(), FieldError> {
        rx.clear();
        if !self.state.on && self.state.tuned.is_some() {
            return Err(FieldError::new(FieldErrorKind::NoField, LAYER, "the field is off").during(tx));
        }
        let abilities = self.abilities();
        if tx.data.len() > abilities.send || tx.rate > abilities.rate || expect.rate > abilities.rate || tx.first_bit != 0 {
            let detail = format!("a frame of {} bytes at {}, which a PN532 cannot send", tx.data.len(), tx.rate);
            return Err(FieldError::new(FieldErrorKind::Unsupported, LAYER, detail).during(tx));
        }
        self.run(tx, expect, rx)
    }

    fn set_field(&mut self, on: bool) -> Result<(), FieldError> {
        self.chip.field(on).map_err(chip_error)?;
        self.state.on = on;
        Ok(())
    }

    fn pause(&mut self, time: Ticks) {
        thread::sleep(time.as_duration());
    }

    fn now(&self) -> Ticks {
        now(self.state.epoch)
    }

    fn abilities(&self) -> Abilities {
        let (command, answer) = self.chip.port().longest();
        Abilities {
            // Without the code; the answer without code and status.
            send: MAX_THRU.min(command.saturating_sub(1)),
            receive: MAX_DATA.min(answer.saturating_sub(2)),
            rate: BitRate::Kbps424,
            technologies: [true; 3],
            simulated: false,
        }
    }
}
