//! What a chip is asked, and what is sent to it then.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::job::{InstallJob, Instance, Job};
use super::session::{AdminError, Report};
use crate::aid::Aid;
use crate::apdu::ApduError;
use crate::globalplatform::command::{
    Delete, Encryption, Format, GetStatus, Install, InstallForInstall, InstallForLoad, LoadParameters, StoreData, Subset,
};
use crate::globalplatform::load_file::blocks;
use crate::globalplatform::registry::{Entry, Privileges, life_cycle};
use crate::tlv;

/// Is there a load file, or an application, with exactly this AID?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    subset: Subset,
    pub(super) aid: Aid,
    /// The load file without which the question is idle.
    needs: Option<Aid>,
}

impl Question {
    pub(super) fn command(&self) -> Result<Vec<u8>, ApduError> {
        let ask = GetStatus {
            aid: self.aid.as_bytes(),
            ..GetStatus::all(self.subset)
        };
        ask.encode()
    }
}

/// What is known of the chip.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry {
    load_files: BTreeMap<Aid, Option<Entry>>,
    applications: BTreeMap<Aid, Option<Entry>>,
}

impl Registry {
    /// Notes the answer to a question: an entry, or that there is none.
    pub(super) fn note(&mut self, question: &Question, entry: Option<Entry>) {
        let map = match question.subset {
            Subset::LoadFiles => &mut self.load_files,
            _ => &mut self.applications,
        };
        map.insert(question.aid, entry);
    }

    fn load_file(&self, aid: &Aid) -> Option<&Entry> {
        self.load_files.get(aid)?.as_ref()
    }

    fn application(&self, aid: &Aid) -> Option<&Entry> {
        self.applications.get(aid)?.as_ref()
    }

    /// What DELETE does to the registry.
    fn delete(&mut self, aid: Aid, related: bool) {
        self.load_files.insert(aid, None);
        self.applications.insert(aid, None);
        for entry in self.applications.values_mut() {
            if related && entry.as_ref().is_some_and(|entry| entry.elf == Some(aid)) {
                *entry = None;
            }
        }
    }

    /// Whether nothing is known about this application.
    pub(super) fn is_silent_about(&self, application: &Aid) -> bool {
        !self.applications.contains_key(application)
    }

    /// Whether the question need not be asked any more.
    pub(super) fn answers(&self, question: &Question) -> bool {
        let missing = question.needs.is_some_and(|elf| self.load_files.get(&elf) == Some(&None));
        let map = match question.subset {
            Subset::LoadFiles => &self.load_files,
            _ => &self.applications,
        };
        missing || map.contains_key(&question.aid)
    }
}

/// What has to be known for these jobs. A load file is asked for before its instances, and they are not asked for when it is missing: that
/// saves an exchange in the case that matters most, the first download. (Should another load file have an instance of that name, the card
/// refuses the installation, and the session asks again.)
pub(super) fn questions(jobs: &[Job]) -> Vec<Question> {
    let mut out = Vec::new();
    let mut ask = |subset, aid, needs| {
        let question = Question { subset, aid, needs };
        if !out.contains(&question) {
            out.push(question);
        }
    };
    for job in jobs {
        match job {
            Job::Install(install) => {
                ask(Subset::LoadFiles, *install.elf(), None);
                for instance in install.instances() {
                    ask(Subset::Applications, instance.aid, Some(*install.elf()));
                }
            }
            Job::Delete { aid, .. } => {
                ask(Subset::LoadFiles, *aid, None);
                ask(Subset::Applications, *aid, None);
            }
            Job::Store(_) => {}
        }
    }
    out
}

/// One plain command, wiped when dropped, and what it is called in errors and logs.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) name: &'static str,
    pub(super) command: Zeroizing<Vec<u8>>,
    /// The instance that INSTALL [for install] makes.
    pub(super) application: Option<Aid>,
}

/// The commands that make the chip what the jobs want, and what they do.
pub(super) fn plan(jobs: &[Job], registry: &Registry, block: usize) -> Result<(Vec<Planned>, Report), AdminError> {
    let mut plan = Plan {
        registry: registry.clone(),
        commands: Vec::new(),
        report: Report::default(),
    };
    for job in jobs {
        match job {
            Job::Install(install) => plan.install(install, block)?,
            Job::Delete { aid, related } => {
                if plan.registry.load_file(aid).or(plan.registry.application(aid)).is_some() {
                    plan.delete(*aid, *related)?;
                }
            }
            Job::Store(blocks) => {
                plan.store(blocks)?;
                plan.report.stored += blocks.len();
            }
        }
    }
    Ok((plan.commands, plan.report))
}

struct Plan {
    /// As it will be when the commands so far have been run.
    registry: Registry,
    commands: Vec<Planned>,
    report: Report,
}

impl Plan {
    fn push(&mut self, name: &'static str, command: Result<Vec<u8>, ApduError>) -> Result<(), AdminError> {
        let command = Zeroizing::new(command?);
        self.commands.push(Planned {
            name,
            command,
            application: None,
        });
        Ok(())
    }

    fn delete(&mut self, aid: Aid, related: bool) -> Result<(), AdminError> {
        let delete = Delete::Content {
            aids: alloc::vec![aid],
            related,
            token: &[],
        };
        self.push("DELETE", delete.encode())?;
        self.registry.delete(aid, related);
        self.report.deleted.push(aid);
        Ok(())
    }

    fn store(&mut self, blocks: &[Vec<u8>]) -> Result<(), AdminError> {
        for (n, data) in blocks.iter().enumerate() {
            let store = StoreData {
                last: n + 1 == blocks.len(),
                encryption: Encryption::ApplicationDependent,
                format: Format::BerTlv,
                response: false,
                // Modulo 256, as the specification counts.
                number: n as u8,
                data,
            };
            self.push("STORE DATA", store.encode())?;
        }
        Ok(())
    }

    fn install(&mut self, install: &InstallJob, block: usize) -> Result<(), AdminError> {
        let wanted = install.version();
        let present = self.registry.load_file(install.elf());
        let version = present.map(|entry| version(entry.version.as_deref()));
        match version {
            Some(on_card) if on_card > wanted => {
                return Err(AdminError::Downgrade {
                    elf: *install.elf(),
                    on_card,
                    wanted,
                });
            }
            Some(on_card) if on_card == wanted => {}
            _ => self.load(install, block)?,
        }
        for instance in install.instances() {
            self.instance(install, instance)?;
        }
        Ok(())
    }

    fn load(&mut self, install: &InstallJob, block: usize) -> Result<(), AdminError> {
        let parameters = LoadParameters {
            code_size: u32::try_from(install.load_file().len()).ok(),
            version: Some(install.version()),
            ..LoadParameters::default()
        };
        let parameters = parameters.encode();
        let for_load = Install::ForLoad(InstallForLoad {
            elf: *install.elf(),
            security_domain: Some(Aid::CARD_MANAGER),
            hash: install.hash(),
            parameters: &parameters,
            token: &[],
        });
        self.push("INSTALL [for load]", for_load.encode())?;
        for load in blocks(install.load_file(), block) {
            self.push("LOAD", load.encode())?;
        }
        let entry = Entry {
            version: Some(install.version().to_vec()),
            ..Entry::new(*install.elf(), life_cycle::LOADED)
        };
        self.registry.load_files.insert(*install.elf(), Some(entry));
        self.report.loaded.push(*install.elf());
        Ok(())
    }

    /// The instance is not there: all of it. There and not selectable: the rest. There from another load file: replaced.
    fn instance(&mut self, install: &InstallJob, instance: &Instance) -> Result<(), AdminError> {
        let mut made = false;
        if let Some(entry) = self.registry.application(&instance.aid).cloned() {
            match entry.elf {
                Some(elf) if elf == *install.elf() => made = true,
                Some(_) => self.delete(instance.aid, false)?,
                // One that came with the chip: it gives way to what is downloaded.
                None => {}
            }
            if made && entry.life_cycle & !life_cycle::LOCKED != life_cycle::INSTALLED {
                return Ok(());
            }
        }
        if !made {
            let mut parameters = Vec::new();
            tlv::write(&mut parameters, 0xC9, &instance.parameters);
            let for_install = Install::ForInstall(InstallForInstall {
                elf: Some(*install.elf()),
                module: Some(instance.module),
                application: instance.aid,
                privileges: instance.privileges,
                parameters: &parameters,
                token: &[],
            });
            self.push("INSTALL [for install]", for_install.encode())?;
            if let Some(planned) = self.commands.last_mut() {
                planned.application = Some(instance.aid);
            }
        }
        if !instance.personalisation.is_empty() {
            self.push("INSTALL [for personalization]", Install::ForPersonalization(instance.aid).encode())?;
            self.store(&instance.personalisation)?;
        }
        let selectable = Install::ForMakeSelectable(InstallForInstall {
            elf: None,
            module: None,
            application: instance.aid,
            privileges: Privileges::NONE,
            parameters: &[],
            token: &[],
        });
        self.push("INSTALL [for make selectable]", selectable.encode())?;
        self.report.installed.push(instance.aid);
        Ok(())
    }
}

/// Major and minor; a load file that names none has 0.0.
fn version(bytes: Option<&[u8]>) -> [u8; 2] {
    match bytes {
        Some([major, minor, ..]) => [*major, *minor],
        Some([major]) => [*major, 0],
        _ => [0, 0],
    }
}
