//! An agent: sessions without end, each after the loss of the last, with growing pauses.

use std::sync::Arc;
use std::time::Duration;

use tapdoor_link::stop::{Backoff, Stop};
use tapdoor_protocol::globalplatform::remote_admin::{AdminFrom, ScriptStatus};
use tokio::sync::Notify;

use crate::admin;
use crate::chip::WiredChip;
use crate::error::AgentError;
use crate::server::Server;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What happens to an agent, for the log of its host.
#[derive(Debug)]
#[non_exhaustive]
pub enum AgentEvent {
    /// The server knows whose agent this is.
    Connected,
    /// A script was run on the chip.
    Ran {
        /// Commands of it.
        commands: usize,
        /// How it went as a whole.
        status: ScriptStatus,
    },
    /// The session was lost; tried again silently. Told once for a series of failures.
    Lost(AgentError),
}

/// An agent of one chip at one server.
pub struct Agent<C> {
    server: Server,
    from: AdminFrom,
    chip: C,
}

impl<C: WiredChip> Agent<C> {
    /// The agent of `chip`, which is `from`'s.
    pub const fn new(server: Server, from: AdminFrom, chip: C) -> Self {
        Self { server, from, chip }
    }

    /// Serves until `stop`. Blocks; what passes is outlasted.
    ///
    /// # Errors
    /// What will not pass: a refused proof, a chip without a key.
    pub fn run(&self, stop: &Stop, observe: &(dyn Fn(&AgentEvent) + Sync)) -> Result<(), AgentError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let told = std::sync::atomic::AtomicBool::new(false);
        loop {
            let connected = std::sync::atomic::AtomicBool::new(false);
            let outcome = until_stopped(stop, async {
                let observe = |event: &AgentEvent| {
                    if matches!(event, AgentEvent::Connected) {
                        connected.store(true, std::sync::atomic::Ordering::Relaxed);
                        told.store(false, std::sync::atomic::Ordering::Relaxed);
                    }
                    observe(event);
                };
                admin::session(&self.server, self.from, &self.chip, &observe).await
            });
            match outcome {
                Err(AgentError::Stopped) => return Ok(()),
                Err(error) if error.is_passing() => {
                    if connected.into_inner() {
                        backoff.reset();
                    }
                    if !told.swap(true, std::sync::atomic::Ordering::Relaxed) {
                        observe(&AgentEvent::Lost(error));
                    }
                    if backoff.pause(stop) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Runs `work` on this thread; `stop` ends it at once.
pub(crate) fn until_stopped<T>(stop: &Stop, work: impl Future<Output = Result<T, AgentError>>) -> Result<T, AgentError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| AgentError::Start(e.to_string()))?;
    let stopped = Arc::new(Notify::new());
    let waker = Arc::clone(&stopped);
    let _wake = stop.on_stop(move || waker.notify_one());
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = stopped.notified() => Err(AgentError::Stopped),
            outcome = work => outcome,
        }
    })
}
