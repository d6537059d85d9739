//! The recorded card: it answers a live lock as it answered then.
//!
//! By default a command is matched by its meaning: header, and for SELECT the name; what else is in it may be fresh. Where a recorded answer
//! repeats bytes of the command, the fresh ones are put in their place. With keys the answers of the door applications and of a test USIM are
//! recomputed ([`super::keys`]), with a phone's credentials those of Aliro ([`super::device`]). In strict mode every command must be the recorded one, byte by byte.

use std::sync::Arc;

use tapdoor_chip::ChipError;
use tapdoor_hce_card::serve::Card;
use tapdoor_link::LinkErrorKind;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{Verdict, ins};

use super::device::{self, Device};
use super::keys::{Session, Tools};
use crate::recorded::{RecordedExchange, RecordedTap};

/// The ATR of a tape that has none.
pub(super) const ATR: [u8; 5] = [0x3B, 0x80, 0x80, 0x01, 0x01];
/// The shortest run of bytes that is taken for a value which an answer repeats.
const SHORTEST: usize = 4;

/// How an answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As it is on the tape, for the same command.
    Recorded,
    /// As it is on the tape, for a command with other values in it.
    Alike,
    /// The command's fresh values were put into it.
    Bound,
    /// Made with the keys.
    Recomputed,
    /// The tape has no answer to this command.
    Unknown,
}

impl How {
    /// The word in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Alike => "alike",
            Self::Bound => "bound",
            Self::Recomputed => "recomputed",
            Self::Unknown => "unknown",
        }
    }
}

/// One command and its answer, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which tap of the tape, from 1.
    pub tap: usize,
    /// Which exchange of it, from 1, if it is on the tape.
    pub exchange: Option<usize>,
    /// How it was answered.
    pub how: How,
    /// The command.
    pub command: Vec<u8>,
    /// The answer; empty when the card left.
    pub answer: Vec<u8>,
    /// What the lock said, sealed or plainly.
    pub verdict: Option<Verdict>,
}

/// Who is told.
pub type Watcher = Arc<dyn Fn(&Told) + Send + Sync>;

/// A recorded card: each time it comes into the field it is the next tap of the tape, after the last the first again.
pub struct Player {
    taps: Vec<RecordedTap>,
    tools: Option<Tools>,
    device: Option<Device>,
    /// For each tap whether the device's proof is to be wrong.
    wrong: Vec<bool>,
    /// Whether the device is selected.
    on_device: bool,
    strict: bool,
    watcher: Option<Watcher>,
    tap: usize,
    /// The exchange that is expected next.
    at: usize,
    used: bool,
    gone: bool,
    session: Session,
    /// Commands that the tape has no answer to.
    unknown: u64,
}

impl Player {
    /// Plays these taps.
    #[must_use]
    pub fn new(taps: Vec<RecordedTap>) -> Self {
        Self {
            taps,
            tools: None,
            device: None,
            wrong: Vec::new(),
            on_device: false,
            strict: false,
            watcher: None,
            tap: 0,
            at: 0,
            used: false,
            gone: false,
            session: Session::default(),
            unknown: 0,
        }
    }

    /// With keys: answers are recomputed.
    #[must_use]
    pub fn with_keys(mut self, mut tools: Tools) -> Self {
        tools.prepare(&mut self.taps);
        self.tools = Some(tools);
        self
    }

    /// With an Aliro user device: its answers are made anew.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn with_device(mut self, mut device: Device) -> Result<Self, ChipError> {
        device.prepare(&self.taps)?;
        self.wrong = self.taps.iter().map(device::was_wrong).collect();
        self.device = Some(device);
        Ok(self)
    }

    /// Takes only the very bytes of the tape.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Tells of each exchange.
    #[must_use]
    pub fn watched_by(mut self, watcher: Watcher) -> Self {
        self.watcher = Some(watcher);
        self
    }

    /// Commands so far that the tape has no answer to.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// The tap that is played.
    #[must_use]
    pub fn current(&self) -> Option<&RecordedTap> {
        self.taps.get(self.tap)
    }

    /// Goes on to the next tap, if this one was used.
    fn next_tap(&mut self) {
        if std::mem::take(&mut self.used) {
            self.tap = (self.tap + 1) % self.taps.len().max(1);
        }
        self.at = 0;
        self.gone = false;
        self.session = Session::default();
        self.on_device = false;
    }

    /// Which exchange of the tap this command is.
    fn find(&self, command: &[u8]) -> Option<usize> {
        let exchanges = &self.taps.get(self.tap)?.exchanges;
        if self.strict {
            return exchanges.get(self.at).filter(|e| same(e, command)).map(|_| self.at);
        }
        // What comes next on the tape first, then what came before; the same bytes before others.
        let order = (self.at..exchanges.len()).chain(0..self.at.min(exchanges.len()));
        let mut fitting = order.filter(|at| exchanges.get(*at).is_some_and(|e| alike(&e.command, command)));
        let first = fitting.next()?;
        if exchanges.get(first).is_some_and(|e| same(e, command)) {
            return Some(first);
        }
        fitting
            .find(|at| exchanges.get(*at).is_some_and(|e| same(e, command)))
            .or(Some(first))
    }

    /// The device's answer, while it is selected: made anew where it was given, and as it was where it was refused or did not come.
    fn as_device(&mut self, command: &[u8], response: &mut Vec<u8>) -> Option<(Option<usize>, How)> {
        let exchanges = &self.taps.get(self.tap).filter(|_| !self.strict)?.exchanges;
        let given = |at: usize| match exchanges.get(at).and_then(|e| e.answer.as_ref()) {
            Some(Ok(answer)) => matches!(answer.as_slice(), [.., 0x90, 0x00] | [.., 0x61, _]),
            _ => false,
        };
        let same_ins = |at: &usize| exchanges.get(*at).is_some_and(|e| e.command.get(1) == command.get(1));
        let at = self.find(command).or_else(|| (self.at..exchanges.len()).find(same_ins));
        if let [0x00, 0xA4, 0x04, ..] = command {
            self.on_device = device::is_select(command) && at.is_some_and(given);
        }
        if self.device.is_none() || !self.on_device {
            return None;
        }
        if let Some(at) = at {
            let given = given(at);
            (self.at, self.used) = (at + 1, true);
            if !given {
                return Some((Some(at), self.as_recorded(at, response)));
            }
        }
        self.device
            .as_mut()?
            .answer(self.wrong.get(self.tap).copied().unwrap_or_default(), command, response);
        Some((at, How::Recomputed))
    }

    /// The answer that is on the tape.
    fn as_recorded(&mut self, at: usize, response: &mut Vec<u8>) -> How {
        let answer = self.taps.get(self.tap).and_then(|tap| tap.exchanges.get(at)?.answer.as_ref());
        match answer {
            Some(Ok(answer)) if answer.len() >= 2 => response.extend_from_slice(answer),
            Some(Err(LinkErrorKind::Malformed)) => response.push(0),
            // It left, or fell silent, which ends a tap as well.
            _ => self.gone = true,
        }
        How::Recorded
    }

    fn answer(&mut self, command: &[u8], response: &mut Vec<u8>) -> (Option<usize>, How, Option<Verdict>) {
        let verdict = self.session.verdict(command);
        if let Some((at, how)) = self.as_device(command, response) {
            return (at, how, verdict);
        }
        let Some(at) = self.find(command) else {
            let is_advice = matches!(command, [0x80, ins::CONTROL_FLOW, ..]);
            response.extend_from_slice(match command {
                // Said after the door has moved; a phone that opened takes it.
                _ if is_advice && !self.strict => &[0x90, 0x00],
                [_, 0xA4, ..] if !self.strict => &[0x6A, 0x82],
                _ if self.strict => &[0x6F, 0x00],
                _ => &[0x6D, 0x00],
            });
            self.unknown += u64::from(!is_advice || self.strict);
            return (None, How::Unknown, verdict);
        };
        self.at = at + 1;
        self.used = true;
        let Some(exchange) = self.taps.get(self.tap).and_then(|tap| tap.exchanges.get(at)) else {
            return (None, How::Unknown, verdict);
        };
        let recorded = match &exchange.answer {
            Some(Ok(answer)) if answer.len() >= 2 => answer,
            _ => return (Some(at), self.as_recorded(at, response), verdict),
        };
        if let (false, Some(tools)) = (self.strict, &mut self.tools)
            && let Some(made) = tools.answer(&mut self.session, self.tap, at, exchange, command)
        {
            response.extend_from_slice(&made);
            return (Some(at), How::Recomputed, verdict);
        }
        if same(exchange, command) {
            response.extend_from_slice(recorded);
            return (Some(at), How::Recorded, verdict);
        }
        let how = bind(&exchange.command, command, recorded, response);
        (Some(at), how, verdict)
    }
}

impl Card for Player {
    fn power_on(&mut self) {
        self.next_tap();
    }

    fn power_off(&mut self) {
        self.gone = true;
    }

    fn reset(&mut self) {
        self.next_tap();
    }

    fn atr(&self) -> &[u8] {
        &ATR
    }

    fn process(&mut self, command: &[u8], response: &mut Vec<u8>) {
        response.clear();
        if self.gone {
            return;
        }
        let (exchange, how, verdict) = self.answer(command, response);
        if let Some(watcher) = &self.watcher {
            watcher(&Told {
                tap: self.tap + 1,
                exchange: exchange.map(|at| at + 1),
                how,
                command: command.to_vec(),
                answer: response.clone(),
                verdict,
            });
        }
    }
}

/// Whether this is the recorded command, byte by byte where nothing was masked.
fn same(exchange: &RecordedExchange, command: &[u8]) -> bool {
    let masked = |at: usize| {
        let mut masks = exchange.command_mask.iter();
        masks.any(|m| (m.offset..m.offset.saturating_add(m.length)).contains(&at))
    };
    let then = &exchange.command;
    then.len() == command.len() && then.iter().zip(command).enumerate().all(|(at, (a, b))| a == b || masked(at))
}

/// Whether two commands mean the same: header and length; for SELECT what is selected; CONTROL FLOW may say something else.
#[must_use]
pub fn alike(then: &[u8], now: &[u8]) -> bool {
    if then == now {
        return true;
    }
    let (Ok(a), Ok(b)) = (Command::parse(then), Command::parse(now)) else {
        return false;
    };
    if (a.cla, a.ins) != (b.cla, b.ins) {
        return false;
    }
    match a.ins {
        0xA4 => (a.p1, a.data) == (b.p1, b.data),
        ins::CONTROL_FLOW if a.cla == 0x80 => a.data.len() == b.data.len(),
        _ => (a.p1, a.p2, a.data.len()) == (b.p1, b.p2, b.data.len()),
    }
}

/// Writes the recorded answer with the live command's bytes wherever it repeats those of the recorded one.
fn bind(then: &[u8], now: &[u8], recorded: &[u8], response: &mut Vec<u8>) -> How {
    response.extend_from_slice(recorded);
    let mut how = How::Alike;
    for (start, end) in fresh(then, now) {
        let (Some(old), Some(new)) = (then.get(start..end), now.get(start..end)) else {
            continue;
        };
        let mut from = 0;
        while let Some(at) = position(recorded.get(from..).unwrap_or_default(), old) {
            if let Some(place) = response.get_mut(from + at..from + at + old.len()) {
                place.copy_from_slice(new);
                how = How::Bound;
            }
            from += at + old.len();
        }
    }
    how
}

/// Where two commands differ, as runs; a byte that happens to be equal does not end one.
fn fresh(then: &[u8], now: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (at, _) in then.iter().zip(now).enumerate().filter(|(_, (a, b))| a != b) {
        match runs.last_mut() {
            Some((_, end)) if at <= *end + 1 => *end = at + 1,
            _ => runs.push((at, at + 1)),
        }
    }
    runs.retain(|(start, end)| end - start >= SHORTEST);
    runs
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tap(lines: &[(&[u8], &[u8])]) -> RecordedTap {
        RecordedTap {
            exchanges: lines
                .iter()
                .map(|(command, answer)| RecordedExchange {
                    command: command.to_vec(),
                    command_mask: Vec::new(),
                    answer: Some(Ok(answer.to_vec())),
                    answer_mask: Vec::new(),
                    out: 0,
                    back: 0,
                })
                .collect(),
            ..RecordedTap::default()
        }
    }

    fn answer(player: &mut Player, command: &[u8]) -> Vec<u8> {
        let mut response = Vec::new();
        player.process(command, &mut response);
        response
    }

    #[test]
    fn what_is_repeated_is_bound_and_the_rest_stays() {
        let challenge = [0x00, 0x84, 0, 0, 4, 1, 2, 3, 4];
        let mut player = Player::new(vec![tap(&[(&challenge, &[0xAA, 1, 2, 3, 4, 0xBB, 0x90, 0x00])])]);
        player.power_on();
        assert_eq!(
            answer(&mut player, &[0x00, 0x84, 0, 0, 4, 9, 2, 7, 6]),
            [0xAA, 9, 2, 7, 6, 0xBB, 0x90, 0x00]
        );
        assert_eq!(player.unknown(), 0);
        let mut strict = Player::new(vec![tap(&[(&challenge, &[0x90, 0x00])])]).strict(true);
        strict.power_on();
        assert_eq!(answer(&mut strict, &[0x00, 0x84, 0, 0, 4, 9, 2, 7, 6]), [0x6F, 0x00]);
        assert_eq!(answer(&mut strict, &challenge), [0x90, 0x00]);
        assert_eq!(strict.unknown(), 1);
    }

    #[test]
    fn order_does_not_matter_and_taps_follow_each_other() {
        let (a, b) = ([0x00, 0xA4, 4, 0, 1, 0xA0], [0x00, 0xA4, 4, 0, 1, 0xB0]);
        let mut player = Player::new(vec![tap(&[(&a, &[1, 0x90, 0]), (&b, &[2, 0x90, 0])]), tap(&[(&a, &[3, 0x90, 0])])]);
        player.power_on();
        assert_eq!(answer(&mut player, &b), [2, 0x90, 0]);
        assert_eq!(answer(&mut player, &a), [1, 0x90, 0]);
        assert_eq!(answer(&mut player, &[0x00, 0xA4, 4, 0, 1, 0xC0]), [0x6A, 0x82]);
        player.power_off();
        assert!(answer(&mut player, &a).is_empty());
        player.power_on();
        // A reader that only resets has not used the tap.
        player.reset();
        assert_eq!(answer(&mut player, &a), [3, 0x90, 0]);
        player.reset();
        assert_eq!(answer(&mut player, &a), [1, 0x90, 0]);
    }
}
