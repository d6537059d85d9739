//! [`Recorder`]: tells an [`Observer`] of every exchange.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{CardLink, Clock, Limits, LinkError, Monotonic};

/// One command and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// When the command was handed to the link, since the recorder's epoch.
    pub start: Duration,
    /// When the answer or the error was in, since the recorder's epoch.
    pub end: Duration,
    /// The C-APDU.
    pub command: &'a [u8],
    /// The R-APDU, or why there is none.
    pub result: Result<&'a [u8], &'a LinkError>,
}

/// Somebody who is told of every exchange, after the answer is in.
///
/// Observing cannot fail a tap: an observer keeps its first failure (a full disk, say) until somebody asks.
pub trait Observer {
    /// Told once for each exchange.
    fn exchange(&mut self, exchange: &Exchange<'_>);

    /// The first failure since the last call, if there was one.
    fn take_error(&mut self) -> Option<Box<dyn Error + Send + Sync>> {
        None
    }
}

impl<O: Observer + ?Sized> Observer for &mut O {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        (**self).exchange(exchange);
    }

    fn take_error(&mut self) -> Option<Box<dyn Error + Send + Sync>> {
        (**self).take_error()
    }
}

impl<O: Observer + ?Sized> Observer for Box<O> {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        (**self).exchange(exchange);
    }

    fn take_error(&mut self) -> Option<Box<dyn Error + Send + Sync>> {
        (**self).take_error()
    }
}

/// Nobody, or somebody: recording that was not asked for costs nothing but the clock.
impl<O: Observer> Observer for Option<O> {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        if let Some(observer) = self {
            observer.exchange(exchange);
        }
    }

    fn take_error(&mut self) -> Option<Box<dyn Error + Send + Sync>> {
        self.as_mut().and_then(Observer::take_error)
    }
}

/// Shared: several links onto one tape.
impl<O: Observer + ?Sized> Observer for Arc<Mutex<O>> {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.lock().unwrap_or_else(PoisonError::into_inner).exchange(exchange);
    }

    fn take_error(&mut self) -> Option<Box<dyn Error + Send + Sync>> {
        self.lock().unwrap_or_else(PoisonError::into_inner).take_error()
    }
}

/// A link whose exchanges an [`Observer`] is told of. Failed ones too.
#[derive(Debug)]
pub struct Recorder<L, O, C = Monotonic> {
    link: L,
    observer: O,
    clock: C,
}

impl<L: CardLink, O: Observer> Recorder<L, O> {
    /// Counts time from `epoch`: give the same one to everything that writes to the same tape.
    pub const fn new(link: L, observer: O, epoch: Instant) -> Self {
        Self::with_clock(link, observer, Monotonic::since(epoch))
    }
}

impl<L, O, C> Recorder<L, O, C> {
    /// With a clock of your own.
    pub const fn with_clock(link: L, observer: O, clock: C) -> Self {
        Self { link, observer, clock }
    }

    /// The observer, for instance to ask it for its [failure](Observer::take_error).
    pub const fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// The link below; what is sent on it directly is not observed.
    pub const fn inner_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// Takes link and observer apart again.
    pub fn into_parts(self) -> (L, O) {
        (self.link, self.observer)
    }
}

impl<L: CardLink, O: Observer, C: Clock> CardLink for Recorder<L, O, C> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        let start = self.clock.now();
        let outcome = self.link.transmit(command, response);
        let end = self.clock.now();
        self.observer.exchange(&Exchange {
            start,
            end,
            command,
            result: outcome.as_ref().map(|()| response.as_slice()),
        });
        outcome
    }

    fn limits(&self) -> Limits {
        self.link.limits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkErrorKind, ManualClock, Scripted};

    type Seen = (u128, u128, Vec<u8>, Result<Vec<u8>, LinkErrorKind>);

    #[derive(Default)]
    struct Notebook {
        seen: Vec<Seen>,
        full: bool,
    }

    impl Observer for Notebook {
        fn exchange(&mut self, exchange: &Exchange<'_>) {
            self.seen.push((
                exchange.start.as_millis(),
                exchange.end.as_millis(),
                exchange.command.to_vec(),
                exchange.result.map(<[u8]>::to_vec).map_err(|e| e.kind),
            ));
        }

        fn take_error(&mut self) -> Option<Box<dyn Error + Send + Sync>> {
            std::mem::take(&mut self.full).then(|| "disk full".into())
        }
    }

    #[test]
    fn failed_exchanges_are_observed_too_and_the_error_goes_on_unchanged() {
        let clock = Arc::new(ManualClock::new());
        let card = Scripted::new()
            .on(clock.clone())
            .answer([0x90, 0x00])
            .taking(Duration::from_millis(5))
            .fail(LinkErrorKind::CardGone)
            .taking(Duration::from_millis(2));
        let mut link = Recorder::with_clock(card, Notebook::default(), clock);
        let mut response = Vec::new();
        link.transmit(&[1], &mut response).unwrap();
        let error = link.transmit(&[2], &mut response).unwrap_err();
        assert_eq!((error.kind, error.layer), (LinkErrorKind::CardGone, "script"));
        assert_eq!(
            link.observer_mut().seen,
            [(0, 5, vec![1], Ok(vec![0x90, 0x00])), (5, 7, vec![2], Err(LinkErrorKind::CardGone)),]
        );
    }

    #[test]
    fn an_observers_failure_is_kept_and_the_exchange_stands() {
        let notebook = Notebook {
            full: true,
            ..Notebook::default()
        };
        let observer: Option<Box<dyn Observer>> = Some(Box::new(notebook));
        let card = Scripted::new().answer([0x90, 0x00]);
        let mut link = Recorder::new(card, observer, Instant::now());
        let mut response = Vec::new();
        link.transmit(&[1], &mut response).unwrap();
        assert_eq!(response, [0x90, 0x00]);
        let error = link.observer_mut().take_error().unwrap();
        assert_eq!(error.to_string(), "disk full");
        assert!(link.observer_mut().take_error().is_none());
    }

    #[test]
    fn two_links_share_one_observer() {
        let notebook = Arc::new(Mutex::new(Notebook::default()));
        let epoch = Instant::now();
        for byte in [1, 2] {
            let card = Scripted::new().answer([0x90, 0x00]);
            let mut link = Recorder::new(card, notebook.clone(), epoch);
            link.transmit(&[byte], &mut Vec::new()).unwrap();
        }
        let seen = &notebook.lock().unwrap().seen;
        assert_eq!(seen.iter().map(|s| s.2[0]).collect::<Vec<_>>(), [1, 2]);
    }
}
