//! A recorded card's answers made anew with the keys of lock.toml: what was right on the tape is right again, what was wrong stays wrong.
//!
//! lock.toml has, for each phone, all that the phone's side of one lock needs: K_id for T, K_l for challenge-response, K and OPc for AKA.

use std::collections::HashMap;

use tapdoor_chip::ListEntry;
use tapdoor_chip::random::{OsRandom, RandomSource};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::quantities::Subscriber;
use tapdoor_protocol::aka::{Algorithm, Autn, Rand, Sqn};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::crypto::{ccm_open, ccm_seal, cmac128, kdf_ctr};
use tapdoor_protocol::door::{Binding, ControlFlow, Fci, Verdict, ins};
use tapdoor_protocol::ids::LockId;
use tapdoor_reader::LockConfig;

use crate::recorded::{RecordedExchange, RecordedTap};
use crate::verify::checks::{Found, Keys, usim_authenticate};

/// What goes on between a live lock and the played card.
#[derive(Default)]
pub struct Session {
    door: Option<Door>,
    k3: Option<[u8; 16]>,
}

struct Door {
    aid: Aid,
    entry: usize,
    rp: [u8; 16],
    turn: u8,
}

impl Session {
    /// What a live CONTROL FLOW says, if this is one.
    pub(super) fn verdict(&mut self, command: &[u8]) -> Option<Verdict> {
        let command = Command::parse(command).ok()?;
        match (command.cla, command.ins, command.p1) {
            (0x80, ins::CONTROL_FLOW, 0) => Verdict::from_code(*command.data.first()?),
            (0x80, ins::CONTROL_FLOW, 1) => ControlFlow::unsealed(&self.k3.take()?, command.data),
            _ => None,
        }
    }
}

/// Keys, and what was right on the tape.
pub struct Tools {
    keys: Keys,
    list: Vec<ListEntry>,
    /// By tap, exchange (both from 0) and name: what the recomputation of the tape found.
    found: HashMap<(usize, usize, &'static str), Found>,
}

impl Tools {
    /// The keys of a configuration.
    #[must_use]
    pub fn new(config: &LockConfig) -> Self {
        Self {
            keys: Keys::new(config),
            list: config.personalisation.list.clone(),
            found: HashMap::new(),
        }
    }

    /// Fills in what was masked and follows from the keys, and learns what was right.
    pub(super) fn prepare(&mut self, taps: &mut [RecordedTap]) {
        for (number, tap) in taps.iter_mut().enumerate() {
            self.keys.unmask(tap);
            for check in self.keys.check(tap).checks {
                self.found
                    .insert((number, check.exchange.saturating_sub(1), check.name), check.found);
            }
        }
    }

    fn was_right(&self, tap: usize, at: usize, name: &'static str) -> bool {
        matches!(self.found.get(&(tap, at, name)), Some(Found::Right(_)))
    }

    /// The answer to a live command, or `None` for the recorded one.
    pub(super) fn answer(
        &mut self,
        session: &mut Session,
        tap: usize,
        at: usize,
        exchange: &RecordedExchange,
        command: &[u8],
    ) -> Option<Vec<u8>> {
        let recorded = exchange.answer.as_ref()?.as_ref().ok()?;
        let parsed = Command::parse(command).ok()?;
        match (parsed.plain_cla(), parsed.ins, parsed.p1) {
            (0x00, 0xA4, 0x04) => {
                session.door = None;
                if !self.was_right(tap, at, "T") {
                    return None;
                }
                self.select(session, &parsed, recorded)
            }
            (0x80, ins::AUTHENTICATE, 0) => {
                let door = session.door.as_mut()?;
                door.turn = door.turn.saturating_add(1);
                let door = session.door.as_ref()?;
                let (answer, k3) = if self.was_right(tap, at, "TP") {
                    self.challenge_response(door, &parsed, self.flags(tap, at)?)?
                } else if self.was_right(tap, at, "RES") {
                    self.aka(door, &parsed)?
                } else if self.was_right(tap, at, "AUTS") {
                    (self.sequence_failure(door, &parsed)?, None)
                } else {
                    // A proof that was wrong is as wrong now.
                    return None;
                };
                session.k3 = k3;
                Some(answer)
            }
            (0x00, ins::AUTHENTICATE, _) if self.was_right(tap, at, "RES") => self.usim(command, recorded),
            _ => None,
        }
    }

    fn select(&self, session: &mut Session, command: &Command<'_>, recorded: &[u8]) -> Option<Vec<u8>> {
        let aid = Aid::new(command.data)?;
        let (data, sw) = recorded.split_last_chunk::<2>()?;
        let fci = Fci::parse(data)?;
        let t = |entry: &ListEntry, rp: &[u8; 16]| {
            let k_id = entry.k_id.expose().try_into().ok()?;
            Some(cmac128(k_id, &[&[0x01, fci.version], aid.as_bytes(), rp]))
        };
        let entry = self.list.iter().position(|entry| t(entry, &fci.rp) == Some(fci.t))?;
        let mut rp = [0; 16];
        OsRandom.fill(&mut rp).ok()?;
        let fresh = t(self.list.get(entry)?, &rp)?;
        // In its place in the recorded FCI, whatever else that holds.
        let mut answer = data.to_vec();
        for (old, new) in [(fci.rp, rp), (fci.t, fresh)] {
            let at = answer.windows(16).position(|window| window == old)?;
            answer.get_mut(at..at + 16)?.copy_from_slice(&new);
        }
        answer.extend_from_slice(sw);
        session.door = Some(Door { aid, entry, rp, turn: 0 });
        session.k3 = None;
        Some(answer)
    }

    fn challenge_response(&self, door: &Door, command: &Command<'_>, flags: [u8; 4]) -> Option<(Vec<u8>, Option<[u8; 16]>)> {
        let entry = self.list.get(door.entry)?;
        let (rl, rest) = command.data.split_first_chunk::<16>()?;
        let (lock, tl) = rest.split_first_chunk::<8>()?;
        let binding = Binding {
            rp: &door.rp,
            challenge: rl,
            lock: LockId(*lock),
            phone: entry.phone,
            aid: door.aid.as_bytes(),
        };
        let mut keys = [0; 48];
        kdf_ctr(entry.k_l.expose(), b"CR1", &binding.context(), &mut keys).ok()?;
        let ([k1, k2, k3], _) = keys.as_chunks::<16>() else { return None };
        if ccm_open(k1, b"L", tl).is_none() {
            return Some((vec![0x69, 0x82], None));
        }
        let mut answer = ccm_seal(k2, &[b"P", tl].concat(), &flags);
        answer.extend_from_slice(&[0x90, 0x00]);
        Some((answer, Some(*k3)))
    }

    /// The phone's flags on the tape, which the recomputation read out of TP.
    fn flags(&self, tap: usize, at: usize) -> Option<[u8; 4]> {
        match self.found.get(&(tap, at, "TP"))? {
            Found::Right(text) => hex::decode(text.strip_prefix("flags ")?).ok()?.try_into().ok(),
            _ => None,
        }
    }

    fn subscriber(&self, door: &Door, command: &Command<'_>) -> Option<(Subscriber, Algorithm)> {
        let entry = self.list.get(door.entry)?;
        let algorithm = Algorithm::from_p2(command.p2)?;
        let key = match algorithm {
            Algorithm::Milenage => entry.milenage.as_ref(),
            Algorithm::Tuak => entry.tuak.as_ref(),
        };
        Some((Subscriber::from_bytes(algorithm, key?.expose())?, algorithm))
    }

    /// RAND, AUTN, and the key that a label gives for this turn.
    fn derive(&self, door: &Door, command: &Command<'_>, parent: &[u8], label: &[u8]) -> Option<[u8; 16]> {
        let entry = self.list.get(door.entry)?;
        let (rand, rest) = command.data.split_first_chunk::<16>()?;
        let lock = LockId::from_slice(rest.get(16..)?)?;
        let binding = Binding {
            rp: &door.rp,
            challenge: rand,
            lock,
            phone: entry.phone,
            aid: door.aid.as_bytes(),
        };
        let attempt = [command.p2, door.turn];
        let [rp, challenge, lock, phone, version, aid] = binding.context();
        let mut key = [0; 16];
        kdf_ctr(parent, label, &[rp, challenge, lock, phone, version, aid, &attempt], &mut key).ok()?;
        Some(key)
    }

    fn aka(&self, door: &Door, command: &Command<'_>) -> Option<(Vec<u8>, Option<[u8; 16]>)> {
        let (keys, _) = self.subscriber(door, command)?;
        let (rand, autn) = challenge(command)?;
        let Some((_, _, res, ck, ik)) = keys.open_autn(&rand, &autn) else {
            return Some((unreadable()?, None));
        };
        let k3 = self.derive(door, command, &[ck, ik].concat(), b"AKA3")?;
        let mut answer = vec![0xDB, 8];
        answer.extend_from_slice(&res);
        answer.extend_from_slice(&[0x90, 0x00]);
        Some((answer, Some(k3)))
    }

    /// A phone that was ahead is ahead again.
    fn sequence_failure(&self, door: &Door, command: &Command<'_>) -> Option<Vec<u8>> {
        let (keys, _) = self.subscriber(door, command)?;
        let (rand, autn) = challenge(command)?;
        let Some((sqn, ..)) = keys.open_autn(&rand, &autn) else {
            return unreadable();
        };
        let ahead = Sqn::new(sqn.seq().saturating_add(1000).min(Sqn::MAX_SEQ - 2), 0)?;
        let k_l = self.list.get(door.entry)?.k_l.expose();
        let ka = self.derive(door, command, k_l, b"AKA1")?;
        let mut answer = vec![0xDC, 30];
        answer.extend_from_slice(&ccm_seal(&ka, b"S", &keys.make_auts(&rand, ahead).0));
        answer.extend_from_slice(&[0x90, 0x00]);
        Some(answer)
    }

    fn usim(&self, command: &[u8], recorded: &[u8]) -> Option<Vec<u8>> {
        let (rand, autn) = usim_authenticate(command)?;
        let (res, ck, ik) = self.keys.usim_answer(&rand, &autn)?;
        let mut answer = vec![0xDB, u8::try_from(res.len()).ok()?];
        answer.extend_from_slice(&res);
        for key in [ck, ik] {
            answer.push(16);
            answer.extend_from_slice(&key);
        }
        // Kc, where the card gave one, is not judged by anybody.
        let length = answer.len();
        answer.extend_from_slice(recorded.get(length..)?);
        Some(answer)
    }
}

fn challenge(command: &Command<'_>) -> Option<(Rand, Autn)> {
    let (rand, rest) = command.data.split_first_chunk::<16>()?;
    Some((Rand(*rand), Autn(*rest.first_chunk::<16>()?)))
}

/// What a phone says to an AUTN that is not its lock's.
fn unreadable() -> Option<Vec<u8>> {
    let mut x = [0; 30];
    OsRandom.fill(&mut x).ok()?;
    Some([&[0xDC, 30][..], &x, &[0x90, 0x00]].concat())
}
