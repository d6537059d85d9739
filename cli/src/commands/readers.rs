//! `tapdoor readers`.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;
use tapdoor_reader::source::pcsc::{is_acr122, list_readers};

use super::Outcome;
use crate::failure::{DEVICE, DONE, Failure};
use crate::out::Out;

/// Runs the command.
pub fn run(out: &mut Out) -> Outcome {
    let readers = list_readers()?;
    if readers.is_empty() {
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
    out.text(&table.trim_fmt())?;
    Ok(DONE)
}
