//! The lock's list as the server delivers it (STORE DATA for the card manager itself).
//!
//! - `E5{80{phone id(8)} 90{weakest(1)} 91{not-after(4)} 92{flags(1)} 93{K_id} 94{K_l} 95{K || OPc} 96{K || TOPc}}`: one entry, in place of the
//!   phone's old one. 91, 92, 95 and 96 may be left out. Keys are enciphered with Key-DEK (AES-CBC, zero IV).
//! - `E6{80{phone id(8)}}`: the phone is taken off the list, whatever the chip's configuration says.
//! - `E7{}`, before all others: the list is to be just what follows. Phones on it now that do not follow are taken off.
//!
//! All of it is stored with the last block, in one transaction. What was said of a phone holds from then on before what the configuration says.

use std::collections::HashSet;

use tapdoor_protocol::globalplatform::scp03::Keys;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv::{self, Tlv};
use tapdoor_protocol::vault::Method;

use crate::card::Card;
use crate::personalise::{ListEntry, Secret};
use crate::store::{Change, Delivered};

const WRONG: StatusWord = StatusWord::WRONG_DATA;

/// What STORE DATA brought so far.
#[derive(Default)]
pub(super) struct ListEdit {
    replace: bool,
    edits: Vec<Delivered>,
}

impl ListEdit {
    /// Takes an object of a block.
    pub(super) fn take(&mut self, card: &Card, object: Tlv<'_>, dek: &Keys) -> Result<(), StatusWord> {
        let edit = match object.tag.0 {
            0xE5 => {
                let entry = entry(object.value, dek)?;
                if card.keys.has_subscriber(entry.phone) {
                    return Err(WRONG);
                }
                Delivered {
                    phone: entry.phone,
                    entry: Some(entry),
                }
            }
            0xE6 => Delivered {
                phone: PhoneId(fixed(tlv::find(object.value, 0x80))?),
                entry: None,
            },
            0xE7 if object.value.is_empty() && self.edits.is_empty() && !self.replace => {
                self.replace = true;
                return Ok(());
            }
            _ => return Err(WRONG),
        };
        if self.edits.len() >= usize::try_from(card.managed.quotas.list).unwrap_or(usize::MAX) {
            return Err(StatusWord::NOT_ENOUGH_MEMORY);
        }
        self.edits.push(edit);
        Ok(())
    }

    /// Stores all of it.
    pub(super) fn store(mut self, card: &mut Card) -> Result<(), StatusWord> {
        // What was said last of a phone counts.
        let mut seen = HashSet::new();
        self.edits.reverse();
        self.edits.retain(|edit| seen.insert(edit.phone));
        self.edits.reverse();
        let list = &card.keys.list;
        if self.replace {
            let gone = list.phones().filter(|phone| !seen.contains(phone));
            self.edits.extend(gone.map(|phone| Delivered { phone, entry: None }));
        }
        // Who is not on the list need not be taken off it.
        let on: HashSet<PhoneId> = list.phones().collect();
        self.edits.retain(|edit| edit.entry.is_some() || on.contains(&edit.phone));
        let (new, gone): (Vec<&Delivered>, Vec<&Delivered>) = self.edits.iter().partition(|edit| edit.entry.is_some());
        let more = new.iter().filter(|edit| !on.contains(&edit.phone)).count();
        let length = (on.len() + more).saturating_sub(gone.len());
        let quota = usize::try_from(card.managed.quotas.list).unwrap_or(usize::MAX);
        if more > 0 && length > quota || !list.has_numbers(self.edits.len()) {
            return Err(StatusWord::NOT_ENOUGH_MEMORY);
        }
        let changes: Vec<Change> = self.edits.iter().cloned().map(Change::List).collect();
        if changes.is_empty() {
            return Ok(());
        }
        card.commit(&changes)?;
        card.keys.list.apply(&self.edits);
        Ok(())
    }
}

fn fixed<const N: usize>(value: Option<&[u8]>) -> Result<[u8; N], StatusWord> {
    value.and_then(|value| value.try_into().ok()).ok_or(WRONG)
}

/// The content of E5.
fn entry(bytes: &[u8], dek: &Keys) -> Result<ListEntry, StatusWord> {
    let mut seen = HashSet::new();
    for object in tlv::iter(bytes) {
        let tag = object.map_err(|_| WRONG)?.tag.0;
        if !matches!(tag, 0x80 | 0x90..=0x96) || !seen.insert(tag) {
            return Err(WRONG);
        }
    }
    let key = |tag, length| -> Result<Option<Secret>, StatusWord> {
        let Some(cipher) = tlv::find(bytes, tag) else { return Ok(None) };
        if cipher.len() != length {
            return Err(WRONG);
        }
        let plain = dek.dek_decrypt(cipher).map_err(|_| WRONG)?;
        Ok(Some(Secret::new(plain.to_vec())))
    };
    let [weakest] = fixed(tlv::find(bytes, 0x90))?;
    let not_after = match tlv::find(bytes, 0x91) {
        Some(value) => u32::from_be_bytes(fixed(Some(value))?),
        None => 0,
    };
    let [flags] = match tlv::find(bytes, 0x92) {
        Some(value) => fixed(Some(value))?,
        None => [0],
    };
    Ok(ListEntry {
        phone: PhoneId(fixed(tlv::find(bytes, 0x80))?),
        weakest: Method::from_number(weakest).ok_or(WRONG)?,
        not_after,
        flags,
        k_id: key(0x93, 16)?.ok_or(WRONG)?,
        k_l: key(0x94, 16)?.ok_or(WRONG)?,
        milenage: key(0x95, 32)?,
        tuak: key(0x96, 64)?,
    })
}
