//! After the first APDU of a session, blocks are exchanged without a single allocation, on both sides.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use tapdoor_protocol::rf::frame::{Frame, RxFrame, Technology};
use tapdoor_protocol::rf::iso14443::dep::Parameters;
use tapdoor_protocol::rf::iso14443::dep::pcd::Pcd;
use tapdoor_protocol::rf::iso14443::dep::picc::{Heard, Picc};
use tapdoor_protocol::rf::{Dialogue, Step};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on unchanged to the system's allocator; counting touches a thread-local number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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

#[test]
fn blocks_allocate_nothing() {
    for (fsc, fsd) in [(16, 256), (64, 64), (256, 16)] {
        let parameters = Parameters {
            fsc,
            fsd,
            cid: Some(1),
            ..Parameters::new(Technology::A)
        };
        let (mut pcd, mut picc) = (Pcd::new(parameters), Picc::new(parameters));
        let command = [7; 1000];
        let (mut response, mut rx) = (Vec::new(), RxFrame::new());
        exchange(&mut pcd, &mut picc, &command, &mut response, &mut rx);
        let before = COUNT.with(Cell::get);
        let mut blocks = 0;
        for _ in 0..100 {
            blocks += exchange(&mut pcd, &mut picc, &command, &mut response, &mut rx);
        }
        let allocations = COUNT.with(Cell::get) - before;
        assert_eq!(response, command);
        assert!(blocks > 1000);
        assert_eq!(allocations, 0, "in {blocks} blocks of frames of {fsc} and {fsd} bytes");
    }
}
