//! A card on a thread of its own: commands go there, and the answer is waited for as long as the radio allows.
//!
//! Two hand-overs between threads cost more than most answers take. So what the card can answer at once is answered here, on the radio's
//! thread, as long as nothing else is under way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::serve::Card;

enum Work {
    PowerOn,
    PowerOff,
    Command(u64, Vec<u8>),
}

struct Done {
    number: u64,
    response: Vec<u8>,
    leaving: bool,
}

/// What both threads see.
struct Shared {
    card: Mutex<Box<dyn Card>>,
    /// Orders that are not done yet.
    orders: AtomicUsize,
}

/// What came of a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered {
    /// The response; empty when the card left. Then whether it leaves behind its answer.
    Response(Vec<u8>, bool),
    /// It still works.
    NotYet,
}

/// Hands work to a card on another thread. Dropping it ends the thread when the card has finished.
pub struct Worker {
    shared: Arc<Shared>,
    work: Sender<Work>,
    done: Receiver<Done>,
    number: u64,
}

impl Worker {
    /// Starts the thread.
    pub fn start<C: Card + 'static>(card: C) -> Self {
        let (work, orders) = channel();
        let (results, done) = channel();
        let shared = Arc::new(Shared {
            card: Mutex::new(Box::new(card)),
            orders: AtomicUsize::new(0),
        });
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            let card = || theirs.card.lock().unwrap_or_else(PoisonError::into_inner);
            while let Ok(order) = orders.recv() {
                let mut result = None;
                match order {
                    Work::PowerOn => card().power_on(),
                    Work::PowerOff => card().power_off(),
                    Work::Command(number, command) => {
                        let (mut card, mut response) = (card(), Vec::new());
                        card.process(&command, &mut response);
                        let leaving = card.is_leaving();
                        result = Some(Done { number, response, leaving });
                    }
                }
                // Before the result: who has got that may use the card.
                theirs.orders.fetch_sub(1, Ordering::Release);
                if result.is_some_and(|result| results.send(result).is_err()) {
                    break;
                }
            }
            card().power_off();
        });
        Self {
            shared,
            work,
            done,
            number: 0,
        }
    }

    fn order(&mut self, work: Work) {
        self.shared.orders.fetch_add(1, Ordering::Relaxed);
        let _ = self.work.send(work);
    }

    /// Power comes or goes.
    pub fn power(&mut self, on: bool) {
        // An answer that is still to come belongs to a session that is over.
        self.number += 1;
        self.order(if on { Work::PowerOn } else { Work::PowerOff });
    }

    /// Has the card answer on this thread, if it can at once; then says whether it leaves behind its answer. Otherwise nothing was done.
    pub fn at_once(&mut self, command: &[u8], response: &mut Vec<u8>) -> Option<bool> {
        if self.shared.orders.load(Ordering::Acquire) > 0 {
            return None;
        }
        let mut card = self.shared.card.try_lock().ok()?;
        card.try_process(command, response).then(|| card.is_leaving())
    }

    /// Hands over a command; [`Worker::answer`] follows.
    pub fn command(&mut self, command: &[u8]) {
        self.number += 1;
        self.order(Work::Command(self.number, command.to_vec()));
    }

    /// Waits for the answer to the last command.
    pub fn answer(&mut self, time: Duration) -> Answered {
        loop {
            match self.done.recv_timeout(time) {
                Ok(done) if done.number == self.number => return Answered::Response(done.response, done.leaving),
                // Of a session that is over.
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Answered::NotYet,
                Err(RecvTimeoutError::Disconnected) => return Answered::Response(Vec::new(), true),
            }
        }
    }
}
