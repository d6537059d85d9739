//! Where the time of a tap went: in the air, in the phone, in the host.

use std::io::{self, Write};

use serde::Serialize;

use super::style::{Role, Style};
use crate::decode::Decoded;
use crate::event::{Direction, Event, Layer};
use crate::header::Header;
use crate::rf;

/// What the times of a tape are worth.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Worth {
    /// The file that was read had no times.
    pub(super) untimed: bool,
    /// Frames went over a network, which takes no time on the air.
    pub(super) airless: bool,
}

impl Worth {
    pub(super) fn of(header: &Header) -> Self {
        Self {
            untimed: header.extra.text("clock").as_deref() == Some("none"),
            airless: header.driver.as_deref() == Some("udp"),
        }
    }
}

/// One layer's times, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    events: u64,
    /// When the last thing ended, and which way it went.
    last: Option<(u64, Direction)>,
    air: u64,
    phone: u64,
    host: u64,
}

impl Clock {
    fn add(&mut self, t: u64, dir: Direction, air: u64) {
        self.events += 1;
        self.air = self.air.saturating_add(air);
        if let Some((before, _)) = self.last {
            let gap = t.saturating_sub(before);
            match dir {
                Direction::In => self.phone = self.phone.saturating_add(gap),
                Direction::Out => self.host = self.host.saturating_add(gap),
            }
        }
        self.last = Some((t.saturating_add(air), dir));
    }
}

/// Adds up the times of a tap.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timing {
    worth: Worth,
    tap: Option<u64>,
    first: Option<u64>,
    end: u64,
    rf: Clock,
    apdu: Clock,
    wtx: u64,
    granted: u64,
}

#[derive(Serialize)]
struct Summary {
    event: &'static str,
    tap: Option<u64>,
    ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    air_ms: Option<f64>,
    phone_ms: f64,
    host_ms: f64,
    frames: u64,
    apdus: u64,
    wtx: u64,
    wtx_ms: f64,
}

fn ms(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// What is said by whom, as far as times go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A frame.
    Rf,
    /// An APDU.
    Apdu,
    /// Anything else.
    Other,
}

impl Kind {
    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Rf),
            1 => Some(Self::Apdu),
            2 => Some(Self::Other),
            _ => None,
        }
    }
}

/// What an event means for the times; nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) t: u64,
    pub(super) tap: Option<u64>,
    pub(super) dir: Option<Direction>,
    pub(super) kind: Kind,
    /// How long a frame was on the air.
    pub(super) air: u64,
    /// More time that the card asked for.
    pub(super) granted: Option<u64>,
    /// A remark that it asked.
    pub(super) asked: bool,
}

impl Moment {
    #[inline]
    pub(super) fn of(event: &Event, decoded: &Decoded) -> Self {
        let kind = match event.layer {
            Layer::Rf => Kind::Rf,
            Layer::Apdu => Kind::Apdu,
            _ => Kind::Other,
        };
        let length = event.data.as_ref().map_or(0, Vec::len);
        let number = |name| event.extra.get(name).and_then(|text| text.parse::<u64>().ok());
        Self {
            t: event.t,
            tap: event.tap,
            dir: event.dir,
            kind,
            air: match (kind, event.extra.is_empty()) {
                (Kind::Rf, true) => rf::air_time(length, 106),
                (Kind::Rf, false) => number("duration").unwrap_or_else(|| rf::air_time(length, number("rate").unwrap_or(106))),
                _ => 0,
            },
            granted: decoded.wtx,
            asked: !event.extra.is_empty() && event.layer == Layer::Note && event.extra.get("wtx").is_some(),
        }
    }
}

impl Timing {
    pub(super) fn new(worth: Worth) -> Self {
        Self { worth, ..Self::default() }
    }

    pub(super) fn add(&mut self, event: &Event, decoded: &Decoded) {
        self.take(&Moment::of(event, decoded), event.data.is_some());
    }

    /// The same of what is known of the event. `has_bytes`: only what has bytes took time.
    pub(super) fn take(&mut self, moment: &Moment, has_bytes: bool) {
        let t = moment.t;
        let air = if self.worth.airless { 0 } else { moment.air };
        self.tap = moment.tap;
        self.first.get_or_insert(t);
        self.end = self.end.max(t);
        if let Some(granted) = moment.granted {
            self.wtx += 1;
            self.granted = self.granted.saturating_add(granted);
        } else if moment.asked {
            self.wtx += 1;
        }
        let Some(dir) = moment.dir.filter(|_| has_bytes) else {
            return;
        };
        match moment.kind {
            Kind::Rf => {
                self.rf.add(t, dir, air);
                self.end = self.end.max(t.saturating_add(air));
            }
            Kind::Apdu => self.apdu.add(t, dir, 0),
            Kind::Other => {}
        }
    }

    fn summary(&self) -> Option<Summary> {
        let (rf, apdu) = (self.rf.events, self.apdu.events);
        if rf + apdu < 2 {
            return None;
        }
        let clock = if rf > 0 { self.rf } else { self.apdu };
        Some(Summary {
            event: "summary",
            tap: self.tap,
            ms: ms(self.end.saturating_sub(self.first?)),
            air_ms: (rf > 0 && !self.worth.airless).then(|| ms(clock.air)),
            phone_ms: ms(clock.phone),
            host_ms: ms(clock.host),
            frames: rf,
            apdus: apdu,
            wtx: self.wtx,
            wtx_ms: ms(self.granted),
        })
    }

    /// What there was, and begins afresh.
    fn end(&mut self) -> Option<Summary> {
        let summary = self.summary();
        *self = Self::new(self.worth);
        summary
    }

    /// Writes where the time went, and begins afresh.
    pub(super) fn finish<W: Write>(&mut self, style: Style, out: &mut W) -> io::Result<()> {
        let Worth { untimed, airless } = self.worth;
        let Some(sum) = self.end() else {
            return Ok(());
        };
        let mut parts = Vec::new();
        if !untimed {
            let share = |part: f64| if sum.ms > 0.0 { 100.0 * part / sum.ms } else { 0.0 };
            let mut places = format!("{:.3} ms:", sum.ms);
            if let Some(air) = sum.air_ms {
                places.push_str(&format!(" air {air:.3} ({:.0} %),", share(air)));
            }
            let phone = match (sum.air_ms, airless && sum.frames > 0) {
                (Some(_), _) => "phone",
                (None, true) => "phone and network",
                (None, false) => "phone and air",
            };
            places.push_str(&format!(
                " {phone} {:.3} ({:.0} %), host {:.3} ({:.0} %)",
                sum.phone_ms,
                share(sum.phone_ms),
                sum.host_ms,
                share(sum.host_ms)
            ));
            parts.push(places);
        }
        match (sum.wtx, sum.wtx_ms) {
            (0, _) => {}
            (n, 0.0) => parts.push(format!("{n} waiting time extensions")),
            (n, granted) => parts.push(format!("{n} waiting time extensions, {granted:.1} ms granted")),
        }
        if parts.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n    {}", style.paint(Role::Heading, &parts.join("; ")))
    }

    /// The same as an object.
    pub(super) fn finish_json<W: Write>(&mut self, out: &mut W) -> io::Result<()> {
        match self.end() {
            Some(summary) if !self.worth.untimed || summary.wtx > 0 => super::object(&summary, out),
            _ => Ok(()),
        }
    }
}
