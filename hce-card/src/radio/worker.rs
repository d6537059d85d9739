//! A card on a thread of its own: commands go there, and the answer is waited for as long as the radio allows.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
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

/// What came of a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered {
    /// The response; empty when the card left. Then whether it leaves behind its answer.
    Response(Vec<u8>, bool),
    /// It still works.
    NotYet,
}

/// Hands work to a card on another thread. Dropping it ends the thread when the card has finished.
#[derive(Debug)]
pub struct Worker {
    work: Sender<Work>,
    done: Receiver<Done>,
    number: u64,
}

impl Worker {
    /// Starts the thread.
    pub fn start<C: Card + 'static>(mut card: C) -> Self {
        let (work, orders) = channel();
        let (results, done) = channel();
        thread::spawn(move || {
            while let Ok(order) = orders.recv() {
                match order {
                    Work::PowerOn => card.power_on(),
                    Work::PowerOff => card.power_off(),
                    Work::Command(number, command) => {
                        let mut response = Vec::new();
                        card.process(&command, &mut response);
                        let leaving = card.is_leaving();
                        let result = Done { number, response, leaving };
                        if results.send(result).is_err() {
                            break;
                        }
                    }
                }
            }
            card.power_off();
        });
        Self { work, done, number: 0 }
    }

    /// Power comes or goes.
    pub fn power(&mut self, on: bool) {
        // An answer that is still to come belongs to a session that is over.
        self.number += 1;
        let _ = self.work.send(if on { Work::PowerOn } else { Work::PowerOff });
    }

    /// Hands over a command; [`Worker::answer`] follows.
    pub fn command(&mut self, command: &[u8]) {
        self.number += 1;
        let _ = self.work.send(Work::Command(self.number, command.to_vec()));
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
