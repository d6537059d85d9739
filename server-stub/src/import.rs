//! Brings server.toml's tables into the store, as far as they are not there yet.

use std::path::PathBuf;

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::globalplatform::load_file::LoadFile;

use crate::config::{ApplicationEntry, Register};
use crate::jobs::locks_of;
use crate::registry::{Application, ChipRef, JobKind, NewJob, Provider};
use crate::store::{Result, Store, StoreError};

/// Why a load file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no load file.
    #[error("load file of {name}: {source}")]
    LoadFile {
        /// Of which application.
        name: String,
        /// What is wrong.
        source: tapdoor_protocol::globalplatform::load_file::LoadFileError,
    },
    /// Its provider has a key, and the load file has no good signature under it.
    #[error("load file of {name}: no signature of its provider \"{provider}\" verifies; sign it with the provider's key")]
    Signature {
        /// Of which application.
        name: String,
        /// Whose signature.
        provider: String,
    },
}

/// Checks a load file: that it is one, and that its provider signed it, if the provider's key is known. Gives its hash.
///
/// # Errors
/// [`ApplicationError`].
pub fn check_load_file(name: &str, bytes: &[u8], provider: Option<&Provider>) -> std::result::Result<[u8; 32], ApplicationError> {
    let file = LoadFile::parse(bytes).map_err(|source| ApplicationError::LoadFile {
        name: name.to_owned(),
        source,
    })?;
    if let Some(provider) = provider
        && !file.is_signed_by(&Aid::CARD_MANAGER, &provider.key)
    {
        return Err(ApplicationError::Signature {
            name: name.to_owned(),
            provider: provider.name.clone(),
        });
    }
    Ok(file.hash())
}

/// Reads the load files that a configuration names.
///
/// # Errors
/// [`ApplicationError`].
pub fn read_applications(register: &Register) -> std::result::Result<Vec<Application>, ApplicationError> {
    register
        .applications
        .iter()
        .map(|entry: &ApplicationEntry| {
            let load_file = std::fs::read(&entry.load_file).map_err(|source| ApplicationError::File {
                path: entry.load_file.clone(),
                source,
            })?;
            let provider = register
                .providers
                .iter()
                .find(|provider| entry.provider.as_ref() == Some(&provider.name));
            let hash = check_load_file(&entry.name, &load_file, provider)?;
            Ok(Application {
                name: entry.name.clone(),
                version: entry.version,
                provider: entry.provider.clone(),
                half: entry.half,
                elf: entry.elf,
                module: entry.module,
                aid: entry.aid,
                peer: entry.peer,
                parameters: entry.parameters.clone(),
                profile: entry.profile,
                hash,
                load_file,
            })
        })
        .collect()
}

/// Brings in what is not there. Locks, phones, grants and systems that are there stay as they are, also when they were taken out of service.
///
/// # Errors
/// The store's; [`StoreError::Conflict`] for an application version that is there with another content, and for identifiers that are taken.
pub fn import(store: &mut dyn Store, register: &Register, applications: &[Application], now: u64) -> Result<()> {
    for provider in &register.providers {
        store.put_provider(provider)?;
    }
    for application in applications {
        store.put_application(application)?;
    }
    for system in &register.systems {
        if store.system(&system.name)?.is_none() {
            store.put_system(system)?;
        }
    }
    for lock in &register.locks {
        if store.lock(lock.id)?.is_none() {
            store.put_lock(lock)?;
        }
    }
    for phone in &register.phones {
        if store.phone(phone.id)?.is_none() {
            store.put_phone(phone)?;
        }
    }
    for grant in &register.grants {
        if store.phone(grant.phone)?.is_none() {
            return Err(StoreError::Conflict(format!(
                "a grant names the phone {}, which is not registered",
                grant.phone.masked()
            )));
        }
        if store.grants(Some(grant.phone))?.iter().any(|there| there.target == grant.target) {
            continue;
        }
        store.put_grant(grant)?;
        for lock in locks_of(store, &grant.target)? {
            let order = NewJob {
                chip: ChipRef::Lock(lock),
                kind: JobKind::Entry {
                    phone: grant.phone.to_string(),
                },
                urgent: false,
                window: false,
                requester: None,
            };
            if store.lock(lock)?.is_some_and(|lock| lock.chip.is_some()) {
                store.add_job(&order, now)?;
            }
        }
    }
    Ok(())
}
