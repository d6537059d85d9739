//! The control side of the lock's chip: it moves bytes, the chip decides (docs/protocol.md section 9).
//!
//! The chip is reached through a [`CardLink`], so it may be the one in this process or a SAM in a contact slot.

use tapdoor_link::{CardLink, Complete, LinkError, LinkErrorKind};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::{Command, Response};
use tapdoor_protocol::door::{BeginData, LockStep, Outcome, ins};
use tapdoor_protocol::identity::Request;

/// The lock's chip, as its control side sees it.
pub struct Control<L> {
    link: Complete<L>,
    selected: Option<Aid>,
    command: Vec<u8>,
    response: Vec<u8>,
}

impl<L: CardLink> Control<L> {
    /// Takes the link to a powered chip.
    pub fn new(link: L) -> Self {
        Self {
            link: Complete::new(link),
            selected: None,
            command: Vec::with_capacity(300),
            response: Vec::with_capacity(300),
        }
    }

    /// BEGIN at the lock half `application`.
    ///
    /// # Errors
    /// [`LinkError`] when the lock's own chip does not do what it must: that is never the phone's fault.
    pub fn begin(&mut self, application: Aid, p2: u8, clock: u32, fci: &[u8]) -> Result<LockStep, LinkError> {
        if self.selected != Some(application) {
            self.selected = None;
            let aid = application;
            self.send(Command::new(0x00, 0xA4, 0x04, 0x0C).data(aid.as_bytes()), "SELECT")?;
            self.selected = Some(application);
        }
        let data = BeginData { clock, fci }.encode();
        self.send(Command::new(0x80, ins::BEGIN, 0x00, p2).data(&data).ne(256), "BEGIN")?;
        self.step("BEGIN")
    }

    /// NEXT with the phone's answer, status word included.
    ///
    /// # Errors
    /// As [`Control::begin`].
    pub fn next(&mut self, answer: &[u8]) -> Result<LockStep, LinkError> {
        self.send(Command::new(0x80, ins::NEXT, 0x00, 0x00).data(answer).ne(256), "NEXT")?;
        self.step("NEXT")
    }

    /// REQUEST with the phone's answer to GET IDENTITY, status word included: the signed request, or why there is none.
    ///
    /// # Errors
    /// As [`Control::begin`].
    pub fn request(&mut self, answer: &[u8]) -> Result<Result<Request, Outcome>, LinkError> {
        self.send(Command::new(0x80, ins::REQUEST, 0x00, 0x00).data(answer).ne(256), "REQUEST")?;
        let data = self.response.split_last_chunk::<2>().map_or(&[][..], |(data, _)| data);
        if let Some(request) = Request::parse(data) {
            return Ok(Ok(request));
        }
        match self.step("REQUEST")? {
            LockStep::Done(outcome) => Ok(Err(outcome)),
            LockStep::Transmit { .. } => Err(LinkError::new(
                LinkErrorKind::Malformed,
                "chip",
                "the lock's own chip answers REQUEST with another command",
            )),
        }
    }

    fn send(&mut self, command: Command<'_>, name: &str) -> Result<(), LinkError> {
        command.encode_into(&mut self.command).map_err(|e| {
            LinkError::new(
                LinkErrorKind::TooLong,
                "chip",
                format!("{name} cannot be said to the lock's chip: {e}"),
            )
        })?;
        self.link.transmit(&self.command, &mut self.response)?;
        match Response::parse(&self.response) {
            Ok(response) if response.sw.is_ok() => Ok(()),
            Ok(response) => Err(LinkError::new(
                LinkErrorKind::Malformed,
                "chip",
                format!(
                    "the lock's own chip answers {name} with {} ({})",
                    response.sw,
                    response.sw.meaning()
                ),
            )),
            Err(e) => Err(LinkError::new(
                LinkErrorKind::Malformed,
                "chip",
                format!("the lock's own chip answers {name} with {e}"),
            )),
        }
    }

    fn step(&self, name: &str) -> Result<LockStep, LinkError> {
        let data = self.response.split_last_chunk::<2>().map_or(&[][..], |(data, _)| data);
        LockStep::parse(data).ok_or_else(|| {
            LinkError::new(
                LinkErrorKind::Malformed,
                "chip",
                format!("the lock's own chip answers {name} with neither a command nor a verdict"),
            )
        })
    }
}
