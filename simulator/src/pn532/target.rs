//! The chip as a target (UM0701-02 7.3.14 to 7.3.21): TgInitAsTarget and what follows it.
//!
//! A chip that is a target stands in somebody else's field: its [`Antenna`] has a card's side, [`AntennaCard`], that is placed there. The
//! two sides live in different threads. What the chip does by itself it answers at once: anticollision, and RATS, ATR and their blocks
//! where it was set so. All else waits for the target's host, at most [`HOST`] for real.
//!
//! - SetParameters' "ISO/IEC 14443-4 PICC": the chip speaks ISO-DEP, TgGetData and TgSetData carry APDUs. While its host works it asks
//!   the reader for more time by S(WTX), for as long as the reader grants it. The ATS is the chip's own, `75 33 92 03` and the host's
//!   historical bytes. A command that is longer than a frame to the host comes in parts, with "more information".
//! - "Automatic ATR_RES": the chip speaks NFC-DEP, TgGetData and TgSetData carry information.
//! - Otherwise TgGetInitiatorCommand and TgResponseToInitiator carry frames, without checksum, and without the F0 of NFC-DEP at 106 as long
//!   as DetectSync is set in the chip's register CIU_Mode, which TgInitAsTarget does.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tapdoor_link::field::{FieldCard, FieldLink};
use tapdoor_protocol::pn532::{Answer, Code, ErrorCode, MAX_DATA, Parameters, Status, TargetSetup};
use tapdoor_protocol::rf::felica;
use tapdoor_protocol::rf::frame::{BitRate, Frame, Received, RxFrame, Technology};
use tapdoor_protocol::rf::iso14443::card::{Card, Event};
use tapdoor_protocol::rf::iso14443::dep::ats::{Ats, Rates};
use tapdoor_protocol::rf::iso14443::type_a::{Atqa, Sak, Uid};
use tapdoor_protocol::rf::nfc_dep::pdu::{Atr, SB};
use tapdoor_protocol::rf::nfc_dep::target::{Heard, Target};
use tapdoor_protocol::rf::time::{self, Ticks};

use super::registers::{DETECT_SYNC, address};
use super::{Outcome, Pn532, UnderWay};

/// How long the other side's frame waits for the target's host.
pub const HOST: Duration = Duration::from_secs(1);
/// The same of a host that has missed one, so that a reader's repetitions do not add up.
const MISSING: Duration = Duration::from_millis(100);
/// How long what the host says may take to be on the air, where a frame waits for it.
const SAYING: Duration = Duration::from_millis(200);
/// The chip asks for more time when this part of its waiting time is over (3 of 4), so that S(WTX) is not late.
const SAFE: (u64, u64) = (3, 4);
/// Mode of TgInitAsTarget's answer: NFC-DEP, ISO-DEP, FeliCa framing.
const MODE_DEP: u8 = 0x04;
const MODE_PICC: u8 = 0x08;
const MODE_FELICA: u8 = 0x02;
/// How long a target takes over an answer by itself, type F.
const FELICA_DELAY: Ticks = time::F_FIRST_SLOT;

/// What the target's host waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// To be activated.
    Activation,
    /// For data, by this command.
    Data(Code),
}

struct Listening {
    a: Card,
    f: felica::Card,
    is_f: bool,
    dep: Target,
    parameters: Parameters,
    only: u8,
    // How the session was activated: mode, and whether frames go to the host as they are.
    session: Option<Session>,
}

#[derive(Clone, Copy)]
struct Session {
    mode: u8,
    is_raw: bool,
}

#[derive(Default)]
struct State {
    listening: Option<Listening>,
    activation: Option<(u8, Vec<u8>)>,
    incoming: Option<Vec<u8>>,
    outgoing: Option<Vec<u8>>,
    gathered: Vec<u8>,
    is_released: bool,
    // CIU_Mode's DetectSync.
    is_synced: bool,
    // The host has not answered the last frame.
    is_missing: bool,
    // A frame waits for the host.
    is_waiting: bool,
}

/// A chip's end of an antenna.
#[derive(Clone, Default)]
pub struct Antenna(Arc<(Mutex<State>, Condvar)>);

/// The other end: a card in somebody's field.
pub struct AntennaCard(Antenna);

impl Antenna {
    /// The card's side, for the field of the other reader.
    #[must_use]
    pub fn card(&self) -> AntennaCard {
        AntennaCard(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, setup: &TargetSetup<'_>, parameters: Parameters) {
        let [a, b, c] = setup.nfcid1;
        let ats = Ats {
            fsci: 5,
            rates: Rates(0x33),
            fwi: 9,
            sfgi: 2,
            cid: true,
            nad: true,
            historical: setup.historical.to_vec(),
        };
        let card = Card::type_a(Uid::from([0x08, a, b, c]), Atqa(setup.sens_res), Sak(setup.sel_res), ats);
        let [id @ .., p0, p1, p2, p3, p4, p5, p6, p7, s0, s1] = setup.felica;
        let system = u16::from_be_bytes([s0, s1]);
        let response = felica::SensfRes {
            id,
            parameters: [p0, p1, p2, p3, p4, p5, p6, p7],
            data: None,
        };
        let atr = Atr {
            nfcid3: setup.nfcid3,
            did: 0,
            bs: 0,
            br: 0,
            to: Some(9),
            lr: 3,
            general: setup.general.to_vec(),
        };
        let mut state = self.lock();
        *state = State {
            listening: Some(Listening {
                a: card,
                f: felica::Card::new(response, system, 0),
                is_f: id != [0; 8],
                dep: Target::new(atr),
                parameters,
                only: setup.mode,
                session: None,
            }),
            is_synced: true,
            ..State::default()
        };
        // It hears the field, if there is one, from now on.
        if let Some(listening) = &mut state.listening {
            listening.a.field(true);
        }
        self.0.1.notify_all();
    }

    fn leave(&self) {
        *self.lock() = State::default();
        self.0.1.notify_all();
    }
}

impl AntennaCard {
    /// Hands `data` to the target's host, and waits for what it says.
    fn ask<'a>(&'a self, mut state: MutexGuard<'a, State>, data: Option<Vec<u8>>) -> (MutexGuard<'a, State>, Option<Vec<u8>>) {
        state.outgoing = None;
        state.incoming = data;
        let time = if state.is_missing { MISSING } else { HOST };
        let (mut state, said) = self.wait(state, time);
        state.is_missing = said.is_none();
        if said.is_none() {
            state.incoming = None;
        }
        (state, said)
    }

    /// Waits for what the target's host says.
    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>, time: Duration) -> (MutexGuard<'a, State>, Option<Vec<u8>>) {
        let end = Instant::now() + time;
        let changed = &self.0.0.1;
        state.is_waiting = true;
        let said = loop {
            if let Some(answer) = state.outgoing.take() {
                break Some(answer);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.listening.is_none() {
                break None;
            }
            state = changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.is_waiting = false;
        changed.notify_all();
        (state, said)
    }

    /// The host's response to an APDU, or S(WTX) when it is not there in time. The host's time passes in the field as well.
    fn respond(&self, state: MutexGuard<'_, State>, answer: &mut RxFrame) -> Option<Ticks> {
        let fwt = state.listening.as_ref()?.a.parameters().fwt;
        let safe = Ticks(fwt.0 * SAFE.0 / SAFE.1);
        let begun = Instant::now();
        let (mut state, said) = self.wait(state, safe.as_duration());
        let listening = state.listening.as_mut()?;
        // Its host may have begun anew meanwhile.
        listening.session?;
        let a = &mut listening.a;
        Some(match said {
            Some(said) => a
                .respond(&said, Ticks::ZERO, answer)
                .max(Ticks::from_duration(begun.elapsed()).min(safe)),
            None => a.ask_for_time(answer).max(safe),
        })
    }

    /// A frame for the host as it is; the first of a session is told by TgInitAsTarget.
    fn raw(&self, mut state: MutexGuard<'_, State>, frame: &Frame<'_>, mode: u8, answer: &mut RxFrame) -> Option<Ticks> {
        // The host may write DetectSync between frame and answer.
        let is_framed = |state: &State| mode & MODE_DEP != 0 && frame.rate == BitRate::Kbps106 && state.is_synced;
        let data = if is_framed(&state) { frame.data.get(1..)? } else { frame.data }.to_vec();
        let listening = state.listening.as_mut()?;
        let is_first = listening.session.is_none();
        let data = if is_first {
            listening.session = Some(Session { mode, is_raw: true });
            listening.a.enter_other_protocol();
            state.activation = Some((mode, data));
            None
        } else {
            Some(data)
        };
        let (state, said) = self.ask(state, data);
        let mut said = said?;
        if is_framed(&state) {
            said.insert(0, SB);
        }
        answer.set(&Frame::new(frame.technology, &said).at(frame.rate));
        Some(time::fdt_a(frame))
    }

    fn dep(&self, mut state: MutexGuard<'_, State>, frame: &Frame<'_>, answer: &mut RxFrame) -> Option<Ticks> {
        let listening = state.listening.as_mut()?;
        let delay = time::fdt_a(frame);
        match listening.dep.receive(Ok(*frame), answer) {
            Heard::Silent | Heard::Granted => None,
            Heard::Answer => Some(delay),
            Heard::Attached => {
                let framing = if frame.technology == Technology::F { MODE_FELICA } else { 0 };
                let mode = frame.rate.divisor_code() << 4 | MODE_DEP | framing;
                listening.session = Some(Session { mode, is_raw: false });
                listening.a.enter_other_protocol();
                let skip = usize::from(frame.rate == BitRate::Kbps106);
                let command = frame.data.get(skip..).unwrap_or_default().to_vec();
                state.activation = Some((mode, command));
                state.is_released = false;
                Some(delay)
            }
            Heard::Data => {
                let data = listening.dep.data().to_vec();
                let (mut state, said) = self.ask(state, Some(data));
                let said = said?;
                state.listening.as_mut()?.dep.respond(&said, answer);
                Some(delay)
            }
            Heard::Deselected | Heard::Released => {
                listening.a.halt();
                state.is_released = true;
                Some(delay)
            }
        }
    }
}

impl FieldCard for AntennaCard {
    fn field(&mut self, on: bool, _now: Ticks) {
        let mut state = self.0.lock();
        let Some(listening) = &mut state.listening else { return };
        listening.a.field(on);
        if !on {
            listening.dep.reset();
            // Nobody else activates this target again: its host must ask for it.
            let was_active = listening.session.is_some();
            state.is_released |= was_active;
            self.0.0.1.notify_all();
        }
    }

    fn receive(&mut self, frame: Received<'_>, _now: Ticks, answer: &mut RxFrame) -> Option<Ticks> {
        let mut state = self.0.lock();
        if state.is_released && state.listening.as_ref().is_some_and(|l| l.session.is_some()) {
            return None;
        }
        let listening = state.listening.as_mut()?;
        if let (Some(session), Ok(frame)) = (listening.session, &frame)
            && session.is_raw
        {
            return self.raw(state, frame, session.mode, answer);
        }
        let is_attached = listening.dep.is_attached();
        let automatic = listening.parameters.has(Parameters::AUTOMATIC_ATR_RES);
        match &frame {
            Ok(tx) if tx.technology == Technology::F && listening.only & TargetSetup::PICC_ONLY == 0 => {
                // A host that gives no NFCID2 does not mean to be of type F.
                let is_f = listening.is_f && !is_attached;
                if is_f && let Some(delay) = listening.f.receive(frame, answer) {
                    return Some(delay.max(FELICA_DELAY));
                }
                if !listening.is_f {
                    return None;
                }
                if automatic || is_attached {
                    return self.dep(state, tx, answer);
                }
                let is_atr = matches!(tx.data, [_, 0xD4, 0x00, ..]);
                let mode = tx.rate.divisor_code() << 4 | MODE_FELICA | if is_atr { MODE_DEP } else { 0 };
                return self.raw(state, tx, mode, answer);
            }
            _ => {}
        }
        match listening.a.receive(frame, answer) {
            Event::Silent => None,
            Event::Answer(delay) => Some(delay),
            Event::Activated(delay) => {
                listening.session = Some(Session {
                    mode: MODE_PICC,
                    is_raw: false,
                });
                let rats = frame.map(|frame| frame.data.to_vec()).unwrap_or_default();
                if !listening.parameters.has(Parameters::ISO14443_4_PICC) {
                    // The host does ISO-DEP itself.
                    let tx = frame.ok()?;
                    listening.session = None;
                    return self.raw(state, &tx, 0x00, answer);
                }
                state.activation = Some((MODE_PICC, rats));
                state.is_released = false;
                Some(delay)
            }
            Event::Deselected(delay) => {
                state.is_released = true;
                Some(delay)
            }
            Event::Command => {
                state.incoming = Some(listening.a.command().to_vec());
                state.outgoing = None;
                self.respond(state, answer)
            }
            Event::Granted => self.respond(state, answer),
            Event::Other => {
                let tx = frame.ok()?;
                let is_dep = matches!(tx.data, [SB, _, 0xD4, ..]);
                match (is_dep, is_dep && (automatic || is_attached)) {
                    (true, true) => self.dep(state, &tx, answer),
                    (true, false) => self.raw(state, &tx, MODE_DEP, answer),
                    _ if listening.only & TargetSetup::DEP_ONLY != 0 => {
                        listening.a.back();
                        None
                    }
                    _ => self.raw(state, &tx, 0x00, answer),
                }
            }
        }
    }
}

impl<L: FieldLink> Pn532<L> {
    pub(super) fn init_as_target(&mut self, setup: &TargetSetup<'_>) -> Outcome {
        self.set_field(false);
        let Some(antenna) = &self.antenna else {
            // No other reader is near.
            self.under_way = Some(UnderWay::Endless);
            return Outcome::Busy;
        };
        antenna.listen(setup, self.parameters);
        let mode = self.registers.read(address::MODE);
        self.registers.write(address::MODE, mode | DETECT_SYNC);
        self.under_way = Some(UnderWay::Target(Waits::Activation));
        Outcome::Busy
    }

    /// The host may have written DetectSync.
    pub(super) fn tell_sync(&self) {
        if let Some(antenna) = &self.antenna {
            antenna.lock().is_synced = self.registers.read(address::MODE) & DETECT_SYNC != 0;
        }
    }

    pub(super) fn target_on(&mut self, waits: Waits, answer: &mut Vec<u8>) -> Outcome {
        let Some(antenna) = self.antenna.clone() else {
            return Outcome::Syntax;
        };
        let mut state = antenna.lock();
        match waits {
            Waits::Activation => {
                if let Some((mode, command)) = state.activation.take() {
                    Answer::Activated { mode, command: &command }.encode(answer);
                    return Outcome::Answered;
                }
            }
            Waits::Data(code) => {
                let is_active = state.listening.as_ref().is_some_and(|l| l.session.is_some());
                let failed = match (state.incoming.take(), is_active, state.is_released) {
                    (_, true, true) => Some(ErrorCode::Released),
                    (Some(mut data), ..) => {
                        let rest = data.split_off(data.len().min(MAX_DATA));
                        let more = !rest.is_empty();
                        Answer::Data(code, Status { more, ..Status::OK }, &data).encode(answer);
                        state.incoming = more.then_some(rest);
                        return Outcome::Answered;
                    }
                    (None, false, _) => Some(ErrorCode::DepState),
                    (None, true, false) => None,
                };
                if let Some(error) = failed {
                    drop(state);
                    let failed = self.noted(Err(error));
                    Answer::Data(code, failed, &[]).encode(answer);
                    return Outcome::Answered;
                }
            }
        }
        self.under_way = Some(UnderWay::Target(waits));
        Outcome::Busy
    }

    /// Data or a frame to the initiator; with `more`, the host has more of it.
    pub(super) fn say_to_initiator(&mut self, data: &[u8], more: bool) -> Result<(), ErrorCode> {
        let antenna = self.antenna.as_ref().ok_or(ErrorCode::DepState)?;
        let mut state = antenna.lock();
        if state.listening.as_ref().is_none_or(|l| l.session.is_none()) {
            return Err(ErrorCode::DepState);
        }
        if state.is_released {
            return Err(ErrorCode::Released);
        }
        state.gathered.extend_from_slice(data);
        if state.gathered.len() > tapdoor_protocol::rf::nfc_dep::MAX_DATA {
            state.gathered.clear();
            return Err(ErrorCode::InternalOverflow);
        }
        if !more {
            // What the host did not fetch of the command is of no use any more.
            state.incoming = None;
            let all = std::mem::take(&mut state.gathered);
            state.outgoing = Some(all);
            antenna.0.1.notify_all();
            // The chip answers its host when that is on the air: what the host does next does not take it back.
            let end = Instant::now() + SAYING;
            while state.is_waiting && state.outgoing.is_some() {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = antenna.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        Ok(())
    }

    pub(super) fn target_status(&self) -> Answer<'static> {
        let state = self.antenna.as_ref().map(Antenna::lock);
        match state
            .as_ref()
            .and_then(|state| Some((state.listening.as_ref()?.session?, state.is_released)))
        {
            Some((session, false)) => {
                let rate = session.mode >> 4 & 0x07;
                Answer::TargetStatus {
                    state: 1,
                    rates: rate << 4 | rate,
                }
            }
            Some((_, true)) | None => Answer::TargetStatus { state: 0, rates: 0 },
        }
    }

    /// The chip is a target no longer.
    pub(super) fn stop_listening(&self) {
        if let Some(antenna) = &self.antenna {
            antenna.leave();
        }
    }
}
