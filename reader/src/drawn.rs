//! What the lock's chip draws at random, on the tape: for laboratories, whose tapes may hold secrets.
//!
//! Whoever has such a tape has the ephemeral keys of its taps, and with them the session keys. `tapdoor verify` needs them for Aliro.

use tapdoor_captures::{Event, Layer, SharedTape};
use tapdoor_chip::random::{OsRandom, RandomSource};
use tapdoor_protocol::vault::VaultError;

/// The operating system's generator, each draw a line on the tape.
pub(crate) struct Drawn {
    tape: SharedTape,
}

impl Drawn {
    pub(crate) fn new(tape: SharedTape) -> Self {
        Self { tape }
    }
}

impl RandomSource for Drawn {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), VaultError> {
        OsRandom.fill(out)?;
        let mut tape = self.tape.lock();
        let event = Event::new(tape.now(), Layer::Chip)
            .text("the chip drew random bytes")
            .with("random", &hex::encode(out));
        tape.event(&event);
        Ok(())
    }
}
