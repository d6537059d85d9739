//! Completions and man pages, from the definition of the command line itself.

use std::io::{self, Write};

use clap::CommandFactory;
use serde_json::json;

use super::Outcome;
use crate::args::{Arguments, CompletionsArgs, ManArgs};
use crate::failure::{DEVICE, DONE, Failure};
use crate::out::Out;

/// `tapdoor completions SHELL`.
pub fn completions(args: &CompletionsArgs) -> Outcome {
    // Into memory first: the generator would panic on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "tapdoor", &mut script);
    io::stdout().write_all(&script)?;
    Ok(DONE)
}

/// `tapdoor man DIR`.
pub fn man(args: &ManArgs, out: &mut Out) -> Outcome {
    let failure = |e: io::Error| Failure::new(DEVICE, format!("{}: {e}", args.dir.display()));
    std::fs::create_dir_all(&args.dir).map_err(failure)?;
    clap_mangen::generate_to(Arguments::command(), &args.dir).map_err(failure)?;
    let path = args.dir.display().to_string();
    out.event(&json!({"event": "man", "path": path}), || {
        format!("man pages are in {path}; read them with `man -l {path}/tapdoor.1`")
    })?;
    Ok(DONE)
}
