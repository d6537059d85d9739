//! Challenge-response as a downloadable applet: the phone's half and the lock's half (docs/protocol.md section 4, docs/applets.md).
#![no_std]
#![cfg(target_arch = "wasm32")]
extern crate alloc;

use alloc::boxed::Box;

use tapdoor_applet::Applet;
use tapdoor_applet::declare::{Program, declaration};
use tapdoor_applet::half::{LockHalf, PhoneHalf};
use tapdoor_protocol::challenge_response::{Lock, Phone};
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_protocol::tlv;

#[used]
#[unsafe(link_section = "tapdoor")]
static DECLARATION: [u8; 128] = declaration(
    b"\xF0TAPDOOR\xA1",
    [1, 0],
    &[
        Program {
            aid: b"\xF0TAPDOOR\xA1\x01",
            entry: 1,
            lock_half: false,
            name: "challenge-response",
        },
        Program {
            aid: b"\xF0TAPDOOR\xA1\x02",
            entry: 2,
            lock_half: true,
            name: "challenge-response-lock",
        },
    ],
);

/// Parameters of the phone's half: `80{phone id(8)} 81{flags(4)}`; of the lock's half: `82{lock id(8)} 4F{AID of the phone's application}`.
fn make(entry: u8, parameters: &[u8]) -> Option<Box<dyn Applet>> {
    match entry {
        1 => {
            let flags = u32::from_be_bytes(tlv::find(parameters, 0x81)?.try_into().ok()?);
            let phone = PhoneId::from_slice(tlv::find(parameters, 0x80)?)?;
            Some(Box::new(PhoneHalf(Phone::new(phone, flags))))
        }
        2 => {
            let lock = LockId::from_slice(tlv::find(parameters, 0x82)?)?;
            Some(Box::new(LockHalf::new(parameters, Lock::new(lock))))
        }
        _ => None,
    }
}

tapdoor_applet::export!(make);
