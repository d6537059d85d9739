//! `run`, `shell`, `verify` and `replay` as their users have them: output, refusals, exit statuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/house.rs"]
mod house;
#[path = "support/proc.rs"]
mod proc;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::house::{House, LONG};
use crate::proc::{Proc, root, run, tapdoor};

fn script(house: &House, name: &str, text: &str) -> String {
    fs::write(house.path(name), text).unwrap();
    house.arg(name)
}

fn find<'a>(objects: &'a [Value], event: &str) -> Vec<&'a Value> {
    objects.iter().filter(|o| o["event"] == event).collect()
}

/// Lines into a shell in a pipe: exit status, stdout, stderr.
fn shell(arguments: &[&str], lines: &str) -> (i32, String, String) {
    let mut child = Command::new(tapdoor())
        .arg("shell")
        .args(arguments)
        .env_remove("TAPDOOR_READER")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn scripts_run_and_fail_with_place_and_bytes() {
    let house = House::new();
    let config = house.arg("lock.toml");
    let (code, objects, stderr) = run(&["run", "suite:door", "--reader", "sim:", "--config", &config], &[], LONG);
    assert_eq!(code, 0, "{stderr}");
    let summary = find(&objects, "summary")[0];
    assert!(summary["passed"].as_u64().unwrap() >= 15 && summary["ok"] == true, "{summary}");

    let bad = script(
        &house,
        "bad.door",
        "test good\nselect aka\nexpect sw 9000\ntest bad\nselect aka\nexpect data 6F..85...\n",
    );
    let junit = house.arg("out.xml");
    let (code, objects, _) = run(&["run", &bad, "--reader", "sim:", "--junit", &junit], &[], LONG);
    assert_eq!(code, 1);
    let failure = &find(&objects, "test")[1]["failure"];
    assert_eq!(
        (failure["line"].as_u64(), failure["expected"].as_str()),
        (Some(6), Some("6F..85..."))
    );
    assert!(
        failure["got"].as_str().unwrap().starts_with("6F3484") && failure["file"] == bad.as_str(),
        "{failure}"
    );
    let xml = fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"1\"") && xml.contains("line=\"6\""), "{xml}");

    // Quiet: failures and the sum, nothing else, not even empty lines.
    let output = Command::new(tapdoor())
        .args(["-q", "run", &bad, "--reader", "sim:"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with("FAIL ") && text.ends_with("errors\n") && !text.contains("pass "),
        "{text}"
    );
    assert!(text.lines().all(|line| !line.is_empty()), "{text}");

    let unread = script(&house, "unread.door", "select aka\nexpct sw 9000\n");
    let (code, _, stderr) = run(&["run", &unread, "--reader", "sim:"], &[], LONG);
    assert!(
        code == 4 && stderr.contains("unread.door:2:1: found \"expct\"; expected a step"),
        "{code} {stderr}"
    );
    for (arguments, code) in [
        (vec!["run", "no-such.door", "--reader", "sim:"], 4),
        (vec!["run", "suite:none", "--reader", "sim:"], 2),
        (vec!["run", &bad], 2),
        (vec!["run", &bad, "--check"], 0),
        (vec!["run", "--list"], 0),
        (vec!["run", &bad, "--reader", "sim:tear=1"], 3),
        (vec!["run", &bad, "--reader", "sim:", "--set", "1=2"], 2),
    ] {
        let mut command = Command::new(tapdoor());
        command.args(&arguments).env_remove("TAPDOOR_READER").stdin(Stdio::null());
        assert_eq!(command.output().unwrap().status.code(), Some(code), "{arguments:?}");
    }
    let output = Command::new(tapdoor())
        .args(["run", &bad, "--reader", "sim:", "--form", "tap"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with("TAP version 14\n1..2\nok 1 - ") && text.contains("\nnot ok 2 - "),
        "{text}"
    );
}

#[test]
fn a_shell_in_a_pipe() {
    let house = House::new();
    let tape = house.arg("shell.tape");
    let lines = format!(
        "select aka\nexpect tag 6F/A5/81 {{rp:16}}\nvars\n80 88 00 00 04 01020304\nconfig {}\nrecord {tape}\nauth aka\nrecord off\nshow {tape}\nquit\nnever\n",
        house.arg("lock.toml")
    );
    let (code, stdout, stderr) = shell(&["--reader", "sim:"], &lines);
    assert_eq!(code, 0, "{stderr}");
    // What was typed is what was sent, and the card kept its state in between: 6700 comes from the application.
    assert!(
        stdout.contains("> 808800000401020304\n<  6700") || stdout.contains("> 808800000401020304\n< 6700"),
        "{stdout}"
    );
    assert!(
        stdout.contains("  rp = ") && stdout.contains("open aka 2 APDUs") && stdout.contains("AUTHENTICATE, AKA"),
        "{stdout}"
    );
    assert!(
        !stdout.contains("> select") && !stdout.contains("sim:"),
        "no prompt in a pipe: {stdout}"
    );

    // A block over several lines is one command, and what a tap selected stays selected.
    let config = house.arg("lock.toml");
    let lines = format!("config {config}\nfor method in challenge-response aka {{\n  auth {{method}}\n  expect open\n}}\n");
    let (code, stdout, stderr) = shell(&["--reader", "sim:"], &lines);
    assert!(code == 0 && stdout.matches("open ").count() == 2, "{stdout} {stderr}");
    let mut selected = Proc::tapdoor(&["shell", "--reader", "sim:", "--config", &config], &[]);
    selected.say("auth aka");
    selected.say("card");
    assert_eq!(selected.wait_event("card", LONG)["selected"], "aka");
    selected.say("reset");
    selected.say("card");
    assert_eq!(selected.wait_event("card", LONG)["selected"], Value::Null);
    // One that is never closed ends with the input.
    let (code, _, stderr) = shell(&["--reader", "sim:"], "for x in 1 {\nreset\n");
    assert!(code == 4 && stderr.contains("found the end of the script"), "{code} {stderr}");

    // What fails is told, with its line, and the rest goes on; the first failure's status is the shell's.
    let lines = "nonsense\n00A\nselect aka\nexpect sw 6A82\nlock --once\nshow nothing.tape\n\u{1}\nselect aka\n";
    let (code, stdout, stderr) = shell(&["--reader", "sim:"], lines);
    assert_eq!(code, 2, "{stderr}");
    for part in [
        "no command",
        "odd number",
        "not 6A82",
        "line 4: status 1",
        "--config",
        "nothing.tape",
    ] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert_eq!(stdout.matches("> 00a40400").count(), 2, "{stdout}");
    let (code, stdout, _) = shell(&["--reader", "sim:", "-e"], "select aka\nexpect sw 6A82\nselect aka\n");
    assert!(code == 1 && stdout.matches("> 00a40400").count() == 1);
    let (code, _, stderr) = shell(
        &["--reader", "sim:"],
        "select aka\nshell\nhelp\nhelp lock\nhelp select\nlock --help\n",
    );
    assert!(code == 2 && stderr.contains("a shell already"), "{stderr}");
    let (code, _, stderr) = shell(&[], "select aka\n");
    assert!(code == 2 && stderr.contains("reader READER"), "{stderr}");
    let (code, _, stderr) = shell(&["--reader", "sim:tear=1"], "select aka\n");
    assert!(code == 3 && stderr.contains("left the field"), "{stderr}");
    let (code, _, _) = shell(&["--reader", "sim:"], "");
    assert_eq!(code, 0);
    // Bytes that are no text.
    let mut child = Command::new(tapdoor())
        .args(["shell", "--reader", "sim:"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"\xFF\xFE\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

#[test]
fn a_shell_for_programs() {
    let mut shell = Proc::tapdoor(&["shell", "--reader", "sim:"], &[]);
    shell.wait_event("ready", LONG);
    shell.say("select identity");
    let answer = shell.wait_event("apdu", LONG);
    assert_eq!(answer["sw"], "9000");
    shell.say("expect sw 6A82");
    assert_eq!(shell.wait_event("error", LONG)["status"], 1);
    // The shell outlives what failed, and a command that is stopped.
    shell.say("wait 60s");
    std::thread::sleep(std::time::Duration::from_millis(300));
    shell.signal("INT");
    shell.say("select aka");
    assert_eq!(shell.wait_event("apdu", LONG)["sw"], "9000");
    shell.close_input();
    assert_eq!(shell.wait_exit(LONG).code(), Some(1));
}

#[test]
fn a_recorded_tap_is_verified_and_played() {
    let house = House::new();
    let (config, tape) = (house.arg("lock.toml"), house.arg("today.tape"));
    let (code, _, stderr) = run(
        &["lock", "--config", &config, "--reader", "sim:", "--count", "2", "--record", &tape],
        &[],
        LONG,
    );
    assert_eq!(code, 0, "{stderr}");
    let (code, objects, stderr) = run(&["verify", &tape, "--config", &config], &[], LONG);
    assert_eq!(code, 0, "{stderr}");
    let taps = find(&objects, "verify");
    assert!(taps.len() == 2 && taps.iter().all(|tap| tap["same_decision"] == true && tap["ok"] == true));
    let names: Vec<&str> = taps[0]["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["T", "TL", "TP", "K3"]);
    house.assert_no_secrets("verify", &objects.iter().map(Value::to_string).collect::<String>());

    for side in [
        vec!["replay", &tape, "--as", "card", "--config", &config],
        vec!["replay", &tape, "--as", "lock", "--reader", "sim:", "--config", &config],
    ] {
        let (code, objects, stderr) = run(&side, &[], LONG);
        assert_eq!(code, 0, "{side:?}: {objects:?} {stderr}");
        assert!(
            find(&objects, "replay").iter().all(|tap| tap["same_decision"] == true),
            "{objects:?}"
        );
    }
    // Bytes alone do not open, and say so.
    let (code, objects, _) = run(&["replay", &tape, "--as", "card", "--strict", "--config", &config], &[], LONG);
    assert!(
        code == 1 && find(&objects, "replay").iter().all(|tap| tap["same_decision"] == false),
        "{objects:?}"
    );
    let (code, objects, _) = run(&["replay", &tape, "--as", "lock", "--reader", "sim:missing-app"], &[], LONG);
    assert!(code == 1 && objects.iter().any(|o| o.to_string().contains("6a82")), "{objects:?}");
    // Another site's keys.
    let stranger = House::new();
    let (code, objects, _) = run(&["verify", &tape, "--config", &stranger.arg("lock.toml")], &[], LONG);
    assert!(code == 1 && find(&objects, "verify")[0]["now"]["reason"] == "unknown-phone");

    let rubbish = script(&house, "rubbish.tape", "\u{0}\u{1}rubbish");
    let empty = script(&house, "empty.tape", "");
    for file in [&rubbish, &empty, &house.arg("no.tape")] {
        for arguments in [
            vec!["verify", file, "--config", &config],
            vec!["replay", file, "--as", "card", "--config", &config],
        ] {
            let (code, _, stderr) = run(&arguments, &[], LONG);
            assert!(code == 4 && stderr.contains(file.as_str()), "{arguments:?}: {code} {stderr}");
        }
    }
    let (code, _, _) = run(&["replay", &tape, "--as", "card"], &[], LONG);
    assert_eq!(code, 2);
}

/// Aliro, by the command: a tape with secrets is verified whole, one without as far as it goes; the card opens again with the phone's credential.
#[test]
fn a_recorded_aliro_tap_is_verified_and_played() {
    let house = House::new();
    let (config, phone) = (house.arg("lock.toml"), house.arg("phone.toml"));
    let (whole, masked) = (house.arg("whole.tape"), house.arg("masked.tape"));
    let lock = ["lock", "--config", &config, "--reader", "sim:", "--count", "2", "--method", "aliro"];
    for (tape, secrets) in [(&whole, true), (&masked, false)] {
        let mut arguments = lock.to_vec();
        arguments.extend(["--record", tape]);
        arguments.extend(secrets.then_some("--show-secrets"));
        assert_eq!(run(&arguments, &[], LONG).0, 0);
        assert_eq!(fs::read_to_string(tape).unwrap().contains("\"random\""), secrets);
    }
    let aliro = ["--config", config.as_str(), "--method", "aliro"];
    let with = |first: &[&str]| {
        let mut arguments = first.to_vec();
        arguments.extend(aliro);
        run(&arguments, &[], LONG)
    };
    let (code, objects, stderr) = with(&["verify", &whole]);
    let taps = find(&objects, "verify");
    assert_eq!(code, 0, "{objects:?} {stderr}");
    assert!(
        taps.iter().all(|tap| tap["judged"] == true && tap["same_decision"] == true),
        "{objects:?}"
    );
    // The store of the lock has the Kpersistent of its last standard phase, which the second tap of the masked tape used.
    let (code, objects, stderr) = with(&["verify", &masked]);
    let taps = find(&objects, "verify");
    assert_eq!(code, 0, "{objects:?} {stderr}");
    assert_eq!(
        (&taps[0]["judged"], &taps[1]["judged"]),
        (&Value::Bool(false), &Value::Bool(true)),
        "{objects:?}"
    );
    assert!(taps[0]["unproven"].to_string().contains("ephemeral"), "{objects:?}");
    assert_eq!(find(&objects, "summary")[0]["unjudged"], 1);

    for side in [
        vec!["replay", masked.as_str(), "--as", "card", "--phone", &phone],
        vec!["replay", masked.as_str(), "--as", "lock", "--reader", "sim:"],
    ] {
        let (code, objects, stderr) = with(&side);
        assert_eq!(code, 0, "{side:?}: {objects:?} {stderr}");
        assert!(
            find(&objects, "replay").iter().all(|tap| tap["now"]["verdict"] == "open"),
            "{objects:?}"
        );
    }
    // Without keys the tape's answers open nothing, and its proof is refused by a phone that drew anew.
    let lone = tempfile::tempdir().unwrap();
    let alone = lone.path().join("lock.toml");
    fs::copy(&config, &alone).unwrap();
    let (code, objects, _) = run(
        &[
            "replay",
            &masked,
            "--as",
            "card",
            "--config",
            alone.to_str().unwrap(),
            "--method",
            "aliro",
        ],
        &[],
        LONG,
    );
    assert!(
        code == 1 && find(&objects, "replay").iter().all(|tap| tap["now"]["verdict"] == "refused"),
        "{objects:?}"
    );
    let (code, objects, _) = run(&["replay", &masked, "--as", "lock", "--reader", "sim:", "--tap", "1"], &[], LONG);
    assert!(
        code == 1 && objects.iter().any(|o| o["changed"][0]["what"][0].to_string().contains("6400")),
        "{objects:?}"
    );
    let (code, _, stderr) = run(&["verify", &masked, "--config", &config, "--key", "12"], &[], LONG);
    assert!(code == 2 && stderr.contains("64 hexadecimal digits"), "{stderr}");

    // A tape with secrets is deciphered from itself, standard and fast; the other one only where the lock's chip remembers.
    for (tape, statuses) in [(&whole, 2), (&masked, 1)] {
        let (code, objects, stderr) = run(&["show", tape, "--config", &config, "--layer", "apdu"], &[], LONG);
        let text = objects.iter().map(Value::to_string).collect::<String>();
        assert_eq!((code, text.matches("\"reader status\"").count()), (0, statuses), "{stderr} {text}");
    }
    // What was redacted is no longer of these keys, and that is said.
    let clean = house.arg("clean.tape");
    assert_eq!(run(&["redact", &whole, &clean], &[], LONG).0, 0);
    let (code, objects, stderr) = with(&["verify", &clean]);
    assert!(code == 1 && stderr.contains("redacted"), "{objects:?} {stderr}");
    let tap = find(&objects, "verify")[0];
    assert_eq!(tap["difference"]["what"], "today's lock sends another command", "{tap}");

    // To a lock in another process, with the phone's file alone.
    let mut lock = Proc::tapdoor(
        &[
            "lock",
            "--config",
            &config,
            "--reader",
            "vpcd-listen:127.0.0.1:0",
            "--once",
            "--method",
            "aliro",
        ],
        &[],
    );
    let serve = format!("vpcd:{}", lock.wait_event("ready", LONG)["listen"].as_str().unwrap());
    let mut card = Proc::tapdoor(&["replay", &masked, "--as", "card", "--phone", &phone, "--serve", &serve], &[]);
    card.wait_event("ready", LONG);
    let tap = lock.wait_event("tap", LONG);
    assert_eq!(tap["verdict"], "open", "{tap}");
    assert_eq!(card.wait_event("answered", LONG)["how"], "recomputed");
}

/// The recorded phone in front of a lock in another process, through vpcd's framing: it opens again, with a challenge that is new.
#[test]
fn a_recorded_card_opens_a_live_lock_with_keys_only() {
    let house = House::new();
    let (config, tape) = (house.arg("lock.toml"), house.arg("today.tape"));
    let (code, _, stderr) = run(
        &["lock", "--config", &config, "--reader", "sim:", "--once", "--record", &tape],
        &[],
        LONG,
    );
    assert_eq!(code, 0, "{stderr}");
    for (with_keys, verdict) in [(true, "open"), (false, "refused")] {
        let mut lock = Proc::tapdoor(&["lock", "--config", &config, "--reader", "vpcd-listen:127.0.0.1:0", "--once"], &[]);
        let listen = lock.wait_event("ready", LONG)["listen"].as_str().unwrap().to_owned();
        let serve = format!("vpcd:{listen}");
        let mut arguments = vec!["replay", &tape, "--as", "card", "--serve", &serve];
        if with_keys {
            arguments.extend(["--config", &config]);
        }
        let mut card = Proc::tapdoor(&arguments, &[]);
        card.wait_event("ready", LONG);
        let tap = lock.wait_event("tap", LONG);
        assert_eq!(tap["verdict"], verdict, "{tap}");
        let answered = card.wait_for("an answer to AUTHENTICATE", LONG, |v| {
            v["event"] == "answered" && v["exchange"] == 2
        });
        assert_eq!(answered["how"], if with_keys { "recomputed" } else { "alike" });
    }
}

/// The shell at a terminal: tests/support/shell_pty.py, because a terminal needs a pseudo-terminal.
#[test]
fn a_shell_at_a_terminal() {
    let state = tempfile::tempdir().unwrap();
    let Ok(output) = Command::new("python3")
        .arg(root().join("tests/support/shell_pty.py"))
        .arg(tapdoor())
        .env("XDG_STATE_HOME", state.path())
        .env_remove("TAPDOOR_READER")
        .output()
    else {
        eprintln!("python3 is not here: the terminal is not tested");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let history = fs::read_to_string(state.path().join("tapdoor/history")).unwrap();
    assert!(history.contains("select aka") && !history.contains("0102030405"), "{history}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(state.path().join("tapdoor/history")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}
