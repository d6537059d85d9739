//! [`Complete`]: one logical command, however many APDUs the link and the card need for it.

use std::mem;

use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::apdu::get_response::{Completion, Step};

use crate::{CardLink, Limits, LinkError, LinkErrorKind};

/// A link that completes answers and splits commands.
///
/// - `61xx` is followed by GET RESPONSE; the caller gets the collected data with the last status word.
/// - `6Cxx` is followed by the same command with that Le.
/// - A command that is longer than the link carries goes as a chain (ISO/IEC 7816-4 5.3.3). It may be given in extended form to a
///   link that knows short APDUs only. A part of the chain that is not answered `9000` ends it, and that answer is the answer.
/// - What is no APDU, and what is part of a chain already, is passed on as it is.
///
/// A card that never ends is stopped by the bounds of [`Completion`] with [`LinkErrorKind::Malformed`].
#[derive(Debug)]
pub struct Complete<L> {
    link: L,
    command: Vec<u8>,
    part: Vec<u8>,
}

impl<L: CardLink> Complete<L> {
    /// Wraps a link.
    pub const fn new(link: L) -> Self {
        Self {
            link,
            command: Vec::new(),
            part: Vec::new(),
        }
    }

    /// The link below, on which every APDU is sent as it is.
    pub const fn inner_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// The link below, to look at.
    pub const fn inner(&self) -> &L {
        &self.link
    }

    /// Gives the link back.
    pub fn into_inner(self) -> L {
        self.link
    }

    /// Sends `command` in parts of at most `max_data` bytes; gives the part that was answered last.
    fn send_chain<'a>(&mut self, command: Command<'a>, max_data: usize, response: &mut Vec<u8>) -> Result<Command<'a>, LinkError> {
        let mut last = command;
        for part in command.split(max_data) {
            part.encode_into(&mut self.command).map_err(|error| {
                let detail = format!("this command cannot be chained: {error}");
                LinkError::new(LinkErrorKind::TooLong, LAYER, detail)
            })?;
            self.link.transmit(&self.command, response)?;
            last = part;
            if part.is_chained() && response.as_slice() != [0x90, 0x00] {
                break;
            }
        }
        Ok(last)
    }

    /// Follows `61xx` and `6Cxx` until the answer in `response` is whole.
    fn follow(&mut self, command: Command<'_>, response: &mut Vec<u8>) -> Result<(), LinkError> {
        let mut completion = Completion::new(command);
        mem::swap(response, &mut self.part);
        response.clear();
        loop {
            match completion.take(&self.part, response) {
                Ok(Step::Send(next)) => self.link.transmit(&next, &mut self.part)?,
                Ok(Step::Done(sw)) => {
                    response.extend_from_slice(&sw.0.to_be_bytes());
                    return Ok(());
                }
                Err(error) => {
                    let detail = error.to_string();
                    return Err(LinkError::new(LinkErrorKind::Malformed, LAYER, detail));
                }
            }
        }
    }

    fn exchange(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        let logical = Command::parse(command).ok().filter(|c| !c.is_chained());
        let limits = self.link.limits();
        let last = match logical {
            Some(logical) if !fits(command, &logical, limits) => self.send_chain(logical, max_data(limits), response)?,
            Some(logical) => {
                self.link.transmit(command, response)?;
                logical
            }
            None => return self.link.transmit(command, response),
        };
        match response.as_slice() {
            [.., 0x61 | 0x6C, _] if !last.is_chained() => self.follow(last, response),
            _ => Ok(()),
        }
    }
}

const LAYER: &str = "complete";

/// Header, three bytes of Lc and two of Le.
const EXTENDED_OVERHEAD: usize = 9;
/// Header, Lc and Le.
const SHORT_OVERHEAD: usize = 6;

const fn knows_extended(limits: Limits) -> bool {
    limits.command > Limits::SHORT.command
}

fn fits(bytes: &[u8], command: &Command<'_>, limits: Limits) -> bool {
    bytes.len() <= limits.command && (knows_extended(limits) || !command.extended)
}

/// How many data bytes one APDU of a chain may have.
fn max_data(limits: Limits) -> usize {
    if knows_extended(limits) {
        limits.command - EXTENDED_OVERHEAD
    } else {
        limits.command.saturating_sub(SHORT_OVERHEAD).clamp(1, 255)
    }
}

impl<L: CardLink> CardLink for Complete<L> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        let outcome = self.exchange(command, response);
        outcome.map_err(|error| {
            response.clear();
            match error.command {
                Some(_) => error,
                None => error.during(command),
            }
        })
    }

    /// Extended length, whatever the link below carries: longer commands are chained, longer answers collected.
    fn limits(&self) -> Limits {
        Limits::EXTENDED
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Scripted;

    const READ: [u8; 5] = [0x00, 0xB0, 0x00, 0x00, 0x00];

    fn run(card: Scripted, command: &[u8]) -> (Result<Vec<u8>, LinkError>, Scripted) {
        let mut link = Complete::new(card);
        let mut response = vec![0xEE];
        let outcome = link.transmit(command, &mut response);
        assert!(outcome.is_ok() || response.is_empty());
        (outcome.map(|()| response), link.into_inner())
    }

    /// A card that answers the same for ever.
    struct Stubborn(Vec<u8>, u32);

    impl CardLink for Stubborn {
        fn transmit(&mut self, _: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
            self.1 += 1;
            response.clone_from(&self.0);
            Ok(())
        }
    }

    #[test]
    fn lying_cards_are_stopped() {
        for answer in [vec![0x61, 0x10], vec![1, 0x61, 0x10], [&[0; 256][..], &[0x61, 0]].concat()] {
            let mut link = Complete::new(Stubborn(answer, 0));
            let mut response = Vec::new();
            let error = link.transmit(&READ, &mut response).unwrap_err();
            assert_eq!((error.kind, error.layer), (LinkErrorKind::Malformed, "complete"));
            assert_eq!(error.command.as_deref(), Some(&READ[..]));
            assert!(response.is_empty());
            assert!(link.into_inner().1 <= 1024);
        }
        // Wrong Le twice is an answer, not an error.
        let mut link = Complete::new(Stubborn(vec![0x6C, 0x10], 0));
        let mut response = Vec::new();
        link.transmit(&READ, &mut response).unwrap();
        assert_eq!((response.as_slice(), link.into_inner().1), (&[0x6C, 0x10][..], 2));
    }

    #[test]
    fn a_card_that_goes_in_the_middle_leaves_nothing() {
        let card = Scripted::new().answer([1, 2, 0x61, 0x10]).fail(LinkErrorKind::CardGone);
        let error = run(card, &READ).0.unwrap_err();
        assert_eq!(error.kind, LinkErrorKind::CardGone);
        assert_eq!(error.command.unwrap()[1], 0xC0, "the command that failed");
    }

    #[test]
    fn a_chain_that_is_refused_stops_there() {
        let command = Command::new(0x80, 0xE2, 0, 0).data(&[7; 600]).encode().unwrap();
        let card = Scripted::new().answer([0x90, 0x00]).answer([0x68, 0x84]);
        let (response, card) = run(card, &command);
        assert_eq!(response.unwrap(), [0x68, 0x84]);
        assert_eq!(card.sent().len(), 2);
        // A 61xx where 9000 belongs is not followed: the card is not at the end of the command.
        let (response, card) = run(Scripted::new().answer([0x61, 0x05]), &command);
        assert_eq!((response.unwrap(), card.sent().len()), (vec![0x61, 0x05], 1));
    }

    #[test]
    fn what_is_no_apdu_and_what_is_chained_already_goes_as_it_is() {
        for bytes in [&[][..], &[0xFF, 1], &[0, 1, 2, 3, 9, 9], &[0x10, 0xE2, 0, 0, 1, 7]] {
            let (response, card) = run(Scripted::new().answer([0x61, 0x05]), bytes);
            assert_eq!(response.unwrap(), [0x61, 0x05]);
            assert_eq!(card.sent(), [bytes]);
        }
    }

    #[test]
    fn answers_are_collected_and_wrong_le_is_repeated() {
        let card = Scripted::new()
            .expect(READ, [0x6C, 0x04])
            .expect([0x00, 0xB0, 0x00, 0x00, 0x04], [1, 2, 0x61, 0x02])
            .expect([0x00, 0xC0, 0x00, 0x00, 0x02], [3, 4, 0x62, 0x82]);
        let (response, card) = run(card, &READ);
        assert_eq!(response.unwrap(), [1, 2, 3, 4, 0x62, 0x82]);
        assert_eq!(card.remaining(), 0);
    }

    #[test]
    fn an_extended_command_becomes_short_ones_on_a_short_link() {
        let short = Command::new(0x00, 0xCB, 0x3F, 0xFF).data(&[0x5C, 0]).ne(256);
        let extended = short.ne(65_536).force_extended();
        let card = Scripted::new().expect(short.encode().unwrap(), [9, 0x90, 0x00]);
        let (response, _) = run(card, &extended.encode().unwrap());
        assert_eq!(response.unwrap(), [9, 0x90, 0x00]);
        // And stays what it is on a link that carries it.
        let bytes = extended.encode().unwrap();
        let card = Scripted::new().with_limits(Limits::EXTENDED).expect(bytes.clone(), [9, 0x90, 0x00]);
        assert!(run(card, &bytes).0.is_ok());
    }

    #[test]
    fn after_a_chain_the_answer_is_fetched() {
        let command = Command::new(0x80, 0x10, 0, 0).data(&[7; 300]).ne(65_536).encode().unwrap();
        let card = Scripted::new()
            .answer([0x90, 0x00])
            .answer([0x61, 0x01])
            .expect([0x00, 0xC0, 0x00, 0x00, 0x01], [5, 0x90, 0x00]);
        let (response, card) = run(card, &command);
        assert_eq!(response.unwrap(), [5, 0x90, 0x00]);
        let heads: Vec<_> = card.sent().iter().map(|c| (c[0], c[4], c.len())).collect();
        assert_eq!(heads, [(0x90, 255, 260), (0x80, 45, 51), (0x00, 1, 5)]);
    }

    proptest! {
        #[test]
        fn a_chain_carries_the_data_whole_and_within_the_limits(
            data in proptest::collection::vec(any::<u8>(), 0..2000),
            limit in 0usize..1200,
        ) {
            let limits = Limits { command: limit, response: 258 };
            let card = (0..2000).fold(Scripted::new().with_limits(limits), |card, _| card.answer([0x90, 0x00]));
            let command = Command::new(0x80, 0xE2, 1, 2).data(&data).ne(256).force_extended();
            let (response, card) = run(card, &command.encode().unwrap());
            prop_assert_eq!(response.unwrap(), [0x90, 0x00]);
            let mut carried = Vec::new();
            for sent in card.sent() {
                prop_assert!(sent.len() <= limit.max(7));
                let part = Command::parse(sent).unwrap();
                prop_assert!(limit > 261 || !part.extended);
                carried.extend_from_slice(part.data);
            }
            prop_assert_eq!(carried, data);
        }

        #[test]
        fn no_command_and_no_answer_makes_it_panic(
            command in proptest::collection::vec(any::<u8>(), 0..20),
            answers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 2..6), 0..6),
        ) {
            let card = answers.into_iter().fold(Scripted::new(), |card, answer| card.answer(answer));
            let _ = run(card, &command);
        }
    }
}
