//! Every recorded transaction, byte for byte, as the user device and as the reader.

use std::collections::VecDeque;

use serde_json::Value;
use tapdoor_protocol::aliro::auth::Timestamps;
use tapdoor_protocol::aliro::device::{Credential, Group};
use tapdoor_protocol::aliro::exchange::ExchangeCommand;
use tapdoor_protocol::aliro::mailbox::Permissions;
use tapdoor_protocol::aliro::reader::{Entry, Placement};
use tapdoor_protocol::aliro::{Auth0Command, Bitmap, DeviceConfig, Fci, KeyForm, PublicKey, Reader, ReaderConfig, ReaderIdentifier};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::crypto::sign;
use tapdoor_protocol::door::{BeginData, LockStep, Verdict};
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::tlv;

use crate::card::Card;
use crate::recorded::{Pair, all, apdus, fixed, hex, is_expedited, laid_by_hand, list, load, plain, taps, whole, without_step_up};
use crate::vault::MemoryVault;

pub const PHONE: PhoneId = PhoneId(*b"alirotst");

const AUTH0: u8 = 0x80;
const AUTH1: u8 = 0x81;
const LOAD_CERT: u8 = 0xD1;
const EXCHANGE: u8 = 0xC9;

/// Plain texts of the user device in AUTH1 and in cryptograms.
fn said(vector: &Value) -> Vec<Vec<u8>> {
    let payloads = list(&vector["transactions"]).iter().flat_map(|t| list(&t["encrypted_payloads"]));
    let texts = payloads.map(|payload| hex(&payload["plaintext"]));
    texts.filter(|text| matches!(text.first(), Some(0x4E | 0x5A | 0x5E))).collect()
}

fn device_config(vector: &Value) -> DeviceConfig {
    let device = &vector["inputs"]["device"];
    let recorded: Vec<Pair> = list(&vector["transactions"]).iter().flat_map(apdus).collect();
    let select = recorded.iter().find(|(c, r)| is_expedited(c) && r.ends_with(&[0x90, 0x00]));
    let fci = Fci::parse(select.unwrap().1.strip_suffix(&[0x90, 0x00]).unwrap()).unwrap();
    let said = said(vector);
    let find = |tag| said.iter().find_map(|text| tlv::find(text, tag));
    // What the reference device says of itself when it says nothing here: bits 4 and 5 for a mailbox that may be read and written.
    let bitmap = find(0x5E).map_or(0x1C30, |bits| u16::from_be_bytes(bits.try_into().unwrap()));
    let time = |tag| find(tag).and_then(|time| time.try_into().ok()).filter(|time| *time != [0; 20]);
    let vendor = whole(&recorded)
        .iter()
        .filter(|w| w.ins == AUTH0)
        .find_map(|w| tlv::find(&w.answer, 0xB2).map(<[u8]>::to_vec));
    DeviceConfig {
        versions: fci.versions,
        lengths: fci.lengths,
        descriptor: fci.descriptor,
        vendor,
        bitmap: Bitmap(bitmap),
        groups: list(&device["readers"])
            .iter()
            .map(|group| Group {
                identifier: fixed(&group["group_identifier"]),
                key: PublicKey(fixed(&group["key"])),
                credential: 0,
            })
            .collect(),
        credentials: vec![Credential {
            key: PublicKey(fixed(&device["credential_public_key"])),
            mailbox: device["mailbox"]["size"].as_u64().unwrap_or(0) as u16,
            permissions: Permissions {
                read: bitmap & Bitmap::MAILBOX_READ != 0,
                write: bitmap & Bitmap::MAILBOX_WRITE != 0,
            },
            timestamps: Timestamps {
                credential: time(0x91),
                revocation: time(0x92),
            },
        }],
    }
}

fn card(vector: &Value) -> Card {
    let device = &vector["inputs"]["device"];
    let mut vault = MemoryVault::new(&[fixed(&device["credential_private_key"])]);
    vault.ephemerals = list(&device["ephemeral_private_keys"]).iter().map(fixed).collect();
    // What was sent, which need not be what was signed.
    vault.signatures = said(vector)
        .iter()
        .filter_map(|text| tlv::find(text, 0x9E)?.try_into().ok())
        .collect();
    let slot = PublicKey(fixed(&device["credential_public_key"])).slot();
    for group in list(&device["readers"]) {
        for (sub, key) in device["kpersistent"].as_object().into_iter().flatten() {
            let name = [&hex(&group["group_identifier"])[..], &hex::decode(sub).unwrap(), &slot.0].concat();
            vault.remembered.push((name, fixed(key)));
        }
    }
    Card::new(device_config(vector), vault)
}

#[test]
fn the_user_device_answers_as_recorded() {
    for (name, vector) in all() {
        let mut card = card(&vector);
        for transaction in list(&vector["transactions"]) {
            let recorded = apdus(transaction);
            let (recorded, _) = without_step_up(&recorded);
            for (number, (command, expected)) in recorded.iter().enumerate() {
                // Only a cryptogram for nobody is drawn at random: it is what was recorded.
                card.vault.randoms = tlv::find(expected, 0x9D).map(<[u8]>::to_vec).into_iter().collect();
                let answer = card.transmit(command);
                assert_eq!(
                    hex::encode(&answer),
                    hex::encode(expected),
                    "{name}, APDU {number}: {}",
                    hex::encode(command)
                );
            }
            let after = &transaction["device_after"];
            let known: Vec<[u8; 32]> = after["kpersistent"].as_object().unwrap().values().map(fixed).collect();
            let remembered: Vec<[u8; 32]> = card.vault.remembered.iter().map(|(_, key)| *key).collect();
            assert_eq!(remembered, known, "{name}");
            let credential = &card.device.config().credentials[0];
            let mailbox = [&b"M"[..], &credential.key.slot().0].concat();
            let empty = vec![0; usize::from(credential.mailbox)];
            let content = card.vault.records.get(&mailbox).cloned().unwrap_or(empty);
            assert_eq!(hex::encode(content), after["mailbox"].as_str().unwrap_or_default(), "{name}");
        }
    }
}

/// What each side signed is what the other verifies: recorded signatures are right for the data that ours signs, but where one was bent on purpose.
#[test]
fn what_is_signed_is_as_recorded() {
    let mut right = 0;
    for (name, vector) in all() {
        let device = &vector["inputs"]["device"]["credential_private_key"];
        let mut card = card(&vector);
        for transaction in list(&vector["transactions"]) {
            card.vault.signed.clear();
            let recorded = apdus(transaction);
            recorded.iter().for_each(|(command, _)| drop(card.transmit(command)));
            let ours = list(&transaction["signatures"]).iter().filter(|s| s["private_key"] == *device);
            let data: Vec<Vec<u8>> = ours.clone().map(|s| hex(&s["data"])).collect();
            assert_eq!(card.vault.signed, data, "{name}");
            for signature in ours {
                let public = public_uncompressed(&SecretScalar(fixed(&signature["private_key"]))).unwrap();
                right += usize::from(sign::verify(&public, &hex(&signature["data"]), &fixed(&signature["signature"])));
            }
        }
    }
    assert!(right >= 8, "{right}");
}

/// The reader that made this tap, as far as its commands tell.
fn reader(vector: &Value, transaction: &Value, tap: &[Pair], vault: &mut MemoryVault) -> Reader {
    let input = &vector["inputs"]["reader"];
    let private: [u8; 32] = fixed(&input["reader_private_key"]);
    let group_key = match input.get("issuer_private_key") {
        Some(issuer) => public_uncompressed(&SecretScalar(fixed(issuer))).unwrap(),
        None => public_uncompressed(&SecretScalar(private)).unwrap(),
    };
    let identifier = ReaderIdentifier::new(fixed(&input["group_identifier"]), fixed(&input["sub_identifier"]));
    let mut config = ReaderConfig::new(identifier, PublicKey(group_key));
    config.policy = input["authentication_policy"].as_u64().unwrap_or(1) as u8;
    config.credentials = list(&input["key_slots"])
        .iter()
        .map(|key| Entry {
            phone: PHONE,
            key: PublicKey(fixed(key)),
            not_before: 0,
            not_after: 0,
            revoked: false,
        })
        .collect();
    let commands = whole(tap);
    let auth0 = commands.iter().find(|w| w.ins == AUTH0);
    config.fast = auth0.and_then(|w| w.find(0x41)) == Some(&[1]);
    config.vendor = auth0.and_then(|w| w.find(0xB1)).map(<[u8]>::to_vec);
    let auth1 = commands.iter().find(|w| w.ins == AUTH1);
    config.form = match auth1.and_then(|w| w.find(0x41)) {
        Some(&[0]) => KeyForm::Slot,
        _ => KeyForm::PublicKey,
    };
    let loaded = commands
        .iter()
        .find(|w| w.ins == LOAD_CERT)
        .map(|w| (w.data.clone(), Placement::LoadCert));
    let inside = auth1.and_then(|w| w.find(0x90)).map(|c| (c.to_vec(), Placement::Auth1));
    config.certificate = loaded.or(inside);
    for exchange in commands.iter().filter(|w| w.ins == EXCHANGE) {
        let Some(plain) = plain(transaction, &exchange.data) else {
            continue;
        };
        let said = ExchangeCommand::parse(&plain).unwrap();
        config.mailbox.extend(said.mailbox);
        config.status = said.status.filter(|status| status.is_success()).unwrap_or(config.status);
    }
    // Which of the ephemeral keys and transaction identifiers it was.
    let key = auth0.and_then(|w| w.find(0x87)).map(hex::encode);
    let keys = list(&input["ephemeral_public_keys"]);
    let place = keys.iter().position(|k| k.as_str() == key.as_deref()).unwrap_or(0);
    vault.ephemerals = VecDeque::from([fixed(&input["ephemeral_private_keys"][place])]);
    vault.randoms = VecDeque::from([hex(&input["transaction_identifiers"][place])]);
    vault.signatures = auth1.and_then(|w| w.find(0x9E)?.try_into().ok()).into_iter().collect();
    Reader::new(config)
}

/// Whether a command is what a reader of ours says, unknown objects, Le, and an ephemeral key that was not handed down aside.
fn means(vector: &Value, theirs: &[u8], ours: &[u8]) -> bool {
    let (Ok(theirs), Ok(ours)) = (Command::parse(theirs), Command::parse(ours)) else {
        return false;
    };
    let header = |c: &Command<'_>| (c.cla, c.ins, c.p1, c.p2);
    let auth0 = |c: &Command<'_>| Auth0Command::parse(c.data);
    let same = match (auth0(&theirs), auth0(&ours)) {
        (Ok(theirs), Ok(mut ours)) => {
            if !is_handed_down(vector, &theirs) {
                (ours.ephemeral, ours.transaction) = (theirs.ephemeral, theirs.transaction);
            }
            theirs == ours
        }
        _ => theirs.data == ours.data,
    };
    header(&theirs) == header(&ours) && same
}

fn is_handed_down(vector: &Value, auth0: &Auth0Command) -> bool {
    let key = hex::encode(auth0.ephemeral.0);
    let keys = list(&vector["inputs"]["reader"]["ephemeral_public_keys"]);
    keys.iter().any(|k| k.as_str() == Some(&key))
}

/// One tap as the reader: its commands are those that were recorded, and its verdict is what it said in the end.
fn replay(name: &str, vector: &Value, transaction: &Value, tap: &[Pair], step_up: bool, vault: &mut MemoryVault) {
    let laid = laid_by_hand(transaction);
    let mut reader = reader(vector, transaction, tap, vault);
    let commands = whole(tap);
    let mut statuses = commands.iter().filter(|w| w.ins == EXCHANGE).filter_map(|w| {
        let plain = plain(transaction, &w.data)?;
        ExchangeCommand::parse(&plain).ok()?.status
    });
    let opens = statuses.next_back().map(|status| status.is_success());
    let fci = tap[0].1.strip_suffix(&[0x90, 0x00]).unwrap();
    let mut rest = &tap[1..];
    let mut step = reader.begin(vault, &BeginData { clock: 1, fci }.encode()).unwrap();
    let mut strange = false;
    let outcome = loop {
        let ours = match &step {
            LockStep::Transmit { command, .. } => command,
            LockStep::Done(outcome) => break Some(outcome),
        };
        let Some(((theirs, answer), after)) = rest.split_first() else {
            break None;
        };
        rest = after;
        if ours != theirs {
            strange = !means(vector, theirs, ours);
            // No reader says this. What it is answered must not open the door, and goes no further.
            let allowed = laid.contains(theirs) || (!strange && theirs[1] == AUTH0);
            assert!(allowed, "{name}: {} not {}", hex::encode(ours), hex::encode(theirs));
        }
        step = reader.next(vault, answer).unwrap();
        if strange {
            break match &step {
                LockStep::Done(outcome) => Some(outcome),
                LockStep::Transmit { .. } => None,
            };
        }
    };
    match outcome {
        Some(outcome) => {
            let open = outcome.verdict == Verdict::Open;
            assert_eq!(open, opens == Some(true), "{name}: {}", outcome.evidence);
            match rest {
                [] => assert!(
                    open || strange || outcome.control_flow.is_none(),
                    "{name}: the end was not recorded"
                ),
                [(last, _)] => {
                    let ours = outcome.control_flow.as_deref().unwrap_or_default();
                    assert!(ours == last || strange || laid.contains(last), "{name}: {}", hex::encode(ours));
                }
                _ => assert!(strange, "{name}: more was recorded than was said"),
            }
        }
        // Ours goes straight to the status where the recorded one went to the step-up phase.
        None if step_up => {
            let LockStep::Done(outcome) = reader.next(vault, &[0x69, 0x82]).unwrap() else {
                panic!("{name}: no end");
            };
            assert_eq!(outcome.verdict, Verdict::Open, "{name}: {}", outcome.evidence);
        }
        None => assert_ne!(opens, Some(true), "{name}: more commands than were recorded"),
    }
    reader.reset(vault);
    assert_eq!(vault.alive(), 0, "{name}: keys of the session are gone");
}

#[test]
fn the_reader_says_what_was_recorded() {
    for (name, vector) in all() {
        let input = &vector["inputs"]["reader"];
        let mut vault = MemoryVault::new(&[fixed(&input["reader_private_key"])]);
        for known in list(&input["fast_cache"]) {
            let entry = (hex(&known["credential_public_key"]), fixed(&known["kpersistent"]));
            vault.remembered.push(entry);
        }
        for transaction in list(&vector["transactions"]) {
            let recorded = apdus(transaction);
            let (expedited, step_up) = without_step_up(&recorded);
            let taps = taps(expedited);
            assert!(!taps.is_empty(), "{name}");
            for tap in taps {
                replay(&name, &vector, transaction, tap, step_up, &mut vault);
            }
            let known: Vec<(Vec<u8>, [u8; 32])> = list(&transaction["reader_after"]["fast_cache"])
                .iter()
                .map(|entry| (hex(&entry["credential_public_key"]), fixed(&entry["kpersistent"])))
                .collect();
            assert_eq!(vault.remembered, known, "{name}");
        }
    }
}

/// The two that were laid by hand say what a reader of ours says, but for the object CF and Le; so their replay is no empty one.
#[test]
fn what_was_laid_by_hand_is_compared() {
    for (file, meant) in [
        ("auth0_extra_tag.json", vec![true]),
        ("auth0_response_chaining_le_3c.json", vec![true]),
        ("error_statuses.json", vec![false, false, false, false, false, false, false]),
    ] {
        let vector = load(file);
        let transaction = &vector["transactions"][0];
        let (recorded, mut vault) = (apdus(transaction), MemoryVault::new(&[[1; 32]]));
        let all: Vec<bool> = taps(&recorded)
            .into_iter()
            .filter(|tap| laid_by_hand(transaction).contains(&tap[1].0))
            .map(|tap| {
                let mut reader = reader(&vector, transaction, tap, &mut vault);
                let fci = tap[0].1.strip_suffix(&[0x90, 0x00]).unwrap();
                let LockStep::Transmit { command, .. } = reader.begin(&mut vault, &BeginData { clock: 1, fci }.encode()).unwrap() else {
                    panic!("no AUTH0");
                };
                reader.reset(&mut vault);
                means(&vector, &tap[1].0, &command)
            })
            .collect();
        assert_eq!(all, meant, "{file}");
    }
}
