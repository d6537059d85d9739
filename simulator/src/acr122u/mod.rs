//! The ACR122U in software: a PN532 behind a microcontroller that polls for cards and takes pseudo-APDUs (ACS API V2.04).
//!
//! | module | what |
//! |---|---|
//! | [`pseudo`] | the pseudo-APDUs: which they are |
//! | [`slot`] | the card in the field: arrival, removal, ATR |
//! | [`socket`] | the whole reader behind our own PC/SC driver |
//!
//! A card in the field is found by the reader's own polling and reached by plain APDUs: the reader does ISO-DEP. Short APDUs only.

pub mod pseudo;
pub mod slot;
#[cfg(unix)]
pub mod socket;

use std::time::{Duration, Instant};

use tapdoor_link::field::FieldLink;
use tapdoor_protocol::pn532::{Answer, Code, Command, Status};

use self::pseudo::Pseudo;
use self::slot::Card;
use crate::pn532::{Outcome, Pn532};

/// What FF 00 48 answers.
pub const FIRMWARE: &[u8; 10] = b"ACR122U207";
/// The longest short C-APDU.
pub const MAX_COMMAND: usize = 261;
/// How long a pseudo-APDU may wait for the chip.
const CHIP: Duration = Duration::from_secs(5);
/// How often the microcontroller asks the chip meanwhile.
const ASK: Duration = Duration::from_millis(5);

/// Status words of the reader itself.
mod sw {
    pub(super) const OK: [u8; 2] = [0x90, 0x00];
    pub(super) const FAILED: [u8; 2] = [0x63, 0x00];
    pub(super) const CHIP_SILENT: [u8; 2] = [0x63, 0x01];
    pub(super) const CHIP_REFUSED: [u8; 2] = [0x63, 0x7F];
    pub(super) const NOT_SUPPORTED: [u8; 2] = [0x6A, 0x81];
    pub(super) const WRONG_LENGTH: [u8; 2] = [0x67, 0x00];
}

/// What real readers do that the manual does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// After the firmware string was asked for, every answer is the one before it (firmware 215 and 216), until the card is powered.
    pub stale_answers: bool,
    /// The PICC operating parameter comes alone, without 90 before it.
    pub bare_parameter: bool,
    /// Another firmware than [`FIRMWARE`].
    pub firmware: Option<&'static [u8; 10]>,
    /// No name for its firmware, as clones have it.
    pub nameless: bool,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Answered: data and status word, as far as the reader gives one.
    Answer(Vec<u8>),
    /// No card is in the field, or it left.
    NoCard,
    /// The card did not answer.
    Mute,
    /// Longer than this reader takes: a driver refuses it.
    TooLong,
}

/// A reader.
pub struct Acr122u<L> {
    chip: Pn532<L>,
    quirks: Quirks,
    // PICC operating parameter: bit 7 polling by itself, 6 RATS by itself, 4 and 3 FeliCa, 1 type B, 0 type A.
    picc: u8,
    led: u8,
    card: Option<Card>,
    stale: Option<Vec<u8>>,
    buffer: Vec<u8>,
}

impl<L: FieldLink> Acr122u<L> {
    /// A reader that has just been plugged in.
    pub fn new(link: L, quirks: Quirks) -> Self {
        Self {
            chip: Pn532::new(link),
            quirks,
            picc: 0xFF,
            led: 0,
            card: None,
            stale: None,
            buffer: Vec::new(),
        }
    }

    /// The chip behind it.
    pub fn chip(&mut self) -> &mut Pn532<L> {
        &mut self.chip
    }

    /// A C-APDU for the card, or a pseudo-APDU for the reader, while a card is connected.
    pub fn transmit(&mut self, command: &[u8]) -> Reply {
        if command.len() > MAX_COMMAND {
            return Reply::TooLong;
        }
        if self.card.is_none() {
            return Reply::NoCard;
        }
        let reply = match Pseudo::parse(command) {
            Some(pseudo) => Reply::Answer(self.pseudo(&pseudo)),
            None if is_extended(command) => return Reply::TooLong,
            None => self.apdu(command),
        };
        self.aged(command, reply)
    }

    /// A command for the reader, with a card or without: pseudo-APDUs.
    pub fn escape(&mut self, command: &[u8]) -> Reply {
        if command.len() > MAX_COMMAND {
            return Reply::TooLong;
        }
        let reply = match Pseudo::parse(command) {
            Some(pseudo) => self.pseudo(&pseudo),
            None => sw::FAILED.to_vec(),
        };
        self.aged(command, Reply::Answer(reply))
    }

    /// The quirk of stale answers.
    fn aged(&mut self, command: &[u8], reply: Reply) -> Reply {
        let Reply::Answer(answer) = reply else { return reply };
        let begins = self.quirks.stale_answers && matches!(command, [0xFF, 0x00, 0x48, ..]);
        match &mut self.stale {
            Some(old) => Reply::Answer(std::mem::replace(old, answer)),
            None => {
                if begins {
                    self.stale = Some(answer.clone());
                }
                Reply::Answer(answer)
            }
        }
    }

    fn pseudo(&mut self, pseudo: &Pseudo<'_>) -> Vec<u8> {
        let (data, status): (&[u8], [u8; 2]) = match *pseudo {
            Pseudo::Direct(content) => return self.direct(content),
            Pseudo::Firmware if self.quirks.nameless => (&[], sw::FAILED),
            Pseudo::Firmware => return self.quirks.firmware.unwrap_or(FIRMWARE).to_vec(),
            Pseudo::GetParameter => return self.parameter(),
            Pseudo::SetParameter(value) => {
                self.picc = value;
                return self.parameter();
            }
            Pseudo::Led { control } => {
                // The states that remain, for the LEDs whose mask bits are set.
                let mask = control >> 2 & 0x03;
                self.led = self.led & !mask | control & mask;
                return vec![0x90, self.led];
            }
            Pseudo::Timeout | Pseudo::Buzzer => (&[], sw::OK),
            Pseudo::Uid { le } | Pseudo::Ats { le } => {
                let Some(card) = &self.card else { return sw::FAILED.to_vec() };
                let data = if matches!(pseudo, Pseudo::Uid { .. }) {
                    card.uid()
                } else {
                    card.ats()
                };
                match (data.len(), usize::from(le)) {
                    (0, _) => (&[], sw::NOT_SUPPORTED),
                    (length, le) if le != 0 && le < length => (&[], [0x6C, u8::try_from(length).unwrap_or(0)]),
                    _ => (data, sw::OK),
                }
            }
            Pseudo::WrongLength => (&[], sw::WRONG_LENGTH),
            Pseudo::Unknown => (&[], sw::NOT_SUPPORTED),
        };
        [data, &status].concat()
    }

    fn parameter(&self) -> Vec<u8> {
        if self.quirks.bare_parameter {
            vec![self.picc]
        } else {
            vec![0x90, self.picc]
        }
    }

    /// Direct transmit: a command for the chip.
    fn direct(&mut self, content: &[u8]) -> Vec<u8> {
        let [0xD4, command @ ..] = content else {
            return sw::CHIP_REFUSED.to_vec();
        };
        let mut answer = Vec::new();
        match self.ask_chip(command, &mut answer) {
            Outcome::Answered => {
                let mut reply = vec![0xD5];
                reply.extend_from_slice(&answer);
                reply.extend_from_slice(&sw::OK);
                reply
            }
            Outcome::Busy => sw::CHIP_SILENT.to_vec(),
            Outcome::Syntax => sw::CHIP_REFUSED.to_vec(),
        }
    }

    /// Has the chip do something; [`Outcome::Busy`] when it took too long and was stopped.
    fn ask_chip(&mut self, command: &[u8], answer: &mut Vec<u8>) -> Outcome {
        let end = Instant::now() + CHIP;
        let mut outcome = self.chip.command(command, answer);
        while outcome == Outcome::Busy {
            if Instant::now() >= end {
                self.chip.abort();
                break;
            }
            std::thread::sleep(ASK);
            outcome = self.chip.resume(answer);
        }
        outcome
    }

    /// The same with a command of the microcontroller's own.
    fn ask(&mut self, command: &Command<'_>) -> Option<Vec<u8>> {
        let mut content = std::mem::take(&mut self.buffer);
        content.clear();
        command.encode(&mut content);
        let mut answer = Vec::new();
        let outcome = self.chip.command(&content, &mut answer);
        self.chip.abort();
        self.buffer = content;
        (outcome == Outcome::Answered).then_some(answer)
    }

    /// An APDU by ISO-DEP.
    fn apdu(&mut self, command: &[u8]) -> Reply {
        if !self.card.as_ref().is_some_and(Card::is_powered) {
            return Reply::NoCard;
        }
        let mut response = Vec::new();
        let mut data = command;
        loop {
            let exchange = Command::InDataExchange {
                target: 1,
                more: false,
                data,
            };
            let Some(answer) = self.ask(&exchange) else { return Reply::Mute };
            match Answer::parse(Code::InDataExchange, &answer) {
                Ok(Answer::Data(_, Status { error: None, more, .. }, part)) => {
                    response.extend_from_slice(part);
                    if !more {
                        break;
                    }
                    data = &[];
                }
                _ => {
                    return if self.present() { Reply::Mute } else { Reply::NoCard };
                }
            }
        }
        Reply::Answer(response)
    }
}

/// Whether a C-APDU has extended length fields (ISO/IEC 7816-4 5.2): a zero where Lc or Le stands, and more behind it.
const fn is_extended(command: &[u8]) -> bool {
    matches!(command, [_, _, _, _, 0x00, _, ..])
}
