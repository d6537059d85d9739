use proptest::prelude::*;
use tapdoor_protocol::rf::crc;
use tapdoor_protocol::rf::felica::{self, Ask, SYSTEM_ANY, SensfReq, SensfRes};
use tapdoor_protocol::rf::frame::{BitRate, Received, RxFrame, Technology};
use tapdoor_protocol::rf::iso14443::card::Card;
use tapdoor_protocol::rf::iso14443::dep::activate::Wishes;
use tapdoor_protocol::rf::iso14443::dep::ats::{Ats, Rates};
use tapdoor_protocol::rf::iso14443::dep::pcd::Pcd;
use tapdoor_protocol::rf::iso14443::type_b::{Atqb, Pupi};
use tapdoor_protocol::rf::polling::{Annotation, Found, Plan, Probe, Round};
use tapdoor_protocol::rf::time;

use crate::air::{Air, Fault, Hears, Terminal};
use crate::iso_dep::terminal;
use crate::{unhex, vectors};

struct F(felica::Card);

impl Hears for F {
    fn hear(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> bool {
        self.0.receive(frame, answer).is_some_and(|delay| {
            assert!(delay >= time::F_FIRST_SLOT);
            true
        })
    }

    fn reset(&mut self) {}
}

fn felica_card() -> F {
    let response = SensfRes {
        id: [1, 0xFE, 3, 4, 5, 6, 7, 8],
        parameters: [0xFF; 8],
        data: None,
    };
    F(felica::Card::new(response, 0x12FC, 9))
}

fn type_b() -> Terminal {
    Terminal::new(Card::type_b(
        Atqb {
            pupi: Pupi([1, 2, 3, 4]),
            application: [0; 4],
            rates: Rates(0),
            fsci: 8,
            protocol: 1,
            fwi: 8,
            adc: 0,
            nad: false,
            cid: false,
            sfgi: None,
        },
        3,
    ))
}

#[test]
fn published_felica_requests() {
    for vector in vectors()["felica"].as_array().unwrap() {
        let bytes = unhex(&vector["payload"]);
        let request = SensfReq::parse(&bytes).unwrap();
        assert_eq!(request.encode(), bytes[..]);
        assert_eq!(request.ask, Ask::SystemCode);
        let mut card = felica_card();
        let mut air = Air::new(vec![&mut card]);
        let found = air.run(&mut felica::Poll::new(request, BitRate::Kbps424)).unwrap().unwrap();
        assert_eq!(found.data, Some([0x12, 0xFC]));
        assert!(found.has_nfc_dep());
        assert_eq!(air.seen[1].data[0], 20);
    }
    let other = SensfReq {
        system: 0x88B4,
        ask: Ask::Nothing,
        slots: 3,
    };
    let mut card = felica_card();
    let mut air = Air::new(vec![&mut card]);
    assert_eq!(air.run(&mut felica::Poll::new(other, BitRate::Kbps212)), Ok(None));
}

#[test]
fn a_round_finds_each_technology_and_annotates() {
    let annotation = Annotation::ecp_access(6, [0x20, 0x42, 0x20], &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(hex::encode(&annotation.data), "6a02cb02062042200102030405060708");
    let mut plan = Plan::default().annotated(&annotation);
    plan.probes.push(Probe::F {
        request: SensfReq {
            system: SYSTEM_ANY,
            ask: Ask::Nothing,
            slots: 0,
        },
        rate: BitRate::Kbps212,
    });
    let mut a = terminal(Ats::default());
    let mut air = Air::new(vec![&mut a]);
    let found = air.run(&mut Round::after_field_on(&plan)).unwrap().unwrap();
    assert_eq!(air.seen[0].data, annotation.data);
    assert!(matches!(found, Found::A { iso_dep: Some(_), .. }));
    let mut response = Vec::new();
    air.run(&mut Pcd::new(*found.iso_dep().unwrap()).transceive(&[5], &mut response))
        .unwrap();
    assert_eq!(response, [5]);

    let mut b = type_b();
    let mut air = Air::new(vec![&mut b]);
    let found = air.run(&mut Round::new(&plan)).unwrap().unwrap();
    assert!(matches!(found, Found::B { iso_dep: Some(_), .. }));

    let mut f = felica_card();
    let mut air = Air::new(vec![&mut f]);
    let found = air.run(&mut Round::new(&plan)).unwrap().unwrap();
    assert!(matches!(
        found,
        Found::F {
            rate: BitRate::Kbps212,
            ..
        }
    ));

    let mut air = Air::new(vec![]);
    assert_eq!(air.run(&mut Round::new(&plan)), Ok(None));
    assert_eq!(air.exchanges, 3);
}

#[test]
fn a_real_readers_polling_frame() {
    // An iPhone's, from a public trace: 6A 01 CF 00 00 with its checksum.
    let frame = [0x6A, 0x01, 0xCF, 0x00, 0x00];
    assert_eq!(crc::bytes(Technology::A, &frame), [0xAB, 0xB1]);
}

proptest! {
    /// Whatever single frame of an activation is lost: the round ends with the card, or with nobody if that was the request.
    #[test]
    fn single_faults_in_an_activation(at in 0usize..14, corrupt: bool, fast: bool) {
        let mut card = terminal(Ats { rates: Rates::ALL, fsci: 8, ..Ats::default() });
        let mut air = Air::new(vec![&mut card]);
        let fault = if corrupt { Fault::Corrupt } else { Fault::Drop };
        air.fault = Box::new(move |n| (n == at).then_some(fault));
        let rate = if fast { BitRate::Kbps424 } else { BitRate::Kbps106 };
        let plan = Plan::type_a().with_wishes(Wishes { rate, ..Wishes::default() });
        match air.run(&mut Round::after_field_on(&plan)) {
            Ok(Some(found)) => {
                let mut response = Vec::new();
                air.run(&mut Pcd::new(*found.iso_dep().unwrap()).transceive(&[5, 6], &mut response)).unwrap();
                prop_assert_eq!(response, [5, 6]);
            }
            other => {
                prop_assert_eq!(other, Ok(None));
                prop_assert!(at < 2);
            }
        }
    }

    #[test]
    fn felica_frames_are_read_as_they_are_written(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
        if let Some(request) = SensfReq::parse(&bytes) {
            prop_assert_eq!(SensfReq::parse(&request.encode()), Some(request));
        }
        if let Some(response) = SensfRes::parse(&bytes) {
            let mut written = Vec::new();
            response.encode_into(&mut written);
            prop_assert_eq!(written, bytes);
        }
    }
}
