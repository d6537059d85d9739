//! [`Scripted`]: a card that answers a fixed list, for tests.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::{CardLink, Limits, LinkError, LinkErrorKind, ManualClock};

/// A [`CardLink`] that answers a fixed list and remembers what it was sent.
///
/// - A command that differs from the one [expected](Self::expect) is answered by [`LinkErrorKind::Malformed`] and stays out of
///   the list: the step is still to be done.
/// - When the list is used up, every command is answered by [`LinkErrorKind::CardGone`].
///
/// ```
/// use tapdoor_link::{CardLink, LinkErrorKind, Scripted};
///
/// let mut card = Scripted::new()
///     .expect([0x00, 0xA4, 0x04, 0x00], [0x6A, 0x82])
///     .fail(LinkErrorKind::CardGone);
/// let mut response = Vec::new();
/// card.transmit(&[0x00, 0xA4, 0x04, 0x00], &mut response)?;
/// assert_eq!(response, [0x6A, 0x82]);
/// assert_eq!(card.remaining(), 1);
/// # Ok::<(), tapdoor_link::LinkError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scripted {
    steps: VecDeque<Step>,
    sent: Vec<Vec<u8>>,
    limits: Limits,
    clock: Option<Arc<ManualClock>>,
}

#[derive(Clone, Debug)]
struct Step {
    command: Option<Vec<u8>>,
    outcome: Result<Vec<u8>, LinkErrorKind>,
    takes: Duration,
}

impl Scripted {
    /// A card with an empty list and [`Limits::SHORT`].
    #[must_use]
    pub const fn new() -> Self {
        Self {
            steps: VecDeque::new(),
            sent: Vec::new(),
            limits: Limits::SHORT,
            clock: None,
        }
    }

    /// Then: answer whatever comes with `response` (data and status word).
    #[must_use]
    pub fn answer(self, response: impl Into<Vec<u8>>) -> Self {
        self.step(None, Ok(response.into()))
    }

    /// Then: answer `command`, and only `command`, with `response`.
    #[must_use]
    pub fn expect(self, command: impl Into<Vec<u8>>, response: impl Into<Vec<u8>>) -> Self {
        self.step(Some(command.into()), Ok(response.into()))
    }

    /// Then: fail.
    #[must_use]
    pub fn fail(self, kind: LinkErrorKind) -> Self {
        self.step(None, Err(kind))
    }

    /// The step given last takes so long on the clock of [`Self::on`].
    #[must_use]
    pub fn taking(mut self, time: Duration) -> Self {
        if let Some(step) = self.steps.back_mut() {
            step.takes = time;
        }
        self
    }

    /// Has `clock` advanced by what [`Self::taking`] says.
    #[must_use]
    pub fn on(mut self, clock: Arc<ManualClock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Pretends to carry APDUs of this length. They are not enforced.
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Every command that came, in order, unexpected ones too.
    #[must_use]
    pub fn sent(&self) -> &[Vec<u8>] {
        &self.sent
    }

    /// How many steps of the list are still to be done; 0 at the end of a test that went through.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.steps.len()
    }

    fn step(mut self, command: Option<Vec<u8>>, outcome: Result<Vec<u8>, LinkErrorKind>) -> Self {
        self.steps.push_back(Step {
            command,
            outcome,
            takes: Duration::ZERO,
        });
        self
    }
}

impl Default for Scripted {
    fn default() -> Self {
        Self::new()
    }
}

impl CardLink for Scripted {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        self.sent.push(command.to_vec());
        let number = self.sent.len();
        let fail = |kind, detail| Err(LinkError::new(kind, "script", detail).during(command));
        let Some(step) = self.steps.front() else {
            let detail = format!("exchange {number} is past the end of the script");
            return fail(LinkErrorKind::CardGone, detail);
        };
        if let Some(expected) = &step.command
            && expected != command
        {
            let detail = format!("exchange {number}: expected {}, got {}", hex(expected), hex(command));
            return fail(LinkErrorKind::Malformed, detail);
        }
        if let Some(clock) = &self.clock {
            clock.advance(step.takes);
        }
        match self.steps.pop_front().map(|step| step.outcome) {
            Some(Ok(answer)) => {
                response.extend_from_slice(&answer);
                Ok(())
            }
            Some(Err(kind)) => fail(kind, format!("exchange {number} fails by script")),
            None => Ok(()),
        }
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_end_the_card_is_gone() {
        let mut card = Scripted::default();
        let mut response = vec![1];
        let error = card.transmit(&[0, 1, 2, 3], &mut response).unwrap_err();
        assert_eq!(error.kind, LinkErrorKind::CardGone);
        assert!(response.is_empty());
        assert_eq!(card.sent(), [[0, 1, 2, 3]]);
    }

    #[test]
    fn an_unexpected_command_is_told_apart_and_the_step_stays() {
        let mut card = Scripted::new().expect([1, 2], [0x90, 0]);
        let mut response = Vec::new();
        let error = card.transmit(&[1, 3], &mut response).unwrap_err();
        assert_eq!(error.kind, LinkErrorKind::Malformed);
        assert!(error.detail.contains("expected 0102, got 0103"), "{error}");
        assert_eq!(card.remaining(), 1);
        card.transmit(&[1, 2], &mut response).unwrap();
        assert_eq!((response.as_slice(), card.remaining()), (&[0x90, 0][..], 0));
    }

    #[test]
    fn failures_stand_where_they_were_put() {
        let mut card = Scripted::new().fail(LinkErrorKind::Busy).answer([0x90, 0x00]);
        let mut response = Vec::new();
        assert_eq!(card.transmit(&[0], &mut response).unwrap_err().kind, LinkErrorKind::Busy);
        assert!(card.transmit(&[0], &mut response).is_ok());
    }
}
