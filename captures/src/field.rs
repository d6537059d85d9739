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
}

/// A frame that passed at `t`.
pub(crate) fn frame_event(t: u64, dir: Direction, frame: &Frame<'_>, error: Option<RfError>) -> Event {
    let mut data = frame.data.to_vec();
    let crc = match error {
        Some(RfError::Crc) => Crc::Bad,
        _ if frame.crc && frame.is_whole() => {
            crc::append(frame.technology, &mut data);
            Crc::Ok
        }
        _ => Crc::None,
    };
    let mut event = Event::new(t, Layer::Rf)
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
    event
}

/// The field was switched at `t`.
pub(crate) fn switch_event(t: u64, on: bool) -> Event {
    let state = if on { "on" } else { "off" };
    Event::new(t, Layer::Rf).with("field", &state)
}

impl<W: Write> FieldObserver for FieldTape<W> {
    fn happened(&mut self, event: &FieldEvent<'_>) {
        match event {
            FieldEvent::Field { on, at } => self.tape.lock().event(&switch_event(self.at(*at), *on)),
            FieldEvent::Sent { frame, at } => self.tape.lock().event(&frame_event(self.at(*at), Direction::Out, frame, None)),
            FieldEvent::Received { frame, at, error } => {
                self.tape.lock().event(&frame_event(self.at(*at), Direction::In, frame, *error));
            }
            FieldEvent::Silence { .. } => {}
        }
    }
}
