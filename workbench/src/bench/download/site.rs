//! The files of a site with many locks.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tapdoor_chip::Store;
use tapdoor_hce_card::PhoneConfig;
use tapdoor_protocol::door::keys;
use tapdoor_protocol::ids::{LockId, Mac, PhoneId};
use tapdoor_reader::config::Method;
use tapdoor_reader::download::Downloads;
use tapdoor_reader::{Lock, LockConfig};
use tapdoor_server::ServerConfig;
use tapdoor_server::ca::CA_CERTIFICATE;

use crate::bench::BenchError;
use crate::init::{InitOptions, init};
use crate::site::{LockFile, chip_fields, chip_keys, identifier, public_key, scalar};

/// The group that all further locks are in, and that all phones may open.
const GROUP: &str = "hall";
/// How long a lock waits for a download here: long enough that a slow server is seen to be slow, and not to fail.
const WAIT_MS: u64 = 60_000;

/// A site on the disk, its server not started.
pub(super) struct Files {
    pub folder: PathBuf,
    locks: u16,
}

impl Files {
    /// A site of `phones` without applications and `locks`, in a new folder.
    pub fn new(folder: &Path, phones: usize, locks: u16) -> Result<Self, BenchError> {
        let options = InitOptions {
            phones,
            usim: false,
            bare_phone: true,
        };
        init(folder, options)?;
        let path = folder.join("server.toml");
        let mut server = std::fs::read_to_string(&path)?;
        let first = LockConfig::load(&folder.join("lock.toml"))?;
        let providers: Vec<String> = first
            .personalisation
            .card_manager
            .iter()
            .flat_map(|manager| manager.dap_keys.iter().map(hex::encode))
            .collect();
        let site = ServerConfig::load(&path)?.secrets.site;
        for number in 0..locks {
            let (text, table) = lock(number, &site, &providers)?;
            std::fs::write(folder.join(lock_file(number)), text)?;
            server.push_str(&table);
        }
        for index in 0..phones {
            let phone = PhoneConfig::load(&phone_file(folder, index))?.id;
            let _ = write!(server, "\n[[grants]]\nphone = \"{phone}\"\ngroup = \"{GROUP}\"\n");
        }
        let _ = write!(server, "\n[limits]\ndownloads-per-minute = 1000000\ndownload-ms = {WAIT_MS}\n");
        std::fs::write(path, server)?;
        Ok(Self {
            folder: folder.to_owned(),
            locks,
        })
    }

    /// The locks, which ask the server at `url`. Their chips remember in `store`.
    pub fn locks(&self, url: &str, store: &dyn Fn(u16) -> Result<Box<dyn Store>, BenchError>) -> Result<Vec<Lock>, BenchError> {
        (0..self.locks)
            .map(|number| {
                let mut config = LockConfig::load(&self.folder.join(lock_file(number)))?;
                config.methods = vec![Method::ChallengeResponse, Method::Aka];
                let mut downloads = None;
                if let Some(server) = &mut config.server {
                    url.clone_into(&mut server.place.url);
                    server.wait = Duration::from_millis(WAIT_MS);
                    downloads = Some(Downloads::new(config.id, server)?);
                }
                let mut lock = Lock::with_store(config, store(number)?)?;
                if let Some(downloads) = downloads {
                    lock.download_from(downloads);
                }
                Ok(lock)
            })
            .collect()
    }
}

/// The phone.toml of the phone with this index, from 0.
pub(super) fn phone_file(folder: &Path, index: usize) -> PathBuf {
    match index {
        0 => folder.join("phone.toml"),
        _ => folder.join(format!("phone-{}.toml", index + 1)),
    }
}

fn lock_file(number: u16) -> String {
    format!("bench-lock-{number}.toml")
}

/// A new lock's lock.toml, and its table in server.toml.
fn lock(number: u16, site: &[u8; 16], providers: &[String]) -> Result<(String, String), BenchError> {
    let (id, signing, keys) = (LockId(identifier()?), scalar()?, chip_keys()?);
    let [high, low] = number.to_be_bytes();
    let mac = Mac([0x02, 0x00, 0x5E, 0x20, high, low]).whole();
    let file = LockFile {
        id,
        store: "unused.chip",
        signing: &signing,
        usim: false,
        identifier: ("mac", &mac),
        agent: &keys::agent(site, PhoneId(id.0)),
        chip: &keys,
        providers,
        url: "https://localhost",
        ca: CA_CERTIFICATE,
        aliro: false,
    };
    let public = public_key(&signing).map(hex::encode).unwrap_or_default();
    let chip = chip_fields(&keys);
    let table = format!(
        "\n[[locks]]\nid = \"{id}\"\npublic-key = \"{public}\"\nmac = \"{mac}\"\nsystem = \"door\"\ngroups = [\"{GROUP}\"]\n{chip}"
    );
    Ok((file.text(), table))
}
