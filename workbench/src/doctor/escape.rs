//! Does the driver pass escape commands on? Without a card they are the only way to an ACR122U's LED, settings and raw mode; libccid refuses
//! them until bit 0 of `ifdDriverOptions` in its Info.plist is set.

use super::{Facts, Finding, State, System, driver, restart_pcscd};

/// Bit 0: DRIVER_OPTION_CCID_EXCHANGE_AUTHORIZED.
const ALLOWED: u32 = 1;

/// The value of `ifdDriverOptions`, and its text.
fn options(plist: &str) -> Option<(u32, &str)> {
    let (_, rest) = plist.split_once("<key>ifdDriverOptions</key>")?;
    let (_, rest) = rest.split_once("<string>")?;
    let (text, _) = rest.split_once("</string>")?;
    let digits = text.trim().trim_start_matches("0x").trim_start_matches("0X");
    Some((u32::from_str_radix(digits, 16).ok()?, text))
}

pub(super) fn check(system: &dyn System, _facts: &Facts) -> Option<Finding> {
    const NAME: &str = "escape";
    if !Facts::is_linux(system) {
        return None;
    }
    let drivers = driver::installed(system);
    let (name, path, plist) = drivers.first()?;
    Some(match options(plist) {
        Some((value, _)) if value & ALLOWED != 0 => Finding::ok(NAME, format!("{name} passes escape commands on")),
        Some((value, text)) => {
            let found = format!(
                "{name} refuses escape commands (ifdDriverOptions is {text} in {path}): no LED and no raw mode while no card is there; taps work"
            );
            let set = format!(
                "sudo sed -i '/<key>ifdDriverOptions</,/<string>/s/<string>{text}</<string>0x{:04X}</' {path}",
                value | ALLOWED
            );
            Finding::new(NAME, State::Warning, found).cured_by([set, restart_pcscd(system).to_owned()])
        }
        None => Finding::new(
            NAME,
            State::Warning,
            format!("no ifdDriverOptions in {path}: whether {name} passes escape commands on is not known"),
        )
        .cured_by([
            format!("add <key>ifdDriverOptions</key><string>0x0001</string> to {path}"),
            restart_pcscd(system).to_owned(),
        ]),
    })
}

#[cfg(test)]
mod tests {
    use super::options;

    #[test]
    fn the_value_is_found_whatever_surrounds_it() {
        assert_eq!(
            options("<key>ifdDriverOptions</key>\n\t<string>0x0000</string>"),
            Some((0, "0x0000"))
        );
        assert_eq!(
            options("<key>a</key><string>0x0009</string><key>ifdDriverOptions</key> <string>0x0005</string>"),
            Some((5, "0x0005"))
        );
        for bad in [
            "",
            "<key>ifdDriverOptions</key>",
            "<key>ifdDriverOptions</key><string>",
            "<key>ifdDriverOptions</key><string>x</string>",
        ] {
            assert_eq!(options(bad), None, "{bad}");
        }
    }
}
