//! [`Elsewhere`]: a writer on a thread of its own.
//!
//! Rows travel there as bytes, and text comes back, in pieces that are large against what a piece costs. Two pieces are on the way, so both
//! threads work; their memory goes back and forth with them.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::GATHERED;
use super::row::{Row, pack_frame};
use super::writer::Writer;
use crate::decode::Decoded;
use crate::event::Event;

/// How many pieces are on the way.
const PIECES: usize = 2;

#[derive(Debug, Default)]
struct Piece {
    rows: Vec<u8>,
    text: Vec<u8>,
}

/// A writer on a thread of its own.
pub(super) struct Elsewhere {
    rows: Vec<u8>,
    there: Sender<Piece>,
    back: Receiver<Piece>,
    under_way: usize,
    thread: JoinHandle<io::Result<Box<Writer>>>,
}

impl Elsewhere {
    /// Takes the writer away, where there is a second processor and a thread can be had.
    pub(super) fn begin(writer: &mut Box<Writer>) -> Option<Self> {
        if thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
            return None;
        }
        let (there, work) = channel::<Piece>();
        let (done, back) = channel();
        let (hand_over, handed) = channel::<Box<Writer>>();
        let thread = thread::Builder::new().name("lines".into()).spawn(move || {
            let mut writer = handed.recv().map_err(io::Error::other)?;
            for mut piece in work {
                writer.text.clear();
                std::mem::swap(&mut writer.text, &mut piece.text);
                let mut rows = &piece.rows[..];
                while let Some(row) = Row::unpack(&mut rows) {
                    writer.row(&row)?;
                }
                std::mem::swap(&mut writer.text, &mut piece.text);
                piece.rows.clear();
                if done.send(piece).is_err() {
                    break;
                }
            }
            writer.text.clear();
            Ok(writer)
        });
        let thread = thread.ok()?;
        let worth = writer.worth();
        if let Err(returned) = hand_over.send(std::mem::replace(writer, Box::new(Writer::new(worth)))) {
            *writer = returned.0;
            return None;
        }
        Some(Self {
            rows: Vec::with_capacity(2 * GATHERED),
            there,
            back,
            under_way: 0,
            thread,
        })
    }

    pub(super) fn add<W: Write>(&mut self, event: &Event, block: Option<&str>, decoded: &Decoded, out: &mut W) -> io::Result<()> {
        if !pack_frame(event, block, decoded, &mut self.rows) {
            Row::of(event, block, decoded).pack(&mut self.rows);
        }
        if self.rows.len() < GATHERED {
            return Ok(());
        }
        let mut piece = match self.under_way {
            0..PIECES => Piece::default(),
            _ => self.take(out)?,
        };
        std::mem::swap(&mut piece.rows, &mut self.rows);
        self.send(piece)
    }

    fn send(&mut self, piece: Piece) -> io::Result<()> {
        self.under_way += 1;
        self.there.send(piece).map_err(|_| gone())
    }

    /// Waits for a piece and writes its text.
    fn take<W: Write>(&mut self, out: &mut W) -> io::Result<Piece> {
        let mut piece = self.back.recv().map_err(|_| gone())?;
        self.under_way -= 1;
        out.write_all(&piece.text)?;
        piece.text.clear();
        Ok(piece)
    }

    /// Writes what is on the way, and brings the writer back.
    pub(super) fn end<W: Write>(mut self, out: &mut W) -> io::Result<Box<Writer>> {
        let rows = std::mem::take(&mut self.rows);
        self.send(Piece { rows, ..Piece::default() })?;
        while self.under_way > 0 {
            self.take(out)?;
        }
        drop(self.there);
        self.thread.join().map_err(|_| gone())?
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that puts lines together has ended")
}
