//! Properties of the GlobalPlatform codecs: what is written is read again, no bytes make a reader panic, lying lengths are seen through.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::crypto::sign;
use tapdoor_protocol::globalplatform::command::{
    Delete, Encryption, Extradition, Format, GetData, GetStatus, Install, InstallForInstall, InstallForLoad, KeyComponent, KeyData, Load,
    LoadParameters, Management, PutKey, RegistryUpdate, SetStatus, StoreData, Subset, key_type,
};
use tapdoor_protocol::globalplatform::load_file::{self, Gatherer, LoadFile, LoadFileError, blocks};
use tapdoor_protocol::globalplatform::registry::{self, CardRecognition, CardResources, Entry, KeyInfo, Privileges};
use tapdoor_protocol::globalplatform::remote_admin::{AdminFrom, is_content_type, parse_targeted_application, targeted_application};
use tapdoor_protocol::globalplatform::scp03::Keys;
use tapdoor_protocol::globalplatform::script::{self, BadFormat, CommandScript, CommandTlv, Form, ResponseScript, ResponseTlv};
use tapdoor_protocol::status::StatusWord;

fn aid() -> impl Strategy<Value = Aid> {
    vec(any::<u8>(), 5..=16).prop_map(|bytes| Aid::new(&bytes).unwrap())
}

/// Mostly short, sometimes around the limits of short lengths.
fn field() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 120..300)]
}

/// Bytes with tags and lengths of these formats.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let tags = select(
        &[
            0x00, 0x22, 0x23, 0x4F, 0x66, 0x73, 0x80, 0x81, 0x82, 0x83, 0x84, 0x88, 0x90, 0xAA, 0xAB, 0xAE, 0xAF, 0xC0, 0xC3, 0xC4, 0xC5,
            0xC9, 0xE0, 0xE2, 0xE3, 0xEF, 0xFF,
        ][..],
    );
    let byte = prop_oneof![3 => tags, 2 => 0..6u8, 1 => any::<u8>()];
    prop_oneof![vec(byte, 0..40), vec(any::<u8>(), 0..300)]
}

/// What was written is read as the same.
macro_rules! round_trip {
    ($variant:ident, $command:expr) => {{
        let command = $command;
        let apdu = command.encode().unwrap();
        let parsed = Command::parse(&apdu).unwrap();
        prop_assert_eq!((parsed.cla, parsed.ne > 0), (0x80, true));
        prop_assert_eq!(Management::parse(&parsed), Ok(Management::$variant(command)));
    }};
}

fn privileges() -> impl Strategy<Value = Privileges> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(Privileges),
        any::<u8>().prop_map(|a| Privileges([a, 0, 0]))
    ]
}

proptest! {
    #[test]
    fn installs(
        (elf, module, application) in (aid(), proptest::option::of(aid()), aid()),
        domain in proptest::option::of(aid()),
        (parameters, token, hash) in (field(), field(), field()),
        privileges in privileges(),
    ) {
        let (parameters, token, hash) = (&parameters[..], &token[..], &hash[..]);
        round_trip!(Install, Install::ForLoad(InstallForLoad { elf, security_domain: domain, hash, parameters, token }));
        let install = InstallForInstall { elf: Some(elf), module, application, privileges, parameters, token };
        round_trip!(Install, Install::ForInstall(install));
        round_trip!(Install, Install::ForInstallAndMakeSelectable(install));
        round_trip!(Install, Install::ForMakeSelectable(InstallForInstall { elf: None, ..install }));
        round_trip!(Install, Install::ForExtradition(Extradition { security_domain: elf, object: application, parameters, token }));
        round_trip!(Install, Install::ForPersonalization(application));
        let update = RegistryUpdate { security_domain: domain, application: module, privileges: Some(privileges), parameters, token };
        round_trip!(Install, Install::ForRegistryUpdate(update));
        round_trip!(Install, Install::ForRegistryUpdate(RegistryUpdate { privileges: None, ..update }));
    }

    #[test]
    fn load_parameters(code_size: Option<u32>, volatile: Option<u32>, non_volatile: Option<u32>, version: Option<[u8; 2]>, junk in hostile()) {
        let parameters = LoadParameters { code_size, volatile, non_volatile, version };
        prop_assert_eq!(LoadParameters::parse(&parameters.encode()), Some(parameters));
        let _ = LoadParameters::parse(&junk);
    }

    #[test]
    fn other_commands(
        (last, number, block, response) in (any::<bool>(), any::<u8>(), vec(any::<u8>(), 1..300), any::<bool>()),
        encryption in select(&[Encryption::None, Encryption::ApplicationDependent, Encryption::Encrypted][..]),
        format in select(&[Format::Unspecified, Format::Dgi, Format::BerTlv][..]),
        (aids, related, token, aid, state) in (vec(aid(), 1..4), any::<bool>(), field(), aid(), any::<u8>()),
        (kid, kvn, tag) in (any::<u8>(), proptest::option::of(any::<u8>()), any::<u16>()),
        subset in select(&[Subset::IssuerSecurityDomain, Subset::Applications, Subset::LoadFiles, Subset::LoadFilesAndModules][..]),
        (next, tlv, tags) in (any::<bool>(), any::<bool>(), proptest::option::of(vec(any::<u8>(), 0..10))),
    ) {
        round_trip!(Load, Load { last, number, block: &block });
        round_trip!(StoreData, StoreData { last, encryption, format, response, number, data: &block });
        round_trip!(Delete, Delete::Content { aids, related, token: &token });
        round_trip!(Delete, Delete::Keys { kid: Some(kid), kvn });
        round_trip!(SetStatus, SetStatus::Card { state });
        round_trip!(SetStatus, SetStatus::Application { aid, state });
        round_trip!(SetStatus, SetStatus::SecurityDomain { aid, state });
        round_trip!(GetStatus, GetStatus { subset, next, tlv, aid: aid.as_bytes(), tags: tags.as_deref() });
        round_trip!(GetData, GetData { tag, data: &token });
    }

    #[test]
    fn put_keys(
        old in prop_oneof![vec(any::<u8>(), 48), vec(any::<u8>(), 72), vec(any::<u8>(), 96)],
        new in prop_oneof![vec(any::<u8>(), 48), vec(any::<u8>(), 72), vec(any::<u8>(), 96)],
        (kvn, replaces) in (1..=0x7Fu8, 0..=0x7Fu8),
        flip in 0usize..16,
    ) {
        let (old, new) = (Keys::from_bytes(&old).unwrap(), Keys::from_bytes(&new).unwrap());
        let apdu = PutKey::key_set(&old, &new, kvn, replaces).unwrap();
        let command = Command::parse(&apdu).unwrap();
        let put = PutKey::parse(&command).unwrap();
        prop_assert_eq!((put.kvn, put.replaces, put.kid, put.keys.len()), (kvn, replaces, 1, 3));
        for (key, expected) in put.keys.iter().zip(new.in_order()) {
            prop_assert_eq!(&key.aes(&old).unwrap()[..], expected);
        }
        prop_assert_eq!(put.encode().unwrap(), &apdu[..]);
        prop_assert_eq!(put.answer().len(), 10);
        // A bit of the cipher changed, or a key missing its check value: refused.
        let mut data = put.keys[0].components[0].data.to_vec();
        data[1 + flip] ^= 1;
        let component = |data| vec![KeyComponent { kind: key_type::AES, data }];
        let bad = KeyData { components: component(&data), check: put.keys[0].check };
        prop_assert_eq!(bad.aes(&old).map(|_| ()), Err(StatusWord::WRONG_DATA));
        let bare = KeyData { components: put.keys[0].components.clone(), check: &[] };
        prop_assert_eq!(bare.aes(&old).map(|_| ()), Err(StatusWord::WRONG_DATA));
    }

    #[test]
    fn registry_entries(
        entries in vec((aid(), any::<u8>(), proptest::option::of(privileges()), proptest::option::of(aid()),
            proptest::option::of(vec(any::<u8>(), 0..4)), vec(aid(), 0..4), proptest::option::of(aid())), 0..6),
    ) {
        let entries: Vec<Entry> = entries
            .into_iter()
            .map(|(aid, life_cycle, privileges, elf, version, modules, security_domain)| Entry { aid, life_cycle, privileges, elf, version, modules, security_domain })
            .collect();
        let bytes: Vec<u8> = entries.iter().flat_map(Entry::encode).collect();
        prop_assert_eq!(registry::parse_status(&bytes), Some(entries.clone()));
        for subset in [Subset::IssuerSecurityDomain, Subset::Applications, Subset::LoadFiles, Subset::LoadFilesAndModules] {
            let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.encode_old(subset)).collect();
            let read = registry::parse_status_old(&bytes, subset).unwrap();
            prop_assert_eq!(read.len(), entries.len());
            for (read, entry) in read.iter().zip(&entries) {
                prop_assert_eq!((read.aid, read.life_cycle), (entry.aid, entry.life_cycle));
                let modules = if subset == Subset::LoadFilesAndModules { &entry.modules[..] } else { &[] };
                prop_assert_eq!(&read.modules[..], modules);
            }
        }
    }

    #[test]
    fn card_data(
        keys in vec((any::<u8>(), any::<u8>(), vec((0..0xFFu8, any::<u8>()), 1..3)), 0..5),
        (applications, non_volatile, volatile) in any::<(u32, u32, u32)>(),
        version in vec(0..0x80u8, 1..4),
        protocols in vec((0..0x80u8, 0..0x80u8), 0..4),
    ) {
        let keys: Vec<KeyInfo> = keys.into_iter().map(|(kid, kvn, components)| KeyInfo { kid, kvn, components }).collect();
        prop_assert_eq!(KeyInfo::parse(&KeyInfo::template(&keys)), Some(keys));
        let resources = CardResources { applications, non_volatile, volatile };
        prop_assert_eq!(CardResources::parse(&resources.encode()), Some(resources));
        let recognition = CardRecognition { version, protocols };
        prop_assert_eq!(CardRecognition::parse(&recognition.encode()), Some(recognition));
    }

    #[test]
    fn reading_never_panics(bytes in hostile(), header: [u8; 2], ins in select(&[0xE2, 0xE4, 0xE6, 0xE8, 0xF0, 0xF2, 0xCA, 0xD8][..])) {
        let [p1, p2] = header;
        for p1 in [p1, 0x02, 0x04, 0x08, 0x0C, 0x10, 0x20, 0x40] {
            let command = Command::new(0x80, ins, p1, p2).data(&bytes);
            if let Ok(Management::PutKey(put)) = Management::parse(&command) {
                for key in &put.keys {
                    let _ = (key.aes(&Keys::from_bytes(&[1; 48]).unwrap()), key.p256());
                }
            }
            let _ = Management::parse(&Command { p2: 0, ..command });
        }
        let _ = registry::parse_status(&bytes);
        let _ = registry::parse_status_old(&bytes, Subset::LoadFilesAndModules);
        let _ = registry::parse_status_old(&bytes, Subset::Applications);
        let _ = (KeyInfo::parse(&bytes), CardResources::parse(&bytes), CardRecognition::parse(&bytes));
        let _ = LoadFile::parse(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = (text.parse::<AdminFrom>(), parse_targeted_application(&text), is_content_type(&text, &text));
    }

    /// A load file in blocks of any size comes together again, and not one byte early, late, too many or too few.
    #[test]
    fn load_files(block in vec(any::<u8>(), 0..2000), signatures in vec((aid(), vec(any::<u8>(), 0..200)), 0..4), size in 1usize..300, cut in any::<usize>()) {
        let file = LoadFile {
            signatures: signatures.iter().map(|(aid, signature)| load_file::Dap { security_domain: *aid, signature }).collect(),
            block: &block,
        };
        let bytes = file.encode();
        prop_assert_eq!(LoadFile::parse(&bytes), Ok(file));
        let mut gatherer = Gatherer::new(bytes.len());
        let count = blocks(&bytes, size).len();
        for (n, load) in blocks(&bytes, size).enumerate() {
            let whole = gatherer.push(&load).unwrap();
            prop_assert_eq!(load.last, n + 1 == count);
            prop_assert_eq!(whole.as_deref(), load.last.then_some(&bytes[..]));
        }
        // Torn: the last flag comes early.
        let cut = cut % bytes.len();
        prop_assert!(LoadFile::parse(&bytes[..cut]).is_err());
        if cut > 0 {
            let mut gatherer = Gatherer::new(bytes.len());
            let torn = Load { last: true, number: 0, block: &bytes[..cut] };
            let torn = matches!(gatherer.push(&torn), Err(LoadFileError::CutOff { .. }));
            prop_assert!(torn);
        }
        // One byte more than announced.
        let long = [&bytes[..], &[0]].concat();
        prop_assert_eq!(LoadFile::parse(&long), Err(LoadFileError::Trailing { announced: bytes.len(), present: long.len() }));
        let mut gatherer = Gatherer::new(usize::MAX);
        let last = blocks(&long, size).map(|load| gatherer.push(&load)).find(Result::is_err);
        let trailing = matches!(last, Some(Err(LoadFileError::Trailing { .. })));
        prop_assert!(trailing);
        // Not enough room: seen no later than the first byte beyond it.
        let mut gatherer = Gatherer::new(bytes.len() - 1);
        let mut refused = blocks(&bytes, size).map(|load| gatherer.push(&load));
        let too_large = matches!(refused.find(Result::is_err), Some(Err(LoadFileError::TooLarge { .. })));
        prop_assert!(too_large);
    }

    #[test]
    fn scripts(
        form in select(&[Form::Definite, Form::Indefinite][..]),
        commands in vec(vec(any::<u8>(), 4..300), 0..5),
        (immediate, error, chaining) in (vec(any::<u8>(), 1..5), vec(any::<u8>(), 0..5), proptest::option::of(any::<u8>())),
        executed: Option<u32>,
        responses in vec(vec(any::<u8>(), 2..300), 0..5),
        bad in proptest::option::of(select(&[BadFormat::UnknownTag, BadFormat::WrongLength, BadFormat::LengthNotFound][..])),
        at in any::<usize>(),
    ) {
        let mut script = CommandScript::new(form, &commands);
        script.items.insert(0, CommandTlv::ImmediateAction(&immediate));
        script.items.push(CommandTlv::ErrorAction(&error));
        if let Some(chaining) = chaining {
            script.items.insert(0, CommandTlv::ScriptChaining(chaining));
        }
        let bytes = script.encode();
        prop_assert_eq!(CommandScript::parse(&bytes), Ok(script.clone()));
        prop_assert!(script.commands().eq(commands.iter().map(Vec::as_slice)));
        // Cut anywhere, or with a byte behind it.
        prop_assert!(CommandScript::parse(&bytes[..at % bytes.len()]).is_err());
        prop_assert!(CommandScript::parse(&[&bytes[..], &[0]].concat()).is_err());

        let mut script = ResponseScript { form, executed, items: responses.iter().map(|r| ResponseTlv::Response(r)).collect() };
        script.items.push(ResponseTlv::ImmediateAction(&immediate));
        script.items.push(ResponseTlv::ScriptChaining(&[2]));
        script.items.extend(bad.map(ResponseTlv::BadFormat));
        let bytes = script.encode();
        prop_assert_eq!(ResponseScript::parse(&bytes), Ok(script.clone()));
        prop_assert!(script.responses().eq(responses.iter().map(Vec::as_slice)));
        prop_assert!(ResponseScript::parse(&bytes[..at % bytes.len()]).is_err());
    }

    /// Whatever comes as a script, the answer is a response script, and a malformed one runs nothing.
    #[test]
    fn running_noise(bytes in hostile()) {
        let mut run = 0;
        let answer = script::run(&bytes, |apdu| {
            assert!(apdu.len() >= 4);
            run += 1;
            vec![0x90, 0x00]
        });
        let answer = ResponseScript::parse(&answer).unwrap();
        match CommandScript::parse(&bytes) {
            Ok(script) if !script.items.iter().any(|item| matches!(item, CommandTlv::ScriptChaining(_))) => {
                prop_assert_eq!(run, script.commands().count());
                prop_assert_eq!(answer.executed, Some(script.items.len() as u32));
            }
            Ok(_) => prop_assert_eq!(run, 0),
            Err(bad) => {
                prop_assert_eq!(run, 0);
                prop_assert_eq!(answer.items, [ResponseTlv::BadFormat(bad)]);
            }
        }
    }

    #[test]
    fn names(phone: [u8; 8], aid in aid()) {
        for from in [
            AdminFrom::Phone(tapdoor_protocol::ids::PhoneId(phone)),
            AdminFrom::Lock(tapdoor_protocol::ids::LockId(phone)),
        ] {
            prop_assert_eq!(from.to_string().parse(), Ok(from));
        }
        prop_assert_eq!(parse_targeted_application(&targeted_application(&aid)), Some(aid));
    }
}

#[test]
fn header_values() {
    let phone: AdminFrom = "//tapdoor/phone/0011223344556677".parse().unwrap();
    assert_eq!(phone.to_string(), "//tapdoor/phone/0011223344556677");
    for bad in [
        "",
        "//tapdoor/phone/",
        "//tapdoor/phone/00112233445566",
        "//tapdoor/phone/001122334455667788",
        "//tapdoor/phone/001122334455667g",
        "//tapdoor/car/0011223344556677",
        " //tapdoor/lock/0011223344556677",
    ] {
        assert!(bad.parse::<AdminFrom>().is_err(), "{bad}");
    }
    assert_eq!(targeted_application(&Aid::CARD_MANAGER), "//aid/A000000151/000000");
    for bad in [
        "//aid/A0000001/51000000",
        "//aid/A000000151000000",
        "aid/A000000151/000000",
        "//aid/A000000151/0",
    ] {
        assert_eq!(parse_targeted_application(bad), None, "{bad}");
    }
    let expected = "application/vnd.globalplatform.card-content-mgt;version=1.0";
    assert!(is_content_type(
        "Application/vnd.globalplatform.card-content-mgt ; version=1.0",
        expected
    ));
    for bad in ["application/vnd.globalplatform.card-content-mgt", "application/json", "", ";"] {
        assert!(!is_content_type(bad, expected), "{bad}");
    }
}

#[test]
fn bad_scripts_by_kind() {
    let rows: [(&str, BadFormat); 22] = [
        ("", BadFormat::UnknownTag),
        ("ab00", BadFormat::UnknownTag),
        ("aa", BadFormat::LengthNotFound),
        ("aa82", BadFormat::LengthNotFound),
        ("aa8201", BadFormat::LengthNotFound),
        ("aa80", BadFormat::WrongLength),
        ("aa01", BadFormat::WrongLength),
        ("aa0000", BadFormat::WrongLength),
        ("aa83ffffff", BadFormat::WrongLength),
        ("aa84ffffffff", BadFormat::WrongLength),
        ("aa0122", BadFormat::LengthNotFound),
        ("aa0222ff", BadFormat::WrongLength),
        ("aa072283ffffff0000", BadFormat::WrongLength),
        ("aa0622ff80ca0066", BadFormat::WrongLength),
        ("aa05220380ca00", BadFormat::WrongLength),
        ("aa0199", BadFormat::LengthNotFound),
        ("aa029900", BadFormat::UnknownTag),
        ("ae", BadFormat::LengthNotFound),
        ("ae00", BadFormat::WrongLength),
        ("ae80", BadFormat::LengthNotFound),
        ("ae8000", BadFormat::LengthNotFound),
        ("ae80000000", BadFormat::WrongLength),
    ];
    for (text, bad) in rows {
        let bytes = hex::decode(text).unwrap();
        assert_eq!(CommandScript::parse(&bytes), Err(bad), "{text}");
        let form = if text.starts_with("ae") { "af80" } else { "ab06" };
        let end = if text.starts_with("ae") { "0000" } else { "" };
        let expected = format!("{form}8001009001{:02x}{end}", bad as u8);
        assert_eq!(hex::encode(script::run(&bytes, |_| unreachable!())), expected, "{text}");
    }
}

/// A script ends with the first error, and not with a warning.
#[test]
fn a_script_ends_with_the_first_error() {
    let commands = [[0x80, 0xCA, 0, 0]; 5];
    for form in [Form::Definite, Form::Indefinite] {
        for (sws, run) in [
            ([0x9000; 5], 5),
            ([0x6310, 0x6283, 0x9110, 0x9000, 0x9000], 5),
            ([0x9000, 0x6A84, 0x9000, 0x9000, 0x9000], 2),
            ([0x9000, 0x9000, 0x62F1, 0x9000, 0x9000], 3),
            ([0x6982, 0x9000, 0x9000, 0x9000, 0x9000], 1),
        ] {
            let mut answers = sws.iter().map(|sw| StatusWord(*sw).to_bytes().to_vec());
            let answer = script::run(&CommandScript::new(form, &commands).encode(), |_| answers.next().unwrap());
            let answer = ResponseScript::parse(&answer).unwrap();
            assert_eq!(
                (answer.form, answer.executed, answer.responses().count()),
                (form, Some(run), run as usize)
            );
        }
    }
    // A chip that answers nothing is an error too; chaining is not supported.
    let silent = script::run(&CommandScript::new(Form::Definite, &commands).encode(), |_| vec![]);
    assert_eq!(ResponseScript::parse(&silent), Err(BadFormat::WrongLength));
    let chained = hex::decode("aa09830101220480ca0066").unwrap();
    assert_eq!(hex::encode(script::run(&chained, |_| unreachable!())), "ab06800100830102");
}

#[test]
fn signatures() {
    let key = [7; 32];
    let public = p256::ecdsa::SigningKey::from_bytes(&key.into()).unwrap();
    let public = public.verifying_key().to_sec1_point(false);
    let (domain, other) = (Aid::CARD_MANAGER, Aid::CHALLENGE_RESPONSE);
    let bytes = LoadFile::signed(b"the block", domain, |hash| sign::sign(&key, hash)).unwrap();
    let file = LoadFile::parse(&bytes).unwrap();
    assert!(file.is_signed_by(&domain, public.as_bytes()));
    assert!(!file.is_signed_by(&other, public.as_bytes()));
    assert!(!file.is_signed_by(&domain, &[4; 65]));
    assert!(file.has_hash(&load_file::hash(b"the block")) && !file.has_hash(&[]) && !file.has_hash(&[0; 32]));
    // Each part changed.
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        if let Ok(file) = LoadFile::parse(&bad) {
            assert!(!file.is_signed_by(&domain, public.as_bytes()), "byte {at}");
        }
    }
    assert_eq!(LoadFile::signed(b"", domain, |_| None), None);
    // A public key on its way by PUT KEY.
    let point: [u8; 65] = public.as_bytes().try_into().unwrap();
    let apdu = PutKey::p256(&point, 1, 0x73, 0).unwrap();
    let command = Command::parse(&apdu).unwrap();
    let put = PutKey::parse(&command).unwrap();
    assert_eq!(put.keys[0].p256(), Some(&point));
    assert_eq!(put.answer(), [0x73]);
}

#[test]
fn load_blocks_out_of_order_and_lying() {
    let bytes = LoadFile {
        signatures: vec![],
        block: &[1; 100],
    }
    .encode();
    let load = |number, block| Load {
        last: false,
        number,
        block,
    };
    let mut gatherer = Gatherer::new(1000);
    assert!(gatherer.is_empty());
    assert_eq!(gatherer.push(&load(0, &bytes[..1])), Ok(None));
    assert_eq!(gatherer.announced(), None);
    assert_eq!(gatherer.push(&load(1, &bytes[1..50])), Ok(None));
    assert_eq!((gatherer.len(), gatherer.announced()), (50, Some(102)));
    for number in (0..=255).filter(|n| *n != 2) {
        let error = LoadFileError::Order { number, expected: 2 };
        assert_eq!(gatherer.clone().push(&load(number, &bytes[50..])), Err(error));
    }
    // 16 MB announced in 5 bytes.
    let error = Gatherer::new(1000).push(&load(0, &[0xC4, 0x83, 0xFF, 0xFF, 0xFF]));
    assert_eq!(
        error,
        Err(LoadFileError::TooLarge {
            announced: 0x0100_0004,
            limit: 1000
        })
    );
    let error = Gatherer::new(1000).push(&load(0, &[0xE2, 0x83, 0xFF, 0xFF, 0xFF]));
    assert_eq!(
        error,
        Err(LoadFileError::TooLarge {
            announced: 0x0100_0004,
            limit: 1000
        })
    );
    for (bad, error) in [
        (&[0x30, 0x00][..], LoadFileError::Tag { tag: 0x30, position: 0 }),
        (&[0xC4, 0x80], LoadFileError::Length { position: 0 }),
        (&[0xC4, 0x84, 0, 0, 0, 1, 0], LoadFileError::Length { position: 0 }),
        (&[0xE2, 0x00, 0xC4, 0x00], LoadFileError::Signature { number: 0 }),
        (&[0xE2, 0x01, 0x00, 0xFF], LoadFileError::Signature { number: 0 }),
        (&[0xC4, 0x02, 1], LoadFileError::CutOff { announced: 4, present: 3 }),
        (&[], LoadFileError::CutOff { announced: 1, present: 0 }),
    ] {
        assert_eq!(LoadFile::parse(bad), Err(error), "{bad:02X?}");
    }
    // More than 256 blocks: their numbers begin again.
    let long = LoadFile {
        signatures: vec![],
        block: &[9; 300],
    }
    .encode();
    let mut gatherer = Gatherer::new(1000);
    let whole = blocks(&long, 1).map(|load| gatherer.push(&load).unwrap()).last().unwrap();
    assert_eq!(whole, Some(long));
}

#[test]
fn refused_commands() {
    let refuse = |cla, ins, p1, p2, data: &str| {
        let data = hex::decode(data).unwrap();
        let answer = Management::parse(&Command::new(cla, ins, p1, p2).data(&data)).map(|_| ());
        answer.unwrap_err().0
    };
    assert_eq!(refuse(0x80, 0x10, 0, 0, ""), 0x6D00);
    for ins in [0xE2, 0xE4, 0xE6, 0xE8, 0xF0, 0xF2, 0xD8] {
        for cla in [0x00, 0x84, 0x90, 0xA0, 0xE0] {
            assert_eq!(refuse(cla, ins, 0, 0, ""), 0x6E00, "{cla:02X} {ins:02X}");
        }
    }
    for (ins, p1, p2, data, sw) in [
        // INSTALL: kinds there are not, and fields that are none.
        (0xE6, 0x00, 0, "", 0x6A86),
        (0xE6, 0x0E, 0, "", 0x6A86),
        (0xE6, 0x82, 0, "", 0x6A86),
        (0xE6, 0x02, 1, "", 0x6A86),
        (0xE6, 0x02, 0, "", 0x6A80),
        (0xE6, 0x02, 0, "04a000000000000000", 0x6A80),
        (0xE6, 0x02, 0, "05a00000000000000000ff", 0x6A80),
        (0xE6, 0x04, 0, "000005a00000000001000000", 0x6A80),
        (0xE6, 0x20, 0, "000105a0000000000000000000", 0x6A80),
        // LOAD, STORE DATA, DELETE.
        (0xE8, 0x40, 0, "00", 0x6A86),
        (0xE8, 0x00, 0, "", 0x6700),
        (0xE2, 0x02, 0, "", 0x6A86),
        (0xE2, 0x40, 0, "", 0x6A86),
        (0xE2, 0x18, 0, "", 0x6A86),
        (0xE4, 0x80, 0, "", 0x6A86),
        (0xE4, 0, 0x01, "", 0x6A86),
        (0xE4, 0, 0, "", 0x6A80),
        (0xE4, 0, 0, "4f04a0000000", 0x6A80),
        (0xE4, 0, 0, "4f05a000000000d00101", 0x6A80),
        (0xE4, 0, 0, "4fffa000000000", 0x6A80),
        // PUT KEY: nothing, one of several, the extended form, a lying length.
        (0xD8, 0, 0x81, "", 0x6A80),
        (0xD8, 0, 0x81, "30", 0x6A80),
        (0xD8, 0x80, 0x01, "308801aa00", 0x6A86),
        (0xD8, 0, 0x01, "308801aa008801aa00", 0x6A80),
        (0xD8, 0, 0x01, "30ff01aa00", 0x6A80),
        (0xD8, 0, 0x01, "308883ffffff00", 0x6A80),
        (0xD8, 0, 0x01, "3003aabbcc", 0x6A80),
        (0xD8, 0, 0x01, "808801aa00", 0x6A80),
        // GET STATUS, SET STATUS.
        (0xF2, 0x30, 0x02, "4f00", 0x6A86),
        (0xF2, 0x40, 0x04, "4f00", 0x6A86),
        (0xF2, 0x40, 0x02, "4f11", 0x6A80),
        (0xF2, 0x40, 0x02, "8400", 0x6A80),
        (0xF0, 0x20, 0x00, "", 0x6A86),
        (0xF0, 0x40, 0x80, "a0000000", 0x6A80),
    ] {
        assert_eq!(refuse(0x80, ins, p1, p2, data), sw, "{ins:02X} {p1:02X} {p2:02X} {data}");
    }
}
