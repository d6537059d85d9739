//! SCP03, both ends: any commands into an open channel of the card, any answers to the host, and any answer to INITIALIZE UPDATE.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::globalplatform::scp03::{Card, CardChallenge, CardChannel, CardSetup, Channel, Host, I, Keys, Level};
use tapdoor_protocol::status::StatusWord;

const AID: [u8; 8] = [0xA0, 0, 0, 1, 0x51, 0, 0, 0];

fn open(keys: &Keys, s16: bool, level: Level) -> Option<(Channel, CardChannel)> {
    let (host, command) = if s16 {
        Host::initialize_update(0x30, [7u8; 16])
    } else {
        Host::initialize_update(0x30, [7u8; 8])
    };
    let setup = CardSetup {
        diversification: [0; 10],
        kvn: 0x30,
        i: I(if s16 { 0x71 } else { 0x70 }),
        sequence: 1,
        challenge: CardChallenge::PseudoRandom { aid: &AID },
    };
    let (card, mut answer) = Card::initialize_update(keys, &setup, &Command::parse(&command).ok()?).ok()?;
    answer.extend([0x90, 0x00]);
    let (command, channel) = host.authenticate(keys, &answer, level).ok()?;
    let card = card.external_authenticate(&Command::parse(&command).ok()?).ok()?;
    Some((channel, card))
}

fuzz_target!(|bytes: &[u8]| {
    let [settings, kind, bytes @ ..] = bytes else { return };
    let levels = [0x00, 0x01, 0x03, 0x11, 0x13, 0x33];
    let level = levels[usize::from(*settings) % levels.len()];
    let (Ok(keys), Some(level)) = (Keys::new(&[1; 16], &[2; 16], &[3; 16]), Level::new(level)) else {
        return;
    };
    let s16 = settings & 0x80 != 0;

    // Any answer to INITIALIZE UPDATE: the host never takes one that was not made with the keys.
    let (host, _) = Host::initialize_update(0x30, [7u8; 8]);
    assert!(host.authenticate(&keys, bytes, level).is_err());

    let (mut host, mut card) = open(&keys, s16, level).expect("two honest ends agree");
    match kind % 3 {
        // The card's end: nothing that was not made with the keys gets through once there are MACs.
        0 => {
            if let Ok(command) = Command::parse(bytes) {
                let got = card.unwrap(&command);
                assert!(!level.c_mac() || got.is_err());
                assert!(got.is_ok() || !card.is_open());
            }
        }
        // The host's end, in the same way.
        1 => {
            let Ok(wrapped) = host.wrap(&Command::new(0x80, 0xF2, 0x40, 0x02).data(&[0x4F, 0x00]).ne(256)) else {
                return;
            };
            let got = host.unwrap(wrapped.ticket, bytes);
            let success = matches!(bytes, [.., 0x90, 0x00] | [.., 0x62 | 0x63, _]);
            assert!(!(level.r_mac() && success) || got.is_err());
        }
        // There and back: both ends agree on all that is a command.
        _ => {
            for chunk in bytes.chunks(60) {
                let Ok(command) = Command::parse(chunk) else { continue };
                let Ok(wrapped) = host.wrap(&command) else { continue };
                let sent = Command::parse(&wrapped.command).expect("what the host wraps is a command");
                let plain = card.unwrap(&sent).expect("what the host wraps, the card unwraps");
                let plain = Command::parse(&plain).expect("and it is a command");
                assert_eq!(
                    (plain.ins, plain.p1, plain.p2, plain.data),
                    (command.ins, command.p1, command.p2, command.data)
                );
                let data = &chunk[..chunk.len().min(30)];
                let response = card.wrap(data, StatusWord::OK);
                let got = host
                    .unwrap(wrapped.ticket, &response)
                    .expect("what the card wraps, the host unwraps");
                assert_eq!(got, [data, &[0x90, 0x00]].concat());
            }
        }
    }
});
