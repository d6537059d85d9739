//! Does the kernel's own NFC driver hold the reader? Linux binds pn533_usb to an ACR122U, and pcscd then gets LIBUSB_ERROR_BUSY.

use super::{Facts, Finding, State, System, restart_pcscd};

/// The modules, in the order in which they can be unloaded.
const MODULES: &[&str] = &["pn533_usb", "port100", "pn533", "nfc"];

pub(super) fn check(system: &dyn System, facts: &Facts) -> Option<Finding> {
    const NAME: &str = "kernel";
    if !Facts::is_linux(system) {
        return None;
    }
    let modules = system.file("/proc/modules").found().unwrap_or_default();
    let is_loaded = |name: &str| modules.lines().any(|line| line.split(' ').next() == Some(name));
    let loaded: Vec<&str> = MODULES.iter().copied().filter(|name| is_loaded(name)).collect();
    let bound = facts.usb.iter().find_map(|reader| {
        let (driver, interface) = reader.drivers.iter().find(|(driver, _)| MODULES.contains(&driver.as_str()))?;
        Some((reader, driver, interface))
    });
    let unload = format!(
        "sudo modprobe -r {}",
        if loaded.is_empty() {
            "pn533_usb pn533 nfc".to_owned()
        } else {
            loaded.join(" ")
        }
    );
    let keep_out = "printf 'blacklist pn533_usb\\nblacklist pn533\\nblacklist nfc\\n' | sudo tee /etc/modprobe.d/blacklist-nfc.conf";
    Some(match bound {
        Some((reader, driver, interface)) => {
            let found = format!(
                "the kernel's driver {driver} holds the {} ({interface}): pcscd cannot have it",
                reader.name
            );
            Finding::new(NAME, State::Problem, found).cured_by([
                unload,
                keep_out.to_owned(),
                restart_pcscd(system).to_owned(),
                "pull the reader's plug and put it back".to_owned(),
            ])
        }
        None if loaded.iter().any(|name| name.starts_with("pn533")) => {
            let found = format!(
                "the kernel's NFC modules are loaded ({}) and will take an ACR122U that is plugged in",
                loaded.join(", ")
            );
            Finding::new(NAME, State::Warning, found).cured_by([unload, keep_out.to_owned()])
        }
        None => Finding::ok(NAME, "the kernel's NFC driver holds no reader"),
    })
}
