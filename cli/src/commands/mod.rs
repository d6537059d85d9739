//! One command a file.

pub mod apdu;
pub mod bench;
pub mod convert;
pub mod demo;
pub mod diff;
pub mod init;
pub mod input;
pub mod lock;
pub mod meta;
pub mod phone;
pub mod readers;
pub mod redact;
pub mod server;
pub mod show;

use std::path::Path;

use serde_json::{Value, json};
use tapdoor_captures::{Header, MaskPolicy, SharedTape, TapeMode, TapeWriter};
use tapdoor_reader::ReaderInfo;

use crate::failure::{Failure, USAGE};

/// What every command returns: an exit status.
pub type Outcome = Result<u8, Failure>;

/// The program's name and version, for tapes.
pub const TOOL: &str = concat!("tapdoor ", env!("CARGO_PKG_VERSION"));

/// Begins a tape of what passes through this reader.
fn tape(path: &Path, reader: &ReaderInfo, show_secrets: bool) -> Result<SharedTape, Failure> {
    let mut header = Header::now(TOOL);
    header.reader = Some(reader.name.clone());
    header.driver = Some(reader.driver.into());
    header.firmware.clone_from(&reader.firmware);
    header.mode = Some(TapeMode::from(reader.mode));
    let writer = TapeWriter::create(path, &header).map_err(|e| Failure::new(USAGE, e))?;
    let policy = if show_secrets { MaskPolicy::Nothing } else { MaskPolicy::default() };
    Ok(SharedTape::new(writer.mask_policy(policy)))
}

/// The `ready` event of a reader.
fn ready(reader: &ReaderInfo) -> Value {
    let mut event = json!({"event": "ready", "reader": reader.name, "driver": reader.driver});
    if let Some(listen) = reader.listen {
        event["listen"] = json!(listen.to_string());
    }
    event
}
