//! Secrets and identities taken out of a tape, each replaced by the same other value wherever it stands, so that the tape still decodes and
//! diffs: keys, PINs, ICCID, IMSI, IMEI, MSISDN, UID, and cryptograms with the challenges that they belong to.
//!
//! What is one is found by [`crate::mask`] and by the decoder. The replacement is a function of the value and of a secret of this run
//! (AES-CMAC), has the same length, and keeps what makes the value decode: digits stay digits (with their Luhn digit), the first byte of a UID
//! and of a point stays. In frames, check bytes, CRC and parity are made anew. The events of a tap are held until it is over, so that a
//! value is replaced before the place at which it is known as well; identities are remembered to the end of the tape. Values of less than
//! four bytes are replaced where they stand, and are not looked for elsewhere.

mod digits;
mod frames;
mod places;

use std::collections::HashMap;

use tapdoor_protocol::crypto::cmac128;

use crate::decode::{Decoded, Decoder};
use crate::event::{Direction, Event, Layer};
use crate::header::Header;
use crate::mask::{MaskPolicy, Masker};
use crate::read::{Events, ReadError};
use crate::rf::Assembler;
use crate::volatile;
use places::Places;

/// Most events that are held together; a longer tap is worked on in pieces.
const MAX_HELD: usize = 4096;
/// Most bytes of them.
const MAX_BYTES: usize = 8 << 20;
/// Most identities that are remembered.
const MAX_KNOWN: usize = 100_000;
/// Shorter values are not looked for elsewhere: they would be found by chance.
const SHORTEST: usize = 4;

/// What was replaced, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Replaced {
    /// Different values.
    pub values: u64,
    /// Places.
    pub places: u64,
}

/// Whether a value can be looked for elsewhere: one that is short, or of one byte over and over, would be found by chance.
fn is_distinct(value: &[u8]) -> bool {
    value.len() >= SHORTEST && value.iter().any(|byte| *byte != value[0])
}

/// A value and its replacement, for values of one length.
type Values = HashMap<Vec<u8>, Vec<u8>>;

/// Values and what stands in their place.
#[derive(Default)]
struct Table {
    /// By length, the longest first.
    lengths: Vec<(usize, Values)>,
    count: usize,
}

impl Table {
    fn add(&mut self, value: Vec<u8>, other: Vec<u8>) -> bool {
        if !is_distinct(&value) || value == other || self.count >= MAX_KNOWN {
            return false;
        }
        let at = match self.lengths.binary_search_by(|(length, _)| value.len().cmp(length)) {
            Ok(at) => at,
            Err(at) => {
                self.lengths.insert(at, (value.len(), HashMap::new()));
                at
            }
        };
        let new = self.lengths[at].1.insert(value, other).is_none();
        self.count += usize::from(new);
        new
    }

    /// Replaces what is found, the longest values first; bytes that were replaced once are left alone.
    fn replace(&self, bytes: &mut [u8], done: &mut [bool]) -> u64 {
        let mut places = 0;
        for (length, values) in &self.lengths {
            let mut at = 0;
            while at + length <= bytes.len() {
                match values.get(&bytes[at..at + length]) {
                    Some(other) if !done[at..at + length].contains(&true) => {
                        bytes[at..at + length].copy_from_slice(other);
                        done[at..at + length].fill(true);
                        places += 1;
                        at += length;
                    }
                    _ => at += 1,
                }
            }
        }
        places
    }
}

/// Makes one replacement after another. Nothing of it is shown: it holds the run's secret.
struct Maker {
    secret: [u8; 16],
}

impl Maker {
    /// Bytes that depend on the value and the secret.
    fn stream(&self, kind: &str, value: &[u8], length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 16);
        let mut block = 0u32;
        while bytes.len() < length {
            bytes.extend_from_slice(&cmac128(&self.secret, &[&block.to_be_bytes(), kind.as_bytes(), &[0], value]));
            block += 1;
        }
        bytes.truncate(length);
        bytes
    }

    fn bytes(&self, value: &[u8]) -> Vec<u8> {
        let mut other = self.stream("bytes", value, value.len());
        match (value.len(), value.first()) {
            // Points keep their form, so that what parses them still does.
            (65, Some(0x04)) | (33, Some(0x02 | 0x03)) => other[0] = value[0],
            _ => {}
        }
        other
    }
}

/// Takes secrets and identities out of a file.
pub struct Redactor<E> {
    events: E,
    header: Header,
    maker: Maker,
    decoder: Decoder,
    masker: [Masker; 3],
    assembler: Assembler,
    /// Known to the end of the tape.
    known: Table,
    /// Known in this tap.
    fresh: Table,
    /// What is replaced in place, in what is held.
    places: Places,
    held: Vec<Event>,
    bytes: usize,
    ready: std::vec::IntoIter<Event>,
    next: Option<Event>,
    error: Option<ReadError>,
    replaced: Replaced,
    done: bool,
}

impl<E: Events> Redactor<E> {
    /// Begins; the secret decides what is replaced by what.
    pub fn new(events: E, secret: [u8; 16]) -> Self {
        let mut header = events.header().clone();
        // A flag can always be said in JSON.
        let _ = header.extra.insert("redacted", &true);
        Self {
            events,
            header,
            maker: Maker { secret },
            decoder: Decoder::new(),
            masker: std::array::from_fn(|_| Masker::new(MaskPolicy::Secrets)),
            assembler: Assembler::new(),
            known: Table::default(),
            fresh: Table::default(),
            places: Places::default(),
            held: Vec::new(),
            bytes: 0,
            ready: Vec::new().into_iter(),
            next: None,
            error: None,
            replaced: Replaced::default(),
            done: false,
        }
    }

    /// What was replaced so far.
    pub fn replaced(&self) -> &Replaced {
        &self.replaced
    }

    /// Reads the events of a tap, learns from them, and works on them.
    fn fill(&mut self) {
        while !self.done && self.ready.len() == 0 {
            loop {
                let event = match self.next.take() {
                    Some(event) => event,
                    None => match self.events.next_event() {
                        Some(Ok(event)) => event,
                        other => {
                            self.error = other.and_then(Result::err);
                            self.done = true;
                            break;
                        }
                    },
                };
                let before = self.held.last().map(|last| last.tap);
                if before.is_some_and(|tap| tap != event.tap) || self.held.len() >= MAX_HELD || self.bytes > MAX_BYTES {
                    self.next = Some(event);
                    break;
                }
                if self.held.is_empty() {
                    for masker in &mut self.masker[..2] {
                        masker.reset();
                    }
                }
                self.bytes += event.data.as_ref().map_or(0, Vec::len) + 200;
                self.learn(&event);
                self.held.push(event);
            }
            let mut held = std::mem::take(&mut self.held);
            self.replaced.places += frames::replace(&mut held, [&self.known, &self.fresh], &self.places);
            for (at, event) in held.iter_mut().enumerate() {
                self.apply(at, event);
            }
            self.fresh = Table::default();
            self.places = Places::default();
            self.bytes = 0;
            self.ready = held.into_iter();
        }
    }

    fn learn(&mut self, event: &Event) {
        let made = self.assembler.feed(event);
        let decoded = self.decoder.decode(event);
        let apdu = made.as_ref().unwrap_or(event);
        let spans;
        if let (Some(dir), Some(data)) = (apdu.dir, &apdu.data) {
            let masker = match (&made, &event.layer) {
                (Some(_), _) => Some(0),
                (None, Layer::Apdu) => Some(1),
                (None, Layer::Chip) => Some(2),
                _ => None,
            };
            if let Some(masker) = masker {
                spans = match dir {
                    Direction::Out => self.masker[masker].command(data).to_vec(),
                    Direction::In => self.masker[masker].response(data).to_vec(),
                };
                for span in &spans {
                    if let Some(value) = data.get(span.offset..span.offset + span.length) {
                        self.secret(span.kind, value);
                    }
                }
                self.replaced.values += self.places.learn(&self.maker, self.held.len(), data, &spans, &decoded);
            }
        }
        self.fields(event, &decoded);
        for (name, _) in event.extra.iter() {
            let digits = event
                .extra
                .text(name)
                .filter(|_| matches!(name, "imei" | "iccid" | "imsi" | "msisdn"));
            if let Some(digits) = digits {
                self.secret(name, digits.as_bytes());
            }
            // What a lock's chip drew: ephemeral keys among it.
            if let Some(drawn) = event
                .extra
                .text(name)
                .filter(|_| name == "random")
                .and_then(|digits| hex::decode(digits).ok())
            {
                self.secret("key", &drawn);
            }
            if let Some(uid) = event
                .extra
                .text(name)
                .filter(|_| matches!(name, "uid" | "pupi"))
                .and_then(|uid| hex::decode(uid).ok())
            {
                self.uid(&uid);
            }
        }
    }

    fn fields(&mut self, event: &Event, decoded: &Decoded) {
        for field in decoded.fields.iter().filter(|field| volatile::is_volatile(&field.name)) {
            let Ok(value) = hex::decode(&field.value) else {
                continue;
            };
            if field.name == "clock" {
                continue;
            }
            if event.layer == Layer::Rf && (field.name == "UID part" || field.name == "PUPI") {
                self.uid(&value);
            } else {
                let other = self.maker.bytes(&value);
                self.replaced.values += u64::from(self.fresh.add(value, other));
            }
        }
    }

    /// A UID, or the part of one that a cascade level carries. The first byte says what it is: random, a maker, or the cascade tag.
    fn uid(&mut self, value: &[u8]) {
        let part = |maker: &Maker, part: &[u8]| {
            let mut other = maker.stream("uid", part, part.len());
            other[0] = part[0];
            if part[0] == 0x88 && part.len() > 1 {
                other[1] = part[1];
            }
            // The cascade tag must not come in where it was not.
            other.iter_mut().skip(1).zip(&part[1..]).for_each(|(other, was)| {
                if *other == 0x88 && *was != 0x88 {
                    *other = 0x87;
                }
            });
            other
        };
        match value {
            // Seven and ten bytes go over the air in parts of three behind a cascade tag, and of four.
            [a, b, c, rest @ ..] if rest.len() == 4 => {
                let first = part(&self.maker, &[0x88, *a, *b, *c]);
                let second = part(&self.maker, rest);
                self.known(rest.to_vec(), second.clone());
                self.known(vec![0x88, *a, *b, *c], first.clone());
                self.known(value.to_vec(), [&first[1..], &second[..]].concat());
            }
            [_, _, _, _] => {
                let other = part(&self.maker, value);
                self.known(value.to_vec(), other);
            }
            [] => {}
            _ => {
                let mut other = self.maker.stream("uid", value, value.len());
                other[0] = value[0];
                self.known(value.to_vec(), other);
            }
        }
    }

    fn known(&mut self, value: Vec<u8>, other: Vec<u8>) {
        self.replaced.values += u64::from(self.known.add(value, other));
    }

    /// What the masker found.
    fn secret(&mut self, kind: &str, value: &[u8]) {
        for (value, other) in digits::replacements(&self.maker, kind, value) {
            self.known(value, other);
        }
    }

    /// Everything but frames: bytes of other layers, remarks, and fields.
    fn apply(&mut self, at: usize, event: &mut Event) {
        if event.layer != Layer::Rf
            && let Some(data) = &mut event.data
        {
            let was = data.clone();
            let mut done = vec![false; data.len()];
            self.replaced.places += self.known.replace(data, &mut done) + self.fresh.replace(data, &mut done);
            self.replaced.places += match self.places.of(at) {
                Some(own) => own.replace(0, data, &mut done),
                None => self.places.wrapped(&was, data, &mut done),
            };
        }
        if let Some(text) = &mut event.text {
            *text = self.text(text);
        }
        let names: Vec<String> = event.extra.iter().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let Some(value) = event.extra.get(&name) else {
                continue;
            };
            let other = self.text(value);
            if other != value
                && let Ok(other) = serde_json::value::RawValue::from_string(other)
            {
                let _ = event.extra.insert(&name, &other);
            }
        }
    }

    /// A text in which values stand as hexadecimal digits, or as they are.
    fn text(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        let mut done = vec![false; bytes.len()];
        // Digits of identities.
        self.known.replace(&mut bytes, &mut done);
        let mut at = 0;
        while at < bytes.len() {
            let run = bytes[at..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            for start in [at, at + 1] {
                let even = (run.saturating_sub(start - at)) & !1;
                let Ok(mut value) = hex::decode(&bytes[start..start + even]) else {
                    continue;
                };
                let mut inner = vec![false; value.len()];
                if self.known.replace(&mut value, &mut inner) + self.fresh.replace(&mut value, &mut inner) > 0 {
                    for (n, byte) in value.iter().enumerate().filter(|(n, _)| inner[*n]) {
                        bytes[start + 2 * n..start + 2 * n + 2].copy_from_slice(hex::encode([*byte]).as_bytes());
                    }
                    break;
                }
            }
            at += run.max(1);
        }
        String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
    }
}

impl<E: Events> Events for Redactor<E> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_event(&mut self) -> Option<Result<Event, ReadError>> {
        self.fill();
        let event = self.ready.next().map(Ok);
        event.or_else(|| self.error.take().map(Err))
    }

    fn cut(&self) -> Option<crate::read::Cut> {
        self.events.cut()
    }
}

#[cfg(test)]
mod tests;
