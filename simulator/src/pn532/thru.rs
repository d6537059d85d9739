//! InCommunicateThru (UM0701-02 7.3.9): bytes as they are, technology, rate, checksum, parity and bits as the registers have them.

use tapdoor_link::field::FieldLink;
use tapdoor_protocol::pn532::{Answer, Code, ErrorCode, MAX_THRU};
use tapdoor_protocol::rf::frame::{Expect, Frame, RfError, Technology};

use super::{Pn532, error_code};

impl<L: FieldLink> Pn532<L> {
    pub(super) fn thru(&mut self, data: &[u8], answer: &mut Vec<u8>) {
        let mut back = Vec::new();
        let result = self.raw(data, &mut back);
        let status = self.noted(result);
        Answer::Data(Code::InCommunicateThru, status, if result.is_ok() { &back } else { &[] }).encode(answer);
    }

    fn raw(&mut self, data: &[u8], back: &mut Vec<u8>) -> Result<(), ErrorCode> {
        if data.len() > MAX_THRU {
            return Err(ErrorCode::BufferSize);
        }
        let (out, into) = (self.registers.sending(), self.registers.receiving());
        let (Some(technology), Some(rate)) = (out.technology, out.rate) else {
            return Err(ErrorCode::NotAllowed);
        };
        if !self.field || data.is_empty() {
            return Err(ErrorCode::Timeout);
        }
        let by_host = self.registers.parity_by_host() && technology == Technology::A;
        let mut last_bits = self.registers.last_bits();
        let unwrapped;
        let data = if by_host {
            let Some((bytes, bits)) = without_parity(data, last_bits) else {
                // No card understands it.
                self.registers.unanswered(data);
                return Err(ErrorCode::Timeout);
            };
            (unwrapped, last_bits) = (bytes, bits);
            &unwrapped
        } else {
            data
        };
        let mut frame = Frame::new(technology, data).at(rate);
        frame.crc = out.crc;
        if last_bits < 8 {
            frame = frame.ending_with(last_bits);
        }
        let mut expect = Expect::like(&frame, self.retry_timeout()).at(into.rate.unwrap_or(rate));
        expect.crc = into.crc;
        expect.first_bit = self.registers.first_bit();
        match self.link.exchange(&frame, &expect, &mut self.rx) {
            Ok(()) => {
                self.registers.received(self.rx.last_bits);
                if by_host {
                    let bits = with_parity(&self.rx.data, self.rx.last_bits, back);
                    self.registers.received(bits);
                } else {
                    back.extend_from_slice(&self.rx.data);
                }
                if back.len() > MAX_THRU {
                    return Err(ErrorCode::RfOverflow);
                }
                Ok(())
            }
            Err(error) => {
                match error.as_rf() {
                    Some(RfError::Collision { bit }) => self.registers.collided(bit),
                    _ => self.registers.unanswered(data),
                }
                Err(error_code(&error))
            }
        }
    }
}

/// Takes the parity bits out of a stream of bits of which the last byte has `last_bits`. Gives bytes and the bits of the last of them;
/// `None` if a parity bit is wrong.
fn without_parity(stream: &[u8], last_bits: u8) -> Option<(Vec<u8>, u8)> {
    let total = (stream.len() * 8).saturating_sub(usize::from(8 - last_bits.clamp(1, 8)));
    let bit = |at: usize| stream.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
    let mut bytes = Vec::with_capacity(stream.len());
    let mut at = 0;
    while at < total {
        let count = (total - at).min(8);
        let byte = (0..count).fold(0_u8, |byte, n| byte | u8::from(bit(at + n)) << n);
        bytes.push(byte);
        at += count;
        if count < 8 {
            return Some((bytes, count as u8));
        }
        if at == total || bit(at) == (byte.count_ones() % 2 == 1) {
            return None;
        }
        at += 1;
    }
    Some((bytes, 8))
}

/// Puts parity bits behind every whole byte. Gives how many bits the last byte of `out` has.
fn with_parity(data: &[u8], last_bits: u8, out: &mut Vec<u8>) -> u8 {
    let mut at = 0;
    let mut push = |bit: bool| {
        if at % 8 == 0 {
            out.push(0);
        }
        if let Some(last) = out.last_mut() {
            *last |= u8::from(bit) << (at % 8);
        }
        at += 1;
    };
    for (n, byte) in data.iter().enumerate() {
        let count = if n + 1 == data.len() { last_bits.clamp(1, 8) } else { 8 };
        (0..count).for_each(|bit| push(byte >> bit & 1 == 1));
        if count == 8 {
            push(byte.count_ones() % 2 == 0);
        }
    }
    match at % 8 {
        0 => 8,
        bits => bits as u8,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_has_no_parity() {
        assert_eq!(without_parity(&[0x26], 7), Some((vec![0x26], 7)));
    }

    #[test]
    fn wrong_parity_is_seen() {
        let mut stream = Vec::new();
        let bits = with_parity(&[0x93, 0x20], 8, &mut stream);
        assert_eq!((stream.len(), bits), (3, 2));
        assert_eq!(without_parity(&stream, bits), Some((vec![0x93, 0x20], 8)));
        stream[1] ^= 1;
        assert_eq!(without_parity(&stream, bits), None);
    }

    proptest! {
        #[test]
        fn parity_comes_and_goes(data in prop::collection::vec(any::<u8>(), 1..40), last_bits in 1_u8..=8) {
            let mut data = data;
            if let Some(last) = data.last_mut() {
                *last &= 0xFF >> (8 - last_bits);
            }
            let mut stream = Vec::new();
            let bits = with_parity(&data, last_bits, &mut stream);
            prop_assert_eq!(without_parity(&stream, bits), Some((data, last_bits)));
        }

        #[test]
        fn no_stream_panics(stream in prop::collection::vec(any::<u8>(), 0..40), last_bits in any::<u8>()) {
            let _ = without_parity(&stream, last_bits);
        }
    }
}
