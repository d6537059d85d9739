//! How fast a capture is decoded, beside tshark on the same file in the same run.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Serialize;
use tapdoor_captures::export;
use tapdoor_captures::{Crc, Direction, Event, Events, Filter, Format, Header, Import, Layer, ReadError, rf, show};

use super::{BenchError, median};

/// So often both decode the file.
const ROUNDS: usize = 3;

/// How often tshark's time ours must go into its own.
pub const LIMIT: f64 = 20.0;

/// Times of one file.
#[derive(Clone, Debug, Serialize)]
pub struct DecodeCost {
    /// Frames in the file.
    pub frames: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Seconds of `tapdoor show --plain`, as it is done in this process.
    pub seconds: f64,
    /// Frames per second.
    pub per_second: f64,
    /// tshark's seconds, if it is on this machine.
    pub tshark_seconds: Option<f64>,
    /// How many times as long tshark took.
    pub ratio: Option<f64>,
}

/// Frames of taps over and over: activation, and APDUs in blocks.
struct Frames {
    header: Header,
    left: u64,
    at: usize,
    t: u64,
}

/// A tap of 22 frames: direction and bytes, the CRC not counted; short frames and anticollision have none.
const TAP: &[(Direction, &[u8])] = &[
    (Direction::Out, &[0x52]),
    (Direction::In, &[0x04, 0x00]),
    (Direction::Out, &[0x93, 0x20]),
    (Direction::In, &[0x08, 0xA1, 0xB2, 0xC3, 0xD8]),
    (Direction::Out, &[0x93, 0x70, 0x08, 0xA1, 0xB2, 0xC3, 0xD8]),
    (Direction::In, &[0x20]),
    (Direction::Out, &[0xE0, 0x80]),
    (Direction::In, &[0x05, 0x78, 0x80, 0x70, 0x02]),
    (
        Direction::Out,
        &[
            0x02, 0x00, 0xA4, 0x04, 0x00, 0x09, 0xF0, 0x54, 0x41, 0x50, 0x44, 0x4F, 0x4F, 0x52, 0x01, 0x00,
        ],
    ),
    (Direction::In, &[0xF2, 0x01]),
    (Direction::Out, &[0xF2, 0x01]),
    (
        Direction::In,
        &[
            0x02, 0x6F, 0x0B, 0x84, 0x09, 0xF0, 0x54, 0x41, 0x50, 0x44, 0x4F, 0x4F, 0x52, 0x01, 0x90, 0x00,
        ],
    ),
    (Direction::Out, &[0x03, 0x00, 0xB0, 0x00, 0x00, 0x20]),
    (
        Direction::In,
        &[
            0x13, 0x00, 0x0F, 0x20, 0x00, 0x3B, 0x00, 0x34, 0x04, 0x06, 0xE1, 0x04, 0x00, 0xFF, 0x00, 0xFF, 0x01, 0x02, 0x03, 0x04,
        ],
    ),
    (Direction::Out, &[0xA2]),
    (Direction::In, &[0x02, 0x05, 0x06, 0x07, 0x08, 0x90, 0x00]),
    (Direction::Out, &[0x02, 0x00, 0xCA, 0x7F, 0x68, 0x00]),
    (Direction::In, &[0x03, 0x6A, 0x88]),
    (Direction::Out, &[0x03, 0x80, 0x3C, 0x00, 0x00, 0x01, 0x01]),
    (Direction::In, &[0x02, 0x90, 0x00]),
    (Direction::Out, &[0xC2]),
    (Direction::In, &[0xC2]),
];

impl Events for Frames {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_event(&mut self) -> Option<Result<Event, ReadError>> {
        self.left = self.left.checked_sub(1)?;
        let (dir, bytes) = TAP.get(self.at)?;
        self.at = (self.at + 1) % TAP.len();
        self.t += 500_000;
        let mut data = bytes.to_vec();
        let bare = self.at < 5 && self.at > 0;
        if !bare {
            data.extend_from_slice(&rf::crc::a(bytes));
        }
        let mut event = Event::new(self.t, Layer::Rf).bytes(*dir, data);
        event.crc = Some(if bare { Crc::None } else { Crc::Ok });
        event.bits = (bytes == &[0x52]).then_some(7);
        Some(Ok(event))
    }
}

/// Writes a file of so many frames as pcapng of link type 264.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, frames: u64) -> Result<(), BenchError> {
    let events = Frames {
        header: Header::default(),
        left: frames,
        at: 0,
        t: 0,
    };
    let mut out = BufWriter::with_capacity(1 << 16, File::create(path)?);
    export::convert(events, Format::Pcapng, &mut out).map_err(|stopped| BenchError::Decode(stopped.to_string()))?;
    out.flush()?;
    Ok(())
}

/// Decodes a file of so many frames, by us and by tshark in turn, three times; medians of each.
///
/// # Errors
/// When the file cannot be made or read.
pub fn measure(folder: &Path, frames: u64) -> Result<DecodeCost, BenchError> {
    let path = folder.join("frames.pcapng");
    write(&path, frames)?;
    let bytes = std::fs::metadata(&path)?.len();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let events =
            Import::open(BufReader::with_capacity(1 << 16, File::open(&path)?), None).map_err(|e| BenchError::Decode(e.to_string()))?;
        let mut out = BufWriter::with_capacity(1 << 16, io::sink());
        show::plain(events, &Filter::default(), &mut out).map_err(|e| BenchError::Decode(e.to_string()))?;
        out.flush()?;
        ours.push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let tshark = Command::new("tshark")
            .args(["-d", "iso14443.subdissector,iso7816", "-r"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        theirs.extend(tshark.is_ok_and(|status| status.success()).then(|| begun.elapsed().as_secs_f64()));
    }
    let seconds = median(&mut ours);
    let tshark_seconds = (!theirs.is_empty()).then(|| median(&mut theirs));
    Ok(DecodeCost {
        frames,
        bytes,
        seconds,
        per_second: frames as f64 / seconds,
        tshark_seconds,
        ratio: tshark_seconds.map(|theirs| theirs / seconds),
    })
}
