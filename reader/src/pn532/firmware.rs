//! [`FirmwareCard`]: the chip finds the card, sends RATS and does ISO-DEP, waiting time extensions included (mode A). APDUs only.

use std::time::Duration;

use tapdoor_link::card::{CardLink, Limits, LinkError, LinkErrorKind};
use tapdoor_protocol::pn532::{ErrorCode, Listed, Modulation};

use super::LAYER;
use super::chip::{Chip, ChipError};
use super::port::{Port, PortErrorKind};

/// The longest R-APDU: extended length.
const MOST: usize = 65_538;

/// A card that the firmware has activated.
pub struct FirmwareCard<P> {
    chip: Chip<P>,
    target: u8,
    /// UID of the card.
    uid: Vec<u8>,
    /// The ATS, from TL on.
    ats: Vec<u8>,
    timeout: Duration,
}

impl<P: Port> FirmwareCard<P> {
    /// Looks once for a type A card with ISO-DEP; gives the chip back if there is none.
    ///
    /// # Errors
    /// [`ChipError`], and the chip.
    pub fn find(mut chip: Chip<P>, timeout: Duration) -> Result<Self, (Chip<P>, Option<ChipError>)> {
        let found = match chip.list(Modulation::A106, &[]) {
            Ok(answer) => answer
                .targets(Modulation::A106, true)
                .map(|targets| {
                    targets.first().and_then(|listed| match listed {
                        Listed::A {
                            target,
                            uid,
                            ats: Some(ats),
                            ..
                        } => Some((*target, uid.to_vec(), ats.to_vec())),
                        _ => None,
                    })
                })
                .map_err(ChipError::from),
            Err(e) => Err(e),
        };
        match found {
            Ok(Some((target, uid, ats))) => Ok(Self {
                chip,
                target,
                uid,
                ats,
                timeout,
            }),
            Ok(None) => Err((chip, None)),
            Err(e) => Err((chip, Some(e))),
        }
    }

    /// UID of the card.
    #[must_use]
    pub fn uid(&self) -> &[u8] {
        &self.uid
    }

    /// Its ATS, from TL on.
    #[must_use]
    pub fn ats(&self) -> &[u8] {
        &self.ats
    }

    /// Gives the chip back; the card stays activated.
    pub fn into_chip(self) -> Chip<P> {
        self.chip
    }

    /// The chip.
    pub const fn chip_mut(&mut self) -> &mut Chip<P> {
        &mut self.chip
    }

    fn run(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        self.chip
            .converse(self.target, command, MOST, self.timeout, response)
            .map_err(link_error)?;
        if response.len() < 2 {
            let detail = format!("an answer of {} bytes, shorter than a status word", response.len());
            return Err(LinkError::new(LinkErrorKind::Malformed, LAYER, detail));
        }
        Ok(())
    }
}

fn link_error(e: ChipError) -> LinkError {
    let kind = match &e {
        ChipError::Failed { error, .. } => match error {
            // The firmware has tried what ISO 14443-4 asks for; what is still silent has gone.
            ErrorCode::Timeout | ErrorCode::Released | ErrorCode::CardGone | ErrorCode::CardExchanged | ErrorCode::Context => {
                LinkErrorKind::CardGone
            }
            _ => LinkErrorKind::Malformed,
        },
        ChipError::Port(port) => match port.kind {
            PortErrorKind::Silent => LinkErrorKind::Timeout,
            PortErrorKind::TooLong => LinkErrorKind::TooLong,
            PortErrorKind::Cancelled => LinkErrorKind::Cancelled,
            _ => LinkErrorKind::Reader,
        },
        ChipError::Endless(_) => LinkErrorKind::Malformed,
        _ => LinkErrorKind::Reader,
    };
    LinkError::new(kind, LAYER, e.to_string())
}

impl<P: Port> CardLink for FirmwareCard<P> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        if command.is_empty() {
            return Err(LinkError::new(
                LinkErrorKind::TooLong,
                LAYER,
                "a command of no bytes cannot be sent",
            ));
        }
        self.run(command, response).map_err(|e| {
            response.clear();
            e.during(command)
        })
    }

    fn limits(&self) -> Limits {
        Limits::EXTENDED
    }
}
