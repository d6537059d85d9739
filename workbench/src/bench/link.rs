//! APDUs per second through pcscd, recorder on, beside a bare SCardTransmit loop in the same run.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tapdoor_captures::{Header, SharedTape, TapeWriter};
use tapdoor_link::stop::Stop;
use tapdoor_link::{CardLink, Recorder, RelayGuard, Timed};
use tapdoor_reader::CardSource;

use super::{BenchError, bare_pcsc, median};

/// SELECT of the card manager: a short command with an answer of some seventy bytes.
const COMMAND: [u8; 5] = [0x00, 0xA4, 0x04, 0x00, 0x00];
const ROUNDS: usize = 5;

/// What the link costs.
#[derive(Clone, Debug, Serialize)]
pub struct LinkCost {
    /// The reader.
    pub reader: String,
    /// APDUs in each round.
    pub apdus: u32,
    /// Of our link, with recorder, timing and relay guard: APDUs per second, median of rounds.
    pub per_second: f64,
    /// Of the bare loop.
    pub bare_per_second: f64,
    /// The first by the second, median of the rounds' ratios.
    pub ratio: f64,
}

/// Measures both, interleaved.
///
/// # Errors
/// [`BenchError`].
pub fn measure(source: &mut dyn CardSource, apdus: u32, folder: &Path, stop: &Stop) -> Result<LinkCost, BenchError> {
    let reader = source.describe().name;
    let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        // The first round warms up and is not counted; after that each begins with the other one.
        let bare_time = |first: bool| {
            if first == (round % 2 == 0) {
                Some(bare_pcsc::run(&reader, &COMMAND, apdus))
            } else {
                None
            }
        };
        let before = bare_time(true);
        let our_time = recorded(source, apdus, &folder.join(format!("bench-{round}.tape")), stop)?;
        let bare_time = match before.or_else(|| bare_time(false)) {
            Some(time) => time?,
            None => continue,
        };
        if round > 0 {
            let per_second = |time: Duration| f64::from(apdus) / time.as_secs_f64();
            ours.push(per_second(our_time));
            bare.push(per_second(bare_time));
            ratios.push(bare_time.as_secs_f64() / our_time.as_secs_f64());
        }
    }
    Ok(LinkCost {
        reader,
        apdus,
        per_second: median(&mut ours),
        bare_per_second: median(&mut bare),
        ratio: median(&mut ratios),
    })
}

fn recorded(source: &mut dyn CardSource, apdus: u32, tape: &Path, stop: &Stop) -> Result<Duration, BenchError> {
    let session = source.wait_card(stop)?;
    let writer = TapeWriter::create(tape, &Header::now("tapdoor bench"))?;
    let epoch = writer.epoch();
    let recorder = Recorder::new(session.link, SharedTape::new(writer), epoch);
    let mut link = RelayGuard::new(Timed::new(recorder));
    let mut response = Vec::with_capacity(300);
    let started = Instant::now();
    for _ in 0..apdus {
        link.transmit(&COMMAND, &mut response)?;
    }
    let taken = started.elapsed();
    drop(link);
    let _ = std::fs::remove_file(tape);
    Ok(taken)
}
