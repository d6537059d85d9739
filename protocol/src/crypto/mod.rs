//! NIST SP 800-38B and 38C, NIST SP 800-108, ANSI X9.63, TS 33.501 Annex C, FIPS 186-5: the primitives the door protocols are built from.
//!
//! Thin and total: every function takes bytes and gives bytes, none of them panics on input, keys and key schedules are overwritten when they
//! are dropped, and what depends on a secret is compared in constant time. Randomness is always handed in.
//!
//! | function | what | standard |
//! |---|---|---|
//! | [`cmac()`], [`cmac128`] | AES-CMAC | NIST SP 800-38B, RFC 4493 |
//! | [`ccm_seal`], [`ccm_open`] | CCM-16 | NIST SP 800-38C, RFC 3610, docs/protocol.md 1 |
//! | [`gcm_seal`], [`gcm_open`] | AES-256-GCM | NIST SP 800-38D |
//! | [`kdf_ctr`], [`sp800_108_counter`] | key derivation in counter mode | NIST SP 800-108, docs/protocol.md 1 |
//! | [`x963_sha256`] | key derivation from a shared secret | ANSI X9.63, SEC 1 3.6.1 |
//! | [`hkdf_sha256`] | key derivation from a shared secret | RFC 5869 |
//! | [`agree`] | key agreement | NIST SP 800-56A |
//! | [`mod@sha1`] | the hash of key identifiers, and of nothing else | FIPS 180-4 |
//! | [`ecies`] | public-key encryption | TS 33.501 Annex C, profile B |
//! | [`sign`] | signatures | FIPS 186-5, RFC 6979 |

pub mod agree;
mod ccm;
mod cmac;
pub mod ecies;
mod gcm;
mod hkdf;
mod kdf;
pub mod sign;

pub use self::ccm::{ccm_open, ccm_open_with, ccm_seal, ccm_seal_with};
pub(crate) use self::cmac::Prf;
pub use self::cmac::{cmac, cmac128};
pub(crate) use self::gcm::gcm_begins;
pub use self::gcm::{gcm_open, gcm_seal};
pub use self::hkdf::{CommonSalt, hkdf_sha256};
pub use self::kdf::{CounterLocation, KdfError, kdf_ctr, sp800_108_counter, sp800_108_counter_at, x963_sha256};

/// SHA-1. Aliro and X.509 name keys by it; nothing here depends on its being hard to collide.
#[must_use]
pub fn sha1(data: &[u8]) -> [u8; 20] {
    use ::sha1::Digest;
    ::sha1::Sha1::digest(data).into()
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(a, b).into()
}
