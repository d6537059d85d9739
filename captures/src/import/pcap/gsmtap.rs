//! GSMTAP of SIM cards (libosmocore): UDP port 4729, type 4; APDUs as TPDUs with the answer behind the command.

use super::super::Out;
use crate::event::{Direction, Event, Layer};

/// The port.
pub(crate) const PORT: u16 = 4729;

/// The UDP payload of a packet from or to GSMTAP's port.
pub(super) fn find(link: u16, packet: &[u8]) -> Option<&[u8]> {
    let ip = match link {
        // Ethernet, with VLAN tags or without.
        1 => {
            let mut at = 12;
            while matches!(packet.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xA8]) {
                at += 4;
            }
            packet.get(at + 2..)?
        }
        // Loopback with a protocol family.
        0 | 108 => packet.get(4..)?,
        12 | 14 | 101 | 228 | 229 => packet,
        // Linux "any".
        113 => packet.get(16..)?,
        276 => packet.get(20..)?,
        _ => return None,
    };
    let udp = match ip.first()? >> 4 {
        4 if *ip.get(9)? == 17 => {
            let header = usize::from(ip[0] & 15) * 4;
            let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
            ip.get(header..total.min(ip.len()))?
        }
        6 if *ip.get(6)? == 17 => ip.get(40..)?,
        _ => return None,
    };
    let (head, payload) = udp.split_first_chunk::<8>()?;
    let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]) == PORT;
    (port(0) || port(2)).then_some(payload)
}

/// TPDUs in parts.
#[derive(Debug, Default)]
pub(super) struct Gsmtap {
    command: Vec<u8>,
    answer: Vec<u8>,
}

impl Gsmtap {
    /// Takes a message, and what our own remark says of it; whether it was of a SIM card.
    pub(super) fn take(&mut self, t: u64, message: &[u8], told: Option<Event>, out: &mut Out) -> bool {
        // version, header length in words, type, ..., sub-type at 12
        let [2, words, 4, ..] = message else {
            return false;
        };
        let (Some(kind), Some(data)) = (message.get(12), message.get(usize::from(*words) * 4..)) else {
            return false;
        };
        match kind {
            0 => {
                let known = told.as_ref().and_then(|told| told.extra.get("command")?.parse().ok());
                let length = known.unwrap_or_else(|| command_length(data)).min(data.len());
                let (command, answer) = data.split_at(length);
                let tap = told.as_ref().map_or(out.tap, |told| told.tap);
                for (t, dir, bytes) in [(t, Direction::Out, command), (told.map_or(t, |told| told.t), Direction::In, answer)] {
                    if dir == Direction::Out || !bytes.is_empty() {
                        let mut event = Event::new(t, Layer::Apdu).bytes(dir, bytes);
                        event.tap = tap;
                        out.events.push_back(event);
                    }
                }
            }
            // Made for the ATR in a tape's header: nothing was reset.
            1 if told.as_ref().is_some_and(|told| told.extra.get("header").is_some()) => {
                out.header.atr.get_or_insert_with(|| data.to_vec());
            }
            1 => {
                out.next_tap();
                out.header.atr.get_or_insert_with(|| data.to_vec());
                out.push(Event::new(t, Layer::Note).text("reset").with("atr", &hex::encode(data)));
            }
            2 | 3 => {
                let who = if *kind == 2 { "request" } else { "answer" };
                out.push(
                    Event::new(t, Layer::Note)
                        .text(format!("PPS {who}"))
                        .with("pps", &hex::encode(data)),
                );
            }
            4 => self.command = data.to_vec(),
            5 if self.command.len() + data.len() < 1 << 16 => self.command.extend_from_slice(data),
            6 if self.answer.len() + data.len() < 1 << 16 => self.answer.extend_from_slice(data),
            7 => {
                self.answer.extend_from_slice(data);
                out.bytes(t, Layer::Apdu, Direction::Out, std::mem::take(&mut self.command));
                out.bytes(t, Layer::Apdu, Direction::In, std::mem::take(&mut self.answer));
            }
            _ => return false,
        }
        true
    }
}

/// Where the command ends in a TPDU with its answer behind it. P3 counts the data of the command or that of the answer, and only the
/// instruction tells which.
fn command_length(tpdu: &[u8]) -> usize {
    let [_, ins, _, _, p3, ..] = *tpdu else {
        // Shorter than any: a header of four bytes at most.
        return tpdu.len().saturating_sub(2).min(4);
    };
    if tpdu.len() < 7 {
        return tpdu.len() - 2;
    }
    let body = tpdu.len() - 7;
    // What only asks: READ, GET RESPONSE, GET DATA, FETCH, STATUS, GET CHALLENGE, and to open a channel. STATUS of GlobalPlatform brings
    // data of its own, and so more than P3 bytes.
    let asks = matches!(ins, 0xB0 | 0xB2 | 0xC0 | 0xCA | 0x12 | 0x84 | 0x70) || ins == 0xF2 && (p3 == 0 || body <= usize::from(p3));
    match body {
        0 => 5,
        _ if asks => 5,
        body => 5 + usize::from(p3).min(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_answer_begins() {
        for (tpdu, command) in [
            ("00a40004023f00612f", 7),
            ("00c0000003aabbcc9000", 5),
            ("00b000000a6b00", 5),
            ("8010000004010203049110", 9),
            ("80120000020102 9000", 5),
            ("0070000001019000", 5),
            ("9000", 0),
            ("00a400049000", 4),
        ] {
            let bytes = hex::decode(tpdu.replace(' ', "")).unwrap();
            assert_eq!(command_length(&bytes), command, "{tpdu}");
        }
    }
}
