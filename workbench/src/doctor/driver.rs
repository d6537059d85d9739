//! Has pcscd a driver for the reader? libccid's, or the maker's own (acsccid).

use super::{Facts, Finding, State, System, install, restart_pcscd};

/// Where distributions keep drivers.
const FOLDERS: &[&str] = &[
    "/usr/lib/pcsc/drivers",
    "/usr/lib64/pcsc/drivers",
    "/usr/local/lib/pcsc/drivers",
    "/usr/lib64/readers/usb",
    "/usr/lib/readers/usb",
];
const CCID: &str = "ifd-ccid.bundle";
const ACSCCID: &str = "ifd-acsccid.bundle";

/// The Info.plist of a driver: where it is, and what it says.
pub(super) fn plist(system: &dyn System, bundle: &str) -> Option<(String, String)> {
    FOLDERS.iter().find_map(|folder| {
        let path = format!("{folder}/{bundle}/Contents/Info.plist");
        let text = system.file(&path).found()?;
        // Debian's is a link to a file that belongs to the machine's owner.
        let path = system.link(&path).found().filter(|target| target.starts_with('/')).unwrap_or(path);
        Some((path, text))
    })
}

/// The drivers that are there, with their Info.plist.
pub(super) fn installed(system: &dyn System) -> Vec<(&'static str, String, String)> {
    let all = [("libccid", CCID), ("acsccid", ACSCCID)];
    all.into_iter()
        .filter_map(|(name, bundle)| plist(system, bundle).map(|(path, text)| (name, path, text)))
        .collect()
}

pub(super) fn check(system: &dyn System, facts: &Facts) -> Option<Finding> {
    const NAME: &str = "driver";
    if !Facts::is_linux(system) {
        return None;
    }
    let drivers = installed(system);
    let plugged = facts.usb.iter().any(super::usb::UsbReader::is_acr122);
    let known = |text: &str| text.to_ascii_lowercase().contains("0x2200");
    Some(match drivers.as_slice() {
        [] => {
            let state = if plugged { State::Problem } else { State::Warning };
            Finding::new(NAME, state, "pcscd has no driver for USB readers")
                .cured_by([install(system, "libccid"), restart_pcscd(system).to_owned()])
        }
        [_, _, ..] => Finding::new(
            NAME,
            State::Warning,
            "libccid and acsccid are both there, and either may take the reader",
        )
        .cured_by(["sudo apt-get remove libacsccid1".to_owned(), restart_pcscd(system).to_owned()]),
        [(name, path, text)] if plugged && !known(text) => Finding::new(
            NAME,
            State::Problem,
            format!("{name} does not know the ACR122U (no product 0x2200 in {path})"),
        )
        .cured_by(["sudo apt-get install libacsccid1".to_owned(), restart_pcscd(system).to_owned()]),
        [(name, ..)] => Finding::ok(NAME, format!("{name} is installed")),
    })
}
