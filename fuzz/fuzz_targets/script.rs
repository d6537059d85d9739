//! ETSI TS 102 226 expanded scripts: command and response scripts are read, run and written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapdoor_protocol::globalplatform::script::{CommandScript, ResponseScript, run};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(script) = CommandScript::parse(bytes) {
        // What was read says the same when it is written and read again.
        let encoded = script.encode();
        assert_eq!(CommandScript::parse(&encoded).as_ref(), Ok(&script));
        assert!(script.commands().count() <= bytes.len());
    }
    if let Ok(script) = ResponseScript::parse(bytes) {
        let encoded = script.encode();
        assert_eq!(ResponseScript::parse(&encoded).as_ref(), Ok(&script));
    }
    // Whatever the script is, there is an answer, and the server can read it.
    let mut executed = 0usize;
    let answer = run(bytes, |command| {
        executed += 1;
        // Commands with an odd sum are refused, so that scripts end early too.
        let sum = command.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        if sum & 1 == 1 { vec![0x6A, 0x80] } else { vec![sum, 0x90, 0x00] }
    });
    let read = ResponseScript::parse(&answer);
    assert!(read.is_ok(), "{answer:02x?}");
    assert!(executed <= bytes.len());
});
