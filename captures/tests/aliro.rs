//! Recorded Aliro transactions, decoded; and deciphered where the keys are given.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use tapdoor_captures::decode::AliroKeys;
use tapdoor_captures::{Decoder, Direction, Event, Layer};
use tapdoor_protocol::aliro::PublicKey;

fn vector(name: &str) -> Value {
    let path = format!("{}/../protocol/tests/vectors/aliro/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// All events of a recording, each as one line.
fn decoded(vector: &Value, keys: &AliroKeys) -> Vec<String> {
    let mut decoder = Decoder::with_keys(keys);
    let mut lines = Vec::new();
    for transaction in vector["transactions"].as_array().unwrap() {
        for apdu in transaction["apdus"].as_array().unwrap() {
            for (dir, data) in [(Direction::Out, &apdu["c"]), (Direction::In, &apdu["r"])] {
                let decoded = decoder.decode(&Event::new(0, Layer::Apdu).bytes(dir, bytes(data)));
                let fields = decoded.fields.iter().map(|f| format!("; {}={}", f.name, f.value));
                lines.push(fields.fold(decoded.name.clone().into_owned(), |line, field| line + &field));
            }
        }
    }
    lines
}

fn keys(vector: &Value) -> AliroKeys {
    let inputs = &vector["inputs"];
    let key = |value: &Value| PublicKey::new(&bytes(value)).unwrap();
    AliroKeys {
        ephemerals: vec![bytes(&inputs["device"]["ephemeral_private_keys"][0]).try_into().unwrap()],
        kpersistent: Vec::new(),
        group_keys: vec![key(&inputs["device"]["readers"][0]["key"])],
        credentials: vec![key(&inputs["device"]["credential_public_key"])],
    }
}

#[test]
fn without_keys_or_with_others_nothing_is_deciphered() {
    let vector = vector("exchange_mailbox");
    let mut others = keys(&vector);
    others.ephemerals = vec![[5; 32]];
    for keys in [AliroKeys::default(), others] {
        let text = decoded(&vector, &keys).join("\n");
        assert!(text.contains("ciphertext=") && !text.contains("deciphered"), "{text}");
    }
}

#[test]
fn an_ephemeral_key_of_either_side_opens_the_standard_phase() {
    let vector = vector("exchange_mailbox");
    let mut keys = keys(&vector);
    for side in ["device", "reader"] {
        keys.ephemerals = vec![bytes(&vector["inputs"][side]["ephemeral_private_keys"][0]).try_into().unwrap()];
        let text = decoded(&vector, &keys).join("\n");
        assert!(text.contains("signalling=1c30 (mailbox readable, mailbox writable"), "{text}");
        assert!(text.contains("atomic=01; write=003001"), "{text}");
        assert!(text.contains("read=0102ffffff060708; B1 B2=0000 (done)"), "{text}");
        assert!(text.contains("reader status=0101 (unsecured)"), "{text}");
    }
}

#[test]
fn kpersistent_opens_the_fast_phase() {
    let vector = vector("fast_hit");
    let mut keys = keys(&vector);
    keys.ephemerals.clear();
    let known = vector["inputs"]["device"]["kpersistent"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap();
    keys.kpersistent = vec![[0; 32], bytes(known).try_into().unwrap()];
    let text = decoded(&vector, &keys).join("\n");
    assert!(text.contains("cryptogram=") && text.contains("signalling=1c30"), "{text}");
    assert!(
        text.contains("reader status=0101 (unsecured)") && !text.contains("enciphered"),
        "{text}"
    );
    assert!(!format!("{keys:?}").contains("e0f5b6"), "keys are not printed");
}
