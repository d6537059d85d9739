//! Is pcscd there, and does it run?

use super::{Facts, Finding, Look, NoReaders, State, System, has_systemd, install};

/// Where pcscd listens, unless the environment has it otherwise.
const SOCKET: &str = "/run/pcscd/pcscd.comm";

/// The socket that programs of this environment use.
pub(super) fn socket(system: &dyn System) -> String {
    system.variable("PCSCLITE_CSOCK_NAME").unwrap_or_else(|| SOCKET.to_owned())
}

fn start(system: &dyn System) -> &'static str {
    if has_systemd(system) {
        "sudo systemctl enable --now pcscd.socket"
    } else {
        "sudo pcscd"
    }
}

pub(super) fn check(system: &dyn System, facts: &Facts) -> Option<Finding> {
    const NAME: &str = "pcscd";
    if !Facts::is_linux(system) {
        return Some(match &facts.readers {
            Err((NoReaders::NoService, detail)) => {
                Finding::new(NAME, State::Problem, format!("the smart card service does not run: {detail}"))
                    .cured_by(["start the smart card service (on Windows: `sc start SCardSvr` as administrator)"])
            }
            _ => Finding::ok(NAME, "the smart card service answers"),
        });
    }
    let path = socket(system);
    let at = if path == SOCKET {
        String::new()
    } else {
        format!(" (PCSCLITE_CSOCK_NAME={path})")
    };
    Some(match system.socket(&path) {
        Look::Is(()) => match &facts.readers {
            Err((NoReaders::NoService, detail)) => Finding::new(
                NAME,
                State::Problem,
                format!("somebody listens at {path} and is not a pcscd of this version: {detail}"),
            )
            .cured_by([super::restart_pcscd(system)]),
            Err((NoReaders::Failed, detail)) => {
                Finding::new(NAME, State::Problem, format!("pcscd runs and fails: {detail}")).cured_by([super::restart_pcscd(system)])
            }
            _ => Finding::ok(NAME, format!("pcscd runs{at}")),
        },
        Look::Denied => Finding::ok(NAME, format!("pcscd's socket is there: {path}")),
        Look::Missing if system.program("pcscd").is_none() => Finding::new(NAME, State::Problem, "pcscd is not installed")
            .cured_by([install(system, "pcscd libccid"), start(system).to_owned()]),
        Look::Missing => Finding::new(
            NAME,
            State::Problem,
            format!("pcscd is installed and does not run: there is no {path}{at}"),
        )
        .cured_by([start(system)]),
        Look::Failed(detail) => {
            let found = format!("pcscd has died and left {path} behind: {detail}");
            let fresh = if has_systemd(system) {
                "sudo systemctl restart pcscd.socket pcscd".to_owned()
            } else {
                format!("sudo rm {path}; sudo pcscd")
            };
            Finding::new(NAME, State::Problem, found).cured_by([fresh])
        }
    })
}
