use proptest::prelude::*;
use tapdoor_protocol::rf::frame::{BitRate, Frame, Received, RfError, RxFrame, Technology};
use tapdoor_protocol::rf::nfc_dep::initiator::{Attach, Initiator, NfcDepError, Wishes};
use tapdoor_protocol::rf::nfc_dep::pdu::{self, Atr, Dep, Pfb, Psl};
use tapdoor_protocol::rf::nfc_dep::target::{Heard, Target};
use tapdoor_protocol::rf::nfc_dep::technology;

use crate::air::{Air, Fault, Hears};
use crate::vectors;

fn atr(lr: u8) -> Atr {
    Atr {
        nfcid3: [1, 0xFE, 3, 4, 5, 6, 7, 8, 9, 10],
        did: 0,
        bs: 0,
        br: 0,
        to: Some(8),
        lr,
        general: b"Ffm\x01\x01\x13".to_vec(),
    }
}

fn wishes(lr: u8, rate: BitRate) -> Wishes {
    Wishes {
        nfcid3: [0x11; 10],
        did: 0,
        lr,
        rate,
        general: Vec::new(),
    }
}

/// A target that answers everything by the next response, or by itself.
struct Echo {
    target: Target,
    heard: Vec<Vec<u8>>,
    responses: Vec<Vec<u8>>,
    asks: u8,
    pending: Option<Vec<u8>>,
    ended: Option<Heard>,
}

impl Echo {
    fn new(lr: u8) -> Self {
        Self {
            target: Target::new(atr(lr)),
            heard: Vec::new(),
            responses: Vec::new(),
            asks: 0,
            pending: None,
            ended: None,
        }
    }

    fn work(&mut self, response: Vec<u8>, answer: &mut RxFrame) {
        if self.asks > 0 {
            self.asks -= 1;
            self.pending = Some(response);
            self.target.ask_for_time(3, answer);
        } else {
            self.target.respond(&response, answer);
        }
    }
}

impl Hears for Echo {
    fn hear(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> bool {
        match self.target.receive(frame, answer) {
            Heard::Silent => return false,
            Heard::Answer | Heard::Attached => {}
            ended @ (Heard::Deselected | Heard::Released) => self.ended = Some(ended),
            Heard::Data => {
                let data = self.target.data().to_vec();
                let response = self.responses.get(self.heard.len()).unwrap_or(&data).clone();
                self.heard.push(data);
                self.work(response, answer);
            }
            Heard::Granted => {
                let response = self.pending.take().unwrap();
                self.work(response, answer);
            }
        }
        true
    }

    fn reset(&mut self) {
        self.target.reset();
    }
}

fn attach(air: &mut Air<'_>, wishes: Wishes, rate: BitRate) -> Initiator {
    let (_, initiator) = air.run(&mut Attach::new(wishes, rate)).unwrap();
    air.seen.clear();
    air.exchanges = 0;
    initiator
}

fn shown(air: &Air<'_>) -> Vec<String> {
    air.seen.iter().map(|seen| hex::encode(&seen.data)).collect()
}

/// `f0ff d406 10 aa*251`.
fn frame(text: &str) -> String {
    text.split_whitespace()
        .map(|part| match part.split_once('*') {
            Some((byte, times)) => byte.repeat(times.parse().unwrap()),
            None => part.to_owned(),
        })
        .collect()
}

#[test]
fn published_transcripts() {
    let vectors = vectors();
    for transcript in vectors["nfc_dep"]["transcripts"].as_array().unwrap() {
        let mut echo = Echo::new(3);
        let text = |value: &serde_json::Value| frame(value.as_str().unwrap());
        let expected: Vec<String>;
        match transcript["name"].as_str().unwrap() {
            "simple exchange 106A" => {
                echo.responses = vec![vec![3, 4]];
                let mut air = Air::new(vec![&mut echo]);
                let mut initiator = attach(&mut air, wishes(3, BitRate::Kbps106), BitRate::Kbps106);
                let mut received = Vec::new();
                air.run(&mut initiator.exchange(&[1, 2], &mut received)).unwrap();
                assert_eq!(received, [3, 4]);
                assert_eq!(shown(&air), [text(&transcript["tx"]), text(&transcript["rx"])]);
            }
            "chaining" => {
                echo.responses = vec![vec![0xBB; 252]];
                let mut air = Air::new(vec![&mut echo]);
                let mut initiator = attach(&mut air, wishes(3, BitRate::Kbps106), BitRate::Kbps106);
                air.run(&mut initiator.exchange(&[0xAA; 252], &mut Vec::new())).unwrap();
                expected = transcript["exchanges"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .flat_map(|exchange| [text(&exchange["tx"]), text(&exchange["rx"])])
                    .collect();
                assert_eq!(shown(&air), expected);
            }
            "timeout extension" => {
                echo.asks = 1;
                let mut air = Air::new(vec![&mut echo]);
                let mut initiator = attach(&mut air, wishes(3, BitRate::Kbps106), BitRate::Kbps106);
                air.run(&mut initiator.exchange(&[1, 2], &mut Vec::new())).unwrap();
                // The vector asks for 1, this target for 3.
                let first = text(&transcript["exchanges"][0]["rx"]);
                assert_eq!(shown(&air)[1], format!("{}03", &first[..first.len() - 2]));
                assert_eq!(shown(&air)[2], "f005d4069003");
                assert_eq!(shown(&air).len(), 4);
            }
            name @ ("release" | "deselect") => {
                let mut air = Air::new(vec![&mut echo]);
                let mut initiator = attach(&mut air, wishes(3, BitRate::Kbps106), BitRate::Kbps106);
                if name == "release" {
                    air.run(&mut initiator.release()).unwrap();
                } else {
                    air.run(&mut initiator.deselect()).unwrap();
                }
                attach(&mut air, wishes(3, BitRate::Kbps106), BitRate::Kbps106);
                drop(air);
                // The vector writes the number 0, which may be left out.
                let request = hex::decode(text(&transcript["tx"])).unwrap();
                let mut answer = RxFrame::new();
                assert!(echo.hear(Ok(Frame::new(Technology::A, &request)), &mut answer));
                assert_eq!(hex::encode(&answer.data), text(&transcript["rx"]));
                assert_eq!(
                    echo.ended,
                    Some(if name == "release" { Heard::Released } else { Heard::Deselected })
                );
            }
            "PSL response" => {
                let mut air = Air::new(vec![&mut echo]);
                air.run(&mut Attach::new(wishes(3, BitRate::Kbps424), BitRate::Kbps106)).unwrap();
                assert_eq!(shown(&air)[3], text(&transcript["rx"]));
            }
            "ATR_RES 106A payload" => {
                let bytes = hex::decode(text(&transcript["rx"])).unwrap();
                assert_eq!(usize::from(bytes[0]), bytes.len());
                let atr = Atr::parse(true, &bytes[3..]).unwrap();
                assert_eq!((atr.to, atr.lr, &atr.general[..]), (Some(8), 3, &b"Ffm\x01\x01\x13"[..]));
                let mut again = Vec::new();
                atr.encode_into(&mut again);
                assert_eq!(again, bytes[1..]);
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn every_rate_both_ways_of_getting_there() {
    for rate in [BitRate::Kbps106, BitRate::Kbps212, BitRate::Kbps424] {
        for found in [BitRate::Kbps106, BitRate::Kbps212, BitRate::Kbps424] {
            let mut echo = Echo::new(1);
            let mut air = Air::new(vec![&mut echo]);
            let mut initiator = attach(&mut air, wishes(0, rate), found);
            assert_eq!(initiator.rate(), rate);
            let data: Vec<u8> = (0..=255).cycle().take(2000).collect();
            let mut received = Vec::new();
            air.run(&mut initiator.exchange(&data, &mut received)).unwrap();
            assert_eq!(received, data);
            air.run(&mut initiator.attention()).unwrap();
            air.run(&mut initiator.deselect()).unwrap();
            drop(air);
            assert_eq!(echo.ended, Some(Heard::Deselected));
        }
    }
}

#[test]
fn liars_are_left() {
    struct Liar(Vec<u8>);
    impl Hears for Liar {
        fn hear(&mut self, frame: Received<'_>, answer: &mut RxFrame) -> bool {
            let frame = frame.unwrap();
            let mut unit = vec![0xF0, self.0.len() as u8 + 1];
            unit.extend(&self.0);
            // With the number that is expected.
            if unit.len() > 4 && unit[4] < 0x20 {
                unit[4] |= frame.data[4] & 3;
            }
            answer.set(&Frame::new(Technology::A, &unit));
            true
        }
        fn reset(&mut self) {}
    }
    for (unit, most) in [
        (vec![0xD5, 7, 0x90, 1], 1005),
        (vec![0xD5, 7, 0x90, 0], 10),
        (vec![0xD5, 7, 0x90, 60], 10),
        (vec![0xD5, 7, 0x10], 10),
        (vec![0xD5, 7, 0x10, 1], 66_000),
        (vec![0xD5, 7, 0x40], 10),
        (vec![0xD5, 7, 0x80], 10),
        (vec![0xD5, 7, 0xF0], 10),
        (vec![0xD5, 7], 10),
        (vec![], 10),
    ] {
        let mut liar = Liar(unit.clone());
        let mut air = Air::new(vec![&mut liar]);
        let mut initiator = Initiator::new(&wishes(3, BitRate::Kbps106), &atr(3), BitRate::Kbps106);
        let mut received = Vec::new();
        let outcome: Result<(), NfcDepError> = air.run(&mut initiator.exchange(&[1, 2, 3], &mut received));
        assert!(outcome.is_err() && received.is_empty(), "{unit:02x?}");
        assert!(air.exchanges <= most, "{} with {unit:02x?}", air.exchanges);
    }
}

#[test]
fn every_frame_to_a_target() {
    for length in 0..=20u8 {
        for first in 0..=255u8 {
            for (rate, prefix) in [(BitRate::Kbps106, &[0xF0, 0][..]), (BitRate::Kbps212, &[0][..])] {
                let mut data = prefix.to_vec();
                data.extend_from_slice(&[0xD4, first]);
                data.resize(data.len() + usize::from(length), first);
                *data.get_mut(prefix.len() - 1).unwrap() = length + 3;
                let frame = Frame::new(technology(rate), &data).at(rate);
                let mut answer = RxFrame::new();
                let mut target = Target::new(atr(0));
                target.receive(Ok(frame), &mut answer);
                target.receive(Err(RfError::Crc), &mut answer);
                let mut echo = Echo::new(0);
                let mut air = Air::new(vec![&mut echo]);
                attach(&mut air, wishes(0, rate), rate);
                drop(air);
                echo.hear(Ok(frame), &mut answer);
                echo.hear(Ok(frame), &mut answer);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn information_comes_through(
        lri in 0u8..4,
        lrt in 0u8..4,
        did in 0u8..15,
        found in prop_oneof![Just(BitRate::Kbps106), Just(BitRate::Kbps212)],
        asks in 0u8..3,
        exchanges in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..600), proptest::collection::vec(any::<u8>(), 0..600)), 1..4),
        gaps in proptest::collection::vec((8usize..30, any::<bool>()), 0..30),
    ) {
        let mut echo = Echo::new(lrt);
        echo.asks = asks;
        echo.responses = exchanges.iter().map(|(_, response)| response.clone()).collect();
        let mut air = Air::new(vec![&mut echo]);
        let mut initiator = attach(&mut air, Wishes { did, ..wishes(lri, found) }, found);
        let mut at = 0;
        let faults: Vec<_> = gaps.iter().map(|(gap, corrupt)| {
            at += gap;
            (at, if *corrupt { Fault::Corrupt } else { Fault::Drop })
        }).collect();
        air.fault = Box::new(move |n| faults.iter().find(|(at, _)| *at == n).map(|(_, fault)| *fault));
        for (data, response) in &exchanges {
            let mut received = Vec::new();
            let outcome = air.run(&mut initiator.exchange(data, &mut received));
            prop_assert_eq!(outcome, Ok(()));
            prop_assert_eq!(&received, response);
        }
        for seen in &air.seen {
            let most = pdu::length(if seen.out { lrt } else { lri });
            prop_assert!(pdu::unframe(found, &seen.data).unwrap().len() <= most);
        }
        drop(air);
        prop_assert_eq!(echo.heard, exchanges.into_iter().map(|(data, _)| data).collect::<Vec<_>>());
    }

    #[test]
    fn units_are_read_as_they_are_written(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        for response in [false, true] {
            if let Some(atr) = Atr::parse(response, &bytes) {
                let mut written = Vec::new();
                atr.encode_into(&mut written);
                let again = Atr::parse(response, &written[2..]).unwrap();
                prop_assert_eq!(again.general.len(), atr.general.len().min(48));
            }
        }
        if let Some(dep) = Dep::parse(&bytes) {
            let mut written = Vec::new();
            dep.encode_into(&mut written);
            prop_assert_eq!(Dep::parse(&written), Some(dep));
            prop_assert!(!matches!(dep.pfb, Pfb::Attention) || written[0] >> 4 == 8);
        }
        if let Some(psl) = Psl::parse(&bytes) {
            let mut written = Vec::new();
            psl.encode_into(&mut written);
            prop_assert_eq!(Psl::parse(&written[2..]), Some(psl));
        }
        let _ = pdu::unframe(BitRate::Kbps106, &bytes);
        let _ = pdu::unframe(BitRate::Kbps212, &bytes);
    }
}
