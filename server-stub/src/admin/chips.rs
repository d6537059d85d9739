//! What locks and phones have in common.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Show, hex_bytes};
use crate::error::ApiError;
use crate::registry::{ChipRef, Identifier};
use crate::seal::{ChipKeys, SealedKeys};
use crate::state::Shared;

/// An SCP03 key set, hexadecimal.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChipKeysBody {
    /// Key version number, 48 to 63; 48 if left out.
    pub kvn: Option<u8>,
    /// K-ENC.
    pub enc: String,
    /// K-MAC.
    pub mac: String,
    /// K-DEK.
    pub dek: String,
}

impl std::fmt::Debug for ChipKeysBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChipKeysBody(..)")
    }
}

pub(super) fn seal(state: &Shared, chip: ChipRef, body: Option<&ChipKeysBody>) -> Result<Option<SealedKeys>, ApiError> {
    let Some(body) = body else { return Ok(None) };
    let bytes = |name: &str, text: &str| hex_bytes(&format!("chip.{name}"), text);
    let keys = ChipKeys::new(
        body.kvn.unwrap_or(0x30),
        bytes("enc", &body.enc)?,
        bytes("mac", &body.mac)?,
        bytes("dek", &body.dek)?,
    )
    .map_err(|e| ApiError::malformed(e.to_string()))?;
    let sealed = state.workshop.sealer.seal(chip, &keys);
    sealed.map(Some).ok_or_else(ApiError::no_random)
}

pub(super) fn random_id() -> Result<[u8; 8], ApiError> {
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(|_| ApiError::no_random())?;
    Ok(id)
}

pub(super) fn shown(identifiers: &[Identifier], show: Show) -> BTreeMap<&'static str, String> {
    let text = |identifier: &Identifier| {
        if show.identities {
            identifier.whole()
        } else {
            let masked = identifier.to_string();
            masked.split_once(' ').map_or_else(String::new, |(_, value)| value.to_owned())
        }
    };
    identifiers.iter().map(|i| (i.kind().word(), text(i))).collect()
}

/// New identifiers take the place of those of the same kind.
pub(super) fn merge(old: &mut Vec<Identifier>, new: Vec<Identifier>) {
    for identifier in new {
        old.retain(|i| i.kind() != identifier.kind());
        old.push(identifier);
    }
}
