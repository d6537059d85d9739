//! What a personalisation must be like.

use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::vault::Slot;

use super::{CardManager, Personalisation, ScpKeys, Secret};
use crate::card::Card;

/// Why a personalisation is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersonaliseError {
    /// A key of the wrong length.
    #[error("{what} has {got} bytes instead of {expected}")]
    KeyLength {
        /// Which key.
        what: String,
        /// Its length.
        got: usize,
        /// The right one.
        expected: &'static str,
    },
    /// A key version number that is not SCP03's.
    #[error("the card manager's key version number is {got:02X}; SCP03 has 30 to 3F")]
    KeyVersion {
        /// The number.
        got: u8,
    },
    /// A value of "i" that Amendment D does not know.
    #[error("the card manager's i = {got:02X} is none of SCP03's: 70 is the usual one")]
    Parameter {
        /// The value.
        got: u8,
    },
    /// Something that must be unique is there twice.
    #[error("{what} is there twice; each must be unique")]
    Repeated {
        /// What.
        what: String,
    },
}

impl Personalisation {
    /// Checks lengths of keys and that identifiers are unique.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), PersonaliseError> {
        unique(self.applications.iter().map(|a| format!("application {}", a.aid)))?;
        unique(self.list.iter().map(|e| format!("phone {}", e.phone)))?;
        unique(self.subscribers.iter().map(|s| format!("IMSI {}", s.imsi)))?;
        let names = self.list.iter().map(|e| e.phone).chain(self.subscribers.iter().map(|s| s.phone));
        unique(names.map(|phone| format!("phone {phone}")))?;
        for application in &self.applications {
            for (slot, key) in &application.keys {
                let what = || format!("the {slot:?} key of application {}", application.aid);
                match slot {
                    Slot::Phone | Slot::Recognition | Slot::Agent => length(what, key, &[16], "16")?,
                    Slot::Signing => length(what, key, &[32], "32")?,
                    Slot::AliroKeys if Card::fits(*slot, key.expose().len()) => {}
                    Slot::AliroKeys => length(what, key, &[32], "32 for each credential, of which there are at most 64")?,
                    Slot::TestSubscriber => length(what, key, &[32, 48, 64], "32 (K || OPc), 48 or 64 (K || TOPc)")?,
                }
            }
        }
        if let Some(manager) = &self.card_manager {
            manager.check()?;
        }
        for entry in &self.list {
            length(|| format!("k_id of phone {}", entry.phone), &entry.k_id, &[16], "16")?;
            length(|| format!("k_l of phone {}", entry.phone), &entry.k_l, &[16], "16")?;
            if let Some(key) = &entry.milenage {
                length(|| format!("milenage of phone {}", entry.phone), key, &[32], "32 (K || OPc)")?;
            }
            if let Some(key) = &entry.tuak {
                length(|| format!("tuak of phone {}", entry.phone), key, &[64], "64 (K || TOPc)")?;
            }
        }
        for subscriber in &self.subscribers {
            let lengths: (&[usize], &str) = match subscriber.algorithm {
                Algorithm::Milenage => (&[32], "32 (K || OPc)"),
                Algorithm::Tuak => (&[48, 64], "48 or 64 (K || TOPc)"),
            };
            length(
                || format!("the key of IMSI {}", subscriber.imsi),
                &subscriber.key,
                lengths.0,
                lengths.1,
            )?;
        }
        Ok(())
    }
}

impl CardManager {
    fn check(&self) -> Result<(), PersonaliseError> {
        let ScpKeys { kvn, enc, mac, dek } = &self.keys;
        if !(0x30..=0x3F).contains(kvn) {
            return Err(PersonaliseError::KeyVersion { got: *kvn });
        }
        if !self.i.is_known() {
            return Err(PersonaliseError::Parameter { got: self.i.0 });
        }
        for (name, key) in [("enc", enc), ("mac", mac), ("dek", dek)] {
            length(|| format!("the card manager's {name} key"), key, &[16, 24, 32], "16, 24 or 32")?;
            if key.expose().len() != enc.expose().len() {
                return Err(PersonaliseError::KeyLength {
                    what: format!("the card manager's {name} key"),
                    got: key.expose().len(),
                    expected: "the length of its enc key",
                });
            }
        }
        for (index, key) in self.dap_keys.iter().enumerate() {
            if !matches!((key.len(), key.first()), (33, Some(2 | 3)) | (65, Some(4))) {
                return Err(PersonaliseError::KeyLength {
                    what: format!("DAP key {index}"),
                    got: key.len(),
                    expected: "33 (compressed) or 65 (uncompressed)",
                });
            }
        }
        Ok(())
    }
}

fn unique(names: impl Iterator<Item = String>) -> Result<(), PersonaliseError> {
    let mut seen = std::collections::HashSet::new();
    for what in names {
        if !seen.insert(what.clone()) {
            return Err(PersonaliseError::Repeated { what });
        }
    }
    Ok(())
}

fn length(what: impl Fn() -> String, key: &Secret, allowed: &[usize], expected: &'static str) -> Result<(), PersonaliseError> {
    let got = key.expose().len();
    if allowed.contains(&got) {
        Ok(())
    } else {
        Err(PersonaliseError::KeyLength {
            what: what(),
            got,
            expected,
        })
    }
}
