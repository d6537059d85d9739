//! Tape, JSON and CSV: everything that is on a tape.

use std::io::{self, Write};

use super::{Exporter, Losses, header_losses};
use crate::event::Event;
use crate::extra::Extra;
use crate::header::Header;

pub(crate) struct Tape<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Tape<W> {
    pub(crate) fn new(mut out: W, header: &Header) -> io::Result<Self> {
        let mut line = Vec::with_capacity(512);
        header.encode_into(&mut line);
        out.write_all(&line)?;
        Ok(Self { out, line })
    }
}

impl<W: Write> Exporter for Tape<W> {
    fn event(&mut self, event: &Event, _: &mut Losses) -> io::Result<()> {
        self.line.clear();
        event.encode_into(&mut self.line);
        self.out.write_all(&self.line)
    }
}

/// `{"tape":{header},"events":[..]}`, one event a line.
pub(crate) struct Json<W> {
    out: W,
    line: Vec<u8>,
    any: bool,
}

impl<W: Write> Json<W> {
    pub(crate) fn new(mut out: W, header: &Header) -> io::Result<Self> {
        let mut line = Vec::with_capacity(512);
        header.encode_into(&mut line);
        out.write_all(b"{\"tape\":")?;
        out.write_all(line.trim_ascii_end())?;
        out.write_all(b",\n\"events\":[")?;
        Ok(Self { out, line, any: false })
    }
}

impl<W: Write> Exporter for Json<W> {
    fn event(&mut self, event: &Event, _: &mut Losses) -> io::Result<()> {
        self.line.clear();
        event.encode_into(&mut self.line);
        self.out.write_all(if self.any { b",\n" } else { b"\n" })?;
        self.any = true;
        self.out.write_all(self.line.trim_ascii_end())
    }

    fn finish(&mut self, _: &mut Losses) -> io::Result<()> {
        self.out.write_all(b"\n]}\n")
    }
}

/// RFC 4180, with a heading. `extra` holds the other fields as JSON.
pub(crate) struct Csv<W> {
    out: W,
}

impl<W: Write> Csv<W> {
    pub(crate) fn new(mut out: W, header: &Header, losses: &mut Losses) -> io::Result<Self> {
        header_losses(header, &[], losses);
        out.write_all(b"t,tap,layer,dir,data,bits,crc,parity,mask,text,extra\r\n")?;
        Ok(Self { out })
    }
}

/// A cell, in quotes where it must be.
fn cell(text: &str) -> String {
    match text.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn extra(extra: &Extra) -> String {
    if extra.is_empty() {
        return String::new();
    }
    let mut text = Vec::new();
    extra.encode_into(&[], &mut text);
    let fields = String::from_utf8_lossy(&text);
    format!("{{{}}}", fields.trim_start_matches(','))
}

impl<W: Write> Exporter for Csv<W> {
    fn event(&mut self, event: &Event, _: &mut Losses) -> io::Result<()> {
        let mask: Vec<_> = event.mask.iter().map(|mask| format!("{}+{} {}", mask.offset, mask.length, mask.kind)).collect();
        let optional = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
        let cells = [
            event.t.to_string(),
            optional(event.tap),
            cell(event.layer.as_str()),
            event.dir.map_or("", crate::event::Direction::as_str).to_owned(),
            event.data.as_ref().map_or_else(String::new, hex::encode),
            optional(event.bits.map(u64::from)),
            event.crc.map_or("", crate::event::Crc::as_str).to_owned(),
            event.parity.as_ref().map_or_else(String::new, hex::encode),
            cell(&mask.join("; ")),
            cell(event.text.as_deref().unwrap_or_default()),
            cell(&extra(&event.extra)),
        ];
        self.out.write_all(cells.join(",").as_bytes())?;
        self.out.write_all(b"\r\n")
    }
}
