//! The primitives that a tap is made of.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tapdoor_protocol::aka::quantities::Subscriber;
use tapdoor_protocol::aka::{Algorithm, Amf, Rand, Sqn};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::crypto;

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

criterion_group!(benches, primitives);
criterion_main!(benches);
