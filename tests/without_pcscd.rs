//! Lock and phone without pcscd: the one that listens is the reader, and the other one connects to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/house.rs"]
mod house;
#[path = "support/proc.rs"]
mod proc;
#[path = "support/raw.rs"]
mod raw;

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::house::{House, LONG, assert_opens, assert_tap, interrupt, tap, told};
use crate::proc::run;
use crate::raw::{Raw, hex, message, relay};

const CR: &str = "challenge-response";

#[test]
fn a_phone_connects_to_a_lock_that_is_the_reader_itself() {
    let house = House::new();
    for method in [CR, "aka"] {
        let (mut lock, serve) = house.listening_lock(&["--count", "3", "--method", method]);
        assert_eq!(lock.seen[0]["driver"], "vpcd");
        let mut phone = house.phone(&serve, &["--retap"]);
        for _ in 0..3 {
            assert_opens(&mut lock, method, 2);
            assert_eq!(told(&mut phone), "open");
        }
        assert_eq!(lock.wait_exit(LONG).code(), Some(0));
    }
    // The port is taken: said, not waited for.
    let (lock, serve) = house.listening_lock(&[]);
    let address = serve.replace("vpcd:", "vpcd-listen:");
    let (code, _, stderr) = run(&["apdu", "--reader", &address, "00A4040000"], &[], LONG);
    assert!(code == 3 && stderr.contains("cannot listen"), "{stderr}");
    drop(lock);
}

#[test]
fn a_listening_phone_outlives_its_peers() {
    let house = House::new();
    let (mut phone, listen) = house.listening_phone(&[]);
    let select = hex(raw::SELECT_CR);

    // Cut at every byte: power on, ATR, SELECT.
    let stream = [message(&[1]), message(&[4]), message(&select)].concat();
    for cut in 1..stream.len() {
        let mut raw = Raw::connect(&listen);
        raw.stream.write_all(&stream[..cut]).unwrap();
        raw.stream.flush().unwrap();
        // Without this the pieces could arrive as one.
        thread::sleep(Duration::from_millis(2));
        raw.stream.write_all(&stream[cut..]).unwrap();
        assert_eq!(raw.receive().unwrap(), [0x3B, 0x80, 0x80, 0x01, 0x01], "cut at {cut}");
        let fci = raw.receive().unwrap();
        assert!(
            fci.starts_with(&[0x6F, 0x34]) && fci.ends_with(&[0x90, 0x00]),
            "cut at {cut}: {fci:02x?}"
        );
        raw.close();
    }
    // One byte at a time.
    let mut raw = Raw::connect(&listen);
    for byte in &stream {
        raw.stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(raw.receive().unwrap().len(), 5);
    assert_eq!(raw.receive().unwrap().len(), 0x38);
    raw.close();

    // Hanging up in the middle, at every byte.
    for cut in 0..stream.len() {
        let mut raw = Raw::connect(&listen);
        raw.stream.write_all(&stream[..cut]).unwrap();
        raw.close();
    }
    // Messages that mean nothing, and one of the greatest length.
    let mut raw = Raw::connect(&listen);
    for body in [&[][..], &[3], &[0xFF], &[2], &[0]] {
        raw.send(body).unwrap();
    }
    assert_eq!(raw.power_on().len(), 5);
    let answer = raw.apdu(&vec![0x5A; 0xFFFF]);
    assert_eq!(answer.len(), 2, "{answer:02x?}");
    assert_ne!(answer, [0x90, 0x00]);
    for garbage in [
        &[0xFF, 0xFF][..],
        &[0, 0],
        &[0x80, 0x88, 0, 0, 0xFF],
        &[0x00, 0xA4, 0x04, 0x00, 0xFF, 1, 2],
    ] {
        assert_eq!(raw.apdu(garbage).len(), 2, "{garbage:02x?}");
    }
    // Noise from a generator, so that every run sees the same; the answers are not looked at.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for _ in 0..200 {
        let length = 2 + next(&mut state) as usize % 300;
        let noise: Vec<u8> = (0..length).map(|_| next(&mut state) as u8).collect();
        assert!(raw.apdu(&noise).len() >= 2);
    }
    raw.close();
    let mut raw = Raw::connect(&listen);
    let noise: Vec<u8> = (0..5000).map(|_| next(&mut state) as u8).collect();
    let _ = raw.stream.write_all(&noise);
    raw.close();

    // After all this it is a phone that opens.
    let (mut lock, serve) = house.listening_lock(&[]);
    relay(serve.strip_prefix("vpcd:").unwrap(), &listen, &mut |command, answer| {
        (!command.starts_with(&[0x80, 0x3C])).then_some(answer)
    });
    assert_opens(&mut lock, CR, 2);
    interrupt(&mut phone, "after all this");
    let stderr = phone.stderr();
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// xorshift64.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn a_peer_that_promises_and_hangs_is_hung_up_on() {
    let house = House::new();
    let (mut phone, listen) = house.listening_phone(&[]);
    let mut hanging = Raw::connect(&listen);
    hanging.power_on();
    // 65,535 bytes are promised and three come.
    hanging.stream.write_all(&[0xFF, 0xFF, 1, 2, 3]).unwrap();
    // Somebody else has to wait until the phone loses patience with the first (30 s).
    let mut waiting = Raw::connect(&listen);
    let mut buffer = [0; 16];
    hanging.stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let ended = hanging.stream.read(&mut buffer);
    assert!(matches!(ended, Ok(0)) || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    let trouble = phone.wait_event("trouble", LONG);
    assert!(
        trouble["detail"].as_str().unwrap().contains("in the middle of a message"),
        "{trouble}"
    );
    waiting.power_on();
    assert!(waiting.apdu(&hex(raw::SELECT_CR)).starts_with(&[0x6F, 0x34]));
}

#[test]
fn what_the_policy_forbids() {
    let house = House::new();
    // Until when.
    let ended = [("# not-after = \"2030-01-01T00:00:00Z\"", "not-after = \"2020-01-01T00:00:00Z\"")];
    house.variant("lock.toml", "ended.toml", &ended);
    let (mut lock, serve) = house.listening_lock_of("ended.toml", &["--once"]);
    let mut phone = house.phone(&serve, &[]);
    assert_tap(&tap(&mut lock), "refused", Some("not-entitled"));
    assert_eq!(told(&mut phone), "not-entitled");
    assert_eq!(lock.wait_exit(LONG).code(), Some(1));
    drop(phone);

    // By which method: the weaker one is refused, the stronger one opens in the same tap.
    house.edit("lock.toml", "weakest = \"challenge-response\"", "weakest = \"aka\"");
    let (mut lock, serve) = house.listening_lock(&["--once"]);
    let mut phone = house.phone(&serve, &[]);
    let tap = tap(&mut lock);
    assert_tap(&tap, "open", None);
    assert_eq!(tap["method"], "aka", "{tap}");
    assert_eq!(told(&mut phone), "open");
    assert_eq!(lock.wait_exit(LONG).code(), Some(0));
    drop(phone);
    let (mut lock, serve) = house.listening_lock(&["--once", "--method", CR]);
    let mut phone = house.phone(&serve, &[]);
    assert_tap(&house::tap(&mut lock), "refused", Some("policy"));
    assert_eq!(told(&mut phone), "policy");
    assert_eq!(lock.wait_exit(LONG).code(), Some(1));
    drop(phone);

    // The user must have been asked.
    house.edit("lock.toml", "weakest = \"aka\"", "require-user-authentication = true");
    house.edit("phone.toml", "user-authenticated = true", "user-authenticated = false");
    let (mut lock, serve) = house.listening_lock(&["--once", "--method", CR]);
    let _phone = house.phone(&serve, &[]);
    assert_tap(&house::tap(&mut lock), "refused", Some("policy"));
}

#[test]
fn failures_delay_the_phone_that_failed_and_nobody_else() {
    let house = House::new();
    let stranger = House::new();
    let (mut lock, serve) = house.listening_lock(&[]);
    let failing = house.phone(&serve, &["--lab", "wrong-key", "--retap"]);
    // 100, 200, 400, ... 3200 ms are behind it then, and 5000 before it.
    for _ in 0..7 {
        assert_tap(&tap(&mut lock), "refused", Some("wrong-key"));
    }
    let failed = Instant::now();
    drop(failing);
    let unknown = stranger.phone(&serve, &[]);
    assert_tap(&tap(&mut lock), "refused", Some("unknown-phone"));
    let unknown_took = failed.elapsed();
    drop(unknown);
    let _phone = house.phone(&serve, &[]);
    assert_opens(&mut lock, CR, 2);
    let own_took = failed.elapsed();
    // The lock's own time of the failure is a little before ours.
    assert!(own_took >= Duration::from_millis(4500), "{own_took:?}");
    assert!(
        unknown_took < own_took - Duration::from_millis(500),
        "{unknown_took:?}, {own_took:?}"
    );
}
