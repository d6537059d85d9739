//! A lock of your own around Tapdoor's tap: wait for cards at any source, act on the verdict.
//!
//!     cargo run --example lock_in_process

use std::path::Path;
use std::time::Duration;

use tapdoor_chip::{Chip, SqliteStore};
use tapdoor_hce_card::{Laboratory, Phone};
use tapdoor_link::stop::Stop;
use tapdoor_reader::{Lock, LockConfig, LockEvent, TapVerdict};
use tapdoor_workbench::sim::SharedPhone;
use tapdoor_workbench::{SimSource, Site};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What `tapdoor init` writes into files.
    let site = Site::generate(1, false)?;
    let config = LockConfig::parse(Path::new("lock.toml"), &site.lock_toml())?;
    let mut lock = Lock::with_store(config, Box::new(SqliteStore::in_memory()?))?;

    // Any `CardSource` will do: PcscSource for a reader on the desk.
    let chip = Chip::personalise(Box::new(SqliteStore::in_memory()?), &site.phone_chip(site.phones[0]))?;
    let phone = SharedPhone::new(Phone::with_chip(chip, Laboratory::default()));
    let mut source = SimSource::new(phone, Duration::ZERO);

    let mut opened = 0;
    lock.run(&mut source, &Stop::new(), &mut |event| {
        if let LockEvent::Tap { number, tap } = event {
            println!("tap {number}: {} in {} APDUs ({})", tap.verdict.name(), tap.apdus, tap.detail);
            opened += u32::from(tap.verdict == TapVerdict::Open);
        }
        opened < 3
    })?;
    Ok(())
}
