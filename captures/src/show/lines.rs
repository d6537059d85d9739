//! One line an event, for pipes and for speed.

use std::io::Write;

use super::timing::{self, Timing};
use super::{Counter, Filter, Line, ShowError, Style, clean};
use crate::decode::Decoder;
use crate::event::{Direction, Event, Layer};
use crate::extra::HEX;
use crate::read::{Cut, Events};

/// So many bytes of data stand on a line.
const BYTES: usize = 24;

/// So much is gathered before it is written.
const GATHERED: usize = 1 << 15;

/// Shows a tape as text without colour, one line an event: number, milliseconds, gap, layer, direction, name, and the first bytes.
///
/// Names and status words are decoded, fields are not, and nothing is drawn: this is the quick form.
///
/// # Errors
/// [`ShowError`]; what was understood before is in the output.
pub fn plain<E: Events, W: Write>(mut events: E, filter: &Filter, out: &mut W) -> Result<Option<Cut>, ShowError> {
    let untimed = timing::is_untimed(events.header());
    let mut decoder = Decoder::brief();
    let mut counter = Counter::default();
    let mut timing = Timing::default();
    let mut lines = Vec::with_capacity(GATHERED + (1 << 12));
    let mut outcome = Ok(());
    let mut event = Event::new(0, Layer::Note);
    while let Some(next) = events.next_into(&mut event) {
        if let Err(error) = next {
            outcome = Err(error);
            break;
        }
        let (block, decoded) = decoder.decode_apart(&event);
        if !filter.shows(&event) {
            continue;
        }
        if counter.begins(&event) {
            timing.finish(untimed, Style::Plain, &mut lines)?;
            if let Some(tap) = event.tap {
                writeln!(lines, "tap {tap}")?;
            }
        }
        let shown = counter.line(&event, &decoded);
        let number = shown.number.filter(|_| event.dir != Some(Direction::In));
        match head(number, &shown, &event).filter(|_| !untimed) {
            Some(head) => lines.extend_from_slice(&head),
            None => unusual_head(number, &shown, &event, untimed, &mut lines),
        }
        // What frames and APDUs are called consists of our own words.
        let ours = event.dir.is_some() && event.data.is_some() && matches!(event.layer, Layer::Rf | Layer::Apdu | Layer::Chip);
        if let Some(block) = block {
            lines.extend_from_slice(block.as_bytes());
            lines.push(b' ');
        }
        match ours {
            true => lines.extend_from_slice(decoded.name.as_bytes()),
            false => lines.extend_from_slice(clean(&decoded.name).as_bytes()),
        }
        if let Some(data) = &event.data {
            bytes(data, &event, &mut lines);
        }
        while lines.last() == Some(&b' ') {
            lines.pop();
        }
        lines.push(b'\n');
        if lines.len() >= GATHERED {
            out.write_all(&lines)?;
            lines.clear();
        }
        timing.add(&event, &decoded);
    }
    timing.finish(untimed, Style::Plain, &mut lines)?;
    if let Some(cut) = events.cut() {
        writeln!(lines, "{cut}")?;
    }
    out.write_all(&lines)?;
    outcome?;
    Ok(events.cut())
}

/// What stands before the name: number, milliseconds, gap, layer, direction.
const HEAD: usize = 41;

/// The head of most lines, in one piece; `None` where a number needs more than its place, or the layer is another one.
#[inline]
fn head(number: Option<u64>, shown: &Line<'_>, event: &Event) -> Option<[u8; HEAD]> {
    let mut head = [b' '; HEAD];
    let whither = usual(event)?;
    if let Some(number) = number {
        right(head.first_chunk_mut::<6>()?, number)?;
    }
    // A blank before each.
    let (_, rest) = head.split_first_chunk_mut::<7>()?;
    let (since, rest) = rest.split_first_chunk_mut::<12>()?;
    right_millis(since, shown.since_start, false)?;
    let (gap, rest) = rest.split_first_chunk_mut::<11>()?;
    if let Some(nanoseconds) = shown.gap {
        right_millis(gap, nanoseconds, true)?;
    }
    *rest.first_chunk_mut::<11>()? = *whither;
    Some(head)
}

/// Writes a number at the end of its place; `None` if it does not fit.
#[inline]
fn right<const WIDTH: usize>(place: &mut [u8; WIDTH], number: u64) -> Option<usize> {
    digits_before(place, WIDTH, number)
}

/// The same with nanoseconds as milliseconds with three digits behind the point.
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
fn unusual_head(number: Option<u64>, shown: &Line<'_>, event: &Event, untimed: bool, lines: &mut Vec<u8>) {
    match number {
        Some(number) => decimal::<6>(number, lines),
        None => lines.extend_from_slice(b"      "),
    }
    if !untimed {
        lines.push(b' ');
        fixed::<12>(shown.since_start, false, lines);
        lines.push(b' ');
        match shown.gap {
            Some(gap) => fixed::<10>(gap, true, lines),
            None => lines.extend_from_slice(b"          "),
        }
    }
    where_and_which_way(event, lines);
}

/// Layer and arrow of frames and APDUs, a blank before them.
#[inline]
const fn usual(event: &Event) -> Option<&'static [u8; 11]> {
    match (&event.layer, event.dir) {
        (Layer::Rf, Some(Direction::Out)) => Some(b" rf    --> "),
        (Layer::Rf, Some(Direction::In)) => Some(b" rf    <-- "),
        (Layer::Apdu, Some(Direction::Out)) => Some(b" apdu  --> "),
        (Layer::Apdu, Some(Direction::In)) => Some(b" apdu  <-- "),
        _ => None,
    }
}

/// Layer and arrow, a blank before them.
fn where_and_which_way(event: &Event, lines: &mut Vec<u8>) {
    if let Some(usual) = usual(event) {
        lines.extend_from_slice(usual);
        return;
    }
    let layer = clean(event.layer.as_str());
    lines.push(b' ');
    lines.extend_from_slice(layer.as_bytes());
    lines.resize(lines.len() + 6usize.saturating_sub(layer.len()).max(1), b' ');
    lines.extend_from_slice(match event.dir {
        Some(Direction::Out) => b"--> ",
        Some(Direction::In) => b"<-- ",
        None => b"    ",
    });
}

/// The first bytes of an event.
fn bytes(data: &[u8], event: &Event, lines: &mut Vec<u8>) {
    let first = &data[..data.len().min(BYTES)];
    if event.mask.is_empty() {
        let mut digits = [b' '; 2 + 2 * BYTES];
        let (pairs, _) = digits[2..].as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(first) {
            *pair = HEX[usize::from(*byte)];
        }
        // All of it and back: a copy whose length is known is no call.
        lines.extend_from_slice(&digits);
        lines.truncate(lines.len() - 2 * (BYTES - first.len()));
    } else {
        lines.extend_from_slice(b"  ");
        for digits in super::digits(first, &event.mask) {
            lines.extend_from_slice(digits.as_bytes());
        }
    }
    if data.len() > BYTES {
        lines.extend_from_slice(b"..");
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
