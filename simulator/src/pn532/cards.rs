//! Finding cards and talking to them (UM0701-02 7.3.5 to 7.3.13).
//!
//! The chip's own choices: it asks by REQA, takes frames of 64 bytes from a card (FSDI 5), gives no CID, and stays at 106 kbit/s until
//! InPSL. A second type A card is found when the first has been halted; the first is selected again when it is talked to.

use std::time::{Duration, Instant};

use tapdoor_link::field::{FieldLink, converse};
use tapdoor_protocol::pn532::{Answer, AutoPollType, Code, ErrorCode, Listed, MAX_DATA, Modulation, Parameters, PolledTarget, Status};
use tapdoor_protocol::rf::frame::{BitRate, Expect, Frame, Technology};
use tapdoor_protocol::rf::iso14443::dep;
use tapdoor_protocol::rf::iso14443::dep::activate::{Activate, Wishes};
use tapdoor_protocol::rf::iso14443::dep::ats::Pps;
use tapdoor_protocol::rf::iso14443::dep::pcd::{DepError, Pcd};
use tapdoor_protocol::rf::iso14443::type_a::pcd::{Request, Select};
use tapdoor_protocol::rf::iso14443::type_a::{Card, HLTA, Uid};
use tapdoor_protocol::rf::nfc_dep::initiator::Initiator;
use tapdoor_protocol::rf::time;

use super::registers::Mode;
use super::{Outcome, Pn532, UnderWay, error_code};

/// The longest frame that the chip takes from a card, as a code: 64 bytes.
const FSDI: u8 = 5;
/// The longest that a host may make an APDU with "more information": what the chip's memory is imagined to hold.
const MAX_GATHERED: usize = 65_544;
/// The chip gives up waiting for a card that asks for more time after so many S(WTX): about ten seconds at the usual waiting time.
const MAX_WTX: u32 = 170;
/// A unit of InAutoPoll's period.
const PERIOD: Duration = Duration::from_millis(150);

/// A search that goes on until a card comes.
#[derive(Clone, Debug)]
pub(super) enum Poll {
    List {
        most: u8,
        modulation: Modulation,
        initiator: Vec<u8>,
    },
    Auto {
        // None: for ever.
        rounds: Option<u8>,
        pause: Duration,
        next: Instant,
        types: Vec<u8>,
    },
}

/// How a target is talked to.
#[derive(Debug)]
pub(super) enum Kind {
    /// Frames as they are, with a checksum.
    Plain { technology: Technology, rate: BitRate },
    /// By ISO-DEP.
    IsoDep(Pcd),
    /// By NFC-DEP.
    NfcDep(Initiator),
}

/// A target that was found.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) kind: Kind,
    modulation: Modulation,
    // As it was found, for the second selection of a type A card.
    card: Option<Card>,
    /// The description without its number: SENS_RES and so on.
    found: Found,
    // Parts of a command that the host sends in pieces, and of an answer that it takes in pieces.
    gathered: Vec<u8>,
    left: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Found {
    A {
        card: Card,
        ats: Option<Vec<u8>>,
    },
    B {
        atqb: [u8; 12],
        attrib_res: Vec<u8>,
    },
    Felica {
        nfcid2: [u8; 8],
        pad: [u8; 8],
        system_code: Option<[u8; 2]>,
    },
}

impl Found {
    fn listed(&self, target: u8) -> Listed<'_> {
        match self {
            Self::A { card, ats } => {
                let [low, high] = card.atqa.0;
                Listed::A {
                    target,
                    sens_res: [high, low],
                    sel_res: card.sak.0,
                    uid: card.uid.as_bytes(),
                    ats: ats.as_deref(),
                }
            }
            Self::B { atqb, attrib_res } => Listed::B {
                target,
                atqb: *atqb,
                attrib_res,
            },
            Self::Felica { nfcid2, pad, system_code } => Listed::Felica {
                target,
                nfcid2: *nfcid2,
                pad: *pad,
                system_code: *system_code,
            },
        }
    }
}

impl Target {
    /// Rate and modulation, as GetGeneralStatus codes them.
    pub(super) fn status(&self) -> (u8, u8) {
        let rate = match &self.kind {
            Kind::Plain { rate, .. } => *rate,
            Kind::IsoDep(pcd) => pcd.parameters().send,
            Kind::NfcDep(initiator) => initiator.rate(),
        };
        let modulation = match self.modulation {
            Modulation::A106 | Modulation::B106 => 0x00,
            Modulation::Felica212 | Modulation::Felica424 => 0x10,
            Modulation::Jewel => 0x02,
        };
        (rate.divisor_code(), modulation)
    }

    /// Whether a type A card says that it knows NFC-DEP.
    pub(super) fn has_nfc_dep(&self) -> bool {
        matches!(&self.found, Found::A { card, .. } if card.sak.has_nfc_dep())
    }

    /// The identifier that ATR_REQ has for a target of type F: its own.
    pub(super) fn nfcid3(&self) -> Option<[u8; 10]> {
        let Found::Felica { nfcid2, .. } = &self.found else { return None };
        let mut nfcid3 = [0; 10];
        nfcid3.iter_mut().zip(nfcid2).for_each(|(to, from)| *to = *from);
        Some(nfcid3)
    }
}

impl<L: FieldLink> Pn532<L> {
    // --- finding ------------------------------------------------------------------------------------------------------

    pub(super) fn list(&mut self, most: u8, modulation: Modulation, initiator: &[u8], answer: &mut Vec<u8>) -> Outcome {
        self.set_field(true);
        self.forget();
        let retries = self.settings.passive_retries;
        for _ in 0..=u16::from(retries) {
            if self.search(most, modulation, initiator) > 0 {
                break;
            }
            if retries == 0xFF {
                let poll = Poll::List {
                    most,
                    modulation,
                    initiator: initiator.to_vec(),
                };
                self.under_way = Some(UnderWay::Poll(poll));
                return Outcome::Busy;
            }
        }
        self.tell(answer);
        Outcome::Answered
    }

    pub(super) fn auto_poll(&mut self, rounds: u8, period: u8, types: &[u8], answer: &mut Vec<u8>) -> Outcome {
        self.set_field(true);
        self.forget();
        let poll = Poll::Auto {
            rounds: (rounds != 0xFF).then_some(rounds.max(1)),
            pause: PERIOD * u32::from(period.clamp(1, 15)) * u32::try_from(types.len()).unwrap_or(1),
            next: Instant::now(),
            types: types.to_vec(),
        };
        self.poll_on(poll, answer)
    }

    /// One more look at the field.
    pub(super) fn poll_on(&mut self, mut poll: Poll, answer: &mut Vec<u8>) -> Outcome {
        match &mut poll {
            Poll::List {
                most,
                modulation,
                initiator,
            } => {
                if self.search(*most, *modulation, initiator) > 0 {
                    self.tell(answer);
                    return Outcome::Answered;
                }
                self.link.pause(time::Ticks::from_millis(1));
            }
            Poll::Auto {
                rounds,
                pause,
                next,
                types,
            } => {
                let now = Instant::now();
                if now >= *next {
                    if rounds.is_some_and(|left| left == 0) {
                        Answer::Polled { count: 0, data: &[] }.encode(answer);
                        return Outcome::Answered;
                    }
                    for byte in types.iter() {
                        let Some(kind) = AutoPollType::from_byte(*byte) else { continue };
                        if let Some(found) = self.look_for(kind) {
                            self.tell_polled(found, answer);
                            return Outcome::Answered;
                        }
                    }
                    *next = now + *pause;
                    if let Some(left) = rounds {
                        *left -= 1;
                    }
                }
            }
        }
        self.under_way = Some(UnderWay::Poll(poll));
        Outcome::Busy
    }

    /// Looks for one kind of target; what it turned out to be.
    fn look_for(&mut self, kind: AutoPollType) -> Option<AutoPollType> {
        let modulation = kind.modulation()?;
        let initiator: &[u8] = match modulation {
            Modulation::Felica212 | Modulation::Felica424 => &[0x00, 0xFF, 0xFF, 0x01, 0x00],
            Modulation::B106 => &[0x00],
            _ => &[],
        };
        if self.search(1, modulation, initiator) == 0 {
            return None;
        }
        let has_dep = matches!(self.targets[0].as_ref()?.kind, Kind::IsoDep(_));
        let found = match (modulation, has_dep) {
            (Modulation::A106, true) => AutoPollType::IsoDepA,
            (Modulation::A106, false) => AutoPollType::Mifare,
            (Modulation::B106, true) => AutoPollType::IsoDepB,
            (Modulation::Felica212, _) => AutoPollType::Felica212,
            (Modulation::Felica424, _) => AutoPollType::Felica424,
            _ => kind,
        };
        if !has_dep && matches!(kind, AutoPollType::IsoDepA | AutoPollType::IsoDepB) {
            self.forget();
            return None;
        }
        Some(found)
    }

    /// No targets.
    pub(super) fn forget(&mut self) {
        self.targets = [None, None];
        self.active = None;
    }

    /// Looks once for one target that is not to be sent RATS; how many there are.
    pub(super) fn search_plain(&mut self, modulation: Modulation, initiator: &[u8]) -> usize {
        let parameters = std::mem::replace(&mut self.parameters, Parameters(0));
        let found = self.search(1, modulation, initiator);
        self.parameters = parameters;
        found
    }

    /// Looks for targets once; how many there are.
    fn search(&mut self, most: u8, modulation: Modulation, initiator: &[u8]) -> usize {
        for place in 0..usize::from(most.min(2)) {
            if place > 0 {
                self.rest(place - 1);
            }
            let found = match modulation {
                Modulation::A106 => self.find_a(initiator),
                Modulation::B106 => self.find_b(initiator),
                Modulation::Felica212 => self.find_f(initiator, BitRate::Kbps212),
                Modulation::Felica424 => self.find_f(initiator, BitRate::Kbps424),
                Modulation::Jewel => None,
            };
            let Some(target) = found else { return place };
            self.targets[place] = Some(target);
            self.active = Some(place);
            if modulation != Modulation::A106 {
                return place + 1;
            }
        }
        usize::from(most.min(2))
    }

    fn find_a(&mut self, initiator: &[u8]) -> Option<Target> {
        self.registers.set_modes(Mode::new(Technology::A, BitRate::Kbps106, true));
        let select = match without_cascade_tags(initiator) {
            // A card that is known may be halted.
            Some(uid) => Select::known(Request::Wupa, uid),
            None => Select::new(Request::Reqa),
        };
        self.select_a(select)
    }

    fn select_a(&mut self, mut select: Select) -> Option<Target> {
        let Ok(Ok(Some(card))) = converse(&mut self.link, &mut select, &mut self.rx) else {
            self.registers.unanswered(&[0x26]);
            return None;
        };
        let wants_rats = self.parameters.has(Parameters::AUTOMATIC_RATS) && card.sak.has_iso_dep();
        let (kind, ats) = if wants_rats {
            let (pcd, ats) = self.activate()?;
            (Kind::IsoDep(pcd), Some(ats))
        } else {
            let plain = Kind::Plain {
                technology: Technology::A,
                rate: BitRate::Kbps106,
            };
            (plain, None)
        };
        Some(Target {
            kind,
            modulation: Modulation::A106,
            card: Some(card),
            found: Found::A { card, ats },
            gathered: Vec::new(),
            left: Vec::new(),
        })
    }

    fn activate(&mut self) -> Option<(Pcd, Vec<u8>)> {
        let wishes = Wishes {
            fsdi: FSDI,
            ..Wishes::default()
        };
        match converse(&mut self.link, &mut Activate::new(wishes), &mut self.rx) {
            // RATS was the last frame, as no rate was wished for.
            Ok(Ok((_, parameters))) => Some((Pcd::new(parameters).with_max_wtx(MAX_WTX), self.rx.data.clone())),
            _ => None,
        }
    }

    fn find_b(&mut self, initiator: &[u8]) -> Option<Target> {
        self.registers.set_modes(Mode::new(Technology::B, BitRate::Kbps106, true));
        let afi = initiator.first().copied().unwrap_or(0);
        let request = [0x05, afi, 0x00];
        let frame = Frame::new(Technology::B, &request);
        let expect = Expect::like(&frame, time::FDT_B_ATQB_TIMEOUT);
        self.link.exchange(&frame, &expect, &mut self.rx).ok()?;
        let atqb: [u8; 12] = self.rx.data.get(..12)?.try_into().ok()?;
        if atqb[0] != 0x50 {
            return None;
        }
        let [_, p0, p1, p2, p3, _, _, _, _, _, fsci_type, fwi_options] = atqb;
        let attrib = [0x1D, p0, p1, p2, p3, 0x00, FSDI, 0x01, 0x00];
        let frame = Frame::new(Technology::B, &attrib);
        let fwt = time::waiting_time(fwi_options >> 4);
        let expect = Expect::like(&frame, fwt + time::DELTA_FWT);
        self.link.exchange(&frame, &expect, &mut self.rx).ok()?;
        let attrib_res = self.rx.data.clone();
        let kind = if fsci_type & 0x01 == 0 {
            Kind::Plain {
                technology: Technology::B,
                rate: BitRate::Kbps106,
            }
        } else {
            let mut parameters = dep::Parameters::new(Technology::B);
            parameters.fsc = dep::frame_size(fsci_type >> 4).min(256);
            parameters.fsd = dep::frame_size(FSDI);
            parameters.fwt = fwt;
            Kind::IsoDep(Pcd::new(parameters).with_max_wtx(MAX_WTX))
        };
        Some(Target {
            kind,
            modulation: Modulation::B106,
            card: None,
            found: Found::B { atqb, attrib_res },
            gathered: Vec::new(),
            left: Vec::new(),
        })
    }

    fn find_f(&mut self, initiator: &[u8], rate: BitRate) -> Option<Target> {
        self.registers.set_modes(Mode::new(Technology::F, rate, true));
        // SENSF_REQ without its length byte.
        let [code, rest @ ..]: [u8; 5] = initiator.try_into().ok()?;
        let [sc0, sc1, rc, tsn] = rest;
        let request = [0x06, code, sc0, sc1, rc, tsn];
        let frame = Frame::new(Technology::F, &request).at(rate);
        let slots = time::F_SLOT * (u64::from(tsn) + 1);
        let expect = Expect::like(&frame, time::F_FIRST_SLOT + slots);
        self.link.exchange(&frame, &expect, &mut self.rx).ok()?;
        let (nfcid2, pad, system_code) = match self.rx.data[..] {
            [18, 0x01, ref rest @ ..] if rest.len() == 16 => (rest[..8].try_into().ok()?, rest[8..].try_into().ok()?, None),
            [20, 0x01, ref rest @ ..] if rest.len() == 18 => (
                rest[..8].try_into().ok()?,
                rest[8..16].try_into().ok()?,
                Some(rest[16..].try_into().ok()?),
            ),
            _ => return None,
        };
        let kind = Kind::Plain {
            technology: Technology::F,
            rate,
        };
        Some(Target {
            kind,
            modulation: if rate == BitRate::Kbps212 {
                Modulation::Felica212
            } else {
                Modulation::Felica424
            },
            card: None,
            found: Found::Felica { nfcid2, pad, system_code },
            gathered: Vec::new(),
            left: Vec::new(),
        })
    }

    fn tell(&mut self, answer: &mut Vec<u8>) {
        let mut data = Vec::new();
        let mut count = 0;
        for (number, target) in (1..).zip(&self.targets) {
            if let Some(target) = target {
                target.found.listed(number).encode(&mut data);
                count += 1;
            }
        }
        self.last_error = Status::OK;
        Answer::Listed { count, data: &data }.encode(answer);
    }

    fn tell_polled(&mut self, kind: AutoPollType, answer: &mut Vec<u8>) {
        let mut data = Vec::new();
        if let Some(target) = &self.targets[0] {
            PolledTarget::Card(kind, target.found.listed(1)).encode(&mut data);
        }
        self.last_error = Status::OK;
        let count = u8::from(!data.is_empty());
        Answer::Polled { count, data: &data }.encode(answer);
    }

    // --- talking ------------------------------------------------------------------------------------------------------

    pub(super) fn exchange(&mut self, number: u8, more: bool, data: &[u8], answer: &mut Vec<u8>) {
        let mut back = Vec::new();
        let result = self.talk(number, more, data, &mut back);
        let mut status = self.noted(result.map(|_| ()));
        status.more = result == Ok(true);
        Answer::Data(Code::InDataExchange, status, &back).encode(answer);
    }

    /// Says whether more of the answer waits.
    fn talk(&mut self, number: u8, more: bool, data: &[u8], back: &mut Vec<u8>) -> Result<bool, ErrorCode> {
        if data.len() > MAX_DATA {
            return Err(ErrorCode::BufferSize);
        }
        let place = self.wake(number)?;
        let Some(target) = &mut self.targets[place] else {
            return Err(ErrorCode::Context);
        };
        let response = match &mut target.kind {
            kind @ (Kind::IsoDep(_) | Kind::NfcDep(_)) => {
                if data.is_empty() && !more && !target.left.is_empty() {
                    std::mem::take(&mut target.left)
                } else {
                    target.left.clear();
                    if target.gathered.len() + data.len() > MAX_GATHERED {
                        target.gathered.clear();
                        return Err(ErrorCode::InternalOverflow);
                    }
                    target.gathered.extend_from_slice(data);
                    if more {
                        return Ok(false);
                    }
                    let command = std::mem::take(&mut target.gathered);
                    let mut response = Vec::new();
                    match kind {
                        Kind::IsoDep(pcd) => match converse(&mut self.link, &mut pcd.transceive(&command, &mut response), &mut self.rx) {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => return Err(dep_error(&error)),
                            Err(error) => return Err(error_code(&error)),
                        },
                        Kind::NfcDep(initiator) => Self::dep_exchange(&mut self.link, &mut self.rx, initiator, &command, &mut response)?,
                        Kind::Plain { .. } => {}
                    }
                    response
                }
            }
            Kind::Plain { technology, rate } => {
                let frame = Frame::new(*technology, data).at(*rate);
                let timeout = time::Ticks::from_micros(self.settings.retry.microseconds().unwrap_or(3_276_800));
                let expect = Expect::like(&frame, timeout);
                match self.link.exchange(&frame, &expect, &mut self.rx) {
                    Ok(()) => self.rx.data.clone(),
                    // ACK and NAK of a memory card: four bits without a checksum.
                    Err(_) if self.rx.last_bits == 4 && self.rx.data.len() == 1 => self.rx.data.clone(),
                    Err(error) => return Err(error_code(&error)),
                }
            }
        };
        let (now, later) = response.split_at(response.len().min(MAX_DATA));
        back.extend_from_slice(now);
        target.left = later.to_vec();
        Ok(!target.left.is_empty())
    }

    /// The active target's place; a halted one is selected first.
    pub(super) fn wake(&mut self, number: u8) -> Result<usize, ErrorCode> {
        let place = place_of(number)?;
        if self.targets[place].is_none() {
            return Err(ErrorCode::Context);
        }
        if self.active == Some(place) {
            return Ok(place);
        }
        if let Some(other) = self.active {
            self.rest(other);
        }
        let card = self.targets[place].as_ref().and_then(|target| target.card);
        let Some(card) = card else {
            self.active = Some(place);
            return Ok(place);
        };
        let again = self.select_a(Select::known(Request::Wupa, card.uid)).ok_or(ErrorCode::CardGone)?;
        self.targets[place] = Some(again);
        self.active = Some(place);
        Ok(place)
    }

    /// Halts a type A card that is active; others are left as they are.
    fn rest(&mut self, place: usize) {
        if self.active == Some(place) {
            self.active = None;
        }
        let Some(target) = &mut self.targets[place] else { return };
        match &mut target.kind {
            Kind::IsoDep(pcd) => {
                let _ = converse(&mut self.link, &mut pcd.deselect(), &mut self.rx);
            }
            Kind::NfcDep(initiator) => {
                let _ = converse(&mut self.link, &mut initiator.deselect(), &mut self.rx);
            }
            Kind::Plain {
                technology: Technology::A, ..
            } => {
                let _ = self.link.send(&Frame::new(Technology::A, &HLTA));
            }
            Kind::Plain { .. } => {}
        }
    }

    /// The places that a number means: 0 is all.
    fn places(number: u8) -> Result<std::ops::Range<usize>, ErrorCode> {
        match number {
            0 => Ok(0..2),
            _ => place_of(number).map(|place| place..place + 1),
        }
    }

    pub(super) fn deselect(&mut self, number: u8) -> Result<(), ErrorCode> {
        for place in Self::places(number)? {
            if self.active == Some(place) {
                self.rest(place);
            } else if number != 0 && self.targets[place].is_none() {
                return Err(ErrorCode::Context);
            }
        }
        Ok(())
    }

    pub(super) fn release(&mut self, number: u8) -> Result<(), ErrorCode> {
        for place in Self::places(number)? {
            match &mut self.targets[place] {
                Some(Target {
                    kind: Kind::NfcDep(initiator),
                    ..
                }) if self.active == Some(place) => {
                    let _ = converse(&mut self.link, &mut initiator.release(), &mut self.rx);
                    self.active = None;
                }
                _ if self.active == Some(place) => self.rest(place),
                _ => {}
            }
            self.targets[place] = None;
        }
        Ok(())
    }

    pub(super) fn select(&mut self, number: u8) -> Result<(), ErrorCode> {
        self.wake(number).map(|_| ())
    }

    /// Rates by PPS, for a card that knows them (7.3.7). Only right after activation.
    pub(super) fn change_rates(&mut self, number: u8, initiator: u8, target: u8) -> Result<(), ErrorCode> {
        // A PN532 has no 848 kbit/s.
        let rate = |code: u8| {
            BitRate::from_divisor_code(code)
                .filter(|rate| *rate <= BitRate::Kbps424)
                .ok_or(ErrorCode::Parameter)
        };
        let (send, receive) = (rate(initiator)?, rate(target)?);
        let place = self.wake(number)?;
        let Some(Target {
            kind: Kind::IsoDep(pcd), ..
        }) = &mut self.targets[place]
        else {
            return Err(ErrorCode::Context);
        };
        let pps = Pps { cid: 0, send, receive }.encode();
        let frame = Frame::new(Technology::A, &pps);
        let expect = Expect::like(&frame, time::FWT_ACTIVATION + time::DELTA_FWT);
        self.link
            .exchange(&frame, &expect, &mut self.rx)
            .map_err(|error| error_code(&error))?;
        if self.rx.data != [0xD0] {
            return Err(ErrorCode::Protocol);
        }
        let mut parameters = *pcd.parameters();
        (parameters.send, parameters.receive) = (send, receive);
        *pcd = Pcd::new(parameters).with_max_wtx(MAX_WTX);
        Ok(())
    }

    /// Whether the active card still answers (Diagnose 06).
    pub(super) fn attention(&mut self) -> Result<(), ErrorCode> {
        let place = self.active.ok_or(ErrorCode::Context)?;
        match &mut self.targets[place] {
            Some(Target {
                kind: Kind::IsoDep(pcd), ..
            }) => match converse(&mut self.link, &mut pcd.presence_check(), &mut self.rx) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(dep_error(&error)),
                Err(error) => Err(error_code(&error)),
            },
            Some(Target {
                kind: Kind::NfcDep(initiator),
                ..
            }) => match converse(&mut self.link, &mut initiator.attention(), &mut self.rx) {
                Ok(Ok(())) => Ok(()),
                _ => Err(ErrorCode::Timeout),
            },
            _ => Err(ErrorCode::Context),
        }
    }
}

fn place_of(number: u8) -> Result<usize, ErrorCode> {
    match number {
        1 | 2 => Ok(usize::from(number) - 1),
        _ => Err(ErrorCode::Context),
    }
}

/// A UID as a host gives it: with a cascade tag before each part but the last.
fn without_cascade_tags(bytes: &[u8]) -> Option<Uid> {
    match *bytes {
        [_, _, _, _] => Uid::new(bytes),
        [0x88, ref rest @ ..] if rest.len() == 7 => Uid::new(rest),
        [0x88, a, b, c, 0x88, ref rest @ ..] if rest.len() == 7 => {
            let mut uid = vec![a, b, c];
            uid.extend_from_slice(rest);
            Uid::new(&uid)
        }
        // As they are, from hosts that leave the tags out.
        _ => Uid::new(bytes),
    }
}

fn dep_error(error: &DepError) -> ErrorCode {
    use tapdoor_protocol::rf::frame::RfError;
    match error {
        DepError::Lost { error: RfError::Crc, .. } => ErrorCode::Crc,
        DepError::Lost {
            error: RfError::Parity, ..
        } => ErrorCode::Parity,
        DepError::Lost {
            error: RfError::Framing, ..
        } => ErrorCode::Framing,
        DepError::Lost {
            error: RfError::Overflow, ..
        }
        | DepError::TooLong { .. } => ErrorCode::RfOverflow,
        DepError::Protocol { .. } => ErrorCode::Protocol,
        _ => ErrorCode::Timeout,
    }
}
