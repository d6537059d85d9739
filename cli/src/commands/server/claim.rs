//! Who works on a server's store: one process at a time.
//!
//! `STORE.lock` is locked by the server that runs, or by an administration command while none runs; the system unlocks it when the process ends, however
//! it ends. `STORE.address` says where the server listens. One that is left over lies beside a lock that nobody holds, and is removed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tapdoor_server::ServerConfig;
use tapdoor_server::config::StorePlace;

use crate::failure::{DEVICE, Failure};

/// How long one waits for an administration command of somebody else, or for a server that is about to start.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

/// The right to work on the store, until it is dropped.
pub struct Claim {
    address: PathBuf,
    /// Holds the lock.
    _lock: File,
}

/// What came of asking for it.
pub enum Claimed {
    /// It is ours.
    Ours(Claim),
    /// A server has it, and listens there.
    Running(String),
}

/// `path` with more behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn fault(path: &Path) -> impl Fn(io::Error) -> Failure + '_ {
    move |e| Failure::new(DEVICE, format!("{}: {e}", path.display()))
}

impl Claim {
    /// Asks for the store of this configuration; for one in memory, which has no name, the configuration's own file stands.
    pub fn take(config: &ServerConfig, file: &Path) -> Result<Claimed, Failure> {
        let store = match &config.store {
            StorePlace::File(path) => path,
            StorePlace::Memory => file,
        };
        let (place, address) = (beside(store, ".lock"), beside(store, ".address"));
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options.open(&place).map_err(fault(&place))?;
        let end = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => return Err(fault(&place)(e)),
            }
            match fs::read_to_string(&address) {
                Ok(url) => return Ok(Claimed::Running(url.trim().to_owned())),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(fault(&address)(e)),
            }
            if Instant::now() > end {
                return Err(Failure::new(
                    DEVICE,
                    format!(
                        "{}: another process works on it for too long; end it and try again",
                        store.display()
                    ),
                ));
            }
            std::thread::sleep(PAUSE);
        }
        // Left over: whoever wrote it held this lock.
        remove(&address).map_err(fault(&address))?;
        Ok(Claimed::Ours(Self { address, _lock: lock }))
    }

    /// Says where the server listens.
    pub fn announce(&self, url: &str) -> Result<(), Failure> {
        let new = beside(&self.address, ".new");
        fs::write(&new, format!("{url}\n"))
            .and_then(|()| fs::rename(&new, &self.address))
            .map_err(fault(&self.address))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Before the lock goes. If it stays, the next one takes it for what it is.
        let _ = remove(&self.address);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
