//! The reader's activation of ISO-DEP on a selected type A card: RATS, ATS, PPS (ISO/IEC 14443-4 5.6.2).

use alloc::vec::Vec;

use super::ats::{Ats, AtsError, CID_MAX, PPSS, Pps, Rats};
use super::{Parameters, frame_size, frame_size_code};
use crate::rf::frame::{BitRate, Expect, Frame, RfError, RxFrame, Technology};
use crate::rf::time;
use crate::rf::{Dialogue, Step};

/// What the reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Code of the longest frame that it takes.
    pub fsdi: u8,
    /// The number that the card gets. `None`: 0, and blocks are sent without one.
    pub cid: Option<u8>,
    /// The node address of I-blocks, if the card knows those.
    pub nad: Option<u8>,
    /// Not faster than this. 106 kbit/s: no PPS is sent.
    pub rate: BitRate,
    /// Longest frame that it sends, in bytes, checksum included, whatever the card takes.
    pub max_send: usize,
}

impl Default for Wishes {
    /// Frames of 256 bytes both ways, no CID, no NAD, 106 kbit/s.
    fn default() -> Self {
        Self {
            fsdi: 8,
            cid: None,
            nad: None,
            rate: BitRate::Kbps106,
            max_send: 256,
        }
    }
}

impl Wishes {
    /// The same for a reader that takes and sends frames of no more than so many bytes, checksum included.
    #[must_use]
    pub fn within(mut self, receive: usize, send: usize) -> Self {
        self.fsdi = self.fsdi.min(frame_size_code(receive));
        self.max_send = self.max_send.min(send);
        self
    }
}

/// Why ISO-DEP did not begin on a card that was selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ActivateError {
    /// RATS was not answered properly.
    #[error("RATS was not answered: {0}; hold the card still and closer")]
    Rats(RfError),
    /// The answer is no ATS.
    #[error(transparent)]
    Ats(#[from] AtsError),
    /// PPS was not answered properly, so the card's rate is not known: only without the field it forgets it.
    #[error("PPS was not confirmed: {0}; switch the field off and begin again")]
    Pps(RfError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Rats,
    /// Waits for the start-up frame guard time.
    Guard,
    Pps,
    Done,
}

/// RATS and, if a higher rate is wanted and known to the card, PPS.
#[derive(Debug)]
pub struct Activate {
    wishes: Wishes,
    state: State,
    retries: u8,
    frame: [u8; 3],
    ats: Ats,
    /// The ATS as it came.
    bytes: Vec<u8>,
    parameters: Parameters,
    failure: Option<ActivateError>,
}

impl Activate {
    /// RATS and PPS are sent again so many times (5.6.2.1 allows it once before the deactivation sequence).
    pub const RETRIES: u8 = 1;

    /// Begins with a type A card that has just been selected.
    #[must_use]
    pub fn new(wishes: Wishes) -> Self {
        Self {
            wishes,
            state: State::Rats,
            retries: Self::RETRIES,
            frame: [0; 3],
            ats: Ats::default(),
            bytes: Vec::new(),
            parameters: Parameters::new(Technology::A),
            failure: None,
        }
    }

    /// What it has come to, once it has ended.
    #[must_use]
    pub fn finished(&self) -> Option<Result<(Ats, Parameters), ActivateError>> {
        (self.state == State::Done).then(|| match self.failure {
            Some(failure) => Err(failure),
            None => Ok((self.ats.clone(), self.parameters)),
        })
    }

    /// The ATS as it came, from TL on; empty until it has.
    #[must_use]
    pub fn ats(&self) -> &[u8] {
        &self.bytes
    }

    fn again(&mut self, failure: ActivateError) {
        match self.retries.checked_sub(1) {
            Some(left) => self.retries = left,
            None => (self.state, self.failure) = (State::Done, Some(failure)),
        }
    }

    fn agree(&mut self) {
        let ats = &self.ats;
        self.parameters.fsc = ats.fsc().min(self.wishes.max_send).max(frame_size(0));
        self.parameters.fsd = frame_size(self.wishes.fsdi);
        self.parameters.fwt = ats.fwt();
        self.parameters.cid = self.wishes.cid.filter(|_| ats.cid);
        self.parameters.nad = self.wishes.nad.filter(|_| ats.nad);
    }

    const fn cid(&self) -> u8 {
        match self.wishes.cid {
            Some(cid) if cid <= CID_MAX => cid,
            _ => 0,
        }
    }
}

impl Dialogue for Activate {
    type Output = Result<(Ats, Parameters), ActivateError>;

    fn poll(&mut self) -> Step<'_, Self::Output> {
        match self.state {
            State::Rats => {
                let rats = Rats {
                    fsdi: self.wishes.fsdi,
                    cid: self.cid(),
                };
                let [a, b] = rats.encode();
                self.frame = [a, b, 0];
                let frame = Frame::new(Technology::A, &self.frame[..2]);
                Step::Exchange(frame, Expect::like(&frame, time::FWT_ACTIVATION + time::DELTA_FWT))
            }
            State::Guard => {
                let (send, receive) = self.ats.rates.best(self.wishes.rate);
                let is_faster = send > BitRate::Kbps106 || receive > BitRate::Kbps106;
                self.retries = Self::RETRIES;
                self.state = if is_faster { State::Pps } else { State::Done };
                Step::Pause(self.ats.sfgt())
            }
            State::Pps => {
                let (send, receive) = self.ats.rates.best(self.wishes.rate);
                let pps = Pps {
                    cid: self.cid(),
                    send,
                    receive,
                };
                self.frame = pps.encode();
                let frame = Frame::new(Technology::A, &self.frame);
                Step::Exchange(frame, Expect::like(&frame, time::FWT_ACTIVATION + time::DELTA_FWT))
            }
            State::Done => Step::Done(match self.failure {
                Some(failure) => Err(failure),
                None => Ok((self.ats.clone(), self.parameters)),
            }),
        }
    }

    fn answered(&mut self, outcome: Result<(), RfError>, answer: &RxFrame) {
        match (self.state, outcome) {
            (State::Rats, Err(error)) => self.again(ActivateError::Rats(error)),
            (State::Rats, Ok(())) => match Ats::parse(&answer.data) {
                Ok(ats) => {
                    self.ats = ats;
                    self.bytes.clone_from(&answer.data);
                    self.agree();
                    self.state = State::Guard;
                }
                // The card has answered and will not answer RATS again.
                Err(error) => (self.state, self.failure) = (State::Done, Some(error.into())),
            },
            (State::Pps, Err(error)) => self.again(ActivateError::Pps(error)),
            (State::Pps, Ok(())) => {
                if answer.data == [PPSS | self.cid()] {
                    (self.parameters.send, self.parameters.receive) = self.ats.rates.best(self.wishes.rate);
                    self.state = State::Done;
                } else {
                    self.again(ActivateError::Pps(RfError::Framing));
                }
            }
            (State::Guard | State::Done, _) => {}
        }
    }
}
