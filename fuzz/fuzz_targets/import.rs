//! A file of whatever format: recognised, read, shown, and written in every other format.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tapdoor_captures::{Events, Filter, Format, Import, export, show};

fuzz_target!(|bytes: &[u8]| {
    let open = || Import::open(Cursor::new(bytes.to_vec()), None);
    let Ok(import) = open() else {
        return;
    };
    let _ = show::json(import, &Filter::default(), &mut std::io::sink());
    if let Ok(import) = open() {
        let _ = show::plain(import, &Filter::default(), &mut std::io::sink());
    }
    for to in Format::ALL.into_iter().filter(|to| to.is_writable()) {
        let Ok(import) = open() else {
            continue;
        };
        let mut written = Vec::new();
        let outcome = export::convert(import, to, &mut written);
        // What we wrote on a tape, we can read.
        if to == Format::Tape
            && outcome.is_ok()
            && let Ok(mut again) = Import::open(Cursor::new(written), Some(Format::Tape))
        {
            while let Some(event) = again.next_event() {
                assert!(event.is_ok());
            }
        }
    }
});
