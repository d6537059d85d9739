//! Every importer on the same session in its own form, on what can go wrong with a file, and on the way there and back.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{self, BufReader, Cursor, Read};
use std::path::PathBuf;

use proptest::prelude::*;
use tapdoor_captures::export;
use tapdoor_captures::rf::crc;
use tapdoor_captures::{Assembler, Crc, Direction, Event, Events, Filter, Format, Header, Import, Layer, ReadError, Style, show};

/// File, format, and how many of the four APDUs it has.
const SAMPLES: &[(&str, Format, usize)] = &[
    ("apdu4j-new.log", Format::Apdu4j, 4),
    ("apdu4j-old.log", Format::Apdu4j, 4),
    ("arrows-left.log", Format::Arrows, 4),
    ("arrows-right.log", Format::Arrows, 4),
    ("arrows-short.log", Format::Arrows, 4),
    ("bibo.log", Format::Apdu4j, 4),
    ("laboratory.json", Format::NfcLaboratory, 4),
    ("libnfc-acr122.log", Format::Libnfc, 4),
    ("libnfc-uart.log", Format::Libnfc, 4),
    ("nci-hce.log", Format::Nci, 4),
    ("nci-reader.log", Format::Nci, 4),
    ("nfcpy-acr122.log", Format::Nfcpy, 4),
    ("nfcpy-pn532.log", Format::Nfcpy, 4),
    ("opensc-new.log", Format::OpenSc, 4),
    ("opensc-old.log", Format::OpenSc, 4),
    ("opensc-tool.txt", Format::OpenScTool, 4),
    ("pcscd.log", Format::Pcscd, 4),
    ("pm3-list.txt", Format::Pm3Text, 4),
    ("tap.dump", Format::Dump, 4),
    ("test.script", Format::Scriptor, 2),
];

const APDUS: [&str; 4] = [
    "00a4040009f0544150444f4f520100",
    "6f108409f0544150444f4f5201a5038001019000",
    "80ca7f6800",
    "6a88",
];

fn sample(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)).unwrap()
}

type Read1 = (Format, Header, Vec<Event>, Option<ReadError>);

fn import(bytes: &[u8], from: Option<Format>) -> Result<Read1, ReadError> {
    // A small buffer, so that everything is put together from pieces.
    let mut import = Import::open(
        BufReader::with_capacity(if bytes.len().is_multiple_of(5) { 61 } else { 4096 }, Cursor::new(bytes.to_vec())),
        from,
    )?;
    let mut events = Vec::new();
    let mut error = None;
    while let Some(event) = import.next_event() {
        match event {
            Ok(event) => events.push(event),
            Err(found) => error = Some(found),
        }
    }
    Ok((import.format(), import.header().clone(), events, error))
}

fn whole(bytes: &[u8]) -> (Format, Header, Vec<Event>) {
    let (format, header, events, error) = import(bytes, None).unwrap();
    assert!(error.is_none(), "{error:?}");
    (format, header, events)
}

/// The APDUs of a tape: its own, or those that its frames carry.
fn apdus(events: &[Event]) -> Vec<String> {
    let mut assembler = Assembler::new();
    let own: Vec<_> = events
        .iter()
        .filter(|event| event.layer == Layer::Apdu && event.data.is_some())
        .cloned()
        .collect();
    let apdus = match own.is_empty() {
        true => events.iter().filter_map(|event| assembler.feed(event)).collect(),
        false => own,
    };
    apdus.iter().map(|event| hex::encode(event.data.as_deref().unwrap())).collect()
}

struct List<I>(Header, I);

impl<I: Iterator<Item = Event>> Events for List<I> {
    fn header(&self) -> &Header {
        &self.0
    }

    fn next_event(&mut self) -> Option<Result<Event, ReadError>> {
        self.1.next().map(Ok)
    }
}

fn written(header: &Header, events: &[Event], to: Format) -> (Vec<u8>, Vec<export::Loss>) {
    let mut bytes = Vec::new();
    let report = export::convert(List(header.clone(), events.iter().cloned()), to, &mut bytes).unwrap();
    (bytes, report.losses.list())
}

#[test]
fn every_format_is_recognised_and_has_the_same_session() {
    for (name, format, count) in SAMPLES {
        let (found, _, events) = whole(&sample(name));
        assert_eq!(found, *format, "{name}");
        let expected: Vec<_> = if *count == 2 { vec![APDUS[0], APDUS[2]] } else { APDUS.to_vec() };
        let mut apdus = apdus(&events);
        if *name == "pcscd.log" {
            // Its third command was not answered.
            assert_eq!(apdus.pop().as_deref(), Some(APDUS[2]));
            assert!(events.last().unwrap().extra.get("error").is_some());
        }
        assert_eq!(apdus, expected, "{name}");
        let directions: Vec<_> = events
            .iter()
            .filter(|event| event.layer == Layer::Apdu)
            .map(|event| event.dir)
            .collect();
        if directions.len() == 4 {
            let (out, back) = (Some(Direction::Out), Some(Direction::In));
            assert_eq!(directions, [out, back, out, back], "{name}");
        }
    }
}

#[test]
fn what_the_files_say_of_reader_card_and_time_is_kept() {
    let atr = hex::decode("3b8080010101").unwrap();
    for name in ["apdu4j-old.log", "apdu4j-new.log", "tap.dump"] {
        let (_, header, _) = whole(&sample(name));
        assert_eq!(
            (header.atr.as_ref(), header.extra.text("protocol").as_deref()),
            (Some(&atr), Some("T=1")),
            "{name}"
        );
    }
    for name in [
        "apdu4j-old.log",
        "tap.dump",
        "pcscd.log",
        "opensc-new.log",
        "opensc-old.log",
        "opensc-tool.txt",
    ] {
        let (_, header, _) = whole(&sample(name));
        assert_eq!(header.reader.as_deref(), Some("ACS ACR122U PICC Interface 00 00"), "{name}");
    }
    for (name, ms) in [
        ("apdu4j-old.log", 26),
        ("apdu4j-new.log", 1026),
        ("bibo.log", 18),
        ("opensc-old.log", 26),
        // Over midnight.
        ("opensc-new.log", 200),
        ("nci-reader.log", 20),
    ] {
        let (_, _, events) = whole(&sample(name));
        let times: Vec<_> = events
            .iter()
            .filter(|event| event.layer == Layer::Apdu)
            .map(|event| event.t)
            .collect();
        assert_eq!(times[1] - times[0], ms * 1_000_000, "{name}");
    }
    let (_, _, events) = whole(&sample("nfcpy-acr122.log"));
    assert!(
        ["ccid", "pn532", "rf", "apdu"]
            .iter()
            .all(|layer| events.iter().any(|event| event.layer.as_str() == *layer))
    );
    let (_, _, events) = whole(&sample("nci-hce.log"));
    assert!(events.iter().any(|event| event.extra.text("field").as_deref() == Some("on")));
    let (_, _, events) = whole(&sample("pm3-list.txt"));
    let last = events.last().unwrap();
    // 4d has four bits set, so odd parity wants 1; it was wrong.
    assert_eq!(last.parity.as_deref(), Some(&[0x00][..]));
    assert_eq!(events[0].bits, Some(7));
}

/// Whatever is read: no panic, and an error says where and what was expected.
fn judged(bytes: &[u8], from: Option<Format>, what: &str) -> Option<String> {
    let error = match import(bytes, from) {
        Ok((.., error)) => error?,
        Err(error) => error,
    };
    let text = error.to_string();
    assert!(text.starts_with("line ") || text.starts_with("byte "), "{what}: {text}");
    assert!(text.contains("expected"), "{what}: {text}");
    assert!(text.len() < 1000, "{what}: {text}");
    assert!(error.offset <= bytes.len() as u64, "{what}: {text}");
    Some(text)
}

/// The samples, and what is made of them in formats that are no text.
fn all() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = SAMPLES.iter().map(|(name, ..)| ((*name).to_owned(), sample(name))).collect();
    let (_, header, frames) = whole(&sample("laboratory.json"));
    let (_, other, apdus) = whole(&sample("tap.dump"));
    for format in [Format::Pcapng, Format::Pm3Trace, Format::Json, Format::Tape] {
        all.push((format!("frames as {}", format.name()), written(&header, &frames, format).0));
    }
    for format in [Format::Gsmtap, Format::Pcapng, Format::Json] {
        all.push((format!("APDUs as {}", format.name()), written(&other, &apdus, format).0));
    }
    all.push(("pcap".into(), pcap(&frames)));
    all
}

/// A classic capture file in big endian, with microseconds.
fn pcap(events: &[Event]) -> Vec<u8> {
    let mut bytes = hex::decode("a1b2c3d400020004000000000000000000040000").unwrap();
    bytes.extend_from_slice(&264u32.to_be_bytes());
    for event in events {
        let data = event.data.as_deref().unwrap();
        let code = if event.dir == Some(Direction::Out) { 0xFE } else { 0xFF };
        let length = data.len() as u32 + 4;
        for number in [
            (event.t / 1_000_000_000) as u32,
            (event.t % 1_000_000_000 / 1000) as u32,
            length,
            length,
        ] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&[0, code, 0, data.len() as u8]);
        bytes.extend_from_slice(data);
    }
    bytes
}

#[test]
fn cut_at_every_byte() {
    for (name, bytes) in all() {
        let complete = apdus(&whole(&bytes).2);
        for cut in 0..bytes.len() {
            judged(&bytes[..cut], None, &format!("{name}, {cut} bytes"));
            if cut % 17 == 0
                && let Ok((format, _, events, _)) = import(&bytes[..cut], None)
                && format != Format::Scriptor
                && name != "test.script"
                && format != Format::Arrows
            {
                // What is there was in the whole file, but for one that the end cuts short.
                let found = apdus(&events);
                let same = found.iter().zip(&complete).take_while(|(a, b)| a == b).count();
                assert!(same + 1 >= found.len(), "{name}, {cut} bytes: {found:?}");
            }
        }
    }
}

#[test]
fn flipped_bytes() {
    for (name, bytes) in all() {
        for at in (0..bytes.len()).step_by(13) {
            for flip in [0x01, 0x80] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                judged(&bytes, None, &format!("{name}, byte {at}"));
            }
        }
    }
}

#[test]
fn line_breaks_of_other_systems() {
    for (name, ..) in SAMPLES {
        let text = String::from_utf8(sample(name)).unwrap();
        let (format, _, events) = whole(&sample(name));
        for other in [text.replace('\n', "\r\n"), format!("\u{FEFF}{text}"), format!("{text}\n\n")] {
            let (found, _, read) = whole(other.as_bytes());
            assert_eq!((found, apdus(&read)), (format, apdus(&events)), "{name}");
        }
    }
}

#[test]
fn utf_16_is_named_and_so_is_its_cure() {
    for (name, ..) in SAMPLES {
        let text = String::from_utf8(sample(name)).unwrap();
        for (mark, big) in [(true, false), (true, true), (false, false), (false, true)] {
            let mut bytes = Vec::new();
            for unit in mark.then_some(0xFEFF).into_iter().chain(text.encode_utf16()) {
                bytes.extend_from_slice(&if big { u16::to_be_bytes(unit) } else { u16::to_le_bytes(unit) });
            }
            let error = judged(&bytes, None, name).unwrap();
            assert!(error.contains("UTF-16") && error.contains("iconv"), "{name}: {error}");
        }
    }
}

#[test]
fn lines_in_the_wrong_order() {
    let mut errors = 0;
    for (name, ..) in SAMPLES {
        let text = String::from_utf8(sample(name)).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines.reverse();
        errors += usize::from(judged(lines.join("\n").as_bytes(), None, name).is_some());
        for step in 1..lines.len() {
            lines.swap(step - 1, (step * 7) % text.lines().count());
            judged(lines.join("\n").as_bytes(), None, name);
        }
    }
    assert!(errors >= 10, "{errors}");
    // An answer that comes before its command.
    for text in [
        "A<< (0000+2) (9ms) 6A88\nA>> T=1 (4+0000) 80CA7F68 00\n",
        "00000001 SW: 90 00\n00000001 APDU: 00 A4 04 00\n",
    ] {
        let error = judged(text.as_bytes(), None, text).unwrap();
        assert!(
            error.starts_with("line 1, ") && error.contains("no command; expected the command before it"),
            "{error}"
        );
    }
}

#[test]
fn two_formats_in_one_file() {
    for (first, format, _) in SAMPLES {
        for (second, other, _) in SAMPLES {
            let bytes = [sample(first), b"\n".to_vec(), sample(second)].concat();
            let error = judged(&bytes, Some(*format), &format!("{first} and {second}"));
            // These have lines that no other format has.
            let plain = matches!(other, Format::Scriptor | Format::Dump) || matches!(*second, "arrows-short.log" | "bibo.log");
            let kin = matches!(
                (format, other),
                (Format::OpenSc | Format::OpenScTool, Format::OpenSc | Format::OpenScTool)
            );
            if format != other && !plain && !kin {
                assert!(error.is_some(), "{first} and {second}");
            }
        }
    }
    let bytes = [sample("pcscd.log"), sample("libnfc-uart.log")].concat();
    let error = judged(&bytes, None, "both").unwrap();
    assert!(
        error.contains("here begins what looks like libnfc") && error.contains("split the file"),
        "{error}"
    );
}

#[test]
fn nothing_and_rubbish() {
    for format in Format::ALL.into_iter().filter(|format| format.is_readable()) {
        let error = judged(b"", Some(format), format.name()).unwrap();
        assert!(error.contains("empty") || error.contains("ends"), "{}: {error}", format.name());
        for rubbish in [&b"\x00\x01\x02\x03\xFF\xFE rubbish"[..], &[0xFF; 300], b"MZ\x90\x00\x03", &[0; 64]] {
            judged(rubbish, Some(format), format.name());
        }
    }
    for rubbish in [
        &b"hello\nworld\n"[..],
        &[0; 1000],
        &[0xFF; 1000],
        b"\x7FELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    ] {
        assert!(judged(rubbish, None, "rubbish").is_some());
    }
    assert!(judged(b"", None, "nothing").unwrap().contains("the file is empty"));
}

/// A line that does not end.
struct Endless(u8, u64);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 += buffer.len() as u64;
        assert!(self.1 < 8 << 20, "reads on and on");
        buffer.fill(self.0);
        Ok(buffer.len())
    }
}

#[test]
fn a_line_without_end_is_not_read_into_memory() {
    for format in Format::ALL.into_iter().filter(|format| format.is_readable()) {
        for byte in [b'a', b'{', b'"', b'0', b'#'] {
            let begin: &[u8] = match format {
                Format::Pcapng | Format::Pcap | Format::Gsmtap => continue,
                // Records of a trace: an endless one is many of them, so there is no line to end.
                Format::Pm3Trace => continue,
                Format::NfcLaboratory => b"{\"frames\":[",
                Format::Json => b"{\"tape\":{\"tape\":1},\"events\":[",
                _ => b"",
            };
            let input = BufReader::new(Cursor::new(begin.to_vec()).chain(Endless(byte, 0)));
            let mut error = None;
            match Import::open(input, Some(format)) {
                Err(found) => error = Some(found),
                Ok(mut import) => {
                    while let Some(event) = import.next_event() {
                        error = event.err();
                    }
                }
            }
            assert!(error.is_some(), "{} {byte}", format.name());
        }
    }
    assert!(Import::open(BufReader::new(Endless(b'x', 0)), None).is_err());
}

/// There and back: what the first file holds is in the second again, event by event.
fn there_and_back(name: &str, via: Format, header_too: bool) {
    let (_, header, events) = whole(&sample(name));
    let (bytes, losses) = written(&header, &events, via);
    let (_, back, again) = whole(&bytes);
    assert_eq!(losses, [], "{name} by {}", via.name());
    assert_eq!(events, again, "{name} by {}", via.name());
    if header_too {
        assert_eq!(header, back, "{name} by {}", via.name());
    }
}

#[test]
fn there_and_back_without_a_loss() {
    for (name, ..) in SAMPLES {
        there_and_back(name, Format::Tape, true);
        there_and_back(name, Format::Json, true);
    }
    for name in ["laboratory.json", "pm3-list.txt"] {
        there_and_back(name, Format::Pcapng, true);
    }
    for name in ["arrows-left.log", "bibo.log", "nfcpy-pn532.log"] {
        let (_, header, events) = whole(&sample(name));
        let only: Vec<_> = events.into_iter().filter(|event| event.layer == Layer::Apdu).collect();
        let (bytes, losses) = written(&header, &only, Format::Pcapng);
        assert_eq!((losses, whole(&bytes).2), (vec![], only), "{name}");
    }
    there_and_back("tap.dump", Format::Dump, false);
    // The very bytes.
    for (name, format) in [("tap.dump", Format::Dump), ("test.script", Format::Scriptor)] {
        let bytes = sample(name);
        let (_, header, events) = whole(&bytes);
        let lines = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .lines()
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (again, _) = written(&header, &events, format);
        // Which second of the tool's version it was is not ours to say.
        assert_eq!(lines(&again)[1..], lines(&bytes)[1..], "{name}");
    }
    let (_, header, frames) = whole(&sample("laboratory.json"));
    let (trace, _) = written(&header, &frames, Format::Pm3Trace);
    let (_, other, read) = whole(&trace);
    assert_eq!(written(&other, &read, Format::Pm3Trace), (trace.clone(), vec![]));
    let (tape, _) = written(&other, &read, Format::Tape);
    let (_, header, events) = whole(&tape);
    assert_eq!(written(&header, &events, Format::Pm3Trace).0, trace);
    // A command with its answer in one packet.
    let (_, header, events) = whole(&sample("apdu4j-old.log"));
    let (bytes, losses) = written(&header, &events, Format::Gsmtap);
    let (_, back, again) = whole(&bytes);
    assert_eq!((losses, apdus(&again)), (vec![], APDUS.map(str::to_owned).to_vec()));
    assert_eq!(back, header);
    assert_eq!(
        again.iter().filter(|event| event.layer == Layer::Apdu).cloned().collect::<Vec<_>>(),
        events
    );
}

#[test]
fn losses_are_said() {
    let (_, header, events) = whole(&sample("laboratory.json"));
    let lost = |to| {
        written(&header, &events, to)
            .1
            .into_iter()
            .map(|loss| loss.what)
            .collect::<Vec<_>>()
            .join("; ")
    };
    assert!(lost(Format::Dump).contains("frames"), "{}", lost(Format::Dump));
    assert!(lost(Format::Dump).contains("no ATR"));
    assert!(lost(Format::Scriptor).contains("answers") && lost(Format::Scriptor).contains("times"));
    let (_, header, events) = whole(&sample("tap.dump"));
    let (trace, losses) = written(&header, &events, Format::Pm3Trace);
    assert!(
        losses.iter().any(|loss| loss.what.contains("made up") && loss.count == 4),
        "{losses:?}"
    );
    assert_eq!(apdus(&whole(&trace).2), APDUS);
    let (script, _) = written(&header, &events, Format::Door);
    let script = String::from_utf8(script).unwrap();
    for step in [
        "select f0544150444f4f5201\n",
        "expect data 6f108409f0544150444f4f5201a503800101\n",
        "apdu 80ca7f6800\nexpect sw 6a88",
    ] {
        assert!(script.contains(step), "{script}");
    }
    let (csv, _) = written(&header, &events, Format::Csv);
    let csv = String::from_utf8(csv).unwrap();
    assert!(
        csv.starts_with("t,tap,layer,") && csv.contains("0,,apdu,out,00a4040009") && csv.contains("a remark"),
        "{csv}"
    );
}

#[test]
fn nfcgate_writes_a_constant_block_and_a_second_interface() {
    let mut bytes = hex::decode("0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000").unwrap();
    for link in ["0801", "9300"] {
        bytes.extend_from_slice(&hex::decode(format!("0100000014000000{link}000000000000 14000000").replace(' ', "")).unwrap());
    }
    for (interface, event, data) in [
        (1u32, 0xFB, "0203"),
        (0, 0xFA, "00a40400"),
        (0, 0xFB, "6a82"),
        (0, 0xFA, "00a40400"),
        (0, 0xFB, "9000"),
    ] {
        let data = hex::decode(data).unwrap();
        let mut packet = vec![0, event, 0, data.len() as u8 + 1, 0x02];
        packet.extend_from_slice(&data);
        let length = packet.len() as u32;
        packet.resize(packet.len().next_multiple_of(4), 0);
        let total = packet.len() as u32 + 32;
        for number in [6, total, interface, 0x0006_0000, 1, length, length] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&packet);
        bytes.extend_from_slice(&total.to_le_bytes());
    }
    let (format, _, events) = whole(&bytes);
    assert_eq!(format, Format::Pcapng);
    assert_eq!(events[0].layer.as_str(), "nfcgate");
    assert!(events[1..].iter().all(|event| event.crc == Some(Crc::Dropped)));
    assert_eq!(apdus(&events), ["00a40400", "6a82", "00a40400", "9000"]);
}

#[test]
fn real_recordings_where_there_are_some() {
    let Some(folder) = std::env::var_os("TAPDOOR_SAMPLES") else {
        return;
    };
    let mut folders = vec![PathBuf::from(folder)];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            let name = path.display().to_string();
            if name.contains("ecplist") {
                continue;
            }
            files += 1;
            let (_, header, events) = whole(&bytes);
            assert!(!events.is_empty(), "{name}");
            let (tape, losses) = written(&header, &events, Format::Tape);
            assert_eq!((losses, whole(&tape).2), (vec![], events), "{name}");
            for cut in (0..bytes.len()).step_by(1 + bytes.len() / 1000) {
                judged(&bytes[..cut], None, &name);
            }
        }
    }
    assert!(files > 0);
}

fn frame() -> impl Strategy<Value = Event> {
    let data = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::collection::vec(any::<u8>(), 1..40).prop_map(|data| [&data[..], &crc::a(&data)].concat()),
        Just(vec![0x26]),
        Just(vec![0x93, 0x20]),
    ];
    let crc = proptest::sample::select(vec![None, Some(Crc::Ok), Some(Crc::Bad), Some(Crc::Dropped), Some(Crc::None)]);
    (data, any::<bool>(), crc, any::<Option<u8>>(), any::<Option<u16>>(), any::<u32>()).prop_map(|(data, out, crc, bits, tap, t)| {
        let mut event = Event::new(t.into(), Layer::Rf).bytes(if out { Direction::Out } else { Direction::In }, data);
        event.crc = crc;
        event.bits = bits.map(u32::from);
        event.tap = tap.map(u64::from);
        event
    })
}

proptest! {
    #[test]
    fn frames_go_through_pcapng_unharmed(events in proptest::collection::vec(frame(), 1..8)) {
        let (bytes, losses) = written(&Header::default(), &events, Format::Pcapng);
        let (_, _, again) = whole(&bytes);
        prop_assert_eq!(losses, vec![]);
        prop_assert_eq!(events, again);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), format in 0usize..20) {
        judged(&bytes, None, "recognised");
        let format = Format::ALL[format];
        if format.is_readable() {
            judged(&bytes, Some(format), format.name());
        }
    }

    #[test]
    fn whatever_is_read_can_be_shown_and_written(text in "(([-<>A]{1,3} ?|# |00000001 (APDU|SW): |TX: )?([0-9a-f]{2} ?){0,30}\n){0,12}", format in 0usize..20) {
        let format = Format::ALL[format];
        if let Ok((_, header, events, _)) = import(text.as_bytes(), Some(format).filter(|format| format.is_readable())) {
            let mut out = Vec::new();
            show::text(List(header.clone(), events.clone().into_iter()), &Filter::default(), Style::Plain, &mut out).unwrap();
            show::json(List(header.clone(), events.clone().into_iter()), &Filter::default(), &mut out).unwrap();
            show::plain(List(header.clone(), events.clone().into_iter()), &Filter::default(), &mut out).unwrap();
            for to in Format::ALL.into_iter().filter(|to| to.is_writable()) {
                let _ = written(&header, &events, to);
            }
        }
    }
}

#[test]
fn times_that_run_over() {
    for text in [
        "P:1; T:0x2 5000000:00:00.0 [x] a.c:1:b: \nOutgoing APDU (4 bytes):\n00 A4 04 00 ....\nP:1; T:0x2 0:00:00.0 [x] a.c:1:b: \nIncoming APDU (2 bytes):\n90 00 ..\n".to_owned(),
        format!("{}00000001 APDU: 00 A4 04 00\n", "99999999999999999 x\n".repeat(3000)),
        format!("A>> (4+0000) 00A40400\n{}", "A<< (0000+2) (999999s999999ms) 9000\nA>> (4+0000) 00A40400\n".repeat(20_000)),
    ] {
        assert!(judged(text.as_bytes(), None, "times").is_none());
    }
    let ends = [0, u64::MAX, 0, u64::MAX].iter().enumerate().map(|(n, t)| {
        let dir = if n % 2 == 0 { Direction::Out } else { Direction::In };
        Event::new(*t, Layer::Rf).bytes(dir, [0x02, 0x90, 0x00])
    });
    let events: Vec<_> = ends.collect();
    for _ in 0..2 {
        show::plain(
            List(Header::default(), events.clone().into_iter()),
            &Filter::default(),
            &mut io::sink(),
        )
        .unwrap();
        show::text(
            List(Header::default(), events.clone().into_iter()),
            &Filter::default(),
            Style::Plain,
            &mut io::sink(),
        )
        .unwrap();
    }
    for to in Format::ALL.into_iter().filter(|to| to.is_writable()) {
        let _ = written(&Header::default(), &events, to);
    }
}
