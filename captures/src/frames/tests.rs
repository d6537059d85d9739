use super::*;
use crate::{Header, TapeReader, TapeWriter};

/// Hands over the tape's bytes when it is dropped.
#[derive(Clone, Default)]
struct Sink(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn record(policy: MaskPolicy, work: impl FnOnce(&mut FrameTape<Sink>)) -> Vec<Event> {
    let sink = Sink::default();
    let tape = TapeWriter::with_sink(sink.clone(), &Header::now("test"))
        .unwrap()
        .mask_policy(policy);
    let epoch = tape.epoch();
    let mut frames = FrameTape::new(SharedTape::new(tape), epoch);
    work(&mut frames);
    drop(frames);
    let bytes = sink.0.lock().unwrap().clone();
    TapeReader::new(bytes.as_slice()).unwrap().collect::<Result<_, _>>().unwrap()
}

fn out(tape: &mut FrameTape<Sink>, data: &[u8]) {
    let frame = Frame::new(Technology::A, data);
    tape.happened(&FieldEvent::Sent { frame, at: Ticks(1356) });
}

fn back(tape: &mut FrameTape<Sink>, data: &[u8]) {
    let frame = Frame::new(Technology::A, data);
    tape.happened(&FieldEvent::Received {
        frame,
        at: Ticks(2712),
        error: None,
    });
}

fn short(tape: &mut FrameTape<Sink>, data: [u8; 1]) {
    let frame = Frame::short(&data);
    tape.happened(&FieldEvent::Sent { frame, at: Ticks(0) });
}

fn data(events: &[Event]) -> Vec<String> {
    events.iter().filter_map(|e| e.data.as_ref().map(hex::encode)).collect()
}

#[test]
fn a_search_is_written_when_it_led_to_a_card() {
    let events = record(MaskPolicy::Secrets, |tape| {
        for _ in 0..3 {
            tape.search();
            tape.happened(&FieldEvent::Field { on: true, at: Ticks(0) });
            short(tape, [0x52]);
            tape.happened(&FieldEvent::Silence { at: Ticks(100) });
        }
        tape.search();
        short(tape, [0x52]);
        out(tape, &[0xE0, 0x80]);
        back(tape, &[0x02, 0x00]);
        out(tape, &[0x02, 0x00, 0xA4, 0x04, 0x00]);
        back(tape, &[0x02, 0x90, 0x00]);
        out(tape, &[0xC2]);
        tape.quiet();
        short(tape, [0x52]);
    });
    let expected = ["52", "e0803173", "0200", "0200a40400", "029000", "c2e0b4"];
    let got = data(&events);
    assert_eq!(got.len(), expected.len(), "{got:?}");
    for (got, expected) in got.iter().zip(expected) {
        assert!(got.starts_with(expected), "{got} {expected}");
    }
    assert_eq!(events[0].bits, Some(7));
    assert_eq!((events[0].crc, events[1].crc), (Some(Crc::None), Some(Crc::Ok)));
    assert_eq!((events[1].t, events[2].t), (100_000, 200_000));
}

#[test]
fn a_pin_is_masked_in_its_blocks_wherever_they_are_cut() {
    let secret = |policy| {
        record(policy, |tape| {
            // VERIFY in a chain, its second block lost and sent again.
            out(tape, &[0x12, 0x00, 0x20, 0x00, 0x01, 0x08, 0x31]);
            back(tape, &[0xA2]);
            out(tape, &[0x03, 0x32, 0x33, 0x34, 0xFF, 0xFF, 0xFF, 0xFF]);
            tape.happened(&FieldEvent::Silence { at: Ticks(100) });
            out(tape, &[0xB3]);
            back(tape, &[0xA2]);
            out(tape, &[0x03, 0x32, 0x33, 0x34, 0xFF, 0xFF, 0xFF, 0xFF]);
            back(tape, &[0x03, 0x90, 0x00]);
        })
    };
    let masked = secret(MaskPolicy::Secrets);
    let text = data(&masked).join(" ");
    assert!(!text.contains("3233") && !text.contains("0831"), "{text}");
    assert!(text.contains("1200200001 0800".replace(' ', "").as_str()), "{text}");
    assert_eq!(masked.iter().filter(|e| !e.mask.is_empty()).count(), 3);
    assert!(
        masked
            .iter()
            .all(|e| e.mask.is_empty() || (e.crc == Some(Crc::Dropped) && e.mask[0].kind == "pin"))
    );
    let whole = data(&secret(MaskPolicy::Nothing)).join(" ");
    assert!(whole.contains("0332333 4ffffffff".replace(' ', "").as_str()), "{whole}");
}

#[test]
fn of_an_answer_that_is_torn_nothing_is_told() {
    let events = record(MaskPolicy::Secrets, |tape| {
        out(tape, &[0x02, 0x00, 0x88, 0x00, 0x81, 0x00]);
        back(tape, &[0x12, 0xDB, 0x08, 0xAA, 0xBB]);
        tape.happened(&FieldEvent::Field { on: false, at: Ticks(9) });
    });
    let text = data(&events).join(" ");
    assert!(!text.contains("aabb"), "{text}");
    assert!(text.contains("1200000000"), "{text}");
}
