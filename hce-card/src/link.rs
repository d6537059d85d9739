//! The phone as a card on a link in the same process.

use tapdoor_link::{CardLink, Limits, LinkError, LinkErrorKind};

use crate::serve::Card;

/// A card in the field. Power goes on when it is made and off when it is dropped.
pub struct PhoneLink<C: Card> {
    card: C,
    gone: bool,
}

impl<C: Card> PhoneLink<C> {
    /// Puts the card into the field.
    pub fn new(mut card: C) -> Self {
        card.power_on();
        Self { card, gone: false }
    }
}

impl<C: Card> CardLink for PhoneLink<C> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        if !self.gone {
            self.card.process(command, response);
            self.gone = response.is_empty();
        }
        match response.len() {
            0 => Err(LinkError::new(LinkErrorKind::CardGone, "sim", "the phone left the field").during(command)),
            2..=65_538 => Ok(()),
            n => {
                response.clear();
                Err(LinkError::new(
                    LinkErrorKind::Malformed,
                    "sim",
                    format!("an answer of {n} bytes is no R-APDU (2 to 65,538)"),
                )
                .during(command))
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits::EXTENDED
    }
}

impl<C: Card> Drop for PhoneLink<C> {
    fn drop(&mut self) {
        self.card.power_off();
    }
}
