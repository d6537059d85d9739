//! A site: its key, its lock, its phones, its server. What a server would provision over months is made here at once, for the laboratory.

mod aliro;
mod applications;
mod files;
#[cfg(test)]
mod tests;

use tapdoor_chip::personalise::{CardManager, ScpKeys, Secret};
use tapdoor_chip::random::{OsRandom, RandomSource};
use tapdoor_chip::{Application, ListEntry, Personalisation};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::crypto::ecies::{SecretScalar, public_compressed};
use tapdoor_protocol::door::USER_AUTHENTICATED;
use tapdoor_protocol::door::keys;
use tapdoor_protocol::ids::{LockId, Mac, PhoneId, luhn};
use tapdoor_protocol::vault::{Method, VaultError};

pub use self::applications::{PACKAGED, Packaged};
pub(crate) use self::files::chip_fields;
pub use self::files::{LockFile, PhoneFile};

/// Where the server of a new site listens.
pub const LISTEN: &str = "127.0.0.1:8443";
/// The key version number of the key sets of new chips.
const KVN: u8 = 0x30;

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
    /// By which the server knows the lock.
    mac: Mac,
    /// Key sets of the chips: the lock's, and the phones' in their order.
    lock_keys: ScpKeys,
    phone_keys: Vec<ScpKeys>,
    /// Signs load files.
    provider: [u8; 32],
    /// Enciphers keys in the server's store.
    store_key: Secret,
    aliro: aliro::AliroSite,
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
            mac: mac()?,
            lock_keys: chip_keys()?,
            phone_keys: (0..phones).map(|_| chip_keys()).collect::<Result<_, _>>()?,
            provider: scalar()?,
            store_key: Secret::new(random::<16>()?),
            aliro: aliro::AliroSite::generate(phones)?,
        })
    }

    /// The card manager of the lock's chip.
    #[must_use]
    pub fn lock_manager(&self) -> CardManager {
        self.manager(&self.lock_keys)
    }

    /// The card manager of a phone's chip; `None` if there are fewer phones.
    #[must_use]
    pub fn phone_manager(&self, index: usize) -> Option<CardManager> {
        self.phone_keys.get(index).map(|keys| self.manager(keys))
    }

    fn manager(&self, keys: &ScpKeys) -> CardManager {
        let mut manager = CardManager::new(keys.clone());
        manager.dap_keys.extend(public_key(&self.provider).map(|key| key.to_vec()));
        manager
    }

    /// K_agent of the lock: by which its agent proves itself to the server.
    #[must_use]
    pub fn lock_agent(&self) -> keys::Key<16> {
        keys::agent(&self.key, PhoneId(self.lock.0))
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
        let mut filling = Personalisation {
            applications: vec![
                Application::challenge_response(Aid::CHALLENGE_RESPONSE, phone, USER_AUTHENTICATED, k_ph.clone(), k_id.clone()),
                Application::aka(Aid::AKA, phone, k_ph, k_id),
                Application::identity(Aid::IDENTITY, None),
            ],
            ..Personalisation::default()
        };
        filling.applications.extend(self.aliro_device(phone, false));
        filling
    }

    /// The same for a phone whose keys for locks are wrong, though it is recognised.
    #[must_use]
    pub fn wrong_phone_chip(&self, phone: PhoneId) -> Personalisation {
        let k_ph = keys::phone(&self.key, phone);
        let k_id = Secret::new(keys::recognition(&k_ph).to_vec());
        let mut bent = k_ph.clone();
        bent[0] ^= 1;
        let bent = Secret::new(bent.to_vec());
        let mut filling = Personalisation {
            applications: vec![
                Application::challenge_response(Aid::CHALLENGE_RESPONSE, phone, USER_AUTHENTICATED, bent.clone(), k_id.clone()),
                Application::aka(Aid::AKA, phone, bent, k_id),
            ],
            ..Personalisation::default()
        };
        filling.applications.extend(self.aliro_device(phone, true));
        filling
    }
}

fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut out = [0; N];
    OsRandom.fill(&mut out)?;
    Ok(out)
}

/// A new P-256 private key.
///
/// # Errors
/// [`VaultError::Random`].
pub fn scalar() -> Result<[u8; 32], VaultError> {
    loop {
        let candidate = random()?;
        if public_key(&candidate).is_some() {
            return Ok(candidate);
        }
    }
}

/// A new identifier of a lock or a phone.
///
/// # Errors
/// [`VaultError::Random`].
pub fn identifier() -> Result<[u8; 8], VaultError> {
    random()
}

/// A new SCP03 key set of a chip, AES-128.
///
/// # Errors
/// [`VaultError::Random`].
pub fn chip_keys() -> Result<ScpKeys, VaultError> {
    let key = || random::<16>().map(Secret::new);
    Ok(ScpKeys {
        kvn: KVN,
        enc: key()?,
        mac: key()?,
        dek: key()?,
    })
}

/// A made-up network address: locally administered, of one station (IEEE Std 802 8.2.2).
fn mac() -> Result<Mac, VaultError> {
    let mut address: [u8; 6] = random()?;
    address[0] = address[0] & 0xFC | 0x02;
    Ok(Mac(address))
}

/// The public key of a private one, P-256, SEC1, compressed; `None` if it is none.
#[must_use]
pub fn public_key(private: &[u8; 32]) -> Option<[u8; 33]> {
    public_compressed(&SecretScalar(*private))
}

/// The same in hexadecimal.
fn public(private: &[u8; 32]) -> String {
    public_key(private).map(hex::encode).unwrap_or_default()
}

/// A made-up IMEI of the test range 00 1017, with its check digit.
fn imei(phone: PhoneId) -> String {
    let number = u64::from_be_bytes(phone.0) % 100_000_000;
    with_luhn(&format!("001017{number:08}"))
}

/// The decimal digits with their check digit behind them.
fn with_luhn(digits: &str) -> String {
    luhn(digits).map_or_else(|| digits.to_owned(), |check| format!("{digits}{check}"))
}
