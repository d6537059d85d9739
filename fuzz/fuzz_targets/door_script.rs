//! The parser of `.door` scripts, and the patterns in them: whatever the text is, there are steps or an error that names a place in it.
//!
//! The parser's own files are built here, and not the workbench around them, which brings a whole server.
#![no_main]
#![allow(dead_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../../workbench/src/names.rs"]
mod names;
#[path = "../../workbench/src/script/lex.rs"]
mod lex;
#[path = "../../workbench/src/script/load.rs"]
mod load;
#[path = "../../workbench/src/script/parse.rs"]
mod parse;
#[path = "../../workbench/src/script/pattern.rs"]
mod pattern;
#[path = "../../workbench/src/script/syntax.rs"]
mod syntax;
use load::{LoadError, load_named};

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
