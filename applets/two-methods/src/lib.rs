//! Two methods in one downloadable applet, chosen by the parameter with tag 8E (docs/protocol.md sections 4 and 5, docs/applets.md).
#![no_std]
#![cfg(target_arch = "wasm32")]
extern crate alloc;

use alloc::boxed::Box;

use tapdoor_applet::Applet;
use tapdoor_applet::declare::{Program, declaration};
use tapdoor_applet::half::{LockHalf, PhoneHalf};
use tapdoor_protocol::aka::{Algorithm, profile_p};
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_protocol::vault::Method;
use tapdoor_protocol::{challenge_response, tlv};

#[used]
#[unsafe(link_section = "tapdoor")]
static DECLARATION: [u8; 128] = declaration(
    b"\xF0TAPDOOR\xA2",
    [1, 0],
    &[
        Program {
            aid: b"\xF0TAPDOOR\xA2\x01",
            entry: 1,
            lock_half: false,
            name: "two-methods",
        },
        Program {
            aid: b"\xF0TAPDOOR\xA2\x02",
            entry: 2,
            lock_half: true,
            name: "two-methods-lock",
        },
    ],
);

/// Parameters as of the applets with one method, and `8E{method}`: 01 challenge-response, 02 AKA profile P.
fn make(entry: u8, parameters: &[u8]) -> Option<Box<dyn Applet>> {
    let &[method] = tlv::find(parameters, 0x8E)? else { return None };
    let phone = || PhoneId::from_slice(tlv::find(parameters, 0x80)?);
    let lock = || LockId::from_slice(tlv::find(parameters, 0x82)?);
    Some(match (entry, Method::from_number(method)?) {
        (1, Method::ChallengeResponse) => {
            let flags = u32::from_be_bytes(tlv::find(parameters, 0x81)?.try_into().ok()?);
            Box::new(PhoneHalf(challenge_response::Phone::new(phone()?, flags)))
        }
        (1, Method::Aka) => {
            let algorithms = &[Algorithm::Milenage, Algorithm::Tuak];
            Box::new(PhoneHalf(profile_p::Phone::new(phone()?, algorithms)))
        }
        (2, Method::ChallengeResponse) => Box::new(LockHalf::new(parameters, challenge_response::Lock::new(lock()?))),
        (2, Method::Aka) => Box::new(LockHalf::new(parameters, profile_p::Lock::new(lock()?))),
        _ => return None,
    })
}

tapdoor_applet::export!(make);
