//! The `tapdoor` command: arguments in, text or JSON out.

mod args;
mod commands;
mod failure;
mod interrupt;
mod out;
mod shell;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Arguments;
use crate::interrupt::Interrupt;
use crate::out::Out;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = Out::new(&arguments);
    let interrupt = Interrupt::install();
    let stop = interrupt.begin();
    let result = commands::dispatch(&arguments, &mut out, &stop, Some(&interrupt));
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}
