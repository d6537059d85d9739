//! [`RelayGuard`]: caps on how long an answer and a tap may take.
//!
//! A relay between a lock and a phone far away costs time. This bounds it; it cannot prevent a relay that is fast enough.

use std::fmt;
use std::time::Duration;

use crate::{CardLink, Clock, Limits, LinkError, LinkErrorKind, Monotonic};

/// What happens when a cap is exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The exchange stands; a [`Warning`] is kept.
    #[default]
    Warn,
    /// The exchange fails with [`LinkErrorKind::Timeout`] although it was answered; a [`Warning`] is kept as well.
    Refuse,
}

/// Which cap was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The one on a single answer.
    Answer,
    /// The one on the whole tap.
    Tap,
}

/// A cap that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which exchange of the tap, from 1.
    pub exchange: u64,
    /// The first four bytes of its command, zeros where there were fewer. Never data, which can be secret.
    pub header: [u8; 4],
    /// Which cap.
    pub scope: Scope,
    /// How long it took.
    pub measured: Duration,
    /// How long it was allowed to take.
    pub cap: Duration,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [cla, ins, p1, p2] = self.header;
        let what = match self.scope {
            Scope::Answer => "was answered after",
            Scope::Tap => "brought the tap to",
        };
        write!(
            f,
            "exchange {} ({cla:02x} {ins:02x} {p1:02x} {p2:02x}) {what} {:.1} ms, cap {:.1} ms: a slow card, or a relay",
            self.exchange,
            self.measured.as_secs_f64() * 1e3,
            self.cap.as_secs_f64() * 1e3,
        )
    }
}

/// A link that watches the time of each answer and of the whole tap.
///
/// The tap begins with the first exchange after the guard was made or [told of a new tap](Self::new_tap), and its time does not
/// run while the guard is [paused](Self::pause), for instance during a download; exchanges in a pause are passed on unwatched.
///
/// In [`Mode::Refuse`] every exchange after the tap's cap is refused too, although each is sent: to tell the phone the verdict of
/// such a tap, pause the guard or use [`Self::inner_mut`].
#[derive(Debug)]
pub struct RelayGuard<L, C = Monotonic> {
    link: L,
    clock: C,
    answer_cap: Duration,
    tap_cap: Duration,
    mode: Mode,
    exchange: u64,
    started: Option<Duration>,
    excluded: Duration,
    paused_at: Option<Duration>,
    tap_warned: bool,
    warnings: Vec<Warning>,
    dropped: u64,
}

impl<L: CardLink> RelayGuard<L> {
    /// 1 s for an answer and 3 s for a tap, [`Mode::Warn`].
    pub fn new(link: L) -> Self {
        Self::with_clock(link, Monotonic::new())
    }
}

impl<L, C: Clock> RelayGuard<L, C> {
    /// The cap on a single answer unless another is given.
    pub const ANSWER_CAP: Duration = Duration::from_secs(1);
    /// The cap on the whole tap unless another is given.
    pub const TAP_CAP: Duration = Duration::from_secs(3);
    /// So many warnings of a tap are kept; the others are counted only, since a card can cause as many as it likes.
    pub const MAX_WARNINGS: usize = 64;

    /// As [`RelayGuard::new`], with a clock of your own.
    pub const fn with_clock(link: L, clock: C) -> Self {
        Self {
            link,
            clock,
            answer_cap: Self::ANSWER_CAP,
            tap_cap: Self::TAP_CAP,
            mode: Mode::Warn,
            exchange: 0,
            started: None,
            excluded: Duration::ZERO,
            paused_at: None,
            tap_warned: false,
            warnings: Vec::new(),
            dropped: 0,
        }
    }

    /// With other caps. What takes exactly as long as its cap is within it.
    #[must_use]
    pub const fn with_caps(mut self, answer: Duration, tap: Duration) -> Self {
        self.answer_cap = answer;
        self.tap_cap = tap;
        self
    }

    /// With another mode.
    #[must_use]
    pub const fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Forgets the tap that was; the next exchange begins a new one, running.
    pub fn new_tap(&mut self) {
        self.exchange = 0;
        self.started = None;
        self.excluded = Duration::ZERO;
        self.paused_at = None;
        self.tap_warned = false;
        self.warnings.clear();
        self.dropped = 0;
    }

    /// Stops the tap's clock. Pausing twice is pausing once.
    pub fn pause(&mut self) {
        if self.paused_at.is_none() {
            self.paused_at = Some(self.clock.now());
        }
    }

    /// Lets the tap's clock run again.
    pub fn resume(&mut self) {
        if let Some(since) = self.paused_at.take()
            && let Some(started) = self.started
        {
            self.excluded += self.clock.now().saturating_sub(since.max(started));
        }
    }

    /// How long the tap has lasted, pauses excluded; zero before its first exchange.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let now = self.paused_at.unwrap_or_else(|| self.clock.now());
        self.started
            .map_or(Duration::ZERO, |started| now.saturating_sub(started).saturating_sub(self.excluded))
    }

    /// What was exceeded in this tap, in order; the tap's own cap at most once.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// How many warnings there were beyond [`Self::MAX_WARNINGS`].
    #[must_use]
    pub const fn dropped_warnings(&self) -> u64 {
        self.dropped
    }

    /// The link below; what is sent on it directly is not watched.
    pub const fn inner_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// The link below, to look at.
    pub const fn inner(&self) -> &L {
        &self.link
    }

    /// Gives the link back.
    pub fn into_inner(self) -> L {
        self.link
    }

    fn keep(&mut self, warning: Warning) {
        if self.warnings.len() < Self::MAX_WARNINGS {
            self.warnings.push(warning);
        } else {
            self.dropped += 1;
        }
    }

    /// Judges the exchange that has just been answered; gives what to refuse it for.
    fn judge(&mut self, command: &[u8], took: Duration) -> Option<Warning> {
        let mut header = [0; 4];
        header.iter_mut().zip(command).for_each(|(to, from)| *to = *from);
        let warning = |scope, measured, cap| Warning {
            exchange: self.exchange,
            header,
            scope,
            measured,
            cap,
        };
        let elapsed = self.elapsed();
        let answer = (took > self.answer_cap).then(|| warning(Scope::Answer, took, self.answer_cap));
        let tap = (elapsed > self.tap_cap).then(|| warning(Scope::Tap, elapsed, self.tap_cap));
        if let Some(answer) = answer {
            self.keep(answer);
        }
        if let Some(tap) = tap
            && !std::mem::replace(&mut self.tap_warned, true)
        {
            self.keep(tap);
        }
        answer.or(tap)
    }
}

impl<L: CardLink, C: Clock> CardLink for RelayGuard<L, C> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        if self.paused_at.is_some() {
            return self.link.transmit(command, response);
        }
        let start = self.clock.now();
        self.started.get_or_insert(start);
        self.exchange += 1;
        let outcome = self.link.transmit(command, response);
        let took = self.clock.now().saturating_sub(start);
        let exceeded = self.judge(command, took);
        outcome?;
        match exceeded {
            Some(warning) if self.mode == Mode::Refuse => {
                response.clear();
                let detail = warning.to_string();
                let error = LinkError::new(LinkErrorKind::Timeout, "relay-guard", detail);
                Err(error.during(command))
            }
            _ => Ok(()),
        }
    }

    fn limits(&self) -> Limits {
        self.link.limits()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{ManualClock, Scripted};

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    const SELECT: [u8; 4] = [0x00, 0xA4, 0x04, 0x00];

    type Guard = RelayGuard<Scripted, Arc<ManualClock>>;

    fn guard(times: &[u64]) -> (Guard, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        let card = times.iter().fold(Scripted::new().on(clock.clone()), |card, time| {
            card.answer([0x90, 0x00]).taking(ms(*time))
        });
        (RelayGuard::with_clock(card, clock.clone()), clock)
    }

    fn tap(guard: &mut Guard) -> Result<(), LinkErrorKind> {
        let mut response = vec![0xEE];
        let outcome = guard.transmit(&SELECT, &mut response);
        assert_eq!(response.is_empty(), outcome.is_err());
        outcome.map_err(|e| e.kind)
    }

    #[test]
    fn refuse_throws_a_late_answer_away() {
        let (guard, _) = guard(&[1000, 1001]);
        let mut guard = guard.with_mode(Mode::Refuse);
        assert_eq!(tap(&mut guard), Ok(()));
        assert_eq!(tap(&mut guard), Err(LinkErrorKind::Timeout));
        let warning = guard.warnings()[0];
        let expected = Warning {
            exchange: 2,
            header: SELECT,
            scope: Scope::Answer,
            measured: ms(1001),
            cap: ms(1000),
        };
        assert_eq!(warning, expected);
        assert_eq!(
            warning.to_string(),
            "exchange 2 (00 a4 04 00) was answered after 1001.0 ms, cap 1000.0 ms: a slow card, or a relay"
        );
    }

    #[test]
    fn refuse_holds_for_every_exchange_after_the_taps_cap() {
        let (guard, _) = guard(&[900, 900, 900, 900, 1]);
        let mut guard = guard.with_mode(Mode::Refuse);
        let outcomes: Vec<_> = (0..5).map(|_| tap(&mut guard).is_ok()).collect();
        assert_eq!(outcomes, [true, true, true, false, false]);
        assert_eq!(guard.warnings().len(), 1, "the tap's cap warns once");
        assert_eq!(guard.warnings()[0].scope, Scope::Tap);
    }

    #[test]
    fn warn_lets_it_stand() {
        let (mut guard, _) = guard(&[4000]);
        assert_eq!(tap(&mut guard), Ok(()));
        let scopes: Vec<_> = guard.warnings().iter().map(|w| w.scope).collect();
        assert_eq!(scopes, [Scope::Answer, Scope::Tap]);
        guard.new_tap();
        assert!(guard.warnings().is_empty());
        assert_eq!(guard.elapsed(), ms(0));
    }

    #[test]
    fn time_between_exchanges_counts_and_paused_time_does_not() {
        let (guard, clock) = guard(&[10, 10, 9999, 10]);
        let mut guard = guard.with_caps(ms(100), ms(500)).with_mode(Mode::Refuse);
        guard.pause();
        clock.advance(ms(70_000));
        guard.resume();
        assert_eq!(tap(&mut guard), Ok(()));
        clock.advance(ms(400));
        assert_eq!(tap(&mut guard), Ok(()));
        guard.pause();
        assert_eq!(tap(&mut guard), Ok(()), "unwatched in a pause");
        clock.advance(ms(60_000));
        assert_eq!(guard.elapsed(), ms(420));
        guard.resume();
        clock.advance(ms(75));
        assert_eq!(tap(&mut guard), Err(LinkErrorKind::Timeout));
        assert_eq!(guard.elapsed(), ms(505));
        assert_eq!(guard.warnings()[0].exchange, 3);
    }

    #[test]
    fn the_links_own_error_goes_before_the_guards() {
        let clock = Arc::new(ManualClock::new());
        let card = Scripted::new().on(clock.clone()).fail(LinkErrorKind::CardGone).taking(ms(5000));
        let mut guard = RelayGuard::with_clock(card, clock).with_mode(Mode::Refuse);
        assert_eq!(tap(&mut guard), Err(LinkErrorKind::CardGone));
        assert_eq!(guard.warnings().len(), 2);
    }

    #[test]
    fn a_card_cannot_fill_the_memory_with_warnings() {
        let (mut guard, _) = guard(&[2000; 100]);
        for _ in 0..100 {
            tap(&mut guard).unwrap();
        }
        assert_eq!(guard.warnings().len(), Guard::MAX_WARNINGS);
        assert_eq!(guard.dropped_warnings(), 37);
    }
}
