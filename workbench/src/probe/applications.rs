//! Which known applications answer SELECT: our own first, then the AID registry's. Nothing more is sent to any of them.

use std::time::Duration;

use serde::Serialize;
use tapdoor_captures::decode::Field;
use tapdoor_captures::{Decoder, Direction, Event, Layer};
use tapdoor_link::LinkError;
use tapdoor_protocol::aid::{Aid, registry};
use tapdoor_protocol::status::StatusWord;

use super::times::Times;
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
    /// What they mean, as `tapdoor show` decodes them.
    pub fields: Vec<Field>,
    /// How long the answer took.
    pub ms: f64,
    /// The times of this and four more answers of an application that is there.
    pub times: Option<Times>,
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
        let state = State::of(answer.sw);
        let times = match state {
            State::Present => again(probe, aid, answer.time)?,
            _ => None,
        };
        probe.tell(Finding::Application(Application {
            aid: entry.aid.to_string(),
            name: entry.name,
            category: entry.category,
            ours,
            state,
            sw: answer.sw.to_string(),
            length: answer.data.len(),
            fields: fields(aid, &answer.data, answer.sw),
            data: answer.data,
            ms: ms(answer.time),
            times,
        }));
    }
    Ok(())
}

/// How often an application that is there is asked in all.
const ASKED: usize = 5;

/// The times of `first` and of further answers to the same SELECT.
fn again(probe: &mut Probe<'_>, aid: &[u8], first: Duration) -> Result<Option<Times>, LinkError> {
    let mut times = vec![first];
    while times.len() < ASKED {
        times.push(probe.select(aid)?.time);
    }
    Ok(Times::of(&times))
}

/// What is in an answer to SELECT.
fn fields(aid: &[u8], data: &[u8], sw: StatusWord) -> Vec<Field> {
    let command = [&[0x00, 0xA4, 0x04, 0x00, aid.len() as u8], aid, &[0x00]].concat();
    let answer = [data, &sw.0.to_be_bytes()].concat();
    let mut decoder = Decoder::new();
    decoder.decode(&Event::new(0, Layer::Apdu).bytes(Direction::Out, command));
    decoder.decode(&Event::new(0, Layer::Apdu).bytes(Direction::In, answer)).fields
}
