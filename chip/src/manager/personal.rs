//! Personal data of a downloaded application.
//!
//! `C0{slot(1) || key enciphered with Key-DEK}` is a key (AES-CBC, zero IV); every other object is a parameter and takes the place of the one with
//! the same tag. What is not named stays.

use tapdoor_protocol::globalplatform::scp03::Keys;
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv::{self, Tlv};
use tapdoor_protocol::vault::Slot;

use crate::card::Card;
use crate::kind::{LifeCycle, made_selectable};
use crate::personalise::Secret;
use crate::registry::{AppId, Origin};
use crate::store::{Change, Instance};

/// Most bytes of an application's parameters.
pub(super) const PARAMETERS: usize = 4096;
const KEY: u32 = 0xC0;

/// What STORE DATA brought so far.
pub(super) struct Personal {
    id: AppId,
    parameters: Vec<(u32, Vec<u8>)>,
    keys: Vec<(Slot, Secret)>,
}

impl Personal {
    pub(super) fn new(id: AppId) -> Self {
        Self {
            id,
            parameters: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Takes an object of a block.
    pub(super) fn take(&mut self, object: Tlv<'_>, dek: &Keys) -> Result<(), StatusWord> {
        let wrong = StatusWord::WRONG_DATA;
        let (tag, value) = (object.tag.0, object.value);
        if tag != KEY {
            self.parameters.retain(|(t, _)| *t != tag);
            self.parameters.push((tag, value.to_vec()));
            let total: usize = self.parameters.iter().map(|(_, value)| value.len() + 2).sum();
            return if total > PARAMETERS {
                Err(StatusWord::NOT_ENOUGH_MEMORY)
            } else {
                Ok(())
            };
        }
        let (&slot, cipher) = value.split_first().ok_or(wrong)?;
        let slot = Slot::from_number(slot).ok_or(wrong)?;
        if !Card::fits(slot, cipher.len()) {
            return Err(wrong);
        }
        let key = dek.dek_decrypt(cipher).map_err(|_| wrong)?;
        self.keys.retain(|(s, _)| *s != slot);
        self.keys.push((slot, Secret::new(key.to_vec())));
        Ok(())
    }

    /// Stores all of it.
    pub(super) fn store(self, card: &mut Card) -> Result<(), StatusWord> {
        let entry = card.entry(self.id).ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        let Origin::Downloaded {
            load_file,
            module,
            parameters,
            ..
        } = &entry.origin
        else {
            return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
        };
        let mut merged = Vec::new();
        let old = tlv::iter(parameters).map_while(Result::ok);
        for object in old.filter(|o| self.parameters.iter().all(|(tag, _)| *tag != o.tag.0)) {
            tlv::write(&mut merged, object.tag.0, object.value);
        }
        for (tag, value) in &self.parameters {
            tlv::write(&mut merged, *tag, value);
        }
        if merged.len() > PARAMETERS {
            return Err(StatusWord::NOT_ENOUGH_MEMORY);
        }
        let state = entry.life_cycle;
        let mut keys = card.keys.of(self.id);
        keys.retain(|(slot, _)| self.keys.iter().all(|(new, _)| new != slot));
        keys.extend(self.keys);
        let instance = Instance {
            aid: entry.aid,
            load_file: *load_file,
            module: *module,
            life_cycle: if made_selectable(state) { LifeCycle(state.0 | 0x08) } else { state },
            personalised: true,
            privileges: entry.privileges,
            parameters: merged,
            keys,
        };
        card.commit(&[Change::Instance(instance.clone())])?;
        card.add_downloaded(&instance);
        Ok(())
    }
}
