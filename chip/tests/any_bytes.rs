//! Any bytes, and commands that are almost right: there is always an answer, never a proof, and the next tap opens.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/whole.rs"]
mod whole;

use common::*;
use proptest::prelude::*;
use tapdoor_chip::Chip;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{Event, LockStep, Verdict};
use whole::*;

/// Commands that are almost right, and some that are anything.
fn command() -> impl Strategy<Value = Vec<u8>> {
    let aid = prop::sample::select(vec![
        Aid::CHALLENGE_RESPONSE,
        Aid::AKA,
        Aid::IDENTITY,
        Aid::USIM,
        Aid::CHALLENGE_RESPONSE_LOCK,
        Aid::AKA_LOCK,
        Aid::USIM_HOST,
        Aid::REQUEST_LOCK,
        Aid::CARD_MANAGER,
    ]);
    let selects = (aid, prop::sample::select(vec![0u8, 0, 0, 2, 4, 0x0C, 0x0E]), 0usize..=16)
        .prop_map(|(aid, p2, cut)| select_p2(&aid.as_bytes()[..aid.as_bytes().len().min(cut + 5)], p2));
    let ins = prop::sample::select(vec![
        0x88u8, 0x88, 0x3C, 0xCA, 0xF2, 0x10, 0x10, 0x12, 0x12, 0x14, 0xC0, 0xA4, 0xB0, 0xB2, 0x20, 0x70,
    ]);
    let cla = prop::sample::select(vec![0x80u8, 0x80, 0x80, 0x80, 0x00, 0x00, 0x90, 0x10]);
    let p = prop::sample::select(vec![0u8, 0, 0, 0, 1, 2, 4, 0x40, 0x80, 0x81, 0x45, 0x66]);
    let length = prop::sample::select(vec![0usize, 0, 1, 2, 8, 9, 17, 20, 24, 34, 40, 44, 44, 60, 255, 300]);
    let shaped = (cla, ins, p.clone(), p, length, any::<[u8; 20]>(), 0u32..300, any::<bool>()).prop_map(
        |(cla, ins, p1, p2, length, seed, ne, extended)| {
            let mut data: Vec<u8> = (0..length).map(|i| seed[i % 20].wrapping_add((i / 20) as u8)).collect();
            // BEGIN with a clock and something like an FCI; a USIM's AUTHENTICATE with its length bytes.
            if ins == 0x10 && length > 6 {
                data[..6].copy_from_slice(&[0x90, 4, 0x6A, 0, 0, 0]);
            }
            if ins == 0x88 && length == 34 {
                (data[0], data[17]) = (16, 16);
            }
            let command = Command::new(cla, ins, p1, p2).data(&data).ne(ne.min(256));
            if extended { command.force_extended() } else { command }.encode().unwrap()
        },
    );
    prop_oneof![3 => selects, 6 => shaped, 1 => prop::collection::vec(any::<u8>(), 0..70)]
}

fn sound(response: &[u8]) -> bool {
    (2..=65_538).contains(&response.len())
}

/// No proof left the phone.
fn silent(phone: &mut Chip, command: &[u8], response: &[u8]) -> bool {
    let is_proof = command.get(1) == Some(&0x88) && response.ends_with(&OK) && (response[0] == 0xDB || response.len() == 22);
    !is_proof
        && !phone
            .drain_events()
            .any(|e| matches!(e.event, Event::Authenticated { .. } | Event::Verdict(Verdict::Open)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_get_an_answer_and_no_proof(rubbish in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..30)) {
        let mut chip = Chip::personalise(memory(), &everything()).unwrap();
        for bytes in &rubbish {
            let response = send(&mut chip, bytes);
            prop_assert!(sound(&response));
            prop_assert!(silent(&mut chip, bytes, &response));
        }
    }

    #[test]
    fn almost_right_commands_bring_no_proof_and_the_next_tap_opens(commands in prop::collection::vec(command(), 1..60)) {
        let mut phone = Chip::personalise(memory(), &everything()).unwrap();
        let mut lock = Chip::personalise(memory(), &everything()).unwrap();
        for command in &commands {
            let response = send(&mut phone, command);
            prop_assert!(sound(&response));
            prop_assert!(silent(&mut phone, command, &response), "{:02x?} -> {:02x?}", command, response);
            prop_assert!(sound(&send(&mut lock, command)));
            prop_assert!(phone.take_failure().is_none() && lock.take_failure().is_none());
        }
        phone.power_on();
        lock.power_on();
        prop_assert_eq!(challenge_response(&mut lock, &mut phone).0.verdict, Verdict::Open);
        for p2 in [0, 1] {
            let (outcome, transcript) = aka(&mut lock, &mut phone, p2, CLOCK);
            prop_assert_eq!((outcome.verdict, transcript.exchanges.len()), (Verdict::Open, 2));
        }
    }

    #[test]
    fn a_bit_of_authenticate_makes_all_the_difference(method in 0u8..3, bit in 0usize..320) {
        let (mut lock, mut phone) = (lock(), phone());
        let mut command = match method {
            0 => honest_cr(&mut lock, &mut phone),
            n => honest_aka(&mut lock, &mut phone, n - 1),
        };
        command[5 + bit / 8] ^= 1 << (bit % 8);
        let response = send(&mut phone, &command);
        prop_assert!(silent(&mut phone, &command, &response), "{:02x?}", response);
    }

    #[test]
    fn rubbish_as_the_phones_answers_never_opens(
        method in 0u8..4,
        answers in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<bool>(), prop::sample::select(vec![0xDBu8, 0xDC, 0])), 1..8),
    ) {
        let (mut lock, mut phone) = (Chip::personalise(memory(), &everything()).unwrap(), phone());
        match method {
            0 => drop(honest_cr(&mut lock, &mut phone)),
            3 => {
                send(&mut lock, &select(&Aid::USIM_HOST));
                begin(&mut lock, 0, CLOCK, &[]);
            }
            n => drop(honest_aka(&mut lock, &mut phone, n - 1)),
        }
        for (mut answer, ok, first) in answers {
            // Of the right shape, now and then.
            if first != 0 && answer.len() >= 2 {
                answer.resize(if first == 0xDB { 10 } else { 32 }, 1);
                (answer[0], answer[1]) = (first, if first == 0xDB { 8 } else { 30 });
            } else if method == 0 && first == 0 {
                answer.resize(20, 2);
            }
            if ok {
                answer.extend(OK);
            }
            let response = send_whole(&mut lock, &Command::new(0x80, 0x12, 0, 0).data(&answer).ne(256).encode().unwrap());
            if sw(&response) == 0x9000
                && let Some(LockStep::Done(outcome)) = LockStep::parse(&response[..response.len() - 2])
            {
                prop_assert_ne!(outcome.verdict, Verdict::Open);
            }
        }
    }
}
