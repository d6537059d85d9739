//! A tape as text for people, or as JSON for programs.

mod drawing;
mod lines;
mod style;
mod timing;

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::value::RawValue;

use crate::decode::{AliroKeys, Decoded, Decoder, Field};
use crate::event::{Direction, Event, Layer, Mask};
use crate::extra::Extra;
use crate::header::Header;
use crate::read::{Cut, Events, ReadError};
use drawing::Drawing;
pub use lines::plain;
use style::Role;
pub use style::Style;
use timing::{Timing, Worth};

/// Which events are shown. Those that are not are still followed, because later ones are understood by them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this tap.
    pub tap: Option<u64>,
    /// Only this layer.
    pub layer: Option<Layer>,
    /// Keys for what is enciphered.
    pub keys: AliroKeys,
}

impl Filter {
    fn shows(&self, event: &Event) -> bool {
        self.tap.is_none_or(|tap| event.tap == Some(tap)) && self.layer.as_ref().is_none_or(|layer| *layer == event.layer)
    }
}

/// Why showing ended early. What was understood before is in the output.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// The tape cannot be understood from here on.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// What is known of an event when it is shown.
struct Line<'a> {
    event: &'a Event,
    decoded: &'a Decoded,
    /// Which exchange of its tap and layer it belongs to, if it has bytes.
    number: Option<u64>,
    /// Nanoseconds since the first event of the tap.
    since_start: i128,
    /// Nanoseconds since the event before, none for the first of a tap.
    gap: Option<i128>,
}

/// Numbers and times events, tap by tap.
#[derive(Default)]
struct Counter {
    tap: Option<u64>,
    begun: bool,
    start: u64,
    before: Option<u64>,
    number: u64,
}

impl Counter {
    /// Whether a new tap, or what is outside taps, begins with this event.
    fn begins(&mut self, event: &Event) -> bool {
        self.begins_at(event.tap, event.t)
    }

    fn begins_at(&mut self, tap: Option<u64>, t: u64) -> bool {
        if self.begun && self.tap == tap {
            return false;
        }
        *self = Self {
            tap,
            begun: true,
            start: t,
            before: None,
            number: 0,
        };
        true
    }

    fn line<'a>(&mut self, event: &'a Event, decoded: &'a Decoded) -> Line<'a> {
        let (number, since_start, gap) = self.count(event.data.is_some(), event.dir, event.t);
        Line {
            event,
            decoded,
            number,
            since_start,
            gap,
        }
    }

    /// The number of an event if it counts, nanoseconds since the beginning, and since the event before.
    fn count(&mut self, counts: bool, dir: Option<Direction>, t: u64) -> (Option<u64>, i128, Option<i128>) {
        let number = counts.then(|| {
            self.number += u64::from(dir != Some(Direction::In) || self.number == 0);
            self.number
        });
        let before = self.before.replace(t);
        let since = |then: u64| i128::from(t) - i128::from(then);
        (number, since(self.start), before.map(since))
    }
}

fn milliseconds(nanoseconds: i128) -> f64 {
    nanoseconds as f64 / 1e6
}

/// Shows a tape as text: for each tap its events, decoded, and a drawing of who said what to whom.
///
/// # Errors
/// [`ShowError`]; what was understood before is in the output.
pub fn text<E: Events, W: Write>(mut tape: E, filter: &Filter, style: Style, out: &mut W) -> Result<Option<Cut>, ShowError> {
    head(tape.header(), style, out)?;
    let worth = Worth::of(tape.header());
    let mut decoder = Decoder::with_keys(&filter.keys);
    let mut counter = Counter::default();
    let mut drawing = Drawing::default();
    let mut timing = Timing::new(worth);
    let mut outcome = Ok(());
    while let Some(event) = tape.next_event() {
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
            drawing.finish(style, out)?;
            timing.finish(style, out)?;
            let title = match event.tap {
                Some(tap) => format!("tap {tap}"),
                None => "outside any tap".to_owned(),
            };
            writeln!(out, "\n{}", style.paint(Role::Heading, &title))?;
        }
        let line = counter.line(&event, &decoded);
        write_line(&line, worth.untimed, style, out)?;
        drawing.add(&event, &decoded);
        timing.add(&event, &decoded);
    }
    drawing.finish(style, out)?;
    timing.finish(style, out)?;
    if let Some(cut) = tape.cut() {
        writeln!(out, "\n{}", style.paint(Role::Bad, &cut.to_string()))?;
    }
    outcome?;
    Ok(tape.cut())
}

fn head<W: Write>(header: &Header, style: Style, out: &mut W) -> io::Result<()> {
    let mode = header.mode.as_ref().map(|mode| mode.as_str().to_owned());
    let atr = header.atr.as_ref().map(hex::encode);
    let known = [
        ("created", header.created.clone()),
        ("tool", header.tool.clone()),
        ("os", header.os.clone()),
        ("reader", header.reader.clone()),
        ("driver", header.driver.clone()),
        ("firmware", header.firmware.clone()),
        ("mode", mode),
        ("atr", atr),
        ("notes", header.notes.clone()),
    ];
    writeln!(out, "{}", style.paint(Role::Heading, "tape"))?;
    for (name, value) in known {
        if let Some(value) = value {
            let name = style.paint(Role::Faint, &format!("{name:<9}"));
            writeln!(out, "  {name} {}", clean(&value))?;
        }
    }
    for (name, value) in header.extra.iter() {
        let name = format!("{:<9}", clean(name));
        let name = style.paint(Role::Faint, &name);
        writeln!(out, "  {name} {}", clean(value))?;
    }
    Ok(())
}

/// Where decoded names and fields begin.
const INDENT: &str = "                               ";
/// So many bytes of data stand on a line.
const BYTES_A_LINE: usize = 32;
/// So many bytes of data are shown at most; all of them are in the JSON form.
const MAX_BYTES: usize = 512;

fn write_line<W: Write>(line: &Line<'_>, untimed: bool, style: Style, out: &mut W) -> io::Result<()> {
    let event = line.event;
    let number = match (line.number, event.dir) {
        (Some(number), Some(Direction::Out) | None) => number.to_string(),
        _ => String::new(),
    };
    let gap = line.gap.map_or(String::new(), |gap| format!("{:+.3}", milliseconds(gap)));
    let time = match untimed {
        true => format!("{number:>4} {:20}", ""),
        false => format!("{number:>4} {:>10.3} {gap:>9}", milliseconds(line.since_start)),
    };
    let layer = clean(event.layer.as_str());
    let arrow = match event.dir {
        Some(Direction::Out) => "-->",
        Some(Direction::In) => "<--",
        None => "   ",
    };
    let name = clean(&line.decoded.name);
    let name = match line.decoded.sw {
        Some(sw) => style.paint(Role::of(sw), &name),
        None => name.into_owned(),
    };
    let (time, arrow) = (style.paint(Role::Faint, &time), style.paint(Role::Arrow, arrow));
    writeln!(out, "{}", format!("{time} {layer:<5} {arrow} {name}").trim_end())?;
    if let Some(data) = &event.data {
        let digits = digits(data, &event.mask);
        for part in digits.chunks(BYTES_A_LINE).take(MAX_BYTES / BYTES_A_LINE) {
            writeln!(out, "{INDENT} {}", style.paint(Role::Faint, &part.concat()))?;
        }
        if data.len() > MAX_BYTES {
            writeln!(out, "{INDENT} .. {} bytes in all", data.len())?;
        }
    }
    if !event.mask.is_empty() {
        let kinds: Vec<_> = event.mask.iter().map(|mask| clean(&mask.kind)).collect();
        writeln!(
            out,
            "{INDENT} {}",
            style.paint(Role::Faint, &format!("** masked: {}", kinds.join(", ")))
        )?;
    }
    let fields = &line.decoded.fields;
    let width = fields.iter().map(|field| clean(&field.name).chars().count()).max();
    let width = width.unwrap_or(0).min(28);
    // A field that is the whole of the data says nothing new.
    for field in fields.iter().filter(|field| !(field.name == "data" && fields.len() == 1)) {
        let name = clean(&field.name);
        let value = clean(&field.value);
        let role = match field.name.as_str() {
            "verdict" if matches!(&*value, "open" | "opened") => Role::Good,
            "verdict" | "error" => Role::Bad,
            _ => Role::Plain,
        };
        writeln!(out, "{INDENT}   {name:<width$}  {}", style.paint(role, &value))?;
    }
    Ok(())
}

/// Two digits a byte, `**` where it is masked.
fn digits(data: &[u8], masks: &[Mask]) -> Vec<String> {
    let hidden = |at: usize| masks.iter().any(|mask| at >= mask.offset && at - mask.offset < mask.length);
    let digit = |(at, byte): (usize, &u8)| match hidden(at) {
        true => "**".to_owned(),
        false => format!("{byte:02x}"),
    };
    data.iter().enumerate().take(MAX_BYTES).map(digit).collect()
}

/// Text from a tape as it may be written to a terminal: what would move the cursor, or the reader's eye, is escaped.
fn clean(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    // Over all bytes rather than to the first that is not: that way eight or more are looked at together.
    let plain = text.bytes().fold(true, |plain, byte| plain & (0x20..0x7F).contains(&byte));
    if plain || !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match harmful(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Shows a tape as JSON, one object a line: `tape` (the header), then `line` for each event, and `end`.
///
/// # Errors
/// [`ShowError`]; what was understood before is in the output.
pub fn json<E: Events, W: Write>(mut tape: E, filter: &Filter, out: &mut W) -> Result<Option<Cut>, ShowError> {
    let mut header = Vec::new();
    tape.header().encode_into(&mut header);
    let header = header.trim_ascii_end().strip_prefix(b"{\"tape\":1");
    out.write_all(b"{\"event\":\"tape\",\"tape\":1")?;
    out.write_all(header.unwrap_or(b"}"))?;
    out.write_all(b"\n")?;
    let mut decoder = Decoder::with_keys(&filter.keys);
    let mut counter = Counter::default();
    let worth = Worth::of(tape.header());
    let mut timing = Timing::new(worth);
    let mut shown = 0u64;
    while let Some(event) = tape.next_event() {
        let event = event?;
        let decoded = decoder.decode(&event);
        if filter.shows(&event) {
            if counter.begins(&event) {
                timing.finish_json(out)?;
            }
            object(&JsonLine::new(&counter.line(&event, &decoded)), out)?;
            timing.add(&event, &decoded);
            shown += 1;
        }
    }
    timing.finish_json(out)?;
    let cut = tape.cut();
    let end = JsonEnd {
        event: "end",
        shown,
        cut: cut.map(|cut| JsonCut {
            line: cut.line,
            bytes: cut.bytes,
        }),
    };
    object(&end, out)?;
    Ok(cut)
}

fn object<W: Write>(value: &impl Serialize, out: &mut W) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct JsonEnd {
    event: &'static str,
    shown: u64,
    cut: Option<JsonCut>,
}

#[derive(Serialize)]
struct JsonCut {
    line: u64,
    bytes: usize,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    event: &'static str,
    tap: Option<u64>,
    n: Option<u64>,
    t: u64,
    ms: f64,
    gap_ms: Option<f64>,
    layer: &'a str,
    dir: Option<&'static str>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wtx_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meaning: Option<Cow<'static, str>>,
    fields: &'a [Field],
    data: Option<String>,
    #[serde(skip_serializing_if = "<[Mask]>::is_empty")]
    mask: &'a [Mask],
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crc: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "JsonExtra::is_empty")]
    extra: JsonExtra<'a>,
}

impl<'a> JsonLine<'a> {
    fn new(line: &Line<'a>) -> Self {
        let (event, decoded) = (line.event, line.decoded);
        Self {
            event: "line",
            tap: event.tap,
            n: line.number,
            t: event.t,
            ms: milliseconds(line.since_start),
            gap_ms: line.gap.map(milliseconds),
            layer: event.layer.as_str(),
            dir: event.dir.map(Direction::as_str),
            name: &decoded.name,
            sw: decoded.sw.map(|sw| format!("{:04x}", sw.0)),
            wtx_ms: decoded.wtx.map(|granted| granted as f64 / 1e6),
            meaning: decoded.sw.map(|sw| sw.meaning()),
            fields: &decoded.fields,
            data: event.data.as_ref().map(hex::encode),
            mask: &event.mask,
            bits: event.bits,
            crc: event.crc.map(crate::event::Crc::as_str),
            parity: event.parity.as_ref().map(hex::encode),
            text: event.text.as_deref(),
            extra: JsonExtra(&event.extra),
        }
    }
}

/// Unknown fields, their values as they were written.
struct JsonExtra<'a>(&'a Extra);

impl JsonExtra<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for JsonExtra<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.iter() {
            let value: Result<&RawValue, _> = serde_json::from_str(value);
            map.serialize_entry(name, &value.map_err(serde::ser::Error::custom)?)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::read::TapeReader;

    fn shown(lines: &str, filter: &Filter) -> (String, String) {
        let tape = format!("{{\"tape\":1,\"reader\":\"a\\u001b[2Jb\"}}\n{lines}");
        let (mut plain, mut objects) = (Vec::new(), Vec::new());
        let _ = text(TapeReader::new(tape.as_bytes()).unwrap(), filter, Style::Plain, &mut plain);
        let _ = json(TapeReader::new(tape.as_bytes()).unwrap(), filter, &mut objects);
        (String::from_utf8(plain).unwrap(), String::from_utf8(objects).unwrap())
    }

    #[test]
    fn a_tape_cannot_drive_the_terminal() {
        let lines = r#"{"t":1,"layer":"x\u001b[0m","text":"\u001b]0;owned\u0007\u202e","k\u0008":"v\n\u009b"}"#;
        let (plain, _) = shown(lines, &Filter::default());
        assert!(plain.chars().all(|c| c == '\n' || !c.is_control()), "{plain:?}");
        assert!(!plain.contains('\u{202e}') && plain.contains("\\u{1b}]0;owned"));
    }

    #[test]
    fn a_tape_that_breaks_in_the_middle_is_shown_up_to_there() {
        let lines = "{\"t\":1,\"layer\":\"note\",\"text\":\"seen\"}\nnonsense\n";
        let (plain, objects) = shown(lines, &Filter::default());
        assert!(plain.contains("seen"));
        assert!(objects.contains("seen") && !objects.contains("\"end\""));
        let tape = format!("{{\"tape\":1}}\n{lines}");
        let error = json(TapeReader::new(tape.as_bytes()).unwrap(), &Filter::default(), &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ShowError::Read(ReadError { line: 3, .. })));
    }

    #[test]
    fn a_cut_tape_says_so() {
        let (plain, objects) = shown("{\"t\":1,\"lay", &Filter::default());
        assert!(plain.ends_with("the tape was cut off in line 2, of which 11 bytes are there\n"));
        assert!(objects.ends_with("{\"event\":\"end\",\"shown\":0,\"cut\":{\"line\":2,\"bytes\":11}}\n"));
    }

    #[test]
    fn filters_hide_but_do_not_forget() {
        let lines = concat!(
            r#"{"t":1,"layer":"chip","dir":"out","data":"00a4040007a000000087100200","tap":1}"#,
            "\n",
            r#"{"t":2,"layer":"chip","dir":"in","data":"9000","tap":1}"#,
            "\n",
            r#"{"t":3,"layer":"apdu","dir":"out","data":"00a40400","tap":2}"#,
            "\n",
            r#"{"t":4,"layer":"chip","dir":"out","data":"80880000","tap":2}"#,
            "\n",
        );
        let filter = Filter {
            tap: Some(2),
            layer: Some(Layer::Chip),
            ..Filter::default()
        };
        let (plain, objects) = shown(lines, &filter);
        assert!(!plain.contains("SELECT") && !plain.contains("tap 1"));
        assert!(plain.contains("AUTHENTICATE, USIM"), "{plain}");
        assert_eq!(objects.lines().count(), 3);
    }

    #[test]
    fn a_new_tap_is_a_new_card() {
        let lines = concat!(
            r#"{"t":1,"layer":"apdu","dir":"out","data":"00a4040007a000000087100200","tap":1}"#,
            "\n",
            r#"{"t":2,"layer":"apdu","dir":"in","data":"9000","tap":1}"#,
            "\n",
            r#"{"t":3,"layer":"apdu","dir":"out","data":"80880000","tap":2}"#,
            "\n",
        );
        let (plain, _) = shown(lines, &Filter::default());
        assert!(plain.contains("AUTHENTICATE, challenge-response"), "{plain}");
    }

    #[test]
    fn times_that_run_backwards_and_overlong_data_are_shown() {
        let lines = format!(
            "{{\"t\":9000000,\"layer\":\"apdu\",\"dir\":\"in\",\"data\":\"{}\"}}\n{{\"t\":0,\"layer\":\"note\"}}\n",
            "ab".repeat(600)
        );
        let (plain, objects) = shown(&lines, &Filter::default());
        assert!(plain.contains(".. 600 bytes in all") && plain.contains("-9.000"), "{plain}");
        assert!(objects.contains(&"ab".repeat(600)));
    }

    proptest! {
        #[test]
        fn json_lines_are_json_whatever_is_on_the_tape(text in any::<String>(), layer in any::<String>(), t in any::<u64>(), data in any::<Option<Vec<u8>>>()) {
            let mut event = Event::new(t, Layer::from(layer.as_str())).text(&text).with("x", &text).tap(t);
            event.data = data;
            let mut line = Vec::new();
            event.encode_into(&mut line);
            let (_, objects) = shown(&String::from_utf8(line).unwrap(), &Filter::default());
            for object in objects.lines() {
                let value: serde_json::Value = serde_json::from_str(object).unwrap();
                prop_assert!(value["event"].is_string());
            }
            prop_assert_eq!(objects.lines().count(), 3);
        }
    }
}
