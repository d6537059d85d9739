//! The recorded lock: its commands go to a live card, and the answers are compared as `tapdoor diff` does.
//!
//! With keys the tap is not repeated byte by byte: today's lock taps with fresh challenges, and decision and answers are compared with those of
//! then. Without them the recorded commands go out as they are, and proofs over another challenge come back wrong.

use tapdoor_captures::diff::{self, Difference, Finding};
use tapdoor_captures::{Direction, Event, Layer, Mask};
use tapdoor_protocol::aliro;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{Reason, ins};
use tapdoor_reader::{Tap, TapVerdict};

use crate::desk::{Desk, DeskError};
use crate::recorded::{RecordedExchange, RecordedTap};
use crate::script::OwnLock;

/// One exchange that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Which exchange of the recorded tap, from 1; `None` for one that is new.
    pub exchange: Option<usize>,
    /// The command that was sent now, or was sent then and not now.
    pub command: Vec<u8>,
    /// What differs, in words.
    pub what: Vec<String>,
}

/// What came of one tap.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Its number on the tape.
    pub number: Option<u64>,
    /// Commands that were sent.
    pub sent: usize,
    /// What differs.
    pub changed: Vec<Changed>,
    /// What today's lock decided, with keys.
    pub now: Option<(TapVerdict, Option<Reason>, String)>,
    /// Whether it is the decision of then; `None` without keys, or if the tape does not say.
    pub same_decision: Option<bool>,
    /// What cannot be compared so.
    pub remarks: Vec<String>,
}

impl Replayed {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.changed.is_empty() && self.same_decision != Some(false)
    }
}

/// Plays the lock of one recorded tap to the card at the desk, from a clean start.
///
/// # Errors
/// [`DeskError`] when there is no card or somebody stops; a card that leaves in the middle is a difference and no error.
pub fn replay(tap: &RecordedTap, desk: &mut Desk, lock: Option<&mut OwnLock>) -> Result<Replayed, DeskError> {
    desk.reset()?;
    match lock {
        Some(lock) => with_keys(tap, desk, lock),
        None => without_keys(tap, desk),
    }
}

/// Both sides of a comparison.
#[derive(Default)]
struct Sides {
    then: Vec<(Vec<u8>, Vec<Event>)>,
    now: Vec<(Vec<u8>, Vec<Event>)>,
}

/// An exchange as events of a tape.
fn events(command: (&[u8], &[Mask]), answer: Option<(&[u8], &[Mask])>) -> (Vec<u8>, Vec<Event>) {
    let event = |dir, (bytes, mask): (&[u8], &[Mask])| {
        let mut event = Event::new(0, Layer::Apdu).tap(1).bytes(dir, bytes);
        event.mask = mask.to_vec();
        event
    };
    let mut out = vec![event(Direction::Out, command)];
    out.extend(answer.map(|answer| event(Direction::In, answer)));
    (command.0.to_vec(), out)
}

impl Sides {
    fn then(&mut self, exchange: &RecordedExchange) {
        let answer = match &exchange.answer {
            Some(Ok(answer)) => Some((answer.as_slice(), exchange.answer_mask.as_slice())),
            _ => None,
        };
        self.then.push(events((&exchange.command, &exchange.command_mask), answer));
    }

    fn now(&mut self, command: &[u8], answer: Option<&[u8]>) {
        self.now.push(events((command, &[]), answer.map(|answer| (answer, &[][..]))));
    }

    /// What differs, exchange by exchange. `places` are those of the recorded exchanges on the tape, from 1.
    fn compare(self, places: &[usize]) -> Vec<Changed> {
        let mut changed: Vec<Changed> = Vec::new();
        let flat = |side: &[(Vec<u8>, Vec<Event>)]| side.iter().flat_map(|(_, events)| events.iter().cloned()).collect();
        diff::sessions(flat(&self.then), flat(&self.now), |finding| {
            let Finding::Difference(difference) = finding else { return };
            let number = difference.exchange.and_then(|n| usize::try_from(n).ok()?.checked_sub(1));
            let is_new = difference.kind == "only-b";
            let side = if is_new { &self.now } else { &self.then };
            let command = number.and_then(|n| side.get(n)).map(|(command, _)| command.clone());
            let exchange = number.and_then(|n| places.get(n)).copied().filter(|_| !is_new);
            let command = command.unwrap_or_default();
            let what = in_words(&difference);
            match changed
                .last_mut()
                .filter(|last| !is_new && last.exchange == exchange && exchange.is_some())
            {
                Some(last) => last.what.push(what),
                None => changed.push(Changed {
                    exchange,
                    command,
                    what: vec![what],
                }),
            }
        });
        changed
    }
}

fn in_words(difference: &Difference) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
    let (a, b) = (value(&difference.a), value(&difference.b));
    match difference.kind {
        "only-a" => "sent then, and not now".into(),
        "only-b" => "sent now, and not then".into(),
        "status" => format!("status word {a} then, {b} now"),
        "command" => format!("{}: {a} then, {b} now", difference.step),
        _ => format!("{}: {a} then, {b} now", difference.field.as_deref().unwrap_or("a field")),
    }
}

fn without_keys(tap: &RecordedTap, desk: &mut Desk) -> Result<Replayed, DeskError> {
    let mut remarks = Vec::new();
    let (mut sides, mut places, mut sent, mut proofs) = (Sides::default(), Vec::new(), 0, false);
    for (at, exchange) in tap.exchanges.iter().enumerate() {
        if !exchange.command_mask.is_empty() {
            remarks.push(format!("exchange {}: the command was masked on the tape and is not sent", at + 1));
            continue;
        }
        let command = &exchange.command;
        proofs |= is_proof(command);
        let answer = desk.transmit(command);
        sent += 1;
        if matches!(&answer, Err(error) if error.is_stopped()) {
            return Err(DeskError::Stopped);
        }
        // Where the tape says nothing, nothing can differ.
        if exchange.answer.is_some() {
            sides.then(exchange);
            sides.now(command, answer.as_ref().ok().map(|answer| answer.bytes.as_slice()));
            places.push(at + 1);
        }
        if !desk.has_card() {
            break;
        }
    }
    if proofs {
        remarks.push(
            "a proof was sent over the challenges of then, which a phone that drew others must refuse; --config lock.toml taps with fresh ones"
                .into(),
        );
    }
    Ok(Replayed {
        number: tap.number,
        sent,
        changed: sides.compare(&places),
        now: None,
        same_decision: None,
        remarks,
    })
}

/// Whether this proves something over the other side's challenge: AUTHENTICATE, and Aliro's AUTH1.
fn is_proof(command: &[u8]) -> bool {
    Command::parse(command).is_ok_and(|c| c.ins == ins::AUTHENTICATE || (c.plain_cla(), c.ins) == (0x80, aliro::ins::AUTH1))
}

fn with_keys(tap: &RecordedTap, desk: &mut Desk, lock: &mut OwnLock) -> Result<Replayed, DeskError> {
    desk.listen();
    let now = lock.tap("", desk);
    let heard = desk.heard();
    if desk.stop().is_stopped() {
        return Err(DeskError::Stopped);
    }
    let mut out = Replayed {
        number: tap.number,
        sent: heard.len(),
        changed: Vec::new(),
        now: None,
        same_decision: None,
        remarks: Vec::new(),
    };
    if let Some(Tap {
        verdict, reason, detail, ..
    }) = now
    {
        let name = reason.map(Reason::name);
        out.same_decision = tap
            .verdict
            .as_ref()
            .map(|then| then.verdict == verdict.name() && then.reason.as_deref() == name);
        out.now = Some((verdict, reason, detail));
    }
    let (mut sides, mut places) = (Sides::default(), Vec::new());
    for (at, exchange) in tap.exchanges.iter().enumerate() {
        // What a reader is told about its LEDs is no business of the phone.
        if exchange.command.first() != Some(&0xFF) {
            sides.then(exchange);
            places.push(at + 1);
        }
    }
    for (command, answer) in &heard {
        sides.now(command, answer.as_deref());
    }
    out.changed = sides.compare(&places);
    Ok(out)
}
