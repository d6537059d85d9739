//! The host's side of the high speed UART (UM0701-02 6.2.1, 6.2.5): a command, the chip's ACK, the chip's answer.
//!
//! - No ACK: the chip may sleep, or a byte was lost. The command is sent again, after a wake-up, twice.
//! - An answer that cannot be read: NACK, and the chip sends it again, twice.
//! - No answer in time: an ACK from the host ends the command, so that the next one finds a chip that listens.

use std::io;
use std::time::{Duration, Instant};

use tapdoor_protocol::pn532::frame::{self, TO_CHIP};
use tapdoor_protocol::pn532::{ACK, Frames, Incoming, MAX_FRAME, NACK, WAKE_UP};

use super::port::{Port, PortError, PortErrorKind};

/// A chip acknowledges within 15 ms; a busy machine that plays one, and a USB converter, need longer.
const ACK_TIMEOUT: Duration = Duration::from_millis(300);
/// How often a command, and how often a NACK, is sent.
const ATTEMPTS: usize = 3;
/// What may come in while an answer is waited for, before the line counts as mad: at 115200 baud, six seconds of it.
const MOST_BYTES: usize = 64 * 1024;

/// Bytes out, bytes in.
pub trait Line {
    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// Whatever ails the line.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Waits up to `timeout` for bytes; 0 is the end of that time.
    ///
    /// # Errors
    /// `UnexpectedEof` when the line has ended, or whatever ails it.
    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize>;

    /// Throws away what has come in and was not read.
    ///
    /// # Errors
    /// As [`Line::receive`].
    fn discard(&mut self) -> io::Result<()> {
        let mut buffer = [0; 512];
        for _ in 0..64 {
            if self.receive(&mut buffer, Duration::ZERO)? == 0 {
                break;
            }
        }
        Ok(())
    }
}

impl<L: Line + ?Sized> Line for Box<L> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        (**self).send(bytes)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize> {
        (**self).receive(buffer, timeout)
    }
}

/// A chip on a serial line.
#[derive(Debug)]
pub struct Hsu<L> {
    line: L,
    frames: Frames,
    out: Vec<u8>,
    input: Box<[u8]>,
    /// The chip may be asleep.
    asleep: bool,
}

enum Outcome {
    Answered,
    /// The chip has not taken the command.
    NotTaken,
}

impl<L: Line> Hsu<L> {
    /// A chip that may be asleep, or in the middle of somebody else's command.
    pub fn new(line: L) -> Self {
        Self {
            line,
            frames: Frames::new(),
            out: Vec::with_capacity(2 * MAX_FRAME),
            input: vec![0; 2 * MAX_FRAME].into_boxed_slice(),
            asleep: true,
        }
    }

    /// The line below.
    pub const fn line_mut(&mut self) -> &mut L {
        &mut self.line
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        self.line.send(bytes).map_err(gone)
    }

    /// Sends the command and waits for ACK and answer.
    fn attempt(&mut self, command: &[u8], timeout: Duration, answer: &mut Vec<u8>) -> Result<Outcome, PortError> {
        self.frames.clear();
        self.out.clear();
        if self.asleep {
            self.line.discard().map_err(gone)?;
            self.out.extend_from_slice(&WAKE_UP);
        }
        frame::encode(TO_CHIP, command, &mut self.out).map_err(|e| PortError::new(PortErrorKind::TooLong, e))?;
        self.line.send(&self.out).map_err(gone)?;
        let expected = command.first().map_or(1, |code| code.wrapping_add(1));
        let begun = Instant::now();
        let (mut acknowledged, mut nacks, mut bytes, mut quiet) = (false, 0, 0, false);
        loop {
            let mut refused = false;
            let mut damaged = None;
            while let Some(incoming) = self.frames.next_frame() {
                match incoming {
                    Incoming::Ack => acknowledged = true,
                    // Without its ACK, which got lost, it is as good.
                    Incoming::Answer(content) if content.first() == Some(&expected) => {
                        answer.extend_from_slice(content);
                        self.asleep = false;
                        return Ok(Outcome::Answered);
                    }
                    Incoming::Error => refused = true,
                    Incoming::Damaged(damage) => damaged = Some(damage),
                    // An answer that nobody waits for any more, our own command from a line that echoes.
                    Incoming::Answer(_) | Incoming::Command(_) | Incoming::Nack => {}
                }
            }
            if refused {
                self.asleep = false;
                let detail = format!("the chip refuses command {:02x} (syntax error frame)", expected.wrapping_sub(1));
                return Err(PortError::new(PortErrorKind::Refused, detail));
            }
            if let Some(damage) = damaged
                && acknowledged
            {
                nacks += 1;
                if nacks >= ATTEMPTS {
                    let detail = format!("{ATTEMPTS} answers that cannot be read: {damage}");
                    return Err(PortError::new(PortErrorKind::Silent, detail));
                }
                self.send(&NACK)?;
            }
            let limit = if acknowledged { timeout.max(ACK_TIMEOUT) } else { ACK_TIMEOUT };
            let left = limit.saturating_sub(begun.elapsed());
            if quiet || left.is_zero() || bytes > MOST_BYTES {
                if !acknowledged {
                    return Ok(Outcome::NotTaken);
                }
                let detail = if bytes > MOST_BYTES {
                    format!("{bytes} bytes without an answer among them")
                } else {
                    format!("no answer to command {:02x} within {limit:?}", expected.wrapping_sub(1))
                };
                return Err(PortError::new(PortErrorKind::Silent, detail));
            }
            let count = self.line.receive(&mut self.input, left).map_err(gone)?;
            bytes += count;
            quiet = count == 0;
            self.frames.push(self.input.get(..count).unwrap_or_default());
        }
    }
}

fn gone(e: io::Error) -> PortError {
    PortError::new(PortErrorKind::Gone, format!("the line has failed: {e}"))
}

impl<L: Line> Port for Hsu<L> {
    fn exchange(&mut self, command: &[u8], timeout: Duration, answer: &mut Vec<u8>) -> Result<(), PortError> {
        for _ in 0..ATTEMPTS {
            answer.clear();
            match self.attempt(command, timeout, answer) {
                Ok(Outcome::Answered) => return Ok(()),
                Ok(Outcome::NotTaken) => {
                    // It may be at an older command: this ends that.
                    self.send(&ACK)?;
                    self.asleep = true;
                }
                Err(error) => {
                    if error.kind == PortErrorKind::Silent {
                        self.send(&ACK)?;
                        self.asleep = true;
                    }
                    return Err(error);
                }
            }
        }
        let detail = format!("{ATTEMPTS} commands without an ACK: is there a PN532 at the other end, and is its switch at HSU?");
        Err(PortError::new(PortErrorKind::Silent, detail))
    }

    fn longest(&self) -> (usize, usize) {
        (MAX_FRAME - 1, MAX_FRAME - 1)
    }

    fn can_abort(&self) -> bool {
        true
    }
}
