//! What an applet for the chip's sandbox is made with (docs/applets.md).
//!
//! | module | what |
//! |---|---|
//! | [`chip`] | the chip as the applet sees it: its vault, its parameters, its own AID |
//! | [`declare`] | who the module says that it is |
//! | [`half`] | the shells of a method's two halves |
//! | `entry` | `select`, `process` and `deselect`, as the chip calls them |
//! | `heap` | the allocator |
//!
//! An applet implements [`Applet`] and names the function that makes it with [`export!`].
#![no_std]
extern crate alloc;

#[cfg(target_arch = "wasm32")]
pub mod chip;
pub mod declare;
#[cfg(target_arch = "wasm32")]
pub mod entry;
#[cfg(target_arch = "wasm32")]
pub mod half;
#[cfg(target_arch = "wasm32")]
mod heap;
#[cfg(target_arch = "wasm32")]
mod imports;

#[cfg(target_arch = "wasm32")]
pub use chip::Chip;

#[cfg(target_arch = "wasm32")]
use {
    alloc::vec::Vec,
    tapdoor_protocol::{apdu::Command, door::Event, status::StatusWord},
};

/// A program in the sandbox. Its state lives as long as it is selected.
#[cfg(target_arch = "wasm32")]
pub trait Applet {
    /// SELECT by AID (P2 as received): writes the answer's data.
    ///
    /// # Errors
    /// The status word; the application is then not selected.
    fn select(&mut self, chip: &mut Chip, p2: u8, out: &mut Vec<u8>) -> Result<(), StatusWord>;

    /// Any other command: writes the answer's data, and says what happened.
    ///
    /// # Errors
    /// The status word; data written so far are dropped.
    fn process(&mut self, chip: &mut Chip, command: &Command<'_>, out: &mut Vec<u8>) -> Result<Option<Event>, StatusWord>;

    /// Another application was selected, or power is gone.
    fn deselect(&mut self, chip: &mut Chip);
}
