//! DELETE (GlobalPlatform Card 9.5, 11.2).
//!
//! An application goes with its keys and records. A personalised application that was replaced by it is there again after the next start, with no
//! records. What the chip's configuration brought cannot be deleted (6985); neither can a load file of which there are applications, unless P2 is
//! 80, nor the key set in use, nor the last one.

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::globalplatform::command::Delete;
use tapdoor_protocol::status::StatusWord;

use super::put_key::{DAP_KVN, kept};
use crate::card::Card;
use crate::registry::AppId;
use crate::store::Change;

/// `in_use` is the key version number of this session's key set.
pub(super) fn delete(card: &mut Card, request: &Delete<'_>, in_use: Option<u8>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
    match request {
        Delete::Content { aids, related, token } => {
            if !token.is_empty() {
                return Err(StatusWord::WRONG_DATA);
            }
            content(card, aids, *related)?;
        }
        Delete::Keys { kid, kvn } => keys(card, *kid, *kvn, in_use)?,
    }
    // No confirmation follows.
    out.push(0x00);
    Ok(())
}

fn content(card: &mut Card, aids: &[Aid], related: bool) -> Result<(), StatusWord> {
    let mut changes = Vec::new();
    let mut applications: Vec<AppId> = Vec::new();
    let mut load_files: Vec<Aid> = Vec::new();
    for aid in aids {
        if let Some(entry) = card.downloaded(aid) {
            applications.push(entry.id);
            changes.push(Change::NoInstance(*aid));
        } else if card.managed.load_file(aid).is_some() {
            let made_of = |e: &&crate::registry::Entry| e.load_file() == Some(aid) && !applications.contains(&e.id);
            let instances: Vec<_> = card.entries.iter().filter(made_of).map(|e| (e.id, e.aid)).collect();
            if !instances.is_empty() && !related {
                return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
            }
            changes.extend(instances.iter().map(|(_, aid)| Change::NoInstance(*aid)));
            applications.extend(instances.iter().map(|(id, _)| id));
            changes.push(Change::NoLoadFile(*aid));
            load_files.push(*aid);
        } else if *aid == Aid::CARD_MANAGER || card.entries.iter().any(|e| e.aid == *aid) {
            return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
        } else {
            return Err(StatusWord::DATA_NOT_FOUND);
        }
    }
    card.commit(&changes)?;
    applications.into_iter().for_each(|id| card.remove(id));
    card.managed.load_files.retain(|l| !load_files.contains(&l.aid));
    Ok(())
}

fn keys(card: &mut Card, kid: Option<u8>, kvn: Option<u8>, in_use: Option<u8>) -> Result<(), StatusWord> {
    let kvn = kvn.ok_or(StatusWord::WRONG_DATA)?;
    if kvn == DAP_KVN {
        let concerned = |k: Option<u8>| k.is_some() && (kid.is_none() || k == kid);
        let providers = card.managed.providers.iter().filter(|p| concerned(p.kid));
        let changes: Vec<Change> = providers.filter_map(|p| p.kid).map(Change::NoDapKey).collect();
        if changes.is_empty() {
            return Err(StatusWord::DATA_NOT_FOUND);
        }
        card.commit(&changes)?;
        card.managed.providers.retain(|p| !concerned(p.kid));
        return Ok(());
    }
    if !card.managed.key_sets.iter().any(|set| set.kvn == kvn) {
        return Err(StatusWord::DATA_NOT_FOUND);
    }
    // Half a key set is of no use.
    if kid.is_some() || in_use == Some(kvn) || card.managed.key_sets.len() < 2 {
        return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
    }
    let mut changes = kept(&card.managed, |other| other != kvn);
    changes.push(Change::NoKeySet(kvn));
    card.commit(&changes)?;
    card.managed.key_sets.retain(|set| set.kvn != kvn);
    Ok(())
}
