//! Every recorded transaction, byte for byte, as the user device and as the reader (tests/vectors/aliro).

use std::collections::VecDeque;
use std::path::Path;

use serde_json::Value;
use tapdoor_protocol::aliro::auth::Timestamps;
use tapdoor_protocol::aliro::device::{Credential, Group};
use tapdoor_protocol::aliro::exchange::{MailboxRequest, Operation};
use tapdoor_protocol::aliro::mailbox::Permissions;
use tapdoor_protocol::aliro::reader::{Entry, Placement};
use tapdoor_protocol::aliro::{Bitmap, DeviceConfig, KeyForm, PublicKey, Reader, ReaderConfig, ReaderIdentifier};
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::door::{BeginData, LockStep, Outcome, Reason, Verdict};
use tapdoor_protocol::ids::PhoneId;

use crate::card::Card;
use crate::vault::MemoryVault;

pub const PHONE: PhoneId = PhoneId(*b"alirotst");

fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

fn fixed_list<const N: usize>(value: &Value) -> VecDeque<[u8; N]> {
    value.as_array().unwrap().iter().map(fixed).collect()
}

pub fn load(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/aliro").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn apdus(transaction: &Value) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |apdu: &Value| (hex(&apdu["c"]), hex(&apdu["r"]));
    transaction["apdus"].as_array().unwrap().iter().map(pair).collect()
}

/// All signatures by this key, in the order in which they were made.
fn signatures(vector: &Value, private: &Value) -> VecDeque<[u8; 64]> {
    let transactions = vector["transactions"].as_array().unwrap().iter();
    let all = transactions.flat_map(|t| t["signatures"].as_array().unwrap());
    all.filter(|s| s["private_key"] == *private)
        .map(|s| fixed(&s["signature"]))
        .collect()
}

fn device_config(vector: &Value) -> DeviceConfig {
    let device = &vector["inputs"]["device"];
    let groups = device["readers"].as_array().unwrap();
    let document = device.get("access_document").is_some();
    DeviceConfig {
        versions: match device.get("supported_versions") {
            Some(list) => list.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u16).collect(),
            None => vec![0x0100],
        },
        // What the reference device says of itself, and bits 0 and 2 when it has a document.
        bitmap: Bitmap(if document { 0x1C05 } else { 0x1C00 }),
        groups: groups
            .iter()
            .map(|group| Group {
                identifier: fixed(&group["group_identifier"]),
                key: PublicKey(fixed(&group["key"])),
                credential: 0,
            })
            .collect(),
        credentials: vec![Credential {
            key: PublicKey(fixed(&device["credential_public_key"])),
            mailbox: device["mailbox"]["size"].as_u64().unwrap() as u16,
            permissions: Permissions { read: true, write: true },
            timestamps: Timestamps {
                credential: document.then_some(*b"2026-02-26T15:54:26Z"),
                revocation: None,
            },
        }],
        ..DeviceConfig::default()
    }
}

fn card(vector: &Value) -> Card {
    let device = &vector["inputs"]["device"];
    let mut vault = MemoryVault::new(&[fixed(&device["credential_private_key"])]);
    vault.ephemerals = fixed_list(&device["ephemeral_private_keys"]);
    vault.signatures = signatures(vector, &device["credential_private_key"]);
    if vector["flow"] == "refused_bad_device_signature" {
        // What was sent is not what was signed.
        let plain = vector["transactions"][0]["encrypted_payloads"][0]["plaintext"].as_str().unwrap();
        let at = 2 * (67 + 2);
        vault.signatures = VecDeque::from([hex::decode(&plain[at..at + 128]).unwrap().try_into().unwrap()]);
    }
    let identifier: [u8; 16] = fixed(&device["readers"][0]["group_identifier"]);
    let slot = PublicKey(fixed(&device["credential_public_key"])).slot();
    if let Some(known) = device.get("kpersistent") {
        for (sub, key) in known.as_object().unwrap() {
            let sub: [u8; 16] = hex::decode(sub).unwrap().try_into().unwrap();
            let name = [&identifier[..], &sub, &slot.0].concat();
            vault.remembered.push((name, fixed(key)));
        }
    }
    // The random cryptogram of a miss is what was recorded.
    if vector["flow"] == "fast_miss_then_standard" {
        let answer = hex(&vector["transactions"][0]["apdus"][1]["r"]);
        vault.randoms.push_back(answer[69..133].to_vec());
    }
    Card::new(device_config(vector), vault)
}

const ALL: [&str; 15] = [
    "auth0_extra_tag",
    "auth0_response_chaining_le_3c",
    "cert_in_auth1_chained",
    "cert_load_cert",
    "control_flow_no_common_version",
    "error_statuses",
    "exchange_chaining",
    "exchange_mailbox",
    "fast_hit",
    "fast_miss_then_standard",
    "refused_bad_device_signature",
    "refused_wrong_reader_key",
    "standard",
    "standard_then_fast",
    "stepup_access_document",
];

/// The expedited phase of a transaction: all but what follows a SELECT of the step-up phase.
fn expedited(apdus: &[(Vec<u8>, Vec<u8>)]) -> &[(Vec<u8>, Vec<u8>)] {
    let step_up = apdus.iter().position(|(c, _)| c.ends_with(&[0x55, 0x02, 0x00]) && c[1] == 0xA4);
    &apdus[..step_up.unwrap_or(apdus.len())]
}

#[test]
fn the_user_device_answers_as_recorded() {
    for name in ALL {
        let vector = load(&format!("{name}.json"));
        let mut card = card(&vector);
        for transaction in vector["transactions"].as_array().unwrap() {
            for (number, (command, expected)) in expedited(&apdus(transaction)).iter().enumerate() {
                let answer = card.transmit(command);
                assert_eq!(
                    hex::encode(&answer),
                    hex::encode(expected),
                    "{name}, APDU {number}: {}",
                    hex::encode(command)
                );
            }
            let after = &transaction["device_after"];
            let slot = card.device.config().credentials[0].key.slot();
            let known: Vec<_> = after["kpersistent"].as_object().unwrap().values().map(fixed::<32>).collect();
            assert_eq!(
                card.vault.remembered.iter().map(|(_, key)| *key).collect::<Vec<_>>(),
                known,
                "{name}"
            );
            let mailbox = [&b"M"[..], &slot.0].concat();
            let content = card.vault.records.get(&mailbox).cloned().unwrap_or_else(|| vec![0; 512]);
            assert_eq!(hex::encode(content), after["mailbox"].as_str().unwrap(), "{name}");
        }
    }
}

#[test]
fn what_is_signed_is_as_recorded() {
    let vector = load("standard.json");
    let mut card = card(&vector);
    let transaction = &vector["transactions"][0];
    apdus(transaction).iter().for_each(|(command, _)| drop(card.transmit(command)));
    assert_eq!(card.vault.signed, [hex(&transaction["signatures"][1]["data"])]);
}

/// What the recorded reader did besides authenticating.
fn requests(steps: &Value) -> Vec<MailboxRequest> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    };
    let one = |operation| MailboxRequest {
        open: false,
        operations: vec![operation],
    };
    let mut out = Vec::new();
    for step in steps.as_array().unwrap() {
        let step = step["step"].as_str().unwrap();
        let (name, rest) = step.split_once(':').unwrap_or((step, ""));
        let words: Vec<&str> = rest.split(':').collect();
        match (name, words.as_slice()) {
            ("read", [offset, length]) => out.push(one(Operation::Read {
                offset: number(offset),
                length: number(length),
            })),
            ("write", [offset, data]) => out.push(one(Operation::Write {
                offset: number(offset),
                data: hex::decode(data).unwrap(),
            })),
            ("set", [offset, length, value]) => out.push(one(Operation::Set {
                offset: number(offset),
                length: number(length),
                value: number(value) as u8,
            })),
            ("xchg", _) => {
                let request: Value = serde_json::from_str(rest).unwrap();
                let list = |key: &str| request[key].as_array().cloned().unwrap_or_default();
                let n = |value: &Value| value.as_u64().unwrap() as u16;
                let mut operations = Vec::new();
                operations.extend(list("read").iter().map(|r| Operation::Read {
                    offset: n(&r[0]),
                    length: n(&r[1]),
                }));
                operations.extend(list("write").iter().map(|w| Operation::Write {
                    offset: n(&w[0]),
                    data: hex(&w[1]),
                }));
                operations.extend(list("set").iter().map(|s| Operation::Set {
                    offset: n(&s[0]),
                    length: n(&s[1]),
                    value: n(&s[2]) as u8,
                }));
                out.push(MailboxRequest {
                    open: request["atomic"] == true,
                    operations,
                });
            }
            _ => {}
        }
    }
    out
}

fn reader(vector: &Value) -> (Reader, MemoryVault) {
    let input = &vector["inputs"]["reader"];
    let private: [u8; 32] = fixed(&input["reader_private_key"]);
    let mut vault = MemoryVault::new(&[private]);
    vault.ephemerals = fixed_list(&input["ephemeral_private_keys"]);
    vault.randoms = fixed_list::<16>(&input["transaction_identifiers"])
        .iter()
        .map(|t| t.to_vec())
        .collect();
    vault.signatures = signatures(vector, &input["reader_private_key"]);
    for known in input.get("fast_cache").and_then(Value::as_array).into_iter().flatten() {
        vault
            .remembered
            .push((hex(&known["credential_public_key"]), fixed(&known["kpersistent"])));
    }
    let group_key = match input.get("issuer_private_key") {
        Some(issuer) => public_uncompressed(&SecretScalar(fixed(issuer))).unwrap(),
        None => public_uncompressed(&SecretScalar(private)).unwrap(),
    };
    let flow = vector["flow"].as_str().unwrap();
    let identifier = ReaderIdentifier::new(fixed(&input["group_identifier"]), fixed(&input["sub_identifier"]));
    let mut config = ReaderConfig::new(identifier, PublicKey(group_key));
    config.form = KeyForm::PublicKey;
    config.fast = flow.starts_with("fast");
    config.certificate = input.get("certificate_compressed").map(|certificate| {
        let placement = if flow == "cert_load_cert" {
            Placement::LoadCert
        } else {
            Placement::Auth1
        };
        (hex(certificate), placement)
    });
    config.mailbox = requests(&vector["transactions"][0]["steps"]);
    config.credentials = vec![Entry {
        phone: PHONE,
        key: PublicKey(hex(&input["key_slots"][0]).try_into().unwrap()),
        not_after: 0,
        revoked: false,
    }];
    (Reader::new(config), vault)
}

/// Runs the reader against the recorded answers: its commands, SELECT aside, and the verdict.
fn run(reader: &mut Reader, vault: &mut MemoryVault, answers: &[Vec<u8>]) -> (Vec<Vec<u8>>, Outcome) {
    let mut sent = Vec::new();
    let (select, mut rest) = answers.split_first().unwrap();
    let fci = select.strip_suffix(&[0x90, 0x00]).unwrap();
    let mut step = reader.begin(vault, &BeginData { clock: 1, fci }.encode()).unwrap();
    loop {
        match step {
            LockStep::Transmit { command, .. } => {
                sent.push(command);
                let (answer, after) = rest.split_first().expect("more commands than were recorded");
                rest = after;
                step = reader.next(vault, answer).unwrap();
            }
            LockStep::Done(outcome) => return (sent, outcome),
        }
    }
}

#[test]
fn the_reader_says_what_was_recorded() {
    // In the others the recorded commands were laid down by hand; those that a reader of ours would send are in the tests below.
    for name in ALL
        .iter()
        .filter(|name| !["auth0_extra_tag", "auth0_response_chaining_le_3c", "error_statuses"].contains(name))
    {
        let vector = load(&format!("{name}.json"));
        let (mut reader, mut vault) = reader(&vector);
        for (index, transaction) in vector["transactions"].as_array().unwrap().iter().enumerate() {
            if *name == "standard_then_fast" && index == 1 {
                let mut config = reader.config().clone();
                config.fast = true;
                reader = Reader::new(config);
            }
            let recorded = apdus(transaction);
            let (mut recorded, step_up) = (expedited(&recorded).to_vec(), *name == "stepup_access_document");
            if step_up {
                // Ours goes straight to the status.
                recorded.push((Vec::new(), vec![0x69, 0x82]));
            }
            let answers: Vec<Vec<u8>> = recorded.iter().map(|(_, answer)| answer.clone()).collect();
            let (mut sent, outcome) = run(&mut reader, &mut vault, &answers);
            sent.extend(outcome.control_flow.clone());
            let mut expected: Vec<Vec<u8>> = recorded[1..].iter().map(|(command, _)| command.clone()).collect();
            if step_up {
                sent.pop();
                expected.pop();
            }
            for (ours, theirs) in sent.iter().zip(&expected) {
                assert_eq!(hex::encode(ours), hex::encode(theirs), "{name}");
            }
            assert_eq!(sent.len(), expected.len(), "{name}: {}", outcome.evidence);
            let verdict = match *name {
                "control_flow_no_common_version" => Verdict::Refused(Reason::CardError),
                "refused_bad_device_signature" | "refused_wrong_reader_key" => Verdict::Refused(Reason::WrongKey),
                _ => Verdict::Open,
            };
            assert_eq!(outcome.verdict, verdict, "{name}: {}", outcome.evidence);
            let known: Vec<(Vec<u8>, [u8; 32])> = transaction["reader_after"]["fast_cache"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| (hex(&entry["credential_public_key"]), fixed(&entry["kpersistent"])))
                .collect();
            assert_eq!(vault.remembered, known, "{name}");
            assert_eq!(vault.alive(), 0, "{name}: keys of the session are gone");
        }
    }
}

#[test]
fn an_answer_in_two_parts_is_fetched_as_recorded() {
    let vector = load("auth0_response_chaining_le_3c.json");
    let (mut reader, mut vault) = reader(&vector);
    let recorded = apdus(&vector["transactions"][0]);
    let begin = BeginData {
        clock: 1,
        fci: recorded[0].1.strip_suffix(&[0x90, 0x00]).unwrap(),
    };
    let LockStep::Transmit { command, .. } = reader.begin(&mut vault, &begin.encode()).unwrap() else {
        panic!("no AUTH0");
    };
    let (header, theirs) = recorded[1].0.split_at(recorded[1].0.len() - 1);
    assert_eq!((&command[..command.len() - 1], theirs), (header, &[0x3C][..]), "all but Le");
    let LockStep::Transmit { command, .. } = reader.next(&mut vault, &recorded[1].1).unwrap() else {
        panic!("no GET RESPONSE");
    };
    assert_eq!(command, recorded[2].0);
    let LockStep::Transmit { command, .. } = reader.next(&mut vault, &recorded[2].1).unwrap() else {
        panic!("no AUTH1");
    };
    assert_eq!(command[1], 0x81);
}
