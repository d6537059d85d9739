//! Is an ACR122U's firmware a good one, is it an ACR122U's at all, and do its answers come in time?
//!
//! Two questions are asked in turn whose answers cannot be taken for each other: the firmware's name (text) and the PICC operating parameter
//! (a byte or two). An answer of the other kind is the answer to the command before.

use super::{Facts, Finding, Look, State, System};

/// `FF 00 48`: the firmware's name.
const NAME_QUESTION: &[u8] = &[0xFF, 0x00, 0x48, 0x00, 0x00];
/// `FF 00 50`: what it polls for.
const PARAMETER: &[u8] = &[0xFF, 0x00, 0x50, 0x00, 0x00];
/// GetFirmwareVersion of the PN532 behind it.
const CHIP: &[u8] = &[0xFF, 0x00, 0x00, 0x00, 0x02, 0xD4, 0x02];
const QUESTIONS: &[&[u8]] = &[NAME_QUESTION, PARAMETER, NAME_QUESTION, PARAMETER, CHIP];

/// Bit 7 of the PICC operating parameter: polling by itself.
const POLLING: u8 = 0x80;

/// What an answer looks like, whatever was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Name(String),
    Parameter(u8),
    /// The chip: its IC.
    Chip(u8),
    Refused,
    Nothing,
}

impl Kind {
    fn of(answer: &Look<String>) -> Self {
        let Look::Is(digits) = answer else { return Self::Nothing };
        let Ok(bytes) = hex::decode(digits) else { return Self::Nothing };
        match bytes.as_slice() {
            [0xD5, 0x03, ic, ..] => Self::Chip(*ic),
            [0xD5, ..] => Self::Refused,
            [0x63 | 0x67..=0x6F, _] => Self::Refused,
            [value] | [0x90, value] | [value, 0x90, 0x00] => Self::Parameter(*value),
            [] => Self::Nothing,
            other => {
                // Some drivers add the status word that the reader leaves out.
                let name = other.strip_suffix(&[0x90, 0x00]).unwrap_or(other);
                match name.len() > 3 && name.iter().all(u8::is_ascii_graphic) {
                    true => Self::Name(String::from_utf8_lossy(name).into_owned()),
                    false => Self::Refused,
                }
            }
        }
    }
}

/// The number behind `ACR122U`.
fn version(name: &str) -> Option<u16> {
    let digits = name.strip_prefix("ACR122U")?;
    digits.get(..3)?.parse().ok()
}

pub(super) fn check(system: &dyn System, facts: &Facts) -> Option<Finding> {
    let readers = facts.readers.as_ref().ok()?;
    let known = |name: &str| {
        ["ACR122", "RFCARD", "RF1258"]
            .iter()
            .any(|word| name.to_ascii_uppercase().contains(word))
    };
    let asked = readers.iter().filter(|reader| known(&reader.name) && !reader.exclusive);
    // The worst of them, and the first of those.
    asked
        .filter_map(|reader| examine(system, &reader.name))
        .reduce(|worst, next| if next.state > worst.state { next } else { worst })
}

fn examine(system: &dyn System, reader: &str) -> Option<Finding> {
    const NAME: &str = "firmware";
    let answers = match system.ask(reader, QUESTIONS) {
        Look::Is(asked) if asked.len() == QUESTIONS.len() => asked.iter().map(|asked| Kind::of(&asked.answer)).collect::<Vec<_>>(),
        Look::Failed(why) => {
            return Some(
                Finding::new(
                    NAME,
                    State::Warning,
                    format!("\"{reader}\" does not answer questions to itself: {why}"),
                )
                .cured_by(["pull the reader's plug and put it back"]),
            );
        }
        // Another program has it, or there is no way to ask it without a card.
        _ => return None,
    };
    let [name, parameter, name_again, parameter_again, chip] = answers.as_slice() else {
        return None;
    };
    let late = matches!(parameter, Kind::Name(_) | Kind::Chip(_))
        || matches!(name_again, Kind::Parameter(_) | Kind::Chip(_))
        || matches!(parameter_again, Kind::Name(_))
        || matches!(chip, Kind::Name(_) | Kind::Parameter(_));
    let called = [name, parameter, name_again].into_iter().find_map(|kind| match kind {
        Kind::Name(name) => Some(name.as_str()),
        _ => None,
    });
    let words = called.unwrap_or("firmware without a name");
    let replug = "pull the reader's plug and put it back";
    if late {
        return Some(
            Finding::new(
                NAME,
                State::Warning,
                format!("\"{reader}\" ({words}) answers late: each answer belongs to the command before"),
            )
            .cured_by([
                replug,
                "use it as --reader pcsc:ACR122U, where the firmware's name is not asked for: the question begins this; raw mode finds its own answers",
            ]),
        );
    }
    let Some(called) = called else {
        return Some(
            Finding::new(
                NAME,
                State::Warning,
                format!("\"{reader}\" has no name for its firmware, which every ACR122U has: a clone, most likely"),
            )
            .cured_by(["if taps are not seen, or the same one is seen several times, use another reader"]),
        );
    };
    if !matches!(chip, Kind::Chip(0x32)) {
        let what = match chip {
            Kind::Chip(ic) => format!("has a chip of kind {ic:02x} where a PN532 says 32"),
            _ => "does not pass commands on to a PN532".to_owned(),
        };
        return Some(
            Finding::new(
                NAME,
                State::Warning,
                format!("\"{reader}\" ({called}) {what}: a clone, most likely"),
            )
            .cured_by([
                "use it as --reader pcsc:ACR122U; raw mode needs the PN532",
                "if taps are not seen, use another reader",
            ]),
        );
    }
    if let Kind::Parameter(value) = parameter
        && value & POLLING == 0
    {
        return Some(
            Finding::new(
                NAME,
                State::Warning,
                format!("\"{reader}\" ({called}) was told not to look for cards by itself (parameter {value:02X}): pcscd sees none"),
            )
            .cured_by([replug, "or end the program that uses it in raw mode, which puts the setting back"]),
        );
    }
    Some(judge(NAME, reader, called))
}

/// What is known of firmware of this name.
fn judge(check: &'static str, reader: &str, called: &str) -> Finding {
    let found = |what: &str| format!("\"{reader}\" has firmware {called}: {what}");
    match version(called) {
        None => Finding::new(check, State::Warning, found("no name of an ACR122U's, so perhaps a clone"))
            .cured_by(["if taps are not seen, use another reader"]),
        Some(..200) => Finding::new(
            check,
            State::Warning,
            found("of the generation before (Touchatag), which other programs do not take either"),
        )
        .cured_by(["use it as --reader pcsc:ACR122U with the maker's driver (Debian: libacsccid1), or use another reader"]),
        Some(200..=205) => Finding::new(
            check,
            State::Warning,
            found("so old that libccid refuses it, and card states are made up"),
        )
        .cured_by(["use the maker's driver (Debian: libacsccid1), or set ifdDriverOptions to 0x0005 in /etc/libccid_Info.plist"]),
        Some(215 | 216) => Finding::new(
            check,
            State::Note,
            found("on some of these answers come late once the firmware's name was asked for, as it was just now; not on this one"),
        )
        .cured_by(["should a tape show answers that belong to the command before: pull the reader's plug and put it back"]),
        Some(206..=214) => Finding::ok(check, format!("\"{reader}\" has firmware {called}, and answers in time")),
        Some(_) => Finding::new(check, State::Note, found("newer than any that is known here")),
    }
}
