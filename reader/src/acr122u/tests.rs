//! The reader's oddities, each as users have reported it.

use std::time::Duration;

use tapdoor_link::{LinkErrorKind, Scripted};

use super::*;

fn ask(port: &mut AcrPort<Scripted>, command: &[u8]) -> Result<Vec<u8>, PortErrorKind> {
    let mut answer = Vec::new();
    port.exchange(command, Duration::from_secs(1), &mut answer)
        .map(|()| answer)
        .map_err(|e| e.kind)
}

#[test]
fn a_command_in_its_wrapping() {
    let link = Scripted::new().expect([0xFF, 0, 0, 0, 2, 0xD4, 0x02], [0xD5, 0x03, 0x32, 1, 6, 7, 0x90, 0]);
    let mut port = AcrPort::new(link);
    assert_eq!(ask(&mut port, &[0x02]).unwrap(), [0x03, 0x32, 1, 6, 7]);
    assert_eq!(port.stale_answers(), 0);
}

#[test]
fn answers_that_come_one_command_late() {
    let link = Scripted::new()
        // The firmware's name once more, then always the answer to the command before.
        .answer(*b"ACR122U215")
        .answer([0xD5, 0x07, 0x80, 0x90, 0])
        .answer([0xD5, 0x03, 0x32, 1, 6, 7, 0x90, 0])
        .answer([0xD5, 0x33, 0x90, 0]);
    let mut port = AcrPort::new(link);
    assert_eq!(ask(&mut port, &[0x06, 0x63, 0x02]).unwrap(), [0x07, 0x80]);
    assert_eq!(ask(&mut port, &[0x32, 0x01, 0x01]).unwrap(), [0x33]);
    assert_eq!(port.stale_answers(), 2);
}

#[test]
fn a_reader_that_never_gives_the_answer_is_given_up() {
    let stale = [0xD5, 0x33, 0x90, 0];
    let mut port = AcrPort::new(Scripted::new().answer(stale).answer(stale).answer(stale));
    assert_eq!(ask(&mut port, &[0x06, 0x63, 0x02]), Err(PortErrorKind::Silent));
}

#[test]
fn errors_of_the_reader() {
    for (sw, kind) in [
        ([0x63, 0x00], PortErrorKind::Refused),
        ([0x63, 0x01], PortErrorKind::Silent),
        ([0x6E, 0x00], PortErrorKind::Refused),
    ] {
        assert_eq!(ask(&mut AcrPort::new(Scripted::new().answer(sw)), &[0x02]), Err(kind));
    }
    let gone = AcrPort::new(Scripted::new().fail(LinkErrorKind::CardGone));
    assert_eq!(ask(&mut { gone }, &[0x02]), Err(PortErrorKind::Gone));
}

#[test]
fn no_extended_length() {
    let mut port = AcrPort::new(Scripted::new().answer([0xD5, 0x43, 0, 0x90, 0]));
    assert_eq!(ask(&mut port, &[0x42; 255]), Err(PortErrorKind::TooLong));
    assert!(ask(&mut port, &[0x42; 254]).is_ok());
}

#[test]
fn touchatags_answer_is_fetched() {
    let link = Scripted::new()
        .answer([0x61, 0x08])
        .expect([0xFF, 0xC0, 0, 0, 8], [0xD5, 0x03, 0x32, 1, 6, 7, 0x90, 0]);
    assert_eq!(ask(&mut AcrPort::new(link), &[0x02]).unwrap(), [0x03, 0x32, 1, 6, 7]);
}

#[test]
fn the_firmwares_name_has_no_status_word() {
    let name = |answer: &[u8]| firmware(&mut Scripted::new().answer(answer.to_vec())).unwrap();
    assert_eq!(name(b"ACR122U215").as_deref(), Some("ACR122U215"));
    assert_eq!(name(b"ACR122U215\x90\x00").as_deref(), Some("ACR122U215"));
    assert_eq!(name(&[0x6E, 0x00]), None);
    assert_eq!(name(&[0xD5, 0x03, 0x32, 0x90, 0x00]), None);
    assert!(firmware(&mut Scripted::new().fail(LinkErrorKind::Reader)).is_err());
}

#[test]
fn the_operating_parameter_in_all_its_forms() {
    let read = |answer: &[u8]| Settings::read(&mut Scripted::new().answer(answer.to_vec())).unwrap();
    assert_eq!(read(&[0x90, 0xDF]), Settings(0xDF));
    assert_eq!(read(&[0xDF]), Settings(0xDF));
    assert_eq!(read(&[0xDF, 0x90, 0x00]), Settings(0xDF));
    assert_eq!(read(&[0x63, 0x00]), Settings::DEFAULT);
    assert_eq!(read(b"ACR122U215"), Settings::DEFAULT);
    assert_eq!(Settings::DEFAULT.without_polling(), Settings(0x7F));
    for odd in [&[0x90, 0x7F][..], &[0x7F], &[0x90, 0x00], &[0x63, 0x00]] {
        let mut link = Scripted::new().expect([0xFF, 0, 0x51, 0x7F, 0], odd.to_vec());
        Settings(0x7F).write(&mut link).unwrap();
    }
}
