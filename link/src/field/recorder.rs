//! [`FieldRecorder`]: tells a [`FieldObserver`] of every frame, and of the field.

use std::sync::{Arc, Mutex, PoisonError};

use tapdoor_protocol::rf::frame::{Expect, Frame, RfError, RxFrame};
use tapdoor_protocol::rf::time::Ticks;

use super::{Abilities, FieldError, FieldLink};

/// What happened in the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldEvent<'a> {
    /// It was switched.
    Field {
        /// On or off.
        on: bool,
        /// When, by the link's clock.
        at: Ticks,
    },
    /// The reader sent a frame.
    Sent {
        /// The frame.
        frame: Frame<'a>,
        /// When its first bit went out.
        at: Ticks,
    },
    /// A frame was received.
    Received {
        /// The frame, or what there is of it.
        frame: Frame<'a>,
        /// When its first bit came in.
        at: Ticks,
        /// What is wrong with it.
        error: Option<RfError>,
    },
    /// Nothing was received in time.
    Silence {
        /// When the reader gave up.
        at: Ticks,
    },
}

/// Somebody who is told of every frame.
pub trait FieldObserver {
    /// Told in the order of the air, each command when its answer is in.
    fn happened(&mut self, event: &FieldEvent<'_>);
}

impl<O: FieldObserver + ?Sized> FieldObserver for &mut O {
    fn happened(&mut self, event: &FieldEvent<'_>) {
        (**self).happened(event);
    }
}

impl<O: FieldObserver + ?Sized> FieldObserver for Box<O> {
    fn happened(&mut self, event: &FieldEvent<'_>) {
        (**self).happened(event);
    }
}

/// Nobody, or somebody.
impl<O: FieldObserver> FieldObserver for Option<O> {
    fn happened(&mut self, event: &FieldEvent<'_>) {
        if let Some(observer) = self {
            observer.happened(event);
        }
    }
}

/// Shared: several links onto one tape.
impl<O: FieldObserver + ?Sized> FieldObserver for Arc<Mutex<O>> {
    fn happened(&mut self, event: &FieldEvent<'_>) {
        self.lock().unwrap_or_else(PoisonError::into_inner).happened(event);
    }
}

/// A field link whose frames an observer is told of.
#[derive(Debug)]
pub struct FieldRecorder<L, O> {
    link: L,
    observer: O,
}

impl<L, O> FieldRecorder<L, O> {
    /// Tells `observer` of every frame on `link`.
    pub const fn new(link: L, observer: O) -> Self {
        Self { link, observer }
    }

    /// The link below; what is sent on it directly is not observed.
    pub const fn inner_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// The observer.
    pub const fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// Takes link and observer apart again.
    pub fn into_parts(self) -> (L, O) {
        (self.link, self.observer)
    }
}

impl<L: FieldLink, O: FieldObserver> FieldLink for FieldRecorder<L, O> {
    fn exchange(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame) -> Result<(), FieldError> {
        let start = self.link.now();
        (rx.sent_at, rx.at) = (start, start);
        let outcome = self.link.exchange(tx, expect, rx);
        let sent = outcome.as_ref().err().is_none_or(|error| error.as_rf().is_some());
        if !sent {
            return outcome;
        }
        let at = rx.sent_at.max(start);
        self.observer.happened(&FieldEvent::Sent { frame: *tx, at });
        let error = outcome.as_ref().err().and_then(FieldError::as_rf);
        self.observer.happened(&match error {
            Some(RfError::Timeout) => FieldEvent::Silence { at: self.link.now() },
            _ => FieldEvent::Received {
                frame: rx.frame(),
                at: rx.at.max(at),
                error,
            },
        });
        outcome
    }

    fn send(&mut self, tx: &Frame<'_>) -> Result<(), FieldError> {
        let outcome = self.link.send(tx);
        if outcome.is_ok() {
            // The clock stands at the end of the frame.
            let at = self.link.now() - tx.air_time();
            self.observer.happened(&FieldEvent::Sent { frame: *tx, at });
        }
        outcome
    }

    fn set_field(&mut self, on: bool) -> Result<(), FieldError> {
        self.link.set_field(on)?;
        let at = self.link.now();
        self.observer.happened(&FieldEvent::Field { on, at });
        Ok(())
    }

    fn pause(&mut self, time: Ticks) {
        self.link.pause(time);
    }

    fn now(&self) -> Ticks {
        self.link.now()
    }

    fn abilities(&self) -> Abilities {
        self.link.abilities()
    }
}
