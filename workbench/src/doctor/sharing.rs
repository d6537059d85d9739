//! Does another program use the same reader? Two programs that talk to one phone reset it under each other.

use super::{Facts, Finding, Program, State, System};

/// The service itself, and what starts it.
const SERVICE: &[&str] = &["pcscd", "systemd"];

/// How a program is kept from readers, where that is known.
fn cure(program: &Program) -> String {
    match program.name.as_str() {
        "scdaemon" => "gpgconf --kill scdaemon".to_owned(),
        "pcsc_scan" => format!("end pcsc_scan: kill {}", program.pid),
        "gsd-smartcard" => "systemctl --user mask --now org.gnome.SettingsDaemon.Smartcard.target".to_owned(),
        name if name.contains("firefox") || name.contains("chrom") => {
            format!("close {name}, or remove the PKCS#11 module from its settings")
        }
        name => format!("end {name}: kill {}", program.pid),
    }
}

fn names(programs: &[Program]) -> String {
    programs
        .iter()
        .map(|program| format!("{} ({})", program.name, program.pid))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn check(system: &dyn System, facts: &Facts) -> Option<Finding> {
    const NAME: &str = "sharing";
    let others = |programs: Vec<Program>| {
        programs
            .into_iter()
            .filter(|program| !SERVICE.contains(&program.name.as_str()))
            .collect::<Vec<_>>()
    };
    // Past pcscd, straight at the device: libnfc, nfcpy.
    for reader in &facts.usb {
        let holders = others(reader.file.as_ref().map(|file| system.holders(file)).unwrap_or_default());
        if !holders.is_empty() {
            let found = format!("{} uses the {} directly, without pcscd", names(&holders), reader.name);
            return Some(Finding::new(NAME, State::Problem, found).cured_by(holders.iter().map(cure)));
        }
    }
    let readers = facts.readers.as_ref().ok()?;
    let clients = others(system.clients());
    let who = if clients.is_empty() {
        "a program that this user cannot see".to_owned()
    } else {
        names(&clients)
    };
    let cures = || {
        if clients.is_empty() {
            vec!["sudo tapdoor doctor, to see which one it is".to_owned()]
        } else {
            clients.iter().map(cure).collect()
        }
    };
    if let Some(reader) = readers.iter().find(|reader| reader.exclusive) {
        let found = format!("another program has the card on \"{}\" for itself: {who}", reader.name);
        return Some(Finding::new(NAME, State::Problem, found).cured_by(cures()));
    }
    if let Some(reader) = readers.iter().find(|reader| reader.in_use) {
        let found = format!("another program talks to the card on \"{}\": {who}", reader.name);
        return Some(Finding::new(NAME, State::Warning, found).cured_by(cures()));
    }
    if !clients.is_empty() && !readers.is_empty() {
        let found = format!("these use the smart card service too, and may take the phone first: {who}");
        return Some(Finding::new(NAME, State::Warning, found).cured_by(cures()));
    }
    Some(Finding::ok(NAME, "no other program is seen at a reader"))
}
