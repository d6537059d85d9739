//! GET STATUS in all its forms, GET DATA, SET STATUS and what the states of card and applications allow.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/manage.rs"]
mod manage;

use common::*;
use manage::*;
use tapdoor_chip::{Chip, SqliteStore};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::Verdict;
use tapdoor_protocol::globalplatform::command::{GetStatus, Install, SetStatus, Subset};
use tapdoor_protocol::globalplatform::registry::{self, CardRecognition, CardResources, KeyInfo};
use tapdoor_protocol::globalplatform::scp03::Level;

const OK: u16 = 0x9000;
const SUBSETS: [Subset; 4] = [
    Subset::IssuerSecurityDomain,
    Subset::Applications,
    Subset::LoadFiles,
    Subset::LoadFilesAndModules,
];

fn instance(n: u8) -> Aid {
    Aid::new(&[b"\xF0INSTANCE-LONG", &[n][..]].concat()).unwrap()
}

/// 6 load files, one of them with 12 modules, and 40 applications.
fn crowd() -> Chip {
    let mut fill = managed(phone_personalisation(PHONE));
    let quotas = &mut fill.card_manager.as_mut().unwrap().quotas;
    (quotas.load_files, quotas.instances) = (10, 50);
    let mut chip = Chip::personalise(memory(), &fill).unwrap();
    let mut host = Host::open(&mut chip);
    for n in 1..=5 {
        assert_eq!(host.load(&mut chip, &Load::simple(n, [1, n])), OK);
    }
    let modules: Vec<Aid> = (1..=12u8)
        .map(|n| Aid::new(&[&module_of(6).as_bytes()[..10], &[n; 6][..]].concat()).unwrap())
        .collect();
    let large = code(&elf(6), &modules.iter().collect::<Vec<_>>(), [3, 1], b"x");
    assert_eq!(host.load(&mut chip, &Load::new(elf(6), [3, 1], &large)), OK);
    for n in 0..40 {
        assert_eq!(host.make(&mut chip, &module_of(1 + n % 5), &instance(n)), OK);
    }
    chip
}

#[test]
fn everything_is_listed_in_every_form_at_every_level() {
    let mut chip = crowd();
    for way in [Way::Wired, Way::Field] {
        for level in [0x00, 0x01, 0x03, 0x11, 0x13, 0x33] {
            let mut host = Host::open_by(&mut chip, way, Level::new(level).unwrap());
            for subset in SUBSETS {
                let [mut tlv, mut old] = [Vec::new(), Vec::new()];
                let mut most = 0;
                for (is_tlv, out) in [(true, &mut tlv), (false, &mut old)] {
                    let mut request = GetStatus::all(subset);
                    request.tlv = is_tlv;
                    loop {
                        let (data, status) = host.ask(&mut chip, &request.encode().unwrap());
                        most = most.max(data.len());
                        assert!(!data.is_empty());
                        out.extend(data);
                        match status {
                            0x6310 => request.next = true,
                            OK => break,
                            status => panic!("{status:04x}"),
                        }
                    }
                    request.next = true;
                    assert_eq!(host.sw(&mut chip, &request.encode().unwrap()), 0x6985, "there is no next one");
                }
                let (tlv, old) = (
                    registry::parse_status(&tlv).unwrap(),
                    registry::parse_status_old(&old, subset).unwrap(),
                );
                let count = match subset {
                    Subset::IssuerSecurityDomain => 1,
                    Subset::Applications => 43,
                    Subset::LoadFiles | Subset::LoadFilesAndModules => 6,
                };
                assert_eq!((tlv.len(), old.len()), (count, count), "{subset:?}");
                for (a, b) in tlv.iter().zip(&old) {
                    assert_eq!((a.aid, a.life_cycle, &a.modules), (b.aid, b.life_cycle, &b.modules));
                }
                if subset != Subset::LoadFilesAndModules {
                    assert!(most <= 240, "{subset:?}: {most}");
                }
                let last = tlv.last().unwrap();
                match subset {
                    Subset::IssuerSecurityDomain => assert_eq!(last.life_cycle, 0x0F),
                    Subset::Applications => {
                        assert_eq!((last.aid, last.elf, last.life_cycle), (instance(39), Some(elf(5)), 0x07));
                        assert_eq!(last.security_domain, Some(Aid::CARD_MANAGER));
                    }
                    Subset::LoadFiles | Subset::LoadFilesAndModules => {
                        assert_eq!(
                            (last.aid, last.version.as_deref(), last.life_cycle),
                            (elf(6), Some(&[3, 1][..]), 0x01)
                        );
                        assert_eq!(last.modules.len(), if subset == Subset::LoadFiles { 0 } else { 12 });
                    }
                }
            }
            // By the beginning of an AID.
            let mut request = GetStatus::all(Subset::Applications);
            let (seven, load_file) = (instance(7), elf(1));
            request.aid = seven.as_bytes();
            let found = registry::parse_status(&host.ask(&mut chip, &request.encode().unwrap()).0).unwrap();
            assert_eq!(found.iter().map(|e| e.aid).collect::<Vec<_>>(), [instance(7)]);
            request.aid = &load_file.as_bytes()[..8];
            assert_eq!(host.ask(&mut chip, &request.encode().unwrap()).1, OK);
            request.aid = &[9; 5];
            assert_eq!(host.ask(&mut chip, &request.encode().unwrap()), (vec![], 0x6A88));
            // Of another kind there is no next.
            assert_eq!(host.sw(&mut chip, &GetStatus::all(Subset::Applications).encode().unwrap()), 0x6310);
            let mut other = GetStatus::all(Subset::LoadFiles);
            other.next = true;
            assert_eq!(host.sw(&mut chip, &other.encode().unwrap()), 0x6985);
        }
    }
}

#[test]
fn get_data_tells_what_a_host_needs() {
    let mut fill = managed(phone_personalisation(PHONE));
    fill.card_manager.as_mut().unwrap().dap_keys.push(provider());
    let mut chip = Chip::personalise(memory(), &fill).unwrap();
    let get = |chip: &mut Chip, tag: u16| {
        let [p1, p2] = tag.to_be_bytes();
        let mut answer = exchange(chip, Way::Wired, &[0x80, 0xCA, p1, p2, 0]);
        assert_eq!(sw(&answer), OK, "{tag:04x}");
        answer.truncate(answer.len() - 2);
        answer
    };
    let keys = KeyInfo::parse(&get(&mut chip, 0x00E0)).unwrap();
    let keys: Vec<_> = keys.iter().map(|k| (k.kid, k.kvn, k.components[0])).collect();
    assert_eq!(
        keys,
        [
            (1, KVN, (0x88, 16)),
            (2, KVN, (0x88, 16)),
            (3, KVN, (0x88, 16)),
            (1, 0x73, (0xB0, 33))
        ]
    );
    let recognition = CardRecognition::parse(&get(&mut chip, 0x0066)).unwrap();
    assert_eq!((recognition.version, recognition.protocols), (vec![2, 3, 1], vec![(3, 0x70)]));
    let before = CardResources::parse(&get(&mut chip, 0xFF21)).unwrap();
    assert_eq!((before.applications, before.non_volatile), (3, 1 << 20));
    assert_eq!(get(&mut chip, 0x00C1), [0xC1, 3, 0, 0, 0]);
    let mut host = Host::open(&mut chip);
    let code = code(&elf(1), &[&module_of(1)], [1, 0], b"x");
    assert_eq!(host.load(&mut chip, &Load::signed(elf(1), [1, 0], &code)), OK);
    assert_eq!(host.make(&mut chip, &module_of(1), &instance(1)), OK);
    // The same within the channel.
    let (resources, status) = host.ask(&mut chip, &[0x80, 0xCA, 0xFF, 0x21, 0]);
    let after = CardResources::parse(&resources).unwrap();
    assert_eq!(
        (status, after.applications, after.non_volatile),
        (OK, 4, (1 << 20) - code.len() as u32)
    );
    assert_eq!(host.sw(&mut chip, &[0x80, 0xCA, 0x00, 0xFE, 0]), 0x6A88);
    exchange(&mut chip, Way::Wired, &select_manager());
    assert_eq!(get(&mut chip, 0x00C1), [0xC1, 3, 0, 0, 1]);
    // What cannot be selected is not in the directory.
    let mut host = Host::open(&mut chip);
    let hidden = for_install(&module_of(1), &instance(2));
    assert_eq!(host.install(&mut chip, &Install::ForInstall(hidden)), OK);
    exchange(&mut chip, Way::Wired, &select_manager());
    let directory = get(&mut chip, 0x2F00);
    let holds = |aid: &Aid| directory.windows(aid.as_bytes().len()).any(|w| w == aid.as_bytes());
    assert!(holds(&instance(1)) && holds(&Aid::AKA) && !holds(&instance(2)));
}

fn set(request: SetStatus) -> Vec<u8> {
    request.encode().unwrap()
}

#[test]
fn applications_are_locked_and_unlocked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    let fill = managed(phone_personalisation(PHONE));
    let start = || Chip::personalise(Box::new(SqliteStore::open(&path).unwrap()), &fill).unwrap();
    let mut chip = start();
    let mut host = Host::open(&mut chip);
    assert_eq!(host.load(&mut chip, &Load::simple(1, [1, 0])), OK);
    assert_eq!(host.make(&mut chip, &module_of(1), &instance(1)), OK);
    for aid in [Aid::CHALLENGE_RESPONSE, instance(1)] {
        let mut host = Host::open(&mut chip);
        let old = host.state(&mut chip, &aid).unwrap();
        assert_eq!(sw(&send(&mut chip, &select(&aid))), OK);
        for _ in 0..2 {
            assert_eq!(host.sw(&mut chip, &set(SetStatus::Application { aid, state: 0x80 })), OK);
            assert_eq!(host.state(&mut chip, &aid), Some(old | 0x80));
        }
        assert_eq!(send(&mut chip, &[0x80, 0x01, 0, 0]), [0x69, 0x85], "it was selected");
        assert_eq!(sw(&send(&mut chip, &select(&aid))), 0x6A82);
        drop(chip);
        chip = start();
        assert_eq!(sw(&send(&mut chip, &select(&aid))), 0x6A82, "it stays locked");
        let mut host = Host::open(&mut chip);
        assert_eq!(host.sw(&mut chip, &set(SetStatus::Application { aid, state: 0x00 })), OK);
        assert_eq!(host.state(&mut chip, &aid), Some(old));
        assert_eq!(sw(&send(&mut chip, &select(&aid))), OK);
    }
    assert_eq!(challenge_response(&mut lock(), &mut chip).0.verdict, Verdict::Open);
    let mut host = Host::open(&mut chip);
    assert_eq!(
        host.sw(&mut chip, &set(SetStatus::Application { aid: elf(9), state: 0x80 })),
        0x6A88
    );
    assert_eq!(
        host.sw(
            &mut chip,
            &set(SetStatus::Application {
                aid: instance(1),
                state: 0x0F
            })
        ),
        0x6A80
    );
    let aid = Aid::CARD_MANAGER;
    assert_eq!(host.sw(&mut chip, &set(SetStatus::SecurityDomain { aid, state: 0x80 })), 0x6A81);
    // One that was never selectable is not made so by unlocking.
    let hidden = for_install(&module_of(1), &instance(2));
    assert_eq!(host.install(&mut chip, &Install::ForInstall(hidden)), OK);
    let aid = instance(2);
    for (state, expected) in [(0x80, 0x83), (0x00, 0x03)] {
        assert_eq!(host.sw(&mut chip, &set(SetStatus::Application { aid, state })), OK);
        assert_eq!(host.state(&mut chip, &aid), Some(expected));
        assert_eq!(sw(&send(&mut chip, &select(&aid))), 0x6A82);
    }
}

#[test]
fn a_locked_card_only_lets_itself_be_unlocked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chip");
    let start = || Chip::open(Box::new(SqliteStore::open(&path).unwrap())).unwrap();
    let fill = managed(phone_personalisation(PHONE));
    let mut chip = Chip::personalise(Box::new(SqliteStore::open(&path).unwrap()), &fill).unwrap();
    let mut host = Host::open(&mut chip);
    for state in [0x01, 0x07, 0x0F] {
        assert_eq!(
            host.sw(&mut chip, &set(SetStatus::Card { state })),
            0x6985,
            "{state:02x}: there is no way back"
        );
    }
    assert_eq!(host.sw(&mut chip, &set(SetStatus::Card { state: 0x33 })), 0x6A80);
    assert_eq!(sw(&send(&mut chip, &select(&Aid::AKA))), OK);
    assert_eq!(host.sw(&mut chip, &set(SetStatus::Card { state: 0x7F })), OK);
    assert_eq!(send(&mut chip, &[0x80, 0x88, 0, 0]), [0x69, 0x85], "it was selected");
    for _ in 0..2 {
        assert_eq!(sw(&send(&mut chip, &select(&Aid::AKA))), 0x6A82);
        assert_eq!(sw(&send(&mut chip, &select_manager())), 0x6283);
        assert!(send(&mut chip, &select_manager()).len() > 20, "its FCI comes with the warning");
        chip = {
            drop(chip);
            start()
        };
    }
    let mut host = Host::open(&mut chip);
    assert_eq!(host.status(&mut chip, Subset::IssuerSecurityDomain)[0].life_cycle, 0x7F);
    assert_eq!(host.load(&mut chip, &Load::simple(1, [1, 0])), 0x6985);
    for ins in [0xD8, 0xE2, 0xE4, 0xE6, 0xE8] {
        assert_eq!(host.sw(&mut chip, &[0x80, ins, 0, 0, 1, 0, 0]), 0x6985, "{ins:02x}");
    }
    assert_eq!(host.sw(&mut chip, &[0x80, 0xCA, 0, 0x45, 0]), OK);
    assert_eq!(host.sw(&mut chip, &set(SetStatus::Card { state: 0x0F })), OK);
    assert_eq!(challenge_response(&mut lock(), &mut chip).0.verdict, Verdict::Open);
    // The end.
    let mut host = Host::open(&mut chip);
    assert_eq!(host.sw(&mut chip, &set(SetStatus::Card { state: 0xFF })), OK);
    for _ in 0..2 {
        for way in [Way::Wired, Way::Field] {
            assert_eq!(exchange(&mut chip, way, &select_manager()), [0x6A, 0x82]);
            assert_eq!(
                exchange(&mut chip, way, &[0x80, 0x50, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0]),
                [0x69, 0x85]
            );
            assert_eq!(sw(&exchange(&mut chip, way, &[0x80, 0xCA, 0, 0x45, 0])), OK);
            let list = Command::new(0x80, 0xF2, 0x40, 2).data(&[0x4F, 0]).ne(256).encode().unwrap();
            assert_eq!(exchange(&mut chip, way, &list), [0x69, 0x82]);
        }
        assert_eq!(sw(&send(&mut chip, &select(&Aid::AKA))), 0x6A82);
        drop(chip);
        chip = start();
    }
}
