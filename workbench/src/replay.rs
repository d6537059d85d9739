//! The card side of a recorded tape: it answers as it answered then.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tapdoor_captures::{Direction, Layer, ReadError, TapeReader};
use tapdoor_link::stop::Stop;
use tapdoor_link::{CardLink, LinkError, LinkErrorKind};
use tapdoor_reader::source::{CardSource, Hold, Observer, Protocol, ReaderInfo, Session, SourceError};

/// What one tap answered, in order.
type Answers = Vec<Vec<u8>>;

/// Why a tape cannot be the card.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// Its content.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ReadError,
    },
    /// Nothing to say.
    #[error("{}: no card answers on this tape (layer apdu, direction in)", .0.display())]
    Empty(PathBuf),
}

/// A recorded phone: each tap answers as the corresponding tap of the tape, from the first again after the last.
#[derive(Debug)]
pub struct TapeSource {
    name: String,
    atr: Option<Vec<u8>>,
    taps: Vec<Answers>,
    next: usize,
}

impl TapeSource {
    /// Reads a tape.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn open(path: &Path) -> Result<Self, ReplayError> {
        let read = |source| ReplayError::Read { path: path.into(), source };
        let file = File::open(path).map_err(|source| ReplayError::Io { path: path.into(), source })?;
        let mut taps: Vec<(Option<u64>, Answers)> = Vec::new();
        let reader = TapeReader::new(BufReader::new(file)).map_err(read)?;
        let atr = reader.header().atr.clone();
        for event in reader {
            let event = event.map_err(read)?;
            let (Layer::Apdu, Some(Direction::In), Some(data)) = (event.layer, event.dir, event.data) else {
                continue;
            };
            match taps.last_mut() {
                Some((tap, answers)) if *tap == event.tap => answers.push(data),
                _ => taps.push((event.tap, vec![data])),
            }
        }
        if taps.is_empty() {
            return Err(ReplayError::Empty(path.into()));
        }
        Ok(Self {
            name: path.display().to_string(),
            atr,
            taps: taps.into_iter().map(|(_, answers)| answers).collect(),
            next: 0,
        })
    }
}

struct TapeLink {
    answers: std::vec::IntoIter<Vec<u8>>,
}

impl CardLink for TapeLink {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        match self.answers.next() {
            Some(answer) if answer.len() >= 2 => {
                response.extend_from_slice(&answer);
                Ok(())
            }
            Some(_) => Err(LinkError::new(LinkErrorKind::Malformed, "tape", "the recorded answer has no status word").during(command)),
            None => Err(LinkError::new(LinkErrorKind::CardGone, "tape", "the recorded tap ends here").during(command)),
        }
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
        let answers = self.taps.get(self.next % self.taps.len().max(1)).cloned().unwrap_or_default();
        self.next += 1;
        Ok(Session {
            link: Box::new(TapeLink {
                answers: answers.into_iter(),
            }),
            atr: self.atr.clone(),
            protocol: Protocol::T1,
            hold: Hold::Exclusive,
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
