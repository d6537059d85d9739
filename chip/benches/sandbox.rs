//! What the sandbox costs: the same challenge-response tap between built-in halves and between downloaded ones, and its parts.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/sandbox.rs"]
mod sandbox;

use common::{LOCK, PHONE, entry, lock_personalisation, memory, phone_personalisation, select, send};
use criterion::{Criterion, criterion_group, criterion_main};
use sandbox::{committed, replace};
use tapdoor_chip::sandbox::{Code, Limits};
use tapdoor_chip::{Chip, Personalisation};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::door::Verdict;

fn chip(personalisation: &Personalisation, downloaded: Option<&Code>) -> Chip {
    let mut chip = Chip::personalise(memory(), personalisation).unwrap();
    for application in &personalisation.applications {
        let half = match application.aid {
            Aid::CHALLENGE_RESPONSE => 0,
            Aid::CHALLENGE_RESPONSE_LOCK => 1,
            _ => continue,
        };
        if let Some(code) = downloaded {
            let module = code.modules()[half].aid;
            replace(&mut chip, &application.aid, code, &module, &application.parameters);
        }
    }
    chip
}

/// SELECT, BEGIN, AUTHENTICATE, NEXT, CONTROL FLOW.
fn tap(lock: &mut Chip, phone: &mut Chip) {
    let (outcome, _) = common::challenge_response(lock, phone);
    assert_eq!(outcome.verdict, Verdict::Open);
    assert_eq!(send(phone, &outcome.control_flow.unwrap()), [0x90, 0x00]);
    phone.drain_events().for_each(drop);
}

fn taps(criterion: &mut Criterion) {
    let bytes = committed("challenge-response");
    let code = Code::check(&bytes, &Limits::default()).unwrap();
    let list = vec![entry(PHONE, LOCK)];
    let chips = |phone: bool, lock: bool| {
        let pick = |downloaded| if downloaded { Some(&code) } else { None };
        (
            chip(&lock_personalisation(LOCK, list.clone()), pick(lock)),
            chip(&phone_personalisation(PHONE), pick(phone)),
        )
    };
    let mut group = criterion.benchmark_group("challenge-response tap");
    for (name, phone, lock) in [
        ("both halves built in", false, false),
        ("phone's half downloaded", true, false),
        ("lock's half downloaded", false, true),
        ("both halves downloaded", true, true),
    ] {
        let (mut lock, mut phone) = chips(phone, lock);
        group.bench_function(name, |b| b.iter(|| tap(&mut lock, &mut phone)));
    }
    group.finish();

    let mut group = criterion.benchmark_group("SELECT of the phone's half");
    for (name, downloaded) in [("built in", false), ("downloaded", true)] {
        let (_, mut phone) = chips(downloaded, false);
        let command = select(&Aid::CHALLENGE_RESPONSE);
        group.bench_function(name, |b| b.iter(|| send(&mut phone, &command)));
    }
    group.finish();

    criterion.bench_function("check and compile the module", |b| {
        b.iter(|| Code::check(&bytes, &Limits::default()).unwrap());
    });
}

criterion_group!(benches, taps);
criterion_main!(benches);
