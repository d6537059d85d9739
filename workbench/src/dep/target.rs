//! A target that sends back what it is sent.

use std::time::Duration;

use tapdoor_hce_card::serve::udp::UdpCard;
use tapdoor_hce_card::serve::vpcd::ServeEvent;
use tapdoor_link::field::FieldCard;
use tapdoor_link::stop::Stop;
use tapdoor_protocol::rf::felica::{self, NFC_DEP_PREFIX, SYSTEM_ANY, SensfRes};
use tapdoor_protocol::rf::frame::{Received, RxFrame};
use tapdoor_protocol::rf::iso14443::type_a::{Atqa, Sak, Uid, picc};
use tapdoor_protocol::rf::nfc_dep::pdu::Atr;
use tapdoor_protocol::rf::nfc_dep::target::{Heard, Target};
use tapdoor_protocol::rf::time::{self, Ticks};
use tapdoor_reader::pn532::dep::Said;
use tapdoor_reader::pn532::{AnyPort, Chip, DepTarget};

use super::{DepError, LR, MOST, Place};

/// A target that sends back what it is sent, found at 106, 212 and 424 kbit/s.
pub struct Echo {
    card: picc::Picc,
    felica: felica::Card,
    target: Target,
    id: [u8; 6],
    general: Vec<u8>,
    /// How many bytes came with each exchange, for whoever wants to know.
    exchanges: u64,
    bytes: u64,
}

impl Echo {
    /// A target with these general bytes. `uid` is its type A identifier, which should begin with 08 and be random, as `id`.
    #[must_use]
    pub fn new(uid: Uid, id: [u8; 6], general: &[u8]) -> Self {
        let [a, b, c, ..] = id;
        let mut nfcid2 = [0; 8];
        nfcid2[..2].copy_from_slice(&NFC_DEP_PREFIX);
        nfcid2[2..].copy_from_slice(&id);
        let response = SensfRes {
            id: nfcid2,
            parameters: [0xFF; 8],
            data: None,
        };
        let mut nfcid3 = [0; 10];
        nfcid3[..8].copy_from_slice(&nfcid2);
        Self {
            card: picc::Picc::new(uid, Atqa([0x01, 0x01]), Sak(0x40)),
            felica: felica::Card::new(response, SYSTEM_ANY, u32::from_le_bytes([a, b, c, 1])),
            target: Target::new(Atr {
                nfcid3,
                did: 0,
                bs: 0,
                br: 0,
                to: Some(8),
                lr: LR,
                general: general.to_vec(),
            }),
            id,
            general: general.to_vec(),
            exchanges: 0,
            bytes: 0,
        }
    }
}

impl FieldCard for Echo {
    fn field(&mut self, on: bool, _: Ticks) {
        self.card.field(on);
        if !on {
            self.target.reset();
        }
    }

    fn receive(&mut self, frame: Received<'_>, now: Ticks, answer: &mut RxFrame) -> Option<Ticks> {
        if !self.target.is_attached() {
            if let Some(delay) = self.felica.receive(frame, answer) {
                return Some(delay);
            }
            if self.card.receive(frame, answer) == picc::Heard::Answer {
                return Some(time::FDT_A_AFTER_0);
            }
        }
        let _ = now;
        match self.target.receive(frame, answer) {
            Heard::Data => {
                let data = self.target.data().to_vec();
                self.exchanges += 1;
                self.bytes += data.len() as u64;
                self.target.respond(&data, answer);
                Some(time::FDT_A_AFTER_0)
            }
            Heard::Silent => None,
            Heard::Deselected | Heard::Released => {
                self.card.halt();
                self.target.reset();
                Some(time::FDT_A_AFTER_0)
            }
            _ => Some(time::FDT_A_AFTER_0),
        }
    }
}

/// How long a chip is a target until it is asked whether to go on.
const TURN: Duration = Duration::from_millis(500);

/// Where an echo listens.
pub enum Listener {
    /// For frames over UDP.
    Udp(UdpCard),
    /// By a PN532 as a target.
    Chip(Box<Chip<AnyPort>>),
}

impl Listener {
    /// Opens the place; of UDP, port 0 is any free one.
    ///
    /// # Errors
    /// The port is taken; the chip does not answer.
    pub fn open(place: &Place) -> Result<Self, DepError> {
        if matches!(place, Place::Acr122uRaw(_)) {
            let detail =
                "inside an ACR122U a chip that waits for an initiator cannot be told to stop; be a target at pn532:PATH or HOST:PORT";
            return Err(DepError::Unsupported(detail));
        }
        Ok(match place.chip()? {
            Some(chip) => Self::Chip(Box::new(chip)),
            None => Self::Udp(UdpCard::bind(&place.to_string())?),
        })
    }

    /// Where it listens, if that is an address.
    #[must_use]
    pub fn local_addr(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Udp(socket) => Some(socket.local_addr()),
            Self::Chip(_) => None,
        }
    }

    /// Echoes until `stop`; says how many exchanges and bytes there were.
    ///
    /// # Errors
    /// The socket, the line or the chip fails.
    pub fn serve(self, echo: &mut Echo, stop: &Stop, observe: &mut dyn FnMut(ServeEvent<'_>)) -> Result<(u64, u64), DepError> {
        match self {
            Self::Udp(socket) => socket.serve(echo, stop, observe)?,
            Self::Chip(chip) => by_firmware(*chip, echo, stop)?,
        }
        Ok((echo.exchanges, echo.bytes))
    }
}

/// The same by a chip that speaks NFC-DEP itself.
fn by_firmware(chip: Chip<AnyPort>, echo: &mut Echo, stop: &Stop) -> Result<(), DepError> {
    let mut target = DepTarget::new(chip, echo.id, &echo.general)?;
    let mut data = Vec::new();
    while !stop.is_stopped() {
        if target.wait(TURN)?.is_none() {
            continue;
        }
        while target.receive(MOST, &mut data)? == Said::Data {
            echo.exchanges += 1;
            echo.bytes += data.len() as u64;
            if target.send(&data)? == Said::Over {
                break;
            }
        }
    }
    Ok(())
}
