//! The server's side of remote administration (`tapdoor_protocol::globalplatform::remote_admin`) against the chip, script by script, torn at every
//! command: done again, it finds itself done or does the rest.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/manage.rs"]
mod manage;

use common::*;
use manage::*;
use tapdoor_chip::{Application, Chip, Personalisation};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::door::{Verdict, keys as door};
use tapdoor_protocol::globalplatform::registry::Privileges;
use tapdoor_protocol::globalplatform::remote_admin::{AdminError, AdminSession, AdminStep, InstallJob, Instance, Job, Report};
use tapdoor_protocol::globalplatform::script;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::vault::Slot;

/// Runs a session; the wire is cut after `commands` commands. `None` when it was.
fn administrate(chip: &mut Chip, jobs: Vec<Job>, mut commands: usize) -> Option<Result<Report, AdminError>> {
    let mut session = AdminSession::new(keys(), KVN, jobs).script_limit(1000);
    let mut response: Option<Vec<u8>> = None;
    loop {
        match session.step(response.as_deref(), &[0x77; 16]) {
            AdminStep::Script(bytes) => {
                let mut cut = false;
                response = Some(script::run(&bytes, |command| {
                    if commands == 0 {
                        cut = true;
                        // Nobody gets this: the wire is down.
                        return vec![0x6F, 0x00];
                    }
                    commands -= 1;
                    exchange(chip, Way::Wired, command)
                }));
                if cut {
                    chip.reset_wired();
                    return None;
                }
            }
            AdminStep::Done(report) => return Some(Ok(report)),
            AdminStep::Failed(error) => return Some(Err(error)),
        }
    }
}

fn whole(chip: &mut Chip, jobs: Vec<Job>) -> Result<Report, AdminError> {
    administrate(chip, jobs, usize::MAX).unwrap()
}

/// The challenge-response applet with its phone half for this phone.
fn install() -> Job {
    let code = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../applets/challenge-response.wasm")).unwrap();
    let checked = tapdoor_chip::sandbox::Code::check(&code, &tapdoor_chip::sandbox::Limits::default()).unwrap();
    let load = Load::signed(*checked.elf(), checked.version(), &code);
    let k_ph = door::phone(&SITE, PHONE);
    let dek = keys();
    let key = |slot: Slot, key: &[u8]| object(0xC0, &[&[slot as u8][..], &dek.dek_encrypt(key).unwrap()].concat());
    let instance = Instance {
        module: checked.modules()[0].aid,
        aid: Aid::CHALLENGE_RESPONSE,
        privileges: Privileges::NONE,
        parameters: Vec::new(),
        personalisation: vec![
            [object(0x80, &PHONE.0), object(0x81, &0x8000_0000u32.to_be_bytes())].concat(),
            key(Slot::Phone, &*k_ph),
            key(Slot::Recognition, &*door::recognition(&k_ph)),
        ],
    };
    Job::Install(InstallJob::new(load.file, load.elf, checked.version(), vec![instance]).unwrap())
}

fn simple(version: [u8; 2]) -> Job {
    let load = Load::simple(1, version);
    let instance = Instance {
        module: module_of(1),
        aid: module_of(1),
        privileges: Privileges::NONE,
        parameters: Vec::new(),
        personalisation: vec![object(0x80, &PHONE.0)],
    };
    Job::Install(InstallJob::new(load.file, load.elf, version, vec![instance]).unwrap())
}

fn bare() -> Personalisation {
    let mut fill = managed(Personalisation {
        applications: vec![Application::identity(Aid::IDENTITY, None)],
        ..Personalisation::default()
    });
    fill.card_manager.as_mut().unwrap().dap_keys.push(provider());
    fill
}

fn opens(chip: &mut Chip) -> bool {
    challenge_response(&mut lock(), chip).0.verdict == Verdict::Open
}

#[test]
fn an_application_is_downloaded_and_opens_and_nothing_is_done_twice() {
    // Without, and in place of, a built-in one of the same AID.
    let mut built_in = phone_personalisation(PHONE);
    built_in.card_manager = bare().card_manager;
    for fill in [bare(), built_in] {
        let mut phone = Chip::personalise(memory(), &fill).unwrap();
        let report = whole(&mut phone, vec![install()]).unwrap();
        assert_eq!((report.loaded.len(), report.installed.len()), (1, 1));
        assert!(opens(&mut phone));
        assert!(!whole(&mut phone, vec![install()]).unwrap().changed());
        assert!(opens(&mut phone));
    }
}

#[test]
fn torn_at_every_command_it_is_done_by_the_next_session() {
    let mut built_in = phone_personalisation(PHONE);
    built_in.card_manager = bare().card_manager;
    for (fill, before) in [(bare(), false), (built_in, true)] {
        let mut torn = 0;
        for commands in 0.. {
            let mut phone = Chip::personalise(memory(), &fill).unwrap();
            let Some(done) = administrate(&mut phone, vec![install()], commands) else {
                if before {
                    assert!(opens(&mut phone), "after {commands} commands the old one is in use, or the new one");
                }
                whole(&mut phone, vec![install()]).unwrap_or_else(|e| panic!("after {commands} commands: {e}"));
                assert!(opens(&mut phone), "after {commands} commands");
                torn += 1;
                continue;
            };
            assert!(done.is_ok());
            break;
        }
        assert!(torn > 100, "{torn}");
    }
}

#[test]
fn upgrade_downgrade_deletion_and_list_in_one_session_each() {
    let mut fill = managed(lock_personalisation(LOCK, Vec::new()));
    fill.card_manager.as_mut().unwrap().quotas.instances = 1;
    let mut chip = Chip::personalise(memory(), &fill).unwrap();
    let host = Host::open(&mut chip);
    let list = Job::Store(vec![host.entry(&entry(PHONE, LOCK)), host.entry(&entry(PhoneId([2; 8]), LOCK))]);
    chip.reset_wired();
    let report = whole(&mut chip, vec![simple([1, 0]), list.clone()]).unwrap();
    assert_eq!((report.loaded.len(), report.installed.len(), report.stored), (1, 1, 2));
    assert_eq!(challenge_response(&mut chip, &mut phone()).0.verdict, Verdict::Open);
    let report = whole(&mut chip, vec![simple([2, 0])]).unwrap();
    assert_eq!((report.loaded.len(), report.installed.len()), (1, 0));
    assert!(matches!(whole(&mut chip, vec![simple([1, 9])]), Err(AdminError::Downgrade { .. })));
    let delete = Job::Delete {
        aid: elf(1),
        related: true,
    };
    assert_eq!(whole(&mut chip, vec![delete.clone()]).unwrap().deleted.len(), 1);
    assert!(!whole(&mut chip, vec![delete]).unwrap().changed());
    // What the chip refuses is told.
    let big = Job::Install(InstallJob::new(Load::simple(1, [1, 0]).file, elf(2), [1, 0], Vec::new()).unwrap());
    assert!(matches!(
        whole(&mut chip, vec![big]),
        Err(AdminError::Refused { command: "LOAD", .. })
    ));
    assert!(chip.take_refusal().is_some_and(|reason| reason.contains("the module in it says")));
}
