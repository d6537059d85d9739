//! The PN532 inside an ACR122U (ACS API manual V2.04): commands in the pseudo-APDU `FF 00 00 00`, and what is odd about the reader.
//!
//! | module | what |
//! |---|---|
//! | [`quirks`] | settings and answers that differ from the manual |
//! | [`escape`] | pseudo-APDUs without a card: `SCardControl` on a direct connection |
//!
//! [`AcrPort`] needs nothing but something that carries pseudo-APDUs, so a card connection (`SCardTransmit`) and an escape connection
//! (`SCardControl`) are the same to it.

pub mod escape;
pub mod quirks;

use std::time::Duration;

use tapdoor_link::{CardLink, LinkError, LinkErrorKind};

use crate::pn532::{Port, PortError, PortErrorKind};

pub use escape::{EscapeError, EscapeLink, ask};
pub use quirks::{Settings, firmware};

/// Lc is one byte; D4 is the first of the bytes it counts.
const LONGEST_COMMAND: usize = 254;
/// A short R-APDU without D5 and the status word.
const LONGEST_ANSWER: usize = 255;
/// GetFirmwareVersion: harmless, and its answer is known.
const PROBE: [u8; 1] = [0x02];

/// A PN532 behind pseudo-APDUs.
///
/// **Stale answers.** Some firmware gives each answer one command late. What comes is known by its code, so a late one is noticed; then
/// GetFirmwareVersion is sent, whose answer nobody misses, and the answer that was due comes instead.
///
/// A command cannot be ended here: there is no ACK frame that would do it.
#[derive(Debug)]
pub struct AcrPort<L> {
    link: L,
    out: Vec<u8>,
    input: Vec<u8>,
    /// Answers that came late.
    stale: u64,
}

impl<L: CardLink> AcrPort<L> {
    /// On what carries pseudo-APDUs to the reader.
    pub fn new(link: L) -> Self {
        Self {
            link,
            out: Vec::with_capacity(300),
            input: Vec::with_capacity(300),
            stale: 0,
        }
    }

    /// What carries the pseudo-APDUs.
    pub const fn link_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// Gives it back.
    pub fn into_link(self) -> L {
        self.link
    }

    /// How many answers came one command late.
    #[must_use]
    pub const fn stale_answers(&self) -> u64 {
        self.stale
    }

    /// Sends a PN532 command; says what came back from the chip, whichever command that belongs to.
    fn pass(&mut self, command: &[u8]) -> Result<Option<&[u8]>, PortError> {
        let lc = u8::try_from(command.len() + 1).ok().filter(|_| command.len() <= LONGEST_COMMAND);
        let Some(lc) = lc else {
            let detail = format!("{} bytes, where an ACR122U takes {LONGEST_COMMAND}", command.len());
            return Err(PortError::new(PortErrorKind::TooLong, detail));
        };
        self.out.clear();
        self.out.extend_from_slice(&[0xFF, 0x00, 0x00, 0x00, lc, 0xD4]);
        self.out.extend_from_slice(command);
        self.link.transmit(&self.out, &mut self.input).map_err(port_error)?;
        // Touchatag's firmware wants its answer fetched.
        if let [0x61, le] = *self.input {
            self.link
                .transmit(&[0xFF, 0xC0, 0x00, 0x00, le], &mut self.input)
                .map_err(port_error)?;
        }
        match self.input.as_slice() {
            [0xD5, content @ .., 0x90, 0x00] => Ok(Some(content)),
            // "The operation failed", "the PN532 does not answer", "wrong checksum".
            [0x63, 0x01] => Err(PortError::new(
                PortErrorKind::Silent,
                "the reader says that its PN532 does not answer (6301)",
            )),
            [0x63, low] => Err(PortError::new(
                PortErrorKind::Refused,
                format!(
                    "the reader refuses PN532 command {:02x} (63{low:02x})",
                    command.first().unwrap_or(&0)
                ),
            )),
            [sw1 @ (0x67..=0x6B | 0x6D..=0x6F), sw2] => {
                let detail = format!("the reader does not pass PN532 commands on ({sw1:02x}{sw2:02x}); is it an ACR122U?");
                Err(PortError::new(PortErrorKind::Refused, detail))
            }
            // Something else than an answer of the chip: the firmware's name, the state of the LEDs.
            _ => Ok(None),
        }
    }

    /// One command; `true` if its own answer came.
    fn take(&mut self, command: &[u8], expected: u8, answer: &mut Vec<u8>) -> Result<bool, PortError> {
        match self.pass(command)? {
            Some(content) if content.first() == Some(&expected) => {
                answer.clear();
                answer.extend_from_slice(content);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

impl<L: CardLink> Port for AcrPort<L> {
    fn exchange(&mut self, command: &[u8], _: Duration, answer: &mut Vec<u8>) -> Result<(), PortError> {
        answer.clear();
        let expected = command.first().map_or(1, |code| code.wrapping_add(1));
        if self.take(command, expected, answer)? {
            return Ok(());
        }
        self.stale += 1;
        // Ours is the next one, or the one after that.
        for _ in 0..2 {
            if self.take(&PROBE, expected, answer)? {
                return Ok(());
            }
        }
        let detail = format!(
            "the reader gave three answers, and none of them to command {:02x}; unplug it and plug it in again",
            expected.wrapping_sub(1)
        );
        Err(PortError::new(PortErrorKind::Silent, detail))
    }

    fn longest(&self) -> (usize, usize) {
        (LONGEST_COMMAND, LONGEST_ANSWER)
    }

    fn can_abort(&self) -> bool {
        false
    }
}

fn port_error(e: LinkError) -> PortError {
    let kind = match e.kind {
        LinkErrorKind::Timeout => PortErrorKind::Silent,
        LinkErrorKind::TooLong => PortErrorKind::TooLong,
        LinkErrorKind::Cancelled => PortErrorKind::Cancelled,
        _ => PortErrorKind::Gone,
    };
    PortError::new(kind, e)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
