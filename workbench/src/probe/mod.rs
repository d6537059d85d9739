//! What a card or phone is: technology, UID, ATS or ATR, Android, which known applications answer, and how long it takes.
//!
//! A check is a function of its own in a file of its own: it asks the card through a [`Probe`] and tells what it learned, as [`Finding`]s, at once.
//! To add one, write the file and put it into `CHECKS`. Nothing that a probe sends changes a card: pseudo-APDUs of PC/SC part 3, which the reader
//! answers, and SELECT by name.
//!
//! | module | check | asks |
//! |---|---|---|
//! | [`atr`] | the ATR, from ISO/IEC 7816-3 and PC/SC part 3 | nothing: the reader has it |
//! | [`uid`] | the UID, random or fixed | nothing where our own search found the card, else `FF CA 00 00 00` |
//! | [`ats`] | the ATS | likewise, `FF CA 01 00 00` |
//! | [`android`] | host card emulation of Android | its liveness AID |
//! | [`applications`] | our own applications, and those of the AID registry | SELECT of each |
//! | [`times`] | answer times | nothing: the sum of what was asked |
//! | [`air`] | frame delay, waiting times, S(WTX) | nothing: the frames of the tape, where there are any |

pub mod air;
pub mod android;
pub mod applications;
pub mod atr;
pub mod ats;
pub mod times;
pub mod uid;

use std::time::{Duration, Instant};

use serde::Serialize;
use tapdoor_link::{CardLink, LinkError, LinkErrorKind};
use tapdoor_protocol::apdu::Response;
use tapdoor_protocol::status::StatusWord;
use tapdoor_reader::source::Activation;

/// Something that a probe learned.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Finding {
    /// What the ATR says.
    Atr(atr::Atr),
    /// What the UID is.
    Uid(uid::Uid),
    /// What the ATS says.
    Ats(ats::Ats),
    /// Whether an Android phone is alive there.
    Android(android::Android),
    /// Whether an application answers.
    Application(applications::Application),
    /// How long the answers took.
    Times(times::Times),
    /// What the frames tell; whoever has them adds it.
    Air(air::Air),
}

/// A check: `Err` ends the probe.
type Check = fn(&mut Probe<'_>) -> Result<(), LinkError>;

/// Every check, in order: the radio, then the applications, then the sum.
const CHECKS: &[Check] = &[
    atr::check,
    uid::check,
    ats::check,
    android::check,
    applications::check,
    times::check,
];

/// A card that is being asked.
pub struct Probe<'a> {
    link: &'a mut dyn CardLink,
    atr: Option<&'a [u8]>,
    /// Whether a reader in between answers pseudo-APDUs.
    reader: bool,
    activation: &'a Activation,
    tell: &'a dyn Fn(Finding),
    buffer: Vec<u8>,
    times: Vec<Duration>,
    /// AIDs that were selected before.
    asked: Vec<Vec<u8>>,
}

/// What a card answered.
struct Answer {
    data: Vec<u8>,
    sw: StatusWord,
    time: Duration,
}

impl Probe<'_> {
    fn exchange(&mut self, command: &[u8]) -> Result<Answer, LinkError> {
        let begun = Instant::now();
        self.link.transmit(command, &mut self.buffer)?;
        let time = begun.elapsed();
        let response =
            Response::parse(&self.buffer).map_err(|e| LinkError::new(LinkErrorKind::Malformed, "probe", e.to_string()).during(command))?;
        Ok(Answer {
            data: response.data.to_vec(),
            sw: response.sw,
            time,
        })
    }

    /// A pseudo-APDU for the reader: what it says if it says yes. A contact card would take it for its own, and is not asked.
    fn ask_reader(&mut self, command: &[u8]) -> Result<Option<Vec<u8>>, LinkError> {
        if !self.reader || self.atr.is_some_and(|atr| !atr::is_contactless(atr)) {
            return Ok(None);
        }
        let answer = self.exchange(command)?;
        Ok(Some(answer.data).filter(|data| answer.sw.is_ok() && !data.is_empty()))
    }

    /// SELECT by name, first or only occurrence, with its FCI.
    fn select(&mut self, aid: &[u8]) -> Result<Answer, LinkError> {
        let mut command = vec![0x00, 0xA4, 0x04, 0x00];
        command.push(u8::try_from(aid.len()).unwrap_or(0));
        command.extend_from_slice(aid);
        command.push(0x00);
        let answer = self.exchange(&command)?;
        self.times.push(answer.time);
        self.asked.push(aid.to_vec());
        Ok(answer)
    }

    fn tell(&self, finding: Finding) {
        (self.tell)(finding);
    }
}

/// Asks the card at `link`, whose ATR is `atr` if there is one, and tells what it learns as soon as it does. `reader`: whether pseudo-APDUs (class FF)
/// are answered by a reader, as they are behind PC/SC; else they would reach the card, and are not sent. `activation`: what is known from whoever
/// found the card.
///
/// # Errors
/// The first exchange that failed; what was learned before has been told.
pub fn probe(
    link: &mut dyn CardLink,
    atr: Option<&[u8]>,
    reader: bool,
    activation: &Activation,
    tell: &dyn Fn(Finding),
) -> Result<(), LinkError> {
    let mut probe = Probe {
        link,
        atr,
        reader,
        activation,
        tell,
        buffer: Vec::with_capacity(300),
        times: Vec::new(),
        asked: Vec::new(),
    };
    CHECKS.iter().try_for_each(|check| check(&mut probe))
}

/// Milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Bytes as hexadecimal digits, for serde.
mod as_hex {
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }
}
