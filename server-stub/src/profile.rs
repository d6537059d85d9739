//! What is written into a chip: personalisation of a door application, entries of a lock's list (docs/protocol.md section 1).
//!
//! The blocks are the data of STORE DATA commands, BER-TLV. Keys stand in them enciphered with the chip's Key-DEK (AES-CBC, zero IV), so that they are
//! protected up to the chip's own vault and not only up to the end of the secure channel.
//!
//! | tag | what |
//! |---|---|
//! | 80, 81, 82, 4F | parameters of an application: phone id(8), flags(4), lock id(8), AID of the phone's application |
//! | C0 | a key of an application: slot(1) \|\| key |
//! | E5 | an entry: 80 phone id, 90 weakest method(1), 91 not-after(4), 92 flags(1), 93 K_id, 94 K_l, 95 K \|\| OPc, 96 K \|\| TOPc |
//! | E6 | an entry taken away: 80 phone id |
//! | E7 | a new list begins; the last block makes it the list |

use tapdoor_protocol::door::{USER_AUTHENTICATED, keys};
use tapdoor_protocol::globalplatform::remote_admin::MAX_BLOCK;
use tapdoor_protocol::globalplatform::scp03::Keys;
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_protocol::tlv;
use tapdoor_protocol::vault::Slot;

use crate::config::Secrets;
use crate::registry::{Application, Grant, Phone, Profile};

/// Most blocks of a new list: their number is one byte, and the first is E7.
pub const MAX_LIST: usize = 255;

/// A key set that enciphers nothing: never, for a checked one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chip's Key-DEK cannot encipher: register its keys again")]
pub struct DekError;

fn key(slot: Slot, key: &[u8], dek: &Keys) -> Result<Vec<u8>, DekError> {
    let mut value = vec![slot as u8];
    value.extend(dek.dek_encrypt(key).map_err(|_| DekError)?);
    let mut out = Vec::new();
    tlv::write(&mut out, 0xC0, &value);
    Ok(out)
}

/// STORE DATA blocks of a phone's instance.
///
/// # Errors
/// [`DekError`].
pub fn phone(secrets: &Secrets, application: &Application, phone: &Phone, dek: &Keys) -> Result<Vec<Vec<u8>>, DekError> {
    if application.profile == Profile::None {
        return Ok(Vec::new());
    }
    let k_ph = keys::phone(&secrets.site, phone.id);
    let flags = if phone.user_authenticated { USER_AUTHENTICATED } else { 0 };
    let mut parameters = Vec::new();
    tlv::write(&mut parameters, 0x80, &phone.id.0);
    tlv::write(&mut parameters, 0x81, &flags.to_be_bytes());
    Ok(vec![
        parameters,
        key(Slot::Phone, k_ph.as_slice(), dek)?,
        key(Slot::Recognition, keys::recognition(&k_ph).as_slice(), dek)?,
    ])
}

/// STORE DATA blocks of a lock's instance.
#[must_use]
pub fn lock(application: &Application, lock: LockId) -> Vec<Vec<u8>> {
    if application.profile == Profile::None {
        return Vec::new();
    }
    let mut parameters = Vec::new();
    tlv::write(&mut parameters, 0x82, &lock.0);
    tlv::write(&mut parameters, 0x4F, application.peer.as_bytes());
    vec![parameters]
}

/// The block that puts a phone on a lock's list, or replaces its entry: 163 bytes.
///
/// # Errors
/// [`DekError`].
pub fn entry(secrets: &Secrets, grant: &Grant, lock: LockId, dek: &Keys) -> Result<Vec<u8>, DekError> {
    let k_ph = keys::phone(&secrets.site, grant.phone);
    let mut inner = Vec::with_capacity(MAX_BLOCK);
    tlv::write(&mut inner, 0x80, &grant.phone.0);
    tlv::write(&mut inner, 0x90, &[grant.weakest as u8]);
    tlv::write(&mut inner, 0x91, &grant.not_after.to_be_bytes());
    tlv::write(&mut inner, 0x92, &[grant.flags]);
    let seal = |key: &[u8]| dek.dek_encrypt(key).map_err(|_| DekError);
    tlv::write(&mut inner, 0x93, &seal(keys::recognition(&k_ph).as_slice())?);
    tlv::write(&mut inner, 0x94, &seal(keys::lock(&k_ph, lock).as_slice())?);
    tlv::write(&mut inner, 0x95, &seal(keys::milenage(&k_ph, lock).as_slice())?);
    tlv::write(&mut inner, 0x96, &seal(keys::tuak(&k_ph, lock).as_slice())?);
    let mut out = Vec::with_capacity(MAX_BLOCK);
    tlv::write(&mut out, 0xE5, &inner);
    Ok(out)
}

/// The block that takes a phone off the list.
#[must_use]
pub fn no_entry(phone: PhoneId) -> Vec<u8> {
    let mut inner = Vec::new();
    tlv::write(&mut inner, 0x80, &phone.0);
    let mut out = Vec::new();
    tlv::write(&mut out, 0xE6, &inner);
    out
}

/// The block that begins a new list.
#[must_use]
pub fn new_list() -> Vec<u8> {
    let mut out = Vec::new();
    tlv::write(&mut out, 0xE7, &[]);
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::registry::GrantTarget;
    use tapdoor_protocol::crypto::ecies::SecretScalar;
    use tapdoor_protocol::vault::Method;

    #[test]
    fn an_entry_fits_one_block_and_its_keys_are_enciphered() {
        let site: [u8; 16] = core::array::from_fn(|n| u8::try_from(n).unwrap());
        let secrets = Secrets {
            site: site.into(),
            private: SecretScalar([1; 32]),
        };
        let (phone, lock) = (
            PhoneId([1, 2, 3, 4, 5, 6, 7, 8]),
            LockId([0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]),
        );
        let dek = Keys::new(&[1; 16], &[2; 16], &[3; 16]).unwrap();
        let grant = Grant {
            phone,
            target: GrantTarget::Lock(lock),
            not_after: 7,
            weakest: Method::Aka,
            flags: 1,
            revoked: false,
        };
        let block = entry(&secrets, &grant, lock, &dek).unwrap();
        assert!(block.len() <= 223, "{}", block.len());
        let inner = tlv::find(&block, 0xE5).unwrap();
        assert_eq!(tlv::find(inner, 0x91), Some(&[0, 0, 0, 7][..]));
        // docs/protocol.md section 12: K_l of this site key, phone and lock.
        let k_l = dek.dek_decrypt(tlv::find(inner, 0x94).unwrap()).unwrap();
        assert_eq!(hex::encode_upper(k_l.as_slice()), "1E5665666FC23FB495BD857AAA3A72D8");
        assert_eq!(dek.dek_decrypt(tlv::find(inner, 0x96).unwrap()).unwrap().len(), 64);
        assert_eq!(hex::encode(no_entry(phone)), "e60a80080102030405060708");
        assert_eq!(hex::encode(new_list()), "e700");
    }
}
