//! The lock's own chip, shared by its taps and its administration.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tapdoor_chip::Chip;
use tapdoor_link::{Attention, CardLink, Limits, LinkError, LinkErrorKind};

/// A chip that several threads use in turn.
#[derive(Clone)]
pub struct SharedChip {
    chip: Arc<Mutex<Chip>>,
    /// Held by a tap from its first APDU to its verdict.
    tap: Arc<Mutex<()>>,
}

impl SharedChip {
    /// Shares a chip.
    #[must_use]
    pub fn new(chip: Chip) -> Self {
        Self {
            chip: Arc::new(Mutex::new(chip)),
            tap: Arc::default(),
        }
    }

    /// The chip, for one command or a few that belong together.
    pub fn lock(&self) -> MutexGuard<'_, Chip> {
        // Each command is a transaction: a thread that panicked between two of them left nothing half done.
        self.chip.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the administration waiting until the guard is dropped.
    pub(crate) fn tap(&self) -> MutexGuard<'_, ()> {
        self.tap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One command of the administration, when no tap is under way.
    pub(crate) fn between_taps<T>(&self, command: impl FnOnce(&mut Chip) -> T) -> T {
        let _no_tap = self.tap();
        command(&mut self.lock())
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
