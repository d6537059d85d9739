//! The download measured: where the time of one goes, and many at once.
//!
//! The server is a process of its own (this program again), so that its memory can be read. Locks, phones and agents are the real ones, all in this
//! process; every download is one whole tap that ends with the door open.

mod chip;
mod crowd;
mod phone;
mod server;
mod site;
mod store;
mod trip;

use std::path::Path;
use std::time::Duration;

pub use self::crowd::{Crowd, CrowdCost};
pub use self::trip::Trip;

use super::BenchError;

/// Milliseconds, for a report.
fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// `count` taps with a download on a quiet site, one after the other: the one of median time, and where its time went.
///
/// # Errors
/// [`BenchError`]; a tap that does not open is one.
pub fn trip(program: &Path, folder: &Path, count: u32) -> Result<Trip, BenchError> {
    trip::measure(program, folder, count)
}

/// Many phones and locks at once.
///
/// # Errors
/// [`BenchError`]; a download that is lost or done twice is one.
pub fn crowd(program: &Path, folder: &Path, crowd: Crowd, round: &mut dyn FnMut(u32, Duration)) -> Result<CrowdCost, BenchError> {
    crowd::measure(program, folder, crowd, round)
}
