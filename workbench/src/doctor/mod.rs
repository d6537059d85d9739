//! What stands in the way of a tap on this machine, each with its cure.
//!
//! A check is a function of its own in a file of its own: it looks at a [`System`] and gives one [`Finding`]. What several checks need is looked
//! at once, in `Facts`. To add a check, write the file and put it into `CHECKS`: the table's order is that of the report, from the plug
//! to the card.
//!
//! | module | check | asks |
//! |---|---|---|
//! | `usb` | `usb` | is an NFC reader plugged in, and is it an old or a cloned one? |
//! | `kernel` | `kernel` | does the kernel's NFC driver hold it? |
//! | `driver` | `driver` | has pcscd a driver for it? |
//! | `service` | `pcscd` | is the smart card service there, and does it run? |
//! | `permission` | `permission` | may this user ask it? |
//! | `escape` | `escape` | does it pass escape commands on? |
//! | `readers` | `readers` | does it have a reader? |
//! | `firmware` | `firmware` | is an ACR122U's firmware a good one, is it one at all, and are its answers in time? |
//! | `sharing` | `sharing` | does another program use the same reader? |

mod driver;
mod escape;
mod firmware;
mod here;
mod kernel;
mod permission;
mod readers;
mod service;
mod sharing;
mod system;
mod usb;

use serde::Serialize;

pub use self::here::Here;
pub use self::system::{Asked, Look, NoReaders, Program, Reader, Recorder, Recording, System};
use self::usb::UsbReader;

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Good.
    Ok,
    /// Worth knowing.
    Note,
    /// Something may not work as it should.
    Warning,
    /// No tap as long as this is so.
    Problem,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check.
    pub check: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found, in words.
    pub found: String,
    /// What to do about it, one step a line: a command as it is typed, or a sentence. Empty if nothing has to be done.
    pub cure: Vec<String>,
}

impl Finding {
    fn new(check: &'static str, state: State, found: impl Into<String>) -> Self {
        Self {
            check,
            state,
            found: found.into(),
            cure: Vec::new(),
        }
    }

    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, State::Ok, found)
    }

    fn cured_by<I: Into<String>>(mut self, steps: impl IntoIterator<Item = I>) -> Self {
        self.cure.extend(steps.into_iter().map(Into::into));
        self
    }
}

/// What several checks need.
struct Facts {
    /// NFC readers on USB.
    usb: Vec<UsbReader>,
    /// The smart card service's.
    readers: Result<Vec<Reader>, (NoReaders, String)>,
}

impl Facts {
    fn is_linux(system: &dyn System) -> bool {
        system.os() == "linux"
    }

    fn of(system: &dyn System) -> Self {
        Self {
            usb: if Self::is_linux(system) { usb::readers(system) } else { Vec::new() },
            readers: system.readers(),
        }
    }
}

/// `None`: nothing to ask on this kind of machine.
type Check = fn(&dyn System, &Facts) -> Option<Finding>;

/// Every check, from the plug to the card.
const CHECKS: &[Check] = &[
    usb::check,
    kernel::check,
    driver::check,
    service::check,
    permission::check,
    escape::check,
    readers::check,
    firmware::check,
    sharing::check,
];

/// Looks at `system` in every way.
#[must_use]
pub fn examine(system: &dyn System) -> Vec<Finding> {
    let facts = Facts::of(system);
    CHECKS.iter().filter_map(|check| check(system, &facts)).collect()
}

/// How pcscd is started again on this machine.
fn restart_pcscd(system: &dyn System) -> &'static str {
    if has_systemd(system) {
        "sudo systemctl restart pcscd"
    } else {
        "sudo pkill -x pcscd; sudo pcscd"
    }
}

fn has_systemd(system: &dyn System) -> bool {
    !system.folder("/run/systemd/system").is_missing()
}

/// How a package of Debian's name is installed here, as far as this kind of system is known.
fn install(system: &dyn System, debian: &str) -> String {
    let release = system.file("/etc/os-release").found().unwrap_or_default();
    let family: String = release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .collect::<Vec<_>>()
        .join(" ");
    let is = |name: &str| family.contains(name);
    let translated = |pcscd: &str, libccid: &str| debian.replace("pcscd", pcscd).replace("libccid", libccid);
    if is("debian") || is("ubuntu") {
        format!("sudo apt-get install {debian}")
    } else if is("fedora") || is("rhel") {
        format!("sudo dnf install {}", translated("pcsc-lite", "pcsc-lite-ccid"))
    } else if is("arch") {
        format!("sudo pacman -S {}", translated("pcsclite", "ccid"))
    } else if is("suse") {
        format!("sudo zypper install {}", translated("pcsc-lite", "pcsc-ccid"))
    } else if is("alpine") {
        format!("sudo apk add {}", translated("pcsc-lite", "ccid"))
    } else {
        format!("install the packages that Debian calls {debian}")
    }
}
