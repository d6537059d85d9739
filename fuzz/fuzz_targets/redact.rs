//! A tape with its secrets taken out is the same session: as many events, and no difference that is not an identity's.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tapdoor_captures::redact::Redactor;
use tapdoor_captures::{Events, Import, diff};

fuzz_target!(|bytes: &[u8]| {
    let open = || Import::open(Cursor::new(bytes.to_vec()), None);
    let (Ok(mut plain), Ok(redacted)) = (open(), open()) else {
        return;
    };
    let mut redactor = Redactor::new(redacted, [7; 16]);
    loop {
        match (plain.next_event(), redactor.next_event()) {
            (None, None) => break,
            (Some(Ok(a)), Some(Ok(b))) => {
                assert_eq!((a.t, &a.layer, a.dir, a.tap, a.bits), (b.t, &b.layer, b.dir, b.tap, b.bits));
                assert_eq!(a.data.map(|data| data.len()), b.data.map(|data| data.len()));
            }
            (Some(Err(_)), Some(Err(_))) => break,
            _ => panic!("another number of events"),
        }
    }
    if let (Ok(a), Ok(b)) = (open(), open()) {
        let _ = diff::diff(a, b, |finding| assert!(!matches!(finding, diff::Finding::Difference(_))));
    }
});
