//! Does the smart card service have a reader?

use super::{Facts, Finding, State, System, restart_pcscd};

pub(super) fn check(system: &dyn System, facts: &Facts) -> Option<Finding> {
    const NAME: &str = "readers";
    // Why it does not tell is said by other checks.
    let readers = facts.readers.as_ref().ok()?;
    let quoted = || {
        readers
            .iter()
            .map(|reader| format!("\"{}\"", reader.name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    Some(match (readers.as_slice(), facts.usb.first()) {
        ([], Some(plugged)) => {
            let found = format!("an {} is plugged in, and pcscd does not have it", plugged.name);
            Finding::new(NAME, State::Problem, found).cured_by([
                restart_pcscd(system),
                "pull the reader's plug and put it back",
                "if that does not help: sudo pcscd --foreground --debug shows why the driver gives up (LIBUSB_ERROR_BUSY: something else has the reader)",
            ])
        }
        ([], None) => Finding::new(NAME, State::Problem, "the smart card service runs and has no reader").cured_by([
            "plug a reader in",
            "or go on without: tapdoor lock --reader vpcd-listen:127.0.0.1:35963, tapdoor demo",
        ]),
        (all, _) if all.iter().any(|reader| reader.card && reader.mute) => Finding::new(
            NAME,
            State::Warning,
            format!("{}; a card lies there that does not answer", quoted()),
        )
        .cured_by(["take it away and tap again; wake a phone and unlock it first"]),
        ([_], _) => Finding::ok(NAME, quoted()),
        _ => Finding::new(NAME, State::Note, format!("{}: name the one you mean", quoted()))
            .cured_by(["--reader pcsc:FRAGMENT, where FRAGMENT is a part of its name"]),
    })
}
