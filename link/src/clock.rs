//! [`Clock`]: elapsed time, which tests turn by hand.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time that never runs backwards, counted from a moment the clock chose.
pub trait Clock {
    /// How long ago that moment was.
    fn now(&self) -> Duration;
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Duration {
        (**self).now()
    }
}

impl<C: Clock + ?Sized> Clock for Rc<C> {
    fn now(&self) -> Duration {
        (**self).now()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Duration {
        (**self).now()
    }
}

/// The operating system's monotonic clock, counted from an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Monotonic {
    epoch: Instant,
}

impl Monotonic {
    /// Counts from now.
    #[must_use]
    pub fn new() -> Self {
        Self::since(Instant::now())
    }

    /// Counts from `epoch`; several clocks with the same epoch agree.
    #[must_use]
    pub const fn since(epoch: Instant) -> Self {
        Self { epoch }
    }

    /// The moment from which this clock counts.
    #[must_use]
    pub const fn epoch(&self) -> Instant {
        self.epoch
    }
}

impl Default for Monotonic {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for Monotonic {
    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}

/// A clock that stands still until it is advanced, for tests.
///
/// Share it by reference, `Rc` or `Arc` between the decorator under test and whatever plays the slow card.
#[derive(Debug, Default)]
pub struct ManualClock {
    nanoseconds: AtomicU64,
}

impl ManualClock {
    /// Starts at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            nanoseconds: AtomicU64::new(0),
        }
    }

    /// Lets `time` pass. Saturates after 584 years.
    pub fn advance(&self, time: Duration) {
        let add = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let _ = self
            .nanoseconds
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_add(add)));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_clock_saturates_and_never_wraps() {
        let clock = ManualClock::new();
        clock.advance(Duration::from_millis(3));
        assert_eq!(clock.now(), Duration::from_millis(3));
        clock.advance(Duration::MAX);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn two_monotonic_clocks_of_one_epoch_agree() {
        let epoch = Instant::now();
        let (a, b) = (Monotonic::since(epoch), Monotonic::since(epoch));
        let (first, second) = (a.now(), b.now());
        assert!(second >= first);
        assert_eq!(a.epoch(), epoch);
    }
}
