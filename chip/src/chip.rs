//! The chip itself: dispatch of commands to applications (ISO/IEC 7816-4 5.1, 5.3, 11.1; GlobalPlatform Card 6.4).
//!
//! One command is one transaction: what the application stores is durable before its answer leaves, or the answer is 6F00 and nothing happened.
//! Answers are cut at 255 bytes for short commands (never 256, which some readers cannot carry) and continued by 61xx and GET RESPONSE.

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::chain::{Assembler, Step};
use tapdoor_protocol::apdu::{ApduError, Command};
use tapdoor_protocol::door::Event;
use tapdoor_protocol::status::StatusWord;

use crate::applet::Env;
use crate::applets;
use crate::kind::{Kind, privilege};
use crate::manager::{Listed, Manager};
use crate::personalise::{Personalisation, PersonaliseError};
use crate::random::{OsRandom, RandomSource};
use crate::registry::{self, Entry};
use crate::store::{Store, StoreError};
use crate::vault::{AppletVault, KeyStore};

/// Longest data of a command chain.
const CHAIN_LIMIT: usize = 32 * 1024;
/// Longest part of an answer to a short command.
const SHORT_PART: usize = 255;

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

/// Who gets the next command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selected {
    Manager,
    Application(usize),
}

/// A secure element.
pub struct Chip {
    entries: Vec<Entry>,
    /// Which entries are lock halves and may use the list.
    lock_halves: Vec<bool>,
    manager: Manager,
    keys: KeyStore,
    store: Box<dyn Store>,
    selected: Selected,
    assembler: Assembler,
    /// The answer being given out, and how much of it is gone.
    answer: Vec<u8>,
    given: usize,
    /// The status word that follows the last part.
    answer_sw: StatusWord,
    scratch: Vec<Event>,
    events: Vec<ChipEvent>,
    /// Why the last commit failed, for the host's log.
    failure: Option<StoreError>,
}

impl Chip {
    /// Starts the chip that is in this store, with the operating system's random numbers.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn open(store: Box<dyn Store>) -> Result<Self, ChipError> {
        Self::open_with(store, Box::new(OsRandom))
    }

    /// Fills the store and starts the chip. What is there already and stays keeps its records (sequence numbers above all).
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
    pub fn open_with(mut store: Box<dyn Store>, random: Box<dyn RandomSource>) -> Result<Self, ChipError> {
        let personalisation = store.personalisation()?;
        personalisation.check()?;
        let number = store.number()?;
        let mut entries = Vec::with_capacity(personalisation.applications.len());
        let mut lock_halves = Vec::with_capacity(entries.capacity());
        for a in &personalisation.applications {
            let applet = applets::make(a.kind, &a.parameters).ok_or(ChipError::Parameters(a.aid))?;
            lock_halves.push(matches!(
                a.kind,
                Kind::ChallengeResponseLock | Kind::AkaLock | Kind::UsimHost | Kind::RequestLock
            ));
            entries.push(Entry {
                aid: a.aid,
                life_cycle: a.life_cycle,
                privileges: a.privileges,
                applet,
            });
        }
        let mut chip = Self {
            entries,
            lock_halves,
            manager: Manager::new(number),
            keys: KeyStore::new(&personalisation, random),
            store,
            selected: Selected::Manager,
            assembler: Assembler::new(CHAIN_LIMIT),
            answer: Vec::with_capacity(512),
            given: 0,
            answer_sw: StatusWord::OK,
            scratch: Vec::new(),
            events: Vec::new(),
            failure: None,
        };
        chip.power_on();
        Ok(chip)
    }

    /// Power on, or reset: no session, the default application is selected.
    pub fn power_on(&mut self) {
        self.power_off();
        let default = self
            .entries
            .iter()
            .position(|e| e.privileges & privilege::DEFAULT_SELECTED != 0 && e.life_cycle.is_selectable());
        self.selected = default.map_or(Selected::Manager, Selected::Application);
    }

    /// Power off: every session key is wiped, every unfinished answer and chain forgotten.
    pub fn power_off(&mut self) {
        for index in 0..self.entries.len() {
            self.deselect(index);
        }
        self.keys.power_off();
        self.manager.reset();
        self.assembler = Assembler::new(CHAIN_LIMIT);
        self.answer.clear();
        self.given = 0;
        self.selected = Selected::Manager;
    }

    /// What happened since the last call.
    pub fn drain_events(&mut self) -> impl Iterator<Item = ChipEvent> + '_ {
        self.events.drain(..)
    }

    /// Why the last answer was 6F00, if it was the store.
    pub fn take_failure(&mut self) -> Option<StoreError> {
        self.failure.take()
    }

    /// Processes a C-APDU: `response` becomes the R-APDU. Whatever the bytes are, there is an answer and no panic.
    pub fn process(&mut self, bytes: &[u8], response: &mut Vec<u8>) {
        response.clear();
        let sw = match Command::parse(bytes) {
            Ok(command) => self.command(&command, response),
            Err(ApduError::Class { .. }) => StatusWord::CLA_NOT_SUPPORTED,
            Err(_) => StatusWord::WRONG_LENGTH,
        };
        response.extend_from_slice(&sw.to_bytes());
    }

    fn command(&mut self, command: &Command<'_>, response: &mut Vec<u8>) -> StatusWord {
        if command.channel() != 0 {
            return StatusWord::CHANNEL_NOT_SUPPORTED;
        }
        if command.secure_messaging() {
            return StatusWord::SECURE_MESSAGING_NOT_SUPPORTED;
        }
        if command.cla == 0x00 && command.ins == 0xC0 && self.assembler.is_idle() {
            return self.get_response(command, response);
        }
        self.answer.clear();
        self.given = 0;
        if self.assembler.is_idle() && !command.is_chained() {
            self.whole(command);
        } else {
            match self.assembler.feed(command) {
                Step::More => return StatusWord::OK,
                Step::Refused(sw) => return sw,
                Step::Whole(owned) => self.whole(&owned.as_command()),
            }
        }
        self.part(command.ne, command.extended, response)
    }

    /// Executes a command that is whole: fills `answer` and `answer_sw`.
    fn whole(&mut self, command: &Command<'_>) {
        let mut answer = std::mem::take(&mut self.answer);
        let result = self.route(command, &mut answer);
        self.answer_sw = match result {
            Ok(()) => StatusWord::OK,
            // GET STATUS says "more" with data.
            Err(StatusWord::MORE_DATA_AVAILABLE) => StatusWord::MORE_DATA_AVAILABLE,
            Err(sw) => {
                answer.clear();
                sw
            }
        };
        if self.keys.has_changes() {
            let entries = &self.entries;
            let changes = self.keys.take_changes(|owner| entries.get(owner).map(|e| e.aid));
            if let Err(error) = self.store.commit(&changes) {
                // Nothing was stored, so nothing may be known outside: the session ends here.
                self.failure = Some(error);
                answer.clear();
                self.scratch.clear();
                self.answer_sw = StatusWord::NO_DIAGNOSIS;
                if let Selected::Application(index) = self.selected {
                    self.deselect(index);
                }
            }
        }
        if let Selected::Application(index) = self.selected
            && let Some(entry) = self.entries.get(index)
        {
            let aid = entry.aid;
            self.events.extend(self.scratch.drain(..).map(|event| ChipEvent { aid, event }));
        }
        self.scratch.clear();
        self.answer = answer;
    }

    fn route(&mut self, command: &Command<'_>, answer: &mut Vec<u8>) -> Result<(), StatusWord> {
        if command.cla == 0x00 && command.ins == 0x70 {
            return Err(StatusWord::CHANNEL_NOT_SUPPORTED);
        }
        if command.cla == 0x00 && command.ins == 0xA4 {
            if command.p1 == 0x04 {
                return self.select(command, answer);
            }
            let has_files = matches!(self.selected, Selected::Application(i) if self.entries.get(i).is_some_and(|e| e.applet.has_files()));
            if !has_files {
                return Err(StatusWord::INCORRECT_P1_P2);
            }
        }
        match self.selected {
            Selected::Manager => {
                let listed: Vec<Listed> = self
                    .entries
                    .iter()
                    .map(|e| Listed {
                        aid: e.aid,
                        life_cycle: e.life_cycle,
                        privileges: e.privileges,
                    })
                    .collect();
                self.manager.process(&listed, command, answer)
            }
            Selected::Application(index) => {
                let (entry, mut env) = self.lend(index).ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
                entry.process(&mut env, command, answer)
            }
        }
    }

    /// SELECT by AID, full or partial, first or next.
    fn select(&mut self, command: &Command<'_>, answer: &mut Vec<u8>) -> Result<(), StatusWord> {
        let next = match command.p2 & 0xF3 {
            0x00 => false,
            0x02 => true,
            _ => return Err(StatusWord::INCORRECT_P1_P2),
        };
        let manager = Aid::CARD_MANAGER;
        match command.data.len() {
            0 => return self.select_manager(command.p2, answer),
            1..5 => return Err(StatusWord::NOT_FOUND),
            5..=16 => {}
            _ => return Err(StatusWord::WRONG_LENGTH),
        }
        let after = match (next, self.selected) {
            (true, Selected::Application(index)) => Some(index),
            _ => None,
        };
        match registry::find(&self.entries, command.data, after) {
            // A P2 that the application will not take must not cost the current session.
            Some(index) if !matches!(command.p2 & 0x0C, 0x00 | 0x0C) && !self.entries.get(index).is_some_and(|e| e.applet.has_files()) => {
                Err(StatusWord::INCORRECT_P1_P2)
            }
            Some(index) => {
                if let Selected::Application(current) = self.selected
                    && current != index
                {
                    self.deselect(current);
                }
                self.selected = Selected::Application(index);
                let (entry, mut env) = self.lend(index).ok_or(StatusWord::NOT_FOUND)?;
                let result = entry.select(&mut env, command.p2, answer);
                if result.is_err() {
                    self.deselect(index);
                    self.selected = Selected::Manager;
                }
                result
            }
            None if !next && manager.as_bytes().starts_with(command.data) => self.select_manager(command.p2, answer),
            None => Err(StatusWord::NOT_FOUND),
        }
    }

    fn select_manager(&mut self, p2: u8, answer: &mut Vec<u8>) -> Result<(), StatusWord> {
        if !matches!(p2 & 0x0C, 0x00 | 0x0C) {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        if let Selected::Application(current) = self.selected {
            self.deselect(current);
        }
        self.selected = Selected::Manager;
        let fci = self.manager.select(&Aid::CARD_MANAGER);
        if p2 & 0x0C == 0 {
            answer.extend(fci);
        }
        Ok(())
    }

    /// The applet and what it may use, for one command.
    fn lend(&mut self, index: usize) -> Option<(&mut dyn crate::applet::Applet, Env<'_>)> {
        let entry = self.entries.get_mut(index)?;
        let vault = AppletVault {
            keys: &mut self.keys,
            store: self.store.as_mut(),
            owner: index,
            aid: entry.aid,
            may_use_list: self.lock_halves.get(index).copied().unwrap_or(false),
        };
        Some((
            entry.applet.as_mut(),
            Env {
                vault,
                aid: &entry.aid,
                events: &mut self.scratch,
            },
        ))
    }

    fn deselect(&mut self, index: usize) {
        if let Some((applet, mut env)) = self.lend(index) {
            applet.deselect(&mut env);
        }
    }

    fn get_response(&mut self, command: &Command<'_>, response: &mut Vec<u8>) -> StatusWord {
        if (command.p1, command.p2) != (0, 0) {
            return StatusWord::INCORRECT_P1_P2;
        }
        if !command.data.is_empty() {
            return StatusWord::WRONG_LENGTH;
        }
        if self.given >= self.answer.len() {
            return StatusWord::CONDITIONS_NOT_SATISFIED;
        }
        self.part(command.ne, command.extended, response)
    }

    /// The next part of the answer, and the status word behind it.
    fn part(&mut self, ne: u32, extended: bool, response: &mut Vec<u8>) -> StatusWord {
        let rest = self.answer.get(self.given..).unwrap_or(&[]);
        let most = if extended { usize::MAX } else { SHORT_PART };
        // Without Le the data come all the same, as phones do it under T=CL.
        let wanted = if ne == 0 {
            most
        } else {
            usize::try_from(ne).unwrap_or(usize::MAX).min(most)
        };
        let part = rest.get(..wanted).unwrap_or(rest);
        response.extend_from_slice(part);
        self.given += part.len();
        match self.answer.len() - self.given {
            0 => self.answer_sw,
            left => StatusWord(0x6100 | u16::try_from(left.min(SHORT_PART)).unwrap_or(0xFF)),
        }
    }
}
