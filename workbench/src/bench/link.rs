//! APDUs per second through pcscd, recorder on, beside a bare SCardTransmit loop in the same run.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tapdoor_captures::{Header, SharedTape, TapeWriter};
use tapdoor_link::stop::Stop;
use tapdoor_link::{Attended, CardLink, LinkError, Recorder, RelayGuard, Timed, attend};
use tapdoor_reader::CardSource;
use tapdoor_reader::source::ANSWER_TIMEOUT;
use tapdoor_reader::source::pcsc::PcscSource;

use super::{BenchError, bare_pcsc, median};

/// SELECT of the card manager: a short command with an answer of some seventy bytes.
const COMMAND: [u8; 5] = [0x00, 0xA4, 0x04, 0x00, 0x00];
const ROUNDS: usize = 5;
/// Turns of each in a round.
const BLOCKS: u32 = 50;
/// APDUs before the clock starts, in each turn: connecting leaves both with cold caches and the processes asleep.
const WARM_UP: u32 = 25;

/// What the link costs.
#[derive(Clone, Debug, Serialize)]
pub struct LinkCost {
    /// The reader.
    pub reader: String,
    /// APDUs in each round.
    pub apdus: u32,
    /// Of our link as the lock uses it, with recorder, timing, relay guard and somebody who watches that an answer comes: APDUs per second,
    /// median of rounds.
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
pub fn measure(source: &mut PcscSource, apdus: u32, folder: &Path, stop: &Stop) -> Result<LinkCost, BenchError> {
    let reader = source.describe().name;
    // Ours and bare: times of the rounds.
    let mut times: [Vec<f64>; 2] = Default::default();
    let part = apdus.div_ceil(BLOCKS);
    // The first round warms up and is not counted. A round is many short turns, so that what else the machine does meets both alike.
    for round in 0..=ROUNDS {
        let mut sums = [0.0; 2];
        for block in 0..BLOCKS {
            for turn in 0..2 {
                let which = (block as usize + turn) % 2;
                let time = if which == 1 {
                    bare_pcsc::run(&reader, &COMMAND, WARM_UP, part)?
                } else {
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
    let [ours, bare] = &times;
    let per_second = |times: &[f64]| median(&mut times.iter().map(|time| f64::from(apdus) / time).collect::<Vec<_>>());
    Ok(LinkCost {
        reader,
        apdus,
        per_second: per_second(ours),
        bare_per_second: per_second(bare),
        ratio: median(&mut ours.iter().zip(bare).map(|(ours, bare)| bare / ours).collect::<Vec<_>>()),
    })
}

/// What an APDU costs at a reader.
#[derive(Clone, Debug, Serialize)]
pub struct LinkRate {
    /// The reader.
    pub reader: String,
    /// What drives it.
    pub driver: &'static str,
    /// APDUs in each round.
    pub apdus: u32,
    /// As the lock uses it, with recorder, timing, relay guard and somebody who watches that an answer comes: APDUs per second, median of
    /// rounds.
    pub per_second: f64,
}

/// Measures `source` alone, with the card that is there.
///
/// # Errors
/// [`BenchError`].
pub fn rate(source: &mut dyn CardSource, apdus: u32, folder: &Path, stop: &Stop) -> Result<LinkRate, BenchError> {
    let about = source.describe();
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let time = recorded(source, apdus, &folder.join("bench.tape"), stop)?;
        rates.push(f64::from(apdus) / time.as_secs_f64());
    }
    Ok(LinkRate {
        reader: about.name,
        driver: about.driver,
        apdus,
        per_second: median(&mut rates),
    })
}

fn recorded(source: &mut dyn CardSource, apdus: u32, tape: &Path, stop: &Stop) -> Result<Duration, BenchError> {
    let session = source.wait_card(stop)?;
    let writer = TapeWriter::create(tape, &Header::now("tapdoor bench"))?;
    let epoch = writer.epoch();
    let work = move |link: &mut Attended<_>| {
        let recorder = Recorder::new(link, SharedTape::new(writer), epoch);
        let mut link = RelayGuard::new(Timed::new(recorder));
        let mut response = Vec::with_capacity(300);
        for _ in 0..WARM_UP {
            link.transmit(&COMMAND, &mut response)?;
        }
        let started = Instant::now();
        for _ in 0..apdus {
            link.transmit(&COMMAND, &mut response)?;
        }
        Ok::<_, LinkError>(started.elapsed())
    };
    let (_, taken) = attend(session.link, ANSWER_TIMEOUT, stop, work).map_err(|abandoned| abandoned.error)?;
    let _ = std::fs::remove_file(tape);
    Ok(taken?)
}
