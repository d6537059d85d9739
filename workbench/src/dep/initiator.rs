//! [`Session`]: our initiator at somebody's target.

use std::time::{Duration, Instant};

use tapdoor_link::field::{FieldLink, converse};
use tapdoor_protocol::rf::felica::SYSTEM_ANY;
use tapdoor_protocol::rf::frame::{BitRate, RxFrame};
use tapdoor_protocol::rf::iso14443::type_a;
use tapdoor_protocol::rf::nfc_dep::initiator::{Attach, Initiator, Wishes};
use tapdoor_reader::pn532::{AnyPort, DepInitiator};

use super::{DepError, LR, MOST, Place, poll};

/// How long a target is looked for.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Our initiator in a session.
pub struct Session {
    way: Way,
    general: Vec<u8>,
}

enum Way {
    /// Our own NFC-DEP over a radio.
    Air(Box<Air>),
    /// The chip's firmware.
    Firmware(DepInitiator<AnyPort>),
}

struct Air {
    field: Box<dyn FieldLink + Send>,
    initiator: Initiator,
    rx: RxFrame,
}

impl Session {
    /// Finds the target at `place` at rate `at`, sends ATR_REQ with `general`, and goes to `rate` by PSL if that is another one. A target
    /// that was just left may need a moment to listen again, and is given [`PATIENCE`].
    ///
    /// # Errors
    /// [`DepError`].
    pub fn open(place: &Place, at: BitRate, rate: BitRate, nfcid3: [u8; 10], general: &[u8]) -> Result<Self, DepError> {
        let end = Instant::now() + PATIENCE;
        loop {
            match Self::open_once(place, at, rate, nfcid3, general) {
                Err(DepError::Nobody(..)) if Instant::now() < end => {}
                outcome => return outcome,
            }
        }
    }

    fn open_once(place: &Place, at: BitRate, rate: BitRate, nfcid3: [u8; 10], general: &[u8]) -> Result<Self, DepError> {
        if matches!(place, Place::Pn532 { firmware: true, .. }) {
            return Self::by_firmware(place, at, rate, nfcid3, general);
        }
        let mut field = place.field()?;
        let mut rx = RxFrame::new();
        let mut wishes = Wishes {
            nfcid3,
            did: 0,
            lr: LR,
            rate,
            general: general.to_vec(),
        };
        if at == BitRate::Kbps106 {
            // REQA: simulations know no other request.
            let mut select = type_a::pcd::Select::new(type_a::pcd::Request::Reqa);
            let card = converse(&mut field, &mut select, &mut rx)??;
            if !card.is_some_and(|card| card.sak.has_nfc_dep()) {
                return Err(DepError::Nobody(place.to_string(), "a target of NFC-DEP at 106 kbit/s"));
            }
        } else {
            let card = poll(&mut field, at, SYSTEM_ANY, place)?;
            if !card.has_nfc_dep() {
                return Err(DepError::Nobody(
                    place.to_string(),
                    "a target of NFC-DEP (its NFCID2 does not begin with 01FE)",
                ));
            }
            wishes.nfcid3.iter_mut().zip(card.id).for_each(|(to, from)| *to = from);
        }
        let (target, initiator) = converse(&mut field, &mut Attach::new(wishes, at), &mut rx)??;
        Ok(Self {
            way: Way::Air(Box::new(Air { field, initiator, rx })),
            general: target.general,
        })
    }

    fn by_firmware(place: &Place, at: BitRate, rate: BitRate, nfcid3: [u8; 10], general: &[u8]) -> Result<Self, DepError> {
        if at != rate {
            let detail = "the chip's firmware changes no rates of NFC-DEP by itself; leave out --find-at, or `,firmware`";
            return Err(DepError::Unsupported(detail));
        }
        let nobody = || DepError::Nobody(place.to_string(), "a target of NFC-DEP");
        let chip = place.chip()?.ok_or_else(nobody)?;
        let initiator = DepInitiator::find(chip, rate, nfcid3, general)?.ok_or_else(nobody)?;
        Ok(Self {
            general: initiator.general().to_vec(),
            way: Way::Firmware(initiator),
        })
    }

    /// The target's general bytes.
    #[must_use]
    pub fn general(&self) -> &[u8] {
        &self.general
    }

    /// Sends `data`; what comes back replaces the content of `received`.
    ///
    /// # Errors
    /// [`DepError`]: the session is over.
    pub fn exchange(&mut self, data: &[u8], received: &mut Vec<u8>) -> Result<(), DepError> {
        match &mut self.way {
            Way::Air(air) => converse(&mut air.field, &mut air.initiator.exchange(data, received), &mut air.rx)??,
            Way::Firmware(initiator) => initiator.exchange(data, MOST, received)?,
        }
        Ok(())
    }

    /// RLS.
    ///
    /// # Errors
    /// [`DepError`]: the target has not confirmed it.
    pub fn release(self) -> Result<(), DepError> {
        match self.way {
            Way::Air(mut air) => {
                converse(&mut air.field, &mut air.initiator.release(), &mut air.rx)??;
                air.field.set_field(false)?;
            }
            Way::Firmware(initiator) => initiator.release()?.field(false)?,
        }
        Ok(())
    }
}
