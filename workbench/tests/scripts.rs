//! The language of scripts: what is understood, what is refused and where, and how scripts run against a phone in this process.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tapdoor_link::stop::Stop;
use tapdoor_reader::LockConfig;
use tapdoor_workbench::ReaderSpec;
use tapdoor_workbench::desk::Desk;
use tapdoor_workbench::init::{InitOptions, init};
use tapdoor_workbench::script::run::Silent;
use tapdoor_workbench::script::{self, LoadError, Options, Outcome, OwnLock, Report, Runner};

fn desk(reader: &str, lock_toml: Option<&Path>) -> Desk {
    let spec: ReaderSpec = reader.parse().unwrap();
    Desk::new(spec.open(lock_toml, Duration::ZERO).unwrap(), Duration::from_secs(5), &Stop::new())
}

fn run_with(text: &str, reader: &str, keep_going: bool, set: &[(&str, &str)]) -> Report {
    let script = script::load_named("t.door", text).unwrap();
    let mut desk = desk(reader, None);
    let mut silent = Silent;
    let mut runner = Runner::new(&mut desk, None, &mut silent, Options { keep_going });
    for (name, value) in set {
        runner.variables.set(name, *value);
    }
    runner.run(&[script])
}

fn run(text: &str) -> Report {
    run_with(text, "sim:", true, &[])
}

#[track_caller]
fn passes(text: &str) {
    let report = run(text);
    assert_eq!(report.counts(), [1, 0, 0, 0], "{:#?}", report.cases);
}

/// What, expected and got of the only failure.
#[track_caller]
fn failure(report: &Report) -> script::Failure {
    let mut failures = report.cases.iter().filter_map(|case| match &case.outcome {
        Outcome::Failed(failure) => Some(failure.as_ref().clone()),
        _ => None,
    });
    let failure = failures.next().expect("a failure");
    assert!(failures.next().is_none());
    failure
}

#[test]
fn errors_name_line_column_and_what_was_expected() {
    for (text, line, column, expected) in [
        ("selct aka", 1, 1, "a step"),
        ("\nselect", 2, 7, "select AID"),
        ("select nobody", 1, 8, "card-manager"),
        ("select aka p2", 1, 14, "select AID"),
        ("select aka p2 0", 1, 15, "two hexadecimal digits"),
        ("apdu 00A", 1, 6, "hexadecimal"),
        ("apdu 00 zz", 1, 9, "hexadecimal"),
        ("apdu", 1, 5, "hexadecimal"),
        ("apdu 0{x}", 1, 6, "hexadecimal"),
        ("expect", 1, 7, "sw, data"),
        ("expect sw 900", 1, 11, "four hexadecimal digits"),
        ("expect sw", 1, 10, "four hexadecimal digits"),
        ("auth alira", 1, 6, "one of challenge-response, aka"),
        ("skip unless method x", 1, 20, "one of challenge-response"),
        ("expect data 6F.", 1, 15, "any byte"),
        ("expect data 6F..G0", 1, 17, "two hexadecimal digits"),
        ("expect data {x:0}", 1, 13, "from 1"),
        ("expect time 50ms", 1, 13, "expect time < 50ms"),
        ("expect time < 50", 1, 15, "units"),
        ("expect time < 99999999s", 1, 15, "units"),
        ("expect fail wrong-keys", 1, 13, "wrong-key"),
        ("expect tag 6", 1, 12, "tags"),
        ("let 1x = 00", 1, 5, "a name"),
        ("let x 00", 1, 7, "NAME = VALUE"),
        ("let x =", 1, 8, "a value"),
        ("let x = data[4..2]", 1, 9, "data[FROM..TO]"),
        ("let x = random 0", 1, 16, "from 1"),
        ("for x in A", 1, 11, "{ STEPS }"),
        ("for x A { }", 1, 7, "for NAME in"),
        ("for x in A {\nreset", 2, 1, "}"),
        ("reset }", 1, 7, "a step"),
        ("reset {\n}", 1, 7, "only for has a block"),
        ("reset now", 1, 7, "the end of the step"),
        ("wait for it", 1, 6, "wait card"),
        ("skip unless", 1, 12, "conditions"),
        ("skip unless aliro", 1, 13, "conditions"),
        ("include", 1, 8, "a file"),
        ("note \"x", 1, 6, "another \""),
        ("\u{feff}reset\r\nselct", 2, 1, "a step"),
    ] {
        let error = script::load_named("t.door", text).expect_err(text);
        let LoadError::Parse(error) = error else {
            panic!("{text}: {error}")
        };
        assert_eq!((error.place.line, error.place.column), (line, column), "{text}: {error}");
        assert!(error.expected.contains(expected), "{text}: {error}");
        assert!(error.to_string().starts_with(&format!("t.door:{line}:{column}: found ")), "{error}");
    }
}

#[test]
fn blocks_stand_at_most_so_deep_and_scripts_do_not_include_themselves() {
    let deep = "for x in A {\n".repeat(40) + &"}\n".repeat(40);
    assert!(matches!(script::load_named("t", &deep), Err(LoadError::Parse(_))));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.door");
    std::fs::write(&path, "include a.door\n").unwrap();
    let error = script::load(path.to_str().unwrap()).unwrap_err();
    assert!(matches!(error, LoadError::Endless { .. }), "{error}");
    std::fs::write(&path, "include no.door\n").unwrap();
    let error = script::load(path.to_str().unwrap()).unwrap_err();
    assert!(
        matches!(error, LoadError::Include { .. }) && error.to_string().contains("a.door:1:9: include"),
        "{error}"
    );
    std::fs::write(&path, b"reset\nnote \xFF\n").unwrap();
    let error = script::load(path.to_str().unwrap()).unwrap_err();
    assert!(matches!(error, LoadError::NotText { line: 2, offset: 11, .. }), "{error}");
    assert!(matches!(script::load("suite:none"), Err(LoadError::NoSuite(_))));
}

#[test]
fn captures_values_tags_and_lengths() {
    passes(
        "select challenge-response\n\
         expect sw 9000\n\
         expect data 6F {l:1} 84 09 F0544150444F4F5201 A5 .. 80 01 01 81 10 {rp:16} 82 10 {t:*}\n\
         expect tag 6F/A5/81 {rp}\n\
         let other = tag 6F/A5/82\n\
         expect equal {t} {other}\n\
         expect different {t} {rp}\n\
         expect length = 54\n\
         expect length > 53\n\
         expect time < 5s\n\
         let head = data[0..2]\n\
         expect equal {head} 6f34\n\
         expect no tag 6F/A5/99\n\
         let sw = sw\n\
         expect equal {sw} 9000\n\
         let name = F0544150444F4F52FE\n\
         apdu 00A40400 {#name} {name} 00\n\
         expect sw 6A82 or 6Dxx\n\
         expect data\n",
    );
}

#[test]
fn a_failing_expectation_says_where_what_and_the_bytes() {
    let found = failure(&run("select aka\nexpect data 6F..85...\n"));
    assert_eq!((found.place.line, found.what.as_str()), (2, "byte 2: expected 85, got 84"));
    assert_eq!(found.expected.as_deref(), Some("6F..85..."));
    assert!(found.got.as_ref().is_some_and(|got| got.starts_with("6F3484")) && !found.error);
    assert!(
        found
            .exchange
            .as_ref()
            .is_some_and(|(command, _)| command == "00a4040009f0544150444f4f520200")
    );
    let text = found.to_string();
    assert!(text.starts_with("t.door:2: expect data 6F..85...: byte 2:"), "{text}");

    let found = failure(&run("select aka\nexpect sw 6A82 61xx\n"));
    assert_eq!(
        (found.expected.as_deref(), found.got.as_deref()),
        (Some("6A82 or 61xx"), Some("9000"))
    );
    let found = failure(&run("apdu {x}\n"));
    assert!(found.error && found.what.contains("--set x=VALUE"), "{}", found.what);
    let found = failure(&run("expect sw 9000\n"));
    assert!(found.error && found.what.contains("no answer"));
    let found = failure(&run("let x = hello\napdu {x}\n"));
    assert!(found.error && found.what.contains("hexadecimal"), "{}", found.what);
    let found = failure(&run("auth aka\n"));
    assert!(found.error && found.what.contains("--config"));
}

#[test]
fn loops_names_and_scripts_that_skip() {
    passes("for a in challenge-response aka identity { select {a}; expect sw 9000 }\n");
    let report = run("skip unless method aliro\nselect aka\nexpect sw 6A82\n");
    assert_eq!(report.counts(), [0, 1, 0, 0]);
    let report = run(
        "for n in 1 2 3 {\ntest \"case {n}\"\nselect aka\nskip if reader sim\nexpect sw 6A82\n}\ntest last\nselect aka\nexpect sw 9000\n",
    );
    assert_eq!(report.counts(), [1, 3, 0, 0], "{report:?}");
    assert_eq!(
        report.cases.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        ["case 1", "case 2", "case 3", "last"]
    );
    passes("default a = aka\nselect {a}\nexpect tag 6F/84 F0544150444F4F5202\n");
    let report = run_with(
        "default a = aka\nselect {a}\nexpect tag 6F/84 F0544150444F4F520F\n",
        "sim:",
        false,
        &[("a", "identity")],
    );
    assert_eq!(report.counts(), [1, 0, 0, 0], "{report:?}");
    // A script in which nothing happens has passed.
    passes("note nothing\n");
}

#[test]
fn a_failure_ends_the_run_unless_it_may_go_on() {
    let text = "test one\nselect aka\nexpect sw 6A82\nexpect sw 6A83\ntest two\nselect aka\nexpect sw 9000\n";
    assert_eq!(run_with(text, "sim:", true, &[]).counts(), [1, 0, 1, 0]);
    assert_eq!(run_with(text, "sim:", false, &[]).counts(), [0, 0, 1, 0]);
}

#[test]
fn a_card_that_leaves_can_be_expected() {
    let report = run_with(
        "select aka\nexpect sw 9000\nselect aka\nexpect fail torn\n",
        "sim:tear=2",
        false,
        &[],
    );
    assert_eq!(report.counts(), [1, 0, 0, 0], "{report:?}");
    let report = run_with("select aka\nselect aka\nexpect sw 9000\n", "sim:tear=2", false, &[]);
    assert_eq!(report.counts(), [0, 0, 0, 1]);
    assert_eq!(failure(&report).place.line, 2);
    let found = failure(&run("select aka\nexpect fail torn\n"));
    assert_eq!(found.got.as_deref(), Some("an answer"));
    // The last step of a script counts, too.
    let report = run_with("select aka", "sim:tear=1", false, &[]);
    assert_eq!(report.counts(), [0, 0, 0, 1]);
}

#[test]
fn the_suites_pass_against_our_phone_with_and_without_keys() {
    let folder = tempfile::tempdir().unwrap();
    let options = InitOptions {
        phones: 1,
        usim: false,
        bare_phone: false,
    };
    init(folder.path(), options).unwrap();
    let lock_toml = folder.path().join("lock.toml");
    let suites: Vec<_> = ["suite:door", "suite:iso7816"].map(|name| script::load(name).unwrap()).into();
    let mut silent = Silent;
    for config in [None, Some(lock_toml.as_path())] {
        let mut lock = config.map(|path| OwnLock::new(LockConfig::load(path).unwrap()).unwrap());
        let mut desk = desk("sim:", config);
        let report = Runner::new(&mut desk, lock.as_mut(), &mut silent, Options { keep_going: true }).run(&suites);
        let [passed, skipped, failed, errors] = report.counts();
        assert_eq!((failed, errors), (0, 0), "{:#?}", report.cases);
        assert!(
            passed >= 30 && (config.is_none() || passed >= 34),
            "{passed} passed, {skipped} skipped"
        );
    }
    // And they find what is wrong.
    let mut lock = OwnLock::new(LockConfig::load(&lock_toml).unwrap()).unwrap();
    let mut desk = desk("sim:wrong-key", Some(&lock_toml));
    let report = Runner::new(&mut desk, Some(&mut lock), &mut silent, Options { keep_going: true }).run(&suites);
    assert_eq!(report.counts()[2], 6, "{report:?}");
}

#[test]
fn auth_and_what_may_be_expected_of_it() {
    let folder = tempfile::tempdir().unwrap();
    init(
        folder.path(),
        InitOptions {
            phones: 1,
            usim: false,
            bare_phone: false,
        },
    )
    .unwrap();
    let lock_toml = folder.path().join("lock.toml");
    let run = |reader: &str, text: &str| {
        let mut lock = OwnLock::load(&lock_toml).unwrap();
        let mut desk = desk(reader, Some(&lock_toml));
        let script = script::load_named("t", text).unwrap();
        Runner::new(&mut desk, Some(&mut lock), &mut Silent, Options::default()).run(&[script])
    };
    let good = "auth challenge-response\nexpect open\nexpect time < 5s\nauth aka-tuak\nauth aka-milenage\nauth\n";
    assert_eq!(run("sim:", good).counts(), [1, 0, 0, 0]);
    assert_eq!(
        run(
            "sim:wrong-key",
            "auth aka\nexpect fail wrong-key\nauth challenge-response\nexpect fail wrong-key\n"
        )
        .counts(),
        [1, 0, 0, 0]
    );
    let found = failure(&run("sim:wrong-key", "auth aka\nreset\n"));
    assert_eq!((found.place.line, found.got.as_deref()), (1, Some("wrong-key")));
    let found = failure(&run("sim:", "auth aka\nexpect fail wrong-key\n"));
    assert_eq!((found.expected.as_deref(), found.got.as_deref()), (Some("wrong-key"), Some("open")));
    assert!(failure(&run("sim:", "let m = fly\nauth {m}\n")).what.contains("no method"));
}

#[test]
fn a_stop_ends_the_run_between_steps() {
    let stop = Stop::new();
    let spec: ReaderSpec = "sim:".parse().unwrap();
    let mut desk = Desk::new(spec.open(None, Duration::ZERO).unwrap(), Duration::from_secs(5), &stop);
    stop.stop();
    let script = script::load_named("t", "select aka\nexpect sw 9000\n").unwrap();
    let report = Runner::new(&mut desk, None, &mut Silent, Options::default()).run(&[script]);
    assert!(report.stopped && report.cases.is_empty());
}

fn a_line() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "select",
        "aka",
        "apdu",
        "00A4",
        "expect",
        "sw",
        "9000",
        "61xx",
        "data",
        "..",
        "...",
        "{x}",
        "{x:4}",
        "{#x}",
        "{x:*}",
        "time",
        "<",
        "50ms",
        "let",
        "x",
        "=",
        "random",
        "tag",
        "6F/A5",
        "for",
        "in",
        "{",
        "}",
        ";",
        "skip",
        "unless",
        "method",
        "if",
        "wait",
        "card",
        "include",
        "\"",
        "#",
        "reset",
        "auth",
        "fail",
        "torn",
        "note",
        "test",
        "default",
        "data[1..2]",
        "no",
        "equal",
        "é",
        "\u{0}",
    ]);
    prop::collection::vec(words, 0..10).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn reading_never_panics(text: String) {
        let _ = script::load_named("t", &text);
    }

    #[test]
    fn nor_does_reading_lines_that_are_nearly_right(lines in prop::collection::vec(a_line(), 0..8)) {
        let _ = script::load_named("t", &lines.join("\n"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nor_does_running_them(lines in prop::collection::vec(a_line(), 0..8)) {
        let text = lines.join("\n").replace("wait", "reset");
        if let Ok(script) = script::load_named("t", &text) {
            let mut desk = desk("sim:", None);
            let mut silent = Silent;
            let _ = Runner::new(&mut desk, None, &mut silent, Options { keep_going: true }).run(&[script]);
        }
    }
}
