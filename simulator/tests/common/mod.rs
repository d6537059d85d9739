//! Cards for the field, and a chip to ask.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tapdoor_link::field::FieldCard;
use tapdoor_protocol::pn532::{Code, Command};
use tapdoor_protocol::rf::frame::{Received, RxFrame};
use tapdoor_protocol::rf::iso14443::card::{Card, Event};
use tapdoor_protocol::rf::iso14443::dep::ats::{Ats, Rates};
use tapdoor_protocol::rf::iso14443::type_a::{Atqa, Sak, Uid};
use tapdoor_protocol::rf::time::Ticks;
use tapdoor_simulator::pn532::Outcome;
use tapdoor_simulator::{Field, Pn532};

/// A card that answers each APDU with as many bytes as its first two say, and 9000.
pub struct Echo {
    card: Card,
    work: Ticks,
}

pub const ATS: [u8; 6] = [0x06, 0x75, 0x77, 0x81, 0x02, 0x80];

impl Echo {
    pub fn new(uid: &[u8], sak: u8) -> Self {
        let uid = Uid::new(uid).unwrap();
        let ats = Ats {
            fsci: 5,
            rates: Rates::ALL,
            fwi: 8,
            sfgi: 1,
            cid: true,
            nad: false,
            historical: vec![0x80],
        };
        Self {
            card: Card::type_a(uid, Atqa::of(&uid), Sak(sak), ats),
            work: Ticks::ZERO,
        }
    }

    pub fn phone(uid: [u8; 4]) -> Self {
        Self::new(&uid, 0x20)
    }

    pub fn working(mut self, work: Ticks) -> Self {
        self.work = work;
        self
    }

    pub fn of(card: Card) -> Self {
        Self { card, work: Ticks::ZERO }
    }
}

/// What the card says to an APDU.
pub fn echo(command: &[u8]) -> Vec<u8> {
    let length = match command {
        [a, b, ..] => usize::from(u16::from_be_bytes([*a, *b])),
        _ => 0,
    };
    let mut response: Vec<u8> = (0..length).map(|n| n as u8).collect();
    response.extend_from_slice(&[0x90, 0x00]);
    response
}

impl FieldCard for Echo {
    fn field(&mut self, on: bool, _now: Ticks) {
        self.card.field(on);
    }

    fn receive(&mut self, frame: Received<'_>, _now: Ticks, answer: &mut RxFrame) -> Option<Ticks> {
        match self.card.receive(frame, answer) {
            Event::Silent | Event::Granted => None,
            Event::Answer(delay) | Event::Activated(delay) | Event::Deselected(delay) => Some(delay),
            Event::Command => {
                let response = echo(self.card.command());
                Some(self.card.respond(&response, self.work, answer))
            }
            Event::Other => {
                self.card.back();
                None
            }
        }
    }
}

/// A chip in front of these cards.
pub fn chip(cards: Vec<Echo>) -> Pn532<Field> {
    let mut field = Field::new();
    for card in cards {
        field.place(Box::new(card));
    }
    Pn532::new(field)
}

/// Asks the chip; the answer's code and content, or how it ended.
pub fn ask(chip: &mut Pn532<Field>, content: &[u8]) -> Result<Vec<u8>, Outcome> {
    let mut answer = Vec::new();
    match chip.command(content, &mut answer) {
        Outcome::Answered => Ok(answer),
        other => Err(other),
    }
}

/// Sends data to target 1; status and data.
pub fn exchange(chip: &mut Pn532<Field>, target: u8, data: &[u8]) -> (u8, Vec<u8>) {
    let mut content = Vec::new();
    Command::InDataExchange { target, more: false, data }.encode(&mut content);
    let answer = ask(chip, &content).unwrap();
    assert_eq!(answer[0], Code::InDataExchange.answer());
    (answer[1], answer[2..].to_vec())
}
