//! The chip as ISO/IEC 7816-4 and GlobalPlatform see it: selection, status words, chaining, GET RESPONSE, the card manager.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "common/whole.rs"]
mod whole;

use common::*;
use tapdoor_chip::kind::{LifeCycle, privilege};
use tapdoor_chip::personalise::Secret;
use tapdoor_chip::{Application, Chip, Personalisation};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{BeginData, LockStep, Outcome, Reason, Verdict};
use whole::*;

#[test]
fn applications_are_found_by_their_whole_aid_and_by_its_beginning() {
    let mut phone = phone();
    for aid in [Aid::IDENTITY, Aid::AKA, Aid::CHALLENGE_RESPONSE] {
        assert_eq!(selected(&send(&mut phone, &select(&aid))), aid.as_bytes());
    }
    for length in 5..=8 {
        assert_eq!(
            selected(&send(&mut phone, &select_p2(&OURS[..length], 0))),
            Aid::CHALLENGE_RESPONSE.as_bytes(),
            "the first one"
        );
    }
    // T is computed with the whole AID, so a lock that asked for it recognises the phone.
    let fci = send(&mut phone, &select_p2(OURS, 0));
    let mut lock = lock();
    send(&mut lock, &select(&Aid::CHALLENGE_RESPONSE_LOCK));
    assert!(matches!(
        begin(&mut lock, 0, CLOCK, &fci[..fci.len() - 2]),
        LockStep::Transmit { phone: Some(PHONE), .. }
    ));

    // One after the other, until there are no more; then the last one stays.
    assert_eq!(selected(&send(&mut phone, &select_p2(OURS, 0))), Aid::CHALLENGE_RESPONSE.as_bytes());
    assert_eq!(selected(&send(&mut phone, &select_p2(OURS, 2))), Aid::AKA.as_bytes());
    assert_eq!(send(&mut phone, &select_p2(&OURS[..5], 0x0E)), OK);
    assert_eq!(send(&mut phone, &select_p2(OURS, 2)), [0x6A, 0x82]);
    assert_eq!(
        send(&mut phone, &[0x80, 0xCA, 0, 0, 1, 0]),
        [0x67, 0x00],
        "identity is still selected"
    );
    // A whole AID has no next one; an exact match wins over the order.
    send(&mut phone, &select(&Aid::AKA));
    assert_eq!(send(&mut phone, &select_p2(Aid::AKA.as_bytes(), 2)), [0x6A, 0x82]);
    assert_eq!(selected(&send(&mut phone, &select_p2(OURS, 0))), Aid::CHALLENGE_RESPONSE.as_bytes());
}

#[test]
fn an_exact_aid_wins_over_a_longer_one_installed_before_it() {
    let long = Aid::new(&[OURS, &[1, 1]].concat()).unwrap();
    let mut personalisation = phone_personalisation(PHONE);
    let mut longer = personalisation.applications[0].clone();
    longer.aid = long;
    personalisation.applications.insert(0, longer);
    let mut chip = Chip::personalise(memory(), &personalisation).unwrap();
    assert_eq!(
        selected(&send(&mut chip, &select(&Aid::CHALLENGE_RESPONSE))),
        Aid::CHALLENGE_RESPONSE.as_bytes()
    );
    assert_eq!(selected(&send(&mut chip, &select_p2(OURS, 0))), long.as_bytes());
}

#[test]
fn p2_says_what_is_answered() {
    let mut phone = phone();
    assert_eq!(send(&mut phone, &select_p2(Aid::AKA.as_bytes(), 0x0C)), OK);
    assert!(is_phone_half_selected(&mut phone));
    for p2 in [0x01, 0x03, 0x04, 0x08, 0x10, 0x80, 0xFF] {
        assert_eq!(send(&mut phone, &select_p2(Aid::AKA.as_bytes(), p2)), [0x6A, 0x86], "{p2:02x}");
    }
    for p1 in [0x00, 0x01, 0x08, 0x09, 0x0F] {
        assert_eq!(
            send(&mut phone, &[0, 0xA4, p1, 0, 2, 0x3F, 0x00]),
            [0x6A, 0x86],
            "no file system here ({p1:02x})"
        );
    }
}

#[test]
fn a_select_that_finds_nothing_changes_nothing() {
    let (mut lock, mut phone) = (lock(), phone());
    let authenticate = honest_cr(&mut lock, &mut phone);
    let strange = [0xF0, 1, 2, 3, 4, 5];
    assert_eq!(send(&mut phone, &select_p2(&strange, 0)), [0x6A, 0x82]);
    for length in 1..5 {
        assert_eq!(
            send(&mut phone, &select_p2(&OURS[..length], 0)),
            [0x6A, 0x82],
            "{length} bytes are no AID"
        );
    }
    assert_eq!(send(&mut phone, &select_p2(&[0xF0; 17], 0)), [0x67, 0x00]);
    assert_eq!(
        send(&mut phone, &select_p2(&[Aid::AKA.as_bytes(), &[0]].concat(), 0)),
        [0x6A, 0x82],
        "longer than the application's"
    );
    assert_eq!(sw(&send(&mut phone, &authenticate)), 0x9000, "the challenge is still good");
}

#[test]
fn the_card_manager_is_there_by_default_and_by_name() {
    let mut phone = phone();
    let manager = Aid::CARD_MANAGER.as_bytes();
    let number = send(&mut phone, &[0x80, 0xCA, 0x00, 0x45, 0]);
    assert_eq!(
        (number.len(), &number[..2], sw(&number)),
        (12, &[0x45, 8][..], 0x9000),
        "after power on"
    );
    for data in [&[][..], manager, &manager[..5]] {
        send(&mut phone, &select(&Aid::AKA));
        let fci = send(&mut phone, &select_p2(data, 0));
        assert_eq!(selected(&fci), manager);
        assert_eq!(send(&mut phone, &[0x80, 0xCA, 0x00, 0x45, 0]), number);
    }
    send(&mut phone, &select(&Aid::AKA));
    assert_eq!(send(&mut phone, &select_p2(&[], 0x0C)), OK);
    assert!(!is_phone_half_selected(&mut phone));
    assert_eq!(send(&mut phone, &select_p2(&[], 0x04)), [0x6A, 0x86]);
}

#[test]
fn deselection_and_loss_of_power_forget_the_session() {
    type Way = (&'static str, fn(&mut Chip));
    let ways: [Way; 6] = [
        ("another application", |chip| {
            assert_eq!(sw(&send(chip, &select(&Aid::IDENTITY))), 0x9000)
        }),
        ("the card manager", |chip| assert_eq!(sw(&send(chip, &select_p2(&[], 0))), 0x9000)),
        ("itself", |chip| {
            assert_eq!(sw(&send(chip, &select(&Aid::CHALLENGE_RESPONSE))), 0x9000)
        }),
        ("next", |chip| assert_eq!(sw(&send(chip, &select_p2(OURS, 2))), 0x9000)),
        ("power on", Chip::power_on),
        ("power off", Chip::power_off),
    ];
    for (name, away) in ways {
        let (mut lock, mut phone) = (lock(), phone());
        let (outcome, _) = challenge_response(&mut lock, &mut phone);
        let flow = outcome.control_flow.unwrap();
        away(&mut phone);
        send(&mut phone, &select_p2(Aid::CHALLENGE_RESPONSE.as_bytes(), 0x0C));
        assert_eq!(send(&mut phone, &flow), [0x69, 0x85], "K3 survived {name}");

        let (outcome, _) = aka(&mut lock, &mut phone, 0, CLOCK);
        let flow = outcome.control_flow.unwrap();
        away(&mut phone);
        send(&mut phone, &select_p2(Aid::AKA.as_bytes(), 0x0C));
        assert_eq!(send(&mut phone, &flow), [0x69, 0x85], "K3 of AKA survived {name}");

        // An unspent challenge is gone as well.
        let authenticate = honest_cr(&mut lock, &mut phone);
        away(&mut phone);
        if name != "itself" {
            assert_ne!(sw(&send(&mut phone, &authenticate)), 0x9000, "{name}");
        }
        send(&mut phone, &select_p2(Aid::CHALLENGE_RESPONSE.as_bytes(), 0x0C));
        assert_eq!(send(&mut phone, &authenticate), [0x69, 0x82], "RP survived {name}");
    }
    // And what went on at the lock.
    let (mut lock, mut phone) = (lock(), phone());
    let authenticate = honest_cr(&mut lock, &mut phone);
    let answer = send(&mut phone, &authenticate);
    send(&mut lock, &select(&Aid::AKA_LOCK));
    send(&mut lock, &select(&Aid::CHALLENGE_RESPONSE_LOCK));
    let next = Command::new(0x80, 0x12, 0, 0).data(&answer).ne(256).encode().unwrap();
    assert_eq!(send(&mut lock, &next), [0x69, 0x85]);
}

#[test]
fn a_chip_that_is_never_switched_off_does_not_run_out_of_keys() {
    let (mut lock, mut phone) = (lock(), phone());
    let flow = |phone: &mut Chip, answer: LockStep| match answer {
        LockStep::Done(Outcome {
            verdict: Verdict::Open,
            control_flow: Some(flow),
            ..
        }) => assert_eq!(send(phone, &flow), OK),
        other => panic!("{other:?}"),
    };
    for round in 0..40u8 {
        // A tap to its end, one that ends before CONTROL FLOW, one that is left in the middle at both sides; none with a reset.
        for end in 0..3 {
            for p2 in [None, Some(0), Some(1)] {
                let mut command = match p2 {
                    None => honest_cr(&mut lock, &mut phone),
                    Some(p2) => honest_aka(&mut lock, &mut phone, p2),
                };
                if round % 2 == 1 && end == 2 {
                    command[20] ^= 1;
                }
                let answer = send(&mut phone, &command);
                match end {
                    0 => {
                        let step = next(&mut lock, &answer);
                        flow(&mut phone, step);
                    }
                    1 => drop(next(&mut lock, &answer)),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn classes_that_are_not_served() {
    let mut phone = phone();
    for cla in 0..=0xFFu8 {
        let expected = match cla {
            0x00 => 0x9000,
            // A chain begins.
            0x10 => 0x9000,
            0xFF => 0x6E00,
            // The application's own class: it knows no such instruction there.
            0x80 => 0x6D00,
            _ => {
                let command = Command::new(cla, 0, 0, 0);
                if command.channel() != 0 {
                    0x6881
                } else if command.secure_messaging() {
                    0x6882
                } else if command.is_chained() {
                    0x9000
                } else {
                    0x6E00
                }
            }
        };
        phone.power_on();
        send(&mut phone, &select(&Aid::CHALLENGE_RESPONSE));
        let mut bytes = select_p2(Aid::AKA.as_bytes(), 0x0C);
        bytes[0] = cla;
        assert_eq!(sw(&send(&mut phone, &bytes)), expected, "{cla:02x}");
    }
    // By hand, so that the above is not only Command's opinion: channels 1 and 4, secure messaging, further interindustry, proprietary.
    for (cla, expected) in [
        (0x01, 0x6881),
        (0x03, 0x6881),
        (0x40, 0x6881),
        (0x81, 0x6881),
        (0xC0, 0x6881),
        (0x04, 0x6882),
        (0x0C, 0x6882),
        (0x84, 0x6882),
        (0x20, 0x6E00),
        (0xA0, 0x6E00),
    ] {
        phone.power_on();
        send(&mut phone, &select(&Aid::CHALLENGE_RESPONSE));
        assert_eq!(sw(&send(&mut phone, &[cla, 0x88, 0, 0])), expected, "{cla:02x}");
    }
    assert_eq!(send(&mut phone, &[0x00, 0x70, 0x00, 0x00, 0x01]), [0x68, 0x81], "MANAGE CHANNEL");
}

#[test]
fn checks_come_in_the_documented_order() {
    let authenticate = |cla, ins, p1, p2, length| Command::new(cla, ins, p1, p2).data(&[0; 60][..length]).ne(256).encode().unwrap();
    let mut phone = phone();
    let mut row = |aid: &Aid, spent: bool, command: Vec<u8>, expected: u16| {
        send(&mut phone, &select(aid));
        let length = if *aid == Aid::AKA { 40 } else { 44 };
        if spent {
            // AKA takes two.
            send(&mut phone, &authenticate(0x80, 0x88, 0, 0, length));
            send(&mut phone, &authenticate(0x80, 0x88, 0, 0, length));
        }
        assert_eq!(sw(&send(&mut phone, &command)), expected, "{aid} {spent} {command:02x?}");
    };
    for (aid, length) in [(Aid::CHALLENGE_RESPONSE, 44), (Aid::AKA, 40)] {
        for spent in [true, false] {
            // Each row is wrong in all that comes after, too.
            row(&aid, spent, authenticate(0x00, 0x01, 1, 9, 3), 0x6E00);
            row(&aid, spent, authenticate(0x80, 0x01, 1, 9, 3), 0x6D00);
            row(&aid, spent, authenticate(0x80, 0x88, 1, 0, 3), 0x6A86);
            row(&aid, spent, authenticate(0x80, 0x88, 0, 2, 3), 0x6A86);
            for wrong in [0, 1, 3, length - 1, length + 1, 60] {
                row(&aid, spent, authenticate(0x80, 0x88, 0, 0, wrong), 0x6700);
            }
            row(&aid, spent, authenticate(0x80, 0x3C, 2, 0, 3), 0x6A86);
            row(&aid, spent, authenticate(0x80, 0x3C, 0, 1, 1), 0x6A86);
            row(&aid, spent, authenticate(0x80, 0x3C, 0, 0, 2), 0x6700);
            row(&aid, spent, authenticate(0x80, 0x3C, 1, 0, 7), 0x6700);
            row(&aid, spent, authenticate(0x80, 0x3C, 1, 0, 17), 0x6700);
            row(&aid, spent, authenticate(0x80, 0x3C, 1, 0, 8), 0x6985);
        }
        row(&aid, true, authenticate(0x80, 0x88, 0, 0, length), 0x6985);
    }
    row(&Aid::CHALLENGE_RESPONSE, false, authenticate(0x80, 0x88, 0, 1, 44), 0x6A86);
    row(&Aid::CHALLENGE_RESPONSE, false, authenticate(0x80, 0x88, 0, 0, 44), 0x6982);
    row(&Aid::AKA, false, authenticate(0x80, 0x88, 0, 1, 40), 0x9000);
    row(&Aid::IDENTITY, false, authenticate(0x00, 0xCA, 0, 0, 24), 0x6E00);
    row(&Aid::IDENTITY, false, authenticate(0x80, 0x88, 0, 0, 24), 0x6D00);
    row(&Aid::IDENTITY, false, authenticate(0x80, 0xCA, 0, 1, 24), 0x6A86);
    row(&Aid::IDENTITY, false, authenticate(0x80, 0xCA, 0, 0, 23), 0x6700);
    row(&Aid::IDENTITY, false, authenticate(0x80, 0xCA, 0, 0, 24), 0x6985);

    // What is refused before the state is looked at spends nothing.
    let (mut lock, mut phone) = (lock(), self::phone());
    let right = honest_cr(&mut lock, &mut phone);
    for wrong in [
        authenticate(0x00, 0x88, 0, 0, 44),
        authenticate(0x80, 0x88, 0, 1, 44),
        authenticate(0x80, 0x88, 0, 0, 43),
    ] {
        assert_ne!(sw(&send(&mut phone, &wrong)), 0x9000);
    }
    assert_eq!(send(&mut phone, &[0x80, 0x88, 0, 0, 44, 1]), [0x67, 0x00]);
    assert_eq!(send(&mut phone, &right).len(), 22);
}

#[test]
fn the_locks_half_checks_too() {
    let mut lock = lock();
    for aid in [Aid::CHALLENGE_RESPONSE_LOCK, Aid::AKA_LOCK, Aid::USIM_HOST] {
        assert_eq!(selected(&send(&mut lock, &select(&aid))), aid.as_bytes());
        let begin = BeginData {
            clock: CLOCK,
            fci: &[0x6F, 0],
        }
        .encode();
        for (command, expected) in [
            (Command::new(0x00, 0x10, 0, 0).data(&begin), 0x6E00),
            (Command::new(0x80, 0x11, 0, 0).data(&begin), 0x6D00),
            (Command::new(0x80, 0x14, 0, 0).data(&begin), 0x6D00),
            (Command::new(0x80, 0x10, 1, 0).data(&begin), 0x6A86),
            (Command::new(0x80, 0x10, 0, 2).data(&begin), 0x6A86),
            (Command::new(0x80, 0x12, 0, 1).data(&[0x90, 0]), 0x6A86),
            (Command::new(0x80, 0x12, 0, 0).data(&[0x90, 0]), 0x6985),
            (Command::new(0x80, 0x10, 0, 0).data(&[0x91, 4, 0, 0, 0, 0]), 0x6A80),
            (Command::new(0x80, 0x10, 0, 0).data(&[0x90, 3, 0, 0, 0]), 0x6A80),
            (Command::new(0x80, 0x10, 0, 0), 0x6A80),
        ] {
            assert_eq!(
                sw(&send(&mut lock, &command.ne(256).encode().unwrap())),
                expected,
                "{aid} {command:02x?}"
            );
        }
    }
}

#[test]
fn what_is_no_apdu_is_of_wrong_length() {
    let mut phone = phone();
    send(&mut phone, &select(&Aid::CHALLENGE_RESPONSE));
    for bytes in [
        &[][..],
        &[0x00],
        &[0x80, 0x88, 0],
        &[0x80, 0x3C, 0, 0, 2, 4],
        &[0x80, 0x3C, 0, 0, 1, 4, 0, 0],
        &[0x80, 0x3C, 0, 0, 0, 1],
        &[0x80, 0x3C, 0, 0, 0, 0, 2, 4],
        &[0x80, 0x3C, 0, 0, 0, 0, 1, 4, 0],
        &[0x80, 0x3C, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(send(&mut phone, bytes), [0x67, 0x00], "{bytes:02x?}");
    }
    assert_eq!(send(&mut phone, &[0xFF, 0, 0, 0]), [0x6E, 0x00]);
    // The same in all lengths that there are: short and extended, with and without Le.
    for bytes in [
        &[0x80, 0x3C, 0, 0, 1, 4][..],
        &[0x80, 0x3C, 0, 0, 1, 4, 0],
        &[0x80, 0x3C, 0, 0, 0, 0, 1, 4],
        &[0x80, 0x3C, 0, 0, 0, 0, 1, 4, 0, 0],
    ] {
        assert_eq!(send(&mut phone, bytes), OK, "{bytes:02x?}");
    }
}

/// A command as a chain of parts of these lengths, the rest in the last.
fn chain(command: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let whole = Command::parse(command).unwrap();
    let mut data = whole.data;
    let mut parts = Vec::new();
    for length in lengths {
        let (part, rest) = data.split_at(*length);
        parts.push(
            Command::new(whole.cla | 0x10, whole.ins, whole.p1, whole.p2)
                .data(part)
                .encode()
                .unwrap(),
        );
        data = rest;
    }
    parts.push(whole.data(data).encode().unwrap());
    parts
}

#[test]
fn commands_may_come_in_pieces() {
    for lengths in [&[1][..], &[43], &[44], &[0, 20], &[1, 1, 1, 1, 1], &[16, 8]] {
        let (mut lock, mut phone) = (lock(), phone());
        let authenticate = honest_cr(&mut lock, &mut phone);
        let parts = chain(&authenticate, lengths);
        let (last, first) = parts.split_last().unwrap();
        for part in first {
            assert_eq!(send(&mut phone, part), OK);
        }
        let answer = send(&mut phone, last);
        assert_eq!(answer.len(), 22, "{lengths:?}");
        let LockStep::Done(outcome) = next(&mut lock, &answer) else {
            panic!()
        };
        assert_eq!(outcome.verdict, Verdict::Open);
    }
    // SELECT too.
    let mut phone = phone();
    let parts = chain(&select(&Aid::AKA), &[4]);
    assert_eq!(send(&mut phone, &parts[0]), OK);
    assert_eq!(selected(&send(&mut phone, &parts[1])), Aid::AKA.as_bytes());
}

#[test]
fn a_broken_chain_is_dropped_and_nothing_is_spent() {
    let (mut lock, mut phone) = (lock(), phone());
    let authenticate = honest_cr(&mut lock, &mut phone);
    let parts = chain(&authenticate, &[20]);
    let mut other_class = parts[1].clone();
    other_class[0] = 0x00;
    let breakers: [&[u8]; 6] = [
        &select(&Aid::AKA),
        &[0x80, 0x3C, 0, 0, 1, 4],
        &[0x80, 0x88, 0, 1],
        &[0x00, 0xC0, 0, 0, 0],
        &other_class,
        &[0x90, 0x3C, 0, 0, 1, 4],
    ];
    for breaker in breakers {
        assert_eq!(send(&mut phone, &parts[0]), OK);
        assert_eq!(send(&mut phone, breaker), [0x68, 0x83], "{breaker:02x?}");
        // Clean: the second half alone is a command of wrong length.
        assert_eq!(send(&mut phone, &parts[1]), [0x67, 0x00], "{breaker:02x?}");
    }
    // Too long: refused when it gets so, and clean again.
    let part = [&[0x90, 0x88, 0, 0, 0xFF][..], &[7; 255]].concat();
    let refused = (0..200).position(|_| send(&mut phone, &part) == [0x67, 0x00]);
    assert!(refused.is_some_and(|n| n > 100), "{refused:?}");
    // A chain that loses its power.
    assert_eq!(send(&mut phone, &authenticate).len(), 22, "the challenge outlived all of that");
    send(&mut phone, &parts[0]);
    phone.power_on();
    assert_eq!(sw(&send(&mut phone, &select(&Aid::AKA))), 0x9000);
}

/// A chip with many applications, that has much to say.
fn crowd(applications: u8) -> Chip {
    let key = || Secret::new([7; 16]);
    let aid = |n| Aid::new(&[OURS, &[n]].concat()).unwrap();
    let mut personalisation = Personalisation {
        applications: (1..=applications)
            .map(|n| Application::challenge_response(aid(n), PHONE, 0, key(), key()))
            .collect(),
        ..Default::default()
    };
    personalisation.applications[1].life_cycle = LifeCycle::SELECTABLE;
    Chip::personalise(memory(), &personalisation).unwrap()
}

const GET_DIRECTORY: [u8; 5] = [0x80, 0xCA, 0x2F, 0x00, 0];

/// 61{4F{AID}} of each.
fn directory(applications: u8) -> Vec<u8> {
    (1..=applications)
        .flat_map(|n| [&[0x61, 11, 0x4F, 9][..], OURS, &[n]].concat())
        .collect()
}

#[test]
fn long_answers_come_in_parts() {
    let whole = directory(50);
    assert_eq!(whole.len(), 650);
    let mut chip = crowd(50);
    // Never more than 255 at once, and how much is left.
    let first = send(&mut chip, &GET_DIRECTORY);
    assert_eq!((&first[..255], sw(&first)), (&whole[..255], 0x61FF));
    let second = send(&mut chip, &[0x00, 0xC0, 0, 0, 0]);
    assert_eq!((&second[..255], sw(&second)), (&whole[255..510], 0x6100 | 140));
    let third = send(&mut chip, &[0x00, 0xC0, 0, 0, 140]);
    assert_eq!((&third[..140], sw(&third)), (&whole[510..], 0x9000));
    assert_eq!(send(&mut chip, &[0x00, 0xC0, 0, 0, 0]), [0x69, 0x85], "all is said");

    // Any Le.
    for le in [1, 2, 7, 100, 254, 255] {
        let mut got = Vec::new();
        let mut command = [&GET_DIRECTORY[..4], &[le]].concat();
        loop {
            let part = send(&mut chip, &command);
            let (data, _) = part.split_at(part.len() - 2);
            assert!(data.len() <= usize::from(le));
            got.extend_from_slice(data);
            let left = whole.len() - got.len();
            assert_eq!(
                sw(&part),
                if left == 0 {
                    0x9000
                } else {
                    0x6100 | u16::try_from(left.min(255)).unwrap()
                }
            );
            if left == 0 {
                break;
            }
            command = vec![0x00, 0xC0, 0, 0, le];
        }
        assert!(got == whole, "Le {le}");
    }
    // Extended: whole with Le 0000, as asked otherwise.
    let mut extended = GET_DIRECTORY[..4].to_vec();
    extended.extend([0, 0, 0]);
    assert_eq!(send(&mut chip, &extended), [&whole[..], &OK].concat());
    extended[5..].copy_from_slice(&600u16.to_be_bytes());
    let most = send(&mut chip, &extended);
    assert_eq!((&most[..600], sw(&most)), (&whole[..600], 0x6132));
    assert_eq!(send(&mut chip, &[0x00, 0xC0, 0, 0, 0]), [&whole[600..], &OK].concat());
}

#[test]
fn get_response_has_its_conditions() {
    let mut chip = crowd(50);
    assert_eq!(send(&mut chip, &[0x00, 0xC0, 0, 0, 0]), [0x69, 0x85], "nothing was asked");
    send(&mut chip, &GET_DIRECTORY);
    assert_eq!(send(&mut chip, &[0x00, 0xC0, 1, 0, 0]), [0x6A, 0x86]);
    assert_eq!(send(&mut chip, &[0x00, 0xC0, 0, 0, 1, 0]), [0x67, 0x00]);
    let rest = send(&mut chip, &[0x00, 0xC0, 0, 0, 10]);
    assert_eq!(rest[..10], directory(50)[255..265], "a mistake does not lose the rest");
    // Another command does, and so does a reset.
    assert_eq!(sw(&send(&mut chip, &[0x80, 0xCA, 0x00, 0x45, 0])), 0x9000);
    assert_eq!(send(&mut chip, &[0x00, 0xC0, 0, 0, 0]), [0x69, 0x85]);
    send(&mut chip, &GET_DIRECTORY);
    chip.power_on();
    assert_eq!(send(&mut chip, &[0x00, 0xC0, 0, 0, 0]), [0x69, 0x85]);
}

#[test]
fn get_data_knows_these_objects() {
    let mut chip = crowd(3);
    for cla in [0x00, 0x80] {
        assert_eq!(send(&mut chip, &[cla, 0xCA, 0x00, 0x42, 0]), [0x42, 0x00, 0x90, 0x00]);
        let number = send(&mut chip, &[cla, 0xCA, 0x00, 0x45, 0]);
        assert_eq!((&number[..2], number.len()), (&[0x45, 8][..], 12));
        // Card recognition data: GlobalPlatform 2.3.1, as in H.2 of the specification.
        let recognition = hex::encode(send(&mut chip, &[cla, 0xCA, 0x00, 0x66, 0]));
        assert!(
            recognition.starts_with("66") && recognition.contains("06072a864886fc6b01600c060a2a864886fc6b02020301"),
            "{recognition}"
        );
        assert_eq!(send(&mut chip, &[cla, 0xCA, 0x2F, 0x00, 0]), [&directory(3)[..], &OK].concat());
        for tag in [0x0000u16, 0x0041, 0x0043, 0x9F7F, 0x2F01, 0xFFFF] {
            let [p1, p2] = tag.to_be_bytes();
            assert_eq!(send(&mut chip, &[cla, 0xCA, p1, p2, 0]), [0x6A, 0x88], "{tag:04x}");
        }
    }
    assert_eq!(send(&mut chip, &[0x80, 0x01, 0, 0]), [0x6D, 0x00]);
    assert_eq!(send(&mut chip, &[0x20, 0xCA, 0, 0x42, 0]), [0x6E, 0x00]);
}

fn get_status(p1: u8, p2: u8, criterion: &[u8]) -> Vec<u8> {
    let data = [&[0x4F, u8::try_from(criterion.len()).unwrap()][..], criterion].concat();
    Command::new(0x80, 0xF2, p1, p2).data(&data).ne(256).encode().unwrap()
}

#[test]
fn get_status_lists_everything_in_both_formats() {
    let mut chip = crowd(45);
    let state = |n: u8| if n == 2 { 0x07 } else { LifeCycle::PERSONALISED.0 };
    let short = |n: u8| [&[9][..], OURS, &[n, state(n), 0]].concat();
    let long = |n: u8| [&[0xE3, 18, 0x4F, 9][..], OURS, &[n, 0x9F, 0x70, 1, state(n), 0xC5, 1, 0]].concat();
    for (p2, expected) in [
        (0, (1..=45).flat_map(short).collect::<Vec<u8>>()),
        (2, (1..=45).flat_map(long).collect()),
    ] {
        let mut got = Vec::new();
        let mut parts = 0;
        let mut command = get_status(0x40, p2, &[]);
        loop {
            let answer = send(&mut chip, &command);
            got.extend_from_slice(&answer[..answer.len() - 2]);
            parts += 1;
            match sw(&answer) {
                0x6310 => command = get_status(0x40, p2 | 1, &[]),
                0x9000 => break,
                other => panic!("{other:04x}"),
            }
        }
        assert!(got == expected && parts > 2, "{p2}: {parts} parts");
        assert_eq!(
            send(&mut chip, &get_status(0x40, p2 | 1, &[])),
            [0x69, 0x85],
            "there is no next one"
        );
    }
    // The manager itself.
    let manager = Aid::CARD_MANAGER.as_bytes();
    assert_eq!(
        send(&mut chip, &get_status(0x80, 0, &[])),
        [&[8][..], manager, &[1, privilege::SECURITY_DOMAIN], &OK].concat()
    );
    let one = send(&mut chip, &get_status(0x40, 0, &[OURS, &[7]].concat()));
    assert_eq!(one, [&short(7)[..], &OK].concat());
    for (p1, criterion) in [(0x40, &[1, 2, 3][..]), (0x80, OURS), (0x20, &[]), (0x10, &[])] {
        assert_eq!(send(&mut chip, &get_status(p1, 0, criterion)), [0x6A, 0x88], "{p1:02x}");
    }
    assert_eq!(send(&mut chip, &get_status(0x11, 0, &[])), [0x6A, 0x86]);
    assert_eq!(send(&mut chip, &get_status(0x40, 4, &[])), [0x6A, 0x86]);
    assert_eq!(send(&mut chip, &[0x80, 0xF2, 0x40, 0, 2, 0x5D, 0, 0]), [0x6A, 0x80]);
    assert_eq!(send(&mut chip, &[0x80, 0xF2, 0x40, 0, 2, 0x4F, 9, 0]), [0x6A, 0x80]);
    // Some hosts send no criterion at all, which is one that fits everything.
    assert_eq!(
        send(&mut chip, &[0x80, 0xF2, 0x40, 0, 0]),
        send(&mut chip, &get_status(0x40, 0, &[]))
    );
    assert_eq!(
        sw(&send(&mut chip, &[0x00, 0xF2, 0x40, 0, 2, 0x4F, 0, 0])),
        0x6D00,
        "GET STATUS is GlobalPlatform's"
    );
}

#[test]
fn get_status_next_does_not_outlive_the_session() {
    let mut chip = crowd(45);
    let aways: [fn(&mut Chip); 3] = [
        Chip::power_on,
        |chip| drop(send(chip, &select_p2(&[], 0))),
        |chip| drop(send(chip, &get_status(0x80, 0, &[]))),
    ];
    for (index, away) in aways.into_iter().enumerate() {
        assert_eq!(sw(&send(&mut chip, &get_status(0x40, 0, &[]))), 0x6310);
        away(&mut chip);
        assert_eq!(send(&mut chip, &get_status(0x40, 1, &[])), [0x69, 0x85], "{index}");
    }
    // Of another kind there is no next.
    assert_eq!(sw(&send(&mut chip, &get_status(0x40, 0, &[]))), 0x6310);
    assert_eq!(send(&mut chip, &get_status(0x80, 1, &[])), [0x69, 0x85]);
}

#[test]
fn locked_applications_are_not_found() {
    let mut personalisation = phone_personalisation(PHONE);
    personalisation.applications[0].life_cycle = LifeCycle(0x87);
    let mut chip = Chip::personalise(memory(), &personalisation).unwrap();
    assert_eq!(send(&mut chip, &select(&Aid::CHALLENGE_RESPONSE)), [0x6A, 0x82]);
    assert_eq!(selected(&send(&mut chip, &select_p2(OURS, 0))), Aid::AKA.as_bytes());
}

#[test]
fn an_application_without_keys_is_not_personalised() {
    let mut personalisation = phone_personalisation(PHONE);
    personalisation.applications.iter_mut().for_each(|a| a.keys.clear());
    let mut phone = Chip::personalise(memory(), &personalisation).unwrap();
    assert_eq!(send(&mut phone, &select(&Aid::CHALLENGE_RESPONSE)), [0x69, 0x85]);
    assert_eq!(send(&mut phone, &select(&Aid::AKA)), [0x69, 0x85]);
    assert_eq!(sw(&send(&mut phone, &select(&Aid::IDENTITY))), 0x9000);
    assert_eq!(sw(&send(&mut phone, &[&[0x80, 0xCA, 0, 0, 24][..], &[0; 24]].concat())), 0x6985);
    // The lock's report of it.
    let mut lock = lock();
    send(&mut lock, &select(&Aid::CHALLENGE_RESPONSE_LOCK));
    let LockStep::Done(Outcome { verdict, .. }) = begin(&mut lock, 0, CLOCK, &[]) else {
        panic!()
    };
    assert_eq!(verdict, Verdict::Refused(Reason::CardError));
    // A list entry without AKA keys.
    let mut entry = entry(PHONE, LOCK);
    entry.tuak = None;
    let mut lock = Chip::personalise(memory(), &lock_personalisation(LOCK, vec![entry])).unwrap();
    let mut phone = self::phone();
    assert_eq!(aka(&mut lock, &mut phone, 0, CLOCK).0.verdict, Verdict::Open);
    let fci = send(&mut phone, &select(&Aid::AKA));
    send(&mut lock, &select(&Aid::AKA_LOCK));
    let data = BeginData {
        clock: CLOCK,
        fci: &fci[..fci.len() - 2],
    }
    .encode();
    assert_eq!(
        send(&mut lock, &Command::new(0x80, 0x10, 0, 1).data(&data).ne(256).encode().unwrap()),
        [0x69, 0x85]
    );
}

#[test]
fn applications_in_one_chip_do_not_share_keys_or_records() {
    // Nobody's keys serve an application that has none: not the list's, not another application's of the same kind.
    let mut all = everything();
    let second = Aid::new(&[OURS, &[0x21]].concat()).unwrap();
    let third = Aid::new(&[OURS, &[0x22]].concat()).unwrap();
    let mut keyless = all.applications[1].clone();
    keyless.aid = second;
    keyless.keys.clear();
    let mut unsigned = Application::request_lock(third, LOCK, Secret::new([3; 32]));
    unsigned.keys.clear();
    all.applications.extend([keyless, unsigned]);
    let mut chip = Chip::personalise(memory(), &all).unwrap();
    assert_eq!(send(&mut chip, &select(&second)), [0x69, 0x85]);
    for (aid, expected) in [(Aid::REQUEST_LOCK, 0x9000), (third, 0x6985)] {
        send(&mut chip, &select(&aid));
        assert!(matches!(begin(&mut chip, 0, CLOCK, &[]), LockStep::Transmit { .. }));
        let answer = [&[0; 40][..], &OK].concat();
        let request = Command::new(0x80, 0x14, 0, 0).data(&answer).ne(256).encode().unwrap();
        assert_eq!(sw(&send_whole(&mut chip, &request)), expected, "{aid}");
    }

    // AKA and USIM both keep a record of one name; so do two AKA applications. A tap at one is none at the other.
    let mut all = everything();
    let mut twin = all.applications[1].clone();
    twin.aid = second;
    all.applications.push(twin);
    let mut chip = Chip::personalise(memory(), &all).unwrap();
    let mut lock = lock();
    assert_eq!(aka(&mut lock, &mut chip, 0, CLOCK + 50_000).0.verdict, Verdict::Open);
    let mut early = self::lock();
    let mut personalisation = lock_personalisation(LOCK, vec![entry(PHONE, LOCK)]);
    personalisation.applications[1] = Application::aka_lock(Aid::AKA_LOCK, LOCK, second);
    let mut at_twin = Chip::personalise(memory(), &personalisation).unwrap();
    let (outcome, transcript) = tap(&mut at_twin, &mut chip, &second, &Aid::AKA_LOCK, 0, CLOCK);
    assert_eq!(
        (outcome.verdict, transcript.exchanges.len()),
        (Verdict::Open, 2),
        "no resynchronisation: its own record"
    );
    assert_eq!(
        aka(&mut early, &mut chip, 0, CLOCK).1.exchanges.len(),
        3,
        "this one's record is there"
    );
}

#[test]
fn a_key_of_another_kind_does_not_serve() {
    // K_ph and K_id in the slots of others: the applications see none.
    let mut all = phone_personalisation(PHONE);
    for application in &mut all.applications[..2] {
        application.keys = vec![(tapdoor_protocol::vault::Slot::Agent, Secret::new([7; 16]))];
    }
    let mut chip = Chip::personalise(memory(), &all).unwrap();
    assert_eq!(send(&mut chip, &select(&Aid::AKA)), [0x69, 0x85]);
    assert_eq!(send(&mut chip, &select(&Aid::CHALLENGE_RESPONSE)), [0x69, 0x85]);
}
