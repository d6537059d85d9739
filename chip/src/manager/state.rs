//! SET STATUS (GlobalPlatform Card 5.1, 5.3, 11.10).

use tapdoor_protocol::globalplatform::command::SetStatus;
use tapdoor_protocol::globalplatform::registry::life_cycle as state;
use tapdoor_protocol::status::StatusWord;

use crate::card::Card;
use crate::kind::LifeCycle;
use crate::store::Change;

pub(super) fn set_status(card: &mut Card, request: &SetStatus) -> Result<(), StatusWord> {
    match *request {
        SetStatus::Card { state } => set_card(card, state),
        SetStatus::Application { aid, state: 0x80 } => lock(card, &aid, true),
        SetStatus::Application { aid, state: 0x00 } => lock(card, &aid, false),
        // An application's own states are set by itself: here, by STORE DATA.
        SetStatus::Application { .. } => Err(StatusWord::WRONG_DATA),
        SetStatus::SecurityDomain { .. } => Err(StatusWord::FUNCTION_NOT_SUPPORTED),
    }
}

/// The card's own state: forwards only, but for CARD_LOCKED and back (GlobalPlatform Card figure 5-1).
fn set_card(card: &mut Card, new: u8) -> Result<(), StatusWord> {
    let known = [
        state::CARD_OP_READY,
        state::CARD_INITIALIZED,
        state::CARD_SECURED,
        state::CARD_LOCKED,
        state::CARD_TERMINATED,
    ];
    if !known.contains(&new) {
        return Err(StatusWord::WRONG_DATA);
    }
    let possible = matches!(
        (card.managed.state, new),
        (state::CARD_OP_READY, state::CARD_INITIALIZED | state::CARD_SECURED)
            | (state::CARD_INITIALIZED | state::CARD_LOCKED, state::CARD_SECURED)
            | (state::CARD_SECURED, state::CARD_LOCKED)
            | (_, state::CARD_TERMINATED)
    );
    if !possible {
        return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
    }
    card.commit(&[Change::CardLifeCycle(new)])?;
    card.managed.state = new;
    if new >= state::CARD_LOCKED {
        let ids: Vec<_> = card.entries.iter().map(|e| e.id).collect();
        ids.into_iter().for_each(|id| {
            card.renumber(id);
        });
    }
    Ok(())
}

/// Locks or unlocks an application. A locked one is not found by SELECT; if it is selected, it is so no longer.
fn lock(card: &mut Card, aid: &tapdoor_protocol::aid::Aid, locked: bool) -> Result<(), StatusWord> {
    let entry = card.downloaded(aid).or_else(|| card.entries.iter().find(|e| e.aid == *aid));
    let entry = entry.ok_or(StatusWord::DATA_NOT_FOUND)?;
    let (id, old) = (entry.id, entry.life_cycle);
    let new = LifeCycle(if locked { old.0 | 0x80 } else { old.0 & 0x7F });
    if new == old {
        return Ok(());
    }
    card.commit(&[Change::LifeCycle(*aid, new)])?;
    if let Some(id) = card.renumber(id)
        && let Some(entry) = card.entry_mut(id)
    {
        entry.life_cycle = new;
    }
    Ok(())
}
