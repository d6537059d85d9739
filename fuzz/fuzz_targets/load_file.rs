//! Load files as a whole and in blocks: both ways say the same, and nothing is held that is larger than the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapdoor_protocol::globalplatform::command::Load;
use tapdoor_protocol::globalplatform::load_file::{Gatherer, LoadFile, blocks};

const LIMIT: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    let whole = LoadFile::parse(bytes);
    if let Ok(file) = &whole {
        let encoded = file.encode();
        assert_eq!(LoadFile::parse(&encoded).as_ref(), Ok(file));
        let _ = file.is_signed_by(&tapdoor_protocol::aid::Aid::CARD_MANAGER, &[2; 33]);
    }
    let mut gatherer = Gatherer::new(LIMIT);
    let mut got = None;
    for block in blocks(bytes, usize::from(size)) {
        match gatherer.push(&block) {
            Ok(done) => got = done,
            Err(_) => {
                got = None;
                break;
            }
        }
        assert!(gatherer.len() <= LIMIT);
    }
    // Blocks that a gatherer took make a file of the announced length; one that parses and fits is always taken.
    match (&whole, got) {
        (Ok(_), got) if bytes.len() <= LIMIT => assert_eq!(got.as_deref(), Some(bytes)),
        (_, Some(got)) => assert_eq!(got, bytes),
        _ => {}
    }
    // Blocks in an order, and with marks, that no honest host has.
    let mut gatherer = Gatherer::new(LIMIT);
    for chunk in bytes.chunks(usize::from(size).max(3)) {
        let [number, last, block @ ..] = chunk else { break };
        let load = Load {
            last: *last & 1 == 1,
            number: *number,
            block,
        };
        if gatherer.push(&load).is_err() {
            break;
        }
    }
});
