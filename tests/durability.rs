//! What must not be used twice is on the disk before it is out: watched by strace from outside, and proved by killing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/house.rs"]
mod house;
#[path = "support/proc.rs"]
mod proc;
#[path = "support/raw.rs"]
mod raw;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use tapdoor_protocol::aka::freshness::Generator;
use tapdoor_protocol::aka::quantities::Subscriber;
use tapdoor_protocol::aka::{Algorithm, Amf, Autn, Rand, Sqn};

use crate::house::{House, LONG, assert_opens, tap};
use crate::proc::{Proc, tapdoor};
use crate::raw::{Raw, hex};

/// What a process did that matters here, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    /// Bytes came in.
    Received(String),
    /// A file is on the disk.
    Synced(String),
    /// Bytes were about to go out.
    Sent(String),
}

/// strace around `tapdoor`, writing to `trace`; `None` where that is not possible.
fn traced(trace: &Path, arguments: &[&str]) -> Option<Proc> {
    let probe = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "trace=fsync", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        let text = "strace is not installed, or may not trace here; apt-get install strace";
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "with CI=true nothing may be skipped: {text}"
        );
        eprintln!("skipped: {text}");
        return None;
    }
    let mut command = Command::new("strace");
    // -yy says which file or socket a descriptor is, -xx writes bytes in hexadecimal; seccomp-bpf leaves other calls alone.
    command.args(["-f", "--seccomp-bpf", "-yy", "-xx", "-s", "256", "-o"]);
    command.arg(trace);
    command.args(["-e", "trace=fsync,fdatasync,read,recvfrom,recvmsg,write,writev,sendto,sendmsg"]);
    command.arg(tapdoor()).arg("--json").args(arguments);
    let mut proc = Proc::spawn(command);
    proc.wait_event("ready", LONG);
    Some(proc)
}

/// Reads a trace. A call that comes in when it ends counts at its end; one that goes out, at its beginning.
fn deeds(trace: &Path) -> Vec<Deed> {
    let text = fs::read_to_string(trace).unwrap();
    let mut begun: HashMap<&str, String> = HashMap::new();
    let mut deeds = Vec::new();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix(" <unfinished ...>") {
            if let Some(deed) = outgoing(start) {
                deeds.push(deed);
            }
            begun.insert(thread, start.to_owned());
        } else if call.starts_with("<... ") {
            let rest = call.split_once(" resumed>").map_or("", |(_, rest)| rest);
            let whole = begun.remove(thread).unwrap_or_default() + rest;
            deeds.extend(incoming(&whole));
        } else {
            deeds.extend(outgoing(call));
            deeds.extend(incoming(call));
        }
    }
    deeds
}

/// The bytes that stand in a call, as hexadecimal digits.
fn bytes(call: &str) -> String {
    call.split('"').skip(1).step_by(2).collect::<String>().replace("\\x", "")
}

fn outgoing(call: &str) -> Option<Deed> {
    let is_write = ["write(", "writev(", "sendto(", "sendmsg("]
        .iter()
        .any(|name| call.starts_with(name));
    (is_write && call.contains("TCP")).then(|| Deed::Sent(bytes(call)))
}

fn incoming(call: &str) -> Option<Deed> {
    let is_read = ["read(", "recvfrom(", "recvmsg("].iter().any(|name| call.starts_with(name));
    if is_read && call.contains("TCP") {
        return Some(Deed::Received(bytes(call)));
    }
    let is_sync = call.starts_with("fsync(") || call.starts_with("fdatasync(");
    let file = call.split_once('<')?.1.split('>').next()?;
    (is_sync && call.trim_end().ends_with("= 0")).then(|| Deed::Synced(file.to_owned()))
}

/// The file's path as strace writes it with -xx: some versions write paths in hexadecimal too.
fn is_file(shown: &str, path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let coded: String = name.bytes().map(|b| format!("\\x{b:02x}")).collect();
    shown.contains(name) || shown.contains(&coded)
}

fn position(deeds: &[Deed], what: &str, fits: impl Fn(&Deed) -> bool) -> usize {
    deeds.iter().position(fits).unwrap_or_else(|| panic!("no {what} in {deeds:#?}"))
}

#[track_caller]
fn assert_synced_between(deeds: &[Deed], store: &Path, from: usize, to: usize) {
    assert!(from < to, "{deeds:#?}");
    let synced = deeds[from..to]
        .iter()
        .any(|deed| matches!(deed, Deed::Synced(file) if is_file(file, store)));
    assert!(
        synced,
        "nothing of {} was synced between: {:#?}",
        store.display(),
        &deeds[from..=to]
    );
}

#[test]
fn the_phone_syncs_before_its_answer_leaves() {
    let house = House::new();
    let (mut lock, serve) = house.listening_lock(&["--count", "2", "--method", "aka"]);
    let trace = house.path("phone.trace");
    let config = house.arg("phone.toml");
    let Some(mut phone) = traced(&trace, &["phone", "--config", &config, "--serve", &serve, "--retap"]) else {
        return;
    };
    for _ in 0..2 {
        assert_opens(&mut lock, "aka", 2);
    }
    lock.wait_exit(LONG);
    end(&mut phone);
    let mut deeds = deeds(&trace);
    for _ in 0..2 {
        let asked = position(
            &deeds,
            "AUTHENTICATE",
            |deed| matches!(deed, Deed::Received(bytes) if bytes.contains("80880000")),
        );
        deeds.drain(..asked);
        let answered = position(&deeds, "answer", |deed| matches!(deed, Deed::Sent(bytes) if bytes.contains("db08")));
        assert_synced_between(&deeds, &house.path("phone.chip"), 0, answered);
        deeds.drain(..answered);
    }
}

#[test]
fn the_lock_syncs_before_its_challenge_leaves() {
    let house = House::new();
    let trace = house.path("lock.trace");
    let config = house.arg("lock.toml");
    let reader = "vpcd-listen:127.0.0.1:0";
    let arguments = ["lock", "--config", &config, "--reader", reader, "--count", "2", "--method", "aka"];
    let Some(mut lock) = traced(&trace, &arguments) else { return };
    let serve = format!("vpcd:{}", lock.seen[0]["listen"].as_str().unwrap());
    let _phone = house.phone(&serve, &["--retap"]);
    for _ in 0..2 {
        assert_opens(&mut lock, "aka", 2);
    }
    lock.wait_exit(LONG);
    let mut deeds = deeds(&trace);
    for _ in 0..2 {
        let fci = position(
            &deeds,
            "FCI",
            |deed| matches!(deed, Deed::Received(bytes) if bytes.contains("6f348409")),
        );
        deeds.drain(..fci);
        let asked = position(
            &deeds,
            "AUTHENTICATE",
            |deed| matches!(deed, Deed::Sent(bytes) if bytes.contains("80880000")),
        );
        assert_synced_between(&deeds, &house.path("lock.chip"), 0, asked);
        deeds.drain(..=asked);
    }
}

/// Ends the traced command; strace ends with it.
fn end(traced: &mut Proc) {
    // strace itself ignores the interrupt that its child gets.
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", traced.pid())).unwrap();
    for child in children.split_whitespace() {
        Command::new("kill").args(["-s", "INT", child]).status().unwrap();
    }
    traced.wait_exit(LONG);
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What the lock of a house shares with its phone.
fn subscriber(house: &House) -> Subscriber {
    Subscriber::from_bytes(Algorithm::Milenage, &hex(&house.value("lock.toml", "milenage"))).unwrap()
}

/// Selects AKA on a phone that listens, and sends an AUTHENTICATE.
fn authenticate(listen: &str, command: &[u8]) -> (Raw, Vec<u8>) {
    let mut raw = Raw::connect(listen);
    raw.power_on();
    let fci = raw.apdu(&hex(raw::SELECT_AKA));
    assert!(fci.ends_with(&[0x90, 0x00]), "{fci:02x?}");
    let answer = raw.apdu(command);
    (raw, answer)
}

#[test]
fn a_phone_that_is_killed_at_its_answer_does_not_give_it_again() {
    let house = House::new();
    let subscriber = subscriber(&house);
    let lock_id = hex(&house.value("lock.toml", "id"));
    let command = |seq: u64| {
        let rand = Rand([seq as u8; 16]);
        let (autn, ..) = subscriber.make_vector(&rand, Sqn::new(seq, 0).unwrap(), Amf([0, 0]));
        [&hex("8088000028")[..], &rand.0, &autn.0, &lock_id, &[0]].concat()
    };
    let first = Generator::glc(seconds());
    let (mut phone, mut listen) = house.listening_phone(&[]);
    for round in 0..10 {
        let recorded = command(first + round);
        let (_raw, answer) = authenticate(&listen, &recorded);
        assert!(answer.starts_with(&[0xDB, 8]), "round {round}: {answer:02x?}");
        phone.kill();
        (phone, listen) = house.listening_phone(&[]);
        // Again, and what came before it.
        for seq in [first + round, first, first + round - round.min(1)] {
            let (_raw, answer) = authenticate(&listen, &command(seq));
            assert!(answer.starts_with(&[0xDC, 0x1E]), "round {round}, SEQ {seq}: {answer:02x?}");
        }
    }
    // It still opens for the lock itself.
    phone.kill();
    let (mut lock, serve) = house.listening_lock(&["--once", "--method", "aka"]);
    let _phone = house.phone(&serve, &[]);
    assert_eq!(tap(&mut lock)["verdict"], "open");
}

#[test]
fn a_lock_that_is_killed_in_the_middle_never_uses_a_sequence_number_twice() {
    let house = House::new();
    let subscriber = subscriber(&house);
    let (phone, listen) = house.listening_phone(&[]);
    let mut seen = HashSet::new();
    let mut highest = 0;
    for round in 0..30 {
        let (mut lock, serve) = house.listening_lock(&["--method", "aka"]);
        let mut card = Raw::connect(serve.strip_prefix("vpcd:").unwrap());
        let mut relayed = Raw::connect(&listen);
        let seq = loop {
            let request = card.receive().unwrap();
            if request.starts_with(&[0x80, 0x88]) {
                // Just now: the number is out, and nothing has come back.
                lock.kill();
                let rand = Rand(request[5..21].try_into().unwrap());
                let autn = Autn(request[21..37].try_into().unwrap());
                break subscriber.open_autn(&rand, &autn).expect("the MAC is right").0.seq();
            }
            relayed.send(&request).unwrap();
            if request.len() > 1 || request == [4] {
                card.send(&relayed.receive().unwrap()).unwrap();
            }
        };
        assert!(seen.insert(seq), "round {round}: SEQ {seq} again");
        assert!(seq > highest, "round {round}: SEQ {seq} after {highest}");
        highest = seq;
    }
    // All those numbers are lost, and the phone opens.
    let (mut lock, serve) = house.listening_lock(&["--once", "--method", "aka"]);
    drop(phone);
    let _phone = house.phone(&serve, &[]);
    assert_opens(&mut lock, "aka", 2);
}
