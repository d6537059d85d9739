//! Commands with their answers, of layer `apdu`, or put together from frames.

use super::Losses;
use crate::event::{Direction, Event, Layer};
use crate::rf::Assembler;

/// Finds pairs.
#[derive(Default)]
pub(super) struct Pairs {
    assembler: Assembler,
    command: Option<Event>,
    from_frames: bool,
}

/// What an event turned out to be.
pub(super) enum Found {
    /// A command with its answer.
    Pair(Event, Event),
    /// A command that was never answered, because another one followed.
    Lonely(Event),
    /// A remark.
    Note,
    Nothing,
}

impl Pairs {
    /// Takes an event. What is neither an APDU nor a remark is counted as lost.
    pub(super) fn take(&mut self, event: &Event, losses: &mut Losses) -> Found {
        let made = self.assembler.feed(event);
        if made.is_some() && !self.from_frames {
            self.from_frames = true;
            losses.add("frames; the APDUs that they carry are kept");
        }
        let apdu = match (&made, &event.layer) {
            (Some(made), _) => made,
            (None, Layer::Apdu) => event,
            (None, Layer::Note) => return Found::Note,
            (None, Layer::Rf) if event.data.is_some() => {
                if !self.from_frames {
                    losses.add("frames of activation and of ISO-DEP");
                }
                return Found::Nothing;
            }
            (None, layer) => {
                losses.add(&format!("events of layer {layer}"));
                return Found::Nothing;
            }
        };
        match (apdu.dir, &apdu.data) {
            (Some(Direction::Out), Some(_)) => match self.command.replace(apdu.clone()) {
                Some(lonely) => Found::Lonely(lonely),
                None => Found::Nothing,
            },
            (Some(Direction::In), Some(_)) => match self.command.take() {
                Some(command) => Found::Pair(command, apdu.clone()),
                None => {
                    losses.add("answers without a command");
                    Found::Nothing
                }
            },
            _ => {
                losses.add("events of layer apdu without bytes");
                Found::Nothing
            }
        }
    }

    /// The tape has APDUs of its own: none are made of frames.
    pub(super) fn own_apdus(&mut self) {
        self.assembler.own_apdus();
    }

    /// The command that is still unanswered at the end.
    pub(super) fn last(&mut self) -> Option<Event> {
        self.command.take()
    }
}

/// A remark on one line.
pub(super) fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
