//! The phone in a field: how it looks, when its chip has power, what it does when it is slow, silent or leaves.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use tapdoor_hce_card::radio::{Appearance, Pace, RadioCard, UidSource};
use tapdoor_hce_card::serve::Card;
use tapdoor_hce_card::serve::udp::UdpCard;
use tapdoor_link::field::FieldCard;
use tapdoor_link::stop::Stop;
use tapdoor_protocol::rf::frame::{Frame, RfError, RxFrame, Technology};
use tapdoor_protocol::rf::iso14443::type_a::Uid;
use tapdoor_protocol::rf::time::Ticks;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    On,
    Off,
    Command(Vec<u8>),
}

/// A card that tells what happens to it. An APDU that begins with FF is answered by nothing, one with EE is the last before it leaves,
/// one with DD takes as long as the test wants.
struct Teller {
    told: Sender<Told>,
    go: Arc<Mutex<Receiver<()>>>,
    leaving: bool,
}

impl Card for Teller {
    fn power_on(&mut self) {
        let _ = self.told.send(Told::On);
    }

    fn power_off(&mut self) {
        let _ = self.told.send(Told::Off);
    }

    fn reset(&mut self) {}

    fn atr(&self) -> &[u8] {
        &[]
    }

    fn process(&mut self, command: &[u8], response: &mut Vec<u8>) {
        let _ = self.told.send(Told::Command(command.to_vec()));
        match command.first() {
            Some(0xFF) => {}
            Some(0xDD) => {
                let _ = self.go.lock().unwrap().recv();
                response.extend_from_slice(&[0x90, 0x00]);
            }
            first => {
                self.leaving = first == Some(&0xEE);
                response.extend_from_slice(command);
                response.extend_from_slice(&[0x90, 0x00]);
            }
        }
    }

    fn is_leaving(&mut self) -> bool {
        std::mem::take(&mut self.leaving)
    }
}

struct Bench {
    card: RadioCard<Teller>,
    told: Receiver<Told>,
    go: Sender<()>,
    answer: RxFrame,
    delay: Option<Ticks>,
}

fn bench(appearance: Appearance, pace: Pace) -> Bench {
    let (told, heard) = channel();
    let (go, gone) = channel();
    let teller = Teller {
        told,
        go: Arc::new(Mutex::new(gone)),
        leaving: false,
    };
    let mut card = RadioCard::new(teller, appearance, pace);
    card.field(true, Ticks::ZERO);
    Bench {
        card,
        told: heard,
        go,
        answer: RxFrame::new(),
        delay: None,
    }
}

fn phone() -> Bench {
    let uid = UidSource::Fixed(Uid::from([8, 1, 2, 3]));
    let appearance = Appearance {
        uid,
        ..Appearance::default()
    };
    bench(appearance, Pace::Simulated(Ticks::ZERO))
}

impl Bench {
    fn say(&mut self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        self.answer.clear();
        self.delay = self.card.receive(Ok(*frame), Ticks::ZERO, &mut self.answer);
        self.delay.map(|_| self.answer.data.clone())
    }

    fn block(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        self.say(&Frame::new(Technology::A, data))
    }

    fn request(&mut self, byte: u8) -> Option<Vec<u8>> {
        self.say(&Frame::short(&[byte]))
    }

    /// By its identifier; which that is.
    fn select(&mut self, request: u8) -> Vec<u8> {
        assert_eq!(self.request(request), Some(vec![0x04, 0x00]));
        let uid = self.say(&Frame::new(Technology::A, &[0x93, 0x20]).bare()).unwrap();
        let select = [&[0x93, 0x70], &uid[..]].concat();
        assert_eq!(self.block(&select), Some(vec![0x20]));
        uid
    }

    fn activate(&mut self) {
        self.select(0x26);
        assert_eq!(self.block(&[0xE0, 0x80]), Some(vec![0x05, 0x75, 0x77, 0x80, 0x02]));
    }

    fn events(&self) -> Vec<Told> {
        self.told.try_iter().collect()
    }
}

#[test]
fn power_lasts_from_rats_to_deselect() {
    let mut phone = phone();
    phone.select(0x26);
    assert_eq!(phone.events(), []);
    phone.block(&[0xE0, 0x80]).unwrap();
    assert_eq!(phone.events(), [Told::On]);
    assert_eq!(phone.block(&[0x02, 1, 2]), Some(vec![0x02, 1, 2, 0x90, 0x00]));
    assert_eq!(phone.events(), [Told::Command(vec![1, 2])]);
    assert_eq!(phone.block(&[0xC2]), Some(vec![0xC2]));
    assert_eq!(phone.events(), [Told::Off]);
    // Halted: REQA does not wake it, WUPA does.
    assert_eq!(phone.request(0x26), None);
    phone.select(0x52);
    phone.block(&[0xE0, 0x80]).unwrap();
    assert_eq!(phone.events(), [Told::On]);
    phone.card.field(false, Ticks::ZERO);
    phone.card.field(false, Ticks::ZERO);
    assert_eq!(phone.events(), [Told::Off]);
    assert_eq!(phone.request(0x52), None);
}

#[test]
fn another_identifier_each_time_the_field_comes() {
    let mut phone = bench(Appearance::default(), Pace::Simulated(Ticks::ZERO));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let first = phone.select(0x26);
        assert_eq!(first[0], 0x08);
        phone.block(&[0x50, 0x00]);
        // The same for as long as the field is there.
        assert_eq!(phone.select(0x52), first);
        seen.insert(first);
        phone.card.field(false, Ticks::ZERO);
        phone.card.field(true, Ticks::ZERO);
    }
    // Of three random bytes; two alike among twenty is one chance in 88,000.
    assert!(seen.len() >= 19);
}

#[test]
fn frames_of_64_bytes_both_ways() {
    let mut phone = phone();
    phone.select(0x26);
    // The reader takes 32 bytes.
    phone.block(&[0xE0, 0x20]).unwrap();
    let command: Vec<u8> = (0..100).collect();
    assert_eq!(phone.block(&[&[0x12], &command[..61]].concat()), Some(vec![0xA2]));
    let mut got = phone.block(&[&[0x03], &command[61..]].concat()).unwrap();
    let mut whole = got.split_off(1);
    let mut number = 1;
    while got[0] & 0x10 != 0 {
        assert_eq!(got[0], 0x12 | number);
        assert!(whole.len().is_multiple_of(29));
        number ^= 1;
        got = phone.block(&[0xA2 | number]).unwrap();
        whole.extend(got.split_off(1));
    }
    assert_eq!(whole, [&command[..], &[0x90, 0x00]].concat());
}

#[test]
fn rates_by_pps() {
    let mut phone = phone();
    phone.activate();
    // 424 both ways.
    assert_eq!(phone.block(&[0xD0, 0x11, 0x0A]), Some(vec![0xD0]));
    assert_eq!(phone.block(&[0x02, 7]), None);
    let fast = tapdoor_protocol::rf::frame::BitRate::Kbps424;
    assert_eq!(
        phone.say(&Frame::new(Technology::A, &[0x02, 7]).at(fast)),
        Some(vec![0x02, 7, 0x90, 0x00])
    );
    assert_eq!(phone.answer.rate, fast);
}

#[test]
fn waiting_time_as_configured() {
    let appearance = Appearance {
        wtx: Some((2, 5)),
        ..Appearance::default()
    };
    let mut phone = bench(appearance, Pace::Simulated(Ticks::ZERO));
    phone.activate();
    for _ in 0..2 {
        assert_eq!(phone.block(&[0x02, 1]), Some(vec![0xF2, 5]));
        assert_eq!(phone.block(&[0xF2, 5]), Some(vec![0xF2, 5]));
        let answer = phone.block(&[0xF2, 5]).unwrap();
        assert_eq!(answer[1..], [1, 0x90, 0x00]);
        // Again with the other number.
        assert_eq!(phone.block(&[0x03, 1]), Some(vec![0xF2, 5]));
        phone.block(&[0xF2, 5]).unwrap();
        phone.block(&[0xF2, 5]).unwrap();
    }
}

#[test]
fn simulated_work_takes_its_time() {
    let work = Ticks::from_millis(300);
    let mut phone = bench(Appearance::default(), Pace::Simulated(work));
    phone.activate();
    let mut total = Ticks::ZERO;
    let mut answer = phone.block(&[0x02, 1]).unwrap();
    total += phone.delay.unwrap();
    while answer[0] == 0xF2 {
        answer = phone.block(&answer).unwrap();
        total += phone.delay.unwrap();
    }
    assert_eq!(answer, [0x02, 1, 0x90, 0x00]);
    assert!(total >= work && total < work + Ticks::from_millis(2), "{total}");
}

#[test]
fn a_slow_phone_asks_for_more_time_as_it_goes() {
    let mut phone = bench(Appearance::default(), Pace::Live);
    phone.activate();
    let mut answer = phone.block(&[0x02, 0xDD]).unwrap();
    for _ in 0..3 {
        assert_eq!(answer, [0xF2, 1]);
        // What the reader asks meanwhile is answered by the same.
        assert_eq!(phone.block(&[0xB2]), Some(vec![0xF2, 1]));
        answer = phone.block(&[0xF2, 1]).unwrap();
    }
    phone.go.send(()).unwrap();
    while answer == [0xF2, 1] {
        answer = phone.block(&[0xF2, 1]).unwrap();
    }
    assert_eq!(answer, [0x02, 0x90, 0x00]);
    // One that is still busy when its session ends does not answer in the next one.
    assert_eq!(phone.block(&[0x03, 0xDD]), Some(vec![0xF2, 1]));
    phone.card.field(false, Ticks::ZERO);
    phone.card.field(true, Ticks::ZERO);
    phone.activate();
    phone.go.send(()).unwrap();
    let mut answer = phone.block(&[0x02, 0x55]).unwrap();
    while answer == [0xF2, 1] {
        answer = phone.block(&[0xF2, 1]).unwrap();
    }
    assert_eq!(answer, [0x02, 0x55, 0x90, 0x00]);
}

#[test]
fn a_phone_that_leaves() {
    let mut phone = phone();
    phone.activate();
    phone.events();
    assert_eq!(phone.block(&[0x02, 0xEE]), Some(vec![0x02, 0xEE, 0x90, 0x00]));
    // Its answer can still be asked for.
    assert_eq!(phone.block(&[0xB2]), Some(vec![0x02, 0xEE, 0x90, 0x00]));
    // A look whether it is there: it is not.
    assert_eq!(phone.block(&[0xB3]), None);
    assert_eq!(phone.events(), [Told::Command(vec![0xEE]), Told::Off]);
    assert_eq!(phone.request(0x52), None);
    // It comes back by itself.
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while phone.request(0x26).is_none() {
        assert!(std::time::Instant::now() < end);
        thread::sleep(Duration::from_millis(20));
    }
    // Torn away in the middle of a command.
    phone.card.field(false, Ticks::ZERO);
    phone.card.field(true, Ticks::ZERO);
    phone.activate();
    assert_eq!(phone.block(&[0x02, 0xFF]), None);
    assert_eq!(phone.request(0x52), None);
}

#[test]
fn over_udp() {
    let socket = UdpCard::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr();
    let stop = Stop::new();
    let other = stop.clone();
    let serving = thread::spawn(move || {
        let mut phone = phone();
        socket.serve(&mut phone.card, &other, &mut |_| {}).unwrap();
        phone.events()
    });
    let reader = UdpSocket::bind("127.0.0.1:0").unwrap();
    reader.connect(address).unwrap();
    reader.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut buffer = [0; 2000];
    let mut ask = |text: &str| {
        reader.send(text.as_bytes()).unwrap();
        let length = reader.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    assert_eq!(ask("106A 26"), "106A 0400");
    assert_eq!(ask("106A 9320"), "106A 0801020308");
    assert_eq!(ask("106A 93700801020308"), "106A 20");
    assert_eq!(ask("106A e080"), "106A 0575778002");
    // Nonsense, and another technology: silence. Then the next is answered.
    for nonsense in ["", "106A", "106A zz", "xyz", "106B 050000", "212F 0600ffff0000", "\u{fffd}"] {
        reader.send(nonsense.as_bytes()).unwrap();
    }
    assert_eq!(ask("106A 0200a4"), "106A 0200a49000");
    reader.send(b"RFOFF").unwrap();
    assert_eq!(ask("106A 52"), "106A 0400");
    stop.stop();
    let events = serving.join().unwrap();
    assert_eq!(events, [Told::On, Told::Command(vec![0x00, 0xA4]), Told::Off]);
}

#[test]
fn datagrams_of_every_kind_from_anybody_harm_nothing() {
    let socket = UdpCard::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr();
    let stop = Stop::new();
    let other = stop.clone();
    let serving = thread::spawn(move || {
        let mut phone = phone();
        socket.serve(&mut phone.card, &other, &mut |_| {}).unwrap();
        phone.events()
    });
    let connected = || {
        let reader = UdpSocket::bind("127.0.0.1:0").unwrap();
        reader.connect(address).unwrap();
        reader.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        reader
    };
    let (reader, stranger) = (connected(), connected());
    let ask = |reader: &UdpSocket, text: &str| {
        let mut buffer = [0; 2000];
        reader.send(text.as_bytes()).unwrap();
        let length = reader.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let activate = |reader: &UdpSocket| {
        assert_eq!(ask(reader, "106A 52"), "106A 0400");
        assert_eq!(ask(reader, "106A 93700801020308"), "106A 20");
        assert_eq!(ask(reader, "106A e080"), "106A 0575778002");
    };
    // The longest datagrams that there are: a frame of 32,751 bytes, many frames in one, zeros.
    let longest = [
        "106A ".to_owned() + &"02".repeat(32_751),
        "106A 2".repeat(10_900),
        "\0".repeat(65_507),
    ];
    for (turn, sender) in [&stranger, &reader].into_iter().cycle().take(8).enumerate() {
        reader.send(b"RFOFF").unwrap();
        activate(&reader);
        // Every first byte, alone and before what is no frame; a few at a time, as a socket does not hold all of them.
        for first in (turn * 32..turn * 32 + 32).map(|n| n as u8) {
            sender.send(&[first]).unwrap();
            sender.send(&[&[first][..], b"06A 0200a"].concat()).unwrap();
        }
        for nonsense in [
            &longest[turn % 3],
            "",
            "106A",
            "106B 0200a4",
            "848A 0200a4",
            "106A 0200a",
            "RFON",
            "106A\n0200a4",
        ] {
            // What is a frame of another kind counts as another reader's, if a stranger sends it.
            if turn % 2 == 1 || !nonsense.ends_with("B 0200a4") && !nonsense.starts_with("848A") {
                sender.send(nonsense.as_bytes()).unwrap();
            }
        }
        assert_eq!(
            ask(&reader, "106A 0200a4"),
            "106A 0200a49000",
            "turn {turn}: the session is as it was"
        );
    }
    // A stranger with a frame is another reader, for whom the phone begins anew.
    activate(&stranger);
    assert_eq!(ask(&stranger, "106A 0200a4"), "106A 0200a49000");
    stop.stop();
    serving.join().unwrap();
}

/// Says at once what begins with 00, and the rest on the other thread; tells on which thread it worked.
struct Prompt(Sender<(thread::ThreadId, u8)>);

impl Card for Prompt {
    fn power_on(&mut self) {}

    fn power_off(&mut self) {}

    fn reset(&mut self) {}

    fn atr(&self) -> &[u8] {
        &[]
    }

    fn process(&mut self, command: &[u8], response: &mut Vec<u8>) {
        let _ = self.0.send((thread::current().id(), command[0]));
        response.extend_from_slice(&[command[0], 0x90, 0x00]);
    }

    fn try_process(&mut self, command: &[u8], response: &mut Vec<u8>) -> bool {
        let quick = command[0] == 0x00;
        if quick {
            self.process(command, response);
        }
        quick
    }
}

#[test]
fn what_is_answered_at_once_is_answered_on_the_radios_thread() {
    let (told, heard) = channel();
    let appearance = Appearance {
        wtx: Some((1, 3)),
        ..Appearance::default()
    };
    let mut card = RadioCard::new(Prompt(told), appearance, Pace::Live);
    card.field(true, Ticks::ZERO);
    let mut answer = RxFrame::new();
    let mut say = |frame: &Frame<'_>| {
        answer.clear();
        card.receive(Ok(*frame), Ticks::ZERO, &mut answer).map(|_| answer.data.clone())
    };
    say(&Frame::short(&[0x26])).unwrap();
    let uid = say(&Frame::new(Technology::A, &[0x93, 0x20]).bare()).unwrap();
    say(&Frame::new(Technology::A, &[&[0x93, 0x70], &uid[..]].concat())).unwrap();
    say(&Frame::new(Technology::A, &[0xE0, 0x80])).unwrap();
    let mut number = 0;
    // Each asks for time first, as it was told to, and says what it has when it got it.
    for command in [0xDD, 0x00, 0x00, 0xDD, 0x00] {
        assert_eq!(say(&Frame::new(Technology::A, &[0x02 | number, command])), Some(vec![0xF2, 3]));
        let expected = vec![0x02 | number, command, 0x90, 0x00];
        let mut said = say(&Frame::new(Technology::A, &[0xF2, 3]));
        // A busy machine can make the other thread late; then the phone asks for more.
        while said.as_deref() == Some(&[0xF2, 1]) {
            said = say(&Frame::new(Technology::A, &[0xF2, 1]));
        }
        assert_eq!(said, Some(expected));
        number ^= 1;
    }
    let here = thread::current().id();
    let worked: Vec<_> = heard.try_iter().collect();
    let commands: Vec<u8> = worked.iter().map(|(_, command)| *command).collect();
    assert_eq!(commands, [0xDD, 0x00, 0x00, 0xDD, 0x00]);
    for (thread, command) in worked {
        assert_eq!(thread == here, command == 0x00);
    }
}

proptest! {
    #[test]
    fn no_frame_harms(frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0_u8..4), 0..30), active: bool) {
        let mut phone = phone();
        if active {
            phone.activate();
        }
        for (data, kind) in frames {
            let frame = Frame::new(Technology::A, &data);
            let received = match kind {
                0 => Ok(frame),
                1 => Ok(frame.bare()),
                2 => Ok(frame.ending_with(3)),
                _ => Err(RfError::Crc),
            };
            phone.answer.clear();
            let said = phone.card.receive(received, Ticks::ZERO, &mut phone.answer);
            prop_assert!(said.is_none() || phone.answer.data.len() <= 256);
        }
        phone.card.field(false, Ticks::ZERO);
        phone.card.field(true, Ticks::ZERO);
        // A phone that was told to leave is away.
        if phone.request(0x26).is_some() {
            phone.card.field(false, Ticks::ZERO);
            phone.card.field(true, Ticks::ZERO);
            phone.activate();
        }
    }
}
