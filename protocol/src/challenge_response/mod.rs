//! Challenge-response: mutual authentication with AES-128-CCM in two APDUs (ISO/IEC 9798-2, docs/protocol.md section 4).
//!
//! [`Phone`] and [`Lock`] are the two sides, each a state machine over a [`crate::vault::Vault`].

pub mod lock;
pub mod phone;

pub use lock::Lock;
pub use phone::Phone;

use crate::door::Binding;
use crate::status::StatusWord;
use crate::vault::{KeyRef, Vault};

const LABEL: &[u8] = b"CR1";
const LOCK_ROLE: &[u8] = b"L";
/// "P", and TL behind it.
const PHONE_ROLE: u8 = b'P';
/// TL and TP: 4 bytes sealed with a tag of 16.
const TOKEN: usize = 20;

/// (K1, K2, K3), all derived from K_l and everything both sides said.
fn session_keys<V: Vault>(vault: &mut V, k_l: KeyRef, binding: &Binding<'_>) -> Result<[KeyRef; 3], StatusWord> {
    Ok(vault.derive(k_l, LABEL, &binding.context(), [16, 16, 16])?)
}

/// "P" || TL, the associated data of TP.
fn phone_associated(tl: &[u8; TOKEN]) -> [u8; 1 + TOKEN] {
    let mut out = [PHONE_ROLE; 1 + TOKEN];
    out[1..].copy_from_slice(tl);
    out
}
