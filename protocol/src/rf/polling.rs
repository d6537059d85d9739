//! Polling: a round over the technologies, each tried in turn, with the frames in between that tell phones what kind of reader this is.
//!
//! Such a frame is sent like a command and never answered: Apple's enhanced contactless polling begins with 6A, and Android's observe
//! mode looks at any frame that is no request ("polling loop annotation").

use alloc::vec::Vec;

use super::felica::{self, SensfReq, SensfRes};
use super::frame::{BitRate, Frame, RfError, RxFrame, Technology};
use super::iso14443::dep::Parameters;
use super::iso14443::dep::activate::{Activate, ActivateError, Wishes};
use super::iso14443::dep::ats::Ats;
use super::iso14443::{type_a, type_b};
use super::time;
use super::{Dialogue, Step};

/// First byte of an enhanced contactless polling frame.
const ECP: u8 = 0x6A;

/// A frame between polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// How it is sent; A or B.
    pub technology: Technology,
    /// Its bytes; a checksum follows on the air.
    pub data: Vec<u8>,
}

impl Annotation {
    /// Any frame.
    #[must_use]
    pub const fn new(technology: Technology, data: Vec<u8>) -> Self {
        Self { technology, data }
    }

    /// Enhanced contactless polling, version 2, for access control: `6A 02`, flags C0 and the length of what follows the subtype, type
    /// 02, `subtype` (06 as used against phones), terminal capabilities `tci`, and `data` (of a reader group's identifier the first 8
    /// bytes). What does not fit into the length's four bits is left out.
    #[must_use]
    pub fn ecp_access(subtype: u8, tci: [u8; 3], data: &[u8]) -> Self {
        let data = &data[..data.len().min(12)];
        // At most 15.
        let length = (tci.len() + data.len()) as u8;
        let mut frame = Vec::with_capacity(8 + data.len());
        frame.extend_from_slice(&[ECP, 0x02, 0xC0 | length, 0x02, subtype]);
        frame.extend_from_slice(&tci);
        frame.extend_from_slice(data);
        Self::new(Technology::A, frame)
    }
}

/// One step of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Type A, activated up to ISO-DEP where the card knows it.
    A,
    /// Type B, likewise; of this family (0: any).
    B {
        /// Application family identifier.
        afi: u8,
    },
    /// Type F.
    F {
        /// What to ask for.
        request: SensfReq,
        /// 212 or 424 kbit/s.
        rate: BitRate,
    },
    /// A frame that tells phones something.
    Annotate(Annotation),
}

/// A round, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to try.
    pub probes: Vec<Probe>,
    /// What ISO-DEP should agree on.
    pub wishes: Wishes,
}

impl Default for Plan {
    /// Type A, then type B.
    fn default() -> Self {
        Self {
            probes: alloc::vec![Probe::A, Probe::B { afi: 0 }],
            wishes: Wishes::default(),
        }
    }
}

impl Plan {
    /// Type A only.
    #[must_use]
    pub fn type_a() -> Self {
        Self {
            probes: alloc::vec![Probe::A],
            ..Self::default()
        }
    }

    /// With an annotation before each request of a technology: phones decide by it whether to answer.
    #[must_use]
    pub fn annotated(mut self, annotation: &Annotation) -> Self {
        let with = |probe| match probe {
            Probe::Annotate(_) => alloc::vec![probe],
            probe => alloc::vec![Probe::Annotate(annotation.clone()), probe],
        };
        self.probes = self.probes.into_iter().flat_map(with).collect();
        self
    }

    /// With these wishes.
    #[must_use]
    pub const fn with_wishes(mut self, wishes: Wishes) -> Self {
        self.wishes = wishes;
        self
    }
}

/// A card that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Type A.
    A {
        /// How it was selected.
        card: type_a::Card,
        /// ISO-DEP, if it knows it and it was activated.
        iso_dep: Option<(Ats, Parameters)>,
        /// The ATS as it came, from TL on; empty without ISO-DEP.
        ats: Vec<u8>,
    },
    /// Type B.
    B {
        /// Its answer to request.
        atqb: type_b::Atqb,
        /// ISO-DEP, if it knows it and it was activated.
        iso_dep: Option<Parameters>,
    },
    /// Type F.
    F {
        /// Its answer.
        card: SensfRes,
        /// The rate at which it answered.
        rate: BitRate,
    },
}

impl Found {
    /// What ISO-DEP agreed on, if it was activated.
    #[must_use]
    pub const fn iso_dep(&self) -> Option<&Parameters> {
        match self {
            Self::A {
                iso_dep: Some((_, parameters)),
                ..
            }
            | Self::B {
                iso_dep: Some(parameters), ..
            } => Some(parameters),
            _ => None,
        }
    }
}

/// Why a card that answered was not activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// Type A.
    #[error(transparent)]
    SelectA(#[from] type_a::pcd::SelectError),
    /// ISO-DEP of type A.
    #[error(transparent)]
    Activate(#[from] ActivateError),
    /// Type B.
    #[error("the type B card could not be selected: {0}; hold it still and closer")]
    SelectB(RfError),
    /// Type F.
    #[error("the type F card could not be read: {0}; hold it still and closer")]
    F(RfError),
}

#[derive(Debug)]
enum State {
    /// The field was just switched on.
    Guard,
    Begin,
    SelectA(type_a::pcd::Select),
    Activate(type_a::Card, Activate),
    SelectB(type_b::pcd::Select),
    Attrib(type_b::Atqb, type_b::pcd::Attrib),
    F(felica::Poll, BitRate),
    /// A failed activation: the field goes off for a moment.
    Reset,
    Done,
}

/// One round over a [`Plan`]: finds one card and activates it.
///
/// An activation that fails is begun again without the field in between, [`Round::RETRIES`] times.
#[derive(Debug)]
pub struct Round<'a> {
    plan: &'a Plan,
    at: usize,
    state: State,
    retries: u8,
    outcome: Result<Option<Found>, PollError>,
}

impl<'a> Round<'a> {
    /// So often a failed activation is begun again.
    pub const RETRIES: u8 = 2;

    /// A round in a field that was on already.
    #[must_use]
    pub const fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            at: 0,
            state: State::Begin,
            retries: Self::RETRIES,
            outcome: Ok(None),
        }
    }

    /// A round in a field that was just switched on: the guard time of 5 ms goes first.
    #[must_use]
    pub fn after_field_on(plan: &'a Plan) -> Self {
        let mut round = Self::new(plan);
        round.state = State::Guard;
        round
    }

    fn found(&mut self, found: Found) {
        self.outcome = Ok(Some(found));
        self.state = State::Done;
    }

    fn next(&mut self) {
        self.at += 1;
        self.state = State::Begin;
    }

    fn failed(&mut self, error: PollError) {
        self.outcome = Err(error);
        self.state = match self.retries.checked_sub(1) {
            Some(left) => {
                self.retries = left;
                State::Reset
            }
            None => State::Done,
        };
    }

    /// Goes on with what a dialogue inside has come to.
    fn turn(&mut self) {
        match &mut self.state {
            State::SelectA(select) => match select.finished() {
                Some(Ok(Some(card))) if card.sak.has_iso_dep() => self.state = State::Activate(card, Activate::new(self.plan.wishes)),
                Some(Ok(Some(card))) => self.found(Found::A {
                    card,
                    iso_dep: None,
                    ats: Vec::new(),
                }),
                Some(Ok(None)) => self.next(),
                Some(Err(error)) => self.failed(error.into()),
                None => {}
            },
            State::Activate(card, activate) => match activate.finished() {
                Some(Ok(iso_dep)) => {
                    let (card, ats) = (*card, activate.ats().to_vec());
                    self.found(Found::A {
                        card,
                        iso_dep: Some(iso_dep),
                        ats,
                    });
                }
                Some(Err(error)) => self.failed(error.into()),
                None => {}
            },
            State::SelectB(select) => match select.finished() {
                Some(Ok(Some(atqb))) if atqb.has_iso_dep() => {
                    self.state = State::Attrib(atqb, type_b::pcd::Attrib::new(&atqb, self.plan.wishes));
                }
                Some(Ok(Some(atqb))) => self.found(Found::B { atqb, iso_dep: None }),
                Some(Ok(None)) => self.next(),
                Some(Err(error)) => self.failed(PollError::SelectB(error)),
                None => {}
            },
            State::Attrib(atqb, attrib) => match attrib.finished() {
                Some(Ok(parameters)) => {
                    let atqb = *atqb;
                    self.found(Found::B {
                        atqb,
                        iso_dep: Some(parameters),
                    });
                }
                Some(Err(error)) => self.failed(PollError::SelectB(error)),
                None => {}
            },
            State::F(poll, rate) => match poll.finished() {
                Some(Ok(Some(card))) => {
                    let rate = *rate;
                    self.found(Found::F { card, rate });
                }
                Some(Ok(None)) => self.next(),
                Some(Err(error)) => self.failed(PollError::F(error)),
                None => {}
            },
            State::Guard | State::Begin | State::Reset | State::Done => {}
        }
    }
}

/// The step of a dialogue inside, which has not ended.
fn inner<'a, D: Dialogue, T>(dialogue: &'a mut D, otherwise: T) -> Step<'a, T> {
    match dialogue.poll() {
        Step::Exchange(frame, expect) => Step::Exchange(frame, expect),
        Step::Send(frame) => Step::Send(frame),
        Step::Pause(time) => Step::Pause(time),
        Step::Reset(time) => Step::Reset(time),
        Step::Done(_) => Step::Done(otherwise),
    }
}

impl Dialogue for Round<'_> {
    /// `None` when nothing answered.
    type Output = Result<Option<Found>, PollError>;

    fn poll(&mut self) -> Step<'_, Self::Output> {
        self.turn();
        // One turn can only lead to a state that has not ended yet, or to the next probe.
        if let State::Begin = self.state {
            match self.plan.probes.get(self.at) {
                None => self.state = State::Done,
                Some(Probe::A) => self.state = State::SelectA(type_a::pcd::Select::new(type_a::pcd::Request::Wupa)),
                Some(Probe::B { afi }) => self.state = State::SelectB(type_b::pcd::Select::new(*afi, true)),
                Some(Probe::F { request, rate }) => self.state = State::F(felica::Poll::new(*request, *rate), *rate),
                Some(Probe::Annotate(annotation)) => {
                    self.at += 1;
                    return Step::Send(Frame::new(annotation.technology, &annotation.data));
                }
            }
        }
        if let State::Guard = self.state {
            self.state = State::Begin;
            return Step::Pause(time::GUARD_TIME);
        }
        if let State::Reset = self.state {
            (self.at, self.state) = (0, State::Guard);
            return Step::Reset(time::FIELD_OFF);
        }
        let nobody = || Ok(None);
        match &mut self.state {
            State::SelectA(select) => inner(select, nobody()),
            State::Activate(_, activate) => inner(activate, nobody()),
            State::SelectB(select) => inner(select, nobody()),
            State::Attrib(_, attrib) => inner(attrib, nobody()),
            State::F(poll, _) => inner(poll, nobody()),
            State::Guard | State::Reset | State::Begin | State::Done => Step::Done(self.outcome.clone()),
        }
    }

    fn answered(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        match &mut self.state {
            State::SelectA(select) => select.answered(outcome, answer),
            State::Activate(_, activate) => activate.answered(outcome, answer),
            State::SelectB(select) => select.answered(outcome, answer),
            State::Attrib(_, attrib) => attrib.answered(outcome, answer),
            State::F(poll, _) => poll.answered(outcome, answer),
            State::Guard | State::Begin | State::Reset | State::Done => {}
        }
    }
}
