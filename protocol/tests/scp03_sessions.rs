//! SCP03 where something goes wrong, and properties of whole sessions: every mode, level and key length.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::collection::vec;
use proptest::prelude::*;
use tapdoor_protocol::apdu::{Command, Response};
use tapdoor_protocol::globalplatform::scp03::{
    Card, CardChallenge, CardChannel, CardSetup, Challenge, Channel, Host, I, Keys, Level, Mode, Scp03Error, is_protected,
};
use tapdoor_protocol::status::StatusWord;

const AID: &[u8] = &[0xA0, 0, 0, 1, 0x51, 0, 0, 0];
const LEVELS: [Level; 6] = [
    Level::NONE,
    Level::C_MAC,
    Level::C_ENC,
    Level::C_MAC_R_MAC,
    Level::C_ENC_R_MAC,
    Level::FULL,
];
/// GET STATUS, with data and Le.
const PLAIN: [u8; 8] = [0x80, 0xF2, 0x40, 0x02, 0x02, 0x4F, 0x00, 0x00];

fn keys() -> Keys {
    Keys::from_bytes(&core::array::from_fn::<u8, 48, _>(|i| i as u8)).unwrap()
}

fn setup(i: u8) -> CardSetup<'static> {
    CardSetup {
        diversification: [7; 10],
        kvn: 0x30,
        i: I(i),
        sequence: 1,
        challenge: CardChallenge::PseudoRandom { aid: AID },
    }
}

fn ok(data: Vec<u8>) -> Vec<u8> {
    [data, vec![0x90, 0x00]].concat()
}

fn pair_of(keys: &Keys, mode: Mode, level: Level) -> (Channel, CardChannel) {
    let (i, challenge) = match mode {
        Mode::S8 => (0x70, Challenge::from([5; 8])),
        Mode::S16 => (0x71, Challenge::from([5; 16])),
    };
    let (host, update) = Host::initialize_update(0x30, challenge);
    let (card, answer) = Card::initialize_update(keys, &setup(i), &Command::parse(&update).unwrap()).unwrap();
    let (authenticate, channel) = host.authenticate(keys, &ok(answer), level).unwrap();
    (
        channel,
        card.external_authenticate(&Command::parse(&authenticate).unwrap()).unwrap(),
    )
}

fn pair(level: Level) -> (Channel, CardChannel) {
    pair_of(&keys(), Mode::S8, level)
}

fn wrap(channel: &mut Channel, plain: &[u8]) -> Vec<u8> {
    channel.wrap(&Command::parse(plain).unwrap()).unwrap().command
}

fn receive(channel: &mut CardChannel, command: &[u8]) -> Result<Vec<u8>, StatusWord> {
    channel.unwrap(&Command::parse(command).unwrap()).map(|plain| plain.to_vec())
}

/// The session is over at the card: the right command does not help any more, and answers prove nothing.
fn over(channel: &mut CardChannel, good: &[u8]) {
    assert!(!channel.is_open());
    assert_eq!(receive(channel, good), Err(StatusWord::CONDITIONS_NOT_SATISFIED));
    assert_eq!(channel.wrap(&[1, 2, 3], StatusWord::OK), [0x69, 0x82]);
    assert_eq!(channel.wrap(&[], StatusWord::WRONG_DATA), [0x6A, 0x80]);
}

#[test]
fn every_changed_bit_of_a_command_ends_the_session() {
    for level in LEVELS.into_iter().skip(1) {
        let good = wrap(&mut pair(level).0, &PLAIN);
        // All but the last byte, which is Le and is not authenticated; Lc makes it another command or none.
        for bit in 0..(good.len() - 1) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let Ok(command) = Command::parse(&bad) else { continue };
            // The lowest bits of CLA are the logical channel, which is not authenticated.
            if bit < 2 {
                assert!(pair(level).1.unwrap(&command).is_ok());
                continue;
            }
            let (_, mut card) = pair(level);
            assert_eq!(card.unwrap(&command).map(|_| ()), Err(StatusWord::SECURITY_STATUS), "bit {bit}");
            over(&mut card, &good);
        }
    }
}

#[test]
fn replayed_reordered_dropped() {
    for level in LEVELS.into_iter().skip(1) {
        let (mut host, mut card) = pair(level);
        let first = wrap(&mut host, &PLAIN);
        let second = wrap(&mut host, &PLAIN);
        let third = wrap(&mut host, &PLAIN);
        assert_ne!(first, second);
        assert!(receive(&mut card, &first).is_ok());
        // Replayed.
        assert_eq!(receive(&mut card, &first), Err(StatusWord::SECURITY_STATUS));
        over(&mut card, &second);
        // Reordered, and the first one dropped.
        let (_, mut card) = pair(level);
        assert_eq!(receive(&mut card, &second), Err(StatusWord::SECURITY_STATUS));
        // One dropped in the middle.
        let (_, mut card) = pair(level);
        assert!(receive(&mut card, &first).is_ok());
        assert_eq!(receive(&mut card, &third), Err(StatusWord::SECURITY_STATUS));
        // In order.
        let (_, mut card) = pair(level);
        for command in [&first, &second, &third] {
            assert_eq!(receive(&mut card, command), Ok(PLAIN.to_vec()));
        }
    }
}

#[test]
fn commands_without_mac() {
    let (_, mut card) = pair(Level::C_MAC);
    assert_eq!(receive(&mut card, &PLAIN), Err(StatusWord::SECURITY_STATUS));
    assert!(!card.is_open());
    // Announced and not there.
    for data in [&[][..], &[1; 7]] {
        let (_, mut card) = pair(Level::FULL);
        let bare = Command::new(0x84, 0xF2, 0x40, 0x02).data(data).encode().unwrap();
        assert_eq!(receive(&mut card, &bare), Err(StatusWord::SECURITY_STATUS));
    }
}

#[test]
fn a_session_of_another_counter_or_challenge() {
    let (mut host, _) = pair(Level::FULL);
    let command = wrap(&mut host, &PLAIN);
    let (host, update) = Host::initialize_update(0x30, [5; 8]);
    let next = CardSetup {
        sequence: 2,
        ..setup(0x70)
    };
    let (card, answer) = Card::initialize_update(&keys(), &next, &Command::parse(&update).unwrap()).unwrap();
    let (authenticate, _) = host.authenticate(&keys(), &ok(answer), Level::FULL).unwrap();
    let mut card = card.external_authenticate(&Command::parse(&authenticate).unwrap()).unwrap();
    assert_eq!(receive(&mut card, &command), Err(StatusWord::SECURITY_STATUS));
}

#[test]
fn authentication_that_fails() {
    let (host, update) = Host::initialize_update(0x30, [5; 8]);
    let update = Command::parse(&update).unwrap();
    let begin = || Card::initialize_update(&keys(), &setup(0x70), &update).unwrap();
    let (_, answer) = begin();
    let (good, _) = host.authenticate(&keys(), &ok(answer.clone()), Level::FULL).unwrap();
    assert!(begin().0.external_authenticate(&Command::parse(&good).unwrap()).is_ok());

    let refused = |bytes: &[u8]| {
        begin()
            .0
            .external_authenticate(&Command::parse(bytes).unwrap())
            .map(|_| ())
            .unwrap_err()
    };
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    assert_eq!(refused(&changed(0, 0x80)), StatusWord::CLA_NOT_SUPPORTED);
    assert_eq!(refused(&changed(1, 0x50)), StatusWord::INS_NOT_SUPPORTED);
    for level in (0..=255).filter(|level| Level::new(*level).is_none()) {
        assert_eq!(refused(&changed(2, level)), StatusWord::INCORRECT_P1_P2);
    }
    // Another level than the host's: the MAC tells.
    for level in LEVELS.iter().take(5) {
        assert_eq!(refused(&changed(2, level.byte())), StatusWord::SECURITY_STATUS);
    }
    assert_eq!(refused(&changed(3, 1)), StatusWord::INCORRECT_P1_P2);
    for (at, byte) in good.iter().enumerate().skip(5) {
        let expected = if at < 13 { StatusWord(0x6300) } else { StatusWord::SECURITY_STATUS };
        assert_eq!(
            refused(&changed(at, byte ^ 0x80)),
            expected,
            "byte {at}: host cryptogram, then C-MAC"
        );
    }
    // Truncated: without MAC, and within the cryptogram.
    for length in [0, 7, 8, 15] {
        let short = Command::new(0x84, 0x82, 0x33, 0x00).data(&good[5..5 + length]).encode().unwrap();
        assert_eq!(refused(&short), StatusWord::WRONG_LENGTH);
    }
    // i without R-MAC, or without R-ENC.
    for (i, level) in [(0x10, Level::C_MAC_R_MAC), (0x30, Level::FULL)] {
        let (card, answer) = Card::initialize_update(&keys(), &setup(i), &update).unwrap();
        assert_eq!(
            host.authenticate(&keys(), &ok(answer), level).map(|_| ()),
            Err(Scp03Error::Level { level: level.byte(), i })
        );
        let asks = changed(2, level.byte());
        let answer = card.external_authenticate(&Command::parse(&asks).unwrap());
        assert_eq!(answer.map(|_| ()), Err(StatusWord::INCORRECT_P1_P2));
    }
}

#[test]
fn initialize_update_refused() {
    let begin = |i, command: Command<'_>| Card::initialize_update(&keys(), &setup(i), &command).map(|_| ()).unwrap_err();
    let good = Command::new(0x80, 0x50, 0x30, 0x00).data(&[5; 8]).ne(256);
    assert_eq!(begin(0x70, Command { cla: 0x84, ..good }), StatusWord::CLA_NOT_SUPPORTED);
    assert_eq!(begin(0x70, Command { cla: 0x00, ..good }), StatusWord::CLA_NOT_SUPPORTED);
    assert_eq!(begin(0x70, Command { ins: 0x51, ..good }), StatusWord::INS_NOT_SUPPORTED);
    assert_eq!(begin(0x70, Command { p2: 1, ..good }), StatusWord::INCORRECT_P1_P2);
    for length in (0..=20).filter(|length| *length != 8) {
        let data = vec![5; length];
        assert_eq!(begin(0x70, good.data(&data)), StatusWord::WRONG_LENGTH);
    }
    assert_eq!(begin(0x71, good), StatusWord::WRONG_LENGTH);
    let spent = CardSetup {
        sequence: 0x0100_0000,
        ..setup(0x70)
    };
    assert_eq!(
        Card::initialize_update(&keys(), &spent, &good).map(|_| ()).unwrap_err(),
        StatusWord::CONDITIONS_NOT_SATISFIED
    );
    let short = CardSetup {
        challenge: CardChallenge::Given(&[1; 7]),
        ..setup(0x60)
    };
    assert_eq!(
        Card::initialize_update(&keys(), &short, &good).map(|_| ()).unwrap_err(),
        StatusWord::DATA_NOT_FOUND
    );
}

#[test]
fn a_card_that_is_not_the_card() {
    let (host, update) = Host::initialize_update(0x30, [5; 8]);
    let (_, answer) = Card::initialize_update(&keys(), &setup(0x70), &Command::parse(&update).unwrap()).unwrap();
    let ask = |answer: &[u8]| host.authenticate(&keys(), answer, Level::FULL).map(|_| ()).unwrap_err();
    for at in 13..29 {
        let mut bad = ok(answer.clone());
        bad[at] ^= 1;
        assert_eq!(ask(&bad), Scp03Error::CardCryptogram { kvn: 0x30 });
    }
    let other = Keys::from_bytes(&[9; 48]).unwrap();
    assert_eq!(
        host.authenticate(&other, &ok(answer.clone()), Level::FULL).map(|_| ()).unwrap_err(),
        Scp03Error::CardCryptogram { kvn: 0x30 }
    );
    let mut scp02 = ok(answer.clone());
    scp02[11] = 0x02;
    assert_eq!(ask(&scp02), Scp03Error::Protocol { kvn: 0x30, protocol: 2 });
    // Truncated anywhere; 29 bytes are an answer without counter.
    for length in (0..answer.len()).filter(|length| *length != 29) {
        let cut = ok(answer[..length].to_vec());
        assert!(matches!(ask(&cut), Scp03Error::AnswerLength { length: l, expected: 29, with_counter: 32 } if l == length));
    }
    assert_eq!(
        ask(&[0x6A, 0x88]),
        Scp03Error::Refused {
            sw: StatusWord::DATA_NOT_FOUND
        }
    );
    assert!(matches!(ask(&[0x90]), Scp03Error::Apdu(_)));
    // With 16 bytes of challenge, an answer in S8 is too short.
    let (host, _) = Host::initialize_update(0x30, [5; 16]);
    let answer = host.authenticate(&keys(), &ok(answer), Level::FULL).map(|_| ());
    assert!(matches!(
        answer,
        Err(Scp03Error::AnswerLength {
            length: 32,
            expected: 45,
            ..
        })
    ));
}

#[test]
fn answers_that_are_not_the_cards() {
    for level in [Level::C_MAC_R_MAC, Level::C_ENC_R_MAC, Level::FULL] {
        let exchange = || {
            let (mut host, mut card) = pair(level);
            let wrapped = host.wrap(&Command::parse(&PLAIN).unwrap()).unwrap();
            receive(&mut card, &wrapped.command).unwrap();
            (host, wrapped.ticket, card)
        };
        let (mut host, ticket, mut card) = exchange();
        let good = card.wrap(&[1, 2, 3], StatusWord::OK);
        assert_eq!(host.unwrap(ticket, &good).unwrap(), [1, 2, 3, 0x90, 0x00]);
        // Any bit of data, MAC or status word. A status word that becomes an error comes with data, which is refused.
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (mut host, ticket, _) = exchange();
            let error = host.unwrap(ticket, &bad).unwrap_err();
            assert!(
                matches!(error, Scp03Error::ResponseMac { .. } | Scp03Error::DataWithError { .. }),
                "bit {bit}: {error}"
            );
            assert!(!host.is_open());
            assert_eq!(host.wrap(&Command::parse(&PLAIN).unwrap()).map(|_| ()), Err(Scp03Error::Ended));
        }
        // 9000 and warnings without a MAC are not success.
        for bare in [&[0x90, 0x00][..], &[0x63, 0x10], &[0x62, 0x83], &[1, 2, 3, 0x90, 0x00]] {
            let (mut host, ticket, _) = exchange();
            assert!(
                matches!(host.unwrap(ticket, bare), Err(Scp03Error::NoResponseMac { .. })),
                "{bare:02X?}"
            );
        }
        // The answer to another command.
        let (mut host, mut card) = pair(level);
        let command = Command::parse(&PLAIN).unwrap();
        let (first, second) = (host.wrap(&command).unwrap(), host.wrap(&command).unwrap());
        receive(&mut card, &first.command).unwrap();
        let answer = card.wrap(&[], StatusWord::OK);
        assert_eq!(
            host.unwrap(second.ticket, &answer),
            Err(Scp03Error::ResponseMac { sw: StatusWord::OK })
        );
    }
}

#[test]
fn which_answers_carry_a_mac() {
    for sw in (0x6000..=0x6FFF).chain(0x9000..=0x9FFF).map(StatusWord) {
        let (mut host, mut card) = pair(Level::FULL);
        let wrapped = host.wrap(&Command::parse(&PLAIN).unwrap()).unwrap();
        receive(&mut card, &wrapped.command).unwrap();
        let answer = card.wrap(&[0xAB; 5], sw);
        let protected = matches!(sw.0, 0x9000 | 0x6200..=0x63FF);
        assert_eq!(is_protected(sw), protected, "{sw}");
        assert_eq!(answer.len(), if protected { 16 + 8 + 2 } else { 2 }, "{sw}");
        let expected = Response {
            data: if protected { &[0xAB; 5] } else { &[] },
            sw,
        };
        assert_eq!(host.unwrap(wrapped.ticket, &answer).unwrap(), expected.encode(), "{sw}");
        // An error leaves the session open, and the next command goes well.
        let next = host.wrap(&Command::parse(&PLAIN).unwrap()).unwrap();
        assert!(receive(&mut card, &next.command).is_ok(), "{sw}");
        assert!(host.unwrap(next.ticket, &card.wrap(&[], StatusWord::OK)).is_ok(), "{sw}");
    }
}

/// A script that ended early: the host goes on behind the last command that was run.
#[test]
fn rewinding() {
    let (mut host, mut card) = pair(Level::FULL);
    let command = Command::parse(&PLAIN).unwrap();
    let first = host.wrap(&command).unwrap();
    let _not_run = [host.wrap(&command).unwrap(), host.wrap(&command).unwrap()];
    receive(&mut card, &first.command).unwrap();
    let mark = first.ticket.mark();
    let answer = card.wrap(&[], StatusWord::DATA_NOT_FOUND);
    assert_eq!(host.unwrap(first.ticket, &answer).unwrap(), [0x6A, 0x88]);
    host.rewind(mark);
    let next = host.wrap(&command).unwrap();
    receive(&mut card, &next.command).unwrap();
    assert_eq!(host.unwrap(next.ticket, &card.wrap(&[1], StatusWord::OK)).unwrap(), [1, 0x90, 0x00]);
}

#[test]
fn what_cannot_be_wrapped() {
    let (mut host, _) = pair(Level::FULL);
    for cla in [0x84, 0x8C, 0x0C, 0xA0, 0xB0, 0x20, 0xE0, 0x60] {
        let error = host.wrap(&Command::new(cla, 0xF2, 0x40, 0x02)).map(|_| ());
        assert_eq!(error, Err(Scp03Error::Class { cla }));
    }
    let data = [0; 240];
    assert_eq!(
        host.wrap(&Command::new(0x80, 0xE8, 0, 0).data(&data)).map(|_| ()),
        Err(Scp03Error::CommandTooLong { length: 240, most: 239 })
    );
    // None of these took a counter.
    let (mut fresh, _) = pair(Level::FULL);
    assert_eq!(wrap(&mut host, &PLAIN), wrap(&mut fresh, &PLAIN));
    assert_eq!(Keys::new(&[0; 16], &[0; 16], &[0; 24]), Err(Scp03Error::KeyLength { length: 24 }));
    assert_eq!(Keys::from_bytes(&[0; 47]), Err(Scp03Error::KeyLength { length: 15 }));
    assert_eq!(keys().dek_encrypt(&[0; 15]), Err(Scp03Error::Blocks { length: 15 }));
    assert_eq!(keys().dek_decrypt(&[]).map(|_| ()), Err(Scp03Error::Blocks { length: 0 }));
}

#[test]
fn nothing_secret_is_shown() {
    let (host, card) = pair(Level::FULL);
    let text = format!("{:?} {host:?} {card:?}", keys());
    let secret: [u8; 16] = core::array::from_fn(|i| i as u8);
    assert!(text.contains("redacted"));
    for shown in [
        hex::encode(&secret[..4]),
        format!("{:?}", &secret[..4]),
        format!("{:02x?}", &secret[..4]),
    ] {
        assert!(!text.contains(shown.trim_matches(['[', ']'])), "{text}");
    }
}

/// Logical channels: the channel in CLA is kept, and not authenticated.
#[test]
fn logical_channels() {
    for (plain, secure) in [(0x80, 0x84), (0x83, 0x87), (0xC0, 0xE0), (0xCF, 0xEF), (0x00, 0x04), (0x41, 0x61)] {
        let (mut host, mut card) = pair(Level::FULL);
        let command = Command::new(plain, 0xE2, 0x90, 0).data(&[1, 2, 3]).encode().unwrap();
        let wrapped = wrap(&mut host, &command);
        assert_eq!(wrapped[0], secure);
        assert_eq!(receive(&mut card, &wrapped), Ok(command));
    }
}

fn level() -> impl Strategy<Value = Level> {
    proptest::sample::select(&LEVELS[..])
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::S8), Just(Mode::S16)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever goes in at one end comes out at the other; a command within the limit stays a short APDU.
    #[test]
    fn both_ends(
        bytes in prop_oneof![vec(any::<u8>(), 48), vec(any::<u8>(), 72), vec(any::<u8>(), 96)],
        mode in mode(),
        level in level(),
        exchanges in vec((any::<[u8; 3]>(), 0usize..=255, any::<bool>(), vec(any::<u8>(), 0..300), any::<u16>()), 1..8),
    ) {
        let keys = Keys::from_bytes(&bytes).unwrap();
        let (mut host, mut card) = pair_of(&keys, mode, level);
        let mut answers = Vec::new();
        for ([ins, p1, p2], length, le, response, sw) in exchanges {
            let data = vec![0x80; length.min(host.max_command_data())];
            let plain = Command::new(0x80, ins, p1, p2).data(&data).ne(if le { 256 } else { 0 });
            let wrapped = host.wrap(&plain).unwrap();
            let sent = Command::parse(&wrapped.command).unwrap();
            prop_assert!(!sent.extended);
            prop_assert_eq!(&**card.unwrap(&sent).unwrap(), &plain.encode().unwrap()[..]);
            let sw = StatusWord(if sw & 1 == 0 { 0x9000 } else { sw });
            let answer = card.wrap(&response, sw);
            let seen = if level.r_mac() && !is_protected(sw) { vec![] } else { response };
            answers.push((wrapped.ticket, answer, Response { data: &seen, sw }.encode()));
        }
        for (ticket, answer, expected) in answers {
            prop_assert_eq!(host.unwrap(ticket, &answer).unwrap(), expected);
        }
    }

    /// Extended lengths.
    #[test]
    fn long_commands(level in level(), mode in mode(), length in 0usize..3000, response in vec(any::<u8>(), 0..3000)) {
        let (mut host, mut card) = pair_of(&keys(), mode, level);
        let data = vec![0x5A; length];
        let plain = Command::new(0x80, 0xE2, 0x90, 0).data(&data).ne(65_536).force_extended();
        let wrapped = host.wrap(&plain).unwrap();
        prop_assert_eq!(&**card.unwrap(&Command::parse(&wrapped.command).unwrap()).unwrap(), &plain.encode().unwrap()[..]);
        let answer = card.wrap(&response, StatusWord::OK);
        prop_assert_eq!(host.unwrap(wrapped.ticket, &answer).unwrap(), ok(response));
    }

    /// The limits are the limits: one byte more does not fit.
    #[test]
    fn limits(level in level(), mode in mode()) {
        let (mut host, mut card) = pair_of(&keys(), mode, level);
        let most = host.max_command_data();
        let data = vec![1; most + 1];
        let fits = host.wrap(&Command::new(0x80, 0xE8, 0, 0).data(&data[..most])).unwrap();
        let sent = Command::parse(&fits.command).unwrap();
        prop_assert!(sent.data.len() <= 255);
        card.unwrap(&sent).unwrap();
        if level.c_mac() {
            prop_assert!(host.wrap(&Command::new(0x80, 0xE8, 0, 0).data(&data)).is_err());
        }
        let most = card.max_response_data();
        prop_assert!(card.wrap(&vec![1; most], StatusWord::OK).len() <= 258);
        if level.r_mac() {
            prop_assert!(card.wrap(&vec![1; most + 1], StatusWord::OK).len() > 258);
        }
    }

    /// Random bytes are refused by both ends, and nothing panics.
    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..300), mode in mode(), level in proptest::sample::select(&LEVELS[1..])) {
        let (mut host, mut card) = pair_of(&keys(), mode, level);
        if let Ok(command) = Command::parse(&bytes) {
            prop_assert!(card.unwrap(&command).is_err());
            let begun = Card::initialize_update(&keys(), &setup(0x70), &Command::new(0x80, 0x50, 0, 0).data(&[5; 8])).unwrap();
            prop_assert!(begun.0.external_authenticate(&command).is_err());
            let _ = Card::initialize_update(&keys(), &setup(0x70), &command);
        }
        let (first, _) = Host::initialize_update(0, [1; 8]);
        prop_assert!(first.authenticate(&keys(), &bytes, level).is_err());
        let wrapped = host.wrap(&Command::parse(&PLAIN).unwrap()).unwrap();
        match host.unwrap(wrapped.ticket, &bytes) {
            Ok(plain) => prop_assert!(!level.r_mac() || !is_protected(Response::parse(&plain).unwrap().sw)),
            Err(_) => prop_assert!(!host.is_open()),
        }
    }

    #[test]
    fn key_encryption(bytes in vec(any::<u8>(), 48), blocks in 1usize..8) {
        let keys = Keys::from_bytes(&bytes).unwrap();
        let plain = vec![0xA5; blocks * 16];
        let cipher = keys.dek_encrypt(&plain).unwrap();
        prop_assert_ne!(&cipher, &plain);
        prop_assert_eq!(&*keys.dek_decrypt(&cipher).unwrap(), &plain);
        prop_assert_eq!(Keys::from_bytes(&keys.to_bytes()).unwrap(), keys);
    }
}
