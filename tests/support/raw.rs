//! The framing of vpcd, spoken by hand: as the reader of a phone that listens, and as a card that stands between lock and phone.
//!
//! Include it with `#[path = "support/raw.rs"] mod raw;`.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
/// SELECT of challenge-response.
pub const SELECT_CR: &str = "00A4040009F0544150444F4F520100";
/// SELECT of AKA, profile P.
pub const SELECT_AKA: &str = "00A4040009F0544150444F4F520200";

/// Bytes of hexadecimal text.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A message: length and body.
pub fn message(body: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

/// One end of a connection.
pub struct Raw {
    pub stream: TcpStream,
}

impl Raw {
    /// Connects, as a reader to a card that listens or as a card to a vpcd.
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        Self { stream }
    }

    /// Sends one message.
    pub fn send(&mut self, body: &[u8]) -> io::Result<()> {
        self.stream.write_all(&message(body))
    }

    /// Receives one message.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 2];
        self.stream.read_exact(&mut length)?;
        let mut body = vec![0; usize::from(u16::from_be_bytes(length))];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    /// Power on, and the ATR.
    pub fn power_on(&mut self) -> Vec<u8> {
        self.send(&[1]).unwrap();
        self.send(&[4]).unwrap();
        self.receive().unwrap()
    }

    /// One APDU and its answer.
    #[track_caller]
    pub fn apdu(&mut self, command: &[u8]) -> Vec<u8> {
        self.send(command).unwrap();
        self.receive().unwrap_or_else(|e| panic!("no answer to {command:02x?}: {e}"))
    }

    /// Whether the other end hangs up (within the time of the socket).
    pub fn is_hung_up(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 64]), Ok(0)) || {
            // A reset is hanging up too, a time-out is not.
            self.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            matches!(self.stream.read(&mut [0; 64]), Ok(0))
                || matches!(self.stream.read(&mut [0; 64]), Err(e) if e.kind() == io::ErrorKind::ConnectionReset)
        }
    }

    /// Hangs up.
    pub fn close(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// What a [`relay`] does with an APDU and the phone's answer to it: `None` hangs up on both.
pub type Middle<'a> = dyn FnMut(&[u8], Vec<u8>) -> Option<Vec<u8>> + 'a;

/// A card to the lock at `lock` whose answers come from the phone that listens at `phone`, through `middle`, until one of them goes.
pub fn relay(lock: &str, phone: &str, middle: &mut Middle<'_>) {
    let (mut lock, mut phone) = (Raw::connect(lock), Raw::connect(phone));
    while let Ok(request) = lock.receive() {
        if phone.send(&request).is_err() {
            break;
        }
        let answer = match request.as_slice() {
            [0..=2] | [] => continue,
            _ => phone.receive(),
        };
        let Ok(answer) = answer else { break };
        let answer = if request.len() > 1 {
            middle(&request, answer)
        } else {
            Some(answer)
        };
        match answer {
            Some(answer) => {
                if lock.send(&answer).is_err() {
                    break;
                }
            }
            None => break,
        }
    }
    lock.close();
    phone.close();
}
