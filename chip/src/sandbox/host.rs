//! The host functions: what an applet asks for, done with the vault that the chip lends it for one command.

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::{Algorithm, Autn, Auts, Rand, Sqn};
use tapdoor_protocol::door::{Event, Verdict};
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_protocol::vault::{KeyRef, Method, Peer, PeerKey, Slot, Vault, VaultError};

use super::abi::{Function, code, refusal};
use super::instance::{Call, Serve};
use super::{Fault, Limits};

/// Length of a list entry in the applet's memory.
const PEER: usize = 18;
/// Most keys of one derivation.
const DERIVED: usize = 4;

/// The session of an applet: what one instance holds of the chip beyond a command.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Transient keys that it was given and did not forget.
    pub keys: Vec<KeyRef>,
}

/// One command of one applet.
pub(super) struct Turn<'a, V> {
    pub vault: &'a mut V,
    pub limits: &'a Limits,
    pub aid: &'a Aid,
    pub parameters: &'a [u8],
    /// The command, as [`Function::Input`] gives it.
    pub input: &'a [u8],
    pub session: &'a mut Session,
    pub answer: Vec<u8>,
    pub events: Vec<Event>,
    /// Records written so far.
    pub written: usize,
}

/// What ends a request early: the applet is told a number, or it is stopped.
enum Refused {
    Number(i32),
    Stop(Fault),
}

impl From<VaultError> for Refused {
    fn from(error: VaultError) -> Self {
        Self::Number(refusal(error))
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Stop(fault)
    }
}

type Answer = Result<i32, Refused>;

const NONE: Refused = Refused::Number(code::NONE);

impl<V: Vault> Serve for Turn<'_, V> {
    fn serve(&mut self, call: &mut Call<'_>) -> Result<i32, Fault> {
        match self.request(call) {
            Ok(number) | Err(Refused::Number(number)) => Ok(number),
            Err(Refused::Stop(fault)) => Err(fault),
        }
    }
}

impl<V: Vault> Turn<'_, V> {
    fn request(&mut self, call: &mut Call<'_>) -> Answer {
        match call.function {
            Function::Input => Ok(call.give(0, self.input)?),
            Function::Parameters => Ok(call.give(0, self.parameters)?),
            Function::Aid => Ok(call.give(0, self.aid.as_bytes())?),
            Function::Output => self.output(call),
            Function::Event => self.event(call),
            Function::Random => {
                self.vault.random(call.place(0)?)?;
                Ok(0)
            }
            Function::Key => {
                let number = call.number(0);
                let slot = u8::try_from(number)
                    .ok()
                    .and_then(Slot::from_number)
                    .ok_or_else(|| call.wrong("slot", number))?;
                Ok(call.write(1, &self.vault.key(slot)?.0.to_le_bytes())?)
            }
            Function::Derive => self.derive(call),
            Function::Forget => {
                let key = key(call);
                self.session.keys.retain(|k| *k != key);
                self.vault.forget(key);
                Ok(0)
            }
            Function::Cmac => {
                let mac = self.vault.cmac(key(call), &[call.bytes(1)?])?;
                Ok(call.write(3, &mac)?)
            }
            Function::CcmSeal => {
                let sealed = self.vault.ccm_seal(key(call), call.bytes(1)?, call.bytes(3)?)?;
                Ok(call.give(5, &sealed)?)
            }
            Function::CcmOpen => {
                let opened = self.vault.ccm_open(key(call), call.bytes(1)?, call.bytes(3)?)?.ok_or(NONE)?;
                Ok(call.give(5, &opened)?)
            }
            Function::FindPeer => {
                let peer = self.vault.find_peer(call.bytes(0)?, &call.array(2)?)?.ok_or(NONE)?;
                Ok(call.write(3, &encode(&peer))?)
            }
            Function::FindSubscriber => self.find_subscriber(call),
            Function::PeerKey => self.peer_key(call),
            Function::AkaVector => {
                self.room(1)?;
                let (algorithm, rand, sqn) = (algorithm(call)?, Rand(call.array(2)?), Sqn::from_bytes(call.array(3)?));
                let vector = self.vault.aka_vector(key(call), algorithm, &rand, sqn)?;
                self.session.keys.push(vector.session);
                let bytes = [&vector.autn.0[..], &vector.session.0.to_le_bytes(), &vector.xres].concat();
                Ok(call.give(4, &bytes)?)
            }
            Function::AkaOpen => {
                self.room(1)?;
                let (algorithm, rand, autn) = (algorithm(call)?, Rand(call.array(2)?), Autn(call.array(3)?));
                let opened = self.vault.aka_open(key(call), algorithm, &rand, &autn)?.ok_or(NONE)?;
                self.session.keys.push(opened.session);
                let bytes = [&opened.sqn.to_bytes()[..], &opened.session.0.to_le_bytes(), &opened.res].concat();
                Ok(call.give(4, &bytes)?)
            }
            Function::AkaAuts => {
                let (algorithm, rand, sqn) = (algorithm(call)?, Rand(call.array(2)?), Sqn::from_bytes(call.array(3)?));
                let auts = self.vault.aka_auts(key(call), algorithm, &rand, sqn)?;
                Ok(call.write(4, &auts.0)?)
            }
            Function::AkaResynchronise => {
                let (algorithm, rand, auts) = (algorithm(call)?, Rand(call.array(2)?), Auts(call.array(3)?));
                let sqn = self.vault.aka_resynchronise(key(call), algorithm, &rand, &auts)?.ok_or(NONE)?;
                Ok(call.write(4, &sqn.to_bytes())?)
            }
            Function::AkaGsm => {
                let (sres, kc) = self.vault.aka_gsm(key(call), algorithm(call)?, &Rand(call.array(2)?))?;
                Ok(call.write(3, &[&sres[..], &kc].concat())?)
            }
            Function::RevealSession => {
                let (ck, ik) = self.vault.reveal_session(key(call))?;
                Ok(call.write(1, &[ck, ik].concat())?)
            }
            Function::Ephemeral => {
                self.room(1)?;
                let (key, public) = self.vault.ephemeral()?;
                self.session.keys.push(key);
                Ok(call.write(0, &[&key.0.to_le_bytes()[..], &public].concat())?)
            }
            Function::EciesSeal => {
                let sealed = self.vault.ecies_seal(key(call), call.bytes(1)?, call.bytes(3)?)?;
                Ok(call.give(5, &sealed)?)
            }
            Function::Sign => {
                let signature = self.vault.sign(key(call), call.bytes(1)?)?;
                Ok(call.write(3, &signature)?)
            }
            Function::Load => {
                let record = self.vault.load(call.bytes(0)?)?.ok_or(NONE)?;
                Ok(call.give(2, &record)?)
            }
            Function::Store => {
                if self.written == self.limits.records {
                    return Err(flood("records", self.limits.records));
                }
                self.vault.store(call.bytes(0)?, call.bytes(2)?)?;
                self.written += 1;
                Ok(0)
            }
        }
    }

    fn output(&mut self, call: &Call<'_>) -> Answer {
        let bytes = call.bytes(0)?;
        if self.answer.len() + bytes.len() > self.limits.answer {
            return Err(flood("bytes of answer", self.limits.answer));
        }
        self.answer.extend_from_slice(bytes);
        Ok(0)
    }

    fn event(&mut self, call: &Call<'_>) -> Answer {
        let bytes = call.bytes(1)?;
        let event = match call.number(0) {
            1 => bytes.split_first_chunk::<8>().and_then(|(lock, clock)| {
                let clock = u32::from_be_bytes(clock.try_into().ok()?);
                Some(Event::Authenticated {
                    lock: LockId(*lock),
                    clock,
                })
            }),
            2 => match bytes {
                [verdict] => Verdict::from_code(*verdict).map(Event::Verdict),
                _ => None,
            },
            3 => bytes.is_empty().then_some(Event::Downloading),
            _ => None,
        };
        let event = event.ok_or_else(|| call.wrong("event of kind", call.number(0)))?;
        if self.events.len() == self.limits.events {
            return Err(flood("events", self.limits.events));
        }
        self.events.push(event);
        Ok(0)
    }

    fn derive(&mut self, call: &mut Call<'_>) -> Answer {
        let count = call.number(6) as usize;
        self.room(count)?;
        let keys = match count {
            1 => self.derive_keys::<1>(call)?.to_vec(),
            2 => self.derive_keys::<2>(call)?.to_vec(),
            3 => self.derive_keys::<3>(call)?.to_vec(),
            DERIVED => self.derive_keys::<DERIVED>(call)?.to_vec(),
            _ => return Err(call.wrong("count", call.number(6)).into()),
        };
        let bytes: Vec<u8> = keys.iter().flat_map(|key| key.0.to_le_bytes()).collect();
        self.session.keys.extend(keys);
        Ok(call.write(7, &bytes)?)
    }

    /// One byte for every length, so that they cannot add up to more than fits.
    fn derive_keys<const N: usize>(&mut self, call: &Call<'_>) -> Result<[KeyRef; N], Refused> {
        let lengths = call.array::<N>(5)?.map(usize::from);
        Ok(self.vault.derive(key(call), call.bytes(1)?, &[call.bytes(3)?], lengths)?)
    }

    fn find_subscriber(&mut self, call: &mut Call<'_>) -> Answer {
        let imsi = std::str::from_utf8(call.bytes(0)?).map_err(|_| NONE)?;
        let (peer, key, algorithm) = self.vault.find_subscriber(imsi)?.ok_or(NONE)?;
        let bytes = [&encode(&peer)[..], &key.0.to_le_bytes(), &[algorithm.p2()]].concat();
        Ok(call.write(2, &bytes)?)
    }

    fn peer_key(&mut self, call: &mut Call<'_>) -> Answer {
        let peer = decode(&call.array(0)?).ok_or_else(|| call.wrong("list entry at", call.number(0)))?;
        let which = match call.number(1) {
            1 => PeerKey::Lock,
            2 => PeerKey::Milenage,
            3 => PeerKey::Tuak,
            other => return Err(call.wrong("kind of key", other).into()),
        };
        Ok(call.write(2, &self.vault.peer_key(&peer, which)?.0.to_le_bytes())?)
    }

    /// Refuses when the applet would hold more transient keys than it may.
    fn room(&self, more: usize) -> Result<(), Refused> {
        if self.session.keys.len() + more > self.limits.keys {
            return Err(Refused::Number(code::FULL));
        }
        Ok(())
    }
}

fn flood(what: &'static str, limit: usize) -> Refused {
    Refused::Stop(Fault::Flood { what, limit })
}

/// Argument 0 as a key.
fn key(call: &Call<'_>) -> KeyRef {
    KeyRef(call.number(0))
}

/// Argument 1 as an algorithm.
fn algorithm(call: &Call<'_>) -> Result<Algorithm, Fault> {
    let number = call.number(1);
    u8::try_from(number)
        .ok()
        .and_then(Algorithm::from_p2)
        .ok_or_else(|| call.wrong("algorithm", number))
}

/// index(4, little-endian) || phone id(8) || weakest method(1) || not-after(4, big-endian) || flags(1).
fn encode(peer: &Peer) -> [u8; PEER] {
    let mut out = [0; PEER];
    out[..4].copy_from_slice(&peer.index.to_le_bytes());
    out[4..12].copy_from_slice(&peer.phone.0);
    out[12] = peer.weakest as u8;
    out[13..17].copy_from_slice(&peer.not_after.to_be_bytes());
    out[17] = peer.flags;
    out
}

fn decode(bytes: &[u8; PEER]) -> Option<Peer> {
    let (index, rest) = bytes.split_first_chunk::<4>()?;
    let (phone, rest) = rest.split_first_chunk::<8>()?;
    let &[weakest, a, b, c, d, flags] = rest else { return None };
    Some(Peer {
        index: u32::from_le_bytes(*index),
        phone: PhoneId(*phone),
        weakest: Method::from_number(weakest)?,
        not_after: u32::from_be_bytes([a, b, c, d]),
        flags,
    })
}
