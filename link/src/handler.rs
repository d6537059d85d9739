//! [`ApduHandler`]: any [`CardLink`] as a handler of the `apdu-core` crate, so that code written for that crate can use our readers.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use apdu_core::{HandleError, Handler, HandlerInCtx};

use crate::{CardLink, LinkError};

/// The longest command whose answer is kept; one byte more than extended length can have.
const KEPT: usize = 65_545;

/// A [`CardLink`] with the face of `apdu-core` 0.4.
///
/// Its buffer belongs to the caller and can be too small for the answer. The answer is not lost then: it is kept, the error says
/// how large the buffer must be, and the same command given once more gets the kept answer **without being sent again**: a card
/// that has spent a challenge or counted a PIN is not asked twice. Any other command throws the kept answer away.
///
/// ```
/// use apdu_core::{HandleError, Handler};
/// use tapdoor_link::{ApduHandler, Scripted};
///
/// let handler = ApduHandler::new(Scripted::new().answer([1, 2, 3, 0x90, 0x00]));
/// let mut small = [0; 2];
/// let Err(HandleError::NotEnoughBuffer(size)) = handler.handle(&[0, 0xCA, 0, 0], &mut small) else {
///     unreachable!()
/// };
/// let mut response = vec![0; size];
/// assert_eq!(handler.handle(&[0, 0xCA, 0, 0], &mut response)?, 5);
/// # Ok::<(), HandleError>(())
/// ```
pub struct ApduHandler<L> {
    // `apdu-core` wants `&self`. A mutex rather than a cell, so that a handler can go where its link can.
    state: Mutex<State<L>>,
}

struct State<L> {
    link: L,
    /// The command whose answer did not fit; empty when none is kept.
    command: Vec<u8>,
    response: Vec<u8>,
}

impl<L: CardLink> ApduHandler<L> {
    /// Wraps a link.
    pub const fn new(link: L) -> Self {
        Self {
            state: Mutex::new(State {
                link,
                command: Vec::new(),
                response: Vec::new(),
            }),
        }
    }

    /// Throws away an answer that did not fit, so that the same command would be sent again.
    pub fn discard(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.command.clear();
    }

    /// Gives the link back.
    pub fn into_inner(self) -> L {
        let state = self.state.into_inner();
        state.unwrap_or_else(PoisonError::into_inner).link
    }
}

impl<L: CardLink> State<L> {
    fn handle(&mut self, command: &[u8], buffer: &mut [u8]) -> Result<usize, HandleError> {
        let kept = !self.command.is_empty() && self.command == command;
        if !kept {
            self.command.clear();
            self.link
                .transmit(command, &mut self.response)
                .map_err(|error| HandleError::Nfc(Box::<LinkError>::new(error)))?;
        }
        let Some(to) = buffer.get_mut(..self.response.len()) else {
            if !kept && command.len() <= KEPT {
                self.command.extend_from_slice(command);
            }
            return Err(HandleError::NotEnoughBuffer(self.response.len()));
        };
        to.copy_from_slice(&self.response);
        self.command.clear();
        Ok(self.response.len())
    }
}

impl<L: fmt::Debug> fmt::Debug for ApduHandler<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Neither the command nor the answer: they can hold secrets.
        f.debug_struct("ApduHandler")
            .field("link", &state.link)
            .field("answer_kept", &!state.command.is_empty())
            .finish()
    }
}

impl<L: CardLink, Ctx> HandlerInCtx<Ctx> for ApduHandler<L> {
    fn handle_in_ctx(&self, _ctx: Ctx, command: &[u8], response: &mut [u8]) -> apdu_core::Result {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).handle(command, response)
    }
}

impl<L: CardLink> Handler for ApduHandler<L> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinkErrorKind, Scripted};

    const GET: &[u8] = &[0x00, 0xCA, 0x00, 0x00];
    const OTHER: &[u8] = &[0x00, 0xCB, 0x00, 0x00];

    fn needs(result: apdu_core::Result) -> usize {
        match result {
            Err(HandleError::NotEnoughBuffer(size)) => size,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_link_error_is_passed_on_in_words() {
        let handler = ApduHandler::new(Scripted::new().fail(LinkErrorKind::CardGone));
        match handler.handle(GET, &mut [0; 9]) {
            Err(HandleError::Nfc(error)) => assert!(error.to_string().starts_with("script: ")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_that_did_not_fit_is_handed_over_without_asking_the_card_again() {
        let handler = ApduHandler::new(Scripted::new().answer([1, 2, 0x90, 0x00]).answer([0x90, 0x00]));
        assert_eq!(needs(handler.handle(GET, &mut [0; 3])), 4);
        assert_eq!(needs(handler.handle(GET, &mut [])), 4);
        let mut buffer = [0xEE; 6];
        assert_eq!(handler.handle(GET, &mut buffer).unwrap(), 4);
        assert_eq!(buffer, [1, 2, 0x90, 0x00, 0xEE, 0xEE]);
        assert_eq!(handler.handle(GET, &mut buffer).unwrap(), 2, "handed over once only");
        assert_eq!(handler.into_inner().sent().len(), 2);
    }

    #[test]
    fn another_command_throws_the_kept_answer_away() {
        let card = Scripted::new().answer([1, 0x90, 0]).answer([2, 0x90, 0]).answer([3, 0x90, 0]);
        let handler = ApduHandler::new(card);
        let mut buffer = [0; 3];
        needs(handler.handle(GET, &mut []));
        assert_eq!(handler.handle(OTHER, &mut buffer).unwrap(), 3);
        assert_eq!(buffer[0], 2);
        assert_eq!(handler.handle(GET, &mut buffer).unwrap(), 3);
        assert_eq!(buffer[0], 3);
    }

    #[test]
    fn a_discarded_answer_is_asked_for_again() {
        let handler = ApduHandler::new(Scripted::new().answer([1, 0x90, 0]).answer([2, 0x90, 0]));
        needs(handler.handle(GET, &mut []));
        handler.discard();
        let mut buffer = [0; 3];
        handler.handle(GET, &mut buffer).unwrap();
        assert_eq!(buffer[0], 2);
    }

    #[test]
    fn works_as_a_trait_object_and_in_any_context() {
        let handler = ApduHandler::new(Scripted::new().answer([0x90, 0]).answer([0x90, 0]));
        let object: &dyn Handler = &handler;
        assert_eq!(object.handle(GET, &mut [0; 2]).unwrap(), 2);
        assert_eq!(handler.handle_in_ctx("a context", GET, &mut [0; 2]).unwrap(), 2);
        fn assert_sync<T: Send + Sync>() {}
        assert_sync::<ApduHandler<Scripted>>();
        assert!(format!("{handler:?}").contains("answer_kept: false"));
    }
}
