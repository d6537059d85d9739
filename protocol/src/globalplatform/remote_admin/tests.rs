//! [`AdminSession`] against a small card manager that keeps its registry in memory.

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::aid::Aid;
use crate::apdu::Command;
use crate::globalplatform::command::{Delete, Install, Management, Subset};
use crate::globalplatform::load_file::{Gatherer, LoadFile};
use crate::globalplatform::registry::{Entry, Privileges, life_cycle};
use crate::globalplatform::scp03::{Card, CardChallenge, CardChannel, CardSetup, I, Keys};
use crate::globalplatform::script::{self, Form, ResponseScript, ResponseTlv};
use crate::status::StatusWord;

const RANDOM: &[u8; 16] = &[3; 16];

fn aid(last: u8) -> Aid {
    Aid::new(&[0xF0, 0x54, 0x41, 0x50, 0x44, 0x4F, 0x4F, 0x52, last]).unwrap()
}

fn keys() -> Keys {
    Keys::from_bytes(&[0x42; 48]).unwrap()
}

/// A card manager, as much of one as a session needs.
struct Chip {
    keys: Keys,
    i: I,
    sequence: u32,
    begun: Option<Card>,
    channel: Option<CardChannel>,
    load_files: Vec<Entry>,
    applications: Vec<Entry>,
    loading: Option<(Entry, Gatherer)>,
    target: Option<Aid>,
    /// Blocks stored: for an application, or for the card manager.
    stored: Vec<(Option<Aid>, Vec<u8>)>,
    /// Every plain command after EXTERNAL AUTHENTICATE, by its instruction.
    seen: Vec<u8>,
    /// Answer this instruction with this status word, after that many that go well.
    fault: Option<(u8, usize, u16)>,
}

impl Chip {
    fn new() -> Self {
        Self {
            keys: keys(),
            i: I::DEFAULT,
            sequence: 0,
            begun: None,
            channel: None,
            load_files: vec![],
            applications: vec![],
            loading: None,
            target: None,
            stored: vec![],
            seen: vec![],
            fault: None,
        }
    }

    fn transmit(&mut self, apdu: &[u8]) -> Vec<u8> {
        let command = Command::parse(apdu).unwrap();
        let sw = |sw: StatusWord| sw.to_bytes().to_vec();
        match (command.cla, command.ins) {
            (0x00, 0xA4) => {
                (self.begun, self.channel) = (None, None);
                if command.data == Aid::CARD_MANAGER.as_bytes() {
                    sw(StatusWord::OK)
                } else {
                    sw(StatusWord::NOT_FOUND)
                }
            }
            (0x80, 0x50) => {
                self.sequence += 1;
                let setup = CardSetup {
                    diversification: [0; 10],
                    kvn: 0x30,
                    i: self.i,
                    sequence: self.sequence,
                    challenge: CardChallenge::PseudoRandom {
                        aid: Aid::CARD_MANAGER.as_bytes(),
                    },
                };
                match Card::initialize_update(&self.keys, &setup, &command) {
                    Ok((card, answer)) => {
                        self.begun = Some(card);
                        [answer, vec![0x90, 0x00]].concat()
                    }
                    Err(error) => sw(error),
                }
            }
            (0x84, 0x82) => match self.begun.take().unwrap().external_authenticate(&command) {
                Ok(channel) => {
                    self.channel = Some(channel);
                    sw(StatusWord::OK)
                }
                Err(error) => sw(error),
            },
            _ => {
                let mut channel = self.channel.take().unwrap();
                let (data, answer) = match channel.unwrap(&command) {
                    Ok(plain) => self.manage(&Command::parse(&plain).unwrap()),
                    Err(error) => (vec![], error),
                };
                let answer = channel.wrap(&data, answer);
                self.channel = Some(channel);
                answer
            }
        }
    }

    fn manage(&mut self, command: &Command<'_>) -> (Vec<u8>, StatusWord) {
        self.seen.push(command.ins);
        if let Some((ins, left, sw)) = &mut self.fault
            && *ins == command.ins
        {
            if *left == 0 {
                return (vec![], StatusWord(*sw));
            }
            *left -= 1;
        }
        match self.managed(&Management::parse(command).unwrap()) {
            Ok(data) => (data, StatusWord::OK),
            Err(sw) => (vec![], sw),
        }
    }

    fn managed(&mut self, command: &Management<'_>) -> Result<Vec<u8>, StatusWord> {
        let refused = StatusWord::CONDITIONS_NOT_SATISFIED;
        match command {
            Management::GetStatus(ask) => {
                let list = if ask.subset == Subset::LoadFiles {
                    &self.load_files
                } else {
                    &self.applications
                };
                let found: Vec<u8> = list
                    .iter()
                    .filter(|entry| entry.aid.as_bytes().starts_with(ask.aid))
                    .flat_map(Entry::encode)
                    .collect();
                if found.is_empty() {
                    Err(StatusWord::DATA_NOT_FOUND)
                } else {
                    Ok(found)
                }
            }
            Management::Install(Install::ForLoad(load)) => {
                let version = crate::tlv::find(load.parameters, 0xCD).unwrap().to_vec();
                let entry = Entry {
                    version: Some(version),
                    ..Entry::new(load.elf, life_cycle::LOADED)
                };
                self.loading = Some((entry, Gatherer::new(100_000)));
                Ok(vec![])
            }
            Management::Load(load) => {
                let (entry, gatherer) = self.loading.as_mut().ok_or(refused)?;
                if let Some(bytes) = gatherer.push(load).map_err(|_| StatusWord::WRONG_DATA)? {
                    LoadFile::parse(&bytes).map_err(|_| StatusWord::WRONG_DATA)?;
                    let entry = entry.clone();
                    self.load_files.retain(|old| old.aid != entry.aid);
                    self.load_files.push(entry);
                    self.loading = None;
                }
                Ok(vec![])
            }
            Management::Install(Install::ForInstall(install)) => {
                if self.applications.iter().any(|entry| entry.aid == install.application) {
                    return Err(refused);
                }
                if !self.load_files.iter().any(|entry| Some(entry.aid) == install.elf) {
                    return Err(StatusWord::NOT_FOUND);
                }
                self.applications.push(Entry {
                    elf: install.elf,
                    ..Entry::new(install.application, life_cycle::INSTALLED)
                });
                Ok(vec![])
            }
            Management::Install(Install::ForMakeSelectable(install)) => {
                let entry = self.applications.iter_mut().find(|entry| entry.aid == install.application);
                entry.ok_or(StatusWord::DATA_NOT_FOUND)?.life_cycle = life_cycle::SELECTABLE;
                Ok(vec![])
            }
            Management::Install(Install::ForPersonalization(aid)) => {
                self.target = Some(*aid);
                Ok(vec![])
            }
            Management::StoreData(store) => {
                self.stored.push((self.target, store.data.to_vec()));
                if store.last {
                    self.target = None;
                }
                Ok(vec![])
            }
            Management::Delete(Delete::Content { aids, related, .. }) => {
                for aid in aids {
                    self.load_files.retain(|entry| entry.aid != *aid);
                    self.applications
                        .retain(|entry| entry.aid != *aid && !(*related && entry.elf == Some(*aid)));
                }
                Ok(vec![0])
            }
            other => panic!("{other:?}"),
        }
    }

    /// Runs a session to its end; the number of scripts, and how it ended.
    fn administer(&mut self, session: &mut AdminSession) -> (usize, AdminStep) {
        let mut response = None;
        for scripts in 0.. {
            match session.step(response.as_deref(), RANDOM) {
                AdminStep::Script(bytes) => response = Some(script::run(&bytes, |apdu| self.transmit(apdu))),
                end => return (scripts, end),
            }
            assert!(scripts < 100, "the session does not end");
        }
        unreachable!()
    }

    fn done(&mut self, jobs: Vec<Job>) -> (usize, Report) {
        self.seen.clear();
        let (scripts, end) = self.administer(&mut AdminSession::new(keys(), 0x30, jobs));
        match end {
            AdminStep::Done(report) => (scripts, report),
            other => panic!("{other:?}"),
        }
    }

    fn failed(&mut self, jobs: Vec<Job>) -> AdminError {
        self.seen.clear();
        match self.administer(&mut AdminSession::new(keys(), 0x30, jobs)).1 {
            AdminStep::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    }
}

fn job_of(elf: u8, version: [u8; 2], instances: &[u8]) -> Job {
    let file = LoadFile {
        signatures: vec![],
        block: &[0x5A; 16_000],
    };
    let instances = instances.iter().map(|instance| Instance {
        module: aid(elf + 0x10),
        aid: aid(*instance),
        privileges: Privileges::NONE,
        parameters: vec![1],
        personalisation: vec![vec![0x80, 0x01, *instance], vec![0xC0; 200]],
    });
    Job::Install(InstallJob::new(file.encode(), aid(elf), version, instances.collect()).unwrap())
}

fn job(version: [u8; 2]) -> Job {
    job_of(0xA1, version, &[0x01])
}

fn states(chip: &Chip) -> Vec<(Aid, u8)> {
    chip.applications.iter().map(|entry| (entry.aid, entry.life_cycle)).collect()
}

#[test]
fn fresh_install_then_nothing_to_do() {
    let mut chip = Chip::new();
    let mut session = AdminSession::new(keys(), 0x30, vec![job([1, 0])]);
    let (scripts, end) = chip.administer(&mut session);
    let report = Report {
        loaded: vec![aid(0xA1)],
        installed: vec![aid(1)],
        ..Report::default()
    };
    assert_eq!((scripts, end), (3, AdminStep::Done(report)));
    // INSTALL [for load], 67 LOADs, [for install], [for personalization], 2 STORE DATA, [for make selectable].
    assert_eq!(session.progress(), Progress { done: 73, total: 73 });
    assert_eq!(states(&chip), [(aid(1), life_cycle::SELECTABLE)]);
    assert_eq!(chip.stored.len(), 2);
    assert!(chip.stored.iter().all(|(target, _)| *target == Some(aid(1))));
    // Again: two questions and nothing else.
    let (scripts, report) = chip.done(vec![job([1, 0])]);
    assert_eq!((scripts, report.changed()), (2, false));
    assert_eq!(chip.seen, [0xF2, 0xF2]);
    // The session is over.
    assert!(matches!(session.step(None, RANDOM), AdminStep::Failed(AdminError::OutOfTurn(_))));
    assert!(matches!(
        session.step(Some(&[]), RANDOM),
        AdminStep::Failed(AdminError::OutOfTurn(_))
    ));
}

#[test]
fn several_jobs_several_scripts_both_forms() {
    for form in [Form::Definite, Form::Indefinite] {
        let mut chip = Chip::new();
        chip.i = I(0x71);
        let jobs = vec![
            job_of(0xA1, [1, 0], &[1, 2, 3]),
            Job::Store(vec![vec![0xE7, 0], vec![0xE5; 100]]),
            job_of(0xA2, [1, 0], &[4]),
        ];
        let mut session = AdminSession::new(keys(), 0, jobs).form(form).script_limit(1000);
        let mut response = None;
        let (mut progress, mut scripts) = (vec![], 0);
        let report = loop {
            match session.step(response.as_deref(), &[9; 16]) {
                AdminStep::Script(bytes) => {
                    assert!(bytes.len() < 1400, "{}", bytes.len());
                    scripts += 1;
                    progress.push(session.progress().done);
                    response = Some(script::run(&bytes, |apdu| chip.transmit(apdu)));
                }
                AdminStep::Done(report) => break report,
                AdminStep::Failed(error) => panic!("{error}"),
            }
        };
        assert!(scripts > 20 && progress.is_sorted());
        assert_eq!(report.installed, [aid(1), aid(2), aid(3), aid(4)]);
        assert_eq!((report.loaded.len(), report.stored), (2, 2));
        assert_eq!(chip.stored.iter().filter(|(target, _)| target.is_none()).count(), 2);
        assert_eq!(chip.applications.len(), 4);
    }
}

/// Stopped at each command, then done again: the rest is done, and nothing twice that is whole.
#[test]
fn torn_at_each_command() {
    let total = 73 + 5;
    for stop in 0..total {
        let mut chip = Chip::new();
        let jobs = || vec![job_of(0xA1, [1, 0], &[1, 2])];
        let mut session = AdminSession::new(keys(), 0x30, jobs());
        let mut left = stop + 1;
        let mut response: Option<Vec<u8>> = None;
        while let AdminStep::Script(bytes) = session.step(response.as_deref(), RANDOM) {
            let questions = chip.seen.iter().filter(|ins| **ins == 0xF2).count();
            let mut torn = false;
            let answer = script::run(&bytes, |apdu| {
                // Count only what is planned: after the question.
                torn |= questions > 0 && left == 0;
                if torn {
                    return vec![0x6F, 0x00];
                }
                left -= usize::from(questions > 0);
                chip.transmit(apdu)
            });
            if torn {
                break;
            }
            response = Some(answer);
        }
        // What was not whole is gone with the power.
        chip.loading = None;
        chip.target = None;
        let whole = !chip.load_files.is_empty();
        let (_, report) = chip.done(jobs());
        assert_eq!(report.loaded.is_empty(), whole, "{stop}");
        assert_eq!(
            states(&chip),
            [(aid(1), life_cycle::SELECTABLE), (aid(2), life_cycle::SELECTABLE)],
            "{stop}"
        );
        assert_eq!(chip.load_files.len(), 1);
        let (_, report) = chip.done(jobs());
        assert!(!report.changed(), "{stop}");
    }
}

#[test]
fn upgrade_and_downgrade() {
    let mut chip = Chip::new();
    chip.done(vec![job([1, 9])]);
    let (_, report) = chip.done(vec![job([2, 0])]);
    assert_eq!((&report.loaded[..], &report.installed[..]), (&[aid(0xA1)][..], &[][..]));
    assert_eq!(chip.load_files[0].version, Some(vec![2, 0]));
    let error = chip.failed(vec![job([1, 9])]);
    let (on_card, wanted) = ([2, 0], [1, 9]);
    assert_eq!(
        error,
        AdminError::Downgrade {
            elf: aid(0xA1),
            on_card,
            wanted
        }
    );
    assert!(chip.seen.iter().all(|ins| *ins == 0xF2), "nothing was changed");
    assert_eq!(
        alloc::format!("{error}"),
        "the chip has f0544150444f4f52a1 in version 2.0, 1.9 was to be loaded: a downgrade is refused"
    );
}

/// The instance's name belongs to another load file: it is replaced, be the new load file there before or not.
#[test]
fn another_method_under_the_same_name() {
    for there in [false, true] {
        let mut chip = Chip::new();
        chip.done(vec![job([1, 0])]);
        if there {
            chip.done(vec![job_of(0xA2, [1, 0], &[])]);
        }
        let (_, report) = chip.done(vec![job_of(0xA2, [1, 0], &[0x01])]);
        assert_eq!((&report.deleted[..], &report.installed[..]), (&[aid(1)][..], &[aid(1)][..]));
        assert_eq!(chip.applications[0].elf, Some(aid(0xA2)));
        assert_eq!(chip.load_files.len(), 2);
    }
}

#[test]
fn delete() {
    let mut chip = Chip::new();
    chip.done(vec![job([1, 0])]);
    let delete = |aid, related| vec![Job::Delete { aid, related }];
    let (_, report) = chip.done(delete(aid(0x77), false));
    assert!(!report.changed());
    let (_, report) = chip.done(delete(aid(0xA1), true));
    assert_eq!(report.deleted, [aid(0xA1)]);
    assert!(chip.load_files.is_empty() && chip.applications.is_empty());
    // Delete and install again in one session.
    chip.done(vec![job([1, 0])]);
    let (_, report) = chip.done([delete(aid(0xA1), true), vec![job([1, 0])]].concat());
    assert_eq!((report.deleted.len(), report.loaded.len(), report.installed.len()), (1, 1, 1));
    assert_eq!(states(&chip), [(aid(1), life_cycle::SELECTABLE)]);
}

#[test]
fn no_room_in_the_middle() {
    let mut chip = Chip::new();
    chip.fault = Some((0xE8, 30, 0x6A84));
    let error = chip.failed(vec![job([1, 0])]);
    assert_eq!(
        error,
        AdminError::Refused {
            command: "LOAD",
            number: 32,
            total: 73,
            sw: StatusWord::NOT_ENOUGH_MEMORY
        }
    );
    assert!(chip.load_files.is_empty());
    // The script stopped there.
    assert_eq!(chip.seen.iter().filter(|ins| **ins == 0xE8).count(), 31);
    chip.fault = None;
    chip.done(vec![job([1, 0])]);
    // A question that is refused for another reason than "nothing found", and an instance that cannot be made.
    chip.fault = Some((0xF2, 0, 0x6985));
    let error = chip.failed(vec![job([1, 0])]);
    assert!(matches!(error, AdminError::Refused { command: "GET STATUS", number: 0, sw, .. } if sw.0 == 0x6985));
    let mut chip = Chip::new();
    chip.fault = Some((0xE6, 1, 0x6A80));
    let error = chip.failed(vec![job([1, 0])]);
    assert!(matches!(
        error,
        AdminError::Refused {
            command: "INSTALL [for install]",
            ..
        }
    ));
}

#[test]
fn the_wrong_chip() {
    let mut chip = Chip::new();
    chip.keys = Keys::from_bytes(&[0x43; 48]).unwrap();
    let error = chip.failed(vec![job([1, 0])]);
    assert!(matches!(error, AdminError::SecureChannel(_)), "{error}");
    assert!(chip.channel.is_none());
}

#[test]
fn answers_that_are_none() {
    let answer = |items: Vec<ResponseTlv<'_>>| {
        let mut script = ResponseScript::new(Form::Definite, 2);
        script.items = items;
        script.encode()
    };
    let first = |response: &[u8]| {
        let mut session = AdminSession::new(keys(), 0x30, vec![job([1, 0])]);
        assert!(matches!(session.step(None, RANDOM), AdminStep::Script(_)));
        match session.step(Some(response), RANDOM) {
            AdminStep::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(first(&[]), AdminError::ResponseScript(script::BadFormat::UnknownTag));
    assert_eq!(
        first(&[0xAB, 0x05, 0x23]),
        AdminError::ResponseScript(script::BadFormat::WrongLength)
    );
    let bad = answer(vec![ResponseTlv::BadFormat(script::BadFormat::WrongLength)]);
    assert_eq!(first(&bad), AdminError::CommandScript(script::BadFormat::WrongLength));
    assert_eq!(
        first(&answer(vec![ResponseTlv::ScriptChaining(&[2])])),
        AdminError::UnexpectedAnswer
    );
    let sw = StatusWord::NOT_FOUND;
    assert_eq!(
        first(&answer(vec![ResponseTlv::Response(&[0x6A, 0x82])])),
        AdminError::Select { sw }
    );
    let missing = |answers| AdminError::Missing { answers, commands: 2 };
    let ok = ResponseTlv::Response(&[0x90, 0x00]);
    assert_eq!(first(&answer(vec![])), missing(0));
    assert_eq!(first(&answer(vec![ok])), missing(1));
    assert_eq!(first(&answer(vec![ok; 3])), missing(3));
    assert!(matches!(first(&answer(vec![ok; 2])), AdminError::SecureChannel(_)));

    // Later: all answers cut off at each number, and then too many.
    for kept in 0..3 {
        let mut chip = Chip::new();
        chip.done(vec![job([1, 0])]);
        let mut session = AdminSession::new(keys(), 0x30, vec![job([1, 0])]);
        let mut response = None;
        for _ in 0..2 {
            let AdminStep::Script(bytes) = session.step(response.as_deref(), RANDOM) else {
                panic!()
            };
            response = Some(script::run(&bytes, |apdu| chip.transmit(apdu)));
        }
        let response = response.unwrap();
        let mut cut = ResponseScript::parse(&response).unwrap();
        cut.items.truncate(kept);
        let (answers, commands) = (kept, 3);
        let end = session.step(Some(&cut.encode()), RANDOM);
        assert_eq!(end, AdminStep::Failed(AdminError::Missing { answers, commands }));
    }
}

/// EXTERNAL AUTHENTICATE refused, and success claimed without an R-MAC.
#[test]
fn success_has_to_be_proved() {
    for (fake, proved) in [(&[0x63, 0x00][..], false), (&[0x90, 0x00][..], true)] {
        let mut chip = Chip::new();
        let mut session = AdminSession::new(keys(), 0x30, vec![Job::Store(vec![vec![0xE7, 0x00]])]);
        let mut response = None;
        let mut scripts = 0;
        let error = loop {
            match session.step(response.as_deref(), RANDOM) {
                AdminStep::Script(bytes) => {
                    scripts += 1;
                    response = Some(script::run(&bytes, |apdu| match apdu[1] {
                        0x82 if !proved => fake.to_vec(),
                        0xE2 => fake.to_vec(),
                        _ => chip.transmit(apdu),
                    }));
                }
                AdminStep::Failed(error) => break error,
                AdminStep::Done(_) => panic!("nothing was stored"),
            }
        };
        match proved {
            false => assert_eq!((scripts, error), (2, AdminError::Authentication { sw: StatusWord(0x6300) })),
            true => assert!(matches!(error, AdminError::SecureChannel(_)), "{error}"),
        }
        assert!(chip.stored.is_empty());
    }
}

#[test]
fn jobs_that_are_none() {
    assert!(matches!(
        InstallJob::new(vec![0x30], aid(1), [1, 0], vec![]),
        Err(JobError::LoadFile(_))
    ));
    let instance = Instance {
        module: aid(1),
        aid: aid(2),
        privileges: Privileges::NONE,
        parameters: vec![],
        personalisation: vec![vec![0; 240]],
    };
    let shown = alloc::format!("{instance:?}");
    assert!(shown.contains("1 blocks") && !shown.contains("[0"));
    assert_eq!(
        InstallJob::new(vec![0xC4, 0x00], aid(1), [1, 0], vec![instance]),
        Err(JobError::BlockTooLong { length: 240 })
    );
    // Nothing to do at all.
    let mut chip = Chip::new();
    let (scripts, report) = chip.done(vec![]);
    assert_eq!((scripts, report.changed()), (2, false));
}
