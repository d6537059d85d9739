//! Taps through a simulated field: time on the air, and the fault table, every cell of it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::BufReader;

use tapdoor_captures::{Crc, Direction, Layer, TapeReader};
use tapdoor_protocol::rf::frame::BitRate;
use tapdoor_workbench::radio::bench::{self, LIMIT_MS};
use tapdoor_workbench::radio::faults::{self, Outcome};

#[test]
fn every_cell_of_the_fault_table() {
    let cells = faults::table(&[BitRate::Kbps106, BitRate::Kbps424], &mut |_| ()).unwrap();
    let broken: Vec<_> = cells
        .iter()
        .filter_map(|cell| cell.judge().err().map(|rule| format!("{rule}: {cell:?}")))
        .collect();
    assert!(
        broken.is_empty(),
        "{} of {} cells\n{}",
        broken.len(),
        cells.len(),
        broken.join("\n")
    );
    // Four ways, two rates, at least 16 frames, ten faults.
    assert!(cells.len() >= 1280, "{}", cells.len());
    // The table shows all that can come of a fault that the field can have.
    for outcome in [Outcome::Opened, Outcome::Again] {
        assert!(cells.iter().any(|cell| cell.outcome == outcome), "{outcome}");
    }
}

#[test]
fn a_tap_is_short_on_the_air_and_its_tape_has_every_frame() {
    let folder = tempfile::tempdir().unwrap();
    let costs = bench::taps(Some(folder.path())).unwrap();
    let judged: Vec<_> = costs
        .iter()
        .filter(|cost| (cost.method, cost.rate) == ("challenge-response", 106))
        .collect();
    assert_eq!(judged.iter().map(|cost| cost.control_flow).collect::<Vec<_>>(), [false, true]);
    assert!(judged.iter().all(|cost| cost.ms <= LIMIT_MS), "{judged:?}");
    for cost in &costs {
        let told = if cost.control_flow { "-told" } else { "" };
        let file = std::fs::File::open(folder.path().join(format!("{}-{}{told}.tape", cost.method, cost.rate))).unwrap();
        let events: Vec<_> = TapeReader::new(BufReader::new(file)).unwrap().collect::<Result<_, _>>().unwrap();
        let frames: Vec<_> = events.iter().filter(|e| e.layer == Layer::Rf && e.data.is_some()).collect();
        assert_eq!(frames.len() as u64, cost.traffic.frames);
        let bytes = |dir| -> u64 {
            let frames = frames.iter().filter(|e| e.dir == Some(dir));
            frames.map(|e| e.data.as_ref().unwrap().len() as u64).sum()
        };
        assert_eq!(
            (bytes(Direction::Out), bytes(Direction::In)),
            (cost.traffic.sent, cost.traffic.received)
        );
        assert!(frames.iter().all(|e| e.crc == Some(Crc::Ok) || e.crc == Some(Crc::None)));
        assert!(frames.windows(2).all(|pair| pair[0].t < pair[1].t));
    }
    // The same tap is the same time.
    let again = bench::taps(None).unwrap();
    assert!(
        costs
            .iter()
            .zip(&again)
            .all(|(a, b)| a.traffic.frames == b.traffic.frames && (a.ms - b.ms).abs() < 0.2)
    );
}
