//! Codecs: what is written is read again; nothing makes a parser or a state machine panic.

use proptest::collection::vec;
use proptest::prelude::*;
use tapdoor_protocol::aliro::auth::{
    Auth0Command, Auth0Response, Auth1Command, Auth1Response, Named, Timestamps, cryptogram_text, parse_cryptogram_text,
};
use tapdoor_protocol::aliro::exchange::{ExchangeCommand, ExchangeResponse, MailboxRequest, Operation};
use tapdoor_protocol::aliro::mailbox::{Permissions, execute};
use tapdoor_protocol::aliro::select::{Fci, Lengths};
use tapdoor_protocol::aliro::{Bitmap, ControlFlow, DeviceConfig, KeyForm, ReaderConfig, ReaderIdentifier, ReaderStatus};
use tapdoor_protocol::door::BeginData;

use crate::pair::{Lock, SELECT, card, device_config, public};

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (any::<u16>(), any::<u16>()).prop_map(|(offset, length)| Operation::Read { offset, length }),
        (any::<u16>(), vec(any::<u8>(), 0..300)).prop_map(|(offset, data)| Operation::Write { offset, data }),
        (any::<u16>(), any::<u16>(), any::<u8>()).prop_map(|(offset, length, value)| Operation::Set { offset, length, value }),
    ]
}

fn mailbox() -> impl Strategy<Value = MailboxRequest> {
    (any::<bool>(), vec(operation(), 0..4)).prop_map(|(open, operations)| MailboxRequest { open, operations })
}

/// Bytes that look like one of our objects often enough to get past the first checks.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        0x41, 0x42, 0x5C, 0x87, 0x4C, 0x4D, 0xB1, 0x86, 0x9D, 0xB2, 0x9E, 0x90, 0x4E, 0x5A, 0x5E, 0x91, 0x92, 0xBA, 0x8C, 0x8A, 0x95, 0x97,
        0x98, 0x6F, 0x84, 0xA5, 0x80, 0u8, 1, 2, 4, 8, 0x10, 0x20, 0x40, 0x81, 0x82,
    ]);
    vec(prop_oneof![3 => known, 1 => any::<u8>()], 0..200)
}

proptest! {
    #[test]
    fn auth0(fast: bool, policy in 1u8..4, version: u16, transaction: [u8; 16], reader: [u8; 32], vendor in prop::option::of(vec(any::<u8>(), 0..=127)), cryptogram in prop::array::uniform32(any::<u8>())) {
        let mut encoded = Vec::new();
        if let Some(value) = &vendor {
            tapdoor_protocol::tlv::write(&mut encoded, 0xB1, value);
        }
        let command = Auth0Command { parameters: fast.into(), policy, version, ephemeral: public(&[1; 32]), transaction, reader: ReaderIdentifier(reader), vendor: encoded };
        prop_assert_eq!(Auth0Command::parse(&command.encode()), Ok(command));
        let cryptogram = [cryptogram, cryptogram].concat().try_into().unwrap();
        let response = Auth0Response { ephemeral: public(&[2; 32]), cryptogram: fast.then_some(cryptogram), vendor: Vec::new() };
        prop_assert_eq!(Auth0Response::parse(&response.encode(), fast), Ok(response.clone()));
        prop_assert!(Auth0Response::parse(&response.encode(), !fast).is_err());
    }

    #[test]
    fn auth1(slot: bool, bitmap: u16, certificate in prop::option::of(vec(any::<u8>(), 0..300)), time in prop::option::of(any::<[u8; 20]>())) {
        let form = if slot { KeyForm::Slot } else { KeyForm::PublicKey };
        let command = Auth1Command { form, signature: [7; 64], certificate };
        prop_assert_eq!(Auth1Command::parse(&command.encode()), Ok(command));
        let key = public(&[3; 32]);
        let timestamps = Timestamps { credential: time, revocation: None };
        let named = if slot { Named::Slot(key.slot()) } else { Named::Key(key) };
        let response = Auth1Response { named, signature: [8; 64], private: None, bitmap: Bitmap(bitmap), timestamps };
        prop_assert_eq!(Auth1Response::parse(&response.encode(), form), Ok(response.clone()));
        let other = if slot { KeyForm::PublicKey } else { KeyForm::Slot };
        prop_assert!(Auth1Response::parse(&response.encode(), other).is_err());
        let nonzero = time.filter(|t| *t != [0; 20]);
        let timestamps = Timestamps { credential: nonzero, revocation: None };
        prop_assert_eq!(parse_cryptogram_text(&cryptogram_text(Bitmap(bitmap), &timestamps)), Ok((Bitmap(bitmap), timestamps)));
    }

    #[test]
    fn exchanges(mailbox in prop::option::of(mailbox()), status in prop::option::of(any::<u16>()), ursk: bool, notify in prop::option::of(vec(any::<u8>(), 0..=250)), reads in vec(vec(any::<u8>(), 0..300), 0..4)) {
        let command = ExchangeCommand { mailbox, notify, status: status.map(ReaderStatus), ursk, update: false };
        prop_assert_eq!(ExchangeCommand::parse(&command.encode()), Ok(command));
        let response = ExchangeResponse { reads, status: 0xFFFF };
        prop_assert_eq!(ExchangeResponse::parse(&response.encode()), Some(response));
    }

    #[test]
    fn fcis(versions in vec(any::<u16>(), 1..10), lengths in prop::option::of(any::<(u16, u16)>()), descriptor in prop::option::of(vec(any::<u8>(), 0..80))) {
        let lengths = lengths.map(|(command, response)| Lengths { command, response });
        let fci = Fci::new(&versions, lengths, descriptor.as_deref());
        prop_assert_eq!(Fci::parse(&fci.encode()), Ok(fci));
    }

    #[test]
    fn configurations(requests in vec(mailbox(), 0..4), status: u16, versions in vec(any::<u16>(), 1..4)) {
        let mut config = ReaderConfig::new(ReaderIdentifier([5; 32]), public(&[4; 32]));
        (config.mailbox, config.status, config.versions) = (requests, ReaderStatus(status), versions);
        prop_assert_eq!(ReaderConfig::decode(&config.encode()), Some(config));
        let config = device_config();
        prop_assert_eq!(DeviceConfig::decode(&config.encode()), Some(config));
    }

    #[test]
    fn nothing_panics(bytes in hostile()) {
        let _ = Auth0Command::parse(&bytes);
        let _ = Auth0Response::parse(&bytes, true);
        let _ = Auth1Command::parse(&bytes);
        let _ = Auth1Response::parse(&bytes, KeyForm::Slot);
        let _ = ExchangeCommand::parse(&bytes);
        let _ = ExchangeResponse::parse(&bytes);
        let _ = Fci::parse(&bytes);
        let _ = ControlFlow::parse(&bytes);
        let _ = parse_cryptogram_text(&bytes);
        let _ = DeviceConfig::decode(&bytes);
        let _ = ReaderConfig::decode(&bytes);
        let _ = BeginData::parse(&bytes);
    }

    /// Whatever is asked, the mailbox keeps its size, and what is refused changes nothing.
    #[test]
    fn the_mailbox_holds(requests in vec(mailbox(), 1..6), read: bool, write: bool) {
        let mut content = vec![0u8; 512];
        let mut collected = None;
        for request in requests {
            match execute(&content, Permissions { read, write }, &mut collected, &request) {
                Some(done) => {
                    prop_assert_eq!(collected.is_some(), request.open);
                    prop_assert!(done.changed.is_none() || (write && !request.open));
                    if let Some(changed) = done.changed {
                        prop_assert_eq!(changed.len(), 512);
                        content = changed;
                    }
                }
                None => prop_assert!(collected.is_none()),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any commands in any order: an answer each, and no key outlives the end of a session.
    #[test]
    fn the_device_takes_anything(commands in vec((prop::sample::select(vec![0x80u8, 0x81, 0xD1, 0xC9, 0x3C, 0xC3, 0xCA]), hostile()), 1..8)) {
        let mut card = card();
        card.transmit(SELECT);
        for (ins, data) in commands {
            let mut command = vec![0x80, ins, 0, 0, data.len() as u8];
            command.extend(&data);
            command.push(0);
            let answer = card.transmit(&command);
            prop_assert!(answer.len() >= 2);
            if !answer.ends_with(&[0x90, 0x00]) {
                prop_assert_eq!(card.vault.alive(), 0);
            }
        }
        prop_assert_eq!(card.transmit(b"\x80\x3C\x00\x00\x00"), [0x90, 0x00]);
    }

    /// Any answers: a verdict in bounded time, and it is not that the door opens.
    #[test]
    fn the_reader_takes_anything(answers in vec(hostile(), 1..8), sw in prop::sample::select(vec![0x9000u16, 0x6100, 0x6110, 0x6982])) {
        let mut card = card();
        let mut number = 0;
        let (outcome, _) = Lock::new(|_| ()).tap_bent(&mut card, &mut |_, right| {
            number += 1;
            // Some are right, so that others are reached.
            if number == 1 { return right; }
            let mut answer = answers[number % answers.len()].clone();
            answer.extend(sw.to_be_bytes());
            answer
        });
        prop_assert_ne!(outcome.verdict, tapdoor_protocol::door::Verdict::Open);
    }
}
