//! Frames over UDP in the format of nfcpy (`nfc.clf.udp`), as the polling side.
//!
//! A datagram is ASCII: technology and rate (`106A`, `212F`, ...), a space, and the frame in hexadecimal without checksum; `RFOFF` says
//! that the field is off. A short frame is a whole byte. Frames that end or begin within another byte cannot be expressed, so the
//! anticollision of several cards cannot either: one card listens at an address.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::{ToSocketAddrs, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use tapdoor_link::field::{Abilities, FieldError, FieldErrorKind, FieldLink};
use tapdoor_protocol::rf::frame::{BitRate, Expect, Frame, RfError, RxFrame, Technology};
use tapdoor_protocol::rf::time::Ticks;

const LAYER: &str = "udp";
/// What the way there and back adds to a time in the air: two processes on busy machines.
const MARGIN: Duration = Duration::from_millis(150);
/// nfcpy takes frames of so many bytes, and gives as many.
const LONGEST: usize = 290;
/// The longest datagram that is looked at.
const DATAGRAM: usize = 1024;

/// Somebody who listens at an address, as a [`FieldLink`].
#[derive(Debug)]
pub struct UdpField {
    socket: UdpSocket,
    epoch: Instant,
    on: bool,
    /// Something was answered since the field was switched on.
    heard: bool,
    /// A late answer may be on its way.
    late: bool,
    timeout: Option<Duration>,
    out: String,
    input: Box<[u8]>,
}

impl UdpField {
    /// Frames to `address` (HOST:PORT). Whether somebody listens there turns out when it is polled.
    ///
    /// # Errors
    /// No such address.
    pub fn connect(address: &str, epoch: Instant) -> io::Result<Self> {
        let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for target in address.to_socket_addrs()? {
            let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            // Connected: only what comes from there is heard.
            match UdpSocket::bind(any).and_then(|socket| socket.connect(target).map(|()| socket)) {
                Ok(socket) => {
                    return Ok(Self {
                        socket,
                        epoch,
                        on: false,
                        heard: false,
                        late: false,
                        timeout: None,
                        out: String::with_capacity(2 * LONGEST + 8),
                        input: vec![0; DATAGRAM].into_boxed_slice(),
                    });
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn now(&self) -> Ticks {
        Ticks::from_duration(self.epoch.elapsed())
    }

    fn write(&mut self, tx: &Frame<'_>) {
        self.out.clear();
        let _ = write!(self.out, "{}{} ", tx.rate.kbps(), tx.technology);
        for byte in tx.data {
            let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 0x0F)]);
            self.out.extend([digit(byte >> 4), digit(*byte)]);
        }
    }

    /// Throws away what has come in.
    fn discard(&mut self) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        for _ in 0..64 {
            if self.socket.recv(&mut self.input).is_err() {
                break;
            }
        }
        self.late = false;
        self.socket.set_nonblocking(false)
    }

    /// Waits for a frame like `expect`; `None` at the end of the time.
    fn receive(&mut self, technology: Technology, expect: &Expect, wait: Duration, rx: &mut RxFrame) -> io::Result<bool> {
        let end = Instant::now() + wait;
        let mut left = wait;
        loop {
            if self.timeout != Some(left) {
                self.socket.set_read_timeout(Some(left))?;
                self.timeout = Some(left);
            }
            match self.socket.recv(&mut self.input) {
                Ok(count) => {
                    let datagram = self.input.get(..count).unwrap_or_default();
                    if parse(datagram, technology, expect.rate, &mut rx.data) {
                        return Ok(true);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(false),
                Err(e) => return Err(e),
            }
            left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
        }
    }
}

/// Reads a datagram; says whether it is a frame of this technology and rate, which replaces the content of `data`. Never panics.
fn parse(datagram: &[u8], technology: Technology, rate: BitRate, data: &mut Vec<u8>) -> bool {
    data.clear();
    let mut words = datagram.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (Some(kind), Some(digits), None) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let Some((letter, number)) = kind.split_last() else { return false };
    let of = match technology {
        Technology::A => b'A',
        Technology::B => b'B',
        Technology::F => b'F',
    };
    if *letter != of || std::str::from_utf8(number).ok().and_then(|n| n.parse().ok()) != Some(rate.kbps()) {
        return false;
    }
    if digits.len() > 2 * LONGEST {
        return false;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|n| n as u8);
    for pair in digits.chunks(2) {
        let &[high, low] = pair else { return false };
        let (Some(high), Some(low)) = (nibble(high), nibble(low)) else {
            return false;
        };
        data.push(high << 4 | low);
    }
    true
}

fn failed(e: &io::Error) -> FieldError {
    FieldError::new(FieldErrorKind::Reader, LAYER, e.to_string())
}

impl FieldLink for UdpField {
    fn exchange(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame) -> Result<(), FieldError> {
        rx.clear();
        if !self.on {
            return Err(FieldError::new(FieldErrorKind::NoField, LAYER, "the field is off").during(tx));
        }
        let short = tx.technology == Technology::A && tx.data.len() == 1 && tx.last_bits == 7;
        if tx.data.len() > LONGEST || tx.rate > BitRate::Kbps424 || expect.rate > BitRate::Kbps424 || !(tx.is_whole() || short) {
            let detail = format!("a frame of {} bits at {}, which a datagram cannot express", tx.bits(), tx.rate);
            return Err(FieldError::new(FieldErrorKind::Unsupported, LAYER, detail).during(tx));
        }
        if self.late {
            self.discard().map_err(|e| failed(&e))?;
        }
        self.write(tx);
        rx.technology = tx.technology;
        rx.rate = expect.rate;
        rx.sent_at = self.now();
        // Nobody listens yet, or any more: like an empty field, except that nothing need be waited for.
        let nobody = |e: &io::Error| e.kind() == ErrorKind::ConnectionRefused;
        match self.socket.send(self.out.as_bytes()) {
            Err(e) if nobody(&e) => {
                let _ = self.socket.send(self.out.as_bytes());
            }
            Err(e) => return Err(failed(&e).during(tx)),
            Ok(_) => {}
        }
        match self.receive(tx.technology, expect, expect.timeout.as_duration() + MARGIN, rx) {
            Ok(true) => {
                rx.crc = expect.crc;
                rx.at = self.now();
                self.heard = true;
                Ok(())
            }
            Ok(false) => {
                self.late = true;
                Err(FieldError::rf(RfError::Timeout, LAYER).during(tx))
            }
            Err(e) if nobody(&e) => {
                thread::sleep(Duration::from_millis(20));
                Err(FieldError::rf(RfError::Timeout, LAYER).during(tx))
            }
            Err(e) => Err(failed(&e).during(tx)),
        }
    }

    fn send(&mut self, tx: &Frame<'_>) -> Result<(), FieldError> {
        self.write(tx);
        match self.socket.send(self.out.as_bytes()) {
            Err(e) if e.kind() != ErrorKind::ConnectionRefused => Err(failed(&e).during(tx)),
            _ => Ok(()),
        }
    }

    fn set_field(&mut self, on: bool) -> Result<(), FieldError> {
        // A listener that was never reached, or never answered, has nothing to forget.
        if self.on && !on && std::mem::take(&mut self.heard) {
            let _ = self.socket.send(b"RFOFF");
        }
        self.on = on;
        Ok(())
    }

    fn pause(&mut self, time: Ticks) {
        // Guard times are for analogue circuits; an answer in time is all that counts here.
        let _ = time;
    }

    fn now(&self) -> Ticks {
        Self::now(self)
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            send: LONGEST,
            receive: LONGEST,
            rate: BitRate::Kbps424,
            technologies: [true; 3],
            simulated: false,
        }
    }
}

impl Drop for UdpField {
    fn drop(&mut self) {
        let _ = self.set_field(false);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pair() -> (UdpField, UdpSocket) {
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut field = UdpField::connect(&listener.local_addr().unwrap().to_string(), Instant::now()).unwrap();
        field.set_field(true).unwrap();
        (field, listener)
    }

    /// Answers each datagram by the next of these.
    fn play(listener: UdpSocket, answers: &'static [&'static [&'static str]]) -> thread::JoinHandle<Vec<String>> {
        thread::spawn(move || {
            let (mut seen, mut buffer) = (Vec::new(), [0; 1024]);
            for answer in answers {
                let (count, from) = listener.recv_from(&mut buffer).unwrap();
                seen.push(String::from_utf8(buffer[..count].to_vec()).unwrap());
                for datagram in *answer {
                    listener.send_to(datagram.as_bytes(), from).unwrap();
                }
            }
            seen
        })
    }

    #[test]
    fn frames_as_nfcpy_writes_them() {
        let (mut field, listener) = pair();
        let card = play(
            listener,
            &[
                &["106A 0400"],
                &["212F 00", "rubbish", "106A 0", "106A zz", "106A 20", "106A 99"],
                &["212F 1201"],
            ],
        );
        let mut rx = RxFrame::new();
        let frame = Frame::short(&[0x26]);
        field
            .exchange(&frame, &Expect::like(&frame, Ticks::from_millis(2000)), &mut rx)
            .unwrap();
        assert_eq!(rx.data, [0x04, 0x00]);
        let frame = Frame::new(Technology::A, &[0x93, 0x70, 1, 2, 3, 4, 4]);
        field
            .exchange(&frame, &Expect::like(&frame, Ticks::from_millis(2000)), &mut rx)
            .unwrap();
        assert_eq!((rx.data.as_slice(), rx.crc), (&[0x20][..], true), "others are passed over");
        let frame = Frame::new(Technology::F, &[6, 0, 0xFF, 0xFF, 0, 0]).at(BitRate::Kbps212);
        field
            .exchange(&frame, &Expect::like(&frame, Ticks::from_millis(2000)), &mut rx)
            .unwrap();
        assert_eq!(rx.data, [0x12, 0x01]);
        assert_eq!(card.join().unwrap(), ["106A 26", "106A 93700102030404", "212F 0600ffff0000"]);
    }

    #[test]
    fn datagrams_of_every_kind_from_anybody_harm_nothing() {
        let (mut field, listener) = pair();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let card = thread::spawn(move || {
            let mut buffer = [0; 1024];
            for turn in 0..8 {
                let (_, from) = listener.recv_from(&mut buffer).unwrap();
                // Nobody else's answer counts, however good.
                stranger.send_to(b"106A 4400", from).unwrap();
                for first in (turn * 32..turn * 32 + 32).map(|n: usize| n as u8) {
                    listener.send_to(&[first], from).unwrap();
                    listener.send_to(&[&[first; 3][..], b"A 4400"].concat(), from).unwrap();
                }
                let longest = "106A ".to_owned() + &"44".repeat(32_751);
                let spaced = "106A ".to_owned() + &" ".repeat(3) + &"44".repeat(LONGEST + 1);
                for text in [
                    &longest,
                    &spaced,
                    "",
                    "106A",
                    "106B 4400",
                    "212A 4400",
                    "106A 440",
                    "RFOFF",
                    "106A 44 00",
                ] {
                    listener.send_to(text.as_bytes(), from).unwrap();
                }
                listener.send_to(b"106A 0400", from).unwrap();
            }
        });
        let (frame, mut rx) = (Frame::short(&[0x26]), RxFrame::new());
        for _ in 0..8 {
            field
                .exchange(&frame, &Expect::like(&frame, Ticks::from_millis(5000)), &mut rx)
                .unwrap();
            assert_eq!(rx.data, [0x04, 0x00]);
        }
        card.join().unwrap();
    }

    #[test]
    fn silence_and_nobody_are_time_outs() {
        let (mut field, listener) = pair();
        let mut rx = RxFrame::new();
        let frame = Frame::short(&[0x26]);
        let expect = Expect::like(&frame, Ticks(1000));
        assert_eq!(
            field.exchange(&frame, &expect, &mut rx).unwrap_err().as_rf(),
            Some(RfError::Timeout)
        );
        // A late answer does not pass for the next one.
        let mut buffer = [0; 64];
        let (_, from) = listener.recv_from(&mut buffer).unwrap();
        listener.send_to(b"106A 4444", from).unwrap();
        assert_eq!(
            field.exchange(&frame, &expect, &mut rx).unwrap_err().as_rf(),
            Some(RfError::Timeout)
        );
        drop(listener);
        for _ in 0..2 {
            assert_eq!(
                field.exchange(&frame, &expect, &mut rx).unwrap_err().as_rf(),
                Some(RfError::Timeout)
            );
        }
    }

    #[test]
    fn what_cannot_be_expressed_is_not_sent() {
        let (mut field, _listener) = pair();
        let frame = Frame::new(Technology::A, &[0x93, 0x24, 0x05]).ending_with(4);
        let error = field
            .exchange(&frame, &Expect::like(&frame, Ticks(1000)), &mut RxFrame::new())
            .unwrap_err();
        assert_eq!(error.kind, FieldErrorKind::Unsupported);
        field.set_field(false).unwrap();
        let frame = Frame::short(&[0x26]);
        let error = field
            .exchange(&frame, &Expect::like(&frame, Ticks(1000)), &mut RxFrame::new())
            .unwrap_err();
        assert_eq!(error.kind, FieldErrorKind::NoField);
    }
}
