//! [`Row`]: what a line says of an event, before it has a number.

use std::borrow::Cow;

use super::super::clean;
use super::super::timing::{Kind, Moment};
use crate::decode::Decoded;
use crate::event::{Direction, Event, Layer};
use crate::rf::air_time;

/// So many bytes of data stand on a line.
pub(super) const BYTES: usize = 24;

/// Layer and arrow, a blank before them.
pub(super) const PLACES: [&[u8; 11]; 4] = [b" rf    --> ", b" rf    <-- ", b" apdu  --> ", b" apdu  <-- "];

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// When, where, and what it means for the times.
    pub(super) moment: Moment,
    /// Whether the event has bytes: then it counts as one.
    pub(super) counts: bool,
    /// Which of [`PLACES`]; `None`: layer and arrow stand at the beginning of the name.
    pub(super) place: Option<u8>,
    /// The name of a block.
    pub(super) block: &'a [u8],
    /// What it is called.
    pub(super) name: Cow<'a, [u8]>,
    /// The first bytes, or, where some of them are masked, digits.
    pub(super) data: Data<'a>,
    /// Whether there are more bytes.
    pub(super) more: bool,
}

/// What stands behind the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data<'a> {
    /// At most [`BYTES`].
    Bytes(&'a [u8]),
    /// Their digits.
    Digits(Cow<'a, [u8]>),
}

impl<'a> Row<'a> {
    pub(super) fn of(event: &'a Event, block: Option<&'a str>, decoded: &'a Decoded) -> Self {
        let place = match (&event.layer, event.dir) {
            (Layer::Rf, Some(Direction::Out)) => Some(0),
            (Layer::Rf, Some(Direction::In)) => Some(1),
            (Layer::Apdu, Some(Direction::Out)) => Some(2),
            (Layer::Apdu, Some(Direction::In)) => Some(3),
            _ => None,
        };
        let data = event.data.as_deref().unwrap_or_default();
        // What frames and APDUs are called consists of our own words.
        let ours = event.data.is_some() && place.is_some();
        Self {
            moment: Moment::of(event, decoded),
            counts: event.data.is_some(),
            place,
            block: block.unwrap_or_default().as_bytes(),
            name: match ours {
                true => Cow::Borrowed(decoded.name.as_bytes()),
                false => placed(event, place, &decoded.name),
            },
            data: match event.mask.is_empty() {
                true => Data::Bytes(data.get(..BYTES).unwrap_or(data)),
                false => Data::Digits(digits(event, data)),
            },
            more: data.len() > BYTES,
        }
    }
}

/// A name that is not ours, with layer and arrow where these are unusual.
#[cold]
fn placed<'a>(event: &Event, place: Option<u8>, name: &'a str) -> Cow<'a, [u8]> {
    let name = clean(name);
    if place.is_some() {
        return match name {
            Cow::Borrowed(name) => Cow::Borrowed(name.as_bytes()),
            Cow::Owned(name) => Cow::Owned(name.into_bytes()),
        };
    }
    let layer = clean(event.layer.as_str());
    let mut text = Vec::with_capacity(16 + layer.len() + name.len());
    text.push(b' ');
    text.extend_from_slice(layer.as_bytes());
    text.resize(text.len() + 6usize.saturating_sub(layer.len()).max(1), b' ');
    text.extend_from_slice(match event.dir {
        Some(Direction::Out) => b"--> ",
        Some(Direction::In) => b"<-- ",
        None => b"    ",
    });
    text.extend_from_slice(name.as_bytes());
    Cow::Owned(text)
}

/// Digits of bytes of which some are masked.
#[cold]
fn digits(event: &Event, data: &[u8]) -> Cow<'static, [u8]> {
    let digits = super::super::digits(data.get(..BYTES).unwrap_or(data), &event.mask);
    Cow::Owned(digits.concat().into_bytes())
}

const DIR: u8 = 0x01;
const IN: u8 = 0x02;
const COUNTS: u8 = 0x04;
const TAP: u8 = 0x08;
const GRANTED: u8 = 0x10;
const ASKED: u8 = 0x20;
const MORE: u8 = 0x40;
const DIGITS: u8 = 0x80;
/// Place of rows whose name has it.
const IN_NAME: u8 = 0xFF;

impl<'a> Row<'a> {
    /// Appends it as bytes: flags, place, kind, lengths of block, data and name, time, time on air; tap and waiting time if there are any;
    /// block, name, data.
    pub(super) fn pack(&self, out: &mut Vec<u8>) {
        let moment = &self.moment;
        let flag = |flag, is: bool| if is { flag } else { 0 };
        let (digits, data) = match &self.data {
            Data::Bytes(bytes) => (false, *bytes),
            Data::Digits(digits) => (true, &**digits),
        };
        let flags = flag(DIR, moment.dir.is_some())
            | flag(IN, moment.dir == Some(Direction::In))
            | flag(COUNTS, self.counts)
            | flag(TAP, moment.tap.is_some())
            | flag(GRANTED, moment.granted.is_some())
            | flag(ASKED, moment.asked)
            | flag(MORE, self.more)
            | flag(DIGITS, digits);
        // Blocks have short names and there are few digits; of a name of more than 4 GiB the beginning must do.
        let (block, name) = (cut(self.block, u8::MAX.into()), cut(&self.name, u32::MAX as usize));
        let data = cut(data, u8::MAX.into());
        let place = self.place.unwrap_or(IN_NAME);
        out.extend_from_slice(&head(
            [flags, place, moment.kind as u8, block.len() as u8, data.len() as u8],
            name.len(),
            moment.t,
            moment.air,
        ));
        for number in [moment.tap, moment.granted].into_iter().flatten() {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(block);
        out.extend_from_slice(name);
        out.extend_from_slice(data);
    }

    /// Takes the first row off `rows`; `None` if there is none, or none that [`Self::pack`] made. Never panics.
    pub(super) fn unpack(rows: &mut &'a [u8]) -> Option<Self> {
        let ([flags, place, kind, block, data], rest) = rows.split_first_chunk()?;
        let (name, rest) = rest.split_first_chunk()?;
        let (t, rest) = rest.split_first_chunk()?;
        let (air, mut rest) = rest.split_first_chunk()?;
        let mut number = |flag: u8| {
            if flags & flag == 0 {
                return Some(None);
            }
            let (number, after) = rest.split_first_chunk()?;
            rest = after;
            Some(Some(u64::from_le_bytes(*number)))
        };
        let (tap, granted) = (number(TAP)?, number(GRANTED)?);
        let (block, rest) = rest.split_at_checked((*block).into())?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name) as usize)?;
        let (data, rest) = rest.split_at_checked((*data).into())?;
        *rows = rest;
        Some(Self {
            moment: Moment {
                t: u64::from_le_bytes(*t),
                tap,
                dir: (flags & DIR != 0).then_some(if flags & IN != 0 { Direction::In } else { Direction::Out }),
                kind: Kind::from_byte(*kind)?,
                air: u64::from_le_bytes(*air),
                granted,
                asked: flags & ASKED != 0,
            },
            counts: flags & COUNTS != 0,
            place: (*place != IN_NAME).then_some(*place),
            block,
            name: Cow::Borrowed(name),
            data: match flags & DIGITS {
                0 => Data::Bytes(data),
                _ => Data::Digits(Cow::Borrowed(data)),
            },
            more: flags & MORE != 0,
        })
    }
}

/// What all rows begin with.
const HEAD: usize = 25;

#[inline]
fn head(bytes: [u8; 5], name: usize, t: u64, air: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let (small, rest) = head.split_at_mut(5);
    let (length, rest) = rest.split_at_mut(4);
    let (time, on_air) = rest.split_at_mut(8);
    small.copy_from_slice(&bytes);
    length.copy_from_slice(&(name as u32).to_le_bytes());
    time.copy_from_slice(&t.to_le_bytes());
    on_air.copy_from_slice(&air.to_le_bytes());
    head
}

/// [`Row::of`] and [`Row::pack`] in one for a frame that has nothing unusual, which most rows of a long file are; `false` if it is none.
#[inline]
pub(super) fn pack_frame(event: &Event, block: Option<&str>, decoded: &Decoded, out: &mut Vec<u8>) -> bool {
    let (Layer::Rf, Some(dir), Some(data)) = (&event.layer, event.dir, &event.data) else {
        return false;
    };
    let block = block.unwrap_or_default().as_bytes();
    let name = decoded.name.as_bytes();
    let unusual = event.tap.is_some() || !event.mask.is_empty() || !event.extra.is_empty() || decoded.wtx.is_some();
    if unusual || name.len() > u32::MAX as usize || block.len() > u8::MAX.into() {
        return false;
    }
    let (flags, place) = match dir {
        Direction::Out => (DIR | COUNTS, 0),
        Direction::In => (DIR | COUNTS | IN, 1),
    };
    let flags = flags | if data.len() > BYTES { MORE } else { 0 };
    let first = data.get(..BYTES).unwrap_or(data);
    let bytes = [flags, place, Kind::Rf as u8, block.len() as u8, first.len() as u8];
    out.extend_from_slice(&head(bytes, name.len(), event.t, air_time(data.len(), 106)));
    out.extend_from_slice(block);
    out.extend_from_slice(name);
    out.extend_from_slice(first);
    true
}

fn cut(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Mask;

    fn event() -> impl Strategy<Value = Event> {
        let layer = prop_oneof![
            Just(Layer::Rf),
            Just(Layer::Apdu),
            Just(Layer::Chip),
            Just(Layer::Note),
            Just(Layer::Other("pn532 \u{7}".into()))
        ];
        let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..60));
        let dir = prop::option::of(prop_oneof![Just(Direction::In), Just(Direction::Out)]);
        (layer, dir, data, any::<(u64, Option<u64>, bool, bool)>(), "\\PC{0,40}").prop_map(
            |(layer, dir, data, (t, tap, mask, slow), text)| {
                let mut event = Event::new(t, layer);
                (event.dir, event.data, event.tap, event.text) = (dir, data, tap, Some(text));
                if mask {
                    event.mask.push(Mask {
                        offset: 1,
                        length: 3,
                        kind: "key".into(),
                    });
                }
                if slow {
                    event.with("duration", &70_000).with("wtx", &1)
                } else {
                    event
                }
            },
        )
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_went(events in prop::collection::vec(event(), 0..8), wtx: Option<u64>, blocks: bool) {
            let block = blocks.then_some("I(0)");
            let all: Vec<_> = events.iter().map(|event| {
                (event, Decoded { name: event.text.clone().unwrap_or_default().into(), wtx, ..Decoded::default() })
            }).collect();
            let mut packed = Vec::new();
            for (event, decoded) in &all {
                Row::of(event, block, decoded).pack(&mut packed);
            }
            let mut rest = &packed[..];
            for (event, decoded) in &all {
                prop_assert_eq!(Row::unpack(&mut rest), Some(Row::of(event, block, decoded)));
                let (mut quick, mut slow) = (Vec::new(), Vec::new());
                if pack_frame(event, block, decoded, &mut quick) {
                    Row::of(event, block, decoded).pack(&mut slow);
                    prop_assert_eq!(quick, slow);
                }
            }
            prop_assert!(rest.is_empty() && Row::unpack(&mut rest).is_none());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut rest = &bytes[..];
            while Row::unpack(&mut rest).is_some() {}
        }
    }
}
