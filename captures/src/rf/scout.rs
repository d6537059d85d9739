//! Whether a session with frames has APDUs of its own beside them: looked up before the first frame is put together, so that the first exchange
//! is not taken twice.

use std::collections::VecDeque;

use super::Assembler;
use crate::event::{Direction, Event, Layer};
use crate::header::Header;
use crate::read::{Cut, Events, ReadError};

/// Most events that are read ahead, and most of their bytes.
const MOST: (usize, usize) = (4096, 1 << 22);

/// Events, with a look ahead.
pub(crate) struct Scouted<E> {
    events: E,
    ahead: VecDeque<Result<Event, ReadError>>,
    own_apdus: bool,
}

impl<E: Events> Scouted<E> {
    /// Reads ahead until there is an event of layer `apdu`, or frames carry a second command: an exchange is written when its answer is in, so it
    /// stands behind its frames and before those of the next one.
    pub(crate) fn new(mut events: E) -> Self {
        let (mut ahead, mut assembler) = (VecDeque::new(), Assembler::new());
        let (mut commands, mut bytes, mut own_apdus) = (0, 0, false);
        while commands < 2 && !own_apdus && ahead.len() < MOST.0 && bytes < MOST.1 {
            let Some(event) = events.next_event() else { break };
            if let Ok(event) = &event {
                own_apdus = event.layer == Layer::Apdu && event.data.is_some();
                bytes += event.data.as_ref().map_or(0, Vec::len);
                commands += usize::from(assembler.feed(event).is_some_and(|made| made.dir == Some(Direction::Out)));
            }
            ahead.push_back(event);
        }
        Self { events, ahead, own_apdus }
    }

    /// Whether there are.
    pub(crate) fn own_apdus(&self) -> bool {
        self.own_apdus
    }
}

impl<E: Events> Events for Scouted<E> {
    fn header(&self) -> &Header {
        self.events.header()
    }

    fn next_event(&mut self) -> Option<Result<Event, ReadError>> {
        self.ahead.pop_front().or_else(|| self.events.next_event())
    }

    fn cut(&self) -> Option<Cut> {
        self.events.cut()
    }
}
