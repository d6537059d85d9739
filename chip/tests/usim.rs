//! The test USIM at its own face (TS 31.102, TS 102 221), and the lock's USIM host with it.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use common::*;
use serde_json::Value;
use tapdoor_chip::personalise::Secret;
use tapdoor_chip::store::Change;
use tapdoor_chip::{Application, Chip, Personalisation, SqliteStore, Store, TestSubscriber};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::freshness::Array;
use tapdoor_protocol::aka::profile_u::Profile;
use tapdoor_protocol::aka::quantities::Subscriber;
use tapdoor_protocol::aka::{Algorithm, Amf, Auts, Rand, Sqn};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{LockStep, Outcome, Reason, Verdict};
use tapdoor_protocol::ids::{LockId, PhoneId};

const IMSI: &str = "001010123456063";
const EF_IMSI: [u8; 9] = [8, 0x09, 0x10, 0x10, 0x10, 0x32, 0x54, 0x06, 0x36];
const ICCID: &str = "8949000000000000000";
const EF_ICCID: [u8; 10] = [0x98, 0x94, 0, 0, 0, 0, 0, 0, 0, 0xF0];
const KEY: [u8; 32] = [0x5A; 32];
const CARD: PhoneId = PhoneId([9; 8]);

fn profile(pin: Option<&str>) -> Profile {
    Profile {
        algorithm: Algorithm::Milenage,
        iccid: ICCID.into(),
        imsi: IMSI.into(),
        pin: pin.map(Into::into),
        kc: false,
        start: 0,
        age_limit: None,
    }
}

fn card_of(profile: &Profile, key: &[u8]) -> Personalisation {
    Personalisation {
        applications: vec![Application::usim(Aid::USIM, profile, Secret::new(key))],
        ..Default::default()
    }
}

/// A USIM that has accepted these SQNs.
fn usim_after(profile: &Profile, key: &[u8], accepted: &[Sqn]) -> Chip {
    let mut store = SqliteStore::in_memory().unwrap();
    store.personalise(&card_of(profile, key)).unwrap();
    let mut array = Array::new();
    accepted.iter().for_each(|sqn| array.accept(*sqn));
    store
        .commit(&[Change::Record {
            aid: Aid::USIM,
            name: b"seq".to_vec(),
            value: array.to_bytes().to_vec(),
        }])
        .unwrap();
    Chip::open(Box::new(store)).unwrap()
}

fn usim(pin: Option<&str>) -> Chip {
    Chip::personalise(memory(), &card_of(&profile(pin), &KEY)).unwrap()
}

fn select_usim(chip: &mut Chip) {
    assert_eq!(
        send(
            chip,
            &Command::new(0, 0xA4, 4, 0x0C).data(Aid::USIM_PREFIX.as_bytes()).encode().unwrap()
        ),
        [0x90, 0x00]
    );
}

fn verify(pin: &str) -> Vec<u8> {
    let mut padded = [0xFF; 8];
    padded[..pin.len()].copy_from_slice(pin.as_bytes());
    Command::new(0, 0x20, 0, 1).data(&padded).encode().unwrap()
}

fn hexed(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

/// Sends commands written in hexadecimal and compares the answers.
fn dialogue(chip: &mut Chip, lines: &[(&str, &str)]) {
    for (command, answer) in lines {
        assert_eq!(
            hex::encode(send(chip, &hexed(command))),
            answer.replace(' ', "").to_lowercase(),
            "{command}"
        );
    }
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../protocol/tests/vectors/usim_authenticate.json")).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hexed(value.as_str().unwrap())
}

#[test]
fn authenticate_answers_as_the_vectors_say() {
    let vectors = vectors();
    let vectors = vectors["vectors"].as_array().unwrap();
    assert!(vectors.len() >= 10);
    for v in vectors {
        let key = [bytes(&v["K"]), bytes(&v["OPc"])].concat();
        let command = bytes(&v["command"]);
        let subscriber = Subscriber::from_bytes(Algorithm::Milenage, &key).unwrap();
        let rand = Rand::from_slice(&command[6..22]).unwrap();
        let (sqn, _, res, ..) = subscriber
            .open_autn(&rand, &tapdoor_protocol::aka::Autn::from_slice(&command[23..39]).unwrap())
            .unwrap();
        // The vectors' SQNs are anywhere in 48 bits: the card has seen the one before.
        let before = Sqn::new(sqn.seq() - 1, sqn.ind()).unwrap();
        let name = &v["name"];
        for (kc, answer) in [(false, "response_success"), (true, "response_success_with_kc")] {
            let mut chip = usim_after(&Profile { kc, ..profile(None) }, &key, &[before]);
            select_usim(&mut chip);
            assert_eq!(
                send(&mut chip, &bytes(&v["bad_mac_command"])),
                bytes(&v["bad_mac_response"]),
                "{name}"
            );
            assert_eq!(send(&mut chip, &command), bytes(&v[answer]), "{name}");
            // What was accepted is not fresh any more: SQN_MS is now this SQN.
            let sync = bytes(&v["response_sync_failure_if_SQN_MS_equals_SQN"]);
            assert_eq!(send(&mut chip, &command), sync, "{name}");
            assert_eq!(send(&mut usim_selected(&key, &[sqn]), &command), sync, "{name}");
            assert_eq!(send(&mut chip, &bytes(&v["bad_mac_command"])), [0x98, 0x62], "MAC comes before SQN");
        }
        // GSM context (c2, c3): SRES of RES, and the Kc of the 3G answer.
        let with_kc = bytes(&v["response_success_with_kc"]);
        let kc = &with_kc[with_kc.len() - 10..with_kc.len() - 2];
        let sres: Vec<u8> = (0..4).map(|i| res[i] ^ res[i + 4]).collect();
        let gsm = Command::new(0, 0x88, 0, 0x80).data(&command[5..22]).ne(256).encode().unwrap();
        let answer = send(&mut usim_selected(&key, &[]), &gsm);
        assert_eq!(answer, [&[4][..], &sres, &[8], kc, &[0x90, 0x00]].concat(), "{name}");
    }
}

fn usim_selected(key: &[u8], accepted: &[Sqn]) -> Chip {
    let mut chip = usim_after(&profile(None), key, accepted);
    select_usim(&mut chip);
    chip
}

#[test]
fn a_usim_can_start_anywhere() {
    let started = |start| Chip::personalise(memory(), &card_of(&Profile { start, ..profile(None) }, &KEY)).unwrap();
    for (start, seq, fresh) in [(1 << 40, 1 << 40, false), (1 << 40, (1 << 40) + 1, true), (0, 1 << 40, false)] {
        let mut chip = started(start);
        select_usim(&mut chip);
        let answer = send(&mut chip, &authenticate(Sqn::new(seq, 3).unwrap()).0);
        assert_eq!(answer[0] == 0xDB, fresh, "start {start}, SEQ {seq}");
    }
}

/// AUTHENTICATE for an SQN, as the home of [`KEY`] makes it, and RES.
fn authenticate(sqn: Sqn) -> (Vec<u8>, Rand, Vec<u8>) {
    let rand = Rand([0x33; 16]);
    let (autn, res, ..) = Subscriber::from_bytes(Algorithm::Milenage, &KEY)
        .unwrap()
        .make_vector(&rand, sqn, Amf([0x80, 0]));
    let data = [&[16][..], &rand.0, &[16], &autn.0].concat();
    (Command::new(0, 0x88, 0, 0x81).data(&data).ne(256).encode().unwrap(), rand, res)
}

#[test]
fn sequence_numbers_are_accepted_as_annex_c_says() {
    let vectors = vectors();
    let mut steps = 0;
    for scenario in vectors["sqn_scenarios"].as_array().unwrap() {
        let age_limit = scenario["params"]["L"].as_u64();
        let mut chip = Chip::personalise(
            memory(),
            &card_of(
                &Profile {
                    age_limit,
                    ..profile(None)
                },
                &KEY,
            ),
        )
        .unwrap();
        for step in scenario["steps"].as_array().unwrap() {
            // Nothing is kept in the session: every step after a reset.
            chip.power_on();
            select_usim(&mut chip);
            let sqn = Sqn::from_bytes(bytes(&step["SQN"]).try_into().unwrap());
            let (command, rand, res) = authenticate(sqn);
            let answer = send(&mut chip, &command);
            match step["result"].as_str().unwrap() {
                "accept" => assert_eq!(
                    (&answer[..2], &answer[2..10], answer.len()),
                    (&[0xDB, 8][..], &res[..], 46),
                    "{step}"
                ),
                _ => {
                    assert_eq!((&answer[..2], answer.len()), (&[0xDC, 14][..], 18), "{step}");
                    let auts = Auts(answer[2..16].try_into().unwrap());
                    let sqn_ms = Subscriber::from_bytes(Algorithm::Milenage, &KEY)
                        .unwrap()
                        .open_auts(&rand, &auts)
                        .unwrap();
                    assert_eq!(sqn_ms.to_bytes().to_vec(), bytes(&step["SQN_MS_for_AUTS"]), "{step}");
                }
            }
            steps += 1;
        }
    }
    assert!(steps >= 9, "{steps} steps");
}

#[test]
fn tuak_usims_with_both_lengths_of_k() {
    for length in [48, 64] {
        let key: Vec<u8> = (0..length).collect();
        let mut chip = Chip::personalise(
            memory(),
            &card_of(
                &Profile {
                    algorithm: Algorithm::Tuak,
                    ..profile(None)
                },
                &key,
            ),
        )
        .unwrap();
        select_usim(&mut chip);
        let rand = Rand([1; 16]);
        let home = Subscriber::from_bytes(Algorithm::Tuak, &key).unwrap();
        let (autn, res, ck, ik) = home.make_vector(&rand, Sqn::new(5, 3).unwrap(), Amf::ZERO);
        let data = [&[16][..], &rand.0, &[16], &autn.0].concat();
        let answer = send(&mut chip, &Command::new(0, 0x88, 0, 0x81).data(&data).ne(256).encode().unwrap());
        assert_eq!(answer, [&[0xDB, 8][..], &res, &[16], &ck, &[16], &ik, &[0x90, 0x00]].concat());
    }
}

#[test]
fn authenticate_refuses_what_is_not_one() {
    let mut chip = usim(None);
    let (command, ..) = authenticate(Sqn::new(1, 0).unwrap());
    assert_eq!(send(&mut chip, &command), [0x69, 0x85], "no USIM is selected: MF is current");
    select_usim(&mut chip);
    let with = |p1, p2, data: &[u8]| Command::new(0, 0x88, p1, p2).data(data).ne(256).encode().unwrap();
    let data = &command[5..39];
    assert_eq!(send(&mut chip, &with(1, 0x81, data)), [0x6A, 0x86]);
    assert_eq!(send(&mut chip, &with(0, 0x00, data)), [0x6A, 0x86]);
    assert_eq!(send(&mut chip, &with(0, 0x83, data)), [0x6A, 0x86]);
    assert_eq!(send(&mut chip, &with(0, 0x82, data)), [0x98, 0x64], "VGCS is not supported");
    assert_eq!(send(&mut chip, &with(0, 0x84, data)), [0x98, 0x64], "GBA is not supported");
    assert_eq!(send(&mut chip, &with(0, 0x81, &data[..33])), [0x67, 0x00]);
    assert_eq!(send(&mut chip, &with(0, 0x80, data)), [0x67, 0x00]);
    let mut wrong = data.to_vec();
    wrong[0] = 15;
    assert_eq!(send(&mut chip, &with(0, 0x81, &wrong)), [0x6A, 0x80]);
    wrong[0] = 16;
    wrong[17] = 8;
    assert_eq!(send(&mut chip, &with(0, 0x81, &wrong)), [0x6A, 0x80]);
    let mut of_80 = command.clone();
    of_80[0] = 0x80;
    assert_eq!(send(&mut chip, &of_80), [0x6E, 0x00]);
    dialogue(&mut chip, &[("00 01 00 00", "6D00")]);
    // None of it has spent anything.
    assert_eq!(send(&mut chip, &command)[0], 0xDB);
}

#[test]
fn files_are_read_and_refused_by_the_book() {
    let mut chip = usim(None);
    let aid = "10 a0000000871002ffffffff8907090000";
    let record = "61 18 4f 10 a0000000871002ffffffff8907090000 50 04 5553494d";
    dialogue(
        &mut chip,
        &[
            // MF is current after a reset, and no file.
            ("00 B0 00 00 00", "6986"),
            ("00 B2 01 04 00", "6986"),
            ("00 A4 00 0C 02 2F00", "9000"),
            ("00 B0 00 00 00", "6981"),
            ("00 B2 01 04 00", &format!("{record} 9000")),
            ("00 B2 02 04 00", "6A83"),
            ("00 B2 00 04 00", "6A83"),
            ("00 B2 01 02 00", "6A86"),
            ("00 A4 00 0C 02 2FE2", "9000"),
            ("00 B0 00 00 00", &format!("{} 9000", hex::encode(EF_ICCID))),
            ("00 B0 00 00 0A", &format!("{} 9000", hex::encode(EF_ICCID))),
            ("00 B0 00 00 02", "9894 9000"),
            ("00 B0 00 08 00", "00f0 9000"),
            ("00 B0 00 08 03", "6C02"),
            ("00 B0 00 00 FF", "6C0A"),
            ("00 B0 00 0A 01", "6B00"),
            ("00 B0 7F FF 01", "6B00"),
            ("00 B0 81 00 00", "6A86"),
            ("00 B2 01 04 00", "6981"),
            // EF_IMSI is the ADF's: not to be found from the MF, and what was selected stays.
            ("00 A4 00 0C 02 6F07", "6A82"),
            ("00 B0 00 00 02", "9894 9000"),
            ("00 A4 00 0C 02 7FFF", "9000"),
            ("00 B0 00 00 00", "6986"),
            ("00 A4 00 0C 02 6F07", "9000"),
            ("00 B0 00 00 09", &format!("{} 9000", hex::encode(EF_IMSI))),
            ("00 B0 00 00 0A", "6C09"),
            ("00 A4 08 0C 04 7FFF6F07", "9000"),
            ("00 B0 00 00 01", "08 9000"),
            ("00 A4 08 0C 02 2F00", "9000"),
            ("00 A4 08 0C 04 2F006F07", "6A82"),
            ("00 A4 08 0C 03 2F0000", "6700"),
            ("00 A4 00 0C 04 7FFF6F07", "6700"),
            ("00 A4 02 0C 02 2F00", "6A86"),
            ("00 A4 00 01 02 2F00", "6A86"),
            ("00 A4 00 0C 02 6F99", "6A82"),
            ("00 A4 00 0C", "9000"),
            ("00 B0 00 00 00", "6986"),
        ],
    );
    // FCP of the ADF names the AID; that of a file its size.
    let fcp = send(&mut chip, &hexed("00 A4 04 04 07 A0000000871002 00"));
    assert_eq!(fcp[0], 0x62);
    let text = hex::encode(&fcp);
    assert!(
        text.contains(&format!("84{}", aid.replace(' ', ""))) && text.ends_with("9000"),
        "{text}"
    );
    let text = hex::encode(send(&mut chip, &hexed("00 A4 00 04 02 6F07 00")));
    assert!(text.contains("83026f07") && text.contains("80020009"), "{text}");
}

#[test]
fn a_wrong_pin_counts_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("usim");
    let open = || Chip::personalise(Box::new(SqliteStore::open(&path).unwrap()), &card_of(&profile(Some("1234")), &KEY)).unwrap();
    let tries: [u8; 4] = [0x00, 0x20, 0x00, 0x01];
    let mut chip = open();
    select_usim(&mut chip);
    assert_eq!(send(&mut chip, &tries), [0x63, 0xC3]);
    assert_eq!(send(&mut chip, &verify("1235")), [0x63, 0xC2]);
    chip.power_on();
    select_usim(&mut chip);
    assert_eq!(send(&mut chip, &tries), [0x63, 0xC2]);
    drop(chip);
    let mut chip = open();
    select_usim(&mut chip);
    assert_eq!(send(&mut chip, &tries), [0x63, 0xC2]);
    assert_eq!(send(&mut chip, &verify("12345678")), [0x63, 0xC1]);
    // The right one sets the counter back.
    assert_eq!(send(&mut chip, &verify("1234")), [0x90, 0x00]);
    assert_eq!(send(&mut chip, &tries), [0x63, 0xC3]);
    for left in [2, 1, 0] {
        assert_eq!(send(&mut chip, &verify("0000")), [0x63, 0xC0 | left]);
    }
    // Blocked, also for the right one, also after switching off and opening the store anew.
    assert_eq!(send(&mut chip, &verify("1234")), [0x69, 0x83]);
    assert_eq!(send(&mut chip, &tries), [0x69, 0x83]);
    drop(chip);
    let mut chip = open();
    select_usim(&mut chip);
    assert_eq!(send(&mut chip, &verify("1234")), [0x69, 0x83]);
    assert_eq!(send(&mut chip, &authenticate(Sqn::new(1, 0).unwrap()).0), [0x69, 0x82]);
}

#[test]
fn without_the_pin_there_is_no_imsi_and_no_authentication() {
    let mut chip = usim(Some("1234"));
    let (command, ..) = authenticate(Sqn::new(1, 0).unwrap());
    let gsm = Command::new(0, 0x88, 0, 0x80).data(&command[5..22]).ne(256).encode().unwrap();
    select_usim(&mut chip);
    let refused = |chip: &mut Chip| {
        dialogue(chip, &[("00 A4 00 0C 02 6F07", "9000"), ("00 B0 00 00 09", "6982")]);
        assert_eq!(send(chip, &command), [0x69, 0x82]);
        assert_eq!(send(chip, &gsm), [0x69, 0x82]);
    };
    refused(&mut chip);
    // EF_ICCID and EF.DIR are open to all.
    dialogue(
        &mut chip,
        &[
            ("00 A4 08 0C 02 2FE2", "9000"),
            ("00 B0 00 00 01", "98 9000"),
            ("00 A4 04 0C 07 A0000000871002", "9000"),
        ],
    );
    dialogue(
        &mut chip,
        &[("00 20 00 02 08 31323334FFFFFFFF", "6A86"), ("00 20 00 01 04 31323334", "6700")],
    );
    refused(&mut chip);
    assert_eq!(send(&mut chip, &verify("1234")), [0x90, 0x00]);
    dialogue(&mut chip, &[("00 B0 00 00 09", "080910101032540636 9000")]);
    // A wrong PIN takes the right away again.
    assert_eq!(send(&mut chip, &verify("4321")), [0x63, 0xC2]);
    refused(&mut chip);
    assert_eq!(send(&mut chip, &verify("1234")), [0x90, 0x00]);
    // And so does a reset.
    chip.power_on();
    select_usim(&mut chip);
    refused(&mut chip);
    assert_eq!(send(&mut chip, &verify("1234")), [0x90, 0x00]);
    assert_eq!(send(&mut chip, &command)[0], 0xDB);
    // A USIM without a PIN knows none.
    let mut open = usim(None);
    select_usim(&mut open);
    assert_eq!(send(&mut open, &verify("1234")), [0x69, 0x84]);
}

fn host_with(lock: LockId, pin: Option<&str>, change: impl FnOnce(&mut TestSubscriber)) -> Chip {
    let mut subscriber = TestSubscriber {
        phone: CARD,
        imsi: IMSI.into(),
        algorithm: Algorithm::Milenage,
        not_after: 0,
        key: Secret::new(KEY),
    };
    change(&mut subscriber);
    let personalisation = Personalisation {
        applications: vec![Application::usim_host(Aid::USIM_HOST, lock, pin)],
        subscribers: vec![subscriber],
        ..Personalisation::default()
    };
    Chip::personalise(memory(), &personalisation).unwrap()
}

fn host(pin: Option<&str>) -> Chip {
    host_with(LOCK, pin, |_| {})
}

/// A tap at the host with any card; gives the verdict and the commands that the card got.
fn tap_card(host: &mut Chip, clock: u32, card: &mut dyn FnMut(&[u8]) -> Vec<u8>) -> (Outcome, Vec<Vec<u8>>) {
    assert_eq!(send(host, &select(&Aid::USIM_HOST)).last_chunk(), Some(&[0x90, 0x00]));
    let mut step = begin(host, 0, clock, &[]);
    let mut sent = Vec::new();
    loop {
        match step {
            LockStep::Transmit { command, .. } => {
                assert!(sent.len() < 100, "the host does not end");
                let answer = card(&command);
                sent.push(command);
                step = next(host, &answer);
            }
            LockStep::Done(outcome) => return (outcome, sent),
        }
    }
}

fn tap_usim(host: &mut Chip, card: &mut Chip, clock: u32) -> (Outcome, Vec<Vec<u8>>) {
    card.power_on();
    tap_card(host, clock, &mut |command| send(card, command))
}

fn refused(reason: Reason) -> Verdict {
    Verdict::Refused(reason)
}

#[test]
fn a_test_usim_opens_the_door() {
    let (mut host, mut card) = (host(None), usim(None));
    let (outcome, sent) = tap_usim(&mut host, &mut card, CLOCK);
    assert_eq!(
        (outcome.verdict, outcome.phone, outcome.flags),
        (Verdict::Open, Some(CARD), None),
        "{outcome:?}"
    );
    assert_eq!(outcome.control_flow, None, "a USIM knows no CONTROL FLOW");
    let expected = ["00a4040407a000000087100200", "00a40004026f0700", "00b0000009"];
    assert_eq!(sent[..3].iter().map(hex::encode).collect::<Vec<_>>(), expected);
    assert_eq!((&sent[3][..6], sent[3].len()), (&[0x00, 0x88, 0x00, 0x81, 0x22, 0x10][..], 40));
    assert_eq!(sent.len(), 4);
    // IND is the lock's number modulo 32.
    let quantity = |at: usize| sent[3][at..at + 16].try_into().unwrap();
    let home = Subscriber::from_bytes(Algorithm::Milenage, &KEY).unwrap();
    let (sqn, amf, ..) = home
        .open_autn(&Rand(quantity(6)), &tapdoor_protocol::aka::Autn(quantity(23)))
        .unwrap();
    assert_eq!((sqn.seq(), sqn.ind(), amf), (u64::from(CLOCK) - 1_735_689_600, 0x18, Amf::ZERO));
    // Again at the same second: the next number.
    assert_eq!(tap_usim(&mut host, &mut card, CLOCK).0.verdict, Verdict::Open);
}

#[test]
fn the_host_resynchronises_and_locks_with_other_numbers_need_not() {
    let mut card = usim(None);
    assert_eq!(tap_usim(&mut host(None), &mut card, CLOCK + 86_400).0.verdict, Verdict::Open);
    let mut late = host(None);
    let (outcome, sent) = tap_usim(&mut late, &mut card, CLOCK);
    assert_eq!((outcome.verdict, sent.len()), (Verdict::Open, 5), "{outcome:?}");
    assert_eq!(tap_usim(&mut late, &mut card, CLOCK + 1).1.len(), 4, "from now on without a detour");
    // Another IND: its own place in the card's array.
    let mut other = host_with(LockId([0x19; 8]), None, |_| {});
    let (outcome, sent) = tap_usim(&mut other, &mut card, CLOCK);
    assert_eq!((outcome.verdict, sent.len()), (Verdict::Open, 4), "{outcome:?}");

    // A card that goes on refusing.
    let mut late = host(None);
    let mut authenticates = 0;
    card.power_on();
    let subscriber = Subscriber::from_bytes(Algorithm::Milenage, &KEY).unwrap();
    let (outcome, _) = tap_card(&mut late, CLOCK, &mut |command| {
        if command[1] != 0x88 {
            return send(&mut card, command);
        }
        authenticates += 1;
        let auts = subscriber.make_auts(&Rand(command[6..22].try_into().unwrap()), Sqn::new(900, 0).unwrap());
        [&[0xDC, 14][..], &auts.0, &[0x90, 0x00]].concat()
    });
    assert_eq!((outcome.verdict, authenticates), (refused(Reason::ResyncFailed), 2));
    // An AUTS that is nobody's.
    let (outcome, _) = tap_card(&mut late, CLOCK, &mut |command| {
        if command[1] == 0x88 {
            [&[0xDC, 14][..], &[7; 14], &[0x90, 0x00]].concat()
        } else {
            send(&mut card, command)
        }
    });
    assert_eq!(outcome.verdict, refused(Reason::WrongKey));
}

#[test]
fn the_host_refuses_with_its_reasons() {
    let mut card = usim(None);
    let mut stranger = host_with(LOCK, None, |s| s.imsi = "001010123456064".into());
    let (outcome, sent) = tap_usim(&mut stranger, &mut card, CLOCK);
    assert_eq!(
        (outcome.verdict, outcome.phone, sent.len()),
        (refused(Reason::UnknownPhone), None, 3)
    );

    let mut wrong = host_with(LOCK, None, |s| s.key = Secret::new([1; 32]));
    assert_eq!(tap_usim(&mut wrong, &mut card, CLOCK).0.verdict, refused(Reason::WrongKey));

    let mut ended = host_with(LOCK, None, |s| s.not_after = CLOCK);
    assert_eq!(tap_usim(&mut ended, &mut card, CLOCK).0.verdict, refused(Reason::NotEntitled));
    assert_eq!(tap_usim(&mut ended, &mut card, CLOCK - 1).0.verdict, Verdict::Open);

    // A card whose AUTHENTICATE answers are bent.
    for (bend, reason) in [(2u8, Reason::WrongKey), (0, Reason::CardError), (1, Reason::CardError)] {
        card.power_on();
        let (outcome, _) = tap_card(&mut host(None), CLOCK + 100 + u32::from(bend), &mut |command| {
            let mut answer = send(&mut card, command);
            if command[1] == 0x88 {
                answer[usize::from(bend)] ^= 0x40;
            }
            answer
        });
        assert_eq!(outcome.verdict, refused(reason), "byte {bend}: {outcome:?}");
    }

    // No USIM at all; rubbish; a card that asks for GET RESPONSE without end.
    let mut phone = phone();
    assert_eq!(tap_usim(&mut host(None), &mut phone, CLOCK).0.verdict, refused(Reason::AppMissing));
    assert_eq!(
        tap_card(&mut host(None), CLOCK, &mut |_| vec![0x6A, 0x82]).0.verdict,
        refused(Reason::AppMissing)
    );
    assert_eq!(
        tap_card(&mut host(None), CLOCK, &mut |_| vec![0x90]).0.verdict,
        refused(Reason::CardError)
    );
    assert_eq!(
        tap_card(&mut host(None), CLOCK, &mut |_| vec![0x61, 0x05]).0.verdict,
        refused(Reason::CardError)
    );
    assert_eq!(
        tap_card(&mut host(None), CLOCK, &mut |_| vec![0x6C, 0x05]).0.verdict,
        refused(Reason::CardError)
    );
    assert_eq!(
        tap_card(&mut host(None), CLOCK, &mut |_| vec![0x90, 0x00]).0.verdict,
        refused(Reason::CardError)
    );
}

#[test]
fn the_host_knows_the_pin_or_says_that_it_needs_it() {
    let mut card = usim(Some("1234"));
    assert_eq!(tap_usim(&mut host(None), &mut card, CLOCK).0.verdict, refused(Reason::Policy));
    assert_eq!(tap_usim(&mut host(Some("1234")), &mut card, CLOCK).0.verdict, Verdict::Open);
    let (outcome, sent) = tap_usim(&mut host(Some("9999")), &mut card, CLOCK + 1);
    assert_eq!(outcome.verdict, refused(Reason::CardError));
    assert_eq!(sent.iter().filter(|c| c[1] == 0x20).count(), 1, "tried once only");
    select_usim(&mut card);
    assert_eq!(send(&mut card, &[0x00, 0x20, 0x00, 0x01]), [0x63, 0xC2]);
}

/// A card as contact readers show them: T=0, and no SELECT by partial AID.
struct OldCard {
    chip: Chip,
    /// What GET RESPONSE gives, and how much of it at a time.
    waiting: Vec<u8>,
    at_most: usize,
}

impl OldCard {
    fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        let command = Command::parse(bytes).unwrap();
        let has_data = !command.data.is_empty();
        if command.ins == 0xC0 {
            let length = (command.ne as usize).min(self.waiting.len());
            let part: Vec<u8> = self.waiting.drain(..length).collect();
            let sw = if self.waiting.is_empty() {
                [0x90, 0x00]
            } else {
                [0x61, self.announce()]
            };
            return [part, sw.to_vec()].concat();
        }
        self.waiting.clear();
        if command.ins == 0xA4 && command.p1 == 4 && command.data.len() < 16 {
            return vec![0x6A, 0x82];
        }
        let mut answer = send_whole(&mut self.chip, bytes);
        let sw = answer.split_off(answer.len() - 2);
        if has_data && !answer.is_empty() {
            self.waiting = answer;
            return vec![0x61, self.announce()];
        }
        if !has_data && !answer.is_empty() && command.ne as usize != answer.len() {
            return vec![0x6C, u8::try_from(answer.len()).unwrap()];
        }
        [answer, sw].concat()
    }

    fn announce(&self) -> u8 {
        u8::try_from(self.waiting.len().min(self.at_most)).unwrap()
    }
}

#[test]
fn a_card_without_partial_select_opens_by_way_of_ef_dir() {
    for at_most in [255, 20] {
        let mut card = OldCard {
            chip: usim(Some("1234")),
            waiting: Vec::new(),
            at_most,
        };
        card.chip.power_on();
        let (outcome, sent) = tap_card(&mut host(Some("1234")), CLOCK, &mut |command| card.answer(command));
        assert_eq!(outcome.verdict, Verdict::Open, "{outcome:?}");
        let sent: Vec<String> = sent.iter().map(hex::encode).collect();
        let expected = [
            "00a4040407a000000087100200",
            "00a4080c022f00",
            "00b2010400",
            "00b201041a",
            "00a4040410a0000000871002ffffffff890709000000",
        ];
        assert_eq!(sent[..5], expected);
        assert!(sent.iter().any(|c| c.starts_with("00c00000")), "answers came by GET RESPONSE");
    }
    // EF.DIR that names others only.
    let (outcome, sent) = tap_card(&mut host(None), CLOCK, &mut |command| match command {
        [0, 0xA4, 4, ..] => vec![0x6A, 0x82],
        [0, 0xB2, 3, ..] => vec![0x6A, 0x83],
        [0, 0xB2, ..] => hexed("61 07 4F 05 A000000003 9000"),
        _ => vec![0x90, 0x00],
    });
    assert_eq!((outcome.verdict, sent.len()), (refused(Reason::AppMissing), 5), "{sent:02x?}");
}
