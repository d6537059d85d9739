use tapdoor_protocol::rf::crc;
use tapdoor_protocol::rf::frame::Technology;
use tapdoor_protocol::rf::iso14443::dep::ats::{Ats, Pps};
use tapdoor_protocol::rf::iso14443::dep::{frame_size, frame_size_code};
use tapdoor_protocol::rf::time::waiting_time;

use crate::{unhex, vectors};

#[test]
fn checksums() {
    for vector in vectors()["crc_vectors"].as_array().unwrap() {
        let technology = if vector["type"] == "A" { Technology::A } else { Technology::B };
        assert_eq!(crc::bytes(technology, &unhex(&vector["data"])), unhex(&vector["crc"])[..]);
    }
    for vector in vectors()["felica"].as_array().unwrap() {
        assert_eq!(crc::bytes(Technology::F, &unhex(&vector["payload"])), unhex(&vector["crc_f"])[..]);
    }
}

#[test]
fn frame_sizes_and_waiting_times() {
    for (code, size) in vectors()["fsc_fsd_table"].as_object().unwrap() {
        let code: u8 = code.parse().unwrap();
        let size = usize::try_from(size.as_u64().unwrap()).unwrap();
        assert_eq!((frame_size(code), frame_size_code(size)), (size, code));
    }
    assert_eq!((frame_size_code(0), frame_size_code(63), frame_size_code(100_000)), (0, 4, 12));
    for row in vectors()["fwt_table"].as_array().unwrap() {
        let fwi = u8::try_from(row["FWI"].as_u64().unwrap()).unwrap();
        assert_eq!(waiting_time(fwi).0, row["FWT_fc"].as_u64().unwrap());
        assert!((waiting_time(fwi).as_micros_f64() - row["FWT_us"].as_f64().unwrap()).abs() < 0.001);
    }
}

#[test]
fn answers_to_select() {
    for vector in vectors()["ats_vectors"].as_array().unwrap() {
        let bytes = unhex(&vector["ats"]);
        let ats = Ats::parse(&bytes).unwrap();
        assert_eq!(ats.encode(), bytes);
        assert_eq!(u64::from(ats.fsci), vector["FSCI"].as_u64().unwrap());
        assert_eq!(ats.fsc() as u64, vector["FSC"].as_u64().unwrap());
        assert_eq!(u64::from(ats.fwi), vector["FWI"].as_u64().unwrap());
        assert_eq!(u64::from(ats.sfgi), vector["SFGI"].as_u64().unwrap());
        assert_eq!(ats.cid, vector["CID_supported"].as_bool().unwrap());
        assert_eq!(ats.nad, vector["NAD_supported"].as_bool().unwrap());
        assert_eq!(ats.historical, unhex(&vector["historical"]));
        assert_eq!(crc::bytes(Technology::A, &bytes), unhex(&vector["crc_a"])[..]);
    }
    // Lengths that lie.
    for bytes in [
        &[][..],
        &[0],
        &[2],
        &[3, 0x20],
        &[2, 0x70],
        &[5, 0x70, 1, 2],
        &[4, 0x70, 1, 2],
        &[1, 0],
    ] {
        assert!(Ats::parse(bytes).is_err(), "{bytes:02x?}");
    }
    let least = Ats::parse(&[1]).unwrap();
    assert_eq!((least.fsc(), least.fwi, least.cid, least.nad), (32, 4, true, false));
    let unused = Ats::parse(&[5, 0x7F, 0x08, 0xFF, 0x00]).unwrap();
    assert_eq!((unused.fsc(), unused.fwi, unused.sfgi), (4096, 4, 0));
}

#[test]
fn protocol_and_parameter_selection() {
    for vector in vectors()["iso_dep"]["pps"].as_array().unwrap() {
        let bytes = unhex(&vector["pps"]);
        let pps = Pps::parse(&bytes).unwrap();
        assert_eq!(pps.encode(), bytes[..]);
        assert_eq!(unhex(&vector["rsp"]), [0xD0 | pps.cid]);
    }
    assert_eq!(Pps::parse(&[0xD0, 0x01]).map(|pps| pps.encode()), Some([0xD0, 0x11, 0x00]));
    for bytes in [&[0xD0][..], &[0xDF, 0x11, 0], &[0xD0, 0x11], &[0xD0, 0x11, 0x10], &[0xE0, 0x11, 0]] {
        assert_eq!(Pps::parse(bytes), None, "{bytes:02x?}");
    }
}
