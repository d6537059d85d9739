//! How long a whole tap is on the air, by simulated time: from the moment the field comes to the answer to S(DESELECT).

use std::path::Path;

use serde::Serialize;
use tapdoor_captures::{Header, SharedTape, TapeMode, TapeWriter};
use tapdoor_protocol::rf::frame::BitRate;
use tapdoor_reader::TapVerdict;
use tapdoor_reader::config::Method;

use super::stage::{Stage, Traffic};
use crate::bench::BenchError;

/// The limit of a challenge-response tap at 106 kbit/s, CONTROL FLOW included, in milliseconds.
pub const LIMIT_MS: f64 = 25.0;

/// A method whose taps go through the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its name.
    pub name: &'static str,
    /// The method.
    pub method: Method,
    /// Aliro's fast phase, of a phone that has been here before.
    pub fast: bool,
}

/// All of them.
pub const WAYS: [Way; 4] = [
    Way::new("challenge-response", Method::ChallengeResponse),
    Way::new("aka", Method::Aka),
    Way::new("aliro", Method::Aliro),
    Way {
        name: "aliro-fast",
        method: Method::Aliro,
        fast: true,
    },
];

impl Way {
    const fn new(name: &'static str, method: Method) -> Self {
        Self { name, method, fast: false }
    }
}

/// The rates.
pub const RATES: [BitRate; 2] = [BitRate::Kbps106, BitRate::Kbps424];

/// What a tap costs on the air.
#[derive(Clone, Debug, Serialize)]
pub struct AirCost {
    /// Method.
    pub method: &'static str,
    /// Rate after PPS, in kbit/s.
    pub rate: u32,
    /// Whether the phone was told the verdict by CONTROL FLOW before S(DESELECT), after the door had moved.
    pub control_flow: bool,
    /// From field on to the answer to S(DESELECT), guard time and activation included, the phone's work being nothing; in milliseconds.
    pub ms: f64,
    /// How much of it frames were on the air, in milliseconds.
    pub on_air_ms: f64,
    /// APDUs, CONTROL FLOW aside.
    pub apdus: u64,
    /// What passed.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// A tap with each method at each rate, without CONTROL FLOW and with it. With `tapes` a folder, the frames of each are written there, as
/// `METHOD-RATE.tape` and `METHOD-RATE-told.tape`.
///
/// # Errors
/// [`BenchError`].
pub fn taps(tapes: Option<&Path>) -> Result<Vec<AirCost>, BenchError> {
    let mut costs = Vec::new();
    for way in WAYS {
        let name = way.name;
        for (rate, told) in RATES.into_iter().flat_map(|rate| [(rate, false), (rate, true)]) {
            let mut stage = Stage::new(way, rate)?;
            if !told {
                stage = stage.without_control_flow();
            }
            // Who has been here before is known.
            stage.tap(tapdoor_link::FieldPlan::new())?;
            if let Some(folder) = tapes {
                let header = Header {
                    mode: Some(TapeMode::Sim),
                    driver: Some("field".into()),
                    notes: Some(format!("{name} at {} kbit/s, simulated time", rate.kbps())),
                    ..Header::now("tapdoor bench radio")
                };
                let tape = TapeWriter::create(
                    folder.join(format!("{name}-{}{}.tape", rate.kbps(), if told { "-told" } else { "" })),
                    &header,
                )?;
                stage.record(&SharedTape::new(tape));
            }
            let tap = stage.tap(tapdoor_link::FieldPlan::new())?;
            if tap.verdict != TapVerdict::Open {
                return Err(BenchError::Tap(tap.detail));
            }
            costs.push(AirCost {
                method: name,
                rate: rate.kbps(),
                control_flow: told,
                ms: tap.time.as_micros_f64() / 1000.0,
                on_air_ms: tap.traffic.on_air.as_micros_f64() / 1000.0,
                apdus: tap.apdus,
                traffic: tap.traffic,
            });
        }
    }
    Ok(costs)
}
