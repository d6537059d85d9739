//! The chip at the end of a serial line: frames, acknowledgements, aborts (UM0701-02 6.2.1).
//!
//! Each command is acknowledged and then answered; a syntax error gets the error frame. An ACK or another command from the host ends the
//! one that is under way, without an answer. A NACK asks for the last answer again. A damaged frame is not acknowledged, so that the host
//! sends it again; half a frame that is not continued is forgotten.

use std::io;
use std::time::{Duration, Instant};

use tapdoor_link::field::FieldLink;
use tapdoor_link::stop::Stop;
use tapdoor_protocol::pn532::frame::{self, TO_HOST};
use tapdoor_protocol::pn532::{ACK, ERROR, Frames, Incoming};

use super::{Outcome, Pn532};
use crate::line::Line;

/// How long the line is waited at while a command is under way: the chip looks at the field that often.
const LOOK: Duration = Duration::from_millis(5);
/// How long a host may rest within a frame.
const WITHIN_FRAME: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_secs(5);

/// Serves the chip on a line until `stop`, or until the line is gone.
///
/// # Errors
/// Those of the line.
pub fn serve<L: FieldLink>(chip: &mut Pn532<L>, line: &mut dyn Line, stop: &Stop) -> io::Result<()> {
    let mut session = Session::default();
    let mut buffer = [0; 512];
    while !stop.is_stopped() {
        let wait = match (session.busy, session.frames.is_empty()) {
            (true, _) => LOOK,
            (false, false) => WITHIN_FRAME,
            (false, true) => IDLE,
        };
        let count = match line.read(&mut buffer, wait) {
            Ok(count) => count,
            Err(_) if stop.is_stopped() => break,
            Err(e) => return Err(e),
        };
        session.step(chip, &buffer[..count.min(buffer.len())]);
        if !session.out.is_empty() {
            let result = line.write(&session.out);
            session.out.clear();
            if let (Err(e), false) = (result, stop.is_stopped()) {
                return Err(e);
            }
        }
    }
    chip.abort();
    Ok(())
}

/// The state of a line, without the line.
#[derive(Debug, Default)]
pub struct Session {
    frames: Frames,
    busy: bool,
    content: Vec<u8>,
    answer: Vec<u8>,
    last: Vec<u8>,
    heard: Option<Instant>,
    /// What is to be sent.
    pub out: Vec<u8>,
}

impl Session {
    /// Takes the bytes that came (none: time has passed), and lets the chip work. What is to be sent is appended to [`Session::out`].
    pub fn step<L: FieldLink>(&mut self, chip: &mut Pn532<L>, bytes: &[u8]) {
        if bytes.is_empty() {
            if !self.frames.is_empty() && self.heard.is_none_or(|at| at.elapsed() >= WITHIN_FRAME) {
                self.frames.clear();
            }
            if self.busy {
                let outcome = chip.resume(&mut self.answer);
                self.finish(chip, outcome);
            }
            return;
        }
        self.heard = Some(Instant::now());
        self.frames.push(bytes);
        while let Some(incoming) = self.frames.next_frame() {
            match incoming {
                Incoming::Ack => {
                    if std::mem::take(&mut self.busy) {
                        chip.abort();
                    }
                }
                Incoming::Nack => self.out.extend_from_slice(&self.last),
                Incoming::Command(content) => {
                    self.content.clear();
                    self.content.extend_from_slice(content);
                    self.begin(chip);
                }
                // What only a chip says means nothing here, and what is damaged is not acknowledged.
                Incoming::Error | Incoming::Answer(_) | Incoming::Damaged(_) => {}
            }
        }
    }

    fn begin<L: FieldLink>(&mut self, chip: &mut Pn532<L>) {
        if std::mem::take(&mut self.busy) {
            chip.abort();
        }
        self.out.extend_from_slice(&ACK);
        let outcome = chip.command(&self.content, &mut self.answer);
        self.finish(chip, outcome);
    }

    fn finish<L: FieldLink>(&mut self, chip: &Pn532<L>, outcome: Outcome) {
        self.busy = outcome == Outcome::Busy;
        if self.busy {
            return;
        }
        self.last.clear();
        if outcome != Outcome::Answered || frame::encode(TO_HOST, &self.answer, &mut self.last).is_err() {
            self.last.clear();
            self.last.extend_from_slice(&ERROR);
        } else if chip.has_no_ambles() {
            self.last.pop();
            self.last.remove(0);
        }
        self.out.extend_from_slice(&self.last);
    }
}
