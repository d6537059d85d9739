//! SCP03 against recorded and computed sessions, at both ends, and against an independent computation for S16.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cmac::{Cmac, KeyInit, Mac};
use serde_json::Value;
use tapdoor_protocol::apdu::{Command, Response};
use tapdoor_protocol::globalplatform::scp03::{
    Card, CardChallenge, CardSetup, Challenge, Host, I, InitializeUpdateResponse, Keys, Level, Mode, SessionKeys, derive, key_check_value,
};
use tapdoor_protocol::status::StatusWord;

fn file() -> Value {
    serde_json::from_str(include_str!("vectors/scp03.json")).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn sw(value: &Value) -> StatusWord {
    StatusWord(u16::from_str_radix(value.as_str().unwrap(), 16).unwrap())
}

/// All recorded and computed sessions; their number is asserted, so that a file cut short fails.
fn sessions() -> Vec<Value> {
    let file = file();
    let all: Vec<Value> = ["sessions_real_cards", "sessions_computed", "sessions_other"]
        .iter()
        .flat_map(|group| file[group].as_array().unwrap().clone())
        .collect();
    assert!(all.len() >= 11);
    all
}

fn keys(session: &Value) -> Keys {
    Keys::new(&hex(&session["K_ENC"]), &hex(&session["K_MAC"]), &hex(&session["K_DEK"])).unwrap()
}

fn challenge(value: &Value) -> Challenge {
    Challenge::new(&hex(value)).unwrap()
}

fn level(session: &Value) -> Level {
    Level::new(u8::try_from(session["security_level"].as_u64().unwrap()).unwrap()).unwrap()
}

/// The AID that the card challenge was made with, where it is known.
fn aid(session: &Value) -> Option<Vec<u8>> {
    let listed = |name: &str| session[name].get(0).map(hex);
    let direct = session.get("isd_aid").map(hex);
    direct
        .or_else(|| listed("card_challenge_pseudorandom_over_ISD_AID"))
        .or_else(|| listed("card_challenge_pseudorandom_over_AID"))
}

/// The commands of a session; a recording may end with the authentication.
fn steps(session: &Value) -> &[Value] {
    session["steps"].as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn session_keys_and_cryptograms() {
    for session in sessions() {
        let name = &session["name"];
        let (host, card) = (challenge(&session["host_challenge"]), challenge(&session["card_challenge"]));
        assert_eq!(
            u64::try_from(host.mode().length()).unwrap(),
            session["s_mode"].as_u64().unwrap(),
            "{name}"
        );
        let derived = SessionKeys::derive(&keys(&session), &host, &card).unwrap();
        assert_eq!(derived.enc, hex(&session["S_ENC"]), "{name}");
        assert_eq!(derived.mac, hex(&session["S_MAC"]), "{name}");
        assert_eq!(derived.rmac, hex(&session["S_RMAC"]), "{name}");
        let context = [host.as_bytes(), card.as_bytes()];
        for (constant, cryptogram) in [(0, "card_cryptogram"), (1, "host_cryptogram")] {
            let mut out = vec![0; host.mode().length()];
            derive(&derived.mac, constant, &context, &mut out).unwrap();
            assert_eq!(out, hex(&session[cryptogram]), "{name}");
        }
        if let Some(aid) = aid(&session) {
            let [a, b, c] = hex(&session["sequence_counter"])[..] else {
                panic!("{name}")
            };
            let sequence = u32::from_be_bytes([0, a, b, c]);
            assert_eq!(keys(&session).card_challenge(host.mode(), sequence, &aid), Ok(card), "{name}");
        }
    }
}

#[test]
fn at_the_host() {
    let (mut commands, mut answers) = (0, 0);
    for session in sessions() {
        let name = &session["name"];
        let update = hex(&session["initialize_update_cmd"]);
        let (host, command) = Host::initialize_update(update[2], challenge(&session["host_challenge"]));
        assert_eq!(command, update, "{name}");
        let answer = [hex(&session["initialize_update_rsp"]), vec![0x90, 0x00]].concat();
        let (command, mut channel) = host.authenticate(&keys(&session), &answer, level(&session)).unwrap();
        assert_eq!(command, hex(&session["external_authenticate_cmd"]), "{name}");
        // All commands first, all answers after that, as in a script.
        let mut tickets = Vec::new();
        for step in steps(&session) {
            let wrapped = channel.wrap(&Command::parse(&hex(&step["plain_cmd"])).unwrap()).unwrap();
            assert_eq!(wrapped.command, hex(&step["wrapped_cmd"]), "{name}: {step}");
            commands += 1;
            tickets.push((step, wrapped.ticket));
        }
        for (step, ticket) in tickets {
            let Some(answer) = step.get("protected_rsp_data") else { continue };
            let sw = sw(&step["sw"]);
            let protected = Response { data: &hex(answer), sw }.encode();
            let plain = channel.unwrap(ticket, &protected).unwrap();
            let expected = hex(&step["plain_rsp_data"]);
            assert_eq!(plain, Response { data: &expected, sw }.encode(), "{name}: {step}");
            answers += 1;
        }
    }
    assert!(commands >= 37 && answers >= 14, "{commands} {answers}");
}

#[test]
fn at_the_card() {
    let (mut commands, mut answers, mut pseudo_random) = (0, 0, 0);
    for session in sessions() {
        let name = &session["name"];
        let mode = challenge(&session["host_challenge"]).mode();
        let recorded = hex(&session["initialize_update_rsp"]);
        let parsed = InitializeUpdateResponse::parse(&recorded, mode).unwrap();
        assert_eq!(parsed.encode(), recorded, "{name}");
        let aid = aid(&session);
        pseudo_random += usize::from(aid.is_some());
        let setup = CardSetup {
            diversification: parsed.diversification,
            kvn: parsed.kvn,
            i: parsed.i,
            sequence: parsed.sequence.unwrap_or(0),
            challenge: match &aid {
                Some(aid) => CardChallenge::PseudoRandom { aid },
                None => CardChallenge::Given(parsed.challenge.as_bytes()),
            },
        };
        let update = hex(&session["initialize_update_cmd"]);
        let (card, answer) = Card::initialize_update(&keys(&session), &setup, &Command::parse(&update).unwrap()).unwrap();
        assert_eq!(answer, recorded, "{name}");
        let authenticate = hex(&session["external_authenticate_cmd"]);
        let mut channel = card.external_authenticate(&Command::parse(&authenticate).unwrap()).unwrap();
        assert_eq!(channel.level(), level(&session), "{name}");
        for step in steps(&session) {
            let plain = channel.unwrap(&Command::parse(&hex(&step["wrapped_cmd"])).unwrap()).unwrap();
            assert_eq!(*plain, hex(&step["plain_cmd"]), "{name}: {step}");
            commands += 1;
            let Some(protected) = step.get("protected_rsp_data") else {
                continue;
            };
            let sw = sw(&step["sw"]);
            let expected = Response { data: &hex(protected), sw }.encode();
            assert_eq!(channel.wrap(&hex(&step["plain_rsp_data"]), sw), expected, "{name}: {step}");
            answers += 1;
        }
    }
    assert!(
        commands >= 37 && answers >= 14 && pseudo_random >= 10,
        "{commands} {answers} {pseudo_random}"
    );
}

#[test]
fn key_derivation() {
    let file = file();
    let vectors = file["kdf_vectors"].as_array().unwrap();
    assert!(vectors.len() >= 20);
    for v in vectors {
        let mut out = vec![0; usize::try_from(v["L_bits"].as_u64().unwrap()).unwrap() / 8];
        let constant = u8::try_from(v["constant"].as_u64().unwrap()).unwrap();
        let context = hex(&v["context"]);
        derive(&hex(&v["key"]), constant, &[&context], &mut out).unwrap();
        assert_eq!(out, hex(&v["out"]), "{v}");
    }
}

#[test]
fn key_check_values() {
    let file = file();
    let vectors = file["kcv"].as_array().unwrap();
    assert!(vectors.len() >= 3);
    for v in vectors {
        assert_eq!(key_check_value(&hex(&v["key"])).unwrap().to_vec(), hex(&v["kcv"]), "{v}");
    }
    assert_eq!(key_check_value(&[0; 15]), None);
}

/// INSTALL [for load], enciphered by another implementation; its MAC was not recorded.
#[test]
fn asterix() {
    let file = file();
    let mut vectors = file["misc"].as_array().unwrap().iter();
    let v = vectors.find(|v| v["name"].as_str().unwrap().starts_with("asterix")).unwrap();
    let keys = Keys::new(&hex(&v["K_ENC"]), &hex(&v["K_MAC"]), &[0; 16]).unwrap();
    let (host, update) = Host::initialize_update(0, challenge(&v["host_challenge"]));
    let setup = CardSetup {
        diversification: [0; 10],
        kvn: 0x30,
        i: I(0x00),
        sequence: 0,
        challenge: CardChallenge::Given(&hex(&v["card_challenge"])),
    };
    let (_, answer) = Card::initialize_update(&keys, &setup, &Command::parse(&update).unwrap()).unwrap();
    let answer = [answer, vec![0x90, 0x00]].concat();
    let (_, mut channel) = host.authenticate(&keys, &answer, level(v)).unwrap();
    // The recorded command has a byte behind its data that is its Le.
    let plain = hex(&v["plain_cmd"]);
    let wrapped = channel.wrap(&Command::parse(&plain).unwrap()).unwrap().command;
    let wrapped = Command::parse(&wrapped).unwrap();
    let (data, _mac) = wrapped.data.split_at(wrapped.data.len() - 8);
    assert_eq!(data, hex(&v["encrypted_data"]));
}

/// S16 with each key length, computed here from the formulas with the `cmac` and `aes` crates and nothing of the implementation.
#[test]
fn s16_by_the_formulas() {
    fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let data = parts.concat();
        match key.len() {
            16 => Cmac::<aes::Aes128>::new_from_slice(key)
                .unwrap()
                .chain_update(data)
                .finalize()
                .into_bytes()
                .to_vec(),
            24 => Cmac::<aes::Aes192>::new_from_slice(key)
                .unwrap()
                .chain_update(data)
                .finalize()
                .into_bytes()
                .to_vec(),
            _ => Cmac::<aes::Aes256>::new_from_slice(key)
                .unwrap()
                .chain_update(data)
                .finalize()
                .into_bytes()
                .to_vec(),
        }
    }
    fn kdf(key: &[u8], constant: u8, context: &[u8], length: usize) -> Vec<u8> {
        let bits = u16::try_from(length * 8).unwrap().to_be_bytes();
        let mut out = Vec::new();
        for i in 1..=2 {
            out.extend(mac(key, &[&[0; 11], &[constant, 0], &bits, &[i], context]));
        }
        out.truncate(length);
        out
    }
    for length in [16, 24, 32] {
        let key = |n: u8| (0..length).map(|i| n + i).collect::<Vec<u8>>();
        let (enc, mac_key, dek) = (key(0x40), key(0x60), key(0x80));
        let length = usize::from(length);
        let keys = Keys::new(&enc, &mac_key, &dek).unwrap();
        let aid = hex::decode("a000000151000000").unwrap();
        let host_challenge: [u8; 16] = core::array::from_fn(|i| 0xF0 ^ i as u8);
        let setup = CardSetup {
            diversification: *b"0123456789",
            kvn: 0x30,
            i: I(0x71),
            sequence: 0x01_02_03,
            challenge: CardChallenge::PseudoRandom { aid: &aid },
        };
        let (host, update) = Host::initialize_update(0x30, host_challenge);
        assert_eq!(update[..5], [0x80, 0x50, 0x30, 0x00, 0x10]);
        let (card, answer) = Card::initialize_update(&keys, &setup, &Command::parse(&update).unwrap()).unwrap();
        let card_challenge = kdf(&enc, 2, &[&[1, 2, 3], &aid[..]].concat(), 16);
        let context = [&host_challenge[..], &card_challenge].concat();
        let s_mac = kdf(&mac_key, 6, &context, length);
        let s_rmac = kdf(&mac_key, 7, &context, length);
        let expected = [
            b"0123456789",
            &[0x30, 0x03, 0x71][..],
            &card_challenge,
            &kdf(&s_mac, 0, &context, 16),
            &[1, 2, 3],
        ]
        .concat();
        assert_eq!(answer, expected);
        let answer = [answer, vec![0x90, 0x00]].concat();
        let (authenticate, mut at_host) = host.authenticate(&keys, &answer, Level::C_MAC_R_MAC).unwrap();
        let cryptogram = kdf(&s_mac, 1, &context, 16);
        let header = [0x84, 0x82, 0x11, 0x00, 0x20];
        let chain = mac(&s_mac, &[&[0; 16], &header, &cryptogram]);
        assert_eq!(authenticate, [&header[..], &cryptogram, &chain].concat());
        let mut at_card = card.external_authenticate(&Command::parse(&authenticate).unwrap()).unwrap();
        assert_eq!(at_host.mode(), Mode::S16);

        let plain = Command::new(0x80, 0xE2, 0x10, 0x00).data(&[1, 2, 3]);
        let wrapped = at_host.wrap(&plain).unwrap();
        let header = [0x84, 0xE2, 0x10, 0x00, 0x13];
        let chain = mac(&s_mac, &[&chain, &header, &[1, 2, 3]]);
        assert_eq!(wrapped.command, [&header[..], &[1, 2, 3], &chain].concat());
        let received = at_card.unwrap(&Command::parse(&wrapped.command).unwrap()).unwrap();
        assert_eq!(*received, plain.encode().unwrap());
        let response = at_card.wrap(&[9, 8], StatusWord::OK);
        assert_eq!(
            response,
            [&[9, 8], &mac(&s_rmac, &[&chain, &[9, 8], &[0x90, 0x00]])[..], &[0x90, 0x00]].concat()
        );
        assert_eq!(at_host.unwrap(wrapped.ticket, &response).unwrap(), [9, 8, 0x90, 0x00]);
    }
}
