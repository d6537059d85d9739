//! Android's liveness AID: every Android phone whose host card emulation is on answers it, whatever apps it has.

use serde::Serialize;
use tapdoor_link::LinkError;
use tapdoor_protocol::aid::Aid;

use super::{Finding, Probe, as_hex, ms};

/// Whether an Android phone is alive there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Android {
    /// Whether it answered.
    pub answers: bool,
    /// The status word.
    pub sw: String,
    /// What it said.
    #[serde(serialize_with = "as_hex::serialize")]
    pub data: Vec<u8>,
    /// How long that took: the first command to reach the phone, so this holds its waking up.
    pub ms: f64,
}

pub(super) fn check(probe: &mut Probe<'_>) -> Result<(), LinkError> {
    let answer = probe.select(Aid::ANDROID_HCE.as_bytes())?;
    probe.tell(Finding::Android(Android {
        answers: answer.sw.is_ok(),
        sw: answer.sw.to_string(),
        data: answer.data,
        ms: ms(answer.time),
    }));
    Ok(())
}
