//! Values in frames: also those that a chain of blocks cuts into pieces. Check bytes, CRC and parity are made anew.

use super::Table;
use super::places::{Known, Places};
use crate::event::{Crc, Direction, Event, Layer};
use crate::rf::{Block, crc, payload};

/// A part of an APDU: which event, and where in its data.
type Piece = (usize, usize, usize);

/// Replaces in all frames; gives the number of places.
pub(super) fn replace(events: &mut [Event], tables: [&Table; 2], known: &Places) -> u64 {
    let mut places = 0;
    // What was replaced in place last, each way: a block that is sent again is no APDU of its own.
    let mut last: [Option<&Known>; 2] = [None, None];
    let mut chains: [Vec<Piece>; 2] = [Vec::new(), Vec::new()];
    for at in 0..events.len() {
        let event = &events[at];
        let (Layer::Rf, Some(dir), Some(data)) = (&event.layer, event.dir, &event.data) else {
            continue;
        };
        let chain = &mut chains[usize::from(dir == Direction::In)];
        let block = payload(data, event.crc).and_then(Block::parse);
        let Some(Block::I { chained, inf, .. }) = block else {
            if block.is_none() {
                chain.clear();
                places += one(&mut events[at], tables);
            }
            continue;
        };
        let start = (inf.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
        chain.push((at, start, inf.len()));
        if !chained || chain.len() > 4096 {
            let pieces = std::mem::take(chain);
            let last = &mut last[usize::from(dir == Direction::In)];
            *last = known.of(at).or(*last);
            places += whole(events, &pieces, tables, *last);
        }
    }
    // Chains that the end cuts off.
    for pieces in chains {
        places += whole(events, &pieces, tables, None);
    }
    places
}

fn one(event: &mut Event, tables: [&Table; 2]) -> u64 {
    let Some(data) = &mut event.data else {
        return 0;
    };
    let mut done = vec![false; data.len()];
    let places: u64 = tables.iter().map(|table| table.replace(data, &mut done)).sum();
    if places > 0 {
        // The check byte of a UID.
        match data.as_mut_slice() {
            [a, b, c, d, check] => *check = *a ^ *b ^ *c ^ *d,
            [0x93 | 0x95 | 0x97, 0x70, a, b, c, d, check, ..] => *check = *a ^ *b ^ *c ^ *d,
            _ => {}
        }
        mend(event);
    }
    places
}

fn whole(events: &mut [Event], pieces: &[Piece], tables: [&Table; 2], known: Option<&Known>) -> u64 {
    let mut bytes = Vec::new();
    for (at, start, length) in pieces {
        let data = events[*at].data.as_deref().unwrap_or_default();
        bytes.extend_from_slice(data.get(*start..start + length).unwrap_or_default());
    }
    let known = known.filter(|known| known.is(&bytes));
    let mut done = vec![false; bytes.len()];
    let mut places: u64 = tables.iter().map(|table| table.replace(&mut bytes, &mut done)).sum();
    places += known.map_or(0, |known| known.replace(0, &mut bytes, &mut done));
    if places == 0 {
        return 0;
    }
    let mut rest = bytes.as_slice();
    for (at, start, length) in pieces {
        let event = &mut events[*at];
        if let Some(part) = event.data.as_mut().and_then(|data| data.get_mut(*start..start + length))
            && let Some((new, after)) = rest.split_at_checked(*length)
        {
            part.copy_from_slice(new);
            rest = after;
        }
        mend(event);
    }
    places
}

/// CRC and parity of a frame whose bytes have changed.
fn mend(event: &mut Event) {
    let Some(data) = &mut event.data else {
        return;
    };
    if event.crc == Some(Crc::Ok)
        && let Some((payload, check)) = data.split_last_chunk_mut::<2>()
    {
        // Type B begins so, and its I-blocks cannot be told apart: both sums are right by themselves.
        *check = if matches!(payload, [0x05, _, _] | [0x50, _, _, _, _, ..] | [0x1D, ..]) {
            crc::b(payload)
        } else {
            crc::a(payload)
        };
    }
    if let Some(parity) = &mut event.parity {
        for (n, byte) in data.iter().enumerate() {
            if let Some(bits) = parity.get_mut(n / 8) {
                let bit = 0x80 >> (n % 8);
                *bits = if byte.count_ones() % 2 == 0 { *bits | bit } else { *bits & !bit };
            }
        }
    }
}
