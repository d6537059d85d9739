//! Time caps (the relay guard's), and delays after failures.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tapdoor_link::Mode;
use tapdoor_protocol::ids::PhoneId;

/// How long an answer and a tap may take. A relay costs time; a cold phone does too, so the default only warns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Longest time of one answer.
    pub answer: Duration,
    /// Longest time of the whole tap.
    pub tap: Duration,
    /// Warn, or refuse.
    pub mode: Mode,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(1),
            tap: Duration::from_secs(3),
            mode: Mode::Warn,
        }
    }
}

/// Delays after failed proofs of recognised phones. Unknown cards leave no trace here, so they never delay the next tap.
#[derive(Debug)]
pub struct Delays {
    most: Duration,
    failures: HashMap<PhoneId, (u32, Instant)>,
}

/// The delay after the first failure; it doubles with each one.
const FIRST: Duration = Duration::from_millis(100);

impl Delays {
    /// No failures yet; no delay is longer than `most`.
    #[must_use]
    pub fn new(most: Duration) -> Self {
        Self {
            most,
            failures: HashMap::new(),
        }
    }

    /// How long this phone still has to wait at `now`.
    #[must_use]
    pub fn left(&self, phone: PhoneId, now: Instant) -> Duration {
        self.failures
            .get(&phone)
            .map_or(Duration::ZERO, |(_, until)| until.saturating_duration_since(now))
    }

    /// A proof of this phone failed.
    pub fn failed(&mut self, phone: PhoneId, now: Instant) {
        let (count, until) = self.failures.entry(phone).or_insert((0, now));
        let delay = FIRST.saturating_mul(1 << (*count).min(16)).min(self.most);
        *count = count.saturating_add(1);
        *until = now + delay;
    }

    /// The phone proved itself.
    pub fn succeeded(&mut self, phone: PhoneId) {
        self.failures.remove(&phone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_most_and_end_with_success() {
        let mut delays = Delays::new(Duration::from_secs(5));
        let (now, phone) = (Instant::now(), PhoneId([1; 8]));
        let mut seen = Vec::new();
        for _ in 0..8 {
            delays.failed(phone, now);
            seen.push(delays.left(phone, now).as_millis());
        }
        assert_eq!(seen, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(delays.left(PhoneId([2; 8]), now), Duration::ZERO);
        assert_eq!(delays.left(phone, now + Duration::from_secs(5)), Duration::ZERO);
        delays.succeeded(phone);
        assert_eq!(delays.left(phone, now), Duration::ZERO);
    }
}
