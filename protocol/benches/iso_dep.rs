//! ISO-DEP, both halves against each other in memory: blocks of 64 bytes, chained both ways. A million a second is wanted.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tapdoor_protocol::rf::frame::{Frame, RxFrame, Technology};
use tapdoor_protocol::rf::iso14443::dep::Parameters;
use tapdoor_protocol::rf::iso14443::dep::pcd::Pcd;
use tapdoor_protocol::rf::iso14443::dep::picc::{Heard, Picc};
use tapdoor_protocol::rf::{Dialogue, Step};

/// APDUs of so many I-blocks of 64 bytes each way: 61 bytes of information, PCB and checksum.
const BLOCKS: usize = 100;

/// One APDU and its answer; returns how many blocks went to and fro.
fn exchange(pcd: &mut Pcd, picc: &mut Picc, command: &[u8], response: &mut Vec<u8>, rx: &mut RxFrame) -> u64 {
    let mut blocks = 0;
    let mut transceive = pcd.transceive(command, response);
    loop {
        match transceive.poll() {
            Step::Exchange(frame, _) => {
                blocks += 2;
                if picc.receive(frame.data) == Heard::Command {
                    picc.respond(command);
                }
                rx.set(&Frame::new(Technology::A, picc.block()));
                transceive.answered(Ok(()), rx);
            }
            Step::Done(outcome) => {
                outcome.unwrap();
                return blocks;
            }
            _ => {}
        }
    }
}

fn iso_dep(criterion: &mut Criterion) {
    let parameters = Parameters {
        fsc: 64,
        fsd: 64,
        ..Parameters::new(Technology::A)
    };
    let (mut pcd, mut picc) = (Pcd::new(parameters), Picc::new(parameters));
    let command = vec![7; BLOCKS * 61];
    let (mut response, mut rx) = (Vec::new(), RxFrame::new());
    let blocks = exchange(&mut pcd, &mut picc, &command, &mut response, &mut rx);
    assert_eq!(response, command);
    let mut group = criterion.benchmark_group("ISO-DEP");
    // Every I-block is answered by an R-block; both are counted by the machines, only I-blocks here.
    assert_eq!(blocks as usize, 4 * BLOCKS - 2);
    group.throughput(Throughput::Elements(2 * BLOCKS as u64));
    group.bench_function("I-blocks of 64 bytes, PCD and PICC", |b| {
        b.iter(|| exchange(&mut pcd, &mut picc, &command, &mut response, &mut rx));
    });
    group.finish();
}

criterion_group!(benches, iso_dep);
criterion_main!(benches);
