//! Power cuts at every write and every sync of the chip's store: what left the chip is never taken back.
//!
//! A script of taps runs on a disk whose power goes at operation n, for every n. Then the disk is looked at as a program finds it after the
//! reboot, with nothing of the unsynced writes, with the first of them, and with any of them torn at sectors.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "common/cut.rs"]
mod cut;
#[path = "common/vfs.rs"]
mod vfs;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use common::*;
use cut::*;
use tapdoor_chip::personalise::Secret;
use tapdoor_chip::store::{Change, Durability};
use tapdoor_chip::{Application, Chip, Personalisation, Store, TestSubscriber};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::profile_u::Profile;
use tapdoor_protocol::aka::quantities::Subscriber;
use tapdoor_protocol::aka::{Algorithm, Autn, Rand};
use tapdoor_protocol::door::{BeginData, LockStep, Outcome, Verdict, keys};
use tapdoor_protocol::ids::PhoneId;
use vfs::{Dice, Disk, Survivors};

const IMSI: &str = "001010123456063";
const PIN: &str = "1234";
const USIM_KEY: [u8; 32] = [0x5A; 32];
/// A test USIM's name in the lock's reports.
const CARD: PhoneId = PhoneId([9; 8]);

fn step(lock: &mut Chip, ins: u8, p2: u8, data: &[u8]) -> Option<LockStep> {
    let command = tapdoor_protocol::apdu::Command::new(0x80, ins, 0, p2)
        .data(data)
        .ne(256)
        .encode()
        .unwrap();
    LockStep::parse(&ask(lock, &command)?)
}

/// A tap of which each C-APDU and R-APDU is shown to `watch` as soon as it left its chip. `None` when the power went.
fn tap_watched(
    lock: &mut Chip,
    phone: &mut Chip,
    (lock_aid, phone_aid): (&Aid, Option<&Aid>),
    p2: u8,
    clock: u32,
    watch: &mut Watch<'_>,
) -> Option<Outcome> {
    phone.power_on();
    let fci = match phone_aid {
        Some(aid) => ask(phone, &select(aid))?,
        None => Vec::new(),
    };
    ask(lock, &select(lock_aid))?;
    let mut now = step(lock, 0x10, p2, &BeginData { clock, fci: &fci }.encode())?;
    loop {
        match now {
            LockStep::Transmit { command, .. } => {
                watch(&command, None);
                let answer = send(phone, &command);
                if answer == [0x6F, 0x00] {
                    return None;
                }
                watch(&command, Some(&answer));
                now = step(lock, 0x12, 0, &answer)?;
            }
            LockStep::Done(outcome) => return Some(outcome),
        }
    }
}

const AKA: (&Aid, Option<&Aid>) = (&Aid::AKA_LOCK, Some(&Aid::AKA));
const CR: (&Aid, Option<&Aid>) = (&Aid::CHALLENGE_RESPONSE_LOCK, Some(&Aid::CHALLENGE_RESPONSE));
const USIM: (&Aid, Option<&Aid>) = (&Aid::USIM_HOST, None);

fn usim() -> Application {
    let profile = Profile {
        algorithm: Algorithm::Milenage,
        iccid: "8949000000000000000".into(),
        imsi: IMSI.into(),
        pin: Some(PIN.into()),
        kc: false,
        start: 0,
        age_limit: None,
    };
    Application::usim(Aid::USIM, &profile, Secret::new(USIM_KEY))
}

fn phone_with_usim() -> Personalisation {
    let mut personalisation = phone_personalisation(PHONE);
    personalisation.applications.push(usim());
    personalisation
}

fn lock_with_usim() -> Personalisation {
    let mut personalisation = lock_personalisation(LOCK, vec![entry(PHONE, LOCK)]);
    personalisation.applications[2] = Application::usim_host(Aid::USIM_HOST, LOCK, Some(PIN));
    personalisation.subscribers.push(TestSubscriber {
        phone: CARD,
        imsi: IMSI.into(),
        algorithm: Algorithm::Milenage,
        not_after: 0,
        key: Secret::new(USIM_KEY),
    });
    personalisation
}

fn in_memory(personalisation: &Personalisation) -> Chip {
    Chip::personalise(memory(), personalisation).unwrap()
}

/// Whose sequence number an AUTHENTICATE carries, and which.
fn sequence_of(command: &[u8]) -> Option<(&'static str, u64)> {
    let k_ph = keys::phone(&SITE, PHONE);
    let (whose, algorithm, key, at) = match *command {
        [0x80, 0x88, 0, 0, 0x28, ..] => ("phone", Algorithm::Milenage, keys::milenage(&k_ph, LOCK).to_vec(), [5, 21]),
        [0x80, 0x88, 0, 1, 0x28, ..] => ("phone", Algorithm::Tuak, keys::tuak(&k_ph, LOCK).to_vec(), [5, 21]),
        [0x00, 0x88, 0, 0x81, ..] => ("card", Algorithm::Milenage, USIM_KEY.to_vec(), [6, 23]),
        _ => return None,
    };
    let quantity = |at: usize| command[at..at + 16].try_into().unwrap();
    let subscriber = Subscriber::from_bytes(algorithm, &key).unwrap();
    let (sqn, ..) = subscriber.open_autn(&Rand(quantity(at[0])), &Autn(quantity(at[1]))).unwrap();
    Some((whose, sqn.seq()))
}

#[derive(Default)]
struct Given(BTreeSet<(&'static str, u64)>);

/// Every kind of tap at a lock on the disk, on a clock that stands still; with a new list, and switched off and on, in between.
fn lock_script(disk: &Disk, mode: Mode, ledger: Arc<Mutex<Ledger>>, given: &mut Given) -> Option<()> {
    let mut personalisation = lock_with_usim();
    // The phone has met another life of this lock, whose clock was a day ahead: it will ask to resynchronise.
    let mut phone = in_memory(&phone_with_usim());
    let mut early = in_memory(&personalisation);
    for (way, p2) in [(AKA, 0), (USIM, 0)] {
        let outcome = tap_watched(&mut early, &mut phone, way, p2, CLOCK + 86_400, &mut |_, _| {}).unwrap();
        assert_eq!(outcome.verdict, Verdict::Open, "{outcome:?}");
    }

    let mut taps = |lock: &mut Chip, ways: &[((&Aid, Option<&Aid>), u8)]| {
        for (way, p2) in ways {
            let outcome = tap_watched(lock, &mut phone, *way, *p2, CLOCK, &mut |command, answer| {
                if answer.is_none()
                    && let Some(sequence) = sequence_of(command)
                {
                    assert!(given.0.insert(sequence), "{sequence:?} twice, without any power cut");
                }
            })?;
            assert_eq!(outcome.verdict, Verdict::Open, "{outcome:?}");
        }
        Some(())
    };
    let mut lock = boot(disk, mode, &ledger, &personalisation)?;
    taps(&mut lock, &[(AKA, 0), (AKA, 1), (CR, 0), (USIM, 0)])?;
    drop(lock);
    personalisation.list.push(entry(PhoneId([7; 8]), LOCK));
    let mut lock = boot(disk, mode, &ledger, &personalisation)?;
    taps(&mut lock, &[(AKA, 1), (USIM, 0), (AKA, 0)])
}

/// No number that went out goes out again, whichever way the lock is tapped.
fn lock_judge(disk: &Disk, given: &Given) -> Result<(), String> {
    let mut given = given.0.clone();
    let ledger = Arc::default();
    let Some(mut lock) = boot(disk, DURABLE[0], &ledger, &lock_with_usim()) else {
        return Err("no power after the reboot".into());
    };
    let mut phone = in_memory(&phone_with_usim());
    for (way, p2) in [(AKA, 0), (USIM, 0), (AKA, 1), (USIM, 0), (AKA, 0)] {
        let mut repeated = None;
        // The new phone refuses nothing: what counts is what the lock says.
        tap_watched(&mut lock, &mut phone, way, p2, CLOCK, &mut |command, answer| {
            if answer.is_none()
                && let Some(sequence) = sequence_of(command)
                && !given.insert(sequence)
            {
                repeated = Some(sequence);
            }
        });
        if let Some(sequence) = repeated {
            return Err(format!("sequence number {sequence:?} was given out twice"));
        }
    }
    Ok(())
}

#[test]
fn a_lock_never_gives_a_sequence_number_twice() {
    must_hold("lock", lock_script, lock_judge);
}

#[derive(Default)]
struct Accepted {
    /// AUTHENTICATE commands whose RES or TP left the phone, by application.
    authenticates: Vec<(Aid, Vec<u8>)>,
    /// Wrong PINs that were answered since the right one.
    wrong_pins: u8,
}

/// Every kind of tap with a phone on the disk, a wrong PIN in between.
fn phone_script(disk: &Disk, mode: Mode, ledger: Arc<Mutex<Ledger>>, accepted: &mut Accepted) -> Option<()> {
    let personalisation = phone_with_usim();
    let mut lock = in_memory(&lock_with_usim());
    let mut behind = in_memory(&lock_with_usim());
    let mut phone = boot(disk, mode, &ledger, &personalisation)?;
    let mut tap = |phone: &mut Chip, lock: &mut Chip, way: (&Aid, Option<&Aid>), p2, clock| {
        let aid = *way.1.unwrap_or(&Aid::USIM);
        let outcome = tap_watched(lock, phone, way, p2, clock, &mut |command, answer| {
            let right = answer.is_some_and(|a| a.ends_with(&[0x90, 0x00]) && (a[0] == 0xDB || aid == Aid::CHALLENGE_RESPONSE));
            if right && command[1] == 0x88 {
                accepted.authenticates.push((aid, command.to_vec()));
            }
            if command[..2] == [0x00, 0x20] && answer == Some(&[0x90, 0x00]) {
                accepted.wrong_pins = 0;
            }
        })?;
        assert_eq!(outcome.verdict, Verdict::Open, "{outcome:?}");
        Some(())
    };
    tap(&mut phone, &mut lock, AKA, 0, CLOCK)?;
    tap(&mut phone, &mut lock, AKA, 1, CLOCK)?;
    tap(&mut phone, &mut lock, CR, 0, CLOCK)?;
    tap(&mut phone, &mut lock, USIM, 0, CLOCK)?;
    // A lock that is a day behind: resynchronisation within the tap.
    tap(&mut phone, &mut behind, AKA, 0, CLOCK - 86_400)?;
    tap(&mut phone, &mut behind, USIM, 0, CLOCK - 86_400)?;
    drop(phone);
    let mut phone = boot(disk, mode, &ledger, &personalisation)?;
    tap(&mut phone, &mut lock, AKA, 1, CLOCK + 3)?;
    tap(&mut phone, &mut lock, USIM, 0, CLOCK + 3)?;
    ask(&mut phone, &select(&Aid::USIM))?;
    for left in [2, 1] {
        let answer = send(&mut phone, &WRONG_PIN);
        if answer == [0x6F, 0x00] {
            return None;
        }
        assert_eq!(answer, [0x63, 0xC0 | left]);
        accepted.wrong_pins += 1;
    }
    Some(())
}

const WRONG_PIN: [u8; 13] = [0x00, 0x20, 0x00, 0x01, 8, b'9', b'9', b'9', b'9', 0xFF, 0xFF, 0xFF, 0xFF];
const RIGHT_PIN: [u8; 13] = [0x00, 0x20, 0x00, 0x01, 8, b'1', b'2', b'3', b'4', 0xFF, 0xFF, 0xFF, 0xFF];

/// Nothing that was accepted is accepted again.
fn phone_judge(disk: &Disk, accepted: &Accepted) -> Result<(), String> {
    let ledger = Arc::default();
    let Some(mut phone) = boot(disk, DURABLE[0], &ledger, &phone_with_usim()) else {
        return Err("no power after the reboot".into());
    };
    ask(&mut phone, &select(&Aid::USIM)).ok_or("no USIM")?;
    let tries = match *send(&mut phone, &[0x00, 0x20, 0x00, 0x01]) {
        [0x63, n] => n & 0x0F,
        _ => 0,
    };
    if tries > 3 - accepted.wrong_pins {
        return Err(format!("{} wrong PINs, and {tries} tries are left", accepted.wrong_pins));
    }
    for (aid, authenticate) in &accepted.authenticates {
        phone.power_on();
        // Without SELECT there is no RP, and no PIN was verified.
        let answer = send(&mut phone, authenticate);
        if answer.len() != 2 || answer == [0x90, 0x00] {
            return Err(format!("{aid}: an old AUTHENTICATE is answered {answer:02x?} after the reboot"));
        }
        ask(&mut phone, &select(aid)).ok_or("cannot be selected")?;
        if *aid == Aid::USIM && tries > 0 {
            ask(&mut phone, &RIGHT_PIN).ok_or("the right PIN is refused")?;
        }
        let answer = send(&mut phone, authenticate);
        let refused = match &answer[..] {
            [0xDC, 30, ..] => *aid == Aid::AKA,
            [0xDC, 14, ..] => *aid == Aid::USIM,
            [0x69, 0x82] => *aid == Aid::CHALLENGE_RESPONSE || tries == 0,
            _ => false,
        };
        if !refused {
            return Err(format!("{aid}: a used AUTHENTICATE is answered {answer:02x?} after the reboot"));
        }
        // RP was spent by it.
        if *aid == Aid::CHALLENGE_RESPONSE && send(&mut phone, authenticate) != [0x69, 0x85] {
            return Err("RP was not spent".into());
        }
    }
    Ok(())
}

#[test]
fn a_phone_never_accepts_an_authenticate_twice() {
    must_hold("phone", phone_script, phone_judge);
}

/// Transactions of several records of all sizes, and personalisations between them.
fn transactions_script(disk: &Disk, mode: Mode, ledger: Arc<Mutex<Ledger>>, _: &mut ()) -> Option<()> {
    let mut dice = Dice::new(2);
    let mut store = Watched {
        store: open(disk, mode)?,
        ledger,
    };
    store.number().ok()?;
    store.personalise(&phone_with_usim()).ok()?;
    for round in 0..8u8 {
        let mut change = |aid, name: u8, limit| Change::Record {
            aid,
            name: vec![name],
            value: vec![round; 1 + dice.below(limit)],
        };
        let changes = [
            change(Aid::AKA, 1, 4096),
            change(Aid::AKA, 2, 20),
            change(Aid::USIM, 1, 4096),
            change(Aid::IDENTITY, round, 900),
        ];
        store.commit(&changes).ok()?;
        if round == 3 {
            // Without the USIM its records go too; they do not come back with it.
            store.personalise(&phone_personalisation(PHONE)).ok()?;
        }
        if round == 5 {
            store.personalise(&phone_with_usim()).ok()?;
        }
    }
    Some(())
}

#[test]
fn a_transaction_is_whole_or_not_at_all() {
    must_hold("transactions", transactions_script, |_, ()| Ok(()));
}

#[test]
fn the_experiments_would_find_a_store_that_does_not_sync() {
    let careless = Mode {
        durability: Durability::None,
        ..DURABLE[0]
    };
    let (lock, lock_cuts, _) = cut_everywhere(careless, lock_script, lock_judge);
    println!(
        "synchronous=OFF, lock: {} violations at {lock_cuts} cut points, such as {}",
        lock.len(),
        lock[0]
    );
    let (phone, cuts, _) = cut_everywhere(careless, phone_script, phone_judge);
    println!(
        "synchronous=OFF, phone: {} violations at {cuts} cut points, such as {}",
        phone.len(),
        phone[0]
    );
    // Not only by the look into the store: by what the chips do.
    let lock_does = (0..lock_cuts).filter(|cut| {
        let (disk, mut given) = (Disk::new(), Given::default());
        disk.cut_at(*cut);
        let _ = lock_script(&disk, careless, Arc::default(), &mut given);
        lock_judge(&disk.reboot(Survivors::None), &given).is_err()
    });
    let phone_does = (0..cuts).filter(|cut| {
        let (disk, mut accepted) = (Disk::new(), Accepted::default());
        disk.cut_at(*cut);
        let _ = phone_script(&disk, careless, Arc::default(), &mut accepted);
        phone_judge(&disk.reboot(Survivors::None), &accepted).is_err()
    });
    let (lock_does, phone_does) = (lock_does.count(), phone_does.count());
    println!("of these by the chips' own behaviour, nothing unsynced kept: lock {lock_does}, phone {phone_does}");
    assert!(lock_does > 10 && phone_does > 10);
}
