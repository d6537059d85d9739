//! The checks of a request, one after another, without HTTP.

use proptest::prelude::*;
use serde_json::{Value, json};
use tapdoor_protocol::ids::{LockId, PhoneId, luhn};
use tapdoor_protocol::vault::Method;
use tapdoor_server::config::Secrets;
use tapdoor_server::registry::{
    Application, ChipRef, Grant, GrantTarget, Half, Identifier, IdentifierKind, Lock, Phone, Profile, System, Version,
};
use tapdoor_server::request::{Accepted, Refusal, SKEW, judge, parse};
use tapdoor_server::seal::{ChipKeys, Sealer};
use tapdoor_server::store::{SqliteStore, Store};

use crate::site::{Ask, CHIP_KEY, IMEI, LOCK, LOCK_KEY, MAC, PHONE, SERVER, SITE, now, public};

fn secrets() -> Secrets {
    Secrets {
        site: SITE.into(),
        private: tapdoor_protocol::crypto::ecies::SecretScalar(SERVER),
    }
}

fn iccid(body: &str) -> String {
    format!("{body}{}", luhn(body).unwrap())
}

fn identifiers(of: &[(IdentifierKind, String)]) -> Vec<Identifier> {
    of.iter().map(|(kind, text)| Identifier::parse(*kind, text).unwrap()).collect()
}

fn lock_names() -> [(IdentifierKind, String); 4] {
    [
        (IdentifierKind::Mac, MAC.into()),
        (IdentifierKind::Iccid, iccid("890010100000000001")),
        (IdentifierKind::Imsi, "001010000000001".into()),
        (IdentifierKind::Msisdn, "+491511234567".into()),
    ]
}

fn phone_names() -> [(IdentifierKind, String); 4] {
    [
        (IdentifierKind::Imei, IMEI.into()),
        (IdentifierKind::Iccid, iccid("8900101000000000022")),
        (IdentifierKind::Imsi, "001010000000002".into()),
        (IdentifierKind::Msisdn, "491517654321".into()),
    ]
}

fn application() -> Application {
    let aid = |text: &str| text.parse().unwrap();
    Application {
        name: "cr".into(),
        version: Version([1, 0]),
        provider: None,
        half: Half::Phone,
        elf: aid("f0544150444f4f52a1"),
        module: aid("f0544150444f4f52a101"),
        aid: aid("f0544150444f4f5201"),
        peer: aid("f0544150444f4f5201"),
        parameters: vec![],
        profile: Profile::Door,
        hash: [1; 32],
        load_file: vec![1, 2, 3],
    }
}

fn filled() -> SqliteStore {
    let mut store = SqliteStore::in_memory().unwrap();
    let sealer = Sealer::new(&[9; 16]).unwrap();
    let keys = ChipKeys::new(0x30, CHIP_KEY.into(), CHIP_KEY.into(), CHIP_KEY.into()).unwrap();
    store
        .put_lock(&Lock {
            id: LOCK,
            public_key: Some(hex::decode(public(&LOCK_KEY)).unwrap()),
            identifiers: identifiers(&lock_names()),
            system: "door".into(),
            groups: vec!["front".into()],
            window: None,
            chip: None,
            revoked: false,
        })
        .unwrap();
    store
        .put_phone(&Phone {
            id: PHONE,
            identifiers: identifiers(&phone_names()),
            user_authenticated: false,
            chip: sealer.seal(ChipRef::Phone(PHONE), &keys),
            revoked: false,
        })
        .unwrap();
    store
        .put_system(&System {
            name: "door".into(),
            application: Some("cr".into()),
            lock_application: None,
        })
        .unwrap();
    store.put_application(&application()).unwrap();
    store.put_grant(&grant(GrantTarget::Lock(LOCK))).unwrap();
    store
}

fn grant(target: GrantTarget) -> Grant {
    Grant {
        phone: PHONE,
        target,
        not_after: 0,
        weakest: Method::ChallengeResponse,
        flags: 0,
        revoked: false,
    }
}

fn decide_body(store: &mut SqliteStore, body: &Value) -> Result<Accepted, Refusal> {
    let asked = parse(body.to_string().as_bytes())?;
    judge(store, &secrets(), false, now().into(), &asked).unwrap()
}

fn decide(store: &mut SqliteStore, ask: &Ask) -> Result<Accepted, Refusal> {
    decide_body(store, &ask.body())
}

fn code(result: Result<Accepted, Refusal>) -> &'static str {
    result.map_or_else(|refusal| refusal.code(), |_| "accepted")
}

#[test]
fn all_sixteen_combinations_of_names() {
    let mut store = filled();
    for (lock_kind, lock) in lock_names() {
        for (phone_kind, digits) in phone_names() {
            let ask = Ask {
                lock: json!({ lock_kind.word(): lock }),
                kind: phone_kind as u8,
                digits: digits.clone(),
                ..Ask::new()
            };
            let accepted = decide(&mut store, &ask).unwrap();
            assert_eq!((accepted.lock.id, accepted.phone.id), (LOCK, PHONE), "{lock_kind:?} {phone_kind:?}");
            assert_eq!(accepted.application.name, "cr");
        }
    }
    let by_id = Ask {
        lock: json!({"id": LOCK.to_string()}),
        ..Ask::new()
    };
    assert_eq!(code(decide(&mut store, &by_id)), "accepted");
}

#[test]
fn each_refusal_has_its_own_code_and_status() {
    let bend = |change: fn(&mut Ask)| {
        let mut ask = Ask::new();
        change(&mut ask);
        ask
    };
    let cases: [(&str, u16, Ask); 14] = [
        ("lock-unregistered", 403, bend(|a| a.lock = json!({"mac": "02:00:5e:10:00:02"}))),
        ("bad-signature", 403, bend(|a| a.lock_key = [0x62; 32])),
        // Signed by this lock's chip, but for another lock.
        ("bad-signature", 403, bend(|a| a.lock_id = LockId([9; 8]))),
        ("clock-skew", 403, bend(|a| a.clock -= 700)),
        ("clock-skew", 403, bend(|a| a.clock += 700)),
        ("bad-identity", 400, bend(|a| a.server = [0x52; 32])),
        ("bad-identity", 400, bend(|a| a.plain = true)),
        ("malformed-identity", 400, bend(|a| a.digits = "490154203237519".into())),
        ("malformed-identity", 400, bend(|a| a.digits = "49015420323751".into())),
        ("malformed-identity", 400, bend(|a| a.digits = "49015420323751x".into())),
        ("malformed-identity", 400, bend(|a| a.kind = 5)),
        ("unknown-phone", 404, bend(|a| a.digits = "001017000000003".into())),
        // Another phone's number, proved with one's own key.
        ("identity-mismatch", 403, bend(|a| a.phone = PhoneId([7; 8]))),
        (
            "malformed-identifier",
            400,
            bend(|a| a.lock = json!({"iccid": "8900101000000000015"})),
        ),
    ];
    for (expected, status, ask) in cases {
        // Each against a store of its own, so that no case leans on another.
        let refusal = decide(&mut filled(), &ask).expect_err(expected);
        assert_eq!((refusal.code(), refusal.status().as_u16()), (expected, status));
    }
}

#[test]
fn refusals_that_depend_on_the_store() {
    let with = |change: fn(&mut SqliteStore)| {
        let mut store = filled();
        change(&mut store);
        code(decide(&mut store, &Ask::new()))
    };
    assert_eq!(with(|_| {}), "accepted");
    assert_eq!(
        with(|s| {
            let lock = s.lock(LOCK).unwrap().unwrap();
            s.put_lock(&Lock { revoked: true, ..lock }).unwrap();
        }),
        "lock-revoked"
    );
    assert_eq!(
        with(|s| {
            let lock = s.lock(LOCK).unwrap().unwrap();
            s.put_lock(&Lock { public_key: None, ..lock }).unwrap();
        }),
        "bad-signature"
    );
    assert_eq!(
        with(|s| {
            let phone = s.phone(PHONE).unwrap().unwrap();
            s.put_phone(&Phone { revoked: true, ..phone }).unwrap();
        }),
        "unknown-phone"
    );
    assert_eq!(
        with(|s| {
            let phone = s.phone(PHONE).unwrap().unwrap();
            s.put_phone(&Phone { chip: None, ..phone }).unwrap();
        }),
        "no-chip-keys"
    );
    let revoked = |target| Grant {
        revoked: true,
        ..grant(target)
    };
    let mut store = filled();
    store.put_grant(&revoked(GrantTarget::Lock(LOCK))).unwrap();
    assert_eq!(code(decide(&mut store, &Ask::new())), "not-entitled");
    // By way of a group the lock is in; then until yesterday; then for ever.
    store.put_grant(&grant(GrantTarget::Group("front".into()))).unwrap();
    assert_eq!(code(decide(&mut store, &Ask::new())), "accepted");
    let ended = Grant {
        not_after: now() - 1,
        ..grant(GrantTarget::Group("front".into()))
    };
    store.put_grant(&ended).unwrap();
    assert_eq!(code(decide(&mut store, &Ask::new())), "not-entitled");
    store.put_grant(&grant(GrantTarget::Group("back".into()))).unwrap();
    assert_eq!(code(decide(&mut store, &Ask::new())), "not-entitled");
}

#[test]
fn which_application_depends_on_the_requesters_system() {
    let mut store = filled();
    let lock = store.lock(LOCK).unwrap().unwrap();
    store
        .put_lock(&Lock {
            system: "locker".into(),
            ..lock
        })
        .unwrap();
    assert_eq!(code(decide(&mut store, &Ask::new())), "no-application");
    let system = |application: Option<&str>| System {
        name: "locker".into(),
        application: application.map(str::to_owned),
        lock_application: None,
    };
    store.put_system(&system(None)).unwrap();
    assert_eq!(code(decide(&mut store, &Ask::new())), "no-application");
    store.put_system(&system(Some("locker-app"))).unwrap();
    assert_eq!(code(decide(&mut store, &Ask::new())), "no-application");
    for version in [[1, 0], [1, 10], [1, 9]] {
        store
            .put_application(&Application {
                name: "locker-app".into(),
                version: Version(version),
                ..application()
            })
            .unwrap();
    }
    let accepted = decide(&mut store, &Ask::new()).unwrap();
    assert_eq!(
        (accepted.application.name.as_str(), accepted.application.version),
        ("locker-app", Version([1, 10]))
    );
    store
        .put_application(&Application {
            name: "for-locks".into(),
            half: Half::Lock,
            ..application()
        })
        .unwrap();
    store.put_system(&system(Some("for-locks"))).unwrap();
    assert_eq!(code(decide(&mut store, &Ask::new())), "no-application");
}

#[test]
fn a_nonce_is_good_once_even_if_the_request_was_refused() {
    let mut store = filled();
    let ask = Ask::new();
    assert_eq!(code(decide(&mut store, &ask)), "accepted");
    assert_eq!(code(decide(&mut store, &ask)), "replayed");
    let refused = Ask {
        digits: "001017000000003".into(),
        ..Ask::new()
    };
    assert_eq!(code(decide(&mut store, &refused)), "unknown-phone");
    let same_nonce = Ask {
        nonce: refused.nonce,
        ..Ask::new()
    };
    assert_eq!(code(decide(&mut store, &same_nonce)), "replayed");
    // A request whose signature is wrong spends nothing: anybody could send it.
    let forged = Ask {
        lock_key: [0x62; 32],
        ..Ask::new()
    };
    assert_eq!(code(decide(&mut store, &forged)), "bad-signature");
    let real = Ask {
        nonce: forged.nonce,
        ..Ask::new()
    };
    assert_eq!(code(decide(&mut store, &real)), "accepted");
}

#[test]
fn a_clock_that_jumps_makes_no_old_request_good() {
    let mut store = filled();
    let ask = Ask::new();
    let asked = parse(ask.body().to_string().as_bytes()).unwrap();
    let at = |store: &mut SqliteStore, now: u64| code(judge(store, &secrets(), false, now, &asked).unwrap());
    let now = u64::from(ask.clock);
    assert_eq!(at(&mut store, now), "accepted");
    // A week later the nonce is forgotten; then the server's clock is set back.
    store.forget_nonces(ask.clock + 7 * 86_400).unwrap();
    assert_eq!(at(&mut store, now + 7 * 86_400), "clock-skew");
    assert_eq!(at(&mut store, now), "clock-skew");
    // The floor never goes down.
    store.forget_nonces(5).unwrap();
    assert_eq!(at(&mut store, now), "clock-skew");
    // Within the allowance, on both sides.
    for now in [now - SKEW, now + SKEW] {
        assert_eq!(at(&mut filled(), now), "accepted");
    }
    for now in [now - SKEW - 1, now + SKEW + 1] {
        assert_eq!(at(&mut filled(), now), "clock-skew");
    }
}

#[test]
fn bodies_that_are_none() {
    let good = Ask::new().body();
    let bend = |change: fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body);
        parse(body.to_string().as_bytes())
            .err()
            .map_or("accepted", |refusal| refusal.code())
    };
    assert_eq!(bend(|_| {}), "accepted");
    assert_eq!(bend(|b| b["more"] = json!(1)), "malformed");
    assert_eq!(bend(|b| b["lock"] = json!({})), "malformed");
    assert_eq!(bend(|b| b["lock"] = json!({"mac": MAC, "imsi": "001010000000001"})), "malformed");
    assert_eq!(bend(|b| b["lock"] = json!({"imei": IMEI})), "malformed");
    assert_eq!(bend(|b| b["lock"] = json!({"mac": "02"})), "malformed-identifier");
    assert_eq!(bend(|b| b["lock"] = json!({"id": "02"})), "malformed-identifier");
    assert_eq!(bend(|b| b["request"] = json!("01")), "malformed");
    assert_eq!(bend(|b| b["request"] = json!("zz")), "malformed");
    assert_eq!(bend(|b| b["signature"] = json!("00")), "malformed");
    // Cut off: the place is named.
    let text = good.to_string();
    let cut = &text.as_bytes()[..text.len() / 2];
    let refusal = parse(cut).unwrap_err();
    assert!(refusal.to_string().contains("line 1 column"), "{refusal}");
    // A length that lies.
    let mut signed = hex::decode(good["request"].as_str().unwrap()).unwrap();
    signed[30] ^= 1;
    let body = json!({"lock": good["lock"], "request": hex::encode(signed), "signature": good["signature"]});
    assert_eq!(parse(body.to_string().as_bytes()).unwrap_err().code(), "malformed");
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused(bytes: Vec<u8>, request in "[0-9a-f]{0,200}") {
        let _ = parse(&bytes);
        let body = json!({"lock": {"mac": MAC}, "request": request, "signature": "00".repeat(64)});
        let _ = parse(body.to_string().as_bytes());
    }

    /// Whatever stands where the identity should be, signed by a lock: refused with a reason, never accepted, never a panic.
    #[test]
    fn any_identity_is_refused(identity in proptest::collection::vec(any::<u8>(), 1..120), form in 0u8..3) {
        let mut identity = identity;
        identity[0] = form;
        let result = decide_body(&mut filled(), &Ask::new().body_with(&identity));
        prop_assert!(matches!(result, Err(Refusal::BadIdentity(_) | Refusal::MalformedIdentity(_))), "{:?}", result);
    }
}
