//! APDUs and BER-TLV: what is read can be written, and says the same; all management commands, and what a chip tells of itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapdoor_protocol::apdu::{Command, Response};
use tapdoor_protocol::globalplatform::command::{Install, LoadParameters, Management, PutKey, Subset};
use tapdoor_protocol::globalplatform::registry::{CardRecognition, CardResources, KeyInfo, parse_status, parse_status_old};
use tapdoor_protocol::tlv;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(command) = Command::parse(bytes) {
        // Which of the two encodings of the same length it came in is not kept, so bytes are compared only the second time.
        let encoded = command.encode().expect("what was read can be written");
        let again = Command::parse(&encoded).expect("and read again");
        assert_eq!(
            (again.cla, again.ins, again.data, again.ne),
            (command.cla, command.ins, command.data, command.ne)
        );
        let _ = Management::parse(&command);
        if let Ok(install) = Install::parse(&command)
            && let Ok(encoded) = install.encode()
        {
            let again = Command::parse(&encoded).expect("what is written can be read");
            assert_eq!(Install::parse(&again).as_ref(), Ok(&install));
        }
        if let Ok(key) = PutKey::parse(&command)
            && let Ok(encoded) = key.encode()
        {
            let again = Command::parse(&encoded).expect("what is written can be read");
            assert_eq!(PutKey::parse(&again).as_ref(), Ok(&key));
        }
    }
    let _ = Response::parse(bytes);

    let mut total = 0;
    for object in tlv::iter(bytes) {
        let Ok(object) = object else { break };
        total += object.value.len();
        let mut written = Vec::new();
        tlv::write(&mut written, object.tag.0, object.value);
        let (again, rest) = tlv::read(&written).expect("what is written can be read");
        assert_eq!((again.tag.0, again.value, rest), (object.tag.0, object.value, &[][..]));
    }
    assert!(total <= bytes.len());

    if let Some(entries) = parse_status(bytes) {
        let encoded: Vec<u8> = entries.iter().flat_map(|entry| entry.encode()).collect();
        assert!(parse_status(&encoded).is_some());
    }
    for subset in [
        Subset::IssuerSecurityDomain,
        Subset::Applications,
        Subset::LoadFiles,
        Subset::LoadFilesAndModules,
    ] {
        let _ = parse_status_old(bytes, subset);
    }
    let _ = (
        KeyInfo::parse(bytes),
        CardResources::parse(bytes),
        CardRecognition::parse(bytes),
        LoadParameters::parse(bytes),
    );
});
