//! Completing an answer on the terminal's side: 61xx with GET RESPONSE, 6Cxx with a repetition
//! (ISO/IEC 7816-4 5.1.3 and 7.6.1).

use alloc::vec::Vec;

use super::{ApduError, Command, Response};
use crate::status::StatusWord;

/// Most data bytes that are collected for one command.
pub const MAX_TOTAL: usize = 65_536;
/// Most response APDUs that are taken for one command.
pub const MAX_ROUNDS: usize = 1_024;

/// What to do after a response was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this command APDU and hand over its response.
    Send(Vec<u8>),
    /// The answer is whole; this is its status word.
    Done(StatusWord),
}

/// Follows the responses to one command until the answer is whole, without doing any I/O.
///
/// - 61xx: what came is kept, and GET RESPONSE (`00 C0 00 00 xx`) sent on the logical channel of the command.
/// - 6Cxx: the last command is repeated with that Le, once. A second 6Cxx to the same command ends the exchange.
/// - Anything else ends the exchange.
///
/// After command chaining, give the last command of the chain. A card that lies ends in bounded time: [`MAX_TOTAL`] bytes,
/// [`MAX_ROUNDS`] responses, and never two 61xx without data in a row.
///
/// ```
/// use tapdoor_protocol::apdu::{Command, get_response::{Completion, Step}};
/// # let card = |c: &[u8]| if c[1] == 0xC0 { vec![0xDB, 0x08, 0x90, 0x00] } else { vec![0x61, 0x02] };
///
/// let command = Command::new(0x00, 0x88, 0x00, 0x81).data(&[0x10]).ne(256);
/// let mut answer = Vec::new();
/// let mut completion = Completion::new(command);
/// let mut response = card(&command.encode()?);
/// let sw = loop {
///     match completion.take(&response, &mut answer)? {
///         Step::Send(bytes) => response = card(&bytes),
///         Step::Done(sw) => break sw,
///     }
/// };
/// assert!(sw.is_ok());
/// assert_eq!(answer, [0xDB, 0x08]);
/// # Ok::<(), tapdoor_protocol::apdu::ApduError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Completion<'a> {
    /// The command that was sent last.
    last: Command<'a>,
    /// That command is already a repetition after 6Cxx.
    repeated: bool,
    /// The last 61xx brought no data.
    starved: bool,
    finished: bool,
    total: usize,
    rounds: usize,
}

impl<'a> Completion<'a> {
    /// The exchange that begins with `command`, which the caller sends.
    #[must_use]
    pub const fn new(command: Command<'a>) -> Self {
        Self {
            last: command,
            repeated: false,
            starved: false,
            finished: false,
            total: 0,
            rounds: 0,
        }
    }

    /// Takes the response APDU to the command that was sent last, and appends its data to `answer`.
    ///
    /// # Errors
    /// [`ApduError::ResponseTooShort`] for less than a status word; [`ApduError::AnswerTooLong`],
    /// [`ApduError::TooManyRounds`] and [`ApduError::NoProgress`] for a card that does not end; [`ApduError::Finished`] after
    /// [`Step::Done`] or an error; and what [`Command::encode`] says when a command that cannot be encoded is to be repeated.
    /// The exchange has ended then; `answer` keeps what came before.
    pub fn take(&mut self, response: &[u8], answer: &mut Vec<u8>) -> Result<Step, ApduError> {
        if self.finished {
            return Err(ApduError::Finished { length: response.len() });
        }
        let step = self.advance(response, answer);
        self.finished = !matches!(step, Ok(Step::Send(_)));
        step
    }

    fn advance(&mut self, response: &[u8], answer: &mut Vec<u8>) -> Result<Step, ApduError> {
        let Response { data, sw } = Response::parse(response)?;
        self.rounds += 1;
        let next = match sw.sw1() {
            0x61 => {
                if data.is_empty() && self.starved {
                    return Err(ApduError::NoProgress { sw });
                }
                self.starved = data.is_empty();
                self.repeated = false;
                self.collect(data, answer)?;
                get_response(self.last.channel()).ne(available(sw))
            }
            0x6C if !self.repeated => {
                self.repeated = true;
                self.last.ne(available(sw))
            }
            _ => {
                self.collect(data, answer)?;
                return Ok(Step::Done(sw));
            }
        };
        if self.rounds >= MAX_ROUNDS {
            let rounds = self.rounds;
            return Err(ApduError::TooManyRounds { rounds, sw });
        }
        self.last = next;
        Ok(Step::Send(next.encode()?))
    }

    fn collect(&mut self, data: &[u8], answer: &mut Vec<u8>) -> Result<(), ApduError> {
        // Counted here and not by the length of `answer`, which may hold other things of the caller's.
        let length = self.total.saturating_add(data.len());
        if length > MAX_TOTAL {
            let limit = MAX_TOTAL;
            return Err(ApduError::AnswerTooLong { length, limit });
        }
        self.total = length;
        answer.extend_from_slice(data);
        Ok(())
    }
}

/// GET RESPONSE on a logical channel: always of the interindustry class, without secure messaging.
const fn get_response<'a>(channel: u8) -> Command<'a> {
    let cla = match channel {
        0..=3 => channel,
        _ => 0x40 | ((channel - 4) & 0x0F),
    };
    Command::new(cla, 0xC0, 0x00, 0x00)
}

/// SW2 of 61xx and 6Cxx: 00 stands for 256 (or more).
fn available(sw: StatusWord) -> u32 {
    match sw.sw2() {
        0 => 256,
        n => u32::from(n),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const COMMAND: Command<'static> = Command::new(0x80, 0xCA, 0, 0x66).data(&[7]).ne(256);

    fn send(bytes: &[u8]) -> Result<Step, ApduError> {
        Ok(Step::Send(bytes.to_vec()))
    }

    fn done(sw: u16) -> Result<Step, ApduError> {
        Ok(Step::Done(StatusWord(sw)))
    }

    #[test]
    fn a_whole_answer_is_done_at_once() {
        let mut answer = vec![9];
        let mut completion = Completion::new(COMMAND);
        assert_eq!(completion.take(&[1, 2, 0x90, 0], &mut answer), done(0x9000));
        assert_eq!(answer, [9, 1, 2]);
        assert_eq!(completion.take(&[0x90, 0], &mut answer), Err(ApduError::Finished { length: 2 }));
    }

    #[test]
    fn parts_are_fetched_in_order() {
        let mut answer = Vec::new();
        let mut completion = Completion::new(COMMAND);
        let get = [0, 0xC0, 0, 0];
        let step = completion.take(&[0x61, 0x00], &mut answer);
        assert_eq!(step, send(&[get.as_slice(), &[0x00]].concat()));
        let mut long = vec![5; 256];
        long.extend([0x61, 0x02]);
        let step = completion.take(&long, &mut answer);
        assert_eq!(step, send(&[get.as_slice(), &[0x02]].concat()));
        let step = completion.take(&[6, 7, 0x62, 0x82], &mut answer);
        assert_eq!(step, done(0x6282));
        assert_eq!(answer.len(), 258);
        assert_eq!(answer[254..], [5, 5, 6, 7]);
    }

    #[test]
    fn get_response_stays_on_the_channel() {
        // 84 and 0C announce secure messaging, 90 chaining: GET RESPONSE has neither.
        let rows = [
            (0x01, 0x01),
            (0x83, 0x03),
            (0x84, 0x00),
            (0x0E, 0x02),
            (0x90, 0x00),
            (0x40, 0x40),
            (0x6F, 0x4F),
            (0xC5, 0x45),
            (0x3F, 0x00),
            (0xA0, 0x00),
        ];
        for (cla, expected) in rows {
            let mut completion = Completion::new(Command::new(cla, 0xCA, 0, 0));
            let step = completion.take(&[0x61, 0x20], &mut Vec::new());
            assert_eq!(step, send(&[expected, 0xC0, 0, 0, 0x20]), "{cla:02X}");
        }
    }

    #[test]
    fn wrong_le_is_repeated_once() {
        let mut answer = Vec::new();
        let mut completion = Completion::new(COMMAND);
        let step = completion.take(&[0x6C, 0x05], &mut answer);
        assert_eq!(step, send(&[0x80, 0xCA, 0, 0x66, 1, 7, 5]));
        assert_eq!(completion.take(&[0x6C, 0x06], &mut answer), done(0x6C06));

        // Each GET RESPONSE may be corrected once as well.
        let mut completion = Completion::new(COMMAND);
        let mut take = |response: &[u8]| completion.take(response, &mut answer);
        assert!(take(&[0x6C, 0x05]).is_ok());
        assert_eq!(take(&[0x61, 0x30]), send(&[0, 0xC0, 0, 0, 0x30]));
        assert_eq!(take(&[0x6C, 0x00]), send(&[0, 0xC0, 0, 0, 0x00]));
        assert_eq!(take(&[0x6C, 0x10]), done(0x6C10));
        assert!(answer.is_empty());
    }

    #[test]
    fn an_extended_command_is_repeated_extended() {
        let command = Command::new(0, 0xB0, 0, 0).ne(65_536).force_extended();
        let mut completion = Completion::new(command);
        let step = completion.take(&[0x6C, 0x05], &mut Vec::new());
        assert_eq!(step, send(&[0, 0xB0, 0, 0, 0, 0, 5]));
    }

    /// Lets a card answer for ever with `response` and returns the error and the number of responses.
    fn endless(response: &[u8], answer: &mut Vec<u8>) -> (ApduError, usize) {
        let mut completion = Completion::new(COMMAND);
        for round in 1..1_000_000 {
            match completion.take(response, answer) {
                Ok(Step::Send(_)) => {}
                Ok(Step::Done(sw)) => panic!("done with {sw}"),
                Err(error) => return (error, round),
            }
        }
        panic!("no end");
    }

    #[test]
    fn a_card_that_promises_nothing_is_stopped() {
        let sw = StatusWord(0x6110);
        let mut answer = Vec::new();
        let result = endless(&[0x61, 0x10], &mut answer);
        assert_eq!(result, (ApduError::NoProgress { sw }, 2));

        // 6Cxx in between does not help, and the exchange stays ended.
        let mut completion = Completion::new(COMMAND);
        assert!(completion.take(&[0x61, 0x10], &mut answer).is_ok());
        assert!(completion.take(&[0x6C, 0x10], &mut answer).is_ok());
        assert_eq!(completion.take(&[0x61, 0x10], &mut answer), Err(ApduError::NoProgress { sw }));
        assert_eq!(completion.take(&[0x90, 0x00], &mut answer), Err(ApduError::Finished { length: 2 }));
    }

    #[test]
    fn a_card_that_drips_is_stopped() {
        let mut answer = Vec::new();
        let (error, rounds) = endless(&[1, 0x61, 0x10], &mut answer);
        let sw = StatusWord(0x6110);
        assert_eq!(error, ApduError::TooManyRounds { rounds: 1_024, sw });
        assert_eq!((rounds, answer.len()), (1_024, 1_024));
    }

    #[test]
    fn a_card_that_floods_is_stopped() {
        let mut response = vec![0xEE; 256];
        response.extend([0x61, 0x00]);
        let mut answer = vec![1; 10];
        let (error, rounds) = endless(&response, &mut answer);
        let (length, limit) = (MAX_TOTAL + 256, MAX_TOTAL);
        assert_eq!(error, ApduError::AnswerTooLong { length, limit });
        assert_eq!((rounds, answer.len()), (257, MAX_TOTAL + 10));
        // One response that is too long by itself is not kept either.
        let mut response = vec![0; MAX_TOTAL + 1];
        response.extend([0x90, 0x00]);
        let mut answer = Vec::new();
        assert!(Completion::new(COMMAND).take(&response, &mut answer).is_err());
        assert!(answer.is_empty());
    }

    #[test]
    fn a_last_round_may_still_end() {
        let mut completion = Completion::new(COMMAND);
        let mut answer = Vec::new();
        for _ in 1..MAX_ROUNDS {
            let step = completion.take(&[1, 0x61, 0x01], &mut answer);
            assert!(matches!(step, Ok(Step::Send(_))));
        }
        let step = completion.take(&[1, 0x90, 0x00], &mut answer);
        assert_eq!(step, done(0x9000));
    }

    #[test]
    fn a_torn_answer_is_an_error() {
        let mut completion = Completion::new(COMMAND);
        let step = completion.take(&[0x90], &mut Vec::new());
        assert_eq!(step, Err(ApduError::ResponseTooShort { length: 1 }));
    }
}
