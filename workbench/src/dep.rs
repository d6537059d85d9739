//! NFC-DEP with a peer over UDP (nfcpy's format), in both roles, and type F cards there: for trying our side of ISO/IEC 18092 against
//! other people's.

use std::io;
use std::time::Instant;

use tapdoor_hce_card::serve::udp::UdpCard;
use tapdoor_hce_card::serve::vpcd::{ServeError, ServeEvent};
use tapdoor_link::field::{FieldCard, FieldError, FieldLink, converse};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::rf::felica::{self, Ask, NFC_DEP_PREFIX, Poll, SYSTEM_ANY, SensfReq, SensfRes};
use tapdoor_protocol::rf::frame::{BitRate, Received, RfError, RxFrame};
use tapdoor_protocol::rf::iso14443::type_a::{self, Atqa, Sak, Uid, picc};
use tapdoor_protocol::rf::nfc_dep::initiator::{Attach, Initiator, NfcDepError, Wishes};
use tapdoor_protocol::rf::nfc_dep::pdu::Atr;
use tapdoor_protocol::rf::nfc_dep::target::{Heard, Target};
use tapdoor_protocol::rf::time::{self, Ticks};
use tapdoor_reader::udp::UdpField;

/// Longest units both ways: 254 bytes.
const LR: u8 = 3;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DepError {
    /// No such address.
    #[error("{0}: {1}; write HOST:PORT")]
    Address(String, io::Error),
    /// The link.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// Nobody answers, or nobody who knows NFC-DEP.
    #[error("nobody at {0} answers as {1}; is the other program listening?")]
    Nobody(String, &'static str),
    /// Selection at 106 kbit/s.
    #[error(transparent)]
    Select(#[from] type_a::pcd::SelectError),
    /// Polling at 212 or 424 kbit/s.
    #[error("the answer to polling cannot be read: {0}")]
    Poll(RfError),
    /// The protocol.
    #[error(transparent)]
    Dep(#[from] NfcDepError),
}

/// A type F card at an address.
///
/// # Errors
/// [`DepError`]: nobody answers.
pub fn poll_type_f(address: &str, rate: BitRate, system: u16) -> Result<SensfRes, DepError> {
    let mut field = open(address)?;
    poll(&mut field, rate, system, address)
}

fn open(address: &str) -> Result<UdpField, DepError> {
    let mut field = UdpField::connect(address, Instant::now()).map_err(|e| DepError::Address(address.to_owned(), e))?;
    field.set_field(true)?;
    Ok(field)
}

fn poll(field: &mut UdpField, rate: BitRate, system: u16, address: &str) -> Result<SensfRes, DepError> {
    let request = SensfReq {
        system,
        ask: Ask::SystemCode,
        slots: 0,
    };
    let found = converse(field, &mut Poll::new(request, rate), &mut RxFrame::new())?.map_err(DepError::Poll)?;
    found.ok_or_else(|| DepError::Nobody(address.to_owned(), "a type F card"))
}

/// Our initiator in a session.
pub struct Session {
    field: UdpField,
    initiator: Initiator,
    rx: RxFrame,
    /// The target's attributes.
    pub target: Atr,
}

impl Session {
    /// Finds the target at `address` at rate `at`, sends ATR_REQ with `general`, and goes to `rate` by PSL if that is another one.
    ///
    /// # Errors
    /// [`DepError`].
    pub fn open(address: &str, at: BitRate, rate: BitRate, nfcid3: [u8; 10], general: &[u8]) -> Result<Self, DepError> {
        let mut field = open(address)?;
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
                return Err(DepError::Nobody(address.to_owned(), "a target of NFC-DEP at 106 kbit/s"));
            }
        } else {
            let card = poll(&mut field, at, SYSTEM_ANY, address)?;
            if !card.has_nfc_dep() {
                return Err(DepError::Nobody(
                    address.to_owned(),
                    "a target of NFC-DEP (its NFCID2 does not begin with 01FE)",
                ));
            }
            wishes.nfcid3.iter_mut().zip(card.id).for_each(|(to, from)| *to = from);
        }
        let (target, initiator) = converse(&mut field, &mut Attach::new(wishes, at), &mut rx)??;
        Ok(Self {
            field,
            initiator,
            rx,
            target,
        })
    }

    /// Sends `data`; what comes back replaces the content of `received`.
    ///
    /// # Errors
    /// [`DepError`]: the session is over.
    pub fn exchange(&mut self, data: &[u8], received: &mut Vec<u8>) -> Result<(), DepError> {
        converse(&mut self.field, &mut self.initiator.exchange(data, received), &mut self.rx)??;
        Ok(())
    }

    /// RLS.
    ///
    /// # Errors
    /// [`DepError`]: the target has not confirmed it.
    pub fn release(mut self) -> Result<(), DepError> {
        converse(&mut self.field, &mut self.initiator.release(), &mut self.rx)??;
        Ok(())
    }
}

/// A target that sends back what it is sent, found at 106, 212 and 424 kbit/s.
pub struct Echo {
    card: picc::Picc,
    felica: felica::Card,
    target: Target,
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

/// Where an echo listens.
pub struct Listener(UdpCard);

impl Listener {
    /// Binds `address`; port 0 is any free one.
    ///
    /// # Errors
    /// The port is taken.
    pub fn bind(address: &str) -> Result<Self, ServeError> {
        UdpCard::bind(address).map(Self)
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.0.local_addr()
    }

    /// Echoes until `stop`; says how many exchanges and bytes there were.
    ///
    /// # Errors
    /// The socket fails.
    pub fn serve(&self, echo: &mut Echo, stop: &Stop, observe: &mut dyn FnMut(ServeEvent<'_>)) -> Result<(u64, u64), ServeError> {
        self.0.serve(echo, stop, observe)?;
        Ok((echo.exchanges, echo.bytes))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn both_roles_at_every_rate_and_length() {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().to_string();
        let stop = Stop::new();
        let serving = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut echo = Echo::new(Uid::new(&[8, 1, 2, 3]).unwrap(), [1, 2, 3, 4, 5, 6], b"target");
            listener.serve(&mut echo, &serving, &mut |_| ()).unwrap()
        });
        let mut exchanged = 0;
        for (at, rate) in [
            (BitRate::Kbps106, BitRate::Kbps106),
            (BitRate::Kbps212, BitRate::Kbps212),
            (BitRate::Kbps424, BitRate::Kbps424),
            (BitRate::Kbps106, BitRate::Kbps424),
        ] {
            let mut session = Session::open(&address, at, rate, [9; 10], b"initiator").unwrap();
            assert_eq!(session.target.general, b"target");
            let mut received = Vec::new();
            for length in [1, 2, 250, 251, 252, 1000, 2000] {
                let data: Vec<u8> = (0..length).map(|n: usize| n as u8).collect();
                session.exchange(&data, &mut received).unwrap();
                assert_eq!(received, data, "{at} {rate} {length}");
                exchanged += 1;
            }
            session.release().unwrap();
        }
        stop.stop();
        assert_eq!(thread.join().unwrap().0, exchanged);
    }

    #[test]
    fn nobody_is_an_error() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap().to_string();
        assert!(matches!(
            poll_type_f(&address, BitRate::Kbps212, SYSTEM_ANY),
            Err(DepError::Nobody(..))
        ));
        assert!(matches!(
            Session::open(&address, BitRate::Kbps106, BitRate::Kbps106, [0; 10], b""),
            Err(DepError::Nobody(..))
        ));
        assert!(matches!(poll_type_f("nowhere", BitRate::Kbps212, 0), Err(DepError::Address(..))));
    }
}
