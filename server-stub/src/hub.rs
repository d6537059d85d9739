//! Who waits for what, in memory: agents for jobs, downloads for the end of jobs. Nothing here outlives the process, and nothing asks the
//! database again and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tapdoor_protocol::ids::LockId;
use tokio::sync::{Notify, watch};

use crate::registry::{ChipRef, Job, JobId, JobState};

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// Its state.
    pub state: JobState,
    /// Commands that the chip answered with 9000.
    pub done: usize,
    /// Commands in all; 0 until the plan is made.
    pub total: usize,
    /// Why it failed.
    pub code: Option<String>,
    /// The same for people.
    pub message: Option<String>,
}

impl From<&Job> for JobView {
    fn from(job: &Job) -> Self {
        Self {
            state: job.state,
            done: 0,
            total: 0,
            code: job.code.clone(),
            message: job.message.clone(),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    chips: HashMap<ChipRef, Arc<Notify>>,
    jobs: HashMap<JobId, watch::Sender<JobView>>,
    present: HashMap<ChipRef, usize>,
    busy: HashMap<LockId, usize>,
}

/// The meeting point.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    inner: Arc<Mutex<Inner>>,
}

impl Hub {
    /// Never held across an await.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is rung when a job comes for a chip. A ring that nobody heard is kept for the next listener.
    #[must_use]
    pub fn bell(&self, chip: ChipRef) -> Arc<Notify> {
        self.inner().chips.entry(chip).or_default().clone()
    }

    /// A job came for a chip, or may run now.
    pub fn ring(&self, chip: ChipRef) {
        self.bell(chip).notify_one();
    }

    /// Watches a job. Ask the store for its state afterwards: what happened before is not told here.
    #[must_use]
    pub fn watch(&self, job: JobId) -> Watch {
        let mut inner = self.inner();
        let sender = inner.jobs.entry(job).or_insert_with(|| {
            watch::Sender::new(JobView {
                state: JobState::Queued,
                done: 0,
                total: 0,
                code: None,
                message: None,
            })
        });
        Watch {
            job,
            receiver: sender.subscribe(),
            hub: self.clone(),
        }
    }

    /// Tells those who watch a job.
    pub fn tell(&self, job: JobId, view: JobView) {
        if let Some(sender) = self.inner().jobs.get(&job) {
            sender.send_replace(view);
        }
    }

    /// An agent's request is open, or its chip is at work, until the guard is dropped.
    #[must_use]
    pub fn present(&self, chip: ChipRef) -> Present {
        *self.inner().present.entry(chip).or_default() += 1;
        Present { chip, hub: self.clone() }
    }

    /// Whether a chip's agent is there.
    #[must_use]
    pub fn is_present(&self, chip: ChipRef) -> bool {
        self.inner().present.contains_key(&chip)
    }

    /// How many phones' and locks' agents are there.
    #[must_use]
    pub fn agents(&self) -> (usize, usize) {
        let inner = self.inner();
        let phones = inner.present.keys().filter(|chip| matches!(chip, ChipRef::Phone(_))).count();
        (phones, inner.present.len() - phones)
    }

    /// A tap waits at this lock until the guard is dropped.
    #[must_use]
    pub fn busy(&self, lock: LockId) -> Busy {
        *self.inner().busy.entry(lock).or_default() += 1;
        Busy { lock, hub: self.clone() }
    }

    /// Whether a tap waits at the lock.
    #[must_use]
    pub fn is_busy(&self, chip: ChipRef) -> bool {
        matches!(chip, ChipRef::Lock(lock) if self.inner().busy.contains_key(&lock))
    }
}

/// Takes one off a count, and the entry away with the last.
fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let std::collections::hash_map::Entry::Occupied(mut entry) = counts.entry(key) {
        if *entry.get() <= 1 {
            entry.remove();
        } else {
            *entry.get_mut() -= 1;
        }
    }
}

/// See [`Hub::present`].
#[derive(Debug)]
pub struct Present {
    chip: ChipRef,
    hub: Hub,
}

impl Drop for Present {
    fn drop(&mut self) {
        less(&mut self.hub.inner().present, self.chip);
    }
}

/// See [`Hub::busy`].
#[derive(Debug)]
pub struct Busy {
    lock: LockId,
    hub: Hub,
}

impl Drop for Busy {
    fn drop(&mut self) {
        less(&mut self.hub.inner().busy, self.lock);
        // What had to wait for the tap may run now.
        self.hub.ring(ChipRef::Lock(self.lock));
    }
}

/// See [`Hub::watch`].
#[derive(Debug)]
pub struct Watch {
    job: JobId,
    /// The job as it goes on.
    pub receiver: watch::Receiver<JobView>,
    hub: Hub,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = self.hub.inner();
        // This receiver is still counted.
        if inner.jobs.get(&self.job).is_some_and(|sender| sender.receiver_count() <= 1) {
            inner.jobs.remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapdoor_protocol::ids::PhoneId;

    #[test]
    fn nothing_is_left_behind() {
        let hub = Hub::default();
        let (a, b) = (hub.watch(1), hub.watch(1));
        drop(a);
        assert_eq!(hub.inner().jobs.len(), 1);
        drop(b);
        assert!(hub.inner().jobs.is_empty());
        let chip = ChipRef::Phone(PhoneId([1; 8]));
        let (a, b) = (hub.present(chip), hub.present(chip));
        drop(a);
        assert!(hub.is_present(chip));
        assert_eq!(hub.agents(), (1, 0));
        drop(b);
        assert!(!hub.is_present(chip));
        let lock = LockId([2; 8]);
        let busy = hub.busy(lock);
        assert!(hub.is_busy(ChipRef::Lock(lock)) && !hub.is_busy(chip));
        drop(busy);
        assert!(!hub.is_busy(ChipRef::Lock(lock)));
    }
}
