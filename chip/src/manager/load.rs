//! INSTALL [for load] and LOAD (GlobalPlatform Card 9.3.5, 11.5, 11.6; DAP: appendix C).
//!
//! Blocks are gathered in memory. The last one has the whole file looked at: its lengths, the hash of INSTALL [for load], a provider's signature if
//! the chip has a provider's key, and the code itself by the sandbox. Then the load file is there, in one transaction, and nothing before that.
//!
//! | answer | when |
//! |---|---|
//! | 6985 | LOAD without INSTALL [for load] or out of order; the load file is there in this version or a newer one, or its AID is taken; an application needs a module that the new version has not |
//! | 6982 | no provider's signature, or a wrong one |
//! | 6A80 | malformed, another hash, more or fewer bytes than announced, code that the sandbox does not take or that says it is another |
//! | 6A84 | more than the quota |
//! | 6A88 | for another security domain |

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::globalplatform::command::{self, InstallForLoad, LoadParameters};
use tapdoor_protocol::globalplatform::load_file::{Gatherer, LoadFile, LoadFileError};
use tapdoor_protocol::status::StatusWord;

use super::Session;
use crate::card::{Card, Loaded};
use crate::registry::Origin;
use crate::sandbox::{Code, Limits, SandboxError};
use crate::store::{self, Change};

/// Room for signatures beside the code.
const SIGNATURES: usize = 4096;

/// A load that goes on.
pub(super) struct Load {
    elf: Aid,
    /// What INSTALL [for load] said; the code decides where it said nothing.
    version: Option<[u8; 2]>,
    /// SHA-256, or empty.
    hash: Vec<u8>,
    /// Bytes of code, if it was said.
    declared: Option<u32>,
    gatherer: Gatherer,
}

/// How many bytes of code this load file may have.
fn room(card: &Card, elf: &Aid) -> usize {
    let quota = usize::try_from(card.managed.quotas.code).unwrap_or(usize::MAX);
    quota.saturating_sub(card.managed.code_besides(elf)).min(Limits::default().module)
}

/// Whether there may be one load file more.
fn has_place(card: &Card) -> bool {
    card.managed.load_files.len() < usize::try_from(card.managed.quotas.load_files).unwrap_or(usize::MAX)
}

impl Session {
    /// INSTALL [for load]: an earlier load that was not finished is dropped.
    pub(super) fn install_for_load(&mut self, card: &mut Card, request: &InstallForLoad<'_>) -> Result<(), StatusWord> {
        self.load = None;
        let wrong = StatusWord::WRONG_DATA;
        if request.security_domain.is_some_and(|domain| domain != Aid::CARD_MANAGER) {
            return Err(StatusWord::DATA_NOT_FOUND);
        }
        let parameters = LoadParameters::parse(request.parameters).ok_or(wrong)?;
        if !request.token.is_empty() || !matches!(request.hash.len(), 0 | 32) {
            return Err(wrong);
        }
        if request.hash.is_empty() && !card.managed.providers.is_empty() {
            return Err(wrong);
        }
        let elf = request.elf;
        if elf == Aid::CARD_MANAGER || card.entries.iter().any(|e| e.aid == elf) {
            return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
        }
        match card.managed.load_file(&elf) {
            Some(old) if parameters.version.is_none_or(|new| new <= old.version) => return Err(StatusWord::CONDITIONS_NOT_SATISFIED),
            Some(_) => {}
            None if !has_place(card) => return Err(StatusWord::NOT_ENOUGH_MEMORY),
            None => {}
        }
        let room = room(card, &elf);
        if parameters
            .code_size
            .is_some_and(|size| usize::try_from(size).is_ok_and(|size| size > room))
        {
            return Err(StatusWord::NOT_ENOUGH_MEMORY);
        }
        self.load = Some(Load {
            elf,
            version: parameters.version,
            hash: request.hash.to_vec(),
            declared: parameters.code_size,
            gatherer: Gatherer::new(room + SIGNATURES),
        });
        Ok(())
    }

    /// LOAD. Whatever is refused ends the load.
    pub(super) fn load_block(&mut self, card: &mut Card, block: &command::Load<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        let mut load = self.load.take().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        match load.gatherer.push(block) {
            Ok(None) => self.load = Some(load),
            Ok(Some(bytes)) => {
                finish(card, &load, &bytes)?;
                // No confirmation follows.
                out.push(0x00);
            }
            Err(error) => {
                let sw = match error {
                    LoadFileError::Order { .. } => StatusWord::CONDITIONS_NOT_SATISFIED,
                    LoadFileError::TooLarge { .. } => StatusWord::NOT_ENOUGH_MEMORY,
                    _ => StatusWord::WRONG_DATA,
                };
                return Err(card.refuse(sw, &error));
            }
        }
        Ok(())
    }
}

/// All bytes are there: the load file becomes part of the chip, or nothing has happened.
fn finish(card: &mut Card, load: &Load, bytes: &[u8]) -> Result<(), StatusWord> {
    let wrong = StatusWord::WRONG_DATA;
    let file = match LoadFile::parse(bytes) {
        Ok(file) => file,
        Err(error) => return Err(card.refuse(wrong, &error)),
    };
    if load
        .declared
        .is_some_and(|size| usize::try_from(size).is_ok_and(|size| file.block.len() > size))
    {
        return Err(card.refuse(wrong, &"the load file has more code than INSTALL [for load] announced"));
    }
    if !load.hash.is_empty() && !file.has_hash(&load.hash) {
        return Err(card.refuse(wrong, &"the code has not the hash that INSTALL [for load] named"));
    }
    let mut providers = card.managed.providers.iter();
    if !card.managed.providers.is_empty() && !providers.any(|p| file.is_signed_by(&Aid::CARD_MANAGER, &p.point)) {
        return Err(card.refuse(
            StatusWord::SECURITY_STATUS,
            &"the load file is not signed by a provider that this chip knows",
        ));
    }
    // The other conversation may have loaded something meanwhile, so the room is measured anew.
    if file.block.len() > room(card, &load.elf) {
        return Err(card.refuse(StatusWord::NOT_ENOUGH_MEMORY, &"the code is more than the chip's quota leaves"));
    }
    let code = match Code::check(file.block, &Limits::default()) {
        Ok(code) => code,
        Err(error @ (SandboxError::TooLarge { .. } | SandboxError::TooMany { .. })) => {
            return Err(card.refuse(StatusWord::NOT_ENOUGH_MEMORY, &error));
        }
        Err(error) => return Err(card.refuse(wrong, &error)),
    };
    if let Err(error) = code.expect(&load.elf, load.version.unwrap_or(code.version())) {
        return Err(card.refuse(wrong, &error));
    }
    let (elf, version) = (load.elf, code.version());
    match card.managed.load_file(&elf) {
        Some(old) if version <= old.version => {
            return Err(card.refuse(StatusWord::CONDITIONS_NOT_SATISFIED, &"the chip has this version or a newer one"));
        }
        Some(_) => {}
        None if !has_place(card) => {
            return Err(card.refuse(
                StatusWord::NOT_ENOUGH_MEMORY,
                &"the chip has as many load files as its quota allows",
            ));
        }
        None if card.entries.iter().any(|e| e.aid == elf) => {
            return Err(card.refuse(StatusWord::CONDITIONS_NOT_SATISFIED, &"an application has this AID"));
        }
        None => {}
    }
    let keeps = |origin: &Origin| match origin {
        Origin::Downloaded { load_file, module, .. } if *load_file == elf => code.module(module).is_some(),
        _ => true,
    };
    if !card.entries.iter().all(|e| keeps(&e.origin)) {
        let reason = "an application on the chip is made of a module that the new version has not";
        return Err(card.refuse(StatusWord::CONDITIONS_NOT_SATISFIED, &reason));
    }
    card.commit(&[Change::LoadFile(store::LoadFile {
        aid: elf,
        version,
        hash: file.hash(),
        domain: Aid::CARD_MANAGER,
        code: file.block.to_vec(),
    })])?;
    let loaded = Loaded {
        aid: elf,
        version,
        domain: Aid::CARD_MANAGER,
        size: file.block.len(),
        code: Some(code),
    };
    match card.managed.load_files.iter_mut().find(|l| l.aid == elf) {
        Some(old) => *old = loaded,
        None => card.managed.load_files.push(loaded),
    }
    card.renew_programs(&elf);
    Ok(())
}
