//! Cards found by our own polling on any [`FieldLink`], with our own ISO-DEP: what the raw readers have in common.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tapdoor_captures::{FrameTape, SharedTape};
use tapdoor_link::field::{FieldError, FieldErrorKind, FieldLink, FieldRecorder, IsoDepLink, converse};
use tapdoor_link::stop::{Backoff, Stop};
use tapdoor_link::{CardLink, Limits, LinkError};
use tapdoor_protocol::rf::frame::{Expect, Frame, RxFrame, Technology};
use tapdoor_protocol::rf::iso14443::{dep, type_a, type_b};
use tapdoor_protocol::rf::polling::{Annotation, Found, Plan, PollError, Probe, Round};
use tapdoor_protocol::rf::time::{self, Ticks};

use super::{
    ANSWER_TIMEOUT, Activation, CardSource, Hold, Observer, Protocol, ReaderInfo, Session, SourceError, SourceErrorKind, SourceEvent,
    no_observer,
};

/// Pause between two rounds: a phone that reads polling frames wants them closer than 250 ms.
const INTERVAL: Duration = Duration::from_millis(100);
/// After so many rounds without a card the field goes off for a moment, so that a card that is stuck begins anew.
const ROUNDS: u32 = 20;
/// A card that has not answered so many times in a row has gone.
const MISSES: u32 = 3;

/// What is looked for, and how phones are told what kind of reader this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polling {
    /// Type A.
    pub type_a: bool,
    /// Type B.
    pub type_b: bool,
    /// A frame before each request (enhanced contactless polling, or Android's polling loop annotation).
    pub annotation: Option<Vec<u8>>,
    /// The fastest rate that is agreed on.
    pub rate: tapdoor_protocol::rf::frame::BitRate,
}

impl Default for Polling {
    fn default() -> Self {
        Self {
            type_a: true,
            type_b: true,
            annotation: None,
            rate: tapdoor_protocol::rf::frame::BitRate::Kbps106,
        }
    }
}

impl Polling {
    /// The round for a link with these abilities.
    pub(super) fn plan(&self, abilities: &tapdoor_link::field::Abilities) -> Plan {
        let mut probes = Vec::new();
        if self.type_a {
            probes.push(Probe::A);
        }
        if self.type_b && abilities.has(Technology::B) {
            probes.push(Probe::B { afi: 0 });
        }
        let (receive, send) = abilities.frame_sizes();
        let wishes = dep::activate::Wishes {
            rate: self.rate.min(abilities.rate),
            ..dep::activate::Wishes::default()
        };
        let plan = Plan {
            probes,
            wishes: wishes.within(receive, send),
        };
        match &self.annotation {
            Some(data) => plan.annotated(&Annotation::new(Technology::A, data.clone())),
            None => plan,
        }
    }
}

/// A reader's radio, and what else the reader does.
pub trait Radio: FieldLink + Send + 'static {
    /// Takes a command that is for the reader itself (CLA FF on an ACR122U: LED, buzzer); `None` if it is for the card.
    fn reader_command(&mut self, command: &[u8], response: &mut Vec<u8>) -> Option<Result<(), LinkError>> {
        let _ = (command, response);
        None
    }
}

impl Radio for crate::udp::UdpField {}

/// What opens such a radio, and again after it was lost.
pub trait Device: Send {
    /// The radio.
    type Radio: Radio;

    /// Opens it; its clock is to count from `epoch`.
    ///
    /// # Errors
    /// [`SourceError`], with its cure.
    fn open(&mut self, epoch: Instant) -> Result<Self::Radio, SourceError>;

    /// What it is.
    fn describe(&self) -> ReaderInfo;

    /// Which layer speaks.
    fn layer(&self) -> &'static str;
}

/// Where frames go: the same for source and session, so that recording may begin and end while a card is held.
pub(super) type Frames = Arc<Mutex<Option<FrameTape>>>;

/// A radio whose frames may be recorded.
pub(super) type Recorded<R> = FieldRecorder<R, Frames>;

/// Tells the tape something, if there is one.
pub(super) fn tell_tape(frames: &Frames, tell: impl FnOnce(&mut FrameTape)) {
    if let Some(tape) = frames.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        tell(tape);
    }
}

/// The frames of a link whose clock counts from `epoch` go there.
pub(super) fn record(frames: &Frames, tape: Option<SharedTape>, epoch: Instant) {
    *frames.lock().unwrap_or_else(PoisonError::into_inner) = tape.map(|tape| FrameTape::new(tape, epoch));
}

/// Where a radio waits that is lent to a session.
#[derive(Debug)]
struct Slot<R>(Arc<Mutex<Option<R>>>);

impl<R> Clone for Slot<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> Slot<R> {
    fn take(&self) -> Option<R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, radio: R) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(radio);
    }
}

/// One round in a field that is on.
pub(super) fn round<R: FieldLink>(
    radio: &mut R,
    plan: &Plan,
    fresh: bool,
    rx: &mut RxFrame,
) -> Result<Result<Option<Found>, PollError>, FieldError> {
    let mut round = if fresh { Round::after_field_on(plan) } else { Round::new(plan) };
    converse(radio, &mut round, rx)
}

/// The ATR that PC/SC part 3 makes up for a card: `3B 8n 80 01`, historical bytes (type A) or protocol information (type B), TCK.
pub(super) fn atr(found: &Found) -> Vec<u8> {
    let historical: Vec<u8> = match found {
        Found::A {
            iso_dep: Some((ats, _)), ..
        } => ats.historical.iter().copied().take(15).collect(),
        Found::B { atqb, .. } => {
            let mut bytes = Vec::new();
            atqb.encode_into(&mut bytes);
            bytes.get(5..12).map(<[u8]>::to_vec).map(|mut info| {
                info.push(0);
                info
            })
        }
        .unwrap_or_default(),
        _ => Vec::new(),
    };
    // At most 15.
    let mut atr = vec![0x3B, 0x80 | historical.len() as u8, 0x80, 0x01];
    atr.extend_from_slice(&historical);
    let tck = atr.iter().skip(1).fold(0, |sum, byte| sum ^ byte);
    atr.push(tck);
    atr
}

/// What the search learned of a card.
pub(super) fn activation(found: &Found) -> Activation {
    match found {
        Found::A { card, ats, .. } => Activation {
            uid: Some(card.uid.as_bytes().to_vec()),
            ats: Some(ats.clone()).filter(|ats| !ats.is_empty()),
        },
        Found::B { atqb, .. } => Activation {
            uid: Some(atqb.pupi.0.to_vec()),
            ats: None,
        },
        Found::F { .. } => Activation::default(),
    }
}

/// What a card that knows no ISO-DEP is, for people.
pub(super) fn describe_found(found: &Found) -> String {
    match found {
        Found::A { card, .. } => format!("a type A card without ISO-DEP (UID {}, SAK {:02x})", card.uid, card.sak.0),
        Found::B { .. } => "a type B card without ISO-DEP".to_owned(),
        Found::F { .. } => "a FeliCa card".to_owned(),
    }
}

/// A card that was activated. Dropping it deselects the card and gives the radio back.
pub(super) struct RadioLink<R: Radio> {
    link: Option<IsoDepLink<Recorded<R>>>,
    give_back: Option<Box<dyn FnOnce(Recorded<R>) + Send>>,
    uid: Vec<u8>,
    ats: Vec<u8>,
    /// The reader is an ACR122U: it answers for UID and ATS.
    reader: bool,
}

impl<R: Radio> RadioLink<R> {
    /// A session with `found`; `None` (and the radio) if it knows no ISO-DEP.
    pub(super) fn new(
        radio: Recorded<R>,
        found: &Found,
        reader: bool,
        give_back: impl FnOnce(Recorded<R>) + Send + 'static,
    ) -> Result<Self, Box<Recorded<R>>> {
        let Some(parameters) = found.iso_dep() else {
            return Err(Box::new(radio));
        };
        let patience = Ticks::from_duration(ANSWER_TIMEOUT);
        let limits = if reader { Limits::SHORT } else { Limits::EXTENDED };
        let (uid, ats) = match found {
            Found::A {
                card,
                iso_dep: Some((ats, _)),
                ..
            } => (card.uid.as_bytes().to_vec(), ats.historical.clone()),
            Found::B { atqb, .. } => (atqb.pupi.0.to_vec(), Vec::new()),
            _ => (Vec::new(), Vec::new()),
        };
        Ok(Self {
            link: Some(IsoDepLink::new(radio, *parameters).with_patience(patience).with_limits(limits)),
            give_back: Some(Box::new(give_back)),
            uid,
            ats,
            reader,
        })
    }
}

impl<R: Radio> CardLink for RadioLink<R> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        let Some(link) = &mut self.link else {
            return Err(LinkError::new(tapdoor_link::LinkErrorKind::CardGone, "radio", "the session is over").during(command));
        };
        if self.reader && command.first() == Some(&0xFF) {
            // What the reader's own firmware would answer, had it activated the card.
            let own = match command {
                [0xFF, 0xCA, 0x00, 0x00, ..] => Some(&self.uid),
                [0xFF, 0xCA, 0x01, 0x00, ..] => Some(&self.ats),
                _ => None,
            };
            if let Some(own) = own {
                response.extend_from_slice(own);
                response.extend_from_slice(&[0x90, 0x00]);
                return Ok(());
            }
            if let Some(outcome) = link.inner_mut().inner_mut().reader_command(command, response) {
                return outcome;
            }
        }
        link.transmit(command, response)
    }

    fn limits(&self) -> Limits {
        self.link.as_ref().map_or(Limits::SHORT, CardLink::limits)
    }
}

impl<R: Radio> Drop for RadioLink<R> {
    fn drop(&mut self) {
        let (Some(mut link), Some(give_back)) = (self.link.take(), self.give_back.take()) else {
            return;
        };
        // A card that has gone does not answer.
        let _ = link.deselect();
        give_back(link.into_inner());
    }
}

/// A reader of our own polling.
pub struct RadioSource<D: Device> {
    device: D,
    slot: Slot<Recorded<D::Radio>>,
    polling: Polling,
    epoch: Instant,
    frames: Frames,
    observer: Observer,
    rx: RxFrame,
    /// The card of the last `wait_card`, if it has not gone.
    tap: Option<Technology>,
    told_lost: bool,
}

impl<D: Device> RadioSource<D> {
    /// Opens the reader.
    ///
    /// # Errors
    /// [`SourceError`] of the device.
    pub fn open(mut device: D, polling: Polling) -> Result<Self, SourceError> {
        let epoch = Instant::now();
        let radio = device.open(epoch)?;
        let (slot, frames) = (Slot(Arc::default()), Frames::default());
        slot.put(FieldRecorder::new(radio, Arc::clone(&frames)));
        Ok(Self {
            device,
            slot,
            polling,
            epoch,
            frames,
            observer: no_observer(),
            rx: RxFrame::new(),
            tap: None,
            told_lost: false,
        })
    }

    /// The radio, however long it takes.
    fn radio(&mut self, stop: &Stop) -> Result<Recorded<D::Radio>, SourceError> {
        let mut backoff = Backoff::default();
        loop {
            if stop.is_stopped() {
                return Err(SourceError::cancelled(self.device.layer()));
            }
            if let Some(radio) = self.slot.take() {
                return Ok(radio);
            }
            match self.device.open(self.epoch) {
                Ok(radio) => {
                    if std::mem::take(&mut self.told_lost) {
                        (self.observer)(&SourceEvent::ReaderBack(self.device.describe().name));
                    }
                    return Ok(FieldRecorder::new(radio, Arc::clone(&self.frames)));
                }
                Err(e) => {
                    if !std::mem::replace(&mut self.told_lost, true) {
                        (self.observer)(&SourceEvent::ReaderLost(e));
                    }
                    let _ = backoff.pause(stop);
                }
            }
        }
    }

    /// The radio failed: it is opened again.
    fn lose(&mut self, error: &FieldError) {
        if !std::mem::replace(&mut self.told_lost, true) {
            let lost = SourceError::new(SourceErrorKind::Reader, self.device.layer(), error.to_string());
            (self.observer)(&SourceEvent::ReaderLost(lost));
        }
    }
}

/// Whether a card of this technology answers a request for halted ones, too.
pub(super) fn is_there<R: FieldLink>(radio: &mut R, technology: Technology, rx: &mut RxFrame) -> Result<bool, FieldError> {
    let outcome = match technology {
        Technology::B => {
            let request = type_b::Request {
                afi: 0,
                wake: true,
                slots: 0,
                extended: false,
            }
            .encode();
            let frame = Frame::new(Technology::B, &request);
            radio.exchange(&frame, &Expect::like(&frame, time::FDT_B_ATQB_TIMEOUT), rx)
        }
        _ => {
            let frame = Frame::short(&type_a::WUPA);
            let outcome = radio.exchange(&frame, &Expect::like(&frame, time::FDT_A_TIMEOUT), rx);
            // Back to where it waited.
            radio.send(&Frame::new(Technology::A, &type_a::HLTA))?;
            outcome
        }
    };
    match outcome {
        Ok(()) => Ok(true),
        Err(error) => match error.as_rf() {
            Some(tapdoor_protocol::rf::frame::RfError::Timeout) => Ok(false),
            // Something answers.
            Some(_) => Ok(true),
            None => Err(error),
        },
    }
}

impl<D: Device> CardSource for RadioSource<D> {
    fn describe(&self) -> ReaderInfo {
        self.device.describe()
    }

    fn wait_card(&mut self, stop: &Stop) -> Result<Session, SourceError> {
        self.tap = None;
        let (mut fresh, mut rounds) = (true, 0);
        // What was told of a card that cannot be used.
        let mut told = None;
        loop {
            let mut radio = self.radio(stop)?;
            let plan = self.polling.plan(&radio.abilities());
            tell_tape(&self.frames, FrameTape::search);
            let outcome = (|| {
                if fresh {
                    radio.set_field(false)?;
                    radio.pause(time::FIELD_OFF);
                    radio.set_field(true)?;
                }
                round(&mut radio, &plan, fresh, &mut self.rx)
            })();
            fresh = false;
            let trouble = match outcome {
                Ok(Ok(Some(found))) => {
                    let slot = self.slot.clone();
                    let reader = self.device.describe().is_acr122;
                    match RadioLink::new(radio, &found, reader, move |radio| slot.put(radio)) {
                        Ok(link) => {
                            self.tap = Some(found.iso_dep().map_or(Technology::A, |p| p.technology));
                            return Ok(Session {
                                link: Box::new(link),
                                atr: Some(atr(&found)),
                                protocol: Protocol::T1,
                                hold: Hold::Exclusive,
                                activation: activation(&found),
                            });
                        }
                        Err(radio) => self.slot.put(*radio),
                    }
                    fresh = true;
                    Some(describe_found(&found))
                }
                Ok(Ok(None)) => {
                    self.slot.put(radio);
                    None
                }
                Ok(Err(error)) => {
                    self.slot.put(radio);
                    fresh = true;
                    Some(error.to_string())
                }
                Err(error) if error.kind == FieldErrorKind::Cancelled => return Err(SourceError::cancelled(self.device.layer())),
                Err(error) => {
                    drop(radio);
                    self.lose(&error);
                    fresh = true;
                    None
                }
            };
            if let Some(detail) = &trouble
                && told.as_ref() != Some(detail)
            {
                (self.observer)(&SourceEvent::CardMute(detail.clone()));
            }
            told = trouble;
            rounds += 1;
            fresh |= rounds % ROUNDS == 0;
            if stop.sleep(INTERVAL) {
                return Err(SourceError::cancelled(self.device.layer()));
            }
        }
    }

    fn wait_removal(&mut self, stop: &Stop) -> Result<(), SourceError> {
        let Some(technology) = self.tap else { return Ok(()) };
        let mut misses = 0;
        while misses < MISSES {
            if stop.sleep(INTERVAL) {
                return Err(SourceError::cancelled(self.device.layer()));
            }
            // Gone with a session that was abandoned, and the card with it.
            let Some(mut radio) = self.slot.take() else { break };
            tell_tape(&self.frames, FrameTape::quiet);
            match is_there(&mut radio, technology, &mut self.rx) {
                Ok(true) => misses = 0,
                Ok(false) => misses += 1,
                Err(error) => {
                    drop(radio);
                    self.lose(&error);
                    break;
                }
            }
            self.slot.put(radio);
        }
        self.tap = None;
        Ok(())
    }

    fn set_observer(&mut self, observer: Observer) {
        self.observer = observer;
    }

    fn record_frames(&mut self, tape: Option<SharedTape>) {
        record(&self.frames, tape, self.epoch);
    }
}
