//! AKA against published vectors: TS 35.207, TS 35.208, TS 35.232, TS 35.233, TS 55.205, and those of other implementations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::num::NonZeroU8;

use proptest::prelude::*;
use serde_json::Value;
use tapdoor_protocol::aka::freshness::{Array, DELTA, Generator};
use tapdoor_protocol::aka::milenage::{Milenage, c2, c3, opc_from_op};
use tapdoor_protocol::aka::quantities::{Subscriber, Vector};
use tapdoor_protocol::aka::tuak::{KeyLength, MacLength, Parameters, ResLength, Tuak, keccak_f1600, topc_from_top};
use tapdoor_protocol::aka::{Algorithm, Amf, Autn, Auts, Rand, Sqn};

/// The vectors of a group; their number is asserted, so that a file cut short fails.
fn group(file: &str, name: &str, count: usize) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).unwrap();
    let group = file[name].as_array().unwrap().clone();
    assert!(group.len() >= count, "{name}");
    group
}

fn milenage_group(name: &str, count: usize) -> Vec<Value> {
    group(include_str!("vectors/milenage.json"), name, count)
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap_or_else(|| panic!("{value} is no text"))).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn sqn(value: &Value) -> Sqn {
    Sqn::from_bytes(array(value))
}

fn subscriber(k: &Value, opc: &Value) -> Subscriber {
    Subscriber::from_bytes(Algorithm::Milenage, &[bytes(k), bytes(opc)].concat()).unwrap()
}

/// AUTN made and opened, and refused with any one bit flipped.
fn both_ways(subscriber: &Subscriber, rand: &Rand, sqn: Sqn, amf: Amf, vector: Vector) {
    assert_eq!(subscriber.make_vector(rand, sqn, amf), vector);
    let (autn, res, ck, ik) = vector;
    assert_eq!(subscriber.open_autn(rand, &autn), Some((sqn, amf, res, ck, ik)));
    for bit in 0..128 {
        let mut wrong = autn;
        wrong.0[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(subscriber.open_autn(rand, &wrong), None);
    }
}

/// AUTS made and opened, and refused with any one bit flipped.
fn auts_both_ways(subscriber: &Subscriber, rand: &Rand, sqn_ms: Sqn, auts: Auts) {
    assert_eq!(subscriber.make_auts(rand, sqn_ms), auts);
    assert_eq!(subscriber.open_auts(rand, &auts), Some(sqn_ms));
    for bit in 0..112 {
        let mut wrong = auts;
        wrong.0[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(subscriber.open_auts(rand, &wrong), None);
    }
}

/// f1 to f5* of a set of TS 35.207 or 35.208.
fn milenage_set(v: &Value) {
    let (k, opc) = (array(&v["K"]), array(&v["OPc"]));
    assert_eq!(opc_from_op(&k, &array(&v["OP"])), opc, "{v}");
    let (rand, sqn, amf) = (Rand(array(&v["RAND"])), sqn(&v["SQN"]), Amf(array(&v["AMF"])));
    let milenage = Milenage::new(&k, &opc);
    assert_eq!(milenage.f1(&rand, sqn, amf), array(&v["f1"]), "{v}");
    assert_eq!(milenage.f1_star(&rand, sqn, amf), array(&v["f1star"]), "{v}");
    let response = milenage.f2345(&rand);
    assert_eq!(response.res, array(&v["f2"]), "{v}");
    assert_eq!(response.ck, array(&v["f3"]), "{v}");
    assert_eq!(response.ik, array(&v["f4"]), "{v}");
    assert_eq!(response.ak, array(&v["f5"]), "{v}");
    assert_eq!(milenage.f5_star(&rand), array(&v["f5star"]), "{v}");
}

#[test]
fn milenage_ts35_208() {
    for v in milenage_group("ts35_208", 10) {
        milenage_set(&v);
        let subscriber = subscriber(&v["K"], &v["OPc"]);
        let (rand, sqn, amf) = (Rand(array(&v["RAND"])), sqn(&v["SQN"]), Amf(array(&v["AMF"])));
        let derived = &v["derived"];
        let autn = Autn(array(&derived["AUTN"]));
        both_ways(
            &subscriber,
            &rand,
            sqn,
            amf,
            (autn, bytes(&v["f2"]), array(&v["f3"]), array(&v["f4"])),
        );
        let auts = Auts(array(&derived["AUTS_if_SQNMS_eq_SQN"]));
        auts_both_ways(&subscriber, &rand, sqn, auts);
        assert_eq!(auts.0[6..], array::<8>(&derived["MAC_S_with_AMF_0000"]));
        assert_eq!(
            subscriber.gsm(&rand),
            (array(&derived["GSM_SRES_c2"]), array(&derived["GSM_Kc_c3"]))
        );
    }
}

#[test]
fn milenage_ts35_207() {
    milenage_group("ts35_207", 6).iter().for_each(milenage_set);
}

#[test]
fn milenage_ts55_205_gsm() {
    for v in milenage_group("ts55_205_gsm", 10) {
        let milenage = Milenage::new(&array(&v["Ki"]), &array(&v["OPc"]));
        let rand = Rand(array(&v["RAND"]));
        let response = milenage.f2345(&rand);
        assert_eq!(c2(&response.res), array(&v["SRES1"]), "{v}");
        assert_eq!(response.res[..4], array::<4>(&v["SRES2"]), "{v}");
        assert_eq!(c3(&response.ck, &response.ik), array(&v["Kc"]), "{v}");
        assert_eq!(
            subscriber(&v["Ki"], &v["OPc"]).gsm(&rand),
            (array(&v["SRES1"]), array(&v["Kc"])),
            "{v}"
        );
    }
}

#[test]
fn conversion_c2_of_every_length() {
    let res: [u8; 32] = core::array::from_fn(|i| 1 << (i / 4));
    assert_eq!(c2(&res[..4]), [1; 4]);
    assert_eq!(c2(&res[..8]), [3; 4]);
    assert_eq!(c2(&res[..16]), [15; 4]);
    assert_eq!(c2(&res), [15; 4]);
    assert_eq!(c2(&res[..6]), [3, 3, 1, 1]);
    assert_eq!(c2(&[]), [0; 4]);
}

#[test]
fn milenage_autn() {
    for v in milenage_group("autn", 2) {
        let subscriber = subscriber(&v["K"], &v["OPc"]);
        let (rand, sqn, amf) = (Rand(array(&v["RAND"])), sqn(&v["SQN"]), Amf(array(&v["AMF"])));
        both_ways(
            &subscriber,
            &rand,
            sqn,
            amf,
            (Autn(array(&v["AUTN"])), bytes(&v["RES"]), array(&v["CK"]), array(&v["IK"])),
        );
        let milenage = Milenage::new(&array(&v["K"]), &array(&v["OPc"]));
        assert_eq!(milenage.f2345(&rand).ak, array(&v["AK"]), "{v}");
    }
}

#[test]
fn milenage_autn_osmo_auc_gen() {
    let mut resynchronised = 0;
    for v in milenage_group("autn_osmo_auc_gen", 8) {
        let subscriber = subscriber(&v["K"], &v["OPc"]);
        let (rand, sqn_he, amf) = (Rand(array(&v["RAND"])), sqn(&v["SQN"]), Amf(array(&v["AMF"])));
        both_ways(
            &subscriber,
            &rand,
            sqn_he,
            amf,
            (Autn(array(&v["AUTN"])), bytes(&v["RES"]), array(&v["CK"]), array(&v["IK"])),
        );
        assert_eq!(subscriber.gsm(&rand), (array(&v["SRES"]), array(&v["Kc"])), "{v}");
        if v["AUTS"].is_null() {
            continue;
        }
        let sqn_ms = sqn(&v["SQN_MS"]);
        auts_both_ways(&subscriber, &rand, sqn_ms, Auts(array(&v["AUTS"])));
        // With an IND of our length, what osmo-auc-gen uses next is what the generator gives.
        if v["IND_len"] == 5 {
            let (seq, _) = Generator::next(0, Generator::resynchronise(sqn_ms.seq(), 0, None)).unwrap();
            let ind = u8::try_from(v["IND"].as_u64().unwrap()).unwrap();
            assert_eq!(Sqn::new(seq, ind), Some(sqn_he), "{v}");
            resynchronised += 1;
        }
    }
    assert_eq!(resynchronised, 2);
}

#[test]
fn milenage_auts() {
    for v in milenage_group("auts", 2) {
        assert_eq!(v["valid"], true);
        auts_both_ways(
            &subscriber(&v["K"], &v["OPc"]),
            &Rand(array(&v["RAND"])),
            sqn(&v["SQN_MS"]),
            Auts(array(&v["AUTS"])),
        );
    }
}

#[test]
fn tuak_ts35_233() {
    for v in group(include_str!("vectors/tuak.json"), "ts35_233", 3) {
        let length = |name: &str| usize::try_from(v[name].as_u64().unwrap()).unwrap();
        let parameters = Parameters {
            mac: MacLength::from_bytes(length("mac_len")).unwrap(),
            res: ResLength::from_bytes(length("res_len")).unwrap(),
            ck: KeyLength::from_bytes(length("ck_len")).unwrap(),
            ik: KeyLength::from_bytes(length("ik_len")).unwrap(),
            iterations: NonZeroU8::new(u8::try_from(length("keccak_iterations")).unwrap()).unwrap(),
        };
        let (k, topc) = (bytes(&v["K"]), array(&v["TOPc"]));
        assert_eq!(topc_from_top(&k, &array(&v["TOP"]), parameters.iterations), Some(topc), "{v}");
        let (rand, sqn, amf) = (Rand(array(&v["RAND"])), sqn(&v["SQN"]), Amf(array(&v["AMF"])));
        let tuak = Tuak::new(&k, &topc, parameters).unwrap();
        assert_eq!(tuak.f1(&rand, sqn, amf), bytes(&v["f1"]), "{v}");
        assert_eq!(tuak.f1_star(&rand, sqn, amf), bytes(&v["f1star"]), "{v}");
        let response = tuak.f2345(&rand);
        assert_eq!(response.res, bytes(&v["f2"]), "{v}");
        assert_eq!(response.ck, bytes(&v["f3"]), "{v}");
        assert_eq!(response.ik, bytes(&v["f4"]), "{v}");
        assert_eq!(response.ak, array(&v["f5"]), "{v}");
        assert_eq!(tuak.f5_star(&rand), array(&v["f5star"]), "{v}");

        // Through AUTN as well, where the MAC has the 64 bits that fit.
        if parameters.mac == MacLength::Bits64 && parameters.ck == KeyLength::Bits128 && parameters.ik == KeyLength::Bits128 {
            let mut masked = sqn.to_bytes();
            masked.iter_mut().zip(response.ak).for_each(|(s, a)| *s ^= a);
            let autn = [&masked[..], &amf.0, &bytes(&v["f1"])].concat().try_into().unwrap();
            let subscriber = Subscriber::Tuak(tuak);
            both_ways(
                &subscriber,
                &rand,
                sqn,
                amf,
                (Autn(autn), bytes(&v["f2"]), array(&v["f3"]), array(&v["f4"])),
            );
            auts_both_ways(&subscriber, &rand, sqn, subscriber.make_auts(&rand, sqn));
        }
    }
}

#[test]
fn tuak_keys_of_other_lengths() {
    for length in (0..=64).filter(|l| ![16, 32].contains(l)) {
        let k = vec![1; length];
        assert!(Tuak::new(&k, &[0; 32], Parameters::PROFILE).is_none());
        assert_eq!(topc_from_top(&k, &[0; 32], NonZeroU8::MIN), None);
    }
}

#[test]
fn tuak_keccak_p1600() {
    for v in group(include_str!("vectors/tuak.json"), "keccak_p1600", 3) {
        let mut state = array(&v["in"]);
        keccak_f1600(&mut state);
        assert_eq!(state, array(&v["out"]), "{v}");
    }
}

/// The cryptographic content of the AUTHENTICATE vectors; their APDUs are tested with the USIM.
#[test]
fn usim_authenticate() {
    for v in group(include_str!("vectors/usim_authenticate.json"), "vectors", 10) {
        let subscriber = subscriber(&v["K"], &v["OPc"]);
        let challenge = |command: &Value| {
            let command = bytes(command);
            (
                Rand::from_slice(&command[6..22]).unwrap(),
                Autn::from_slice(&command[23..39]).unwrap(),
            )
        };
        let (rand, autn) = challenge(&v["command"]);
        let (sqn, amf, res, ck, ik) = subscriber.open_autn(&rand, &autn).unwrap();
        assert_eq!(subscriber.make_vector(&rand, sqn, amf), (autn, res.clone(), ck, ik));
        let success = [&[0xDB, 8][..], &res, &[16], &ck, &[16], &ik].concat();
        assert_eq!([&success[..], &[0x90, 0]].concat(), bytes(&v["response_success"]), "{v}");
        let (_, kc) = subscriber.gsm(&rand);
        assert_eq!(
            [&success[..], &[8], &kc, &[0x90, 0]].concat(),
            bytes(&v["response_success_with_kc"]),
            "{v}"
        );
        let auts = subscriber.make_auts(&rand, sqn);
        assert_eq!(
            [&[0xDC, 14][..], &auts.0, &[0x90, 0]].concat(),
            bytes(&v["response_sync_failure_if_SQN_MS_equals_SQN"]),
            "{v}"
        );
        assert_eq!(subscriber.open_auts(&rand, &auts), Some(sqn));

        let (bad_rand, bad_autn) = challenge(&v["bad_mac_command"]);
        assert_eq!(bad_rand, rand);
        assert_ne!(bad_autn, autn);
        assert_eq!(subscriber.open_autn(&rand, &bad_autn), None, "{v}");
        assert_eq!(v["bad_mac_response"], "9862");
    }
}

#[test]
fn usim_sqn_scenarios() {
    let mut steps = 0;
    for scenario in group(include_str!("vectors/usim_authenticate.json"), "sqn_scenarios", 3) {
        let params = &scenario["params"];
        assert_eq!(params["IND_bits"], Sqn::IND_BITS);
        assert_eq!(params["delta"], DELTA);
        let mut array = Array::new().with_age_limit(params["L"].as_u64());
        for step in scenario["steps"].as_array().unwrap() {
            let received = sqn(&step["SQN"]);
            assert_eq!(step["SEQ"], received.seq());
            assert_eq!(step["IND"], received.ind());
            let expected = match step["result"].as_str().unwrap() {
                "accept" => Ok(()),
                "sync_failure" => Err(sqn(&step["SQN_MS_for_AUTS"])),
                other => panic!("{other}"),
            };
            assert_eq!(array.check(received), expected, "{}: {step}", scenario["name"]);
            if expected.is_ok() {
                array.accept(received);
            }
            assert_eq!(step["SEQ_MS_highest_after"], array.highest(), "{}: {step}", scenario["name"]);
            array = Array::from_bytes(&array.to_bytes()).unwrap().with_age_limit(params["L"].as_u64());
            steps += 1;
        }
    }
    assert_eq!(steps, 9);
}

#[test]
fn subscribers_of_other_lengths() {
    for length in 0..=100 {
        let key = vec![7; length];
        assert_eq!(Subscriber::from_bytes(Algorithm::Milenage, &key).is_some(), length == 32);
        assert_eq!(Subscriber::from_bytes(Algorithm::Tuak, &key).is_some(), [48, 64].contains(&length));
    }
}

#[test]
fn nothing_secret_is_shown() {
    let subscriber = Subscriber::from_bytes(Algorithm::Tuak, &[7; 48]).unwrap();
    assert_eq!(format!("{subscriber:?}"), "Subscriber(tuak, ..)");
    let milenage = Milenage::new(&[7; 16], &[7; 16]);
    assert_eq!(
        format!("{milenage:?} {:?}", milenage.f2345(&Rand([7; 16]))),
        "Milenage(..) Response(..)"
    );
}

fn subscribers() -> impl Strategy<Value = Subscriber> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(|key| Subscriber::from_bytes(Algorithm::Milenage, &key).unwrap()),
        (any::<[u8; 32]>(), any::<[u8; 32]>(), any::<bool>()).prop_map(|(k, topc, long)| Subscriber::from_bytes(
            Algorithm::Tuak,
            &[if long { &k[..] } else { &k[..16] }, &topc].concat()
        )
        .unwrap()),
    ]
}

proptest! {
    #[test]
    fn vector_there_and_back(subscriber in subscribers(), rand: [u8; 16], sqn: [u8; 6], amf: [u8; 2], bit in 0usize..128) {
        let (rand, sqn, amf) = (Rand(rand), Sqn::from_bytes(sqn), Amf(amf));
        let (autn, res, ck, ik) = subscriber.make_vector(&rand, sqn, amf);
        prop_assert_eq!(res.len(), 8);
        prop_assert_eq!(subscriber.open_autn(&rand, &autn), Some((sqn, amf, res, ck, ik)));

        let flip = 1u8 << (bit % 8);
        let mut wrong = autn;
        wrong.0[bit / 8] ^= flip;
        prop_assert_eq!(subscriber.open_autn(&rand, &wrong), None);
        let mut other = rand;
        other.0[bit / 8] ^= flip;
        prop_assert_eq!(subscriber.open_autn(&other, &autn), None);
    }

    #[test]
    fn auts_there_and_back(subscriber in subscribers(), rand: [u8; 16], sqn_ms: [u8; 6], bit in 0usize..112) {
        let (rand, sqn_ms) = (Rand(rand), Sqn::from_bytes(sqn_ms));
        let auts = subscriber.make_auts(&rand, sqn_ms);
        prop_assert_eq!(subscriber.open_auts(&rand, &auts), Some(sqn_ms));

        let flip = 1u8 << (bit % 8);
        let mut wrong = auts;
        wrong.0[bit / 8] ^= flip;
        prop_assert_eq!(subscriber.open_auts(&rand, &wrong), None);
        let mut other = rand;
        other.0[bit / 8] ^= flip;
        prop_assert_eq!(subscriber.open_auts(&other, &auts), None);
    }
}
