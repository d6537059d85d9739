//! Code written for the crate apdu-core talks through one of our links: here to a phone in the same process.
//!
//!     cargo run --example apdu_core

use apdu_core::{Command, Handler, Response};
use tapdoor_chip::{Chip, SqliteStore};
use tapdoor_hce_card::{Laboratory, Phone, PhoneLink};
use tapdoor_link::ApduHandler;
use tapdoor_workbench::Site;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let site = Site::generate(1, false)?;
    let chip = Chip::personalise(Box::new(SqliteStore::in_memory()?), &site.phone_chip(site.phones[0]))?;
    let handler = ApduHandler::new(PhoneLink::new(Phone::with_chip(chip, Laboratory::default())));

    let aid = [0xF0, 0x54, 0x41, 0x50, 0x44, 0x4F, 0x4F, 0x52, 0x01];
    let select: Vec<u8> = Command::new_with_payload(0x00, 0xA4, 0x04, 0x00, &aid[..]).into();
    let mut buffer = [0; 258];
    let length = handler.handle(&select, &mut buffer)?;
    let response = Response::from(&buffer[..length]);
    println!(
        "SELECT {aid:02x?}\n{} bytes, status word {:02x?}",
        response.payload.len(),
        response.trailer
    );
    assert_eq!(response.trailer, (0x90, 0x00));
    Ok(())
}
