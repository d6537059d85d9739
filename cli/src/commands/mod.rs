//! One command a file.

pub mod aliro;
pub mod apdu;
pub mod bench;
pub mod convert;
pub mod demo;
pub mod dep;
pub mod diff;
pub mod doctor;
pub mod init;
pub mod input;
pub mod lock;
pub mod meta;
pub mod phone;
pub mod probe;
pub mod readers;
pub mod redact;
pub mod replay;
pub mod run;
pub mod server;
pub mod show;
pub mod simulate;
pub mod verify;

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tapdoor_captures::{Header, MaskPolicy, SharedTape, TapeMode, TapeWriter};
use tapdoor_link::stop::Stop;
use tapdoor_reader::{CardSource, ReaderInfo, Session};

use crate::args::{Arguments, Command};
use crate::failure::{DEVICE, Failure, USAGE};
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
        Command::Aliro(a) => aliro::run(a, out),
        Command::Apdu(a) => apdu::run(a, out, stop),
        Command::Dep(a) => dep::run(a, out, stop),
        Command::Simulate(a) => simulate::run(a, out, stop),
        Command::Run(a) => run::run(a, out, stop),
        Command::Shell(a) => match interrupt {
            Some(interrupt) => shell::run(a, out, interrupt),
            None => Err(Failure::new(USAGE, "this is a shell already")),
        },
        Command::Readers => readers::run(out),
        Command::Doctor(a) => doctor::run(a, out),
        Command::Probe(a) => probe::run(a, out, stop),
        Command::Show(a) => show::run(a, out),
        Command::Convert(a) => convert::run(a, out),
        Command::Diff(a) => diff::run(a, out),
        Command::Redact(a) => redact::run(a, out),
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
    tape_of(path, reader, None, show_secrets)
}

/// The same with the ATR of the card, where there is only one.
pub fn tape_of(path: &Path, reader: &ReaderInfo, atr: Option<Vec<u8>>, show_secrets: bool) -> Result<SharedTape, Failure> {
    let mut header = Header::now(TOOL);
    header.atr = atr;
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

/// A card that comes within so many seconds; `None` if somebody interrupts.
fn wait_for_card(source: &mut dyn CardSource, seconds: u64, stop: &Stop) -> Result<Option<Session>, Failure> {
    // The session may ask the one that it was given whether somebody wants to stop; the other one ends the thread that watches the time.
    let (waiting, here) = (Stop::new(), Stop::new());
    let (interrupt, late, watch) = (waiting.clone(), waiting.clone(), here.clone());
    let _interrupt = stop.on_stop(move || interrupt.stop());
    let limit = Duration::from_secs(seconds);
    thread::spawn(move || {
        if !watch.sleep(limit) {
            late.stop();
        }
    });
    let session = source.wait_card(&waiting);
    here.stop();
    match session {
        Ok(session) => Ok(Some(session)),
        Err(_) if stop.is_stopped() => Ok(None),
        Err(_) if waiting.is_stopped() => {
            let name = source.describe().name;
            let detail = format!("no card came to {name} within {seconds} s; tap it, or give it longer with --wait");
            Err(Failure::new(DEVICE, detail))
        }
        Err(error) => Err(error.into()),
    }
}
