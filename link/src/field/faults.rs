//! [`FieldFaults`]: faults in the air on purpose, the same ones every time, from a [`FieldPlan`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tapdoor_protocol::rf::crc;
use tapdoor_protocol::rf::frame::{Expect, Frame, RfError, RxFrame};
use tapdoor_protocol::rf::time::{self, Ticks};

use super::{Abilities, FieldError, FieldLink};
use crate::fault::{FaultPlanError, duration};

const LAYER: &str = "fault";

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldFault {
    /// The frame is lost.
    Drop,
    /// One bit of the frame flips: bit 0 is the first on the air. Counts round again behind the last one.
    Corrupt {
        /// Which bit.
        bit: usize,
    },
    /// Only the first bytes of the frame come through.
    Truncate {
        /// How many bytes.
        len: usize,
    },
    /// The card gets the frame twice, and its second answer counts. On an answer: the reader asks the card a second time.
    Duplicate,
    /// The frame is late.
    Delay(Duration),
    /// The field fails at this frame, for 5 ms: the card forgets everything.
    FieldOff,
    /// The card leaves the field at this frame, and comes back after so long.
    Out(Duration),
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |f: &mut fmt::Formatter<'_>, name, time: &Duration| match time.subsec_nanos() % 1_000_000 {
            0 => write!(f, "{name}={}ms", time.as_millis()),
            _ => write!(f, "{name}={}us", time.as_micros()),
        };
        match self {
            Self::Drop => f.write_str("drop"),
            Self::Corrupt { bit } => write!(f, "corrupt={bit}"),
            Self::Truncate { len } => write!(f, "truncate={len}"),
            Self::Duplicate => f.write_str("duplicate"),
            Self::Delay(by) => time(f, "delay", by),
            Self::FieldOff => f.write_str("field-off"),
            Self::Out(by) => time(f, "out", by),
        }
    }
}

/// Which faults happen to which frame.
///
/// Its text is a list of `FRAME:FAULT`, separated by commas. Frames count from 1, those of reader and card together, as on a tape:
///
/// | fault | what |
/// |---|---|
/// | `drop` | the frame is lost |
/// | `corrupt=BIT` | one bit flips, 0 is the first on the air |
/// | `truncate=LEN` | only LEN bytes come through |
/// | `duplicate` | the card gets it twice |
/// | `delay=TIME` | it is late: `5ms`, `200us`, `2s` |
/// | `field-off` | the field fails for 5 ms |
/// | `out=TIME` | the card leaves, and comes back after TIME |
///
/// ```
/// use tapdoor_link::FieldPlan;
///
/// let plan: FieldPlan = "9:drop, 12:corrupt=17".parse()?;
/// assert_eq!(plan.to_string(), "9:drop,12:corrupt=17");
/// # Ok::<(), tapdoor_link::fault::FaultPlanError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPlan {
    entries: Vec<(u64, FieldFault)>,
}

impl FieldPlan {
    /// No faults.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Adds a fault at a frame, counted from 1. A frame has one fault at the most: the first that was added counts.
    #[must_use]
    pub fn at(mut self, frame: u64, fault: FieldFault) -> Self {
        self.entries.push((frame, fault));
        self
    }

    /// Whether no fault will ever happen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn of(&self, frame: u64) -> Option<&FieldFault> {
        self.entries.iter().find(|(at, _)| *at == frame).map(|(_, fault)| fault)
    }
}

impl fmt::Display for FieldPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().enumerate().try_for_each(|(index, (frame, fault))| {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{frame}:{fault}")
        })
    }
}

impl FromStr for FieldPlan {
    type Err = FaultPlanError;

    fn from_str(text: &str) -> Result<Self, FaultPlanError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let entry = |entry: &str| {
            parse(entry.trim()).map_err(|reason| FaultPlanError {
                entry: entry.trim().to_owned(),
                reason,
            })
        };
        let entries = text.split(',').map(entry).collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }
}

fn parse(entry: &str) -> Result<(u64, FieldFault), &'static str> {
    let (frame, fault) = entry.split_once(':').ok_or("expected FRAME:FAULT, as in 9:drop")?;
    let frame = match frame.trim().parse() {
        Ok(frame @ 1..) => frame,
        _ => return Err("frames are counted from 1"),
    };
    let (name, value) = match fault.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (fault.trim(), None),
    };
    let number = |reason| value.and_then(|v| v.parse().ok()).ok_or(reason);
    let time = || {
        value
            .and_then(duration)
            .ok_or("expected a time with its unit, as in 50ms, 200us or 2s")
    };
    let nothing = |fault| match value {
        None => Ok(fault),
        Some(_) => Err("this fault takes no value"),
    };
    let fault = match name {
        "drop" => nothing(FieldFault::Drop)?,
        "corrupt" => FieldFault::Corrupt {
            bit: number("expected the number of a bit, as in corrupt=17")?,
        },
        "truncate" => FieldFault::Truncate {
            len: number("expected a length in bytes, as in truncate=5")?,
        },
        "duplicate" => nothing(FieldFault::Duplicate)?,
        "delay" => FieldFault::Delay(time()?),
        "field-off" => nothing(FieldFault::FieldOff)?,
        "out" => FieldFault::Out(time()?),
        _ => return Err("no such fault; one of drop, corrupt, truncate, duplicate, delay, field-off, out"),
    };
    Ok((frame, fault))
}

/// A field link with faults in it. Frames without a fault are passed on untouched.
#[derive(Debug)]
pub struct FieldFaults<L> {
    link: L,
    plan: FieldPlan,
    frame: u64,
    /// Whether the reader has its field on.
    on: bool,
    /// The card is out until then.
    out_until: Option<Ticks>,
    scratch: Vec<u8>,
}

impl<L: FieldLink> FieldFaults<L> {
    /// Faults as planned, on a link whose field is off.
    pub const fn new(link: L, plan: FieldPlan) -> Self {
        Self {
            link,
            plan,
            frame: 0,
            on: false,
            out_until: None,
            scratch: Vec::new(),
        }
    }

    /// How many frames there were.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frame
    }

    /// Counts from frame 1 again, with another plan.
    pub fn restart(&mut self, plan: FieldPlan) {
        self.plan = plan;
        self.frame = 0;
    }

    /// The link below, free of faults.
    pub const fn inner_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// Gives the link back.
    pub fn into_inner(self) -> L {
        self.link
    }

    fn next(&mut self) -> Option<FieldFault> {
        self.frame += 1;
        self.plan.of(self.frame).cloned()
    }

    /// The reader sends and hears nothing: that costs the time of the frame and of the waiting.
    fn in_vain(&mut self, tx: &Frame<'_>, timeout: Ticks, rx: &mut RxFrame) -> Result<(), FieldError> {
        rx.clear();
        (rx.technology, rx.rate) = (tx.technology, tx.rate);
        self.link.pause(time::FDT_PICC_TO_PCD);
        rx.sent_at = self.link.now();
        self.link.pause(tx.air_time() + timeout);
        Err(FieldError::rf(RfError::Timeout, LAYER).during(tx))
    }

    /// The card loses its power for so long; whoever is asked meanwhile does not answer.
    fn take_out(&mut self, time: Ticks) -> Result<(), FieldError> {
        self.link.set_field(false)?;
        self.out_until = Some(self.link.now() + time);
        Ok(())
    }

    fn come_back(&mut self) -> Result<(), FieldError> {
        if self.out_until.is_some_and(|until| self.link.now() >= until) {
            self.out_until = None;
            self.link.set_field(self.on)?;
        }
        Ok(())
    }

    /// Sends the frame damaged, as bytes of which the checksum is one's own affair.
    fn damaged(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame, fault: &FieldFault) -> Result<(), FieldError> {
        let mut bytes = core::mem::take(&mut self.scratch);
        bytes.clear();
        bytes.extend_from_slice(tx.data);
        if tx.crc {
            crc::append(tx.technology, &mut bytes);
        }
        let mut last_bits = tx.last_bits;
        match fault {
            FieldFault::Corrupt { bit } => {
                let bits = (bytes.len() * 8).saturating_sub(usize::from(8 - tx.last_bits.clamp(1, 8)));
                let bit = bit % bits.max(1);
                if let Some(byte) = bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            FieldFault::Truncate { len } if *len < bytes.len() => {
                bytes.truncate(*len);
                last_bits = 8;
            }
            _ => {}
        }
        let outcome = if bytes.is_empty() {
            self.in_vain(tx, expect.timeout, rx)
        } else {
            let frame = Frame {
                data: &bytes,
                crc: false,
                last_bits,
                ..*tx
            };
            self.link.exchange(&frame, expect, rx)
        };
        self.scratch = bytes;
        outcome.map_err(|error| error.during(tx))
    }

    fn answer(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame, ended: Ticks) -> Result<(), FieldError> {
        let Some(fault) = self.next() else {
            return Ok(());
        };
        let lost = |this: &mut Self, rx: &mut RxFrame| {
            let deadline = ended + expect.timeout;
            let left = deadline - this.link.now();
            this.link.pause(left);
            rx.data.clear();
            Err(FieldError::rf(RfError::Timeout, LAYER).during(tx))
        };
        match fault {
            FieldFault::Drop => lost(self, rx),
            FieldFault::Corrupt { bit } => {
                let bit = bit % (rx.data.len() * 8).max(1);
                if let Some(byte) = rx.data.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
                let error = if rx.crc { RfError::Crc } else { RfError::Parity };
                Err(FieldError::rf(error, LAYER).during(tx).with_answer(&rx.data))
            }
            FieldFault::Truncate { len } => {
                rx.data.truncate(len);
                Err(FieldError::rf(RfError::Framing, LAYER).during(tx).with_answer(&rx.data))
            }
            FieldFault::Duplicate => self.link.exchange(tx, expect, rx),
            FieldFault::Delay(by) => {
                let by = Ticks::from_duration(by);
                if rx.at + by > ended + expect.timeout {
                    return lost(self, rx);
                }
                self.link.pause(by);
                rx.at += by;
                Ok(())
            }
            FieldFault::FieldOff => {
                self.take_out(time::FIELD_OFF)?;
                lost(self, rx)
            }
            FieldFault::Out(by) => {
                self.take_out(Ticks::from_duration(by))?;
                lost(self, rx)
            }
        }
    }
}

impl<L: FieldLink> FieldLink for FieldFaults<L> {
    fn exchange(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame) -> Result<(), FieldError> {
        self.come_back()?;
        let fault = self.next();
        if self.out_until.is_some() {
            return self.in_vain(tx, expect.timeout, rx);
        }
        match fault {
            None => self.link.exchange(tx, expect, rx),
            Some(FieldFault::Drop) => self.in_vain(tx, expect.timeout, rx),
            Some(fault @ (FieldFault::Corrupt { .. } | FieldFault::Truncate { .. })) => self.damaged(tx, expect, rx, &fault),
            Some(FieldFault::Duplicate) => {
                let _first = self.link.exchange(tx, expect, rx);
                self.link.exchange(tx, expect, rx)
            }
            Some(FieldFault::Delay(by)) => {
                self.link.pause(Ticks::from_duration(by));
                self.link.exchange(tx, expect, rx)
            }
            Some(FieldFault::FieldOff) => {
                self.take_out(time::FIELD_OFF)?;
                self.in_vain(tx, expect.timeout, rx)
            }
            Some(FieldFault::Out(by)) => {
                self.take_out(Ticks::from_duration(by))?;
                self.in_vain(tx, expect.timeout, rx)
            }
        }?;
        let ended = rx.sent_at + tx.air_time();
        self.answer(tx, expect, rx, ended)
    }

    fn send(&mut self, tx: &Frame<'_>) -> Result<(), FieldError> {
        self.come_back()?;
        match self.next() {
            _ if self.out_until.is_some() => self.link.pause(tx.air_time()),
            Some(FieldFault::Drop) => self.link.pause(tx.air_time()),
            Some(FieldFault::Delay(by)) => {
                self.link.pause(Ticks::from_duration(by));
                return self.link.send(tx);
            }
            Some(FieldFault::FieldOff) => self.take_out(time::FIELD_OFF)?,
            Some(FieldFault::Out(by)) => self.take_out(Ticks::from_duration(by))?,
            Some(FieldFault::Duplicate) => {
                self.link.send(tx)?;
                return self.link.send(tx);
            }
            Some(fault) => {
                let mut rx = RxFrame::new();
                let _ = self.damaged(tx, &Expect::like(tx, Ticks::ZERO), &mut rx, &fault);
            }
            None => return self.link.send(tx),
        }
        Ok(())
    }

    fn set_field(&mut self, on: bool) -> Result<(), FieldError> {
        self.on = on;
        if self.out_until.is_some() && on {
            // The reader's field is on; the card is still away.
            return Ok(());
        }
        self.link.set_field(on)
    }

    fn pause(&mut self, time: Ticks) {
        // A card that comes back in a pause has its power from then on.
        match self.out_until.map(|until| until - self.link.now()) {
            Some(left) if left <= time => {
                self.link.pause(left);
                let _ = self.come_back();
                self.link.pause(time - left);
            }
            _ => self.link.pause(time),
        }
    }

    fn now(&self) -> Ticks {
        self.link.now()
    }

    fn abilities(&self) -> Abilities {
        self.link.abilities()
    }
}
