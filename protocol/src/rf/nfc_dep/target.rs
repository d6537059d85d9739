//! The card's half (ISO/IEC 18092 12.5, 12.6). It never speaks first, and never asks for a repetition.

use alloc::vec::Vec;

use super::pdu::{self, Atr, Dep, Pfb, Psl};
use super::{MAX_DATA, RTOX_MAX, technology};
use crate::rf::frame::{BitRate, Frame, Received, RxFrame};

/// What comes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing is said.
    Silent,
    /// The answer is ready.
    Answer,
    /// The session has begun; the answer is ready.
    Attached,
    /// [`Target::data`] is complete: [respond](Target::respond) to it, or ask for [more time](Target::ask_for_time).
    Data,
    /// More time was granted.
    Granted,
    /// The session is over and the target waits to be woken (DSL); the answer is ready.
    Deselected,
    /// The session is over (RLS); the answer is ready.
    Released,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for ATR_REQ.
    Detached,
    Waiting,
    Working,
    /// A time-out extension was sent.
    Asking,
    /// Part of the response was sent.
    Chaining,
}

/// A target.
#[derive(Debug)]
pub struct Target {
    atr: Atr,
    rate: BitRate,
    /// The target's number; 0: none.
    did: u8,
    /// Whether the initiator writes it into its units: then so does the target. A number 0 may be written, too.
    with_did: bool,
    state: State,
    /// The number that the next unit should have.
    pni: u8,
    /// Longest unit to the initiator.
    most: usize,
    general: Vec<u8>,
    data: Vec<u8>,
    collecting: bool,
    response: Vec<u8>,
    sent: usize,
    /// The last answer, which is sent again when it is asked for.
    frame: Vec<u8>,
}

impl Target {
    /// A target with these attributes; `to` counts, the number comes from the initiator.
    #[must_use]
    pub fn new(mut atr: Atr) -> Self {
        atr.to = Some(atr.to.unwrap_or(8));
        Self {
            atr,
            rate: BitRate::Kbps106,
            did: 0,
            with_did: false,
            state: State::Detached,
            pni: 0,
            most: pdu::length(0),
            general: Vec::new(),
            data: Vec::new(),
            collecting: false,
            response: Vec::new(),
            sent: 0,
            frame: Vec::new(),
        }
    }

    /// Forgets the session: the field went, or the target was selected anew.
    pub fn reset(&mut self) {
        self.state = State::Detached;
        self.collecting = false;
        self.frame.clear();
    }

    /// Whether a session is under way.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.state != State::Detached
    }

    /// What the initiator has sent, after [`Heard::Data`].
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The initiator's general bytes.
    #[must_use]
    pub fn general(&self) -> &[u8] {
        &self.general
    }

    /// The rate of both directions.
    #[must_use]
    pub const fn rate(&self) -> BitRate {
        self.rate
    }

    /// As it stands in units.
    fn number(&self) -> Option<u8> {
        self.with_did.then_some(self.did)
    }

    fn put(&self, answer: &mut RxFrame) {
        answer.set(&Frame::new(technology(self.rate), &self.frame).at(self.rate));
    }

    fn write(&mut self, dep: &Dep<'_>) {
        pdu::begin(self.rate, &mut self.frame);
        self.frame.extend_from_slice(&[pdu::RESPONSE, 0x07]);
        dep.encode_into(&mut self.frame);
        pdu::finish(self.rate, &mut self.frame);
    }

    fn short(&mut self, unit: &[u8], answer: &mut RxFrame) {
        pdu::begin(self.rate, &mut self.frame);
        self.frame.extend_from_slice(unit);
        pdu::finish(self.rate, &mut self.frame);
        self.put(answer);
    }

    /// Takes a frame: of type A at 106 kbit/s, of type F above.
    pub fn receive(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> Heard {
        let Ok(frame) = frame else {
            return Heard::Silent;
        };
        let fits = frame.crc && frame.is_whole() && frame.technology == technology(frame.rate) && frame.rate <= BitRate::Kbps424;
        if !fits || (self.is_attached() && frame.rate != self.rate) {
            return Heard::Silent;
        }
        let Some([pdu::REQUEST, code, body @ ..]) = pdu::unframe(frame.rate, frame.data) else {
            return Heard::Silent;
        };
        match (code, self.state) {
            (0x00, State::Detached) => self.attach(body, frame.rate, answer),
            // Its answer was lost.
            (0x00, State::Waiting) if self.pni == 0 && !self.collecting => self.attach(body, frame.rate, answer),
            (_, State::Detached) => Heard::Silent,
            (0x04, _) => self.change_rate(body, answer),
            (0x06, _) => match Dep::parse(body) {
                Some(dep) if dep.did.unwrap_or(0) == self.did => {
                    self.with_did = dep.did.is_some();
                    self.exchange(&dep, answer)
                }
                _ => Heard::Silent,
            },
            (0x08 | 0x0A, _) if matches!(body, [] | [_]) && body.first().copied().unwrap_or(0) == self.did => {
                let unit = [pdu::RESPONSE, code + 1, self.did];
                self.short(&unit[..2 + body.len()], answer);
                self.reset();
                if *code == 0x08 { Heard::Deselected } else { Heard::Released }
            }
            _ => Heard::Silent,
        }
    }

    fn attach(&mut self, body: &[u8], rate: BitRate, answer: &mut RxFrame) -> Heard {
        let Some(request) = Atr::parse(false, body) else {
            return Heard::Silent;
        };
        self.rate = rate;
        self.did = request.did;
        self.with_did = request.did != 0;
        self.most = pdu::length(request.lr);
        self.general = request.general;
        self.state = State::Waiting;
        self.pni = 0;
        self.collecting = false;
        pdu::begin(rate, &mut self.frame);
        let did = request.did;
        Atr { did, ..self.atr.clone() }.encode_into(&mut self.frame);
        pdu::finish(rate, &mut self.frame);
        self.put(answer);
        Heard::Attached
    }

    fn change_rate(&mut self, body: &[u8], answer: &mut RxFrame) -> Heard {
        let psl = Psl::parse(body).filter(|psl| psl.did == self.did && psl.send == psl.receive);
        let Some(psl) = psl.filter(|psl| psl.send <= BitRate::Kbps424) else {
            return Heard::Silent;
        };
        self.short(&[pdu::RESPONSE, 0x05, psl.did], answer);
        self.rate = psl.send;
        self.most = self.most.min(pdu::length(psl.lr));
        Heard::Answer
    }

    fn exchange(&mut self, dep: &Dep<'_>, answer: &mut RxFrame) -> Heard {
        let last = self.pni.wrapping_sub(1) & 3;
        match dep.pfb {
            Pfb::Attention => {
                // It is no answer that could be asked for again.
                let kept = core::mem::take(&mut self.frame);
                let did = self.number();
                self.write(&Dep {
                    pfb: Pfb::Attention,
                    did,
                    data: &[],
                });
                self.put(answer);
                self.frame = kept;
                Heard::Answer
            }
            Pfb::Timeout if self.state == State::Asking => {
                self.state = State::Working;
                Heard::Granted
            }
            // While it works, or has asked for time, nothing new is taken; what it has said last it says again.
            _ if self.state == State::Working => Heard::Silent,
            Pfb::Acknowledge { negative: true, .. } => self.last_again(answer),
            Pfb::Information { pni, .. } | Pfb::Acknowledge { pni, .. } if pni == last => self.last_again(answer),
            Pfb::Information { pni, .. } if pni == self.pni && self.state == State::Asking => self.last_again(answer),
            Pfb::Information { more, pni } if pni == self.pni && self.state == State::Waiting => self.information(dep, more, answer),
            Pfb::Acknowledge { negative: false, pni } if pni == self.pni && self.state == State::Chaining => {
                self.next_part(answer);
                Heard::Answer
            }
            _ => Heard::Silent,
        }
    }

    fn last_again(&self, answer: &mut RxFrame) -> Heard {
        if self.frame.is_empty() {
            return Heard::Silent;
        }
        self.put(answer);
        Heard::Answer
    }

    fn information(&mut self, dep: &Dep<'_>, more: bool, answer: &mut RxFrame) -> Heard {
        if !core::mem::replace(&mut self.collecting, more) {
            self.data.clear();
        }
        if self.data.len() + dep.data.len() > MAX_DATA {
            self.collecting = false;
            return Heard::Silent;
        }
        self.data.extend_from_slice(dep.data);
        if more {
            let (did, pni) = (self.number(), self.pni);
            self.write(&Dep {
                pfb: Pfb::Acknowledge { negative: false, pni },
                did,
                data: &[],
            });
            self.pni = (self.pni + 1) & 3;
            self.put(answer);
            Heard::Answer
        } else {
            self.state = State::Working;
            Heard::Data
        }
    }

    /// Responds to the data; `answer` is then the first part of it.
    pub fn respond(&mut self, response: &[u8], answer: &mut RxFrame) {
        self.response.clear();
        self.response.extend_from_slice(response);
        self.sent = 0;
        self.next_part(answer);
    }

    /// Asks for `rtox` (1 to 59) times the waiting time. Only between data and its response.
    pub fn ask_for_time(&mut self, rtox: u8, answer: &mut RxFrame) {
        if self.state == State::Working {
            self.state = State::Asking;
            let did = self.number();
            self.write(&Dep {
                pfb: Pfb::Timeout,
                did,
                data: &[rtox.clamp(1, RTOX_MAX)],
            });
            self.put(answer);
        }
    }

    fn next_part(&mut self, answer: &mut RxFrame) {
        let room = self.most - 3 - usize::from(self.with_did);
        let end = self.response.len().min(self.sent + room);
        let more = end < self.response.len();
        let (did, pni) = (self.number(), self.pni);
        let response = core::mem::take(&mut self.response);
        self.write(&Dep {
            pfb: Pfb::Information { more, pni },
            did,
            data: response.get(self.sent..end).unwrap_or_default(),
        });
        self.response = response;
        self.sent = end;
        self.pni = (self.pni + 1) & 3;
        self.state = if more { State::Chaining } else { State::Waiting };
        self.put(answer);
    }
}
