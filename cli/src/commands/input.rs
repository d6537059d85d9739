//! Files of any format as input: opened, recognised, and with a bar on a terminal that says how far we are.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tapdoor_captures::{Format, Import};

use crate::failure::{Failure, INPUT, USAGE};
use crate::out::Out;

/// A file that is being read.
pub type Input = Import<Box<dyn BufRead>>;

/// A bar is shown for files that take long enough to be wondered about.
const LONG: u64 = 32 << 20;

/// Counts what is read.
struct Watched<R> {
    input: R,
    bar: ProgressBar,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

impl<R> Drop for Watched<R> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The format of this name.
pub fn format(name: Option<&str>) -> Result<Option<Format>, Failure> {
    let Some(name) = name else {
        return Ok(None);
    };
    Format::named(name).map(Some).ok_or_else(|| {
        let names: Vec<_> = Format::ALL.iter().map(|format| format.name()).collect();
        Failure::new(USAGE, format!("no format is called {name}; there are {}", names.join(", ")))
    })
}

/// Opens a file, `-` for standard input.
pub fn open(path: &Path, from: Option<Format>, out: &Out) -> Result<Input, Failure> {
    let name = path.display().to_string();
    let input: Box<dyn BufRead> = if name == "-" {
        Box::new(BufReader::with_capacity(1 << 16, io::stdin()))
    } else {
        let file = File::open(path).map_err(|e| Failure::new(INPUT, format!("{name}: {e}")))?;
        let length = file.metadata().map_or(0, |data| data.len());
        // Where the output goes to the same terminal, the two would get into each other's way.
        if length > LONG && io::stderr().is_terminal() && !io::stdout().is_terminal() && !out.is_quiet() {
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(5));
            if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left") {
                bar.set_style(style);
            }
            Box::new(BufReader::with_capacity(1 << 16, Watched { input: file, bar }))
        } else {
            Box::new(BufReader::with_capacity(1 << 18, file))
        }
    };
    Import::open(input, from).map_err(|e| Failure::new(INPUT, format!("{name}: {e}")))
}
