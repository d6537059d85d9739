//! How long the answers to SELECT took.

use std::time::Duration;

use serde::Serialize;
use tapdoor_link::LinkError;

use super::{Finding, Probe, ms};

/// How long the answers took, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Times {
    /// How many answers there were.
    pub answers: usize,
    /// The first, with the card's waking up in it.
    pub first_ms: f64,
    /// The shortest.
    pub min_ms: f64,
    /// Half of them were faster.
    pub p50_ms: f64,
    /// 95 of a hundred were faster.
    pub p95_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Times {
    /// The sum of `times`, in the order in which they were taken; `None` if there are none.
    #[must_use]
    pub fn of(times: &[Duration]) -> Option<Self> {
        let first = times.first()?;
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let at = |percent: usize| sorted.get((sorted.len() - 1) * percent / 100).map_or(0.0, |time| ms(*time));
        Some(Self {
            answers: times.len(),
            first_ms: ms(*first),
            min_ms: at(0),
            p50_ms: at(50),
            p95_ms: at(95),
            max_ms: at(100),
        })
    }
}

pub(super) fn check(probe: &mut Probe<'_>) -> Result<(), LinkError> {
    if let Some(times) = Times::of(&probe.times) {
        probe.tell(Finding::Times(times));
    }
    Ok(())
}
