//! Frames of the high speed UART (UM0701-02 6.2.1).
//!
//! `00 00 FF LEN LCS TFI .. DCS 00`, extended `00 00 FF FF FF LENM LENL LCS TFI .. DCS 00`, and the short ones without content.
//! Both checksums make their sums 0 modulo 256. Chips that leave the ambles out are understood too: a frame begins at `00 FF`.

use alloc::vec::Vec;

use super::{MAX_FRAME, Pn532Error};

/// The frame was taken.
pub const ACK: [u8; 6] = [0x00, 0x00, 0xFF, 0x00, 0xFF, 0x00];
/// The last frame from the chip is wanted again.
pub const NACK: [u8; 6] = [0x00, 0x00, 0xFF, 0xFF, 0x00, 0x00];
/// What the chip sends for a command with a wrong syntax.
pub const ERROR: [u8; 8] = [0x00, 0x00, 0xFF, 0x01, 0xFF, 0x7F, 0x81, 0x00];
/// What wakes a chip from power-down before the first command: a start bit pattern, and time to wake.
pub const WAKE_UP: [u8; 16] = [0x55, 0x55, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// TFI of frames to the chip.
pub const TO_CHIP: u8 = 0xD4;
/// TFI of frames from the chip.
pub const TO_HOST: u8 = 0xD5;
/// TFI of the error frame.
const TFI_ERROR: u8 = 0x7F;

/// Appends the frame with `tfi` and `content` (code and parameters) to `out`.
///
/// # Errors
/// [`Pn532Error::TooLong`] for more than [`MAX_FRAME`] bytes with the TFI; `out` is then as it was.
pub fn encode(tfi: u8, content: &[u8], out: &mut Vec<u8>) -> Result<(), Pn532Error> {
    let length = content.len() + 1;
    if length > MAX_FRAME {
        return Err(Pn532Error::TooLong { length });
    }
    out.reserve(length + 10);
    out.extend_from_slice(&[0x00, 0x00, 0xFF]);
    // Both casts are of values that fit: length is at most 265.
    let [high, low] = (length as u16).to_be_bytes();
    let lcs = high.wrapping_add(low).wrapping_neg();
    if high == 0 {
        out.extend_from_slice(&[low, lcs]);
    } else {
        out.extend_from_slice(&[0xFF, 0xFF, high, low, lcs]);
    }
    out.push(tfi);
    out.extend_from_slice(content);
    out.extend_from_slice(&[checksum(tfi, content), 0x00]);
    Ok(())
}

fn checksum(tfi: u8, content: &[u8]) -> u8 {
    content.iter().fold(tfi, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

/// What a frame that cannot be used has wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The length and its checksum contradict each other.
    #[error("the length's checksum (LCS) is wrong")]
    Lcs,
    /// The content and its checksum contradict each other.
    #[error("the content's checksum (DCS) is wrong")]
    Dcs,
    /// Longer than any frame of the chip, or of no length.
    #[error("a length of {0} bytes, which no frame has")]
    Length(usize),
    /// Neither to the chip nor to the host.
    #[error("{0:02x} says neither \"to the chip\" (d4) nor \"to the host\" (d5)")]
    Tfi(u8),
}

/// What came over the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// See [`ACK`]. From the host it also ends the command that is under way.
    Ack,
    /// See [`NACK`].
    Nack,
    /// See [`ERROR`].
    Error,
    /// To the chip: code and parameters.
    Command(&'a [u8]),
    /// To the host: code and parameters.
    Answer(&'a [u8]),
    /// A frame that cannot be used. What follows it is read on from a place where a frame can begin.
    Damaged(Damage),
}

/// Takes the bytes of a line as they come, and gives back frames. Garbage between them is passed over.
///
/// Once [`Frames::next_frame`] has said `None`, it keeps less than one frame.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    start: usize,
}

enum Found {
    Nothing,
    Short {
        end: usize,
    },
    Content {
        content: core::ops::Range<usize>,
        tfi: u8,
        end: usize,
    },
    Damaged {
        damage: Damage,
        end: usize,
    },
}

impl Frames {
    /// Nothing has come yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buffer: Vec::with_capacity(2 * MAX_FRAME),
            start: 0,
        }
    }

    /// These bytes have come.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Forgets what has come, such as the half of an answer that never ended.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.start = 0;
    }

    /// Whether the beginning of a frame (or of garbage) waits for the rest.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == self.start
    }

    /// The next frame, if all of it is there.
    pub fn next_frame(&mut self) -> Option<Incoming<'_>> {
        // Where the start code 00 FF is; a last 00 may be its first half.
        let bytes = &self.buffer[self.start..];
        let Some(offset) = bytes.windows(2).position(|pair| pair == [0x00, 0xFF]) else {
            let keep = usize::from(bytes.last() == Some(&0x00));
            self.start = self.buffer.len() - keep;
            return None;
        };
        self.start += offset;
        let at = self.start;
        let rest = &self.buffer[at + 2..];
        match Self::look(rest) {
            Found::Nothing => None,
            Found::Short { end } => {
                let frame = if rest.first() == Some(&0x00) {
                    Incoming::Ack
                } else {
                    Incoming::Nack
                };
                self.start = at + 2 + end;
                Some(frame)
            }
            Found::Damaged { damage, end } => {
                self.start = at + 2 + end;
                Some(Incoming::Damaged(damage))
            }
            Found::Content { content, tfi, end } => {
                self.start = at + 2 + end;
                let content = &self.buffer[at + 2 + content.start..at + 2 + content.end];
                Some(match tfi {
                    TO_CHIP => Incoming::Command(content),
                    TO_HOST => Incoming::Answer(content),
                    TFI_ERROR if content.is_empty() => Incoming::Error,
                    other => Incoming::Damaged(Damage::Tfi(other)),
                })
            }
        }
    }

    /// What stands behind a start code. A damaged length says nothing about where the frame ends, so only the start code is passed over;
    /// a damaged content is passed over whole, so that nothing inside it is taken for a frame.
    fn look(rest: &[u8]) -> Found {
        let &[first, second, ..] = rest else { return Found::Nothing };
        let (length, header) = match (first, second) {
            (0x00, 0xFF) | (0xFF, 0x00) => return Found::Short { end: 2 },
            (0xFF, 0xFF) => {
                let &[_, _, high, low, lcs, ..] = rest else { return Found::Nothing };
                if high.wrapping_add(low).wrapping_add(lcs) != 0 {
                    return Found::Damaged {
                        damage: Damage::Lcs,
                        end: 0,
                    };
                }
                (usize::from(u16::from_be_bytes([high, low])), 5)
            }
            (length, lcs) if length.wrapping_add(lcs) == 0 => (usize::from(length), 2),
            _ => {
                return Found::Damaged {
                    damage: Damage::Lcs,
                    end: 0,
                };
            }
        };
        if length == 0 || length > MAX_FRAME {
            return Found::Damaged {
                damage: Damage::Length(length),
                end: 0,
            };
        }
        let end = header + length + 1;
        let (Some(&tfi), Some(content), Some(&dcs)) = (rest.get(header), rest.get(header + 1..header + length), rest.get(header + length))
        else {
            return Found::Nothing;
        };
        if checksum(tfi, content) != dcs {
            return Found::Damaged { damage: Damage::Dcs, end };
        }
        Found::Content {
            content: header + 1..header + length,
            tfi,
            end,
        }
    }
}
