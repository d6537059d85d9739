//! What the card manager tells: FCI, GET DATA, GET STATUS (GlobalPlatform Card 9.9.3.1, 11.3, 11.4, appendix H).

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::door::fci as template;
use tapdoor_protocol::globalplatform::command::{GetData, GetStatus, Subset, key_type};
use tapdoor_protocol::globalplatform::registry::{self, CardRecognition, CardResources, KeyInfo, Privileges, life_cycle};
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;

use super::put_key::DAP_KVN;
use crate::card::{Card, Managed};
use crate::kind::made_selectable;
use crate::registry::{Entry, Origin};

/// Free volatile memory as it is reported: the sandbox's limit for one application.
const VOLATILE: u32 = 256 * 1024;

fn recognition(managed: &Managed) -> Vec<u8> {
    let recognition = CardRecognition {
        version: vec![2, 3, 1],
        protocols: managed.is_managed().then_some((0x03, managed.i.0)).into_iter().collect(),
    };
    recognition.encode()
}

/// The answer to SELECT: security domain management data (73) and the longest command data (9F65).
pub(super) fn fci(managed: &Managed) -> Vec<u8> {
    let recognition = recognition(managed);
    let mut a5 = Vec::with_capacity(64);
    // The value of 66 is the object 73.
    a5.extend_from_slice(tlv::find(&recognition, 0x66).unwrap_or(&[]));
    tlv::write(&mut a5, 0x9F65, &[0xFF]);
    template::template(Aid::CARD_MANAGER.as_bytes(), &a5)
}

pub(super) fn get_data(managed: &Managed, entries: &[Entry], request: &GetData<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
    match request.tag {
        // Issuer identification number: none is assigned, so the value is empty.
        0x0042 => tlv::write(out, 0x42, &[]),
        0x0045 => tlv::write(out, 0x45, &managed.number),
        0x0066 => out.extend(recognition(managed)),
        0x00C1 if managed.is_managed() => {
            let [_, counter @ ..] = managed.sequence.to_be_bytes();
            tlv::write(out, 0xC1, &counter);
        }
        0x00E0 if managed.is_managed() => out.extend(KeyInfo::template(&key_information(managed))),
        0xFF21 if managed.is_managed() => {
            let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let resources = CardResources {
                applications: number(entries.len()),
                non_volatile: managed
                    .quotas
                    .code
                    .saturating_sub(number(managed.load_files.iter().map(|l| l.size).sum())),
                volatile: VOLATILE,
            };
            out.extend(resources.encode());
        }
        0x2F00 => {
            for entry in entries.iter().filter(|e| made_selectable(e.life_cycle)) {
                let mut inner = Vec::with_capacity(18);
                tlv::write(&mut inner, 0x4F, entry.aid.as_bytes());
                tlv::write(out, 0x61, &inner);
            }
        }
        _ => return Err(StatusWord::DATA_NOT_FOUND),
    }
    Ok(())
}

fn key_information(managed: &Managed) -> Vec<KeyInfo> {
    let mut out = Vec::new();
    for set in &managed.key_sets {
        let length = u8::try_from(set.keys.key_length()).unwrap_or(0);
        out.extend((1..=3).map(|kid| KeyInfo {
            kid,
            kvn: set.kvn,
            components: vec![(key_type::AES, length)],
        }));
    }
    for (index, provider) in (1u8..=0x7F).zip(&managed.providers) {
        let length = u8::try_from(provider.point.len()).unwrap_or(0);
        out.push(KeyInfo {
            kid: provider.kid.unwrap_or(index),
            kvn: DAP_KVN,
            components: vec![(key_type::EC_PUBLIC, length)],
        });
    }
    out
}

/// `status` is where the last GET STATUS stopped; `most` is how many bytes fit into one answer.
pub(super) fn get_status(
    card: &Card,
    status: &mut Option<(u8, usize)>,
    request: &GetStatus<'_>,
    p1: u8,
    most: usize,
    out: &mut Vec<u8>,
) -> Result<StatusWord, StatusWord> {
    let start = match (request.next, status.take()) {
        (false, _) => 0,
        (true, Some((of, listed))) if of == p1 => listed,
        (true, _) => return Err(StatusWord::CONDITIONS_NOT_SATISFIED),
    };
    let listed = list(card, request.subset);
    let matching: Vec<_> = listed.iter().filter(|e| e.aid.as_bytes().starts_with(request.aid)).collect();
    if matching.is_empty() {
        return Err(StatusWord::DATA_NOT_FOUND);
    }
    for (index, entry) in matching.into_iter().enumerate().skip(start) {
        let encoded = if request.tlv {
            entry.encode()
        } else {
            entry.encode_old(request.subset)
        };
        // One that is too long by itself comes alone, and in parts.
        if !out.is_empty() && out.len() + encoded.len() > most {
            *status = Some((p1, index));
            return Ok(StatusWord::MORE_DATA_AVAILABLE);
        }
        out.extend_from_slice(&encoded);
    }
    Ok(StatusWord::OK)
}

fn list(card: &Card, subset: Subset) -> Vec<registry::Entry> {
    let managed = &card.managed;
    match subset {
        Subset::IssuerSecurityDomain => {
            let mut entry = registry::Entry::new(Aid::CARD_MANAGER, managed.state);
            entry.privileges = Some(match managed.providers.is_empty() {
                true => Privileges::SECURITY_DOMAIN,
                false => Privileges::MANDATED_DAP,
            });
            vec![entry]
        }
        Subset::Applications => {
            // While a downloaded one waits to take its place, a personalised one is in use but no longer what is managed.
            let waiting = |e: &&Entry| e.is_downloaded() || card.downloaded(&e.aid).is_none();
            card.entries.iter().filter(waiting).map(application).collect()
        }
        Subset::LoadFiles | Subset::LoadFilesAndModules => {
            let file = |l: &crate::card::Loaded| {
                let mut entry = registry::Entry::new(l.aid, life_cycle::LOADED);
                entry.version = Some(l.version.to_vec());
                entry.security_domain = Some(l.domain);
                if subset == Subset::LoadFilesAndModules {
                    entry.modules = l.code.iter().flat_map(|code| code.modules()).map(|m| m.aid).collect();
                }
                entry
            };
            managed.load_files.iter().map(file).collect()
        }
    }
}

fn application(e: &Entry) -> registry::Entry {
    let mut entry = registry::Entry::new(e.aid, e.life_cycle.0);
    entry.privileges = Some(Privileges([e.privileges, 0, 0]));
    if let Origin::Downloaded { load_file, .. } = &e.origin {
        entry.elf = Some(*load_file);
        entry.security_domain = Some(Aid::CARD_MANAGER);
    }
    entry
}
