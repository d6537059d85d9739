//! The ATS, from our own search or by the reader's `FF CA 01 00 00` (PC/SC part 3, 3.2.2.1.3): some readers give all of it, some only its
//! historical bytes, many nothing.

use serde::Serialize;
use tapdoor_link::LinkError;
use tapdoor_protocol::rf::iso14443::dep::ats::Ats as Decoded;

use super::{Finding, Probe, as_hex};

const GET_ATS: [u8; 5] = [0xFF, 0xCA, 0x01, 0x00, 0x00];

/// What the ATS says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ats {
    /// What the reader gave.
    #[serde(serialize_with = "as_hex::serialize")]
    pub ats: Vec<u8>,
    /// The longest frame that the card takes, in bytes; `None` if it is no whole ATS.
    pub frame: Option<usize>,
    /// The time within which the card answers or asks for more, in milliseconds.
    pub waiting_ms: Option<f64>,
    /// How long it wants to be left alone after the ATS, in milliseconds.
    pub guard_ms: Option<f64>,
    /// Its historical bytes.
    #[serde(serialize_with = "as_hex::serialize")]
    pub historical: Vec<u8>,
    /// In words.
    pub meaning: String,
}

impl Ats {
    /// What these bytes are: an ATS with its length byte, or else what is left of one.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let Ok(decoded) = Decoded::parse(bytes) else {
            return Self {
                ats: bytes.to_vec(),
                frame: None,
                waiting_ms: None,
                guard_ms: None,
                historical: bytes.to_vec(),
                meaning: "no whole ATS: this reader gives historical bytes only, perhaps".to_owned(),
            };
        };
        let (waiting, guard) = (decoded.fwt().as_micros_f64() / 1000.0, decoded.sfgt().as_micros_f64() / 1000.0);
        let meaning = format!(
            "frames of {} bytes, waiting time {waiting:.1} ms, {} kbit/s, {}",
            decoded.fsc(),
            if decoded.rates.0 & 0x77 == 0 { "106" } else { "106 and more" },
            if decoded.cid { "with CID" } else { "without CID" },
        );
        let rounded = |ms: f64| (ms * 1000.0).round() / 1000.0;
        Self {
            ats: bytes.to_vec(),
            frame: Some(decoded.fsc()),
            waiting_ms: Some(rounded(waiting)),
            guard_ms: Some(rounded(guard)),
            historical: decoded.historical,
            meaning,
        }
    }
}

pub(super) fn check(probe: &mut Probe<'_>) -> Result<(), LinkError> {
    let ats = match &probe.activation.ats {
        Some(ats) => Some(ats.clone()),
        None => probe.ask_reader(&GET_ATS)?,
    };
    if let Some(ats) = ats {
        probe.tell(Finding::Ats(Ats::read(&ats)));
    }
    Ok(())
}
