//! A lock process and a phone process, joined by a real pcscd with a virtual reader that calls itself an ACR122U.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/house.rs"]
mod house;
#[path = "support/pcscd.rs"]
mod pcscd;
#[path = "support/proc.rs"]
mod proc;
#[path = "support/raw.rs"]
mod raw;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tapdoor_protocol::aka::freshness::Generator;
use tapdoor_protocol::aka::quantities::Subscriber;
use tapdoor_protocol::aka::{Algorithm, Amf, Rand, Sqn};

use crate::house::{House, LONG, assert_opens, assert_tap, interrupt, tap, told, wait_file};
use crate::pcscd::Pcscd;
use crate::proc::{Proc, run, tapdoor};
use crate::raw::{Raw, hex, relay};

const CR: &str = "challenge-response";
const ACR: &str = "pcsc:ACR122U";
/// A house whose lock is at a reader of a pcscd of its own.
struct Stack {
    house: House,
    pcscd: Pcscd,
}

impl Stack {
    fn new() -> Option<Self> {
        Self::with(&[])
    }

    fn with(init: &[&str]) -> Option<Self> {
        let pcscd = Pcscd::start_or_skip()?;
        Some(Self {
            house: House::with(init),
            pcscd,
        })
    }

    fn serve(&self) -> String {
        format!("vpcd:127.0.0.1:{}", self.pcscd.port())
    }

    fn phone(&self, more: &[&str]) -> Proc {
        self.house.phone(&self.serve(), more)
    }

    fn lock(&self, more: &[&str]) -> Proc {
        self.house.lock(ACR, more, &self.pcscd.env())
    }

    /// Takes the phone away and waits until pcscd has seen that: it looks every 0.4 s only.
    fn take_away(&self, mut phone: Proc) {
        phone.kill();
        self.wait_reader(|reader| reader["present"] == false);
    }

    /// Waits until the first slot of the reader is as it should be.
    fn wait_reader(&self, fits: impl Fn(&Value) -> bool) {
        let end = Instant::now() + LONG;
        loop {
            let (code, readers, stderr) = run(&["readers"], &self.pcscd.env(), LONG);
            assert_eq!(code, 0, "{stderr}");
            let slot = readers.iter().find(|reader| reader["name"].as_str().unwrap().ends_with("00 00"));
            if slot.is_some_and(&fits) {
                return;
            }
            assert!(Instant::now() < end, "{readers:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// An honest phone comes, opens and goes.
    fn good_tap(&self, lock: &mut Proc) {
        let phone = self.phone(&[]);
        assert_opens(lock, CR, 2);
        self.take_away(phone);
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// `tapdoor show`, both ways; its text.
#[track_caller]
fn show(tape: &str) -> String {
    let output = Command::new(tapdoor()).args(["show", tape]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let (code, objects, stderr) = run(&["show", tape], &[], LONG);
    assert_eq!(code, 0, "{stderr}");
    assert!(objects.len() > 4, "{objects:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn two_processes_tap_by_every_method() {
    let Some(stack) = Stack::new() else { return };
    let house = &stack.house;
    let tuak = [
        ("algorithm = \"milenage\"", "algorithm = \"tuak\""),
        ("lock.chip", "lock-tuak.chip"),
    ];
    house.variant("lock.toml", "lock-tuak.toml", &tuak);
    let id = house.value("phone.toml", "id");
    let mut last_tap = 0;
    for (number, (config, method)) in [("lock.toml", CR), ("lock.toml", "aka"), ("lock-tuak.toml", "aka")]
        .into_iter()
        .enumerate()
    {
        // Two stores under one lock id: within the same second the second one's sequence number would not be new to the phone.
        while seconds() <= last_tap {
            std::thread::sleep(Duration::from_millis(20));
        }
        let tape = house.arg(&format!("{number}.tape"));
        let more = ["--once", "--method", method, "--record", &tape];
        let mut lock = house.lock_of(config, ACR, &more, &stack.pcscd.env());
        assert!(
            lock.seen[0]["reader"].as_str().unwrap().starts_with(pcscd::ACR122U),
            "{:?}",
            lock.seen
        );
        assert_eq!(lock.seen[0]["driver"], "pcsc");
        let mut phone = stack.phone(&[]);
        let tap = assert_opens(&mut lock, method, 2);
        last_tap = seconds();
        assert_eq!(tap["phone"], format!("..{}", &id[12..]), "masked");
        assert!(tap["ms"]["total"].as_f64().unwrap() > 0.0 && tap["ms"]["authenticate"].as_f64().unwrap() > 0.0);
        assert_eq!(phone.wait_event("authenticated", LONG)["lock"], house.value("lock.toml", "id"));
        // Only a sealed CONTROL FLOW makes a phone believe that it was let in.
        assert_eq!(told(&mut phone), "open");
        assert_eq!(lock.wait_exit(LONG).code(), Some(0));
        house.assert_no_secrets("the lock", &lock.said());
        phone.kill();
        house.assert_no_secrets("the phone", &phone.said());
        stack.take_away(phone);

        let bytes = fs::read_to_string(&tape).unwrap();
        house.assert_no_secrets("the tape", &bytes);
        let algorithm = if config == "lock-tuak.toml" { "01" } else { "00" };
        assert!(
            bytes.contains(&format!("\"8088 00{algorithm}").replace(' ', "")),
            "AUTHENTICATE is on the tape: {bytes}"
        );
        assert!(bytes.contains("\"803c0100"), "CONTROL FLOW too: {bytes}");
        let shown = show(&tape);
        house.assert_no_secrets("show", &shown);
        assert!(shown.contains("SELECT") && shown.contains("AUTHENTICATE"), "{shown}");
    }
}

#[test]
fn secrets_and_identities_only_when_asked_for() {
    let Some(stack) = Stack::new() else { return };
    let tape = stack.house.arg("open.tape");
    let mut lock = stack.lock(&["--once", "--show-secrets", "--record", &tape]);
    let phone = stack.phone(&["--show-secrets"]);
    let id = stack.house.value("phone.toml", "id");
    assert_eq!(phone.seen[0]["phone"], id);
    assert_eq!(tap(&mut lock)["phone"], id);
    assert_eq!(lock.wait_exit(LONG).code(), Some(0));
    assert!(
        fs::read_to_string(&tape).unwrap().contains(&id),
        "the chip names the phone to its control side"
    );
}

#[test]
fn the_phone_is_killed_between_taps_and_in_the_middle_of_them() {
    let Some(stack) = Stack::new() else { return };
    let tape = stack.path("long.tape");
    let mut lock = stack.lock(&["--record", tape.to_str().unwrap()]);
    stack.good_tap(&mut lock);
    stack.good_tap(&mut lock);

    // In the middle: SELECT was answered, AUTHENTICATE waits for its answer.
    let mut phone = stack.phone(&["--lab", "slow=3000"]);
    let answered = |tap: u64| move |text: &str| text.lines().any(|line| is_answer(line, tap));
    wait_file(&tape, answered(3));
    phone.kill();
    assert_tap(&tap(&mut lock), "error", Some("torn"));
    stack.take_away(phone);
    stack.good_tap(&mut lock);

    // Gone at each APDU of the tap. The phone comes back by itself, so take it away.
    for apdu in ["tear=1", "tear=2"] {
        let phone = stack.phone(&["--lab", apdu]);
        let torn = tap(&mut lock);
        assert_tap(&torn, "error", Some("torn"));
        stack.take_away(phone);
        // It may have come back more than once until then.
        while let Some(event) = lock.next(Duration::from_millis(500)) {
            assert_tap(&event, "error", Some("torn"));
        }
        stack.good_tap(&mut lock);
    }
    let shown = show(tape.to_str().unwrap());
    assert!(shown.contains("torn"), "{shown}");
}

/// Whether a line of a tape is the phone's answer in this tap.
fn is_answer(line: &str, tap: u64) -> bool {
    let Ok(event) = serde_json::from_str::<Value>(line) else {
        return false;
    };
    event["layer"] == "apdu" && event["dir"] == "in" && event["tap"] == tap
}

#[test]
fn a_phone_whose_answer_to_aka_is_lost_opens_at_its_next_tap() {
    let Some(stack) = Stack::new() else { return };
    let mut lock = stack.lock(&["--method", "aka"]);
    let (mut phone, listen) = stack.house.listening_phone(&[]);
    let slot = format!("127.0.0.1:{}", stack.pcscd.port());
    for lost in [true, false, true, true, false] {
        relay(&slot, &listen, &mut |command, answer| {
            let is_authenticate = command.starts_with(&[0x80, 0x88]);
            assert!(!is_authenticate || answer.starts_with(&[0xDB, 8]), "{answer:02x?}");
            // The phone has accepted the sequence number; the lock will never know.
            let is_end = command.starts_with(&[0x80, 0x3C]) || (lost && is_authenticate);
            (!is_end).then_some(answer)
        });
        if lost {
            assert_tap(&tap(&mut lock), "error", Some("torn"));
        } else {
            assert_opens(&mut lock, "aka", 2);
            assert_eq!(told(&mut phone), "open");
        }
        stack.wait_reader(|reader| reader["present"] == false);
    }
}

#[test]
fn pcscd_is_killed_and_comes_back_under_the_lock() {
    let Some(mut stack) = Stack::new() else { return };
    let mut lock = stack.lock(&[]);
    // While the lock waits for a card.
    stack.pcscd.kill9();
    thread::sleep(Duration::from_millis(200));
    stack.pcscd.restart().unwrap();
    stack.good_tap(&mut lock);

    // While a phone lies there. It comes back by itself, which is another tap unless pcscd has it again before the lock looks.
    let phone = stack.phone(&[]);
    assert_opens(&mut lock, CR, 2);
    stack.pcscd.kill9();
    stack.pcscd.restart().unwrap();
    stack.wait_reader(|reader| reader["present"] == true);
    stack.take_away(phone);
    while let Some(event) = lock.next(Duration::from_secs(1)) {
        assert_tap(&event, "open", None);
    }
    stack.good_tap(&mut lock);

    // In the middle of a tap.
    let tape = stack.path("pcscd.tape");
    lock.kill();
    let mut lock = stack.lock(&["--record", tape.to_str().unwrap()]);
    let phone = stack.phone(&["--lab", "slow=3000"]);
    wait_file(&tape, |text| text.lines().any(|line| is_answer(line, 1)));
    stack.pcscd.kill9();
    let broken = tap(&mut lock);
    assert_eq!(broken["verdict"], "error", "{broken}");
    stack.pcscd.restart().unwrap();
    stack.take_away(phone);
    stack.good_tap(&mut lock);
}

#[test]
fn phones_that_answer_rubbish_or_nothing_or_late() {
    let Some(stack) = Stack::new() else { return };
    let mut lock = stack.lock(&[]);
    let long = format!("answer={}", "5a".repeat(20_000));
    let middling = format!("answer={}9000", "6f".repeat(254));
    for switch in [
        "answer=00",
        "answer=9000",
        "answer=6f00",
        "answer=6f028400",
        long.as_str(),
        middling.as_str(),
    ] {
        let phone = stack.phone(&["--lab", switch]);
        let tap = tap(&mut lock);
        assert_ne!(tap["verdict"], "open", "{tap}");
        assert_eq!(tap["reason"], "card-error", "{tap}");
        stack.take_away(phone);
        stack.good_tap(&mut lock);
    }
    // Nothing at all. SCardTransmit would wait for ever.
    for switch in ["silent=1", "silent=2"] {
        let phone = stack.phone(&["--lab", switch]);
        assert_tap(&tap(&mut lock), "error", Some("timeout"));
        stack.take_away(phone);
        stack.good_tap(&mut lock);
    }
    // Late: told, unless the policy is to refuse.
    let phone = stack.phone(&["--lab", "slow=1500"]);
    let late = assert_opens(&mut lock, CR, 2);
    let warnings = late["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|w| w.as_str().unwrap().contains("cap 1000.0 ms")), "{late}");
    stack.take_away(phone);
    lock.kill();
    stack.house.edit("lock.toml", "over-cap = \"warn\"", "over-cap = \"refuse\"");
    let mut lock = stack.lock(&[]);
    let phone = stack.phone(&["--lab", "slow=1500"]);
    assert_tap(&tap(&mut lock), "refused", Some("timeout"));
    stack.take_away(phone);
    stack.good_tap(&mut lock);
}

#[test]
fn refused_phones_are_told_why_and_the_exit_status_says_so() {
    let Some(stack) = Stack::new() else { return };
    let stranger = House::new();
    let cases: [(&House, &[&str], &str, Option<&str>); 3] = [
        (&stack.house, &["--lab", "wrong-key"], "wrong-key", Some("wrong-key")),
        (&stranger, &[], "unknown-phone", None),
        (&stack.house, &["--lab", "missing-app"], "app-missing", None),
    ];
    for (house, switches, reason, phone_hears) in cases {
        for (expect, status) in [("open", 1), ("refused", 0)] {
            let mut lock = stack.lock(&["--once", "--expect", expect]);
            let mut phone = house.phone(&stack.serve(), switches);
            let tap = tap(&mut lock);
            assert_tap(&tap, "refused", Some(reason));
            assert_eq!(tap["phone"].is_null(), reason != "wrong-key", "{tap}");
            if let Some(heard) = phone_hears {
                assert_eq!(told(&mut phone), heard);
            }
            assert_eq!(lock.wait_exit(LONG).code(), Some(status), "{reason}, --expect {expect}");
            stack.take_away(phone);
        }
    }
    // Several taps: every one has to be as expected.
    let mut lock = stack.lock(&["--count", "2"]);
    stack.good_tap(&mut lock);
    let _phone = stack.phone(&["--lab", "wrong-key"]);
    assert_eq!(lock.wait_exit(LONG).code(), Some(1));
    drop(_phone);
    stack.wait_reader(|reader| reader["present"] == false);
    let mut lock = stack.lock(&["--once", "--expect", "refused"]);
    stack.good_tap(&mut lock);
    assert_eq!(lock.wait_exit(LONG).code(), Some(1));
}

#[test]
fn two_locks_at_one_reader() {
    let Some(stack) = Stack::new() else { return };
    let second = [("lock.chip", "lock-2.chip")];
    stack.house.variant("lock.toml", "lock-2.toml", &second);
    let mut locks = [stack.lock(&[]), stack.house.lock_of("lock-2.toml", ACR, &[], &stack.pcscd.env())];
    // So slow that one lock keeps the card for longer than the other tries for it.
    let phone = stack.phone(&["--lab", "slow=2000"]);
    let end = Instant::now() + LONG;
    let first = 'found: loop {
        for (index, lock) in locks.iter_mut().enumerate() {
            if lock.next(Duration::from_millis(50)).is_some_and(|event| event["verdict"] == "open") {
                break 'found index;
            }
        }
        assert!(Instant::now() < end, "no tap");
    };
    stack.take_away(phone);
    // Both go on.
    let phone = stack.phone(&[]);
    for lock in &mut locks {
        assert_eq!(tap(lock)["verdict"], "open");
    }
    stack.take_away(phone);
    for lock in &mut locks {
        lock.signal("INT");
        assert_eq!(lock.wait_exit(LONG).code(), Some(130));
    }
    let stderr = locks.map(|mut lock| lock.stderr());
    assert!(stderr[1 - first].contains("another program keeps the card"), "{stderr:?}");
    assert!(!stderr[first].contains("another program keeps the card"), "{stderr:?}");
}

#[test]
fn apdu_sends_exactly_these_bytes() {
    let pcscd = match Pcscd::start_with(&["Plain Reader"]) {
        Ok(pcscd) => pcscd,
        Err(skip) if std::env::var("CI").as_deref() == Ok("true") => panic!("with CI=true nothing may be {skip}"),
        Err(skip) => return eprintln!("{skip}"),
    };
    let house = House::new();
    let _phone = house.phone(&format!("vpcd:127.0.0.1:{}", pcscd.port()), &[]);
    let env = pcscd.env();
    let plain = "pcsc:plain reader 00 00";
    let extended = "00A4040000000 9F0544150444F4F5201 0000".replace(' ', "");
    let long = format!("00A40400000200{}", "11".repeat(512));
    let (code, seen, stderr) = run(
        &[
            "apdu",
            "--reader",
            plain,
            "00 A4 04 00 09 F0544150444F4F5201 00",
            &extended,
            &long,
            "00FE000000",
            "0084",
        ],
        &env,
        LONG,
    );
    assert_eq!(code, 0, "{stderr}");
    let sent: Vec<&str> = seen.iter().map(|e| e["c"].as_str().unwrap()).collect();
    assert_eq!(
        sent,
        [
            "00a4040009f0544150444f4f520100",
            &extended.to_lowercase(),
            &long.to_lowercase(),
            "00fe000000",
            "0084"
        ]
    );
    for event in &seen[..2] {
        let answer = event["r"].as_str().unwrap();
        assert!(
            answer.starts_with("6f348409f0544150444f4f5201a5278001018110") && answer.ends_with("9000"),
            "{event}"
        );
        assert_eq!((answer.len(), event["sw"].as_str()), (2 * (0x36 + 2), Some("9000")), "{event}");
        assert!(event["ms"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(
        seen[2..].iter().map(|e| e["sw"].as_str().unwrap()).collect::<Vec<_>>(),
        ["6700", "6E00", "6700"]
    );
    assert!(
        seen[2..].iter().all(|e| e["r"] == e["sw"].as_str().unwrap().to_lowercase()),
        "{seen:?}"
    );

    for (patterns, status) in [("6A82", 0), ("6axx", 0), ("9000,6A8x", 0), ("9000", 1), ("61xx,6Cxx", 1)] {
        let arguments = ["apdu", "--reader", plain, "--sw", patterns, "00A4040005F00000000000"];
        let (code, seen, stderr) = run(&arguments, &env, LONG);
        assert_eq!((code, seen.len()), (status, 1), "{patterns}: {seen:?} {stderr}");
        assert_eq!(seen[0]["sw"], "6A82");
    }
    // Two slots, and none was named.
    let (code, seen, stderr) = run(&["apdu", "--reader", "pcsc:", "00A4040000"], &env, LONG);
    assert_eq!((code, seen.last().unwrap()["event"].as_str()), (3, Some("error")));
    assert!(
        stderr.contains("Plain Reader 00 01") && stderr.contains("pcsc:FRAGMENT"),
        "{stderr}"
    );
    let (code, _, stderr) = run(&["apdu", "--reader", "pcsc:nonesuch", "00A4040000"], &env, LONG);
    assert!(code == 3 && stderr.contains("Plain Reader 00 00"), "{stderr}");
    // An empty slot.
    let (code, _, stderr) = run(&["apdu", "--reader", "pcsc:00 01", "--wait", "1", "00A4040000"], &env, LONG);
    assert!(code == 3 && stderr.contains("no card came"), "{stderr}");
}

#[test]
fn readers_are_listed_with_their_state() {
    let Some(stack) = Stack::new() else { return };
    let _phone = stack.phone(&[]);
    stack.wait_reader(|reader| reader["present"] == true);
    let (code, readers, stderr) = run(&["readers"], &stack.pcscd.env(), LONG);
    assert_eq!((code, readers.len()), (0, 2), "{stderr}");
    assert_eq!(readers[0]["name"], "ACS ACR122U PICC Interface 00 00");
    assert_eq!((&readers[0]["state"], &readers[0]["atr"]), (&"card".into(), &"3b80800101".into()));
    assert_eq!((&readers[0]["acr122"], &readers[0]["driver"]), (&true.into(), &"pcsc".into()));
    assert_eq!((&readers[1]["state"], &readers[1]["present"]), (&"empty".into(), &false.into()));
}

#[test]
fn no_pcscd_is_said_with_its_cure() {
    let house = House::new();
    let env = [("PCSCLITE_CSOCK_NAME", house.path("nothing.comm"))];
    let lock = house.arg("lock.toml");
    let commands: [&[&str]; 3] = [
        &["readers"],
        &["lock", "--config", &lock, "--reader", ACR],
        &["apdu", "--reader", "pcsc:", "00A4040000"],
    ];
    for command in commands {
        let (code, seen, stderr) = run(command, &env, LONG);
        assert_eq!(code, 3, "{command:?}: {stderr}");
        assert!(
            stderr.contains("nothing.comm") && stderr.contains("pcscd.socket"),
            "{command:?}: {stderr}"
        );
        assert_eq!((&seen[0]["event"], &seen[0]["status"]), (&"error".into(), &3.into()));
    }
    // Left behind by a pcscd that died.
    let Some(mut pcscd) = Pcscd::start_or_skip() else { return };
    pcscd.kill9();
    let (code, _, stderr) = run(&["readers"], &pcscd.env(), LONG);
    assert!(code == 3 && stderr.contains("died") && stderr.contains("pcscd.socket"), "{stderr}");
}

#[test]
fn an_interrupt_ends_lock_and_phone_wherever_they_are() {
    let Some(stack) = Stack::new() else { return };
    let mut lock = stack.lock(&[]);
    interrupt(&mut lock, "waiting for a card");

    let mut lock = stack.lock(&[]);
    let mut phone = stack.phone(&[]);
    assert_opens(&mut lock, CR, 2);
    interrupt(&mut lock, "waiting for removal");
    interrupt(&mut phone, "in the field");
    stack.wait_reader(|reader| reader["present"] == false);

    // In the middle of a tap that hangs.
    let tape = stack.path("hang.tape");
    let mut lock = stack.lock(&["--record", tape.to_str().unwrap()]);
    let mut phone = stack.phone(&["--lab", "silent=2"]);
    wait_file(&tape, |text| text.lines().any(|line| is_answer(line, 1)));
    interrupt(&mut lock, "waiting for an answer");
    interrupt(&mut phone, "silent");

    let mut phone = stack.house.phone("vpcd:127.0.0.1:1", &[]);
    phone.wait_event("waiting", LONG);
    interrupt(&mut phone, "without a reader");
    let (mut phone, _) = stack.house.listening_phone(&[]);
    interrupt(&mut phone, "listening");
    let (mut lock, _) = stack.house.listening_lock(&[]);
    interrupt(&mut lock, "listening");
    stack.pcscd_gone_lock();
}

impl Stack {
    fn path(&self, name: &str) -> PathBuf {
        self.house.path(name)
    }

    /// Interrupts a lock whose pcscd is gone.
    fn pcscd_gone_lock(mut self) {
        let mut lock = self.lock(&[]);
        self.pcscd.kill9();
        thread::sleep(Duration::from_millis(300));
        interrupt(&mut lock, "without pcscd");
    }
}

#[test]
fn a_test_usim_opens_by_profile_u() {
    let Some(stack) = Stack::with(&["--usim"]) else { return };
    let house = &stack.house;
    let usim = ["--method", "usim"];
    let mut lock = stack.lock(&usim);
    let phone = stack.phone(&[]);
    let tap = tap(&mut lock);
    assert_tap(&tap, "open", None);
    assert_eq!(tap["method"], "aka", "{tap}");
    let honest = tap["apdus"].as_u64().unwrap();
    stack.take_away(phone);
    lock.kill();

    // Another home has moved the card's sequence number on: AUTS, once more, open.
    let (mut phone, listen) = house.listening_phone(&[]);
    let key = usim_section(&house.text("phone.toml"));
    let subscriber = Subscriber::from_bytes(Algorithm::Milenage, &hex(&key)).unwrap();
    let mut raw = Raw::connect(&listen);
    raw.power_on();
    assert!(raw.apdu(&hex("00A4040407A0000000871002 00")).ends_with(&[0x90, 0x00]));
    for ind in 0..32 {
        let rand = Rand([ind; 16]);
        let sqn = Sqn::new(Generator::glc(seconds()) + 100_000, ind).unwrap();
        let (autn, ..) = subscriber.make_vector(&rand, sqn, Amf([0, 0]));
        let command = [&hex("008800812210")[..], &rand.0, &[0x10], &autn.0, &[0]].concat();
        let answer = raw.apdu(&command);
        assert!(answer.starts_with(&[0xDB, 8]) || answer.first() == Some(&0x61), "{answer:02x?}");
    }
    raw.close();
    phone.kill();
    let mut lock = stack.lock(&usim);
    let phone = stack.phone(&[]);
    let tap = house::tap(&mut lock);
    assert_tap(&tap, "open", None);
    assert!(
        tap["apdus"].as_u64().unwrap() > honest,
        "{tap} after {honest} APDUs without a resynchronisation"
    );
    stack.take_away(phone);
    lock.kill();

    // A card that is not the one it says it is.
    let k = usim_field(&house.text("lock.toml"), "k");
    house.edit("lock.toml", &k, &"5a".repeat(16));
    let mut lock = stack.lock(&["--method", "usim", "--once"]);
    let _phone = stack.phone(&[]);
    assert_tap(&house::tap(&mut lock), "refused", Some("wrong-key"));
    assert_eq!(lock.wait_exit(LONG).code(), Some(1));
}

/// A field of the table with `usim` in its name.
fn usim_field(text: &str, field: &str) -> String {
    let table = text.split("usim").skip(1).collect::<String>();
    let start = format!("\n{field} = \"");
    table.split(&start).nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// K || OPc of phone.toml's USIM.
fn usim_section(text: &str) -> String {
    usim_field(text, "k") + &usim_field(text, "opc")
}

#[test]
fn aka_resynchronises_through_the_reader() {
    let Some(stack) = Stack::new() else { return };
    // The phone knows this lock from a time when its clock was ahead.
    let (mut phone, listen) = stack.house.listening_phone(&[]);
    let mut raw = Raw::connect(&listen);
    raw.power_on();
    assert!(raw.apdu(&hex(raw::SELECT_AKA)).ends_with(&[0x90, 0x00]));
    let key = hex(&stack.house.value("lock.toml", "milenage"));
    let subscriber = Subscriber::from_bytes(Algorithm::Milenage, &key).unwrap();
    let sqn = Sqn::new(Generator::glc(seconds()) + 100_000, 0).unwrap();
    let (autn, ..) = subscriber.make_vector(&Rand([7; 16]), sqn, Amf([0, 0]));
    let lock_id = hex(&stack.house.value("lock.toml", "id"));
    let answer = raw.apdu(&[&hex("8088000028")[..], &[7; 16], &autn.0, &lock_id, &[0]].concat());
    assert!(answer.starts_with(&[0xDB, 8]), "{answer:02x?}");
    raw.close();
    phone.kill();
    let mut lock = stack.lock(&["--method", "aka"]);
    for apdus in [3, 2] {
        let phone = stack.phone(&[]);
        assert_opens(&mut lock, "aka", apdus);
        stack.take_away(phone);
    }
}

#[test]
fn calibration_proposes_caps() {
    let Some(stack) = Stack::new() else { return };
    let mut lock = stack.lock(&["--calibrate", "3"]);
    let _phone = stack.phone(&["--retap"]);
    let proposal = lock.wait_event("calibration", LONG);
    assert_eq!(proposal["taps"], 3);
    assert!(proposal["answer-cap-ms"].as_u64().unwrap() >= 10, "{proposal}");
    assert!(proposal["tap-cap-ms"].as_u64() >= proposal["answer-cap-ms"].as_u64(), "{proposal}");
    assert_eq!(lock.wait_exit(LONG).code(), Some(0));
    let taps = lock.seen.iter().filter(|event| event["event"] == "tap").count();
    assert_eq!(taps, 3);
}

#[test]
fn the_door_runs_its_command_and_keeps_its_log() {
    let Some(stack) = Stack::new() else { return };
    let house = &stack.house;
    // In one step, so that a reader sees all or nothing.
    let script = format!(
        "env | grep ^TAPDOOR_ > '{0}/'$TAPDOOR_TAP.new && mv '{0}/'$TAPDOOR_TAP.new '{0}/'$TAPDOOR_TAP.env",
        house.arg(".")
    );
    house.edit("lock.toml", "# log = \"door.log\"", "log = \"door.log\"");
    house.edit(
        "lock.toml",
        "# run = [\"sh\", \"-c\", \"echo $TAPDOOR_VERDICT $TAPDOOR_PHONE\"]",
        &format!("run = [\"sh\", \"-c\", \"{script}\"]"),
    );
    let id = house.value("phone.toml", "id");
    let mut lock = stack.lock(&[]);
    stack.good_tap(&mut lock);
    let phone = stack.phone(&["--lab", "wrong-key"]);
    assert_tap(&tap(&mut lock), "refused", Some("wrong-key"));
    stack.take_away(phone);
    let opened = wait_file(&house.path("1.env"), |text| !text.is_empty());
    let mut lines: Vec<&str> = opened.lines().collect();
    lines.sort_unstable();
    let phone = format!("TAPDOOR_PHONE={id}");
    assert_eq!(
        lines,
        [
            "TAPDOOR_METHOD=challenge-response",
            &phone,
            "TAPDOOR_REASON=",
            "TAPDOOR_TAP=1",
            "TAPDOOR_VERDICT=open"
        ]
    );
    let refused = wait_file(&house.path("2.env"), |text| !text.is_empty());
    assert!(
        refused.contains("TAPDOOR_VERDICT=refused\n") && refused.contains("TAPDOOR_REASON=wrong-key\n"),
        "{refused}"
    );
    let log = house.text("door.log");
    let lines: Vec<&str> = log.lines().collect();
    let masked = format!("..{}", &id[12..]);
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].ends_with(&format!("tap 1 open challenge-response {masked} -")), "{log}");
    assert!(
        lines[1].ends_with(&format!("tap 2 refused challenge-response {masked} wrong-key")),
        "{log}"
    );
    house.assert_no_secrets("the door's log", &log);
    // A door that cannot be run is told and ends nothing.
    lock.kill();
    house.edit("lock.toml", "run = [\"sh\"", "run = [\"/nonexistent/door\"");
    let mut lock = stack.lock(&[]);
    stack.good_tap(&mut lock);
    lock.signal("INT");
    lock.wait_exit(LONG);
    let stderr = lock.stderr();
    assert!(stderr.contains("/nonexistent/door"), "{stderr}");
}
