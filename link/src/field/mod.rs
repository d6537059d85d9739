//! The seam in the radio field: [`FieldLink`], frame to frame, for readers; [`FieldCard`], what stands in a field.
//!
//! Above a [`FieldLink`] the protocols of [`tapdoor_protocol::rf`] run; [`converse`] is the loop that does so. Below it is a PN532 or
//! another chip, a simulated field, or frames over UDP. A [`FieldCard`] is the other end: a phone, a card, whatever answers frames.
//!
//! [`FieldRecorder`] and [`FieldFaults`] are field links over field links; [`IsoDepLink`] is a [`CardLink`](crate::CardLink) over one.

mod faults;
mod iso_dep;
mod recorder;

use std::borrow::Cow;
use std::fmt;

use tapdoor_protocol::rf::frame::{BitRate, Expect, Frame, Received, RfError, RxFrame, Technology};
use tapdoor_protocol::rf::time::{self, Ticks};
use tapdoor_protocol::rf::{Dialogue, Step};

pub use faults::{FieldFault, FieldFaults, FieldPlan};
pub use iso_dep::IsoDepLink;
pub use recorder::{FieldEvent, FieldObserver, FieldRecorder};

/// What went wrong at a [`FieldLink`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldErrorKind {
    /// In the air: no answer, or one that is damaged. The protocols recover from it where they can.
    Rf(RfError),
    /// The field is off.
    NoField,
    /// The link cannot send this frame, or not so fast; nothing was sent.
    Unsupported,
    /// The reader failed, or the line to it.
    Reader,
    /// Somebody asked to stop.
    Cancelled,
}

/// A frame that was not answered as it should be, with its evidence.
#[derive(Clone, PartialEq, Eq)]
pub struct FieldError {
    /// What kind of failure.
    pub kind: FieldErrorKind,
    /// Which layer speaks: `pn532`, `field`, `fault`, ...
    pub layer: &'static str,
    /// What happened, in words.
    pub detail: Cow<'static, str>,
    /// How the frame that was being sent began.
    pub sent: Head,
    /// How what came back began.
    pub received: Head,
}

/// The first bytes of a frame: enough for block type and command header, too few for a command's data, which can be secret.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; Self::MAX],
    length: usize,
}

impl Head {
    /// So many bytes are kept: PCB and the header of an APDU.
    pub const MAX: usize = 5;

    /// Of this frame.
    #[must_use]
    pub fn of(frame: &[u8]) -> Self {
        let mut bytes = [0; Self::MAX];
        bytes.iter_mut().zip(frame).for_each(|(to, from)| *to = *from);
        Self {
            bytes,
            length: frame.len(),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length.min(Self::MAX)]
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        if self.length > Self::MAX {
            write!(f, ".. ({} bytes)", self.length)
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FieldError {
    /// A failure outside any frame.
    pub fn new(kind: FieldErrorKind, layer: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            layer,
            detail: detail.into(),
            sent: Head::default(),
            received: Head::default(),
        }
    }

    /// A failure in the air. Allocates nothing.
    #[must_use]
    pub const fn rf(error: RfError, layer: &'static str) -> Self {
        let detail = match error {
            RfError::Timeout => "no answer in time",
            RfError::Crc => "the answer's checksum is wrong",
            RfError::Parity => "a parity bit of the answer is wrong",
            RfError::Framing => "the answer is torn",
            RfError::Collision { .. } => "several cards answered, and differ",
            RfError::Overflow => "the answer is longer than the reader takes",
            _ => "the air",
        };
        Self {
            kind: FieldErrorKind::Rf(error),
            layer,
            detail: Cow::Borrowed(detail),
            sent: Head {
                bytes: [0; Head::MAX],
                length: 0,
            },
            received: Head {
                bytes: [0; Head::MAX],
                length: 0,
            },
        }
    }

    /// The same with the frame that was being sent.
    #[must_use]
    pub fn during(mut self, frame: &Frame<'_>) -> Self {
        self.sent = Head::of(frame.data);
        self
    }

    /// The same with what came back.
    #[must_use]
    pub fn with_answer(mut self, answer: &[u8]) -> Self {
        self.received = Head::of(answer);
        self
    }

    /// The error in the air, if it is one.
    #[must_use]
    pub const fn as_rf(&self) -> Option<RfError> {
        match self.kind {
            FieldErrorKind::Rf(error) => Some(error),
            _ => None,
        }
    }

    /// What the person at the desk can do about it.
    #[must_use]
    pub const fn cure(&self) -> &'static str {
        match self.kind {
            FieldErrorKind::Rf(RfError::Timeout) => "hold the card still on the reader; wake the phone",
            FieldErrorKind::Rf(RfError::Collision { .. }) => "leave one card on the reader only",
            FieldErrorKind::Rf(_) => "hold the card closer and still, away from metal and other cards",
            FieldErrorKind::NoField => "switch the field on first",
            FieldErrorKind::Unsupported => "use a lower bit rate or shorter frames, or another reader",
            FieldErrorKind::Reader => "check the reader's cable and driver: `tapdoor readers`",
            FieldErrorKind::Cancelled => "start the command again",
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.detail)?;
        if let FieldErrorKind::Rf(RfError::Collision { bit }) = self.kind {
            write!(f, " in bit {bit}")?;
        }
        if self.sent.length > 0 {
            write!(f, " (sent {}", self.sent)?;
            if self.received.length > 0 {
                write!(f, ", received {}", self.received)?;
            }
            f.write_str(")")?;
        }
        write!(f, "; {}", self.cure())
    }
}

impl fmt::Debug for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FieldError({:?}: {self})", self.kind)
    }
}

impl std::error::Error for FieldError {}

/// What a [`FieldLink`] can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Longest frame to be sent, in bytes, without checksum.
    pub send: usize,
    /// Longest frame to be received, in bytes, without checksum. FSD must not be more than this and the checksum.
    pub receive: usize,
    /// Fastest rate of types A and B, both ways.
    pub rate: BitRate,
    /// The technologies: A, B, F.
    pub technologies: [bool; 3],
    /// Whether time is simulated: then [`FieldLink::now`] counts time on air, and a pause takes none.
    pub simulated: bool,
}

impl Abilities {
    /// Everything, in simulated time.
    pub const SIMULATED: Self = Self {
        send: 4096,
        receive: 4096,
        rate: BitRate::Kbps848,
        technologies: [true; 3],
        simulated: true,
    };

    /// Whether it does this technology.
    #[must_use]
    pub const fn has(&self, technology: Technology) -> bool {
        self.technologies[technology as usize]
    }
}

/// A reader that sends frames and receives them.
///
/// It takes care of what is below a frame: marks, parity, checksum (where [`Frame::crc`] says so), and of frame delay times: it begins
/// to send no earlier than [`time::FDT_PICC_TO_PCD`] after the end of the last answer. Guard times that a protocol asks for come as
/// [pauses](Self::pause).
pub trait FieldLink {
    /// Sends `tx` and waits for one answer, which replaces the content of `rx`.
    ///
    /// The buffer is reused, so that a session of many frames allocates nothing. An answer counts as in time if it begins within
    /// `expect.timeout` of the end of `tx`.
    ///
    /// # Errors
    /// [`FieldError`]. With [`RfError`]s, `rx` holds what there was of the answer; a collision's good bits are there.
    fn exchange(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame) -> Result<(), FieldError>;

    /// Sends `tx` and waits for nothing.
    ///
    /// # Errors
    /// [`FieldError`], never a time-out.
    fn send(&mut self, tx: &Frame<'_>) -> Result<(), FieldError> {
        let mut rx = RxFrame::new();
        match self.exchange(tx, &Expect::like(tx, time::FDT_A_TIMEOUT), &mut rx) {
            Err(error) if error.as_rf().is_none() => Err(error),
            _ => Ok(()),
        }
    }

    /// Switches the field on or off. Cards lose power at once; the guard time after switching on is the protocol's.
    ///
    /// # Errors
    /// [`FieldError`] when the reader fails.
    fn set_field(&mut self, on: bool) -> Result<(), FieldError>;

    /// Lets time pass: a simulated field charges it, a real reader sleeps.
    fn pause(&mut self, time: Ticks);

    /// The link's clock.
    fn now(&self) -> Ticks;

    /// What it can do.
    fn abilities(&self) -> Abilities;
}

impl<L: FieldLink + ?Sized> FieldLink for &mut L {
    fn exchange(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame) -> Result<(), FieldError> {
        (**self).exchange(tx, expect, rx)
    }

    fn send(&mut self, tx: &Frame<'_>) -> Result<(), FieldError> {
        (**self).send(tx)
    }

    fn set_field(&mut self, on: bool) -> Result<(), FieldError> {
        (**self).set_field(on)
    }

    fn pause(&mut self, time: Ticks) {
        (**self).pause(time);
    }

    fn now(&self) -> Ticks {
        (**self).now()
    }

    fn abilities(&self) -> Abilities {
        (**self).abilities()
    }
}

impl<L: FieldLink + ?Sized> FieldLink for Box<L> {
    fn exchange(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame) -> Result<(), FieldError> {
        (**self).exchange(tx, expect, rx)
    }

    fn send(&mut self, tx: &Frame<'_>) -> Result<(), FieldError> {
        (**self).send(tx)
    }

    fn set_field(&mut self, on: bool) -> Result<(), FieldError> {
        (**self).set_field(on)
    }

    fn pause(&mut self, time: Ticks) {
        (**self).pause(time);
    }

    fn now(&self) -> Ticks {
        (**self).now()
    }

    fn abilities(&self) -> Abilities {
        (**self).abilities()
    }
}

/// What stands in a field: a card, or a phone that plays one.
///
/// It speaks only when it is spoken to. A card that needs longer than its waiting time asks for more by an answer of its own (S(WTX)),
/// so nothing here wakes up by itself: it knows when it is handed the frame how long its work takes, and gives that as the delay.
pub trait FieldCard {
    /// The field came or went at `now`. Coming twice is coming once. When it goes, the card forgets what it was doing.
    fn field(&mut self, on: bool, now: Ticks);

    /// A frame ended at `now`, or something that was none: then a card that is not yet activated goes back to where it waited from.
    ///
    /// Returns how long after `now` the first bit of `answer` goes out (the frame delay time, or the time of the card's work), or
    /// `None` when it stays silent. `answer` is the card's to fill; its times are not looked at.
    fn receive(&mut self, frame: Received<'_>, now: Ticks, answer: &mut RxFrame) -> Option<Ticks>;
}

impl<C: FieldCard + ?Sized> FieldCard for &mut C {
    fn field(&mut self, on: bool, now: Ticks) {
        (**self).field(on, now);
    }

    fn receive(&mut self, frame: Received<'_>, now: Ticks, answer: &mut RxFrame) -> Option<Ticks> {
        (**self).receive(frame, now, answer)
    }
}

impl<C: FieldCard + ?Sized> FieldCard for Box<C> {
    fn field(&mut self, on: bool, now: Ticks) {
        (**self).field(on, now);
    }

    fn receive(&mut self, frame: Received<'_>, now: Ticks, answer: &mut RxFrame) -> Option<Ticks> {
        (**self).receive(frame, now, answer)
    }
}

/// Runs a reader's part of a protocol over a link until it ends.
///
/// # Errors
/// [`FieldError`] of another kind than [`FieldErrorKind::Rf`]: those the protocol is told of.
pub fn converse<L, D>(link: &mut L, dialogue: &mut D, rx: &mut RxFrame) -> Result<D::Output, FieldError>
where
    L: FieldLink + ?Sized,
    D: Dialogue + ?Sized,
{
    converse_within(link, dialogue, rx, Ticks::MAX)
}

/// The same until `deadline` at the latest, by the link's clock: no frame is sent after it, and no answer is waited for beyond it.
///
/// # Errors
/// As [`converse`], and [`RfError::Timeout`] at the deadline.
pub fn converse_within<L, D>(link: &mut L, dialogue: &mut D, rx: &mut RxFrame, deadline: Ticks) -> Result<D::Output, FieldError>
where
    L: FieldLink + ?Sized,
    D: Dialogue + ?Sized,
{
    let late = || FieldError {
        detail: Cow::Borrowed("the other side did not come to an end in time"),
        ..FieldError::rf(RfError::Timeout, "field")
    };
    loop {
        match dialogue.poll() {
            Step::Exchange(frame, mut expect) => {
                rx.clear();
                let left = deadline - link.now();
                if left == Ticks::ZERO {
                    return Err(late().during(&frame));
                }
                let cut = left < expect.timeout;
                expect.timeout = expect.timeout.min(left);
                let outcome = match link.exchange(&frame, &expect, rx) {
                    Ok(()) => Ok(()),
                    Err(error) => Err(error.as_rf().ok_or(error)?),
                };
                if cut && outcome == Err(RfError::Timeout) {
                    return Err(late().during(&frame));
                }
                dialogue.answered(outcome, rx);
            }
            Step::Send(frame) => link.send(&frame)?,
            Step::Pause(time) => link.pause(time),
            Step::Reset(time) => {
                link.set_field(false)?;
                link.pause(time);
                link.set_field(true)?;
            }
            Step::Done(output) => return Ok(output),
        }
    }
}
