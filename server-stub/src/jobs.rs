//! Which job of a chip is next, and what it means for the chip.
//!
//! A job says what shall be, not how: keys, load files and grants are looked up when it begins. So a job that waited for a week does what is right
//! today, and a job that is done twice does nothing the second time.

use tapdoor_protocol::globalplatform::registry::Privileges;
use tapdoor_protocol::globalplatform::remote_admin::{InstallJob, Instance, Job as ChipJob};
use tapdoor_protocol::globalplatform::scp03::Keys;
use tapdoor_protocol::ids::LockId;

use crate::config::Secrets;
use crate::profile;
use crate::registry::{ChipRef, Half, Job, JobId, JobKind, JobState, Lock};
use crate::request::entitled;
use crate::seal::{SealedKeys, Sealer};
use crate::store::{JobEnd, Result, Store};

/// What is needed to make work of a job.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// The site's secrets.
    pub secrets: Secrets,
    /// Opens keys of chips.
    pub sealer: Sealer,
    /// How often a job may be begun.
    pub attempts: u32,
}

/// A job that was begun.
#[derive(Debug)]
pub struct Begun {
    /// The job, running.
    pub job: Job,
    /// Which attempt: it ends this one and no other.
    pub attempt: u32,
    /// The chip's keys.
    pub keys: Keys,
    /// Their version number.
    pub kvn: u8,
    /// What shall be on the chip.
    pub work: Vec<ChipJob>,
}

/// What came of looking for a job.
#[derive(Debug, Default)]
pub struct Search {
    /// The job, if there is one to do now.
    pub begun: Option<Begun>,
    /// Jobs that were given up on the way.
    pub failed: Vec<JobId>,
}

/// The outer error is the store's.
type Made<T> = Result<std::result::Result<T, Impossible>>;

/// Why a job cannot even begin.
struct Impossible {
    code: &'static str,
    message: String,
}

fn impossible<T>(code: &'static str, message: impl Into<String>) -> std::result::Result<T, Impossible> {
    Err(Impossible {
        code,
        message: message.into(),
    })
}

impl Workshop {
    /// Begins the next job of a chip. `busy`: a tap waits at this lock, so nothing but what the tap waits for may be done.
    ///
    /// # Errors
    /// The store's.
    pub fn next(&self, store: &mut dyn Store, chip: ChipRef, busy: bool, now: u64) -> Result<Search> {
        let mut search = Search::default();
        for job in store.waiting(chip)? {
            if !may_run(store, &job, busy, now)? {
                continue;
            }
            let Some(attempt) = store.begin_job(job.id, now)? else {
                continue;
            };
            let made = if attempt > self.attempts {
                impossible("gave-up", format!("begun {} times without an end", self.attempts))
            } else {
                self.make(store, &job, now)?
            };
            match made {
                Ok((keys, kvn, work)) => {
                    search.begun = Some(Begun {
                        job,
                        attempt,
                        keys,
                        kvn,
                        work,
                    });
                    break;
                }
                Err(Impossible { code, message }) => {
                    let end = JobEnd {
                        code: Some(code.into()),
                        message: Some(message),
                        ms: 0,
                    };
                    store.end_job(job.id, attempt, JobState::Failed, &end, now)?;
                    search.failed.push(job.id);
                }
            }
        }
        Ok(search)
    }

    fn open(&self, chip: ChipRef, sealed: Option<&SealedKeys>) -> std::result::Result<(Keys, u8), Impossible> {
        let Some(sealed) = sealed else {
            return impossible("no-chip-keys", "the server has no keys of this chip");
        };
        let Some(keys) = self.sealer.open(chip, sealed) else {
            return impossible("store-key", "the chip's keys do not open: was `store-key` changed?");
        };
        match Keys::new(&keys.enc, &keys.mac, &keys.dek) {
            Ok(set) => Ok((set, keys.kvn)),
            Err(error) => impossible("no-chip-keys", error.to_string()),
        }
    }

    fn make(&self, store: &mut dyn Store, job: &Job, now: u64) -> Made<(Keys, u8, Vec<ChipJob>)> {
        let (sealed, revoked, half) = match job.order.chip {
            ChipRef::Phone(id) => match store.phone(id)? {
                Some(phone) => (phone.chip, phone.revoked, Half::Phone),
                None => return Ok(impossible("unknown-phone", "the phone is not registered any more")),
            },
            ChipRef::Lock(id) => match store.lock(id)? {
                Some(lock) => (lock.chip, lock.revoked, Half::Lock),
                None => return Ok(impossible("lock-unregistered", "the lock is not registered any more")),
            },
        };
        if revoked {
            return Ok(impossible("revoked", "it was taken out of service"));
        }
        let (keys, kvn) = match self.open(job.order.chip, sealed.as_ref()) {
            Ok(opened) => opened,
            Err(why) => return Ok(Err(why)),
        };
        let work = match &job.order.kind {
            JobKind::Install { application, version } => self.install(store, job, (application, version, half), &keys, now)?,
            JobKind::Entry { phone } => self.entry(store, job.order.chip, phone, &keys, now)?,
            JobKind::List {} => self.list(store, job.order.chip, &keys, now)?,
            JobKind::Delete { elf } => match elf.parse() {
                Ok(aid) => Ok(ChipJob::Delete { aid, related: true }),
                Err(error) => impossible("damaged", format!("the job's AID: {error}")),
            },
        };
        Ok(work.map(|work| (keys, kvn, vec![work])))
    }

    fn install(&self, store: &mut dyn Store, job: &Job, (name, version, half): (&str, &str, Half), keys: &Keys, now: u64) -> Made<ChipJob> {
        let wanted = match version.parse() {
            Ok(version) => version,
            Err(_) => return Ok(impossible("damaged", "the job's version is none")),
        };
        let Some(application) = store.application(name, Some(wanted))? else {
            return Ok(impossible("no-application", format!("{name} {version} is not there any more")));
        };
        if application.half != half {
            return Ok(impossible("wrong-half", format!("{name} is not for this kind of chip")));
        }
        let personalised = match job.order.chip {
            ChipRef::Phone(id) => {
                // Between the lock's request and now, the grant may have been taken back.
                if let Some(requester) = job.order.requester
                    && let Some(lock) = store.lock(requester)?
                    && entitled(store, id, &lock, now)?.is_none()
                {
                    return Ok(impossible("not-entitled", "the grant was taken back in the meantime"));
                }
                match store.phone(id)? {
                    Some(phone) => profile::phone(&self.secrets, &application, &phone, keys),
                    None => return Ok(impossible("unknown-phone", "the phone is not registered any more")),
                }
            }
            ChipRef::Lock(id) => Ok(profile::lock(&application, id)),
        };
        let personalisation = match personalised {
            Ok(blocks) => blocks,
            Err(error) => return Ok(impossible("no-chip-keys", error.to_string())),
        };
        let instance = Instance {
            module: application.module,
            aid: application.aid,
            privileges: Privileges::NONE,
            parameters: application.parameters.clone(),
            personalisation,
        };
        Ok(
            match InstallJob::new(application.load_file, application.elf, application.version.0, vec![instance]) {
                Ok(install) => Ok(ChipJob::Install(install)),
                Err(error) => impossible("bad-load-file", error.to_string()),
            },
        )
    }

    fn entry(&self, store: &mut dyn Store, chip: ChipRef, phone: &str, keys: &Keys, now: u64) -> Made<ChipJob> {
        let (ChipRef::Lock(id), Ok(phone)) = (chip, phone.parse()) else {
            return Ok(impossible("damaged", "an entry of a list is for a lock, and names a phone"));
        };
        let Some(lock) = store.lock(id)? else {
            return Ok(impossible("lock-unregistered", "the lock is not registered any more"));
        };
        let in_service = store.phone(phone)?.is_some_and(|phone| !phone.revoked);
        let grant = if in_service { entitled(store, phone, &lock, now)? } else { None };
        let block = match grant {
            Some(grant) => profile::entry(&self.secrets, &grant, id, keys),
            None => Ok(profile::no_entry(phone)),
        };
        Ok(match block {
            Ok(block) => Ok(ChipJob::Store(vec![block])),
            Err(error) => impossible("no-chip-keys", error.to_string()),
        })
    }

    fn list(&self, store: &mut dyn Store, chip: ChipRef, keys: &Keys, now: u64) -> Made<ChipJob> {
        let ChipRef::Lock(id) = chip else {
            return Ok(impossible("wrong-half", "a list is for a lock"));
        };
        let Some(lock) = store.lock(id)? else {
            return Ok(impossible("lock-unregistered", "the lock is not registered any more"));
        };
        let mut blocks = vec![profile::new_list()];
        for phone in store.phones()?.into_iter().filter(|phone| !phone.revoked) {
            if let Some(grant) = entitled(store, phone.id, &lock, now)? {
                match profile::entry(&self.secrets, &grant, id, keys) {
                    Ok(block) => blocks.push(block),
                    Err(error) => return Ok(impossible("no-chip-keys", error.to_string())),
                }
            }
        }
        if blocks.len() > profile::MAX_LIST + 1 {
            return Ok(impossible(
                "list-too-long",
                format!("{} phones are granted, one list holds {}", blocks.len() - 1, profile::MAX_LIST),
            ));
        }
        Ok(Ok(ChipJob::Store(blocks)))
    }
}

/// Whether a waiting job may run now.
fn may_run(store: &mut dyn Store, job: &Job, busy: bool, now: u64) -> Result<bool> {
    if job.order.urgent {
        return Ok(true);
    }
    if busy {
        return Ok(false);
    }
    match job.order.chip {
        ChipRef::Lock(id) if job.order.window => Ok(window_is_open(store.lock(id)?.as_ref(), now)),
        _ => Ok(true),
    }
}

fn window_is_open(lock: Option<&Lock>, now: u64) -> bool {
    lock.and_then(|lock| lock.window).is_some_and(|window| window.contains(now))
}

/// The locks whose list a grant for this target changes.
///
/// # Errors
/// The store's.
pub fn locks_of(store: &mut dyn Store, target: &crate::registry::GrantTarget) -> Result<Vec<LockId>> {
    use crate::registry::GrantTarget;
    Ok(match target {
        GrantTarget::Lock(id) => vec![*id],
        GrantTarget::Group(name) => store
            .locks()?
            .into_iter()
            .filter(|lock| lock.groups.contains(name))
            .map(|lock| lock.id)
            .collect(),
    })
}
