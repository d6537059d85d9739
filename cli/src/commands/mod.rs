//! One command a file.

pub mod apdu;
pub mod bench;
pub mod demo;
pub mod init;
pub mod lock;
pub mod meta;
pub mod phone;
pub mod readers;
pub mod replay;
pub mod run;
pub mod server;
pub mod show;
pub mod verify;

use std::path::Path;

use serde_json::{Value, json};
use tapdoor_captures::{Header, MaskPolicy, SharedTape, TapeMode, TapeWriter};
use tapdoor_reader::ReaderInfo;

use tapdoor_link::stop::Stop;

use crate::args::{Arguments, Command};
use crate::failure::{Failure, USAGE};
use crate::interrupt::Interrupt;
use crate::out::Out;
use crate::shell;

/// What every command returns: an exit status.
pub type Outcome = Result<u8, Failure>;

/// Carries out a command. `interrupt` makes a shell possible; a shell's commands have none.
pub fn dispatch(arguments: &Arguments, out: &mut Out, stop: &Stop, interrupt: Option<&Interrupt>) -> Outcome {
    match &arguments.command {
        Command::Demo(a) => demo::run(a, out),
        Command::Init(a) => init::run(a, out),
        Command::Lock(a) => lock::run(a, out, stop),
        Command::Phone(a) => phone::run(a, out, stop),
        Command::Server(a) => server::run(a, out, stop),
        Command::Apdu(a) => apdu::run(a, out, stop),
        Command::Run(a) => run::run(a, out, stop),
        Command::Shell(a) => match interrupt {
            Some(interrupt) => shell::run(a, out, interrupt),
            None => Err(Failure::new(USAGE, "this is a shell already")),
        },
        Command::Readers => readers::run(out),
        Command::Show(a) => show::run(a, out),
        Command::Verify(a) => verify::run(a, out),
        Command::Replay(a) => replay::run(a, out, stop),
        Command::Bench(a) => bench::run(a, out, stop),
        Command::Completions(a) => meta::completions(a),
        Command::Man(a) => meta::man(a, out),
    }
}

/// The program's name and version, for tapes.
pub const TOOL: &str = concat!("tapdoor ", env!("CARGO_PKG_VERSION"));

/// Begins a tape of what passes through this reader.
pub fn tape(path: &Path, reader: &ReaderInfo, show_secrets: bool) -> Result<SharedTape, Failure> {
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
pub fn ready(reader: &ReaderInfo) -> Value {
    let mut event = json!({"event": "ready", "reader": reader.name, "driver": reader.driver});
    if let Some(listen) = reader.listen {
        event["listen"] = json!(listen.to_string());
    }
    event
}
