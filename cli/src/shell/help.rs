//! What the shell's own commands do, with examples.

/// A command of the shell.
pub struct Help {
    /// Its name.
    pub name: &'static str,
    /// How it is written.
    pub form: &'static str,
    /// What it does, in one line.
    pub what: &'static str,
    /// More, and examples.
    pub more: &'static str,
}

/// All of them, those of the language of scripts too.
pub const ALL: [Help; 22] = [
    Help {
        name: "reader",
        form: "reader [READER]",
        what: "use this reader, or say which is used",
        more: "  reader pcsc:ACR122U\n  reader sim:\n  reader vpcd-listen:127.0.0.1:35963",
    },
    Help {
        name: "config",
        form: "config [FILE]",
        what: "use the keys of this lock.toml for auth, lock, run and verify",
        more: "  config site/lock.toml",
    },
    Help {
        name: "card",
        form: "card",
        what: "wait for a card, hold it, and say what is known of it",
        more: "The card stays powered and held until reset, release or another reader.\n  card",
    },
    Help {
        name: "release",
        form: "release",
        what: "let go of the card, so that another program can have it",
        more: "  release",
    },
    Help {
        name: "select",
        form: "select AID [p2 XX]",
        what: "SELECT an application, by AID or by name",
        more: "Sends 00 A4 04 P2 Lc AID 00. TAB completes names.\n  select challenge-response\n  select A0000000871002\n  select card-manager p2 0C",
    },
    Help {
        name: "apdu",
        form: "apdu HEX",
        what: "send exactly these bytes; digits alone on a line do the same",
        more: "No GET RESPONSE, no chaining. {NAME} fills in a value, {#NAME} its length in one byte.\n  apdu 00A4040000\n  00 A4 04 00 00\n  apdu 80880000 2C {rl} {lock} {tl} 00",
    },
    Help {
        name: "expect",
        form: "expect sw|data|tag|length|time|open|fail ...",
        what: "judge the last answer",
        more: "  expect sw 9000 61xx\n  expect data 6F..84...\n  expect tag 6F/A5/81 {rp:16}\n  expect time < 50ms\n  expect open",
    },
    Help {
        name: "let",
        form: "let NAME = VALUE",
        what: "give a name a value",
        more: "  let aid = F0544150444F4F5201\n  let rp = tag 6F/A5/81\n  let head = data[0..2]\n  let nonce = random 16",
    },
    Help {
        name: "default",
        form: "default NAME = VALUE",
        what: "give a name a value, unless it has one",
        more: "  default aid = aka",
    },
    Help {
        name: "vars",
        form: "vars",
        what: "list the names and their values",
        more: "Captures and let make them. Values that look like keys are yours to guard: they are shown.\n  vars",
    },
    Help {
        name: "unset",
        form: "unset NAME..",
        what: "forget names",
        more: "  unset rp",
    },
    Help {
        name: "reset",
        form: "reset",
        what: "let go of the card and take it again, from a clean start",
        more: "  reset",
    },
    Help {
        name: "auth",
        form: "auth [METHOD]",
        what: "a whole tap by our own lock, with the keys of config",
        more: "  config site/lock.toml\n  auth challenge-response\n  auth aka-tuak\n  auth",
    },
    Help {
        name: "wait",
        form: "wait card|removal|TIME [LIMIT]",
        what: "wait for a card, for its removal, or for some time",
        more: "  wait card\n  wait removal 10s\n  wait 200ms",
    },
    Help {
        name: "include",
        form: "include FILE",
        what: "carry out the steps of a script here, with this card and these names",
        more: "  include setup.door\n  include suite:iso7816",
    },
    Help {
        name: "for",
        form: "for NAME in VALUE.. { STEPS }",
        what: "steps for each value; ; divides steps in one line",
        more: "  for a in aka identity usim { select {a} }",
    },
    Help {
        name: "note",
        form: "note TEXT",
        what: "a remark, on the tape too",
        more: "  note phone in flight mode",
    },
    Help {
        name: "record",
        form: "record [FILE|off]",
        what: "record what passes on a tape from now on",
        more: "Secrets are masked. The file must not be there yet.\n  record today.tape\n  record off",
    },
    Help {
        name: "timeout",
        form: "timeout [TIME]",
        what: "how long a card is waited for",
        more: "  timeout 60s",
    },
    Help {
        name: "history",
        form: "history",
        what: "the lines of before; a line that begins with a space is not kept",
        more: "Arrow up and Ctrl-R find them again.\n  history",
    },
    Help {
        name: "help",
        form: "help [COMMAND]",
        what: "this list, or more about a command",
        more: "  help select\n  help lock",
    },
    Help {
        name: "quit",
        form: "quit",
        what: "leave; Ctrl-D does too",
        more: "  quit",
    },
];

/// The command of this name.
pub fn find(name: &str) -> Option<&'static Help> {
    let name = if name == "exit" { "quit" } else { name };
    ALL.iter().find(|help| help.name == name)
}
