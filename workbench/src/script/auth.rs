//! The step `auth`: a whole tap by our own lock, with the keys of a lock.toml.

use std::path::Path;

use tapdoor_captures::{Event, Layer};
use tapdoor_chip::{Chip, ChipError, ChipLink, SqliteStore};
use tapdoor_config::ConfigError;
use tapdoor_link::{CardLink, Recorder};
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::door::Reason;
use tapdoor_reader::config::{LockConfig, Method};
use tapdoor_reader::tap::Host;
use tapdoor_reader::{Control, Tap, lock, tap};

use crate::desk::Desk;

/// A lock in memory: it has the list of lock.toml and starts without memory of earlier taps. The lock's own store is not touched, so a script
/// can run while the lock does; AKA's sequence numbers are time-based, and a phone that is ahead resynchronises within the tap.
pub struct OwnLock {
    config: LockConfig,
    methods: Vec<Method>,
    algorithm: Algorithm,
    chip: Chip,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum OwnLockError {
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its chip.
    #[error(transparent)]
    Chip(#[from] ChipError),
}

impl OwnLock {
    /// The lock of this lock.toml.
    ///
    /// # Errors
    /// [`OwnLockError`].
    pub fn load(path: &Path) -> Result<Self, OwnLockError> {
        Self::new(LockConfig::load(path)?)
    }

    /// The lock of this configuration.
    ///
    /// # Errors
    /// As [`OwnLock::load`].
    pub fn new(config: LockConfig) -> Result<Self, OwnLockError> {
        let store = SqliteStore::in_memory().map_err(ChipError::from)?;
        let chip = Chip::personalise(Box::new(store), &config.personalisation)?;
        Ok(Self {
            methods: config.methods.clone(),
            algorithm: config.algorithm,
            config,
            chip,
        })
    }

    /// The methods of lock.toml.
    #[must_use]
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// Method and algorithm of a word: those of lock.toml, `aka-milenage` and `aka-tuak`. `None` for another word.
    fn method(&self, word: &str) -> Option<(Method, Algorithm)> {
        match word {
            "aka-milenage" => Some((Method::Aka, Algorithm::Milenage)),
            "aka-tuak" => Some((Method::Aka, Algorithm::Tuak)),
            _ => {
                let found = Method::WORDS.iter().find(|(name, _)| *name == word);
                found.map(|(_, method)| (*method, self.algorithm))
            }
        }
    }

    /// Whether lock.toml has this method; `None` if there is none of this name.
    #[must_use]
    pub fn has(&self, word: &str) -> Option<bool> {
        self.method(word).map(|(method, _)| self.methods.contains(&method))
    }

    /// One tap by this method, or by all that lock.toml has; the phone is told the verdict. `None` if there is no such method.
    pub fn tap(&mut self, word: &str, desk: &mut Desk) -> Option<Tap> {
        (self.config.methods, self.config.algorithm) = if word.is_empty() {
            (self.methods.clone(), self.algorithm)
        } else {
            let (method, algorithm) = self.method(word)?;
            (vec![method], algorithm)
        };
        let tape = desk.tape().cloned();
        let epoch = tape.as_ref().map_or_else(std::time::Instant::now, |tape| tape.lock().epoch());
        let chip = Recorder::new(ChipLink::new(&mut self.chip), tape.map(|tape| tape.on(Layer::Chip)), epoch);
        // A phone that failed before is not made to wait: a script may fail on purpose.
        let mut pause = |_| true;
        let tap = tap::run(
            &self.config,
            &mut Control::new(chip),
            &mut *desk,
            lock::now(),
            Host::alone(&mut pause),
        );
        desk.note_lock(|now| {
            Event::new(now, Layer::Lock)
                .text(format!("{}: {}", tap.verdict.name(), tap.detail))
                .with("verdict", &tap.verdict.name())
                .with("reason", &tap.reason.map(Reason::name))
                .with("method", &tap.method.map(|m| m.name()))
        });
        if let Some(command) = &tap.control_flow
            && desk.has_card()
        {
            // Best effort, as at every lock.
            let _ = CardLink::transmit(desk, command, &mut Vec::new());
        }
        Some(tap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_takes_the_words_that_a_tap_knows_and_no_others() {
        let words = Method::WORDS.iter().map(|(word, _)| *word).chain(["aka-milenage", "aka-tuak"]);
        assert!(words.eq(super::super::parse::METHODS));
    }
}
