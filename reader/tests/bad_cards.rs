//! Whatever a card does, the tap ends in bounded time, never opens, and the next honest tap opens.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tapdoor_chip::personalise::Secret;
use tapdoor_chip::{Application, Chip, ChipLink, Personalisation, SqliteStore};
use tapdoor_link::stop::Stop;
use tapdoor_link::{CardLink, LinkError, LinkErrorKind};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::door::{Reason, keys};
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_reader::{Lock, LockConfig, Tap, TapVerdict};

const K_PH: [u8; 16] = [7; 16];
const LOCK: LockId = LockId([1; 8]);
const PHONE: PhoneId = PhoneId([2; 8]);

fn config(extra: &str) -> LockConfig {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let text = format!(
        "id = \"{LOCK}\"\n{extra}\n[[phones]]\nid = \"{PHONE}\"\nk-id = \"{}\"\nk-l = \"{}\"\nmilenage = \"{}\"\n",
        hex(keys::recognition(&K_PH).as_slice()),
        hex(keys::lock(&K_PH, LOCK).as_slice()),
        hex(keys::milenage(&K_PH, LOCK).as_slice()),
    );
    LockConfig::parse(Path::new("lock.toml"), &text).unwrap()
}

fn lock(extra: &str) -> Lock {
    Lock::with_store(config(extra), Box::new(SqliteStore::in_memory().unwrap())).unwrap()
}

fn phone() -> Chip {
    let (k_ph, k_id) = (Secret::new(K_PH), Secret::new(keys::recognition(&K_PH).to_vec()));
    let personalisation = Personalisation {
        applications: vec![
            Application::challenge_response(Aid::CHALLENGE_RESPONSE, PHONE, 0, k_ph.clone(), k_id.clone()),
            Application::aka(Aid::AKA, PHONE, k_ph, k_id),
        ],
        ..Personalisation::default()
    };
    Chip::personalise(Box::new(SqliteStore::in_memory().unwrap()), &personalisation).unwrap()
}

fn tap(lock: &mut Lock, link: &mut (dyn CardLink + Send)) -> Tap {
    lock.tap_on(link, &Stop::new(), false, &mut |text| panic!("{text}"))
}

/// A card whose answer is a function of the command's number and bytes.
struct Card<F>(u64, F);

impl<F: FnMut(u64, &[u8]) -> Result<Vec<u8>, LinkErrorKind> + Send> CardLink for Card<F> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        self.0 += 1;
        *response = (self.1)(self.0, command).map_err(|kind| LinkError::new(kind, "test", "as planned"))?;
        Ok(())
    }
}

fn bad(lock: &mut Lock, answer: impl FnMut(u64, &[u8]) -> Result<Vec<u8>, LinkErrorKind> + Send) -> Tap {
    let started = Instant::now();
    let result = tap(lock, &mut Card(0, answer));
    assert_ne!(result.verdict, TapVerdict::Open);
    assert!(started.elapsed() < Duration::from_secs(30));
    let mut honest = phone();
    let next = tap(lock, &mut ChipLink::new(&mut honest));
    assert_eq!(next.verdict, TapVerdict::Open, "{next:?}");
    result
}

/// The honest phone up to a point, then something else.
fn honest_until(
    n: u64,
    mut then: impl FnMut() -> Result<Vec<u8>, LinkErrorKind> + Send,
) -> impl FnMut(u64, &[u8]) -> Result<Vec<u8>, LinkErrorKind> + Send {
    let mut chip = phone();
    move |number, command| {
        if number >= n {
            return then();
        }
        let mut response = Vec::new();
        chip.process(command, &mut response);
        Ok(response)
    }
}

#[test]
fn long_short_and_missing_answers() {
    for methods in ["methods = [\"challenge-response\"]", "methods = [\"aka\"]", "methods = [\"usim\"]"] {
        let mut lock = lock(methods);
        // The honest phone of `bad` has no USIM.
        if methods.contains("usim") {
            lock = self::lock("methods = [\"usim\", \"aka\"]");
        }
        for at in [1, 2] {
            let long = bad(&mut lock, honest_until(at, || Ok([vec![0x5A; 65_535], vec![0x90, 0x00]].concat())));
            assert_eq!(long.reason, Some(Reason::CardError), "{long:?}");
            for kind in [LinkErrorKind::CardGone, LinkErrorKind::Timeout, LinkErrorKind::Malformed] {
                let result = bad(&mut lock, honest_until(at, move || Err(kind)));
                assert_eq!(result.verdict, TapVerdict::Error);
            }
        }
    }
}

#[test]
fn a_card_that_asks_for_more_without_end_is_left() {
    for sw in [[0x61, 0x01], [0x61, 0x00], [0x6C, 0x10]] {
        let result = bad(&mut lock(""), move |_, _| Ok([vec![0xAA], sw.to_vec()].concat()));
        assert!(result.apdus <= 64, "{} APDUs", result.apdus);
        bad(&mut lock("methods = [\"usim\", \"aka\"]"), move |_, _| Ok(sw.to_vec()));
    }
}

#[test]
fn a_card_with_an_endless_directory_is_left() {
    let result = bad(&mut lock("methods = [\"usim\", \"aka\"]"), |_, command| {
        Ok(match command[1] {
            0xA4 if command[2] == 4 => vec![0x6A, 0x82],
            0xB2 => vec![0x61, 0x04, 0x4F, 0x02, 0xA0, 0x00, 0x90, 0x00],
            _ => vec![0x90, 0x00],
        })
    });
    assert_eq!(result.reason, Some(Reason::AppMissing));
    assert!(result.apdus <= 64);
}

#[test]
fn late_answers_warn_and_refuse_only_when_told_to() {
    let slow = |lock: &mut Lock| {
        let mut chip = phone();
        let mut link = Card(0, move |_, command: &[u8]| {
            std::thread::sleep(Duration::from_millis(30));
            let mut response = Vec::new();
            chip.process(command, &mut response);
            Ok(response)
        });
        tap(lock, &mut link)
    };
    let warned = slow(&mut lock("[policy]\nanswer-cap-ms = 5"));
    assert_eq!(warned.verdict, TapVerdict::Open);
    assert!(!warned.warnings.is_empty());
    let refused = slow(&mut lock("[policy]\nanswer-cap-ms = 5\nover-cap = \"refuse\""));
    assert_eq!((refused.verdict, refused.reason), (TapVerdict::Refused, Some(Reason::Timeout)));
}

#[test]
fn one_missing_application_among_several_is_no_missing_phone() {
    // 6A82 to the first and garbage to the second is not "app-missing": nothing may be downloaded because of it.
    let result = bad(&mut lock(""), |number, _| {
        Ok(if number == 1 { vec![0x6A, 0x82] } else { vec![0x6F, 0x00] })
    });
    assert_eq!(result.reason, Some(Reason::CardError));
    let card = bad(&mut lock(""), |_, _| Ok(vec![0x6A, 0x82]));
    assert_eq!(card.reason, Some(Reason::AppMissing));
    assert!(card.detail.contains("not one of our phones"));
}

#[test]
fn only_a_recognised_phone_is_delayed_after_failures() {
    let mut lock = lock("methods = [\"challenge-response\"]\n[policy]\nmax-delay-ms = 300");
    let mut wrong = || {
        let mut chip = phone();
        let mut link = Card(0, move |number, command: &[u8]| {
            let mut response = Vec::new();
            chip.process(command, &mut response);
            if number == 2 {
                response[0] ^= 1;
            }
            Ok(response)
        });
        let started = Instant::now();
        let result = tap(&mut lock, &mut link);
        assert_eq!(result.reason, Some(Reason::WrongKey));
        // The wait is not the phone's time.
        assert!(result.total < Duration::from_millis(90), "{:?}", result.total);
        started.elapsed()
    };
    wrong();
    wrong();
    assert!(wrong() >= Duration::from_millis(100), "the third try waits for the second's delay");
    // A stranger is not delayed, whatever happened before.
    let started = Instant::now();
    let stranger = tap(&mut lock, &mut Card(0, |_, _: &[u8]| Ok(vec![0x6A, 0x82])));
    assert_eq!(stranger.reason, Some(Reason::AppMissing));
    assert!(started.elapsed() < Duration::from_millis(90));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rubbish_never_opens_and_never_panics(answers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 2..80), 1..12), at in 1u64..4) {
        let mut lock = lock("methods = [\"challenge-response\", \"aka\", \"usim\"]");
        let mut chip = phone();
        let mut answers = answers.into_iter().cycle();
        let mut link = Card(0, move |number, command: &[u8]| {
            if number < at && number < 2 {
                let mut response = Vec::new();
                chip.process(command, &mut response);
                return Ok(response);
            }
            Ok(answers.next().unwrap_or_default())
        });
        let result = tap(&mut lock, &mut link);
        prop_assert_ne!(result.verdict, TapVerdict::Open);
        let mut honest = phone();
        prop_assert_eq!(tap(&mut lock, &mut ChipLink::new(&mut honest)).verdict, TapVerdict::Open);
    }
}
