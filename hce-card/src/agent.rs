//! The phone's chip as its agent sees it: over the wire within the phone, whatever the field does meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use tapdoor_agent::WiredChip;

use crate::phone::Phone;

/// Whoever can hand out the phone for one command.
pub trait HasPhone: Send + Sync {
    /// Calls `f` with the phone, and nobody else has it meanwhile.
    fn with_phone<T>(&self, f: impl FnOnce(&mut Phone) -> T) -> T;
}

impl HasPhone for Arc<Mutex<Phone>> {
    fn with_phone<T>(&self, f: impl FnOnce(&mut Phone) -> T) -> T {
        // Each command is a transaction: a thread that panicked between two of them left nothing half done.
        f(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The chip of a shared phone. The phone is held for one command at a time, so a tap is never kept waiting for a whole script.
///
/// The laboratory's switches misbehave towards the field; the wire is honest.
#[derive(Clone, Debug)]
pub struct PhoneChip<P>(pub P);

impl<P: HasPhone> WiredChip for PhoneChip<P> {
    fn reset(&self) {
        self.0.with_phone(|phone| phone.chip_mut().reset_wired());
    }

    fn process(&self, command: &[u8], response: &mut Vec<u8>) {
        self.0.with_phone(|phone| phone.chip_mut().process_wired(command, response));
    }

    fn proof(&self, challenge: &[u8; 16], id: &[u8; 8]) -> Option<[u8; 16]> {
        self.0.with_phone(|phone| phone.chip_mut().agent_proof(challenge, id))
    }
}
