//! What an engineer asks of the desk: `doctor` of the machine, `probe` of the phone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/house.rs"]
mod house;
#[path = "support/proc.rs"]
mod proc;

use std::fs;

use serde_json::Value;

use crate::house::{House, LONG};
use crate::proc::{Proc, json, text};

/// A file of workbench's recorded machines.
fn machine(name: &str) -> String {
    format!("{}/../workbench/tests/systems/{name}.json", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_doctor_tells_by_its_exit_status_whether_something_is_in_the_way() {
    for (name, status, state) in [
        ("healthy", 0, "ok"),
        ("escape-refused", 0, "warning"),
        ("kernel-holds", 1, "problem"),
        ("no-reader", 1, "problem"),
    ] {
        let (code, events, stderr) = json(&["doctor", "--recorded", &machine(name)]);
        assert_eq!(code, status, "{name}: {stderr}");
        let (summary, findings) = events.split_last().unwrap();
        assert_eq!(
            (&summary["event"], &summary["ok"]),
            (&"summary".into(), &(status == 0).into()),
            "{name}"
        );
        assert!(
            findings
                .iter()
                .all(|finding| finding["event"] == "finding" && finding["cure"].is_array()),
            "{findings:?}"
        );
        assert!(findings.iter().any(|finding| finding["state"] == state), "{name}: {findings:?}");
        let (code, stdout, _) = text(&["doctor", "--recorded", &machine(name)]);
        assert_eq!((code, stdout.contains("->")), (status, state != "ok"), "{name}: {stdout}");
    }
    // This machine, whatever it is: recorded, it says the same again.
    let house = House::new();
    let file = house.arg("machine.json");
    let (code, live, _) = json(&["doctor", "--record", &file]);
    assert!(code == 0 || code == 1);
    assert_eq!(json(&["doctor", "--recorded", &file]), (code, live, String::new()));
    let (code, _, stderr) = text(&["doctor", "--record", &file]);
    assert!(code == 2 && stderr.contains("machine.json"), "{stderr}");
    fs::write(house.path("machine.json"), "{\"os\": 5}").unwrap();
    let (code, _, stderr) = text(&["doctor", "--recorded", &file]);
    assert!(code == 4 && stderr.contains("no recording"), "{stderr}");
}

#[test]
fn a_probe_says_what_a_phone_is_and_its_tape_says_it_again() {
    let house = House::new();
    let tape = house.arg("phone.tape");
    let (code, live, stderr) = json(&["probe", "--reader", "sim:", "--record", &tape]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!((&live[0]["event"], &live[1]["event"]), (&"ready".into(), &"atr".into()));
    assert_eq!(live[1]["kind"], "contactless");
    let summary = live.last().unwrap();
    assert_eq!((&summary["event"], &summary["android"]), (&"summary".into(), &false.into()));
    assert!(summary["ours"].as_u64().unwrap() >= 3, "{summary}");
    let application = live.iter().find(|event| event["aid"] == "f0544150444f4f5201").unwrap();
    assert_eq!(
        (&application["state"], &application["sw"], &application["data"]),
        (&"present".into(), &"9000".into(), &Value::Null)
    );
    assert!(application["length"].as_u64().unwrap() > 30 && application["ms"].is_f64());
    // Answer times aside.
    let without_times = |events: &[Value]| -> Vec<Value> {
        let mut rest: Vec<Value> = events.iter().skip(1).filter(|event| event["event"] != "times").cloned().collect();
        for event in &mut rest {
            event["ms"] = Value::Null;
            if event["times"]["answers"].is_u64() {
                event["times"] = event["times"]["answers"].take();
            }
        }
        rest
    };
    let (code, again, stderr) = json(&["probe", "--reader", &format!("tape:{tape}")]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(without_times(&live), without_times(&again));
    // A phone without the application, for people.
    let (code, stdout, _) = text(&["probe", "--reader", "sim:missing"]);
    assert!(
        code == 0 && stdout.contains("absent") && stdout.contains("f0544150444f4f5201"),
        "{stdout}"
    );
    let (_, shown, _) = json(&["probe", "--reader", "sim:", "--show-secrets"]);
    assert!(
        shown
            .iter()
            .any(|event| event["aid"] == "f0544150444f4f5201" && event["data"].is_string())
    );
    // Gone in the middle: what was learned is told, and then why it ends.
    let (code, events, stderr) = json(&["probe", "--reader", "sim:tear=7"]);
    assert!(code == 3 && stderr.contains("hold the phone still"), "{stderr}");
    assert!(events.iter().any(|event| event["event"] == "android"), "{events:?}");
}

#[test]
fn a_probe_of_a_card_program_that_connects() {
    let house = House::new();
    let mut probe = Proc::tapdoor(&["probe", "--reader", "vpcd-listen:127.0.0.1:0"], &[]);
    let listen = probe.wait_event("ready", LONG)["listen"].as_str().unwrap().to_owned();
    let phone = house.arg("phone.toml");
    let _phone = Proc::tapdoor(&["phone", "--config", &phone, "--serve", &format!("vpcd:{listen}")], &[]);
    assert!(probe.wait_event("summary", LONG)["ours"].as_u64().unwrap() >= 3);
}
