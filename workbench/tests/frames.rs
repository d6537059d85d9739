//! Frames of our own readers, from the search on: on the tape of a desk (`run`, `shell`), in what a probe learns, and between the polls.
//!
//! A phone that says the same to everything stands in a field behind a PN532 on a pseudo-terminal, or at the end of a UDP socket. Beside
//! it something listens to every frame and never answers.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tapdoor_captures::{Direction, Event, Header, Layer, SharedTape, TapeReader, TapeWriter};
use tapdoor_hce_card::radio::{Appearance, Pace, RadioCard, UidSource};
use tapdoor_hce_card::serve::Card;
use tapdoor_hce_card::serve::udp::UdpCard;
use tapdoor_link::field::FieldCard;
use tapdoor_link::stop::Stop;
use tapdoor_protocol::rf::crc;
use tapdoor_protocol::rf::frame::{Received, RxFrame, Technology};
use tapdoor_protocol::rf::iso14443::type_a::Uid;
use tapdoor_protocol::rf::polling::Annotation;
use tapdoor_protocol::rf::time::Ticks;
use tapdoor_reader::source::radio::Polling;
use tapdoor_reader::source::{CardSource, pn532, udp};
use tapdoor_simulator::Field;
use tapdoor_simulator::line::Pty;
use tapdoor_simulator::pn532::{Pn532, hsu};
use tapdoor_workbench::desk::Desk;

const UID: [u8; 4] = [0x08, 0x11, 0x22, 0x33];
const SELECT: [u8; 5] = [0x00, 0xA4, 0x04, 0x00, 0x00];
/// VERIFY, whose data nobody should find on a tape.
const PIN: [u8; 13] = [0x00, 0x20, 0x00, 0x01, 0x08, 0x31, 0x32, 0x33, 0x34, 0xFF, 0xFF, 0xFF, 0xFF];

struct Yes;

impl Card for Yes {
    fn power_on(&mut self) {}

    fn power_off(&mut self) {}

    fn reset(&mut self) {}

    fn atr(&self) -> &[u8] {
        &[]
    }

    fn process(&mut self, _: &[u8], response: &mut Vec<u8>) {
        response.extend_from_slice(&[0x90, 0x00]);
    }
}

fn phone() -> RadioCard<Yes> {
    let appearance = Appearance {
        uid: UidSource::Fixed(Uid::new(&UID).unwrap()),
        ..Appearance::default()
    };
    RadioCard::new(Yes, appearance, Pace::Simulated(Ticks::ZERO))
}

/// A frame as it came: technology, bits of the last byte, whether a checksum followed, bytes.
type Heard = (Technology, u8, bool, String);

/// Hears everything and says nothing.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Heard>>>);

impl Ear {
    fn heard(&self) -> Vec<Heard> {
        self.0.lock().unwrap().clone()
    }
}

impl FieldCard for Ear {
    fn field(&mut self, _: bool, _: Ticks) {}

    fn receive(&mut self, frame: Received<'_>, _: Ticks, _: &mut RxFrame) -> Option<Ticks> {
        if let Ok(frame) = frame {
            let heard = (frame.technology, frame.last_bits, frame.crc, hex::encode(frame.data));
            self.0.lock().unwrap().push(heard);
        }
        None
    }
}

/// A place with a phone, until it is dropped.
struct Place {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
    address: String,
    ear: Ear,
}

impl Place {
    /// Behind a PN532.
    fn pn532() -> Self {
        let (stop, folder, ear) = (Stop::new(), tempfile::tempdir().unwrap(), Ear::default());
        let path = folder.path().join("pn532");
        let mut pty = Pty::open(&path, &stop).unwrap();
        let mut field = Field::new();
        field.place(Box::new(ear.clone()));
        field.place(Box::new(phone()));
        let until = stop.clone();
        let thread = thread::spawn(move || hsu::serve(&mut Pn532::new(field), &mut pty, &until).unwrap());
        Self {
            stop,
            thread: Some(thread),
            address: path.display().to_string(),
            folder,
            ear,
        }
    }

    /// At the end of a socket.
    fn udp() -> Self {
        /// The phone, with something that listens.
        struct Both(Ear, RadioCard<Yes>);

        impl FieldCard for Both {
            fn field(&mut self, on: bool, now: Ticks) {
                self.1.field(on, now);
            }

            fn receive(&mut self, frame: Received<'_>, now: Ticks, answer: &mut RxFrame) -> Option<Ticks> {
                self.0.receive(frame, now, answer);
                self.1.receive(frame, now, answer)
            }
        }

        let (stop, folder, ear) = (Stop::new(), tempfile::tempdir().unwrap(), Ear::default());
        let socket = UdpCard::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().to_string();
        let (until, mut card) = (stop.clone(), Both(ear.clone(), phone()));
        let thread = thread::spawn(move || socket.serve(&mut card, &until, &mut |_| ()).unwrap());
        Self {
            stop,
            thread: Some(thread),
            address,
            folder,
            ear,
        }
    }

    fn source(&self, polling: Polling) -> Box<dyn CardSource> {
        if self.address.starts_with('/') {
            Box::new(pn532::open_raw(Path::new(&self.address), 115_200, polling).unwrap())
        } else {
            Box::new(udp::open(&self.address, polling).unwrap())
        }
    }

    fn desk(&self, polling: Polling) -> Desk {
        Desk::new(self.source(polling), Duration::from_secs(30), &Stop::new())
    }

    fn tape(&self, name: &str) -> (SharedTape, PathBuf) {
        let path = self.folder.path().join(name);
        (SharedTape::new(TapeWriter::create(&path, &Header::now("test")).unwrap()), path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn events(path: &Path) -> Vec<Event> {
    let file = std::fs::read(path).unwrap();
    TapeReader::new(file.as_slice()).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The frames on a tape, without checksums: direction and bytes.
fn frames(path: &Path) -> Vec<(Direction, String)> {
    let on_air = events(path).into_iter().filter(|e| e.layer == Layer::Rf);
    on_air
        .filter_map(|event| {
            let mut data = event.data?;
            if event.crc == Some(tapdoor_captures::Crc::Ok) {
                let length = data.len() - crc::LEN;
                let mut again = data[..length].to_vec();
                crc::append(Technology::A, &mut again);
                assert_eq!(again, data, "the checksum on the tape");
                data.truncate(length);
            }
            Some((event.dir?, hex::encode(data)))
        })
        .collect()
}

fn bytes(frames: &[(Direction, String)]) -> Vec<&str> {
    frames.iter().map(|(_, data)| data.as_str()).collect()
}

#[test]
fn what_a_desk_records_has_the_frames_from_the_search_on() {
    for place in [Place::pn532(), Place::udp()] {
        let mut desk = place.desk(Polling::default());
        let (tape, path) = place.tape("a.tape");
        desk.record(tape);
        desk.transmit(&SELECT).unwrap();
        desk.transmit(&PIN).unwrap();
        desk.stop_recording();
        desk.transmit(&SELECT).unwrap();

        let seen = frames(&path);
        let uid = format!("{}{:02x}", hex::encode(UID), UID.iter().fold(0, |bcc, byte| bcc ^ byte));
        let expected = ["52", "0400", "9320", &uid, &format!("9370{uid}"), "20"];
        assert_eq!(bytes(&seen)[..6], expected, "{}", place.address);
        let is_masked = |(_, data): &&(Direction, String)| data.contains("0020000108");
        let pin = seen.iter().find(is_masked).expect("VERIFY is there");
        assert_eq!(pin.1, "030020000108".to_owned() + &"00".repeat(8), "its PIN is not");
        assert_eq!(bytes(&seen)[seen.len() - 1], "039000", "nothing after the end of the recording");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("31323334"), "{text}");

        // In the midst of a session: from the next command on, and no more on the first tape.
        let length = std::fs::metadata(&path).unwrap().len();
        let (tape, second) = place.tape("b.tape");
        desk.record(tape);
        desk.transmit(&SELECT).unwrap();
        drop(desk);
        assert_eq!(bytes(&frames(&second))[..2], ["0300a4040000", "039000"]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
    }
}

#[test]
fn a_session_knows_what_the_activation_learned() {
    let ats = Appearance::default().ats.encode();
    for place in [Place::pn532(), Place::udp()] {
        let mut source = place.source(Polling::default());
        let session = source.wait_card(&Stop::new()).unwrap();
        assert_eq!(session.activation.uid.as_deref(), Some(&UID[..]), "{}", place.address);
        assert_eq!(session.activation.ats.as_deref(), Some(ats.as_slice()), "{}", place.address);
    }
    let place = Place::pn532();
    let mut firmware = pn532::open_firmware(Path::new(&place.address), 115_200).unwrap();
    let session = firmware.wait_card(&Stop::new()).unwrap();
    assert_eq!(session.activation.uid.as_deref(), Some(&UID[..]));
    assert_eq!(session.activation.ats.as_deref(), Some(ats.as_slice()));
}

/// Enhanced contactless polling for an Aliro reader, and a frame of no known kind as Android's polling loop filters look for.
fn annotations() -> [Vec<u8>; 2] {
    let group = [0x47, 0x52, 0x4F, 0x55, 0x50, 0x49, 0x44, 0x31];
    let ecp = Annotation::ecp_access(0x06, [0x20, 0x42, 0x20], &group);
    assert_eq!(hex::encode(&ecp.data), "6a02cb020620422047524f5550494431");
    [ecp.data, vec![0x48, 0xA5, 0x01, 0x02]]
}

#[test]
fn an_annotation_goes_before_each_request_and_a_card_that_ignores_it_is_found() {
    for annotation in annotations() {
        for place in [Place::pn532(), Place::udp()] {
            let polling = Polling {
                annotation: Some(annotation.clone()),
                ..Polling::default()
            };
            let mut desk = place.desk(polling);
            let (tape, path) = place.tape("annotated.tape");
            desk.record(tape);
            desk.transmit(&SELECT).unwrap();
            drop(desk);

            // On the air: whole bytes at 106 kbit/s with a checksum, and the request of the round right behind it.
            let heard = place.ear.heard();
            let sent = (Technology::A, 8, true, hex::encode(&annotation));
            let at = heard.iter().position(|frame| *frame == sent).expect("it is sent");
            assert_eq!(heard[at + 1], (Technology::A, 7, false, "52".to_owned()), "{}", place.address);
            assert_eq!(heard[at + 2].3, "9320", "{}", place.address);
            // On the tape, with the checksum that it had.
            let seen = frames(&path);
            assert_eq!(seen[0], (Direction::Out, hex::encode(&annotation)));
            assert_eq!(bytes(&seen)[1..3], ["52", "0400"]);
            let first = events(&path).into_iter().find(|e| e.data.is_some()).unwrap();
            assert_eq!(first.crc, Some(tapdoor_captures::Crc::Ok));
        }
    }
}

#[test]
fn in_an_empty_field_an_annotation_stands_before_every_request() {
    // A listener that never answers: each technology's request has the annotation before it.
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let [annotation, _] = annotations();
    let polling = Polling {
        annotation: Some(annotation.clone()),
        ..Polling::default()
    };
    let mut source = udp::open(&listener.local_addr().unwrap().to_string(), polling).unwrap();
    let stop = Stop::new();
    let until = stop.clone();
    let search = thread::spawn(move || source.wait_card(&until).map(|_| ()));
    let mut buffer = [0; 64];
    let mut text = || {
        let count = listener.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    for _ in 0..3 {
        assert_eq!(text(), format!("106A {}", hex::encode(&annotation)));
        assert_eq!(text(), "106A 52");
    }
    stop.stop();
    assert!(search.join().unwrap().is_err());
}
