//! The Aliro user device behind a recorded card: with the credentials of phone.toml its answers are made anew, so that the tap succeeds again.
//!
//! The device is the phone's own, on a chip in memory, and says of itself what the recorded one said. What was refused on the tape is refused
//! again; a proof that was wrong is as wrong now.

use tapdoor_chip::{Chip, ChipError, Kind, Personalisation, SqliteStore};
use tapdoor_hce_card::PhoneConfig;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::{Auth0Command, Auth0Response, DeviceConfig, Fci, ins};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::tlv;

use crate::recorded::RecordedTap;
use crate::verify::aliro::messages::{Message, transactions};

/// The device.
pub struct Device {
    right: Personalisation,
    wrong: Personalisation,
    /// The device, and one whose private keys are not its credentials'.
    chips: Option<(Chip, Chip)>,
}

fn only_aliro(phone: &Personalisation) -> Option<Personalisation> {
    let application = phone.applications.iter().find(|a| a.kind == Kind::Aliro)?;
    Some(Personalisation {
        applications: vec![application.clone()],
        ..Personalisation::default()
    })
}

impl Device {
    /// The device of this phone; `None` when it has none.
    #[must_use]
    pub fn new(phone: &PhoneConfig) -> Option<Self> {
        Some(Self {
            right: only_aliro(&phone.personalisation)?,
            wrong: only_aliro(&phone.wrong)?,
            chips: None,
        })
    }

    /// Makes the chips, which say of themselves what the tape's device says: versions, lengths, descriptor, vendor extension.
    pub(super) fn prepare(&mut self, taps: &[RecordedTap]) -> Result<(), ChipError> {
        if let Some((fci, vendor)) = taps.iter().find_map(said) {
            for application in self.right.applications.iter_mut().chain(&mut self.wrong.applications) {
                if let Some(mut config) = DeviceConfig::decode(&application.parameters) {
                    config.versions.clone_from(&fci.versions);
                    config.lengths = fci.lengths;
                    config.descriptor.clone_from(&fci.descriptor);
                    config.vendor.clone_from(&vendor);
                    application.parameters = config.encode();
                }
            }
        }
        let chip = |personalisation| Chip::personalise(Box::new(SqliteStore::in_memory()?), personalisation);
        self.chips = Some((chip(&self.right)?, chip(&self.wrong)?));
        Ok(())
    }

    /// The device's answer to a live command; `wrong`: its proof is to be wrong.
    pub(super) fn answer(&mut self, wrong: bool, command: &[u8], response: &mut Vec<u8>) {
        let Some((right, bent)) = &mut self.chips else { return };
        let chip = if wrong { bent } else { right };
        chip.process(command, response);
    }
}

/// FCI and vendor extension of a tap's device.
fn said(tap: &RecordedTap) -> Option<(Fci, Option<Vec<u8>>)> {
    let exchange = tap.exchanges.iter().find(|e| is_select(&e.command))?;
    let (data, sw) = exchange.answer.as_ref()?.as_ref().ok()?.split_last_chunk::<2>()?;
    let fci = Fci::parse(data).ok().filter(|_| *sw == [0x90, 0x00])?;
    let messages = transactions(&tap.exchanges).into_iter().flat_map(|t| t.messages);
    let vendor = messages.filter(|m| m.ins == ins::AUTH0).find_map(|m| vendor(&m));
    Some((fci, vendor))
}

fn vendor(auth0: &Message) -> Option<Vec<u8>> {
    let fast = Auth0Command::parse(&auth0.data).ok()?.is_fast();
    let answer = Auth0Response::parse(auth0.done()?, fast).ok()?;
    tlv::find(&answer.vendor, 0xB2).map(<[u8]>::to_vec)
}

/// Whether this selects the expedited phase.
pub(super) fn is_select(command: &[u8]) -> bool {
    Command::parse(command).is_ok_and(|c| (c.cla, c.ins, c.p1) == (0x00, 0xA4, 0x04) && c.data == Aid::ALIRO_EXPEDITED.as_bytes())
}

/// Whether the device's proof in this tap was wrong, as far as the lock said: it answered AUTH1, and was refused for its key.
pub(super) fn was_wrong(tap: &RecordedTap) -> bool {
    let refused = tap.verdict.as_ref().is_some_and(|v| v.reason.as_deref() == Some("wrong-key"));
    let mut messages = transactions(&tap.exchanges).into_iter().flat_map(|t| t.messages);
    refused && messages.any(|m| m.ins == ins::AUTH1 && m.done().is_some())
}
