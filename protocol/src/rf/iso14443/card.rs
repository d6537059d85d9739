//! A whole card or phone, from the request to APDUs: selection (type A or B), ATS and PPS or ATTRIB, ISO-DEP, and waking up again after
//! S(DESELECT).

use alloc::vec::Vec;

use super::dep::ats::{Ats, PPSS, Pps, Rats};
use super::dep::block::WTXM_MAX;
use super::dep::{Parameters, frame_size, picc as dep};
use super::{type_a, type_b};
use crate::rf::frame::{BitRate, Frame, Received, RxFrame, Technology};
use crate::rf::time::{self, Ticks};

/// What comes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing is said.
    Silent,
    /// The answer goes out after this delay.
    Answer(Ticks),
    /// [`Card::command`] is complete: [respond](Card::respond) to it.
    Command,
    /// More time was granted after [`Card::ask_for_time`]: [respond](Card::respond) to the command, or ask again.
    Granted,
    /// ISO-DEP has begun. The answer goes out after this delay.
    Activated(Ticks),
    /// The reader has ended ISO-DEP. The answer goes out after this delay.
    Deselected(Ticks),
    /// A selected type A card has got a frame that ISO-DEP does not know, for instance ATR_REQ of NFC-DEP at 106 kbit/s. Whoever knows
    /// it calls [`Card::enter_other_protocol`] and answers; otherwise [`Card::back`].
    Other,
}

#[derive(Clone, Debug)]
enum Selection {
    A { picc: type_a::picc::Picc, ats: Ats, iso_dep: bool },
    B(type_b::picc::Picc),
}

/// A card.
#[derive(Debug)]
pub struct Card {
    selection: Selection,
    dep: dep::Picc,
    /// PPS is understood as the first frame after ATS only.
    pps: bool,
    /// A protocol other than ISO-DEP has the frames.
    other: bool,
    /// The response on which the card still works, and for how long.
    pending: Option<(Vec<u8>, Ticks)>,
    /// For how long the reader waits now.
    patience: Ticks,
    /// Delay of an answer that needs no work.
    delay: Ticks,
}

impl Card {
    /// A type A card.
    #[must_use]
    pub fn type_a(uid: type_a::Uid, atqa: type_a::Atqa, sak: type_a::Sak, ats: Ats) -> Self {
        let picc = type_a::picc::Picc::new(uid, atqa, sak);
        Self::new(
            Selection::A {
                picc,
                ats,
                iso_dep: sak.has_iso_dep(),
            },
            Technology::A,
        )
    }

    /// A type B card. `random` is what its choice of slots begins with.
    #[must_use]
    pub fn type_b(atqb: type_b::Atqb, random: u32) -> Self {
        Self::new(Selection::B(type_b::picc::Picc::new(atqb, random)), Technology::B)
    }

    fn new(selection: Selection, technology: Technology) -> Self {
        Self {
            selection,
            dep: dep::Picc::new(Parameters::new(technology)),
            pps: false,
            other: false,
            pending: None,
            patience: Ticks::ZERO,
            delay: Ticks::ZERO,
        }
    }

    /// The field comes or goes.
    pub fn field(&mut self, on: bool) {
        match &mut self.selection {
            Selection::A { picc, .. } => picc.field(on),
            Selection::B(picc) => picc.field(on),
        }
        if !on {
            self.other = false;
            self.pending = None;
        }
    }

    /// Takes another identifier of type A, as phones do each time a field comes.
    pub const fn set_uid(&mut self, uid: type_a::Uid) {
        if let Selection::A { picc, .. } = &mut self.selection {
            picc.set_uid(uid);
        }
    }

    /// Takes another identifier of type B.
    pub const fn set_pupi(&mut self, pupi: type_b::Pupi) {
        if let Selection::B(picc) = &mut self.selection {
            picc.set_pupi(pupi);
        }
    }

    /// Whether ISO-DEP, or another protocol, has the frames.
    #[must_use]
    pub fn is_active(&self) -> bool {
        match &self.selection {
            Selection::A { picc, .. } => picc.state() == type_a::picc::State::Protocol,
            Selection::B(picc) => picc.state() == type_b::picc::State::Active,
        }
    }

    /// What both sides have agreed on in ISO-DEP.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        self.dep.parameters()
    }

    /// The C-APDU, after [`Event::Command`].
    #[must_use]
    pub fn command(&self) -> &[u8] {
        self.dep.command()
    }

    /// Another protocol has the frames until [`Self::halt`], or until the field goes: each of them is [`Event::Other`].
    pub const fn enter_other_protocol(&mut self) {
        if let Selection::A { picc, .. } = &mut self.selection {
            picc.enter_protocol();
            self.other = true;
        }
    }

    /// Nobody knew the frame: the card goes back to where it waited.
    pub const fn back(&mut self) {
        if let Selection::A { picc, .. } = &mut self.selection {
            picc.back();
        }
    }

    /// The protocol has ended: the card waits to be woken.
    pub fn halt(&mut self) {
        match &mut self.selection {
            Selection::A { picc, .. } => picc.halt(),
            Selection::B(picc) => picc.halt(),
        }
        self.other = false;
        self.pending = None;
    }

    /// Takes a frame; `answer` is then what is to be sent, as the event says.
    pub fn receive(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> Event {
        answer.clear();
        if let Ok(frame) = &frame {
            self.delay = match frame.technology {
                Technology::A => time::fdt_a(frame),
                Technology::B | Technology::F => time::FDT_B_MIN,
            };
        }
        match &mut self.selection {
            Selection::A { picc, ats, iso_dep } => match picc.receive(frame, answer) {
                type_a::picc::Heard::Silent => Event::Silent,
                type_a::picc::Heard::Answer => Event::Answer(self.delay),
                type_a::picc::Heard::Above => {
                    let Ok(frame) = frame else {
                        return Event::Silent;
                    };
                    if picc.state() == type_a::picc::State::Protocol {
                        return self.protocol(&frame, answer);
                    }
                    match Rats::parse(frame.data) {
                        Some(rats) if *iso_dep => {
                            picc.enter_protocol();
                            self.dep.restart(Parameters {
                                technology: Technology::A,
                                fsc: ats.fsc(),
                                fsd: frame_size(rats.fsdi),
                                fwt: ats.fwt(),
                                cid: ats.cid.then_some(rats.cid),
                                nad: None,
                                send: BitRate::Kbps106,
                                receive: BitRate::Kbps106,
                            });
                            answer.set(&Frame::new(Technology::A, &ats.encode()));
                            self.pps = true;
                            self.other = false;
                            self.pending = None;
                            Event::Activated(self.delay)
                        }
                        _ => Event::Other,
                    }
                }
            },
            Selection::B(picc) => match picc.receive(frame, answer) {
                type_b::picc::Heard::Silent => Event::Silent,
                type_b::picc::Heard::Answer => Event::Answer(self.delay),
                type_b::picc::Heard::Selected(parameters) => {
                    self.dep.restart(parameters);
                    self.pending = None;
                    Event::Activated(self.delay)
                }
                type_b::picc::Heard::Above => frame.map_or(Event::Silent, |frame| self.protocol(&frame, answer)),
            },
        }
    }

    fn protocol(&mut self, frame: &Frame<'_>, answer: &mut RxFrame) -> Event {
        if self.other {
            return Event::Other;
        }
        let parameters = self.dep.parameters();
        let is_ours = frame.technology == parameters.technology && frame.rate == parameters.send;
        if !is_ours || !frame.crc || !frame.is_whole() {
            return Event::Silent;
        }
        if core::mem::take(&mut self.pps)
            && let Selection::A { ats, .. } = &self.selection
            && let Some(pps) = Pps::parse(frame.data)
        {
            let (rates, own) = (ats.rates, parameters.cid.unwrap_or(0));
            let fits = rates.send(pps.send) && rates.receive(pps.receive) && (!rates.same_only() || pps.send == pps.receive);
            if pps.cid != own || !fits {
                return Event::Silent;
            }
            answer.set(&Frame::new(Technology::A, &[PPSS | pps.cid]));
            // The answer is still at the old rate.
            self.dep.set_rates(pps.send, pps.receive);
            return Event::Answer(self.delay);
        }
        match self.dep.receive(frame.data) {
            dep::Heard::Silent => Event::Silent,
            dep::Heard::Answer => Event::Answer(self.put(answer)),
            dep::Heard::Command => {
                self.pending = None;
                self.patience = self.dep.parameters().fwt;
                Event::Command
            }
            dep::Heard::Granted => match self.pending.take() {
                Some((response, work)) => Event::Answer(self.work(response, work, answer)),
                None => Event::Granted,
            },
            dep::Heard::Deselected => {
                let delay = self.put(answer);
                self.halt();
                Event::Deselected(delay)
            }
        }
    }

    fn put(&self, answer: &mut RxFrame) -> Ticks {
        let parameters = self.dep.parameters();
        answer.set(&Frame::new(parameters.technology, self.dep.block()).at(parameters.receive));
        self.delay
    }

    /// Responds to the command after so much work, asking for more time as often as that takes. Fills `answer` with the next block
    /// and returns the delay after which it goes out.
    pub fn respond(&mut self, response: &[u8], work: Ticks, answer: &mut RxFrame) -> Ticks {
        // Seven eighths of the waiting time: the reader must hear the block begin before it ends.
        if work.0 <= self.patience.0 / 8 * 7 {
            self.dep.respond(response);
            return self.put(answer).max(work);
        }
        self.work(response.to_vec(), work, answer)
    }

    /// Asks for one waiting time more, because somebody else still works on the response (S(WTX), ISO/IEC 14443-4 7.2.2). Fills `answer`
    /// and returns the delay after which it goes out; [`Event::Granted`] follows.
    pub fn ask_for_time(&mut self, answer: &mut RxFrame) -> Ticks {
        self.dep.ask_for_time(1);
        self.put(answer)
    }

    fn work(&mut self, response: Vec<u8>, work: Ticks, answer: &mut RxFrame) -> Ticks {
        if work.0 <= self.patience.0 / 8 * 7 {
            self.dep.respond(&response);
            return self.put(answer).max(work);
        }
        // Works for three quarters of the time that it has, and asks for as much as the rest needs.
        let done = Ticks(self.patience.0 / 4 * 3);
        let left = work - done;
        let fwt = self.dep.parameters().fwt;
        let times = (left.0 / 7 * 8).div_ceil(fwt.0.max(1)) + 1;
        let wtxm = u8::try_from(times).unwrap_or(WTXM_MAX).min(WTXM_MAX);
        self.patience = (fwt * u64::from(wtxm)).min(time::waiting_time(14));
        self.pending = Some((response, left));
        self.dep.ask_for_time(wtxm);
        self.put(answer).max(done)
    }
}
