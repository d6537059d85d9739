//! What a simulated reader and its PC/SC driver say to each other over a Unix stream socket.
//!
//! Every message, both ways, is a kind (1 byte), the length of its body (4 bytes, big-endian, at most [`MAX_BODY`]) and the body.
//! The driver asks, the reader answers every request once and in order. A driver opens two connections: one for requests, and one on
//! which it waits for a card to come or go, so that a wait never stands in the way of a command. A reader that hangs up is a reader
//! that was unplugged.
//!
//! | request | body | the body of a good answer |
//! |---|---|---|
//! | [`PRESENCE`] | none | 1 byte: 01 a card is in the field, 00 none |
//! | [`POWER_UP`], [`RESET`] | none | the ATR |
//! | [`POWER_DOWN`] | none | none |
//! | [`TRANSMIT`] | the C-APDU | the R-APDU |
//! | [`ESCAPE`] | what SCardControl carries | the answer |
//! | [`WAIT`] | 1 byte presence as it is known, 4 bytes milliseconds | 1 byte presence, when it is another or the time is over |
//!
//! An answer's kind is [`OK`], or says what failed and has no body. Nothing here does I/O.

// The driver includes this file without the rest of the crate, and uses its own half.
#![allow(dead_code)]

/// Request: is there a card?
pub const PRESENCE: u8 = 0x01;
/// Request: power the card and tell its ATR.
pub const POWER_UP: u8 = 0x02;
/// Request: cut the card's power.
pub const POWER_DOWN: u8 = 0x03;
/// Request: reset the card and tell its ATR.
pub const RESET: u8 = 0x04;
/// Request: a C-APDU for the card, or a pseudo-APDU for the reader.
pub const TRANSMIT: u8 = 0x05;
/// Request: a command for the reader, with a card or without.
pub const ESCAPE: u8 = 0x06;
/// Request: tell when the presence is another.
pub const WAIT: u8 = 0x07;

/// Answer: done.
pub const OK: u8 = 0x80;
/// Answer: no card is there, or it left.
pub const NO_CARD: u8 = 0x81;
/// Answer: the card, or the reader, did not answer in time.
pub const TIMEOUT: u8 = 0x82;
/// Answer: the reader does not take this (an APDU that is too long, for instance).
pub const REFUSED: u8 = 0x83;

/// Bytes before the body.
pub const HEADER: usize = 5;
/// The longest body: an extended APDU and room to spare.
pub const MAX_BODY: usize = 70_000;

/// Replaces the content of `out` by a whole message, to be sent in one write.
///
/// Says `false`, and leaves `out` empty, if `body` is longer than [`MAX_BODY`].
#[must_use]
pub fn encode(kind: u8, body: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let Ok(length) = u32::try_from(body.len()) else { return false };
    if body.len() > MAX_BODY {
        return false;
    }
    out.reserve(HEADER + body.len());
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
    true
}

/// Kind and length of the body of a message; `None` if the length is more than [`MAX_BODY`]: the peer speaks something else.
#[must_use]
pub fn header(bytes: [u8; HEADER]) -> Option<(u8, usize)> {
    let [kind, length @ ..] = bytes;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    (length <= MAX_BODY).then_some((kind, length))
}

/// The body of a [`WAIT`].
#[must_use]
pub fn wait(present: bool, milliseconds: u32) -> [u8; 5] {
    let [a, b, c, d] = milliseconds.to_be_bytes();
    [u8::from(present), a, b, c, d]
}

/// Presence and milliseconds of a [`WAIT`]'s body; `None` if it is none.
#[must_use]
pub fn parse_wait(body: &[u8]) -> Option<(bool, u32)> {
    let (&present, time) = body.split_first()?;
    Some((present != 0, u32::from_be_bytes(time.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back() {
        let mut out = vec![1];
        assert!(encode(TRANSMIT, &[0, 0xA4], &mut out));
        assert_eq!(out, [TRANSMIT, 0, 0, 0, 2, 0, 0xA4]);
        assert_eq!(header([TRANSMIT, 0, 0, 0, 2]), Some((TRANSMIT, 2)));
        assert_eq!(parse_wait(&wait(true, 1000)), Some((true, 1000)));
        assert_eq!(parse_wait(&[1, 0, 0]), None);
        assert_eq!(parse_wait(&[]), None);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(header([OK, 0xFF, 0xFF, 0xFF, 0xFF]), None);
        let mut out = vec![1];
        assert!(!encode(OK, &vec![0; MAX_BODY + 1], &mut out));
        assert!(out.is_empty());
        assert!(encode(OK, &vec![0; MAX_BODY], &mut out));
        assert_eq!(out.len(), HEADER + MAX_BODY);
    }
}
