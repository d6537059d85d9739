//! A chip's memory, timed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tapdoor_chip::store::{Change, Content, StoreError};
use tapdoor_chip::{Personalisation, Store};
use tapdoor_protocol::aid::Aid;

/// Time spent, added up by whoever spends it, in nanoseconds.
#[derive(Clone, Default)]
pub(super) struct Spent(Arc<AtomicU64>);

impl Spent {
    /// Adds what `f` takes.
    pub fn on<T>(&self, f: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let out = f();
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(took, Ordering::Relaxed);
        out
    }

    /// How long so far.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// A store whose durable writes are timed.
pub(super) struct Timed<S> {
    pub store: S,
    pub writes: Spent,
}

impl<S: Store> Store for Timed<S> {
    fn personalisation(&mut self) -> Result<Personalisation, StoreError> {
        self.store.personalisation()
    }

    fn content(&mut self) -> Result<Content, StoreError> {
        self.store.content()
    }

    fn personalise(&mut self, personalisation: &Personalisation) -> Result<(), StoreError> {
        self.store.personalise(personalisation)
    }

    fn number(&mut self) -> Result<[u8; 8], StoreError> {
        self.store.number()
    }

    fn record(&mut self, aid: &Aid, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.record(aid, name)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let store = &mut self.store;
        self.writes.on(|| store.commit(changes))
    }
}
