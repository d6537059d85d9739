//! `tapdoor show`.

use std::io::{self, Write};

use tapdoor_captures::decode::AliroKeys;
use tapdoor_captures::show::ShowError;
use tapdoor_captures::{Filter, Layer, Style, show};
use tapdoor_reader::LockConfig;
use tapdoor_workbench::aliro::Evidence;

use super::{Outcome, input};
use crate::args::ShowArgs;
use crate::failure::{DONE, Failure, INPUT, USAGE};
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
        keys: keys(args)?,
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

/// What deciphers Aliro: the keys of the command line, and those of a lock.
fn keys(args: &ShowArgs) -> Result<AliroKeys, Failure> {
    let mut evidence = given(&args.key)?;
    let Some(path) = &args.config else {
        if !args.key.is_empty() {
            return Err(Failure::new(
                USAGE,
                "--key needs --config lock.toml: all keys depend on the reader group identifier key",
            ));
        }
        return Ok(AliroKeys::default());
    };
    let reader = tapdoor_workbench::aliro::files::reader(path)?;
    evidence.read(&LockConfig::load(path)?.store).map_err(|e| Failure::new(USAGE, e))?;
    Ok(evidence.decipher(&reader))
}

/// Keys of the command line.
pub fn given(words: &[String]) -> Result<Evidence, Failure> {
    let mut evidence = Evidence::default();
    for text in words {
        let key = hex::decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let key = key.ok_or_else(|| Failure::new(USAGE, "--key must have 64 hexadecimal digits"))?;
        evidence.given.push(key.into());
    }
    Ok(evidence)
}
