//! One line an event, for pipes and for speed.
//!
//! | module | what |
//! |---|---|
//! | [`row`] | what a line says of an event, also as bytes on the way to another thread |
//! | [`writer`] | rows to text: numbers, times, digits |
//! | [`elsewhere`] | the writer on a thread of its own, for long files |

mod elsewhere;
mod row;
mod writer;

use std::io::{self, Write};

use super::timing::Worth;
use super::{Filter, ShowError};
use crate::decode::{Decoded, Decoder};
use crate::event::{Event, Layer};
use crate::read::{Cut, Events};
use elsewhere::Elsewhere;
use row::Row;
use writer::Writer;

/// So much is gathered before it is written.
const GATHERED: usize = 1 << 15;
/// After so many bytes a file is long enough for a second thread.
const LONG: u64 = 1 << 18;

/// Shows a tape as text without colour, one line an event: number, milliseconds, gap, layer, direction, name, and the first bytes.
///
/// Names and status words are decoded, fields are not, and nothing is drawn: this is the quick form. The lines of a long tape are put together by
/// a second thread, where there is a second processor.
///
/// # Errors
/// [`ShowError`]; what was understood before is in the output.
pub fn plain<E: Events, W: Write>(mut events: E, filter: &Filter, out: &mut W) -> Result<Option<Cut>, ShowError> {
    let mut decoder = Decoder::brief();
    let mut lines = Lines::new(Worth::of(events.header()));
    let mut outcome = Ok(());
    let mut event = Event::new(0, Layer::Note);
    while let Some(next) = events.next_into(&mut event) {
        if let Err(error) = next {
            outcome = Err(error);
            break;
        }
        let (block, decoded) = decoder.decode_apart(&event);
        if filter.shows(&event) {
            lines.add(&event, block.as_deref(), &decoded, out)?;
        }
    }
    let mut writer = lines.end(out)?;
    writer.end_of_tap()?;
    if let Some(cut) = events.cut() {
        writeln!(writer.text, "{cut}")?;
    }
    out.write_all(&writer.text)?;
    outcome?;
    Ok(events.cut())
}

/// Where rows become lines.
enum Lines {
    /// Here, and so many bytes have been written.
    Here(Box<Writer>, u64),
    /// On another thread.
    Elsewhere(Elsewhere),
}

impl Lines {
    fn new(worth: Worth) -> Self {
        Self::Here(Box::new(Writer::new(worth)), 0)
    }

    fn add<W: Write>(&mut self, event: &Event, block: Option<&str>, decoded: &Decoded, out: &mut W) -> io::Result<()> {
        match self {
            Self::Here(writer, written) => {
                writer.row(&Row::of(event, block, decoded))?;
                if writer.text.len() < GATHERED {
                    return Ok(());
                }
                out.write_all(&writer.text)?;
                *written += writer.text.len() as u64;
                writer.text.clear();
                if *written >= LONG
                    && let Some(elsewhere) = Elsewhere::begin(writer)
                {
                    *self = Self::Elsewhere(elsewhere);
                }
                Ok(())
            }
            Self::Elsewhere(elsewhere) => elsewhere.add(event, block, decoded, out),
        }
    }

    /// Writes what is on the way, and gives the writer back.
    fn end<W: Write>(self, out: &mut W) -> io::Result<Box<Writer>> {
        match self {
            Self::Here(writer, _) => Ok(writer),
            Self::Elsewhere(elsewhere) => elsewhere.end(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Direction, Mask};
    use crate::header::Header;
    use crate::read::ReadError;

    struct Many(Header, std::vec::IntoIter<Event>);

    impl Events for Many {
        fn header(&self) -> &Header {
            &self.0
        }

        fn next_event(&mut self) -> Option<Result<Event, ReadError>> {
            self.1.next().map(Ok)
        }
    }

    /// Frames, APDUs with masks, remarks, other layers; taps begin and end.
    fn events(count: u64) -> Vec<Event> {
        let made = |n: u64| {
            let dir = if n.is_multiple_of(2) { Direction::Out } else { Direction::In };
            let mut event = match n % 11 {
                0 => Event::new(n * 1000, Layer::Note).text("a remark\u{7}").with("wtx", &2),
                1..8 => Event::new(n * 1000, Layer::Rf).bytes(dir, vec![0x02 | (n % 2) as u8, 0x00, 0xA4, n as u8, 0x90, 0x00]),
                8 => Event::new(n * 1000, Layer::Apdu).bytes(dir, vec![n as u8; 40]),
                9 => Event::new(n * 1000, Layer::Chip).bytes(dir, vec![0x90, 0x00]).with("rate", &424),
                _ => Event::new(n * 1000, Layer::Other("pn532".into())).bytes(dir, vec![0xD4, 0x42]),
            };
            event.tap = (n % 5000 > 2500).then_some(n / 5000);
            if n % 11 == 8 {
                event.mask.push(Mask {
                    offset: 2,
                    length: 5,
                    kind: "key".into(),
                });
            }
            event
        };
        (0..count).map(made).collect()
    }

    #[test]
    fn lines_are_the_same_whoever_puts_them_together() {
        let events = events(30_000);
        let mut here = Writer::new(Worth::default());
        let mut decoder = Decoder::brief();
        for event in &events {
            let (block, decoded) = decoder.decode_apart(event);
            here.row(&Row::of(event, block.as_deref(), &decoded)).unwrap();
        }
        here.end_of_tap().unwrap();
        assert!(here.text.len() as u64 > 4 * LONG);
        let mut text = Vec::new();
        plain(Many(Header::default(), events.into_iter()), &Filter::default(), &mut text).unwrap();
        assert!(text == here.text, "the text differs");
    }

    #[test]
    fn an_output_that_ends_is_an_error_on_either_thread() {
        struct Full(u64);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for room in [0, LONG / 2, LONG + 1, 3 * LONG] {
            let events = Many(Header::default(), events(30_000).into_iter());
            let error = plain(events, &Filter::default(), &mut Full(room)).unwrap_err();
            assert!(matches!(error, ShowError::Write(_)), "{room}: {error}");
        }
    }
}
