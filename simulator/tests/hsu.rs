//! The chip's serial line with hosts that make mistakes, hang up, or send anything at all.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use common::{Echo, chip};
use proptest::prelude::*;
use tapdoor_link::stop::Stop;
use tapdoor_protocol::pn532::frame::{TO_CHIP, encode};
use tapdoor_protocol::pn532::{ACK, ERROR, NACK, WAKE_UP};
use tapdoor_simulator::line::Line;
use tapdoor_simulator::pn532::hsu::{Session, serve};

const GET_FIRMWARE: [u8; 9] = [0x00, 0x00, 0xFF, 0x02, 0xFE, 0xD4, 0x02, 0x2A, 0x00];
const FIRMWARE: [u8; 13] = [0x00, 0x00, 0xFF, 0x06, 0xFA, 0xD5, 0x03, 0x32, 0x01, 0x06, 0x07, 0xE8, 0x00];

fn command(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(TO_CHIP, content, &mut out).unwrap();
    out
}

fn acknowledged(answer: &[u8]) -> Vec<u8> {
    [&ACK, answer].concat()
}

fn said(session: &mut Session) -> Vec<u8> {
    std::mem::take(&mut session.out)
}

#[test]
fn a_command_is_acknowledged_and_answered() {
    let (mut chip, mut session) = (chip(vec![]), Session::default());
    session.step(&mut chip, &WAKE_UP);
    assert!(session.out.is_empty());
    session.step(&mut chip, &GET_FIRMWARE);
    assert_eq!(said(&mut session), acknowledged(&FIRMWARE));
    // The host's ACK of an answer means nothing more; its NACK asks for the answer again.
    session.step(&mut chip, &ACK);
    assert!(session.out.is_empty());
    session.step(&mut chip, &NACK);
    assert_eq!(said(&mut session), FIRMWARE);
    // Byte by byte.
    for byte in GET_FIRMWARE {
        session.step(&mut chip, &[byte]);
    }
    assert_eq!(said(&mut session), acknowledged(&FIRMWARE));
    session.step(&mut chip, &command(&[0xEE]));
    assert_eq!(said(&mut session), acknowledged(&ERROR));
    // Without preamble and postamble, once that is set.
    session.step(&mut chip, &command(&[0x12, 0x54]));
    assert_eq!(said(&mut session), acknowledged(&[0x00, 0xFF, 0x02, 0xFE, 0xD5, 0x13, 0x18]));
}

#[test]
fn damaged_frames_get_no_answer_and_the_next_one_does() {
    let (mut chip, mut session) = (chip(vec![]), Session::default());
    for at in 3..GET_FIRMWARE.len() - 1 {
        let mut damaged = GET_FIRMWARE;
        damaged[at] ^= 0x10;
        session.step(&mut chip, &damaged);
        // A damaged length waits for what it announces, until the line rests.
        std::thread::sleep(Duration::from_millis(if session.out.is_empty() { 1 } else { 0 }));
        assert!(said(&mut session).is_empty(), "byte {at}");
        session = Session::default();
    }
    session.step(&mut chip, &[0x00, 0x00, 0xFF, 0x20, 0xE0, 0xD4, 0x02]);
    std::thread::sleep(Duration::from_millis(210));
    session.step(&mut chip, &[]);
    session.step(&mut chip, &GET_FIRMWARE);
    assert_eq!(said(&mut session), acknowledged(&FIRMWARE));
}

#[test]
fn a_search_is_ended_by_ack_or_by_another_command() {
    let (mut chip, mut session) = (chip(vec![]), Session::default());
    let search = command(&[0x4A, 0x01, 0x00]);
    session.step(&mut chip, &search);
    assert_eq!(said(&mut session), ACK);
    session.step(&mut chip, &[]);
    assert!(session.out.is_empty());
    session.step(&mut chip, &ACK);
    session.step(&mut chip, &[]);
    assert!(session.out.is_empty());
    session.step(&mut chip, &search);
    assert_eq!(said(&mut session), ACK);
    session.step(&mut chip, &GET_FIRMWARE);
    assert_eq!(said(&mut session), acknowledged(&FIRMWARE));
    // Nothing goes on in the background.
    let card = chip.link().place(Box::new(Echo::phone([8, 1, 2, 3])));
    session.step(&mut chip, &[]);
    assert!(session.out.is_empty());
    // And a card that comes during a search is told.
    chip.link().remove(card);
    session.step(&mut chip, &search);
    session.step(&mut chip, &search);
    chip.link().place(Box::new(Echo::phone([8, 1, 2, 3])));
    said(&mut session);
    session.step(&mut chip, &[]);
    assert_eq!(said(&mut session)[5..12], [0xD5, 0x4B, 0x01, 0x01, 0x00, 0x04, 0x20]);
}

/// A line that gives these bytes and then fails, or takes so many bytes and then fails.
struct Dying {
    bytes: VecDeque<u8>,
    room: usize,
}

impl Line for Dying {
    fn read(&mut self, buffer: &mut [u8], _time: Duration) -> io::Result<usize> {
        let count = self.bytes.len().min(buffer.len());
        if count == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        for (to, from) in buffer.iter_mut().zip(self.bytes.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.room = self.room.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(())
    }
}

#[test]
fn a_line_that_dies_ends_the_service() {
    for (count, room) in [(0, 100), (5, 100), (9, 100), (9, 3), (9, 10)] {
        let mut line = Dying {
            bytes: GET_FIRMWARE[..count].iter().copied().collect(),
            room,
        };
        let error = serve(&mut chip(vec![]), &mut line, &Stop::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

#[cfg(unix)]
mod pty {
    use std::fs::{self, File, OpenOptions};
    use std::io::{Read, Write};
    use std::path::Path;
    use std::thread;

    use tapdoor_simulator::line::Pty;

    use super::*;

    fn open(path: &Path) -> File {
        OpenOptions::new().read(true).write(true).open(path).unwrap()
    }

    fn ask(host: &mut File) -> Vec<u8> {
        host.write_all(&GET_FIRMWARE).unwrap();
        let mut answer = vec![0; ACK.len() + FIRMWARE.len()];
        host.read_exact(&mut answer).unwrap();
        answer
    }

    #[test]
    fn hosts_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pn532");
        // A link that leads nowhere is replaced, a file is not.
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &path).unwrap();
        let stop = Stop::new();
        let mut pty = Pty::open(&path, &stop).unwrap();
        assert!(Pty::open(&path, &stop).is_err());
        assert_eq!(fs::read_link(&path).unwrap(), pty.device());
        let other = stop.clone();
        let serving = thread::spawn(move || serve(&mut chip(vec![]), &mut pty, &other));
        let mut host = open(&path);
        assert_eq!(ask(&mut host), acknowledged(&FIRMWARE));
        // Hangs up in the middle of a frame, and another comes.
        host.write_all(&GET_FIRMWARE[..6]).unwrap();
        drop(host);
        thread::sleep(Duration::from_millis(450));
        assert_eq!(ask(&mut open(&path)), acknowledged(&FIRMWARE));
        // One that never reads does not hold up the chip.
        let mut deaf = open(&path);
        for _ in 0..40 {
            deaf.write_all(&GET_FIRMWARE).unwrap();
        }
        let begun = Instant::now();
        stop.stop();
        serving.join().unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(fs::symlink_metadata(&path).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes over the line: no panic, no endless work, bounded memory, and the next command is answered.
    #[test]
    fn no_bytes_harm(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..12)) {
        let (mut chip, mut session) = (chip(vec![Echo::phone([8, 1, 2, 3])]), Session::default());
        for piece in pieces {
            session.step(&mut chip, &piece);
            prop_assert!(session.out.len() < 4000);
            session.out.clear();
        }
        session = Session::default();
        session.step(&mut chip, &GET_FIRMWARE);
        prop_assert_eq!(said(&mut session), acknowledged(&FIRMWARE));
    }

    /// Every command with any parameters.
    #[test]
    fn no_command_harms(contents in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..30)), 1..12)) {
        let (mut chip, mut session) = (chip(vec![Echo::phone([8, 1, 2, 3])]), Session::default());
        for (code, parameters) in contents {
            let mut content = vec![code & 0x7E];
            content.extend(parameters);
            session.step(&mut chip, &command(&content));
            prop_assert!(session.out.starts_with(&ACK));
            session.out.clear();
            session.step(&mut chip, &[]);
            session.out.clear();
        }
        session.step(&mut chip, &command(&[0x12, 0x14]));
        session.out.clear();
        session.step(&mut chip, &GET_FIRMWARE);
        prop_assert_eq!(said(&mut session), acknowledged(&FIRMWARE));
    }
}
