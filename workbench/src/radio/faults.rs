//! The fault table: for each method, at every frame of a tap, each fault, and what came of it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tapdoor_link::FieldPlan;
use tapdoor_link::field::FieldFault;
use tapdoor_protocol::rf::frame::BitRate;
use tapdoor_protocol::rf::time::Ticks;
use tapdoor_reader::TapVerdict;

use super::bench::WAYS;
use super::stage::{AirTap, Stage};
use crate::bench::BenchError;

/// A tap with a fault ends within this simulated time.
pub const LIMIT: Ticks = Ticks::from_millis(1500);

/// The faults of the table, by name.
pub const FAULTS: [(&str, FieldFault); 10] = [
    ("drop", FieldFault::Drop),
    ("corrupt", FieldFault::Corrupt { bit: 3 }),
    ("corrupt late", FieldFault::Corrupt { bit: 21 }),
    ("truncate", FieldFault::Truncate { len: 1 }),
    ("truncate late", FieldFault::Truncate { len: 4 }),
    ("duplicate", FieldFault::Duplicate),
    ("delay 1 ms", FieldFault::Delay(Duration::from_millis(1))),
    ("delay 200 ms", FieldFault::Delay(Duration::from_millis(200))),
    ("field off", FieldFault::FieldOff),
    ("card out 60 ms", FieldFault::Out(Duration::from_millis(60))),
];

/// What came of a tap with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The door opened, in the session in which the fault was: it was recovered from, or hurt nothing.
    Opened,
    /// The door opened in a later session of the same tap.
    Again,
    /// The lock refused.
    Refused,
    /// No verdict: torn, silent or broken.
    Error,
}

impl Outcome {
    const fn of(tap: &AirTap) -> Self {
        match tap.verdict {
            TapVerdict::Open if tap.sessions <= 1 => Self::Opened,
            TapVerdict::Open => Self::Again,
            TapVerdict::Refused => Self::Refused,
            TapVerdict::Error => Self::Error,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Opened => "opened",
            Self::Again => "again",
            Self::Refused => "refused",
            Self::Error => "error",
        })
    }
}

/// One cell of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The method.
    pub method: &'static str,
    /// Rate in kbit/s.
    pub rate: u32,
    /// Which frame of the clean tap, counted from 1, both directions together.
    pub frame: u64,
    /// Whether it is one of ISO-DEP's blocks, not of the activation before it.
    pub is_block: bool,
    /// The fault.
    pub fault: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// Reason of a refusal or an error.
    pub reason: Option<&'static str>,
    /// From field on to the end, in milliseconds of simulated time.
    pub ms: f64,
    /// Sessions that were begun.
    pub sessions: u32,
    /// Whether the lock proved itself to the phone in the last session.
    pub phone_agrees: bool,
    /// Whether the next tap, without a fault, opened.
    pub next_opens: bool,
}

impl Cell {
    /// Whether this may be: the door opens only after a complete mutual authentication, the tap ends in time, the next one opens, and a single block that was dropped or damaged is recovered from in the same session.
    ///
    /// # Errors
    /// Which of these is broken.
    pub fn judge(&self) -> Result<(), &'static str> {
        let opened = matches!(self.outcome, Outcome::Opened | Outcome::Again);
        let is_lost = self.fault.starts_with("drop") || self.fault.starts_with("corrupt") || self.fault.starts_with("truncate");
        if opened && !self.phone_agrees {
            Err("the door opened, and the lock has not proved itself to the phone")
        } else if self.ms > LIMIT.as_micros_f64() / 1000.0 {
            Err("the tap did not end in time")
        } else if !self.next_opens {
            Err("the next tap did not open")
        } else if self.is_block && is_lost && self.outcome != Outcome::Opened {
            Err("a single lost block was not recovered from")
        } else {
            Ok(())
        }
    }
}

/// Frames of the activation: request, anticollision, SELECT and RATS with their answers, and PPS where a higher rate is wanted.
const fn activation(rate: BitRate) -> u64 {
    match rate {
        BitRate::Kbps106 => 8,
        _ => 10,
    }
}

/// Makes the table, telling `observe` of each cell.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Tap`] when a tap without a fault does not open.
pub fn table(rates: &[BitRate], observe: &mut dyn FnMut(&Cell)) -> Result<Vec<Cell>, BenchError> {
    let mut cells = Vec::new();
    for way in WAYS {
        let name = way.name;
        for &rate in rates {
            let mut stage = Stage::new(way, rate)?;
            // Who has been here before is known.
            stage.tap(FieldPlan::new())?;
            let clean = stage.tap(FieldPlan::new())?;
            if clean.verdict != TapVerdict::Open {
                return Err(BenchError::Tap(clean.detail));
            }
            for frame in 1..=clean.traffic.frames {
                for (fault_name, fault) in &FAULTS {
                    let tap = stage.tap(FieldPlan::new().at(frame, fault.clone()))?;
                    let next = stage.tap(FieldPlan::new())?;
                    let cell = Cell {
                        method: name,
                        rate: rate.kbps(),
                        frame,
                        is_block: frame > activation(rate),
                        fault: fault_name,
                        outcome: Outcome::of(&tap),
                        reason: tap.reason.map(tapdoor_protocol::door::Reason::name),
                        ms: tap.time.as_micros_f64() / 1000.0,
                        sessions: tap.sessions,
                        phone_agrees: tap.phone_agrees,
                        next_opens: next.verdict == TapVerdict::Open,
                    };
                    observe(&cell);
                    cells.push(cell);
                }
            }
        }
    }
    Ok(cells)
}
