//! [`FrameTape`]: the frames of a reader's field, on layer `rf`.
//!
//! Secrets are masked in frames as they are in APDUs: the blocks of an exchange are held until it is whole, the APDUs that they carry are
//! looked through by the [`Masker`], and what it finds is blanked in the blocks. A masked frame goes without its checksum, which would
//! tell of what is not there. Of an answer that never became whole, everything is masked.

use std::fs::File;
use std::io::Write;
use std::time::Instant;

use tapdoor_link::field::{FieldEvent, FieldObserver};
use tapdoor_protocol::rf::crc;
use tapdoor_protocol::rf::frame::{Frame, RfError, Technology};
use tapdoor_protocol::rf::iso14443::dep::block::{Block, Kind};
use tapdoor_protocol::rf::time::Ticks;

use crate::event::{Crc, Direction, Event, Mask};
use crate::field::{frame_event, switch_event};
use crate::mask::{MaskPolicy, Masker, Span};
use crate::write::SharedTape;

/// So many events are held at most; the oldest go unwritten (a search that finds no card) or written as a torn exchange.
const MOST: usize = 2048;

/// What is done with frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Recording {
    /// Held until the first APDU goes out: a search for a card, of which only the last round is of interest.
    #[default]
    Search,
    /// Written.
    On,
    /// Not even held: whether a card is still there.
    Off,
}

/// Where the information field of a block lies in its APDU.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Which of the held events.
    event: usize,
    dir: Direction,
    /// Where in the frame.
    at: usize,
    /// Where in the APDU.
    offset: usize,
    length: usize,
}

/// A [`FieldObserver`] that writes onto a tape.
#[derive(Debug)]
pub struct FrameTape<W: Write = File> {
    tape: SharedTape<W>,
    masker: Masker,
    policy: MaskPolicy,
    /// The link's clock begins so many nanoseconds after (or, negative, before) the tape's.
    shift: i128,
    recording: Recording,
    held: Vec<Event>,
    parts: Vec<Part>,
    command: Vec<u8>,
    response: Vec<u8>,
    /// The command is whole; then blocks of the answer come.
    asked: bool,
    /// Block numbers of the last I-block each way, in this exchange: the same again is a repetition.
    numbers: [Option<u8>; 2],
}

impl<W: Write> FrameTape<W> {
    /// Writes onto `tape` what happens on a link whose clock counts from `epoch`.
    pub fn new(tape: SharedTape<W>, epoch: Instant) -> Self {
        let (policy, start) = {
            let tape = tape.lock();
            (tape.policy(), tape.epoch())
        };
        let shift = match epoch.checked_duration_since(start) {
            Some(after) => i128::try_from(after.as_nanos()).unwrap_or(0),
            None => -i128::try_from(start.saturating_duration_since(epoch).as_nanos()).unwrap_or(0),
        };
        Self {
            tape,
            masker: Masker::new(policy),
            policy,
            shift,
            recording: Recording::Search,
            held: Vec::new(),
            parts: Vec::new(),
            command: Vec::new(),
            response: Vec::new(),
            asked: false,
            numbers: [None; 2],
        }
    }

    /// A new search for a card: what came before goes onto the tape if an exchange was under way, and is forgotten if it was a search.
    pub fn search(&mut self) {
        self.end();
        self.held.clear();
        self.recording = Recording::Search;
        self.masker.reset();
    }

    /// From now on nothing is recorded, until the next search.
    pub fn quiet(&mut self) {
        self.end();
        self.held.clear();
        self.recording = Recording::Off;
    }

    fn time(&self, at: Ticks) -> u64 {
        u64::try_from(i128::from(at.as_nanos()) + self.shift).unwrap_or(0)
    }

    fn write_held(&mut self) {
        let mut tape = self.tape.lock();
        self.held.drain(..).for_each(|event| tape.event(&event));
    }

    /// Blanks `spans` of an APDU in the blocks that carry it.
    fn blank(&mut self, dir: Direction, spans: &[Span]) {
        for part in self.parts.iter().filter(|part| part.dir == dir) {
            let Some(event) = self.held.get_mut(part.event) else { continue };
            for span in spans {
                let from = span.offset.max(part.offset);
                let to = (span.offset + span.length).min(part.offset + part.length);
                if from < to {
                    hide(event, part.at + from - part.offset, to - from, span.kind);
                }
            }
        }
    }

    /// Masks and writes what is held: an exchange, whole or torn.
    fn end(&mut self) {
        if self.recording == Recording::On {
            if !self.command.is_empty() {
                let spans = self.masker.command(&self.command).to_vec();
                self.blank(Direction::Out, &spans);
            }
            if !self.response.is_empty() && self.policy != MaskPolicy::Nothing {
                let torn = [Span {
                    offset: 0,
                    length: self.response.len(),
                    kind: "torn",
                }];
                self.blank(Direction::In, &torn);
            }
            self.write_held();
        }
        self.forget();
    }

    /// The answer is whole.
    fn whole(&mut self) {
        let spans = self.masker.command(&self.command).to_vec();
        self.blank(Direction::Out, &spans);
        let spans = self.masker.response(&self.response).to_vec();
        self.blank(Direction::In, &spans);
        self.write_held();
        self.forget();
    }

    fn forget(&mut self) {
        self.parts.clear();
        self.command.clear();
        self.response.clear();
        self.asked = false;
        self.numbers = [None; 2];
    }

    fn frame(&mut self, dir: Direction, frame: &Frame<'_>, at: Ticks, error: Option<RfError>) {
        let event = frame_event(self.time(at), dir, frame, error);
        // Part of an APDU?
        let block = (frame.technology != Technology::F && frame.crc && error.is_none() && frame.is_whole())
            .then(|| Block::parse(frame.data).ok())
            .flatten();
        match (block.map(|b| (b.kind, b.inf)), dir) {
            (Some((Kind::I { number, chaining, .. }, inf)), Direction::Out) => self.command_block(event, number, chaining, inf),
            (Some((Kind::I { number, chaining, .. }, inf)), Direction::In) if self.asked => self.answer_block(event, number, chaining, inf),
            _ => self.other(event, dir),
        }
    }

    fn command_block(&mut self, event: Event, number: u8, chaining: bool, inf: &[u8]) {
        if self.recording == Recording::Search {
            // The card was found, and the tap has begun: its search belongs to it.
            self.recording = Recording::On;
            self.write_held();
        }
        self.put(event, Direction::Out, number, inf);
        self.asked = !chaining;
    }

    fn answer_block(&mut self, event: Event, number: u8, chaining: bool, inf: &[u8]) {
        self.put(event, Direction::In, number, inf);
        if !chaining && self.recording == Recording::On {
            self.whole();
        }
    }

    fn put(&mut self, event: Event, dir: Direction, number: u8, inf: &[u8]) {
        if self.recording != Recording::On {
            return;
        }
        if self.held.len() >= MOST {
            self.end();
        }
        let index = usize::from(dir == Direction::In);
        let apdu = if dir == Direction::Out {
            &mut self.command
        } else {
            &mut self.response
        };
        let again = self.numbers[index].replace(number) == Some(number);
        let offset = if again { apdu.len().saturating_sub(inf.len()) } else { apdu.len() };
        if !again {
            apdu.extend_from_slice(inf);
        }
        let length = event.data.as_ref().map_or(0, Vec::len);
        self.parts.push(Part {
            event: self.held.len(),
            dir,
            at: length.saturating_sub(inf.len() + crc::LEN),
            offset,
            length: inf.len(),
        });
        self.held.push(event);
    }

    /// A frame that carries no part of an APDU.
    fn other(&mut self, event: Event, dir: Direction) {
        // A damaged answer in the middle of an exchange can hold the same secrets as a good one.
        let within = !self.command.is_empty();
        match self.recording {
            Recording::Off => {}
            Recording::Search => {
                if self.held.len() >= MOST {
                    self.held.clear();
                }
                self.held.push(event);
            }
            Recording::On => {
                let mut event = event;
                if within && dir == Direction::In && event.text.is_some() && self.policy != MaskPolicy::Nothing {
                    let length = event.data.as_ref().map_or(0, Vec::len);
                    hide(&mut event, 1.min(length), length.saturating_sub(1), "damaged");
                }
                if self.held.len() >= MOST {
                    self.end();
                }
                self.held.push(event);
                if !within {
                    self.write_held();
                }
            }
        }
    }
}

/// Puts zeros in the place of a part of a frame, and takes its checksum away.
fn hide(event: &mut Event, offset: usize, length: usize, kind: &'static str) {
    let Some(data) = &mut event.data else { return };
    if event.crc == Some(Crc::Ok) {
        data.truncate(data.len().saturating_sub(crc::LEN));
        event.crc = Some(Crc::Dropped);
    }
    let Some(secret) = data.get_mut(offset..offset + length) else {
        return;
    };
    if secret.is_empty() {
        return;
    }
    secret.fill(0);
    event.mask.push(Mask {
        offset,
        length,
        kind: kind.into(),
    });
}

impl<W: Write> FieldObserver for FrameTape<W> {
    fn happened(&mut self, event: &FieldEvent<'_>) {
        if self.recording == Recording::Off {
            return;
        }
        match event {
            FieldEvent::Field { on, at } => {
                self.end();
                if self.recording == Recording::Search && !on {
                    self.held.clear();
                }
                self.masker.reset();
                let event = switch_event(self.time(*at), *on);
                self.other(event, Direction::Out);
            }
            FieldEvent::Sent { frame, at } => {
                // A request: the session before it has ended.
                if frame.data.len() == 1 && !frame.is_whole() {
                    self.end();
                    self.masker.reset();
                }
                self.frame(Direction::Out, frame, *at, None);
            }
            FieldEvent::Received { frame, at, error } => self.frame(Direction::In, frame, *at, *error),
            FieldEvent::Silence { .. } => {}
        }
    }
}

impl<W: Write> Drop for FrameTape<W> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
