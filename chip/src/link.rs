//! The chip as a card on a link, in the same process.

use tapdoor_link::{CardLink, Limits, LinkError};

use crate::chip::Chip;

/// A powered chip that answers APDUs. Power goes on when it is made and off when it is dropped.
pub struct ChipLink<'a> {
    chip: &'a mut Chip,
}

impl<'a> ChipLink<'a> {
    /// Powers the chip.
    pub fn new(chip: &'a mut Chip) -> Self {
        chip.power_on();
        Self { chip }
    }
}

impl CardLink for ChipLink<'_> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        self.chip.process(command, response);
        Ok(())
    }

    fn limits(&self) -> Limits {
        Limits::EXTENDED
    }
}

impl Drop for ChipLink<'_> {
    fn drop(&mut self) {
        self.chip.power_off();
    }
}
