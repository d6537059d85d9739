//! The server's two clocks.
//!
//! Wall time (seconds since 1970) decides what people write down as times: not-after of grants, the clock inside a lock's request, maintenance
//! windows. Monotonic time decides how long something may take: challenges, sessions, time-outs. A wall clock that jumps therefore ends no
//! session and revives no challenge; what it does to requests is told in [`crate::request`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock. Tests move it.
#[derive(Clone, Default)]
pub struct Clock {
    offset: Arc<AtomicI64>,
}

impl Clock {
    /// The clock of the machine.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// Seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn now(&self) -> u64 {
        let machine = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        machine.saturating_add_signed(self.offset.load(Ordering::Relaxed))
    }

    /// Lets the clock jump by so many seconds, for this clock and its clones.
    pub fn jump(&self, seconds: i64) {
        self.offset.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// A time of day, UTC, from and until in minutes after midnight; it may go past midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: u16,
    until: u16,
}

/// Text that is not a maintenance window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a maintenance window is two different times of day, UTC: 02:00-04:30")]
pub struct WindowError;

impl std::str::FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        fn minutes(text: &str) -> Option<u16> {
            let (hours, minutes) = text.split_once(':')?;
            if hours.len() != 2 || minutes.len() != 2 || !text.bytes().all(|b| b.is_ascii_digit() || b == b':') {
                return None;
            }
            let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
            (hours < 24 && minutes < 60).then_some(60 * hours + minutes)
        }
        let (from, until) = text.split_once('-').ok_or(WindowError)?;
        match (minutes(from.trim()), minutes(until.trim())) {
            (Some(from), Some(until)) if from != until => Ok(Self { from, until }),
            _ => Err(WindowError),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

impl Window {
    /// Whether the window is open at this wall time.
    #[must_use]
    pub fn contains(&self, now: u64) -> bool {
        let minute = u16::try_from(now / 60 % 1440).unwrap_or(0);
        if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn windows() {
        let night: Window = "23:30-01:00".parse().unwrap();
        assert_eq!(night.to_string(), "23:30-01:00");
        for (minute, open) in [(23 * 60 + 30, true), (0, true), (59, true), (60, false), (23 * 60 + 29, false)] {
            assert_eq!(night.contains(86_400 * 365 + minute * 60), open, "{minute}");
        }
        let morning: Window = "02:00-04:30".parse().unwrap();
        assert!(morning.contains(2 * 3600) && !morning.contains(4 * 3600 + 1800) && !morning.contains(0));
        for bad in [
            "",
            "02:00",
            "02:00-02:00",
            "24:00-01:00",
            "2:00-3:00",
            "02:60-03:00",
            "-",
            "+1:00-02:00",
        ] {
            assert_eq!(bad.parse::<Window>(), Err(WindowError), "{bad}");
        }
    }
}
