//! The state machines of the radio: readers that are answered anything, and cards that are sent anything, in any state. All of them end.
//!
//! The input is a list of frames, each a byte of length and so many bytes; FF stands for silence, FE for a damaged frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapdoor_protocol::rf::frame::{BitRate, Frame, RfError, RxFrame, Technology};
use tapdoor_protocol::rf::iso14443::card::{Card, Event};
use tapdoor_protocol::rf::iso14443::dep::Parameters;
use tapdoor_protocol::rf::iso14443::dep::ats::{Ats, Rates};
use tapdoor_protocol::rf::iso14443::dep::pcd::Pcd;
use tapdoor_protocol::rf::iso14443::type_a::{Atqa, Sak, Uid};
use tapdoor_protocol::rf::iso14443::type_b::{Atqb, Pupi};
use tapdoor_protocol::rf::nfc_dep::initiator::{Attach, Initiator, Wishes};
use tapdoor_protocol::rf::nfc_dep::pdu::Atr;
use tapdoor_protocol::rf::nfc_dep::target::{Heard, Target};
use tapdoor_protocol::rf::polling::{Plan, Round};
use tapdoor_protocol::rf::time::Ticks;
use tapdoor_protocol::rf::{Dialogue, Step};

/// More frames than any dialogue takes: chains of 65,538 answers of a byte each.
const MOST: usize = 70_000;

/// Frames in turn, and the last one for ever.
struct Frames<'a> {
    rest: &'a [u8],
    last: Result<&'a [u8], RfError>,
}

impl<'a> Frames<'a> {
    fn next(&mut self) -> Result<&'a [u8], RfError> {
        if let Some((length, rest)) = self.rest.split_first() {
            self.last = match length {
                0xFF => Err(RfError::Timeout),
                0xFE => Err(RfError::Collision { bit: rest.len() }),
                n => Ok(&rest[..rest.len().min(usize::from(*n))]),
            };
            self.rest = match self.last {
                Ok(frame) => &rest[frame.len()..],
                Err(_) => rest,
            };
        }
        self.last
    }
}

fn converse<D: Dialogue>(dialogue: &mut D, bytes: &[u8]) -> D::Output {
    let mut frames = Frames {
        rest: bytes,
        last: Err(RfError::Timeout),
    };
    let mut rx = RxFrame::new();
    for _ in 0..MOST {
        match dialogue.poll() {
            Step::Exchange(frame, expect) => {
                let next = frames.next();
                rx.clear();
                (rx.technology, rx.rate, rx.first_bit) = (frame.technology, frame.rate, expect.first_bit);
                rx.data.extend_from_slice(next.unwrap_or_default());
                dialogue.answered(next.map(|_| ()), &rx);
            }
            Step::Done(output) => return output,
            _ => {}
        }
    }
    panic!("a dialogue that does not end");
}

fn atr() -> Atr {
    Atr {
        nfcid3: [1; 10],
        did: 0,
        bs: 0,
        br: 0,
        to: Some(8),
        lr: 0,
        general: vec![],
    }
}

fn card(kind: u8) -> Card {
    if kind & 1 == 0 {
        let uid = Uid::new(&[4, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66]).expect("seven bytes");
        let ats = Ats {
            fsci: kind >> 4,
            rates: Rates::ALL,
            ..Ats::default()
        };
        return Card::type_a(uid, Atqa::of(&uid), Sak(0x60), ats);
    }
    let atqb = Atqb {
        pupi: Pupi([1, 2, 3, 4]),
        application: [0; 4],
        rates: Rates::ALL,
        fsci: kind >> 4,
        protocol: 1,
        fwi: 4,
        adc: 0,
        nad: true,
        cid: true,
        sfgi: None,
    };
    Card::type_b(atqb, 5)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, frames)) = bytes.split_first() else {
        return;
    };
    let plan = Plan::default();
    let _ = converse(&mut Round::after_field_on(&plan), frames);
    let parameters = Parameters {
        fsc: 16 + usize::from(*kind),
        cid: (kind & 1 == 1).then_some(3),
        ..Parameters::new(Technology::A)
    };
    let mut pcd = Pcd::new(parameters);
    let mut response = Vec::new();
    let outcome = converse(&mut pcd.transceive(&[*kind; 100], &mut response), frames);
    assert!(outcome.is_ok() || response.is_empty());
    let _ = converse(&mut pcd.presence_check(), frames);
    let _ = converse(&mut pcd.deselect(), frames);
    let wishes = Wishes {
        nfcid3: [2; 10],
        did: 0,
        lr: 0,
        rate: BitRate::Kbps106,
        general: vec![],
    };
    let mut initiator = Initiator::new(&wishes, &atr(), BitRate::Kbps106);
    let _ = converse(&mut initiator.exchange(&[*kind; 100], &mut response), frames);
    let _ = converse(&mut Attach::new(wishes, BitRate::Kbps106), frames);

    // And everything to a card, and to a target.
    let (mut card, mut target) = (card(*kind), Target::new(atr()));
    card.field(true);
    let mut rest = frames;
    let mut answer = RxFrame::new();
    while let Some((head, tail)) = rest.split_first() {
        let length = usize::from(*head & 0x3F).min(tail.len());
        let (data, tail) = tail.split_at(length);
        rest = tail;
        let technology = if kind & 1 == 0 { Technology::A } else { Technology::B };
        let mut frame = Frame::new(technology, data);
        // Short frames and anticollision, too.
        if head & 0x80 != 0 {
            frame = frame.ending_with(if head & 0x40 != 0 { 7 } else { 8 });
        }
        match card.receive(Ok(frame), &mut answer) {
            Event::Command => {
                let command = card.command().to_vec();
                card.respond(&command, Ticks(u64::from(*head) * 1000), &mut answer);
            }
            Event::Other => card.back(),
            _ => {}
        }
        if target.receive(Ok(frame), &mut answer) == Heard::Data {
            let data = target.data().to_vec();
            target.respond(&data, &mut answer);
        }
    }
});
