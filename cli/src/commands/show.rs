//! `tapdoor show`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};

use tapdoor_captures::show::ShowError;
use tapdoor_captures::{Filter, Layer, Style, TapeReader, show};

use super::Outcome;
use crate::args::ShowArgs;
use crate::failure::{DONE, Failure, INPUT};
use crate::out::Out;

/// Runs the command.
pub fn run(args: &ShowArgs, out: &mut Out) -> Outcome {
    let name = args.file.display().to_string();
    if name == "-" {
        return decode(io::stdin().lock(), "standard input", args, out);
    }
    let file = File::open(&args.file).map_err(|e| Failure::new(INPUT, format!("{name}: {e}")))?;
    decode(BufReader::with_capacity(1 << 16, file), &name, args, out)
}

fn decode(input: impl BufRead, name: &str, args: &ShowArgs, out: &Out) -> Outcome {
    let input_error = |e: &dyn std::fmt::Display| Failure::new(INPUT, format!("{name}: {e}"));
    let tape = TapeReader::new(input).map_err(|e| input_error(&e))?;
    let filter = Filter {
        tap: args.tap,
        layer: args.layer.as_deref().map(Layer::from),
    };
    // anstream takes the colours out again where they are not wanted.
    let mut stdout = io::BufWriter::with_capacity(1 << 16, anstream::stdout().lock());
    let shown = if out.is_json() {
        show::json(tape, &filter, &mut stdout)
    } else {
        show::text(tape, &filter, Style::Ansi, &mut stdout)
    };
    let flushed = stdout.flush();
    match shown {
        Ok(cut) => {
            flushed?;
            if let Some(cut) = cut {
                out.warn(&format!("{name}: {cut}"));
            }
            Ok(DONE)
        }
        Err(ShowError::Write(error)) => Err(error.into()),
        Err(error) => Err(input_error(&error)),
    }
}
