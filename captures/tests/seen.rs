//! What real recordings have that no description says: each case says where it was seen. The data are our own.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Cursor;

use tapdoor_captures::{Crc, Direction, Event, Format, Import, Layer, export};

fn read(bytes: &[u8]) -> (Format, Vec<Event>) {
    let mut import = Import::open(Cursor::new(bytes.to_vec()), None).unwrap_or_else(|error| panic!("{error}"));
    let format = import.format();
    let events = import.by_ref().collect::<Result<Vec<_>, _>>();
    (format, events.unwrap_or_else(|error| panic!("{error}")))
}

/// Direction and digits of the APDUs.
fn apdus(events: &[Event]) -> Vec<(Direction, String)> {
    let apdus = events.iter().filter(|event| event.layer == Layer::Apdu);
    apdus
        .filter_map(|event| Some((event.dir?, hex::encode(event.data.as_ref()?))))
        .collect()
}

const SELECT: &str = "00a4040009f0544150444f4f520100";

/// The one exchange that all these logs have.
#[track_caller]
fn exchange(text: &str, format: Format, gap: u64) {
    let (found, events) = read(text.as_bytes());
    let expected = [(Direction::Out, SELECT.to_owned()), (Direction::In, "6a82".to_owned())];
    assert_eq!((found, apdus(&events)), (format, expected.to_vec()), "{text}");
    let times: Vec<u64> = events
        .iter()
        .filter(|event| event.layer == Layer::Apdu)
        .map(|event| event.t)
        .collect();
    assert_eq!(times[1] - times[0], gap, "{text}");
}

fn spaced(digits: &str) -> String {
    let pairs: Vec<_> = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
    pairs.join(" ").to_uppercase()
}

#[test]
fn pcscd_quoted_coloured_and_in_a_journal() {
    let command = spaced(SELECT);
    // Quoted in an issue (acsccid 6), in the journal (PCSC 14), with pcscd --color (PCSC 117).
    let quoted =
        format!("> 14556563 winscard.c:1605:SCardTransmit() Send Protocol: T=1\n> 00000003 APDU: {command} \n> 00000418 SW: 6A 82 \n");
    exchange(&quoted, Format::Pcscd, 418_000);
    let journal =
        format!("Nov 22 10:00:30 desk pcscd[712]: 00000017 APDU: {command} \nNov 22 10:00:30 desk pcscd[712]: 00000418 SW: 6A 82 \n");
    exchange(&journal, Format::Pcscd, 418_000);
    let coloured = format!(
        "\u{1b}[36m00000046\u{1b}[0m \u{1b}[35mAPDU: {command} \u{1b}[0m\n\u{1b}[36m00000418\u{1b}[0m \u{1b}[35mSW: 6A 82 \u{1b}[0m\n"
    );
    exchange(&coloured, Format::Pcscd, 418_000);
}

#[test]
fn logs_in_the_fence_of_an_issue() {
    let command = spaced(SELECT);
    let text = format!("```\nSending: {command}\nReceived (SW1=0x6A, SW2=0x82)\n```\n");
    exchange(&text, Format::OpenScTool, 0);
    let gp = format!("> A>> T=1 (4+0009) {SELECT}\n> A<< (0000+2) (12ms) 6A82\n");
    exchange(&gp, Format::Apdu4j, 12_000_000);
}

#[test]
fn opensc_of_windows_has_a_date_and_another_thread() {
    // OpenSC 1417.
    let text = format!(
        "P:9244; T:10324 2018-07-04 12:03:22.157 [opensc-tool] reader-pcsc.c:285:pcsc_transmit:\nOutgoing APDU (15 bytes):\n{} ....\n\
         P:9244; T:10324 2018-07-04 12:03:22.171 [opensc-tool] reader-pcsc.c:294:pcsc_transmit:\nIncoming APDU (2 bytes):\n6A 82 j.\n",
        spaced(SELECT)
    );
    exchange(&text, Format::OpenSc, 14_000_000);
}

#[test]
fn androids_log_as_several_programs_show_it() {
    // Eclipse puts a colon behind the time (nxp-pn5xx 7); ST's controllers have a log of their own (android_device_xiaomi_camellia 4).
    let data = format!("0000{:02x}{SELECT}", SELECT.len() / 2);
    let eclipse =
        format!("09-23 01:35:22.225: D/NxpNciX(4331): len =  18 > {data}\n09-23 01:35:22.240: D/NxpNciR(4331): len =   5 > 0000026a82\n");
    exchange(&eclipse, Format::Nci, 15_000_000);
    let st = format!(
        "09-17 15:39:52.450   942 14865 W StNfcHal: , reading next 2 bytes\n09-17 15:39:52.452   942 14864 D StNfcHal: (#00018) Tx {}\n\
         09-17 15:39:52.460   942 14865 D StNfcHal: (#00019) Rx 00 00 02 6A 82\n",
        spaced(&data)
    );
    exchange(&st, Format::Nci, 8_000_000);
    // Remarks of the same tag without bytes.
    exchange(
        &format!("{eclipse}09-23 01:35:23.000: D/NxpNciX(4331): queue is empty\n"),
        Format::Nci,
        15_000_000,
    );
}

#[test]
fn reader_chips_in_old_logs_and_with_times() {
    // libnfc before 1.6 (issues 86 and 169): no level and no module; nfcpy's --reltime (131).
    let old = " TX: ff  00  00  00  02  d4  02  \n RX: d5  03  32  01  04  07  90  00  \n";
    let (format, events) = read(old.as_bytes());
    assert_eq!(format, Format::Libnfc);
    let chip: Vec<_> = events.iter().map(|event| hex::encode(event.data.as_ref().unwrap())).collect();
    assert_eq!(chip, ["d402", "d50332010407"]);
    let timed = "626 ms [nfc.clf.transport] >>> 0000ff02fed4022a00\n630 ms [nfc.clf.transport] <<< 0000ff00ff00\n631 ms [nfc.clf.transport] <<< 0000ff06fad50332010607e800\n";
    let (format, events) = read(timed.as_bytes());
    assert_eq!((format, events.len()), (Format::Nfcpy, 2));
    assert_eq!(events[1].t - events[0].t, 5_000_000);
}

#[test]
fn listings_of_a_proxmark() {
    // Microseconds, frame delays, and what was deciphered (the client's own source); times before the first (Proxmark3 206).
    let text = "[=] ISO14443A - all times are in microseconds\n\n\
        \u{20}     Start |        End | Src | Data (! denotes parity error)                       | CRC | Annotation\n\
        ------------+------------+-----+-----------------------------------------------------+-----+-----------\n\
        \u{20}       0.0 |       77.9 | Rdr |26(7)                                                |     | REQA\n\
        \u{20}     165.5 |      340.1 | Tag |04  00                                               |     |\n\
        \u{20}       0.0 |       87.6 |     |Frame Delay Time 87.6\n\
        \u{20}   10453.1 |    10803.1 | Rdr |60  00  F5  7B                                       |  ok | AUTH-A(0)\n\
        \u{20}           |            |  *  |                     key FFFFFFFFFFFF prng WEAK      |     |\n";
    let (format, events) = read(text.as_bytes());
    assert_eq!((format, events.len()), (Format::Pm3Text, 3));
    assert!(events[1].t.abs_diff(165_500) < 100, "{}", events[1].t);
    let remark = events[2].text.as_deref().unwrap();
    assert!(remark.starts_with("AUTH-A(0); deciphered: key FFFFFFFFFFFF"), "{remark}");
    let before = "  -18204512 |  -18203712 | Rdr | 26(7)   |     | REQA\n      71632 |      74000 | Tag | 04  00  |     |\n";
    let (format, events) = read(before.as_bytes());
    assert_eq!((format, events[0].t, events[1].dir), (Format::Pm3Text, 0, Some(Direction::In)));
}

#[test]
fn a_record_of_a_trace_without_bytes_has_a_byte_of_parity() {
    // traces/hf_iclass_sniff.trace of the Proxmark3 project.
    let mut trace = Vec::new();
    for (t, length, rest) in [
        (100u32, 1u16, &[0x0A, 0x80][..]),
        (200, 0, &[0x00]),
        (300, 0x8000 | 2, &[0x04, 0x00, 0x00]),
    ] {
        trace.extend_from_slice(&t.to_le_bytes());
        trace.extend_from_slice(&[16, 0]);
        trace.extend_from_slice(&length.to_le_bytes());
        trace.extend_from_slice(rest);
    }
    let (format, events) = read(&trace);
    assert_eq!((format, events.len()), (Format::Pm3Trace, 3));
    assert_eq!(events[2].data.as_deref(), Some(&[0x04, 0x00][..]));
    let mut again = Vec::new();
    export::convert(
        Import::open(Cursor::new(trace.clone()), None).unwrap(),
        Format::Pm3Trace,
        &mut again,
    )
    .unwrap();
    assert_eq!(again, trace);
}

#[test]
fn frames_of_felica_have_a_checksum_of_their_own() {
    // wav/test_NFC-F_212kbps_004.json of nfc-laboratory; with the synchronisation B2 4D in the listings of
    // apple-enhanced-contactless-polling.
    let text = r#"{"frames":[{"frameData":"06:00:FF:FF:00:00:09:21","frameType":258,"techType":259,"timeStart":0.1,"timeEnd":0.101}]}"#;
    let (_, events) = read(text.as_bytes());
    assert_eq!(events[0].crc, Some(Crc::Ok));
    let name = tapdoor_captures::Decoder::new().decode(&events[0]).name;
    assert_eq!(name, "SENSF_REQ");
    let listing =
        "      Start |        End | Src | Data | CRC | Annotation\n  0 |  1000 | Rdr |b2  4d  06  00  ff  ff  00  00  09  21  |  ok | \n";
    let (_, events) = read(listing.as_bytes());
    assert_eq!(tapdoor_captures::Decoder::new().decode(&events[0]).name, "SENSF_REQ");
}

#[test]
fn what_scriptor_prints_and_what_it_reads() {
    let printed = format!(
        "Using T=1 protocol\n# the door\nreset\n> RESET\n< OK: 3B 80 80 01 01 \n{0}\n> {0}\n< 6A 82 : File not found.\n\
         00 B0 00 00 10\n> 00 B0 00 00 10\n< 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F \n90 00 : Normal processing.\n",
        spaced(SELECT)
    );
    let (format, events) = read(printed.as_bytes());
    assert_eq!(format, Format::Arrows);
    let found = apdus(&events);
    assert_eq!(
        found[..2],
        [(Direction::Out, SELECT.to_owned()), (Direction::In, "6a82".to_owned())]
    );
    assert_eq!(found[3], (Direction::In, "000102030405060708090a0b0c0d0e0f9000".to_owned()));
    let script = "reset\n00 A4 04 00 \\\n09 F0 54 41 50 44 4F 4F 52 01 00\nexit\nwhatever\n";
    let (format, events) = read(script.as_bytes());
    assert_eq!(
        (format, apdus(&events)),
        (Format::Scriptor, vec![(Direction::Out, SELECT.to_owned())])
    );
}

#[test]
fn an_atr_in_the_header_does_not_become_a_reset() {
    // apdu4j's test.dump through GSMTAP and back: the packet with the ATR was read as an event.
    let dump = format!("# ATR: 3B80800101\n# PROTOCOL: T=1\n{SELECT}\n6A82\n");
    let (_, events) = read(dump.as_bytes());
    let mut other = Vec::new();
    let report = export::convert(
        Import::open(Cursor::new(dump.into_bytes()), None).unwrap(),
        Format::Gsmtap,
        &mut other,
    )
    .unwrap();
    assert!(report.losses.is_empty(), "{:?}", report.losses.list());
    assert_eq!(read(&other).1, events);
}
