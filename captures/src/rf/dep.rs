//! ISO-DEP blocks (ISO/IEC 14443-4 7), and APDUs put together from them.
//!
//! Blocks are recognised by their PCB alone, so a trace that begins in the middle is understood. A block that is repeated after an
//! R(NAK), or twice without an answer between, counts once. Frames with a wrong CRC carry nothing.

use crate::event::{Crc, Direction, Event, Layer};
use crate::rf::crc;

/// Most bytes of an APDU that is put together; what is longer is dropped and begun anew.
const MAX_APDU: usize = 1 << 17;

/// What a frame of ISO-DEP is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// Information: block number, whether more follows, and its bytes.
    I {
        /// Block number.
        number: u8,
        /// Whether more follows.
        chained: bool,
        /// The part of the APDU.
        inf: &'a [u8],
    },
    /// Received, or please repeat.
    R {
        /// Block number.
        number: u8,
        /// R(NAK) rather than R(ACK).
        nak: bool,
    },
    /// More time is wanted: so many frame waiting times.
    Wtx(u8),
    /// The end of the session, or its acknowledgement.
    Deselect,
}

impl<'a> Block<'a> {
    /// Reads a frame without its CRC.
    #[must_use]
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (&pcb, mut rest) = frame.split_first()?;
        if pcb & 0x08 != 0 {
            // A card identifier.
            rest = rest.split_first()?.1;
        }
        match pcb {
            0x02..=0x1F if pcb & 0xE2 == 0x02 => {
                if pcb & 0x04 != 0 {
                    // A node address.
                    rest = rest.split_first()?.1;
                }
                Some(Self::I {
                    number: pcb & 1,
                    chained: pcb & 0x10 != 0,
                    inf: rest,
                })
            }
            _ if pcb & 0xE6 == 0xA2 && rest.is_empty() => Some(Self::R {
                number: pcb & 1,
                nak: pcb & 0x10 != 0,
            }),
            0xF2 | 0xFA => match rest {
                [wtxm] => Some(Self::Wtx(wtxm & 0x3F)),
                _ => None,
            },
            0xC2 | 0xCA if rest.is_empty() => Some(Self::Deselect),
            _ => None,
        }
    }
}

/// One direction's chain.
#[derive(Clone, Debug, Default)]
struct Chain {
    bytes: Vec<u8>,
    /// When its first block began.
    start: u64,
    /// Whole: handed out, to be cleared when the next block comes.
    whole: bool,
    /// What stood before the last block's information (PCB, CID, NAD), and where that began in `bytes`.
    last: Option<([u8; 3], usize)>,
}

impl Chain {
    const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            whole: false,
            last: None,
        }
    }

    /// Forgets; the memory stays for the next one.
    fn reset(&mut self) {
        self.bytes.clear();
        self.whole = false;
        self.last = None;
    }
}

/// APDUs from blocks, in both directions.
#[derive(Clone, Debug, Default)]
pub struct Chains {
    out: Chain,
    back: Chain,
    /// The reader asked for a repetition.
    nak: bool,
}

impl Chain {
    /// Whether the last block was the same one.
    fn repeats(&self, prologue: [u8; 3], inf: &[u8]) -> bool {
        self.last
            .is_some_and(|(before, start)| before == prologue && self.bytes.get(start..) == Some(inf))
    }
}

/// What stands before a block's information.
fn prologue(frame: &[u8], inf: &[u8]) -> [u8; 3] {
    let mut bytes = [0; 3];
    let length = frame.len().saturating_sub(inf.len());
    for (to, from) in bytes.iter_mut().zip(frame.iter().take(length)) {
        *to = *from;
    }
    bytes
}

impl Chains {
    /// Nothing was seen.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            out: Chain::new(),
            back: Chain::new(),
            nak: false,
        }
    }

    /// Another card, or the same one reset.
    pub fn reset(&mut self) {
        self.out.reset();
        self.back.reset();
        self.nak = false;
    }

    /// Takes a block, and gives the APDU that it completes with the time at which its first block began.
    ///
    /// `frame` is the same frame, without CRC: by it repetitions are known.
    pub fn feed(&mut self, dir: Direction, t: u64, frame: &[u8], block: Block<'_>) -> Option<(u64, &[u8])> {
        let (mine, other) = match dir {
            Direction::Out => (&mut self.out, &mut self.back),
            Direction::In => (&mut self.back, &mut self.out),
        };
        match block {
            Block::I { chained, inf, .. } => {
                let this = prologue(frame, inf);
                let again = match dir {
                    // The card repeats when it is asked to; the reader when nobody answered.
                    Direction::In => self.nak && mine.repeats(this, inf),
                    Direction::Out => other.last.is_none() && mine.repeats(this, inf),
                };
                self.nak = false;
                if again {
                    return None;
                }
                if mine.whole || mine.bytes.len() + inf.len() > MAX_APDU {
                    mine.bytes.clear();
                    mine.whole = false;
                }
                if mine.bytes.is_empty() {
                    mine.start = t;
                }
                mine.last = Some((this, mine.bytes.len()));
                mine.bytes.extend_from_slice(inf);
                // An answer of any kind: what the other side says next is new.
                other.last = None;
                if chained {
                    return None;
                }
                mine.whole = true;
                Some((mine.start, &mine.bytes))
            }
            Block::R { nak, .. } => {
                match dir {
                    Direction::Out if nak => self.nak = true,
                    // R(ACK) from either side: the last block of the other side has arrived.
                    _ => {
                        self.nak = false;
                        other.last = None;
                    }
                }
                None
            }
            Block::Wtx(_) => None,
            Block::Deselect => {
                mine.reset();
                other.reset();
                self.nak = false;
                None
            }
        }
    }
}

/// Makes events of layer `apdu` from events of layer `rf`, for whoever wants APDUs of a tape that has frames only.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    chains: Chains,
    seen_apdu: bool,
}

impl Assembler {
    /// At the beginning of a tape.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tape has APDUs of its own: nothing is given.
    pub(crate) fn own_apdus(&mut self) {
        self.seen_apdu = true;
    }

    /// Takes an event, and gives the APDU that it completes. Once an event of layer `apdu` was seen, the tape has APDUs of its own, and
    /// nothing is given any more. `extra` of the new event names the time of its first frame: `"from"`, in nanoseconds.
    pub fn feed(&mut self, event: &Event) -> Option<Event> {
        self.seen_apdu |= event.layer == Layer::Apdu;
        if event.layer != Layer::Rf || self.seen_apdu {
            return None;
        }
        let (Some(dir), Some(data)) = (event.dir, &event.data) else {
            self.chains.reset();
            return None;
        };
        let frame = payload(data, event.crc)?;
        let Some(block) = Block::parse(frame) else {
            self.chains.reset();
            return None;
        };
        let (start, apdu) = self.chains.feed(dir, event.t, frame, block)?;
        let mut made = Event::new(event.t, Layer::Apdu).bytes(dir, apdu);
        made.tap = event.tap;
        Some(if start == event.t { made } else { made.with("from", &start) })
    }
}

/// A frame's bytes without its CRC; `None` when it arrived wrong.
pub(crate) fn payload(data: &[u8], state: Option<Crc>) -> Option<&[u8]> {
    match state {
        Some(Crc::Bad) => None,
        Some(Crc::Dropped | Crc::None) => Some(data),
        Some(Crc::Ok) => data.split_last_chunk::<2>().map(|(data, _)| data),
        None if data.len() > 2 && crc::holds(data) => data.split_last_chunk::<2>().map(|(data, _)| data),
        None => Some(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Direction::{In, Out};

    fn run(frames: &[(Direction, &str)]) -> Vec<(Direction, String)> {
        let mut assembler = Assembler::new();
        let mut apdus = Vec::new();
        for (t, (dir, text)) in frames.iter().enumerate() {
            let mut event = Event::new(t as u64, Layer::Rf).bytes(*dir, hex::decode(text.replace(' ', "")).unwrap());
            event.crc = Some(Crc::Dropped);
            apdus.extend(assembler.feed(&event).map(|event| (*dir, hex::encode(event.data.unwrap()))));
        }
        apdus
    }

    #[test]
    fn chains_are_put_together_and_waiting_is_left_out() {
        let apdus = run(&[
            (Out, "12 00a404"),
            (In, "a2"),
            (Out, "03 0000"),
            (In, "f2 01"),
            (Out, "f2 01"),
            (In, "13 6f10"),
            (Out, "a2"),
            (In, "02 9000"),
        ]);
        assert_eq!(apdus, [(Out, "00a4040000".into()), (In, "6f109000".into())]);
    }

    #[test]
    fn a_repeated_block_counts_once() {
        let apdus = run(&[
            (Out, "02 00a40400"),
            (Out, "02 00a40400"),
            (In, "02 9000"),
            (Out, "b2"),
            (In, "02 9000"),
            (Out, "03 00a40400"),
            (In, "03 9000"),
        ]);
        let texts: Vec<_> = apdus.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["00a40400", "9000", "00a40400", "9000"]);
    }

    #[test]
    fn a_constant_pcb_is_no_repetition() {
        let apdus = run(&[(Out, "02 00a40400"), (In, "02 6a82"), (Out, "02 00a40400"), (In, "02 6a82")]);
        assert_eq!(apdus.len(), 4);
    }

    #[test]
    fn cid_and_nad_are_taken_away() {
        assert_eq!(
            Block::parse(&[0x0A, 0x01, 0x90, 0x00]),
            Some(Block::I {
                number: 0,
                chained: false,
                inf: &[0x90, 0x00]
            })
        );
        assert_eq!(Block::parse(&[0xAA, 0x01]), Some(Block::R { number: 0, nak: false }));
        assert_eq!(Block::parse(&[0xF2, 0xC1]), Some(Block::Wtx(1)));
        assert_eq!(Block::parse(&[0xC2, 0x00]), None);
        assert_eq!(Block::parse(&[]), None);
        assert_eq!(Block::parse(&[0x0A]), None);
    }
}
