//! Is an NFC reader plugged in, and is it an old or a cloned one?

use super::{Facts, Finding, State, System};

/// Where Linux shows what is on USB.
const DEVICES: &str = "/sys/bus/usb/devices";
/// ACR122U firmware below this is what libccid calls bogus, and refuses unless told otherwise.
const OLDEST: u16 = 0x0206;

/// NFC readers that are known by their USB numbers: vendor, product, name.
const KNOWN: &[(&str, &str, &str)] = &[
    ("072f", "2200", "ACR122U"),
    ("072f", "223b", "ACR1252U"),
    ("072f", "2303", "ACR1552U"),
    ("072f", "90cc", "ACR38"),
    ("04cc", "2533", "PN533 board"),
    ("04e6", "5591", "SCL3711"),
    ("054c", "02e1", "RC-S330"),
    ("054c", "06c3", "RC-S380"),
];

/// A reader on USB.
pub(super) struct UsbReader {
    /// Its folder's name, such as `1-2`.
    pub port: String,
    /// What it is.
    pub name: &'static str,
    /// The release of its firmware, as USB has it (binary-coded decimals), if it says so.
    pub release: Option<u16>,
    /// The maker and the product, in the device's own words.
    pub words: String,
    /// `/dev/bus/usb/BBB/DDD`
    pub file: Option<String>,
    /// Which kernel drivers hold its interfaces, with the interface.
    pub drivers: Vec<(String, String)>,
}

impl UsbReader {
    pub(super) fn is_acr122(&self) -> bool {
        self.name == "ACR122U"
    }
}

/// The readers that are plugged in.
pub(super) fn readers(system: &dyn System) -> Vec<UsbReader> {
    let ports = system.folder(DEVICES).found().unwrap_or_default();
    let text = |port: &str, file: &str| {
        system
            .file(&format!("{DEVICES}/{port}/{file}"))
            .found()
            .map(|text| text.trim().to_owned())
    };
    let interfaces: Vec<&String> = ports.iter().filter(|port| port.contains(':')).collect();
    let devices = ports.iter().filter(|port| !port.contains(':') && !port.starts_with("usb"));
    devices
        .filter_map(|port| {
            let (vendor, product) = (text(port, "idVendor")?, text(port, "idProduct")?);
            let &(.., name) = KNOWN.iter().find(|known| known.0 == vendor && known.1 == product)?;
            let words = [text(port, "manufacturer"), text(port, "product")];
            let number = |file: &str| text(port, file)?.parse::<u16>().ok();
            let drivers = interfaces
                .iter()
                .filter(|interface| interface.starts_with(&format!("{port}:")))
                .filter_map(|interface| {
                    let driver = system.link(&format!("{DEVICES}/{interface}/driver")).found()?;
                    Some((driver.rsplit('/').next()?.to_owned(), (*interface).clone()))
                });
            Some(UsbReader {
                port: port.clone(),
                name,
                release: text(port, "bcdDevice").and_then(|text| u16::from_str_radix(&text, 16).ok()),
                words: words.into_iter().flatten().collect::<Vec<_>>().join(" "),
                file: number("busnum")
                    .zip(number("devnum"))
                    .map(|(bus, device)| format!("/dev/bus/usb/{bus:03}/{device:03}")),
                drivers: drivers.collect(),
            })
        })
        .collect()
}

pub(super) fn check(system: &dyn System, facts: &Facts) -> Option<Finding> {
    const NAME: &str = "usb";
    if !Facts::is_linux(system) {
        return None;
    }
    if system.folder(DEVICES).is_missing() {
        return Some(Finding::new(
            NAME,
            State::Note,
            "this machine shows no USB (a container, perhaps): readers cannot be looked for",
        ));
    }
    if facts.usb.is_empty() {
        let found = "no NFC reader of a known kind is plugged in";
        return Some(
            Finding::new(NAME, State::Note, found).cured_by(["plug the reader in, straight into the machine rather than through a hub"]),
        );
    }
    for reader in &facts.usb {
        if reader.words.contains("RFCARD") || reader.words.contains("RF1258") {
            let found = format!(
                "the {} at {} calls itself \"{}\": a clone, of a kind that has reported no card to pcscd",
                reader.name, reader.port, reader.words
            );
            return Some(Finding::new(NAME, State::Warning, found).cured_by(["if taps are not seen, use another reader"]));
        }
        if reader.is_acr122()
            && !reader.words.is_empty()
            && !["ACS", "Advanced Card", "ACR122"].iter().any(|own| reader.words.contains(own))
        {
            let found = format!(
                "the ACR122U at {} calls itself \"{}\", where its maker says \"ACS ACR122U PICC Interface\": a clone, most likely",
                reader.port, reader.words
            );
            return Some(Finding::new(NAME, State::Warning, found).cured_by(["if taps are not seen, use another reader"]));
        }
        if let Some(release) = reader.release.filter(|release| reader.is_acr122() && *release < OLDEST) {
            let found = format!(
                "the ACR122U at {} has firmware {:x}.{:02x}, which libccid refuses",
                reader.port,
                release >> 8,
                release & 0xFF
            );
            return Some(Finding::new(NAME, State::Warning, found).cured_by([
                "set ifdDriverOptions to 0x0005 in /etc/libccid_Info.plist".to_owned(),
                super::restart_pcscd(system).to_owned(),
            ]));
        }
    }
    let names: Vec<String> = facts
        .usb
        .iter()
        .map(|reader| match reader.release {
            Some(release) => format!(
                "{} (firmware {:x}.{:02x}) at {}",
                reader.name,
                release >> 8,
                release & 0xFF,
                reader.port
            ),
            None => format!("{} at {}", reader.name, reader.port),
        })
        .collect();
    Some(Finding::ok(NAME, names.join(", ")))
}
