//! `tapdoor simulate`: a simulated chip without a phone.

#[cfg(unix)]
use serde_json::json;
use tapdoor_link::stop::Stop;

use super::Outcome;
use crate::args::SimulateArgs;
#[cfg(unix)]
use crate::failure::INTERRUPTED;
use crate::failure::{DEVICE, Failure};
use crate::out::Out;

/// Runs the command.
#[cfg(unix)]
pub fn run(args: &SimulateArgs, out: &mut Out, stop: &Stop) -> Outcome {
    use crate::failure::USAGE;
    use tapdoor_workbench::simulate::{Chip, Near};

    let near = args.near.as_deref().map(str::parse::<Near>).transpose();
    let near = near.map_err(|e| Failure::new(USAGE, e))?;
    let chip = Chip::open(&args.path, near.as_ref(), stop).map_err(|e| Failure::new(DEVICE, e))?;
    let mut ready = json!({"event": "ready", "path": args.path});
    let mut text = format!("ready: a PN532 at {}", args.path.display());
    if let Some(listen) = chip.listen() {
        ready["listen"] = json!(listen.to_string());
        text.push_str(&format!(", which hears a reader's frames at {listen}"));
    }
    if let Some(Near::Pn532(path)) = &near {
        ready["peer"] = json!(path);
        text.push_str(&format!(", and another one near it at {}", path.display()));
    }
    out.event(&ready, || text)?;
    chip.serve(stop, &mut |_| ()).map_err(|e| Failure::new(DEVICE, e))?;
    Ok(INTERRUPTED)
}

/// Says that there is no such thing here.
#[cfg(not(unix))]
pub fn run(_: &SimulateArgs, _: &mut Out, _: &Stop) -> Outcome {
    Err(Failure::new(DEVICE, "pseudo-terminals are there on Linux and macOS only"))
}
