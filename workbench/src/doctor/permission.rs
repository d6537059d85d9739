//! May this user ask pcscd? The socket's own permissions, and polkit behind them.

use super::service::socket;
use super::{Facts, Finding, Look, NoReaders, State, System};

/// A polkit rule for the group `plugdev`, as a command.
const RULE: &str = r#"printf 'polkit.addRule(function(action, subject) {\n  if (action.id.indexOf("org.debian.pcsc-lite.") == 0 && subject.isInGroup("plugdev")) { return polkit.Result.YES; }\n});\n' | sudo tee /etc/polkit-1/rules.d/50-pcscd.rules"#;

pub(super) fn check(system: &dyn System, facts: &Facts) -> Option<Finding> {
    const NAME: &str = "permission";
    if !Facts::is_linux(system) {
        return None;
    }
    let path = socket(system);
    if system.socket(&path) == Look::Denied {
        let found = format!("this user may not open {path}");
        return Some(Finding::new(NAME, State::Problem, found).cured_by([
            format!("ls -l {path}"),
            "sudo usermod -aG GROUP $USER, with the group that owns it; log in again".to_owned(),
        ]));
    }
    match &facts.readers {
        Err((NoReaders::Permission, detail)) => {
            let found = format!(
                "pcscd refuses this user ({detail}): polkit allows it to who sits at the machine, not to SSH sessions and services"
            );
            Some(Finding::new(NAME, State::Problem, found).cured_by([RULE, "sudo usermod -aG plugdev $USER; log in again"]))
        }
        Ok(_) => Some(Finding::ok(NAME, "this user may use the smart card service")),
        // Nothing to be allowed to.
        Err(_) => None,
    }
}
