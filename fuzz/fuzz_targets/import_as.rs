//! Each importer by itself: the first byte names the format, the rest is the file.
#![no_main]

use std::io::{BufReader, Cursor};

use libfuzzer_sys::fuzz_target;
use tapdoor_captures::{Events, Format, Import};

fuzz_target!(|bytes: &[u8]| {
    let Some((format, file)) = bytes.split_first() else {
        return;
    };
    let format = Format::ALL[usize::from(*format) % Format::ALL.len()];
    // Pieces of 7 bytes, so that everything is put together.
    let input = BufReader::with_capacity(7, Cursor::new(file.to_vec()));
    match Import::open(input, Some(format)) {
        Ok(mut import) => {
            while let Some(event) = import.next_event() {
                if let Err(error) = event {
                    assert!(error.offset <= file.len() as u64 && !error.to_string().is_empty());
                }
            }
        }
        Err(error) => assert!(error.to_string().contains("expected") || !error.to_string().is_empty()),
    }
});
