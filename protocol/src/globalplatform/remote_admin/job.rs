//! What shall be on a chip.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroize;

use crate::aid::Aid;
use crate::globalplatform::load_file::{LoadFile, LoadFileError};
use crate::globalplatform::registry::Privileges;

/// Most bytes of one STORE DATA block that go into a short command at level 33, in S8 (in S16: 223).
pub const MAX_BLOCK: usize = 239;

/// One thing to be done in a session. Each is idempotent: done again, it finds itself done or does the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Have this load file in this version, with these instances.
    Install(InstallJob),
    /// Have this application or load file not.
    Delete {
        /// Which.
        aid: Aid,
        /// With a load file, its instances too.
        related: bool,
    },
    /// STORE DATA to the card manager itself: the blocks, each at most 239 bytes (223 in S16). Sent in any case.
    Store(Vec<Vec<u8>>),
}

/// A load file and its instances.
#[derive(Clone, PartialEq, Eq)]
pub struct InstallJob {
    load_file: Vec<u8>,
    elf: Aid,
    version: [u8; 2],
    hash: [u8; 32],
    instances: Vec<Instance>,
}

/// One application of a load file.
#[derive(Clone, PartialEq, Eq)]
pub struct Instance {
    /// The module it is an instance of.
    pub module: Aid,
    /// By what it is selected.
    pub aid: Aid,
    /// What it may do.
    pub privileges: Privileges,
    /// Application specific install parameters: the value of C9.
    pub parameters: Vec<u8>,
    /// STORE DATA blocks to personalise it with, each at most 239 bytes (223 in S16). The last one is marked as such when they are sent.
    /// Keys in them are enciphered with the chip's Key-DEK already.
    pub personalisation: Vec<Vec<u8>>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Instance({} of {}, {} bytes of parameters, {} blocks of personalisation)",
            self.aid,
            self.module,
            self.parameters.len(),
            self.personalisation.len()
        )
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.personalisation.zeroize();
    }
}

/// Why a job cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// Not a load file.
    #[error(transparent)]
    LoadFile(#[from] LoadFileError),
    /// A block that no command holds.
    #[error("a STORE DATA block of {length} bytes does not fit into one command, {MAX_BLOCK} bytes do: split it")]
    BlockTooLong {
        /// How many bytes it has.
        length: usize,
    },
}

impl InstallJob {
    /// A job from a whole load file (signatures and C4), the AID and version it is to have on the chip, and its instances.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn new(load_file: Vec<u8>, elf: Aid, version: [u8; 2], instances: Vec<Instance>) -> Result<Self, JobError> {
        let hash = LoadFile::parse(&load_file)?.hash();
        let mut blocks = instances.iter().flat_map(|instance| &instance.personalisation);
        if let Some(block) = blocks.find(|block| block.len() > MAX_BLOCK) {
            return Err(JobError::BlockTooLong { length: block.len() });
        }
        Ok(Self {
            load_file,
            elf,
            version,
            hash,
            instances,
        })
    }

    /// The load file.
    #[must_use]
    pub fn load_file(&self) -> &[u8] {
        &self.load_file
    }

    /// Its AID.
    #[must_use]
    pub const fn elf(&self) -> &Aid {
        &self.elf
    }

    /// Its version, major and minor.
    #[must_use]
    pub const fn version(&self) -> [u8; 2] {
        self.version
    }

    /// SHA-256 of its block.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Its instances.
    #[must_use]
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }
}

impl fmt::Debug for InstallJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor] = self.version;
        write!(
            f,
            "InstallJob({} {major}.{minor}, {} bytes, {:?})",
            self.elf,
            self.load_file.len(),
            self.instances
        )
    }
}
