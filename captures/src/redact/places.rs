//! Values that are too short, or too plain, to be looked for elsewhere: they are replaced where they stand in their APDU, and nowhere else.

use super::{Maker, digits};
use crate::decode::Decoded;
use crate::mask::Span;
use crate::volatile;

/// Where in an APDU, and what stands there instead.
#[derive(Clone, Debug)]
struct Place {
    offset: usize,
    other: Vec<u8>,
}

/// An APDU, and what is replaced in it.
#[derive(Debug)]
pub(super) struct Known {
    /// The event that completes it, among those that are held.
    event: usize,
    apdu: Vec<u8>,
    places: Vec<Place>,
}

/// What is replaced in place, in the events that are held.
#[derive(Debug, Default)]
pub(super) struct Places {
    apdus: Vec<Known>,
}

/// Shorter APDUs are not looked for in what wraps them.
const SHORTEST_WRAPPED: usize = 6;

impl Places {
    /// Learns of the APDU that event number `event` completes: what the masker found in it, and the fields that are fresh in every tap; those
    /// of them that `elsewhere` refuses. Gives how many.
    pub(super) fn learn(&mut self, maker: &Maker, event: usize, apdu: &[u8], spans: &[Span], decoded: &Decoded) -> u64 {
        let mut places = Vec::new();
        let mut add = |offset: usize, value: &[u8], other: Vec<u8>| {
            // What is empty or was masked before says nothing.
            let says = value.iter().any(|byte| !matches!(byte, 0x00 | 0xFF));
            if says && !super::is_distinct(value) && other.len() == value.len() {
                places.push(Place { offset, other });
            }
        };
        for span in spans {
            if let Some(value) = apdu.get(span.offset..span.offset + span.length) {
                let known = digits::replacements(maker, span.kind, value)
                    .into_iter()
                    .find(|(known, _)| known == value);
                let other = known.map_or_else(|| maker.bytes(value), |(_, other)| other);
                add(span.offset, value, other);
            }
        }
        // Fields stand in the order of their bytes, so each is looked for behind the one before it.
        let mut from = 0;
        for field in &decoded.fields {
            let digits = field.value.split(',').next().unwrap_or_default();
            let Ok(value) = hex::decode(digits) else { continue };
            let rest = apdu.get(from..).unwrap_or_default();
            let Some(at) = rest.windows(value.len().max(1)).position(|window| window == value) else {
                continue;
            };
            // One byte may be found by chance.
            if value.len() > 1 && volatile::is_volatile(&field.name) && field.name != "clock" {
                add(from + at, &value, maker.bytes(&value));
            }
            from += at + value.len();
        }
        let count = places.len() as u64;
        if count > 0 {
            self.apdus.push(Known {
                event,
                apdu: apdu.to_vec(),
                places,
            });
        }
        count
    }

    /// The APDU that event number `event` completes, as it was.
    pub(super) fn of(&self, event: usize) -> Option<&Known> {
        // They were learned in order.
        let at = self.apdus.binary_search_by_key(&event, |known| known.event).ok()?;
        self.apdus.get(at)
    }

    /// Replaces in what wraps APDUs, such as the message of a reader's driver. `was` is what `bytes` was before anything was replaced.
    pub(super) fn wrapped(&self, was: &[u8], bytes: &mut [u8], done: &mut [bool]) -> u64 {
        let whole = self.apdus.iter().filter(|known| known.apdu.len() >= SHORTEST_WRAPPED);
        whole
            .filter_map(|known| Some((known, was.windows(known.apdu.len()).position(|window| window == known.apdu)?)))
            .map(|(known, at)| known.replace(at, bytes, done))
            .sum()
    }
}

impl Known {
    /// Whether these bytes are that APDU.
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        self.apdu == bytes
    }

    /// Replaces in an APDU that begins at `at`; bytes that were replaced before are left alone. Gives the number of places.
    pub(super) fn replace(&self, at: usize, bytes: &mut [u8], done: &mut [bool]) -> u64 {
        let mut count = 0;
        for place in &self.places {
            let range = at + place.offset..at + place.offset + place.other.len();
            if let (Some(bytes), Some(done)) = (bytes.get_mut(range.clone()), done.get_mut(range))
                && !done.contains(&true)
            {
                bytes.copy_from_slice(&place.other);
                done.fill(true);
                count += 1;
            }
        }
        count
    }
}
