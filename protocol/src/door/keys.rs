//! How the keys of a site hang together (docs/protocol.md section 1). Used where keys are made: provisioning, the server, tests. A lock or a phone
//! holds the results and not the keys above them.

use zeroize::Zeroizing;

use crate::crypto;
use crate::ids::{LockId, PhoneId};

/// A key that is wiped when dropped.
pub type Key<const N: usize> = Zeroizing<[u8; N]>;

fn derive<const N: usize>(key: &[u8; 16], label: &[u8], context: &[u8]) -> Key<N> {
    let mut out = Zeroizing::new([0; N]);
    // A 16-byte key and at most 64 bytes of output are always in range.
    if crypto::kdf_ctr(key, label, &[context], out.as_mut_slice()).is_err() {
        out.fill(0);
    }
    out
}

/// K_ph of a phone at the site with this K_site.
#[must_use]
pub fn phone(site: &[u8; 16], phone: PhoneId) -> Key<16> {
    derive(site, b"PH", &phone.0)
}

/// K_id of a phone.
#[must_use]
pub fn recognition(k_ph: &[u8; 16]) -> Key<16> {
    derive(k_ph, b"ID", &[])
}

/// K_agent of a phone: by which it proves its identity to the server.
#[must_use]
pub fn agent(site: &[u8; 16], phone: PhoneId) -> Key<16> {
    derive(site, b"AGENT", &phone.0)
}

/// K_l of a phone at a lock.
#[must_use]
pub fn lock(k_ph: &[u8; 16], lock: LockId) -> Key<16> {
    derive(k_ph, b"LOCK", &lock.0)
}

/// K || OPc of a phone at a lock.
#[must_use]
pub fn milenage(k_ph: &[u8; 16], lock: LockId) -> Key<32> {
    derive(k_ph, b"AKA", &lock.0)
}

/// K || TOPc of a phone at a lock.
#[must_use]
pub fn tuak(k_ph: &[u8; 16], lock: LockId) -> Key<64> {
    derive(k_ph, b"TUAK", &lock.0)
}
