//! When the server may change the lock's own chip: its applications and its list.
//!
//! A lock that opens for phones it knows needs no server, and opens no connection. So by default the server is asked only when a phone lacks its
//! application, and what waits for the lock comes along. A lock that shall be changed at other times keeps a connection, always or inside a
//! window. Whatever comes, comes between taps: a tap that is under way has the chip for itself.

use std::str::FromStr;
use std::time::Duration;

use tapdoor_agent::{Agent, AgentError, AgentEvent, Server, WiredChip};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::globalplatform::remote_admin::AdminFrom;
use tapdoor_protocol::ids::LockId;

use crate::own_chip::SharedChip;

const DAY: u32 = 24 * 60;

/// When there is a connection to the server besides downloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updates {
    /// Never.
    OnRequest,
    /// Always: what the server pushes comes at once.
    Always,
    /// Every day from one minute to another (UTC, counted from midnight), over midnight too.
    Window {
        /// The first minute.
        from: u32,
        /// The minute after the last.
        to: u32,
    },
}

impl Updates {
    /// How long from the given second of the day (UTC) until there is to be a connection, and how long it lasts then. `None`: there is none.
    #[must_use]
    pub fn next(self, second: u32) -> Option<(Duration, Duration)> {
        let day = DAY * 60;
        match self {
            Self::OnRequest => None,
            Self::Always => Some((Duration::ZERO, Duration::MAX)),
            Self::Window { from, to } => {
                let length = (to * 60 + day - from * 60) % day;
                let since = (second % day + day - from * 60) % day;
                let seconds = |s: u32| Duration::from_secs(u64::from(s));
                Some(if since < length {
                    (Duration::ZERO, seconds(length - since))
                } else {
                    (seconds(day - since), seconds(length))
                })
            }
        }
    }
}

/// Neither a word nor a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be \"on-request\", \"always\" or a time of the day (UTC) such as \"02:00-04:30\"")]
pub struct UpdatesError;

impl FromStr for Updates {
    type Err = UpdatesError;

    fn from_str(text: &str) -> Result<Self, UpdatesError> {
        let minute = |text: &str| {
            let (hours, minutes) = text.split_once(':')?;
            let number = |text: &str, most| {
                (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()))
                    .then(|| text.parse::<u32>().ok())?
                    .filter(|n| *n < most)
            };
            Some(number(hours, 24)? * 60 + number(minutes, 60)?)
        };
        match text {
            "on-request" => Ok(Self::OnRequest),
            "always" => Ok(Self::Always),
            _ => {
                let (from, to) = text.split_once('-').ok_or(UpdatesError)?;
                match (minute(from), minute(to)) {
                    (Some(from), Some(to)) if from != to => Ok(Self::Window { from, to }),
                    _ => Err(UpdatesError),
                }
            }
        }
    }
}

/// The lock's agent between taps.
pub struct Administration {
    server: Server,
    lock: LockId,
    chip: SharedChip,
    updates: Updates,
}

impl Administration {
    pub(crate) fn new(server: Server, lock: LockId, chip: SharedChip, updates: Updates) -> Self {
        Self {
            server,
            lock,
            chip,
            updates,
        }
    }

    /// Serves until `stop`, in the times that are set. Blocks.
    ///
    /// # Errors
    /// [`AgentError`]: what will not pass.
    pub fn run(&self, stop: &Stop, observe: &(dyn Fn(&AgentEvent) + Sync)) -> Result<(), AgentError> {
        let agent = Agent::new(self.server.clone(), AdminFrom::Lock(self.lock), BetweenTaps(self.chip.clone()));
        while let Some((wait, length)) = self.updates.next(second_of_day()) {
            if stop.sleep(wait) {
                break;
            }
            let closing = Stop::new();
            let (end, timer) = (closing.clone(), closing.clone());
            let _end = stop.on_stop(move || end.stop());
            // A window that closes ends the wait for the server, not a script that runs: that one stops at a command, and is begun again.
            let watch = (length != Duration::MAX).then(|| {
                std::thread::Builder::new().name("window".to_owned()).spawn(move || {
                    if !timer.sleep(length) {
                        timer.stop();
                    }
                })
            });
            let outcome = agent.run(&closing, observe);
            closing.stop();
            drop(watch);
            outcome?;
            if stop.is_stopped() {
                break;
            }
        }
        Ok(())
    }
}

/// The lock's chip for its agent: each command waits until no tap is under way.
struct BetweenTaps(SharedChip);

impl WiredChip for BetweenTaps {
    fn reset(&self) {
        self.0.between_taps(|chip| chip.reset_wired());
    }

    fn process(&self, command: &[u8], response: &mut Vec<u8>) {
        self.0.between_taps(|chip| chip.process_wired(command, response));
    }

    fn proof(&self, challenge: &[u8; 16], id: &[u8; 8]) -> Option<[u8; 16]> {
        self.0.lock().agent_proof(challenge, id)
    }
}

fn second_of_day() -> u32 {
    crate::lock::now() % (DAY * 60)
}

/// The chip of a lock that waits for a download: its tap is under way, and is what waits.
pub(crate) struct DuringTap(pub(crate) SharedChip);

impl WiredChip for DuringTap {
    fn reset(&self) {
        self.0.lock().reset_wired();
    }

    fn process(&self, command: &[u8], response: &mut Vec<u8>) {
        self.0.lock().process_wired(command, response);
    }

    fn proof(&self, challenge: &[u8; 16], id: &[u8; 8]) -> Option<[u8; 16]> {
        self.0.lock().agent_proof(challenge, id)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn windows() {
        let seconds = |s| Duration::from_secs(s);
        let night: Updates = "02:00-04:30".parse().unwrap();
        assert_eq!(night.next(0), Some((seconds(7200), seconds(9000))));
        assert_eq!(night.next(3 * 3600), Some((seconds(0), seconds(5400))));
        assert_eq!(night.next(4 * 3600 + 1800), Some((seconds(86_400 - 9000), seconds(9000))));
        let over_midnight: Updates = "23:00-01:00".parse().unwrap();
        assert_eq!(over_midnight.next(0), Some((seconds(0), seconds(3600))));
        assert_eq!(over_midnight.next(22 * 3600), Some((seconds(3600), seconds(7200))));
        assert_eq!("always".parse::<Updates>().unwrap().next(5), Some((Duration::ZERO, Duration::MAX)));
        assert_eq!("on-request".parse::<Updates>().unwrap().next(5), None);
        for bad in [
            "",
            "02:00",
            "2:00-04:00",
            "24:00-01:00",
            "02:60-03:00",
            "02:00-02:00",
            "never",
            "-",
            "+1:00-02:00",
        ] {
            assert_eq!(bad.parse::<Updates>(), Err(UpdatesError), "{bad}");
        }
    }
}
