//! Time caps from honest taps: `lock --calibrate N`.

use std::time::Duration;

use crate::tap::{Tap, TapVerdict};

/// What honest taps took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calibration {
    /// How many taps opened.
    pub taps: u64,
    /// The slowest answer of all.
    pub answer: Duration,
    /// The slowest tap.
    pub tap: Duration,
}

/// Proposed caps are the slowest honest value and half of it again.
const MARGIN: f64 = 1.5;

impl Calibration {
    /// Counts a tap that opened; others say nothing about honest phones.
    pub fn add(&mut self, tap: &Tap) {
        if tap.verdict == TapVerdict::Open {
            self.taps += 1;
            self.answer = self.answer.max(tap.slowest);
            self.tap = self.tap.max(tap.total);
        }
    }

    /// Proposed caps in milliseconds, answer and tap, rounded up to 10 ms; `None` without a tap.
    #[must_use]
    pub fn caps_ms(&self) -> Option<(u64, u64)> {
        (self.taps > 0).then(|| (round(self.answer), round(self.tap)))
    }

    /// What to write into lock.toml.
    #[must_use]
    pub fn proposal(&self) -> Option<String> {
        let (answer, tap) = self.caps_ms()?;
        Some(format!(
            "[policy]\nanswer-cap-ms = {answer}\ntap-cap-ms = {tap}\nover-cap = \"refuse\"\n"
        ))
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn round(time: Duration) -> u64 {
    // Positive and far below 2^64: a tap ends within seconds.
    ((time.as_secs_f64() * 1000.0 * MARGIN / 10.0).ceil() as u64) * 10
}
