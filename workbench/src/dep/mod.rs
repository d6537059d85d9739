//! NFC-DEP with a peer, in both roles, and type F cards: for trying our side of ISO/IEC 18092 against other people's.
//!
//! | module | what |
//! |---|---|
//! | [`initiator`] | [`Session`]: over UDP, through a PN532 as a radio, or by the chip's firmware |
//! | [`target`] | [`Echo`] over UDP, and the same by a PN532's firmware |
//! | [`place`] | where the peer is |

use std::io;

use tapdoor_hce_card::serve::vpcd::ServeError;
use tapdoor_link::field::{FieldError, FieldLink, converse};
use tapdoor_protocol::rf::felica::{Ask, Poll, SensfReq, SensfRes};
use tapdoor_protocol::rf::frame::{BitRate, RfError, RxFrame};
use tapdoor_protocol::rf::iso14443::type_a;
use tapdoor_protocol::rf::nfc_dep::initiator::NfcDepError;
use tapdoor_reader::pn532::ChipError;
use tapdoor_reader::source::SourceError;

pub mod initiator;
pub mod place;
pub mod target;

pub use self::initiator::Session;
pub use self::place::{Place, PlaceError};
pub use self::target::{Echo, Listener};

/// Longest units both ways: 254 bytes.
const LR: u8 = 3;
/// The longest message that is taken.
const MOST: usize = 65_536;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DepError {
    /// No such address.
    #[error("{0}: {1}; write HOST:PORT")]
    Address(String, io::Error),
    /// The reader cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The reader's chip.
    #[error(transparent)]
    Chip(#[from] ChipError),
    /// The link.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// Waiting for an initiator.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Nobody answers, or nobody who knows NFC-DEP.
    #[error("nobody at {0} answers as {1}; is the other side there, and listening?")]
    Nobody(String, &'static str),
    /// What that way cannot do.
    #[error("{0}")]
    Unsupported(&'static str),
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

/// A type F card.
///
/// # Errors
/// [`DepError`]: nobody answers.
pub fn poll_type_f(place: &Place, rate: BitRate, system: u16) -> Result<SensfRes, DepError> {
    poll(&mut place.field()?, rate, system, place)
}

fn poll<L: FieldLink>(field: &mut L, rate: BitRate, system: u16, place: &Place) -> Result<SensfRes, DepError> {
    let request = SensfReq {
        system,
        ask: Ask::SystemCode,
        slots: 0,
    };
    let found = converse(field, &mut Poll::new(request, rate), &mut RxFrame::new())?.map_err(DepError::Poll)?;
    found.ok_or_else(|| DepError::Nobody(place.to_string(), "a type F card"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use tapdoor_link::stop::Stop;
    use tapdoor_protocol::rf::felica::SYSTEM_ANY;
    use tapdoor_protocol::rf::iso14443::type_a::Uid;

    use super::*;

    const EACH: [(BitRate, BitRate); 3] = [
        (BitRate::Kbps106, BitRate::Kbps106),
        (BitRate::Kbps212, BitRate::Kbps212),
        (BitRate::Kbps424, BitRate::Kbps424),
    ];
    const SWITCHED: (BitRate, BitRate) = (BitRate::Kbps106, BitRate::Kbps424);

    fn echo() -> Echo {
        Echo::new(Uid::new(&[8, 1, 2, 3]).unwrap(), [1, 2, 3, 4, 5, 6], b"target")
    }

    /// Data of every kind of length, to a target that sends it back. Gives how many exchanges there were.
    fn sessions(place: &Place, rates: &[(BitRate, BitRate)]) -> u64 {
        let mut exchanged = 0;
        for &(at, rate) in rates {
            let mut session = Session::open(place, at, rate, [9; 10], b"initiator").unwrap();
            assert_eq!(session.general(), b"target");
            let mut received = Vec::new();
            for length in [1, 2, 250, 251, 252, 261, 262, 263, 1000, 2000] {
                let data: Vec<u8> = (0..length).map(|n: usize| n as u8).collect();
                session.exchange(&data, &mut received).unwrap();
                assert_eq!(received, data, "{place} {at} {rate} {length}");
                exchanged += 1;
            }
            session.release().unwrap();
        }
        exchanged
    }

    #[test]
    fn both_roles_at_every_rate_and_length() {
        let listener = Listener::open(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let place = Place::Udp(listener.local_addr().unwrap().to_string());
        let stop = Stop::new();
        let serving = stop.clone();
        let thread = std::thread::spawn(move || listener.serve(&mut echo(), &serving, &mut |_| ()).unwrap());
        let exchanged = sessions(&place, &[&EACH[..], &[SWITCHED]].concat());
        stop.stop();
        assert_eq!(thread.join().unwrap().0, exchanged);
    }

    #[cfg(unix)]
    #[test]
    fn two_chips_near_each_other() {
        use crate::simulate::{Chip, Near};

        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let pn532 = |name: &str, firmware| Place::Pn532 {
            path: path(name),
            baud: 115_200,
            firmware,
        };
        let stop = Stop::new();
        let chips = Chip::open(&path("a"), Some(&Near::Pn532(path("b"))), &stop).unwrap();
        let ended = Stop::new();
        // A test that fails must end its threads, too.
        let _all = (Ends(stop.clone()), Ends(ended.clone()));
        let serving = stop.clone();
        std::thread::spawn(move || chips.serve(&serving, &mut |_| ()).unwrap());
        // Nobody is a target yet.
        let nobody = Session::open(&pn532("a", true), BitRate::Kbps106, BitRate::Kbps106, [9; 10], b"");
        assert!(matches!(nobody, Err(DepError::Nobody(..))), "{:?}", nobody.err());
        let unsupported = Session::open(&pn532("a", true), SWITCHED.0, SWITCHED.1, [9; 10], b"");
        assert!(matches!(unsupported, Err(DepError::Unsupported(_))));

        let listener = Listener::open(&pn532("b", false)).unwrap();
        assert_eq!(listener.local_addr(), None);
        let serving = ended.clone();
        let target = std::thread::spawn(move || listener.serve(&mut echo(), &serving, &mut |_| ()).unwrap());
        let mut exchanged = sessions(&pn532("a", false), &[&EACH[..], &[SWITCHED]].concat());
        exchanged += sessions(&pn532("a", true), &EACH);
        ended.stop();
        assert_eq!(target.join().unwrap().0, exchanged);
    }

    struct Ends(Stop);

    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.stop();
        }
    }

    #[test]
    fn nobody_is_an_error() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let place = Place::Udp(silent.local_addr().unwrap().to_string());
        assert!(matches!(
            poll_type_f(&place, BitRate::Kbps212, SYSTEM_ANY),
            Err(DepError::Nobody(..))
        ));
        assert!(matches!(
            Session::open(&place, BitRate::Kbps106, BitRate::Kbps106, [0; 10], b""),
            Err(DepError::Nobody(..))
        ));
        let nowhere = "pn532:/nowhere".parse().unwrap();
        assert!(matches!(poll_type_f(&nowhere, BitRate::Kbps212, 0), Err(DepError::Source(_))));
        assert!(matches!(Listener::open(&nowhere), Err(DepError::Source(_))));
        assert!(matches!(
            Listener::open(&Place::Acr122uRaw(String::new())),
            Err(DepError::Unsupported(_))
        ));
    }
}
