//! Where the chip's random numbers come from.

use tapdoor_protocol::vault::VaultError;

/// A source of unpredictable bytes.
pub trait RandomSource: Send {
    /// Fills `out`.
    ///
    /// # Errors
    /// [`VaultError::Random`] when there is no randomness; `out` must then not be used.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), VaultError>;
}

/// The operating system's generator. The only one outside tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl RandomSource for OsRandom {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), VaultError> {
        getrandom::fill(out).map_err(|_| VaultError::Random)
    }
}
