//! Lines with arrows, what scriptor prints, and scripts for it.

use tapdoor_protocol::apdu::Command;

use super::Out;
use super::lines::{LineFormat, Wrong, hex_bytes, hex_line, shown};
use super::logs::{Turns, clock};
use crate::event::{Event, Layer};

/// Arrows and hexadecimal digits. Which arrow is the reader's differs from log to log, so the content decides.
#[derive(Default)]
pub(crate) struct Arrows {
    turns: Turns,
    begun: bool,
    /// The arrow of commands: whether it points to the right.
    right_is_out: Option<bool>,
    /// What came before that was known.
    held: Vec<(bool, Vec<u8>)>,
    /// scriptor's own output: it says `>` and `<` itself, and repeats the lines of its script between them.
    scriptor: bool,
    /// An answer that goes on in the next row, 16 bytes in each, until `: ` and the meaning of its status word.
    rows: Option<String>,
}

/// What the held lines would be, were right-pointing arrows commands: positive for yes.
fn weigh(held: &[(bool, Vec<u8>)]) -> i32 {
    held.iter()
        .map(|(right, bytes)| {
            let looks = likeness(bytes);
            if *right { looks } else { -looks }
        })
        .sum()
}

/// How much bytes look like a command (positive) or an answer.
fn likeness(bytes: &[u8]) -> i32 {
    let mut score = 0;
    if Command::parse(bytes).is_ok() {
        score += match bytes {
            [0x00, 0xA4, 0x04, ..] => 6,
            [0x00 | 0x10 | 0x80 | 0x84 | 0x90 | 0xA0 | 0xFF, ..] => 2,
            _ => 0,
        };
    }
    match bytes {
        [.., 0x90, 0x00] => score -= 3,
        [0x61..=0x6F, _] => score -= 3,
        [_, _] | [_, _, _] => score -= 2,
        _ => {}
    }
    score
}

impl Arrows {
    fn take(&mut self, right: bool, bytes: Vec<u8>, out: &mut Out) -> Result<(), Wrong> {
        match self.right_is_out == Some(right) {
            true => self.turns.command(0, bytes, out),
            false => self.turns.answer(0, bytes, out),
        }
    }

    fn decide(&mut self, out: &mut Out) -> Result<(), Wrong> {
        if self.right_is_out.is_none() {
            let weight = weigh(&self.held);
            let first = self.held.first().is_none_or(|(right, _)| *right);
            // Undecided: the reader speaks first.
            self.right_is_out = Some(if weight == 0 { first } else { weight > 0 });
        }
        for (right, bytes) in std::mem::take(&mut self.held) {
            self.take(right, bytes, out)?;
        }
        Ok(())
    }
}

/// So many bytes scriptor prints in a row.
const ROW: usize = 16;

impl Arrows {
    /// A line of scriptor's output.
    fn printed(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        if let Some(rows) = &mut self.rows {
            if rows.len() > 1 << 18 {
                return Err(Wrong::new("an answer that does not end").expected("its last row, with the meaning of the status word"));
            }
            rows.push(' ');
            rows.push_str(line);
            return self.answered(out);
        }
        if let Some(command) = line.strip_prefix("> ") {
            if command.eq_ignore_ascii_case("reset") {
                out.next_tap();
                self.turns = Turns::default();
                return Ok(());
            }
            return self.turns.command(0, hex_line(command)?, out);
        }
        if let Some(atr) = line.strip_prefix("< OK:") {
            if let Some(atr) = hex_bytes(atr.as_bytes()) {
                out.header.atr.get_or_insert(atr);
            }
            return Ok(());
        }
        if let Some(why) = line.strip_prefix("< KO:") {
            out.note(0, format!("the card could not be reset: {}", why.trim()));
            return Ok(());
        }
        if let Some(answer) = line.strip_prefix("< ") {
            self.rows = Some(answer.to_owned());
            return self.answered(out);
        }
        // The script's own lines, which are said again with an arrow, and its remarks.
        if let Some(remark) = line.strip_prefix('#').map(str::trim).filter(|remark| !remark.is_empty()) {
            out.note(0, remark);
        }
        Ok(())
    }

    fn answered(&mut self, out: &mut Out) -> Result<(), Wrong> {
        let Some(rows) = self.rows.take() else {
            return Ok(());
        };
        let (hex, whole) = match rows.split_once(" :") {
            Some((hex, _)) => (hex, true),
            None => (rows.as_str(), false),
        };
        let bytes = hex_line(hex)?;
        if !whole && bytes.len().is_multiple_of(ROW) {
            self.rows = Some(rows);
            return Ok(());
        }
        self.turns.answer(0, bytes, out)
    }
}

impl LineFormat for Arrows {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        if !std::mem::replace(&mut self.begun, true) {
            clock(out, "none");
        }
        let line = line.trim();
        if self.scriptor {
            return self.printed(line, out);
        }
        if self.held.is_empty() && self.right_is_out.is_none() && line.starts_with("Using ") && line.ends_with(" protocol") {
            self.scriptor = true;
            self.right_is_out = Some(true);
            return Ok(());
        }
        let arrow = [
            ("-->", true),
            ("<--", false),
            (">>", true),
            ("<<", false),
            (">", true),
            ("<", false),
        ];
        let Some((right, rest)) = arrow.iter().find_map(|(mark, right)| Some((*right, line.strip_prefix(mark)?))) else {
            return match line.as_bytes() {
                [] => Ok(()),
                [b'*' | b'#' | b'/' | b';', ..] => {
                    self.decide(out)?;
                    let text = line.trim_start_matches(['*', '#', '/', ';', ' ']);
                    let note = Event::new(0, Layer::Note).text(text);
                    let waits = text.to_ascii_lowercase().contains("waiting time extension") || text.contains("WTX");
                    out.push(if waits { note.with("wtx", &true) } else { note });
                    Ok(())
                }
                _ => Err(Wrong::new(format!("\"{}\"", shown(line.as_bytes())))),
            };
        };
        // scriptor's output has the meaning of the status word behind it.
        let hex = rest.split(" : ").next().unwrap_or(rest);
        let bytes = hex_line(hex)?;
        if self.right_is_out.is_some() {
            return self.take(right, bytes, out);
        }
        let both = self.held.iter().any(|(other, _)| *other != right);
        self.held.push((right, bytes));
        if both || self.held.len() > 1 && self.held.iter().any(|(other, _)| *other != right) || self.held.len() > 15 {
            self.decide(out)?;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Out) -> Result<(), Wrong> {
        self.decide(out)
    }
}

/// Commands for scriptor. There are no answers.
#[derive(Default)]
pub(crate) struct Scriptor {
    begun: bool,
    /// What a backslash at the end of a line leaves to the next.
    command: String,
    /// `exit` was there.
    finished: bool,
}

impl LineFormat for Scriptor {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        if !std::mem::replace(&mut self.begun, true) {
            clock(out, "none");
            let _ = out.header.extra.insert("answers", &false);
        }
        let line = line.trim();
        if line.is_empty() || self.finished {
            return Ok(());
        }
        if line.eq_ignore_ascii_case("exit") {
            self.finished = true;
            return Ok(());
        }
        if line.eq_ignore_ascii_case("reset") {
            out.next_tap();
            return Ok(());
        }
        if let Some(remark) = line.strip_prefix('#').or_else(|| line.strip_prefix("//")) {
            let remark = remark.trim();
            if !remark.is_empty() {
                out.note(0, remark);
            }
            return Ok(());
        }
        if let Some(part) = line.strip_suffix('\\') {
            if self.command.len() > 1 << 18 {
                return Err(Wrong::new("a command that does not end").expected("its last line, without a backslash"));
            }
            self.command.push_str(part);
            self.command.push(' ');
            return Ok(());
        }
        let command = std::mem::take(&mut self.command) + line;
        Turns::default().command(0, hex_line(&command)?, out)
    }

    fn end(&mut self, _out: &mut Out) -> Result<(), Wrong> {
        match self.command.is_empty() {
            true => Ok(()),
            false => Err(Wrong::new("the file ends behind a backslash").expected("the rest of the command")),
        }
    }
}
