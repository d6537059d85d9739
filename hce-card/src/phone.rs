//! The phone: a chip that is shown to the field, behind the laboratory's switches.

use std::time::Duration;

use tapdoor_chip::{Chip, ChipError, ChipEvent, SqliteStore};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::Event;
use tapdoor_protocol::status::StatusWord;

use crate::config::PhoneConfig;
use crate::laboratory::Laboratory;
use crate::serve::Card;

/// ATR that PC/SC gives to a contactless card without historical bytes, as many phones are.
const ATR: [u8; 5] = [0x3B, 0x80, 0x80, 0x01, 0x01];
/// A silent phone hangs for this long at most, should nobody stop it or have less patience.
const SILENCE: Duration = Duration::from_secs(3600);

/// What happens on the phone, for its log.
pub type Observer = Box<dyn FnMut(&ChipEvent) + Send>;

/// A phone.
pub struct Phone {
    chip: Chip,
    laboratory: Laboratory,
    /// APDUs since power came.
    apdus: u64,
    stop: Stop,
    patience: Duration,
    observer: Option<Observer>,
    /// Whether the phone taps again by itself when it was told a verdict.
    retap: bool,
    told: bool,
}

impl Phone {
    /// Fills the chip in its store and makes the phone. With the laboratory's wrong keys a chip in memory is used instead, so that the
    /// real one is not spoilt.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn new(config: PhoneConfig) -> Result<Self, ChipError> {
        let chip = if config.laboratory.wrong_key {
            Chip::personalise(Box::new(SqliteStore::in_memory()?), &config.wrong)?
        } else {
            Chip::personalise(Box::new(SqliteStore::open(&config.store)?), &config.personalisation)?
        };
        Ok(Self::with_chip(chip, config.laboratory))
    }

    /// The phone with a chip that is ready.
    #[must_use]
    pub fn with_chip(chip: Chip, laboratory: Laboratory) -> Self {
        Self {
            chip,
            laboratory,
            apdus: 0,
            stop: Stop::new(),
            patience: SILENCE,
            observer: None,
            retap: false,
            told: false,
        }
    }

    /// Has silence and slowness ended by `stop`.
    #[must_use]
    pub fn stopped_by(mut self, stop: &Stop) -> Self {
        self.stop = stop.clone();
        self
    }

    /// The same for a phone whose reader is in this process, and gives it up after `patience`: longer is no answer at all.
    pub fn waited_for(&mut self, stop: &Stop, patience: Duration) {
        self.stop = stop.clone();
        self.patience = patience;
    }

    /// Tells `observer` what happens.
    #[must_use]
    pub fn observed_by(mut self, observer: Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Leaves the field when the lock has told its verdict, and comes back: the next tap.
    #[must_use]
    pub fn tapping_again(mut self, again: bool) -> Self {
        self.retap = again;
        self
    }

    /// The switches, to change between taps.
    pub fn laboratory_mut(&mut self) -> &mut Laboratory {
        &mut self.laboratory
    }

    /// The chip.
    pub fn chip_mut(&mut self) -> &mut Chip {
        &mut self.chip
    }

    fn is_missing(&self, command: &[u8]) -> bool {
        let laboratory = &self.laboratory;
        if !laboratory.nothing && laboratory.missing.is_empty() {
            return false;
        }
        match Command::parse(command) {
            Ok(c) if (c.cla, c.ins, c.p1) == (0x00, 0xA4, 0x04) => {
                let door = [Aid::CHALLENGE_RESPONSE, Aid::AKA, Aid::ALIRO_EXPEDITED];
                (laboratory.nothing && door.iter().any(|aid| aid.as_bytes() == c.data))
                    || laboratory.missing.iter().any(|aid| aid.as_bytes() == c.data)
            }
            _ => false,
        }
    }
}

impl Card for Phone {
    fn power_on(&mut self) {
        self.apdus = 0;
        self.told = false;
        self.chip.power_on();
    }

    fn power_off(&mut self) {
        self.chip.power_off();
    }

    fn reset(&mut self) {
        self.power_on();
    }

    fn atr(&self) -> &[u8] {
        &ATR
    }

    fn process(&mut self, command: &[u8], response: &mut Vec<u8>) {
        response.clear();
        self.apdus += 1;
        if self.laboratory.tear.is_some_and(|n| self.apdus >= n) {
            return;
        }
        if self.laboratory.silent.is_some_and(|n| self.apdus >= n) {
            let _ = self.stop.sleep(self.patience);
            return;
        }
        let slow = self.laboratory.slow;
        if !slow.is_zero() && (self.stop.sleep(slow.min(self.patience)) || slow >= self.patience) {
            return;
        }
        if let Some(answer) = &self.laboratory.answer {
            response.extend_from_slice(answer);
            return;
        }
        if self.is_missing(command) {
            response.extend_from_slice(&StatusWord::NOT_FOUND.to_bytes());
            return;
        }
        self.chip.process(command, response);
        for event in self.chip.drain_events() {
            self.told |= matches!(event.event, Event::Verdict(_));
            if let Some(observer) = &mut self.observer {
                observer(&event);
            }
        }
    }

    fn try_process(&mut self, command: &[u8], response: &mut Vec<u8>) -> bool {
        let quick = self.laboratory.is_prompt() && (self.laboratory.answer.is_some() || self.chip.is_quick(command));
        if quick {
            self.process(command, response);
        }
        quick
    }

    fn is_leaving(&mut self) -> bool {
        self.retap && std::mem::take(&mut self.told)
    }
}
