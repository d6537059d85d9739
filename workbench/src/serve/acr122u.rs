//! A simulated ACR122U as a card behind vpcd: what a PC/SC program sends reaches the reader unchanged.

use std::time::{Duration, Instant};

use tapdoor_hce_card::serve::Card;
use tapdoor_link::vpcd::CONTACTLESS_ATR;
use tapdoor_simulator::Field;
use tapdoor_simulator::acr122u::{Acr122u, Reply};

/// How long what the field showed is believed.
const FRESH: Duration = Duration::from_millis(250);
/// Status word for a wrong length: what a program gets where a driver of this reader would refuse to send.
const WRONG_LENGTH: [u8; 2] = [0x67, 0x00];

/// The reader and its phone, in the place of a card. It leaves when the phone does.
pub(super) struct Acr122uCard {
    reader: Acr122u<Field>,
    atr: Vec<u8>,
    looked: Instant,
}

impl Acr122uCard {
    pub(super) fn new(reader: Acr122u<Field>) -> Self {
        Self {
            reader,
            atr: CONTACTLESS_ATR.to_vec(),
            looked: Instant::now(),
        }
    }
}

impl Card for Acr122uCard {
    fn power_on(&mut self) {
        if let Some(atr) = self.reader.power_on() {
            self.atr = atr;
        }
        self.looked = Instant::now();
    }

    fn power_off(&mut self) {
        self.reader.power_off();
    }

    fn reset(&mut self) {
        self.power_on();
    }

    fn atr(&self) -> &[u8] {
        self.reader.atr().unwrap_or(&self.atr)
    }

    fn process(&mut self, command: &[u8], response: &mut Vec<u8>) {
        match self.reader.transmit(command) {
            Reply::Answer(answer) => response.extend_from_slice(&answer),
            Reply::TooLong => response.extend_from_slice(&WRONG_LENGTH),
            // Empty: it left.
            Reply::NoCard | Reply::Mute => {}
        }
    }

    fn is_leaving(&mut self) -> bool {
        if self.looked.elapsed() < FRESH {
            return false;
        }
        self.looked = Instant::now();
        !self.reader.present()
    }
}
