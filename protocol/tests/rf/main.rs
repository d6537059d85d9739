//! The radio's protocols, both sides against each other and against published vectors (tests/vectors/nfc_rf.json names its sources).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod air;
mod bad_input;
mod iso_dep;
mod nfc_dep;
mod polling;
mod type_a;
mod type_b;
mod vectors;

use serde_json::Value;

/// The vectors.
pub fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/nfc_rf.json")).unwrap()
}

pub fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}
