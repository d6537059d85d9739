//! One line an event, for pipes and for speed.

use std::io::Write;

use super::timing::{self, Timing};
use super::{Counter, Filter, ShowError, Style, clean};
use crate::decode::Decoder;
use crate::event::{Direction, Layer};
use crate::extra::{decimal_into, hex_into};
use crate::read::{Cut, Events};

/// So many bytes of data stand on a line.
const BYTES: usize = 24;

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
    let mut line = Vec::with_capacity(256);
    let mut outcome = Ok(());
    while let Some(event) = events.next_event() {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        };
        let decoded = decoder.decode(&event);
        if !filter.shows(&event) {
            continue;
        }
        if counter.begins(&event) {
            timing.finish(untimed, Style::Plain, out)?;
            if let Some(tap) = event.tap {
                writeln!(out, "tap {tap}")?;
            }
        }
        let shown = counter.line(&event, &decoded);
        line.clear();
        match (shown.number, event.dir) {
            (Some(number), Some(Direction::Out) | None) => padded(&mut line, 6, |line| decimal_into(number, line)),
            _ => line.extend_from_slice(b"      "),
        }
        if !untimed {
            line.push(b' ');
            padded(&mut line, 12, |line| fixed(shown.since_start, false, line));
            line.push(b' ');
            match shown.gap {
                Some(gap) => padded(&mut line, 10, |line| fixed(gap, true, line)),
                None => line.extend_from_slice(b"          "),
            }
        }
        line.push(b' ');
        match event.layer {
            Layer::Rf => line.extend_from_slice(b"rf    "),
            Layer::Apdu => line.extend_from_slice(b"apdu  "),
            ref other => {
                let layer = clean(other.as_str());
                line.extend_from_slice(layer.as_bytes());
                line.resize(line.len() + 6usize.saturating_sub(layer.len()).max(1), b' ');
            }
        }
        line.extend_from_slice(match event.dir {
            Some(Direction::Out) => b"--> ",
            Some(Direction::In) => b"<-- ",
            None => b"    ",
        });
        line.extend_from_slice(clean(&decoded.name).as_bytes());
        if let Some(data) = &event.data {
            line.extend_from_slice(b"  ");
            if event.mask.is_empty() {
                hex_into(&data[..data.len().min(BYTES)], &mut line);
            } else {
                for digits in super::digits(&data[..data.len().min(BYTES)], &event.mask) {
                    line.extend_from_slice(digits.as_bytes());
                }
            }
            if data.len() > BYTES {
                line.extend_from_slice(b"..");
            }
        }
        while line.last() == Some(&b' ') {
            line.pop();
        }
        line.push(b'\n');
        out.write_all(&line)?;
        timing.add(&event, &decoded);
    }
    timing.finish(untimed, Style::Plain, out)?;
    if let Some(cut) = events.cut() {
        writeln!(out, "{cut}")?;
    }
    outcome?;
    Ok(events.cut())
}

/// Writes something to the right of so many characters.
fn padded(line: &mut Vec<u8>, width: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let start = line.len();
    line.resize(start + width, b' ');
    let end = line.len();
    write(line);
    let written = line.len() - end;
    if written <= width {
        line.copy_within(end.., start + width - written);
        line.truncate(end);
    } else {
        // Wider than its place: it takes what it needs.
        line.drain(start..end);
    }
}

/// Nanoseconds as milliseconds with three digits behind the point.
fn fixed(nanoseconds: i128, sign: bool, line: &mut Vec<u8>) {
    // Times have 64 bits, so their differences fit into 65. Division of 128 bits is slow, so it is not done.
    let magnitude = u64::try_from(nanoseconds.unsigned_abs()).unwrap_or(u64::MAX);
    let micro = magnitude / 1000 + u64::from(magnitude % 1000 >= 500);
    if nanoseconds < 0 {
        line.push(b'-');
    } else if sign {
        line.push(b'+');
    }
    decimal_into(micro / 1000, line);
    line.push(b'.');
    for digit in [micro / 100 % 10, micro / 10 % 10, micro % 10] {
        line.push(b'0' + digit as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let text = |n, sign, width| {
            let mut line = b"|".to_vec();
            padded(&mut line, width, |line| fixed(n, sign, line));
            String::from_utf8(line).unwrap()
        };
        assert_eq!(text(1_234_567, false, 8), "|   1.235");
        assert_eq!(text(-9_000_000, true, 8), "|  -9.000");
        assert_eq!(text(i128::from(u64::MAX), true, 3), "|+18446744073709.552");
    }
}
