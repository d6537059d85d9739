//! Places with a radio field: simulated readers that other people's programs take for real ones.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;

use tapdoor_hce_card::radio::{Appearance, Pace, RadioCard};
use tapdoor_hce_card::serve::vpcd::ServeEvent;
use tapdoor_link::stop::Stop;
use tapdoor_simulator::field::{Carried, Field, Hand};
use tapdoor_simulator::line::Pty;
use tapdoor_simulator::pn532::{Pn532, hsu};

use super::{Carry, Failed, ServeSpec, failed};
use crate::sim::SharedPhone;

/// A place that is open.
pub(super) enum Opened {
    Pn532(Pty, PathBuf, Carry),
}

impl Opened {
    pub(super) fn open(spec: &ServeSpec, stop: &Stop) -> Result<Self, Failed> {
        match spec {
            ServeSpec::Pn532(path, carry) => {
                let pty = Pty::open(path, stop).map_err(|e| failed(&spec.to_string(), &e, "choose a path where there is no file"))?;
                Ok(Self::Pn532(pty, path.clone(), *carry))
            }
            other => Err(failed(&other.to_string(), &"not a place with a field", "use another form")),
        }
    }

    pub(super) fn listen(&self) -> Option<SocketAddr> {
        None
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Pn532(_, path, _) => Some(path.clone()),
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Pn532(_, path, _) => path.display().to_string(),
        }
    }

    pub(super) fn serve(self, phone: SharedPhone, stop: &Stop, _observe: &mut dyn FnMut(ServeEvent<'_>)) -> Result<(), Failed> {
        let name = self.name();
        match self {
            Self::Pn532(mut pty, _, carry) => {
                let (field, hand) = field_with(phone);
                carried(carry, hand, stop);
                hsu::serve(&mut Pn532::new(field), &mut pty, stop).map_err(|e| failed(&name, &e, "start again"))
            }
        }
    }
}

/// A field with a phone, which is outside until the hand carries it in.
fn field_with(phone: SharedPhone) -> (Field, Hand) {
    let (card, hand) = Carried::new(RadioCard::new(phone, Appearance::default(), Pace::Live));
    let mut field = Field::new();
    field.place(Box::new(card));
    (field, hand)
}

/// Carries the phone into the field when its time comes, and out again.
fn carried(carry: Carry, hand: Hand, stop: &Stop) {
    let stop = stop.clone();
    thread::spawn(move || {
        if stop.sleep(carry.after) {
            return;
        }
        hand.hold(true);
        if let Some(stay) = carry.stay
            && !stop.sleep(stay)
        {
            hand.hold(false);
        }
    });
}
