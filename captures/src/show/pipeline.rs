//! Two threads for a long session: one reads and decodes it, the other one makes lines of it.
//!
//! Batches of events go round between the two and are used again, so memory is bounded and a frame costs no allocation. A session that fits into
//! one batch is shown where it was read.

use std::io::Write;
use std::num::NonZero;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::ShowError;
use crate::decode::{Decoded, Decoder, Name};
use crate::event::{Event, Layer};
use crate::read::Events;

/// So many events are in a batch.
const BATCH: usize = 256;

/// So many bytes of data end a batch early.
const BATCH_DATA: usize = 1 << 18;

/// So many batches go round: one is read, one is shown, and the others make up for what takes longer.
const BATCHES: usize = 4;

/// More room than this is not kept for the next event.
const KEPT: usize = 1 << 12;

/// An event and what it means.
pub(super) struct Item {
    pub(super) event: Event,
    /// The name of the block that carries an APDU.
    pub(super) block: Option<Name>,
    pub(super) decoded: Decoded,
}

impl Item {
    fn empty() -> Self {
        Self {
            event: Event::new(0, Layer::Note),
            block: None,
            decoded: Decoded::default(),
        }
    }
}

#[derive(Default)]
struct Batch {
    items: Vec<Item>,
    /// How many of them are in use.
    used: usize,
    lines: Vec<u8>,
}

/// Whether there is more to read.
enum Filled {
    More,
    End(Result<(), ShowError>),
}

impl Batch {
    fn fill<E: Events>(&mut self, events: &mut E, decoder: &mut Decoder) -> Filled {
        self.used = 0;
        let mut data = 0;
        while self.used < BATCH && data < BATCH_DATA {
            if self.used == self.items.len() {
                self.items.push(Item::empty());
            }
            let Some(item) = self.items.get_mut(self.used) else { break };
            if item.event.data.as_ref().is_some_and(|data| data.capacity() > KEPT) {
                item.event = Event::new(0, Layer::Note);
            }
            match events.next_into(&mut item.event) {
                None => return Filled::End(Ok(())),
                Some(Err(error)) => return Filled::End(Err(error.into())),
                Some(Ok(())) => {}
            }
            (item.block, item.decoded) = decoder.decode_apart(&item.event);
            data += item.event.data.as_ref().map_or(0, Vec::len);
            self.used += 1;
        }
        Filled::More
    }

    fn print(&mut self, print: &mut impl FnMut(&Item, &mut Vec<u8>)) {
        self.lines.clear();
        for item in self.items.iter().take(self.used) {
            print(item, &mut self.lines);
        }
    }
}

/// Reads and decodes all events, gives each to `print` in order, and writes the lines that it makes.
///
/// # Errors
/// [`ShowError`]; what was understood before has been written.
pub(super) fn run<E, W, P>(events: &mut E, decoder: &mut Decoder, mut print: P, out: &mut W) -> Result<(), ShowError>
where
    E: Events,
    W: Write,
    P: FnMut(&Item, &mut Vec<u8>) + Send,
{
    let mut batch = Batch::default();
    let mut filled = batch.fill(events, decoder);
    if matches!(filled, Filled::End(_)) || thread::available_parallelism().is_ok_and(|n| n == NonZero::<usize>::MIN) {
        loop {
            batch.print(&mut print);
            out.write_all(&batch.lines)?;
            match filled {
                Filled::More => filled = batch.fill(events, decoder),
                Filled::End(outcome) => return outcome,
            }
        }
    }
    thread::scope(|scope| {
        let (give, work) = sync_channel::<Batch>(BATCHES);
        let (back, done) = sync_channel::<Batch>(BATCHES);
        thread::Builder::new().name("lines".into()).spawn_scoped(scope, move || {
            for mut batch in work {
                batch.print(&mut print);
                if back.send(batch).is_err() {
                    break;
                }
            }
        })?;
        let mut under_way = 0;
        loop {
            // It fails only when the other thread has panicked, and that comes out at the end of the scope.
            if give.send(batch).is_err() {
                break Ok(());
            }
            under_way += 1;
            if let Filled::End(outcome) = filled {
                drop(give);
                for batch in done {
                    out.write_all(&batch.lines)?;
                }
                break outcome;
            }
            batch = Batch::default();
            if under_way == BATCHES {
                let Ok(shown) = done.recv() else { break Ok(()) };
                under_way -= 1;
                out.write_all(&shown.lines)?;
                batch = shown;
            }
            filled = batch.fill(events, decoder);
        }
    })
}
