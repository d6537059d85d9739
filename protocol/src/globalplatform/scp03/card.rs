//! The card's end of the mutual authentication (Amendment D 5.3.2, 7.1.1, 7.1.2).

use alloc::vec::Vec;

use super::channel::{CardChannel, Chain};
use super::keys::Session;
use super::{Challenge, EXTERNAL_AUTHENTICATE, I, INITIALIZE_UPDATE, InitializeUpdateResponse, Keys, Level, MAX_SEQUENCE};
use crate::apdu::Command;
use crate::crypto::equal;
use crate::status::StatusWord;

/// Where the card challenge comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardChallenge<'a> {
    /// It follows from Key-ENC, the sequence counter and the AID of the security domain (i with bit 10).
    PseudoRandom {
        /// The AID, whole.
        aid: &'a [u8],
    },
    /// Fresh random bytes, as many as the mode says (i without bit 10); also for replaying a recorded session.
    Given(&'a [u8]),
}

/// What the card contributes to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardSetup<'a> {
    /// Key diversification data, any 10 bytes that name the chip.
    pub diversification: [u8; 10],
    /// Key version number of the key set in use; the caller has chosen it by P1.
    pub kvn: u8,
    /// What to offer.
    pub i: I,
    /// The sequence counter of this key set, up to [`MAX_SEQUENCE`]. Count it up, durably, before the answer leaves.
    pub sequence: u32,
    /// Where the challenge comes from.
    pub challenge: CardChallenge<'a>,
}

/// A card that has answered INITIALIZE UPDATE.
#[derive(Debug)]
pub struct Card {
    session: Session,
    i: I,
}

impl Card {
    /// INITIALIZE UPDATE in, the data of its answer out. P1 is not looked at: it has chosen `keys`.
    ///
    /// # Errors
    /// The status word to answer with: 6E00, 6D00, 6A86 (P2), 6700 (challenge not as long as i says), 6985 (the sequence counter has ended),
    /// 6A88 (a given challenge of the wrong length).
    pub fn initialize_update(keys: &Keys, setup: &CardSetup<'_>, command: &Command<'_>) -> Result<(Self, Vec<u8>), StatusWord> {
        if command.cla & !0x43 != 0x80 {
            return Err(StatusWord::CLA_NOT_SUPPORTED);
        }
        if command.ins != INITIALIZE_UPDATE {
            return Err(StatusWord::INS_NOT_SUPPORTED);
        }
        if command.p2 != 0 {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        let host = Challenge::new(command.data).filter(|challenge| challenge.mode() == setup.i.mode());
        let host = host.ok_or(StatusWord::WRONG_LENGTH)?;
        if setup.sequence > MAX_SEQUENCE {
            return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
        }
        let challenge = match setup.challenge {
            CardChallenge::PseudoRandom { aid } => keys.card_challenge(host.mode(), setup.sequence, aid).ok(),
            CardChallenge::Given(bytes) => Challenge::new(bytes).filter(|challenge| challenge.mode() == host.mode()),
        };
        let challenge = challenge.ok_or(StatusWord::DATA_NOT_FOUND)?;
        let session = Session::new(keys, &host, &challenge).map_err(|_| StatusWord::DATA_NOT_FOUND)?;
        let answer = InitializeUpdateResponse {
            diversification: setup.diversification,
            kvn: setup.kvn,
            i: setup.i,
            challenge,
            cryptogram: Challenge::new(session.card_cryptogram()).ok_or(StatusWord::NO_DIAGNOSIS)?,
            sequence: setup.i.pseudo_random().then_some(setup.sequence),
        };
        Ok((Self { session, i: setup.i }, answer.encode()))
    }

    /// EXTERNAL AUTHENTICATE: the host proves itself and the channel is open. One try: a failure ends what INITIALIZE UPDATE began.
    ///
    /// # Errors
    /// The status word to answer with: 6E00 and 6D00 for another command, 6A86 for a level that does not exist or that i does not offer, 6700,
    /// 6300 for a wrong host cryptogram (count these), 6982 for a wrong C-MAC.
    pub fn external_authenticate(self, command: &Command<'_>) -> Result<CardChannel, StatusWord> {
        if !command.secure_messaging() || command.cla & 0x80 == 0 {
            return Err(StatusWord::CLA_NOT_SUPPORTED);
        }
        if command.ins != EXTERNAL_AUTHENTICATE {
            return Err(StatusWord::INS_NOT_SUPPORTED);
        }
        let level = Level::new(command.p1).filter(|level| self.i.allows(*level));
        let level = level.filter(|_| command.p2 == 0).ok_or(StatusWord::INCORRECT_P1_P2)?;
        if command.data.len() != 2 * self.session.mode.length() {
            return Err(StatusWord::WRONG_LENGTH);
        }
        let mut chain = Chain::default();
        let verified = chain.verify(&self.session, command);
        let cryptogram = &command.data[..self.session.mode.length()];
        if !equal(cryptogram, self.session.host_cryptogram()) {
            return Err(StatusWord(0x6300));
        }
        verified.ok_or(StatusWord::SECURITY_STATUS)?;
        Ok(CardChannel::new(self.session, level, chain))
    }
}
