//! An APDU exchanger by libnfc's driver `acr122_pcsc`, which Debian's libnfc does not have: another program's view of an ACR122U.
//!
//!     acr122_pcsc [READER-NAME]
//!
//! Prints the readers that the driver takes for an ACR122, the one that it opened, and the card there; then each line of standard input is
//! a C-APDU in hexadecimal, answered by a line. Each line of output is a JSON object. Exit status 3: no reader, no card, or it left.

use std::fmt::Write as _;
use std::io::{self, BufRead, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use nfc1::target_info::{Iso14443a, TargetInfo};
use nfc1::{BaudRate, Context, Device, Error, Modulation, ModulationType, Property, Timeout};

/// The driver copies a longer command into its buffer and wraps Lc.
const LONGEST: usize = 252;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(detail) => {
            eprintln!("acr122_pcsc: {detail}");
            ExitCode::from(3)
        }
    }
}

fn run() -> Result<(), String> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let mut context = Context::new().map_err(|e| e.to_string())?;
    let names = context.list_devices(8).map_err(|e| e.to_string())?;
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    say(&format!("{{\"event\": \"devices\", \"names\": [{}]}}", quoted.join(", ")));
    let connstring = if wanted.is_empty() {
        "acr122_pcsc".to_owned()
    } else {
        format!("acr122_pcsc:{wanted}")
    };
    let mut device = context
        .open_with_connstring(&connstring)
        .map_err(|e| format!("cannot open {connstring}: {e}"))?;
    device.initiator_init().map_err(|e| format!("initiator_init: {e}"))?;
    // Else a search lasts until a card comes.
    device
        .set_property_bool(Property::InfiniteSelect, false)
        .map_err(|e| format!("InfiniteSelect: {e}"))?;
    say(&format!("{{\"event\": \"opened\", \"name\": \"{}\"}}", device.name()));
    let card = find(&mut device)?.ok_or("no card")?;
    say(&format!(
        "{{\"event\": \"card\", \"atqa\": \"{}\", \"uid\": \"{}\", \"sak\": \"{:02x}\", \"ats\": \"{}\"}}",
        hex(&card.atqa),
        hex(&card.uid[..card.uid_len]),
        card.sak,
        hex(&card.ats[..card.ats_len]),
    ));
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|e| e.to_string())?;
        let command = unhex(line.trim()).ok_or_else(|| format!("{line} is not hexadecimal"))?;
        if command.is_empty() || command.len() > LONGEST {
            return Err(format!("{} bytes are no command for this driver", command.len()));
        }
        let response = device
            .initiator_transceive_bytes(&command, 264, Timeout::Duration(Duration::from_secs(5)))
            .map_err(|e| format!("{}: {e}", hex(&command)))?;
        say(&format!(
            "{{\"event\": \"apdu\", \"c\": \"{}\", \"r\": \"{}\"}}",
            hex(&command),
            hex(&response)
        ));
    }
    let _ = device.initiator_deselect_target();
    Ok(())
}

/// The card in the field; without one libnfc leaves the description as it was.
fn find(device: &mut Device) -> Result<Option<Iso14443a>, String> {
    let modulation = Modulation {
        modulation_type: ModulationType::Iso14443a,
        baud_rate: BaudRate::Baud106,
    };
    match device.initiator_select_passive_target(&modulation) {
        Ok(target) => Ok(match target.target_info {
            TargetInfo::Iso14443a(card) if card.uid_len > 0 => Some(card),
            _ => None,
        }),
        Err(Error::Timeout) => Ok(None),
        Err(e) => Err(format!("select_passive_target: {e}")),
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect::<Option<_>>()?;
    digits
        .len()
        .is_multiple_of(2)
        .then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
