//! AKA profile P: our phone and our lock, two APDUs (docs/protocol.md section 5; TS 33.102 6.3).
//!
//! K and OPc are derived per phone and lock, CK and IK never cross the air, and a wrong MAC looks like a sequence failure.

pub mod lock;
pub mod phone;

pub use lock::Lock;
pub use phone::Phone;

use crate::aka::Algorithm;
use crate::door::Binding;
use crate::status::StatusWord;
use crate::vault::{KeyRef, Vault};

/// Success: `DB 08 RES(8)`.
const SUCCESS: u8 = 0xDB;
/// Everything else: `DC 1E X(30)`.
const FAILURE: u8 = 0xDC;
const RES: usize = 8;
/// AUTS(14) sealed with a tag of 16.
const SEALED_AUTS: usize = 30;
const AUTS_ROLE: &[u8] = b"S";

/// Label and length of the subscriber key at one lock.
fn subscriber_derivation(algorithm: Algorithm) -> (&'static [u8], usize) {
    match algorithm {
        Algorithm::Milenage => (b"AKA", 32),
        Algorithm::Tuak => (b"TUAK", 64),
    }
}

/// P2 and attempt: what is bound besides [`Binding`].
#[derive(Clone, Copy, Debug)]
struct Turn([u8; 2]);

impl Turn {
    /// `again` for the AUTHENTICATE after a sequence failure.
    fn new(algorithm: Algorithm, again: bool) -> Self {
        Self([algorithm.p2(), if again { 2 } else { 1 }])
    }

    fn context<'a>(&'a self, binding: &'a Binding<'a>) -> [&'a [u8]; 7] {
        let [rp, challenge, lock, phone, version, aid] = binding.context();
        [rp, challenge, lock, phone, version, aid, &self.0]
    }
}

/// KA, under which AUTS travels.
fn sealing_key<V: Vault>(vault: &mut V, k_l: KeyRef, binding: &Binding<'_>, turn: Turn) -> Result<KeyRef, StatusWord> {
    let [key] = vault.derive(k_l, b"AKA1", &turn.context(binding), [16])?;
    Ok(key)
}

/// K3, for one CONTROL FLOW; `session` (CK || IK) is forgotten.
fn session_key<V: Vault>(vault: &mut V, session: KeyRef, binding: &Binding<'_>, turn: Turn) -> Result<KeyRef, StatusWord> {
    let derived = vault.derive(session, b"AKA3", &turn.context(binding), [16]);
    vault.forget(session);
    let [key] = derived?;
    Ok(key)
}
