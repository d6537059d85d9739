//! The allocator: sizes are powers of two, and what is given back waits in a list of its size. A method allocates a few hundred bytes
//! a command and gives them all back, so nothing cleverer is worth its code.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::cell::Cell;
use core::ptr::null_mut;

const PAGE: usize = 65_536;
/// The smallest block, 16 bytes.
const SMALLEST: u32 = 4;

struct Heap {
    /// Lists of free blocks of 2^(4 + n) bytes; each begins with the address of the next.
    free: [Cell<usize>; 28],
    /// Never given out yet: from here to `end`.
    next: Cell<usize>,
    end: Cell<usize>,
}

// Safety: an applet has one thread.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap {
    free: [const { Cell::new(0) }; 28],
    next: Cell::new(0),
    end: Cell::new(0),
};

unsafe extern "C" {
    /// The end of stack and data, from the linker.
    static __heap_base: u8;
}

impl Heap {
    fn class(layout: Layout) -> u32 {
        let size = layout.size().max(layout.align()).max(1 << SMALLEST);
        size.next_power_of_two().trailing_zeros() - SMALLEST
    }

    /// A new block, aligned to its own size where that is asked for (blocks of one class follow each other otherwise).
    fn fresh(&self, size: usize, align: usize) -> Option<usize> {
        if self.end.get() == 0 {
            self.next.set(&raw const __heap_base as usize);
            self.end.set(memory_size(0) * PAGE);
        }
        let at = self.next.get().checked_next_multiple_of(align.max(1 << SMALLEST))?;
        let after = at.checked_add(size)?;
        if after > self.end.get() {
            let pages = (after - self.end.get()).div_ceil(PAGE);
            if memory_grow(0, pages) == usize::MAX {
                return None;
            }
            self.end.set(self.end.get() + pages * PAGE);
        }
        self.next.set(after);
        Some(at)
    }
}

// Safety: a block is in one list or with one owner; blocks come from memory beyond stack and data, each once.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = Self::class(layout);
        let Some(list) = self.free.get(class as usize) else {
            return null_mut();
        };
        match list.get() {
            0 => self
                .fresh(1 << (class + SMALLEST), layout.align())
                .map_or(null_mut(), |at| at as *mut u8),
            block => {
                // Safety: every block in a list holds the address of the next one.
                list.set(unsafe { *(block as *const usize) });
                block as *mut u8
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(list) = self.free.get(Self::class(layout) as usize) {
            // Safety: the block is ours again, and has 16 bytes at least.
            unsafe { *block.cast::<usize>() = list.get() };
            list.set(block as usize);
        }
    }
}
