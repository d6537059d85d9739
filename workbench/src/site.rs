//! A site: its key, its lock, its phones. What a server will provision later is made here, for the laboratory.

use std::fmt::Write;

use tapdoor_chip::personalise::Secret;
use tapdoor_chip::random::{OsRandom, RandomSource};
use tapdoor_chip::{Application, ListEntry, Personalisation};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::crypto::ecies::{SecretScalar, public_compressed};
use tapdoor_protocol::door::USER_AUTHENTICATED;
use tapdoor_protocol::door::keys;
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_protocol::vault::{Method, VaultError};

/// A site with one lock.
pub struct Site {
    key: keys::Key<16>,
    /// The lock.
    pub lock: LockId,
    /// The phones that may open it.
    pub phones: Vec<PhoneId>,
    signing: [u8; 32],
    server: [u8; 32],
    /// A test USIM: IMSI, ICCID, K, OPc.
    usim: Option<Usim>,
}

struct Usim {
    id: PhoneId,
    imsi: String,
    iccid: String,
    k: [u8; 16],
    opc: [u8; 16],
}

impl Site {
    /// A new site with random keys and identifiers.
    ///
    /// # Errors
    /// [`VaultError::Random`].
    pub fn generate(phones: usize, usim: bool) -> Result<Self, VaultError> {
        fn random<const N: usize>() -> Result<[u8; N], VaultError> {
            let mut out = [0; N];
            OsRandom.fill(&mut out)?;
            Ok(out)
        }
        fn scalar() -> Result<[u8; 32], VaultError> {
            loop {
                let candidate = random()?;
                if public_compressed(&SecretScalar(candidate)).is_some() {
                    return Ok(candidate);
                }
            }
        }
        let usim = if usim {
            let number = u32::from_be_bytes(random()?) % 1_000_000_000;
            Some(Usim {
                id: PhoneId(random()?),
                // 001-01 is the network code of tests.
                imsi: format!("00101{number:010}"),
                iccid: with_luhn(&format!("89001010{number:010}")),
                k: random()?,
                opc: random()?,
            })
        } else {
            None
        };
        Ok(Self {
            key: keys::Key::new(random()?),
            lock: LockId(random()?),
            phones: (0..phones).map(|_| random().map(PhoneId)).collect::<Result<_, _>>()?,
            signing: scalar()?,
            server: scalar()?,
            usim,
        })
    }

    /// The list entry of a phone at the site's lock.
    #[must_use]
    pub fn entry(&self, phone: PhoneId) -> ListEntry {
        let k_ph = keys::phone(&self.key, phone);
        ListEntry {
            phone,
            weakest: Method::ChallengeResponse,
            not_after: 0,
            flags: 0,
            k_id: Secret::new(keys::recognition(&k_ph).to_vec()),
            k_l: Secret::new(keys::lock(&k_ph, self.lock).to_vec()),
            milenage: Some(Secret::new(keys::milenage(&k_ph, self.lock).to_vec())),
            tuak: Some(Secret::new(keys::tuak(&k_ph, self.lock).to_vec())),
        }
    }

    /// What a phone's chip is filled with.
    #[must_use]
    pub fn phone_chip(&self, phone: PhoneId) -> Personalisation {
        let k_ph = keys::phone(&self.key, phone);
        let k_id = Secret::new(keys::recognition(&k_ph).to_vec());
        let k_ph = Secret::new(k_ph.to_vec());
        Personalisation {
            applications: vec![
                Application::challenge_response(Aid::CHALLENGE_RESPONSE, phone, USER_AUTHENTICATED, k_ph.clone(), k_id.clone()),
                Application::aka(Aid::AKA, phone, k_ph, k_id),
                Application::identity(Aid::IDENTITY, None),
            ],
            ..Personalisation::default()
        }
    }

    /// The same for a phone whose keys for locks are wrong, though it is recognised.
    #[must_use]
    pub fn wrong_phone_chip(&self, phone: PhoneId) -> Personalisation {
        let k_ph = keys::phone(&self.key, phone);
        let k_id = Secret::new(keys::recognition(&k_ph).to_vec());
        let mut bent = k_ph.clone();
        bent[0] ^= 1;
        let bent = Secret::new(bent.to_vec());
        Personalisation {
            applications: vec![
                Application::challenge_response(Aid::CHALLENGE_RESPONSE, phone, USER_AUTHENTICATED, bent.clone(), k_id.clone()),
                Application::aka(Aid::AKA, phone, bent, k_id),
            ],
            ..Personalisation::default()
        }
    }

    /// lock.toml.
    #[must_use]
    pub fn lock_toml(&self) -> String {
        let mut out = format!(
            "# The lock. Try: tapdoor lock --config lock.toml --reader sim: --once\n\
             id = \"{}\"\n\
             # Its chip's memory, from this file's folder.\n\
             store = \"lock.chip\"\n\
             # Tried in this order{}.\n\
             methods = [\"challenge-response\", \"aka\"{}]\n\
             # The chip's own P-256 key, by which it signs requests to the server.\n\
             signing-key = \"{}\"\n\n\
             [aka]\n\
             # milenage or tuak\n\
             algorithm = \"milenage\"\n\n\
             [policy]\n\
             # Time caps against relays. A cold phone is slow, so they only warn: `lock --calibrate N` proposes better ones.\n\
             answer-cap-ms = 1000\n\
             tap-cap-ms = 3000\n\
             over-cap = \"warn\"\n\n\
             [door]\n\
             # log = \"door.log\"\n\
             # run = [\"sh\", \"-c\", \"echo $TAPDOOR_VERDICT $TAPDOOR_PHONE\"]\n",
            self.lock,
            if self.usim.is_some() {
                "; usim is for a laboratory only"
            } else {
                ""
            },
            if self.usim.is_some() { ", \"usim\"" } else { "" },
            hex::encode(self.signing),
        );
        for &phone in &self.phones {
            let entry = self.entry(phone);
            let _ = write!(
                out,
                "\n[[phones]]\nid = \"{phone}\"\nweakest = \"challenge-response\"\n# not-after = \"2030-01-01T00:00:00Z\"\n\
                 k-id = \"{}\"\nk-l = \"{}\"\nmilenage = \"{}\"\ntuak = \"{}\"\n",
                hex::encode(entry.k_id.expose()),
                hex::encode(entry.k_l.expose()),
                hex::encode(entry.milenage.as_ref().map_or(&[][..], Secret::expose)),
                hex::encode(entry.tuak.as_ref().map_or(&[][..], Secret::expose)),
            );
        }
        if let Some(usim) = &self.usim {
            let _ = write!(
                out,
                "\n# Test USIMs (AKA profile U). Every lock shares their K: never use it for a real door.\n\
                 [[usim.subscribers]]\nid = \"{}\"\nimsi = \"{}\"\nalgorithm = \"milenage\"\nk = \"{}\"\nopc = \"{}\"\n",
                usim.id,
                usim.imsi,
                hex::encode(usim.k),
                hex::encode(usim.opc)
            );
        }
        out
    }

    /// phone.toml of one of the phones.
    #[must_use]
    pub fn phone_toml(&self, index: usize, store: &str) -> Option<String> {
        let phone = *self.phones.get(index)?;
        let mut out = format!(
            "# A phone. Try: tapdoor phone --config phone.toml --serve vpcd:127.0.0.1:35963\n\
             id = \"{phone}\"\n\
             # Its chip's memory, from this file's folder.\n\
             store = \"{store}\"\n\
             k-ph = \"{}\"\n\
             # What the phone tells the lock: its user was authenticated.\n\
             user-authenticated = true\n\
             applications = [\"challenge-response\", \"aka\", \"identity\"]\n\n\
             [identity]\n\
             kind = \"imei\"\n\
             digits = \"{}\"\n\
             k-agent = \"{}\"\n\
             # The server's public key, to which the identity is enciphered.\n\
             server-key = \"{}\"\n",
            hex::encode(keys::phone(&self.key, phone).as_slice()),
            imei(phone),
            hex::encode(keys::agent(&self.key, phone).as_slice()),
            public(&self.server),
        );
        if let (0, Some(usim)) = (index, &self.usim) {
            let _ = write!(
                out,
                "\n# A test USIM (AKA profile U), for a laboratory only.\n\
                 [usim]\niccid = \"{}\"\nimsi = \"{}\"\nalgorithm = \"milenage\"\nk = \"{}\"\nopc = \"{}\"\n",
                usim.iccid,
                usim.imsi,
                hex::encode(usim.k),
                hex::encode(usim.opc)
            );
        }
        out.push_str("\n[laboratory]\n# How the phone misbehaves: see `tapdoor phone --help`.\nswitches = []\n");
        Some(out)
    }

    /// server.toml: what the application management server will start from.
    #[must_use]
    pub fn server_toml(&self) -> String {
        let mut out = format!(
            "# The site's secrets, from which all keys of locks and phones derive (docs/protocol.md section 1).\n\
             # No lock and no phone holds these. Keep this file apart from both.\n\
             site-key = \"{}\"\n\
             private-key = \"{}\"\n\n\
             [[locks]]\nid = \"{}\"\npublic-key = \"{}\"\n",
            hex::encode(self.key.as_slice()),
            hex::encode(self.server),
            self.lock,
            public(&self.signing)
        );
        for &phone in &self.phones {
            let _ = write!(out, "\n[[phones]]\nid = \"{phone}\"\nimei = \"{}\"\n", imei(phone));
        }
        out
    }
}

/// A P-256 public key, compressed, in hexadecimal.
fn public(private: &[u8; 32]) -> String {
    public_compressed(&SecretScalar(*private)).map(hex::encode).unwrap_or_default()
}

/// A made-up IMEI of the test range 00 1017, with its check digit.
fn imei(phone: PhoneId) -> String {
    let number = u64::from_be_bytes(phone.0) % 100_000_000;
    with_luhn(&format!("001017{number:08}"))
}

/// The digits with their Luhn check digit behind them (ISO/IEC 7812-1 annex B).
fn with_luhn(digits: &str) -> String {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(digit - b'0')) {
            (0, d) if d > 4 => 2 * d - 9,
            (0, d) => 2 * d,
            (_, d) => d,
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use tapdoor_hce_card::PhoneConfig;
    use tapdoor_reader::LockConfig;

    #[test]
    fn check_digits() {
        // The example of 3GPP TS 23.003 annex B: IMEI 490154203237518.
        assert_eq!(with_luhn("49015420323751"), "490154203237518");
        assert_eq!(with_luhn("7992739871"), "79927398713");
    }

    #[test]
    fn the_files_are_read_back_as_the_keys_they_came_from() {
        for usim in [false, true] {
            let site = Site::generate(2, usim).unwrap();
            let lock = LockConfig::parse(Path::new("lock.toml"), &site.lock_toml()).unwrap();
            let list: Vec<ListEntry> = site.phones.iter().map(|p| site.entry(*p)).collect();
            assert_eq!(lock.personalisation.list, list);
            assert_eq!(lock.personalisation.subscribers.len(), usize::from(usim));
            for (index, phone) in site.phones.iter().enumerate() {
                let config = PhoneConfig::parse(Path::new("phone.toml"), &site.phone_toml(index, "p.chip").unwrap()).unwrap();
                assert_eq!(config.id, *phone);
                assert_eq!(config.personalisation.applications[..2], site.phone_chip(*phone).applications[..2]);
            }
        }
    }
}
