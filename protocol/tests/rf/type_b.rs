use proptest::prelude::*;
use tapdoor_protocol::rf::frame::BitRate;
use tapdoor_protocol::rf::iso14443::card::Card;
use tapdoor_protocol::rf::iso14443::dep::activate::Wishes;
use tapdoor_protocol::rf::iso14443::dep::ats::Rates;
use tapdoor_protocol::rf::iso14443::dep::pcd::Pcd;
use tapdoor_protocol::rf::iso14443::type_b::pcd::{Attrib, Select};
use tapdoor_protocol::rf::iso14443::type_b::picc::Picc;
use tapdoor_protocol::rf::iso14443::type_b::{Atqb, Pupi, Request};

use crate::air::{Air, Fault, Hears, Terminal};
use crate::{unhex, vectors};

fn atqb(pupi: u32) -> Atqb {
    Atqb {
        pupi: Pupi(pupi.to_be_bytes()),
        application: [0x20, 0, 0, 0],
        rates: Rates::ALL,
        fsci: 5,
        protocol: 1,
        fwi: 7,
        adc: 0,
        nad: false,
        cid: true,
        sfgi: None,
    }
}

#[test]
fn published_answers() {
    for vector in vectors()["atqb_vectors"].as_array().unwrap() {
        let bytes = unhex(&vector["atqb"]);
        let atqb = Atqb::parse(&bytes).unwrap();
        let mut again = Vec::new();
        atqb.encode_into(&mut again);
        assert_eq!(again, bytes);
        assert_eq!(atqb.pupi.to_string(), vector["PUPI"].as_str().unwrap());
        assert_eq!(u64::from(atqb.fsci), vector["FSCI"].as_u64().unwrap());
        assert_eq!(u64::from(atqb.fwi), vector["FWI"].as_u64().unwrap());
        assert_eq!(u64::from(atqb.adc), vector["ADC"].as_u64().unwrap());
        assert_eq!(atqb.has_iso_dep(), vector["protocol_type_14443_4"].as_bool().unwrap());
        assert!(atqb.cid && !atqb.nad);
        // ATTRIB for frames of 256 bytes, no number.
        let mut card = Picc::new(atqb, 1);
        card.field(true);
        let mut air = Air::new(vec![&mut card]);
        let found = air.run(&mut Select::new(0, true)).unwrap().unwrap();
        assert_eq!(found, atqb);
        let parameters = air.run(&mut Attrib::new(&atqb, Wishes::default())).unwrap();
        assert_eq!(parameters.fwt, atqb.fwt());
        assert_eq!(air.seen[0].data, [0x05, 0x00, 0x08]);
        assert_eq!(air.seen[2].data, unhex(&vector["attrib_cmd"]));
        assert_eq!(air.seen[3].data, unhex(&vector["attrib_rsp"]));
    }
}

#[test]
fn families() {
    let asks = |afi| Request {
        afi,
        wake: false,
        slots: 0,
        extended: false,
    };
    for (afi, of, means) in [
        (0, 0x21, true),
        (0x20, 0x21, true),
        (0x21, 0x21, true),
        (0x22, 0x21, false),
        (0x01, 0x21, true),
        (0x10, 0x21, false),
    ] {
        assert_eq!(asks(afi).means(of), means, "{afi:02x} {of:02x}");
    }
}

#[test]
fn an_apdu_at_every_rate() {
    for rate in BitRate::ALL {
        let mut terminal = Terminal::new(Card::type_b(atqb(1), 7));
        let mut air = Air::new(vec![&mut terminal]);
        let found = air.run(&mut Select::new(0, false)).unwrap().unwrap();
        let wishes = Wishes {
            cid: Some(3),
            rate,
            ..Wishes::default()
        };
        let parameters = air.run(&mut Attrib::new(&found, wishes)).unwrap();
        assert_eq!((parameters.send, parameters.receive, parameters.cid), (rate, rate, Some(3)));
        let mut pcd = Pcd::new(parameters);
        let mut response = Vec::new();
        let command: Vec<u8> = (0..200).collect();
        air.run(&mut pcd.transceive(&command, &mut response)).unwrap();
        assert_eq!(response, command);
        air.run(&mut pcd.deselect()).unwrap();
        // Halted: REQB finds nobody, WUPB does.
        assert_eq!(air.run(&mut Select::new(0, false)), Ok(None));
        assert!(air.run(&mut Select::new(0, true)).unwrap().is_some());
    }
}

proptest! {
    #[test]
    fn one_of_several_is_found(pupis in proptest::collection::btree_set(any::<u32>(), 1..5), random: u32) {
        let mut cards: Vec<_> = pupis
            .iter()
            .enumerate()
            .map(|(index, pupi)| {
                let mut picc = Picc::new(atqb(*pupi), random ^ (index as u32).wrapping_mul(0x9E37_79B9));
                picc.field(true);
                picc
            })
            .collect();
        let mut air = Air::new(cards.iter_mut().map(|card| card as &mut dyn Hears).collect());
        if let Ok(found) = air.run(&mut Select::new(0, true)) {
            prop_assert!(pupis.contains(&u32::from_be_bytes(found.unwrap().pupi.0)));
        } else {
            // Chance: all slots collided in every round.
            prop_assert!(pupis.len() > 1);
        }
        prop_assert!(air.exchanges < 150);
    }

    #[test]
    fn single_faults_are_survived(at in 2usize..6, corrupt: bool) {
        let mut terminal = Terminal::new(Card::type_b(atqb(1), 7));
        let mut air = Air::new(vec![&mut terminal]);
        let found = air.run(&mut Select::new(0, false)).unwrap().unwrap();
        let fault = if corrupt { Fault::Corrupt } else { Fault::Drop };
        air.fault = Box::new(move |n| (n == at).then_some(fault));
        // The card is selected by the first ATTRIB that it hears, and answers no other one.
        if let Ok(parameters) = air.run(&mut Attrib::new(&found, Wishes::default())) {
            let mut response = Vec::new();
            air.run(&mut Pcd::new(parameters).transceive(&[1, 2, 3], &mut response)).unwrap();
            prop_assert_eq!(response, [1, 2, 3]);
        } else {
            prop_assert_eq!(at, 3);
        }
    }
}
