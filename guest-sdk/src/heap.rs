//! The heap of a component: what is small comes from lists by size, the rest from the target's own allocator.
//!
//! A state is many small values, and a swap makes all of them anew while every client waits. The allocator of the target
//! spends more on each than decoding it does. What it does to a pause with rows of state is in docs/BENCHMARKS.md.
//!
//! What it costs: a size is rounded up to a multiple of 16 bytes, and memory that was given back for one size is never used
//! for another. A workload whose values all change their size holds both. One that can't afford that turns the feature
//! `heap` of this crate off, or brings an allocator of its own.
//!
//! Nothing in here depends on anything but the calls made to it: a replay gets the same addresses.

#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::UnsafeCell,
    ptr,
};

/// Sizes are multiples of this, and so are addresses: what wants more than that is left to the target's allocator.
const STEP: usize = 16;

/// Beyond this an allocation is rare and large enough for the target's allocator.
const LARGEST: usize = 512;

/// Lists, one for each multiple of [`STEP`].
const LISTS: usize = LARGEST / STEP;

/// What is taken from the target's allocator at once: hundreds of blocks, and little for an instance that has one connection.
const CHUNK: usize = 16 << 10;

/// A free block: its first bytes say where the next one is.
type Block = *mut u8;

/// See the module.
pub(crate) struct Heap(UnsafeCell<Lists>);

struct Lists {
    free: [Block; LISTS],
    /// What is left of the newest chunk.
    rest: Block,
    rest_bytes: usize,
}

// SAFETY: a component has one thread, and is entered by one call at a time.
unsafe impl Sync for Heap {}

impl Heap {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(Lists { free: [ptr::null_mut(); LISTS], rest: ptr::null_mut(), rest_bytes: 0 }))
    }
}

/// The list that a size belongs to; none if it is not small. No size at all is the smallest.
const fn list_of(layout: Layout) -> Option<usize> {
    if layout.size() > LARGEST || layout.align() > STEP {
        return None;
    }
    Some(layout.size().saturating_sub(1) / STEP)
}

impl Lists {
    /// A block for the list that has none: from what is left of the chunk, or from a new one. What is left of the old one is
    /// given up, which is less than [`LARGEST`].
    #[inline(never)]
    fn carve(&mut self, list: usize) -> Block {
        let bytes = (list + 1) * STEP;
        if self.rest_bytes < bytes {
            let Ok(chunk) = Layout::from_size_align(CHUNK, STEP) else { return ptr::null_mut() };
            // SAFETY: its size is not zero.
            let chunk = unsafe { System.alloc(chunk) };
            if chunk.is_null() {
                return chunk;
            }
            (self.rest, self.rest_bytes) = (chunk, CHUNK);
        }
        let block = self.rest;
        // SAFETY: at least `bytes` are left of the chunk, so this is in it or right behind it.
        self.rest = unsafe { block.add(bytes) };
        self.rest_bytes -= bytes;
        block
    }
}

// SAFETY: a block is on one list or with whoever asked, never both, and as large as its list says, which is no smaller than
// what was asked for. Blocks begin at multiples of `STEP`, as chunks do. A layout goes to the same side, lists or target,
// when it comes and when it goes.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and nothing in here allocates from this heap again.
        let lists = unsafe { &mut *self.0.get() };
        let Some(list) = list_of(layout) else {
            // SAFETY: as this function's caller promised.
            return unsafe { System.alloc(layout) };
        };
        let Some(head) = lists.free.get_mut(list) else { return ptr::null_mut() };
        let block = *head;
        if block.is_null() {
            return lists.carve(list);
        }
        // SAFETY: a block on a list holds the next one's address, and has room for it.
        *head = unsafe { block.cast::<Block>().read() };
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        let lists = unsafe { &mut *self.0.get() };
        match list_of(layout).and_then(|list| lists.free.get_mut(list)) {
            Some(head) => {
                // SAFETY: it came from a list of this size, and nobody uses it any more.
                unsafe { block.cast::<Block>().write(*head) };
                *head = block;
            }
            // SAFETY: as this function's caller promised; it came from there.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size, rounded up, is a size.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (list_of(layout), list_of(new)) {
            // SAFETY: as this function's caller promised; it came from there.
            (None, None) => unsafe { System.realloc(block, layout, new_size) },
            (Some(old), Some(new)) if old == new => block,
            _ => {
                // SAFETY: as this function's caller promised; both are as large as what is copied.
                unsafe {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).expect("a layout")
    }

    #[test]
    fn what_is_given_back_is_given_out_again_for_its_size_and_no_other() {
        let heap = Heap::new();
        // SAFETY: sizes are not zero, and each block is used for its own size until it is given back.
        unsafe {
            let (first, other) = (heap.alloc(layout(20)), heap.alloc(layout(40)));
            heap.dealloc(first, layout(20));
            assert_ne!(heap.alloc(layout(40)), first);
            assert_eq!(heap.alloc(layout(32)), first, "20 and 32 bytes are on one list");
            heap.dealloc(other, layout(40));
            assert_eq!(heap.alloc(layout(48)), other);
        }
    }

    #[test]
    fn blocks_of_all_sizes_keep_what_is_in_them_and_are_aligned() {
        let heap = Heap::new();
        let sizes: Vec<usize> = (1..2_000).map(|number| number * 37 % 700 + 1).collect();
        // SAFETY: as above; the slices are as long as their blocks.
        unsafe {
            let blocks: Vec<_> = sizes.iter().map(|size| heap.alloc(layout(*size))).collect();
            for ((number, block), size) in (0_u8..=250).cycle().zip(&blocks).zip(&sizes) {
                assert_eq!(block.align_offset(8), 0);
                block.write_bytes(number, *size);
            }
            for ((number, block), size) in (0_u8..=250).cycle().zip(&blocks).zip(&sizes) {
                let bytes = std::slice::from_raw_parts(*block, *size);
                assert!(bytes.iter().all(|byte| *byte == number), "{size} bytes");
                heap.dealloc(*block, layout(*size));
            }
        }
    }

    #[test]
    fn what_grows_or_shrinks_keeps_its_beginning_on_either_side_of_the_largest_list() {
        let heap = Heap::new();
        let mut size = 1;
        // SAFETY: as above.
        unsafe {
            let mut block = heap.alloc(layout(size));
            block.write(7);
            for next in [8, 16, 17, 500, 512, 513, 5_000, 9_000, 600, 512, 3] {
                block = heap.realloc(block, layout(size), next);
                assert_eq!(block.read(), 7, "from {size} to {next} bytes");
                size = next;
            }
            heap.dealloc(block, layout(size));
        }
    }
}
