//! The built-in applets: shells around the methods of `tapdoor-protocol`.

mod aliro;
mod lock_half;
mod phone_half;
mod usim;

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::aka::profile_u::Profile;
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;
use tapdoor_protocol::{aka, aliro as aliro_protocol, challenge_response, identity};

use crate::applet::Applet;
use crate::kind::Kind;
use crate::personalise::{identity_of, tag};

/// P2 of a SELECT that wants an FCI or nothing (ISO/IEC 7816-4 table 63); "first" or "next" was looked at by the chip.
fn wants_fci(p2: u8) -> Result<bool, StatusWord> {
    match p2 & 0x0C {
        0x00 => Ok(true),
        0x0C => Ok(false),
        _ => Err(StatusWord::INCORRECT_P1_P2),
    }
}

fn text(parameters: &[u8], tag: u32) -> Option<String> {
    String::from_utf8(tlv::find(parameters, tag)?.to_vec()).ok()
}

fn number(parameters: &[u8], tag: u32) -> Option<u64> {
    Some(u64::from_be_bytes(tlv::find(parameters, tag)?.try_into().ok()?))
}

/// Makes the program of a stored application. `None` when its parameters are not whole: the store was changed by something else.
#[must_use]
pub fn make(kind: Kind, parameters: &[u8]) -> Option<Box<dyn Applet>> {
    let phone = || PhoneId::from_slice(tlv::find(parameters, tag::PHONE)?);
    let lock = || LockId::from_slice(tlv::find(parameters, tag::LOCK)?);
    let phone_aid = || Aid::new(tlv::find(parameters, tag::AID)?);
    Some(match kind {
        Kind::ChallengeResponse => {
            let flags = u32::from_be_bytes(tlv::find(parameters, tag::FLAGS)?.try_into().ok()?);
            Box::new(phone_half::PhoneHalf(challenge_response::Phone::new(phone()?, flags)))
        }
        Kind::Aka => Box::new(phone_half::PhoneHalf(aka::profile_p::Phone::new(
            phone()?,
            &[Algorithm::Milenage, Algorithm::Tuak],
        ))),
        Kind::Identity => Box::new(phone_half::Identity(identity::Phone::new(identity_of(parameters)))),
        Kind::Usim => {
            let &[algorithm] = tlv::find(parameters, tag::ALGORITHM)? else {
                return None;
            };
            Box::new(usim::Usim(aka::profile_u::Usim::new(Profile {
                algorithm: Algorithm::from_p2(algorithm)?,
                iccid: text(parameters, tag::ICCID)?,
                imsi: text(parameters, tag::IMSI)?,
                pin: text(parameters, tag::PIN),
                kc: tlv::find(parameters, tag::KC) == Some(&[1]),
                start: number(parameters, tag::START).unwrap_or(0),
                age_limit: number(parameters, tag::AGE_LIMIT),
            })))
        }
        Kind::ChallengeResponseLock => Box::new(lock_half::LockHalf::new(
            phone_aid(),
            lock_half::Method::ChallengeResponse(challenge_response::Lock::new(lock()?)),
        )),
        Kind::AkaLock => Box::new(lock_half::LockHalf::new(
            phone_aid(),
            lock_half::Method::Aka(aka::profile_p::Lock::new(lock()?)),
        )),
        Kind::UsimHost => Box::new(lock_half::LockHalf::new(
            None,
            lock_half::Method::UsimHost(aka::profile_u::Host::new(lock()?, text(parameters, tag::PIN))),
        )),
        Kind::Aliro => Box::new(aliro::UserDevice::new(aliro_protocol::DeviceConfig::decode(parameters)?)),
        Kind::AliroLock => Box::new(lock_half::LockHalf::new(
            None,
            lock_half::Method::Aliro(Box::new(aliro_protocol::Reader::new(aliro_protocol::ReaderConfig::decode(
                parameters,
            )?))),
        )),
        Kind::RequestLock => Box::new(lock_half::LockHalf::new(
            None,
            lock_half::Method::Request(identity::Lock::new(lock()?)),
        )),
    })
}
