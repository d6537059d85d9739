//! `tape:FILE`: a recorded card as a reader.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tapdoor_hce_card::PhoneLink;
use tapdoor_hce_card::serve::Card;
use tapdoor_link::stop::Stop;
use tapdoor_reader::source::{Activation, CardSource, Hold, Observer, Protocol, ReaderInfo, Session, SourceError};

use super::{Player, ReplayError, with_header};

/// A player that is shared between a reader and whoever asks it afterwards.
#[derive(Clone)]
pub struct SharedPlayer(Arc<Mutex<Player>>);

impl SharedPlayer {
    /// Shares a player.
    #[must_use]
    pub fn new(player: Player) -> Self {
        Self(Arc::new(Mutex::new(player)))
    }

    /// The player, for as long as the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, Player> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Card for SharedPlayer {
    fn power_on(&mut self) {
        self.lock().power_on();
    }

    fn power_off(&mut self) {
        self.lock().power_off();
    }

    fn reset(&mut self) {
        self.lock().reset();
    }

    fn atr(&self) -> &[u8] {
        &super::card::ATR
    }

    fn process(&mut self, command: &[u8], response: &mut Vec<u8>) {
        self.lock().process(command, response);
    }
}

/// A recorded phone: each tap answers as the corresponding tap of the tape, from the first again after the last.
pub struct TapeSource {
    name: String,
    player: SharedPlayer,
    atr: Option<Vec<u8>>,
}

impl TapeSource {
    /// Reads a tape.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn open(path: &Path) -> Result<Self, ReplayError> {
        let (header, taps, _) = with_header(path)?;
        Ok(Self {
            atr: header.atr,
            ..Self::of(path.display().to_string(), Player::new(taps))
        })
    }

    /// A player as a reader of this name.
    #[must_use]
    pub fn of(name: String, player: Player) -> Self {
        Self {
            name,
            atr: None,
            player: SharedPlayer::new(player),
        }
    }

    /// The player, for as long as the guard lives.
    #[must_use]
    pub fn player(&self) -> SharedPlayer {
        self.player.clone()
    }
}

impl CardSource for TapeSource {
    fn describe(&self) -> ReaderInfo {
        ReaderInfo {
            name: self.name.clone(),
            driver: "tape",
            firmware: None,
            mode: "sim",
            listen: None,
            is_acr122: false,
        }
    }

    fn wait_card(&mut self, stop: &Stop) -> Result<Session, SourceError> {
        if stop.is_stopped() {
            return Err(SourceError::cancelled("tape"));
        }
        Ok(Session {
            link: Box::new(PhoneLink::new(self.player.clone())),
            atr: self.atr.clone(),
            protocol: Protocol::T1,
            hold: Hold::Exclusive,
            activation: Activation::default(),
        })
    }

    fn wait_removal(&mut self, stop: &Stop) -> Result<(), SourceError> {
        if stop.sleep(Duration::ZERO) {
            Err(SourceError::cancelled("tape"))
        } else {
            Ok(())
        }
    }

    fn set_observer(&mut self, _observer: Observer) {}
}
