//! The primitives that a tap is made of.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tapdoor_protocol::aka::quantities::Subscriber;
use tapdoor_protocol::aka::{Algorithm, Amf, Rand, Sqn};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::crypto;
use tapdoor_protocol::globalplatform::load_file::blocks;
use tapdoor_protocol::globalplatform::scp03::{Card, CardChallenge, CardChannel, CardSetup, Channel, Host, I, Keys, Level};

fn primitives(criterion: &mut Criterion) {
    criterion.bench_function("recognise one list entry (AES-CMAC, 27 bytes)", |b| {
        b.iter(|| crypto::cmac128(black_box(&[7; 16]), &[black_box(&[1; 27])]));
    });
    for (name, algorithm, length) in [("milenage", Algorithm::Milenage, 32), ("tuak", Algorithm::Tuak, 64)] {
        let subscriber = Subscriber::from_bytes(algorithm, &[7; 64][..length]).unwrap();
        let sqn = Sqn::new(1, 0).unwrap();
        criterion.bench_function(&format!("authentication vector, {name}"), |b| {
            b.iter(|| subscriber.make_vector(black_box(&Rand([1; 16])), sqn, Amf([0; 2])));
        });
    }
    let command = Command::new(0x80, 0x88, 0, 0).data(&[1; 44]).ne(256).encode().unwrap();
    criterion.bench_function("parse a C-APDU", |b| {
        b.iter(|| Command::parse(black_box(&command)).unwrap().data.len())
    });
}

fn channel() -> (Channel, CardChannel) {
    let keys = Keys::from_bytes(&[7; 48]).unwrap();
    let (host, update) = Host::initialize_update(0x30, [1; 8]);
    let setup = CardSetup {
        diversification: [0; 10],
        kvn: 0x30,
        i: I::DEFAULT,
        sequence: 1,
        challenge: CardChallenge::PseudoRandom {
            aid: &[0xA0, 0, 0, 1, 0x51],
        },
    };
    let (card, mut answer) = Card::initialize_update(&keys, &setup, &Command::parse(&update).unwrap()).unwrap();
    answer.extend([0x90, 0x00]);
    let (authenticate, channel) = host.authenticate(&keys, &answer, Level::FULL).unwrap();
    (
        channel,
        card.external_authenticate(&Command::parse(&authenticate).unwrap()).unwrap(),
    )
}

fn secure_channel(criterion: &mut Criterion) {
    criterion.bench_function("SCP03: a session is opened, both ends", |b| b.iter(channel));
    let load: Vec<Vec<u8>> = blocks(&[0x5A; 16 * 1024], 239).map(|load| load.encode().unwrap()).collect();
    criterion.bench_function("SCP03: 16 kB in LOAD blocks wrapped, level 33", |b| {
        let (mut host, _) = channel();
        b.iter(|| {
            for command in &load {
                black_box(host.wrap(&Command::parse(command).unwrap()).unwrap());
            }
        });
    });
    criterion.bench_function("SCP03: 16 kB in LOAD blocks, both ends, answered", |b| {
        let (mut host, mut card) = channel();
        b.iter(|| {
            for command in &load {
                let wrapped = host.wrap(&Command::parse(command).unwrap()).unwrap();
                black_box(card.unwrap(&Command::parse(&wrapped.command).unwrap()).unwrap());
                let answer = card.wrap(&[], tapdoor_protocol::status::StatusWord::OK);
                black_box(host.unwrap(wrapped.ticket, &answer).unwrap());
            }
        });
    });
}

criterion_group!(benches, primitives, secure_channel);
criterion_main!(benches);
