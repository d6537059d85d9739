//! Applets that misbehave while they run. Each is stopped with its reason, its command answered 6F00, nothing of it stored, and the chip
//! and the next SELECT work as if it had never been.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/sandbox.rs"]
mod sandbox;

use common::{LOCK, PHONE, entry, lock_personalisation, memory, phone_personalisation, select, send};
use proptest::prelude::*;
use sandbox::{Fixed, MODULE, code, committed, imports, limits, replace};
use tapdoor_chip::Chip;
use tapdoor_chip::sandbox::{Code, Fault, Limits, abi};
use tapdoor_protocol::aid::Aid;

/// The application behind which the hostile program stands.
const VICTIM: Aid = Aid::AKA;
const COMMAND: [u8; 5] = [0x80, 0x01, 0, 0, 0];
const FAILED: [u8; 2] = [0x6F, 0x00];
const DONE: [u8; 2] = [0x90, 0x00];

fn chip_with(imported: &[&str], body: &str, limits: &Limits) -> Chip {
    let mut store = memory();
    store.personalise(&phone_personalisation(PHONE)).unwrap();
    let mut chip = Chip::open_with(store, Box::new(Fixed(1))).unwrap();
    let code = code(&imports(imported), body, 1, limits);
    replace(&mut chip, &VICTIM, &code, &Aid::new(MODULE).unwrap(), b"\x80\x01\x02");
    chip
}

fn process(instructions: &str) -> String {
    format!("(func (export \"process\") (param $entry i32) (param $length i32) (result i32) (local $i i32) {instructions})")
}

/// Runs a hostile `process`, sees it stopped, and sees the chip live on. The answer is why it was stopped.
fn stopped(imported: &[&str], instructions: &str) -> Fault {
    stopped_module(imported, &process(instructions))
}

fn stopped_module(imported: &[&str], body: &str) -> Fault {
    let mut chip = chip_with(imported, body, &limits());
    assert_eq!(send(&mut chip, &select(&VICTIM)), DONE, "{body}");
    assert_eq!(send(&mut chip, &COMMAND), FAILED, "{body}");
    let fault = chip.take_fault().expect("a reason");
    // Nothing runs before the next SELECT.
    assert_eq!(send(&mut chip, &COMMAND), [0x69, 0x85], "{body}");
    assert_eq!(chip.take_fault(), None);
    lives(&mut chip);
    // The next SELECT begins anew, and the same again ends the same way.
    assert_eq!(send(&mut chip, &select(&VICTIM)), DONE, "{body}");
    assert_eq!(send(&mut chip, &COMMAND), FAILED, "{body}");
    assert_eq!(chip.take_fault().as_ref(), Some(&fault));
    assert_eq!(chip.drain_events().count(), 0);
    fault
}

/// Another application of the same chip does its work: all its transient keys are to be had.
fn lives(chip: &mut Chip) {
    let mut lock = common::lock();
    let (outcome, _) = common::challenge_response(&mut lock, chip);
    assert_eq!(outcome.verdict, tapdoor_protocol::door::Verdict::Open);
    chip.drain_events().for_each(drop);
}

#[test]
fn one_that_loops_runs_out_of_fuel() {
    let limit = limits().fuel;
    assert_eq!(stopped(&[], "(loop $l (br $l)) (i32.const 0x9000)"), Fault::Fuel { limit });
    // Through host functions, which cost more than an instruction.
    let calls = "(loop $l (drop (call $aid (i32.const 0) (i32.const 16))) (br $l)) (i32.const 0x9000)";
    assert_eq!(stopped(&["aid"], calls), Fault::Fuel { limit });
    let random = "(loop $l (drop (call $random (i32.const 0) (i32.const 30000))) (br $l)) (i32.const 0x9000)";
    assert_eq!(stopped(&["random"], random), Fault::Fuel { limit });
}

#[test]
fn fuel_is_fresh_for_every_command() {
    // Five of these are more than the fuel of one command.
    let body = process(
        "(loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 20000)))) (i32.const 0x9000)",
    );
    let mut chip = chip_with(&[], &body, &limits());
    send(&mut chip, &select(&VICTIM));
    for _ in 0..5 {
        assert_eq!(send(&mut chip, &COMMAND), DONE);
    }
    let tight = Limits { fuel: 100_000, ..limits() };
    let mut chip = chip_with(&[], &body, &tight);
    send(&mut chip, &select(&VICTIM));
    assert_eq!(send(&mut chip, &COMMAND), FAILED);
}

#[test]
fn one_that_allocates_gets_what_the_limit_allows() {
    // Four pages, one of which it has: growing by three works, by one more does not.
    let grow = "(i32.ne (memory.grow (i32.const 3)) (i32.const 1)) (if (then (unreachable)))
        (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (if (then (unreachable)))
        (i32.store (i32.const 262140) (i32.const 1)) (i32.const 0x9000)";
    let mut chip = chip_with(&[], &process(grow), &limits());
    send(&mut chip, &select(&VICTIM));
    assert_eq!(send(&mut chip, &COMMAND), DONE);
    let for_ever = "(loop $l (drop (memory.grow (i32.const 1))) (br $l)) (i32.const 0x9000)";
    assert_eq!(stopped(&[], for_ever), Fault::Fuel { limit: limits().fuel });
    let table = "(table $t 1 funcref)";
    let grow = process("(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1)))) (i32.const 0x9000)");
    let mut chip = chip_with(&[], &format!("{table} {grow}"), &limits());
    send(&mut chip, &select(&VICTIM));
    assert_eq!(send(&mut chip, &COMMAND), DONE, "it is told -1, and stops asking");
}

#[test]
fn traps_are_told() {
    for (instructions, reason) in [
        ("(unreachable)", "unreachable"),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "divide by zero"),
        ("(i32.load (i32.const 65533))", "out of bounds memory"),
        (
            "(i32.store (i32.const -1) (i32.const 0)) (i32.const 0x9000)",
            "out of bounds memory",
        ),
    ] {
        let Fault::Trap(text) = stopped(&[], instructions) else { panic!() };
        assert!(text.contains(reason), "{text}");
    }
    let recursion = "(func $f (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1)))";
    let Fault::Trap(text) = stopped_module(&[], &format!("{recursion} {}", process("(call $f (i32.const 0))"))) else {
        panic!()
    };
    assert!(text.contains("stack"), "{text}");
    let big = format!("(func $f (param i32) {} (call $f (local.get 0)))", "(local i64)".repeat(1000));
    let Fault::Trap(text) = stopped_module(&[], &format!("{big} {}", process("(call $f (i32.const 0)) (i32.const 0x9000)"))) else {
        panic!()
    };
    assert!(text.contains("stack"), "{text}");
}

#[test]
fn lengths_and_pointers_that_lie() {
    let pointer = |imported: &str, call: &str, pointer: u32, length: u32| {
        let fault = stopped(&[imported], &format!("(drop (call ${imported} {call})) (i32.const 0x9000)"));
        let function = abi::Function::from_name(imported).unwrap().name();
        assert_eq!(
            fault,
            Fault::Pointer {
                function,
                pointer,
                length,
                memory: 65_536
            },
            "{imported} {call}"
        );
    };
    pointer("output", "(i32.const 65530) (i32.const 7)", 65_530, 7);
    pointer("output", "(i32.const -1) (i32.const 2)", u32::MAX, 2);
    pointer("aid", "(i32.const 65530) (i32.const 100)", 65_530, 9);
    pointer("input", "(i32.const 65536) (i32.const 100)", 65_536, 8);
    pointer("parameters", "(i32.const -4) (i32.const -1)", u32::MAX - 3, 3);
    pointer("random", "(i32.const 65535) (i32.const 2)", 65_535, 2);
    pointer("key", "(i32.const 1) (i32.const 65533)", 65_533, 4);
    pointer(
        "store",
        "(i32.const 0) (i32.const 1) (i32.const 60000) (i32.const 6000)",
        60_000,
        6_000,
    );
    pointer("peer_key", "(i32.const 65530) (i32.const 1) (i32.const 0)", 65_530, 18);
    let argument = |imported: &str, call: &str, what: &'static str, got: u32| {
        let fault = stopped(&[imported], &format!("(drop (call ${imported} {call})) (i32.const 0x9000)"));
        let function = abi::Function::from_name(imported).unwrap().name();
        assert_eq!(fault, Fault::Argument { function, what, got }, "{imported} {call}");
    };
    argument("output", "(i32.const 0) (i32.const -1)", "length", u32::MAX);
    argument("random", "(i32.const 0) (i32.const 32769)", "length", 32_769);
    argument(
        "load",
        "(i32.const 0) (i32.const 0x7fffffff) (i32.const 0) (i32.const 0)",
        "length",
        0x7FFF_FFFF,
    );
    argument("key", "(i32.const 0) (i32.const 0)", "slot", 0);
    argument("key", "(i32.const 257) (i32.const 0)", "slot", 257);
    argument("event", "(i32.const 4) (i32.const 0) (i32.const 0)", "event of kind", 4);
    argument("event", "(i32.const 3) (i32.const 0) (i32.const 1)", "event of kind", 3);
    argument("event", "(i32.const 1) (i32.const 0) (i32.const 11)", "event of kind", 1);
    argument("aka_gsm", "(i32.const 1) (i32.const 2) (i32.const 0) (i32.const 0)", "algorithm", 2);
    let derive = |count| {
        format!("(i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const {count}) (i32.const 0)")
    };
    argument("derive", &derive(0), "count", 0);
    argument("derive", &derive(5), "count", 5);
}

#[test]
fn every_host_function_survives_numbers_out_of_a_hat() {
    // Each function with all arguments small, at the end of memory, and huge: an answer or a fault, never a panic.
    for function in abi::Function::ALL {
        for value in [
            0,
            1,
            2,
            3,
            5,
            16,
            65_520,
            65_535,
            65_536,
            0x4000_0001,
            i64::from(u32::MAX),
            0x8000_0000,
        ] {
            let arguments = format!("(i32.const {})", value as u32 as i32).repeat(function.parameters().len());
            let body = process(&format!("(drop (call ${} {arguments})) (i32.const 0x9000)", function.name()));
            let mut chip = chip_with(&[function.name()], &body, &limits());
            send(&mut chip, &select(&VICTIM));
            let answer = send(&mut chip, &COMMAND);
            let sw = answer.split_at(answer.len() - 2).1;
            assert!(sw == DONE || sw == FAILED || sw[0] == 0x61, "{function} {value:#x}: {sw:02x?}");
            assert_eq!(sw == FAILED, chip.take_fault().is_some(), "{function} {value:#x}");
        }
    }
}

#[test]
fn status_words_are_an_applications() {
    for status in [0, 1, -1, 0x6100, 0x61FF, 0x6C00, 0x6000, 0x5FFF, 0xA000, 0x1_9000, i32::MIN] {
        assert_eq!(stopped(&[], &format!("(i32.const {status})")), Fault::Status(status));
    }
    for status in [0x6283_u16, 0x63C2, 0x6985, 0x6F00, 0x9862, 0x9FFF] {
        let mut chip = chip_with(&[], &process(&format!("(i32.const {status})")), &limits());
        send(&mut chip, &select(&VICTIM));
        assert_eq!(send(&mut chip, &COMMAND), status.to_be_bytes());
        assert_eq!(chip.take_fault(), None);
    }
}

#[test]
fn an_fci_with_another_aid_is_a_lie() {
    let data = |aid: &[u8]| {
        let fci = [&[0x6F, aid.len() as u8 + 2, 0x84, aid.len() as u8][..], aid].concat();
        format!(
            "(data (i32.const 0) \"{}\") (func (export \"select\") (param i32 i32) (result i32) (drop (call $output (i32.const 0) (i32.const {}))) (i32.const 0x9000))",
            sandbox::text(&fci),
            fci.len()
        )
    };
    let mut chip = chip_with(&["output"], &data(Aid::CHALLENGE_RESPONSE.as_bytes()), &limits());
    assert_eq!(send(&mut chip, &select(&VICTIM)), FAILED);
    assert_eq!(chip.take_fault(), Some(Fault::Identity));
    lives(&mut chip);
    let mut chip = chip_with(&["output"], &data(VICTIM.as_bytes()), &limits());
    assert_eq!(send(&mut chip, &select(&VICTIM)).last_chunk(), Some(&DONE));
}

#[test]
fn one_that_fails_in_select_is_not_selected() {
    let body = "(func (export \"select\") (param i32 i32) (result i32) (unreachable))";
    let mut chip = chip_with(&[], body, &limits());
    for _ in 0..3 {
        assert_eq!(send(&mut chip, &select(&VICTIM)), FAILED);
        assert!(matches!(chip.take_fault(), Some(Fault::Trap(_))));
        assert_eq!(
            send(&mut chip, &[0x80, 0xCA, 0x00, 0x66, 0x00]).last_chunk(),
            Some(&DONE),
            "the card manager is selected"
        );
        lives(&mut chip);
    }
}

#[test]
fn one_that_fails_in_deselect_does_not_keep_the_others_out() {
    let body = "(func (export \"deselect\") (param i32) (loop $l (br $l)))";
    let mut chip = chip_with(&[], body, &limits());
    assert_eq!(send(&mut chip, &select(&VICTIM)), DONE);
    assert_eq!(send(&mut chip, &select(&Aid::CHALLENGE_RESPONSE)).last_chunk(), Some(&DONE));
    assert_eq!(chip.take_fault(), Some(Fault::Fuel { limit: limits().fuel }));
    assert_eq!(send(&mut chip, &select(&VICTIM)), DONE);
    chip.power_on();
    lives(&mut chip);
}

#[test]
fn floods_are_dammed() {
    let limits = limits();
    let for_ever = |call: &str| format!("(loop $l (drop {call}) (br $l)) (i32.const 0x9000)");
    let flood = |what, limit| Fault::Flood { what, limit };
    // A verdict of code 0, which address 0 holds.
    let event = for_ever("(call $event (i32.const 2) (i32.const 0) (i32.const 1))");
    assert_eq!(stopped(&["event"], &event), flood("events", limits.events));
    let record = for_ever("(call $store (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 100))");
    assert_eq!(stopped(&["store"], &record), flood("records", limits.records));
    let answer = for_ever("(call $output (i32.const 0) (i32.const 4000))");
    assert_eq!(stopped(&["output"], &answer), flood("bytes of answer", limits.answer));

    // Transient keys: it is told that there is no more, and what it holds is wiped when it goes. Derives one key of 16 bytes at a time.
    let derive = "(i32.store8 (i32.const 100) (i32.const 16)) (drop (call $key (i32.const 1) (i32.const 0)))
        (block $full (loop $l
            (br_if $full (call $derive (i32.load (i32.const 0)) (i32.const 8) (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 100) (i32.const 1) (i32.const 16)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $i) (i32.const 1000)))))
        (i32.store8 (i32.const 200) (local.get $i)) (drop (call $output (i32.const 200) (i32.const 1))) (i32.const 0x9000)";
    let mut chip = chip_with(&["key", "derive", "output"], &process(derive), &limits);
    for _ in 0..20 {
        send(&mut chip, &select(&VICTIM));
        assert_eq!(send(&mut chip, &COMMAND), [limits.keys as u8, 0x90, 0x00]);
        lives(&mut chip);
    }
}

#[test]
fn records_of_a_stopped_command_are_not_stored() {
    // INS 01 writes and traps, 02 writes, 03 gives the length of what is there (or FF).
    let body = process(
        "(drop (call $input (i32.const 0) (i32.const 8))) (i32.store8 (i32.const 100) (i32.const 0x6e))
        (if (i32.le_u (i32.load8_u (i32.const 1)) (i32.const 2)) (then
            (if (i32.ne (call $store (i32.const 100) (i32.const 1) (i32.const 0) (i32.const 5)) (i32.const 0)) (then (return (i32.const 0x6a84))))
            (if (i32.eq (i32.load8_u (i32.const 1)) (i32.const 1)) (then (unreachable)))
            (return (i32.const 0x9000))))
        (i32.store8 (i32.const 200) (call $load (i32.const 100) (i32.const 1) (i32.const 0) (i32.const 0)))
        (drop (call $output (i32.const 200) (i32.const 1))) (i32.const 0x9000)",
    );
    let mut chip = chip_with(&["input", "store", "load", "output"], &body, &limits());
    let mut ins = |ins: u8| {
        send(&mut chip, &select(&VICTIM));
        send(&mut chip, &[0x80, ins, 0, 0, 0])
    };
    assert_eq!(ins(3), [0xFB, 0x90, 0x00], "nothing there");
    assert_eq!(ins(1), FAILED);
    assert_eq!(ins(3), [0xFB, 0x90, 0x00], "still nothing there");
    assert_eq!(ins(2), DONE);
    assert_eq!(ins(3), [5, 0x90, 0x00]);
    assert_eq!(ins(1), FAILED);
    assert_eq!(ins(3), [5, 0x90, 0x00], "what was there before stays");
}

#[test]
fn keys_of_others_are_out_of_reach() {
    // Tries CMAC with 512 references around each of the given ones; the answer is how many worked.
    let body = process(
        "(local $n i32) (drop (call $input (i32.const 0) (i32.const 64)))
        (loop $l
            (if (i32.eqz (call $cmac (i32.add (i32.load (i32.const 8)) (local.get $i)) (i32.const 0) (i32.const 1) (i32.const 100)))
                (then (local.set $n (i32.add (local.get $n) (i32.const 1)))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $i) (i32.const 512))))
        (i32.store8 (i32.const 200) (local.get $n)) (drop (call $output (i32.const 200) (i32.const 1))) (i32.const 0x9000)",
    );
    let rich = Limits {
        fuel: 10_000_000,
        ..limits()
    };
    let count = |chip: &mut Chip, aid: &Aid, from: u32| {
        assert_eq!(send(chip, &select(aid)), DONE);
        let answer = send(chip, &[&[0x80, 1, 0, 0, 4][..], &from.to_le_bytes(), &[0]].concat());
        assert_eq!(answer.split_at(1).1, DONE);
        answer[0]
    };
    let mut chip = chip_with(&["input", "cmac", "output"], &body, &rich);
    // A session of another application has been, with transient keys.
    lives(&mut chip);
    let own = count(&mut chip, &VICTIM, 0);
    assert_eq!(own, 2, "its own K_ph and K_id, and nobody else's");
    for from in [0x4000_0000, 0x8000_0000, 0x8000_0100, 0x8000_0200, 0x8000_0300] {
        assert_eq!(count(&mut chip, &VICTIM, from), 0, "{from:#x}");
    }
    // On a lock's chip, an application that is no lock's half does not get at the list.
    let mut personalisation = lock_personalisation(LOCK, vec![entry(PHONE, LOCK)]);
    personalisation.applications.extend(phone_personalisation(PHONE).applications);
    let mut store = memory();
    store.personalise(&personalisation).unwrap();
    let mut chip = Chip::open_with(store, Box::new(Fixed(1))).unwrap();
    let code = code(&imports(&["input", "cmac", "output"]), &body, 1, &rich);
    replace(&mut chip, &VICTIM, &code, &Aid::new(MODULE).unwrap(), &[]);
    replace(&mut chip, &Aid::AKA_LOCK, &code, &Aid::new(MODULE).unwrap(), &[]);
    assert_eq!(count(&mut chip, &VICTIM, 0x4000_0000), 0);
    let of_the_list = count(&mut chip, &Aid::AKA_LOCK, 0x4000_0000);
    assert_eq!(
        of_the_list, 2,
        "a lock's half does: K_l, and the key for MILENAGE; TUAK's has no length of AES"
    );
}

#[test]
fn nothing_is_left_from_session_to_session() {
    let counter = "(global $n (mut i32) (i32.const 0)) (func $next (result i32)
        (i32.store8 (i32.const 9) (i32.add (i32.load8_u (i32.const 9)) (i32.const 1)))
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (i32.store8 (i32.const 8) (i32.add (global.get $n) (i32.load8_u (i32.const 9))))
        (drop (call $output (i32.const 8) (i32.const 1))) (i32.const 0x9000))";
    let body = format!("{counter} {}", process("(call $next)"));
    let phone = |role| {
        let mut chip = chip_with(&[], "", &limits());
        let code = code(&imports(&["output"]), &body, role, &limits());
        replace(&mut chip, &VICTIM, &code, &Aid::new(MODULE).unwrap(), &[]);
        chip
    };
    let count = |chip: &mut Chip| send(chip, &COMMAND)[0];
    for (role, kept) in [(1, 2), (2, 6)] {
        let mut chip = phone(role);
        send(&mut chip, &select(&VICTIM));
        assert_eq!((count(&mut chip), count(&mut chip)), (2, 4), "state lives within a session");
        send(&mut chip, &select(&VICTIM));
        assert_eq!(
            count(&mut chip),
            kept,
            "a lock's half keeps its state while it stays selected (role {role})"
        );
        send(&mut chip, &select(&Aid::IDENTITY));
        send(&mut chip, &select(&VICTIM));
        assert_eq!(count(&mut chip), 2);
        chip.power_on();
        send(&mut chip, &select(&VICTIM));
        assert_eq!(count(&mut chip), 2);
    }
}

proptest! {
    /// Damaged programs that are still modules are run: whatever they do, the chip lives on.
    #[test]
    fn damaged_code_does_no_harm(places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), commands: Vec<Vec<u8>>) {
        let mut bytes = committed("challenge-response");
        for (place, value) in places {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let Ok(code) = Code::check(&bytes, &limits()) else { return Ok(()) };
        let mut chip = chip_with(&[], "", &limits());
        let module = code.modules()[0].aid;
        let parameters = [&[0x80, 8][..], &PHONE.0, &[0x81, 4, 0, 0, 0, 0]].concat();
        replace(&mut chip, &VICTIM, &code, &module, &parameters);
        send(&mut chip, &select(&VICTIM));
        for command in commands {
            send(&mut chip, &command);
        }
        send(&mut chip, &[&[0x80, 0x88, 0, 0, 44][..], &[7; 44], &[0]].concat());
        lives(&mut chip);
    }

    /// Random commands to the whole applet.
    #[test]
    fn random_commands_get_answers(commands in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..80)), 0..20)) {
        let code = Code::check(&committed("challenge-response"), &Limits::default()).unwrap();
        let mut chip = chip_with(&[], "", &limits());
        let parameters = [&[0x80, 8][..], &PHONE.0, &[0x81, 4, 0, 0, 0, 0]].concat();
        replace(&mut chip, &VICTIM, &code, &code.modules()[0].aid, &parameters);
        send(&mut chip, &select(&VICTIM));
        for (ins, p1, p2, data) in commands {
            let answer = send(&mut chip, &[&[0x80, ins, p1, p2, data.len() as u8][..], &data, &[0]].concat());
            prop_assert!(answer.len() >= 2);
            prop_assert_eq!(chip.take_fault(), None);
        }
    }
}
