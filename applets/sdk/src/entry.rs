//! What the chip calls.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;

use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::status::StatusWord;

use crate::{Applet, Chip};

/// The program, and the chip as it sees it; made by the first call of an instance.
struct State(RefCell<Option<(Chip, Box<dyn Applet>)>>);

// Safety: an applet has one thread.
unsafe impl Sync for State {}

static STATE: State = State(RefCell::new(None));

/// Makes the program with this number from the instance's parameters; `None` when there is no such program, or they are not whole.
pub type Make = fn(entry: u8, parameters: &[u8]) -> Option<Box<dyn Applet>>;

/// Exports `select`, `process` and `deselect` of the programs that a function of type [`Make`] makes.
#[macro_export]
macro_rules! export {
    ($make:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn select(entry: i32, p2: i32) -> i32 {
            $crate::entry::select($make, entry, p2)
        }
        #[unsafe(no_mangle)]
        extern "C" fn process(entry: i32, length: i32) -> i32 {
            $crate::entry::process($make, entry, length)
        }
        #[unsafe(no_mangle)]
        extern "C" fn deselect(_entry: i32) {
            $crate::entry::deselect();
        }
    };
}

fn run(make: Make, entry: i32, body: impl FnOnce(&mut dyn Applet, &mut Chip, &mut Vec<u8>) -> Result<(), StatusWord>) -> i32 {
    let mut state = STATE.0.borrow_mut();
    if state.is_none() {
        let Some(chip) = Chip::new() else {
            return StatusWord::NO_DIAGNOSIS.0.into();
        };
        let applet = u8::try_from(entry).ok().and_then(|entry| make(entry, &chip.parameters()));
        *state = applet.map(|applet| (chip, applet));
    }
    // Without whole personal data the application is there, but nothing can be done with it.
    let Some((chip, applet)) = state.as_mut() else {
        return StatusWord::CONDITIONS_NOT_SATISFIED.0.into();
    };
    let mut out = Vec::new();
    match body(applet.as_mut(), chip, &mut out) {
        Ok(()) => {
            chip.output(&out);
            StatusWord::OK.0.into()
        }
        Err(sw) => sw.0.into(),
    }
}

#[doc(hidden)]
pub fn select(make: Make, entry: i32, p2: i32) -> i32 {
    run(make, entry, |applet, chip, out| applet.select(chip, p2 as u8, out))
}

#[doc(hidden)]
pub fn process(make: Make, entry: i32, length: i32) -> i32 {
    run(make, entry, |applet, chip, out| {
        let input = chip.input(usize::try_from(length).unwrap_or(0));
        let Some((&[cla, ins, p1, p2, a, b, c, d], data)) = input.split_first_chunk() else {
            return Err(StatusWord::NO_DIAGNOSIS);
        };
        let command = Command::new(cla, ins, p1, p2).data(data).ne(u32::from_be_bytes([a, b, c, d]));
        if let Some(event) = applet.process(chip, &command, out)? {
            chip.event(&event);
        }
        Ok(())
    })
}

#[doc(hidden)]
pub fn deselect() {
    if let Some((chip, applet)) = STATE.0.borrow_mut().as_mut() {
        applet.deselect(chip);
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
