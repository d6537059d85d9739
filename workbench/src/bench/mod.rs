//! Measurements: `tapdoor bench`. Peers and limits are measured in the same run and compared as ratios.

pub mod aliro;
mod bare_pcsc;
pub mod decode;
pub mod download;
pub mod link;
pub mod tap;
pub mod tape;

use std::time::Duration;

/// CPU time of this thread so far; `None` where the system does not tell.
#[must_use]
pub fn thread_cpu() -> Option<Duration> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).ok()?;
        let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
        Some(Duration::new(seconds, nanoseconds))
    }
    #[cfg(not(unix))]
    None
}

/// The middle of a few values; the upper one of two middles. 0 for none.
#[must_use]
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Why a measurement cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A chip.
    #[error(transparent)]
    Chip(#[from] tapdoor_chip::ChipError),
    /// The reader.
    #[error(transparent)]
    Source(#[from] tapdoor_reader::SourceError),
    /// The card in it.
    #[error(transparent)]
    Link(#[from] tapdoor_link::LinkError),
    /// The bare loop.
    #[error("bare SCardTransmit loop: {call} failed with {code:#010x}")]
    Bare {
        /// Which function.
        call: &'static str,
        /// What it returned.
        code: u32,
    },
    /// The field.
    #[error(transparent)]
    Field(#[from] tapdoor_link::FieldError),
    /// A tap did not open, so its time says nothing.
    #[error("a tap that is measured did not open: {0}")]
    Tap(String),
    /// The site.
    #[error(transparent)]
    Init(#[from] crate::init::InitError),
    /// The way to the server.
    #[error(transparent)]
    Agent(#[from] tapdoor_agent::AgentError),
    /// The server's administration.
    #[error("the server that is measured: {0}")]
    Api(#[from] crate::api::ApiError),
    /// The server process, or what it did.
    #[error("the server that is measured: {0}")]
    Server(String),
    /// The tape.
    #[error(transparent)]
    Tape(#[from] tapdoor_captures::CreateError),
    /// A capture that cannot be written or decoded.
    #[error("decoding: {0}")]
    Decode(String),
    /// Configuration.
    #[error(transparent)]
    Config(#[from] tapdoor_config::ConfigError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] tapdoor_protocol::vault::VaultError),
    /// The temporary folder.
    #[error("temporary folder: {0}")]
    Io(#[from] std::io::Error),
}
