//! `tapdoor init`.

use serde_json::json;
use tapdoor_workbench::init::{self, InitError, InitOptions};

use super::Outcome;
use crate::args::InitArgs;
use crate::failure::{DEVICE, DONE, Failure, USAGE};
use crate::out::Out;

/// Runs the command.
pub fn run(args: &InitArgs, out: &mut Out) -> Outcome {
    let options = InitOptions {
        phones: usize::try_from(args.phones).unwrap_or(1),
        usim: args.usim,
        bare_phone: args.bare_phone,
    };
    let paths = init::init(&args.dir, options).map_err(|e| {
        let code = if matches!(e, InitError::Exists(_)) { USAGE } else { DEVICE };
        Failure::new(code, e)
    })?;
    let files: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    out.event(
        &json!({"event": "init", "path": args.dir.display().to_string(), "files": files}),
        || {
            format!(
                "{}\n\nThey hold keys: keep them to yourself. Next:\n  tapdoor lock --config {dir}/lock.toml --reader sim: --once\n  \
                 tapdoor server --config {dir}/server.toml",
                files.join("\n"),
                dir = args.dir.display()
            )
        },
    )?;
    Ok(DONE)
}
