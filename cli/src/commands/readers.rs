//! `tapdoor readers`.

use std::path::PathBuf;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;
use tapdoor_reader::source::pcsc::{is_acr122, list_readers};

use super::Outcome;
use crate::failure::{DEVICE, DONE, Failure};
use crate::out::Out;

/// Runs the command.
pub fn run(out: &mut Out) -> Outcome {
    let lines = serial_lines();
    let readers = match list_readers() {
        Err(error) if !lines.is_empty() => {
            out.warn(&error.to_string());
            Vec::new()
        }
        readers => readers?,
    };
    if readers.is_empty() && lines.is_empty() {
        return Err(Failure::new(
            DEVICE,
            "pcscd runs and sees no reader; plug one in. If it is plugged in, the kernel's NFC driver may hold it: `sudo modprobe -r pn533_usb`",
        ));
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["reader", "driver", "state", "ATR"]);
    for reader in &readers {
        let state = match (reader.present, reader.mute, reader.exclusive, reader.in_use) {
            (false, ..) => "empty",
            (_, true, ..) => "mute card",
            (_, _, true, _) => "card, held by another program",
            (_, _, _, true) => "card, in use",
            _ => "card",
        };
        let atr = reader.atr.as_ref().map(hex::encode);
        out.json(&json!({
            "event": "reader",
            "name": reader.name,
            "driver": "pcsc",
            "state": state,
            "present": reader.present,
            "in_use": reader.in_use,
            "acr122": is_acr122(&reader.name),
            "atr": atr,
        }))?;
        table.add_row([reader.name.as_str(), "pcsc", state, atr.as_deref().unwrap_or("")]);
    }
    for line in &lines {
        let name = line.display().to_string();
        let state = "serial line, not asked";
        out.json(&json!({"event": "reader", "name": name, "driver": "pn532", "state": state}))?;
        table.add_row([name.as_str(), "pn532", state, ""]);
    }
    out.text(&table.trim_fmt())?;
    Ok(DONE)
}

/// Serial lines that a PN532 may be on. They are not opened: what is there may be something else, which would not like that.
fn serial_lines() -> Vec<PathBuf> {
    let Ok(devices) = std::fs::read_dir("/dev") else {
        return Vec::new();
    };
    let usual = ["ttyUSB", "ttyACM", "cu.usbserial", "cu.usbmodem"];
    let is_line = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        usual.iter().any(|prefix| name.starts_with(prefix))
    };
    let mut lines: Vec<PathBuf> = devices.flatten().map(|entry| entry.path()).filter(is_line).collect();
    lines.sort();
    lines
}
