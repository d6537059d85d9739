//! The lock's own chip, shared by its taps and its administration.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tapdoor_chip::Chip;
use tapdoor_link::{Attention, CardLink, Limits, LinkError, LinkErrorKind};

/// A chip that several threads use in turn.
#[derive(Clone)]
pub struct SharedChip(Arc<Mutex<Chip>>);

impl SharedChip {
    /// Shares a chip.
    #[must_use]
    pub fn new(chip: Chip) -> Self {
        Self(Arc::new(Mutex::new(chip)))
    }

    /// The chip, for one command or a few that belong together.
    pub fn lock(&self) -> MutexGuard<'_, Chip> {
        // Each command is a transaction: a thread that panicked between two of them left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The chip during one tap: power goes on when it is made and off when it is dropped, unless the tap was abandoned meanwhile: the chip
/// serves another one then.
pub(crate) struct OwnChip {
    chip: SharedChip,
    attention: Attention,
}

impl OwnChip {
    pub(crate) fn new(chip: &SharedChip, attention: Attention) -> Self {
        chip.lock().power_on();
        Self {
            chip: chip.clone(),
            attention,
        }
    }
}

impl CardLink for OwnChip {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        if self.attention.is_abandoned() {
            response.clear();
            return Err(LinkError::new(LinkErrorKind::Cancelled, "chip", "the tap was abandoned").during(command));
        }
        self.chip.lock().process(command, response);
        Ok(())
    }

    fn limits(&self) -> Limits {
        Limits::EXTENDED
    }
}

impl Drop for OwnChip {
    fn drop(&mut self) {
        if !self.attention.is_abandoned() {
            self.chip.lock().power_off();
        }
    }
}
