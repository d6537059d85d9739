//! APDUs per second through pcscd, recorder on, beside a bare SCardTransmit loop in the same run.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tapdoor_captures::{Header, SharedTape, TapeWriter};
use tapdoor_link::stop::Stop;
use tapdoor_link::{CardLink, Recorder, RelayGuard, Timed};
use tapdoor_reader::CardSource;
use tapdoor_reader::source::pcsc::{ANSWER_TIMEOUT, PcscSource};

use super::{BenchError, bare_pcsc, median};

/// SELECT of the card manager: a short command with an answer of some seventy bytes.
const COMMAND: [u8; 5] = [0x00, 0xA4, 0x04, 0x00, 0x00];
const ROUNDS: usize = 5;
/// Turns of each in a round.
const BLOCKS: u32 = 12;

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
    /// Of our link as the lock uses it: the same, and each answer is waited for on a thread of its own, so that a silent card cannot hold the lock.
    pub deadline_per_second: f64,
    /// That by the bare loop, median of the rounds' ratios.
    pub deadline_ratio: f64,
}

/// Measures all three, interleaved.
///
/// # Errors
/// [`BenchError`].
pub fn measure(source: &mut PcscSource, apdus: u32, folder: &Path, stop: &Stop) -> Result<LinkCost, BenchError> {
    let reader = source.describe().name;
    // Direct, bare, with deadline: times of the rounds.
    let mut times: [Vec<f64>; 3] = Default::default();
    let part = apdus.div_ceil(BLOCKS);
    // The first round warms up and is not counted. A round is many short turns, so that what else the machine does meets all three alike.
    for round in 0..=ROUNDS {
        let mut sums = [0.0; 3];
        for block in 0..BLOCKS {
            for turn in 0..3 {
                let which = (block as usize + turn) % 3;
                let time = if which == 1 {
                    bare_pcsc::run(&reader, &COMMAND, part)?
                } else {
                    source.set_answer_timeout((which == 2).then_some(ANSWER_TIMEOUT));
                    recorded(source, part, &folder.join("bench.tape"), stop)?
                };
                sums[which] += time.as_secs_f64();
            }
        }
        if round > 0 {
            times.iter_mut().zip(sums).for_each(|(times, sum)| times.push(sum));
        }
    }
    let apdus = part * BLOCKS;
    let [direct, bare, deadline] = &times;
    let per_second = |times: &[f64]| median(&mut times.iter().map(|time| f64::from(apdus) / time).collect::<Vec<_>>());
    let ratio = |ours: &[f64]| median(&mut ours.iter().zip(bare).map(|(ours, bare)| bare / ours).collect::<Vec<_>>());
    Ok(LinkCost {
        reader,
        apdus,
        per_second: per_second(direct),
        bare_per_second: per_second(bare),
        ratio: ratio(direct),
        deadline_per_second: per_second(deadline),
        deadline_ratio: ratio(deadline),
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
