//! Field links: a card link over ISO-DEP in memory, what is observed, and faults in the air.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use tapdoor_link::field::{Abilities, FieldEvent, FieldObserver, FieldPlan, converse};
use tapdoor_link::{
    CardLink, FieldCard, FieldError, FieldErrorKind, FieldFaults, FieldLink, FieldRecorder, IsoDepLink, Limits, LinkErrorKind,
};
use tapdoor_protocol::rf::crc;
use tapdoor_protocol::rf::frame::{Expect, Frame, Received, RfError, RxFrame};
use tapdoor_protocol::rf::iso14443::card::{Card, Event};
use tapdoor_protocol::rf::iso14443::dep::ats::Ats;
use tapdoor_protocol::rf::iso14443::type_a::{Atqa, Sak, Uid};
use tapdoor_protocol::rf::polling::{Plan, Round};
use tapdoor_protocol::rf::time::{self, Ticks};

/// A phone that answers every command by itself and 9000, after some work.
struct Phone {
    card: Card,
    work: Ticks,
    commands: Vec<Vec<u8>>,
    /// Asks for more time for ever.
    stuck: bool,
}

impl FieldCard for Phone {
    fn field(&mut self, on: bool, _now: Ticks) {
        self.card.field(on);
    }

    fn receive(&mut self, frame: Received<'_>, _now: Ticks, answer: &mut RxFrame) -> Option<Ticks> {
        match self.card.receive(frame, answer) {
            Event::Silent | Event::Granted => None,
            Event::Other => {
                self.card.back();
                None
            }
            Event::Answer(delay) | Event::Activated(delay) | Event::Deselected(delay) => Some(delay),
            Event::Command => {
                let mut response = self.card.command().to_vec();
                self.commands.push(response.clone());
                response.extend_from_slice(&[0x90, 0x00]);
                let work = if self.stuck { Ticks::from_millis(100_000) } else { self.work };
                Some(self.card.respond(&response, work, answer))
            }
        }
    }
}

fn phone() -> Phone {
    let uid = Uid::new(&[8, 1, 2, 3]).unwrap();
    let ats = Ats {
        fsci: 5,
        fwi: 8,
        ..Ats::default()
    };
    Phone {
        card: Card::type_a(uid, Atqa::of(&uid), Sak(0x20), ats),
        work: Ticks::ZERO,
        commands: Vec::new(),
        stuck: false,
    }
}

/// One card, time on air, no collisions.
struct Air {
    phone: Phone,
    on: bool,
    now: Ticks,
}

impl FieldLink for Air {
    fn exchange(&mut self, tx: &Frame<'_>, expect: &Expect, rx: &mut RxFrame) -> Result<(), FieldError> {
        rx.clear();
        self.now += time::FDT_PICC_TO_PCD;
        rx.sent_at = self.now;
        self.now += tx.air_time();
        if !self.on {
            return Err(FieldError::new(FieldErrorKind::NoField, "air", "off").during(tx));
        }
        // Bytes with a wrong checksum of their own are damaged, and with a right one are as good as others.
        let received = match crc::strip(tx.technology, tx.data) {
            _ if tx.crc => Ok(*tx),
            Some(data) if data.len() > 2 => Ok(Frame { data, crc: true, ..*tx }),
            _ if expect.crc => Err(RfError::Crc),
            _ => Ok(*tx),
        };
        match self.phone.receive(received, self.now, rx) {
            Some(delay) if delay <= expect.timeout => {
                self.now += delay;
                rx.at = self.now;
                self.now += rx.frame().air_time();
                Ok(())
            }
            _ => {
                self.now += expect.timeout;
                Err(FieldError::rf(RfError::Timeout, "air").during(tx))
            }
        }
    }

    fn set_field(&mut self, on: bool) -> Result<(), FieldError> {
        self.on = on;
        self.phone.field(on, self.now);
        Ok(())
    }

    fn pause(&mut self, time: Ticks) {
        self.now += time;
    }

    fn now(&self) -> Ticks {
        self.now
    }

    fn abilities(&self) -> Abilities {
        Abilities::SIMULATED
    }
}

fn air(phone: Phone) -> Air {
    Air {
        phone,
        on: false,
        now: Ticks::ZERO,
    }
}

fn connect<L: FieldLink>(mut link: L) -> IsoDepLink<L> {
    link.set_field(true).unwrap();
    let found = converse(&mut link, &mut Round::after_field_on(&Plan::type_a()), &mut RxFrame::new());
    let found = found.unwrap().unwrap().unwrap();
    IsoDepLink::new(link, *found.iso_dep().unwrap())
}

fn say<L: FieldLink>(link: &mut IsoDepLink<L>, command: &[u8]) -> Result<Vec<u8>, LinkErrorKind> {
    let mut response = vec![0xEE];
    match link.transmit(command, &mut response) {
        Ok(()) => Ok(response),
        Err(error) => {
            assert!(response.is_empty());
            assert!(error.command.is_some());
            Err(error.kind)
        }
    }
}

#[test]
fn apdus_over_frames() {
    let mut link = connect(air(phone())).with_limits(Limits::EXTENDED);
    for length in [1, 4, 60, 61, 62, 300, 2000] {
        let command = vec![0x5A; length];
        assert_eq!(say(&mut link, &command).unwrap(), [&command[..], &[0x90, 0x00]].concat());
        link.check_presence().unwrap();
    }
    link.deselect().unwrap();
    assert_eq!(say(&mut link, &[0, 1, 2, 3]), Err(LinkErrorKind::CardGone));
    assert!(link.deselect().is_err() && link.check_presence().is_err());
    // It can be woken again.
    let mut link = connect(link.into_inner());
    assert!(say(&mut link, &[0, 1, 2, 3]).is_ok());
    assert_eq!(say(&mut link, &[0; 262]), Err(LinkErrorKind::TooLong));
}

#[test]
fn work_takes_its_time_and_waiting_has_an_end() {
    let mut slow = phone();
    slow.work = Ticks::from_millis(600);
    let mut link = connect(air(slow));
    let before = link.inner_mut().now();
    assert!(say(&mut link, &[0, 1, 2, 3]).is_ok());
    let took = (link.inner_mut().now() - before).as_duration().as_millis();
    assert!((600..620).contains(&took), "{took} ms");
    // A card that asks for time for ever meets the patience.
    let mut stuck = phone();
    stuck.stuck = true;
    let mut link = connect(air(stuck));
    let before = link.inner_mut().now();
    assert_eq!(say(&mut link, &[0, 1, 2, 3]), Err(LinkErrorKind::Timeout));
    let took = (link.inner_mut().now() - before).as_duration().as_millis();
    assert!((1000..1100).contains(&took), "{took} ms");
    assert_eq!(say(&mut link, &[0, 1, 2, 3]), Err(LinkErrorKind::CardGone));
}

#[derive(Default)]
struct Notes(Vec<String>);

impl FieldObserver for Notes {
    fn happened(&mut self, event: &FieldEvent<'_>) {
        self.0.push(match event {
            FieldEvent::Field { on, .. } => format!("field {on}"),
            FieldEvent::Sent { frame, .. } => format!(">{}", frame.data.len()),
            FieldEvent::Received { frame, error: None, .. } => format!("<{}", frame.data.len()),
            FieldEvent::Received { error: Some(error), .. } => format!("<{error}"),
            FieldEvent::Silence { .. } => "silence".into(),
        });
    }
}

#[test]
fn everything_is_observed() {
    // Frames 1 to 8 are the activation.
    let plan: FieldPlan = "10:drop,12:corrupt=9".parse().unwrap();
    let mut link = connect(FieldRecorder::new(FieldFaults::new(air(phone()), plan), Notes::default()));
    assert!(say(&mut link, &[0, 1, 2, 3]).is_ok());
    link.inner_mut().set_field(false).unwrap();
    let notes = &link.inner_mut().observer_mut().0;
    assert_eq!(
        notes.join(" "),
        "field true >1 <2 >2 <5 >7 <1 >2 <5 >5 silence >1 <the checksum is wrong >1 <7 field false"
    );
}

#[test]
fn plans_that_are_none_say_why() {
    for (text, entry) in [
        ("drop", "drop"),
        ("0:drop", "0:drop"),
        ("1:drop=3", "1:drop=3"),
        ("1:corrupt", "1:corrupt"),
        ("1:out", "1:out"),
        ("1:delay=5", "1:delay=5"),
        ("1:drop,2:melt", "2:melt"),
    ] {
        assert_eq!(text.parse::<FieldPlan>().unwrap_err().entry, entry);
    }
    let text = "1:drop,2:corrupt=3,3:truncate=4,4:duplicate,5:delay=200us,6:field-off,7:out=5ms";
    assert_eq!(text.parse::<FieldPlan>().unwrap().to_string(), text);
    assert!("".parse::<FieldPlan>().unwrap().is_empty());
}

#[test]
fn the_field_fails_and_the_card_leaves() {
    for fault in ["field-off", "out=30ms"] {
        for frame in [9, 10] {
            let plan: FieldPlan = format!("{frame}:{fault}").parse().unwrap();
            let mut link = connect(FieldFaults::new(air(phone()), plan));
            assert_eq!(say(&mut link, &[0, 1, 2, 3]), Err(LinkErrorKind::CardGone));
            let mut link = connect(link.into_inner());
            assert!(say(&mut link, &[0, 1, 2, 3]).is_ok());
        }
    }
}

proptest! {
    /// Any single loss is recovered from in the same session, and the card has had the command once.
    #[test]
    fn single_losses_are_recovered(frame in 9u64..40, fault in prop_oneof![
        Just("drop".to_owned()),
        (0usize..600).prop_map(|bit| format!("corrupt={bit}")),
        (0usize..5).prop_map(|len| format!("truncate={len}")),
    ], length in 1usize..255) {
        let plan: FieldPlan = format!("{frame}:{fault}").parse().unwrap();
        let mut link = connect(FieldFaults::new(air(phone()), plan));
        let commands = [vec![1; length], vec![2; 5], vec![3; 100]];
        for command in &commands {
            prop_assert_eq!(say(&mut link, command).unwrap(), [&command[..], &[0x90, 0x00]].concat());
        }
        let air = link.into_inner().into_inner();
        prop_assert_eq!(&air.phone.commands[..], &commands[..]);
    }

    /// Any faults: an answer or an error, in bounded time.
    #[test]
    fn any_faults_end(faults in proptest::collection::vec((9u64..60, 0u8..7, 0usize..200), 0..12)) {
        let names: Vec<_> = faults.iter().map(|(frame, kind, n)| match kind {
            0 => format!("{frame}:drop"),
            1 => format!("{frame}:corrupt={n}"),
            2 => format!("{frame}:truncate={}", n % 9),
            3 => format!("{frame}:duplicate"),
            4 => format!("{frame}:delay={n}ms"),
            5 => format!("{frame}:field-off"),
            _ => format!("{frame}:out={n}ms"),
        }).collect();
        let plan: FieldPlan = names.join(",").parse().unwrap();
        let mut link = connect(FieldFaults::new(air(phone()), plan));
        for n in 0..4u8 {
            let before = link.inner_mut().now();
            if let Ok(response) = say(&mut link, &[n, 1, 2, 3]) {
                prop_assert!(response.ends_with(&[0x90, 0x00]));
            }
            let took = (link.inner_mut().now() - before).as_duration().as_millis();
            prop_assert!(took < 3000, "{} ms", took);
        }
    }
}
