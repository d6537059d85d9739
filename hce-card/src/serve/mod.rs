//! The seam towards the field: [`Card`] is what a phone shows, and the modules below show it to somebody.

#[cfg(feature = "libnfc")]
pub mod libnfc;
mod parts;
pub mod target;
pub mod udp;
pub mod vpcd;

/// A card as the field sees it.
pub trait Card: Send {
    /// The field powers the card: it starts from nothing.
    fn power_on(&mut self);

    /// The field is gone, or the connection that stands for it; may come again while the power is off.
    fn power_off(&mut self);

    /// The reader resets the card: nothing is selected, no session is open.
    fn reset(&mut self);

    /// The answer to reset, as PC/SC would show it.
    fn atr(&self) -> &[u8];

    /// Answers a C-APDU: replaces the content of `response`, which comes empty, by data and status word.
    ///
    /// A response that is left empty says that the card left the field in the middle of the command.
    fn process(&mut self, command: &[u8], response: &mut Vec<u8>);

    /// The same if it is a matter of microseconds; otherwise it does nothing and says false. Who has a radio to serve asks this first:
    /// handing a command to another thread and waiting for it costs more than most answers.
    fn try_process(&mut self, command: &[u8], response: &mut Vec<u8>) -> bool {
        let _ = (command, response);
        false
    }

    /// Whether the card leaves the field now that its answer is out, to come back a little later: the next tap of a phone that taps by itself.
    fn is_leaving(&mut self) -> bool {
        false
    }
}

impl<C: Card + ?Sized> Card for &mut C {
    fn power_on(&mut self) {
        (**self).power_on();
    }

    fn power_off(&mut self) {
        (**self).power_off();
    }

    fn reset(&mut self) {
        (**self).reset();
    }

    fn atr(&self) -> &[u8] {
        (**self).atr()
    }

    fn process(&mut self, command: &[u8], response: &mut Vec<u8>) {
        (**self).process(command, response);
    }

    fn try_process(&mut self, command: &[u8], response: &mut Vec<u8>) -> bool {
        (**self).try_process(command, response)
    }

    fn is_leaving(&mut self) -> bool {
        (**self).is_leaving()
    }
}

impl<C: Card + ?Sized> Card for Box<C> {
    fn power_on(&mut self) {
        (**self).power_on();
    }

    fn power_off(&mut self) {
        (**self).power_off();
    }

    fn reset(&mut self) {
        (**self).reset();
    }

    fn atr(&self) -> &[u8] {
        (**self).atr()
    }

    fn process(&mut self, command: &[u8], response: &mut Vec<u8>) {
        (**self).process(command, response);
    }

    fn try_process(&mut self, command: &[u8], response: &mut Vec<u8>) -> bool {
        (**self).try_process(command, response)
    }

    fn is_leaving(&mut self) -> bool {
        (**self).is_leaving()
    }
}
