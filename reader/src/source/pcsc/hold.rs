//! Getting hold of a card: alone, or in a transaction beside other programs.

use std::ffi::CStr;

use pcsc::{Card, Context, Disposition, Error, Protocols, ShareMode};

use super::link::HeldCard;
use crate::source::{Hold, Protocol, is_contactless};

/// T=0 and T=1.
const PROTOCOLS: Protocols = Protocols::ANY;

/// What a session that begins knows of its card.
pub(super) struct About {
    pub(super) atr: Vec<u8>,
    pub(super) protocol: Protocol,
    pub(super) hold: Hold,
}

/// A card that is held, for itself alone or in a transaction.
pub(super) fn connect(context: &Context, name: &CStr) -> Result<(Card, Hold), Error> {
    match context.connect(name, ShareMode::Exclusive, PROTOCOLS) {
        Ok(card) => Ok((card, Hold::Exclusive)),
        Err(Error::SharingViolation) => Ok((begin_transaction(context, name)?, Hold::Transaction)),
        Err(e) => Err(e),
    }
}

/// A card, shared, inside a transaction that lasts until it is disconnected.
fn begin_transaction(context: &Context, name: &CStr) -> Result<Card, Error> {
    let mut card = context.connect(name, ShareMode::Shared, PROTOCOLS)?;
    let mut begun = card.transaction().map(std::mem::forget);
    if begun == Err(Error::ResetCard) {
        begun = card.reconnect(ShareMode::Shared, PROTOCOLS, Disposition::LeaveCard).and_then(|()| {
            // The guard would end the transaction; disconnecting does.
            card.transaction().map(std::mem::forget)
        });
    }
    match begun {
        Ok(()) => Ok(card),
        Err(e) => {
            leave(card, Disposition::LeaveCard);
            Err(e)
        }
    }
}

fn status(card: &Card) -> Result<(Vec<u8>, Protocol), Error> {
    let (mut names, mut atr) = ([0; 512], [0; pcsc::MAX_ATR_SIZE]);
    let status = card.status2(&mut names, &mut atr)?;
    let protocol = match status.protocol2() {
        Some(pcsc::Protocol::T0) => Protocol::T0,
        Some(pcsc::Protocol::T1) => Protocol::T1,
        Some(pcsc::Protocol::RAW) | None => return Err(Error::ProtoMismatch),
    };
    Ok((status.atr().to_vec(), protocol))
}

pub(super) fn leave(card: Card, disposition: Disposition) {
    // What fails here has ended already; the handle is closed by its drop.
    let _ = card.disconnect(disposition);
}

/// Makes a clean start with a card that is held.
pub(super) fn start(mut card: Card, hold: Hold, reset: bool) -> Result<(HeldCard, About), Error> {
    // Inside another program's connection a reset would break that one; SELECT starts clean enough.
    if hold == Hold::Exclusive && reset {
        card.reconnect(ShareMode::Exclusive, PROTOCOLS, Disposition::ResetCard)?;
    }
    let status = match status(&card) {
        Err(Error::ResetCard) => {
            let mode = if hold == Hold::Exclusive {
                ShareMode::Exclusive
            } else {
                ShareMode::Shared
            };
            card.reconnect(mode, PROTOCOLS, Disposition::LeaveCard)?;
            status(&card)
        }
        status => status,
    };
    let (atr, protocol) = status?;
    let end = if is_contactless(&atr) || hold == Hold::Transaction {
        Disposition::LeaveCard
    } else {
        Disposition::ResetCard
    };
    Ok((HeldCard::new(card, end), About { atr, protocol, hold }))
}
