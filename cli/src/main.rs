//! The `tapdoor` command: arguments in, text or JSON out.

mod args;
mod commands;
mod failure;
mod out;

use std::process::ExitCode;

use clap::Parser;
use tapdoor_link::stop::Stop;

use crate::args::{Arguments, Command};
use crate::out::Out;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = Out::new(&arguments);
    let stop = Stop::new();
    let handler = stop.clone();
    // The first signal ends waits and loops; the second ends the program where it stands.
    let _ = ctrlc::set_handler(move || {
        if handler.is_stopped() {
            std::process::exit(130);
        }
        handler.stop();
    });
    let result = match &arguments.command {
        Command::Demo(a) => commands::demo::run(a, &mut out),
        Command::Init(a) => commands::init::run(a, &mut out),
        Command::Lock(a) => commands::lock::run(a, &mut out, &stop),
        Command::Phone(a) => commands::phone::run(a, &mut out, &stop),
        Command::Server(a) => commands::server::run(a, &mut out, &stop),
        Command::Apdu(a) => commands::apdu::run(a, &mut out, &stop),
        Command::Readers => commands::readers::run(&mut out),
        Command::Show(a) => commands::show::run(a, &mut out),
        Command::Convert(a) => commands::convert::run(a, &mut out),
        Command::Diff(a) => commands::diff::run(a, &mut out),
        Command::Redact(a) => commands::redact::run(a, &mut out),
        Command::Bench(a) => commands::bench::run(a, &mut out, &stop),
        Command::Completions(a) => commands::meta::completions(a),
        Command::Man(a) => commands::meta::man(a, &mut out),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}
