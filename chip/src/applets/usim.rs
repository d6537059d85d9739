//! The test USIM (AKA profile U).

use tapdoor_protocol::aka::profile_u;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::status::StatusWord;

use crate::applet::{Applet, Env};

/// The USIM and its file system.
pub struct Usim(pub profile_u::Usim);

impl Applet for Usim {
    fn select(&mut self, env: &mut Env<'_>, p2: u8, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        self.0.select(env.aid.as_bytes(), p2, out);
        Ok(())
    }

    fn process(&mut self, env: &mut Env<'_>, command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        self.0.process(&mut env.vault, env.aid.as_bytes(), command, out)
    }

    fn deselect(&mut self, _env: &mut Env<'_>) {
        self.0.reset();
    }

    fn has_files(&self) -> bool {
        true
    }
}
