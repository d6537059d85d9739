//! [`IsoDepLink`]: a [`CardLink`] over a [`FieldLink`], by our own ISO-DEP (ISO/IEC 14443-4).

use tapdoor_protocol::rf::Dialogue;
use tapdoor_protocol::rf::frame::{RfError, RxFrame};
use tapdoor_protocol::rf::iso14443::dep::Parameters;
use tapdoor_protocol::rf::iso14443::dep::pcd::{DepError, Pcd};
use tapdoor_protocol::rf::time::Ticks;

use super::{Abilities, FieldError, FieldErrorKind, FieldLink, converse_within};
use crate::{CardLink, Limits, LinkError, LinkErrorKind};

const LAYER: &str = "iso-dep";

/// A card that was activated, as a link for APDUs.
///
/// Lost and damaged blocks are recovered from as the standard asks, and time that the card asks for is granted, but no longer than the
/// [patience](Self::with_patience) for an answer lasts. After an error the session is over: the card is deselected, and every other
/// command gets [`LinkErrorKind::CardGone`].
#[derive(Debug)]
pub struct IsoDepLink<L> {
    link: L,
    pcd: Pcd,
    rx: RxFrame,
    patience: Ticks,
    limits: Limits,
    over: bool,
}

impl<L: FieldLink> IsoDepLink<L> {
    /// So long an answer may take in all, S(WTX) and repetitions included, unless another time is given: 1 s, as the relay guard's cap.
    pub const PATIENCE: Ticks = Ticks::from_millis(1000);

    /// A session with the card that was activated with these parameters.
    pub fn new(link: L, parameters: Parameters) -> Self {
        Self {
            link,
            pcd: Pcd::new(parameters),
            rx: RxFrame::new(),
            patience: Self::PATIENCE,
            limits: Limits::SHORT,
            over: false,
        }
    }

    /// Waits so long for an answer. The tap's relay guard has its own cap, which is looked at when the answer is there; this one ends a
    /// card that asks for more and more time.
    #[must_use]
    pub const fn with_patience(mut self, patience: Ticks) -> Self {
        self.patience = patience;
        self
    }

    /// With other limits: the blocks carry APDUs of any length, but not every card takes extended ones.
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What both sides have agreed on.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        self.pcd.parameters()
    }

    /// Asks whether the card is still there.
    ///
    /// # Errors
    /// [`LinkError`]: it is not, or the reader failed.
    pub fn check_presence(&mut self) -> Result<(), LinkError> {
        if self.over {
            return Err(gone());
        }
        let deadline = self.link.now() + self.patience;
        let outcome = run(&mut self.link, &mut self.pcd.presence_check(), &mut self.rx, deadline);
        self.over = outcome.is_err();
        outcome
    }

    /// Ends the session: S(DESELECT). The card then waits to be woken.
    ///
    /// # Errors
    /// [`LinkError`] when the card did not answer or the reader failed; the session is over all the same.
    pub fn deselect(&mut self) -> Result<(), LinkError> {
        if std::mem::replace(&mut self.over, true) {
            return Err(gone());
        }
        let deadline = self.link.now() + self.patience;
        run(&mut self.link, &mut self.pcd.deselect(), &mut self.rx, deadline)
    }

    /// The link below.
    pub const fn inner_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// Gives the link back.
    pub fn into_inner(self) -> L {
        self.link
    }
}

fn gone() -> LinkError {
    LinkError::new(LinkErrorKind::CardGone, LAYER, "the session with the card is over")
}

/// What `error` in the air is to whoever wanted an APDU answered.
fn field_error(error: &FieldError) -> LinkError {
    let kind = match error.kind {
        FieldErrorKind::Rf(RfError::Timeout) => LinkErrorKind::Timeout,
        FieldErrorKind::Rf(_) | FieldErrorKind::NoField => LinkErrorKind::CardGone,
        FieldErrorKind::Unsupported | FieldErrorKind::Reader => LinkErrorKind::Reader,
        FieldErrorKind::Cancelled => LinkErrorKind::Cancelled,
    };
    LinkError::new(kind, LAYER, error.to_string())
}

fn dep_error(error: DepError) -> LinkError {
    let kind = match error {
        DepError::Lost { .. } => LinkErrorKind::CardGone,
        DepError::Waiting { .. } => LinkErrorKind::Timeout,
        _ => LinkErrorKind::Malformed,
    };
    LinkError::new(kind, LAYER, error.to_string())
}

fn run<L, D>(link: &mut L, dialogue: &mut D, rx: &mut RxFrame, deadline: Ticks) -> Result<(), LinkError>
where
    L: FieldLink,
    D: Dialogue<Output = Result<(), DepError>>,
{
    match converse_within(link, dialogue, rx, deadline) {
        Ok(outcome) => outcome.map_err(dep_error),
        Err(error) => Err(field_error(&error)),
    }
}

impl<L: FieldLink> CardLink for IsoDepLink<L> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        if self.over {
            return Err(gone().during(command));
        }
        if command.len() > self.limits.command {
            let detail = format!("{} bytes, and the card takes {}", command.len(), self.limits.command);
            return Err(LinkError::new(LinkErrorKind::TooLong, LAYER, detail).during(command));
        }
        let deadline = self.link.now() + self.patience;
        let mut outcome = run(&mut self.link, &mut self.pcd.transceive(command, response), &mut self.rx, deadline);
        if outcome.is_ok() && response.len() < 2 {
            let detail = format!("an answer of {} bytes is no R-APDU", response.len());
            outcome = Err(LinkError::new(LinkErrorKind::Malformed, LAYER, detail));
        }
        outcome.map_err(|error| {
            response.clear();
            // So that it can be woken again. It will often not hear this.
            let _ = self.deselect();
            error.during(command)
        })
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

/// What a link can do, as limits of an activation: longest frames that it receives and sends, in bytes, checksum included.
impl Abilities {
    /// Longest frames with their checksum: received, sent.
    #[must_use]
    pub const fn frame_sizes(&self) -> (usize, usize) {
        (self.receive.saturating_add(2), self.send.saturating_add(2))
    }
}
