//! Which known applications answer SELECT: our own first, then the AID registry's. Nothing more is sent to any of them.

use serde::Serialize;
use tapdoor_link::LinkError;
use tapdoor_protocol::aid::{Aid, registry};
use tapdoor_protocol::status::StatusWord;

use super::{Finding, Probe, as_hex, ms};

/// Ours, in the order in which a lock would ask; Aliro's are in the registry as well.
const OURS: [Aid; 5] = [
    Aid::CHALLENGE_RESPONSE,
    Aid::AKA,
    Aid::IDENTITY,
    Aid::ALIRO_EXPEDITED,
    Aid::ALIRO_STEP_UP,
];
/// A shorter one is not routed by phones, and a card may take it for the beginning of anything.
const SHORTEST: usize = 5;

/// What an application's answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is there.
    Present,
    /// It is there and may not be used (6283, 6985).
    Blocked,
    /// It is not there (6A82).
    Absent,
    /// Another status word, which does not tell.
    Unclear,
}

impl State {
    const fn of(sw: StatusWord) -> Self {
        match sw.0 {
            0x9000 | 0x6100..=0x61FF => Self::Present,
            0x6283 | 0x6985 => Self::Blocked,
            0x6A82 => Self::Absent,
            0x6200..=0x63FF => Self::Present,
            _ => Self::Unclear,
        }
    }
}

/// Whether an application answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Application {
    /// Its AID, or the beginning of it.
    pub aid: String,
    /// Its name.
    pub name: &'static str,
    /// What it is for, one word.
    pub category: &'static str,
    /// Whether it is one that Tapdoor's locks ask for.
    pub ours: bool,
    /// What its answer means.
    pub state: State,
    /// The status word.
    pub sw: String,
    /// How many bytes came with it.
    pub length: usize,
    /// These bytes; some cards put their serial number there.
    #[serde(serialize_with = "as_hex::serialize")]
    pub data: Vec<u8>,
    /// How long the answer took.
    pub ms: f64,
}

pub(super) fn check(probe: &mut Probe<'_>) -> Result<(), LinkError> {
    let ours = OURS
        .into_iter()
        .filter_map(|aid| registry().find(|entry| entry.aid == aid).map(|entry| (entry, true)));
    for (entry, ours) in ours.chain(registry().map(|entry| (entry, false))) {
        let aid = entry.aid.as_bytes();
        // The halves of a lock are no business of a phone's.
        let is_lock_half = aid.starts_with(&Aid::CHALLENGE_RESPONSE.as_bytes()[..8]) && aid.get(8).is_some_and(|byte| byte & 0x80 != 0);
        if aid.len() < SHORTEST || is_lock_half || probe.asked.iter().any(|asked| asked == aid) {
            continue;
        }
        let answer = probe.select(aid)?;
        probe.tell(Finding::Application(Application {
            aid: entry.aid.to_string(),
            name: entry.name,
            category: entry.category,
            ours,
            state: State::of(answer.sw),
            sw: answer.sw.to_string(),
            length: answer.data.len(),
            data: answer.data,
            ms: ms(answer.time),
        }));
    }
    Ok(())
}
