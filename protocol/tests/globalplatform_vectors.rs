//! Commands, answers, load files and scripts against those of other implementations and of cards.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::globalplatform::command::{
    Delete, Extradition, GetData, GetStatus, Install, InstallForInstall, InstallForLoad, LoadParameters, Management, Subset, key_type,
};
use tapdoor_protocol::globalplatform::load_file::{Gatherer, LoadFile, blocks};
use tapdoor_protocol::globalplatform::registry::{self, CardRecognition, CardResources, KeyInfo, Privileges};
use tapdoor_protocol::globalplatform::remote_admin;
use tapdoor_protocol::globalplatform::script::{CommandScript, Form, ResponseScript, ResponseTlv};
use tapdoor_protocol::tlv;

fn commands() -> Value {
    serde_json::from_str(include_str!("vectors/gp_commands.json")).unwrap()
}

fn scripts() -> Value {
    serde_json::from_str(include_str!("vectors/ota_expanded_scp81.json")).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn aid(text: &str) -> Aid {
    text.parse().unwrap()
}

/// The vector with this name in a list of vectors.
fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut list = list.as_array().unwrap().iter();
    list.find(|v| v["name"].as_str().unwrap().starts_with(name)).unwrap()
}

/// The same C-APDU, whatever its Le.
fn encode(management: &Management<'_>) -> Vec<u8> {
    match management {
        Management::Install(c) => c.encode(),
        Management::Load(c) => c.encode(),
        Management::StoreData(c) => c.encode(),
        Management::Delete(c) => c.encode(),
        Management::PutKey(c) => c.encode(),
        Management::SetStatus(c) => c.encode(),
        Management::GetStatus(c) => c.encode(),
        Management::GetData(c) => c.encode(),
        other => panic!("{other:?}"),
    }
    .unwrap()
}

/// Every recorded command is read, and written again as it was.
#[test]
fn commands_round_trip() {
    let file = commands();
    let list = file["commands"].as_array().unwrap();
    assert!(list.len() >= 9);
    for v in list {
        let apdu = hex(&v["apdu"]);
        let command = Command::parse(&apdu).unwrap();
        let management = Management::parse(&command).unwrap_or_else(|sw| panic!("{sw}: {v}"));
        let again = encode(&management);
        let again = Command::parse(&again).unwrap();
        assert_eq!(Command { ne: command.ne, ..again }, command, "{v}");
    }
}

#[test]
fn commands_mean_what_they_are_called() {
    let file = commands();
    let parse = |name: &str| hex(&named(&file["commands"], name)["apdu"]);
    let install = |apdu: &[u8]| match Management::parse(&Command::parse(apdu).unwrap()).unwrap() {
        Management::Install(install) => format!("{install:?}"),
        other => panic!("{other:?}"),
    };
    let apdu = parse("INSTALL [for load] Exercise");
    let parameters = hex::decode("ef04c6020682").unwrap();
    let expected = Install::ForLoad(InstallForLoad {
        elf: aid("45786572636973655236"),
        security_domain: None,
        hash: &[],
        parameters: &parameters,
        token: &[],
    });
    assert_eq!(install(&apdu), format!("{expected:?}"));
    let sizes = LoadParameters::parse(&parameters).unwrap();
    assert_eq!(sizes.code_size, Some(0x0682));
    assert_eq!(sizes.encode(), parameters);

    let none = InstallForInstall {
        elf: None,
        module: None,
        application: aid("d276000124010101"),
        privileges: Privileges::NONE,
        parameters: &[],
        token: &[],
    };
    let apdu = parse("INSTALL [for make selectable]");
    let read = install(&apdu);
    assert!(read.starts_with("ForMakeSelectable") && read.contains("d2760001240101"), "{read}");
    assert_eq!(none.application_parameters(), Some(&[][..]));

    let apdu = parse("INSTALL [for extradition]");
    let Management::Install(Install::ForExtradition(Extradition { security_domain, .. })) =
        Management::parse(&Command::parse(&apdu).unwrap()).unwrap()
    else {
        panic!()
    };
    assert_eq!(security_domain, Aid::CARD_MANAGER);

    let apdu = parse("DELETE");
    let Management::Delete(Delete::Content { aids, related, token }) = Management::parse(&Command::parse(&apdu).unwrap()).unwrap() else {
        panic!()
    };
    assert_eq!((aids, related, token), (vec![aid("a00100015141434c")], true, &[][..]));

    let status = |name| hex(&named(&file["commands"], name)["apdu"]);
    assert_eq!(
        GetStatus::all(Subset::IssuerSecurityDomain).encode().unwrap(),
        status("GET STATUS ISD")
    );
    assert_eq!(GetStatus::all(Subset::LoadFiles).encode().unwrap(), status("GET STATUS ELF"));
    let data = |tag| GetData { tag, data: &[] }.encode().unwrap();
    assert_eq!(data(0x00E0), status("GET DATA key"));
    assert_eq!(data(0x9F7F), status("GET DATA CPLC"));
}

/// What is signed for a delete token: P1, P2, Lc and data of the command.
#[test]
fn a_delete_of_two() {
    let file = commands();
    let signed = hex(&named(&file["token_and_params"], "delete token")["data"]);
    let apdu = [&[0x80, 0xE4][..], &signed].concat();
    let Management::Delete(Delete::Content { aids, related, .. }) = Management::parse(&Command::parse(&apdu).unwrap()).unwrap() else {
        panic!()
    };
    assert_eq!(aids, [aid("d0d1d2d3d4d501"), aid("d0d1d2d3d4d50101")]);
    assert!(related);
}

#[test]
fn install_parameters_of_a_security_domain() {
    let file = commands();
    let content = hex(&named(&file["token_and_params"], "SD install")["data"]);
    let mut parameters = Vec::new();
    tlv::write(&mut parameters, 0xC9, &content);
    let install = Install::ForInstall(InstallForInstall {
        elf: Some(aid("a0000001515350")),
        module: Some(aid("a000000151535041")),
        application: aid("a00000015153504101"),
        privileges: Privileges([0x80, 0xC0, 0x00]),
        parameters: &parameters,
        token: &[],
    });
    let apdu = install.encode().unwrap();
    let command = Command::parse(&apdu).unwrap();
    let Management::Install(Install::ForInstall(read)) = Management::parse(&command).unwrap() else {
        panic!()
    };
    assert_eq!(read.application_parameters(), Some(&content[..]));
    assert!(read.privileges.contains(Privileges::SECURITY_DOMAIN) && read.privileges.contains(Privileges::AUTHORIZED_MANAGEMENT));
    assert!(!read.privileges.contains(Privileges::GLOBAL_DELETE));
}

#[test]
fn answers_of_cards() {
    let file = commands();
    let v = named(&file["responses"], "GET STATUS");
    let [entry] = &registry::parse_status(&hex(&v["tlv"])).unwrap()[..] else {
        panic!()
    };
    let parsed = &v["parsed"];
    assert_eq!(entry.aid, aid(parsed["aid"].as_str().unwrap()));
    assert_eq!([entry.life_cycle][..], hex(&parsed["life_cycle"]));
    assert_eq!(entry.privileges.unwrap().0[..], hex(&parsed["privileges"]));
    assert_eq!(entry.elf, Some(aid(parsed["elf"].as_str().unwrap())));
    assert_eq!(entry.version, Some(hex(&parsed["version"])));
    assert_eq!(entry.security_domain, Some(aid(parsed["sd"].as_str().unwrap())));
    // Written again, without the object that is the card's own.
    let again = entry.encode();
    assert_eq!(registry::parse_status(&again).unwrap(), std::slice::from_ref(entry));
    assert_eq!(again[2..], hex(&v["tlv"])[2..2 + again.len() - 2]);

    let v = named(&file["responses"], "FF21");
    let resources = CardResources::parse(&hex(&v["tlv"])).unwrap();
    let number = |name: &str| u32::try_from(v["parsed"][name].as_u64().unwrap()).unwrap();
    assert_eq!(resources.applications, number("installed_apps"));
    assert_eq!(resources.non_volatile, number("free_nv"));
    assert_eq!(resources.volatile, number("free_volatile"));
    assert_eq!(resources.encode(), hex(&v["tlv"]));

    let v = named(&file["responses"], "key info");
    let [key] = &KeyInfo::parse(&hex(&v["tlv"])).unwrap()[..] else {
        panic!()
    };
    assert_eq!((key.kid, key.kvn, &key.components[..]), (2, 3, &[(key_type::AES, 16)][..]));
    assert_eq!(key.encode(), hex(&v["tlv"]));
    let template = KeyInfo::template(std::slice::from_ref(key));
    assert_eq!(KeyInfo::parse(&template).unwrap(), std::slice::from_ref(key));

    let v = named(&file["responses"], "card recognition");
    let data = CardRecognition::parse(&hex(&v["tlv"])).unwrap();
    assert_eq!((&data.version[..], &data.protocols[..]), (&[2, 1, 1][..], &[(0x02, 0x15)][..]));
    assert_eq!(data.encode(), hex(&v["tlv"]));
}

#[test]
fn the_load_file_and_its_blocks() {
    let v = &commands()["load_file"];
    let bytes = hex(&v["load_file"]);
    let file = LoadFile::parse(&bytes).unwrap();
    let [dap] = file.signatures[..] else { panic!() };
    assert_eq!((dap.security_domain, dap.signature.len()), (Aid::CARD_MANAGER, 64));
    assert_eq!(file.block.len(), 500);
    assert_eq!(file.encode(), bytes);

    let expected = v["blocks"].as_array().unwrap();
    let size = usize::try_from(expected[0]["lc"].as_u64().unwrap()).unwrap();
    let made = blocks(&bytes, size);
    assert_eq!(made.len(), expected.len());
    let mut gatherer = Gatherer::new(bytes.len());
    let mut whole = None;
    for (load, expected) in made.zip(expected) {
        let apdu = hex(&expected["apdu"]);
        assert_eq!(load.encode().unwrap(), apdu);
        assert_eq!(whole, None);
        let Management::Load(load) = Management::parse(&Command::parse(&apdu).unwrap()).unwrap() else {
            panic!()
        };
        whole = gatherer.push(&load).unwrap();
    }
    assert_eq!(whole, Some(bytes));
}

#[test]
fn command_scripts() {
    let file = scripts();
    let list = file["commands"].as_array().unwrap();
    assert!(list.len() >= 4);
    for v in list {
        let apdus: Vec<Vec<u8>> = v["c_apdus"].as_array().unwrap().iter().map(hex).collect();
        let form = match v["form"].as_str().unwrap() {
            "definite" => Form::Definite,
            _ => Form::Indefinite,
        };
        let encoded = hex(&v["encoded"]);
        let script = CommandScript::new(form, &apdus);
        assert_eq!(script.encode(), encoded, "{v}");
        assert_eq!(CommandScript::parse(&encoded), Ok(script), "{v}");
    }
}

#[test]
fn response_scripts() {
    let file = scripts();
    let list = file["responses"].as_array().unwrap();
    assert!(list.len() >= 5);
    for v in list {
        let encoded = hex(&v["encoded"]);
        let script = ResponseScript::parse(&encoded).unwrap_or_else(|bad| panic!("{bad}: {v}"));
        assert_eq!(script.executed.map(u64::from), v["number_of_executed"].as_u64(), "{v}");
        let apdus: Vec<Vec<u8>> = v["r_apdus"].as_array().unwrap().iter().map(hex).collect();
        assert!(script.responses().eq(apdus.iter().map(Vec::as_slice)), "{v}");
        let others = v["other_tlvs"].as_object().unwrap();
        assert_eq!(script.items.len() - apdus.len(), others.len(), "{v}");
        if let Some(value) = others.get("81") {
            assert!(script.items.contains(&ResponseTlv::ImmediateAction(&hex(value))), "{v}");
        }
        assert_eq!(script.encode(), encoded, "{v}");
    }
}

#[test]
fn header_names() {
    let http = &scripts()["scp81_http"];
    let has = |list: &str, line: String| {
        let list = http[list].as_array().unwrap();
        assert!(list.iter().any(|l| l.as_str().unwrap().starts_with(&line)), "{line}");
    };
    let protocol = format!("{}: {}", remote_admin::PROTOCOL, remote_admin::PROTOCOL_VALUE);
    has("request_headers", protocol.clone());
    has("request_headers", format!("{}: ", remote_admin::FROM));
    has("request_headers", format!("{}: true", remote_admin::RESUME));
    let statuses = ["ok", "unknown-application", "not-a-security-domain", "security-error"];
    has(
        "request_headers",
        format!("{}: {}", remote_admin::SCRIPT_STATUS, statuses.join("|")),
    );
    for status in statuses {
        assert_eq!(remote_admin::ScriptStatus::parse(status).unwrap().to_string(), status);
    }
    assert_eq!(remote_admin::ScriptStatus::parse("OK"), None);
    has("request_headers", format!("Content-Type: {}", remote_admin::RESPONSES));
    has("response_headers", protocol);
    has("response_headers", format!("{}: ", remote_admin::NEXT_URI));
    has("response_headers", format!("{}: //aid/", remote_admin::TARGETED_APPLICATION));
    has("response_headers", format!("Content-Type: {}", remote_admin::COMMANDS));
}
