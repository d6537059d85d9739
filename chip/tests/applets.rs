//! The committed applets: what they import and export, and that they answer recorded conversations as the built-in applications do.
//!
//! The recordings (tests/vectors/applet_conversations.json) were made by the built-in applications with fixed random numbers:
//! `TAPDOOR_RECORD=1 cargo test -p tapdoor-chip --test applets` makes them anew. With `TAPDOOR_APPLETS=FOLDER` the applets there are looked at
//! instead of the committed ones; that is how `applets/build --check` compares.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/sandbox.rs"]
mod sandbox;

use std::collections::BTreeSet;
use std::path::PathBuf;

use common::{CLOCK, LOCK, PHONE, entry, lock_personalisation, memory, phone_personalisation, select, send};
use sandbox::{Fixed, committed, replace};
use serde_json::{Value, json};
use tapdoor_chip::sandbox::{Code, Limits, abi};
use tapdoor_chip::{Chip, ChipEvent, Personalisation};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::{BeginData, LockStep, Verdict};

fn code(name: &str) -> Code {
    Code::check(&committed(name), &Limits::default()).unwrap()
}

fn module(bytes: &[u8]) -> Aid {
    Aid::new(bytes).unwrap()
}

/// Which program stands behind the four door applications.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Program {
    BuiltIn,
    ChallengeResponse,
    TwoMethods,
}

fn chip(personalisation: &Personalisation, seed: u64, program: Program) -> Chip {
    let mut store = memory();
    store.personalise(personalisation).unwrap();
    let mut chip = Chip::open_with(store, Box::new(Fixed(seed))).unwrap();
    for application in &personalisation.applications {
        let aid = application.aid;
        let (half, method) = match aid {
            Aid::CHALLENGE_RESPONSE => (1, 1),
            Aid::AKA => (1, 2),
            Aid::CHALLENGE_RESPONSE_LOCK => (2, 1),
            Aid::AKA_LOCK => (2, 2),
            _ => continue,
        };
        let mut parameters = application.parameters.clone();
        match program {
            Program::ChallengeResponse if method == 1 => {
                let module = module(&[b"\xF0TAPDOOR\xA1", &[half][..]].concat());
                replace(&mut chip, &aid, &code("challenge-response"), &module, &parameters);
            }
            Program::TwoMethods => {
                parameters.extend([0x8E, 1, method]);
                let module = module(&[b"\xF0TAPDOOR\xA2", &[half][..]].concat());
                replace(&mut chip, &aid, &code("two-methods"), &module, &parameters);
            }
            _ => {}
        }
    }
    chip
}

/// A phone's chip and a lock's chip with these programs; random numbers are the same in every pair.
fn pair(program: Program) -> (Chip, Chip) {
    let lock = lock_personalisation(LOCK, vec![entry(PHONE, LOCK)]);
    (chip(&phone_personalisation(PHONE), 7, program), chip(&lock, 8, program))
}

/// One exchange: which chip, C-APDU, R-APDU. An empty C-APDU is a reset.
type Exchange = (&'static str, Vec<u8>, Vec<u8>);

/// Two chips whose exchanges are written down.
struct Recorder {
    phone: Chip,
    lock: Chip,
    exchanges: Vec<Exchange>,
}

impl Recorder {
    fn new() -> Self {
        let (phone, lock) = pair(Program::BuiltIn);
        Self {
            phone,
            lock,
            exchanges: Vec::new(),
        }
    }

    fn send(&mut self, who: &'static str, command: &[u8]) -> Vec<u8> {
        let chip = if who == "phone" { &mut self.phone } else { &mut self.lock };
        let response = exchange(chip, command);
        self.exchanges.push((who, command.to_vec(), response.clone()));
        response
    }

    fn begin(&mut self, p2: u8, clock: u32, fci: &[u8]) -> LockStep {
        let data = BeginData { clock, fci }.encode();
        self.step(0x10, p2, &data)
    }

    fn step(&mut self, ins: u8, p2: u8, data: &[u8]) -> LockStep {
        let command = Command::new(0x80, ins, 0, p2).data(data).ne(256).encode().unwrap();
        let response = self.send("lock", &command);
        LockStep::parse(response.split_last_chunk::<2>().unwrap().0).unwrap_or_else(|| panic!("{response:02x?}"))
    }

    /// SELECT on both sides and BEGIN; the FCI and what the lock wants.
    fn open(&mut self, aids: (&Aid, &Aid), p2: u8, clock: u32) -> (Vec<u8>, LockStep) {
        self.send("phone", &[]);
        let mut fci = self.send("phone", &select(aids.0));
        fci.truncate(fci.len() - 2);
        self.send("lock", &select(aids.1));
        let step = self.begin(p2, clock, &fci);
        (fci, step)
    }

    /// A tap from SELECT to the phone's answer to CONTROL FLOW. AUTHENTICATE of it comes back.
    fn tap(&mut self, aids: (&Aid, &Aid), p2: u8, clock: u32) -> (Vec<u8>, Verdict) {
        let (_, mut step) = self.open(aids, p2, clock);
        let mut authenticate = Vec::new();
        loop {
            match step {
                LockStep::Transmit { command, .. } => {
                    let answer = self.send("phone", &command);
                    authenticate = command;
                    step = self.step(0x12, 0, &answer);
                }
                LockStep::Done(outcome) => {
                    if let Some(flow) = &outcome.control_flow {
                        self.send("phone", flow);
                        self.send("phone", flow);
                    }
                    return (authenticate, outcome.verdict);
                }
            }
        }
    }
}

fn exchange(chip: &mut Chip, command: &[u8]) -> Vec<u8> {
    if command.is_empty() {
        chip.power_on();
        return Vec::new();
    }
    common::send_whole(chip, command)
}

const CHALLENGE_RESPONSE: (&Aid, &Aid) = (&Aid::CHALLENGE_RESPONSE, &Aid::CHALLENGE_RESPONSE_LOCK);
const AKA: (&Aid, &Aid) = (&Aid::AKA, &Aid::AKA_LOCK);

/// What both methods' halves are asked beside good taps.
fn bad_commands(r: &mut Recorder, aids: (&Aid, &Aid), authenticate: &[u8]) {
    for p2 in [0x0C, 0x04, 0x02] {
        let command = Command::new(0, 0xA4, 4, p2).data(aids.0.as_bytes()).ne(256).encode().unwrap();
        r.send("phone", &command);
        let command = Command::new(0, 0xA4, 4, p2).data(aids.1.as_bytes()).ne(256).encode().unwrap();
        r.send("lock", &command);
    }
    for who in ["phone", "lock"] {
        r.send(who, &select(if who == "phone" { aids.0 } else { aids.1 }));
        r.send(who, &[0x00, 0x88, 0, 0, 0]);
        r.send(who, &[0x80, 0x77, 0, 0, 0]);
        r.send(who, &[0x80, 0x88, 1, 0, 1, 0, 0]);
        r.send(who, &[0x80, 0x88, 0, 9, 1, 0, 0]);
        r.send(who, &[0x80, 0x88, 0, 0, 1, 0, 0]);
        r.send(who, &[0x80, 0x3C, 0, 0, 1, 4]);
        r.send(who, &[0x80, 0x3C, 0, 0, 1, 99]);
        r.send(who, &[&[0x80, 0x3C, 1, 0, 8][..], &[9; 8]].concat());
        r.send(who, &[0x80, 0x10, 0, 0, 3, 0x90, 1, 0, 0]);
        r.send(who, &[0x80, 0x10, 1, 0, 0]);
        r.send(who, &[0x80, 0x10, 0, 7, 0]);
        r.send(who, &[0x80, 0x12, 0, 0, 2, 0x90, 0, 0]);
        r.send(who, &[0x80, 0x12, 0, 1, 0]);
        r.send(who, &[0x80, 0x14, 0, 0, 0]);
    }
    // A proof bent by one bit, then the right one: the challenge is spent.
    let mut bent = authenticate.to_vec();
    bent[20] ^= 1;
    r.send("phone", &select(aids.0));
    r.send("phone", &bent);
    r.send("phone", authenticate);
    // A phone that the list does not know, one that leaves, one that answers nonsense.
    let (mut fci, _) = r.open(aids, 0, CLOCK + 50);
    let end = fci.len() - 1;
    r.begin(0, CLOCK + 50, &fci);
    fci[end] ^= 1;
    r.begin(0, CLOCK + 50, &fci);
    for answer in [&[0x69, 0x82][..], &[0x69, 0x84], &[1, 2, 3, 0x90, 0], &[0x6F], &[]] {
        r.open(aids, 0, CLOCK + 60);
        r.step(0x12, 0, answer);
    }
}

fn record(name: &str) -> Vec<Exchange> {
    let mut r = Recorder::new();
    match name {
        "challenge-response" => {
            let (authenticate, verdict) = r.tap(CHALLENGE_RESPONSE, 0, CLOCK);
            assert_eq!(verdict, Verdict::Open);
            assert_eq!(r.tap(CHALLENGE_RESPONSE, 0, CLOCK + 1).1, Verdict::Open);
            bad_commands(&mut r, CHALLENGE_RESPONSE, &authenticate);
            assert_eq!(r.tap(CHALLENGE_RESPONSE, 0, CLOCK + 99).1, Verdict::Open);
        }
        _ => {
            for p2 in [0, 1, 0] {
                assert_eq!(r.tap(AKA, p2, CLOCK + u32::from(p2)).1, Verdict::Open);
            }
            // The lock's clock falls back: its numbers go on from where they were. Then a phone that is ahead.
            let (authenticate, _) = r.tap(AKA, 0, CLOCK - 100);
            r.send("phone", &select(&Aid::AKA));
            for _ in 0..3 {
                r.send("phone", &authenticate);
            }
            bad_commands(&mut r, AKA, &authenticate);
            assert_eq!(r.tap(AKA, 1, CLOCK + 99).1, Verdict::Open);
            // A lock that lost its memory: the phone's AUTS brings it forward within the tap.
            r.lock = pair(Program::BuiltIn).1;
            r.exchanges.push(("new lock", Vec::new(), Vec::new()));
            assert_eq!(r.tap(AKA, 0, CLOCK - 5000).1, Verdict::Open);
        }
    }
    r.exchanges
}

fn file() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/applet_conversations.json").into()
}

fn recordings() -> Value {
    if std::env::var_os("TAPDOOR_RECORD").is_some() {
        let conversation = |name: &str| {
            let exchanges = record(name).into_iter();
            let exchanges: Vec<Value> = exchanges.map(|(who, c, r)| json!([who, hex::encode(c), hex::encode(r)])).collect();
            json!({ "method": name, "exchanges": exchanges })
        };
        let all = json!({
            "source": "made by the built-in applications of this project with fixed random numbers (chip/tests/applets.rs); CLOCK 1790000000",
            "conversations": [conversation("challenge-response"), conversation("aka")],
        });
        std::fs::write(file(), serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
    }
    serde_json::from_str(&std::fs::read_to_string(file()).unwrap()).unwrap()
}

/// Plays a recording to chips with these programs; every answer must be the recorded one. The answer is how many there were, and the events.
fn play(method: &str, program: Program) -> (usize, Vec<ChipEvent>) {
    let recordings = recordings();
    let conversations = recordings["conversations"].as_array().unwrap();
    let conversation = conversations.iter().find(|c| c["method"] == method).unwrap();
    let exchanges = conversation["exchanges"].as_array().unwrap();
    let (mut phone, mut lock) = pair(program);
    let mut events = Vec::new();
    for (n, exchange) in exchanges.iter().enumerate() {
        let [who, command, expected] = [0, 1, 2].map(|n| exchange[n].as_str().unwrap());
        let chip = match who {
            "new lock" => {
                lock = pair(program).1;
                continue;
            }
            "lock" => &mut lock,
            _ => &mut phone,
        };
        let response = self::exchange(chip, &hex::decode(command).unwrap());
        assert_eq!(
            hex::encode(response),
            expected,
            "{program:?}, {method}, exchange {n}: {who} {command}"
        );
        if let Some(fault) = chip.take_fault() {
            panic!("{program:?}, {method}, exchange {n}: {who} {command}: {fault}");
        }
        events.extend(chip.drain_events());
    }
    (exchanges.len(), events)
}

#[test]
fn built_in_and_downloaded_answer_alike() {
    for (method, programs) in [
        ("challenge-response", &[Program::ChallengeResponse, Program::TwoMethods][..]),
        ("aka", &[Program::TwoMethods]),
    ] {
        let built_in = play(method, Program::BuiltIn);
        assert!(
            built_in.0 > 60 && built_in.1.len() > 6,
            "{} exchanges, {} events",
            built_in.0,
            built_in.1.len()
        );
        for program in programs {
            assert_eq!(play(method, *program), built_in, "{program:?}");
        }
    }
}

#[test]
fn they_import_and_export_what_is_documented() {
    let ours = ["deselect", "memory", "process", "select"];
    // The linker's own, which nobody uses.
    let linkers = ["__data_end", "__heap_base"];
    for (name, imported) in [
        (
            "challenge-response",
            &[
                "aid",
                "ccm_open",
                "ccm_seal",
                "cmac",
                "derive",
                "event",
                "find_peer",
                "forget",
                "input",
                "key",
                "output",
                "parameters",
                "peer_key",
                "random",
            ][..],
        ),
        (
            "two-methods",
            &[
                "aid",
                "aka_auts",
                "aka_open",
                "aka_resynchronise",
                "aka_vector",
                "ccm_open",
                "ccm_seal",
                "cmac",
                "derive",
                "event",
                "find_peer",
                "forget",
                "input",
                "key",
                "load",
                "output",
                "parameters",
                "peer_key",
                "random",
                "store",
            ],
        ),
    ] {
        let code = code(name);
        assert!(code.imports().all(|(module, _)| module == abi::MODULE));
        let imports: BTreeSet<&str> = code.imports().map(|(_, name)| name).collect();
        assert_eq!(imports, imported.iter().copied().collect(), "{name}");
        let exports: BTreeSet<&str> = code.exports().filter(|name| !linkers.contains(name)).collect();
        assert_eq!(exports, ours.into_iter().collect(), "{name}");
    }
}

#[test]
fn they_say_who_they_are_and_are_small() {
    for (name, elf, names, most) in [
        (
            "challenge-response",
            b"\xF0TAPDOOR\xA1",
            ["challenge-response", "challenge-response-lock"],
            32,
        ),
        ("two-methods", b"\xF0TAPDOOR\xA2", ["two-methods", "two-methods-lock"], 48),
    ] {
        let code = code(name);
        assert_eq!((code.elf().as_bytes(), code.version()), (&elf[..], [1, 0]));
        let said: Vec<_> = code.modules().iter().map(|m| (m.aid, m.lock_half, m.name.as_str())).collect();
        let half = |n: u8| module(&[&elf[..], &[n]].concat());
        assert_eq!(said, [(half(1), false, names[0]), (half(2), true, names[1])]);
        let size = committed(name).len();
        assert!(size < most * 1024, "{name}: {size} bytes");
    }
}

#[test]
fn taps_between_downloaded_and_built_in_halves_open() {
    for (phones, locks) in [
        (Program::BuiltIn, Program::ChallengeResponse),
        (Program::ChallengeResponse, Program::BuiltIn),
        (Program::ChallengeResponse, Program::ChallengeResponse),
        (Program::TwoMethods, Program::ChallengeResponse),
    ] {
        let (mut phone, mut lock) = (pair(phones).0, pair(locks).1);
        let (outcome, _) = common::challenge_response(&mut lock, &mut phone);
        assert_eq!(outcome.verdict, Verdict::Open, "{phones:?} and {locks:?}: {outcome:?}");
        assert_eq!(outcome.flags, Some(0x8000_0000));
        assert_eq!(send(&mut phone, &outcome.control_flow.unwrap()), [0x90, 0x00]);
    }
    for (phones, locks) in [
        (Program::TwoMethods, Program::BuiltIn),
        (Program::BuiltIn, Program::TwoMethods),
        (Program::TwoMethods, Program::TwoMethods),
    ] {
        for p2 in [0, 1] {
            let (mut phone, mut lock) = (pair(phones).0, pair(locks).1);
            let (outcome, _) = common::aka(&mut lock, &mut phone, p2, CLOCK);
            assert_eq!(outcome.verdict, Verdict::Open, "{phones:?} and {locks:?}: {outcome:?}");
        }
    }
}

#[test]
fn without_whole_personal_data_they_are_there_and_refuse() {
    for (name, elf) in [("challenge-response", b"\xF0TAPDOOR\xA1"), ("two-methods", b"\xF0TAPDOOR\xA2")] {
        for (half, aid) in [(1, Aid::CHALLENGE_RESPONSE), (2, Aid::CHALLENGE_RESPONSE_LOCK)] {
            for parameters in [&[][..], &[0x80, 1, 2], &[0xFF; 9], &[0x8E, 1, 3], &[0x8E, 1, 1]] {
                let (mut phone, mut lock) = pair(Program::BuiltIn);
                let chip = if half == 1 { &mut phone } else { &mut lock };
                replace(chip, &aid, &code(name), &module(&[&elf[..], &[half]].concat()), parameters);
                assert_eq!(send(chip, &select(&aid)), [0x69, 0x85], "{name} {half} {parameters:02x?}");
                assert_eq!(chip.take_fault(), None);
            }
        }
    }
}

#[test]
fn the_documentation_says_what_there_is() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/applets.md")).unwrap();
    let thousands = |n: u64| {
        if n < 1000 {
            n.to_string()
        } else {
            format!("{},{:03}", n / 1000, n % 1000)
        }
    };
    for function in abi::Function::ALL {
        let begin = format!("| `{function}` | {} | ", function.parameters().join(", "));
        let row = page
            .lines()
            .find(|line| line.starts_with(&begin))
            .unwrap_or_else(|| panic!("{begin}"));
        assert!(row.ends_with(&format!(" | {} |", thousands(function.fuel()))), "{row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    // Four exports, two load files are not in backquotes at the beginning.
    assert_eq!(rows, abi::Function::ALL.len() + 4);
    let limits = Limits::default();
    assert!(page.contains("| fuel | 2,000,000 ") && limits.fuel == 2_000_000);
    assert!(page.contains("| memory | 256 KiB (4 pages) ") && limits.memory == 4 << 16);
    assert!(page.contains("| module | 256 KiB ") && limits.module == 256 << 10);
}
