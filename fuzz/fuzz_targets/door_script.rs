//! The parser of `.door` scripts, and the patterns in them: whatever the text is, there are steps or an error that names a place in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapdoor_workbench::script::{LoadError, load_named};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // A script that includes files would read what lies about here.
    if text.contains("include") {
        return;
    }
    match load_named("fuzz.door", text) {
        Ok(script) => assert!(script.steps.len() <= text.len()),
        Err(LoadError::Parse(error)) => {
            assert!(error.place.line >= 1 && error.place.line <= text.lines().count().max(1), "{error}");
            assert!(error.place.column >= 1 && !error.expected.is_empty(), "{error}");
        }
        Err(error) => panic!("{error}"),
    }
});
