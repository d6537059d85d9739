//! The lock's halves: BEGIN, NEXT and REQUEST (docs/protocol.md section 9).

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{LockStep, fci, ins};
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::{aka, aliro, challenge_response, identity};

use super::wants_fci;
use crate::applet::{Applet, Env};

/// Which method this half runs.
pub enum Method {
    /// Challenge-response.
    ChallengeResponse(challenge_response::Lock),
    /// AKA profile P.
    Aka(aka::profile_p::Lock),
    /// AKA profile U.
    UsimHost(aka::profile_u::Host),
    /// Aliro.
    Aliro(Box<aliro::Reader>),
    /// The request for a download.
    Request(identity::Lock),
}

/// A lock half, whichever the method.
pub struct LockHalf {
    /// AID of the phone's application; none where the method has no such.
    phone_aid: Option<Aid>,
    method: Method,
}

impl LockHalf {
    /// The half for phones whose application is `phone_aid`.
    pub fn new(phone_aid: Option<Aid>, method: Method) -> Self {
        Self { phone_aid, method }
    }

    fn begin(&mut self, env: &mut Env<'_>, command: &Command<'_>) -> Result<LockStep, StatusWord> {
        let aid = self.phone_aid;
        let aid = || aid.ok_or(StatusWord::CONDITIONS_NOT_SATISFIED);
        match (&mut self.method, command.p2) {
            (Method::ChallengeResponse(lock), 0) => lock.begin(&mut env.vault, aid()?.as_bytes(), command.data),
            (Method::Aka(lock), p2) => {
                let algorithm = Algorithm::from_p2(p2).ok_or(StatusWord::INCORRECT_P1_P2)?;
                lock.begin(&mut env.vault, aid()?.as_bytes(), algorithm, command.data)
            }
            (Method::UsimHost(host), 0) => host.begin(&mut env.vault, command.data),
            (Method::Aliro(reader), 0) => reader.begin(&mut env.vault, command.data),
            (Method::Request(lock), 0) => lock.begin(&mut env.vault, command.data),
            _ => Err(StatusWord::INCORRECT_P1_P2),
        }
    }

    fn next(&mut self, env: &mut Env<'_>, command: &Command<'_>) -> Result<LockStep, StatusWord> {
        match &mut self.method {
            Method::ChallengeResponse(lock) => lock.next(&mut env.vault, command.data),
            Method::Aka(lock) => {
                let aid = self.phone_aid.ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
                lock.next(&mut env.vault, aid.as_bytes(), command.data)
            }
            Method::UsimHost(host) => host.next(&mut env.vault, command.data),
            Method::Aliro(reader) => reader.next(&mut env.vault, command.data),
            Method::Request(_) => Err(StatusWord::INS_NOT_SUPPORTED),
        }
    }
}

impl Applet for LockHalf {
    fn select(&mut self, env: &mut Env<'_>, p2: u8, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        if wants_fci(p2)? {
            out.extend(fci::template(env.aid.as_bytes(), &[]));
        }
        Ok(())
    }

    fn process(&mut self, env: &mut Env<'_>, command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        if command.cla != 0x80 {
            return Err(StatusWord::CLA_NOT_SUPPORTED);
        }
        if !matches!(command.ins, ins::BEGIN | ins::NEXT | ins::REQUEST) {
            return Err(StatusWord::INS_NOT_SUPPORTED);
        }
        if command.p1 != 0 || (command.ins != ins::BEGIN && command.p2 != 0) {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        match (command.ins, &mut self.method) {
            (ins::BEGIN, _) => out.extend(self.begin(env, command)?.encode()),
            (ins::NEXT, _) => out.extend(self.next(env, command)?.encode()),
            (_, Method::Request(lock)) => match lock.request(&mut env.vault, command.data)? {
                Ok(request) => out.extend(request.encode()),
                Err(outcome) => out.extend(LockStep::Done(outcome).encode()),
            },
            _ => return Err(StatusWord::INS_NOT_SUPPORTED),
        }
        Ok(())
    }

    fn unstored(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) -> bool {
        let Method::Aliro(reader) = &mut self.method else {
            return false;
        };
        let step = reader.unstored(&mut env.vault);
        out.extend(step.iter().flat_map(LockStep::encode));
        step.is_some()
    }

    fn deselect(&mut self, env: &mut Env<'_>) {
        match &mut self.method {
            Method::ChallengeResponse(lock) => lock.reset(&mut env.vault),
            Method::Aka(lock) => lock.reset(&mut env.vault),
            Method::UsimHost(host) => host.reset(&mut env.vault),
            Method::Aliro(reader) => reader.reset(&mut env.vault),
            Method::Request(_) => {}
        }
    }
}
