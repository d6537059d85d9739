//! The chip itself: who gets a command (ISO/IEC 7816-4 5.1, 11.1; GlobalPlatform Card 6.4).
//!
//! One command is one transaction: what it stores is durable before its answer leaves, or nothing happened and the answer is 6F00 (or what the
//! application says of its failure).
//!
//! There are two conversations. The field's talks to the application that is selected and begins anew with every tap; the wired one, the chip's
//! own host, always talks to the card manager. Neither one's power events touch the other. When the card manager, by either, upgrades,
//! personalises, locks or deletes the application that is selected in the field, that application is deselected: commands are answered 6985
//! until the next SELECT.

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::Event;
use tapdoor_protocol::globalplatform::registry::life_cycle;
use tapdoor_protocol::status::StatusWord;

use crate::applet::{ApduRules, SELECT};
use crate::card::Card;
use crate::exchange::{Exchange, Rules};
use crate::kind::privilege;
use crate::manager;
use crate::personalise::{Personalisation, PersonaliseError};
use crate::random::{OsRandom, RandomSource};
use crate::registry::{self, AppId};
use crate::sandbox::Fault;
use crate::store::{Store, StoreError};

/// Something that happened on the chip, for the program that hosts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChipEvent {
    /// On which application.
    pub aid: Aid,
    /// What.
    pub event: Event,
}

/// Why a chip cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ChipError {
    /// Its memory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it is to be filled with.
    #[error(transparent)]
    Personalise(#[from] PersonaliseError),
    /// An application's stored parameters are not whole.
    #[error("application {0}: its stored parameters are damaged; personalise the chip anew")]
    Parameters(Aid),
}

/// Who gets the next command from the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selected {
    Manager,
    /// An application; it may be gone by now.
    Application(AppId),
}

/// The conversation with the field.
struct Field {
    selected: Selected,
    session: manager::Session,
    events: Vec<ChipEvent>,
    fault: Option<Fault>,
}

/// A secure element.
pub struct Chip {
    card: Card,
    exchange: Exchange,
    field: Field,
    wired_exchange: Exchange,
    wired: manager::Session,
}

impl Chip {
    /// Starts the chip that is in this store, with the operating system's random numbers.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn open(store: Box<dyn Store>) -> Result<Self, ChipError> {
        Self::open_with(store, Box::new(OsRandom))
    }

    /// Fills the store and starts the chip. What is there already and stays keeps its records (sequence numbers above all), and what was
    /// downloaded or delivered stays: a downloaded application in place of a personalised one of the same AID, keys that came by PUT KEY in
    /// place of the personalised ones, and what the server said of a phone in place of its personalised list entry.
    ///
    /// # Errors
    /// [`ChipError`]; nothing has changed then.
    pub fn personalise(mut store: Box<dyn Store>, personalisation: &Personalisation) -> Result<Self, ChipError> {
        personalisation.check()?;
        store.personalise(personalisation)?;
        Self::open(store)
    }

    /// Starts the chip with another source of random numbers: for tests.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn open_with(store: Box<dyn Store>, random: Box<dyn RandomSource>) -> Result<Self, ChipError> {
        let mut chip = Self {
            card: Card::start(store, random)?,
            exchange: Exchange::new(),
            field: Field {
                selected: Selected::Manager,
                session: manager::Session::default(),
                events: Vec::new(),
                fault: None,
            },
            wired_exchange: Exchange::new(),
            wired: manager::Session::wired(),
        };
        chip.power_on();
        Ok(chip)
    }

    /// Power on, or reset, in the field: no session, the default application is selected. What goes on by the wire goes on.
    pub fn power_on(&mut self) {
        self.power_off();
        let default = |e: &&registry::Entry| e.privileges & privilege::DEFAULT_SELECTED != 0 && e.life_cycle.is_selectable();
        if self.card.managed.state < life_cycle::CARD_LOCKED
            && let Some(entry) = self.card.entries.iter().find(default)
        {
            self.field.selected = Selected::Application(entry.id);
        }
    }

    /// Power off in the field: every session key of the applications is wiped, every unfinished answer, chain and load forgotten. What goes on
    /// by the wire goes on.
    pub fn power_off(&mut self) {
        let ids: Vec<AppId> = self.card.entries.iter().map(|e| e.id).collect();
        ids.into_iter().for_each(|id| self.card.deselect(id));
        self.card.keys.power_off();
        self.card.scratch.clear();
        self.exchange.reset();
        self.field.session = manager::Session::default();
        self.field.selected = Selected::Manager;
    }

    /// What happened since the last call.
    pub fn drain_events(&mut self) -> impl Iterator<Item = ChipEvent> + '_ {
        self.field.events.drain(..)
    }

    /// Why the last answer was 6F00, if it was the store.
    pub fn take_failure(&mut self) -> Option<StoreError> {
        self.card.failure.take()
    }

    /// Why the last load was refused, for a log: the status word says less.
    pub fn take_refusal(&mut self) -> Option<String> {
        self.card.refusal.take()
    }

    /// Why a downloaded application was stopped last; its command was answered 6F00.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.field.fault.take()
    }

    /// How many authentications to the card manager have failed since the last one that did not.
    #[must_use]
    pub fn failed_authentications(&self) -> u32 {
        self.card.managed.failures
    }

    /// Puts another program behind an application, with the keys, records and privileges that it has: for tests and measurements of programs.
    /// False when there is no such application.
    #[doc(hidden)]
    pub fn replace_program(&mut self, aid: &Aid, applet: Box<dyn crate::applet::Applet>) -> bool {
        let id = self.card.entries.iter().find(|e| e.aid == *aid).map(|e| e.id);
        let Some(entry) = id.and_then(|id| self.card.renumber(id)).and_then(|id| self.card.entry_mut(id)) else {
            return false;
        };
        entry.applet = applet;
        true
    }

    /// Processes a C-APDU from the field: `response` becomes the R-APDU. Whatever the bytes are, there is an answer and no panic.
    pub fn process(&mut self, bytes: &[u8], response: &mut Vec<u8>) {
        let Self { card, exchange, field, .. } = self;
        let rules = Rules {
            secure: field.selected == Selected::Manager && card.managed.is_managed(),
            apdus: match field.selected {
                Selected::Application(id) => card.entry(id).map(|e| e.applet.rules()).unwrap_or_default(),
                Selected::Manager => ApduRules::default(),
            },
        };
        if !exchange.run(bytes, response, rules, |command, answer| field.execute(card, command, answer))
            && let Selected::Application(id) = field.selected
        {
            card.refused(id);
        }
        if field.session.take_rekeyed() {
            self.reset_wired();
        }
    }

    /// Whether [`Chip::process`] would answer this C-APDU within microseconds, as far as can be said beforehand. A chain, a card manager's
    /// command and everything that is stored first are not among these.
    #[must_use]
    pub fn is_quick(&self, bytes: &[u8]) -> bool {
        let current = match self.field.selected {
            Selected::Application(id) => self.card.entry(id).map(|entry| &entry.applet),
            Selected::Manager => None,
        };
        let Ok(command) = Command::parse(bytes) else { return false };
        match (command.cla, command.ins, command.p1, command.p2) {
            (0x00, SELECT, 0x04, 0x00 | 0x0C) if current.is_none_or(|applet| applet.is_quick(SELECT)) => {
                let found = registry::find(&self.card.entries, command.data, None).and_then(|place| self.card.entries.get(place));
                command.data.is_empty() || found.is_none_or(|entry| entry.applet.is_quick(SELECT))
            }
            (0x80, ins, ..) => current.is_some_and(|applet| applet.is_quick(ins)),
            _ => false,
        }
    }

    /// Processes a C-APDU that came by the wire: from the chip's own host (its agent), not from the field. Only the card manager listens
    /// there, selected or not. Field power events do not touch what goes on here, and the other way round.
    pub fn process_wired(&mut self, bytes: &[u8], response: &mut Vec<u8>) {
        let Self {
            card,
            wired_exchange: exchange,
            wired: session,
            field,
            ..
        } = self;
        let rules = Rules {
            secure: card.managed.is_managed(),
            apdus: ApduRules::default(),
        };
        exchange.run(bytes, response, rules, |command, answer| {
            match (command.cla, command.ins, command.p1) {
                (0x00, 0xA4, 0x04) => select_manager(session, card, command, answer),
                _ => session.process(card, command, answer),
            }
        });
        if session.take_rekeyed() {
            field.session = manager::Session::default();
        }
    }

    /// Ends whatever goes on by the wire: the secure channel, an unfinished load.
    pub fn reset_wired(&mut self) {
        self.wired = manager::Session::wired();
        self.wired_exchange.reset();
    }

    /// The proof by which this chip's agent shows the server whose chip it is: AES-CMAC(K_agent, "AGENT1" || challenge || id).
    /// `None` without K_agent. There is no APDU for it, so that no reader can have proofs made.
    #[must_use]
    pub fn agent_proof(&mut self, challenge: &[u8; 16], id: &[u8; 8]) -> Option<[u8; 16]> {
        self.card.agent_proof(challenge, id)
    }
}

/// SELECT of the card manager where there is nothing else to select: by full or partial AID, or by none.
fn select_manager(session: &mut manager::Session, card: &Card, command: &Command<'_>, answer: &mut Vec<u8>) -> StatusWord {
    if !matches!(command.p2 & 0xF3, 0x00) || !matches!(command.p2 & 0x0C, 0x00 | 0x0C) {
        return StatusWord::INCORRECT_P1_P2;
    }
    match command.data.len() {
        0 => {}
        5..=16 if Aid::CARD_MANAGER.as_bytes().starts_with(command.data) => {}
        1..=16 => return StatusWord::NOT_FOUND,
        _ => return StatusWord::WRONG_LENGTH,
    }
    session.select(card, command.p2 & 0x0C == 0, answer)
}

impl Field {
    /// Executes a command that is whole.
    fn execute(&mut self, card: &mut Card, command: &Command<'_>, answer: &mut Vec<u8>) -> StatusWord {
        let mut sw = match self.route(card, command, answer) {
            Ok(sw) => sw,
            Err(sw) => {
                answer.clear();
                if let Selected::Application(id) = self.selected {
                    card.refused(id);
                }
                sw
            }
        };
        if let Some((id, fault)) = card.take_fault() {
            // What it wanted to store is not stored.
            card.keys.end_session(id);
            self.fault = Some(fault);
        }
        if let Err(failed) = card.commit_records() {
            // Nothing was stored, so nothing may be known outside: the session ends here.
            answer.clear();
            card.scratch.clear();
            sw = failed;
            if let Selected::Application(id) = self.selected {
                if card.unstored(id, answer) {
                    sw = StatusWord::OK;
                }
                card.deselect(id);
            }
        }
        if let Selected::Application(id) = self.selected
            && let Some(entry) = card.entry(id)
        {
            let aid = entry.aid;
            self.events.extend(card.scratch.drain(..).map(|event| ChipEvent { aid, event }));
        }
        card.scratch.clear();
        sw
    }

    fn route(&mut self, card: &mut Card, command: &Command<'_>, answer: &mut Vec<u8>) -> Result<StatusWord, StatusWord> {
        if command.cla == 0x00 && command.ins == 0x70 {
            return Err(StatusWord::CHANNEL_NOT_SUPPORTED);
        }
        if command.cla == 0x00 && command.ins == 0xA4 {
            if command.p1 == 0x04 {
                return self.select(card, command, answer);
            }
            let has_files = matches!(self.selected, Selected::Application(id) if card.entry(id).is_some_and(|e| e.applet.has_files()));
            if !has_files {
                return Err(StatusWord::INCORRECT_P1_P2);
            }
        }
        match self.selected {
            Selected::Manager => Ok(self.session.process(card, command, answer)),
            // A locked card has no applications to talk to.
            Selected::Application(_) if card.managed.state >= life_cycle::CARD_LOCKED => Err(StatusWord::CONDITIONS_NOT_SATISFIED),
            Selected::Application(id) => {
                let (applet, mut env) = card.lend(id).ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
                applet.process(&mut env, command, answer).map(|()| StatusWord::OK)
            }
        }
    }

    /// SELECT by AID, full or partial, first or next.
    fn select(&mut self, card: &mut Card, command: &Command<'_>, answer: &mut Vec<u8>) -> Result<StatusWord, StatusWord> {
        let next = match command.p2 & 0xF3 {
            0x00 => false,
            0x02 => true,
            _ => return Err(StatusWord::INCORRECT_P1_P2),
        };
        match command.data.len() {
            0 => return self.select_manager(card, command.p2, answer),
            1..5 => return Err(StatusWord::NOT_FOUND),
            5..=16 => {}
            _ => return Err(StatusWord::WRONG_LENGTH),
        }
        let after = match (next, self.selected) {
            (true, Selected::Application(id)) => card.place(id),
            _ => None,
        };
        let usable = card.managed.state < life_cycle::CARD_LOCKED;
        let found = registry::find(&card.entries, command.data, after).filter(|_| usable);
        match found.and_then(|place| card.entries.get(place)) {
            // A P2 that the application will not take must not cost the current session.
            Some(entry) if !matches!(command.p2 & 0x0C, 0x00 | 0x0C) && !entry.applet.has_files() => Err(StatusWord::INCORRECT_P1_P2),
            Some(entry) => {
                let id = entry.id;
                self.leave(card, Some(id));
                self.selected = Selected::Application(id);
                let (applet, mut env) = card.lend(id).ok_or(StatusWord::NOT_FOUND)?;
                let result = applet.select(&mut env, command.p2, answer);
                if result.is_err() {
                    card.deselect(id);
                    self.selected = Selected::Manager;
                }
                result.map(|()| StatusWord::OK)
            }
            None if !next && Aid::CARD_MANAGER.as_bytes().starts_with(command.data) => self.select_manager(card, command.p2, answer),
            None => Err(StatusWord::NOT_FOUND),
        }
    }

    /// What is selected is so no longer, unless it is selected again.
    fn leave(&mut self, card: &mut Card, selecting: Option<AppId>) {
        match self.selected {
            Selected::Application(current) if selecting != Some(current) => card.deselect(current),
            Selected::Application(_) => {}
            Selected::Manager => self.session = manager::Session::default(),
        }
    }

    fn select_manager(&mut self, card: &mut Card, p2: u8, answer: &mut Vec<u8>) -> Result<StatusWord, StatusWord> {
        if !matches!(p2 & 0x0C, 0x00 | 0x0C) {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        self.leave(card, None);
        self.selected = Selected::Manager;
        Ok(self.session.select(card, p2 & 0x0C == 0, answer))
    }
}
