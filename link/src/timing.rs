//! [`Timed`]: how long the card took.

use std::time::Duration;

use crate::{CardLink, Clock, Limits, LinkError, Monotonic};

/// What [`Timed`] measured since it was made or [reset](Timed::reset).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// How many exchanges, failed ones included.
    pub count: u64,
    /// How long the last one took.
    pub last: Duration,
    /// How long all of them took together.
    pub total: Duration,
    /// How long the longest one took.
    pub max: Duration,
}

impl Timing {
    /// `total / count`, or zero when there was none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let nanoseconds = self.total.as_nanos() / u128::from(self.count.max(1));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// A link that measures its exchanges.
///
/// While it is [paused](Self::pause) it passes exchanges on unmeasured, and [`Self::elapsed`] stands still.
#[derive(Debug)]
pub struct Timed<L, C = Monotonic> {
    link: L,
    clock: C,
    timing: Timing,
    started: Duration,
    excluded: Duration,
    paused_at: Option<Duration>,
}

impl<L: CardLink> Timed<L> {
    /// Measures with the operating system's monotonic clock.
    pub fn new(link: L) -> Self {
        Self::with_clock(link, Monotonic::new())
    }
}

impl<L, C: Clock> Timed<L, C> {
    /// Measures with a clock of your own.
    pub fn with_clock(link: L, clock: C) -> Self {
        Self {
            started: clock.now(),
            link,
            clock,
            timing: Timing::default(),
            excluded: Duration::ZERO,
            paused_at: None,
        }
    }

    /// What was measured so far.
    #[must_use]
    pub const fn timing(&self) -> Timing {
        self.timing
    }

    /// Wall time since the start or the last reset, paused time excluded.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.paused_at
            .unwrap_or_else(|| self.clock.now())
            .saturating_sub(self.started)
            .saturating_sub(self.excluded)
    }

    /// Begins afresh, running.
    pub fn reset(&mut self) {
        self.timing = Timing::default();
        self.started = self.clock.now();
        self.excluded = Duration::ZERO;
        self.paused_at = None;
    }

    /// Stops measuring. Pausing twice is pausing once.
    pub fn pause(&mut self) {
        if self.paused_at.is_none() {
            self.paused_at = Some(self.clock.now());
        }
    }

    /// Measures again.
    pub fn resume(&mut self) {
        if let Some(since) = self.paused_at.take() {
            self.excluded += self.clock.now().saturating_sub(since);
        }
    }

    /// The link below, to look at.
    pub const fn inner(&self) -> &L {
        &self.link
    }

    /// The link below; what is sent on it directly is not measured.
    pub const fn inner_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// Gives the link back.
    pub fn into_inner(self) -> L {
        self.link
    }
}

impl<L: CardLink, C: Clock> CardLink for Timed<L, C> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        if self.paused_at.is_some() {
            return self.link.transmit(command, response);
        }
        let start = self.clock.now();
        let outcome = self.link.transmit(command, response);
        let took = self.clock.now().saturating_sub(start);
        self.timing.count += 1;
        self.timing.last = took;
        self.timing.total = self.timing.total.saturating_add(took);
        self.timing.max = self.timing.max.max(took);
        outcome
    }

    fn limits(&self) -> Limits {
        self.link.limits()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{LinkErrorKind, ManualClock, Scripted};

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_failed_exchange_counts() {
        let clock = Arc::new(ManualClock::new());
        let card = Scripted::new()
            .on(clock.clone())
            .fail(LinkErrorKind::Timeout)
            .taking(ms(9))
            .answer([0x90, 0x00])
            .taking(ms(3));
        let mut link = Timed::with_clock(card, clock);
        assert_eq!(link.timing().mean(), Duration::ZERO);
        let mut response = Vec::new();
        assert!(link.transmit(&[1], &mut response).is_err());
        assert!(link.transmit(&[2], &mut response).is_ok());
        let expected = Timing {
            count: 2,
            last: ms(3),
            total: ms(12),
            max: ms(9),
        };
        assert_eq!((link.timing(), link.timing().mean()), (expected, ms(6)));
        link.reset();
        assert_eq!(link.timing(), Timing::default());
    }

    #[test]
    fn paused_time_is_excluded() {
        let clock = Arc::new(ManualClock::new());
        let card = Scripted::new().on(clock.clone()).answer([0x90, 0x00]).taking(ms(7));
        let mut link = Timed::with_clock(card, clock.clone());
        clock.advance(ms(1));
        link.pause();
        link.pause();
        link.transmit(&[1], &mut Vec::new()).unwrap();
        clock.advance(ms(100));
        assert_eq!(link.elapsed(), ms(1));
        link.resume();
        link.resume();
        clock.advance(ms(2));
        assert_eq!((link.elapsed(), link.timing().count), (ms(3), 0));
    }
}
