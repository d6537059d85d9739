//! `tapdoor verify`: a recorded tap's cryptography recomputed from lock.toml, and today's lock run over the recorded answers.
//!
//! | module | what |
//! |---|---|
//! | [`aliro`] | the same for Aliro |
//! | [`checks`] | every challenge, token, AUTN, RES and session key, one by one |
//! | [`today`] | today's lock: its chip with the recorded randomness, its tap loop over the recorded answers |

pub mod aliro;
pub mod checks;
pub mod today;

use std::io::BufRead;

use tapdoor_captures::ReadError;
use tapdoor_chip::ChipError;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::door::Reason;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::vault;
use tapdoor_reader::{LockConfig, Tap, TapVerdict};

use self::aliro::AliroLock;
use crate::aliro::Evidence;
pub use checks::{Check, Found};
pub use today::Difference;

use crate::recorded::{RecordedTap, RecordedVerdict, Taps};

/// What is said of one tap.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Its number on the tape.
    pub number: Option<u64>,
    /// What was decided then; `None` if the tape does not say.
    pub then: Option<RecordedVerdict>,
    /// Whether today's lock could be run over the tap to its end: not without the keys that an Aliro transaction needs.
    pub judged: bool,
    /// What is decided today, if it was.
    pub now: TapVerdict,
    /// Why not, if not.
    pub reason: Option<Reason>,
    /// By which method.
    pub method: Option<vault::Method>,
    /// The phone.
    pub phone: Option<PhoneId>,
    /// In words.
    pub detail: String,
    /// Every value that was recomputed.
    pub checks: Vec<Check>,
    /// Where today's lock first leaves the tape, if it does.
    pub difference: Option<Difference>,
    /// What the tape cannot prove, because it was masked or is not on it.
    pub unproven: Vec<String>,
}

impl Verified {
    /// Whether today's decision is that of then; `None` if the tape does not say what that was, or there is none today.
    #[must_use]
    pub fn same_decision(&self) -> Option<bool> {
        let then = self.then.as_ref().filter(|_| self.judged)?;
        let reason = self.reason.map(Reason::name);
        Some(then.verdict == self.now.name() && then.reason.as_deref() == reason)
    }

    /// Whether today's lock decides as then and asks what it asked then, and every value is what the keys give. A phone's proof that is wrong is
    /// right for a tap that did not open.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let opened = self.now == TapVerdict::Open;
        let mut wrong = self.checks.iter().filter(|c| matches!(c.found, Found::Wrong { .. }));
        self.same_decision() != Some(false) && self.difference.is_none() && wrong.all(|c| c.is_the_phones() && !opened)
    }
}

/// Why a tape cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The tape.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The lock's chip.
    #[error(transparent)]
    Chip(#[from] ChipError),
}

/// A lock that judges recorded taps. It keeps the memory that a lock has, so that a challenge that comes twice on one tape is found.
pub struct Verifier {
    config: LockConfig,
    today: today::Today,
    keys: checks::Keys,
    aliro: Option<AliroLock>,
}

impl Verifier {
    /// The lock of this configuration, its chip in memory; `evidence` opens Aliro's transactions.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn new(config: LockConfig, evidence: &Evidence) -> Result<Self, ChipError> {
        Ok(Self {
            today: today::Today::new(&config)?,
            keys: checks::Keys::new(&config),
            aliro: AliroLock::new(&config, evidence),
            config,
        })
    }

    /// Judges one tap. `created` is when its tape began, in seconds since 1970-01-01 UTC, for tapes that do not hold the chip's clock.
    pub fn tap(&mut self, mut tap: RecordedTap, created: Option<u32>) -> Verified {
        let mut unproven = self.keys.unmask(&mut tap);
        let mut checked = self.keys.check(&tap);
        let is_aliro = is_aliro(&tap);
        let mut aliro = self.aliro.as_mut().filter(|_| is_aliro);
        if let Some(aliro) = &mut aliro {
            let recomputed = aliro.recompute(&tap);
            checked.checks.extend(recomputed.checks);
            checked.checks.sort_by_key(|check| check.exchange);
            unproven.extend(recomputed.unproven);
        } else if is_aliro {
            unproven.push(NO_READER.into());
        }
        let clock_matters =
            tap.exchanges.iter().any(|e| e.command.get(1) == Some(&0x88)) || aliro.as_ref().is_some_and(|a| a.needs_clock());
        let clock = tap.clock.or(checked.clock).or_else(|| {
            if clock_matters {
                unproven.push("the tape does not hold the lock's clock; the time of the recording is taken for it".into());
            }
            let seconds = u32::try_from(tap.began / 1_000_000_000).unwrap_or(u32::MAX);
            created.map(|created| created.saturating_add(seconds))
        });
        let clock = clock.unwrap_or_else(tapdoor_reader::lock::now);
        let (mut now, difference) = self.today.run(&self.config, &tap, &checked, aliro.as_deref_mut(), clock);
        let lacks = aliro.and_then(|aliro| aliro.lacks());
        if let Some(lacks) = lacks {
            now.detail = "not judged to its end: a key is not at hand".into();
            if !unproven.iter().any(|known| known == lacks) {
                unproven.push(lacks.into());
            }
        }
        unproven.extend(checked.unproven);
        let Tap {
            verdict,
            reason,
            method,
            phone,
            detail,
            ..
        } = now;
        Verified {
            number: tap.number,
            then: tap.verdict,
            judged: lacks.is_none(),
            now: verdict,
            reason,
            method,
            phone,
            detail,
            checks: checked.checks,
            difference,
            unproven,
        }
    }

    /// Judges every tap of a tape that has exchanges with a phone.
    ///
    /// # Errors
    /// [`ReadError`]; taps before it have been told.
    pub fn tape<R: BufRead>(&mut self, taps: &mut Taps<R>, tell: &mut dyn FnMut(Verified)) -> Result<u64, ReadError> {
        let created = taps.header().created.as_deref().and_then(seconds);
        let mut count = 0;
        for tap in taps {
            let tap = tap?;
            if tap.exchanges.is_empty() {
                continue;
            }
            count += 1;
            tell(self.tap(tap, created));
        }
        Ok(count)
    }
}

/// Nothing to verify Aliro with.
const NO_READER: &str = "Aliro: lock.toml has no section [aliro], so neither signatures nor keys can be recomputed";

/// Whether the tap came to Aliro's AUTH0.
fn is_aliro(tap: &RecordedTap) -> bool {
    let mut selected = false;
    tap.exchanges.iter().any(|exchange| {
        let command = exchange.command.as_slice();
        if let [0x00, 0xA4, 0x04, _, _, aid @ ..] = command {
            let answered = matches!(&exchange.answer, Some(Ok(answer)) if answer.ends_with(&[0x90, 0x00]));
            selected = answered && (aid.starts_with(Aid::ALIRO_EXPEDITED.as_bytes()) || aid.starts_with(Aid::ALIRO_STEP_UP.as_bytes()));
        }
        selected && matches!(command, [0x80, 0x80, ..])
    })
}

/// RFC 3339 as seconds since 1970-01-01 UTC.
fn seconds(text: &str) -> Option<u32> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    u32::try_from(moment.as_second()).ok()
}
