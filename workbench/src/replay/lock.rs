//! The recorded lock: its commands go to a live card, and the answers are compared.
//!
//! With keys the tap is not repeated byte by byte: today's lock taps with fresh challenges, and decision and answers are compared with those of
//! then. Without them the recorded commands go out as they are, and proofs over another challenge come back wrong.

use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{Reason, ins};
use tapdoor_reader::{Tap, TapVerdict};

use super::card::alike;
use super::compare;
use crate::desk::{Desk, DeskError};
use crate::recorded::RecordedTap;
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

fn without_keys(tap: &RecordedTap, desk: &mut Desk) -> Result<Replayed, DeskError> {
    let mut out = Replayed {
        number: tap.number,
        sent: 0,
        changed: Vec::new(),
        now: None,
        same_decision: None,
        remarks: Vec::new(),
    };
    let mut proofs = false;
    for (at, exchange) in tap.exchanges.iter().enumerate() {
        if !exchange.command_mask.is_empty() {
            out.remarks
                .push(format!("exchange {}: the command was masked on the tape and is not sent", at + 1));
            continue;
        }
        let command = &exchange.command;
        proofs |= Command::parse(command).is_ok_and(|c| c.ins == ins::AUTHENTICATE);
        let answer = desk.transmit(command);
        out.sent += 1;
        let what = match (&exchange.answer, answer) {
            (_, Err(error)) if error.is_stopped() => return Err(error),
            (Some(Ok(then)), Ok(now)) if !exchange.answer_mask.is_empty() => sw_only(command, then, &now.bytes),
            (Some(Ok(then)), Ok(now)) => compare::answers(command, then, &now.bytes),
            (Some(Ok(_)), Err(error)) => vec![format!("answered then, and now: {error}")],
            (Some(Err(kind)), Ok(_)) => vec![format!("no answer then ({kind:?}), and one now")],
            (Some(Err(_)), Err(_)) => Vec::new(),
            (None, _) => Vec::new(),
        };
        if !what.is_empty() {
            out.changed.push(Changed {
                exchange: Some(at + 1),
                command: command.clone(),
                what,
            });
        }
        if !desk.has_card() {
            break;
        }
    }
    if proofs {
        out.remarks.push(
            "AUTHENTICATE was sent with the challenge of then, which a phone that drew another one must refuse; --config lock.toml taps with fresh ones".into(),
        );
    }
    Ok(out)
}

/// Where secrets were taken out of an answer, only its status can be compared.
fn sw_only(command: &[u8], then: &[u8], now: &[u8]) -> Vec<String> {
    let sw = |bytes: &[u8]| bytes.split_last_chunk::<2>().map(|(_, sw)| sw.to_vec()).unwrap_or_default();
    compare::answers(command, &sw(then), &sw(now))
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
    // Both sides in order: a command that only one of them has is a difference, and the others are compared.
    let mut live = heard.into_iter().peekable();
    for (at, exchange) in tap.exchanges.iter().enumerate() {
        if exchange.command.first() == Some(&0xFF) {
            continue;
        }
        match live.next_if(|(command, _)| alike(&exchange.command, command)) {
            Some((command, answer)) => {
                let what = match (&exchange.answer, &answer) {
                    (Some(Ok(then)), Some(now)) if exchange.answer_mask.is_empty() => compare::answers(&command, then, now),
                    (Some(Ok(then)), Some(now)) => sw_only(&command, then, now),
                    (Some(Ok(_)), None) => vec!["answered then, and not now".into()],
                    (Some(Err(_)), Some(_)) => vec!["not answered then, and now".into()],
                    _ => Vec::new(),
                };
                if !what.is_empty() {
                    out.changed.push(Changed {
                        exchange: Some(at + 1),
                        command,
                        what,
                    });
                }
            }
            None => out.changed.push(Changed {
                exchange: Some(at + 1),
                command: exchange.command.clone(),
                what: vec!["sent then, and not now".into()],
            }),
        }
    }
    out.changed.extend(live.map(|(command, _)| Changed {
        exchange: None,
        command,
        what: vec!["sent now, and not then".into()],
    }));
    Ok(out)
}
