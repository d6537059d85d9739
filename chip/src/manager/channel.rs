//! The secure channel of a session (SCP03: GlobalPlatform Amendment D 5.3, 6.2, 7.1).

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::globalplatform::registry::life_cycle;
use tapdoor_protocol::globalplatform::scp03::{self, CardChallenge, CardChannel, CardSetup, Keys, MAX_SEQUENCE};
use tapdoor_protocol::status::StatusWord;
use zeroize::Zeroizing;

use super::{FIELD_FAILURES, Session};
use crate::card::Card;
use crate::store::Change;

/// Most bytes of GET STATUS in one answer where nothing is added to it.
const PART: usize = 240;

/// What the sender of a command has proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Authority {
    /// Nothing.
    None,
    /// That it has the keys, once.
    Authenticated,
    /// That this very command comes from who has the keys.
    Protected,
}

/// A secure channel in its states.
#[derive(Default)]
pub(super) enum Channel {
    #[default]
    Closed,
    /// INITIALIZE UPDATE was answered.
    Asked { card: Box<scp03::Card>, kvn: u8, keys: Keys },
    /// The host has proved itself. The key set is kept for its Key-DEK.
    Open { channel: Box<CardChannel>, kvn: u8, keys: Keys },
}

impl Channel {
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// The key set in use.
    pub(super) fn keys(&self) -> Result<&Keys, StatusWord> {
        match self {
            Self::Open { keys, .. } => Ok(keys),
            _ => Err(StatusWord::SECURITY_STATUS),
        }
    }

    /// The key version number in use.
    pub(super) fn kvn(&self) -> Option<u8> {
        match self {
            Self::Open { kvn, .. } => Some(*kvn),
            _ => None,
        }
    }

    /// Most plain bytes of an answer that is not cut.
    pub(super) fn room(&self) -> usize {
        match self {
            Self::Open { channel, .. } => channel.max_response_data().min(PART),
            _ => PART,
        }
    }

    /// The plain command, and what its sender has proved.
    pub(super) fn unwrap(&mut self, command: &Command<'_>) -> Result<(Zeroizing<Vec<u8>>, Authority), StatusWord> {
        let Self::Open { channel, .. } = self else {
            return Err(StatusWord::SECURITY_STATUS);
        };
        let authority = if channel.level().c_mac() {
            Authority::Protected
        } else {
            Authority::Authenticated
        };
        Ok((channel.unwrap(command)?, authority))
    }

    /// Protects an answer: `data` becomes what is sent, and the status word that goes with it comes out.
    pub(super) fn wrap(&mut self, data: &mut Vec<u8>, sw: StatusWord) -> StatusWord {
        let Self::Open { channel, .. } = self else {
            return sw;
        };
        let mut wrapped = channel.wrap(data, sw);
        let sw = match wrapped.split_last_chunk::<2>() {
            Some((_, &[sw1, sw2])) => StatusWord::from_bytes(sw1, sw2),
            None => StatusWord::NO_DIAGNOSIS,
        };
        wrapped.truncate(wrapped.len().saturating_sub(2));
        *data = wrapped;
        sw
    }
}

impl Session {
    pub(super) fn initialize_update(
        &mut self,
        card: &mut Card,
        command: &Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<StatusWord, StatusWord> {
        self.end();
        let managed = &card.managed;
        if managed.state == life_cycle::CARD_TERMINATED {
            return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
        }
        if !self.wired && managed.failures >= FIELD_FAILURES {
            return Err(StatusWord::PIN_BLOCKED);
        }
        let mut sets = managed.key_sets.iter();
        let set = sets
            .find(|set| command.p1 == 0 || set.kvn == command.p1)
            .ok_or(StatusWord::DATA_NOT_FOUND)?;
        let (kvn, keys, i, sequence) = (set.kvn, set.keys.clone(), managed.i, managed.sequence);
        let mut diversification = [0; 10];
        diversification[2..].copy_from_slice(&managed.number);
        let mut fresh = [0; 16];
        let fresh = fresh.get_mut(..i.mode().length()).ok_or(StatusWord::NO_DIAGNOSIS)?;
        let challenge = if i.pseudo_random() {
            let aid = Aid::CARD_MANAGER.as_bytes();
            CardChallenge::PseudoRandom { aid }
        } else {
            card.keys.fill_random(fresh).map_err(|_| StatusWord::NO_DIAGNOSIS)?;
            CardChallenge::Given(fresh)
        };
        let setup = CardSetup {
            diversification,
            kvn,
            i,
            sequence,
            challenge,
        };
        let (asked, answer) = scp03::Card::initialize_update(&keys, &setup, command)?;
        // A counter is used once, whatever happens next.
        let (next, failures) = ((sequence + 1).min(MAX_SEQUENCE + 1), card.managed.failures.saturating_add(1));
        card.commit(&[Change::Sequence { next, failures }])?;
        (card.managed.sequence, card.managed.failures) = (next, failures);
        self.channel = Channel::Asked {
            card: Box::new(asked),
            kvn,
            keys,
        };
        out.extend(answer);
        Ok(StatusWord::OK)
    }

    pub(super) fn external_authenticate(&mut self, card: &mut Card, command: &Command<'_>) -> Result<StatusWord, StatusWord> {
        let channel = std::mem::take(&mut self.channel);
        self.end();
        let Channel::Asked { card: asked, kvn, keys } = channel else {
            return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
        };
        let channel = asked.external_authenticate(command)?;
        // Kept in the store with the next counter: should it be lost, one more seems to have failed.
        card.managed.failures = 0;
        self.channel = Channel::Open {
            channel: Box::new(channel),
            kvn,
            keys,
        };
        Ok(StatusWord::OK)
    }
}
