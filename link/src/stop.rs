//! [`Stop`]: ends blocking waits at once, from any thread.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

type Waker = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    stopped: bool,
    next: u64,
    wakers: Vec<(u64, Waker)>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

impl Inner {
    // A waker that panicked leaves a list of wakers that is still right.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request to stop, shared by everything that it concerns. It cannot be taken back.
///
/// A thread that blocks outside this type's sight (in `accept`, in `SCardGetStatusChange`) registers with
/// [`Stop::on_stop`] what ends that call.
#[derive(Clone, Default)]
pub struct Stop(Arc<Inner>);

impl Stop {
    /// Nobody has asked to stop yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything that holds a clone to stop, and wakes what is blocked. Asking again does nothing.
    pub fn stop(&self) {
        let wakers = {
            let mut state = self.0.lock();
            state.stopped = true;
            std::mem::take(&mut state.wakers)
        };
        self.0.changed.notify_all();
        // Outside the lock, so that a waker may drop guards and ask questions.
        for (_, wake) in wakers {
            wake();
        }
    }

    /// Whether somebody asked to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.lock().stopped
    }

    /// Has `wake` called by [`Stop::stop`], once, on the thread that stops; at once if that has happened already.
    ///
    /// The guard takes the registration back. A waker that is already under way then still runs to its end.
    #[must_use = "dropping the guard takes the waker away"]
    pub fn on_stop(&self, wake: impl Fn() + Send + Sync + 'static) -> StopGuard {
        let mut state = self.0.lock();
        if state.stopped {
            drop(state);
            wake();
            return StopGuard {
                stop: self.clone(),
                id: None,
            };
        }
        let id = state.next;
        state.next += 1;
        state.wakers.push((id, Arc::new(wake)));
        StopGuard {
            stop: self.clone(),
            id: Some(id),
        }
    }

    /// Sleeps for `time` or until somebody asks to stop; says whether somebody did.
    #[must_use]
    pub fn sleep(&self, time: Duration) -> bool {
        let Some(end) = Instant::now().checked_add(time) else {
            self.wait();
            return true;
        };
        let mut state = self.0.lock();
        while !state.stopped {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Blocks until somebody asks to stop.
    pub fn wait(&self) {
        let mut state = self.0.lock();
        while !state.stopped {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("stopped", &self.is_stopped()).finish_non_exhaustive()
    }
}

/// Keeps a waker registered with a [`Stop`].
#[derive(Debug)]
pub struct StopGuard {
    stop: Stop,
    id: Option<u64>,
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.stop.0.lock().wakers.retain(|(other, _)| *other != id);
        }
    }
}

/// Growing pauses between attempts at something of which no event tells: 50 ms, doubling up to 1 s.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(1))
    }
}

impl Backoff {
    /// Pauses from `first` up to `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// Sleeps for the next pause or until somebody asks to stop; says whether somebody did.
    #[must_use]
    pub fn pause(&mut self, stop: &Stop) -> bool {
        let time = self.next;
        self.next = (time * 2).min(self.most);
        stop.sleep(time)
    }

    /// Starts again with the shortest pause.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    #[test]
    fn wakers_run_once_and_can_be_taken_back() {
        let stop = Stop::new();
        let calls = Arc::new(AtomicU32::new(0));
        let count = |n: u32| {
            let calls = Arc::clone(&calls);
            move || {
                calls.fetch_add(n, Ordering::SeqCst);
            }
        };
        let kept = stop.on_stop(count(1));
        drop(stop.on_stop(count(10)));
        stop.stop();
        stop.stop();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        let late = stop.on_stop(count(100));
        assert_eq!(calls.load(Ordering::SeqCst), 101, "stopped already: called at once");
        drop((kept, late));
    }

    #[test]
    fn a_waker_may_use_the_handle() {
        let stop = Stop::new();
        let inner = stop.clone();
        let guard = stop.on_stop(move || assert!(inner.is_stopped()));
        stop.stop();
        drop(guard);
    }

    #[test]
    fn sleep_ends_at_once() {
        let stop = Stop::new();
        assert!(!stop.sleep(Duration::from_millis(1)));
        let begun = Instant::now();
        let sleeper = thread::spawn({
            let stop = stop.clone();
            move || stop.sleep(Duration::from_secs(30))
        });
        stop.stop();
        assert!(sleeper.join().unwrap());
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(stop.sleep(Duration::MAX));
    }
}
