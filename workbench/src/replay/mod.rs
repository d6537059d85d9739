//! One side of a tape against a live other side.
//!
//! | module | what |
//! |---|---|
//! | [`card`] | the recorded card, for a live lock: [`Player`] |
//! | [`keys`] | its answers recomputed, so that a tap succeeds again: same decisions, not same bytes |
//! | [`device`] | the same for Aliro, with a phone's credentials |
//! | [`lock`] | the recorded lock, for a live card; compared by [`tapdoor_captures::diff`] |
//! | [`source`] | `tape:FILE` as a reader |

pub mod card;
pub mod device;
pub mod keys;
pub mod lock;
pub mod source;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use tapdoor_captures::{Cut, Header, ReadError};

pub use card::{How, Player, Told};
pub use source::{SharedPlayer, TapeSource};

use crate::recorded::{RecordedTap, Taps};

/// Why a tape cannot be played.
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

/// The taps of a tape in which a card answers, and where it was cut off.
///
/// # Errors
/// [`ReplayError`].
pub fn taps(path: &Path) -> Result<(Vec<RecordedTap>, Option<Cut>), ReplayError> {
    with_header(path).map(|(_, taps, cut)| (taps, cut))
}

/// The same with what the tape says of itself.
fn with_header(path: &Path) -> Result<(Header, Vec<RecordedTap>, Option<Cut>), ReplayError> {
    let read = |source| ReplayError::Read { path: path.into(), source };
    let file = File::open(path).map_err(|source| ReplayError::Io { path: path.into(), source })?;
    let mut all = Taps::new(BufReader::with_capacity(1 << 16, file)).map_err(read)?;
    let mut taps = Vec::new();
    for tap in &mut all {
        let tap = tap.map_err(read)?;
        if tap.exchanges.iter().any(|e| matches!(e.answer, Some(Ok(_)))) {
            taps.push(tap);
        }
    }
    if taps.is_empty() {
        return Err(ReplayError::Empty(path.into()));
    }
    Ok((all.header().clone(), taps, all.cut()))
}
