//! INSTALL [for install], [for make selectable], [for personalization] (GlobalPlatform Card 9.3.6, 9.3.7, 11.5).
//!
//! An application that is INSTALLED cannot be selected yet; a personalised one of the same AID stays in use until it is made selectable, and is
//! replaced by it then. Records under that AID stay, so that sequence numbers do not begin again.

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::globalplatform::command::{Install, InstallForInstall};
use tapdoor_protocol::globalplatform::registry::Privileges;
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;

use super::Session;
use super::personal::PARAMETERS;
use crate::card::Card;
use crate::kind::{LifeCycle, made_selectable, privilege};
use crate::store::{Change, Instance};

impl Session {
    pub(super) fn install(&mut self, card: &mut Card, request: &Install<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        // Whoever is personalised, it is not finished yet.
        (self.target, self.gathered) = (None, None);
        match request {
            Install::ForLoad(request) => self.install_for_load(card, request)?,
            Install::ForInstall(request) => for_install(card, request, LifeCycle::INSTALLED)?,
            Install::ForInstallAndMakeSelectable(request) => for_install(card, request, LifeCycle::SELECTABLE)?,
            Install::ForMakeSelectable(request) => make_selectable(card, &request.application)?,
            Install::ForPersonalization(aid) => self.target = for_personalization(card, aid)?,
            // There is one security domain.
            _ => return Err(StatusWord::FUNCTION_NOT_SUPPORTED),
        }
        // No confirmation follows.
        out.push(0x00);
        Ok(())
    }
}

/// The privileges an application can have here, as its one byte.
fn privileges(card: &Card, wanted: Privileges) -> Result<u8, StatusWord> {
    let Privileges([first, 0, 0]) = wanted else {
        return Err(StatusWord::WRONG_DATA);
    };
    if first & !privilege::DEFAULT_SELECTED != 0 {
        return Err(StatusWord::WRONG_DATA);
    }
    if first != 0 && card.entries.iter().any(|e| e.privileges & privilege::DEFAULT_SELECTED != 0) {
        return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
    }
    Ok(first)
}

fn for_install(card: &mut Card, request: &InstallForInstall<'_>, life_cycle: LifeCycle) -> Result<(), StatusWord> {
    let wrong = StatusWord::WRONG_DATA;
    let load_file = request.elf.ok_or(wrong)?;
    let loaded = card.managed.load_file(&load_file).ok_or(StatusWord::DATA_NOT_FOUND)?;
    let code = loaded.code.as_ref().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
    let module = match (request.module, code.modules()) {
        (Some(aid), _) => code.module(&aid).ok_or(StatusWord::DATA_NOT_FOUND)?.aid,
        (None, [only]) => only.aid,
        (None, _) => return Err(wrong),
    };
    let aid = request.application;
    if aid == Aid::CARD_MANAGER || card.managed.load_file(&aid).is_some() || card.downloaded(&aid).is_some() {
        return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
    }
    let privileges = privileges(card, request.privileges)?;
    let parameters = request.application_parameters().ok_or(wrong)?;
    if !request.token.is_empty() || parameters.len() > PARAMETERS || tlv::iter(parameters).any(|object| object.is_err()) {
        return Err(wrong);
    }
    let instances = card.entries.iter().filter(|e| e.is_downloaded()).count();
    if instances >= usize::try_from(card.managed.quotas.instances).unwrap_or(usize::MAX) {
        return Err(StatusWord::NOT_ENOUGH_MEMORY);
    }
    let instance = Instance {
        aid,
        load_file,
        module,
        life_cycle,
        personalised: false,
        privileges,
        parameters: parameters.to_vec(),
        keys: Vec::new(),
    };
    card.commit(&[Change::Instance(instance.clone())])?;
    card.add_downloaded(&instance);
    if made_selectable(life_cycle) {
        replace_personalised(card, &aid);
    }
    Ok(())
}

/// The downloaded application stands in the place of the personalised one from now on.
fn replace_personalised(card: &mut Card, aid: &Aid) {
    let old = card.entries.iter().find(|e| !e.is_downloaded() && e.aid == *aid).map(|e| e.id);
    if let Some(id) = old {
        card.remove(id);
    }
}

fn make_selectable(card: &mut Card, aid: &Aid) -> Result<(), StatusWord> {
    let entry = card.downloaded(aid).ok_or(StatusWord::DATA_NOT_FOUND)?;
    if made_selectable(entry.life_cycle) {
        return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
    }
    let (id, state) = (entry.id, entry.life_cycle.0 | 0x04);
    let state = LifeCycle(if entry.is_personalised() { state | 0x08 } else { state });
    card.commit(&[Change::LifeCycle(*aid, state)])?;
    if let Some(entry) = card.entry_mut(id) {
        entry.life_cycle = state;
    }
    replace_personalised(card, aid);
    Ok(())
}

/// Whom STORE DATA is for: the card manager itself if it is named.
fn for_personalization(card: &Card, aid: &Aid) -> Result<Option<crate::registry::AppId>, StatusWord> {
    if *aid == Aid::CARD_MANAGER {
        return Ok(None);
    }
    match card.downloaded(aid) {
        Some(entry) if entry.life_cycle.0 & 0x80 == 0 => Ok(Some(entry.id)),
        Some(_) => Err(StatusWord::CONDITIONS_NOT_SATISFIED),
        // What the chip's configuration has filled is not for others to fill.
        None if card.entries.iter().any(|e| e.aid == *aid) => Err(StatusWord::CONDITIONS_NOT_SATISFIED),
        None => Err(StatusWord::DATA_NOT_FOUND),
    }
}
