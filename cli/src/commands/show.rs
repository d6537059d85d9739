//! `tapdoor show`.

use std::io::{self, Write};

use tapdoor_captures::show::ShowError;
use tapdoor_captures::{Filter, Layer, Style, show};

use super::{Outcome, input};
use crate::args::ShowArgs;
use crate::failure::{DONE, Failure, INPUT};
use crate::out::Out;

/// Runs the command.
pub fn run(args: &ShowArgs, out: &mut Out) -> Outcome {
    let name = match args.file.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => args.file.display().to_string(),
    };
    let events = input::open(&args.file, input::format(args.from.as_deref())?, out)?;
    let filter = Filter {
        tap: args.tap,
        layer: args.layer.as_deref().map(Layer::from),
    };
    let (shown, flushed) = if out.is_json() || args.plain {
        // Nothing here is coloured, so nothing needs to look for colours.
        let mut stdout = io::BufWriter::with_capacity(1 << 18, io::stdout().lock());
        let shown = match out.is_json() {
            true => show::json(events, &filter, &mut stdout),
            false => show::plain(events, &filter, &mut stdout),
        };
        (shown, stdout.flush())
    } else {
        // anstream takes the colours out again where they are not wanted.
        let mut stdout = io::BufWriter::with_capacity(1 << 16, anstream::stdout().lock());
        let shown = show::text(events, &filter, Style::Ansi, &mut stdout);
        (shown, stdout.flush())
    };
    match shown {
        Ok(cut) => {
            flushed?;
            if let Some(cut) = cut {
                out.warn(&format!("{name}: {cut}"));
            }
            Ok(DONE)
        }
        Err(ShowError::Write(error)) => Err(error.into()),
        Err(error) => Err(Failure::new(INPUT, format!("{name}: {error}"))),
    }
}
