//! 100,000 random commands to the card manager, in both conversations and within secure channels: there is always an answer, and never a panic.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/manage.rs"]
mod manage;

use common::*;
use manage::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tapdoor_chip::Chip;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::Verdict;
use tapdoor_protocol::globalplatform::command::Install;
use tapdoor_protocol::globalplatform::scp03::Level;

const COMMANDS: u32 = 100_000;

#[derive(Clone, Debug)]
enum Step {
    /// Any bytes.
    Bytes(Way, Vec<u8>),
    /// A command that looks like one, unprotected.
    Plain(Way, Vec<u8>),
    /// One in the wired secure channel.
    Wrapped(Vec<u8>),
    /// Power comes and goes in the field.
    Power,
    /// The wire is reset.
    Reset,
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::Wired), Just(Way::Field)]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop::sample::select(vec![
        0x4Fu8, 0xC0, 0xC4, 0xC9, 0xE2, 0xE5, 0xE6, 0xE7, 0xEF, 0xD0, 0xD2, 0x80, 0x88, 0x90, 0x93,
    ]);
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(vec![1; 8]),
        Just(vec![2; 16]),
        Just(Aid::AKA.as_bytes().to_vec()),
        Just(elf(1).as_bytes().to_vec()),
        Just(module_of(1).as_bytes().to_vec()),
    ];
    let object = (tag, value.clone()).prop_map(|(tag, value)| object(u32::from(tag), &value));
    let field = value.prop_map(|value| [&[value.len() as u8][..], &value].concat());
    let part = prop_oneof![object, field, prop::collection::vec(any::<u8>(), 0..20)];
    prop::collection::vec(part, 0..7).prop_map(|parts| {
        let mut data = parts.concat();
        data.truncate(220);
        data
    })
}

fn command(classes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let instruction = prop::sample::select(vec![
        0x50u8, 0x82, 0xA4, 0xC0, 0xCA, 0xCB, 0xD8, 0xE2, 0xE4, 0xE6, 0xE8, 0xF0, 0xF2, 0x70, 0x01,
    ]);
    let p1 = prop_oneof![
        prop::sample::select(vec![0u8, 0x02, 0x04, 0x08, 0x0C, 0x10, 0x20, 0x40, 0x80, 0x90, 0x73, 0x30]),
        any::<u8>(),
    ];
    let p2 = prop_oneof![Just(0u8), Just(2), Just(0x80), Just(0x81), Just(0x07), any::<u8>()];
    (prop::sample::select(classes), instruction, p1, p2, data())
        .prop_map(|(cla, ins, p1, p2, data)| Command::new(cla, ins, p1, p2).data(&data).ne(256).encode().unwrap())
}

/// Commands that mean something, in any order.
fn sensible() -> Vec<Vec<u8>> {
    let instance = Aid::new(b"\xF0INSTANCE").unwrap();
    let mut all = Vec::new();
    for load in [Load::simple(1, [1, 1]), Load::simple(2, [1, 0])] {
        all.extend(load.commands(120));
    }
    for install in [for_install(&module_of(1), &instance), for_install(&module_of(2), &Aid::AKA)] {
        let kinds = [
            Install::ForInstall(install),
            Install::ForMakeSelectable(install),
            Install::ForInstallAndMakeSelectable(install),
            Install::ForPersonalization(install.application),
        ];
        all.extend(kinds.map(|kind| kind.encode().unwrap()));
    }
    for (number, last) in [(0, false), (1, false), (1, true), (0, true)] {
        let entry = [
            object(0x80, &[1; 8]),
            object(0x90, &[1]),
            object(0x93, &[2; 16]),
            object(0x94, &[3; 16]),
        ]
        .concat();
        let off = object(0x80, &PHONE.0);
        for block in [object(0xE5, &entry), object(0xE6, &off), object(0xE7, &[]), object(0x80, &[1; 8])] {
            all.push(store_data(number, last, &block));
        }
        let key = [&[1u8][..], &[4; 16]].concat();
        all.push(store_data(number, last, &object(0xC0, &key)));
    }
    for aid in [instance, Aid::AKA, elf(1), elf(2), module_of(1)] {
        for p2 in [0, 0x80] {
            let data = object(0x4F, aid.as_bytes());
            all.push(Command::new(0x80, 0xE4, 0, p2).data(&data).ne(256).encode().unwrap());
            all.push(Command::new(0x80, 0xF0, 0x40, p2).data(aid.as_bytes()).ne(256).encode().unwrap());
        }
    }
    for p1 in [0x80, 0x40, 0x20, 0x10] {
        for p2 in 0..4 {
            all.push(vec![0x80, 0xF2, p1, p2, 2, 0x4F, 0, 0]);
        }
    }
    all
}

fn step() -> impl Strategy<Value = Step> {
    let plain = command(vec![0x00, 0x80, 0x84, 0x90, 0x94, 0x04, 0xC0]);
    prop_oneof![
        2 => (way(), prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(way, bytes)| Step::Bytes(way, bytes)),
        3 => (way(), plain).prop_map(|(way, bytes)| Step::Plain(way, bytes)),
        5 => command(vec![0x80]).prop_map(Step::Wrapped),
        8 => prop::sample::select(sensible()).prop_map(Step::Wrapped),
        1 => prop::sample::select(vec![Aid::AKA, Aid::CHALLENGE_RESPONSE, module_of(1)]).prop_map(|aid| Step::Plain(Way::Field, select(&aid))),
        1 => Just(Step::Power),
        1 => Just(Step::Reset),
    ]
}

fn managed_chip() -> Chip {
    let mut fill = managed(phone_personalisation(PHONE));
    fill.list = vec![entry(PHONE, LOCK)];
    let mut chip = Chip::personalise(memory(), &fill).unwrap();
    let mut host = Host::open(&mut chip);
    assert_eq!(host.load(&mut chip, &Load::simple(1, [1, 0])), 0x9000);
    assert_eq!(host.make(&mut chip, &module_of(1), &module_of(1)), 0x9000);
    chip
}

#[test]
fn random_commands_get_answers() {
    let mut runner = TestRunner::default();
    let step = step();
    let mut chip = managed_chip();
    let mut host = Host::open(&mut chip);
    let (mut taken, mut chips) = (0u32, 1u32);
    for n in 0..COMMANDS {
        // It may have locked itself: a new one now and then.
        if n % 500 == 499 {
            (chip, chips) = (managed_chip(), chips + 1);
            host = Host::open(&mut chip);
        }
        match step.new_tree(&mut runner).unwrap().current() {
            Step::Bytes(way, bytes) | Step::Plain(way, bytes) => assert!(exchange(&mut chip, way, &bytes).len() >= 2),
            Step::Power => chip.power_on(),
            Step::Reset => chip.reset_wired(),
            Step::Wrapped(command) => {
                let Ok(wrapped) = host.channel.wrap(&Command::parse(&command).unwrap()) else {
                    continue;
                };
                let answer = exchange(&mut chip, Way::Wired, &wrapped.command);
                taken += u32::from(sw(&answer) == 0x9000);
                if host.channel.unwrap(wrapped.ticket, &answer).is_ok() && !matches!(sw(&answer), 0x6982 | 0x6985) {
                    continue;
                }
                host = match Host::try_open(&mut chip, Way::Wired, &keys(), KVN, Level::FULL) {
                    Ok(host) => host,
                    // It was told to terminate itself, or to take other keys.
                    Err(_) => {
                        (chip, chips) = (managed_chip(), chips + 1);
                        Host::open(&mut chip)
                    }
                };
            }
        }
    }
    println!("{taken} commands were executed, {chips} chips used up");
    assert!(taken > 5000, "{taken}");
    let (outcome, _) = challenge_response(&mut lock(), &mut managed_chip());
    assert_eq!(outcome.verdict, Verdict::Open);
}
