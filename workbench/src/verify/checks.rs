//! Every challenge, token, AUTN, RES and session key of a recorded tap, recomputed from the lock's keys (docs/protocol.md sections 3 to 7).
//!
//! The formulas are written here a second time, from the page and on plain keys, so that a fault in the lock's own code does not hide itself.

use std::collections::VecDeque;

use tapdoor_chip::{ListEntry, TestSubscriber};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::profile_u::encode_imsi;
use tapdoor_protocol::aka::quantities::Subscriber;
use tapdoor_protocol::aka::{Algorithm, Amf, Autn, Auts, Rand, Sqn};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::crypto::{ccm_open, ccm_seal, cmac128, kdf_ctr};
use tapdoor_protocol::door::{Binding, ControlFlow, Fci, Verdict, ins};
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_reader::LockConfig;

use crate::recorded::{RecordedExchange, RecordedTap};

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name in docs/protocol.md: T, RL, TL, TP, RAND, AUTN, RES, AUTS, K3; of Aliro in words, as `reader signature`.
    pub name: &'static str,
    /// In which exchange of the tap, from 1.
    pub exchange: usize,
    /// What was found.
    pub found: Found,
}

impl Check {
    /// Whether the phone made this value, and not the lock.
    #[must_use]
    pub fn is_the_phones(&self) -> bool {
        matches!(
            self.name,
            "TP" | "RES" | "AUTS" | "CK, IK" | "AUTH1 answer" | "device signature" | "EXCHANGE answer"
        )
    }
}

/// What a recomputed value says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The keys give just this; and what else it says.
    Right(String),
    /// The keys give another.
    Wrong {
        /// What the keys give, in hexadecimal; empty if that cannot be said (a tag does not fit).
        expected: String,
        /// What is on the tape.
        got: String,
    },
    /// A refusal or failure of the phone, which is a fact and no value.
    Told(String),
}

/// What came out of a tap.
#[derive(Debug, Default)]
pub struct Checked {
    /// Every value.
    pub checks: Vec<Check>,
    /// The lock's clock, where a token holds it.
    pub clock: Option<u32>,
    /// Random values that the lock drew, in order.
    pub randoms: VecDeque<Vec<u8>>,
    /// SQNs that were used: application, phone, SQN; the first one of the tap only.
    pub sqn: Option<(Aid, PhoneId, Sqn)>,
    /// What cannot be proven.
    pub unproven: Vec<String>,
}

/// The keys of a lock.toml.
pub struct Keys {
    lock: LockId,
    challenge_response: Aid,
    aka: Aid,
    list: Vec<ListEntry>,
    subscribers: Vec<TestSubscriber>,
}

/// What is selected while a tap is gone through.
enum Selected<'a> {
    Nothing,
    /// A door application, with its FCI and the entry that it names.
    Door {
        aid: Aid,
        fci: Option<Fci>,
        entry: Option<&'a ListEntry>,
        turn: u8,
        k3: Option<[u8; 16]>,
    },
    /// A test USIM.
    Usim,
}

impl Keys {
    /// Takes the keys of a configuration.
    #[must_use]
    pub fn new(config: &LockConfig) -> Self {
        Self {
            lock: config.id,
            challenge_response: config.aids.challenge_response,
            aka: config.aids.aka,
            list: config.personalisation.list.clone(),
            subscribers: config.personalisation.subscribers.clone(),
        }
    }

    /// Fills in what was masked and follows from the keys: the IMSI of a test USIM, CK and IK. Says what cannot be proven for that, and what
    /// stays unknown.
    pub fn unmask(&self, tap: &mut RecordedTap) -> Vec<String> {
        let kinds = tap.masked();
        let mut unproven = Vec::new();
        if kinds.is_empty() {
            return unproven;
        }
        let challenge = self.usim_challenge(tap);
        for kind in &kinds {
            let what = match (kind.as_str(), &challenge) {
                ("imsi", Some((subscriber, ..))) => {
                    let file = encode_imsi(&subscriber.imsi);
                    fill(tap, kind, |_| file.map(Vec::from));
                    "the IMSI is masked; it is filled in for the subscriber whose key fits AUTN, so the tape does not prove that the card said it"
                        .to_owned()
                }
                ("ck" | "ik", Some((_, ck, ik))) => {
                    let key = if kind == "ck" { ck } else { ik };
                    fill(tap, kind, |_| Some(key.to_vec()));
                    format!(
                        "{} is masked; it is computed from the key, so the tape does not prove that the card gave it",
                        kind.to_uppercase()
                    )
                }
                ("pin", _) => "the PIN is masked; whether the lock sent the right one is not on the tape".to_owned(),
                ("iccid" | "msisdn" | "tmsi" | "phone-id", _) => format!("{kind} is masked; the lock does not decide by it"),
                ("identity", _) => "the phone's identity is masked; the request to the server cannot be recomputed".to_owned(),
                _ => format!("{kind} is masked; what depends on it cannot be recomputed. Record with --show-secrets to verify it"),
            };
            unproven.push(what);
        }
        unproven
    }

    /// The subscriber whose key made the tap's AUTN, and the CK and IK of the last challenge that it made.
    fn usim_challenge(&self, tap: &RecordedTap) -> Option<(&TestSubscriber, [u8; 16], [u8; 16])> {
        let challenges = tap
            .exchanges
            .iter()
            .filter_map(|e| usim_authenticate(&e.command))
            .collect::<Vec<_>>();
        let (rand, autn) = challenges.last()?;
        self.subscribers.iter().find_map(|subscriber| {
            let keys = Subscriber::from_bytes(subscriber.algorithm, subscriber.key.expose())?;
            let (_, _, _, ck, ik) = keys.open_autn(rand, autn)?;
            Some((subscriber, ck, ik))
        })
    }

    /// RES, CK and IK of the test USIM whose key made this AUTN.
    pub(crate) fn usim_answer(&self, rand: &Rand, autn: &Autn) -> Option<(Vec<u8>, [u8; 16], [u8; 16])> {
        self.subscribers.iter().find_map(|subscriber| {
            let keys = Subscriber::from_bytes(subscriber.algorithm, subscriber.key.expose())?;
            let (_, _, res, ck, ik) = keys.open_autn(rand, autn)?;
            Some((res, ck, ik))
        })
    }

    /// Goes through a tap.
    #[must_use]
    pub fn check(&self, tap: &RecordedTap) -> Checked {
        let mut out = Checked::default();
        let mut selected = Selected::Nothing;
        for (index, exchange) in tap.exchanges.iter().enumerate() {
            let Ok(command) = Command::parse(&exchange.command) else { continue };
            let number = index + 1;
            match (command.plain_cla(), command.ins, command.p1) {
                (0x00, 0xA4, 0x04) => selected = self.select(&command, exchange, number, &mut out),
                (0x00, ins::AUTHENTICATE, _) => {
                    if let (Selected::Usim, Some((rand, autn))) = (&selected, usim_authenticate(&exchange.command)) {
                        self.usim(&rand, &autn, exchange, number, &mut out);
                    }
                }
                (0x80, ins::AUTHENTICATE, _) => {
                    if let Selected::Door {
                        aid,
                        fci: Some(fci),
                        entry: Some(entry),
                        turn,
                        k3,
                    } = &mut selected
                    {
                        *turn += 1;
                        *k3 = if *aid == self.aka {
                            self.aka_turn(&command, exchange, number, entry, fci, *turn, &mut out)
                        } else {
                            self.challenge_response(&command, exchange, number, entry, fci, &mut out)
                        };
                    } else if let Some(random) = command.data.get(..16) {
                        out.randoms.push_back(random.to_vec());
                    }
                }
                (0x80, ins::GET_IDENTITY, 0) => {
                    if let Some(nonce) = command.data.get(8..24) {
                        out.randoms.push_back(nonce.to_vec());
                    }
                }
                (0x80, ins::CONTROL_FLOW, 0x01) => {
                    if let Selected::Door { k3, .. } = &mut selected {
                        control_flow(&command, k3.take(), number, &mut out);
                    }
                }
                _ => {}
            }
        }
        out
    }

    fn select<'a>(&'a self, command: &Command<'_>, exchange: &RecordedExchange, number: usize, out: &mut Checked) -> Selected<'a> {
        let Some(Ok(answer)) = &exchange.answer else {
            return Selected::Nothing;
        };
        let Some((data, [0x90 | 0x61, _])) = answer.split_last_chunk::<2>() else {
            return Selected::Nothing;
        };
        let Some(aid) = Aid::new(command.data) else {
            return Selected::Nothing;
        };
        if aid.as_bytes().starts_with(Aid::USIM_PREFIX.as_bytes()) {
            return Selected::Usim;
        }
        if aid != self.challenge_response && aid != self.aka {
            return Selected::Nothing;
        }
        let fci = Fci::parse(data);
        let entry = fci.and_then(|fci| {
            let version = [0x01, fci.version];
            let of = |entry: &&ListEntry| {
                let Ok(k_id) = entry.k_id.expose().try_into() else { return false };
                cmac128(k_id, &[&version, aid.as_bytes(), &fci.rp]) == fci.t
            };
            self.list.iter().find(of)
        });
        let found = match (&fci, entry) {
            (None, _) => Found::Told("the FCI has no version, RP and T".into()),
            (Some(_), Some(entry)) => Found::Right(format!("phone {}", entry.phone.masked())),
            (Some(fci), None) => Found::Told(format!(
                "no entry of lock.toml gives T {}: another site's phone, or one that is not on this list",
                hex::encode(fci.t)
            )),
        };
        out.checks.push(Check {
            name: "T",
            exchange: number,
            found,
        });
        Selected::Door {
            aid,
            fci,
            entry,
            turn: 0,
            k3: None,
        }
    }

    fn challenge_response(
        &self,
        command: &Command<'_>,
        exchange: &RecordedExchange,
        number: usize,
        entry: &ListEntry,
        fci: &Fci,
        out: &mut Checked,
    ) -> Option<[u8; 16]> {
        let (rl, rest) = command.data.split_first_chunk::<16>()?;
        let (lock, tl) = rest.split_first_chunk::<8>()?;
        out.randoms.push_back(rl.to_vec());
        let mut push = |name, found| {
            out.checks.push(Check {
                name,
                exchange: number,
                found,
            })
        };
        if *lock != self.lock.0 {
            push("lock id", wrong(&self.lock.0, lock));
        }
        let binding = Binding {
            rp: &fci.rp,
            challenge: rl,
            lock: LockId(*lock),
            phone: entry.phone,
            aid: self.challenge_response.as_bytes(),
        };
        let mut keys = [0; 48];
        kdf_ctr(entry.k_l.expose(), b"CR1", &binding.context(), &mut keys).ok()?;
        let ([k1, k2, k3], _) = keys.as_chunks::<16>() else { return None };
        match ccm_open(k1, b"L", tl).and_then(|clock| <[u8; 4]>::try_from(clock).ok()) {
            Some(clock) => {
                let clock = u32::from_be_bytes(clock);
                push("TL", Found::Right(format!("clock {}", moment(clock))));
                out.clock = Some(clock);
            }
            None => push("TL", wrong(&[], tl)),
        }
        let associated = [b"P", tl].concat();
        let answer = exchange.answer.as_ref()?.as_ref().ok()?;
        let found = match answer.split_last_chunk::<2>()? {
            (tp, [0x90, 0x00]) => match ccm_open(k2, &associated, tp) {
                // Sealed again from what was in it: the whole token, not only its tag.
                Some(flags) if ccm_seal(k2, &associated, &flags) == tp => Found::Right(format!("flags {}", hex::encode(flags))),
                _ => wrong(&[], tp),
            },
            (_, sw) => Found::Told(format!("the phone answered {}", hex::encode_upper(sw))),
        };
        let proved = matches!(found, Found::Right(_));
        out.checks.push(Check {
            name: "TP",
            exchange: number,
            found,
        });
        proved.then_some(*k3)
    }

    #[allow(clippy::too_many_arguments)]
    fn aka_turn(
        &self,
        command: &Command<'_>,
        exchange: &RecordedExchange,
        number: usize,
        entry: &ListEntry,
        fci: &Fci,
        turn: u8,
        out: &mut Checked,
    ) -> Option<[u8; 16]> {
        let (rand, rest) = command.data.split_first_chunk::<16>()?;
        let (autn, lock) = rest.split_first_chunk::<16>()?;
        let lock = LockId::from_slice(lock)?;
        out.randoms.push_back(rand.to_vec());
        let algorithm = Algorithm::from_p2(command.p2)?;
        let key = match algorithm {
            Algorithm::Milenage => entry.milenage.as_ref(),
            Algorithm::Tuak => entry.tuak.as_ref(),
        };
        let Some(keys) = key.and_then(|key| Subscriber::from_bytes(algorithm, key.expose())) else {
            out.unproven.push(format!(
                "phone {} has no {} key in lock.toml",
                entry.phone.masked(),
                algorithm.name()
            ));
            return None;
        };
        let (rand, autn) = (Rand(*rand), Autn(*autn));
        let Some((sqn, amf, res, ck, ik)) = keys.open_autn(&rand, &autn) else {
            out.checks.push(Check {
                name: "AUTN",
                exchange: number,
                found: wrong(&[], &autn.0),
            });
            return None;
        };
        autn_right(&keys, &rand, &autn, sqn, amf, number, out);
        out.sqn.get_or_insert((Aid::AKA_LOCK, entry.phone, sqn));
        let answer = exchange.answer.as_ref()?.as_ref().ok()?;
        let attempt = [command.p2, turn];
        let aid = self.aka;
        let binding = Binding {
            rp: &fci.rp,
            challenge: &rand.0,
            lock,
            phone: entry.phone,
            aid: aid.as_bytes(),
        };
        let [rp, challenge, lock, phone, version, aid] = binding.context();
        let context = [rp, challenge, lock, phone, version, aid, &attempt];
        match answer.split_last_chunk::<2>()? {
            ([0xDB, 8, got @ ..], [0x90, 0x00]) => {
                let right = got == res;
                let found = if right { Found::Right(hex::encode(got)) } else { wrong(&res, got) };
                out.checks.push(Check {
                    name: "RES",
                    exchange: number,
                    found,
                });
                let mut k3 = [0; 16];
                kdf_ctr(&[ck, ik].concat(), b"AKA3", &context, &mut k3).ok()?;
                return right.then_some(k3);
            }
            ([0xDC, 30, x @ ..], [0x90, 0x00]) => {
                let mut ka = [0; 16];
                kdf_ctr(entry.k_l.expose(), b"AKA1", &context, &mut ka).ok()?;
                let auts = ccm_open(&ka, b"S", x).and_then(|auts| <[u8; 14]>::try_from(auts).ok());
                let found = match auts.and_then(|auts| keys.open_auts(&rand, &Auts(auts))) {
                    Some(sqn) => Found::Right(format!("sequence failure, SEQ_MS {}", sqn.seq())),
                    None => Found::Told("no AUTS of this key: the phone says that AUTN's MAC is wrong".into()),
                };
                out.checks.push(Check {
                    name: "AUTS",
                    exchange: number,
                    found,
                });
            }
            (_, sw) => {
                let found = Found::Told(format!("the phone answered {}", hex::encode_upper(sw)));
                out.checks.push(Check {
                    name: "RES",
                    exchange: number,
                    found,
                });
            }
        }
        None
    }

    fn usim(&self, rand: &Rand, autn: &Autn, exchange: &RecordedExchange, number: usize, out: &mut Checked) {
        out.randoms.push_back(rand.0.to_vec());
        let opened = self.subscribers.iter().find_map(|subscriber| {
            let keys = Subscriber::from_bytes(subscriber.algorithm, subscriber.key.expose())?;
            let opened = keys.open_autn(rand, autn)?;
            Some((subscriber, keys, opened))
        });
        let Some((subscriber, keys, (sqn, amf, res, ck, ik))) = opened else {
            out.checks.push(Check {
                name: "AUTN",
                exchange: number,
                found: wrong(&[], &autn.0),
            });
            return;
        };
        autn_right(&keys, rand, autn, sqn, amf, number, out);
        out.sqn.get_or_insert((Aid::USIM_HOST, subscriber.phone, sqn));
        let Some(Ok(answer)) = &exchange.answer else { return };
        let mut push = |name, found| {
            out.checks.push(Check {
                name,
                exchange: number,
                found,
            })
        };
        match answer.split_last_chunk::<2>() {
            Some(([0xDB, length, rest @ ..], [0x90, 0x00])) => {
                let got = rest.get(..usize::from(*length)).unwrap_or(rest);
                push(
                    "RES",
                    if got == res {
                        Found::Right(hex::encode(got))
                    } else {
                        wrong(&res, got)
                    },
                );
                let masked = exchange.answer_mask.iter().any(|m| m.kind == "ck" || m.kind == "ik");
                let expected = [&[16][..], &ck, &[16], &ik].concat();
                let after = rest.get(usize::from(*length)..).unwrap_or_default();
                if !masked {
                    let right = after.starts_with(&expected);
                    push("CK, IK", if right { Found::Right(String::new()) } else { wrong(&[], &[]) });
                }
            }
            Some(([0xDC, 14, auts @ ..], [0x90, 0x00])) => {
                let sqn = Auts::from_slice(auts).and_then(|auts| keys.open_auts(rand, &auts));
                push(
                    "AUTS",
                    match sqn {
                        Some(sqn) => Found::Right(format!("sequence failure, SEQ_MS {}", sqn.seq())),
                        None => wrong(&[], auts),
                    },
                );
            }
            Some((_, sw)) => push("RES", Found::Told(format!("the card answered {}", hex::encode_upper(sw)))),
            None => {}
        }
    }
}

/// AUTN whose MAC is right is made again from what was in it.
fn autn_right(keys: &Subscriber, rand: &Rand, autn: &Autn, sqn: Sqn, amf: Amf, number: usize, out: &mut Checked) {
    let (again, ..) = keys.make_vector(rand, sqn, amf);
    let found = if again == *autn {
        Found::Right(format!("SEQ {}, IND {}", sqn.seq(), sqn.ind()))
    } else {
        wrong(&again.0, &autn.0)
    };
    out.checks.push(Check {
        name: "AUTN",
        exchange: number,
        found,
    });
}

/// The sealed form, by the session key.
fn control_flow(command: &Command<'_>, k3: Option<[u8; 16]>, number: usize, out: &mut Checked) {
    let found = match k3 {
        None => Found::Told("CONTROL FLOW is sealed, and there was no session key".into()),
        Some(k3) => match ControlFlow::unsealed(&k3, command.data) {
            Some(Verdict::Open) => Found::Right("CONTROL FLOW says: opened".into()),
            Some(Verdict::Refused(reason)) => Found::Right(format!("CONTROL FLOW says: {}", reason.name())),
            None => wrong(&[], command.data),
        },
    };
    out.checks.push(Check {
        name: "K3",
        exchange: number,
        found,
    });
}

pub(super) fn wrong(expected: &[u8], got: &[u8]) -> Found {
    Found::Wrong {
        expected: hex::encode(expected),
        got: hex::encode(got),
    }
}

/// RAND and AUTN of a USIM's AUTHENTICATE in the 3G context.
pub(crate) fn usim_authenticate(bytes: &[u8]) -> Option<(Rand, Autn)> {
    let command = Command::parse(bytes).ok()?;
    if (command.plain_cla(), command.ins, command.p2) != (0x00, ins::AUTHENTICATE, 0x81) {
        return None;
    }
    match command.data {
        [16, rest @ ..] => {
            let (rand, rest) = rest.split_first_chunk::<16>()?;
            match rest {
                [16, autn @ ..] => Some((Rand(*rand), Autn::from_slice(autn)?)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Puts bytes in the place of what was masked as this kind.
fn fill(tap: &mut RecordedTap, kind: &str, value: impl Fn(usize) -> Option<Vec<u8>>) {
    for exchange in &mut tap.exchanges {
        let Some(Ok(answer)) = &mut exchange.answer else { continue };
        for mask in exchange.answer_mask.iter().filter(|m| m.kind == kind) {
            if let (Some(place), Some(value)) = (
                answer.get_mut(mask.offset..mask.offset.saturating_add(mask.length)),
                value(mask.length),
            ) && place.len() == value.len()
            {
                place.copy_from_slice(&value);
            }
        }
    }
}

fn moment(clock: u32) -> String {
    jiff::Timestamp::from_second(i64::from(clock)).map_or_else(|_| clock.to_string(), |t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
