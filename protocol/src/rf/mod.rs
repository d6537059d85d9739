//! The radio: frames, time, and both sides of the contactless protocols (ISO/IEC 14443-3 and -4, ISO/IEC 18092, FeliCa).
//!
//! Nothing here sends or waits. A reader's part is a [`Dialogue`]: it says what to send and is told what came back; a card's part is
//! handed frames and hands back answers.
//!
//! | module | what | standard |
//! |---|---|---|
//! | [`frame`] | [`Frame`], [`RxFrame`], what can be wrong with one | ISO/IEC 14443-3 6.1, 7.1 |
//! | [`crc`] | CRC_A, CRC_B, CRC_F | ISO/IEC 14443-3 Annex B, ISO/IEC 18092 |
//! | [`time`] | periods of the carrier, air time, guard times | ISO/IEC 14443-2, -3, -4 |
//! | [`felica`] | polling of type F, both sides | ISO/IEC 18092, JIS X 6319-4 |
//! | [`polling`] | a reader's round over the technologies, and what it tells phones in between | NFC Forum Activity |
//! | [`nfc_dep`] | NFC-DEP, initiator and target | ISO/IEC 18092 12 |
//! | [`iso14443`] | type A and type B, both sides; ISO-DEP | ISO/IEC 14443-3, -4 |

pub mod crc;
pub mod felica;
pub mod frame;
pub mod iso14443;
pub mod nfc_dep;
pub mod polling;
pub mod time;

use frame::{Expect, Frame, RfError, RxFrame};
use time::Ticks;

/// What the reader does next.
#[derive(Debug)]
pub enum Step<'a, T> {
    /// Send this and wait for an answer, then tell of it by [`Dialogue::answered`].
    Exchange(Frame<'a>, Expect),
    /// Send this; nothing is answered to it, or nobody wants to know. Then [`Dialogue::poll`] again.
    Send(Frame<'a>),
    /// Wait so long, the field being on; then [`Dialogue::poll`] again.
    Pause(Ticks),
    /// Switch the field off for so long and on again, so that every card forgets; then [`Dialogue::poll`] again.
    Reset(Ticks),
    /// The dialogue has ended.
    Done(T),
}

/// The reader's part of a protocol: what to send, and what to make of the answers.
///
/// ```text
/// loop {
///     match dialogue.poll() {
///         Step::Exchange(frame, expect) => { let outcome = link.exchange(frame, expect, &mut rx); dialogue.answered(outcome, &rx) }
///         Step::Send(frame) => link.send(frame),
///         Step::Pause(time) => link.pause(time),
///         Step::Reset(time) => { link.set_field(false); link.pause(time); link.set_field(true) }
///         Step::Done(result) => break result,
///     }
/// }
/// ```
///
/// It ends in bounded time whatever the other side answers. After `Done` it must not be asked again; what it says then is of no use, but
/// it does not panic.
pub trait Dialogue {
    /// What it comes to.
    type Output;

    /// What to do next.
    fn poll(&mut self) -> Step<'_, Self::Output>;

    /// What came back to the last [`Step::Exchange`]: the frame, or with an error what there is of it.
    fn answered(&mut self, outcome: Result<(), RfError>, answer: &RxFrame);
}
