//! A card that is held, as a link.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pcsc::{Card, Disposition, Error};
use tapdoor_link::card::{CardLink, Limits, LinkError, LinkErrorKind};
use zeroize::Zeroize;

use super::LAYER;
use super::hold::leave;

/// How long the end of a session may take.
const LEAVE_TIME: Duration = Duration::from_secs(2);
/// The longest R-APDU, as long as the service takes it.
const RECEIVE: usize = 65_546;

/// A card that is held. Dropping it gives the card back.
pub(super) struct HeldCard {
    card: Option<Card>,
    buffer: Box<[u8]>,
    /// How much of the buffer has held answers.
    dirty: usize,
    end: Disposition,
}

impl HeldCard {
    /// `end` is done with the card when it is given back.
    pub(super) fn new(card: Card, end: Disposition) -> Self {
        Self {
            card: Some(card),
            buffer: vec![0; RECEIVE].into_boxed_slice(),
            dirty: 0,
            end,
        }
    }

    /// May block for ever.
    fn transmit(&mut self, command: &[u8]) -> Result<&[u8], Error> {
        let Some(card) = &self.card else { return Err(Error::InvalidHandle) };
        let answer = card.transmit(command, &mut self.buffer)?;
        self.dirty = self.dirty.max(answer.len());
        Ok(answer)
    }
}

impl Drop for HeldCard {
    fn drop(&mut self) {
        match (self.card.take(), self.end) {
            // A reset asks the card for its ATR, and a silent one would keep us there.
            (Some(card), Disposition::ResetCard) => {
                let (done, left) = mpsc::channel::<()>();
                let _ = thread::Builder::new().name("pcsc-leave".to_owned()).spawn(move || {
                    leave(card, Disposition::ResetCard);
                    drop(done);
                });
                let _ = left.recv_timeout(LEAVE_TIME);
            }
            (Some(card), end) => leave(card, end),
            (None, _) => {}
        }
        // Answers can be secret (CK and IK of a test USIM).
        self.buffer[..self.dirty].zeroize();
    }
}

/// The link. An exchange lasts for as long as driver and card please: [`tapdoor_link::attend()`] is for those who cannot wait so long.
pub(super) struct PcscLink {
    card: HeldCard,
    limits: Limits,
}

impl PcscLink {
    pub(super) fn new(card: HeldCard, limits: Limits) -> Self {
        Self { card, limits }
    }

    fn exchange(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        let fail = |kind, detail: String| Err(LinkError::new(kind, LAYER, detail));
        if command.is_empty() || command.len() > self.limits.command {
            let detail = format!(
                "a command of {} bytes, where 1 to {} can be sent",
                command.len(),
                self.limits.command
            );
            return fail(LinkErrorKind::TooLong, detail);
        }
        match self.card.transmit(command) {
            Ok([]) => fail(LinkErrorKind::CardGone, "the card fell silent: an answer without a byte".to_owned()),
            Ok(answer) if answer.len() < 2 || answer.len() > self.limits.response => {
                let detail = format!("an answer of {} bytes, where 2 to {} can be", answer.len(), self.limits.response);
                fail(LinkErrorKind::Malformed, detail)
            }
            Ok(answer) => {
                response.extend_from_slice(answer);
                Ok(())
            }
            // The library's text for this one speaks of transactions.
            Err(Error::NotTransacted) => fail(
                LinkErrorKind::CardGone,
                "the card fell silent in the middle of the command (NOT_TRANSACTED)".to_owned(),
            ),
            Err(e) => fail(link_error_kind(e), format!("{e} ({e:?})")),
        }
    }
}

impl CardLink for PcscLink {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        self.exchange(command, response).map_err(|e| e.during(command))
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

fn link_error_kind(e: Error) -> LinkErrorKind {
    match e {
        Error::ResetCard => LinkErrorKind::CardReset,
        Error::RemovedCard | Error::NoSmartcard | Error::UnpoweredCard | Error::UnresponsiveCard | Error::NotTransacted => {
            LinkErrorKind::CardGone
        }
        Error::InsufficientBuffer | Error::CommDataLost | Error::InvalidParameter | Error::InvalidValue => LinkErrorKind::Malformed,
        Error::Timeout | Error::WaitedTooLong => LinkErrorKind::Timeout,
        Error::SharingViolation => LinkErrorKind::Busy,
        Error::Cancelled | Error::SystemCancelled => LinkErrorKind::Cancelled,
        _ => LinkErrorKind::Reader,
    }
}
