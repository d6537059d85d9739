//! PUT KEY (GlobalPlatform Card 11.8; Amendment D 7.2; for providers' keys Amendment E).
//!
//! - Key version numbers 30 to 3F: an SCP03 key set, its three AES keys in one command. Once one has come, the key set of the chip's configuration
//!   is used only as far as it was kept by then, and never comes back when the configuration is applied again.
//! - 73: a provider's P-256 public key, by which load files must be signed from then on.

use tapdoor_protocol::globalplatform::command::PutKey;
use tapdoor_protocol::globalplatform::scp03::Keys;
use tapdoor_protocol::status::StatusWord;

use super::Session;
use crate::card::{Card, KeySet, Managed, Provider};
use crate::personalise::{ScpKeys, Secret};
use crate::store::Change;

/// The key version number of keys that verify load files (GlobalPlatform Card 11.1.9).
pub(super) const DAP_KVN: u8 = 0x73;
/// Most key sets, and most providers' keys.
const MOST: usize = 8;

impl Session {
    pub(super) fn put_key(&mut self, card: &mut Card, request: &PutKey<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        match request.kvn {
            DAP_KVN => put_provider(card, request)?,
            0x30..=0x3F => {
                put_key_set(card, request, self.channel.keys()?)?;
                self.rekeyed = true;
            }
            _ => return Err(StatusWord::WRONG_DATA),
        }
        out.extend(request.answer());
        Ok(())
    }
}

/// What keeps the key sets that are to stay: they may have come by the configuration only.
pub(super) fn kept(managed: &Managed, stays: impl Fn(u8) -> bool) -> Vec<Change> {
    let sets = managed.key_sets.iter().filter(|set| stays(set.kvn));
    let keep = |set: &KeySet| Change::KeySet {
        keys: secret(set.kvn, &set.keys),
        replaces: None,
    };
    sets.map(keep).collect()
}

fn secret(kvn: u8, keys: &Keys) -> ScpKeys {
    let [enc, mac, dek] = keys.in_order().map(Secret::new);
    ScpKeys { kvn, enc, mac, dek }
}

fn put_key_set(card: &mut Card, request: &PutKey<'_>, dek: &Keys) -> Result<(), StatusWord> {
    let [enc, mac, key_dek] = &request.keys[..] else {
        return Err(StatusWord::WRONG_DATA);
    };
    if request.kid != 1 {
        return Err(StatusWord::WRONG_DATA);
    }
    let new = Keys::new(&enc.aes(dek)?, &mac.aes(dek)?, &key_dek.aes(dek)?).map_err(|_| StatusWord::WRONG_DATA)?;
    let there = |kvn: u8| card.managed.key_sets.iter().any(|set| set.kvn == kvn);
    let replaces = (request.replaces != 0).then_some(request.replaces);
    match replaces {
        Some(old) if !there(old) => return Err(StatusWord::DATA_NOT_FOUND),
        Some(old) if old != request.kvn && there(request.kvn) => return Err(StatusWord::CONDITIONS_NOT_SATISFIED),
        Some(_) => {}
        None if there(request.kvn) => return Err(StatusWord::CONDITIONS_NOT_SATISFIED),
        None if card.managed.key_sets.len() >= MOST => return Err(StatusWord::NOT_ENOUGH_MEMORY),
        None => {}
    }
    let mut changes = kept(&card.managed, |kvn| Some(kvn) != replaces);
    changes.push(Change::KeySet {
        keys: secret(request.kvn, &new),
        replaces,
    });
    card.commit(&changes)?;
    let sets = &mut card.managed.key_sets;
    sets.retain(|set| Some(set.kvn) != replaces);
    sets.push(KeySet {
        kvn: request.kvn,
        keys: new,
    });
    Ok(())
}

fn put_provider(card: &mut Card, request: &PutKey<'_>) -> Result<(), StatusWord> {
    let [key] = &request.keys[..] else {
        return Err(StatusWord::WRONG_DATA);
    };
    let point = key.p256().ok_or(StatusWord::WRONG_DATA)?.to_vec();
    let kid = request.kid;
    let providers = &card.managed.providers;
    let there = providers.iter().any(|p| p.kid == Some(kid));
    match request.replaces {
        0 if there => return Err(StatusWord::CONDITIONS_NOT_SATISFIED),
        0 if providers.len() >= MOST => return Err(StatusWord::NOT_ENOUGH_MEMORY),
        0 => {}
        DAP_KVN if there => {}
        _ => return Err(StatusWord::DATA_NOT_FOUND),
    }
    card.commit(&[Change::DapKey(kid, point.clone())])?;
    card.managed.providers.retain(|p| p.kid != Some(kid));
    card.managed.providers.push(Provider { kid: Some(kid), point });
    Ok(())
}
