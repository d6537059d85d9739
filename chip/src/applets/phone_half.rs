//! The phone's halves: challenge-response, AKA profile P, identity.

use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{PhoneMethod, fci, ins};
use tapdoor_protocol::identity;
use tapdoor_protocol::status::StatusWord;

use super::wants_fci;
use crate::applet::{Applet, Env, SELECT};

/// Challenge-response or AKA profile P.
pub struct PhoneHalf<M>(pub M);

impl<M: PhoneMethod + Send> Applet for PhoneHalf<M> {
    fn select(&mut self, env: &mut Env<'_>, p2: u8, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        let wanted = wants_fci(p2)?;
        let proprietary = self.0.select(&mut env.vault, env.aid.as_bytes())?;
        if wanted {
            out.extend(fci::template(env.aid.as_bytes(), &proprietary));
        }
        Ok(())
    }

    fn process(&mut self, env: &mut Env<'_>, command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        env.events.extend(self.0.process(&mut env.vault, env.aid.as_bytes(), command, out)?);
        Ok(())
    }

    fn deselect(&mut self, env: &mut Env<'_>) {
        self.0.deselect(&mut env.vault);
    }

    fn is_quick(&self, ins: u8) -> bool {
        // AUTHENTICATE of AKA stores a sequence number.
        matches!(ins, SELECT | ins::CONTROL_FLOW)
    }
}

/// The phone's identity.
pub struct Identity(pub identity::Phone);

impl Applet for Identity {
    fn select(&mut self, env: &mut Env<'_>, p2: u8, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        if wants_fci(p2)? {
            out.extend(fci::template(env.aid.as_bytes(), &self.0.select()));
        }
        Ok(())
    }

    fn process(&mut self, env: &mut Env<'_>, command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        env.events.extend(self.0.process(&mut env.vault, command, out)?);
        Ok(())
    }

    fn deselect(&mut self, _env: &mut Env<'_>) {}

    fn is_quick(&self, ins: u8) -> bool {
        // GET IDENTITY makes a key pair.
        ins == SELECT
    }
}
