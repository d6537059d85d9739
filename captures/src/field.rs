//! [`FieldTape`]: the frames of a radio field onto a tape, layer `rf`.

use std::fs::File;
use std::io::Write;

use tapdoor_link::field::{FieldEvent, FieldObserver};
use tapdoor_protocol::rf::crc;
use tapdoor_protocol::rf::frame::{Frame, RfError};
use tapdoor_protocol::rf::time::Ticks;

use crate::event::{Crc, Direction, Event, Layer};
use crate::write::SharedTape;

/// Writes what a [`FieldRecorder`](tapdoor_link::FieldRecorder) tells: every frame with its checksum, when its first bit was on the air,
/// its technology (`tech`) and rate in kbit/s (`rate`), and when the field was switched (`field`).
///
/// A checksum that a link has checked and taken away was right, so that it can be put back. Frames that came damaged are written as far
/// as they came, with what was wrong in `text`.
#[derive(Debug)]
pub struct FieldTape<W: Write = File> {
    tape: SharedTape<W>,
    zero: Ticks,
}

impl<W: Write> FieldTape<W> {
    /// Onto this tape. `zero` is what the field link's clock shows when the tape's time is 0.
    #[must_use]
    pub fn new(tape: &SharedTape<W>, zero: Ticks) -> Self {
        Self {
            tape: tape.on(Layer::Rf),
            zero,
        }
    }

    fn at(&self, at: Ticks) -> u64 {
        (at - self.zero).as_nanos()
    }

    fn frame(&self, dir: Direction, frame: &Frame<'_>, at: Ticks, error: Option<RfError>) {
        let mut data = frame.data.to_vec();
        let crc = match error {
            Some(RfError::Crc) => Crc::Bad,
            _ if frame.crc && frame.is_whole() => {
                crc::append(frame.technology, &mut data);
                Crc::Ok
            }
            _ => Crc::None,
        };
        let mut event = Event::new(self.at(at), Layer::Rf)
            .bytes(dir, data)
            .with("tech", &frame.technology.to_string())
            .with("rate", &frame.rate.kbps());
        event.crc = Some(crc);
        if !frame.is_whole() {
            event.bits = u32::try_from(frame.bits()).ok();
        }
        if let Some(error) = error {
            event = event.text(error.to_string());
        }
        self.tape.lock().event(&event);
    }
}

impl<W: Write> FieldObserver for FieldTape<W> {
    fn happened(&mut self, event: &FieldEvent<'_>) {
        match event {
            FieldEvent::Field { on, at } => {
                let state = if *on { "on" } else { "off" };
                let event = Event::new(self.at(*at), Layer::Rf).with("field", &state);
                self.tape.lock().event(&event);
            }
            FieldEvent::Sent { frame, at } => self.frame(Direction::Out, frame, *at, None),
            FieldEvent::Received { frame, at, error } => self.frame(Direction::In, frame, *at, *error),
            FieldEvent::Silence { .. } => {}
        }
    }
}
