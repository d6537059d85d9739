//! Jobs: what is to be done on a chip, and where it stands.

use serde::{Deserialize, Serialize};
use tapdoor_protocol::ids::LockId;

use super::ChipRef;

/// The number of a job.
pub type JobId = i64;

/// What a job does to its chip. Written down without keys: those are derived when it runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum JobKind {
    /// Have this version of this application on the chip.
    Install {
        /// Its name.
        application: String,
        /// As `1.0`.
        version: String,
    },
    /// Bring the lock's list entry of a phone up to date: put it there while a grant is good, take it away otherwise.
    Entry {
        /// Which phone, 16 hexadecimal digits.
        phone: String,
    },
    /// Replace the lock's whole list by what is granted.
    List {},
    /// Take a load file and its instances off the chip.
    Delete {
        /// Its AID.
        elf: String,
    },
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum JobState {
    /// To be done.
    Queued = 0,
    /// Handed to an agent.
    Running = 1,
    /// Done.
    Done = 2,
    /// Given up.
    Failed = 3,
}

impl JobState {
    /// The state of this number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Done, Self::Failed]
            .into_iter()
            .find(|state| *state as u8 == number)
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Done or given up.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// A job to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// On which chip.
    pub chip: ChipRef,
    /// What.
    pub kind: JobKind,
    /// A lock waits for it with a phone on it.
    pub urgent: bool,
    /// Only in the lock's maintenance window.
    pub window: bool,
    /// The lock that asked for it; the grant is looked at again when the job begins.
    pub requester: Option<LockId>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// What was ordered.
    pub order: NewJob,
    /// Where it stands.
    pub state: JobState,
    /// How often it was begun.
    pub attempts: u32,
    /// Wall time of its making.
    pub created: u64,
    /// Wall time of its last change.
    pub updated: u64,
    /// How long it ran, in milliseconds, once done.
    pub ms: u64,
    /// Why it failed, for programs.
    pub code: Option<String>,
    /// Why it failed, for people.
    pub message: Option<String>,
}

/// One line of a job's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// Wall time.
    pub at: u64,
    /// The state it came into.
    pub state: JobState,
    /// More about it.
    pub detail: String,
}
