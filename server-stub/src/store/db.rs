//! One thread, one store, many callers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Result, Store, StoreError};

type Reply = Box<dyn FnOnce(Result<()>) + Send>;
/// Does the work; tells whether it is to be kept, and how to answer once that is settled.
type Work = Box<dyn FnOnce(&mut dyn Store) -> (bool, Reply) + Send>;

/// Most closures that share a commit.
const TOGETHER: usize = 64;

/// A store on its own thread. Clones share it; the thread ends with the last of them.
#[derive(Clone)]
pub struct Db {
    sender: mpsc::SyncSender<Work>,
    transactions: Arc<Transactions>,
}

/// What the store's thread has done so far.
#[derive(Debug, Default)]
struct Transactions {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Db")
    }
}

impl Db {
    /// Gives a store its thread.
    ///
    /// # Errors
    /// [`StoreError::Database`] if no thread can be had.
    pub fn start(mut store: Box<dyn Store>) -> Result<Self> {
        let (sender, receiver) = mpsc::sync_channel::<Work>(4096);
        let transactions = Arc::<Transactions>::default();
        let done = transactions.clone();
        thread::Builder::new()
            .name("tapdoor-store".into())
            .spawn(move || {
                while let Ok(first) = receiver.recv() {
                    let batch = std::iter::once(first).chain(receiver.try_iter().take(TOGETHER - 1)).collect();
                    let begun = Instant::now();
                    run(store.as_mut(), batch);
                    let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    done.nanoseconds.fetch_add(took, Ordering::Relaxed);
                    done.count.fetch_add(1, Ordering::Relaxed);
                }
            })
            .map_err(|e| StoreError::Database {
                what: "start its thread".into(),
                detail: e.to_string(),
            })?;
        Ok(Self { sender, transactions })
    }

    /// Transactions so far, and how long they took together, their work and their way to the disk included.
    #[must_use]
    pub fn transactions(&self) -> (u64, Duration) {
        let Transactions { count, nanoseconds } = &*self.transactions;
        (
            count.load(Ordering::Relaxed),
            Duration::from_nanos(nanoseconds.load(Ordering::Relaxed)),
        )
    }

    /// Runs a closure as one transaction: kept and durable when this returns `Ok`, without any effect when it returns `Err`.
    ///
    /// Once begun it is carried out even if the caller stops waiting.
    ///
    /// # Errors
    /// The closure's own, or the store's.
    pub async fn call<T: Send + 'static>(&self, f: impl FnOnce(&mut dyn Store) -> Result<T> + Send + 'static) -> Result<T> {
        let (answer, receiver) = oneshot::channel();
        // The queue holds far more than there are connections, so this never blocks in practice; if it is full, the store is stuck.
        self.sender.try_send(work(f, answer)).map_err(|_| StoreError::Closed)?;
        receiver.await.map_err(|_| StoreError::Closed)?
    }

    /// The same for callers without a runtime.
    ///
    /// # Errors
    /// As [`Db::call`].
    pub fn call_blocking<T: Send + 'static>(&self, f: impl FnOnce(&mut dyn Store) -> Result<T> + Send + 'static) -> Result<T> {
        let (answer, receiver) = oneshot::channel();
        self.sender.send(work(f, answer)).map_err(|_| StoreError::Closed)?;
        receiver.blocking_recv().map_err(|_| StoreError::Closed)?
    }
}

fn work<T: Send + 'static>(f: impl FnOnce(&mut dyn Store) -> Result<T> + Send + 'static, answer: oneshot::Sender<Result<T>>) -> Work {
    Box::new(move |store| {
        let result = f(store);
        let keep = result.is_ok();
        let reply: Reply = Box::new(move |settled| {
            // A caller that has gone needs no answer.
            let _ = answer.send(settled.and(result));
        });
        (keep, reply)
    })
}

fn run(store: &mut dyn Store, batch: Vec<Work>) {
    let begun = store.begin();
    let mut replies = Vec::with_capacity(batch.len());
    for work in batch {
        let marked = begun.clone().and_then(|()| store.mark());
        let (keep, reply) = match marked {
            Ok(()) => work(store),
            // Without a transaction nothing may run; dropping the closure answers its caller.
            Err(_) => continue,
        };
        match store.settle(keep) {
            Ok(()) => replies.push((reply, Ok(()))),
            Err(error) => replies.push((reply, Err(error))),
        }
    }
    let committed = begun.and_then(|()| store.commit());
    for (reply, settled) in replies {
        reply(committed.clone().and(settled));
    }
}
