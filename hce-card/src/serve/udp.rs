//! A card at the end of a UDP socket: frames as nfcpy's simulation sends them.
//!
//! A datagram is text: technology and rate (`106A`, `212F`), a space, the frame in hexadecimal without checksum, parity and marks; short
//! frames are written as whole bytes. `RFOFF` switches the field off. The card binds the port, and answers whoever polls it. Where there
//! is no text that can be understood there is no answer, as in the air.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use tapdoor_link::field::FieldCard;
use tapdoor_link::stop::Stop;
use tapdoor_protocol::rf::frame::{BitRate, Frame, RxFrame, Technology};
use tapdoor_protocol::rf::time::Ticks;

use super::vpcd::{ServeError, ServeEvent};

/// A reader that was silent for so long has gone: the next one begins with a new field.
const GONE: Duration = Duration::from_secs(30);
/// Longer datagrams are of no use: no frame is longer than 4,096 bytes.
const MAX_DATAGRAM: usize = 9000;

/// A socket for a card.
#[derive(Debug)]
pub struct UdpCard {
    socket: UdpSocket,
    local: SocketAddr,
}

impl UdpCard {
    /// Binds `address`; port 0 is any free one.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub fn bind(address: &str) -> Result<Self, ServeError> {
        let bound = UdpSocket::bind(address).and_then(|socket| {
            let local = socket.local_addr()?;
            Ok(Self { socket, local })
        });
        bound.map_err(|e| ServeError::Listen(address.to_owned(), e))
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Answers frames until `stop`.
    ///
    /// # Errors
    /// [`ServeError::Listen`] if the socket fails; never because of what comes.
    pub fn serve(&self, card: &mut dyn FieldCard, stop: &Stop, observe: &mut dyn FnMut(ServeEvent<'_>)) -> Result<(), ServeError> {
        let listen = |e| ServeError::Listen(self.local.to_string(), e);
        // A datagram to itself ends a blocked receive; the time-out is for those that get lost.
        let waker = self.socket.try_clone().map_err(listen)?;
        let mut to = self.local;
        if to.ip().is_unspecified() {
            to.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let _wake = stop.on_stop(move || {
            let _ = waker.send_to(&[], to);
        });
        self.socket.set_read_timeout(Some(Duration::from_secs(1))).map_err(listen)?;
        let begun = Instant::now();
        let mut buffer = vec![0; MAX_DATAGRAM];
        let mut answer = RxFrame::new();
        let mut peer: Option<(SocketAddr, Instant)> = None;
        let mut out = String::new();
        while !stop.is_stopped() {
            let (length, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                // ECONNREFUSED: the reader of the last answer is gone.
                Err(e) if is_passing(&e) => {
                    if peer.is_some_and(|(_, heard)| heard.elapsed() >= GONE) {
                        peer = None;
                        card.field(false, now(begun));
                        observe(ServeEvent::Disconnected);
                    }
                    continue;
                }
                Err(e) => return Err(listen(e)),
            };
            let Some(message) = Message::parse(&buffer[..length.min(MAX_DATAGRAM)]) else {
                continue;
            };
            if peer.is_none_or(|(address, _)| address != from) {
                if peer.is_some() {
                    card.field(false, now(begun));
                }
                observe(ServeEvent::Connected(from));
            }
            peer = Some((from, Instant::now()));
            match message {
                Message::FieldOff => card.field(false, now(begun)),
                Message::Frame { technology, rate, data } => {
                    card.field(true, now(begun));
                    answer.clear();
                    if card.receive(Ok(frame(technology, rate, &data)), now(begun), &mut answer).is_some() {
                        write(&answer, &mut out);
                        if let Err(e) = self.socket.send_to(out.as_bytes(), from)
                            && !is_passing(&e)
                        {
                            observe(ServeEvent::PeerError(&e));
                        }
                    }
                }
            }
        }
        card.field(false, now(begun));
        Ok(())
    }
}

fn now(begun: Instant) -> Ticks {
    Ticks::from_duration(begun.elapsed())
}

fn is_passing(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted, TimedOut, WouldBlock};
    matches!(e.kind(), ConnectionRefused | ConnectionReset | Interrupted | TimedOut | WouldBlock)
}

#[derive(Debug, PartialEq, Eq)]
enum Message {
    FieldOff,
    Frame {
        technology: Technology,
        rate: BitRate,
        data: Vec<u8>,
    },
}

impl Message {
    /// Reads a datagram; `None` if it is not one of these. Never panics.
    fn parse(datagram: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(datagram).ok()?.trim_end();
        let (kind, hex) = text.split_once(' ').unwrap_or((text, ""));
        if kind == "RFOFF" {
            return Some(Self::FieldOff);
        }
        let (rate, technology) = kind.split_at_checked(3)?;
        let technology = match technology {
            "A" => Technology::A,
            "B" => Technology::B,
            "F" => Technology::F,
            _ => return None,
        };
        let rate = BitRate::ALL.into_iter().find(|r| r.kbps().to_string() == rate)?;
        let data = hex::decode(hex).ok().filter(|data| !data.is_empty())?;
        Some(Self::Frame { technology, rate, data })
    }
}

/// The frame as it would be on the air: short frames and anticollision frames have no checksum.
fn frame(technology: Technology, rate: BitRate, data: &[u8]) -> Frame<'_> {
    let frame = Frame::new(technology, data).at(rate);
    match data {
        [0x26 | 0x52] if technology == Technology::A => frame.ending_with(7),
        [0x93 | 0x95 | 0x97, 0x20..=0x67, ..] if technology == Technology::A => frame.bare(),
        _ => frame,
    }
}

fn write(answer: &RxFrame, out: &mut String) {
    use std::fmt::Write;
    out.clear();
    let _ = write!(out, "{}{} {}", answer.rate.kbps(), answer.technology, hex::encode(&answer.data));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams() {
        assert_eq!(Message::parse(b"RFOFF"), Some(Message::FieldOff));
        assert_eq!(Message::parse(b"RFOFF "), Some(Message::FieldOff));
        let wanted = Message::Frame {
            technology: Technology::F,
            rate: BitRate::Kbps424,
            data: vec![6, 0],
        };
        assert_eq!(Message::parse(b"424F 0600"), Some(wanted));
        let nonsense: [&[u8]; 10] = [
            b"",
            b"106A",
            b"106A ",
            b"106A 2",
            b"106A zz",
            b"107A 26",
            b"106C 26",
            b"\xff\xfe",
            b"1 26",
            "äöü 26".as_bytes(),
        ];
        for nonsense in nonsense {
            assert_eq!(Message::parse(nonsense), None);
        }
    }

    #[test]
    fn frames_as_in_the_air() {
        let of = |data: &'static [u8]| frame(Technology::A, BitRate::Kbps106, data);
        assert_eq!((of(&[0x26]).last_bits, of(&[0x26]).crc), (7, false));
        assert_eq!((of(&[0x93, 0x20]).last_bits, of(&[0x93, 0x20]).crc), (8, false));
        assert!(of(&[0x93, 0x70, 1, 2, 3, 4, 4]).crc);
        assert!(of(&[0xE0, 0x80]).crc);
        let mut out = String::new();
        let mut answer = RxFrame::new();
        answer.set(&of(&[4, 0]));
        write(&answer, &mut out);
        assert_eq!(out, "106A 0400");
    }
}
