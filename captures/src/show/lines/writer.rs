//! [`Writer`]: rows to text.

use std::io::{self, Write};

use super::super::timing::{Timing, Worth};
use super::super::{Counter, Style};
use super::GATHERED;
use super::row::{BYTES, Data, PLACES, Row};
use crate::event::Direction;
use crate::extra::HEX;

/// Puts lines together.
pub(super) struct Writer {
    /// What is to be written.
    pub(super) text: Vec<u8>,
    worth: Worth,
    counter: Counter,
    timing: Timing,
}

/// What a row is told when its turn has come.
struct Turn {
    number: Option<u64>,
    since_start: i128,
    gap: Option<i128>,
}

impl Writer {
    pub(super) fn new(worth: Worth) -> Self {
        Self {
            text: Vec::with_capacity(GATHERED + (1 << 12)),
            worth,
            counter: Counter::default(),
            timing: Timing::new(worth),
        }
    }

    pub(super) const fn worth(&self) -> Worth {
        self.worth
    }

    /// Says where the time of the tap went.
    pub(super) fn end_of_tap(&mut self) -> io::Result<()> {
        self.timing.finish(Style::Plain, &mut self.text)
    }

    /// Appends a line.
    pub(super) fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        let moment = &row.moment;
        if self.counter.begins_at(moment.tap, moment.t) {
            self.end_of_tap()?;
            if let Some(tap) = moment.tap {
                writeln!(self.text, "tap {tap}")?;
            }
        }
        let (number, since_start, gap) = self.counter.count(row.counts, moment.dir, moment.t);
        let turn = Turn {
            number: number.filter(|_| moment.dir != Some(Direction::In)),
            since_start,
            gap,
        };
        let text = &mut self.text;
        match head(&turn, row.place).filter(|_| !self.worth.untimed) {
            Some(head) => text.extend_from_slice(&head),
            None => unusual_head(&turn, row.place, self.worth.untimed, text),
        }
        if !row.block.is_empty() {
            text.extend_from_slice(row.block);
            text.push(b' ');
        }
        text.extend_from_slice(&row.name);
        if row.counts {
            data(&row.data, row.more, text);
        }
        while text.last() == Some(&b' ') {
            text.pop();
        }
        text.push(b'\n');
        self.timing.take(moment, row.counts);
        Ok(())
    }
}

/// The first bytes.
fn data(data: &Data<'_>, more: bool, text: &mut Vec<u8>) {
    match data {
        Data::Bytes(first) => {
            let mut digits = [b' '; 2 + 2 * BYTES];
            let (pairs, _) = digits[2..].as_chunks_mut::<2>();
            for (pair, byte) in pairs.iter_mut().zip(*first) {
                *pair = HEX[usize::from(*byte)];
            }
            // All of it and back: a copy whose length is known is no call.
            text.extend_from_slice(&digits);
            text.truncate(text.len() - 2 * BYTES.saturating_sub(first.len()));
        }
        Data::Digits(digits) => {
            text.extend_from_slice(b"  ");
            text.extend_from_slice(digits);
        }
    }
    if more {
        text.extend_from_slice(b"..");
    }
}

/// What stands before the name: number, milliseconds, gap, layer, direction.
const HEAD: usize = 41;

/// The head of most lines, in one piece; `None` where a number needs more than its place, or the layer is another one.
#[inline]
fn head(turn: &Turn, place: Option<u8>) -> Option<[u8; HEAD]> {
    let mut head = [b' '; HEAD];
    let place = PLACES.get(usize::from(place?))?;
    if let Some(number) = turn.number {
        digits_before(head.first_chunk_mut::<6>()?, 6, number)?;
    }
    // A blank before each.
    let (_, rest) = head.split_first_chunk_mut::<7>()?;
    let (since, rest) = rest.split_first_chunk_mut::<12>()?;
    right_millis(since, turn.since_start, false)?;
    let (gap, rest) = rest.split_first_chunk_mut::<11>()?;
    if let Some(nanoseconds) = turn.gap {
        right_millis(gap, nanoseconds, true)?;
    }
    *rest.first_chunk_mut::<11>()? = **place;
    Some(head)
}

/// Writes nanoseconds at the end of their place, as milliseconds with three digits behind the point.
#[inline]
fn right_millis<const WIDTH: usize>(place: &mut [u8; WIDTH], nanoseconds: i128, sign: bool) -> Option<()> {
    // Times that went back are unusual.
    let nanoseconds = u64::try_from(nanoseconds).ok()?;
    let micro = nanoseconds / 1000 + u64::from(nanoseconds % 1000 >= 500);
    let (milli, below) = (micro / 1000, (micro % 1000) as usize);
    let point = WIDTH.checked_sub(4)?;
    let [tens, ones] = DECIMAL[below % 100];
    *place.last_chunk_mut::<4>()? = [b'.', b'0' + (below / 100) as u8, tens, ones];
    let at = digits_before(place, point, milli)?;
    if sign {
        *place.get_mut(at.checked_sub(1)?)? = b'+';
    }
    Some(())
}

/// Writes a number so that it ends before `at`; gives where it begins.
#[inline]
fn digits_before<const WIDTH: usize>(place: &mut [u8; WIDTH], mut at: usize, mut number: u64) -> Option<usize> {
    while number >= 10 {
        at = at.checked_sub(2)?;
        *place.get_mut(at..)?.first_chunk_mut::<2>()? = DECIMAL[(number % 100) as usize];
        number /= 100;
        if number == 0 {
            return Some(at);
        }
    }
    at = at.checked_sub(1)?;
    *place.get_mut(at)? = b'0' + number as u8;
    Some(at)
}

/// Any head.
#[cold]
fn unusual_head(turn: &Turn, place: Option<u8>, untimed: bool, text: &mut Vec<u8>) {
    match turn.number {
        Some(number) => decimal::<6>(number, text),
        None => text.extend_from_slice(b"      "),
    }
    if !untimed {
        text.push(b' ');
        fixed::<12>(turn.since_start, false, text);
        text.push(b' ');
        match turn.gap {
            Some(gap) => fixed::<10>(gap, true, text),
            None => text.extend_from_slice(b"          "),
        }
    }
    if let Some(place) = place.and_then(|place| PLACES.get(usize::from(place))) {
        text.extend_from_slice(*place);
    }
}

/// The two decimal digits of each number below a hundred.
const DECIMAL: [[u8; 2]; 100] = {
    let mut table = [[0; 2]; 100];
    let mut at = 0;
    while at < 100 {
        table[at] = [b'0' + (at / 10) as u8, b'0' + (at % 10) as u8];
        at += 1;
    }
    table
};

/// A number that is written from its last digit on, because it stands to the right.
struct Right {
    text: [u8; 32],
    at: usize,
}

impl Right {
    #[inline]
    const fn new() -> Self {
        Self { text: [b' '; 32], at: 32 }
    }

    #[inline]
    const fn put(&mut self, byte: u8) {
        // The longest number has 20 digits, a point and a sign: the mask changes nothing, and spares a check.
        self.at = (self.at - 1) & 31;
        self.text[self.at] = byte;
    }

    #[inline]
    fn decimal(&mut self, mut number: u64) {
        while number >= 100 {
            let [tens, ones] = DECIMAL[(number % 100) as usize];
            self.put(ones);
            self.put(tens);
            number /= 100;
        }
        let [tens, ones] = DECIMAL[number as usize];
        self.put(ones);
        if tens != b'0' {
            self.put(tens);
        }
    }

    /// Appends it, to the right of `WIDTH` characters. Wider than its place, it takes what it needs.
    #[inline]
    fn onto<const WIDTH: usize>(&self, lines: &mut Vec<u8>) {
        match self.text.last_chunk::<WIDTH>() {
            // A copy whose length is known is no call.
            Some(field) if self.at + WIDTH >= self.text.len() => lines.extend_from_slice(field),
            _ => lines.extend_from_slice(&self.text[self.at..]),
        }
    }
}

/// Appends a number, to the right of so many characters.
fn decimal<const WIDTH: usize>(number: u64, lines: &mut Vec<u8>) {
    let mut right = Right::new();
    right.decimal(number);
    right.onto::<WIDTH>(lines);
}

/// Appends nanoseconds as milliseconds with three digits behind the point, to the right of so many characters.
fn fixed<const WIDTH: usize>(nanoseconds: i128, sign: bool, lines: &mut Vec<u8>) {
    // Times have 64 bits, so their differences fit into 65. Division of 128 bits is slow, so it is not done.
    let magnitude = u64::try_from(nanoseconds.unsigned_abs()).unwrap_or(u64::MAX);
    let micro = magnitude / 1000 + u64::from(magnitude % 1000 >= 500);
    let (milli, below) = (micro / 1000, (micro % 1000) as usize);
    let mut right = Right::new();
    let [tens, ones] = DECIMAL[below % 100];
    for byte in [ones, tens, b'0' + (below / 100) as u8, b'.'] {
        right.put(byte);
    }
    right.decimal(milli);
    if nanoseconds < 0 {
        right.put(b'-');
    } else if sign {
        right.put(b'+');
    }
    right.onto::<WIDTH>(lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        fn text<const WIDTH: usize>(n: i128, sign: bool) -> String {
            let mut line = b"|".to_vec();
            fixed::<WIDTH>(n, sign, &mut line);
            String::from_utf8(line).unwrap()
        }
        assert_eq!(text::<8>(1_234_567, false), "|   1.235");
        assert_eq!(text::<8>(-9_000_000, true), "|  -9.000");
        assert_eq!(text::<3>(i128::from(u64::MAX), true), "|+18446744073709.552");
        for number in [0, 5, 10, 99, 100, 101, 1000, 65_536, u64::MAX] {
            let mut line = Vec::new();
            decimal::<0>(number, &mut line);
            assert_eq!(line, number.to_string().as_bytes());
        }
    }
}
