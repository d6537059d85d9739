//! What recording costs: `cargo run --release -p tapdoor-captures --example writer_cost [DIRECTORY]`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tapdoor_captures::{Header, MaskPolicy, TapeWriter};
use tapdoor_link::{Exchange, Observer};

const COUNT: u32 = 200_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let select = [&[0x00, 0xA4, 0x04, 0x00, 0x09][..], b"\xF0TAPDOOR\x01\x00"].concat();
    let fci = [&[0x6F; 54][..], &[0x90, 0x00]].concat();
    let verify = [0x00, 0x20, 0x00, 0x01, 0x08, 1, 2, 3, 4, 5, 6, 7, 8];
    for (name, command, policy) in [
        ("SELECT and FCI, masking", &select[..], MaskPolicy::Secrets),
        ("SELECT and FCI, masking nothing", &select, MaskPolicy::Nothing),
        ("VERIFY, masked", &verify, MaskPolicy::Secrets),
    ] {
        let path = directory.join(format!("writer-cost-{}.tape", std::process::id()));
        let mut tape = TapeWriter::create(&path, &Header::now("writer_cost"))?.mask_policy(policy);
        tape.tap(1);
        let begun = Instant::now();
        for n in 0..COUNT {
            tape.exchange(&Exchange {
                start: Duration::from_micros(n.into()),
                end: Duration::from_micros(u64::from(n) + 3),
                command,
                result: Ok(&fci),
            });
        }
        let spent = begun.elapsed();
        println!("{name}: {:.2} us an exchange", spent.as_secs_f64() * 1e6 / f64::from(COUNT));
        let error = Observer::take_error(&mut tape);
        std::fs::remove_file(&path)?;
        if let Some(error) = error {
            return Err(error);
        }
    }
    Ok(())
}
