//! The home side's sequence numbers in a vault: time-based, never used twice (TS 33.102 C.1.1.3).

use super::Sqn;
use super::freshness::{Generator, State};
use crate::ids::PhoneId;
use crate::status::StatusWord;
use crate::vault::Vault;

/// GLC for a clock in Unix seconds.
fn glc(clock: u32) -> u64 {
    Generator::glc(u64::from(clock))
}

/// The record that holds one phone's state.
fn record(phone: PhoneId) -> [u8; 9] {
    let mut name = *b"q\0\0\0\0\0\0\0\0";
    name[1..].copy_from_slice(&phone.0);
    name
}

fn load<V: Vault>(vault: &mut V, phone: PhoneId) -> Result<Option<State>, StatusWord> {
    match vault.load(&record(phone))? {
        Some(bytes) => State::from_bytes(&bytes).map(Some).ok_or(StatusWord::NO_DIAGNOSIS),
        None => Ok(None),
    }
}

/// The next SQN for this phone, stored before it is given out.
pub(super) fn next<V: Vault>(vault: &mut V, phone: PhoneId, clock: u32, ind: u8) -> Result<Sqn, StatusWord> {
    let state = load(vault, phone)?;
    let (seq, state) = Generator::next(glc(clock), state).map_err(|_| StatusWord::NO_DIAGNOSIS)?;
    vault.store(&record(phone), &state.to_bytes())?;
    Sqn::new(seq, ind).ok_or(StatusWord::NO_DIAGNOSIS)
}

/// After an AUTS with a right MAC-S: the next number will be above SEQ_MS.
pub(super) fn resynchronise<V: Vault>(vault: &mut V, phone: PhoneId, clock: u32, sqn_ms: Sqn) -> Result<(), StatusWord> {
    let state = load(vault, phone)?;
    let state = Generator::resynchronise(sqn_ms.seq(), glc(clock), state);
    Ok(vault.store(&record(phone), &state.to_bytes())?)
}
