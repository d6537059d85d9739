//! The doctor on machines that were recorded: what it finds, and the cure that it names. Recordings are in tests/systems.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use std::cell::RefCell;

use tapdoor_simulator::Field;
use tapdoor_simulator::acr122u::{Acr122u, Quirks, Reply};
use tapdoor_workbench::doctor::{Asked, Finding, Here, Look, NoReaders, Program, Reader, Recorder, Recording, State, System, examine};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/systems"))
}

fn recording(name: &str) -> Recording {
    let text = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// What is wrong on a recorded machine: the check, how bad it is, a part of what is said, and a part of the cure, each step by ` | `.
type Wrong = (&'static str, State, &'static str, &'static str);

const CASES: &[(&str, &[Wrong])] = &[
    ("healthy", &[]),
    (
        "no-pcscd",
        &[
            (
                "driver",
                State::Problem,
                "no driver",
                "sudo apt-get install libccid | sudo systemctl restart pcscd",
            ),
            (
                "pcscd",
                State::Problem,
                "not installed",
                "sudo apt-get install pcscd libccid | sudo systemctl enable --now pcscd.socket",
            ),
        ],
    ),
    (
        "no-pcscd-fedora",
        &[
            ("driver", State::Problem, "no driver", "sudo dnf install pcsc-lite-ccid | "),
            (
                "pcscd",
                State::Problem,
                "not installed",
                "sudo dnf install pcsc-lite pcsc-lite-ccid | ",
            ),
        ],
    ),
    (
        "stopped",
        &[("pcscd", State::Problem, "does not run", "sudo systemctl enable --now pcscd.socket")],
    ),
    ("stopped-no-systemd", &[("pcscd", State::Problem, "does not run", "sudo pcscd")]),
    (
        "died",
        &[("pcscd", State::Problem, "has died", "sudo rm /run/pcscd/pcscd.comm; sudo pcscd")],
    ),
    (
        "kernel-holds",
        &[
            (
                "kernel",
                State::Problem,
                "pn533_usb holds the ACR122U (1-2:1.0)",
                "sudo modprobe -r pn533_usb pn533 nfc | printf 'blacklist pn533_usb\\nblacklist pn533\\nblacklist nfc\\n' | sudo tee /etc/modprobe.d/blacklist-nfc.conf | sudo systemctl restart pcscd | pull",
            ),
            (
                "readers",
                State::Problem,
                "plugged in, and pcscd does not have it",
                "sudo systemctl restart pcscd | pull",
            ),
        ],
    ),
    (
        "kernel-waits",
        &[
            (
                "kernel",
                State::Warning,
                "will take an ACR122U",
                "sudo modprobe -r pn533_usb pn533 nfc | printf 'blacklist",
            ),
            ("readers", State::Problem, "has no reader", "plug a reader in"),
        ],
    ),
    (
        "escape-refused",
        &[(
            "escape",
            State::Warning,
            "0x0000 in /etc/libccid_Info.plist",
            "sudo sed -i '/<key>ifdDriverOptions</,/<string>/s/<string>0x0000</<string>0x0001</' /etc/libccid_Info.plist | sudo systemctl restart pcscd",
        )],
    ),
    (
        "escape-refused-old",
        &[("escape", State::Warning, "0x0004", "s/<string>0x0004</<string>0x0005</")],
    ),
    (
        "polkit",
        &[(
            "permission",
            State::Problem,
            "refuses this user",
            "printf 'polkit.addRule( | plugdev",
        )],
    ),
    (
        "socket-denied",
        &[(
            "permission",
            State::Problem,
            "may not open /run/pcscd/pcscd.comm",
            "ls -l | usermod",
        )],
    ),
    ("no-reader", &[("readers", State::Problem, "has no reader", "plug a reader in")]),
    (
        "plugged-not-seen",
        &[(
            "readers",
            State::Problem,
            "pcscd does not have it",
            "sudo systemctl restart pcscd | LIBUSB_ERROR_BUSY",
        )],
    ),
    (
        "exclusive",
        &[("sharing", State::Problem, "for itself: scdaemon (2044)", "gpgconf --kill scdaemon")],
    ),
    ("in-use-unseen", &[("sharing", State::Warning, "cannot see", "sudo tapdoor doctor")]),
    ("polling", &[("sharing", State::Warning, "pcsc_scan (31)", "kill 31")]),
    (
        "libnfc-holds",
        &[
            ("readers", State::Problem, "pcscd does not have it", "LIBUSB_ERROR_BUSY"),
            ("sharing", State::Problem, "nfc-poll (99) uses the ACR122U directly", "kill 99"),
        ],
    ),
    (
        "old-firmware",
        &[("usb", State::Warning, "firmware 2.03", "0x0005 | sudo systemctl restart pcscd")],
    ),
    ("clone", &[("usb", State::Warning, "RFCARD RF1258V603", "another reader")]),
    (
        "two-drivers",
        &[("driver", State::Warning, "both there", "apt-get remove libacsccid1")],
    ),
    (
        "driver-without-it",
        &[("driver", State::Problem, "does not know the ACR122U", "apt-get install libacsccid1")],
    ),
    ("two-readers", &[]),
    ("mute", &[("readers", State::Warning, "does not answer", "take it away")]),
    ("macos", &[]),
    ("windows", &[("pcscd", State::Problem, "does not run", "sc start SCardSvr")]),
];

#[track_caller]
fn judge(name: &str, findings: &[Finding], wrong: &[Wrong]) {
    let bad: Vec<&Finding> = findings.iter().filter(|finding| finding.state >= State::Warning).collect();
    let checks: Vec<&str> = bad.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, wrong.iter().map(|w| w.0).collect::<Vec<_>>(), "{name}: {findings:#?}");
    for (finding, (_, state, found, cure)) in bad.iter().zip(wrong) {
        assert_eq!(finding.state, *state, "{name}: {finding:#?}");
        assert!(finding.found.contains(found), "{name}: {finding:#?}");
        let steps = finding.cure.join(" | ");
        for part in cure.split(" | ") {
            assert!(steps.contains(part), "{name}: no \"{part}\" in {steps}");
        }
    }
}

#[test]
fn every_recorded_machine_is_diagnosed() {
    for (name, wrong) in CASES {
        judge(name, &examine(&recording(name)), wrong);
    }
}

#[test]
fn every_recording_has_a_case() {
    let files: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(files, CASES.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn whatever_is_bad_has_a_cure() {
    for (name, _) in CASES {
        for finding in examine(&recording(name)) {
            assert!(finding.state < State::Warning || !finding.cure.is_empty(), "{name}: {finding:#?}");
            assert!(finding.state != State::Ok || finding.cure.is_empty(), "{name}: {finding:#?}");
        }
    }
}

/// A recording of a recording is diagnosed the same, after a journey through JSON: what is mailed is what was seen.
#[test]
fn a_recording_holds_all_that_was_asked() {
    for (name, _) in CASES {
        let original = recording(name);
        let recorder = Recorder::new(original.clone());
        let findings = examine(&recorder);
        let text = serde_json::to_string(&recorder.into_recording()).unwrap();
        let again: Recording = serde_json::from_str(&text).unwrap();
        assert_eq!(examine(&again), findings, "{name}");
        assert_eq!(examine(&original), findings, "{name}");
    }
}

/// Every look on its own may fail: the report is shorter then, and there is one.
#[test]
fn a_machine_that_shows_nothing_is_survived() {
    let nothing = Recording {
        os: "linux".to_owned(),
        ..Recording::default()
    };
    assert!(!examine(&nothing).is_empty());
    assert!(!examine(&Recording::default()).is_empty());
    for (name, _) in CASES {
        let whole = recording(name);
        for path in whole.files.keys() {
            let mut less = whole.clone();
            less.files.remove(path);
            let _ = examine(&less);
            // Nonsense where text was.
            let mut wrong = whole.clone();
            wrong.files.insert(
                path.clone(),
                serde_json::from_str(r#"{"is":"<key>ifdDriverOptions</key><string>\u0000 zz"}"#).unwrap(),
            );
            let _ = examine(&wrong);
        }
    }
}

#[test]
fn this_machine_is_looked_at_in_bounded_time() {
    let recorder = Recorder::new(Here);
    let findings = examine(&recorder);
    assert!(findings.iter().any(|finding| finding.check == "pcscd"), "{findings:#?}");
    assert_eq!(recorder.into_recording().os, Here.os());
}

/// A healthy machine with a simulated reader in the place of the real one.
struct Bench {
    machine: Recording,
    reader: RefCell<Acr122u<Field>>,
}

impl Bench {
    fn new(quirks: Quirks) -> Self {
        Self {
            machine: recording("healthy"),
            reader: RefCell::new(Acr122u::new(Field::new(), quirks)),
        }
    }

    /// What the doctor says of its firmware.
    fn firmware(&self) -> Finding {
        let recorder = Recorder::new(self);
        let findings = examine(&recorder);
        let found = |findings: &[Finding]| findings.iter().find(|finding| finding.check == "firmware").cloned();
        let finding = found(&findings).unwrap_or_else(|| panic!("{findings:#?}"));
        // What is mailed is diagnosed the same.
        let text = serde_json::to_string(&recorder.into_recording()).unwrap();
        let again: Recording = serde_json::from_str(&text).unwrap();
        assert_eq!(found(&examine(&again)).as_ref(), Some(&finding));
        finding
    }
}

impl System for &Bench {
    fn os(&self) -> String {
        self.machine.os()
    }
    fn file(&self, path: &str) -> Look<String> {
        self.machine.file(path)
    }
    fn folder(&self, path: &str) -> Look<Vec<String>> {
        self.machine.folder(path)
    }
    fn link(&self, path: &str) -> Look<String> {
        self.machine.link(path)
    }
    fn socket(&self, path: &str) -> Look<()> {
        self.machine.socket(path)
    }
    fn program(&self, name: &str) -> Option<String> {
        self.machine.program(name)
    }
    fn variable(&self, name: &str) -> Option<String> {
        self.machine.variable(name)
    }
    fn readers(&self) -> Result<Vec<Reader>, (NoReaders, String)> {
        self.machine.readers()
    }
    fn clients(&self) -> Vec<Program> {
        self.machine.clients()
    }
    fn holders(&self, path: &str) -> Vec<Program> {
        self.machine.holders(path)
    }
    fn ask(&self, _reader: &str, commands: &[&[u8]]) -> Look<Vec<Asked>> {
        let asked = commands.iter().map(|command| Asked {
            command: hex::encode(command),
            answer: match self.reader.borrow_mut().escape(command) {
                Reply::Answer(answer) => Look::Is(hex::encode(answer)),
                other => Look::Failed(format!("{other:?}")),
            },
        });
        Look::Is(asked.collect())
    }
}

#[test]
fn firmware_late_answers_and_clones_are_told_apart() {
    let good = Quirks::default();
    let named = |firmware| Quirks {
        firmware: Some(firmware),
        ..good
    };
    for (quirks, state, found, cure) in [
        (good, State::Ok, "ACR122U207, and answers in time", ""),
        (
            Quirks {
                bare_parameter: true,
                ..good
            },
            State::Ok,
            "answers in time",
            "",
        ),
        (
            Quirks {
                stale_answers: true,
                firmware: Some(b"ACR122U215"),
                ..good
            },
            State::Warning,
            "(ACR122U215) answers late",
            "pull the reader's plug",
        ),
        (
            Quirks { nameless: true, ..good },
            State::Warning,
            "a clone, most likely",
            "use another reader",
        ),
        (named(b"ACR122U216"), State::Note, "some of these", "pull the reader's plug"),
        (named(b"ACR122U203"), State::Warning, "libccid refuses it", "0x0005"),
        (named(b"ACR122U102"), State::Warning, "Touchatag", "libacsccid1"),
        (named(b"ACR122U299"), State::Note, "newer", ""),
        (named(b"RF1258V603"), State::Warning, "perhaps a clone", "another reader"),
    ] {
        let finding = Bench::new(quirks).firmware();
        assert_eq!(finding.state, state, "{quirks:?}: {finding:#?}");
        assert!(finding.found.contains(found), "{quirks:?}: {finding:#?}");
        assert!(finding.cure.join(" | ").contains(cure), "{quirks:?}: {finding:#?}");
    }
}

#[test]
fn a_reader_that_was_told_not_to_poll_is_noticed() {
    let bench = Bench::new(Quirks::default());
    bench.reader.borrow_mut().escape(&[0xFF, 0x00, 0x51, 0x7F, 0x00]);
    let finding = bench.firmware();
    assert!(
        finding.found.contains("not to look for cards") && finding.state == State::Warning,
        "{finding:#?}"
    );
}
