//! Events as files of other programs. What a format cannot hold is counted and said.
//!
//! | module | what |
//! |---|---|
//! | [`text`] | tape, JSON, CSV |
//! | [`scripts`] | apdu4j's dump, scriptor's scripts, our own |
//! | [`pcapng`] | link type 264, GSMTAP |
//! | [`proxmark`] | Proxmark3's trace |

mod pairs;
pub mod pcapng;
pub mod proxmark;
pub mod scripts;
pub mod text;

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::event::Event;
use crate::header::Header;
use crate::import::Format;
use crate::read::{Cut, Events, ReadError};
use crate::rf::Scouted;

/// What was lost, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    counts: BTreeMap<String, u64>,
}

/// One thing that was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// What.
    pub what: String,
    /// How often.
    pub count: u64,
}

impl Losses {
    /// Counts something that is lost.
    pub(crate) fn add(&mut self, what: &str) {
        if let Some(count) = self.counts.get_mut(what) {
            *count += 1;
        } else if self.counts.len() < 100 {
            self.counts.insert(what.to_owned(), 1);
        }
    }

    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> Vec<Loss> {
        let loss = |(what, count): (&String, &u64)| Loss {
            what: what.clone(),
            count: *count,
        };
        self.counts.iter().map(loss).collect()
    }
}

/// Writes events in one format.
pub(crate) trait Exporter {
    fn event(&mut self, event: &Event, losses: &mut Losses) -> io::Result<()>;
    /// The tape has APDUs of its own, so those that its frames carry are the same.
    fn own_apdus(&mut self) {}
    /// Writes what stands at the end.
    fn finish(&mut self, _losses: &mut Losses) -> io::Result<()> {
        Ok(())
    }
}

/// Why a conversion ended early. What was read before was written.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The input cannot be understood from here on.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
    /// There is no writer for this format.
    #[error("{} can be read, but not written; expected one of {}", .0.name(), writable())]
    NotWritable(Format),
}

fn writable() -> String {
    let names: Vec<_> = Format::ALL
        .iter()
        .filter(|format| format.is_writable())
        .map(|format| format.name())
        .collect();
    names.join(", ")
}

/// What a conversion did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many events were read.
    pub events: u64,
    /// What the new format cannot hold.
    pub losses: Losses,
    /// Where the input was cut off.
    pub cut: Option<Cut>,
}

fn exporter<'a, W: Write + 'a>(
    to: Format,
    header: &Header,
    mut out: W,
    losses: &mut Losses,
) -> Result<Box<dyn Exporter + 'a>, ConvertError> {
    Ok(match to {
        Format::Tape => Box::new(text::Tape::new(out, header)?),
        Format::Json => Box::new(text::Json::new(out, header)?),
        Format::Csv => Box::new(text::Csv::new(out, header, losses)?),
        Format::Pcapng => Box::new(pcapng::Frames::new(out, header)?),
        Format::Gsmtap => Box::new(pcapng::Gsmtap::new(out, header)?),
        Format::Dump => Box::new(scripts::Dump::new(out, header, losses)?),
        Format::Scriptor => Box::new(scripts::Scriptor::new(out, header, losses)?),
        Format::Door => Box::new(scripts::Door::new(out, header, losses)?),
        Format::Pm3Trace => {
            out.flush()?;
            Box::new(proxmark::Trace::new(out, header, losses))
        }
        other => return Err(ConvertError::NotWritable(other)),
    })
}

/// A conversion that ended early.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Stopped {
    /// Why.
    pub error: ConvertError,
    /// What was done until then.
    pub report: Report,
}

/// Writes all events in a format.
///
/// # Errors
/// [`Stopped`]: why, and what was done until then.
pub fn convert<E: Events, W: Write>(events: E, to: Format, mut out: W) -> Result<Report, Box<Stopped>> {
    let mut report = Report::default();
    let mut events = Scouted::new(events);
    let outcome = all(&mut events, to, &mut out, &mut report);
    report.cut = events.cut();
    match outcome.and_then(|()| out.flush().map_err(Into::into)) {
        Ok(()) => Ok(report),
        Err(error) => Err(Box::new(Stopped { error, report })),
    }
}

fn all<E: Events, W: Write>(events: &mut Scouted<E>, to: Format, out: &mut W, report: &mut Report) -> Result<(), ConvertError> {
    let header = events.header().clone();
    let mut exporter = exporter(to, &header, &mut *out, &mut report.losses)?;
    if events.own_apdus() {
        exporter.own_apdus();
    }
    let mut outcome = Ok(());
    while let Some(event) = events.next_event() {
        match event {
            Ok(event) => {
                report.events += 1;
                exporter.event(&event, &mut report.losses)?;
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    exporter.finish(&mut report.losses)?;
    Ok(outcome?)
}

/// Says which fields of a header a format has no place for.
pub(crate) fn header_losses(header: &Header, held: &[&str], losses: &mut Losses) {
    let fields = [
        ("created", header.created.is_some()),
        ("tool", header.tool.is_some()),
        ("os", header.os.is_some()),
        ("reader", header.reader.is_some()),
        ("driver", header.driver.is_some()),
        ("firmware", header.firmware.is_some()),
        ("atr", header.atr.is_some()),
        ("notes", header.notes.is_some()),
    ];
    for (name, there) in fields {
        if there && !held.contains(&name) {
            losses.add(&format!("header: {name}"));
        }
    }
    for (name, _) in header
        .extra
        .iter()
        .filter(|(name, _)| !held.contains(name) && *name != "clock" && *name != "answers")
    {
        losses.add(&format!("header: {name}"));
    }
}

/// Says what of an event with bytes is lost where only its bytes are kept.
pub(crate) fn event_losses(event: &Event, held: &[&str], losses: &mut Losses) {
    if !event.mask.is_empty() {
        losses.add("marks of what was masked; zeros stand there");
    }
    if event.text.is_some() && !held.contains(&"text") {
        losses.add("remarks on events");
    }
    for (name, _) in event.extra.iter().filter(|(name, _)| !held.contains(name)) {
        losses.add(&format!("field {name}"));
    }
}
