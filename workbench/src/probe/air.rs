//! What the frames tell, where a link has them: how soon answers begin (the frame delay time of ISO/IEC 14443-3 6.2.1), what waiting time the
//! card announced and what it used of it, and its waiting time extensions (ISO/IEC 14443-4 7.2 and 7.3).
//!
//! The times are those of the tape: when this computer sent and heard. The way to the reader and back is in them, so they are upper bounds.

use std::time::Duration;

use serde::Serialize;
use tapdoor_captures::rf::air_time;
use tapdoor_captures::{Decoder, Direction, Event, Layer};
use tapdoor_protocol::rf::iso14443::dep::ats::Ats;

use super::times::Times;

/// What the frames tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Air {
    /// How many frames there were.
    pub frames: usize,
    /// From the end of a reader's frame to the beginning of the card's, in milliseconds.
    pub delay: Times,
    /// The frame waiting time that the ATS announces, in milliseconds.
    pub announced_ms: Option<f64>,
    /// How much of it the longest answer used, in percent.
    pub used_percent: Option<f64>,
    /// How often the card asked for more time: S(WTX).
    pub extensions: usize,
    /// The multipliers that it asked for, each once, in order.
    pub multipliers: Vec<u8>,
    /// How much time it was granted, in milliseconds.
    pub granted_ms: f64,
    /// How often the reader asked for a repetition: R(NAK).
    pub repeated: usize,
}

/// Adds up frames.
#[derive(Debug, Default)]
pub struct Frames {
    decoder: Decoder,
    frames: usize,
    delays: Vec<Duration>,
    /// When the reader's frame ended, and whether it was RATS.
    asked: Option<(u64, bool)>,
    announced: Option<f64>,
    extensions: usize,
    multipliers: Vec<u8>,
    granted: u64,
    repeated: usize,
}

/// Most delays that are kept: a probe has a few hundred.
const MAX_DELAYS: usize = 100_000;

impl Frames {
    /// Takes an event of a tape.
    pub fn add(&mut self, event: &Event) {
        let (Layer::Rf, Some(dir), Some(data)) = (&event.layer, event.dir, event.data.as_deref()) else {
            return;
        };
        let decoded = self.decoder.decode(event);
        self.frames += 1;
        let rate = event.extra.get("rate").and_then(|rate| rate.parse().ok()).unwrap_or(106);
        match dir {
            Direction::Out => {
                self.asked = Some((event.t.saturating_add(air_time(data.len(), rate)), data.first() == Some(&0xE0)));
                self.repeated += usize::from(decoded.name.starts_with("R(NAK)"));
            }
            Direction::In => {
                let Some((end, rats)) = self.asked.take() else { return };
                if self.delays.len() < MAX_DELAYS {
                    self.delays.push(Duration::from_nanos(event.t.saturating_sub(end)));
                }
                if rats
                    && let Some(length) = data.first().map(|length| usize::from(*length))
                    && let Some(Ok(ats)) = data.get(..length).map(Ats::parse)
                {
                    self.announced = Some(ats.fwt().as_micros_f64() / 1000.0);
                }
                if let Some(granted) = decoded.wtx {
                    self.extensions += 1;
                    self.granted = self.granted.saturating_add(granted);
                    let multiplier = data.get(1).map_or(0, |wtxm| wtxm & 0x3F);
                    if let Err(at) = self.multipliers.binary_search(&multiplier) {
                        self.multipliers.insert(at, multiplier);
                    }
                }
            }
        }
    }

    /// The sum; `None` where no frame was answered.
    #[must_use]
    pub fn finish(self) -> Option<Air> {
        let delay = Times::of(&self.delays)?;
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        Some(Air {
            frames: self.frames,
            used_percent: self.announced.map(|announced| rounded(100.0 * delay.max_ms / announced)),
            announced_ms: self.announced.map(rounded),
            extensions: self.extensions,
            multipliers: self.multipliers,
            granted_ms: rounded(self.granted as f64 / 1e6),
            repeated: self.repeated,
            delay,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapdoor_captures::Crc;

    fn frame(t: u64, dir: Direction, digits: &str) -> Event {
        let mut event = Event::new(t, Layer::Rf).bytes(dir, hex::decode(digits).unwrap_or_default());
        event.crc = Some(Crc::Dropped);
        event
    }

    #[test]
    fn delays_waiting_time_and_extensions_are_added_up() {
        let mut frames = Frames::default();
        // FWI 7: 302 us * 2^7.
        let ms = |ms: u64| ms * 1_000_000;
        let session = [
            (0, Direction::Out, "e080"),
            (ms(1), Direction::In, "0578807002"),
            (ms(2), Direction::Out, "0200a4040000"),
            (ms(12), Direction::In, "f203"),
            (ms(13), Direction::Out, "f203"),
            (ms(20), Direction::In, "029000"),
            (ms(21), Direction::Out, "b2"),
            (ms(22), Direction::In, "029000"),
        ];
        for (t, dir, digits) in session {
            frames.add(&frame(t, dir, digits));
        }
        let air = frames.finish().unwrap();
        assert_eq!(
            (air.frames, air.extensions, air.multipliers.as_slice(), air.repeated),
            (8, 1, &[3][..], 1)
        );
        assert!((air.announced_ms.unwrap() - 38.664).abs() < 0.01, "{air:?}");
        assert!((air.granted_ms - 3.0 * 38.664).abs() < 0.1, "{air:?}");
        assert_eq!(air.delay.answers, 4);
        // The longest: 10 ms less the six bytes on the air.
        assert!((air.delay.max_ms - 9.472).abs() < 0.01, "{air:?}");
        assert!((air.used_percent.unwrap() - 24.5).abs() < 0.1, "{air:?}");
        assert_eq!(Frames::default().finish(), None);
    }
}
