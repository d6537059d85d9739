//! A whole tap in process, SELECT to verdict, both sides, without and with its durable write.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use tapdoor_protocol::aka::Algorithm;
use tapdoor_reader::config::Method;
use tapdoor_workbench::bench::tap::Pair;

fn taps(criterion: &mut Criterion) {
    let methods = [
        ("challenge-response", Method::ChallengeResponse, Algorithm::Milenage),
        ("aka-milenage", Method::Aka, Algorithm::Milenage),
        ("aka-tuak", Method::Aka, Algorithm::Tuak),
    ];
    let mut group = criterion.benchmark_group("tap");
    for (name, method, algorithm) in methods {
        let mut pair = Pair::new(method, algorithm, None).unwrap();
        group.bench_function(format!("{name}/memory"), |b| b.iter(|| pair.tap().unwrap()));
        let folder = tempfile::tempdir_in(".").unwrap();
        let mut pair = Pair::new(method, algorithm, Some(folder.path())).unwrap();
        group.bench_function(format!("{name}/durable"), |b| b.iter(|| pair.tap().unwrap()));
    }
}

criterion_group!(benches, taps);
criterion_main!(benches);
