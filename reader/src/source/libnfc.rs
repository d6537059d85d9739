//! `libnfc:CONNSTRING`: readers through the system's libnfc (feature `libnfc`).
//!
//! libnfc finds the card, sends RATS and exchanges APDUs; its chip's firmware does ISO-DEP. Its buffers are of a fixed size and are not
//! checked by it: an APDU that does not fit is refused here, before libnfc sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nfc1::target_info::TargetInfo;
use nfc1::{BaudRate, Context, Device, Error, Modulation, ModulationType, Property, Timeout};
use tapdoor_link::stop::{Backoff, Stop};
use tapdoor_link::{CardLink, Limits, LinkError, LinkErrorKind};

use super::{
    ANSWER_TIMEOUT, CardSource, Hold, Observer, Protocol, ReaderInfo, Session, SourceError, SourceErrorKind, SourceEvent, no_observer,
};

const LAYER: &str = "libnfc";
/// Pause between two searches.
const INTERVAL: Duration = Duration::from_millis(100);
/// A card that was not found so many times in a row has gone.
const MISSES: u32 = 3;
