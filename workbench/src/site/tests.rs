#![allow(clippy::unwrap_used)]

use std::path::Path;

use tapdoor_hce_card::PhoneConfig;
use tapdoor_protocol::globalplatform::load_file::LoadFile;
use tapdoor_reader::LockConfig;
use tapdoor_server::ServerConfig;

use super::*;

#[test]
fn check_digits() {
    // The example of 3GPP TS 23.003 annex B: IMEI 490154203237518.
    assert_eq!(with_luhn("49015420323751"), "490154203237518");
    assert_eq!(with_luhn("7992739871"), "79927398713");
}

#[test]
fn the_files_are_read_back_as_the_keys_they_came_from() {
    for usim in [false, true] {
        let site = Site::generate(2, usim).unwrap();
        let lock = LockConfig::parse(Path::new("lock.toml"), &site.lock_toml()).unwrap();
        let list: Vec<ListEntry> = site.phones.iter().map(|p| site.entry(*p)).collect();
        assert_eq!(lock.personalisation.list, list);
        assert_eq!(lock.personalisation.subscribers.len(), usize::from(usim));
        assert_eq!(lock.personalisation.card_manager, Some(site.lock_manager()));
        for (index, phone) in site.phones.iter().enumerate() {
            let parse = |bare| PhoneConfig::parse(Path::new("phone.toml"), &site.phone_toml(index, "p.chip", bare).unwrap()).unwrap();
            let config = parse(false);
            assert_eq!(config.id, *phone);
            assert_eq!(config.personalisation.applications[..2], site.phone_chip(*phone).applications[..2]);
            assert_eq!(config.personalisation.card_manager, site.phone_manager(index));
            assert_eq!(config.server.url, "", "the agent runs when it is asked for");
            let bare = parse(true);
            let aids: Vec<Aid> = bare.personalisation.applications.iter().map(|a| a.aid).collect();
            assert_eq!(aids.first(), Some(&Aid::IDENTITY));
            assert!(!aids.contains(&Aid::CHALLENGE_RESPONSE) && !aids.contains(&Aid::AKA));
            assert_eq!(bare.personalisation.card_manager, site.phone_manager(index));
        }
    }
}

#[test]
fn the_server_knows_the_same_site_and_its_applications_are_signed() {
    let site = Site::generate(2, true).unwrap();
    let config = ServerConfig::parse(Path::new("server.toml"), &site.server_toml("0123456789abcdef")).unwrap();
    let register = &config.register;
    assert_eq!(register.locks[0].id, site.lock);
    assert_eq!(register.phones.iter().map(|p| p.id).collect::<Vec<_>>(), site.phones);
    assert_eq!(register.grants.len(), 2);
    assert!(register.locks[0].chip.is_some() && register.phones.iter().all(|p| p.chip.is_some()));
    let files = site.load_files();
    assert_eq!(files.len(), 2);
    let provider = &register.providers[0];
    for (name, content) in &files {
        assert!(
            LoadFile::parse(content).unwrap().is_signed_by(&Aid::CARD_MANAGER, &provider.key),
            "{name}"
        );
    }
    // Every application is in one of the files, and its module says so.
    for application in &register.applications {
        let name = application.load_file.to_str().unwrap();
        let (_, content) = files.iter().find(|(file, _)| file == name).unwrap();
        let block = LoadFile::parse(content).unwrap().block;
        let code = tapdoor_chip::sandbox::Code::check(block, &tapdoor_chip::sandbox::Limits::default()).unwrap();
        assert_eq!(code.elf(), &application.elf);
        assert_eq!(code.version(), application.version.0);
        assert!(code.module(&application.module).is_some(), "{}", application.name);
    }
    for system in &register.systems {
        for name in [&system.application, &system.lock_application] {
            assert!(register.applications.iter().any(|a| Some(&a.name) == name.as_ref()));
        }
    }
}
