//! The short way for the frames of a long pcapng file.

use std::io::BufRead;

use super::{Capture, ISO_14443, Kind, MAX_BLOCK, carried, short};
use crate::event::Event;
use crate::rf::crc;

impl<R: BufRead> Capture<R> {
    /// Most packets of a long file are frames without options, in pcapng of this machine's byte order, and stand as a whole in the reader's
    /// buffer. What differs from that in the least is left to [`Importer::more`](crate::import::Importer::more), and so are all errors.
    pub(super) fn whole_frame(&mut self, event: &mut Event) -> bool {
        let Some(base) = self.base.filter(|_| self.kind == Kind::Pcapng && !self.big) else {
            return false;
        };
        let Ok(chunk) = self.input.fill_buf() else {
            return false;
        };
        let Some((head, rest)) = chunk.split_first_chunk::<32>() else {
            return false;
        };
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let [version, kind, high, low] = [head[28], head[29], head[30], head[31]];
        let (length, captured) = (word(4) as usize, word(20) as usize);
        let size = usize::from(u16::from_be_bytes([high, low]));
        let end = length.wrapping_sub(36);
        let (Some((dir, state)), Some(interface)) = (carried(kind), self.interfaces.get(word(8) as usize)) else {
            return false;
        };
        let plain = word(0) == 6
            && version == 0
            && interface.link == ISO_14443
            && size + 4 <= captured
            && captured <= MAX_BLOCK
            && length == 32 + captured.next_multiple_of(4)
            && rest.get(end..end + 4) == Some(&head[4..8]);
        let Some(frame) = rest.get(..size).filter(|_| plain) else {
            return false;
        };
        let ticks = u64::from(word(12)) << 32 | u64::from(word(16));
        event.begin(interface.nanoseconds(ticks).saturating_sub(base), dir, frame);
        event.bits = short(dir, frame);
        event.crc = Some(state.unwrap_or_else(|| crc::state(frame)));
        self.input.consume(length);
        self.offset += length as u64;
        self.packets += 1;
        self.used += 1;
        true
    }
}
