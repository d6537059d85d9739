//! What differs from tap to tap though nothing has changed: challenges, cryptograms, ephemeral keys, random UIDs.

use crate::decode::Decoded;
use crate::event::Mask;

/// Names of fields, as [`crate::Decoder`] gives them, whose value is fresh in every tap.
const NAMES: &[&str] = &[
    "RP", "T", "RL", "TL", "TP", "X", "RAND", "AUTN", "RES", "SRES", "AUTS", "CK", "IK", "Kc", "E", "C", "M", "nonce", "clock", "CMAC",
    "host challenge", "card challenge", "host cryptogram", "card cryptogram", "C-MAC", "sequence counter", "enciphered",
    "reader ephemeral key", "credential ephemeral key", "transaction id", "cryptogram", "reader signature", "ciphertext", "tag",
    "control flow", "next", "to be signed", "signature", "evidence",
];

/// Whether this field is fresh in every tap.
#[must_use]
pub fn is_volatile(name: &str) -> bool {
    let last = name.rsplit(' ').next().unwrap_or(name);
    NAMES.contains(&name)
        // Tags of EMV: unpredictable number, transaction counter, cryptogram.
        || name.contains("9f37 ") || name.contains("9f36 ") || name.contains("9f26 ")
        || (name.starts_with("UID part") || matches!(last, "PUPI" | "NFCID3"))
}

/// For each byte whether it is one of those, or masked.
#[must_use]
pub fn bytes(decoded: &Decoded, data: &[u8], masks: &[Mask]) -> Vec<bool> {
    let mut fresh = vec![false; data.len()];
    for mask in masks {
        let end = mask.offset.saturating_add(mask.length).min(data.len());
        if let Some(part) = fresh.get_mut(mask.offset..end) {
            part.fill(true);
        }
    }
    for field in decoded.fields.iter().filter(|field| is_volatile(&field.name)) {
        let Ok(value) = hex::decode(&field.value) else {
            continue;
        };
        if value.is_empty() || value.len() > data.len() {
            continue;
        }
        if let Some(at) = data.windows(value.len()).position(|window| window == value) {
            fresh[at..at + value.len()].fill(true);
        }
    }
    fresh
}
