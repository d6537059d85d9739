//! What is read off the air: blocks, ATS, ATQB, PPS, FeliCa and NFC-DEP units. What is read can be written, and says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapdoor_protocol::rf::crc;
use tapdoor_protocol::rf::felica::{SensfReq, SensfRes};
use tapdoor_protocol::rf::frame::{BitRate, Technology};
use tapdoor_protocol::rf::iso14443::dep::ats::{Ats, Pps, Rats};
use tapdoor_protocol::rf::iso14443::dep::block::Block;
use tapdoor_protocol::rf::iso14443::type_b::{Atqb, Request};
use tapdoor_protocol::rf::nfc_dep::pdu::{Atr, Dep, Psl, unframe};

fuzz_target!(|bytes: &[u8]| {
    let mut written = Vec::new();
    if let Ok(block) = Block::parse(bytes) {
        block.write(&mut written);
        assert_eq!(Block::parse(&written), Ok(block));
    }
    if let Ok(ats) = Ats::parse(bytes) {
        assert_eq!(Ats::parse(&ats.encode()), Ok(ats));
    }
    if let Some(rats) = Rats::parse(bytes) {
        assert_eq!(rats.encode(), bytes);
    }
    if let Some(pps) = Pps::parse(bytes) {
        assert_eq!(Pps::parse(&pps.encode()), Some(pps));
    }
    if let Some(request) = Request::parse(bytes) {
        assert_eq!(request.encode(), bytes);
    }
    if let Some(atqb) = Atqb::parse(bytes) {
        written.clear();
        atqb.encode_into(&mut written);
        assert_eq!(Atqb::parse(&written), Some(atqb));
    }
    if let Some(response) = SensfRes::parse(bytes) {
        written.clear();
        response.encode_into(&mut written);
        assert_eq!(written, bytes);
    }
    let _ = SensfReq::parse(bytes);
    for rate in [BitRate::Kbps106, BitRate::Kbps212] {
        let Some(unit) = unframe(rate, bytes) else { continue };
        for response in [false, true] {
            let _ = Atr::parse(response, unit.get(2..).unwrap_or_default());
        }
        let _ = Psl::parse(unit.get(2..).unwrap_or_default());
        if let Some(dep) = Dep::parse(unit.get(2..).unwrap_or_default()) {
            written.clear();
            dep.encode_into(&mut written);
            assert_eq!(Dep::parse(&written), Some(dep));
        }
    }
    for technology in [Technology::A, Technology::B, Technology::F] {
        written.clear();
        written.extend_from_slice(bytes);
        crc::append(technology, &mut written);
        assert_eq!(crc::strip(technology, &written), Some(bytes));
    }
});
