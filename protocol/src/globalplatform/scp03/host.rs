//! The host's end of the mutual authentication (Amendment D 5.3.2, 7.1.1, 7.1.2).

use alloc::vec::Vec;

use super::channel::{Chain, Channel};
use super::keys::Session;
use super::{Challenge, EXTERNAL_AUTHENTICATE, I, INITIALIZE_UPDATE, Keys, Level, Mode, Scp03Error};
use crate::apdu::{Command, Response};
use crate::crypto::equal;

/// What a card answers to INITIALIZE UPDATE (Amendment D table 7-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitializeUpdateResponse {
    /// Key diversification data, as the card has it.
    pub diversification: [u8; 10],
    /// Key version number of the key set.
    pub kvn: u8,
    /// What its SCP03 can do.
    pub i: I,
    /// The card challenge.
    pub challenge: Challenge,
    /// The card cryptogram, as a [`Challenge`] because it has the same length.
    pub cryptogram: Challenge,
    /// The sequence counter, if the card challenge is pseudo-random.
    pub sequence: Option<u32>,
}

impl InitializeUpdateResponse {
    /// Reads the data of the answer to a host challenge of this mode.
    ///
    /// # Errors
    /// [`Scp03Error::AnswerLength`] and [`Scp03Error::Protocol`].
    pub fn parse(data: &[u8], mode: Mode) -> Result<Self, Scp03Error> {
        let size = mode.length();
        let expected = 13 + 2 * size;
        let wrong = Scp03Error::AnswerLength {
            length: data.len(),
            expected,
            with_counter: expected + 3,
        };
        let (diversification, rest) = data.split_first_chunk::<10>().ok_or(wrong)?;
        let (&[kvn, protocol, i], rest) = rest.split_first_chunk::<3>().ok_or(wrong)?;
        // Another protocol has another length, so it is named first.
        if protocol != 0x03 {
            return Err(Scp03Error::Protocol { kvn, protocol });
        }
        let (challenge, rest) = rest.split_at_checked(size).ok_or(wrong)?;
        let (cryptogram, rest) = rest.split_at_checked(size).ok_or(wrong)?;
        let sequence = match *rest {
            [] => None,
            [a, b, c] => Some(u32::from_be_bytes([0, a, b, c])),
            _ => return Err(wrong),
        };
        Ok(Self {
            diversification: *diversification,
            kvn,
            i: I(i),
            challenge: Challenge::new(challenge).ok_or(wrong)?,
            cryptogram: Challenge::new(cryptogram).ok_or(wrong)?,
            sequence,
        })
    }

    /// The data field.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        out.extend_from_slice(&self.diversification);
        out.extend_from_slice(&[self.kvn, 0x03, self.i.0]);
        out.extend_from_slice(self.challenge.as_bytes());
        out.extend_from_slice(self.cryptogram.as_bytes());
        if let Some(sequence) = self.sequence {
            let [_, counter @ ..] = sequence.to_be_bytes();
            out.extend_from_slice(&counter);
        }
        out
    }
}

/// A host that has sent INITIALIZE UPDATE and waits for the answer.
#[derive(Clone, Debug)]
pub struct Host {
    challenge: Challenge,
}

impl Host {
    /// INITIALIZE UPDATE for key set `kvn` (0: the card's first one). The challenge, 8 or 16 fresh random bytes, chooses the mode.
    #[must_use]
    pub fn initialize_update(kvn: u8, challenge: impl Into<Challenge>) -> (Self, Vec<u8>) {
        let challenge = challenge.into();
        let data = challenge.as_bytes();
        // 80 50 KVN 00 Lc challenge 00; Lc is 8 or 16.
        let mut command = Vec::with_capacity(22);
        command.extend_from_slice(&[0x80, INITIALIZE_UPDATE, kvn, 0x00, data.len() as u8]);
        command.extend_from_slice(data);
        command.push(0x00);
        (Self { challenge }, command)
    }

    /// Takes the R-APDU, proves the card, and gives EXTERNAL AUTHENTICATE with the channel that is open once the card answers it with 9000.
    ///
    /// # Errors
    /// [`Scp03Error`]: refused, wrong length, another protocol, level not possible, card cryptogram wrong.
    pub fn authenticate(&self, keys: &Keys, response: &[u8], level: Level) -> Result<(Vec<u8>, Channel), Scp03Error> {
        let response = Response::parse(response)?;
        if !response.sw.is_ok() {
            return Err(Scp03Error::Refused { sw: response.sw });
        }
        let answer = InitializeUpdateResponse::parse(response.data, self.challenge.mode())?;
        if !answer.i.allows(level) {
            return Err(Scp03Error::Level {
                level: level.byte(),
                i: answer.i.0,
            });
        }
        let session = Session::new(keys, &self.challenge, &answer.challenge)?;
        if !equal(session.card_cryptogram(), answer.cryptogram.as_bytes()) {
            return Err(Scp03Error::CardCryptogram { kvn: answer.kvn });
        }
        let plain = Command::new(0x80, EXTERNAL_AUTHENTICATE, level.byte(), 0x00).data(session.host_cryptogram());
        let mut chain = Chain::default();
        let command = chain.authenticated(&session, &plain, plain.data)?;
        Ok((command, Channel::new(session, level, chain)))
    }
}
