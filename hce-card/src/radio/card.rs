//! [`RadioCard`]: a [`Card`] that stands in a field.

use std::time::{Duration, Instant};

use tapdoor_link::field::FieldCard;
use tapdoor_protocol::rf::frame::{BitRate, Frame, Received, RxFrame, Technology};
use tapdoor_protocol::rf::iso14443::dep::ats::{Ats, PPSS, Pps, Rates, Rats};
use tapdoor_protocol::rf::iso14443::dep::block::{Block, Kind};
use tapdoor_protocol::rf::iso14443::dep::picc::{Heard, Picc};
use tapdoor_protocol::rf::iso14443::dep::{Parameters, frame_size};
use tapdoor_protocol::rf::iso14443::type_a::picc::{self, State};
use tapdoor_protocol::rf::iso14443::type_a::{Atqa, Sak, Uid};
use tapdoor_protocol::rf::time::{self, Ticks};

use super::worker::{Answered, Worker};
use crate::serve::Card;

/// SAK of a card that knows ISO-DEP and nothing else.
const ISO_DEP: Sak = Sak(0x20);
/// How long a phone that taps by itself stays away, so that every reader sees it go.
const AWAY: Duration = Duration::from_millis(900);
/// A card asks for more time when this part of its waiting time is over (3 of 4), so that S(WTX) is not late.
const SAFE: (u64, u64) = (3, 4);

/// Where a card's identifier comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UidSource {
    /// 08 and three random bytes, others each time a field comes.
    Random,
    /// Always this one.
    Fixed(Uid),
}

/// How a card looks on the air.
#[derive(Clone, Debug)]
pub struct Appearance {
    /// Its identifier.
    pub uid: UidSource,
    /// Answer to request; `None`: as the identifier's length has it.
    pub atqa: Option<Atqa>,
    /// Select acknowledge.
    pub sak: Sak,
    /// Answer to select.
    pub ats: Ats,
    /// S(WTX) so many times before each response, with this multiplier (1 to 59), besides those that a slow phone needs.
    pub wtx: Option<(u8, u8)>,
}

impl Default for Appearance {
    /// As Android phones look, ATS 05 75 77 80 02: random identifier, no historical bytes, no start-up guard time. Frames of 64 bytes (iPhones
    /// take those, Android 256) so that chaining is met, up to 848 kbit/s where many phones stay at 106, and a waiting time of 77 ms.
    fn default() -> Self {
        Self {
            uid: UidSource::Random,
            atqa: None,
            sak: ISO_DEP,
            ats: Ats {
                fsci: 5,
                rates: Rates::ALL,
                fwi: 8,
                sfgi: 0,
                cid: true,
                nad: false,
                historical: Vec::new(),
            },
            wtx: None,
        }
    }
}

/// How a card's time for its work is told to the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Every command takes so long by the field's clock, however long it takes for real.
    Simulated(Ticks),
    /// For real, on a thread of its own: a slow card asks for more time as it goes.
    Live,
}

enum Works<C> {
    Here(C, Ticks),
    There(Worker),
}

/// A type A card with ISO-DEP in front of a [`Card`].
pub struct RadioCard<C> {
    works: Works<C>,
    appearance: Appearance,
    a: picc::Picc,
    dep: Option<Picc>,
    is_on: bool,
    // Whether the card behind has power: from RATS on.
    is_up: bool,
    // PPS is allowed as the first frame after the ATS only.
    is_fresh: bool,
    asked: u8,
    // What the last command came to, while S(WTX) is on its way.
    ready: Option<(Vec<u8>, bool)>,
    leaving: bool,
    away_until: Option<Instant>,
    response: Vec<u8>,
}

impl<C: Card + 'static> RadioCard<C> {
    /// Puts a card behind an antenna.
    pub fn new(card: C, appearance: Appearance, pace: Pace) -> Self {
        let uid = match appearance.uid {
            UidSource::Fixed(uid) => uid,
            UidSource::Random => random_uid(),
        };
        let atqa = appearance.atqa.unwrap_or_else(|| Atqa::of(&uid));
        let works = match pace {
            Pace::Simulated(work) => Works::Here(card, work),
            Pace::Live => Works::There(Worker::start(card)),
        };
        Self {
            works,
            a: picc::Picc::new(uid, atqa, appearance.sak),
            appearance,
            dep: None,
            is_on: false,
            is_up: false,
            is_fresh: false,
            asked: 0,
            ready: None,
            leaving: false,
            away_until: None,
            response: Vec::new(),
        }
    }
}

/// 08 and three random bytes (ISO/IEC 14443-3 6.5.4).
fn random_uid() -> Uid {
    let mut bytes = [0x08, 0, 0, 0];
    // Without randomness the identifier is a constant, which breaks nothing: readers must not rely on it.
    let _ = getrandom::fill(&mut bytes[1..]);
    Uid::from(bytes)
}

impl<C: Card> RadioCard<C> {
    fn power(&mut self, on: bool) {
        if self.is_up == on {
            return;
        }
        self.is_up = on;
        self.ready = None;
        match &mut self.works {
            Works::Here(card, _) if on => card.power_on(),
            Works::Here(card, _) => card.power_off(),
            Works::There(worker) => worker.power(on),
        }
    }

    /// The field, as far as the card notices: it is somewhere else while it is away.
    fn switch(&mut self, on: bool) {
        if self.is_on == on {
            return;
        }
        self.is_on = on;
        if on && self.appearance.uid == UidSource::Random {
            self.a.set_uid(random_uid());
        }
        self.a.field(on);
        if !on {
            self.end();
        }
    }

    /// The session is over.
    fn end(&mut self) {
        self.dep = None;
        self.leaving = false;
        self.power(false);
    }

    /// The card leaves the field, and comes back a little later.
    fn leave(&mut self) {
        self.switch(false);
        self.away_until = Some(Instant::now() + AWAY);
    }

    fn rats(&mut self, frame: &Frame<'_>, answer: &mut RxFrame) -> Option<Ticks> {
        let Some(rats) = Rats::parse(frame.data).filter(|_| self.appearance.sak.has_iso_dep()) else {
            self.a.back();
            return None;
        };
        let ats = &self.appearance.ats;
        let parameters = Parameters {
            fsc: ats.fsc(),
            fsd: frame_size(rats.fsdi),
            fwt: ats.fwt(),
            cid: ats.cid.then_some(rats.cid),
            ..Parameters::new(Technology::A)
        };
        self.dep = Some(Picc::new(parameters));
        self.is_fresh = true;
        self.a.enter_protocol();
        answer.set(&Frame::new(Technology::A, &ats.encode()));
        self.power(true);
        Some(time::fdt_a(frame))
    }

    fn block(&mut self, frame: &Frame<'_>, answer: &mut RxFrame) -> Option<Ticks> {
        let fresh = std::mem::take(&mut self.is_fresh);
        let dep = self.dep.as_mut()?;
        let parameters = *dep.parameters();
        if frame.rate != parameters.send || !frame.crc || !frame.is_whole() {
            return None;
        }
        if fresh && frame.data.first().is_some_and(|b| b & 0xF0 == PPSS) {
            return self.pps(frame, answer);
        }
        match dep.receive(frame.data) {
            Heard::Silent => None,
            Heard::Answer => self.say(frame, Ticks::ZERO, answer),
            Heard::Command => {
                self.asked = 0;
                self.begin(frame, answer)
            }
            Heard::Granted => self.go_on(frame, answer),
            Heard::Deselected => {
                let delay = self.say(frame, Ticks::ZERO, answer);
                if self.leaving {
                    self.leave();
                } else {
                    self.a.halt();
                    self.end();
                }
                delay
            }
        }
    }

    fn pps(&mut self, frame: &Frame<'_>, answer: &mut RxFrame) -> Option<Ticks> {
        let dep = self.dep.as_mut()?;
        let pps = Pps::parse(frame.data)?;
        let rates = self.appearance.ats.rates;
        if pps.cid != dep.parameters().cid.unwrap_or(0) || !rates.send(pps.send) || !rates.receive(pps.receive) {
            return None;
        }
        answer.set(&Frame::new(Technology::A, &[PPSS | pps.cid]));
        dep.set_rates(pps.send, pps.receive);
        Some(time::fdt_a(frame))
    }

    /// The block that the protocol has ready.
    fn say(&self, frame: &Frame<'_>, work: Ticks, answer: &mut RxFrame) -> Option<Ticks> {
        let dep = self.dep.as_ref()?;
        answer.set(&Frame::new(Technology::A, dep.block()).at(dep.parameters().receive));
        Some(time::fdt_a(frame).max(work))
    }

    fn begin(&mut self, frame: &Frame<'_>, answer: &mut RxFrame) -> Option<Ticks> {
        let dep = self.dep.as_ref()?;
        match &mut self.works {
            Works::Here(card, _) => {
                let mut response = std::mem::take(&mut self.response);
                response.clear();
                card.process(dep.command(), &mut response);
                let leaving = card.is_leaving();
                self.ready = Some((response, leaving));
            }
            Works::There(worker) => {
                let mut response = std::mem::take(&mut self.response);
                response.clear();
                self.ready = worker.at_once(dep.command(), &mut response).map(|leaving| (response, leaving));
                if self.ready.is_none() {
                    worker.command(dep.command());
                }
            }
        }
        self.go_on(frame, answer)
    }

    /// Responds if the work is done, and asks for time otherwise.
    fn go_on(&mut self, frame: &Frame<'_>, answer: &mut RxFrame) -> Option<Ticks> {
        let dep = self.dep.as_mut()?;
        let fwt = dep.parameters().fwt;
        let safe = Ticks(fwt.0 * SAFE.0 / SAFE.1);
        if let Some((times, wtxm)) = self.appearance.wtx
            && self.asked < times
        {
            self.asked += 1;
            dep.ask_for_time(wtxm);
            return self.say(frame, Ticks::ZERO, answer);
        }
        let (result, work) = match &mut self.works {
            Works::Here(_, work) => match self.ready.take() {
                // All the time that it needs in one request, as far as a request goes.
                Some(ready) if *work > safe && self.asked == self.appearance.wtx.map_or(0, |(times, _)| times) => {
                    self.ready = Some(ready);
                    self.asked = self.asked.saturating_add(1);
                    let wtxm = work.0.div_ceil(safe.0.max(1)).clamp(1, 59);
                    dep.ask_for_time(wtxm as u8);
                    return self.say(frame, safe, answer);
                }
                Some(ready) => (ready, if self.asked > 0 { work.saturating_sub(safe) } else { *work }),
                None => return None,
            },
            Works::There(worker) => match self.ready.take() {
                Some(ready) => (ready, Ticks::ZERO),
                None => match worker.answer(safe.as_duration()) {
                    Answered::Response(response, leaving) => ((response, leaving), Ticks::ZERO),
                    Answered::NotYet => {
                        dep.ask_for_time(1);
                        return self.say(frame, safe, answer);
                    }
                },
            },
        };
        let (response, leaving) = result;
        if response.is_empty() {
            self.leave();
            return None;
        }
        dep.respond(&response);
        self.leaving = leaving;
        self.response = response;
        self.say(frame, work, answer)
    }

    /// A phone that leaves does so when its answer has been fetched: when what comes next is no question about the answer, but another
    /// command or a look whether it is still there. It still says good-bye.
    fn leaves_before(&self, frame: &Received<'_>) -> bool {
        let (true, Ok(frame), Some(dep)) = (self.leaving, frame, &self.dep) else {
            return false;
        };
        let number = dep.block().first().map_or(0, |pcb| pcb & 1);
        match Block::parse(frame.data).map(|block| block.kind) {
            Ok(Kind::Nak { number: asked }) => asked != number,
            Ok(kind) => matches!(kind, Kind::I { .. }),
            Err(_) => true,
        }
    }
}

impl<C: Card> FieldCard for RadioCard<C> {
    fn field(&mut self, on: bool, _now: Ticks) {
        if self.away_until.is_none() {
            self.switch(on);
        } else if !on {
            self.is_on = false;
        }
    }

    fn receive(&mut self, frame: Received<'_>, _now: Ticks, answer: &mut RxFrame) -> Option<Ticks> {
        if let Some(until) = self.away_until {
            if Instant::now() < until {
                return None;
            }
            self.away_until = None;
            self.switch(true);
        }
        if self.leaves_before(&frame) {
            self.leave();
            return None;
        }
        if self.a.state() == State::Protocol {
            let frame = frame.ok().filter(|frame| frame.technology == Technology::A)?;
            return self.block(&frame, answer);
        }
        match self.a.receive(frame, answer) {
            picc::Heard::Silent => None,
            picc::Heard::Answer => frame.ok().map(|frame| time::fdt_a(&frame)),
            picc::Heard::Above => {
                let frame = frame.ok().filter(|frame| frame.rate == BitRate::Kbps106)?;
                self.rats(&frame, answer)
            }
        }
    }
}
