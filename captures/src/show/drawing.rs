//! A tap as a drawing: chip, lock and phone, and who said what to whom.

use std::io::{self, Write};

use super::clean;
use super::style::{Role, Style};
use crate::decode::Decoded;
use crate::event::{Direction, Event, Layer};

/// Between two verticals.
const WIDTH: usize = 50;
/// So many rows of a tap are drawn.
const MAX_ROWS: usize = 200;

/// The rows of the tap that is being shown.
#[derive(Default)]
pub(super) struct Drawing {
    rows: Vec<Row>,
    left_out: usize,
}

struct Row {
    /// With the lock's chip rather than with the phone.
    chip: bool,
    /// Away from the lock, towards it, or at it.
    dir: Option<Direction>,
    label: String,
}

impl Drawing {
    pub(super) fn add(&mut self, event: &Event, decoded: &Decoded) {
        let row = match event.layer {
            Layer::Apdu | Layer::Chip if event.data.is_some() => Row {
                chip: event.layer == Layer::Chip,
                dir: event.dir,
                label: label(decoded),
            },
            Layer::Lock | Layer::Note if !decoded.name.is_empty() => Row {
                chip: false,
                dir: None,
                label: decoded.name.clone().into_owned(),
            },
            _ => return,
        };
        if self.rows.len() < MAX_ROWS {
            self.rows.push(row);
        } else {
            self.left_out += 1;
        }
    }

    /// Writes the drawing, unless nobody said anything, and begins afresh.
    pub(super) fn finish<W: Write>(&mut self, style: Style, out: &mut W) -> io::Result<()> {
        let Self { rows, left_out } = std::mem::take(self);
        if rows.iter().all(|row| row.dir.is_none()) {
            return Ok(());
        }
        let chip = rows.iter().any(|row| row.chip);
        let left = if chip { WIDTH + 1 } else { 0 };
        if chip {
            writeln!(out, "\n    {:<left$}{:<width$}phone", "chip", "lock", width = WIDTH - 2)?;
        } else {
            writeln!(out, "\n    {:<width$}phone", "lock", width = WIDTH - 2)?;
        }
        let empty = " ".repeat(WIDTH);
        for row in rows {
            // The phone stands right of the lock, the chip left of it.
            let right = match (row.dir, row.chip) {
                (Some(Direction::Out), false) | (Some(Direction::In), true) => Some(true),
                (Some(_), _) => Some(false),
                (None, _) => None,
            };
            let lane = match right {
                Some(right) => style.paint(Role::Arrow, &arrow(&row.label, right)),
                None => format!(" * {}", fit(&row.label, WIDTH - 4)),
            };
            match (chip, row.chip, right) {
                (_, _, None) if chip => writeln!(out, "    |{empty}|{lane}")?,
                (_, _, None) => writeln!(out, "    |{lane}")?,
                (false, ..) => writeln!(out, "    |{lane}|")?,
                (true, true, _) => writeln!(out, "    |{lane}|{empty}|")?,
                (true, false, _) => writeln!(out, "    |{empty}|{lane}|")?,
            }
        }
        if left_out > 0 {
            writeln!(out, "    .. and {left_out} more")?;
        }
        Ok(())
    }
}

/// What stands on an arrow: the name without the bytes of an AID, and for an answer what it brings.
fn label(decoded: &Decoded) -> String {
    let fields = decoded.fields.iter().map(|field| match field.name.as_str() {
        "verdict" => format!("verdict {}", field.value),
        name => name.to_owned(),
    });
    match decoded.sw {
        Some(sw) if decoded.fields.is_empty() && !sw.is_ok() => decoded.name.clone().into_owned(),
        Some(sw) => {
            let fields: Vec<_> = fields.filter(|name| name != "data" && name != "more").collect();
            format!("{:04x} {}", sw.0, fields.join(", ")).trim_end().to_owned()
        }
        None => match decoded.name.strip_prefix("SELECT ").and_then(|rest| rest.split_once(", ")) {
            Some((_, name)) => format!("SELECT {name}"),
            None => decoded.name.clone().into_owned(),
        },
    }
}

/// Text of at most `width` characters.
fn fit(text: &str, width: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= width {
        return text.into_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(2)).collect();
    cut.push_str("..");
    cut
}

fn arrow(label: &str, right: bool) -> String {
    let label = fit(label, WIDTH - 8);
    let rest = "-".repeat(WIDTH - 6 - label.chars().count());
    match right {
        true => format!("--- {label} {rest}>"),
        false => format!("<--- {label} {rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_are_as_wide_as_their_lane() {
        for label in ["", "x", "ünïcödé", &"long ".repeat(30)] {
            for right in [true, false] {
                assert_eq!(arrow(label, right).chars().count(), WIDTH, "{label}");
            }
        }
    }

    #[test]
    fn a_tap_of_thousands_of_rows_is_bounded() {
        let mut drawing = Drawing::default();
        let event = Event::new(0, Layer::Apdu).bytes(Direction::Out, [0, 1, 2, 3]);
        for _ in 0..1000 {
            drawing.add(&event, &Decoded::default());
        }
        let mut out = Vec::new();
        drawing.finish(Style::Plain, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with(".. and 800 more\n"));
        assert!(drawing.rows.is_empty());
    }
}
