//! The reader's half (ISO/IEC 18092 12.5, 12.6): ATR and PSL, data exchange with chaining, attention, repetition and time-out extension,
//! deselection and release.

use alloc::vec::Vec;

use super::pdu::{self, Atr, Dep, Pfb, Psl};
use super::{MAX_DATA, RTOX_MAX, technology};
use crate::rf::frame::{BitRate, Expect, Frame, RfError, RxFrame};
use crate::rf::time::{self, Ticks};
use crate::rf::{Dialogue, Step};

/// Why NFC-DEP failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NfcDepError {
    /// A unit was lost or damaged, and asking again did not help.
    #[error("no good answer after {tries} tries: {error}; hold the device still and closer")]
    Lost {
        /// How often it was asked for.
        tries: u8,
        /// The last failure.
        error: RfError,
    },
    /// The target breaks the rules, and asking again did not help.
    #[error("the target breaks the rules of NFC-DEP: {what}; it is damaged, or no such device")]
    Protocol {
        /// Which rule.
        what: &'static str,
    },
    /// The information is longer than is taken.
    #[error("the target's answer has no end: more than {MAX_DATA} bytes")]
    TooLong,
    /// Time-out extension again and again.
    #[error("the target asked for more time {times} times; it is stuck")]
    Waiting {
        /// How often.
        times: u32,
    },
}

/// What the initiator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Identifier: random at 106 kbit/s; a type F target's NFCID2 and two bytes.
    pub nfcid3: [u8; 10],
    /// The number that the target gets; 0: none.
    pub did: u8,
    /// Code of the longest unit that is taken.
    pub lr: u8,
    /// The rate to go to by PSL, if it is not the one at which the target was found.
    pub rate: BitRate,
    /// General bytes.
    pub general: Vec<u8>,
}

/// ATR and, if another rate is wanted, PSL, with a target that was selected (type A, SAK b7) or polled (type F, 01FE).
#[derive(Debug)]
pub struct Attach {
    wishes: Wishes,
    rate: BitRate,
    frame: Vec<u8>,
    atr: Option<Atr>,
    tries: u8,
    outcome: Option<Result<(), NfcDepError>>,
}

impl Attach {
    /// Begins at the rate at which the target was found.
    #[must_use]
    pub const fn new(wishes: Wishes, rate: BitRate) -> Self {
        Self {
            wishes,
            rate,
            frame: Vec::new(),
            atr: None,
            tries: 0,
            outcome: None,
        }
    }

    fn again(&mut self, error: NfcDepError) {
        self.tries += 1;
        if self.tries > 2 {
            self.outcome = Some(Err(error));
        }
    }

    fn heard(&mut self, unit: &[u8]) -> Option<()> {
        match (&self.atr, unit) {
            (None, [pdu::RESPONSE, 0x01, body @ ..]) => {
                let atr = Atr::parse(true, body).filter(|atr| atr.did == self.wishes.did)?;
                self.atr = Some(atr);
                self.tries = 0;
                if self.wishes.rate == self.rate {
                    self.outcome = Some(Ok(()));
                }
            }
            (Some(_), [pdu::RESPONSE, 0x05, did]) if *did == self.wishes.did => {
                self.rate = self.wishes.rate;
                self.outcome = Some(Ok(()));
            }
            _ => return None,
        }
        Some(())
    }
}

impl Dialogue for Attach {
    /// The target's attributes, and the session.
    type Output = Result<(Atr, Initiator), NfcDepError>;

    fn poll(&mut self) -> Step<'_, Self::Output> {
        match (&self.outcome, &self.atr) {
            (Some(Err(error)), _) => return Step::Done(Err(*error)),
            (Some(Ok(())), Some(atr)) => {
                let initiator = Initiator::new(&self.wishes, atr, self.rate);
                return Step::Done(Ok((atr.clone(), initiator)));
            }
            _ => {}
        }
        pdu::begin(self.rate, &mut self.frame);
        let wishes = &self.wishes;
        match &self.atr {
            None => Atr {
                nfcid3: wishes.nfcid3,
                did: wishes.did,
                bs: 0,
                br: 0,
                to: None,
                lr: wishes.lr,
                general: wishes.general.clone(),
            }
            .encode_into(&mut self.frame),
            Some(_) => Psl {
                did: wishes.did,
                send: wishes.rate,
                receive: wishes.rate,
                lr: wishes.lr,
            }
            .encode_into(&mut self.frame),
        }
        pdu::finish(self.rate, &mut self.frame);
        let frame = Frame::new(technology(self.rate), &self.frame).at(self.rate);
        let timeout = self.atr.as_ref().map_or(time::waiting_time(12), Atr::rwt);
        Step::Exchange(frame, Expect::like(&frame, timeout + time::DELTA_FWT))
    }

    fn answered(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        if let Err(error) = outcome {
            let tries = self.tries + 1;
            return self.again(NfcDepError::Lost { tries, error });
        }
        let unit = pdu::unframe(self.rate, &answer.data).unwrap_or_default();
        if self.heard(unit).is_none() {
            self.again(NfcDepError::Protocol {
                what: "not the answer to ATR or PSL",
            });
        }
    }
}

/// The reader's half of a session.
#[derive(Debug)]
pub struct Initiator {
    rate: BitRate,
    did: Option<u8>,
    pni: u8,
    /// Longest unit to the target.
    most: usize,
    rwt: Ticks,
    frame: Vec<u8>,
}

impl Initiator {
    /// A lost or damaged answer is asked for so many times.
    pub const RETRIES: u8 = 3;
    /// More time is granted so many times for an answer.
    pub const MAX_RTOX: u32 = 1000;

    /// A session that begins, with a target of these attributes.
    #[must_use]
    pub fn new(wishes: &Wishes, atr: &Atr, rate: BitRate) -> Self {
        Self {
            rate,
            did: (wishes.did != 0).then_some(wishes.did),
            pni: 0,
            most: pdu::length(atr.lr),
            rwt: atr.rwt(),
            frame: Vec::with_capacity(256),
        }
    }

    /// The rate of both directions.
    #[must_use]
    pub const fn rate(&self) -> BitRate {
        self.rate
    }

    /// Sends information; what comes back replaces the content of `received`.
    pub fn exchange<'a>(&'a mut self, data: &'a [u8], received: &'a mut Vec<u8>) -> Exchange<'a> {
        received.clear();
        Exchange {
            initiator: self,
            data,
            received,
            start: 0,
            end: 0,
            ask: Ask::Information,
            current: Ask::Information,
            tries: 0,
            rtox: 0,
            times: 0,
            outcome: None,
        }
    }

    /// Attention: whether the target is still there.
    pub const fn attention(&mut self) -> Close<'_> {
        self.close(None)
    }

    /// DSL: the target waits to be woken.
    pub const fn deselect(&mut self) -> Close<'_> {
        self.close(Some(0x08))
    }

    /// RLS: the target goes back to where it was before it was selected.
    pub const fn release(&mut self) -> Close<'_> {
        self.close(Some(0x0A))
    }

    const fn close(&mut self, command: Option<u8>) -> Close<'_> {
        Close {
            initiator: self,
            command,
            tries: 0,
            outcome: None,
        }
    }

    fn write(&mut self, dep: &Dep<'_>) {
        pdu::begin(self.rate, &mut self.frame);
        self.frame.extend_from_slice(&[pdu::REQUEST, 0x06]);
        dep.encode_into(&mut self.frame);
        pdu::finish(self.rate, &mut self.frame);
    }

    fn step(&self, timeout: Ticks) -> (Frame<'_>, Expect) {
        let frame = Frame::new(technology(self.rate), &self.frame).at(self.rate);
        (frame, Expect::like(&frame, timeout + time::DELTA_FWT))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// The part of the information from `start` on.
    Information,
    /// ACK: the next part of the answer.
    Ack,
    /// NAK: the answer again.
    Nak,
    /// Whether the target is there, after silence.
    Attention,
    /// Grants more time.
    Timeout,
}

/// One exchange of information: a [`Dialogue`].
#[derive(Debug)]
pub struct Exchange<'a> {
    initiator: &'a mut Initiator,
    data: &'a [u8],
    received: &'a mut Vec<u8>,
    start: usize,
    end: usize,
    ask: Ask,
    /// What is repeated when the target has not had it: information or ACK.
    current: Ask,
    tries: u8,
    rtox: u8,
    times: u32,
    outcome: Option<Result<(), NfcDepError>>,
}

impl Exchange<'_> {
    fn fail(&mut self, error: NfcDepError) {
        self.received.clear();
        self.outcome = Some(Err(error));
    }

    fn again(&mut self, error: NfcDepError, ask: Ask) {
        self.tries += 1;
        if self.tries > 2 * Initiator::RETRIES {
            return self.fail(error);
        }
        self.ask = ask;
    }

    const fn has_more(&self) -> bool {
        self.end < self.data.len()
    }

    fn progress(&mut self, ask: Ask) {
        self.initiator.pni = (self.initiator.pni + 1) & 3;
        self.tries = 0;
        (self.ask, self.current) = (ask, ask);
    }

    fn heard(&mut self, dep: &Dep<'_>) {
        let current = self.initiator.pni;
        match dep.pfb {
            Pfb::Attention if self.ask == Ask::Attention => self.ask = self.current,
            Pfb::Timeout => match dep.data {
                [rtox @ 1..=RTOX_MAX] => {
                    self.times += 1;
                    if self.times > Initiator::MAX_RTOX {
                        return self.fail(NfcDepError::Waiting { times: self.times });
                    }
                    self.rtox = *rtox;
                    self.ask = Ask::Timeout;
                }
                _ => self.again(
                    NfcDepError::Protocol {
                        what: "time-out extension outside 1 to 59",
                    },
                    Ask::Nak,
                ),
            },
            Pfb::Acknowledge { negative: false, pni } if pni == current && self.current == Ask::Information && self.has_more() => {
                self.start = self.end;
                self.progress(Ask::Information);
            }
            Pfb::Information { more, pni } if pni == current && !(self.current == Ask::Information && self.has_more()) => {
                if self.received.len() + dep.data.len() > MAX_DATA {
                    return self.fail(NfcDepError::TooLong);
                }
                // A part that carries nothing is no progress, so that a chain of them ends.
                let tries = if more && dep.data.is_empty() { self.tries + 1 } else { 0 };
                self.received.extend_from_slice(dep.data);
                self.progress(Ask::Ack);
                self.tries = tries;
                if !more {
                    self.outcome = Some(Ok(()));
                } else if tries > 2 * Initiator::RETRIES {
                    self.fail(NfcDepError::Protocol {
                        what: "a chain of empty parts",
                    });
                }
            }
            _ => self.again(
                NfcDepError::Protocol {
                    what: "not the unit that belongs here",
                },
                Ask::Nak,
            ),
        }
    }
}

impl Dialogue for Exchange<'_> {
    type Output = Result<(), NfcDepError>;

    fn poll(&mut self) -> Step<'_, Self::Output> {
        if let Some(outcome) = self.outcome {
            return Step::Done(outcome);
        }
        let (did, pni) = (self.initiator.did, self.initiator.pni);
        let mut rwt = self.initiator.rwt;
        let rtox = [self.rtox];
        let (pfb, data) = match self.ask {
            Ask::Information => {
                // Two bytes of command, PFB, and the number.
                let room = self.initiator.most - 3 - usize::from(did.is_some());
                self.end = self.data.len().min(self.start + room);
                let more = self.has_more();
                (Pfb::Information { more, pni }, &self.data[self.start..self.end])
            }
            Ask::Ack => (Pfb::Acknowledge { negative: false, pni }, &[][..]),
            Ask::Nak => (Pfb::Acknowledge { negative: true, pni }, &[][..]),
            Ask::Attention => (Pfb::Attention, &[][..]),
            Ask::Timeout => {
                rwt = (rwt * u64::from(self.rtox)).min(time::waiting_time(14));
                (Pfb::Timeout, &rtox[..])
            }
        };
        self.initiator.write(&Dep { pfb, did, data });
        let (frame, expect) = self.initiator.step(rwt);
        Step::Exchange(frame, expect)
    }

    fn answered(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        if self.outcome.is_some() {
            return;
        }
        let tries = self.tries + 1;
        match outcome {
            // Silence: is it there? If so, what it has not heard is said again.
            Err(RfError::Timeout) => self.again(
                NfcDepError::Lost {
                    tries,
                    error: RfError::Timeout,
                },
                Ask::Attention,
            ),
            Err(error) => {
                let ask = if self.ask == Ask::Attention { Ask::Attention } else { Ask::Nak };
                self.again(NfcDepError::Lost { tries, error }, ask);
            }
            Ok(()) => {
                let dep = match pdu::unframe(self.initiator.rate, &answer.data) {
                    Some([pdu::RESPONSE, 0x07, body @ ..]) => Dep::parse(body),
                    _ => None,
                };
                match dep.filter(|dep| dep.did.unwrap_or(0) == self.initiator.did.unwrap_or(0)) {
                    Some(dep) => self.heard(&dep),
                    None => self.again(NfcDepError::Protocol { what: "no DEP_RES" }, Ask::Nak),
                }
            }
        }
    }
}

/// Attention, deselection or release: a [`Dialogue`].
#[derive(Debug)]
pub struct Close<'a> {
    initiator: &'a mut Initiator,
    /// `None`: attention.
    command: Option<u8>,
    tries: u8,
    outcome: Option<Result<(), NfcDepError>>,
}

impl Dialogue for Close<'_> {
    type Output = Result<(), NfcDepError>;

    fn poll(&mut self) -> Step<'_, Self::Output> {
        if let Some(outcome) = self.outcome {
            return Step::Done(outcome);
        }
        let did = self.initiator.did;
        match self.command {
            None => self.initiator.write(&Dep {
                pfb: Pfb::Attention,
                did,
                data: &[],
            }),
            Some(command) => {
                let rate = self.initiator.rate;
                pdu::begin(rate, &mut self.initiator.frame);
                self.initiator.frame.extend_from_slice(&[pdu::REQUEST, command]);
                self.initiator.frame.extend(did);
                pdu::finish(rate, &mut self.initiator.frame);
            }
        }
        let (frame, expect) = self.initiator.step(self.initiator.rwt);
        Step::Exchange(frame, expect)
    }

    fn answered(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        self.tries += 1;
        let error = match outcome {
            Err(error) => NfcDepError::Lost { tries: self.tries, error },
            Ok(()) => {
                let did = self.initiator.did;
                let is_right = match (self.command, pdu::unframe(self.initiator.rate, &answer.data)) {
                    (Some(command), Some([pdu::RESPONSE, code, number @ ..])) => {
                        *code == command + 1 && number.first().copied().unwrap_or(0) == did.unwrap_or(0) && number.len() <= 1
                    }
                    (None, Some([pdu::RESPONSE, 0x07, body @ ..])) => {
                        Dep::parse(body).is_some_and(|dep| dep.pfb == Pfb::Attention && dep.did.unwrap_or(0) == did.unwrap_or(0))
                    }
                    _ => false,
                };
                if is_right {
                    return self.outcome = Some(Ok(()));
                }
                NfcDepError::Protocol {
                    what: "not the answer that belongs here",
                }
            }
        };
        if self.tries > Initiator::RETRIES {
            self.outcome = Some(Err(error));
        }
    }
}
