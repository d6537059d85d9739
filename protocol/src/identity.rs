//! GET IDENTITY and the lock's signed request (docs/protocol.md sections 8 and 9; TS 33.501 Annex C profile B).

use alloc::string::String;
use alloc::vec::Vec;

use crate::apdu::{Command, Response};
use crate::door::control_flow::DOWNLOADING;
use crate::door::{BeginData, Event, LockStep, Outcome, Reason, VERSION, ins};
use crate::ids::LockId;
use crate::status::StatusWord;
use crate::tlv;
use crate::vault::{KeyRef, Slot, Vault};

/// What kind of identity a phone names itself by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum IdentityKind {
    /// 15 digits, of the phone itself.
    Imei = 1,
    /// 18 to 20 digits, of its chip.
    Iccid = 2,
    /// 6 to 15 digits, of its subscription.
    Imsi = 3,
    /// Up to 15 digits, its number.
    Msisdn = 4,
}

impl IdentityKind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Imei, Self::Iccid, Self::Imsi, Self::Msisdn]
            .into_iter()
            .find(|k| *k as u8 == number)
    }
}

/// What the identity application is personalised with, besides K_agent.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Which kind.
    pub kind: IdentityKind,
    /// The digits.
    pub digits: String,
    /// The server's public key, SEC1 (33 or 65 bytes).
    pub server: Vec<u8>,
    /// Laboratory switch: answer in plain.
    pub plain: bool,
}

/// The identity application on the phone. It holds no state: each command stands alone.
#[derive(Debug)]
pub struct Phone {
    identity: Option<Identity>,
}

impl Phone {
    /// A phone with this identity, or with none (GET IDENTITY is then answered 6985).
    #[must_use]
    pub fn new(identity: Option<Identity>) -> Self {
        Self { identity }
    }

    /// SELECT: the content of template A5.
    #[must_use]
    pub fn select(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(3);
        tlv::write(&mut out, 0x80, &[VERSION]);
        out
    }

    /// GET IDENTITY, and the CONTROL FLOW that says "downloading". The answer's data go to `out`.
    ///
    /// # Errors
    /// The status word to answer with.
    pub fn process<V: Vault>(&mut self, vault: &mut V, command: &Command<'_>, out: &mut Vec<u8>) -> Result<Option<Event>, StatusWord> {
        if command.cla != 0x80 {
            return Err(StatusWord::CLA_NOT_SUPPORTED);
        }
        if !matches!(command.ins, ins::GET_IDENTITY | ins::CONTROL_FLOW) {
            return Err(StatusWord::INS_NOT_SUPPORTED);
        }
        if (command.p1, command.p2) != (0, 0) {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        if command.ins == ins::CONTROL_FLOW {
            return match command.data {
                [DOWNLOADING] => Ok(Some(Event::Downloading)),
                [_] => Err(StatusWord::WRONG_DATA),
                _ => Err(StatusWord::WRONG_LENGTH),
            };
        }
        if command.data.len() != 24 {
            return Err(StatusWord::WRONG_LENGTH);
        }
        let identity = self.identity.as_ref().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        let agent = vault.key(Slot::Agent)?;
        if identity.plain {
            out.push(0x01);
            out.extend(plaintext(vault, agent, identity, command.data, &[])?);
            return Ok(None);
        }
        let (ephemeral, public) = vault.ephemeral()?;
        let plain = plaintext(vault, agent, identity, command.data, &public);
        let sealed = plain.and_then(|plain| Ok(vault.ecies_seal(ephemeral, &identity.server, &plain)?));
        vault.forget(ephemeral);
        out.push(0x00);
        out.extend_from_slice(&public);
        out.extend(sealed?);
        Ok(None)
    }
}

/// kind || length || digits || CMAC(K_agent, lock id || nonce || E).
fn plaintext<V: Vault>(
    vault: &mut V,
    agent: KeyRef,
    identity: &Identity,
    challenge: &[u8],
    ephemeral: &[u8],
) -> Result<Vec<u8>, StatusWord> {
    let mac = vault.cmac(agent, &[challenge, ephemeral])?;
    let mut out = Vec::with_capacity(18 + identity.digits.len());
    out.push(identity.kind as u8);
    out.push(u8::try_from(identity.digits.len()).map_err(|_| StatusWord::NO_DIAGNOSIS)?);
    out.extend_from_slice(identity.digits.as_bytes());
    out.extend_from_slice(&mac);
    Ok(out)
}

/// The request application in the lock's chip.
#[derive(Debug)]
pub struct Lock {
    lock: LockId,
    /// The nonce that is out, and the clock it was asked at.
    pending: Option<([u8; 16], u32)>,
}

/// A request ready for the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is signed: 01 || lock id || nonce || clock || length || identity.
    pub signed: Vec<u8>,
    /// r || s.
    pub signature: [u8; 64],
}

impl Request {
    /// The answer to REQUEST: `C3{signed} C4{signature}`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.signed.len() + 72);
        tlv::write(&mut out, 0xC3, &self.signed);
        tlv::write(&mut out, 0xC4, &self.signature);
        out
    }

    /// Reads the answer to REQUEST. Never panics.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            signed: tlv::find(bytes, 0xC3)?.to_vec(),
            signature: tlv::find(bytes, 0xC4)?.try_into().ok()?,
        })
    }
}

impl Lock {
    /// The lock with this identity.
    #[must_use]
    pub fn new(lock: LockId) -> Self {
        Self { lock, pending: None }
    }

    /// BEGIN: GET IDENTITY with a new nonce.
    ///
    /// # Errors
    /// 6A80 for data that are not BEGIN's, 6F00 without randomness.
    pub fn begin<V: Vault>(&mut self, vault: &mut V, data: &[u8]) -> Result<LockStep, StatusWord> {
        self.pending = None;
        let begin = BeginData::parse(data).ok_or(StatusWord::WRONG_DATA)?;
        let mut nonce = [0; 16];
        vault.random(&mut nonce)?;
        let mut body = [0; 24];
        body[..8].copy_from_slice(&self.lock.0);
        body[8..].copy_from_slice(&nonce);
        let command = Command::new(0x80, ins::GET_IDENTITY, 0, 0)
            .data(&body)
            .ne(256)
            .encode()
            .map_err(|_| StatusWord::NO_DIAGNOSIS)?;
        self.pending = Some((nonce, begin.clock));
        Ok(LockStep::Transmit { command, phone: None })
    }

    /// REQUEST: the phone's answer in, the signed request out; a phone that gives no identity ends the tap instead.
    ///
    /// # Errors
    /// 6985 without BEGIN or without a signing key.
    pub fn request<V: Vault>(&mut self, vault: &mut V, answer: &[u8]) -> Result<Result<Request, Outcome>, StatusWord> {
        let (nonce, clock) = self.pending.take().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        let refused = |evidence: &str| Ok(Err(Outcome::refused(Reason::CardError, None, evidence)));
        let Ok(response) = Response::parse(answer) else {
            return refused("GET IDENTITY was answered without a status word");
        };
        if !(response.sw.is_ok() && (19..=255).contains(&response.data.len())) {
            return refused(&alloc::format!(
                "GET IDENTITY was answered with {} bytes and {}",
                response.data.len(),
                response.sw
            ));
        }
        let length = u16::try_from(response.data.len()).map_err(|_| StatusWord::WRONG_LENGTH)?;
        let mut signed = Vec::with_capacity(31 + response.data.len());
        signed.push(0x01);
        signed.extend_from_slice(&self.lock.0);
        signed.extend_from_slice(&nonce);
        signed.extend_from_slice(&clock.to_be_bytes());
        signed.extend_from_slice(&length.to_be_bytes());
        signed.extend_from_slice(response.data);
        let key = vault.key(Slot::Signing)?;
        let signature = vault.sign(key, &signed)?;
        Ok(Ok(Request { signed, signature }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn requests_round_trip(signed: Vec<u8>, signature: [u8; 64]) {
            let request = Request { signed, signature };
            prop_assert_eq!(Request::parse(&request.encode()), Some(request));
        }

        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = Request::parse(&bytes);
        }
    }
}
