//! Both sides of each method against each other, through two chips.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use common::*;
use tapdoor_chip::{Chip, ChipEvent};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::door::Event;
use tapdoor_protocol::door::{Reason, Verdict};
use tapdoor_protocol::vault::Method;

fn refused(reason: Reason) -> Verdict {
    Verdict::Refused(reason)
}

#[test]
fn challenge_response_opens_in_two_apdus_and_160_bytes() {
    let (mut lock, mut phone) = (lock(), phone());
    let (outcome, transcript) = challenge_response(&mut lock, &mut phone);
    assert_eq!(outcome.verdict, Verdict::Open, "{outcome:?}");
    assert_eq!(outcome.phone, Some(PHONE));
    assert_eq!(outcome.flags, Some(0x8000_0000));
    assert_eq!(transcript.exchanges.len(), 2);
    let bytes: usize = transcript.exchanges.iter().map(|(c, r)| c.len() + r.len()).sum();
    assert!(bytes <= 160, "{bytes} bytes");

    // CONTROL FLOW, sealed, is believed once.
    let flow = outcome.control_flow.unwrap();
    assert_eq!(&flow[..5], [0x80, 0x3C, 0x01, 0x00, 0x08]);
    assert_eq!(send(&mut phone, &flow), [0x90, 0x00]);
    assert_eq!(send(&mut phone, &flow), [0x69, 0x85]);
    let events: Vec<ChipEvent> = phone.drain_events().collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].event, Event::Authenticated { lock: LOCK, clock: CLOCK });
    assert_eq!(events[1].event, Event::Verdict(Verdict::Open));
}

#[test]
fn aka_opens_in_two_apdus_by_both_algorithms() {
    let (mut lock, mut phone) = (lock(), phone());
    for (p2, clock) in [(0, CLOCK), (1, CLOCK), (0, CLOCK + 1)] {
        let (outcome, transcript) = aka(&mut lock, &mut phone, p2, clock);
        assert_eq!(outcome.verdict, Verdict::Open, "{outcome:?}");
        assert_eq!(transcript.exchanges.len(), 2);
        let answer = &transcript.exchanges[1].1;
        assert_eq!(
            (answer.len(), &answer[..2]),
            (12, &[0xDB, 0x08][..]),
            "RES only: CK and IK never cross the air"
        );
        assert_eq!(send(&mut phone, &outcome.control_flow.unwrap()), [0x90, 0x00]);
    }
}

#[test]
fn a_phone_that_is_ahead_resynchronises_within_the_tap() {
    let mut phone = phone();
    let mut early = lock();
    // Another life of the same lock, whose clock was a day ahead.
    let (outcome, _) = aka(&mut early, &mut phone, 0, CLOCK + 86_400);
    assert_eq!(outcome.verdict, Verdict::Open);
    let mut late = lock();
    let (outcome, transcript) = aka(&mut late, &mut phone, 0, CLOCK);
    assert_eq!(outcome.verdict, Verdict::Open, "{outcome:?}");
    assert_eq!(transcript.exchanges.len(), 3);
    assert_eq!(&transcript.exchanges[1].1[..2], [0xDC, 0x1E]);
    // From now on without a detour.
    let (outcome, transcript) = aka(&mut late, &mut phone, 0, CLOCK + 1);
    assert_eq!((outcome.verdict, transcript.exchanges.len()), (Verdict::Open, 2));
}

#[test]
fn a_wrong_mac_and_a_sequence_failure_look_alike_from_outside() {
    let (mut lock, mut phone) = (lock(), phone());
    let (_, transcript) = aka(&mut lock, &mut phone, 0, CLOCK);
    let authenticate = transcript.exchanges[1].0.clone();
    // Replayed: sequence failure.
    send(&mut phone, &select(&Aid::AKA));
    let replayed = send(&mut phone, &authenticate);
    // One bit of MAC changed.
    let mut bent = authenticate;
    bent[5 + 31] ^= 1;
    send(&mut phone, &select(&Aid::AKA));
    let wrong = send(&mut phone, &bent);
    assert_eq!(
        (replayed.len(), &replayed[..2], &replayed[32..]),
        (34, &[0xDC, 0x1E][..], &[0x90, 0x00][..])
    );
    assert_eq!((wrong.len(), &wrong[..2], &wrong[32..]), (34, &[0xDC, 0x1E][..], &[0x90, 0x00][..]));
    assert_ne!(replayed, wrong);
}

#[test]
fn the_phone_takes_one_more_authenticate_after_a_failure_and_no_third() {
    let (mut lock, mut phone) = (lock(), phone());
    let (_, transcript) = aka(&mut lock, &mut phone, 0, CLOCK);
    let replay = transcript.exchanges[1].0.clone();
    send(&mut phone, &select(&Aid::AKA));
    assert_eq!(send(&mut phone, &replay)[0], 0xDC);
    assert_eq!(send(&mut phone, &replay)[0], 0xDC);
    assert_eq!(send(&mut phone, &replay), [0x69, 0x85]);
}

#[test]
fn refusals_have_their_reasons() {
    let mut phone = phone();
    // Not on the list.
    let mut empty = Chip::personalise(memory(), &lock_personalisation(LOCK, Vec::new())).unwrap();
    let (outcome, transcript) = challenge_response(&mut empty, &mut phone);
    assert_eq!(
        (outcome.verdict, outcome.phone, outcome.control_flow),
        (refused(Reason::UnknownPhone), None, None)
    );
    assert_eq!(transcript.exchanges.len(), 1, "nothing more is sent to a stranger");

    // Recognised, but the entry's authentication keys are of another site.
    let mut wrong = entry(PHONE, LOCK);
    wrong.k_l = tapdoor_chip::personalise::Secret::new([7; 16]);
    wrong.milenage = Some(tapdoor_chip::personalise::Secret::new([7; 32]));
    let mut lock = Chip::personalise(memory(), &lock_personalisation(LOCK, vec![wrong])).unwrap();
    let (outcome, transcript) = challenge_response(&mut lock, &mut phone);
    assert_eq!(outcome.verdict, refused(Reason::WrongKey));
    assert_eq!(transcript.exchanges[1].1, [0x69, 0x82]);
    assert_eq!(send(&mut phone, &outcome.control_flow.unwrap()), [0x90, 0x00]);
    assert_eq!(aka(&mut lock, &mut phone, 0, CLOCK).0.verdict, refused(Reason::WrongKey));

    let mut ended = entry(PHONE, LOCK);
    ended.not_after = CLOCK;
    let mut lock = Chip::personalise(memory(), &lock_personalisation(LOCK, vec![ended])).unwrap();
    assert_eq!(challenge_response(&mut lock, &mut phone).0.verdict, refused(Reason::NotEntitled));
    assert_eq!(
        aka(&mut lock, &mut phone, 0, CLOCK - 1).0.verdict,
        Verdict::Open,
        "one second earlier it still holds"
    );

    let mut strict = entry(PHONE, LOCK);
    strict.weakest = Method::Aka;
    let mut lock = Chip::personalise(memory(), &lock_personalisation(LOCK, vec![strict])).unwrap();
    assert_eq!(challenge_response(&mut lock, &mut phone).0.verdict, refused(Reason::Policy));
    assert_eq!(aka(&mut lock, &mut phone, 0, CLOCK).0.verdict, Verdict::Open);

    let mut user = entry(PHONE, LOCK);
    user.flags = 1;
    let mut lock = Chip::personalise(memory(), &lock_personalisation(LOCK, vec![user])).unwrap();
    assert_eq!(challenge_response(&mut lock, &mut phone).0.verdict, Verdict::Open);
    assert_eq!(
        aka(&mut lock, &mut phone, 0, CLOCK + 9).0.verdict,
        refused(Reason::Policy),
        "AKA cannot prove the user"
    );
}

#[test]
fn every_changed_byte_of_a_proof_is_refused() {
    for position in 0..20 {
        let (mut lock, mut phone) = (lock(), phone());
        let fci = send(&mut phone, &select(&Aid::CHALLENGE_RESPONSE));
        send(&mut lock, &select(&Aid::CHALLENGE_RESPONSE_LOCK));
        let tapdoor_protocol::door::LockStep::Transmit { command, .. } = begin(&mut lock, 0, CLOCK, &fci[..fci.len() - 2]) else {
            panic!()
        };
        let mut answer = send(&mut phone, &command);
        answer[position] ^= 0x40;
        let tapdoor_protocol::door::LockStep::Done(outcome) = next(&mut lock, &answer) else {
            panic!()
        };
        assert_eq!(outcome.verdict, refused(Reason::WrongKey), "byte {position}");
    }
}

#[test]
fn what_the_lock_said_cannot_be_changed_either() {
    for position in 5..49 {
        let (mut lock, mut phone) = (lock(), phone());
        let fci = send(&mut phone, &select(&Aid::CHALLENGE_RESPONSE));
        send(&mut lock, &select(&Aid::CHALLENGE_RESPONSE_LOCK));
        let tapdoor_protocol::door::LockStep::Transmit { mut command, .. } = begin(&mut lock, 0, CLOCK, &fci[..fci.len() - 2]) else {
            panic!()
        };
        command[position] ^= 1;
        assert_eq!(send(&mut phone, &command), [0x69, 0x82], "byte {position}");
        assert_eq!(
            send(&mut phone, &command),
            [0x69, 0x85],
            "RP is spent by the first AUTHENTICATE, right or wrong"
        );
    }
}

#[test]
fn a_recorded_tap_opens_neither_this_lock_nor_another() {
    let (mut lock_a, mut phone) = (lock(), phone());
    let (_, transcript) = challenge_response(&mut lock_a, &mut phone);
    let replay = |lock: &mut Chip| {
        send(lock, &select(&Aid::CHALLENGE_RESPONSE_LOCK));
        let fci = &transcript.exchanges[0].1;
        match begin(lock, 0, CLOCK, &fci[..fci.len() - 2]) {
            tapdoor_protocol::door::LockStep::Done(outcome) => outcome,
            tapdoor_protocol::door::LockStep::Transmit { .. } => match next(lock, &transcript.exchanges[1].1) {
                tapdoor_protocol::door::LockStep::Done(outcome) => outcome,
                other => panic!("{other:?}"),
            },
        }
    };
    assert_eq!(replay(&mut lock_a).verdict, refused(Reason::Replay));
    // A lock that forgot (switched off and on) refuses by the proof.
    assert_eq!(replay(&mut lock()).verdict, refused(Reason::WrongKey));
}

#[test]
fn plain_control_flow_never_says_opened() {
    let mut phone = phone();
    send(&mut phone, &select(&Aid::CHALLENGE_RESPONSE));
    assert_eq!(send(&mut phone, &[0x80, 0x3C, 0, 0, 1, 0]), [0x6A, 0x80]);
    assert_eq!(send(&mut phone, &[0x80, 0x3C, 0, 0, 1, 4]), [0x90, 0x00]);
    assert_eq!(send(&mut phone, &[0x80, 0x3C, 0, 0, 1, 99]), [0x6A, 0x80]);
    assert_eq!(send(&mut phone, &[0x80, 0x3C, 0, 0, 2, 4, 4]), [0x67, 0x00]);
    assert_eq!(send(&mut phone, &[0x80, 0x3C, 2, 0, 1, 4]), [0x6A, 0x86]);
    assert_eq!(
        send(&mut phone, &[[0x80, 0x3C, 1, 0, 8].as_slice(), &[0; 8]].concat()),
        [0x69, 0x85]
    );
}
